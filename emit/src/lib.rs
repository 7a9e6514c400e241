//! Records latencies in a Rust program and sends them to Joey. The rest of this page is the README of the crate.
//!
#![doc = include_str!("../README.md")]

mod emitter;
mod lane;
#[cfg(feature = "metrics")]
mod metrics_recorder;
mod registry;
pub mod send;
mod series;
mod snapshot;
#[cfg(feature = "tracing")]
mod tracing_layer;

pub use self::emitter::{Emitter, EmitterBuilder};
#[cfg(feature = "metrics")]
pub use self::metrics_recorder::MetricsRecorder;
pub use self::registry::{Registry, SERIES_MAX};
pub use self::series::{Series, Timer};
pub use self::snapshot::Snapshot;
#[cfg(feature = "tracing")]
pub use self::tracing_layer::TracingLayer;

/// The examples of the guide for producers are compiled as tests.
#[cfg(all(doctest, feature = "metrics", feature = "tracing"))]
#[doc = include_str!("../../docs/producers-emit.md")]
struct Guide;
