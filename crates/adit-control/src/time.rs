//! Times of people: whole seconds since 1970 in UTC, with the days and months they lie in.
//!
//! Not here: a clock. Every function that needs to know the time is told it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA: u64 = 146_097;

/// Seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// What the machine's clock says. Times before 1970 are 1970.
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// So much later; the end of time if that is later still. Parts of a second are dropped.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()))
    }

    /// Days since 1970-01-01.
    pub const fn day(self) -> u64 {
        self.0 / DAY
    }

    /// Months since January of the year 0.
    pub const fn month(self) -> u64 {
        let (year, month, _) = self.date();
        year * 12 + month - 1
    }

    /// When the next day begins.
    #[must_use]
    pub const fn next_day(self) -> Self {
        Self((self.day() + 1).saturating_mul(DAY))
    }

    /// When the next month begins.
    #[must_use]
    pub const fn next_month(self) -> Self {
        let next = self.month() + 1;
        let (year, month) = (next / 12, next % 12 + 1);
        let year = if month <= 2 { year - 1 } else { year };
        let of_year = (153 * ((month + 9) % 12) + 2) / 5;
        let of_era = (year % 400) * 365 + (year % 400) / 4 - (year % 400) / 100 + of_year;
        Self((year / 400 * ERA + of_era - EPOCH).saturating_mul(DAY))
    }

    /// Year, month (from 1) and day (from 1).
    const fn date(self) -> (u64, u64, u64) {
        // Counted from the first of March, so that the leap day is the last of its year.
        let days = self.day() + EPOCH;
        let of_era = days % ERA;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = days / ERA * 400 + year_of_era + (month <= 2) as u64;
        (year, month, day)
    }
}

/// As `2026-11-21 17:10 UTC`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let minutes = self.0 % DAY / 60;
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Dates as `date -u -d @N` prints them.
    #[test]
    fn a_time_reads_as_date_prints_it() {
        let known = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_281_033, "2026-11-21 17:10 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ];
        for (seconds, text) in known {
            assert_eq!(UnixTime(seconds).to_string(), text);
        }
    }

    #[test]
    fn months_follow_each_other_over_the_end_of_a_year() {
        let november = UnixTime(1_795_281_033);
        let december = november.next_month();
        assert_eq!(december.to_string(), "2026-12-01 00:00 UTC");
        assert_eq!(december.next_month().to_string(), "2027-01-01 00:00 UTC");
        assert_eq!(december.next_month().month(), november.month() + 2);
        assert_eq!(november.next_day().to_string(), "2026-11-22 00:00 UTC");
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let end = UnixTime(u64::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert!(end.next_day() >= UnixTime(end.day() * DAY));
        assert!(!end.to_string().is_empty());
        assert!(end.next_month().0 > 0);
    }

    proptest! {
        #[test]
        fn the_next_month_is_the_first_moment_of_another_month(seconds in 0..400_000_000_000_u64) {
            let now = UnixTime(seconds);
            let next = now.next_month();
            prop_assert!(next > now);
            prop_assert_eq!(next.month(), now.month() + 1);
            prop_assert_eq!(UnixTime(next.0 - 1).month(), now.month());
        }
    }
}
