//! Each workload at its published size, printed as a table for `docs/benchmarks.md`.

use std::time::Duration;

use anyhow::Result;

use crate::machine::{self, Cores};
use crate::statistics::{Runs, Table};
use crate::system::{self, System};
use crate::workload::{self, Burst, NoisyRuns, Scene, Spaced, Stalled};

/// Viewers and series of a dashboard.
pub(crate) const VIEWERS: usize = 1_000;
pub(crate) const SERIES: usize = 100;
/// Applications of *many apps*, and the series of each.
const APPS: (usize, usize) = (100, 10);
/// Periods of a burst.
const PERIODS: usize = 10;
/// Updates per second in *spaced*.
const RATE: u32 = 100;
/// Viewers, series and updates per second of *narrow*.
const NARROW: (usize, usize, u32) = (20, 1_000, 1_100);
/// Viewers of the larger *idle*: about as many as the limit of open files allows here.
const MANY: usize = 10_000;
/// Frames of one run of *ingest*.
const FRAMES: usize = 1_000_000;

/// Frames per second of *ingest, one by one*; the last is a producer's default limit.
const STEADY_RATES: [u32; 3] = [100, 3_000, 20_000];

/// Prints date, machine and versions of the measurement.
pub(crate) fn heading(files: u64, systems: &[System]) {
    println!("{}, {}, {files} open files", machine::date(), machine::description());
    let versions = systems.iter().filter_map(|system| Some(format!("{} {}", system.name(), system.version()?)));
    println!("{}", versions.collect::<Vec<_>>().join(", "));
    println!(
        "Each cell has the minimum of several runs and, in parentheses, their median. Noise: cores that other processes used."
    );
}

fn section(name: &str, what: &str) {
    println!("\n### {name}\n\n{what}\n");
}

pub(crate) fn dashboard(systems: &[System], cores: Cores) -> Result<Vec<Burst>> {
    section("Dashboard burst", &format!("{VIEWERS} viewers, {SERIES} series, all flushed together once a second."));
    burst(systems, &Scene::dashboard(VIEWERS, SERIES), cores)
}

pub(crate) fn many_apps(systems: &[System], cores: Cores) -> Result<()> {
    let (apps, series) = APPS;
    section(
        "Many apps",
        &format!("{apps} applications of {series} series each, {VIEWERS} viewers with one application each."),
    );
    burst(systems, &Scene::many_apps(VIEWERS, apps, series), cores).map(drop)
}

pub(crate) fn mixed(systems: &[System], cores: Cores) -> Result<()> {
    let what = format!(
        "3 applications of {SERIES} series each. Each of {VIEWERS} viewers subscribes to all of one, a category of another, and a \
         single series of the third, over one connection. Systems without topics below an application are left out."
    );
    section("Mixed topics", &what);
    burst(systems, &Scene::mixed(VIEWERS, SERIES), cores).map(drop)
}

fn burst(systems: &[System], scene: &Scene, cores: Cores) -> Result<Vec<Burst>> {
    let bursts = workload::burst(&system::installed(systems), scene, PERIODS, cores)?;
    let uws = bursts.iter().find(|result| result.system == System::Uws).map_or(f64::NAN, |uws| uws.cpu.least());
    let mut table = Table::new(&[
        "system",
        "CPU-s per million updates",
        "relative to uWebSockets",
        "bytes per update",
        "p50 ms",
        "p99 ms",
        "MiB",
        "noise",
    ]);
    for result in &bursts {
        table.row([
            result.system.name().to_owned(),
            result.cpu.show(3),
            format!("{:.2}", result.cpu.least() / uws),
            format!("{:.1}", result.bytes),
            format!("{:.1}", result.p50_ms),
            format!("{:.1}", result.p99_ms),
            format!("{:.1}", result.memory_kib as f64 / 1024.0),
            format!("{:.2}", result.noise),
        ]);
    }
    print!("{table}");
    Ok(bursts)
}

