//! Viewers that have subscribed and receive nothing.

use std::time::Duration;

use anyhow::Result;

use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::system::System;

/// Memory in KiB per viewer, and the noise.
pub(crate) fn idle(system: System, viewers: usize, cores: Cores) -> Result<(f64, f64)> {
    let scene = Scene::dashboard(viewers, 100);
    let mut records = scene.records();
    let mut stage = Stage::open(system, &[], &scene, &mut records, cores)?;
    let noise = Noise::start(&[stage.server.pid()])?;
    let before = stage.server.memory_kib()?;
    let mut crowd = Crowd::polling()?;
    stage.connect_viewers(&mut crowd, scene.viewer_spec(viewers))?;
    crowd.during(Duration::from_millis(500))?;
    let more = stage.server.memory_kib()?.saturating_sub(before);
    Ok((more as f64 / viewers as f64, noise.cores()?))
}
