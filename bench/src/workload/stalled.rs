//! Half the viewers stop reading. What they are owed may cost memory; the others must not notice.

use std::time::Instant;

use anyhow::Result;

use super::PERIOD;
use super::scene::{Scene, Stage};
use crate::crowd::{Crowd, Wish};
use crate::machine::{Cores, Noise};
use crate::system::System;

/// Viewers that read, and as many that do not.
pub(crate) const EACH: usize = 20;
/// Updates in a second, in so many rounds of so many series.
pub(crate) const RATE: usize = ROUNDS as usize * SERIES;
const ROUNDS: u32 = 20;
const SERIES: usize = 100;
/// How long it lasts. A system that has not taken everything after twice as long gets no more.
pub(crate) const SECONDS: u32 = 8;

/// One system's figures.
#[derive(Debug)]
pub(crate) struct Stalled {
    /// Of the viewers that read, in ms: while everybody reads, and while half of them do not.
    pub(crate) p99_ms: [f64; 2],
    /// Share of the updates that the viewers that read got.
    pub(crate) delivered: f64,
    /// Memory for each that does not read, in KiB: what the system grew by beyond what it grows by without them.
    pub(crate) memory_kib: f64,
    /// In cores.
    pub(crate) noise: f64,
}

/// Measures `system` twice, with and without viewers that do not read.
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

/// With so many viewers that do not read.
fn once(system: System, deaf: usize, cores: Cores) -> Result<Once> {
    let scene = Scene::dashboard(EACH, SERIES);
    let mut records = scene.records();
    let mut stage = Stage::open(system, &[], &scene, &mut records, cores)?;
    let mut crowd = Crowd::new()?;
    let group = stage.admit(&mut crowd, scene.wish(EACH))?;
    let others = stage.admit(&mut crowd, Wish { is_deaf: true, ..scene.wish(deaf) })?;
    stage.verify(&mut crowd, group, &scene, &mut records)?;
    crowd.groups[group].delays_ns.clear();
    crowd.stall(others)?;
    let (before, verified) = (stage.server.memory_kib()?, crowd.groups[group].updates);
    let noise = Noise::listen(&[stage.server.pid()])?;
    let began = Instant::now();
    for round in 0..SECONDS * ROUNDS {
        if began.elapsed() > PERIOD * SECONDS * 2 {
            break;
        }
        stage.round(&mut records, round as usize)?;
        crowd.during((PERIOD * (round + 1) / ROUNDS).saturating_sub(began.elapsed()))?;
    }
    let more_kib = stage.server.memory_kib()? as f64 - before as f64;
    // What is still on its way to those that read.
    crowd.during(PERIOD)?;
    let got = crowd.groups[group].updates - verified;
    let owed = (SECONDS * ROUNDS) as usize * SERIES * EACH;
    Ok(Once {
        p99_ms: crowd.groups[group].delay_ms(0.99),
        delivered: got as f64 / owed as f64,
        more_kib,
        noise: noise.cores()?,
    })
}
