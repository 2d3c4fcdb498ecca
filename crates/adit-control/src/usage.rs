//! Bytes that devices used: totals that survive restarts, the share of the running day and month, and who is over.
//!
//! Not here: what becomes of a device that is over its quota (`desired`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::peer::{Peer, PeerId, Period, Quota};
use crate::time::UnixTime;

/// What one device used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerUsage {
    /// Bytes from the device, ever.
    pub received: u64,
    /// Bytes to the device, ever.
    pub sent: u64,
    /// The latest day of which something is known, as [`UnixTime::day`] counts.
    pub day: u64,
    /// Bytes of that day, both directions.
    pub day_bytes: u64,
    /// The latest month, as [`UnixTime::month`] counts.
    pub month: u64,
    /// Bytes of that month, both directions.
    pub month_bytes: u64,
    /// When it last proved to be there.
    pub seen: Option<UnixTime>,
}

/// What all devices used. Of a device that is not in it nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Each device that used something.
    pub peers: BTreeMap<PeerId, PeerUsage>,
}

/// What one device used since the last time it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageDelta {
    /// The device.
    pub peer: PeerId,
    /// Bytes from it.
    pub received: u64,
    /// Bytes to it.
    pub sent: u64,
    /// When it last proved to be there.
    pub seen: Option<UnixTime>,
}

impl PeerUsage {
    /// Adds what was used at this time. A clock that goes back into the period before does not begin a period anew: a day by
    /// up to one day, a month by up to one month. What was counted under a clock that was further ahead is of no period that
    /// there was.
    #[must_use]
    pub fn and(self, delta: &UsageDelta, now: UnixTime) -> Self {
        let bytes = delta.received.saturating_add(delta.sent);
        let (day, day_bytes) = current(now.day(), self.day, self.day_bytes);
        let (month, month_bytes) = current(now.month(), self.month, self.month_bytes);
        Self {
            received: self.received.saturating_add(delta.received),
            sent: self.sent.saturating_add(delta.sent),
            day,
            day_bytes: day_bytes.saturating_add(bytes),
            month,
            // A day is in its month, however often the clock was set.
            month_bytes: month_bytes.max(day_bytes).saturating_add(bytes),
            seen: self.seen.max(delta.seen),
        }
    }

    /// Bytes in the period that `now` is in.
    pub fn in_period(&self, per: Period, now: UnixTime) -> u64 {
        match per {
            Period::Day => current(now.day(), self.day, self.day_bytes).1,
            Period::Month => current(now.month(), self.month, self.month_bytes).1,
            Period::Total => self.received.saturating_add(self.sent),
        }
    }

    /// When the period that is counted now is over. `None`: never.
    fn period_ends(&self, per: Period, now: UnixTime) -> Option<UnixTime> {
        // A clock that went back is still in the later period.
        let ends = |next: fn(UnixTime) -> UnixTime, has_come: &dyn Fn(UnixTime) -> bool| {
            let mut at = next(now);
            // Bounded: a clock that is off by years is for people to set right.
            for _ in 0..LOOK_AHEAD {
                if has_come(at) {
                    return Some(at);
                }
                at = next(at);
            }
            Some(at)
        };
        match per {
            Period::Day => ends(UnixTime::next_day, &|at| at.day() > self.day),
            Period::Month => ends(UnixTime::next_month, &|at| at.month() > self.month),
            Period::Total => None,
        }
    }
}

/// The period that is counted at `now`, and what was used in it.
const fn current(now: u64, counted: u64, bytes: u64) -> (u64, u64) {
    if counted == now || counted == now + 1 { (counted, bytes) } else { (now, 0) }
}

/// Periods that are looked through for the end of one.
const LOOK_AHEAD: usize = 62;

impl Usage {
    /// What a device used.
    pub fn of(&self, peer: PeerId) -> PeerUsage {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    /// Adds what was used.
    pub fn add(&mut self, deltas: &[UsageDelta], now: UnixTime) {
        for delta in deltas {
            let usage = self.peers.entry(delta.peer).or_default();
            *usage = usage.and(delta, now);
        }
    }

    /// The quota that a device has used up, and when it begins anew.
    pub fn over(&self, peer: &Peer, now: UnixTime) -> Option<(Quota, Option<UnixTime>)> {
        let quota = peer.quota?;
        let usage = self.of(peer.id);
        let is_over = usage.in_period(quota.per, now) >= quota.bytes;
        is_over.then(|| (quota, usage.period_ends(quota.per, now)))
    }
}

/// Turns counters of a data plane, which begin at 0 whenever it or a device's session is made anew, into differences.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    last: BTreeMap<PeerId, (u64, u64)>,
}

