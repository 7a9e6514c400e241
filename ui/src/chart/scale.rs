//! Axes: linear scales, and round tick values for rates, durations and times.

use joey_shared::format;

use crate::time_format::UtcOffsets;
use crate::units;

/// A linear map from `from..=to` to `start..=end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The value at `start`.
    pub from: f64,
    /// The value at `end`.
    pub to: f64,
    /// The position of `from`.
    pub start: f64,
    /// The position of `to`.
    pub end: f64,
}

impl Scale {
    /// The position of `value`.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let span = self.to - self.from;
        if span == 0.0 { self.start } else { self.start + (value - self.from) / span * (self.end - self.start) }
    }

    /// The value at `position`.
    #[must_use]
    pub fn value(&self, position: f64) -> f64 {
        let span = self.end - self.start;
        if span == 0.0 { self.from } else { self.from + (position - self.start) / span * (self.to - self.from) }
    }
}

/// A round maximum for values up to `most`, and the step between its ticks, of which there are about `lines`. The step is 1, 2
/// or 5 times a power of ten.
#[must_use]
pub fn round_steps(most: f64, lines: f64) -> (f64, f64) {
    if most.is_nan() || most <= 0.0 || most.is_infinite() {
        return (1.0, 1.0);
    }
    let rough = most / lines;
    // Multiplication is exact here; a logarithm could round to the wrong power.
    let mut power = 1.0;
    while power * 10.0 <= rough {
        power *= 10.0;
    }
    while power > rough {
        power /= 10.0;
    }
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    let step = factor.unwrap_or(10.0) * power;
    ((most / step).ceil() * step, step)
}

/// The ticks of a latency axis between two edges of bins (as powers of two): powers of ten, and 2 and 5 times them if there is
/// room.
///
/// Returns `(log2 of the duration, label)`, ascending. A tick is at its exact position, not at the next edge of a bin.
#[must_use]
pub fn duration_ticks(from_log2: f64, to_log2: f64, labels_max: usize) -> Vec<(f64, String)> {
    for factors in [&[1_u64, 2, 5][..], &[1]] {
        for every in 1..=4_u32 {
            let ticks = ticks_of(factors, every, from_log2, to_log2);
            if ticks.len() <= labels_max.max(1) {
                return ticks;
            }
            // Multiples only make sense if every power of ten has a tick.
            if factors.len() > 1 {
                break;
            }
        }
    }
    Vec::new()
}

fn ticks_of(factors: &[u64], every: u32, from_log2: f64, to_log2: f64) -> Vec<(f64, String)> {
    let decades = (0..20).filter(|decade| decade % every == 0).filter_map(|decade| 10_u64.checked_pow(decade));
    let values = decades.flat_map(|decade| factors.iter().filter_map(move |factor| decade.checked_mul(*factor)));
    let near = |log2: f64| log2 >= from_log2 - 1e-9 && log2 <= to_log2 + 1e-9;
    values.map(|ns| ((ns as f64).log2(), plain_duration(ns))).filter(|(log2, _)| near(*log2)).collect()
}

/// The maximum length of a number beside an axis. A longer one is written as a power of ten.
const NUMBER_MAX: usize = 6;

/// A round duration: `10 µs`, or in the unit that the user chose `0.01 ms`, `2×10⁷ ns`.
fn plain_duration(ns: u64) -> String {
    let Some(length) = units::fixed_ns() else {
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
        return units.into_iter().find(|(length, _)| ns >= *length).map_or_else(String::new, |(length, unit)| {
            format::Quantity { number: (ns / length).to_string(), unit }.thin()
        });
    };
    let mut quantity = units::duration(ns.into());
    trim_zeros(&mut quantity.number);
    if quantity.number.chars().count() > NUMBER_MAX {
        let exponent = ns.ilog10();
        let factor = ns / 10_u64.pow(exponent);
        let power = format!("10{}", superscript(exponent.cast_signed() - length.ilog10().cast_signed()));
        quantity.number = if factor == 1 { power } else { format!("{factor}×{power}") };
    }
    quantity.thin()
}

/// `⁻⁶`.
fn superscript(number: i32) -> String {
    let digit = |digit: char| match digit.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    number.to_string().chars().map(digit).collect()
}

/// Removes the zeros at the end of a number with decimals.
fn trim_zeros(number: &mut String) {
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
}

/// A round rate without trailing zeros: `0`, `500`, `20 k`, `1.5 M`.
#[must_use]
pub fn plain_rate(rate: f64) -> String {
    let mut quantity = format::rate(rate);
    trim_zeros(&mut quantity.number);
    quantity.thin()
}

/// The possible steps between the ticks of a time axis, in seconds.
const TIME_STEPS: [u64; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 900];

