//! Half of the viewers stop reading. Their undelivered data may cost memory; the other viewers must not notice.

use std::time::Instant;

use anyhow::Result;

use super::PERIOD;
use super::scene::{Scene, Stage};
use crate::crowd::{Crowd, ViewerSpec};
use crate::machine::{Cores, Noise};
use crate::system::System;

/// Viewers that read, and the same number that do not.
pub(crate) const EACH: usize = 20;
/// Updates per second: a number of rounds of a number of series.
pub(crate) const RATE: usize = ROUNDS as usize * SERIES;
const ROUNDS: u32 = 20;
const SERIES: usize = 100;
/// Duration in seconds. A system that has not received everything after twice this time receives no more.
pub(crate) const SECONDS: u32 = 8;

/// Measurements of one system.
#[derive(Debug)]
pub(crate) struct Stalled {
    /// Of the viewers that read, in ms: while all read, and while half of them do not.
    pub(crate) p99_ms: [f64; 2],
    /// Share of the updates that the reading viewers received.
    pub(crate) delivered: f64,
    /// Memory per stalled viewer in KiB: the growth with stalled viewers minus the growth without.
    pub(crate) memory_kib: f64,
    /// In cores.
    pub(crate) noise: f64,
}

/// Measures `system` twice, with and without stalled viewers.
pub(crate) fn stalled(system: System, cores: Cores) -> Result<Stalled> {
    let (base, half) = (once(system, 0, cores)?, once(system, EACH, cores)?);
    Ok(Stalled {
        p99_ms: [base.p99_ms, half.p99_ms],
        delivered: half.delivered,
        memory_kib: (half.more_kib - base.more_kib).max(0.0) / EACH as f64,
        noise: base.noise.max(half.noise),
    })
}

struct Once {
    p99_ms: f64,
    delivered: f64,
    more_kib: f64,
    noise: f64,
}

/// Measures one run with `stalled` viewers that do not read.
fn once(system: System, stalled: usize, cores: Cores) -> Result<Once> {
    let scene = Scene::dashboard(EACH, SERIES);
    let mut records = scene.records();
    let mut stage = Stage::open(system, &[], &scene, &mut records, cores)?;
    let mut crowd = Crowd::new()?;
    let group = stage.connect_viewers(&mut crowd, scene.viewer_spec(EACH))?;
    let others = stage.connect_viewers(&mut crowd, ViewerSpec { stops_reading: true, ..scene.viewer_spec(stalled) })?;
    stage.verify(&mut crowd, group, &scene, &mut records)?;
    crowd.groups[group].delays_ns.clear();
    crowd.stall(others)?;
    let (before, verified) = (stage.server.memory_kib()?, crowd.groups[group].updates);
    let noise = Noise::start(&[stage.server.pid()])?;
    let start = Instant::now();
    for round in 0..SECONDS * ROUNDS {
        if start.elapsed() > PERIOD * SECONDS * 2 {
            break;
        }
        stage.round(&mut records, round as usize)?;
        crowd.during((PERIOD * (round + 1) / ROUNDS).saturating_sub(start.elapsed()))?;
    }
    let more_kib = stage.server.memory_kib()? as f64 - before as f64;
    // Updates in flight to the viewers that read.
    crowd.during(PERIOD)?;
    let got = crowd.groups[group].updates - verified;
    let expected = (SECONDS * ROUNDS) as usize * SERIES * EACH;
    Ok(Once {
        p99_ms: crowd.groups[group].delay_ms(0.99),
        delivered: got as f64 / expected as f64,
        more_kib,
        noise: noise.cores()?,
    })
}
