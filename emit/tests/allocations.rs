//! Recording allocates nothing. This is a test of its own, because its allocator counts.

use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use joey_emit::{Registry, Series};

/// Number of allocations while all ways to record are used.
fn allocations(series: &Series) -> u64 {
    let record = || {
        for ns in (0..64).map(|shift| 1 << shift) {
            series.record_ns(ns);
            series.record(Duration::from_nanos(ns + 1));
            series.record_many_ns(ns, 3);
        }
        series.count(5);
        series.time(|| series.start().discard());
        series.clone().record_ns(7);
    };
    measure(record).count_total
}

#[test]
fn recording_allocates_nothing_on_any_thread_before_and_after_the_first_snapshot() {
    let registry = Registry::new(1);
    let series = registry.start_to_end("GET /");
    let of_thread = series.clone();
    // A thread's first use of a variable with a destructor may allocate once in the standard library.
    series.record_ns(1);
    assert_eq!(allocations(&series), 0);
    drop(registry.take());
    assert_eq!(allocations(&series), 0);
    let other = thread::spawn(move || {
        of_thread.record_ns(1);
        allocations(&of_thread)
    });
    assert_eq!(other.join().expect("the thread does not panic"), 0);
    let rejected = registry.start_to_end("POST /");
    assert!(!rejected.is_recording());
    assert_eq!(allocations(&rejected), 0);
}

#[test]
fn the_allocator_counts() {
    assert_eq!(measure(|| drop(Box::new(7))).count_total, 1);
}
