//! The time that each step of an update's way takes: `cargo bench -p joey-bench`. Time depends on what else the machine does;
//! `cargo xtask guard` counts the instructions of the same steps instead.

use std::time::Instant;

use anyhow::Result;
use criterion::{Criterion, Throughput};
use joey_bench::{EACH, STEPS};

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("steps");
    group.throughput(Throughput::Elements(EACH as u64));
    for (name, prepare) in STEPS {
        let mut step = prepare()?;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let began = Instant::now();
                // A step that fails would be the fastest of all.
                assert!(step(usize::try_from(rounds).unwrap_or(usize::MAX)).is_ok(), "{name} failed");
                began.elapsed()
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
