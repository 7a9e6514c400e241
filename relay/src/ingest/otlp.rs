//! OpenTelemetry: converts the metrics and traces of OTLP requests to data points and publishes them to the hub.
//!
//! The conversion knows no transport. A [`server`] decodes a request and passes it to a [`Receiver`], which answers how
//! much of it was refused, and why. One bad data point costs nothing but itself.

mod units;
mod exponential;
mod explicit;
mod streams;
mod mapping;
mod outcome;
mod batch;
mod metrics;
mod traces;

mod refusal;
mod budget;
mod weight;
mod json;
mod export;
mod service;
mod http;
mod grpc;
pub mod server;

use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;

use self::batch::Batch;
pub use self::mapping::MappingOptions;
use self::mapping::{Namer, Origin};
pub use self::outcome::Outcome;
use self::outcome::Refusals;
use self::streams::{Key, Streams};
use super::presence::Presence;
use crate::hub::Hub;
use crate::metrics::RejectReason;
use crate::runtime::sync::Mutex;

/// Number of requests that are remembered. An exporter sends one per second or less and repeats it within minutes.
const REQUESTS: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(requests) => requests,
    None => NonZeroUsize::MIN,
};

/// Converts OTLP requests. All servers of a relay share one.
pub struct Receiver {
    hub: Arc<Hub>,
    presence: Presence,
    state: Mutex<State>,
}

/// What is remembered between requests.
struct State {
    streams: Streams,
    namer: Namer,
    /// The newest requests and their outcomes. An exporter that missed an answer sends its request again.
    requests: LruCache<Key, Outcome>,
    /// Two independent hash functions. No producer can predict them, so none can make two streams look like one.
    hashers: [RandomState; 2],
}

impl State {
    fn key(&self, parts: &impl Hash) -> Key {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(parts))
    }
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
        let config = hub.config();
        let streams = Streams::new(config.now_ns(), hub.series_retention_ns());
        let namer = Namer::new(MappingOptions::new(config), config.series_max);
        let hashers = [RandomState::new(), RandomState::new()];
        let state = State { streams, namer, requests: LruCache::new(REQUESTS), hashers };
        Self { presence: Presence::new(hub.clone()), state: Mutex::new(state), hub }
    }

    /// Publishes the histograms and counters of a request that the relay read at `now_ns`.
    pub fn metrics(&self, request: ExportMetricsServiceRequest, now_ns: u64) -> Outcome {
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let count = scopes.flat_map(|scope| &scope.metrics).map(metrics::count).sum();
        self.once(&request, Refusals::new("data points"), count, |refusals| {
            for metrics in &request.resource_metrics {
                self.resource_metrics(metrics, now_ns, refusals);
            }
        })
    }

    fn resource_metrics(&self, metrics: &ResourceMetrics, now_ns: u64, refusals: &mut Refusals) {
        let attributes = metrics.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        let origin = Origin::of(attributes);
        let mut batch = Batch::default();
        let mut state = self.state.lock();
        let resource_key = metrics::attributes_key(&state, attributes);
        for scope_metrics in &metrics.scope_metrics {
            let (state, batch, app) = (&mut *state, &mut batch, origin.app.as_str());
            metrics::Converter { state, batch, refusals, app, resource_key, now_ns }.convert(scope_metrics);
        }
        drop(state);
        self.publish(&origin, batch, now_ns, refusals);
    }

    /// Publishes the durations of the spans of a request that the relay read at `now_ns`.
    pub fn traces(&self, request: ExportTraceServiceRequest, now_ns: u64) -> Outcome {
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let count = scopes.map(|scope| scope.spans.len() as u64).sum();
        self.once(&request, Refusals::new("spans"), count, |refusals| {
            for spans in &request.resource_spans {
                self.resource_spans(spans, now_ns, refusals);
            }
        })
    }

    fn resource_spans(&self, spans: &ResourceSpans, now_ns: u64, refusals: &mut Refusals) {
        let origin = Origin::of(spans.resource.as_ref().map_or(&[], |resource| &resource.attributes));
        let mut batch = Batch::default();
        let mut state = self.state.lock();
        for span in spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
            traces::add(&mut state.namer, &mut batch, refusals, &origin.app, span, now_ns);
        }
        drop(state);
        self.publish(&origin, batch, now_ns, refusals);
    }

    /// Calls `convert` unless the same request was received before. Then the answer is the same too, and all `count`
    /// data points or spans are duplicates. They have times, so no two requests are equal by chance.
    fn once(
        &self,
        request: &impl Message,
        mut refusals: Refusals,
        count: u64,
        convert: impl FnOnce(&mut Refusals),
    ) -> Outcome {
        let bytes = request.encode_to_vec();
        let mut state = self.state.lock();
        let key = state.key(&bytes);
        if let Some(outcome) = state.requests.get(&key).cloned() {
            self.hub.counters().reject_many(RejectReason::OtlpDuplicate, count);
            return outcome;
        }
        state.requests.put(key, Outcome::default());
        drop(state);
        convert(&mut refusals);
        let outcome = refusals.finish(self.hub.counters());
        if !outcome.message.is_empty() {
            tracing::debug!(rejected = outcome.rejected, outcome.message, "OTLP data refused");
            self.state.lock().requests.put(key, outcome.clone());
        }
        outcome
    }

    fn publish(&self, origin: &Origin, batch: Batch, now_ns: u64, refusals: &mut Refusals) {
        if !batch.has_data() {
            return;
        }
        match self.hub.app(&origin.app) {
            Ok(app) => {
                self.presence.seen(&app, &origin.worker, batch.longest_period_ns(), now_ns);
                batch.publish(self.hub.publisher(&app, now_ns), origin, refusals);
            }
            Err(reason) => refusals.refuse(reason, &origin.app, batch.count()),
        }
    }

    /// Reports to the hub the instances that have been silent for too long, and forgets old streams and names. Call it
    /// about once per second.
    pub fn sweep(&self, now_ns: u64) {
        self.presence.sweep(now_ns);
        let mut state = self.state.lock();
        state.streams.sweep(now_ns);
        state.namer.sweep(now_ns.saturating_sub(self.hub.series_retention_ns()));
    }
}

#[cfg(test)]
mod tests;
