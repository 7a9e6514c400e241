//! A range of seconds that the user selected: zooming, panning, and its text in the address.

use std::fmt::{self, Display};

use joey_shared::window::SECONDS_MAX;

/// The shortest range, in seconds. A shorter one would often contain no period.
pub const RANGE_MIN: u64 = 5;

/// What of a range is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangePart {
    /// Its first second.
    Start,
    /// All of it; its length stays.
    Whole,
    /// Its last second.
    End,
}

/// A range of seconds since the Unix epoch, inclusive. Second `k` is the span `((k-1) s, k s]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first second.
    pub from: u64,
    /// The last second.
    pub to: u64,
}

impl TimeRange {
    /// The range that contains both seconds, in either order. It has at least [`RANGE_MIN`] and at most an hour's seconds.
    #[must_use]
    pub fn between(a: u64, b: u64) -> Self {
        let (from, to) = (a.min(b), a.max(b));
        Self::around(from, to, (to - from + 1).clamp(RANGE_MIN, SECONDS_MAX))
    }

    /// The range of `length` seconds with the same middle as `from..=to`.
    const fn around(from: u64, to: u64, length: u64) -> Self {
        // The sum may be odd. Then the range ends half a second later.
        let to = (from + to + length) / 2;
        Self { from: (to + 1).saturating_sub(length), to }
    }

    /// Number of seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.to + 1 - self.from
    }

    /// Half of the range around its middle.
    #[must_use]
    pub fn zoomed_in(self) -> Self {
        Self::around(self.from, self.to, (self.seconds() / 2).max(RANGE_MIN))
    }

    /// Twice the range around its middle, up to an hour.
    #[must_use]
    pub fn zoomed_out(self) -> Self {
        Self::around(self.from, self.to, (self.seconds() * 2).min(SECONDS_MAX))
    }

    /// Half or twice the range, with `second` at the same share of it as before.
    #[must_use]
    pub fn zoomed_at(self, second: u64, is_in: bool) -> Self {
        let length = if is_in { (self.seconds() / 2).max(RANGE_MIN) } else { (self.seconds() * 2).min(SECONDS_MAX) };
        let before = second.clamp(self.from, self.to) - self.from;
        let from = (self.from + before).saturating_sub(before * length / self.seconds());
        Self { from, to: from + length - 1 }
    }

    /// The range moved by `seconds`.
    #[must_use]
    pub const fn moved(self, seconds: i64) -> Self {
        let from = self.from.saturating_add_signed(seconds);
        Self { from, to: from + self.seconds() - 1 }
    }

    /// The range moved as little as possible so that it ends at `newest` at the latest, and starts within the hour before it.
    #[must_use]
    pub fn within_hour_before(self, newest: u64) -> Self {
        let length = self.seconds().min(SECONDS_MAX);
        let oldest_end = (newest + length).saturating_sub(SECONDS_MAX);
        let to = self.to.clamp(oldest_end.min(newest), newest);
        Self { from: (to + 1).saturating_sub(length), to }
    }

    /// The range with `part` moved by `seconds`, as far as `span` allows. It keeps at least [`RANGE_MIN`] seconds.
    #[must_use]
    pub fn with_moved(self, part: RangePart, seconds: i64, span: Self) -> Self {
        let moved = |second: u64| second.saturating_add_signed(seconds);
        match part {
            RangePart::Whole => {
                let length = self.seconds().min(span.seconds());
                let last_start = span.to + 1 - length;
                let from = moved(self.from).clamp(span.from.min(last_start), last_start);
                Self { from, to: from + length - 1 }
            }
            RangePart::Start => {
                let latest = (self.to + 1).saturating_sub(RANGE_MIN);
                Self { from: moved(self.from).clamp(span.from.min(latest), latest), to: self.to }
            }
            RangePart::End => {
                let earliest = self.from + RANGE_MIN - 1;
                Self { from: self.from, to: moved(self.to).clamp(earliest, span.to.max(earliest)) }
            }
        }
    }

    /// The range of the same length with `second` in its middle, as far as `span` allows.
    #[must_use]
    pub fn centred_at(self, second: u64, span: Self) -> Self {
        let middle = self.from.midpoint(self.to);
        self.with_moved(RangePart::Whole, second.cast_signed() - middle.cast_signed(), span)
    }

    /// Parses the parameters `from` and `to` of an address. `None` if they are not a range of at most an hour.
    #[must_use]
    pub fn parse(from: &str, to: &str) -> Option<Self> {
        let range = Self { from: from.parse().ok()?, to: to.parse().ok()? };
        // The limit keeps the arithmetic with nanoseconds far from overflow.
        let is_valid = range.from > 0 && range.from <= range.to && range.to < 1 << 33 && range.seconds() <= SECONDS_MAX;
        is_valid.then_some(range)
    }
}

