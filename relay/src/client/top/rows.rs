//! The rows of the tables, and the data of one view. Everything is read from the store; nothing here draws.

use core::cmp::Reverse;

use joey_shared::histogram::{Histogram, Quantile, QuantileRange};
use joey_shared::store::AppStore;
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::{SLOT_NS, recent_rate, second_of};

use super::source::Source;

/// The percentiles of a table.
pub(super) const TABLE_QUANTILES: [(&str, Quantile); 3] =
    [("P50", Quantile::P50), ("P95", Quantile::P95), ("P99", Quantile::P99)];

/// The percentiles of one view.
pub(super) const VIEW_QUANTILES: [(&str, Quantile); 6] = [
    ("p50", Quantile::P50),
    ("p90", Quantile::P90),
    ("p95", Quantile::P95),
    ("p99", Quantile::P99),
    ("p99.9", Quantile::P999),
    ("p99.99", Quantile::P9999),
];

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    /// By name, ascending.
    #[default]
    Name,
    /// By one of [`TABLE_QUANTILES`], the highest first.
    Quantile(usize),
    /// By events per second, the highest first.
    Rate,
}

impl Column {
    /// All columns from left to right.
    pub(super) const ALL: [Self; 5] = [Self::Name, Self::Quantile(0), Self::Quantile(1), Self::Quantile(2), Self::Rate];
}

/// A row: an application, or a view of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The name.
    pub(super) label: String,
    /// The view; `None` for an application.
    pub(super) key: Option<ViewKey>,
    /// The percentiles of [`TABLE_QUANTILES`]; `None` without latency or events.
    pub(super) quantiles: [Option<QuantileRange>; 3],
    /// Events per second over the last few complete seconds.
    pub(super) rate: Option<f64>,
    /// Events per second, one value for each complete second of the window.
    pub(super) rates: Vec<f64>,
    /// Whether the histograms are approximate.
    pub(super) is_approximate: bool,
    /// For how long nothing has arrived, in ns, if that is longer than expected.
    pub(super) silent_ns: Option<u64>,
}

/// One view in detail.
pub(super) struct Detail {
    /// Its counts over the window.
    pub(super) histogram: Histogram,
    /// Whether the view has latencies.
    pub(super) has_latency: bool,
    /// Whether the minimum and the maximum are known.
    pub(super) has_extremes: bool,
    /// Whether the histograms are approximate.
    pub(super) is_approximate: bool,
    /// Its row.
    pub(super) row: Row,
    /// The length of its newest period, in seconds, at least 1.
    pub(super) period_seconds: u64,
    /// The seconds of the window, since the Unix epoch.
    pub(super) seconds: core::ops::RangeInclusive<u64>,
    /// The histograms of the periods that ended in a second, with the length of the second's slot.
    pub(super) columns: Vec<(u64, u64, Histogram)>,
}

/// The applications, sorted.
pub(super) fn applications(source: &mut Source<'_>, sort: Column, is_reversed: bool) -> Vec<Row> {
    let relay_ns = source.relay_ns();
    let names: Vec<String> = source.catalogue().keys().cloned().collect();
    let row = |app: String| {
        let store = source.store(&app)?;
        let mut row = store_row(store, relay_ns);
        row.label = app;
        Some(row)
    };
    let mut rows: Vec<Row> = names.into_iter().filter_map(row).collect();
    sort_rows(&mut rows, sort, is_reversed);
    rows
}

