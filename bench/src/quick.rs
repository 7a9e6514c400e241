//! Six ratios that summarise the relay's cost.

use anyhow::{Context as _, Result};

use crate::machine::Cores;
use crate::report::{self, SERIES, VIEWERS};
use crate::statistics::Runs;
use crate::system::System;
use crate::workload::{Burst, Scene, Spaced};

/// The relay's default batching delay in ms, which these runs do not change. With few updates the relay waits for less,
/// so the corrected latency is a lower bound.
const BATCH_MS: f64 = 50.0;

/// The measurements behind the ratios.
pub(crate) struct Measured {
    burst: Vec<Burst>,
    spaced: Vec<Spaced>,
    idle: Runs,
    floor: Runs,
    alone: Runs,
    join: Runs,
}

/// Runs and prints all measurements, with these systems in the burst, in *spaced* and in *idle*.
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
    let joey = burst.iter().find(|result| result.system == System::Joey).context("joey was not measured")?;
    let raw = Scene::dashboard(VIEWERS, SERIES).records().first().context("there is an application")?.bytes();
    let p99_ms = |system| spaced.iter().find(|result| result.system == system).map(|result| result.p99_ms.least());
    let latency = p99_ms(System::Joey).zip(p99_ms(System::Uws));
    println!();
    if let Some((joey, uws)) = latency {
        println!(
            "p99 in spaced: joey {joey:.2} ms, {:.2} ms without {BATCH_MS} ms of batching; uWebSockets {uws:.2} ms",
            without_batching(joey)
        );
    }
    if let Some(uws) = burst.iter().find(|result| result.system == System::Uws) {
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
