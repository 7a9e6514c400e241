//! A steady load on a relay with a full five-minute history: its CPU and memory.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::PERIOD;
use super::history::with_history;
use super::scene::Scene;
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::statistics::Runs;

/// The load on a relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) viewers: usize,
    /// Series of the only application, which every viewer subscribes to.
    pub(crate) series: usize,
    /// Updates of each series per second.
    pub(crate) rounds: usize,
}

/// Cost of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    /// Share of a core, in each second.
    pub(crate) cpu: Runs,
    /// In KiB, at the end.
    pub(crate) memory_kib: u64,
    /// In cores.
    pub(crate) noise: f64,
}

/// Measures a relay under `load` for this many seconds.
pub(crate) fn load(load: Load, seconds: u32, cores: Cores) -> Result<Cost> {
    let scene = Scene::dashboard(load.viewers, load.series);
    let mut records = scene.records();
    let mut stage = with_history(&scene, &mut records, load.rounds, cores)?;
    let mut crowd = Crowd::polling()?;
    let group = stage.connect_viewers(&mut crowd, scene.viewer_spec(load.viewers))?;
    stage.verify(&mut crowd, group, &scene, &mut records)?;
    let rounds = u32::try_from(load.rounds)?;
    let noise = Noise::start(&[stage.server.pid()])?;
    let (start, mut cost) = (Instant::now(), Cost::default());
    for second in 0..seconds {
        let cpu = stage.server.cpu()?;
        for round in 0..rounds {
            stage.round(&mut records, (second * rounds + round) as usize)?;
            let end = PERIOD * second + PERIOD * (round + 1) / rounds;
            crowd.during(end.saturating_sub(start.elapsed()))?;
        }
        cost.cpu.add((stage.server.cpu()? - cpu).as_secs_f64() / PERIOD.as_secs_f64());
    }
    // Updates in flight.
    crowd.during(Duration::from_millis(200))?;
    crowd.ensure_each_received(group, ((seconds * rounds + 1) as usize * load.series) as u64)?;
    cost.memory_kib = stage.server.memory_kib()?;
    cost.noise = noise.cores()?;
    Ok(cost)
}
