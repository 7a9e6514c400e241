//! All series of a process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use joey_shared::series::{COMPUTATION, NODE_INGRESS_EGRESS, PIPELINE_INGESTION, START_TO_END, THROUGHPUT, check_name};
use parking_lot::RwLock;

use crate::lane::LANES;
use crate::series::{Inner, Series};
use crate::snapshot::Snapshot;

/// Default maximum number of series. Each takes 10 KiB, and 8 KiB more for each thread that has counters of its own
/// there.
pub const SERIES_MAX: usize = 1_000;

/// Maximum number of threads with counters of their own, per series on average. This limits the memory of a program in
/// which many threads record to many series: to 42 KiB for each possible series. Further threads share counters, which
/// is slower.
const LANES_PER_SERIES: usize = 4;

/// The series of a process, by name.
#[derive(Debug)]
pub struct Registry {
    series: RwLock<HashMap<Key, Arc<Inner>>>,
    series_max: usize,
    /// Number of lanes that may still be created.
    lanes_left: AtomicUsize,
    rejected: AtomicU64,
}

/// Category, pipeline and name.
type Key = [Box<str>; 3];

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Inner")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(SERIES_MAX)
    }
}

impl Registry {
    /// Creates a registry without series.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        let lanes_left = AtomicUsize::new(series_max.saturating_mul(LANES_PER_SERIES).max(LANES));
        Self { series: RwLock::default(), series_max, lanes_left, rejected: AtomicU64::new(0) }
    }

    /// Returns the series with these names, and creates it if it does not exist. Keep the handle: this looks the names
    /// up.
    ///
    /// If the limit of series is reached, or a name is not valid, the handle records nothing, and
    /// [`Registry::rejected`] increases.
    pub fn series(&self, category: &str, pipeline: &str, name: &str) -> Series {
        let key: Key = [category, pipeline, name].map(Into::into);
        if let Some(known) = self.series.read().get(&key) {
            return Series::of(known.clone());
        }
        let is_valid = key.iter().all(|name| check_name(name.as_bytes()).is_ok());
        let mut all = self.series.write();
        if !is_valid || (all.len() >= self.series_max && !all.contains_key(&key)) {
            self.rejected.fetch_add(1, Relaxed);
            return Series::disabled();
        }
        let inner = all.entry(key).or_insert_with(|| Arc::new(Inner::new(category, pipeline, name)));
        Series::of(inner.clone())
    }

    /// The latency of an operation that this service serves, or of a whole pipeline.
    pub fn start_to_end(&self, operation: &str) -> Series {
        self.series(START_TO_END, operation, operation)
    }

    /// The latency of one step of `pipeline`, or of an internal operation or an outgoing call of a service.
    pub fn computation(&self, pipeline: &str, name: &str) -> Series {
        self.series(COMPUTATION, pipeline, name)
    }

    /// The time that an event of `pipeline` spends on this worker.
    pub fn node_ingress_egress(&self, pipeline: &str) -> Series {
        self.series(NODE_INGRESS_EGRESS, pipeline, pipeline)
    }

    /// The number of events that the source `name` of `pipeline` receives: see [`Series::count`].
    pub fn pipeline_ingestion(&self, pipeline: &str, name: &str) -> Series {
        self.series(PIPELINE_INGESTION, pipeline, name)
    }

    /// A number of events without latencies: see [`Series::count`].
    pub fn throughput(&self, name: &str) -> Series {
        self.series(THROUGHPUT, "", name)
    }

    /// Takes what was recorded since the last call, for each series with counts.
    pub fn take(&self) -> Vec<Snapshot> {
        let all: Vec<Arc<Inner>> = self.series.read().values().cloned().collect();
        all.iter().filter_map(|series| series.take(&self.lanes_left)).collect()
    }

    /// How often a series was rejected because of the limit or an invalid name.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use joey_shared::histogram::{Grid, Histogram};
    use proptest::prelude::*;

    use super::*;

    fn total(registry: &Registry) -> Histogram {
        let mut total = Histogram::default();
        registry.take().iter().for_each(|snapshot| total.merge(&snapshot.histogram));
        total
    }

    #[test]
    fn threads_that_record_during_snapshots_lose_nothing() {
        const THREADS: u64 = 70;
        const EACH: u64 = 20_000;
        let registry = Registry::default();
        let series = registry.start_to_end("GET /");
        let is_done = AtomicBool::new(false);
        let mut sum = Histogram::default();
        thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut taken = Histogram::default();
                while !is_done.load(Relaxed) {
                    taken.merge(&total(&registry));
                }
                taken
            });
            // More threads than lanes, in two waves, so that lanes are used again.
            for wave in 0..2 {
                thread::scope(|scope| {
                    for thread in 0..THREADS / 2 {
                        let series = series.clone();
                        scope.spawn(move || {
                            (0..EACH).for_each(|at| series.record_ns(1 + wave * 1_000 + thread + at % 7))
                        });
                    }
                });
            }
            is_done.store(true, Relaxed);
            sum = taker.join().unwrap();
        });
        sum.merge(&total(&registry));
        let mut expected = Histogram::with_sum(Grid::FINEST);
        for wave in 0..2 {
            for thread in 0..THREADS / 2 {
                (0..EACH).for_each(|at| expected.record(1 + wave * 1_000 + thread + at % 7));
            }
        }
        assert_eq!(sum.occupied().collect::<Vec<_>>(), expected.occupied().collect::<Vec<_>>());
        assert_eq!(sum.sum_ns, expected.sum_ns);
        // In a snapshot at the instant of recording, an extreme may be an edge of its bin.
        let bins =
            |histogram: &Histogram| histogram.extremes().map(|(min, max)| [min, max].map(|ns| Grid::FINEST.bin_of(ns)));
        assert_eq!(bins(&sum), bins(&expected));
        let (min_ns, max_ns) = expected.extremes().unwrap();
        assert!(sum.min_ns <= min_ns && sum.max_ns >= max_ns, "{sum:?}");
    }

    #[test]
    fn threads_without_counters_of_their_own_lose_nothing() {
        let registry = Registry::default();
        registry.lanes_left.store(1, Relaxed);
        let series = [registry.start_to_end("a"), registry.start_to_end("b")];
        let record = || series.iter().for_each(|series| (0..1_000).for_each(|ns| series.record_ns(ns)));
        record();
        assert_eq!(total(&registry).count(), 2_000);
        assert_eq!(registry.lanes_left.load(Relaxed), 0);
        record();
        let histogram = total(&registry);
        assert_eq!((histogram.count(), histogram.extremes(), histogram.sum_ns), (2_000, Some((0, 999)), Some(999_000)));
    }

    #[test]
    fn a_series_beyond_the_limit_records_nothing_and_is_counted() {
        let registry = Registry::new(1);
        let (first, second) = (registry.start_to_end("a"), registry.start_to_end("b"));
        assert!(first.is_recording() && !second.is_recording());
        assert!(registry.start_to_end("a").is_recording());
        second.record_ns(1);
        assert!(!Registry::default().start_to_end("a\nb").is_recording());
        assert_eq!((registry.rejected(), registry.take()), (1, Vec::new()));
    }

    #[test]
    fn a_timer_records_once_unless_it_is_discarded() {
        let registry = Registry::default();
        let series = registry.computation("orders", "check");
        series.start().discard();
        drop(series.start());
        assert_eq!(series.time(|| 7), 7);
        series.record(Duration::from_secs(u64::MAX));
        let snapshots = registry.take();
        let [snapshot] = &snapshots[..] else { panic!("{snapshots:?}") };
        assert_eq!((&*snapshot.category, &*snapshot.pipeline, &*snapshot.name), (COMPUTATION, "orders", "check"));
        assert_eq!((snapshot.histogram.count(), snapshot.histogram.max_ns), (3, u64::MAX));
    }

    #[test]
    fn events_without_durations_are_counted_in_bin_0() {
        let registry = Registry::default();
        registry.throughput("orders").count(40);
        let histogram = total(&registry);
        assert_eq!((histogram.count_at(0), histogram.count()), (40, 40));
    }

    proptest! {
        #[test]
        fn a_snapshot_is_the_histogram_of_the_durations(values in prop::collection::vec(any::<u64>(), 1..100)) {
            let registry = Registry::default();
            let series = registry.start_to_end("GET /");
            // The first snapshot gives the thread a lane of its own.
            series.record_ns(1);
            drop(registry.take());
            let mut expected = Histogram::new(Grid::FINEST);
            for &ns in &values {
                series.record_ns(ns);
                expected.record(ns);
            }
            let mut histogram = total(&registry);
            histogram.sum_ns = None;
            prop_assert_eq!(histogram, expected);
        }
    }
}
