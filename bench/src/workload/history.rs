//! Five minutes of history: a relay that holds them, and viewers that request them all at once.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use joey_shared::wire::Start;

use super::UNLIMITED;
use super::scene::{Scene, Stage};
use crate::crowd::{Crowd, ViewerSpec};
use crate::machine::{Cores, Noise};
use crate::record::{Records, now_ns};
use crate::system::System;

/// Seconds of history that a relay holds.
pub(super) const SECONDS: usize = 300;

/// Cost of viewers that connect at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    /// Server CPU in ns per byte delivered.
    pub(crate) cpu_ns_per_byte: f64,
    /// Bytes delivered to each viewer.
    pub(crate) bytes: f64,
    pub(crate) noise: f64,
}

/// Measures `viewers` viewers that connect at once and request five minutes of `series` series.
pub(crate) fn join(viewers: usize, series: usize, cores: Cores) -> Result<Join> {
    let scene = Scene::dashboard(viewers, series);
    let mut records = scene.records();
    let mut stage = with_history(&scene, &mut records, 1, cores)?;
    // One more round was published when the stage was opened.
    let all = ((SECONDS + 1) * series) as u64;
    let mut crowd = Crowd::polling()?;
    let noise = Noise::start(&[stage.server.pid()])?;
    let cpu = stage.server.cpu()?;
    let group =
        stage.connect_viewers(&mut crowd, ViewerSpec { start: Start::History, ..scene.viewer_spec(viewers) })?;
    crowd.until_received(group, all * viewers as u64)?;
    let (used, noise) = (stage.server.cpu()? - cpu, noise.cores()?);
    crowd.ensure_each_received(group, all)?;
    let bytes = crowd.groups[group].bytes as f64;
    Ok(Join { cpu_ns_per_byte: used.as_nanos() as f64 / bytes, bytes: bytes / viewers as f64, noise })
}

/// Starts a relay that has ingested five minutes of the scene's only application, with `rounds` rounds per second.
pub(super) fn with_history(scene: &Scene, records: &mut [Records], rounds: usize, cores: Cores) -> Result<Stage> {
    // The short batch interval cuts each round separately, so that batches have the same size as in real time.
    let arguments = [&UNLIMITED[..], &["--batch-ms", "1"]].concat();
    let mut stage = Stage::open(System::Joey, &arguments, scene, records, cores)?;
    let publisher = stage.publishers.first_mut().context("there is an application")?;
    let records = records.first_mut().context("there is an application")?;
    let now_ns = now_ns();
    for second in 0..SECONDS {
        let ago_ns = (SECONDS - second) as u64 * 1_000_000_000;
        for round in 0..rounds {
            publisher.round(records, second * rounds + round, now_ns - ago_ns)?;
        }
        thread::sleep(Duration::from_millis(3));
    }
    stage.server.until_accepted((SECONDS * rounds + 1) * records.series())?;
    Ok(stage)
}
