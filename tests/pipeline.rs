//! The whole path with the real relay over real sockets, from a producer's TCP stream to the output of viewers and the
//! command line.
//!
//! - `numbers`: `joey stats` is exact for all frames, however their bytes are split.
//! - `hostile`: what a broken or hostile producer can and cannot cause.
//! - `time`: frames that are late, far in the future, or of open periods.
//! - `viewers`: subscriptions, batches, gaps and closed WebSockets.
//! - `streams`: the same over HTTP streams.
//! - `auth`: authentication of viewers.
//! - `identity`: tokens of an identity provider whose keys are fetched and change.
//! - `token_check`: `joey token --check`.
//! - `configuration`: `joey check-config`, `joey gen-config` and `joey --version`.
//! - `listeners`: TLS, and which producers may connect.
//! - `commands`: exit codes, `joey tap`, and stopping the relay.
//! - `reach`: how the command line connects to a relay, and what it prints if it cannot.
//! - `recording`: `joey record` and `joey stats --file`.
//! - `compare`: `joey compare`.
//! - `watch`: `joey watch`.
//! - `serve_watch`: `joey serve --watch`.
//! - `output`: what the command line and `/metrics` print.
//! - `replay`: `joey replay`.
//! - `statsd`: StatsD from a client library, over UDP and Unix datagrams.
//! - `prometheus`: a real Prometheus scrapes histograms and answers quantiles.
//! - `monitoring`: Prometheus' own tool checks `/metrics` and the alert rules.
//! - `native`: Joey's own ingest protocol, through broken lines and restarts.
//! - `pipe`: `joey pipe`.
//! - `top`: `joey top` in a terminal.
//! - `otlp`: OpenTelemetry over HTTP and gRPC.
//! - `service_manager`: sockets from systemd, and what it is told.
//! - `examples`: the programs in `examples/`.
//! - `exporters`: OpenTelemetry's exporters for Python, Node and Rust.

#[path = "pipeline/auth.rs"]
mod auth;
#[path = "pipeline/commands.rs"]
mod commands;
#[path = "pipeline/compare.rs"]
mod compare;
#[path = "pipeline/configuration.rs"]
mod configuration;
#[path = "pipeline/examples.rs"]
mod examples;
#[path = "pipeline/listeners.rs"]
mod listeners;
#[path = "pipeline/exporters.rs"]
mod exporters;
#[path = "pipeline/hostile.rs"]
mod hostile;
#[path = "pipeline/identity.rs"]
mod identity;
#[path = "pipeline/monitoring.rs"]
mod monitoring;
#[path = "pipeline/native.rs"]
mod native;
#[path = "pipeline/numbers.rs"]
mod numbers;
#[path = "pipeline/otlp.rs"]
mod otlp;
#[path = "pipeline/output.rs"]
mod output;
#[path = "pipeline/prometheus.rs"]
mod prometheus;
#[path = "pipeline/pipe.rs"]
mod pipe;
#[path = "pipeline/reach.rs"]
mod reach;
#[path = "pipeline/recording.rs"]
mod recording;
#[path = "pipeline/replay.rs"]
mod replay;
#[path = "pipeline/service_manager.rs"]
mod service_manager;
#[path = "pipeline/statsd.rs"]
mod statsd;
#[path = "pipeline/streams.rs"]
mod streams;
#[path = "pipeline/time.rs"]
mod time;
#[path = "pipeline/token_check.rs"]
mod token_check;
#[path = "pipeline/top.rs"]
mod top;
#[path = "pipeline/serve_watch.rs"]
mod serve_watch;
#[path = "pipeline/watch.rs"]
mod watch;
#[path = "pipeline/viewers.rs"]
mod viewers;
