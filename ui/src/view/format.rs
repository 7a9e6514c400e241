//! Measurements as text: for tooltips, text alternatives and plain tables.

use joey_shared::format::{self, Quantity};
use joey_shared::histogram::QuantileRange;

use crate::statistics::{PERCENTILES, ViewStatistics};
use crate::units;

/// Shown where there is no value.
pub(super) const NO_VALUE: &str = "–";

/// A range with units: `8.19–16.4 µs`.
pub(super) fn range_text(range: Option<QuantileRange>) -> String {
    range.map_or_else(|| NO_VALUE.to_owned(), |range| units::range(range).to_string())
}

/// A range in nanoseconds: `8,192 to 16,384 ns`.
pub(super) fn exact_range(QuantileRange { low, high }: QuantileRange) -> String {
    format!("{} to {} ns", format::count(low.into()), format::count(high))
}

/// A mean in ns as a duration: `8.12 ms`.
pub(super) fn mean(mean_ns: f64) -> Quantity {
    units::duration(mean_ns.round() as u128)
}

/// A mean in ns with all its digits: `8 120 345.5`.
pub(super) fn mean_digits(mean_ns: f64) -> String {
    format::exact_rate(mean_ns)
}

/// A rate with all its digits; empty for `None`.
pub(super) fn exact_rate(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!("{} per second", format::exact_rate(rate)))
}

/// The rates in and out with all their digits; without the rate in if it is `None`.
pub(super) fn exact_rates(rate_in: Option<f64>, rate_out: Option<f64>) -> String {
    match rate_in {
        Some(_) => format!("in {}, out {}", exact_rate(rate_in), exact_rate(rate_out)),
        None => exact_rate(rate_out),
    }
}

/// The tooltip of the percentile `label`, which is in `range` and needs `events_min` of the `count` events.
pub(super) fn percentile_tooltip(label: &str, range: Option<QuantileRange>, count: u128, events_min: u128) -> String {
    let Some(range) = range else { return "no latency in this window".to_owned() };
    let (exact, is_supported, count) = (exact_range(range), count >= events_min, format::count(count));
    if is_supported {
        format!("{label} of {count} events: {exact}")
    } else {
        format!("only {count} events; {label} needs {}: {exact}", format::count(events_min))
    }
}

/// A view in one sentence: the text alternative of its charts.
pub(super) fn view_summary(statistics: &ViewStatistics) -> String {
    let mut summary = format!("{} events in {} s", format::count(statistics.count), statistics.covered_seconds);
    for (percentile, range) in PERCENTILES.iter().zip(statistics.quantiles) {
        if range.is_some() {
            summary.push_str(&format!(", {} {}", percentile.label, range_text(range)));
        }
    }
    if let Some(mean_ns) = statistics.histogram.mean_ns().filter(|_| statistics.quantiles[0].is_some()) {
        summary.push_str(&format!(", mean {}", mean(mean_ns)));
    }
    if let Some(rate) = statistics.recent_rate {
        summary.push_str(&format!(", {} per second lately", format::rate(rate)));
    }
    summary
}

/// A rate in one sentence: the text alternative of its chart.
pub(super) fn rate_summary(rate: Option<f64>) -> String {
    rate.map_or_else(|| "no rate yet".to_owned(), |rate| format!("{} events per second lately", format::rate(rate)))
}
