//! Joey's relay, which receives histograms from producers and sends them to viewers, and its command line.
//!
//! The relay routes and stores. It decodes each frame once on arrival, stamps it, retains five minutes of history, and sends the
//! same bytes to all viewers. It never computes a percentile; viewers do that. The watcher and the StatsD export, both off by
//! default, are viewers in its process.
//!
//! Each module uses only the modules above it (`tests/tidy.rs` checks this):
//!
//! - [`runtime`]: the monotonic clock, standard error, the panic guard, and locks.
//! - [`metrics`]: counters and gauges for `/metrics`, and all rejection and close reasons.
//! - [`rule`]: what a view must meet, as text, and whether it does.
//! - [`config`]: all addresses, limits and defaults.
//! - [`data_point`]: one histogram of one series over one period, independent of the producer's format.
//! - [`journal`]: the history on disk, so that it survives a restart.
//! - [`net`]: listeners with connection limits, byte counts, WebSocket frames.
//! - [`auth`]: which pages, producers and viewers may connect, tokens, and TLS.
//! - [`hub`]: the log, the retained history and the subscribers of each application.
//! - [`ingest`]: producers' connections: Wallaroo's format, Joey's own protocol, OpenTelemetry and StatsD.
//! - [`cluster`]: relays that share their data over NATS.
//! - [`export`]: views for Prometheus and StatsD.
//! - [`watch`]: watches objectives and tells of those that are missed, for `joey watch` and as a part of the relay.
//! - [`session`]: one viewer's connection.
//! - [`http`]: the HTTP endpoints and the page.
//! - [`server`]: starts and stops a relay.
//! - [`demo`]: simulated producers that connect to the ingest port.
//! - [`client`]: `joey tap`, `stats`, `top`, `record`, `compare` and `watch`, and the producers `joey pipe` and `joey replay`.
//! - [`cli`]: the command line.

pub mod runtime;
pub mod metrics;
pub mod rule;
pub mod config;
pub mod data_point;
pub mod journal;
pub mod net;
pub mod auth;
pub mod hub;
pub mod ingest;
pub mod cluster;
pub mod export;
pub mod watch;
pub mod session;
pub mod http;
pub mod server;
pub mod demo;
pub mod client;
pub mod cli;
