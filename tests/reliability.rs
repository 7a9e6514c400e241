//! Measures how a release build of the relay behaves under faults: `cargo xtask reliability`, optionally with the names
//! of measurements. Each measurement is printed beside its goal; a missed goal makes the program exit with 1. The tests
//! check correctness on any machine; this program measures speed and size on the current machine.
//!
//! - `restart`: a relay is killed and restarted; time until each of 200 viewers is up to date again.
//! - `journal`: a relay with a journal is killed a hundred times under load.
//! - `garbage`: 100 MB of invalid bytes over a hundred connections.
//! - `series`: a hundred thousand series from one producer.
//! - `stalled`: twenty viewers that do not read, beside five that do.
//! - `crowd`: ten thousand viewers connect, reconnect all at once, and reconnect to a relay that was killed.
//! - `cluster`: the cost of sharing over NATS, and how long it takes to fill a gap after a NATS outage.
//! - `scale`: CPU time per delivered update with one, two and four relays.
//! - `soak`: hours of everything at once. It runs only on request and alone; its own arguments follow.

#[path = "reliability/cluster.rs"]
mod cluster;
#[path = "reliability/crowd.rs"]
mod crowd;
#[path = "reliability/fleet.rs"]
mod fleet;
#[path = "reliability/hostile.rs"]
mod hostile;
#[path = "reliability/journal.rs"]
mod journal;
#[path = "reliability/load.rs"]
mod load;
#[path = "reliability/restart.rs"]
mod restart;
#[path = "reliability/scale.rs"]
mod scale;
#[path = "reliability/soak.rs"]
mod soak;
#[path = "reliability/stalled.rs"]
mod stalled;
#[path = "reliability/usage.rs"]
mod usage;

use std::process::ExitCode;

/// Measures some values that belong together.
type Measure = fn() -> Vec<Measurement>;

/// The measurements by name, in the order in which they run.
const MEASUREMENTS: [(&str, Measure); 8] = [
    ("restart", restart::measurements),
    ("journal", journal::measurements),
    ("garbage", hostile::garbage),
    ("series", hostile::series),
    ("stalled", stalled::measurements),
    ("crowd", crowd::measurements),
    ("cluster", cluster::measurements),
    ("scale", scale::measurements),
];

/// One line of the table.
struct Measurement {
    what: &'static str,
    value: String,
    goal: String,
    is_met: bool,
}

impl Measurement {
    /// A measurement that should be `most` or less, in `unit`.
    fn at_most(what: &'static str, value: f64, most: f64, unit: &str) -> Self {
        let goal = format!("at most {most:.1} {unit}");
        Self { what, value: format!("{value:.2} {unit}"), goal, is_met: value <= most }
    }

    /// A condition that must hold.
    fn holds(what: &'static str, value: impl ToString, is_met: bool) -> Self {
        Self { what, value: value.to_string(), goal: "must hold".to_owned(), is_met }
    }

    /// A value without a goal.
    fn info(what: &'static str, value: impl ToString) -> Self {
        Self { what, value: value.to_string(), goal: String::new(), is_met: true }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [first, arguments @ ..] = wanted.as_slice()
        && first == "soak"
    {
        return match soak::Options::read(arguments) {
            Ok(wanted) => finish(print("soak", soak::measurements(&wanted))),
            Err(error) => {
                eprintln!("{error}; reliability soak [--minutes N] [--seed N] [--browser] [-- WORDS…]");
                ExitCode::from(2)
            }
        };
    }
    if let Some(stranger) = wanted.iter().find(|name| MEASUREMENTS.iter().all(|(known, _)| known != name)) {
        let known = MEASUREMENTS.map(|(name, _)| name).join(", ");
        eprintln!("unknown measurement: {stranger}; there are {known}");
        return ExitCode::from(2);
    }
    let mut missed = 0;
    for (name, measure) in
        MEASUREMENTS.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        missed += print(name, measure());
    }
    finish(missed)
}

/// Prints a table; returns the number of missed goals.
fn print(name: &str, measurements: Vec<Measurement>) -> usize {
    println!("\n== {name}");
    let mut missed = 0;
    for Measurement { what, value, goal, is_met } in measurements {
        let mark = if is_met { "" } else { "   <-- missed" };
        missed += usize::from(!is_met);
        println!("{what:<58} {value:>18}   {goal}{mark}");
    }
    missed
}

const fn finish(missed: usize) -> ExitCode {
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