pub(crate) fn spaced(systems: &[System], cores: Cores) -> Result<Vec<Spaced>> {
    section("Spaced", &format!("{VIEWERS} viewers, {RATE} updates per second, evenly spread."));
    let (systems, scene) = (system::installed(systems), Scene::dashboard(VIEWERS, SERIES));
    let spaced = workload::spaced(&systems, &scene, RATE, Duration::from_millis(2_500), 2, cores)?;
    let mut table = Table::new(&["system", "CPU-s per million updates", "p50 ms", "p99 ms", "noise"]);
    for Spaced { system, p50_ms, p99_ms, cpu, noise } in &spaced {
        table.row([system.name().to_owned(), cpu.show(2), p50_ms.show(2), p99_ms.show(2), noise.show(2)]);
    }
    print!("{table}");
    Ok(spaced)
}

/// Cost of an update that arrives over one of a viewer's thousand subscriptions, and over a single subscription to all
/// series.
pub(crate) fn narrow(cores: Cores) -> Result<()> {
    let (viewers, series, rate) = NARROW;
    section(
        "Narrow",
        &format!(
            "{viewers} viewers with {series} subscriptions each, {rate} updates per second, evenly spread; and with one subscription."
        ),
    );
    let mut table = Table::new(&["subscriptions", "CPU-s per million updates", "p50 ms", "p99 ms", "noise"]);
    let scenes = [("1", Scene::dashboard(viewers, series)), ("1000", Scene::narrow(viewers, series))];
    let mut costs = Vec::new();
    for (name, scene) in scenes {
        for Spaced { p50_ms, p99_ms, cpu, noise, .. } in
            workload::spaced(&[System::Joey], &scene, rate, Duration::from_secs(5), 3, cores)?
        {
            table.row([name.to_owned(), cpu.show(2), p50_ms.show(2), p99_ms.show(2), noise.show(2)]);
            costs.push(cpu.least());
        }
    }
    print!("{table}");
    if let [wide, narrow] = *costs {
        println!("\n`narrow_cpu_vs_wide`: {:.1} (goal: 3)", narrow / wide);
    }
    Ok(())
}

/// The relay's memory per viewer, for [`VIEWERS`] or [`MANY`] of them.
pub(crate) fn idle(systems: &[System], is_many: bool, cores: Cores) -> Result<Runs> {
    let viewers = if is_many { MANY } else { VIEWERS };
    section(&format!("Idle, {viewers}"), &format!("{viewers} viewers that have subscribed and receive nothing."));
    let mut joey = Runs::default();
    let mut table = Table::new(&["system", "KiB per viewer", "noise"]);
    for system in system::installed(systems) {
        let mut runs = NoisyRuns::default();
        for _ in 0..2 {
            runs.add(workload::idle(system, viewers, cores)?);
        }
        table.row([system.name().to_owned(), runs.value.show(1), runs.noise.show(2)]);
        if system == System::Joey {
            joey = runs.value;
        }
    }
    print!("{table}");
    Ok(joey)
}

pub(crate) fn stalled(systems: &[System], cores: Cores) -> Result<()> {
    let (each, rate, seconds) = (workload::STALLED_EACH, workload::STALLED_RATE, workload::STALLED_SECONDS);
    section(
        "Stalled",
        &format!("{each} viewers that read and {each} that do not, {rate} updates per second for {seconds} s."),
    );
    let columns = ["system", "delivered to readers", "p99 ms", "p99 ms if all read", "KiB per stalled viewer", "noise"];
    let mut table = Table::new(&columns);
    for system in system::installed(systems) {
        let Stalled { p99_ms: [base, half], delivered, memory_kib, noise } = workload::stalled(system, cores)?;
        table.row([
            system.name().to_owned(),
            format!("{:.2} %", delivered * 100.0),
            format!("{half:.1}"),
            format!("{base:.1}"),
            format!("{memory_kib:.0}"),
            format!("{noise:.2}"),
        ]);
    }
    print!("{table}");
    Ok(())
}

