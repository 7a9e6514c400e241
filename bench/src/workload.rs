//! What is measured, each as one function: it brings servers, publishers and viewers together and gives figures.
//!
//! Every run first verifies that each viewer gets everything; only then does time count.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use joey_shared::wire::Start;

use crate::crowd::{Crowd, Wish};
use crate::figures::{Runs, percentile};
use crate::machine::{Cores, Noise};
use crate::publisher::Publisher;
use crate::record::{Records, now_ns};
use crate::system::{Server, System};

/// The period of a dashboard: everything is flushed once in it.
const PERIOD: Duration = Duration::from_secs(1);
/// What a relay under test is told so that no limit stands in the way.
const UNLIMITED: [&str; 2] = ["--frames-per-sec", "100000000"];

/// One system's figures in the burst.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) system: System,
    /// Server CPU in seconds for a million updates delivered, of each period.
    pub(crate) cpu: Runs,
    /// Bytes for an update delivered.
    pub(crate) bytes: f64,
    /// Server CPU in ns for a byte delivered.
    pub(crate) cpu_ns_per_byte: f64,
    pub(crate) delays_ns: Vec<u64>,
    /// Memory at the end, in KiB.
    pub(crate) memory_kib: u64,
    pub(crate) noise: f64,
}

/// A dashboard: `viewers` viewers of `series` series that are flushed together once a second. The systems take turns within
/// each second, so that what disturbs one disturbs all.
pub(crate) fn burst(
    systems: &[System],
    viewers: usize,
    series: usize,
    periods: usize,
    cores: Cores,
) -> Result<Vec<Burst>> {
    let mut records = Records::new("bench", series);
    let topics = ["bench".to_owned()];
    let mut crowd = Crowd::lazy()?;
    let mut stages = Vec::new();
    for &system in systems {
        let Some(server) = Server::start(system, &[], cores)? else {
            println!("  LEFT OUT: {} is not installed (cargo xtask bench --install-peers)", system.name());
            continue;
        };
        let mut publisher = Publisher::connect(system, server.ingest, "bench")?;
        // The application has to exist before anybody can watch it.
        round(&mut publisher, &mut records, 0)?;
        thread::sleep(Duration::from_millis(100));
        let group = crowd.bring(&server, Wish { viewers, topics: &topics, start: Start::Live })?;
        crowd.until_ready(group)?;
        round(&mut publisher, &mut records, 0)?;
        let wanted = (viewers * series) as u64;
        crowd.until("every viewer got everything", |groups| groups[group].updates >= wanted)?;
        crowd.ensure_each_got(group, series as u64)?;
        stages.push((server, publisher, group));
    }
    let mut figures: Vec<Burst> = Vec::new();
    for (server, _, group) in &stages {
        crowd.groups[*group].delays_ns.clear();
        crowd.groups[*group].bytes = 0;
        figures.push(Burst {
            system: server.system,
            cpu: Runs::default(),
            bytes: 0.0,
            cpu_ns_per_byte: 0.0,
            delays_ns: Vec::new(),
            memory_kib: 0,
            noise: 0.0,
        });
    }
    let noise = Noise::listen(&stages.iter().map(|(server, ..)| server.pid()).collect::<Vec<_>>())?;
    let mut before: Vec<Option<(Duration, u64)>> = vec![None; stages.len()];
    // One period more than is measured: a system's period lasts from its burst to its next.
    for number in 0..=periods {
        let began = Instant::now();
        for (at, (server, publisher, group)) in stages.iter_mut().enumerate() {
            let (cpu, bytes) = (server.cpu()?, crowd.groups[*group].bytes);
            if let Some((cpu_before, bytes_before)) = before[at].replace((cpu, bytes)) {
                let (cpu, bytes) = (cpu - cpu_before, bytes - bytes_before);
                let delivered = (viewers * series) as f64;
                figures[at].cpu.add(cpu.as_secs_f64() * 1e6 / delivered);
                figures[at].bytes = bytes as f64 / delivered;
            }
            let wanted = crowd.groups[*group].updates + (viewers * series) as u64;
            round(publisher, &mut records, number)?;
            crowd.until("every viewer got everything", |groups| groups[*group].updates >= wanted)?;
        }
        crowd.during(PERIOD.saturating_sub(began.elapsed()))?;
    }
    for ((server, _, group), figures) in stages.iter().zip(&mut figures) {
        figures.cpu_ns_per_byte = figures.cpu.least() * 1e3 / figures.bytes;
        figures.memory_kib = server.memory_kib()?;
        figures.noise = noise.cores()?;
        figures.delays_ns = std::mem::take(&mut crowd.groups[*group].delays_ns);
    }
    Ok(figures)
}

