//! Sliding window over packet counters (RFC 6479): which were seen, which are too old.

/// A window over `WORDS` × 64 counters, of which `(WORDS - 1)` × 64 behind the newest are remembered.
///
/// The bits lie in a ring of words, a counter's word being its upper 58 bits modulo `WORDS`. Going on clears whole
/// words, so nothing is ever shifted; the one word that is partly ahead of the newest counter is the price.
#[derive(Debug, Clone)]
pub struct ReplayWindow<const WORDS: usize> {
    /// One more than the greatest counter accepted; 0 before the first.
    next: u64,
    ring: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// How far behind the newest a counter may be.
    pub const BEHIND: u64 = (WORDS as u64 - 1) * 64;

    /// A window that has seen nothing.
    pub const fn new() -> Self {
        const { assert!(WORDS.is_power_of_two() && WORDS > 1) };
        Self { next: 0, ring: [0; WORDS] }
    }

    /// Marks `counter` as seen. False if it was seen before, or is too far behind, or is `u64::MAX`, which no protocol
    /// uses. Call only after authentication.
    pub fn accept(&mut self, counter: u64) -> bool {
        let Some(after) = counter.checked_add(1) else { return false };
        if after.saturating_add(Self::BEHIND) < self.next {
            return false;
        }
        let word = counter / 64;
        if after > self.next {
            // The word that holds the newest counter stays; those between it and the new one, or all of the ring, are
            // cleared.
            let newest = self.next.saturating_sub(1) / 64;
            for ahead in (newest + 1..=word).take(WORDS) {
                *self.slot(ahead) = 0;
            }
            self.next = after;
        }
        let bit = 1 << (counter % 64);
        let slot = self.slot(word);
        let new = *slot & bit == 0;
        *slot |= bit;
        new
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn slot(&mut self, word: u64) -> &mut u64 {
        &mut self.ring[(word % WORDS as u64) as usize]
    }
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// WireGuard's: 8192 bits, of which 8128 behind the newest count.
    type Window = ReplayWindow<128>;

    const BEHIND: u64 = 8128;

    #[test]
    fn it_remembers_all_but_one_word_of_its_bits() {
        assert_eq!(Window::BEHIND, BEHIND);
        assert_eq!(ReplayWindow::<2>::BEHIND, 64);
    }

    #[test]
    fn in_order_each_is_accepted_once() {
        let mut window = Window::new();
        for counter in 0..3 * BEHIND {
            assert!(window.accept(counter), "{counter}");
            assert!(!window.accept(counter), "{counter} again");
        }
    }

    #[test]
    fn backwards_each_is_accepted_down_to_the_edge() {
        let mut window = Window::new();
        assert!(window.accept(3 * BEHIND));
        for counter in (2 * BEHIND..3 * BEHIND).rev() {
            assert!(window.accept(counter), "{counter}");
        }
        assert!(!window.accept(2 * BEHIND - 1));
        assert!(!window.accept(0));
        for counter in 2 * BEHIND..=3 * BEHIND {
            assert!(!window.accept(counter), "{counter} again");
        }
    }

    #[test]
    fn the_edge_is_exact_wherever_the_newest_lies_in_its_word() {
        for newest in 2 * BEHIND..2 * BEHIND + 130 {
            let mut window = Window::new();
            assert!(window.accept(newest));
            assert!(!window.accept(newest - BEHIND - 1), "one beyond the edge of {newest}");
            assert!(window.accept(newest - BEHIND), "the edge of {newest}");
            assert!(!window.accept(newest - BEHIND), "the edge of {newest} again");
            assert!(window.accept(newest + 1));
            assert!(!window.accept(newest - BEHIND), "the edge has moved");
        }
    }

    #[test]
    fn a_gap_is_filled_in_any_order() {
        let mut window = Window::new();
        assert!(window.accept(0) && window.accept(BEHIND));
        for counter in (1..BEHIND).step_by(2).chain((1..BEHIND / 2).rev().map(|half| 2 * half)) {
            assert!(window.accept(counter), "{counter}");
            assert!(!window.accept(counter), "{counter} again");
        }
    }

    /// A jump by a multiple of the ring lands on the words in use: what they held must be gone, the jump itself kept.
    #[test]
    fn jumps_of_every_length_leave_nothing_behind() {
        for jump in (1..20_000).step_by(61).chain([8128, 8191, 8192, 8193, 16_384, 1 << 20, 1 << 40, 1 << 63]) {
            let mut window = Window::new();
            for counter in 0..100 {
                assert!(window.accept(counter));
            }
            let newest = 99 + jump;
            assert!(window.accept(newest), "jump of {jump}");
            for counter in newest.saturating_sub(BEHIND)..newest {
                assert_eq!(window.accept(counter), counter >= 100, "{counter} after a jump of {jump}");
            }
        }
    }

    #[test]
    fn the_first_counter_may_be_any_but_the_last() {
        for first in [0, 1, 63, 64, 8127, 8128, 8191, 8192, 1 << 40, u64::MAX - 1] {
            let mut window = Window::new();
            assert!(window.accept(first));
            assert!(!window.accept(first));
        }
        assert!(!Window::new().accept(u64::MAX));
    }

    #[test]
    fn it_works_up_to_the_end_of_the_numbers() {
        let mut window = Window::new();
        let newest = u64::MAX - 1;
        assert!(window.accept(newest));
        for counter in newest - BEHIND..newest {
            assert!(window.accept(counter), "{counter}");
            assert!(!window.accept(counter), "{counter} again");
        }
        assert!(!window.accept(newest - BEHIND - 1));
        assert!(!window.accept(u64::MAX));
    }

    proptest! {
        #[test]
        fn it_answers_as_a_set_that_forgets_nothing(
            start in prop_oneof![Just(0), Just(8192), Just(u64::MAX - 40_000)],
            moves in prop::collection::vec(a_move(), 1..400),
        ) {
            let (mut small, mut large) = (ReplayWindow::<2>::new(), Window::new());
            let (mut seen_small, mut seen_large) = (Naive::default(), Naive::default());
            let mut at = start;
            for by in moves {
                at = if by < 0 { at.saturating_sub(by.unsigned_abs()) } else { at.saturating_add(by as u64) };
                prop_assert_eq!(small.accept(at), seen_small.accept(at, 64), "{} in the small window", at);
                prop_assert_eq!(large.accept(at), seen_large.accept(at, BEHIND), "{} in the large window", at);
            }
        }
    }

    #[derive(Default)]
    struct Naive {
        newest: u64,
        seen: HashSet<u64>,
    }

    impl Naive {
        fn accept(&mut self, counter: u64, behind: u64) -> bool {
            if counter == u64::MAX || self.newest.saturating_sub(counter) > behind {
                return false;
            }
            self.newest = self.newest.max(counter);
            self.seen.insert(counter)
        }
    }

    fn a_move() -> impl Strategy<Value = i64> {
        prop_oneof![
            6 => -3..=4_i64,
            3 => -130..=130_i64,
            2 => -8300..=8300_i64,
            1 => prop::sample::select(vec![-8128, -8129, 64, -64, -65, 8192, -8192, 16_384, 40_000]),
        ]
    }
}
