//! Samples of the relay's memory and descriptors every ten seconds, and the linear fit through them.

use std::time::Duration;

use joey_tests::Relay;

use crate::Measurement;
use crate::usage::Usage;

/// Maximum memory growth per hour once the history is full, in MB. Two hours cannot distinguish less from allocator
/// noise.
const GROWTH_MB_PER_HOUR: f64 = 6.0;

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

/// Measurements of memory and descriptors. The relay's history is full after `fills_after`.
pub(crate) fn memory_measurements(samples: &[Sample], fills_after: Duration) -> Vec<Measurement> {
    let end = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let from = fills_after.max(end / 2);
    let points = |from: Duration| samples.iter().filter(move |sample| sample.at >= from);
    let memory = |from: Duration| growth_per_hour(points(from).map(|sample| (sample.at, sample.usage.rss_mb)));
    let rss = |sample: &Sample| format!("{:.1} MB, {:.1} MB", sample.usage.rss_mb, sample.usage.rss_max_mb);
    let growth = "memory growth per hour, once the history is full";
    let flat = match memory(from) {
        // A fit over less than ten minutes is meaningless.
        Some(mb) if end.saturating_sub(from) >= Duration::from_secs(600) => {
            Measurement::at_most(growth, mb, GROWTH_MB_PER_HOUR, "MB")
        }
        _ => Measurement::info(growth, "too short a run"),
    };
    vec![
        Measurement::info("memory at the end, maximum", samples.last().map_or_else(String::new, rss)),
        Measurement::info("memory growth per hour, second half", {
            format!("{:.1} MB", memory(end / 2).unwrap_or(f64::NAN))
        }),
        flat,
        Measurement::info(
            "maximum number of descriptors",
            samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0),
        ),
    ]
}
