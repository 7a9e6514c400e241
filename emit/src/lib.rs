#![doc = include_str!("../README.md")]

mod emitter;
mod lane;
#[cfg(feature = "metrics")]
mod metrics_recorder;
mod registry;
mod series;
mod snapshot;
#[cfg(feature = "tracing")]
mod tracing_layer;

pub mod send;

pub use self::emitter::{Emitter, EmitterBuilder};
#[cfg(feature = "metrics")]
pub use self::metrics_recorder::MetricsRecorder;
pub use self::registry::{Registry, SERIES_MAX};
pub use self::series::{Series, Timer};
pub use self::snapshot::Snapshot;
#[cfg(feature = "tracing")]
pub use self::tracing_layer::TracingLayer;
