//! Durations and bins as text, in the unit and with the labels that the user chose.
//!
//! The choice is global, because every chart, row and readout formats durations. The page is created anew when it changes.

use std::cell::Cell;

use joey_shared::format::{self, DurationUnit, Quantity};
use joey_shared::histogram::QuantileRange;

use crate::settings::choices::{BinLabels, Units};

thread_local! {
    static UNIT: Cell<Option<DurationUnit>> = const { Cell::new(None) };
    static BIN_LABELS: Cell<BinLabels> = const { Cell::new(BinLabels::Limits) };
}

/// Sets the unit of durations and the labels of bins.
pub fn set(units: Units, bins: BinLabels) {
    UNIT.set(units.fixed());
    BIN_LABELS.set(bins);
}

/// The length of the unit that the user chose, in ns; `None` if each duration has its own.
#[must_use]
pub fn fixed_ns() -> Option<u64> {
    UNIT.get().map(|unit| match unit {
        DurationUnit::Nanoseconds => 1,
        DurationUnit::Microseconds => 1_000,
        DurationUnit::Milliseconds => 1_000_000,
        DurationUnit::Seconds => 1_000_000_000,
    })
}

/// Formats a duration of `ns`: `16.8 ms`.
#[must_use]
pub fn duration(ns: u128) -> Quantity {
    format::duration_in(ns, UNIT.get())
}

/// Formats a quantile's range: `16.8–33.6 ms`.
#[must_use]
pub fn range(range: QuantileRange) -> Quantity {
    format::range_in(range, UNIT.get())
}

/// Formats the two bounds of a quantile's range in one unit, for pages that show them separately.
#[must_use]
pub fn range_ends(range: QuantileRange) -> (String, Quantity) {
    format::range_ends_in(range, UNIT.get())
}

/// The label of the bin from `low` to `high`, in ns, which is below `high`: `< 8 ns`. `high` is `None` for the last bin, which
/// has no upper limit.
#[must_use]
pub fn bin_label(low: u64, high: Option<u128>) -> String {
    match (high, BIN_LABELS.get()) {
        (None, _) => format!("≥ {}", duration(low.into()).thin()),
        (Some(high), BinLabels::Limits) => format!("< {}", duration(high).thin()),
        (Some(high), BinLabels::Wallaroo) => format!("<= {}", duration(high).thin()),
        (Some(high), BinLabels::Ranges) => {
            // Both in the unit of the upper limit.
            let (low, Quantity { number, unit }) = format::range_ends_in(QuantileRange { low, high }, UNIT.get());
            Quantity { number: format!("{low}–{number}"), unit }.thin()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_labelled_as_chosen() {
        for (bins, label) in [
            (BinLabels::Limits, "< 1.02 µs"),
            (BinLabels::Wallaroo, "<= 1.02 µs"),
            (BinLabels::Ranges, "0.512–1.02 µs"),
        ] {
            set(Units::Automatic, bins);
            assert_eq!(bin_label(512, Some(1_024)).replace('\u{2009}', " "), label);
            assert_eq!(bin_label(512, None).replace('\u{2009}', " "), "≥ 512 ns");
        }
        set(Units::Fixed(DurationUnit::Nanoseconds), BinLabels::Ranges);
        assert_eq!(bin_label(4, Some(8)), "4–8\u{2009}ns");
        assert_eq!(range(QuantileRange { low: 2_000, high: 3_000 }).to_string(), "2\u{202f}000–3\u{202f}000 ns");
    }
}
