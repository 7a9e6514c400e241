//! Measures what recording one duration costs with joey-emit and with other libraries, at 1, 2 and 4 threads that
//! record to the same histogram: `cargo bench -p joey-bench --bench emit`. The times are those of one thread for one
//! duration.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use metrics::Recorder as _;
use opentelemetry::metrics::MeterProvider as _;

/// Durations recorded by each thread in one iteration.
const DURATIONS: u64 = 10_000;

/// Records [`DURATIONS`] durations `iterations` times.
type Record = Box<dyn FnMut(u64) + Send>;

/// A library: its name, and a function that returns a recording function for each thread.
type Library = (&'static str, fn(usize) -> Vec<Record>);

const LIBRARIES: [Library; 4] = [
    ("joey-emit", joey_emit),
    ("hdrhistogram", hdrhistogram),
    ("metrics-exporter-prometheus", prometheus),
    ("opentelemetry_sdk", opentelemetry),
];

/// The duration number `at`, in ns: spread over three powers of ten, without a cost that would hide the library's.
const fn duration_ns(at: u64) -> u64 {
    100_000 + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) * 100
}

fn repeat(iterations: u64, mut record: impl FnMut(u64)) {
    for _ in 0..iterations {
        (0..DURATIONS).map(duration_ns).for_each(&mut record);
    }
}

fn joey_emit(threads: usize) -> Vec<Record> {
    let registry = joey_emit::Registry::default();
    let series = registry.start_to_end("GET /");
    let record = |_| {
        let series = series.clone();
        Box::new(move |iterations| repeat(iterations, |ns| series.record_ns(ns))) as Record
    };
    let records = (0..threads).map(record).collect();
    // joey-emit takes a snapshot each second; here it is a hundred times as often.
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(10));
            drop(registry.take());
        }
    });
    records
}

fn hdrhistogram(threads: usize) -> Vec<Record> {
    let histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 2);
    let histogram = histogram.map(hdrhistogram::Histogram::into_sync);
    let Ok(histogram) = histogram else { return Vec::new() };
    let records = (0..threads)
        .map(|_| {
            let mut recorder = histogram.recorder();
            Box::new(move |iterations| repeat(iterations, |ns| recorder.saturating_record(ns))) as Record
        })
        .collect();
    let mut histogram = histogram;
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(10));
            histogram.refresh_timeout(Duration::from_millis(10));
        }
    });
    records
}

fn prometheus(threads: usize) -> Vec<Record> {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let key = metrics::Key::from_name("request_seconds");
    let histogram = recorder.register_histogram(&key, &metrics::Metadata::new("", metrics::Level::INFO, None));
    let handle = recorder.handle();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(10));
            handle.run_upkeep();
        }
    });
    let record = |_| {
        let histogram = histogram.clone();
        Box::new(move |iterations| repeat(iterations, |ns| histogram.record(ns as f64 / 1e9))) as Record
    };
    (0..threads).map(record).collect()
}

fn opentelemetry(threads: usize) -> Vec<Record> {
    let exporter = opentelemetry_sdk::metrics::InMemoryMetricExporter::default();
    let reader = opentelemetry_sdk::metrics::PeriodicReader::builder(exporter).build();
    let provider = opentelemetry_sdk::metrics::SdkMeterProvider::builder().with_reader(reader).build();
    let histogram = provider.meter("bench").f64_histogram("http.server.request.duration").with_unit("s").build();
    let record = |_| {
        let (histogram, provider) = (histogram.clone(), provider.clone());
        Box::new(move |iterations| {
            let _provider = &provider;
            repeat(iterations, |ns| histogram.record(ns as f64 / 1e9, &[]));
        }) as Record
    };
    (0..threads).map(record).collect()
}

/// The time from the moment when all threads start to the end of the last one.
fn run(records: Vec<Record>, iterations: u64) -> (Vec<Record>, Duration) {
    let barrier = Arc::new(Barrier::new(records.len() + 1));
    let threads: Vec<_> = records
        .into_iter()
        .map(|mut record| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                barrier.wait();
                record(iterations);
                record
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let records = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
    (records, start.elapsed())
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(DURATIONS));
    for (name, prepare) in LIBRARIES {
        for threads in [1, 2, 4] {
            let mut records = prepare(threads);
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher.iter_custom(|iterations| {
                    let (returned, elapsed) = run(std::mem::take(&mut records), iterations);
                    assert_eq!(returned.len(), threads, "{name} failed");
                    records = returned;
                    elapsed
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
