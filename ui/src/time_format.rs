//! Instants in ns since the Unix epoch as dates and times, in local time or UTC.
//!
//! The UTC offset is an argument: only the browser can determine it, and it depends on the instant.

/// How far local time is ahead of UTC, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcOffset(pub i64);

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);

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

    /// Date and time: `2026-11-21 14:02:31`.
    #[must_use]
    pub fn date_time(self, ns: u64) -> String {
        let (year, month, day) = civil(self.local_seconds(ns).div_euclid(86_400));
        format!("{year}-{month:02}-{day:02} {}", self.time(ns))
    }

    /// Date, time and offset: `2026-11-21 14:02:31 UTC+1`.
    #[must_use]
    pub fn full(self, ns: u64) -> String {
        format!("{} {}", self.date_time(ns), self.name())
    }

    /// Date and time in UTC as in ISO 8601: `2026-11-21T13:02:31Z`.
    #[must_use]
    pub fn iso(ns: u64) -> String {
        let (year, month, day) = civil(Self::UTC.local_seconds(ns).div_euclid(86_400));
        format!("{year}-{month:02}-{day:02}T{}Z", Self::UTC.time(ns))
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

/// The UTC offsets within a span of time: two if daylight saving time begins or ends in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcOffsets {
    before: UtcOffset,
    after: UtcOffset,
    /// The first second with `after`, since the Unix epoch.
    change: u64,
}

impl UtcOffsets {
    /// The UTC offsets between the seconds `from` and `to`. `offset_at` returns the one at a second. At most one change is
    /// found, which is enough for the longest window, an hour.
    #[must_use]
    pub fn between(from: u64, to: u64, offset_at: impl Fn(u64) -> UtcOffset) -> Self {
        let (before, after) = (offset_at(from), offset_at(to));
        let (mut low, mut high) = (from, to);
        while before != after && high - low > 1 {
            let middle = low.midpoint(high);
            if offset_at(middle) == before {
                low = middle;
            } else {
                high = middle;
            }
        }
        Self { before, after, change: high }
    }

    /// The UTC offset at `second`.
    #[must_use]
    pub const fn at(self, second: u64) -> UtcOffset {
        if second < self.change { self.before } else { self.after }
    }

    /// The time of day at `second`: `14:02:31`.
    #[must_use]
    pub fn time(self, second: u64) -> String {
        self.at(second).time(second.saturating_mul(1_000_000_000))
    }
}

/// Year, month and day of a day number since 1970-01-01, from the year 0 on (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
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
    fn daylight_saving_time_ends_at_its_second() {
        // Berlin: 2026-10-25 01:00 UTC.
        let change = 1_792_890_000;
        let berlin = |second| UtcOffset(if second < change { 7_200 } else { 3_600 });
        for (from, to) in [(change - 1_800, change + 1_800), (change - 1, change), (change - 3_600, change + 1)] {
            let offsets = UtcOffsets::between(from, to, berlin);
            for second in [from, change - 1, change, to] {
                assert_eq!(offsets.at(second), berlin(second), "{second} in {from}..{to}");
            }
        }
        let offsets = UtcOffsets::between(change - 1_200, change + 1_200, berlin);
        assert_eq!(
            (offsets.time(change - 1_200), offsets.time(change + 1_200)),
            ("02:40:00".into(), "02:20:00".into())
        );
        assert_eq!(UtcOffsets::between(change, change + 60, berlin).at(change - 1), UtcOffset(3_600));
        assert_eq!(UtcOffsets::between(5, 5, berlin).at(5), UtcOffset(7_200));
    }

    #[test]
    fn instants_are_formatted_with_their_offset() {
        let ns = 1_544_101_820 * 1_000_000_000;
        assert_eq!(UtcOffset(0).full(ns), "2018-12-06 13:10:20 UTC");
        assert_eq!(UtcOffset(3_600).full(ns), "2018-12-06 14:10:20 UTC+1");
        assert_eq!(UtcOffset(-12_600).full(0), "1969-12-31 20:30:00 UTC-3:30");
        assert_eq!(UtcOffset::iso(ns), "2018-12-06T13:10:20Z");
        assert_eq!(UtcOffset(0).short_time(ns), "13:10");
        assert_eq!(UtcOffset(0).full(1_709_164_800 * 1_000_000_000), "2024-02-29 00:00:00 UTC");
    }
}
