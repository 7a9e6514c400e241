//! Ingests frames as fast as the socket delivers them, and one by one.

use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::UNPACED;
use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::record::{Records, now_ns};
use crate::server::Server;
use crate::system::System;

/// Series of the only application.
const SERIES: usize = 100;
/// Rounds sent between checks of whether the history is full.
const FILLING: usize = 1_000;

/// Server CPU in ns per frame, for `frames` frames sent as fast as the server reads them, with `viewers` viewers; and
/// the noise.
pub(crate) fn ingest(system: System, frames: usize, viewers: usize, cores: Cores) -> Result<(f64, f64)> {
    let arguments: &[&str] = if system == System::Joey { &UNPACED } else { &[] };
    let scene = Scene::dashboard(viewers, SERIES);
    let mut records = scene.records();
    let mut stage = Stage::open(system, arguments, &scene, &mut records, cores)?;
    let before = if system == System::Joey { fill(&mut stage, &mut records)? } else { 1 };
    let mut crowd = Crowd::polling()?;
    let group = stage.connect_viewers(&mut crowd, scene.viewer_spec(viewers))?;
    let Stage { server, mut publishers } = stage;
    let (mut publisher, mut records) = publishers.pop().zip(records.pop()).context("there is an application")?;
    let rounds = frames / SERIES;
    let noise = Noise::start(&[server.pid()])?;
    let cpu = server.cpu()?;
    let sender = thread::spawn(move || {
        for number in 0..rounds {
            publisher.round(&mut records, number, now_ns())?;
        }
        publisher.finish()
    });
    let wanted = (rounds * SERIES * viewers) as u64;
    crowd.until_received(group, wanted)?;
    sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    let (used, noise) = (server.cpu()? - cpu, noise.cores()?);
    ensure_accepted_all(&server, (before + rounds) * SERIES)?;
    Ok((used.as_nanos() as f64 / (rounds * SERIES) as f64, noise))
}

/// The same with frames that are written separately, `rate` per second, without viewers.
pub(crate) fn one_by_one(system: System, rate: u32, seconds: u32, cores: Cores) -> Result<(f64, f64)> {
    let scene = Scene::dashboard(0, SERIES);
    let mut records = scene.records();
    let Stage { server, mut publishers } = Stage::open(system, &[], &scene, &mut records, cores)?;
    let (mut publisher, mut records) = publishers.pop().zip(records.pop()).context("there is an application")?;
    let frames = (rate * seconds) as usize;
    let noise = Noise::start(&[server.pid()])?;
    let cpu = server.cpu()?;
    publisher.one_by_one(&mut records, frames, rate)?;
    publisher.finish()?;
    let (used, noise) = (server.cpu()? - cpu, noise.cores()?);
    ensure_accepted_all(&server, SERIES + frames)?;
    Ok((used.as_nanos() as f64 / frames as f64, noise))
}

/// Checks that a relay has accepted this many frames in total.
fn ensure_accepted_all(server: &Server, sent: usize) -> Result<()> {
    if server.system == System::Joey {
        let accepted = server.metric("joey_frames_accepted_total")?;
        ensure!(accepted == sent as u64, "joey accepted {accepted} of {sent} frames");
    }
    Ok(())
}

/// Fills the relay's history, as it is after a while: otherwise the cost of each frame would include newly allocated
/// memory. Returns the number of rounds sent.
fn fill(stage: &mut Stage, records: &mut [Records]) -> Result<usize> {
    let (publisher, records) = stage.publishers.iter_mut().zip(records).next().context("there is an application")?;
    let mut rounds = 1;
    while stage.server.metric("joey_batches_evicted_total")? == 0 {
        for number in 0..FILLING {
            publisher.round(records, number, now_ns())?;
        }
        rounds += FILLING;
        stage.server.until_accepted(rounds * SERIES)?;
    }
    Ok(rounds)
}
