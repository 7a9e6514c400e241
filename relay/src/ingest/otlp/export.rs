//! The two kinds of requests, metrics and traces, for both servers.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use serde::de::DeserializeOwned;

use super::mapping::Origin;
use super::weight::{self, Root};
use super::{Outcome, Receiver};

/// A request of an exporter.
pub(super) trait Export: Message + Default + DeserializeOwned + 'static {
    /// The answer to an accepted request.
    type Response: Message + Default + 'static;
    /// The path of the request over HTTP.
    const HTTP_PATH: &'static str;
    /// The path of the request over gRPC.
    const GRPC_PATH: &'static str;
    /// The name in JSON of the number of refused data points or spans.
    const REJECTED: &'static str;
    /// For the estimate of its memory.
    const ROOT: &'static Root;

    /// Number of data points or spans.
    fn points(&self) -> usize;

    /// Number of metrics with data. 0 for traces.
    fn metrics_with_data(&self) -> usize;

    /// Removes everything that belongs to other applications than `is_allowed` names.
    fn retain_apps(&mut self, is_allowed: impl FnMut(&str) -> bool);

    /// Publishes it.
    fn publish(self, receiver: &Receiver, now_ns: u64) -> Outcome;

    /// The answer over gRPC and in protobuf. Without a message, the request was accepted as a whole.
    fn response(outcome: Outcome) -> Self::Response;
}

impl Export for ExportMetricsServiceRequest {
    type Response = ExportMetricsServiceResponse;
    const HTTP_PATH: &'static str = "/v1/metrics";
    const GRPC_PATH: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    const REJECTED: &'static str = "rejectedDataPoints";
    const ROOT: &'static Root = &weight::METRICS;

    fn points(&self) -> usize {
        self.resource_metrics.iter().map(data_points).sum()
    }

    fn metrics_with_data(&self) -> usize {
        let scopes = self.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.data.is_some()).count()
    }

    fn retain_apps(&mut self, mut is_allowed: impl FnMut(&str) -> bool) {
        self.resource_metrics.retain(|metrics| is_allowed(&app(metrics.resource.as_ref())));
    }

    fn publish(self, receiver: &Receiver, now_ns: u64) -> Outcome {
        receiver.metrics(self, now_ns)
    }

    fn response(outcome: Outcome) -> Self::Response {
        let Outcome { rejected: rejected_data_points, message: error_message } = outcome;
        let partial = ExportMetricsPartialSuccess { rejected_data_points, error_message };
        ExportMetricsServiceResponse { partial_success: (partial != Default::default()).then_some(partial) }
    }
}

impl Export for ExportTraceServiceRequest {
    type Response = ExportTraceServiceResponse;
    const HTTP_PATH: &'static str = "/v1/traces";
    const GRPC_PATH: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const REJECTED: &'static str = "rejectedSpans";
    const ROOT: &'static Root = &weight::TRACES;

    fn points(&self) -> usize {
        self.resource_spans.iter().map(spans).sum()
    }

    fn metrics_with_data(&self) -> usize {
        0
    }

    fn retain_apps(&mut self, mut is_allowed: impl FnMut(&str) -> bool) {
        self.resource_spans.retain(|spans| is_allowed(&app(spans.resource.as_ref())));
    }

    fn publish(self, receiver: &Receiver, now_ns: u64) -> Outcome {
        receiver.traces(self, now_ns)
    }

    fn response(outcome: Outcome) -> Self::Response {
        let Outcome { rejected: rejected_spans, message: error_message } = outcome;
        let partial = ExportTracePartialSuccess { rejected_spans, error_message };
        ExportTraceServiceResponse { partial_success: (partial != Default::default()).then_some(partial) }
    }
}

/// The application that a resource belongs to.
fn app(resource: Option<&Resource>) -> String {
    Origin::of(resource.map_or(&[], |resource| &resource.attributes)).app
}

fn data_points(metrics: &ResourceMetrics) -> usize {
    let metrics = metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics);
    metrics
        .map(|metric| match &metric.data {
            Some(Data::Gauge(data)) => data.data_points.len(),
            Some(Data::Sum(data)) => data.data_points.len(),
            Some(Data::Histogram(data)) => data.data_points.len(),
            Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
            Some(Data::Summary(data)) => data.data_points.len(),
            None => 0,
        })
        .sum()
}

fn spans(spans: &ResourceSpans) -> usize {
    spans.scope_spans.iter().map(|scope| scope.spans.len()).sum()
}
