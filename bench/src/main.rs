//! Benchmarks of the relay beside other systems, in one run on one machine.
//!
//! `cargo xtask bench` builds the relay and this program and starts it. One thread is a crowd of viewers (`crowd`),
//! another a producer (`publisher`), both on one core; the systems under test (`system`, `server`) run on the other.
//! Resource use is what the operating system reports for a process (`machine`). `workload` measures, `report` prints.

mod machine;
mod statistics;
mod record;
mod topic;
mod protocol;
mod system;
mod server;
mod peer;
mod publisher;
mod crowd;
mod workload;
mod report;
mod quick;
mod growth;

use std::env;

use anyhow::{Result, bail};

use crate::machine::Cores;
use crate::system::{ALL, CHOOSING, System};

/// The systems in the burst of the quick run; its other workloads use only the first one or two.
const QUICK: [System; 3] = [System::Joey, System::Uws, System::Axum];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve-axum", port] => return peer::axum(port.parse()?),
        ["serve-floor", port] => return peer::floor(port.parse()?),
        _ => {}
    }
    let files = machine::open_files()?;
    let cores = Cores::find()?;
    cores.as_generator()?;
    report::heading(files, if arguments == ["--quick"] { &QUICK } else { &ALL });
    match arguments.as_slice() {
        ["--quick"] => quick::ratios(&quick::measure(&QUICK, &QUICK[..2], &QUICK[..1], cores)?),
        [] => everything(cores),
        ["burst"] => report::dashboard(&ALL, cores).map(drop),
        ["spaced"] => report::spaced(&ALL, cores).map(drop),
        ["narrow"] => report::narrow(cores),
        ["idle"] => idle(cores),
        ["many"] => report::many_apps(&ALL, cores),
        ["mixed"] => report::mixed(&CHOOSING, cores),
        ["stalled"] => report::stalled(&ALL, cores),
        ["ingest"] => {
            report::ingest(cores)?;
            report::one_by_one(cores)
        }
        ["join"] => report::join(cores).map(drop),
        ["hub"] => report::monitoring_hub(cores),
        ["growth"] => growth::run(cores),
        _ => bail!(
            "usage: cargo xtask bench \
             [--quick | burst | spaced | narrow | idle | many | mixed | stalled | ingest | join | hub | growth]"
        ),
    }
}

fn everything(cores: Cores) -> Result<()> {
    let measured = quick::measure(&ALL, &ALL, &ALL, cores)?;
    report::one_by_one(cores)?;
    report::idle(&ALL, true, cores)?;
    report::many_apps(&ALL, cores)?;
    report::mixed(&CHOOSING, cores)?;
    report::narrow(cores)?;
    report::stalled(&ALL, cores)?;
    report::monitoring_hub(cores)?;
    growth::run(cores)?;
    quick::ratios(&measured)
}

fn idle(cores: Cores) -> Result<()> {
    report::idle(&ALL, false, cores)?;
    report::idle(&ALL, true, cores).map(drop)
}