/// The ticks of a time axis between two seconds, at most `labels_max`: `(second, label)`.
#[must_use]
pub fn time_ticks(from: u64, to: u64, labels_max: usize, utc_offsets: UtcOffsets) -> Vec<(u64, String)> {
    let span = to.saturating_sub(from);
    let fits = |step: &u64| span / step < labels_max.max(1) as u64;
    let step = TIME_STEPS.into_iter().find(fits).unwrap_or(900);
    // Ticks are at round local times, which are not round in UTC everywhere. Daylight saving time does not matter: it
    // shifts by at least half an hour, a multiple of every step.
    let shift = utc_offsets.at(from).0.rem_euclid(i64::try_from(step).unwrap_or(1)).cast_unsigned();
    // The product is at least `from + shift`.
    let first = (from + shift).div_ceil(step) * step - shift;
    let label = |second: u64| {
        let mut time = utc_offsets.time(second);
        time.truncate(if step >= 60 { 5 } else { 8 });
        time
    };
    (0..).map(|at| first + at * step).take_while(|second| *second <= to).map(|second| (second, label(second))).collect()
}

/// The number of nines of `quantile`: one for 0.9, three for 0.999. This is the axis of the percentile curve.
#[must_use]
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::choices::{BinLabels, Units};
    use crate::time_format::UtcOffset;
    use joey_shared::format::DurationUnit;

    #[test]
    fn a_scale_maps_in_both_directions() {
        let scale = Scale { from: 10.0, to: 20.0, start: 100.0, end: 0.0 };
        assert_eq!((scale.at(15.0), scale.value(50.0)), (50.0, 15.0));
        let flat = Scale { from: 1.0, to: 1.0, start: 3.0, end: 3.0 };
        assert_eq!((flat.at(9.0), flat.value(9.0)), (3.0, 1.0));
    }

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!(round_steps(141_200.0, 4.0), (150_000.0, 50_000.0));
        assert_eq!(round_steps(3.0, 4.0), (3.0, 1.0));
        assert_eq!(round_steps(0.7, 3.0), (1.0, 0.5));
        for nothing in [0.0, f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(round_steps(nothing, 4.0), (1.0, 1.0));
        }
        assert_eq!([0.0, 500.0, 20_000.0, 1_500_000.0].map(plain_rate), ["0", "500", "20\u{2009}k", "1.5\u{2009}M"]);
    }

    fn labels(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label.replace('\u{2009}', " ")).collect()
    }

    #[test]
    fn durations_are_labelled_by_decades() {
        assert_eq!(
            labels(duration_ticks(5.0, 27.0, 8)),
            ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]
        );
        assert_eq!(labels(duration_ticks(5.0, 9.0, 8)), ["50 ns", "100 ns", "200 ns", "500 ns"]);
        assert_eq!(labels(duration_ticks(0.0, 64.0, 6)), ["1 ns", "10 µs", "100 ms", "1000 s", "10000000 s"]);
    }

    #[test]
    fn durations_are_labelled_in_the_chosen_unit() {
        for (unit, expected) in [
            (DurationUnit::Milliseconds, ["0.01 ms", "1 ms", "100 ms", "10 000 ms"]),
            (DurationUnit::Nanoseconds, ["10 000 ns", "10⁶ ns", "10⁸ ns", "10¹⁰ ns"]),
            (DurationUnit::Seconds, ["10⁻⁵ s", "0.001 s", "0.1 s", "10 s"]),
        ] {
            units::set(Units::Fixed(unit), BinLabels::Limits);
            let labels = labels(duration_ticks(7.0, 37.0, 5)).into_iter();
            assert_eq!(labels.map(|label| label.replace('\u{202f}', " ")).collect::<Vec<_>>(), expected);
        }
        assert_eq!([2_000, 50].map(plain_duration), ["2×10⁻⁶\u{2009}s", "5×10⁻⁸\u{2009}s"]);
        units::set(Units::Automatic, BinLabels::Limits);
    }

    fn times(from: u64, to: u64, labels_max: usize, zone: i64) -> Vec<String> {
        let utc_offsets = UtcOffsets::between(from, to, |_| UtcOffset(zone));
        time_ticks(from, to, labels_max, utc_offsets).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn times_are_labelled_by_the_local_clock() {
        assert_eq!(times(36_001, 36_300, 6, 0), ["10:01", "10:02", "10:03", "10:04", "10:05"]);
        assert_eq!(times(36_001, 36_010, 4, 0), ["10:00:05", "10:00:10"]);
        assert_eq!(times(36_001, 36_300, 2, 1_800), ["10:35"]);
        assert_eq!(times(0, 0, 0, 0), ["00:00:00"]);
        // The end of daylight saving time in Berlin: 03:00 becomes 02:00.
        let utc_offsets = UtcOffsets::between(1_792_888_200, 1_792_891_800, |second| {
            UtcOffset(if second < 1_792_890_000 { 7_200 } else { 3_600 })
        });
        let labels: Vec<String> =
            time_ticks(1_792_888_200, 1_792_891_800, 5, utc_offsets).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["02:30", "02:45", "02:00", "02:15", "02:30"]);
    }

    #[test]
    fn nines_count_nines() {
        for (quantile, expected) in [(0.0, 0.0), (0.9, 1.0), (0.999, 3.0), (1.0, 12.0)] {
            assert!((nines(quantile) - expected).abs() < 1e-9, "{quantile}");
        }
    }
}
