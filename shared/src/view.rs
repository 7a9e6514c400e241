//! The views that a series belongs to: its own view, and the total that contains it.
//!
//! The relay sends each update once. Viewers derive all views from the raw series. The views are those of Wallaroo's
//! Monitoring Hub (`metrics_channel.ex`), but with keys as separate fields instead of joined strings.

use alloc::string::String;
use serde::{Deserialize, Serialize};

use crate::series::{
    COMPUTATION, NODE_INGRESS_EGRESS, PIPELINE_INGESTION, START_TO_END, SeriesKey, Source, THROUGHPUT,
};

/// The name of an instance's total over its spans.
pub const SPANS: &str = "spans";
/// The name of an instance's total over its operations, if the instance may report a total of its own too.
pub const OPERATIONS: &str = "operations";

/// What a view adds up. Kinds are sorted in reading order: totals before their parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Latency of a pipeline from source to end, over all workers.
    StartToEnd,
    /// Latency of a pipeline, by the worker on which it ends.
    StartToEndByWorker,
    /// Latency of a worker from entry to completion or hand-off, over all pipelines.
    NodeIngressEgress,
    /// Latency of a worker for one pipeline.
    NodeIngressEgressByPipeline,
    /// A computation over all workers and pipelines.
    Computation,
    /// A computation of one pipeline on one worker.
    ComputationByWorker,
    /// Number of events that the sources of a pipeline received. It has no latency.
    PipelineIngestion,
    /// Number of events of a counter. It has no latency.
    Throughput,
    /// An unknown category, by metric name.
    Other(String),
}

impl Kind {
    /// The name of the kind in `joey stats --json` and in URLs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::StartToEnd => START_TO_END,
            Self::StartToEndByWorker => "start-to-end-by-worker",
            Self::NodeIngressEgress => NODE_INGRESS_EGRESS,
            Self::NodeIngressEgressByPipeline => "node-ingress-egress-by-pipeline",
            Self::Computation => COMPUTATION,
            Self::ComputationByWorker => "computation-by-worker",
            Self::PipelineIngestion => PIPELINE_INGESTION,
            Self::Throughput => THROUGHPUT,
            Self::Other(category) => category,
        }
    }

    /// Whether the view has latencies. [`Kind::PipelineIngestion`] and [`Kind::Throughput`] have counts only.
    #[must_use]
    pub fn has_latency(&self) -> bool {
        !matches!(self, Self::PipelineIngestion | Self::Throughput)
    }
}

/// Identifies a view. Fields that do not apply to its kind are `None`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ViewKey {
    /// The kind.
    pub kind: Kind,
    /// The pipeline, for kinds that have one.
    pub pipeline: Option<String>,
    /// The worker, for kinds that have one.
    pub worker: Option<String>,
    /// The name of the metric, for kinds that have one.
    pub name: Option<String>,
}

impl ViewKey {
    /// The total of a pipeline.
    #[must_use]
    pub fn pipeline(pipeline: &str) -> Self {
        Self { pipeline: Some(pipeline.into()), ..Self::empty(Kind::StartToEnd) }
    }

    /// The total of a worker.
    #[must_use]
    pub fn worker(worker: &str) -> Self {
        Self { worker: Some(worker.into()), ..Self::empty(Kind::NodeIngressEgress) }
    }

