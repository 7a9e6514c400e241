//! The statistics of one view, and the key figures of an application.
//!
//! Quantiles, throughput and completeness come from the shared store. This module only decides which of them the page
//! shows.

use joey_shared::histogram::{Histogram, Quantile, QuantileRange};
use joey_shared::series::Source;
use joey_shared::store::{AppStore, Gap};
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::{SLOT_NS, Throughput, recent_rate, second_of};

use crate::app_cache::AppCache;
use crate::typed_percentile::TypedPercentile;

/// A percentile that the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    /// The quantile, from 0 to 1.
    pub quantile: Quantile,
    /// Its name in data attributes.
    pub column: &'static str,
    /// Its name on screen.
    pub label: &'static str,
    /// The minimum number of events for which it means anything: `1 / (1 - q)`.
    pub events_min: u128,
}

/// The percentiles of a detail page; tables show the first three.
pub const PERCENTILES: [Percentile; 5] = [
    Percentile { quantile: Quantile::P50, column: "p50", label: "p50", events_min: 2 },
    Percentile { quantile: Quantile::P95, column: "p95", label: "p95", events_min: 20 },
    Percentile { quantile: Quantile::P99, column: "p99", label: "p99", events_min: 100 },
    Percentile { quantile: Quantile::P999, column: "p999", label: "p99.9", events_min: 1_000 },
    Percentile { quantile: Quantile::P9999, column: "p9999", label: "p99.99", events_min: 10_000 },
];

/// The number of percentiles in a table: the first of [`PERCENTILES`].
pub const TABLE_PERCENTILES: usize = 3;

/// The statistics of one view over the window.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewStatistics {
    /// The counts.
    pub histogram: Histogram,
    /// The number of events.
    pub count: u128,
    /// The quantiles of [`PERCENTILES`]; `None` if the view has no latency or no events.
    pub quantiles: [Option<QuantileRange>; PERCENTILES.len()],
    /// Events per second over the complete seconds of the window.
    pub throughput: Option<Throughput>,
    /// Events per second over the last few complete seconds.
    pub recent_rate: Option<f64>,
    /// The number of seconds of the window for which this viewer has data.
    pub covered_seconds: u64,
    /// The length of the window in seconds.
    pub window_seconds: u64,
    /// Since when nothing was counted, in ns since the Unix epoch, if that is unusually long.
    pub stalled_since_ns: Option<u64>,
}

impl ViewStatistics {
    /// The quantile of a typed percentile; `None` if the view has no latency or no events.
    #[must_use]
    pub fn typed_quantile(&self, percentile: TypedPercentile) -> Option<QuantileRange> {
        self.quantiles[0].and_then(|_| self.histogram.quantile(percentile.quantile()))
    }
}

/// The statistics of the view at `view_index`.
pub fn view_statistics(store: &mut AppStore, view_index: usize) -> Option<ViewStatistics> {
    let has_latency = store.views().get(view_index)?.key.kind.has_latency();
    let (now, through, window_seconds) = (second_of(store.clock_ns()), store.through_second(), store.seconds());
    let histogram = store.histogram(view_index);
    let throughput = store.throughput(view_index);
    let recent_rate = rates(store, &[view_index]).recent();
    let known_seconds = known_seconds(store, view_index, window_seconds);
    Some(ViewStatistics {
        count: histogram.count(),
        quantiles: PERCENTILES
            .map(|percentile| if has_latency { histogram.quantile(percentile.quantile) } else { None }),
        histogram,
        throughput,
        recent_rate,
        covered_seconds: if through > 0 { known_seconds } else { 0 },
        window_seconds,
        stalled_since_ns: store.views()[view_index].stalled_since_ns(now),
    })
}

/// Of how many of the last `seconds` of the view at `view_index` there is data.
pub fn known_seconds(store: &mut AppStore, view_index: usize, seconds: u64) -> u64 {
    let now = second_of(store.clock_ns());
    let Some(first) = store.window_at(view_index).first_second() else { return 0 };
    let start = first.max((now + 1).saturating_sub(seconds));
    let missing: u64 = missing_seconds(store, start, now).iter().map(|(from, to)| to - from + 1).sum();
    (now + 1).saturating_sub(start).saturating_sub(missing)
}

/// The seconds between `from` and `to` for which updates are missing, as inclusive ranges that do not overlap.
#[must_use]
pub fn missing_seconds(store: &AppStore, from: u64, to: u64) -> Vec<(u64, u64)> {
    let range = |gap: &Gap| {
        let end = if gap.to_ns == 0 { to } else { gap.to_ns / SLOT_NS };
        ((gap.from_ns / SLOT_NS + 1).max(from), end.min(to))
    };
    let mut ranges: Vec<(u64, u64)> =
        store.gaps().iter().filter(|gap| gap.from_ns > 0).map(range).filter(|(from, to)| from <= to).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, end)) if from <= *end + 1 => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Events per second, one value for each second up to the last complete one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateSeries {
    /// The second of the first value, since the Unix epoch.
    pub start_second: u64,
    /// The values.
    pub values: Vec<f64>,
}

