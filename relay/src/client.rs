//! Clients of a relay on the command line: a socket around the same viewer that the browser runs.

mod args;
mod connection;
mod output;
pub(crate) mod stats;
pub(crate) mod tap;
mod transport;

pub(crate) use self::args::{Stats, Tap};

/// How a client's run ended, where it did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It did what it was asked.
    Done,
    /// There is no such application, or it has no data.
    NoData(String),
}
