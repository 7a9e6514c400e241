//! What is published: Wallaroo's frames of histograms that look real, and where in a frame its moment stands.
//!
//! The end of a frame's period is the moment at which it was written. Every system carries it to its viewers, whatever it puts
//! around it, so it is the one stamp by which all of them can be timed.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use joey::data_point::DataPoint;
use joey::demo::emitter;
use joey_shared::histogram::Histogram;
use joey_shared::series::{Filter, SeriesKey, Topic};

/// Different histograms of one series; a series that always said the same would flatter whoever sends differences.
const VARIANTS: usize = 8;
/// The period that every frame says it covers, in ns: 1 s.
const PERIOD_NS: u64 = 1_000_000_000;
/// Bytes at the end of a frame that hold its moment.
const STAMP: usize = 8;
/// The length in front of a frame, which only Wallaroo's own stream has.
pub(crate) const LENGTH: usize = 4;

/// The time on the wall in ns since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Prepared frames of one application.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    app: String,
    frames: Vec<Vec<u8>>,
    series: usize,
}

impl Records {
    /// Frames of `series` series of `app`.
    pub(crate) fn new(app: &str, series: usize) -> Self {
        let mut rng = Rng::with_seed(1);
        let make = |at: usize| {
            let number = at % series;
            let SeriesKey { category, pipeline, worker, name } = &key(number);
            emitter::metrics(&DataPoint {
                app,
                name,
                category,
                worker,
                pipeline,
                id: u16::try_from(number % 50).unwrap_or_default(),
                histogram: histogram(number, &mut rng),
                period_ns: PERIOD_NS,
                end_ns: now_ns(),
            })
        };
        Self { app: app.to_owned(), frames: (0..series * VARIANTS).map(make).collect(), series }
    }

    /// One frame of each series, all of the moment `at_ns`.
    pub(crate) fn round(&mut self, number: usize, at_ns: u64) -> impl Iterator<Item = &[u8]> {
        let first = number % VARIANTS * self.series;
        self.frames[first..first + self.series].iter_mut().map(move |frame| stamped(frame, at_ns))
    }

    /// One frame of the moment `at_ns`, and the number of its series.
    pub(crate) fn one(&mut self, number: usize, at_ns: u64) -> (usize, &[u8]) {
        let at = number % self.frames.len();
        (at % self.series, stamped(&mut self.frames[at], at_ns))
    }

    /// The application.
    pub(crate) fn app(&self) -> &str {
        &self.app
    }

    /// The topic of the series of this number.
    pub(crate) fn topic(&self, number: usize) -> Topic {
        Topic { app: self.app.clone(), filter: Filter::Series(key(number)) }
    }

    /// Series.
    pub(crate) const fn series(&self) -> usize {
        self.series
    }

    /// Mean length of a frame without the length in front: what a system carries that takes frames as they are.
    pub(crate) fn bytes(&self) -> f64 {
        let all: usize = self.frames.iter().map(|frame| frame.len() - LENGTH).sum();
        all as f64 / self.frames.len() as f64
    }
}

/// What is measured, as Wallaroo names it.
pub(crate) const CATEGORIES: [&str; 3] = ["computation", "node-ingress-egress", "start-to-end"];

fn key(number: usize) -> SeriesKey {
    SeriesKey {
        category: CATEGORIES[number % CATEGORIES.len()].to_owned(),
        pipeline: "Alerts".to_owned(),
        worker: "initializer".to_owned(),
        name: format!("computation {number:05}"),
    }
}

fn stamped(frame: &mut [u8], at_ns: u64) -> &[u8] {
    let at = frame.len() - STAMP;
    frame[at..].copy_from_slice(&at_ns.to_be_bytes());
    frame
}

/// When the frame that `bytes` end with was written, in ns since the Unix epoch.
pub(crate) fn stamp(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |stamp| u64::from_be_bytes(*stamp))
}

/// A second of a busy computation: log-normal durations, one in a thousand of them with a long tail.
fn histogram(series: usize, rng: &mut Rng) -> Histogram {
    let mut histogram = Histogram::default();
    let median_ns = 10_000.0 * (1.0 + (series % 7) as f64);
    let sigma = [0.5, 1.0, 1.5][series % 3];
    // A thousandth of the draws, each counted a thousand times and a few more, has the shape of a million events.
    for _ in 0..1_000 {
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        let mut ns = median_ns * (sigma * normal).exp();
        let is_tail = rng.u32(..1_000) == 0;
        if is_tail {
            ns /= 1.0 - rng.f64();
        }
        let ns = ns as u64;
        histogram.bins[joey_shared::histogram::bin_of(ns)] += if is_tail { 1 } else { 90 + rng.u64(..20) };
        (histogram.min_ns, histogram.max_ns) = (histogram.min_ns.min(ns), histogram.max_ns.max(ns));
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_every_series_once_and_bears_its_moment() {
        let mut records = Records::new("bench", 10);
        for number in [0, 1, VARIANTS] {
            let frames: Vec<Vec<u8>> = records.round(number, 1_544_101_820_000_000_077).map(<[u8]>::to_vec).collect();
            assert_eq!(frames.len(), 10);
            for frame in &frames {
                assert!(joey::ingest::wallaroo::decode(&frame[LENGTH..]).is_ok());
                assert_eq!(stamp(frame), 1_544_101_820_000_000_077);
            }
        }
    }
}
