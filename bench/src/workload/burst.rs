//! Everything is flushed together once per second, as Wallaroo does it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::PERIOD;
use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::statistics::Runs;
use crate::system::System;

/// Measurements of one system in the burst.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) system: System,
    /// Server CPU in seconds per million updates delivered, of each period.
    pub(crate) cpu: Runs,
    /// Bytes per update delivered.
    pub(crate) bytes: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Memory at the end, in KiB.
    pub(crate) memory_kib: u64,
    pub(crate) noise: f64,
}

/// Measures a round of all series once per second. The systems are interleaved within each second, so that a
/// disturbance affects all of them.
pub(crate) fn burst(systems: &[System], scene: &Scene, periods: usize, cores: Cores) -> Result<Vec<Burst>> {
    let mut records = scene.records();
    let mut crowd = Crowd::polling()?;
    let mut stages = Vec::new();
    for &system in systems {
        let mut stage = Stage::open(system, &[], scene, &mut records, cores)?;
        let group = stage.connect_viewers(&mut crowd, scene.viewer_spec(scene.viewers))?;
        stage.verify(&mut crowd, group, scene, &mut records)?;
        crowd.groups[group].delays_ns.clear();
        stages.push((stage, group));
    }
    let delivered = (scene.viewers * scene.each) as f64;
    let noise = Noise::start(&stages.iter().map(|(stage, _)| stage.server.pid()).collect::<Vec<_>>())?;
    let mut before: Vec<Option<(Duration, u64)>> = vec![None; stages.len()];
    let mut results = vec![(Runs::default(), 0.0); stages.len()];
    // One period more than is measured, because a system's period lasts from one burst to the next.
    for number in 0..=periods {
        let start = Instant::now();
        for (at, (stage, group)) in stages.iter_mut().enumerate() {
            let (cpu, bytes) = (stage.server.cpu()?, crowd.groups[*group].bytes);
            if let Some((cpu_before, bytes_before)) = before[at].replace((cpu, bytes)) {
                results[at].0.add((cpu - cpu_before).as_secs_f64() * 1e6 / delivered);
                results[at].1 = (bytes - bytes_before) as f64 / delivered;
            }
            let wanted = crowd.groups[*group].updates + delivered as u64;
            stage.round(&mut records, number)?;
            crowd.until_received(*group, wanted)?;
        }
        crowd.during(PERIOD.saturating_sub(start.elapsed()))?;
    }
    let noise = noise.cores()?;
    stages
        .iter()
        .zip(results)
        .map(|((stage, group), (cpu, bytes))| {
            let [p50_ms, p99_ms] = [0.5, 0.99].map(|share| crowd.groups[*group].delay_ms(share));
            let (system, memory_kib) = (stage.server.system, stage.server.memory_kib()?);
            Ok(Burst { system, cpu, bytes, p50_ms, p99_ms, memory_kib, noise })
        })
        .collect()
}
