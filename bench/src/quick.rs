//! Six ratios: what the relay promises about its weight.

use anyhow::{Context as _, Result};

use crate::figures::Runs;
use crate::machine::Cores;
use crate::report::{self, SERIES, VIEWERS};
use crate::system::System;
use crate::workload::{Burst, Scene, Spaced};

/// How long the relay lets an update wait for company at most, in ms: its default, which these runs leave as it is. Where little
/// comes it waits less, and then there is less to take away than this.
const BATCH_MS: f64 = 50.0;

/// What the ratios are made of.
pub(crate) struct Measured {
    burst: Vec<Burst>,
    spaced: Vec<Spaced>,
    idle: Runs,
    floor: Runs,
    alone: Runs,
    join: Runs,
}

/// Measures and prints all of it, with these systems in the burst and those in *spaced* and *idle*.
pub(crate) fn measure(burst: &[System], spaced: &[System], idle: &[System], cores: Cores) -> Result<Measured> {
    let burst = report::dashboard(burst, cores)?;
    let spaced = report::spaced(spaced, cores)?;
    let idle = report::idle(idle, false, cores)?;
    let (floor, alone) = report::ingest(cores)?;
    let join = report::join(cores)?;
    Ok(Measured { burst, spaced, idle, floor, alone, join })
}

/// Prints the ratios.
pub(crate) fn ratios(measured: &Measured) -> Result<()> {
    let Measured { burst, spaced, idle, floor, alone, join } = measured;
    let joey = burst.iter().find(|figures| figures.system == System::Joey).context("joey was not measured")?;
    let raw = Scene::dashboard(VIEWERS, SERIES).records().first().context("there is an application")?.bytes();
    let p99_ms = |system| spaced.iter().find(|figures| figures.system == system).map(|figures| figures.p99_ms.least());
    let latency = p99_ms(System::Joey).zip(p99_ms(System::Uws));
    println!();
    if let Some((joey, uws)) = latency {
        println!(
            "p99 in spaced: joey {joey:.2} ms, {:.2} ms without {BATCH_MS} ms of batching; uWebSockets {uws:.2} ms",
            without_batching(joey)
        );
    }
    if let Some(uws) = burst.iter().find(|figures| figures.system == System::Uws) {
        ratio("fanout_cpu_vs_uws", joey.cpu.least() / uws.cpu.least());
    }
    ratio("wire_bytes_vs_raw", joey.bytes / raw);
    ratio("idle_kib_per_viewer", idle.least());
    ratio("ingest_vs_floor", alone.least() / floor.least());
    if let Some((joey, uws)) = latency {
        ratio("latency_p99_vs_uws", without_batching(joey) / uws);
    }
    ratio("join_cpu_vs_resend", join.least() / (joey.cpu.least() * 1e3 / joey.bytes));
    Ok(())
}

fn without_batching(p99_ms: f64) -> f64 {
    (p99_ms - BATCH_MS).max(0.0)
}

fn ratio(name: &str, value: f64) {
    println!("ratio {name} {value:.4}");
}