fn round(publisher: &mut Publisher, records: &mut Records, number: usize) -> Result<()> {
    for frame in records.round(number, now_ns()) {
        publisher.push(frame);
    }
    publisher.flush()
}

/// One system's figures where updates are spread over time.
#[derive(Debug)]
pub(crate) struct Spaced {
    pub(crate) system: System,
    /// Of each run, in ms from the producer's write to the viewer's read.
    pub(crate) p50_ms: Runs,
    pub(crate) p99_ms: Runs,
    /// Server CPU in seconds for a million updates delivered.
    pub(crate) cpu: Runs,
    pub(crate) noise: Runs,
}

/// `rate` updates a second, evenly spread, to `viewers` viewers: one system after the other, `runs` times.
pub(crate) fn spaced(
    systems: &[System],
    viewers: usize,
    rate: u32,
    span: Duration,
    runs: usize,
    cores: Cores,
) -> Result<Vec<Spaced>> {
    let mut figures: Vec<Spaced> = Vec::new();
    for _ in 0..runs {
        for &system in systems {
            let Some(server) = Server::start(system, &[], cores)? else { continue };
            if !figures.iter().any(|figures| figures.system == system) {
                let empty = Runs::default;
                figures.push(Spaced { system, p50_ms: empty(), p99_ms: empty(), cpu: empty(), noise: empty() });
            }
            let Some(figures) = figures.iter_mut().find(|figures| figures.system == system) else { continue };
            spaced_once(figures, &server, viewers, rate, span)?;
        }
    }
    Ok(figures)
}

fn spaced_once(figures: &mut Spaced, server: &Server, viewers: usize, rate: u32, span: Duration) -> Result<()> {
    let mut records = Records::new("bench", 100);
    let mut publisher = Publisher::connect(server.system, server.ingest, "bench")?;
    round(&mut publisher, &mut records, 0)?;
    thread::sleep(Duration::from_millis(100));
    let mut crowd = Crowd::new()?;
    let wish = Wish { viewers, topics: &["bench".to_owned()], start: Start::Live };
    let group = crowd.bring(server, wish)?;
    crowd.until_ready(group)?;
    round(&mut publisher, &mut records, 0)?;
    let verified = (viewers * records.series()) as u64;
    crowd.until("every viewer got everything", |groups| groups[group].updates >= verified)?;
    crowd.ensure_each_got(group, records.series() as u64)?;
    crowd.groups[group].delays_ns.clear();

    let noise = Noise::listen(&[server.pid()])?;
    let cpu = server.cpu()?;
    let count = (f64::from(rate) * span.as_secs_f64()) as usize;
    let pause = Duration::from_secs(1) / rate;
    let sender = thread::spawn(move || {
        let began = Instant::now();
        for number in 0..count {
            let due = began + pause * u32::try_from(number).unwrap_or(u32::MAX);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            publisher.push(records.one(number, now_ns()));
            publisher.flush()?;
        }
        anyhow::Ok(publisher)
    });
    let wanted = verified + (viewers * count) as u64;
    crowd.until("every viewer got everything", |groups| groups[group].updates >= wanted)?;
    let _publisher = sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    figures.cpu.add((server.cpu()? - cpu).as_secs_f64() * 1e6 / (viewers * count) as f64);
    figures.noise.add(noise.cores()?);
    let delays = &mut crowd.groups[group].delays_ns;
    figures.p50_ms.add(percentile(delays, 0.5) / 1e6);
    figures.p99_ms.add(percentile(delays, 0.99) / 1e6);
    Ok(())
}

/// Memory in KiB for each viewer that has subscribed and gets nothing. `None` when the system is not installed.
pub(crate) fn idle(system: System, viewers: usize, cores: Cores) -> Result<Option<f64>> {
    let Some(server) = Server::start(system, &[], cores)? else { return Ok(None) };
    let mut records = Records::new("bench", 100);
    let mut publisher = Publisher::connect(system, server.ingest, "bench")?;
    round(&mut publisher, &mut records, 0)?;
    thread::sleep(Duration::from_millis(200));
    let before = server.memory_kib()?;
    let mut crowd = Crowd::lazy()?;
    let group = crowd.bring(&server, Wish { viewers, topics: &["bench".to_owned()], start: Start::Live })?;
    crowd.until_ready(group)?;
    crowd.during(Duration::from_millis(500))?;
    Ok(Some(server.memory_kib()?.saturating_sub(before) as f64 / viewers as f64))
}