    /// The total of all computations with this name.
    #[must_use]
    pub fn computation(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::empty(Kind::Computation) }
    }

    /// The total of the instance of a service on which this series is measured, over all its operations.
    ///
    /// Wallaroo's workers report such a total themselves, as [`Kind::NodeIngressEgress`]. Other sources do not, so
    /// viewers add up the operations. Spans have a total of their own, because a service may report the same requests
    /// as metrics too. So have the operations of a program with Joey's own protocol, which may report the time on a
    /// worker itself.
    #[must_use]
    pub fn instance_total(series: &SeriesKey, source: Source) -> Option<Self> {
        if series.category != START_TO_END || source == Source::Wallaroo {
            return None;
        }
        let name = match source {
            Source::OtlpTraces => Some(SPANS.into()),
            Source::Emit => Some(OPERATIONS.into()),
            _ => None,
        };
        Some(Self { worker: Some(series.worker.clone()), name, ..Self::empty(Kind::NodeIngressEgress) })
    }

    /// The views of `series`: its own view and its total.
    #[must_use]
    pub fn of_series(series: &SeriesKey) -> (Self, Option<Self>) {
        let pipeline = || Some(series.pipeline.clone());
        let worker = || Some(series.worker.clone());
        let name = || Some(series.name.clone());
        match series.category.as_str() {
            START_TO_END => (
                Self { pipeline: pipeline(), worker: worker(), ..Self::empty(Kind::StartToEndByWorker) },
                Some(Self::pipeline(&series.pipeline)),
            ),
            NODE_INGRESS_EGRESS => (
                Self { pipeline: pipeline(), worker: worker(), ..Self::empty(Kind::NodeIngressEgressByPipeline) },
                Some(Self::worker(&series.worker)),
            ),
            COMPUTATION => (
                Self { kind: Kind::ComputationByWorker, pipeline: pipeline(), worker: worker(), name: name() },
                Some(Self::computation(&series.name)),
            ),
            PIPELINE_INGESTION => {
                (Self { pipeline: pipeline(), name: name(), ..Self::empty(Kind::PipelineIngestion) }, None)
            }
            THROUGHPUT => (Self { name: name(), ..Self::empty(Kind::Throughput) }, None),
            other => (Self { name: name(), ..Self::empty(Kind::Other(other.into())) }, None),
        }
    }

    const fn empty(kind: Kind) -> Self {
        Self { kind, pipeline: None, worker: None, name: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use std::string::ToString;

    /// The views of a series in this category, written `kind pipeline worker name`.
    fn check(category: &str, expected: &str) {
        let [pipeline, worker, name] = ["p:1", "w@1", "n*1"].map(ToString::to_string);
        let series = SeriesKey { category: category.to_string(), pipeline, worker, name };
        let (own, total) = ViewKey::of_series(&series);
        let line = |view: &ViewKey| {
            let [pipeline, worker, name] =
                [&view.pipeline, &view.worker, &view.name].map(|field| field.as_deref().unwrap_or("-"));
            format!("{} {pipeline} {worker} {name}", view.kind.as_str())
        };
        assert_eq!(format!("{} + {}", line(&own), total.as_ref().map_or_else(String::new, line)), expected);
    }

    #[test]
    fn operations_of_a_service_are_added_up_for_each_instance() {
        let series = |category: &str| {
            let [category, pipeline, worker, name] = [category, "GET /", "i-1", "GET /"].map(ToString::to_string);
            SeriesKey { category, pipeline, worker, name }
        };
        let total = |category, source| ViewKey::instance_total(&series(category), source);
        assert_eq!(total(START_TO_END, Source::OtlpMetrics), Some(ViewKey::worker("i-1")));
        let spans = Some(ViewKey { name: Some(SPANS.to_string()), ..ViewKey::worker("i-1") });
        assert_eq!(total(START_TO_END, Source::OtlpTraces), spans);
        let operations = ViewKey { name: Some(OPERATIONS.to_string()), ..ViewKey::worker("i-1") };
        assert_eq!(total(START_TO_END, Source::Emit), Some(operations));
        assert_eq!(total(START_TO_END, Source::Wallaroo), None);
        assert_eq!(total(COMPUTATION, Source::OtlpMetrics), None);
    }

    #[test]
    fn each_category_has_the_views_of_the_original_hub() {
        check("start-to-end", "start-to-end-by-worker p:1 w@1 - + start-to-end p:1 - -");
        check("node-ingress-egress", "node-ingress-egress-by-pipeline p:1 w@1 - + node-ingress-egress - w@1 -");
        check("computation", "computation-by-worker p:1 w@1 n*1 + computation - - n*1");
        check("pipeline-ingestion", "pipeline-ingestion p:1 - n*1 + ");
        check("source-sink", "source-sink - - n*1 + ");
    }
}
