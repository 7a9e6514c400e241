//! Samples of the relay's memory and descriptors every ten seconds, and the linear fit through them.

use std::time::Duration;

use joey_tests::Relay;

use crate::usage::Usage;

/// One sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) usage: Usage,
    pub(crate) descriptors: usize,
}

impl Sample {
    pub(crate) fn of(relay: &Relay, at: Duration) -> Self {
        Self { at, usage: Usage::of(relay), descriptors: descriptors(relay) }
    }
}

/// Number of descriptors that the relay has open.
pub(crate) fn descriptors(relay: &Relay) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", relay.process_id())).map_or(0, Iterator::count)
}

/// The slope of the least-squares line through points of time and value, per hour; `None` for fewer than three points.
pub(crate) fn growth_per_hour(points: impl IntoIterator<Item = (Duration, f64)>) -> Option<f64> {
    let points: Vec<(f64, f64)> = points.into_iter().map(|(at, value)| (at.as_secs_f64() / 3_600.0, value)).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (middle_h, middle) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|(hours, value)| (hours - middle_h) * (value - middle)).sum();
    let spread: f64 = points.iter().map(|(hours, _)| (hours - middle_h).powi(2)).sum();
    (points.len() >= 3 && spread > 0.0).then(|| along / spread)
}
