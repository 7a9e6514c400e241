//! How light the relay is: measured beside the best, in one run, on one machine.
//!
//! `cargo xtask bench` builds the relay and this program and starts it. One thread is a crowd of viewers (`crowd`), another
//! a producer (`publisher`), both on one core; the systems under test (`system`) run on the other. What is said of a system
//! is what the operating system says about its process (`machine`).

mod machine;
mod figures;
mod record;
mod websocket;
mod system;
mod peer;
mod publisher;
mod crowd;
mod workload;
mod quick;

use std::env;

use anyhow::{Result, bail};

use crate::machine::Cores;
use crate::system::System;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve-axum", port] => return peer::axum(port.parse()?),
        ["serve-floor", port] => return peer::floor(port.parse()?),
        _ => {}
    }
    let files = machine::open_files()?;
    let cores = Cores::find()?;
    cores.as_generator()?;
    println!("{}; {files} open files; {cores:?}", machine::description());
    match words.as_slice() {
        ["--quick"] => quick::run(&[System::Joey, System::Uws, System::Axum], cores),
        [] => {
            quick::run(&[System::Joey, System::Uws, System::Axum, System::Ws], cores)?;
            quick::monitoring_hub(cores)
        }
        ["burst"] => quick::burst(&[System::Joey, System::Uws], cores).map(drop),
        ["spaced"] => quick::spaced(cores).map(drop),
        ["idle"] => quick::idle(cores).map(drop),
        ["ingest"] => quick::ingest(cores).map(drop),
        ["hub"] => quick::monitoring_hub(cores),
        ["join"] => quick::join(cores).map(drop),
        _ => bail!("usage: cargo xtask bench [--quick | burst | spaced | idle | ingest | join | hub]"),
    }
}
