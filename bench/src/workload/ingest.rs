//! Frames as fast as the socket gives them.

use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::UNLIMITED;
use super::scene::{Scene, Stage};
use crate::crowd::Crowd;
use crate::machine::{Cores, Noise};
use crate::record::now_ns;
use crate::system::System;

/// Series of the one application.
const SERIES: usize = 100;

/// Server CPU in ns for each frame of `frames` that are sent as fast as it takes them, with `viewers` viewers; and the noise
/// meanwhile.
pub(crate) fn ingest(system: System, frames: usize, viewers: usize, cores: Cores) -> Result<(f64, f64)> {
    let words: &[&str] = if system == System::Joey { &UNLIMITED } else { &[] };
    let scene = Scene::dashboard(viewers, SERIES);
    let mut records = scene.records();
    let mut stage = Stage::open(system, words, &scene, &mut records, cores)?;
    let mut crowd = Crowd::lazy()?;
    let group = stage.admit(&mut crowd, scene.wish(viewers))?;
    let Stage { server, mut publishers } = stage;
    let (mut publisher, mut records) = publishers.pop().zip(records.pop()).context("there is an application")?;
    let rounds = frames / SERIES;
    let noise = Noise::listen(&[server.pid()])?;
    let cpu = server.cpu()?;
    let sender = thread::spawn(move || {
        for number in 0..rounds {
            publisher.round(&mut records, number, now_ns())?;
        }
        publisher.finish()
    });
    let wanted = (rounds * SERIES * viewers) as u64;
    crowd.until_got(group, wanted)?;
    sender.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    let (used, noise) = (server.cpu()? - cpu, noise.cores()?);
    if system == System::Joey {
        let (accepted, sent) = (server.metric("joey_frames_accepted_total")?, ((rounds + 1) * SERIES) as u64);
        ensure!(accepted == sent, "joey took {accepted} frames of {sent}");
    }
    Ok((used.as_nanos() as f64 / (rounds * SERIES) as f64, noise))
}
