//! What the page costs in a real Chromium, in figures: `cargo xtask bench ui` builds what is released, runs this, and puts the
//! figures beside those on record. It knows of the page what a reader sees, rows of tables and the text in them, and asks
//! Chromium for everything else; so it measures any page that shows the same.
//!
//! - `arrival`: from the navigation to the first row with the right numbers, and the bytes that travel until then.
//! - `steady`: CPU, frames and memory of a dashboard that stays open: a demo application's, and one of 1,000 rows.
//!
//! Each line of the output is a figure: its name, its unit and its values, with tabs between them.

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
