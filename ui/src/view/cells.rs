//! Measurements as elements: number and unit in separate spans, exact values in tooltips and data attributes.
//!
//! These components take plain values and are rendered again when the values change.

use joey_shared::format::{self, Quantity};
use joey_shared::histogram::QuantileRange;
use joey_shared::window::Throughput;
use leptos::prelude::*;

use super::format::{NO_VALUE, exact_rates, percentile_tooltip};
use super::live_text::text_content;
use crate::percentile_list::{ShownPercentile, shown_percentiles};
use crate::statistics::{PERCENTILES, Percentile, ViewStatistics};
use crate::typed_percentile::TypedPercentile;
use crate::units;

/// A number and its unit.
#[component]
pub(super) fn NumberWithUnit(quantity: Quantity) -> impl IntoView {
    view! {
        <span class="n" use:text_content=quantity.number></span>
        <span class="u" use:text_content=quantity.unit.to_owned()></span>
    }
}

/// The placeholder for a missing value.
#[component]
fn NoValue() -> impl IntoView {
    view! { <span class="none">{NO_VALUE}</span> }
}

/// A rate: `141 k`.
#[component]
pub(super) fn Rate(per_second: Option<f64>) -> impl IntoView {
    match per_second {
        Some(rate) => view! { <NumberWithUnit quantity=format::rate(rate)/> }.into_any(),
        None => view! { <NoValue/> }.into_any(),
    }
}

/// The rate out, and before it the rate in if it is known: `141 k -|< 141 k`.
#[component]
pub(super) fn InOutRate(rate_in: Option<f64>, rate_out: Option<f64>) -> impl IntoView {
    if rate_in.is_none() {
        return view! { <Rate per_second=rate_out/> }.into_any();
    }
    view! {
        <span class="in-out">
            <span class="in"><Rate per_second=rate_in/></span>
            <span class="fork" aria-label=" in, out ">"-|<"</span>
            <span class="out"><Rate per_second=rate_out/></span>
        </span>
    }
    .into_any()
}

/// The range that holds a quantile. The upper bound, which people quote, is emphasised.
#[component]
pub(super) fn LatencyRange(range: Option<QuantileRange>) -> impl IntoView {
    let Some(range) = range else { return view! { <NoValue/> }.into_any() };
    let (low, high) = units::range_ends(range);
    let low = if low == high.number { String::new() } else { format!("{low}–") };
    view! {
        <span class="low" use:text_content=low></span>
        <NumberWithUnit quantity=high/>
    }
    .into_any()
}

/// The values of one percentile's cell.
pub(super) struct PercentileValue {
    /// Its name in data attributes.
    pub(super) column: String,
    /// Its name on screen.
    pub(super) label: String,
    pub(super) range: Option<QuantileRange>,
    pub(super) tooltip: String,
    /// The bounds in ns, for data attributes.
    pub(super) low: Option<String>,
    pub(super) high: Option<String>,
    /// Whether there are enough events for this percentile.
    pub(super) is_supported: bool,
}

impl PercentileValue {
    /// A percentile of a table or of the figures.
    pub(super) fn shown(statistics: Option<&ViewStatistics>, percentile: ShownPercentile) -> Self {
        match percentile {
            ShownPercentile::Fixed(index) => Self::new(statistics, index),
            ShownPercentile::Typed(percentile) => Self::typed(statistics, percentile),
        }
    }

    /// Percentile `index` of [`PERCENTILES`].
    fn new(statistics: Option<&ViewStatistics>, index: usize) -> Self {
        let Percentile { column, label, events_min, .. } = PERCENTILES[index];
        let range = statistics.and_then(|statistics| statistics.quantiles[index]);
        Self::of_range(statistics, range, events_min, column.to_owned(), label.to_owned())
    }

    /// A percentile that the user typed.
    fn typed(statistics: Option<&ViewStatistics>, percentile: TypedPercentile) -> Self {
        let range = statistics.and_then(|statistics| statistics.typed_quantile(percentile));
        let label = percentile.label();
        Self::of_range(statistics, range, percentile.events_min(), label.clone(), label)
    }

    fn of_range(
        statistics: Option<&ViewStatistics>,
        range: Option<QuantileRange>,
        events_min: u128,
        column: String,
        label: String,
    ) -> Self {
        let count = statistics.map(|statistics| statistics.count);
        Self {
            range,
            tooltip: count.map(|count| percentile_tooltip(&label, range, count, events_min)).unwrap_or_default(),
            low: range.map(|range| range.low.to_string()),
            high: range.map(|range| range.high.to_string()),
            is_supported: count.is_some_and(|count| count >= events_min),
            column,
            label,
        }
    }
}

/// A table cell with a percentile.
#[component]
fn PercentileCell(value: PercentileValue) -> impl IntoView {
    view! {
        <td
            class=if value.is_supported { "number wide" } else { "number wide faint" }
            data-col=value.column
            data-head=value.label
            data-low=value.low
            data-high=value.high
            title=value.tooltip
        >
            <LatencyRange range=value.range/>
        </td>
    }
}

/// The table cells of the first `count` of [`PERCENTILES`] and of the percentiles `typed`, in order.
pub(super) fn percentile_cells(
    statistics: Option<&ViewStatistics>,
    count: usize,
    typed: &[TypedPercentile],
) -> impl IntoView + use<> {
    let values = shown_percentiles(count, typed).into_iter();
    values
        .map(|percentile| view! { <PercentileCell value=PercentileValue::shown(statistics, percentile)/> })
        .collect_view()
}

/// One column of a throughput: the rate out, and the rate in if it is known.
pub(super) struct ThroughputColumn {
    pub(super) name: &'static str,
    pub(super) rate_out: Option<f64>,
    pub(super) rate_in: Option<f64>,
}

impl ThroughputColumn {
    pub(super) fn tooltip(&self) -> String {
        exact_rates(self.rate_in, self.rate_out)
    }
}

/// The columns minimum, median and maximum.
pub(super) fn throughput_columns(
    throughput_out: Option<Throughput>,
    throughput_in: Option<Throughput>,
) -> [ThroughputColumn; 3] {
    let column = |name, read: fn(Throughput) -> f64| ThroughputColumn {
        name,
        rate_out: throughput_out.map(read),
        rate_in: throughput_in.map(read),
    };
    [column("min", |t| t.min), column("median", |t| t.median), column("max", |t| t.max)]
}

/// A table cell with one column of a throughput.
#[component]
fn ThroughputCell(column: ThroughputColumn) -> impl IntoView {
    view! {
        <td
            class="number"
            data-col=column.name
            data-head=column.name
            data-value=column.rate_out.map(|rate| rate.to_string())
            data-in=column.rate_in.map(|rate| rate.to_string())
            title=column.tooltip()
        >
            <InOutRate rate_in=column.rate_in rate_out=column.rate_out/>
        </td>
    }
}

/// The table cells of a throughput.
pub(super) fn throughput_cells(
    throughput_out: Option<Throughput>,
    throughput_in: Option<Throughput>,
) -> impl IntoView + use<> {
    throughput_columns(throughput_out, throughput_in)
        .into_iter()
        .map(|column| view! { <ThroughputCell column/> })
        .collect_view()
}
