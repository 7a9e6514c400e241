//! Numbers on screen: figure in full tone, unit lighter after a thin space, exact value where the pointer rests.

use joey_shared::format::{self, Quantity};
use joey_shared::histogram::QuantileRange;
use joey_shared::window::Throughput;

use super::node::{El, Node, with_class};
use crate::browser;
use crate::statistics::{PERCENTILES, Percentile, ViewStatistics};

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// A number and its unit.
fn quantity(Quantity { number, unit }: Quantity) -> Node {
    vec![with_class("span", "n").child(number), with_class("span", "u").child(unit)].into()
}

fn none() -> Node {
    with_class("span", "none").child(NONE).into()
}

/// A rate: `141 k`.
pub(super) fn rate(per_second: Option<f64>) -> Node {
    per_second.map_or_else(none, |rate| quantity(format::rate(rate)))
}

/// What comes out, and before it what goes in, where that is known: `141 k -|< 141 k`, each in its own column.
pub(super) fn in_and_out(ingress: Option<f64>, egress: Option<f64>) -> Node {
    match ingress {
        Some(_) => with_class("span", "in-out")
            .child(with_class("span", "in").child(rate(ingress)))
            .child(with_class("span", "fork").attr("aria-label", " in, out ").child("-|<"))
            .child(with_class("span", "out").child(rate(egress)))
            .into(),
        None => rate(egress),
    }
}

/// A quantile's range: the bound that people quote in full tone, the other end before it.
pub(super) fn range(range: Option<QuantileRange>) -> Node {
    let Some(range) = range else { return none() };
    let (low, Quantity { number, unit }) = format::range_ends(range);
    let low = if low == number { String::new() } else { format!("{low}–") };
    let parts = [
        with_class("span", "low").child(low),
        with_class("span", "n").child(number),
        with_class("span", "u").child(unit),
    ];
    Vec::from(parts).into()
}

/// A range in words, for titles and for those who do not see the charts.
pub(super) fn range_text(range: Option<QuantileRange>) -> String {
    range.map_or_else(|| NONE.to_owned(), |range| format::range(range).to_string())
}

/// A range to the nanosecond.
pub(super) fn exact_range(QuantileRange { low, high }: QuantileRange) -> String {
    format!("{} to {} ns", format::count(low.into()), format::count(high))
}

/// A rate to the last digit.
pub(super) fn exact_rate(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!("{} per second", format::exact_rate(rate)))
}

/// What goes in and what comes out, to the last digit.
pub(super) fn exact_rates(ingress: Option<f64>, egress: Option<f64>) -> String {
    match ingress {
        Some(_) => format!("in {}, out {}", exact_rate(ingress), exact_rate(egress)),
        None => exact_rate(egress),
    }
}

/// Whether the count supports a percentile.
fn is_supported(shown: &Percentile, count: u128) -> bool {
    count >= shown.events_min
}

/// What the pointer is told about a percentile.
fn percentile_title(shown: &Percentile, figures: &ViewStatistics, at: usize) -> String {
    let Some(range) = figures.quantiles[at] else { return "no latency in this window".to_owned() };
    let (exact, count) = (exact_range(range), format::count(figures.count));
    if is_supported(shown, figures.count) {
        format!("{} of {count} events: {exact}", shown.label)
    } else {
        format!("only {count} events; {} needs {}: {exact}", shown.label, format::count(shown.events_min))
    }
}

/// `cell` with percentile `at` of `figures` in it: shown as a range, exact in its attributes. Gives whether the count
/// supports it.
pub(super) fn percentile(cell: El, figures: Option<&ViewStatistics>, at: usize) -> (El, bool) {
    let shown = &PERCENTILES[at];
    let value = figures.and_then(|figures| figures.quantiles[at]);
    let cell = cell
        .attr("data-col", shown.column)
        .attr("data-head", shown.label)
        .attr("title", figures.map_or_else(String::new, |figures| percentile_title(shown, figures, at)))
        .maybe("data-low", value.map(|range| range.low.to_string()))
        .maybe("data-high", value.map(|range| format::digits(range.high)));
    (cell.child(range(value)), figures.is_some_and(|figures| is_supported(shown, figures.count)))
}

/// The table cells of the first percentiles.
pub(super) fn percentile_cells(figures: Option<&ViewStatistics>, cells: usize) -> Vec<El> {
    let cell = |at| {
        let (cell, supported) = percentile(super::node::el("td"), figures, at);
        cell.attr("class", if supported { "number wide" } else { "number wide faint" })
    };
    (0..cells).map(cell).collect()
}

/// `cell` with one column of a throughput in it.
pub(super) fn throughput(cell: El, column: &'static str, out: Option<f64>, ingress: Option<f64>) -> El {
    cell.attr("data-col", column)
        .attr("title", exact_rates(ingress, out))
        .maybe("data-value", out.map(browser::number))
        .maybe("data-in", ingress.map(browser::number))
        .child(in_and_out(ingress, out))
}

/// The least, middle and most of what comes out and of what goes in, with the names of their columns.
pub(super) fn throughput_columns(
    out: Option<Throughput>,
    ingress: Option<Throughput>,
) -> [(&'static str, Option<f64>, Option<f64>); 3] {
    let of = |read: fn(Throughput) -> f64| (out.map(read), ingress.map(read));
    let [min, median, max] = [of(|t| t.min), of(|t| t.median), of(|t| t.max)];
    [("min", min.0, min.1), ("median", median.0, median.1), ("max", max.0, max.1)]
}

/// A view in one sentence, for those who do not see the charts.
pub(super) fn sentence(figures: &ViewStatistics) -> String {
    let mut sentence = format!("{} events in {} s", format::count(figures.count), figures.covered);
    for (shown, range) in PERCENTILES.iter().zip(figures.quantiles) {
        if range.is_some() {
            sentence.push_str(", ");
            sentence.push_str(shown.label);
            sentence.push(' ');
            sentence.push_str(&range_text(range));
        }
    }
    if let Some(rate) = figures.recent {
        sentence.push_str(&format!(", {} per second lately", format::rate(rate)));
    }
    sentence
}

/// A rate in one sentence.
pub(super) fn rate_sentence(rate: Option<f64>) -> String {
    rate.map_or_else(|| "no rate yet".to_owned(), |rate| format!("{} events per second lately", format::rate(rate)))
}

/// `items` with `between` between them.
pub(super) fn joined(items: impl IntoIterator<Item = String>, between: &str) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(&item);
    }
    text
}

/// A name to show: an empty one would be invisible.
pub(super) fn shown(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name.to_owned() }
}
