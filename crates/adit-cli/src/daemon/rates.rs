//! From counters to rates: remembers the last readings, and divides.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::report::{Traffic, TunnelReport};

/// Readings further apart are an average of nothing in particular.
const LONGEST: Duration = Duration::from_secs(60);
/// Readings closer together are mostly noise: the one before is kept.
pub(super) const SHORTEST: Duration = Duration::from_millis(200);

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    whole: Traffic,
    peers: HashMap<String, Traffic>,
}

impl Rates {
    /// Counts from now, with nothing moved yet.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { at: Some(now), ..Self::default() };
    }

    /// Whether a reading now gives no rate, because there is none before to compare it with.
    pub(super) fn needs_another(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now - at > LONGEST)
    }

    /// Writes the rates since the last reading into a report, and remembers this one.
    pub(super) fn fill(&mut self, now: Instant, report: &mut TunnelReport) {
        let since = self.at.map(|at| now - at).filter(|t| *t <= LONGEST && *t >= SHORTEST / 2);
        if let Some(since) = since {
            rate(&mut report.traffic, Some(&self.whole), since);
            for peer in &mut report.peers {
                rate(&mut peer.traffic, self.peers.get(&peer.public_key), since);
            }
        }
        if since.is_some_and(|t| t >= SHORTEST) || self.needs_another(now) {
            self.at = Some(now);
            self.whole = report.traffic;
            self.peers = report.peers.iter().map(|p| (p.public_key.clone(), p.traffic)).collect();
        }
    }
}

fn rate(now: &mut Traffic, before: Option<&Traffic>, since: Duration) {
    let Some(before) = before else { return };
    let per_second = |n: u64, was: u64| Some((n.saturating_sub(was) as f64 / since.as_secs_f64()) as u64);
    now.received_per_second = per_second(now.received, before.received);
    now.sent_per_second = per_second(now.sent, before.sent);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(before: u64, now: u64, milliseconds: u64) -> Option<u64> {
        let mut traffic = Traffic { received: now, ..Traffic::default() };
        let before = Traffic { received: before, ..Traffic::default() };
        rate(&mut traffic, Some(&before), Duration::from_millis(milliseconds));
        traffic.received_per_second
    }

    #[test]
    fn a_rate_is_bytes_by_seconds() {
        assert_eq!(rate_of(1000, 3000, 500), Some(4000));
        assert_eq!(rate_of(1000, 1000, 500), Some(0));
        assert_eq!(rate_of(5000, 10, 1000), Some(0), "a counter that began again is no negative rate");
    }

    #[test]
    fn the_first_reading_needs_another() {
        let rates = Rates::default();
        assert!(rates.needs_another(Instant::now()));
    }
}
