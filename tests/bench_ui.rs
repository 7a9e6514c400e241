//! Measures the page in a real Chromium. `cargo xtask bench ui` makes a release build, runs this program, and compares
//! the results with the recorded ones. Of the page, it uses only table rows and their text. All other values are
//! Chromium's counters. It can therefore measure any implementation of the page.
//!
//! - `arrival`: the time from the navigation to the first row with the right numbers, and the size of the fetched
//!   files.
//! - `steady`: script, frames, CPU and memory of an open dashboard: of a demo application, and with 100 to 10,000 series.
//! - `memory`: the memory after ten minutes with full windows, and its growth.
//! - `peers`: uPlot and plain JavaScript with the same lines and updates, in the same browser.
//!
//! Each line of the output is one measurement: name, unit and values, separated by tabs.

#[path = "bench_ui/arrival.rs"]
mod arrival;
#[path = "bench_ui/counters.rs"]
mod counters;
#[path = "bench_ui/memory.rs"]
mod memory;
#[path = "bench_ui/page.rs"]
mod page;
#[path = "bench_ui/peers.rs"]
mod peers;
#[path = "bench_ui/source.rs"]
mod source;
#[path = "bench_ui/steady.rs"]
mod steady;

use std::time::Duration;

use source::Series;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Number of visits of each kind.
    visits: usize,
    /// Number of repetitions of the other measurements.
    rounds: usize,
    /// Duration of the measurement of counters in each repetition.
    counted: Duration,
    /// Duration of the measurement of frames in each repetition.
    watched: Duration,
    /// Seconds of history of the accelerated measurement, and its duration: ten times as many seconds are shown.
    history_seconds: u64,
    accelerated: Duration,
}

/// A few minutes.
const QUICK: Extent = Extent {
    visits: 3,
    rounds: 1,
    counted: Duration::from_secs(8),
    watched: Duration::from_secs(8),
    history_seconds: 600,
    accelerated: Duration::from_secs(20),
};
/// What is recorded.
const FULL: Extent = Extent {
    visits: 7,
    rounds: 3,
    counted: Duration::from_secs(15),
    watched: Duration::from_secs(10),
    history_seconds: 3_600,
    accelerated: Duration::from_secs(60),
};

/// One line of the output.
struct Figure {
    name: String,
    unit: &'static str,
    /// One value for each run.
    values: Vec<f64>,
}

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self { name: name.into(), unit, values }
    }
}

/// The numbers of series that are measured, and the scales of their histograms.
const SERIES: [Series; 6] = [
    Series { count: 100, scale: 0 },
    Series { count: 1_000, scale: 0 },
    Series { count: 10_000, scale: 0 },
    Series { count: 100, scale: 3 },
    Series { count: 1_000, scale: 3 },
    Series { count: 10_000, scale: 3 },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => print_all(FULL),
        ["--quick"] => print_all(QUICK),
        ["series", count, scale] => print(steady::series(QUICK, Series::read(count, scale))),
        ["memory", count, scale] => print(memory::figures(QUICK, Series::read(count, scale))),
        ["profile", count, scale] => steady::profile(Series::read(count, scale)),
        ["peers"] => {
            print(peers::uplot(QUICK, &[100, 1_000]));
            print(peers::javascript(QUICK, &SERIES));
        }
        ["arrival"] => print(arrival::figures(QUICK)),
        _ => panic!(
            "usage: bench-ui [--quick | arrival | series COUNT SCALE | memory COUNT SCALE | profile COUNT SCALE | peers]"
        ),
    }
}

/// Measures everything.
fn print_all(extent: Extent) {
    print(arrival::figures(extent));
    print(steady::demo(extent));
    for series in SERIES {
        print(steady::series(extent, series));
    }
    print(memory::figures(extent, Series { count: 1_000, scale: 3 }));
    print(peers::uplot(extent, &[100, 1_000, 10_000]));
    print(peers::javascript(extent, &SERIES));
}

fn print(figures: Vec<Figure>) {
    for Figure { name, unit, values } in figures {
        let values: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
        println!("{name}\t{unit}\t{}", values.join(" "));
    }
}
