//! The published data: Wallaroo frames with realistic histograms, and the position of the timestamp in a frame.
//!
//! The period end of a frame is the time at which it was written. Every system delivers it to its viewers, whatever its
//! own framing, so it is the one timestamp that works for all of them.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use joey::data_point::DataPoint;
use joey::demo::emitter;
use joey_shared::histogram::Histogram;
use joey_shared::series::{Filter, SeriesKey, Topic};

/// Number of different histograms of one series. A series that never changes would favour delta encodings.
const VARIANTS: usize = 8;
/// The period of every frame, in ns: 1 s.
const PERIOD_NS: u64 = 1_000_000_000;
/// Length of the timestamp at the end of a frame, in bytes.
const STAMP: usize = 8;
/// Length of the prefix of a frame, which only Wallaroo's own stream has, in bytes.
pub(crate) const LENGTH: usize = 4;

/// Current wall-clock time in ns since the Unix epoch.
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
                provenance: joey_shared::series::Provenance::default(),
                histogram: histogram(number, &mut rng),
                period_ns: PERIOD_NS,
                end_ns: now_ns(),
            })
        };
        Self { app: app.to_owned(), frames: (0..series * VARIANTS).map(make).collect(), series }
    }

    /// One frame of each series, with the timestamp `at_ns`.
    pub(crate) fn round(&mut self, number: usize, at_ns: u64) -> impl Iterator<Item = &[u8]> {
        let first = number % VARIANTS * self.series;
        self.frames[first..first + self.series].iter_mut().map(move |frame| stamped(frame, at_ns))
    }

    /// One frame with the timestamp `at_ns`, and the number of its series.
    pub(crate) fn one(&mut self, number: usize, at_ns: u64) -> (usize, &[u8]) {
        let at = number % self.frames.len();
        (at % self.series, stamped(&mut self.frames[at], at_ns))
    }

    /// Name of the application.
    pub(crate) fn app(&self) -> &str {
        &self.app
    }

    /// The topic of series number `number`.
    pub(crate) fn topic(&self, number: usize) -> Topic {
        Topic { app: self.app.clone(), filter: Filter::Series(key(number)) }
    }

    /// Number of series.
    pub(crate) const fn series(&self) -> usize {
        self.series
    }

    /// Mean length of a frame without its length prefix, which is what a system forwards that does not re-encode
    /// frames.
    pub(crate) fn bytes(&self) -> f64 {
        let all: usize = self.frames.iter().map(|frame| frame.len() - LENGTH).sum();
        all as f64 / self.frames.len() as f64
    }
}

/// Categories, as Wallaroo names them.
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

/// When the frame at the end of `bytes` was written, in ns since the Unix epoch.
pub(crate) fn stamp(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |stamp| u64::from_be_bytes(*stamp))
}

/// A second of a busy computation: log-normal durations, one in a thousand with a long tail.
fn histogram(series: usize, rng: &mut Rng) -> Histogram {
    let mut histogram = Histogram::default();
    let median_ns = 10_000.0 * (1.0 + (series % 7) as f64);
    let sigma = [0.5, 1.0, 1.5][series % 3];
    // A thousand draws, each counted about a hundred times, approximate the shape of a hundred thousand events.
    for _ in 0..1_000 {
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        let mut ns = median_ns * (sigma * normal).exp();
        let is_tail = rng.u32(..1_000) == 0;
        if is_tail {
            ns /= 1.0 - rng.f64();
        }
        let ns = ns as u64;
        histogram.record_many(ns, if is_tail { 1 } else { 90 + rng.u64(..20) });
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_contains_every_series_once_with_its_timestamp() {
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
