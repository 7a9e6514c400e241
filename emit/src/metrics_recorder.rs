//! A recorder for the facade of the crate `metrics`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::RwLock;

use crate::registry::Registry;
use crate::series::Series;

/// Records the histograms of the facade `metrics` as latencies, and its counters as throughput.
///
/// - A histogram's unit is the one of `describe_histogram!`; without a description it is seconds. A histogram of
///   another unit, such as bytes, is ignored and counted in [`MetricsRecorder::ignored`]. So are gauges.
/// - The name of the series is the name of the metric and the values of its labels, in the order of the labels.
/// - A histogram whose name contains `server` or `request` is the latency of an operation (`start-to-end`), any other
///   one that of a step (`computation`).
///
/// ```
/// use std::sync::Arc;
/// use joey_emit::{MetricsRecorder, Registry};
///
/// let registry = Arc::new(Registry::default());
/// let recorder = MetricsRecorder::new(registry.clone());
/// metrics::with_local_recorder(&recorder, || {
///     metrics::histogram!("request_seconds", "route" => "/users").record(0.012);
/// });
/// let snapshots = registry.take();
/// assert_eq!(&*snapshots[0].name, "request_seconds /users");
/// assert_eq!(snapshots[0].histogram.max_ns, 12_000_000);
/// ```
#[derive(Debug)]
pub struct MetricsRecorder {
    registry: Arc<Registry>,
    /// Units of described histograms, by name.
    units: RwLock<HashMap<String, Unit>>,
    ignored: AtomicU64,
}

/// Maximum number of described histograms.
const DESCRIBED_MAX: usize = 10_000;

impl MetricsRecorder {
    /// Creates a recorder that adds to `registry`. Install it with `metrics::set_global_recorder`.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, units: RwLock::default(), ignored: AtomicU64::new(0) }
    }

    /// Number of registrations of metrics that Joey cannot show: gauges, and histograms that are not durations.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Relaxed)
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        let mut units = self.units.write();
        if let Some(unit) = unit.filter(|_| units.len() < DESCRIBED_MAX) {
            units.insert(name.as_str().to_owned(), unit);
        }
    }
}

/// The metric's name and the values of its labels.
fn series_name(key: &Key) -> String {
    key.labels().fold(key.name().to_owned(), |name, label| name + " " + label.value())
}

impl Recorder for MetricsRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(EventCounter {
            series: self.registry.throughput(&series_name(key)),
            absolute: AtomicU64::new(0),
        }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.ignored.fetch_add(1, Relaxed);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let ns_per_unit = match self.units.read().get(key.name()) {
            None | Some(Unit::Seconds) => 1e9,
            Some(Unit::Milliseconds) => 1e6,
            Some(Unit::Microseconds) => 1e3,
            Some(Unit::Nanoseconds) => 1.0,
            Some(_) => {
                self.ignored.fetch_add(1, Relaxed);
                return Histogram::noop();
            }
        };
        let name = series_name(key);
        let is_operation = ["server", "request"].iter().any(|word| key.name().contains(word));
        let series =
            if is_operation { self.registry.start_to_end(&name) } else { self.registry.computation("", &name) };
        Histogram::from_arc(Arc::new(DurationHistogram { series, ns_per_unit }))
    }
}

struct DurationHistogram {
    series: Series,
    ns_per_unit: f64,
}

impl HistogramFn for DurationHistogram {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        // Values that are negative or not a number become 0, as for any conversion of a float to an unsigned integer.
        self.series.record_many_ns((value * self.ns_per_unit).round() as u64, count as u64);
    }
}

struct EventCounter {
    series: Series,
    /// The highest absolute value so far.
    absolute: AtomicU64,
}

impl CounterFn for EventCounter {
    fn increment(&self, value: u64) {
        self.series.count(value);
    }

    fn absolute(&self, value: u64) {
        let before = self.absolute.fetch_max(value, Relaxed);
        self.series.count(value.saturating_sub(before));
    }
}

#[cfg(test)]
mod tests {
    use joey_shared::series::{COMPUTATION, START_TO_END, THROUGHPUT};

    use super::*;

    #[test]
    fn histograms_and_counters_become_series_and_the_rest_is_counted() {
        let registry = Arc::new(Registry::default());
        let recorder = MetricsRecorder::new(registry.clone());
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_histogram!("http_server_ms", Unit::Milliseconds, "");
            metrics::describe_histogram!("body", Unit::Bytes, "");
            metrics::histogram!("http_server_ms").record(1.5);
            metrics::histogram!("parse").record_many(0.000_001, 3);
            metrics::histogram!("parse").record(-1.0);
            metrics::histogram!("body").record(5.0);
            metrics::gauge!("queue").set(5.0);
            metrics::counter!("orders", "shop" => "a").increment(3);
            let total = metrics::counter!("total");
            [5, 5, 9].into_iter().for_each(|value| total.absolute(value));
        });
        let mut found: Vec<_> = registry
            .take()
            .iter()
            .map(|series| {
                let (name, category) = (series.name.to_string(), series.category.to_string());
                (name, category, series.histogram.count(), series.histogram.max_ns)
            })
            .collect();
        found.sort_unstable();
        let expected = [
            ("http_server_ms", START_TO_END, 1, 1_500_000),
            ("orders a", THROUGHPUT, 3, 0),
            ("parse", COMPUTATION, 4, 1_000),
            ("total", THROUGHPUT, 9, 0),
        ];
        assert_eq!(
            found,
            expected.map(|(name, category, count, max)| (name.to_owned(), category.to_owned(), count, max))
        );
        assert_eq!(recorder.ignored(), 2);
    }
}
