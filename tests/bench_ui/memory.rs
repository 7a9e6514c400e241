//! The memory of a dashboard after ten minutes, and how it grows: periods arrive ten times as fast as real time, into
//! full windows.
//!
//! A page retains an hour, so its memory grows until it has one. The relay therefore has an hour of history here.

use std::thread::sleep;
use std::time::Instant;

use joey_tests::eventually;

use crate::counters::Memory;
use crate::page;
use crate::source::{self, Series, Source};
use crate::{Extent, Figure};

/// How much faster than real time the periods arrive.
const SPEED: u32 = 10;
/// Number of measurements.
const SAMPLES: u32 = 6;

/// The figures of one scene.
pub(crate) fn figures(extent: Extent, series: Series) -> Vec<Figure> {
    let relay = page::relay(&["--frames-per-sec", "1000000"]);
    let source = Source::start_accelerated(&relay, series, extent.history_seconds, SPEED);
    // The longest window makes the page request the whole history.
    let browser = page::measured_browser();
    browser.open(&format!("http://{}/#/applications/{}/dashboard?w=3600", relay.http, source::APP));
    eventually("the rows", || (page::rows(&browser) >= series.count as u64).then_some(()));
    sleep(page::SETTLED);
    let started = Instant::now();
    let mut samples = Vec::new();
    for sample in 0..=SAMPLES {
        sleep((extent.accelerated * sample / SAMPLES).saturating_sub(started.elapsed()));
        let memory = Memory::read(&browser);
        let minutes = started.elapsed().as_secs_f64() * f64::from(SPEED) / 60.0;
        samples.push((minutes, [page::wasm_mb(&browser), memory.heap_mb, memory.document_mb, memory.process_mb]));
        eprintln!("memory of {series} after {minutes:.1} minutes: {:?} MB", samples[samples.len() - 1].1);
    }
    drop(browser);
    drop(source);
    let names = ["WebAssembly's memory", "JavaScript's heap", "document", "process of the page"];
    let figures = names.iter().enumerate().flat_map(|(at, name)| {
        let values: Vec<(f64, f64)> = samples.iter().map(|(minutes, values)| (*minutes, values[at])).collect();
        let last = values.last().map_or(f64::NAN, |value| value.1);
        let named =
            |what: &str, unit, value| Figure::new(format!("{series}, accelerated: {name}{what}"), unit, vec![value]);
        [named("", "MB", last), named(", growth", "MB/min", slope(&values))]
    });
    figures.collect()
}

/// The slope of the straight line that is nearest to these points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
