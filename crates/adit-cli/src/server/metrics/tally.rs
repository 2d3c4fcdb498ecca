//! What the server counts for its metrics alone: how questions with an invite ended, since it began.

use std::sync::atomic::{AtomicU64, Ordering};

use adit::enrol::Refusal;

/// Why devices were refused, as labels.
const REFUSALS: [&str; 8] = ["used", "expired", "revoked", "full", "key", "unable", "version", "other"];

/// The counters.
#[derive(Debug, Default)]
pub(in crate::server) struct Tally {
    admitted: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
}

impl Tally {
    /// A device was admitted; one that is told again that it was is not another.
    pub(in crate::server) fn admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// A device was refused.
    pub(in crate::server) fn refused(&self, why: Refusal) {
        let place = match why {
            Refusal::Used => 0,
            Refusal::Expired => 1,
            Refusal::Revoked => 2,
            Refusal::Full => 3,
            Refusal::Key => 4,
            Refusal::Unable => 5,
            Refusal::Version => 6,
            Refusal::Other => 7,
        };
        if let Some(count) = self.refused.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were admitted.
    pub(in crate::server) fn of_admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// How many were refused, by reason.
    pub(super) fn of_refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REFUSALS.into_iter().zip(&self.refused).map(|(why, count)| (why, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_counted_under_its_name() {
        let tally = Tally::default();
        tally.refused(Refusal::Key);
        tally.refused(Refusal::Key);
        tally.refused(Refusal::Other);
        let counted: Vec<_> = tally.of_refused().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("key", 2), ("other", 1)]);
    }
}