/// Results of the floor, and of the relay without a viewer.
pub(crate) fn ingest(cores: Cores) -> Result<(Runs, Runs)> {
    section(
        "Ingest",
        &format!("{FRAMES} frames of {SERIES} series, as fast as the server reads them. The relay's history is full."),
    );
    let cases = [
        ("reading from loopback and discarding", System::Floor, 0),
        ("joey, no viewer", System::Joey, 0),
        ("joey, one viewer that receives everything", System::Joey, 1),
    ];
    let mut runs = [(); 3].map(|()| NoisyRuns::default());
    for _ in 0..3 {
        for ((_, system, viewers), runs) in cases.iter().zip(&mut runs) {
            runs.add(workload::ingest(*system, FRAMES, *viewers, cores)?);
        }
    }
    let mut table = Table::new(&["", "ns of CPU per frame", "noise"]);
    for ((name, ..), runs) in cases.iter().zip(&runs) {
        table.row([(*name).to_owned(), runs.value.show(0), runs.noise.show(2)]);
    }
    print!("{table}");
    let [floor, alone, _] = runs;
    Ok((floor.value, alone.value))
}

/// Measures frames that are written one by one.
pub(crate) fn one_by_one(cores: Cores) -> Result<()> {
    section("Ingest, one by one", "A fixed number of frames per second, each written separately.");
    let mut table = Table::new(&["frames per second", "reading and discarding, ns of CPU per frame", "joey", "noise"]);
    for rate in STEADY_RATES {
        let mut runs = [(); 2].map(|()| NoisyRuns::default());
        for _ in 0..3 {
            for (system, runs) in [System::Floor, System::Joey].into_iter().zip(&mut runs) {
                runs.add(workload::one_by_one(system, rate, 2, cores)?);
            }
        }
        let [floor, joey] = runs;
        table.row([rate.to_string(), floor.value.show(0), joey.value.show(0), joey.noise.show(2)]);
    }
    print!("{table}");
    Ok(())
}

/// CPU time in ns per byte of history.
pub(crate) fn join(cores: Cores) -> Result<Runs> {
    section("Join storm", &format!("{VIEWERS} viewers connect at once and request 5 minutes of {SERIES} series."));
    let (mut cpu, mut bytes) = (NoisyRuns::default(), 0.0);
    for _ in 0..2 {
        let join = workload::join(VIEWERS, SERIES, cores)?;
        cpu.add((join.cpu_ns_per_byte, join.noise));
        bytes = join.bytes;
    }
    let mut table = Table::new(&["system", "ns of CPU per byte", "KB per viewer", "noise"]);
    table.row(["joey".to_owned(), cpu.value.show(3), format!("{:.0}", bytes / 1e3), cpu.noise.show(2)]);
    print!("{table}");
    Ok(cpu.value)
}

/// Cost of the original Monitoring Hub with 50 components, one period per second and full windows, on Erlang/OTP 25 and
/// two similar cores, measured once: viewers, share of a core, memory in MiB.
const HUB: [(usize, f64, f64); 2] = [(0, 0.61, 1_152.0), (100, 0.58, 909.0)];

/// The load of the original Monitoring Hub.
pub(crate) fn monitoring_hub(cores: Cores) -> Result<()> {
    section("The original hub's load", "50 series, one period per second, five minutes full.");
    let columns =
        ["viewers", "share of a core", "MiB", "noise", "hub's CPU relative to it", "hub's memory relative to it"];
    let mut table = Table::new(&columns);
    for (viewers, hub_cpu, hub_mib) in HUB {
        let cost = workload::load(workload::Load { viewers, series: 50, rounds: 1 }, 10, cores)?;
        let mib = cost.memory_kib as f64 / 1024.0;
        table.row([
            viewers.to_string(),
            cost.cpu.show(5),
            format!("{mib:.1}"),
            format!("{:.2}", cost.noise),
            format!("{:.0}", hub_cpu / cost.cpu.median()),
            format!("{:.0}", hub_mib / mib),
        ]);
    }
    print!("{table}");
    Ok(())
}
