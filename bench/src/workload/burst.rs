//! Everything is flushed together once a second, as Wallaroo does it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::PERIOD;
use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::figures::Runs;
use crate::machine::{Cores, Noise};
use crate::system::System;

/// One system's figures in the burst.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) system: System,
    /// Server CPU in seconds for a million updates delivered, of each period.
    pub(crate) cpu: Runs,
    /// Bytes for an update delivered.
    pub(crate) bytes: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Memory at the end, in KiB.
    pub(crate) memory_kib: u64,
    pub(crate) noise: f64,
}

/// A round of all series once a second. The systems take turns within each second, so that what disturbs one disturbs all.
pub(crate) fn burst(systems: &[System], scene: &Scene, periods: usize, cores: Cores) -> Result<Vec<Burst>> {
    let mut records = scene.records();
    let mut crowd = Crowd::lazy()?;
    let mut stages = Vec::new();
    for &system in systems {
        let mut stage = Stage::open(system, &[], scene, &mut records, cores)?;
        let group = stage.admit(&mut crowd, scene.wish(scene.viewers))?;
        stage.verify(&mut crowd, group, scene, &mut records)?;
        crowd.groups[group].delays_ns.clear();
        stages.push((stage, group));
    }
    let delivered = (scene.viewers * scene.each) as f64;
    let noise = Noise::listen(&stages.iter().map(|(stage, _)| stage.server.pid()).collect::<Vec<_>>())?;
    let mut before: Vec<Option<(Duration, u64)>> = vec![None; stages.len()];
    let mut figures = vec![(Runs::default(), 0.0); stages.len()];
    // One period more than is measured: a system's period lasts from its burst to its next.
    for number in 0..=periods {
        let began = Instant::now();
        for (at, (stage, group)) in stages.iter_mut().enumerate() {
            let (cpu, bytes) = (stage.server.cpu()?, crowd.groups[*group].bytes);
            if let Some((cpu_before, bytes_before)) = before[at].replace((cpu, bytes)) {
                figures[at].0.add((cpu - cpu_before).as_secs_f64() * 1e6 / delivered);
                figures[at].1 = (bytes - bytes_before) as f64 / delivered;
            }
            let wanted = crowd.groups[*group].updates + delivered as u64;
            stage.round(&mut records, number)?;
            crowd.until_got(*group, wanted)?;
        }
        crowd.during(PERIOD.saturating_sub(began.elapsed()))?;
    }
    let noise = noise.cores()?;
    stages
        .iter()
        .zip(figures)
        .map(|((stage, group), (cpu, bytes))| {
            let [p50_ms, p99_ms] = [0.5, 0.99].map(|share| crowd.groups[*group].delay_ms(share));
            let (system, memory_kib) = (stage.server.system, stage.server.memory_kib()?);
            Ok(Burst { system, cpu, bytes, p50_ms, p99_ms, memory_kib, noise })
        })
        .collect()
}