impl RateSeries {
    /// The mean of the last few seconds.
    #[must_use]
    pub fn recent(&self) -> Option<f64> {
        recent_rate(&self.values)
    }

    /// Minimum, median and maximum.
    #[must_use]
    pub fn throughput(&self) -> Option<Throughput> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Throughput { min, median: f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]), max })
    }
}

/// The sum of the rates of `views` over the complete seconds of the window, from the first second of any of them.
pub fn rates(store: &mut AppStore, views: &[usize]) -> RateSeries {
    let through = store.through_second();
    // A chart may be painted once more after its view has gone with the store of a relay that was removed.
    let known = store.views().len();
    let views = || views.iter().filter(move |&&view_index| view_index < known);
    let ranges: Vec<_> = views()
        .map(|&view_index| store.window_at(view_index).seconds_through(through))
        .filter(|range| !range.is_empty())
        .collect();
    let Some(start_second) = ranges.iter().map(|range| *range.start()).min() else { return RateSeries::default() };
    let mut values = vec![0.0; usize::try_from((through + 1).saturating_sub(start_second)).unwrap_or(0)];
    for &view_index in views() {
        let mut slot = values.iter_mut();
        store.window_at(view_index).for_each_rate(start_second..=through, |_, rate| {
            if let Some(sum) = slot.next() {
                *sum += rate;
            }
        });
    }
    RateSeries { start_second, values }
}

/// `views` without those of spans, if there are any others: a service may report the same requests as metrics and as spans.
pub(crate) fn without_repeated_spans(store: &AppStore, views: &[usize]) -> Vec<usize> {
    let is_span = |view_index: &usize| store.views()[*view_index].provenance.source == Source::OtlpTraces;
    let others: Vec<usize> = views.iter().copied().filter(|view_index| !is_span(view_index)).collect();
    if others.is_empty() { views.to_vec() } else { others }
}

/// Whether the data of the store is from a service, not from an application of Wallaroo.
pub(crate) fn is_service(store: &AppStore) -> bool {
    !store.views().is_empty() && store.views().iter().all(|view| view.provenance.source != Source::Wallaroo)
}

/// The views that count the ingestion of `pipeline`, or of all pipelines for `None`.
#[must_use]
pub fn ingestion_views(store: &AppStore, pipeline: Option<&str>) -> Vec<usize> {
    matching_views(store, |key| {
        key.kind == Kind::PipelineIngestion && pipeline.is_none_or(|name| key.pipeline.as_deref() == Some(name))
    })
}

/// The indices of the views whose keys match.
pub(crate) fn matching_views(store: &AppStore, matches: impl Fn(&ViewKey) -> bool) -> Vec<usize> {
    store.views_by_key().filter(|(_, view)| matches(&view.key)).map(|(view_index, _)| view_index).collect()
}

/// The ingestion of `pipeline` (of all pipelines for `None`) over the window; `None` without an ingestion view.
pub fn ingestion(store: &mut AppStore, pipeline: Option<&str>) -> Option<Throughput> {
    match ingestion_views(store, pipeline).as_slice() {
        [] => None,
        // For a single view the store's own result is exact to the last bit.
        [view_index] => store.throughput(*view_index),
        several => rates(store, several).throughput(),
    }
}

/// The key figures of an application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppStatistics {
    /// Recent events per second into its pipelines, if it reports them.
    pub rate_in: Option<f64>,
    /// Recent events per second out of its pipelines.
    pub rate_out: Option<f64>,
    /// Events per second out of its pipelines over the window.
    pub rates: RateSeries,
    /// The pipeline with the highest 99th percentile.
    pub worst_pipeline: Option<WorstView>,
    /// The computation with the highest 99th percentile.
    pub slowest_computation: Option<WorstView>,
}

/// The view with the highest 99th percentile of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstView {
    /// The view.
    pub key: ViewKey,
    /// Its median.
    pub p50: QuantileRange,
    /// Its 99th percentile.
    pub p99: QuantileRange,
}

/// The key figures of an application. `cache` is what was computed for the same application before.
pub fn app_statistics(store: &mut AppStore, cache: &mut AppCache) -> AppStatistics {
    cache.update(store);
    AppStatistics {
        rate_in: cache.rates_in().and_then(RateSeries::recent),
        rate_out: cache.rates_out().recent(),
        rates: cache.rates_out().clone(),
        worst_pipeline: worst_of(store, cache.pipelines()),
        slowest_computation: worst_of(store, cache.computations()),
    }
}

