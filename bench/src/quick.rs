//! Six ratios in under a minute: what the relay promises about its weight.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::figures::{Runs, percentile};
use crate::machine::Cores;
use crate::system::System;
use crate::workload::{self, Burst, Spaced};

/// Viewers and series of a dashboard.
const VIEWERS: usize = 1_000;
const SERIES: usize = 100;
/// How long the relay lets an update wait for company, in ms: its default, which these runs leave as it is.
const BATCH_MS: f64 = 50.0;
/// Frames of one run of *ingest*.
const FRAMES: usize = 200_000;

/// Measures and prints; `systems` take part in the burst.
pub(crate) fn run(systems: &[System], cores: Cores) -> Result<()> {
    let burst = burst(systems, cores)?;
    let spaced = spaced(cores)?;
    let idle = idle(cores)?;
    let (floor, alone) = ingest(cores)?;
    let join = join(cores)?;

    let of = |system| burst.iter().find(|figures| figures.system == system);
    let joey = of(System::Joey).context("joey was not measured")?;
    let raw = crate::record::Records::new("bench", SERIES).bytes();
    println!();
    if let Some(uws) = of(System::Uws) {
        ratio("fanout_cpu_vs_uws", joey.cpu.least() / uws.cpu.least());
    }
    ratio("wire_bytes_vs_raw", joey.bytes / raw);
    ratio("idle_kib_per_viewer", idle.least());
    ratio("ingest_vs_floor", alone.least() / floor.least());
    if let [joey, uws] = spaced.as_slice() {
        ratio("latency_p99_vs_uws", (joey.p99_ms.least() - BATCH_MS).max(0.0) / uws.p99_ms.least());
    }
    ratio("join_cpu_vs_resend", join.least() / joey.cpu_ns_per_byte);
    Ok(())
}

pub(crate) fn burst(systems: &[System], cores: Cores) -> Result<Vec<Burst>> {
    println!("\nburst: {VIEWERS} viewers, {SERIES} series, all flushed together once a second");
    let mut burst = workload::burst(systems, VIEWERS, SERIES, 7, cores)?;
    for figures in &mut burst {
        println!(
            "  {:<18} {:>7.4} CPU-s/M (median {:.4}) {:>7.1} B/update  p50 {:.1} p99 {:.1} ms  {} KiB  noise {:.2}",
            figures.system.name(),
            figures.cpu.least(),
            figures.cpu.median(),
            figures.bytes,
            percentile(&mut figures.delays_ns, 0.5) / 1e6,
            percentile(&mut figures.delays_ns, 0.99) / 1e6,
            figures.memory_kib,
            figures.noise,
        );
    }
    Ok(burst)
}

pub(crate) fn spaced(cores: Cores) -> Result<Vec<Spaced>> {
    println!("\nspaced: {VIEWERS} viewers, 100 updates a second, evenly spread");
    let spaced = workload::spaced(&[System::Joey, System::Uws], VIEWERS, 100, Duration::from_millis(2_500), 2, cores)?;
    for figures in &spaced {
        println!(
            "  {:<18} p50 {:.2} ms, p99 {:.2} ms (median {:.2})  {:.3} CPU-s/M  noise {:.2}",
            figures.system.name(),
            figures.p50_ms.least(),
            figures.p99_ms.least(),
            figures.p99_ms.median(),
            figures.cpu.least(),
            figures.noise.median(),
        );
    }
    Ok(spaced)
}

pub(crate) fn idle(cores: Cores) -> Result<Runs> {
    println!("\nidle: {VIEWERS} viewers that have subscribed and get nothing");
    let mut idle = Runs::default();
    for _ in 0..2 {
        workload::idle(System::Joey, VIEWERS, cores)?.into_iter().for_each(|kib| idle.add(kib));
    }
    println!("  joey {:.2} KiB a viewer (median {:.2})", idle.least(), idle.median());
    Ok(idle)
}

/// The figures of the floor, and of the relay without a viewer.
pub(crate) fn ingest(cores: Cores) -> Result<(Runs, Runs)> {
    println!("\ningest: {FRAMES} frames as fast as they are taken");
    let (mut floor, mut alone, mut watched) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..3 {
        floor.add(workload::ingest(System::Floor, FRAMES, 0, cores)?);
        alone.add(workload::ingest(System::Joey, FRAMES, 0, cores)?);
        watched.add(workload::ingest(System::Joey, FRAMES, 1, cores)?);
    }
    for (name, runs) in [("read and drop", &floor), ("joey, no viewer", &alone), ("joey, one viewer", &watched)] {
        println!("  {name:<18} {:.0} ns a frame (median {:.0})", runs.least(), runs.median());
    }
    Ok((floor, alone))
}

pub(crate) fn join(cores: Cores) -> Result<Runs> {
    println!("\njoin storm: {VIEWERS} viewers come at once and want 5 minutes");
    let (mut join, mut bytes) = (Runs::default(), 0.0);
    for _ in 0..2 {
        let (ns, each) = workload::join(VIEWERS, SERIES, cores)?;
        join.add(ns);
        bytes = each;
    }
    println!("  {:.3} ns a byte (median {:.3}), {:.0} KB for each", join.least(), join.median(), bytes / 1e3);
    Ok(join)
}

/// What the original Monitoring Hub used at 50 components, one period a second, windows full: on two cores like these, Erlang/OTP
/// 25, measured once: share of a core without a viewer and with 100, memory in MiB.
const HUB: [(usize, f64, f64); 2] = [(0, 0.61, 1_152.0), (100, 0.58, 909.0)];

/// The load of the original Monitoring Hub.
pub(crate) fn monitoring_hub(cores: Cores) -> Result<()> {
    println!("\noriginal hub: 50 series, one period a second, five minutes full");
    for (viewers, cpu, mib) in HUB {
        let (own_cpu, own_kib) = workload::monitoring_hub(50, viewers, cores)?;
        let own_mib = own_kib as f64 / 1024.0;
        println!(
            "  {viewers} viewers: {own_cpu:.5} of a core, {own_mib:.1} MiB; the hub {:.0} times the CPU, {:.0} times the memory",
            cpu / own_cpu,
            mib / own_mib
        );
    }
    Ok(())
}

fn ratio(name: &str, value: f64) {
    println!("ratio {name} {value:.4}");
}
