//! Updates that are evenly spread over time.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::statistics::Runs;
use crate::system::System;

/// Measurements of one system with evenly spread updates.
#[derive(Debug)]
pub(crate) struct Spaced {
    pub(crate) system: System,
    /// Of each run, in ms from the producer's write to the viewer's read.
    pub(crate) p50_ms: Runs,
    pub(crate) p99_ms: Runs,
    /// Server CPU in seconds per million updates delivered.
    pub(crate) cpu: Runs,
    pub(crate) noise: Runs,
}

/// Measures `rate` updates per second, evenly spread: one system after the other, `runs` times.
pub(crate) fn spaced(
    systems: &[System],
    scene: &Scene,
    rate: u32,
    span: Duration,
    runs: usize,
    cores: Cores,
) -> Result<Vec<Spaced>> {
    let empty = Runs::default;
    let new = |&system| Spaced { system, p50_ms: empty(), p99_ms: empty(), cpu: empty(), noise: empty() };
    let mut results: Vec<Spaced> = systems.iter().map(new).collect();
    for _ in 0..runs {
        results.iter_mut().try_for_each(|result| once(result, scene, rate, span, cores))?;
    }
    Ok(results)
}

fn once(result: &mut Spaced, scene: &Scene, rate: u32, span: Duration, cores: Cores) -> Result<()> {
    let mut records = scene.records();
    let mut stage = Stage::open(result.system, &[], scene, &mut records, cores)?;
    let mut crowd = Crowd::new()?;
    let group = stage.connect_viewers(&mut crowd, scene.viewer_spec(scene.viewers))?;
    stage.verify(&mut crowd, group, scene, &mut records)?;
    crowd.groups[group].delays_ns.clear();

    let Stage { server, mut publishers } = stage;
    let (mut publisher, mut records) = publishers.pop().zip(records.pop()).context("there is an application")?;
    let noise = Noise::start(&[server.pid()])?;
    let cpu = server.cpu()?;
    let count = (f64::from(rate) * span.as_secs_f64()) as usize;
    let sender = thread::spawn(move || {
        publisher.one_by_one(&mut records, count, rate)?;
        anyhow::Ok(publisher)
    });
    let wanted = crowd.groups[group].updates + (scene.viewers * count) as u64;
    crowd.until_received(group, wanted)?;
    let _publisher = sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    result.cpu.add((server.cpu()? - cpu).as_secs_f64() * 1e6 / (scene.viewers * count) as f64);
    result.noise.add(noise.cores()?);
    result.p50_ms.add(crowd.groups[group].delay_ms(0.5));
    result.p99_ms.add(crowd.groups[group].delay_ms(0.99));
    Ok(())
}
