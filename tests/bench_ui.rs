//! Measures the page in a real Chromium. `cargo xtask bench ui` makes a release build, runs this program, and compares
//! the results with the recorded ones. Of the page, it uses only table rows and their text. All other values are
//! Chromium's counters. It can therefore measure any implementation of the page.
//!
//! - `arrival`: the time from the navigation to the first row with the right numbers, and the size of the fetched
//!   files.
//! - `steady`: CPU, frames and memory of an open dashboard: of a demo application, and with 1,000 rows.
//!
//! Each line of the output is one measurement: name, unit and values, separated by tabs.

#[path = "bench_ui/arrival.rs"]
mod arrival;
#[path = "bench_ui/counters.rs"]
mod counters;
#[path = "bench_ui/steady.rs"]
mod steady;

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

fn main() {
    let figures = [arrival::figures, steady::demo, steady::thousand].into_iter().flat_map(|measure| measure());
    for Figure { name, unit, values } in figures {
        let values: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
        println!("{name}\t{unit}\t{}", values.join(" "));
    }
}
