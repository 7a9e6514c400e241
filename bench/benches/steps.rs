//! Measures the time of each step of an update's path: `cargo bench -p joey-bench`. Times depend on other load of the
//! machine; `cargo xtask guard` counts the instructions of the same steps instead.

use std::time::Instant;

use anyhow::Result;
use criterion::{Criterion, Throughput};
use joey_bench::{REPETITIONS, STEPS, TIMED_STEPS};

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("steps");
    group.throughput(Throughput::Elements(REPETITIONS as u64));
    for (name, prepare) in STEPS.into_iter().chain(TIMED_STEPS) {
        let mut step = prepare()?;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                // A failing step would appear to be the fastest.
                assert!(step(usize::try_from(iterations).unwrap_or(usize::MAX)).is_ok(), "{name} failed");
                start.elapsed()
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
