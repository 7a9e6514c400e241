//! Command-line clients of a relay: most with a connection for the same `Viewer` that the browser uses, and `joey pipe`
//! and `joey replay`, which are producers.

mod args;
pub(crate) mod compare;
mod connection;
mod output;
pub(crate) mod pipe;
pub(crate) mod record;
pub(crate) mod replay;
mod sending;
mod snapshot;
pub(crate) mod stats;
pub(crate) mod tap;
pub(crate) mod top;
mod transport;
mod unknown_app;
pub(crate) mod watch;

pub(crate) use self::args::{Compare, Pipe, Record, Replay, Stats, Tap, Top, Watch};

/// The outcome of a client that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It succeeded.
    Done,
    /// The application is unknown, or has no data. Contains the message for the user.
    NoData(String),
    /// An objective is missed. Contains the message for the user.
    Missed(String),
    /// The configuration is not valid. Contains the reason.
    Invalid(String),
}
