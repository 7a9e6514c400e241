//! Formats durations, rates, counts and ages for display: three significant digits and one unit.

use alloc::format;
use alloc::string::{String, ToString};

use crate::histogram::QuantileRange;
use crate::wire::RejectedName;

/// A number and its unit. They are separate, so that the page can style the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The number.
    pub number: String,
    /// The unit; may be empty.
    pub unit: &'static str,
}

impl core::fmt::Display for Quantity {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(&self.number)?;
        if self.unit.is_empty() { Ok(()) } else { write!(out, " {}", self.unit) }
    }
}

impl Quantity {
    /// Formats it with a thin space, for charts.
    #[must_use]
    pub fn thin(&self) -> String {
        if self.unit.is_empty() { self.number.clone() } else { format!("{}\u{2009}{}", self.number, self.unit) }
    }
}

/// Units of time with their lengths in ns, in ascending order.
const DURATIONS: [(u128, &str); 4] = [(1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationUnit {
    /// ns.
    Nanoseconds,
    /// µs.
    Microseconds,
    /// ms.
    Milliseconds,
    /// s.
    Seconds,
}

/// Formats a duration of `ns`: `999 ns`, `16.8 ms`, `1.05 s`.
#[must_use]
pub fn duration(ns: u128) -> Quantity {
    duration_in(ns, None)
}

/// The same, always in `unit` if there is one: `0.00105 s`.
#[must_use]
pub fn duration_in(ns: u128, unit: Option<DurationUnit>) -> Quantity {
    let (format, unit) = in_unit(ns, unit);
    Quantity { number: format(ns), unit }
}

/// Formats a quantile's range in the unit of its upper bound: `16.8–33.6 ms`. One value if both bounds look the same.
#[must_use]
pub fn range(range: QuantileRange) -> Quantity {
    range_in(range, None)
}

/// The same, always in `unit` if there is one.
#[must_use]
pub fn range_in(range: QuantileRange, unit: Option<DurationUnit>) -> Quantity {
    let (low, Quantity { number: high, unit }) = range_ends_in(range, unit);
    Quantity { number: if low == high { high } else { format!("{low}–{high}") }, unit }
}

/// Formats the two bounds of a quantile's range in one unit, for pages that show them separately.
#[must_use]
pub fn range_ends(range: QuantileRange) -> (String, Quantity) {
    range_ends_in(range, None)
}

/// The same, always in `unit` if there is one.
#[must_use]
pub fn range_ends_in(range: QuantileRange, unit: Option<DurationUnit>) -> (String, Quantity) {
    let (format, unit) = in_unit(range.high, unit);
    (format(range.low.into()), Quantity { number: format(range.high), unit })
}

/// How to format durations in `unit`, or in the one that suits `ns`; and the name of the unit.
fn in_unit(ns: u128, unit: Option<DurationUnit>) -> (impl Fn(u128) -> String, &'static str) {
    let (length, name) = unit.map_or_else(|| unit_of(ns), |unit| DURATIONS[unit as usize]);
    (move |ns| if unit.is_some() { three_significant_digits(ns, length) } else { three_digits(ns, length) }, name)
}

/// Formats `value / unit` with three significant digits, however small it is, and with all digits before the point.
fn three_significant_digits(value: u128, unit: u128) -> String {
    if unit == 1 || value == 0 {
        return count(value);
    }
    // A unit is at most 10^9 times the smallest one.
    for decimals in (1..=9).rev() {
        let scale = 10_u128.pow(decimals);
        let scaled = value.saturating_mul(scale).saturating_add(unit / 2) / unit;
        if scaled < 1_000 {
            return decimal(scaled as u64, decimals);
        }
    }
    count(value.saturating_add(unit / 2) / unit)
}

fn unit_of(ns: u128) -> (u128, &'static str) {
    // A number that would be rounded up to 1000 uses the next unit.
    DURATIONS.into_iter().rev().find(|&(length, _)| ns * 2_000 >= length * 1_999).unwrap_or(DURATIONS[0])
}

/// Formats `value / unit` with three significant digits, rounded half up. The smallest unit has no decimals.
fn three_digits(value: u128, unit: u128) -> String {
    if unit == 1 || value == 0 {
        return value.to_string();
    }
    // Below a tenth, three decimals are enough: the upper bound of the range determines the unit.
    for (decimals, scale) in [(3, 1_000), (2, 100), (1, 10)] {
        let scaled = (value * scale + unit / 2) / unit;
        if scaled < 1_000 {
            return decimal(scaled as u64, decimals);
        }
    }
    ((value + unit / 2) / unit).to_string()
}

/// Formats `scaled / 10^decimals` with this number of decimals: `0.050` for 50 and 3.
#[must_use]
pub fn decimal(scaled: u64, decimals: u32) -> String {
    let scale = 10_u64.pow(decimals);
    format!("{}.{:0width$}", scaled / scale, scaled % scale, width = decimals as usize)
}

/// Units of large numbers in thousandths, in ascending order.
const THOUSANDS: [(u128, &str); 5] =
    [(1_000, ""), (1_000_000, "k"), (1_000_000_000, "M"), (1_000_000_000_000, "G"), (1_000_000_000_000_000, "T")];

/// Converts a rate to whole thousandths, which are formatted exactly.
fn thousandths(per_second: f64) -> u128 {
    (per_second * 1_000.0 + 0.5) as u128
}

/// Formats events per second: `0`, `12.5`, `141 k`, `2.50 M`. The caller adds the unit.
#[must_use]
pub fn rate(per_second: f64) -> Quantity {
    let rate = thousandths(per_second);
    let (size, unit) =
        THOUSANDS.into_iter().rev().find(|&(size, _)| rate * 2_000 >= size * 1_999).unwrap_or(THOUSANDS[0]);
    let is_whole = size == 1_000 && rate.is_multiple_of(size);
    Quantity { number: if is_whole { (rate / size).to_string() } else { three_digits(rate, size) }, unit }
}

/// Formats a rate with all digits, to the thousandth: `28 920.5`.
#[must_use]
pub fn exact_rate(per_second: f64) -> String {
    let rate = thousandths(per_second);
    let whole = count(rate / 1_000);
    match (rate % 1_000) as u64 {
        0 => whole,
        fraction => format!("{whole}.{}", format!("{fraction:03}").trim_end_matches('0')),
    }
}

/// Formats a count with all digits, grouped by narrow no-break spaces: `57 841`.
#[must_use]
pub fn count(count: u128) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats an age or a span: `now`, `12 s`, `3 min`, `2 h`, `5 d`.
#[must_use]
pub fn age(seconds: u64) -> String {
    match seconds {
        0 => "now".to_string(),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats the clock offset `offset_ns`, which has to be added to the times of the clock: `30 s behind`, `2 h ahead`.
#[must_use]
pub fn clock_offset(offset_ns: i64) -> String {
    let off = age(offset_ns.unsigned_abs().div_ceil(1_000_000_000));
    format!("{off} {}", if offset_ns < 0 { "ahead" } else { "behind" })
}

/// Describes the number of `frames` that were refused because of invalid names, and the newest of these `names`.
#[must_use]
pub fn rejected_names(frames: u64, names: &[RejectedName]) -> String {
    let mut text = match frames {
        1 => "1 frame was refused because of an invalid name".to_string(),
        _ => format!("{} frames were refused because of invalid names", count(frames.into())),
    };
    for (at, RejectedName { escaped, reason }) in names.iter().enumerate() {
        text.push_str(if at == 0 { ": " } else { ", " });
        text.push_str(&format!("“{escaped}” ({reason})"));
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_one_unit() {
        let expected = [
            (0, "0 ns"),
            (1, "1 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_024, "1.02 µs"),
            (65_536, "65.5 µs"),
            (524_288, "524 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (16_777_216, "16.8 ms"),
            (1_073_741_824, "1.07 s"),
            (3_600_000_000_000, "3600 s"),
        ];
        for (ns, text) in expected {
            assert_eq!(duration(ns).to_string(), text, "{ns}");
        }
    }

    #[test]
    fn durations_in_a_fixed_unit_have_three_digits_at_least() {
        for (ns, unit, text) in [
            (8, DurationUnit::Seconds, "0.000000008 s"),
            (8, DurationUnit::Milliseconds, "0.00000800 ms"),
            (1_048_576, DurationUnit::Seconds, "0.00105 s"),
            (999_999_999, DurationUnit::Seconds, "1.00 s"),
            (16_777_216, DurationUnit::Microseconds, "16\u{202f}777 µs"),
            (16_777_216, DurationUnit::Nanoseconds, "16\u{202f}777\u{202f}216 ns"),
            (0, DurationUnit::Seconds, "0 s"),
            (u128::MAX, DurationUnit::Seconds, &duration_in(u128::MAX, Some(DurationUnit::Seconds)).to_string()),
        ] {
            assert_eq!(duration_in(ns, Some(unit)).to_string(), text, "{ns}");
        }
        let range = QuantileRange { low: 16_777_216, high: 33_554_432 };
        assert_eq!(range_in(range, Some(DurationUnit::Seconds)).to_string(), "0.0168–0.0336 s");
    }

    #[test]
    fn ranges_use_the_unit_of_the_upper_bound() {
        let expected = [
            ((34, 64), "34–64 ns"),
            ((512, 1_024), "0.512–1.02 µs"),
            ((16_777_216, 33_554_432), "16.8–33.6 ms"),
            ((8_192, 14_509), "8.19–14.5 µs"),
            ((0, 1), "0–1 ns"),
            ((34, 34), "34 ns"),
            ((524_288, 1_048_576), "0.524–1.05 ms"),
        ];
        for ((low, high), text) in expected {
            assert_eq!(range(QuantileRange { low, high }).to_string(), text);
        }
    }

    #[test]
    fn rates_counts_and_ages_are_formatted() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.500"),
            (1.5, "1.50"),
            (12.5, "12.5"),
            (999.0, "999"),
            (1_000.0, "1.00 k"),
            (28_920.5, "28.9 k"),
            (141_200.0, "141 k"),
            (999_600.0, "1.00 M"),
            (2_500_000.0, "2.50 M"),
        ] {
            assert_eq!(rate(value).to_string(), text, "{value}");
        }
        assert_eq!((exact_rate(28_920.5), exact_rate(7.0)), ("28\u{202f}920.5".to_string(), "7".to_string()));
        assert_eq!((count(57_841), count(999)), ("57\u{202f}841".to_string(), "999".to_string()));
        assert_eq!(
            [0, 5, 119, 120, 7_199, 7_200, 172_800].map(age),
            ["now", "5 s", "119 s", "2 min", "119 min", "2 h", "2 d"]
        );
    }
}
