//! Instants as people read them: local or UTC, from nanoseconds since the Unix epoch.
//!
//! The zone is an argument, because only the browser knows it and only for a given instant.

/// How far local time is ahead of UTC, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone(pub i64);

impl Zone {
    /// `ns` as seconds of local time since the Unix epoch.
    #[must_use]
    pub fn local_seconds(self, ns: u64) -> i64 {
        i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX).saturating_add(self.0)
    }

    /// The time of day: `14:02:31`.
    #[must_use]
    pub fn time(self, ns: u64) -> String {
        let second = self.local_seconds(ns).rem_euclid(86_400).cast_unsigned();
        format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }

    /// The time of day without seconds: `14:02`.
    #[must_use]
    pub fn short_time(self, ns: u64) -> String {
        self.time(ns).get(..5).unwrap_or_default().to_owned()
    }

    /// Date, time and offset: `2026-11-21 14:02:31 UTC+1`.
    #[must_use]
    pub fn full(self, ns: u64) -> String {
        let (year, month, day) = civil(self.local_seconds(ns).div_euclid(86_400));
        format!("{year}-{month:02}-{day:02} {} {}", self.time(ns), self.name())
    }

    /// `UTC`, `UTC+1`, `UTC-3:30`.
    #[must_use]
    pub fn name(self) -> String {
        let minutes = self.0.unsigned_abs() / 60;
        let sign = if self.0 < 0 { "-" } else { "+" };
        match (minutes / 60, minutes % 60) {
            (0, 0) => "UTC".to_owned(),
            (hours, 0) => format!("UTC{sign}{hours}"),
            (hours, rest) => format!("UTC{sign}{hours}:{rest:02}"),
        }
    }
}

/// Year, month and day of a day number since 1970-01-01; no year before our era (Howard Hinnant, "chrono-compatible low-level
/// date algorithms").
fn civil(days: i64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let (year, day) = (year_of_era + era * 400 + i64::from(month <= 2), day_of_year - (153 * shifted + 2) / 5 + 1);
    (year.cast_unsigned(), month.cast_unsigned(), day.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_their_zone() {
        let ns = 1_544_101_820 * 1_000_000_000;
        assert_eq!(Zone(0).full(ns), "2018-12-06 13:10:20 UTC");
        assert_eq!(Zone(3_600).full(ns), "2018-12-06 14:10:20 UTC+1");
        assert_eq!(Zone(-12_600).full(0), "1969-12-31 20:30:00 UTC-3:30");
        assert_eq!(Zone(0).short_time(ns), "13:10");
        assert_eq!(Zone(0).full(1_709_164_800 * 1_000_000_000), "2024-02-29 00:00:00 UTC");
    }
}
