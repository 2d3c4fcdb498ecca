//! Sliding window over packet counters (RFC 6479): which were seen, which are too old.

/// A window over `WORDS` × 64 counters, of which `(WORDS - 1)` × 64 behind the newest are remembered.
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

    /// Marks `counter` as seen. False if it was seen before, or is too far behind. Call only after authentication.
    pub fn accept(&mut self, counter: u64) -> bool {
        let Some(after) = counter.checked_add(1) else { return false };
        if after.saturating_add(Self::BEHIND) < self.next {
            return false;
        }
        let word = counter / 64;
        if after > self.next {
            // The word that holds the newest counter stays; those between it and the new one are cleared.
            let newest = if self.next == 0 { 0 } else { (self.next - 1) / 64 };
            for w in (newest + 1..=word).take(WORDS) {
                *self.slot(w) = 0;
            }
            if word - newest > WORDS as u64 {
                // `take` cleared all of the ring, in an order that does not matter.
                self.ring = [0; WORDS];
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