impl Counters {
    /// What is new in counters as they are now: `(device, bytes from it, bytes to it, last seen)`. Devices that are not
    /// among them are forgotten, so this is bounded by the devices that run.
    pub fn advance(&mut self, now: impl IntoIterator<Item = (PeerId, u64, u64, Option<UnixTime>)>) -> Vec<UsageDelta> {
        let mut counted = BTreeMap::new();
        let mut deltas = Vec::new();
        for (peer, received, sent, seen) in now {
            let (was_received, was_sent) = self.last.get(&peer).copied().unwrap_or_default();
            let has_begun_anew = received < was_received || sent < was_sent;
            let (since_received, since_sent) = if has_begun_anew { (0, 0) } else { (was_received, was_sent) };
            let delta = UsageDelta { peer, received: received - since_received, sent: sent - since_sent, seen };
            if delta.received > 0 || delta.sent > 0 {
                deltas.push(delta);
            }
            counted.insert(peer, (received, sent));
        }
        self.last = counted;
        deltas
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{HOUR, NOW, peer};
    use crate::peer::OverQuota;

    const DAY: u64 = 24 * HOUR;

    fn used(bytes: u64) -> UsageDelta {
        UsageDelta { peer: PeerId(1), received: bytes, sent: 0, seen: None }
    }

    fn limited(per: Period) -> Peer {
        Peer { quota: Some(Quota { bytes: 100, per, action: OverQuota::Block }), ..peer(1, "phone") }
    }

    #[test]
    fn a_quota_begins_anew_with_its_period() {
        let mut usage = Usage::default();
        usage.add(&[used(100)], NOW);
        for (per, ends) in
            [(Period::Day, Some(NOW.next_day())), (Period::Month, Some(NOW.next_month())), (Period::Total, None)]
        {
            assert_eq!(usage.over(&limited(per), NOW).unwrap().1, ends);
            if let Some(end) = ends {
                assert!(usage.over(&limited(per), UnixTime(end.0 - 1)).is_some());
                assert!(usage.over(&limited(per), end).is_none());
            }
        }
        assert!(usage.over(&limited(Period::Total), UnixTime(NOW.0 + 1_000 * DAY)).is_some());
    }

    /// A clock that jumps a day back loses nothing that was used, and one that jumps ahead and back neither.
    #[test]
    fn a_clock_that_jumps_does_not_give_a_quota_back() {
        let mut usage = Usage::default();
        usage.add(&[used(60)], NOW);
        let back = UnixTime(NOW.0 - DAY);
        usage.add(&[used(40)], back);
        assert!(usage.over(&limited(Period::Day), back).is_some());
        assert_eq!(usage.over(&limited(Period::Day), back).unwrap().1, Some(NOW.next_day()));
        assert_eq!(usage.of(PeerId(1)).received, 100);
    }

    #[test]
    fn a_clock_that_was_years_ahead_does_not_hold_a_quota_until_then() {
        let mut usage = Usage::default();
        usage.add(&[used(100)], UnixTime(NOW.0 + 4_000 * DAY));
        for per in [Period::Day, Period::Month] {
            assert!(usage.over(&limited(per), NOW).is_none(), "{per:?}");
        }
        usage.add(&[used(100)], NOW);
        assert_eq!(usage.over(&limited(Period::Day), NOW).unwrap().1, Some(NOW.next_day()));
        assert_eq!(usage.of(PeerId(1)).received, 200);
    }

    #[test]
    fn counters_that_begin_anew_count_from_zero() {
        let mut counters = Counters::default();
        let mut advance = |received, sent| counters.advance([(PeerId(1), received, sent, None)]);
        assert_eq!(advance(10, 1), [UsageDelta { peer: PeerId(1), received: 10, sent: 1, seen: None }]);
        assert_eq!(advance(10, 1), []);
        assert_eq!(advance(15, 1)[0].received, 5);
        assert_eq!(advance(3, 2), [UsageDelta { peer: PeerId(1), received: 3, sent: 2, seen: None }]);
        assert_eq!(counters.advance([]), []);
        assert_eq!(counters.advance([(PeerId(1), 3, 2, None)])[0].received, 3);
    }

    proptest! {
        #[test]
        fn totals_are_the_sum_of_what_was_used_whatever_the_clock_does(
            steps in proptest::collection::vec((0..1_000_u64, 0..100 * DAY), 0..40),
        ) {
            let mut usage = Usage::default();
            for (bytes, at) in &steps {
                usage.add(&[used(*bytes)], UnixTime(NOW.0 + at));
            }
            let sum = steps.iter().map(|(bytes, _)| bytes).sum::<u64>();
            let total = usage.of(PeerId(1));
            prop_assert_eq!(total.received, sum);
            prop_assert!(total.day_bytes <= total.month_bytes && total.month_bytes <= sum);
        }
    }
}