/// The parameters of an address.
impl Display for TimeRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "from={}&to={}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(from: u64, to: u64) -> TimeRange {
        TimeRange { from, to }
    }

    #[test]
    fn a_range_is_zoomed_around_its_middle() {
        assert_eq!(range(101, 200).zoomed_in(), range(126, 175));
        assert_eq!(range(126, 175).zoomed_out(), range(101, 200));
        assert_eq!(range(101, 105).zoomed_in(), range(101, 105));
    }

    #[test]
    fn a_range_is_zoomed_around_a_second() {
        assert_eq!(range(101, 200).zoomed_at(121, true), range(111, 160));
        assert_eq!(range(111, 160).zoomed_at(121, false), range(101, 200));
        assert_eq!(range(101, 200).zoomed_at(9, true), range(101, 150));
        assert_eq!(range(5_001, 8_600).zoomed_at(6_000, false), range(5_001, 8_600));
    }

    #[test]
    fn a_range_stays_within_the_hour() {
        assert_eq!(range(9_950, 10_049).within_hour_before(10_000), range(9_901, 10_000));
        assert_eq!(range(1, 100).within_hour_before(10_000), range(6_401, 6_500));
        assert_eq!(range(9_000, 9_100).within_hour_before(10_000), range(9_000, 9_100));
    }

    #[test]
    fn parts_are_moved_within_the_span() {
        let (start, span) = (range(101, 200), range(51, 300));
        let moved = |part, seconds| start.with_moved(part, seconds, span);
        assert_eq!(
            [-10, -99, 99, 999].map(|by| moved(RangePart::Whole, by)),
            [range(91, 190), range(51, 150), range(200, 299), range(201, 300)]
        );
        assert_eq!([-10, -99, 99].map(|by| moved(RangePart::Start, by).from), [91, 51, 196]);
        assert_eq!([-99, 10, 999].map(|by| moved(RangePart::End, by).to), [105, 210, 300]);
        assert_eq!([60, 120, 999].map(|second| start.centred_at(second, span).from), [51, 71, 201]);
        // A window that is longer than what there is.
        assert_eq!(start.with_moved(RangePart::Whole, 5, range(181, 200)), range(181, 200));
        assert_eq!(start.with_moved(RangePart::Start, 5, range(190, 195)), range(190, 200));
    }

    #[test]
    fn only_ranges_up_to_an_hour_are_parsed() {
        assert_eq!(TimeRange::parse("100", "160"), Some(range(100, 160)));
        for (from, to) in
            [("160", "100"), ("0", "5"), ("1", "3601"), ("x", "5"), ("", ""), ("1", "18446744073709551615")]
        {
            assert_eq!(TimeRange::parse(from, to), None, "{from} {to}");
        }
    }

    #[test]
    fn two_seconds_are_inside_their_range() {
        for (a, distance) in
            (5_000..5_100).flat_map(|a| [0, 1, 4, 5, 6, 299, 3_598, 3_599].map(|distance| (a, distance)))
        {
            let found = TimeRange::between(a, a + distance);
            assert!(found.from <= a && a + distance <= found.to, "{found:?}");
            assert!((RANGE_MIN..=SECONDS_MAX).contains(&found.seconds()), "{found:?}");
            assert_eq!(found, TimeRange::between(a + distance, a));
            let text = found.to_string();
            let (from, to) = text.split_once('&').unwrap();
            let parsed = TimeRange::parse(from.strip_prefix("from=").unwrap(), to.strip_prefix("to=").unwrap());
            assert_eq!(parsed, Some(found));
        }
    }

    #[test]
    fn moving_and_zooming_keep_ranges_valid() {
        for length in RANGE_MIN..=SECONDS_MAX {
            let start = range(9_000, 9_000 + length - 1);
            for by in [-4_000, -1, 0, 1, 4_000] {
                assert_eq!(start.moved(by).seconds(), length);
                assert_eq!(start.moved(by).moved(-by), start);
            }
            for zoomed in [start.zoomed_in(), start.zoomed_out()] {
                assert!((RANGE_MIN..=SECONDS_MAX).contains(&zoomed.seconds()), "{zoomed:?}");
            }
        }
    }
}
