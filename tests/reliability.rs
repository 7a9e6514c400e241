//! How a relay that is released behaves when things go wrong, in figures: `cargo xtask reliability`, or with the names of some
//! of them. Each figure stands beside its goal; missing one ends the program with 1. The tests say what is right whatever the
//! machine; this says how fast and how large, on the machine at hand.
//!
//! - `restart`: a relay is killed and comes back; how long until each of 200 viewers is fresh again.
//! - `garbage`: 100 MB that make no sense, from a hundred connections.
//! - `series`: a hundred thousand series from one producer.
//! - `stalled`: twenty viewers that do not read, beside five that do.
//! - `crowd`: ten thousand viewers come; come back all at once; come back to a relay that was killed.
//! - `cluster`: what sharing over NATS costs, and how long a gap takes to fill after NATS was away.
//! - `scale`: the CPU for each update delivered, at one relay, two and four.
//! - `soak`: hours of everything at once. Only when it is asked for, and alone; its own words follow it.

#[path = "reliability/cluster.rs"]
mod cluster;
#[path = "reliability/crowd.rs"]
mod crowd;
#[path = "reliability/fleet.rs"]
mod fleet;
#[path = "reliability/hostile.rs"]
mod hostile;
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

/// Takes some figures that belong together.
type Measure = fn() -> Vec<Figure>;

/// The figures by name, in the order in which they are taken.
const FIGURES: [(&str, Measure); 7] = [
    ("restart", restart::figures),
    ("garbage", hostile::garbage),
    ("series", hostile::series),
    ("stalled", stalled::figures),
    ("crowd", crowd::figures),
    ("cluster", cluster::figures),
    ("scale", scale::figures),
];

/// One line of the table.
struct Figure {
    what: &'static str,
    value: String,
    goal: String,
    is_met: bool,
}

impl Figure {
    /// A figure that should be `most` or less, in `unit`.
    fn at_most(what: &'static str, value: f64, most: f64, unit: &str) -> Self {
        let goal = format!("at most {most:.1} {unit}");
        Self { what, value: format!("{value:.2} {unit}"), goal, is_met: value <= most }
    }

    /// Something that must be so.
    fn holds(what: &'static str, value: impl ToString, is_met: bool) -> Self {
        Self { what, value: value.to_string(), goal: "must hold".to_owned(), is_met }
    }

    /// Something that is good to know.
    fn known(what: &'static str, value: impl ToString) -> Self {
        Self { what, value: value.to_string(), goal: String::new(), is_met: true }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [first, words @ ..] = wanted.as_slice()
        && first == "soak"
    {
        return match soak::Wanted::read(words) {
            Ok(wanted) => finish(print("soak", soak::figures(&wanted))),
            Err(error) => {
                eprintln!("{error}; reliability soak [--minutes N] [--seed N] [--browser] [-- WORDS…]");
                ExitCode::from(2)
            }
        };
    }
    if let Some(stranger) = wanted.iter().find(|name| FIGURES.iter().all(|(known, _)| known != name)) {
        let known = FIGURES.map(|(name, _)| name).join(", ");
        eprintln!("no figure is called {stranger}; there are {known}");
        return ExitCode::from(2);
    }
    let mut missed = 0;
    for (name, measure) in FIGURES.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        missed += print(name, measure());
    }
    finish(missed)
}

/// Prints a table; gives how many goals were missed.
fn print(name: &str, figures: Vec<Figure>) -> usize {
    println!("\n== {name}");
    let mut missed = 0;
    for Figure { what, value, goal, is_met } in figures {
        let mark = if is_met { "" } else { "   <-- missed" };
        missed += usize::from(!is_met);
        println!("{what:<58} {value:>18}   {goal}{mark}");
    }
    missed
}

const fn finish(missed: usize) -> ExitCode {
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
