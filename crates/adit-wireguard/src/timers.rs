//! Which deadlines a peer has, and why (§6), and the order in which the device looks at them.
//!
//! Not here: what is done when one comes (`peer`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_protocol::Why;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use crate::constants::{JITTER_MAX_MS, KEEPALIVE_TIMEOUT, REKEY_TIMEOUT};
use crate::index::Slot;

/// What a peer may be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timer {
    /// §6.4: the initiation was not answered.
    Retry,
    /// §6.5: data was received and nothing sent since.
    PassiveKeepalive,
    /// §6.5: data was sent and nothing received since.
    Unanswered,
    /// The administrator wants a packet so often.
    PersistentKeepalive,
    /// §6.3: no new session for so long that secrets are wiped.
    Wipe,
}

impl Timer {
    const ALL: [Self; 5] =
        [Self::Retry, Self::PassiveKeepalive, Self::Unanswered, Self::PersistentKeepalive, Self::Wipe];

    pub(crate) const fn why(self) -> Why {
        Why(match self {
            Self::Retry => "handshake retry",
            Self::PassiveKeepalive => "passive keepalive",
            Self::Unanswered => "unanswered data",
            Self::PersistentKeepalive => "persistent keepalive",
            Self::Wipe => "wipe keys",
        })
    }
}

/// The deadlines of one peer.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Instant>; Timer::ALL.len()],
    /// More data came while a passive keepalive was already due (reference W-65).
    pub(crate) another_keepalive: bool,
    /// Where the device's agenda has this peer: not after its next deadline.
    looked_at: Option<Instant>,
    /// Whether a deadline was set before that.
    is_nearer: bool,
}

impl Timers {
    #[inline]
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        *self.slot(timer) = Some(at);
        self.is_nearer |= self.looked_at.is_none_or(|looked_at| at < looked_at);
    }

    #[inline]
    pub(crate) fn clear(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.at = Default::default();
        self.another_keepalive = false;
    }

    #[inline]
    pub(crate) fn get(&self, timer: Timer) -> Option<Instant> {
        self.at.get(timer as usize).copied().flatten()
    }

    #[inline]
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The first of them.
    #[inline]
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        Timer::ALL.into_iter().filter_map(|timer| Some((self.get(timer)?, timer))).min_by_key(|(at, _)| *at)
    }

    /// Data was sent: an answer is expected (reference W-64).
    #[inline]
    pub(crate) fn data_sent(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        if !self.is_set(Timer::Unanswered) {
            self.set(Timer::Unanswered, now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter(rng));
        }
    }

    /// Data was received: an answer is owed (reference W-65).
    #[inline]
    pub(crate) fn data_received(&mut self, now: Instant) {
        if self.is_set(Timer::PassiveKeepalive) {
            self.another_keepalive = true;
        } else {
            self.set(Timer::PassiveKeepalive, now + KEEPALIVE_TIMEOUT);
        }
    }

    /// Something authenticated was sent.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, persistent: u16) {
        self.clear(Timer::PassiveKeepalive);
        self.another_keepalive = false;
        self.traversed(now, persistent);
    }

    /// Something authenticated was received.
    #[inline]
    pub(crate) fn received(&mut self, now: Instant, persistent: u16) {
        self.clear(Timer::Unanswered);
        self.traversed(now, persistent);
    }

    #[inline]
    fn traversed(&mut self, now: Instant, persistent: u16) {
        if persistent != 0 {
            self.set(Timer::PersistentKeepalive, now + Duration::from_secs(u64::from(persistent)));
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there is a place for each timer")]
    const fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        &mut self.at[timer as usize]
    }
}

/// Uniform in 0..=333 ms (§6.4).
#[inline]
pub(crate) fn jitter(rng: &mut ChaCha20Rng) -> Duration {
    let wide = u64::from(rng.next_u32()) * u64::from(JITTER_MAX_MS + 1);
    Duration::from_millis(wide >> 32)
}

/// Which peer is to be looked at when. A peer may stand here earlier than its next deadline, never later: so packets,
/// which mostly push deadlines back, seldom touch it.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    order: BTreeSet<(Instant, Slot)>,
}

impl Agenda {
    /// The peer's deadlines may have come nearer.
    #[inline]
    pub(crate) fn note(&mut self, slot: Slot, timers: &mut Timers) {
        if timers.is_nearer {
            self.settle(slot, timers);
        }
    }

    /// Puts the peer exactly where its next deadline is.
    pub(crate) fn settle(&mut self, slot: Slot, timers: &mut Timers) {
        let at = timers.next().map(|(at, _)| at);
        if at != timers.looked_at {
            self.place(slot, timers, at);
        }
        timers.is_nearer = false;
    }

    pub(crate) fn remove(&mut self, slot: Slot, timers: &mut Timers) {
        self.place(slot, timers, None);
    }

    pub(crate) fn first(&self) -> Option<(Instant, Slot)> {
        self.order.first().copied()
    }

    /// Takes an entry out that belongs to nobody.
    pub(crate) fn strike(&mut self, at: Instant, slot: Slot) {
        self.order.remove(&(at, slot));
    }

    fn place(&mut self, slot: Slot, timers: &mut Timers, at: Option<Instant>) {
        if let Some(old) = timers.looked_at {
            self.order.remove(&(old, slot));
        }
        if let Some(at) = at {
            self.order.insert((at, slot));
        }
        timers.looked_at = at;
        timers.is_nearer = false;
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "where virtual time begins; no result depends on it")]
        Instant::now()
    }

    #[test]
    fn jitter_reaches_from_nothing_to_a_third_of_a_second() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let drawn: Vec<_> = (0..20_000).map(|_| jitter(&mut rng).as_millis()).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&0), Some(&333)));
    }

    #[test]
    fn the_agenda_is_touched_when_a_deadline_comes_nearer_and_not_when_it_moves_away() {
        let (now, second) = (start(), Duration::from_secs(1));
        let (mut agenda, mut timers, slot) = (Agenda::default(), Timers::default(), Slot(3));
        timers.set(Timer::Wipe, now + 9 * second);
        agenda.note(slot, &mut timers);
        timers.set(Timer::Retry, now + 5 * second);
        agenda.note(slot, &mut timers);
        assert_eq!(agenda.first(), Some((now + 5 * second, slot)));
        timers.clear(Timer::Retry);
        agenda.note(slot, &mut timers);
        assert_eq!(agenda.first(), Some((now + 5 * second, slot)), "looked at early, which is harmless");
        agenda.settle(slot, &mut timers);
        assert_eq!(agenda.first(), Some((now + 9 * second, slot)));
        agenda.remove(slot, &mut timers);
        assert_eq!(agenda.first(), None);
    }

    #[test]
    fn a_passive_keepalive_is_not_pushed_back_by_more_data_but_another_is_owed() {
        let (now, second) = (start(), Duration::from_secs(1));
        let mut timers = Timers::default();
        timers.data_received(now);
        timers.data_received(now + second);
        assert_eq!(timers.next(), Some((now + KEEPALIVE_TIMEOUT, Timer::PassiveKeepalive)));
        assert!(timers.another_keepalive);
        timers.sent(now + second, 0);
        assert_eq!((timers.next(), timers.another_keepalive), (None, false));
    }
}
