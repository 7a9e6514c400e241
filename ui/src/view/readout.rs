//! The values of one second of a timeline: under the crosshair, or in a row of the table below the chart.

use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};

use super::format::{NO_VALUE, mean, range_text};
use crate::chart::timeline::Timeline;
use crate::vocabulary::Words;

/// One value: its name (empty for the time) and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadoutValue {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// The values of `second`, or of the last complete second.
pub(super) fn readout(chart: &Timeline, second: Option<u64>, words: &Words) -> Vec<ReadoutValue> {
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
    push(words.rate, rate_out);
    if chart.has_latency {
        let histogram = chart.column_at(second).map(|column| &column.histogram);
        for (name, quantile) in [("p50", Quantile::P50), ("p99", Quantile::P99)] {
            push(name, Some(range_text(histogram.and_then(|histogram| histogram.quantile(quantile)))));
        }
        if chart.total.sum_ns.is_some() {
            push("mean", histogram.and_then(Histogram::mean_ns).map(|mean_ns| mean(mean_ns).to_string()));
        }
        push("events", histogram.map(|histogram| format::count(histogram.count())));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart_data::timeline;
    use crate::testing::{fine_update, service_of, store_of, update};
    use crate::time_format::UtcOffsets;
    use crate::vocabulary::{SERVICE, WALLAROO};

    /// The values of the second of an update, without the time.
    fn check(timeline: Option<Timeline>, words: &Words, expected: &[(&str, &str)]) {
        let chart = timeline.expect("the view exists");
        let values = readout(&chart, Some(100), words);
        let values: Vec<(&str, String)> =
            values.iter().skip(1).map(|value| (value.name, value.text.replace('\u{2009}', " "))).collect();
        let expected: Vec<(&str, String)> = expected.iter().map(|&(name, text)| (name, text.to_owned())).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn a_source_with_a_sum_has_a_mean() {
        let mut store = service_of(&[fine_update(1, 0, 100, &[1_000_000, 9_000_000]), fine_update(2, 0, 102, &[1])]);
        let expected =
            [("rate", "2/s"), ("p50", "0.977–1.06 ms"), ("p99", "8.52–9.29 ms"), ("mean", "5.00 ms"), ("events", "2")];
        check(timeline(&mut store, 0, UtcOffsets::default(), None), &SERVICE, &expected);
    }

    #[test]
    fn wallaroo_has_no_mean() {
        let mut store = store_of(&[update(1, 0, 100, &[1_000_000, 9_000_000]), update(2, 0, 102, &[1])]);
        let expected = [("out", "1/s"), ("p50", "0.524–1.05 ms"), ("p99", "8.39–16.8 ms"), ("events", "2")];
        check(timeline(&mut store, 0, UtcOffsets::default(), None), &WALLAROO, &expected);
    }
}
