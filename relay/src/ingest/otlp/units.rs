//! The units of instruments: which are times, and how long they are.
//!
//! OpenTelemetry writes units in UCUM (`ms`), Prometheus in words (`milliseconds`). An instrument without a unit may
//! have it in its name, as Prometheus' naming rules demand (`…_seconds`).

use joey_shared::histogram::Unit;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeUnit {
    /// The unit of the grid for its histograms.
    pub(super) grid: Unit,
    /// Its length in units of the grid. 1 for the units that have a grid of their own.
    pub(super) factor: u32,
}

impl TimeUnit {
    const fn exact(grid: Unit) -> Self {
        Self { grid, factor: 1 }
    }

    /// The unit of an instrument; `None` if it does not measure a time.
    pub(super) fn of_instrument(unit: &str, name: &str) -> Option<Self> {
        if !unit.is_empty() {
            return Self::parse(unit);
        }
        let (_, last) = name.rsplit_once(['.', '_'])?;
        // A short suffix such as `.s` or `.d` is rarely a unit.
        (last.len() > 1).then(|| Self::parse(last)).flatten()
    }

    fn parse(unit: &str) -> Option<Self> {
        Some(match unit {
            "ns" | "nanosecond" | "nanoseconds" => Self::exact(Unit::Nanoseconds),
            // U+00B5 is the micro sign, U+03BC the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" | "microsecond" | "microseconds" => Self::exact(Unit::Microseconds),
            "ms" | "millisecond" | "milliseconds" => Self::exact(Unit::Milliseconds),
            "s" | "second" | "seconds" => Self::exact(Unit::Seconds),
            "min" | "minute" | "minutes" => Self { grid: Unit::Seconds, factor: 60 },
            "h" | "hour" | "hours" => Self { grid: Unit::Seconds, factor: 3_600 },
            "d" | "day" | "days" => Self { grid: Unit::Seconds, factor: 86_400 },
            _ => return None,
        })
    }

    /// Its length in ns.
    pub(super) fn ns(self) -> f64 {
        self.grid.ns() as f64 * f64::from(self.factor)
    }

    /// A duration of `value` units in whole ns; `None` if it is negative, infinite or not a number.
    pub(super) fn duration_ns(self, value: f64) -> Option<u64> {
        // A conversion from a float saturates.
        is_duration(value).then(|| (value * self.ns()).round() as u64)
    }

    /// A sum of durations in whole ns; `None` if it is negative, not a number, or more than 584 years.
    pub(super) fn sum_ns(self, value: f64) -> Option<u64> {
        let sum_ns = (value * self.ns()).round();
        (0.0..2_f64.powi(64)).contains(&sum_ns).then_some(sum_ns as u64)
    }
}

fn is_duration(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_time_are_known_in_ucum_and_in_words() {
        for (unit, ns) in [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("seconds", 1e9),
            ("min", 60e9),
            ("h", 3_600e9),
            ("d", 86_400e9),
        ] {
            assert_eq!(TimeUnit::of_instrument(unit, "x").map(TimeUnit::ns), Some(ns), "{unit}");
        }
        for unit in ["By", "1", "{request}", "S", "MS", "%", "{s}"] {
            assert_eq!(TimeUnit::of_instrument(unit, "request_seconds"), None, "{unit}");
        }
    }

    #[test]
    fn an_instrument_without_a_unit_may_have_it_in_its_name() {
        let ns = |name| TimeUnit::of_instrument("", name).map(TimeUnit::ns);
        assert_eq!(ns("http_request_duration_seconds"), Some(1e9));
        assert_eq!(ns("queue.wait.ms"), Some(1e6));
        assert_eq!([ns("request.duration"), ns("ms"), ns("version.d"), ns("")], [None; 4]);
    }

    #[test]
    fn values_that_are_no_durations_have_no_length() {
        let seconds = TimeUnit::exact(Unit::Seconds);
        assert_eq!(seconds.duration_ns(0.25), Some(250_000_000));
        assert_eq!([-1.0, f64::NAN, f64::INFINITY].map(|value| seconds.duration_ns(value)), [None; 3]);
        assert_eq!((seconds.duration_ns(1e300), seconds.sum_ns(1e300)), (Some(u64::MAX), None));
        assert_eq!(seconds.sum_ns(1e9), Some(1_000_000_000_000_000_000));
        assert_eq!([-1.0, f64::NAN, f64::INFINITY].map(|value| seconds.sum_ns(value)), [None; 3]);
    }
}
