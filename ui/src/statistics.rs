//! The numbers of one view, and those of an application as a whole.
//!
//! Everything here is read from the shared store, never computed twice in another way: quantiles, throughput and
//! completeness are the store's business. What is decided here is which numbers a page shows.

use joey_shared::histogram::{Histogram, Quantile, QuantileRange};
use joey_shared::store::{AppStore, QUIET_SECONDS, View};
use joey_shared::view::{Kind, ViewKey};
use joey_shared::window::{SLOT_NS, Throughput, second_of};

use crate::sort::sorted;

/// A percentile that is shown.
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    /// Which.
    pub quantile: Quantile,
    /// What it is called in the page's data attributes.
    pub column: &'static str,
    /// What it is called on screen.
    pub label: &'static str,
    /// How many events there must be for it to mean anything: `1 / (1 - q)`.
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

/// Position of the 99th percentile in [`PERCENTILES`].
pub const P99: usize = 2;

/// Complete seconds behind "the rate now": enough to be calm, few enough to follow.
pub const RECENT_SECONDS: usize = 10;

/// The numbers of one view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewStatistics {
    /// What the window counts.
    pub histogram: Histogram,
    /// How many events that is.
    pub count: u128,
    /// The percentiles of [`PERCENTILES`]; none where the view has no latency or no events.
    pub quantiles: [Option<QuantileRange>; PERCENTILES.len()],
    /// Events per second over the window's complete seconds.
    pub throughput: Option<Throughput>,
    /// Events per second over the last complete seconds.
    pub recent: Option<f64>,
    /// Seconds of the window for which this viewer has the data.
    pub covered: u64,
    /// Length of the window in seconds.
    pub seconds: u64,
    /// Since when nothing was counted, in ns since the Unix epoch, where that is unusually long.
    pub stalled_since: Option<u64>,
}

/// The numbers of view `at`.
pub fn view_statistics(store: &mut AppStore, at: usize) -> Option<ViewStatistics> {
    let latency = store.views().get(at)?.key.kind.has_latency();
    let (clock, through, seconds) = (second_of(store.clock_ns()), store.through_second(), store.seconds());
    let histogram = store.histogram(at);
    let throughput = store.throughput(at);
    let recent = rates(store, &[at]).recent();
    let first = store.slid(at).first_second();
    let start = (clock + 1).saturating_sub(seconds).max(first.unwrap_or(u64::MAX));
    let lost: u64 = missing_seconds(store, start, clock).iter().map(|(from, to)| to - from + 1).sum();
    let stalled_since = stalled_since(&store.views()[at], clock);
    Some(ViewStatistics {
        count: histogram.count(),
        quantiles: PERCENTILES.map(|shown| if latency { histogram.quantile(shown.quantile) } else { None }),
        histogram,
        throughput,
        recent,
        covered: (clock + 1).saturating_sub(start).saturating_sub(lost).min(if first.is_some() && through > 0 {
            seconds
        } else {
            0
        }),
        seconds,
        stalled_since,
    })
}

/// When the last event was counted, if that is longer ago than three periods.
fn stalled_since(view: &View, clock: u64) -> Option<u64> {
    let periods = (view.period_ns / SLOT_NS).saturating_mul(3);
    let last = view.window.last_second()?;
    (clock.saturating_sub(last) > periods.max(QUIET_SECONDS)).then(|| last.saturating_mul(SLOT_NS))
}

/// The seconds between `from` and `to` for which updates are missing, as inclusive ranges that do not overlap.
#[must_use]
pub fn missing_seconds(store: &AppStore, from: u64, to: u64) -> Vec<(u64, u64)> {
    let range = |hole: &joey_shared::store::Hole| {
        let end = if hole.to_ns == 0 { to } else { hole.to_ns / SLOT_NS };
        ((hole.from_ns / SLOT_NS + 1).max(from), end.min(to))
    };
    let ranges: Vec<(u64, u64)> =
        store.holes().iter().filter(|hole| hole.from_ns > 0).map(range).filter(|(from, to)| from <= to).collect();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in sorted(ranges, &Ord::cmp) {
        match merged.last_mut() {
            Some((_, end)) if from <= *end + 1 => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Events per second, second by second, up to the last complete one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateSeries {
    /// The second of the first value.
    pub start: u64,
    /// One value a second.
    pub values: Vec<f64>,
}

impl RateSeries {
    /// The mean of the last few seconds.
    #[must_use]
    pub fn recent(&self) -> Option<f64> {
        let last = &self.values[self.values.len().saturating_sub(RECENT_SECONDS)..];
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }

    /// The least, middle and most of them.
    #[must_use]
    pub fn throughput(&self) -> Option<Throughput> {
        let sorted = sorted(self.values.clone(), &f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Throughput { min, median: f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]), max })
    }
}

/// The sum of the rates of `views` over the window's complete seconds, from the first second of any of them on.
pub fn rates(store: &mut AppStore, views: &[usize]) -> RateSeries {
    let through = store.through_second();
    let ranges: Vec<_> =
        views.iter().map(|&at| store.slid(at).seconds_through(through)).filter(|range| !range.is_empty()).collect();
    let Some(start) = ranges.iter().map(|range| *range.start()).min() else { return RateSeries::default() };
    let mut values = vec![0.0; usize::try_from((through + 1).saturating_sub(start)).unwrap_or(0)];
    for &at in views {
        let mut slot = values.iter_mut();
        store.slid(at).for_each_rate(start..=through, |_, rate| {
            if let Some(sum) = slot.next() {
                *sum += rate;
            }
        });
    }
    RateSeries { start, values }
}

/// The views that count what `pipeline` takes in; of all pipelines for `None`.
#[must_use]
pub fn ingestion_views(store: &AppStore, pipeline: Option<&str>) -> Vec<usize> {
    positions(store, |key| {
        key.kind == Kind::PipelineIngestion && pipeline.is_none_or(|name| key.pipeline.as_deref() == Some(name))
    })
}

/// The positions of the views whose keys pass.
#[must_use]
pub fn positions(store: &AppStore, admits: impl Fn(&ViewKey) -> bool) -> Vec<usize> {
    store.views_by_key().filter(|(_, view)| admits(&view.key)).map(|(at, _)| at).collect()
}

/// What pipelines take in over the window; `None` without an ingestion view.
pub fn ingestion(store: &mut AppStore, pipeline: Option<&str>) -> Option<Throughput> {
    match ingestion_views(store, pipeline).as_slice() {
        [] => None,
        // One view alone is the store's own answer, to the last bit.
        [at] => store.throughput(*at),
        several => rates(store, several).throughput(),
    }
}

/// An application at a glance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppStatistics {
    /// Events per second into its pipelines lately, where it reports that.
    pub ingress: Option<f64>,
    /// Events per second out of its pipelines lately.
    pub egress: Option<f64>,
    /// The latter over the window.
    pub rates: RateSeries,
    /// The pipeline with the highest 99th percentile: its view, median and 99th.
    pub worst: Option<WorstView>,
    /// The computation with the highest 99th percentile.
    pub slowest: Option<WorstView>,
}

