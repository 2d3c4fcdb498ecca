//! The timestamp of an initiation: TAI64N, coarse, and never the same twice (§5.1, §5.4.2).

use std::time::Duration;

/// Twelve bytes whose order as bytes is their order in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Timestamp(pub(crate) [u8; 12]);

/// The TAI64 label of the Unix epoch, with the ten leap seconds that WireGuard counts.
const EPOCH: u64 = (1 << 62) + 10;
/// The low 24 bits of the nanoseconds are zero, so that a timestamp does not tell how long we compute.
const STEP: u32 = 1 << 24;

impl Timestamp {
    /// The moment `unix` after the Unix epoch.
    pub(crate) fn at(unix: Duration) -> Self {
        Self::new(EPOCH.wrapping_add(unix.as_secs()), unix.subsec_nanos() & !(STEP - 1))
    }

    /// The moment `unix`, or the first one after `self` if that is not later (the clock stands still, or went back).
    pub(crate) fn next(self, unix: Duration) -> Self {
        Self::at(unix).max(self.after())
    }

    fn after(self) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, nanos @ ..] = self.0;
        let seconds = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let nanos = (u32::from_be_bytes(nanos) & !(STEP - 1)).saturating_add(STEP);
        if nanos < 1_000_000_000 { Self::new(seconds, nanos) } else { Self::new(seconds.saturating_add(1), 0) }
    }

    fn new(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        let (first, last) = bytes.split_at_mut(8);
        first.copy_from_slice(&seconds.to_be_bytes());
        last.copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_counts_from_the_epoch_in_steps_of_sixteen_milliseconds() {
        let t = Timestamp::at(Duration::new(1, 999_999_999));
        assert_eq!(t.0, [0x40, 0, 0, 0, 0, 0, 0, 11, 0x3b, 0, 0, 0]);
        assert_eq!(Timestamp::at(Duration::new(0, STEP - 1)), Timestamp::at(Duration::ZERO));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_later_timestamps_all_the_same() {
        let mut last = Timestamp::at(Duration::from_secs(100));
        for unix in [100, 100, 99, 0, 100].map(Duration::from_secs).into_iter().cycle().take(200) {
            let next = last.next(unix);
            assert!(next > last);
            assert_eq!(next.0[9..], [0; 3]);
            last = next;
        }
        assert_eq!(last.next(Duration::from_secs(200)), Timestamp::at(Duration::from_secs(200)));
    }
}