/// The view with the highest 99th percentile. Most views are ruled out by the bin of theirs.
fn worst_of(store: &mut AppStore, views: &[usize]) -> Option<WorstView> {
    let order = |range: QuantileRange| (range.high, range.low);
    let mut worst: Option<(usize, QuantileRange)> = None;
    for &view_index in views {
        let bound = store.window_at(view_index).quantile_bound(Quantile::P99);
        if worst.is_some_and(|(_, worst)| bound < worst.high) {
            continue;
        }
        if let Some(p99) = store.quantile(view_index, Quantile::P99)
            && worst.is_none_or(|(_, worst)| order(p99) > order(worst))
        {
            worst = Some((view_index, p99));
        }
    }
    let (view_index, p99) = worst?;
    let p50 = store.quantile(view_index, Quantile::P50)?;
    Some(WorstView { key: store.views()[view_index].key.clone(), p50, p99 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{S, fine_update, service_of, store_of, update};
    use joey_shared::series::{COMPUTATION, Provenance, SeriesKey};
    use joey_shared::wire::SeriesEntry;

    #[test]
    fn a_view_has_statistics() {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 0, 102, &[5, 9]), update(3, 1, 104, &[9])]);
        let view_index = store.find(&ViewKey::computation("n")).unwrap();
        let statistics = view_statistics(&mut store, view_index).unwrap();
        assert_eq!((statistics.count, statistics.covered_seconds, statistics.window_seconds), (7, 6, 300));
        assert_eq!(statistics.quantiles[0], Some(QuantileRange { low: 5, high: 8 }));
        assert_eq!(statistics.throughput, Some(Throughput { min: 1.0, median: 1.5, max: 2.0 }));
        assert_eq!(statistics.recent_rate, Some(1.5));
        assert_eq!(view_statistics(&mut store, 99), None);
        assert_eq!(rates(&mut store, &[99]), RateSeries::default());
    }

    #[test]
    fn a_view_stalls_and_an_application_falls_silent() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 108, &[5])]);
        let since = |store: &mut AppStore, view_index| view_statistics(store, view_index).unwrap().stalled_since_ns;
        assert_eq!((since(&mut store, 0), since(&mut store, 1)), (Some(100 * S), None));
        assert_eq!(store.silent_for(113 * S), None);
        assert_eq!(store.silent_for(120 * S), Some(12 * S));
    }

    #[test]
    fn gaps_become_seconds_without_overlap() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 0, 130, &[5])]);
        for (from, to) in [(110, 115), (112, 118), (125, 0)] {
            store.record_gap(Gap { from_ns: from * S, to_ns: to * S, updates: Some(1), relay: 0 });
        }
        assert_eq!(missing_seconds(&store, 100, 130), [(111, 118), (126, 130)]);
        assert_eq!(view_statistics(&mut store, 0).unwrap().covered_seconds, 32 - 13);
    }

    #[test]
    fn counts_have_no_latency_and_an_application_has_its_worst_views() {
        let mut store = store_of(&[update(1, 2, 100, &[700]), update(2, 3, 100, &[5, 5]), update(3, 0, 102, &[9])]);
        let app = app_statistics(&mut store, &mut AppCache::default());
        assert_eq!((app.rate_in, app.rate_out), (Some(1.0), Some(0.5)));
        assert_eq!(app.worst_pipeline.unwrap().key, ViewKey::pipeline("p"));
        assert_eq!(app.slowest_computation.unwrap().key, ViewKey::computation("n"));
        let source = ingestion_views(&store, Some("p"))[0];
        assert_eq!(view_statistics(&mut store, source).unwrap().quantiles, [None; 5]);
        assert_eq!(ingestion(&mut store, Some("p")).unwrap().median, 1.0);
        assert_eq!(ingestion(&mut store, Some("q")), None);
    }

    #[test]
    fn requests_that_are_reported_as_metrics_and_as_spans_count_once() {
        let rate = |updates: &[joey_shared::wire::Update]| {
            let mut store = service_of(updates);
            store.advance(200 * S);
            app_statistics(&mut store, &mut AppCache::default()).rate_out
        };
        assert_eq!(rate(&[fine_update(1, 0, 100, &[5; 4]), fine_update(2, 2, 100, &[5; 4])]), Some(4.0));
    }

    #[test]
    fn a_service_that_only_calls_others_has_the_rate_of_its_calls() {
        let rate = |store: &mut AppStore| {
            store.advance(200 * S);
            app_statistics(store, &mut AppCache::default()).rate_out
        };
        assert_eq!(
            rate(&mut service_of(&[fine_update(1, 0, 100, &[5; 4]), fine_update(2, 3, 100, &[5; 9])])),
            Some(4.0)
        );
        let key =
            SeriesKey { category: COMPUTATION.into(), pipeline: "".into(), worker: "i".into(), name: "call".into() };
        let client = |provenance| {
            let mut store = AppStore::default();
            store.announce(1, &[SeriesEntry { provenance, ..SeriesEntry::new(0, 0, key.clone()) }]);
            store.apply(1, &fine_update(1, 0, 100, &[5; 9]), 100 * S);
            rate(&mut store)
        };
        assert_eq!((client(Provenance::exact(Source::Statsd)), client(Provenance::default())), (Some(9.0), None));
    }

    #[test]
    fn only_seconds_with_data_are_known() {
        let updates: Vec<_> = (301..=600).map(|second| fine_update(second, 0, second, &[1_000_000; 4])).collect();
        let mut store = service_of(&updates);
        assert_eq!([60, 300, 3_600].map(|seconds| known_seconds(&mut store, 0, seconds)), [60, 300, 300]);
    }
}
