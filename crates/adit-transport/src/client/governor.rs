//! When a client may greet the server, and for how long it keeps a connection. Pure: time comes in.
//!
//! Censors count TLS handshakes to a name, freeze hosts that make too many, and freeze them for longer if they then come
//! back with another fingerprint. So handshakes are spaced and counted, a silent stall is waited out, and the fingerprint
//! never changes while it runs. Not here: dialling (`run`), which carrier is used meanwhile (`ladder`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The least time from one handshake to the next; up to as much again is added at random.
pub(super) const SPACING: Duration = Duration::from_secs(1);
/// Handshakes in one [`PERIOD`], measured: more than three make a freeze likely.
pub(super) const PER_PERIOD: usize = 3;
/// What handshakes are counted over.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// After a connection fell silent: a freeze lasts 120 seconds, measured.
pub(super) const FREEZE: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(150));
/// The first wait after an attempt that came to nothing; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Lifetimes of connections: most are short, a few very long, as a browser's.
pub(super) const LIFETIME: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(6 * 3600));
/// How heavy the tail of the lifetimes is.
const TAIL: f64 = 0.8;

/// How a connection, or the attempt at one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server closed it, or refused it before it was greeted: try again soon, then less and less often.
    Closed,
    /// Nothing came any more although something should have, or a handshake was not answered: perhaps a freeze.
    Silent,
    /// The connection did its work for a while: the next attempt is the first again.
    Served,
}

/// How often a server is greeted: one for each server, shared by all links to it that there are after one another.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Mutex<Governor>>);

impl Default for Pace {
    fn default() -> Self {
        Self::new(getrandom::u64().unwrap_or(1))
    }
}

impl Pace {
    /// One that nothing has happened to yet.
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Governor::new(seed))))
    }

    /// The rules, for a moment.
    pub(super) fn governor(&self) -> MutexGuard<'_, Governor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules, and what has happened so far.
#[derive(Debug)]
pub(super) struct Governor {
    /// The newest last; never more than [`PER_PERIOD`].
    handshakes: VecDeque<Instant>,
    /// Drawn after each handshake.
    spacing: Duration,
    not_before: Option<Instant>,
    failures: u32,
    dice: Dice,
}

/// Where randomness comes from.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Governor {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let spacing = SPACING + dice.below(SPACING);
        Self { handshakes: VecDeque::new(), spacing, not_before: None, failures: 0, dice }
    }

    /// The earliest time at which the server may be greeted.
    pub(super) fn earliest(&self, now: Instant) -> Instant {
        let spaced = self.handshakes.back().map(|last| *last + self.spacing);
        let counted = (self.handshakes.len() == PER_PERIOD)
            .then(|| self.handshakes.front().map(|oldest| *oldest + PERIOD))
            .flatten();
        [spaced, counted, self.not_before].into_iter().flatten().fold(now, Instant::max)
    }

    /// The server is being greeted.
    pub(super) fn greeted(&mut self, now: Instant) {
        if self.handshakes.len() == PER_PERIOD {
            self.handshakes.pop_front();
        }
        self.handshakes.push_back(now);
        self.spacing = SPACING + self.dice.below(SPACING);
    }

    /// A connection, or an attempt, has ended.
    pub(super) fn ended(&mut self, how: Ending, now: Instant) {
        let wait = match how {
            Ending::Served => {
                self.failures = 0;
                Duration::ZERO
            }
            Ending::Closed => {
                let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LAST_RETRY);
                self.failures += 1;
                doubled + self.dice.below(doubled / 2)
            }
            Ending::Silent => FREEZE.0 + self.dice.below(FREEZE.1 - FREEZE.0),
        };
        self.not_before = Some(self.not_before.map_or(now + wait, |before| before.max(now + wait)));
    }

    /// Another network, or another address of the server: what made us wait does not hold there. Handshakes still count.
    pub(super) fn moved(&mut self) {
        self.not_before = None;
        self.failures = 0;
    }

    /// How long the next connection is kept.
    pub(super) fn lifetime(&mut self) -> Duration {
        let (shortest, longest) = (LIFETIME.0.as_secs_f64(), LIFETIME.1.as_secs_f64());
        // A Pareto distribution, cut off at the longest.
        let cut = 1.0 - (shortest / longest).powf(TAIL);
        let seconds = shortest / (1.0 - self.dice.fraction() * cut).powf(1.0 / TAIL);
        Duration::from_secs_f64(seconds.clamp(shortest, longest))
    }
}

