//! Command-line clients of a relay: four with a connection for the same `Viewer` that the browser uses, and `joey pipe`, which
//! is a producer.

mod args;
mod connection;
mod output;
pub(crate) mod pipe;
pub(crate) mod record;
pub(crate) mod stats;
pub(crate) mod tap;
pub(crate) mod top;
mod transport;

pub(crate) use self::args::{Pipe, Record, Stats, Tap, Top, parse_span};

/// The outcome of a client that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It succeeded.
    Done,
    /// The application is unknown, or has no data. Contains the message for the user.
    NoData(String),
    /// The configuration is not valid. Contains the reason.
    Invalid(String),
}