/// Server CPU in ns for each frame of `frames` that are sent as fast as it takes them, with `viewers` viewers.
pub(crate) fn ingest(system: System, frames: usize, viewers: usize, cores: Cores) -> Result<f64> {
    let words: &[&str] = if system == System::Joey { &UNLIMITED } else { &[] };
    let Some(server) = Server::start(system, words, cores)? else { anyhow::bail!("{} is missing", system.name()) };
    let mut records = Records::new("bench", 100);
    let mut publisher = Publisher::connect(system, server.ingest, "bench")?;
    round(&mut publisher, &mut records, 0)?;
    thread::sleep(Duration::from_millis(200));
    let mut crowd = Crowd::lazy()?;
    let group = crowd.bring(&server, Wish { viewers, topics: &["bench".to_owned()], start: Start::Live })?;
    crowd.until_ready(group)?;
    let rounds = frames / records.series();
    let cpu = server.cpu()?;
    let sender = thread::spawn(move || {
        for number in 0..rounds {
            round(&mut publisher, &mut records, number)?;
        }
        publisher.finish()
    });
    let wanted = (rounds * 100 * viewers) as u64;
    crowd.until("every viewer got everything", |groups| groups[group].updates >= wanted)?;
    sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    let used = server.cpu()? - cpu;
    if system == System::Joey {
        let accepted = server.metric("joey_frames_accepted_total")?;
        ensure!(accepted == (rounds as u64 + 1) * 100, "joey took {accepted} frames of {}", (rounds + 1) * 100);
    }
    Ok(used.as_nanos() as f64 / (rounds * 100) as f64)
}

/// Server CPU in ns for each byte that `viewers` viewers get who all come at once and want five minutes of `series` series;
/// and how many bytes each of them got.
pub(crate) fn join(viewers: usize, series: usize, cores: Cores) -> Result<(f64, f64)> {
    // Batches shall be as large as in those five minutes, which is why each round is cut by itself.
    let words = [&UNLIMITED[..], &["--batch-ms", "1"]].concat();
    let Some(server) = Server::start(System::Joey, &words, cores)? else { anyhow::bail!("joey is missing") };
    let _publisher = with_history(&server, series)?;
    let all = (SECONDS * series) as u64;
    let mut crowd = Crowd::lazy()?;
    let cpu = server.cpu()?;
    let group = crowd.bring(&server, Wish { viewers, topics: &["bench".to_owned()], start: Start::History })?;
    crowd.until("every viewer got everything", |groups| groups[group].updates >= all * viewers as u64)?;
    let used = server.cpu()? - cpu;
    crowd.ensure_each_got(group, all)?;
    let bytes = crowd.groups[group].bytes as f64;
    Ok((used.as_nanos() as f64 / bytes, bytes / viewers as f64))
}

/// Seconds of history that a relay holds, one period in each.
const SECONDS: usize = 300;

/// Sends `server` five minutes of `series` series, and waits until it has taken them.
fn with_history(server: &Server, series: usize) -> Result<(Publisher, Records)> {
    let mut records = Records::new("bench", series);
    let mut publisher = Publisher::connect(System::Joey, server.ingest, "bench")?;
    let now_ns = now_ns();
    for second in 0..SECONDS {
        let ago_ns = (SECONDS - second) as u64 * 1_000_000_000;
        for frame in records.round(second, now_ns - ago_ns) {
            publisher.push(frame);
        }
        publisher.flush()?;
        thread::sleep(Duration::from_millis(3));
    }
    let all = (SECONDS * series) as u64;
    let began = Instant::now();
    while server.metric("joey_frames_accepted_total")? < all {
        ensure!(began.elapsed() < Duration::from_secs(10), "joey takes no more");
        thread::sleep(Duration::from_millis(10));
    }
    Ok((publisher, records))
}

/// What the relay takes at the load under which the original Monitoring Hub was measured: `series` series, one period a second,
/// windows of five minutes full. The share of a core that it uses, and its memory in KiB.
pub(crate) fn monitoring_hub(series: usize, viewers: usize, cores: Cores) -> Result<(f64, u64)> {
    const SPAN: Duration = Duration::from_secs(10);
    let words = [&UNLIMITED[..], &["--batch-ms", "1"]].concat();
    let Some(server) = Server::start(System::Joey, &words, cores)? else { anyhow::bail!("joey is missing") };
    let (mut publisher, mut records) = with_history(&server, series)?;
    let mut crowd = Crowd::lazy()?;
    let group = crowd.bring(&server, Wish { viewers, topics: &["bench".to_owned()], start: Start::Live })?;
    crowd.until_ready(group)?;
    let (began, cpu) = (Instant::now(), server.cpu()?);
    for number in 0..10 {
        round(&mut publisher, &mut records, number)?;
        crowd.during((PERIOD * (number as u32 + 1)).saturating_sub(began.elapsed()))?;
    }
    let used = server.cpu()? - cpu;
    crowd.ensure_each_got(group, 10 * series as u64)?;
    Ok((used.as_secs_f64() / SPAN.as_secs_f64(), server.memory_kib()?))
}