impl Dice {
    /// The next number (splitmix64): for times that others should not be able to count on, not for keys.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: Duration) -> Duration {
        end.mul_f64(self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens, handshakes are a second apart and no four of them are within a minute.
        #[test]
        fn handshakes_are_spaced_and_counted(
            seed: u64,
            events in prop::collection::vec((0_u8..5, 0_u64..90_000), 1..200),
        ) {
            let (mut governor, mut now, mut greeted) = (Governor::new(seed), Instant::now(), Vec::new());
            for (event, later) in events {
                now += Duration::from_millis(later);
                match event {
                    0 => governor.ended(Ending::Closed, now),
                    1 => governor.ended(Ending::Silent, now),
                    2 => governor.ended(Ending::Served, now),
                    3 => governor.moved(),
                    _ => {}
                }
                // An impatient caller: as early as it may.
                now = now.max(governor.earliest(now));
                governor.greeted(now);
                greeted.push(now);
            }
            for pair in greeted.windows(2) {
                prop_assert!(pair[1] - pair[0] >= SPACING);
            }
            for four in greeted.windows(PER_PERIOD + 1) {
                prop_assert!(four[PER_PERIOD] - four[0] >= PERIOD);
            }
        }

        #[test]
        fn a_silent_stall_is_waited_out_unless_the_network_changes(seed: u64) {
            let (mut governor, now) = (Governor::new(seed), Instant::now());
            governor.greeted(now);
            governor.ended(Ending::Silent, now);
            let wait = governor.earliest(now) - now;
            prop_assert!((FREEZE.0..FREEZE.1).contains(&wait), "{wait:?}");
            // A server that closes a connection meanwhile does not make it shorter.
            governor.ended(Ending::Closed, now);
            prop_assert!(governor.earliest(now) - now >= wait);
            governor.moved();
            prop_assert!(governor.earliest(now) - now < 2 * SPACING);
        }

        #[test]
        fn lifetimes_stay_within_their_bounds(seed: u64) {
            let mut governor = Governor::new(seed);
            for _ in 0..100 {
                prop_assert!((LIFETIME.0..=LIFETIME.1).contains(&governor.lifetime()));
            }
        }
    }

    #[test]
    fn attempts_that_come_to_nothing_become_rarer_until_one_serves() {
        let (mut governor, mut now, mut waits) = (Governor::new(1), Instant::now(), Vec::new());
        for _ in 0..12 {
            governor.ended(Ending::Closed, now);
            let next = governor.earliest(now);
            waits.push(next - now);
            now = next;
        }
        assert!(waits[0] < 2 * FIRST_RETRY && waits[3] >= 8 * FIRST_RETRY);
        assert!(waits.iter().all(|wait| *wait <= LAST_RETRY + LAST_RETRY / 2));
        governor.ended(Ending::Served, now);
        assert_eq!(governor.earliest(now), now);
    }

    /// Half of the connections last less than half an hour, and some last for hours.
    #[test]
    fn lifetimes_have_a_heavy_tail() {
        let mut governor = Governor::new(7);
        let mut all: Vec<_> = (0..10_000).map(|_| governor.lifetime()).collect();
        all.sort();
        assert!(all[5000] < Duration::from_secs(1800), "{:?}", all[5000]);
        assert!(all[9500] > Duration::from_secs(2 * 3600), "{:?}", all[9500]);
    }
}
