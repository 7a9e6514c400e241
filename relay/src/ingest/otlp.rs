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
    /// The newest requests, to recognize those that an exporter sends again because it missed the answer.
    requests: LruCache<Key, ()>,
    /// Two independent hash functions. No producer can predict them, so none can make two streams look like one.
    hashers: [RandomState; 2],
}

impl State {
    fn key(&self, parts: &impl Hash) -> Key {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(parts))
    }

    /// Whether the same request was received before. Its spans or data points have times, so no two are equal by
    /// chance.
    fn is_repeated(&mut self, request: &impl Message) -> bool {
        let key = self.key(&request.encode_to_vec());
        self.requests.put(key, ()).is_some()
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
        let mut refusals = Refusals::new("data points");
        if self.state.lock().is_repeated(&request) {
            let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let points = scopes.flat_map(|scope| &scope.metrics).map(metrics::count).sum();
            refusals.refuse(RejectReason::OtlpDuplicate, "", points);
            return refusals.finish(self.hub.counters());
        }
        for metrics in request.resource_metrics {
            let resource = metrics.resource.unwrap_or_default();
            let origin = Origin::of(&resource.attributes);
            let mut batch = Batch::default();
            let mut state = self.state.lock();
            let resource_key = metrics::attributes_key(&state, &resource.attributes);
            for scope_metrics in &metrics.scope_metrics {
                metrics::Converter {
                    state: &mut state,
                    batch: &mut batch,
                    refusals: &mut refusals,
                    app: &origin.app,
                    resource_key,
                    now_ns,
                }
                .convert(scope_metrics);
            }
            drop(state);
            self.publish(&origin, batch, now_ns, &mut refusals);
        }
        refusals.finish(self.hub.counters())
    }

    /// Publishes the durations of the spans of a request that the relay read at `now_ns`.
    pub fn traces(&self, request: ExportTraceServiceRequest, now_ns: u64) -> Outcome {
        let mut refusals = Refusals::new("spans");
        if self.state.lock().is_repeated(&request) {
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let spans = scopes.map(|scope| scope.spans.len() as u64).sum();
            refusals.refuse(RejectReason::OtlpDuplicate, "", spans);
            return refusals.finish(self.hub.counters());
        }
        for spans in request.resource_spans {
            let origin = Origin::of(&spans.resource.unwrap_or_default().attributes);
            let mut batch = Batch::default();
            let mut state = self.state.lock();
            for span in spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
                traces::add(&mut state.namer, &mut batch, &mut refusals, &origin.app, span, now_ns);
            }
            drop(state);
            self.publish(&origin, batch, now_ns, &mut refusals);
        }
        refusals.finish(self.hub.counters())
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
