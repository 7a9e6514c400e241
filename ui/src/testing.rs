//! Stores for the unit tests of this crate.

use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{
    COMPUTATION, NODE_INGRESS_EGRESS, PIPELINE_INGESTION, Provenance, START_TO_END, SeriesKey, Source, THROUGHPUT,
};
use joey_shared::store::AppStore;
use joey_shared::wire::{SeriesEntry, Update};

/// Nanoseconds in a second.
pub(crate) const S: u64 = 1_000_000_000;

/// An update of a period of two seconds that ended at second `end_s`.
pub(crate) fn update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::default();
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq, series, period_ns: 2 * S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A store with the series of a computation on two workers (0, 1), of a pipeline (2), its source (3) and a worker (4). Each of
/// `updates` arrives when its period ends.
pub(crate) fn store_of(updates: &[Update]) -> AppStore {
    let entry = |number, category: &str, worker: &str, name: &str| {
        let [category, pipeline, worker, name] = [category, "p", worker, name].map(ToOwned::to_owned);
        SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
    };
    let mut store = AppStore::default();
    store.announce(
        1,
        &[
            entry(0, COMPUTATION, "a", "n"),
            entry(1, COMPUTATION, "b", "n"),
            entry(2, START_TO_END, "a", "p"),
            entry(3, PIPELINE_INGESTION, "a", "p source"),
            entry(4, NODE_INGRESS_EGRESS, "a", "p"),
        ],
    );
    for update in updates {
        store.apply(1, update, update.end_ns);
    }
    store
}

/// An update of a service: a period of one second with these durations, and their sum, in bins of scale 3 in seconds.
pub(crate) fn fine_update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::with_sum(Grid::new(3, Unit::Seconds).unwrap());
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq, series, period_ns: S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A store of a service with an operation on two instances (0, 1) and among its spans (2), an internal operation (3) and a
/// counter (4).
pub(crate) fn service_of(updates: &[Update]) -> AppStore {
    let entry = |number, category: &str, pipeline: &str, worker: &str, name: &str, source| {
        let [category, pipeline, worker, name] = [category, pipeline, worker, name].map(ToOwned::to_owned);
        let provenance = Provenance::exact(source);
        SeriesEntry { provenance, ..SeriesEntry::new(number, 0, SeriesKey { category, pipeline, worker, name }) }
    };
    let mut store = AppStore::default();
    store.announce(
        1,
        &[
            entry(0, START_TO_END, "GET /", "i-1", "GET /", Source::OtlpMetrics),
            entry(1, START_TO_END, "GET /", "i-2", "GET /", Source::OtlpMetrics),
            entry(2, START_TO_END, "GET / spans", "i-1", "GET / spans", Source::OtlpTraces),
            entry(3, COMPUTATION, "", "i-1", "render", Source::OtlpMetrics),
            entry(4, THROUGHPUT, "", "i-1", "hits", Source::OtlpMetrics),
        ],
    );
    for update in updates {
        store.apply(1, update, update.end_ns);
    }
    store
}
