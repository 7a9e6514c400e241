//! What is measured, each as one function: it brings servers, publishers and viewers together and gives figures.
//!
//! Every run first verifies that each viewer gets everything; only then does time count.

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

use crate::figures::Runs;

/// The period of a dashboard: everything is flushed once in it.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// What a relay under test is told so that a producer may send as it can.
const UNPACED: [&str; 2] = ["--frames-per-sec", "100000000"];
/// The same, and that history may grow without a limit in the way.
const UNLIMITED: [&str; 4] = [UNPACED[0], UNPACED[1], "--ring-bytes", "4294967296"];

/// Several runs of one figure, and how noisy the machine was during each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) figure: Runs,
    /// In cores.
    pub(crate) noise: Runs,
}

impl Noted {
    /// One more run.
    pub(crate) fn add(&mut self, (figure, noise): (f64, f64)) {
        self.figure.add(figure);
        self.noise.add(noise);
    }
}