/// An application in one row: the percentiles of its slowest view from start to end, and its rate.
fn store_row(store: &mut AppStore, relay_ns: u64) -> Row {
    let of_kind = |store: &AppStore, kind: &Kind| -> Vec<usize> {
        store.views_by_key().filter(|(_, view)| view.key.kind == *kind).map(|(at, _)| at).collect()
    };
    let mut views = of_kind(store, &Kind::StartToEnd);
    if views.is_empty() {
        views = of_kind(store, &Kind::Computation);
    }
    let rows: Vec<Row> = views.into_iter().map(|at| view_row(store, at)).collect();
    let slowest = rows.iter().max_by_key(|row| row.quantiles[2].map(|range| (range.high, range.low)));
    let rates = sum_of(rows.iter().map(|row| row.rates.as_slice()));
    Row {
        label: String::new(),
        key: None,
        quantiles: slowest.map_or([None; 3], |row| row.quantiles),
        rate: recent_rate(&rates),
        is_approximate: slowest.is_some_and(|row| row.is_approximate),
        silent_ns: store.silent_for(relay_ns),
        rates,
    }
}

/// Adds up series of rates that end with the same second.
fn sum_of<'a>(series: impl Iterator<Item = &'a [f64]> + Clone) -> Vec<f64> {
    let length = series.clone().map(<[f64]>::len).max().unwrap_or(0);
    let mut sum = vec![0.0; length];
    for rates in series {
        for (sum, rate) in sum.iter_mut().skip(length - rates.len()).zip(rates) {
            *sum += rate;
        }
    }
    sum
}

/// The views of an application that are of `kind` (all for `None`) and contain all words of `filter`, sorted.
pub(super) fn views(
    store: &mut AppStore,
    kind: Option<&Kind>,
    filter: &str,
    sort: Column,
    is_reversed: bool,
) -> Vec<Row> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let is_shown = |key: &ViewKey| {
        let label = label(key, kind.is_none()).to_lowercase();
        kind.is_none_or(|kind| key.kind == *kind) && words.iter().all(|word| label.contains(word))
    };
    let shown: Vec<usize> = store.views_by_key().filter(|(_, view)| is_shown(&view.key)).map(|(at, _)| at).collect();
    let mut rows: Vec<Row> = shown.into_iter().map(|at| view_row(store, at)).collect();
    for row in &mut rows {
        row.label = row.key.as_ref().map(|key| label(key, kind.is_none())).unwrap_or_default();
    }
    sort_rows(&mut rows, sort, is_reversed);
    rows
}

/// The kinds of the views of an application, in reading order.
pub(super) fn kinds(store: &AppStore) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = store.views_by_key().map(|(_, view)| view.key.kind.clone()).collect();
    kinds.dedup();
    kinds
}

