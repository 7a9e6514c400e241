//! The values of one second of a timeline: under the crosshair, or in a row of the table below the chart.

use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};

use super::format::{NO_VALUE, mean_text, range_text};
use crate::chart::timeline::Timeline;

/// One value: its name (empty for the time) and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadoutValue {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// The values of `second`, or of the last complete second.
pub(super) fn readout(chart: &Timeline, second: Option<u64>) -> Vec<ReadoutValue> {
    let second = second.filter(|second| (chart.from..=chart.to).contains(second)).unwrap_or(chart.through);
    let mut values = vec![ReadoutValue { name: "", text: chart.utc_offsets.time(second) }];
    let mut push = |name, text: Option<String>| {
        values.push(ReadoutValue { name, text: text.unwrap_or_else(|| NO_VALUE.to_owned()) });
    };
    if chart.ingestion.is_some() {
        push("in", chart.ingestion_at(second).map(|rate| format!("{}/s", format::rate(rate).thin())));
    }
    let rate_out = chart.rate_at(second).map(|(rate, is_complete)| {
        let suffix = if is_complete { "" } else { " so far" };
        format!("{}/s{suffix}", format::rate(rate).thin())
    });
    push("out", rate_out);
    if chart.has_latency {
        let histogram = chart.column_at(second).map(|column| &column.histogram);
        for (name, quantile) in [("p50", Quantile::P50), ("p99", Quantile::P99)] {
            push(name, Some(range_text(histogram.and_then(|histogram| histogram.quantile(quantile)))));
        }
        if chart.total.sum_ns.is_some() {
            push("mean", histogram.and_then(Histogram::mean_ns).map(mean_text));
        }
        push("events", histogram.map(|histogram| format::count(histogram.count())));
    }
    values
}
