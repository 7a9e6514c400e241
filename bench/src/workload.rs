//! The workloads, each as one function that combines servers, publishers and viewers and returns measurements.
//!
//! Every run first verifies that each viewer receives everything, and only then measures.

mod burst;
mod history;
mod idle;
mod ingest;
mod load;
mod scene;
mod spaced;
mod stalled;

pub(crate) use burst::{Burst, burst};
pub(crate) use history::join;
pub(crate) use idle::idle;
pub(crate) use ingest::{ingest, one_by_one};
pub(crate) use load::{Cost, Load, load};
pub(crate) use scene::Scene;
pub(crate) use spaced::{Spaced, spaced};
pub(crate) use stalled::{EACH as STALLED_EACH, RATE as STALLED_RATE, SECONDS as STALLED_SECONDS, Stalled, stalled};

use std::time::Duration;

use crate::statistics::Runs;

/// The period of a dashboard: everything is flushed once per period.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// Arguments of a relay under test that disable the rate limit of producers.
const UNPACED: [&str; 2] = ["--frames-per-sec", "100000000"];
/// The same, and a history without a size limit.
const UNLIMITED: [&str; 4] = [UNPACED[0], UNPACED[1], "--ring-bytes", "4294967296"];

/// Several runs of one measurement, and the noise of the machine during each.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoisyRuns {
    pub(crate) value: Runs,
    /// In cores.
    pub(crate) noise: Runs,
}

impl NoisyRuns {
    /// Adds a run.
    pub(crate) fn add(&mut self, (value, noise): (f64, f64)) {
        self.value.add(value);
        self.noise.add(noise);
    }
}
