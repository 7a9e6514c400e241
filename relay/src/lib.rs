//! Joey's relay: bytes in from producers, the same histograms out to viewers, and the command line around it.
//!
//! The relay routes and remembers. It decodes a producer's frame once at the door, stamps it, keeps five minutes of it and
//! hands the same bytes to everybody who watches. It never computes a percentile: that is the viewer's work.
//!
//! The modules, each of which uses only those above it (`tests/tidy.rs` checks that):
//!
//! - [`runtime`]: the monotonic clock, standard error, locks, and what contains a panic.
//! - [`metrics`]: counters and gauges for `/metrics`.
//! - [`config`]: all addresses, limits and defaults, as plain data.
//! - [`data_point`]: one histogram of one series over one period, whatever format it arrived in.
//! - [`net`]: listeners with connection limits, byte counts, WebSocket frames.
//! - [`auth`]: which pages, producers and viewers are allowed to connect.
//! - [`ingest`]: producers' TCP connections; foreign formats end here.
//! - [`hub`]: the log and the retained history of each application, and its subscribers.
//! - [`cluster`]: several relays that share what they ingest, over NATS.
//! - [`session`]: one viewer's connection.
//! - [`http`]: the HTTP endpoints and the page.
//! - [`server`]: starts and stops a relay.
//! - [`demo`]: simulated producers, through the real port.
//! - [`client`]: `joey tap` and `joey stats`.
//! - [`cli`]: the command line.

pub mod runtime;
pub mod metrics;
pub mod config;
pub mod data_point;
pub mod net;
pub mod auth;
pub mod ingest;
pub mod hub;
pub mod cluster;
pub mod session;
pub mod http;
pub mod server;
pub mod demo;
pub mod client;
pub mod cli;
