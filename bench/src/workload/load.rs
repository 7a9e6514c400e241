//! A steady load on a relay whose five minutes are full: what it takes of a core and of memory.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::PERIOD;
use super::history::with_history;
use super::scene::Scene;
use crate::crowd::Crowd;
use crate::figures::Runs;
use crate::machine::{Cores, Noise};

/// What a relay carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) viewers: usize,
    /// Of the one application that everybody watches.
    pub(crate) series: usize,
    /// Updates of each series in a second.
    pub(crate) rounds: usize,
}

/// What a relay takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    /// Of a core, in each second.
    pub(crate) cpu: Runs,
    /// In KiB, at the end.
    pub(crate) memory_kib: u64,
    /// In cores.
    pub(crate) noise: f64,
}

/// Has a relay carry `load` for so many seconds.
pub(crate) fn load(load: Load, seconds: u32, cores: Cores) -> Result<Cost> {
    let scene = Scene::dashboard(load.viewers, load.series);
    let mut records = scene.records();
    let mut stage = with_history(&scene, &mut records, load.rounds, cores)?;
    let mut crowd = Crowd::lazy()?;
    let group = stage.admit(&mut crowd, scene.wish(load.viewers))?;
    stage.verify(&mut crowd, group, &scene, &mut records)?;
    let rounds = u32::try_from(load.rounds)?;
    let noise = Noise::listen(&[stage.server.pid()])?;
    let (began, mut cost) = (Instant::now(), Cost::default());
    for second in 0..seconds {
        let cpu = stage.server.cpu()?;
        for round in 0..rounds {
            stage.round(&mut records, (second * rounds + round) as usize)?;
            let end = PERIOD * second + PERIOD * (round + 1) / rounds;
            crowd.during(end.saturating_sub(began.elapsed()))?;
        }
        cost.cpu.add((stage.server.cpu()? - cpu).as_secs_f64() / PERIOD.as_secs_f64());
    }
    // What is still on its way.
    crowd.during(Duration::from_millis(200))?;
    crowd.ensure_each_got(group, ((seconds * rounds + 1) as usize * load.series) as u64)?;
    cost.memory_kib = stage.server.memory_kib()?;
    cost.noise = noise.cores()?;
    Ok(cost)
}