/// The names of a view, and its kind if the table contains several.
pub(super) fn label(key: &ViewKey, with_kind: bool) -> String {
    let names = [key.pipeline.as_deref(), key.worker.as_deref(), key.name.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
    let names = names.join(" / ");
    if with_kind { format!("{names} ({})", key.kind.as_str()) } else { names }
}

fn view_row(store: &mut AppStore, at: usize) -> Row {
    let histogram = store.histogram(at);
    let rates = rates(store, at);
    let now = second_of(store.clock_ns());
    let view = &store.views()[at];
    let has_latency = view.key.kind.has_latency();
    Row {
        label: String::new(),
        key: Some(view.key.clone()),
        quantiles: TABLE_QUANTILES.map(|(_, q)| histogram.quantile(q).filter(|_| has_latency)),
        rate: recent_rate(&rates),
        rates,
        is_approximate: view.provenance.is_approximate,
        silent_ns: view.stalled_since_ns(now).map(|since_ns| (now * SLOT_NS).saturating_sub(since_ns)),
    }
}

fn rates(store: &mut AppStore, at: usize) -> Vec<f64> {
    let through = store.through_second();
    let window = store.window_at(at);
    let mut rates = Vec::new();
    window.for_each_rate(window.seconds_through(through), |_, rate| rates.push(rate));
    rates
}

fn sort_rows(rows: &mut [Row], sort: Column, is_reversed: bool) {
    let by_name = |a: &Row, b: &Row| a.label.cmp(&b.label);
    rows.sort_by(|a, b| {
        let order = match sort {
            Column::Name => by_name(a, b),
            Column::Quantile(at) => {
                let value = |row: &Row| Reverse(row.quantiles[at].map(|range| (range.high, range.low)));
                value(a).cmp(&value(b)).then_with(|| by_name(a, b))
            }
            Column::Rate => {
                let value = |row: &Row| row.rate.unwrap_or(-1.0);
                value(b).total_cmp(&value(a)).then_with(|| by_name(a, b))
            }
        };
        if is_reversed { order.reverse() } else { order }
    });
}

/// The view with `key`; `None` if it does not exist, or no longer.
pub(super) fn detail(store: &mut AppStore, key: &ViewKey) -> Option<Detail> {
    let at = store.find(key)?;
    let clock = second_of(store.clock_ns());
    let row = Row { label: label(key, false), ..view_row(store, at) };
    let (histogram, length) = (store.histogram(at), store.seconds());
    let (provenance, period_ns) = (store.views()[at].provenance, store.views()[at].period_ns);
    let seconds = (clock + 1).saturating_sub(length)..=clock;
    let mut columns = Vec::new();
    store
        .window_at(at)
        .for_each_column(seconds.clone(), |second, width, histogram| columns.push((second, width, histogram.clone())));
    Some(Detail {
        histogram,
        has_latency: key.kind.has_latency(),
        has_extremes: provenance.has_extremes,
        is_approximate: provenance.is_approximate,
        row,
        period_seconds: (period_ns / SLOT_NS).max(1),
        seconds,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{S, store};
    use super::*;

    fn labels(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.label.as_str()).collect()
    }

    #[test]
    fn rows_have_the_figures_of_the_store() {
        let mut store = store();
        let rows = views(&mut store, Some(&Kind::Computation), "", Column::Name, false);
        assert_eq!(labels(&rows), ["Decode", "Encode"]);
        // All durations are 1,000 ns, so the recorded extremes bound the range of the bin.
        assert_eq!(rows[0].quantiles, [Some(QuantileRange { low: 1_000, high: 1_000 }); 3]);
        assert_eq!(rows[0].rate, Some(4.0));
        assert_eq!(rows[0].rates.len(), 10);
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_in_reverse() {
        let mut store = store();
        let mut sorted = |sort, is_reversed| {
            let rows = views(&mut store, Some(&Kind::Computation), "", sort, is_reversed);
            rows.iter().map(|row| row.label.clone()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(Column::Quantile(2), false), ["Encode", "Decode"]);
        assert_eq!(sorted(Column::Quantile(2), true), ["Decode", "Encode"]);
        assert_eq!(sorted(Column::Rate, false), ["Decode", "Encode"]);
    }

    #[test]
    fn a_filter_needs_all_its_words_in_any_case() {
        let mut store = store();
        let mut shown = |filter| views(&mut store, None, filter, Column::Name, false).len();
        assert_eq!((shown("ENCODE"), shown("computation encode w1"), shown("encode nothing")), (2, 1, 0));
    }

    #[test]
    fn an_application_has_its_slowest_view_and_all_its_events() {
        let row = store_row(&mut store(), 110 * S);
        assert_eq!(
            row.quantiles,
            views(&mut store(), Some(&Kind::Computation), "encode", Column::Name, false)[0].quantiles
        );
        assert_eq!(row.rate, Some(5.0));
    }

    #[test]
    fn a_view_has_its_seconds() {
        let mut store = store();
        let detail = detail(&mut store, &ViewKey::computation("Encode")).expect("it is there");
        assert_eq!((detail.columns.len(), detail.histogram.count()), (10, 10));
        assert!(super::detail(&mut store, &ViewKey::computation("Other")).is_none());
    }

    #[test]
    fn rates_that_end_together_are_added() {
        let series: [&[f64]; 2] = [&[1.0, 2.0, 3.0], &[10.0]];
        assert_eq!(sum_of(series.into_iter()), [1.0, 2.0, 13.0]);
    }
}
