//! Percentiles that a handle on the percentile curve can choose.
//!
//! The axis of the curve is logarithmic, so a step is relative to the tail, the share of events above the percentile. A tail
//! has two digits that count: 43 %, 0.51 % or 0.0012 %. That is finer than a pixel, and the percentiles are still short.

use crate::typed_percentile::TypedPercentile;

/// The longest tail of a handle, in millionths: p1.
const TAIL_MAX: u32 = 990_000;

/// A hundred percent, in millionths.
const ONE: f64 = 1e6;

/// A movement of the handle by keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the next higher percentile.
    Up,
    /// To the next lower percentile.
    Down,
    /// To a tenth of the tail: from p90 to p99.
    MoreNines,
    /// To ten times the tail.
    FewerNines,
}

/// The percentile nearest to a number of nines.
#[must_use]
pub fn at_nines(nines: f64) -> TypedPercentile {
    let tail = (10_f64.powf(-nines) * ONE).round();
    percentile(tail.clamp(1.0, TAIL_MAX.into()) as u32)
}

/// The number of nines of a percentile: one for p90, three for p99.9.
#[must_use]
pub fn nines_of(percentile: TypedPercentile) -> f64 {
    -(f64::from(percentile.tail()) / ONE).log10()
}

/// The percentile one step away from `from`, or the last one that a handle can choose.
#[must_use]
pub fn moved(from: TypedPercentile, step: Step) -> TypedPercentile {
    let tail = from.tail();
    let unit = unit_of(tail);
    let next = match step {
        Step::Down => (tail / unit + 1) * unit,
        // The unit below a power of ten is smaller.
        Step::Up => {
            let unit = unit_of(tail - 1);
            ((tail - 1) / unit).max(1) * unit
        }
        Step::MoreNines => tail / 10,
        Step::FewerNines => tail.saturating_mul(10),
    };
    percentile(next)
}

/// The percentile of a tail in millionths, rounded to two digits.
fn percentile(tail: u32) -> TypedPercentile {
    let tail = tail.clamp(1, TAIL_MAX);
    let unit = unit_of(tail);
    let rounded = ((tail + unit / 2) / unit * unit).min(TAIL_MAX);
    // It is between 1 and the maximum, so there is such a percentile.
    TypedPercentile::from_tail(rounded).unwrap_or_else(|| at_nines(1.0))
}

/// The value of the second digit of `tail`.
const fn unit_of(tail: u32) -> u32 {
    let mut unit = 1;
    while tail / unit >= 100 {
        unit *= 10;
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(percentile: TypedPercentile) -> String {
        percentile.number()
    }

    fn parsed(text: &str) -> TypedPercentile {
        TypedPercentile::parse(text).unwrap()
    }

    #[test]
    fn a_position_is_a_percentile_with_few_digits() {
        for (nines, expected) in
            [(0.0, "1"), (1.0, "90"), (2.0, "99"), (1.31, "95.1"), (3.3, "99.95"), (9.0, "99.9999"), (-1.0, "1")]
        {
            assert_eq!(number(at_nines(nines)), expected, "{nines}");
        }
    }

    #[test]
    fn keys_move_by_the_second_digit_of_the_tail_or_by_a_nine() {
        for (from, step, expected) in [
            ("95", Step::Up, "95.1"),
            ("95", Step::Down, "94.9"),
            ("90", Step::Up, "90.1"),
            ("90", Step::Down, "89"),
            ("99.9999", Step::Up, "99.9999"),
            ("99.9999", Step::Down, "99.9998"),
            ("1", Step::Down, "1"),
            ("95", Step::MoreNines, "99.5"),
            ("99.5", Step::FewerNines, "95"),
            ("50", Step::FewerNines, "1"),
            ("99.9995", Step::MoreNines, "99.9999"),
        ] {
            assert_eq!(number(moved(parsed(from), step)), expected, "{from} {step:?}");
        }
    }

    #[test]
    fn steps_up_and_down_are_in_order_and_return() {
        for thousandths in 50..5_500 {
            let start = at_nines(f64::from(thousandths) / 1_000.0);
            let (up, down) = (moved(start, Step::Up), moved(start, Step::Down));
            assert!(down <= start && start <= up, "{thousandths}");
            assert_eq!(at_nines(nines_of(start)), start, "{thousandths}");
            if up > start {
                assert_eq!(moved(up, Step::Down), start, "{thousandths}");
            }
            if down < start {
                assert_eq!(moved(down, Step::Up), start, "{thousandths}");
            }
        }
    }
}
