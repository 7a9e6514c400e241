//! Joey's relay: bytes in from producers, the same histograms out to viewers, and the command line around it.
//!
//! The relay routes and remembers. It decodes a producer's frame once at the door, stamps it, keeps five minutes of it and
//! hands the same bytes to everybody who watches. It never computes a percentile: that is the viewer's work.
//!
//! The modules in the direction in which data flows:
//!
//! - [`clock`]: the relay's own clock, which nobody can set.
//! - [`console`]: standard error, which may be closed or full.
//! - [`config`]: every address, limit and default, in one place.
//! - [`access`]: who may come in, and what for: origins, networks, tokens, the certificate.
//! - [`door`]: how many may come in; [`guard`]: a panic stays where it happens.
//! - [`ingest`]: producers' TCP connections; foreign formats end here.
//! - [`frame`]: a message as it goes over every WebSocket.
//! - [`hub`]: who hears what; the log and the ring of every application.
//! - [`cluster`]: several relays as one, over NATS.
//! - [`metered`]: a connection that counts what it has written.
//! - [`fanout`]: one task for each viewer's WebSocket.
//! - [`http`]: the few HTTP endpoints, and the page itself.
//! - [`metrics`]: what the relay says about itself.
//! - [`server`]: puts these together and takes them apart again.
//! - [`demo`]: made-up producers, through the real port.
//! - [`client`]: `joey tap` and `joey stats`.
//! - [`cli`]: words in, exit code out.

pub mod clock;
pub mod console;
pub mod config;
pub mod access;
pub mod door;
pub mod guard;
pub mod ingest;
pub mod frame;
pub mod hub;
pub mod cluster;
pub mod metered;
pub mod fanout;
pub mod http;
pub mod metrics;
pub mod server;
pub mod demo;
pub mod client;
pub mod cli;
mod sync;

/// A span in ns; the longest that fits where it is longer.
pub(crate) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