/// A view that stands out.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstView {
    /// Which.
    pub key: ViewKey,
    /// Half of its events took at most this.
    pub p50: QuantileRange,
    /// All but one in a hundred took at most this.
    pub p99: QuantileRange,
}

/// The application at a glance; `figures` gives the numbers of a view.
pub fn app_statistics(
    store: &mut AppStore,
    mut figures: impl FnMut(&mut AppStore, usize) -> Option<[Option<QuantileRange>; PERCENTILES.len()]>,
) -> AppStatistics {
    let pipelines = positions(store, |key| key.kind == Kind::StartToEnd);
    let computations = positions(store, |key| key.kind == Kind::Computation);
    let sources = ingestion_views(store, None);
    let rates_out = rates(store, &pipelines);
    let mut worst_of = |views: &[usize]| {
        let mut worst: Option<WorstView> = None;
        for &at in views {
            if let Some([Some(p50), _, Some(p99), ..]) = figures(store, at)
                && worst.as_ref().is_none_or(|worst| (p99.high, p99.low) > (worst.p99.high, worst.p99.low))
            {
                worst = Some(WorstView { key: store.views()[at].key.clone(), p50, p99 });
            }
        }
        worst
    };
    let (worst, slowest) = (worst_of(&pipelines), worst_of(&computations));
    let ingress = if sources.is_empty() { None } else { rates(store, &sources).recent() };
    AppStatistics { ingress, egress: rates_out.recent(), rates: rates_out, worst, slowest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{S, store_of, update};
    use joey_shared::store::Hole;

    #[test]
    fn a_view_has_its_numbers() {
        let mut store = store_of(&[update(1, 0, 100, &[5; 4]), update(2, 0, 102, &[5, 9]), update(3, 1, 104, &[9])]);
        let at = store.find(&ViewKey::computation("n")).unwrap();
        let figures = view_statistics(&mut store, at).unwrap();
        assert_eq!((figures.count, figures.covered, figures.seconds), (7, 6, 300));
        assert_eq!(figures.quantiles[0], Some(QuantileRange { low: 5, high: 8 }));
        assert_eq!(figures.throughput, Some(Throughput { min: 1.0, median: 1.5, max: 2.0 }));
        assert_eq!(figures.recent, Some(1.5));
        assert_eq!(view_statistics(&mut store, 99), None);
    }

    #[test]
    fn a_view_stalls_and_an_application_falls_silent() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 108, &[5])]);
        let since = |store: &mut AppStore, at| view_statistics(store, at).unwrap().stalled_since;
        assert_eq!((since(&mut store, 0), since(&mut store, 1)), (Some(100 * S), None));
        assert_eq!(store.silent_for(113 * S), None);
        assert_eq!(store.silent_for(120 * S), Some(12 * S));
    }

    #[test]
    fn holes_are_seconds_without_overlap() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 0, 130, &[5])]);
        for (from, to) in [(110, 115), (112, 118), (125, 0)] {
            store.note_hole(Hole { from_ns: from * S, to_ns: to * S, updates: Some(1) });
        }
        assert_eq!(missing_seconds(&store, 100, 130), [(111, 118), (126, 130)]);
        assert_eq!(view_statistics(&mut store, 0).unwrap().covered, 32 - 13);
    }

    #[test]
    fn counts_have_no_latency_and_an_app_its_extremes() {
        let mut store = store_of(&[update(1, 2, 100, &[700]), update(2, 3, 100, &[5, 5]), update(3, 0, 102, &[9])]);
        let app = app_statistics(&mut store, |store, at| view_statistics(store, at).map(|figures| figures.quantiles));
        assert_eq!((app.ingress, app.egress), (Some(1.0), Some(0.5)));
        assert_eq!(app.worst.unwrap().key, ViewKey::pipeline("p"));
        assert_eq!(app.slowest.unwrap().key, ViewKey::computation("n"));
        let source = ingestion_views(&store, Some("p"))[0];
        assert_eq!(view_statistics(&mut store, source).unwrap().quantiles, [None; 5]);
        assert_eq!(ingestion(&mut store, Some("p")).unwrap().median, 1.0);
        assert_eq!(ingestion(&mut store, Some("q")), None);
    }
}
