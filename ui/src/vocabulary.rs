//! The words of the page for the parts of an application: Wallaroo's for its applications, neutral ones for all other services.
//!
//! The kinds of views are the same for both, and so are their addresses. What Wallaroo calls a pipeline is an operation of a
//! service, a worker is an instance, and a computation is an operation inside the service or a call to another one.

use joey_shared::series::{Provenance, Source};
use joey_shared::view::Kind;

/// The words for one application. Those with a capital letter are titles.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// Whether the application is a service, not one of Wallaroo. Only tables with rows are shown then.
    pub is_service: bool,
    /// A view of start-to-end latencies.
    pub pipeline: &'static str,
    /// Several of them.
    pub pipelines: &'static str,
    /// One of them, within a sentence.
    pub pipeline_in_text: &'static str,
    /// A process of the application.
    pub worker: &'static str,
    /// Several of them.
    pub workers: &'static str,
    /// A worker, within a sentence.
    pub worker_in_text: &'static str,
    /// Several of them, within a sentence.
    pub workers_in_text: &'static str,
    /// The heading of a view of a computation.
    pub computation: &'static str,
    /// Several of them.
    pub computations: &'static str,
    /// The head of the column with the names of computations.
    pub computation_column: &'static str,
    /// What follows the name of a computation in the title of the table of its workers.
    pub on_worker: &'static str,
    /// The number of workers that are connected.
    pub workers_up: &'static str,
    /// The same, within a card.
    pub workers_up_in_text: &'static str,
    /// The state of these workers.
    pub connected: &'static str,
    /// What a worker is that is not connected.
    pub worker_gone: &'static str,
    /// Shown instead of a table of workers without rows.
    pub no_workers: &'static str,
    /// The highest latency among the pipelines.
    pub worst_pipeline: &'static str,
    /// The same, before the name of the pipeline.
    pub worst_pipeline_in_text: &'static str,
    /// The computation with the highest latency.
    pub slowest_computation: &'static str,
    /// The same, before the name of the computation.
    pub slowest_computation_in_text: &'static str,
    /// The median of the worst pipeline, as a column of the landing page.
    pub median_column: &'static str,
    /// The same, within a card.
    pub median_in_text: &'static str,
    /// The rate of events in the readout of a chart.
    pub rate: &'static str,
}

/// The words of Wallaroo and of its Metrics UI.
pub const WALLAROO: Words = Words {
    is_service: false,
    pipeline: "Pipeline",
    pipelines: "Pipelines",
    pipeline_in_text: "pipeline",
    worker: "Worker",
    workers: "Workers",
    worker_in_text: "worker",
    workers_in_text: "workers",
    computation: "Computation",
    computations: "Computations",
    computation_column: "Computation",
    on_worker: "on worker",
    workers_up: "Workers up",
    workers_up_in_text: "workers up",
    connected: "connected",
    worker_gone: "The worker's connection is closed",
    no_workers: "No worker has introduced itself.",
    worst_pipeline: "End to end, worst pipeline",
    worst_pipeline_in_text: "worst pipeline",
    slowest_computation: "Slowest computation",
    slowest_computation_in_text: "slowest computation",
    median_column: "End to end p50",
    median_in_text: "end to end p50",
    rate: "out",
};

/// The words for a service.
pub const SERVICE: Words = Words {
    is_service: true,
    pipeline: "Operation",
    pipelines: "Operations",
    pipeline_in_text: "operation",
    worker: "Instance",
    workers: "Instances",
    worker_in_text: "instance",
    workers_in_text: "instances",
    computation: "Internal or client operation",
    computations: "Internal and client operations",
    computation_column: "Operation",
    on_worker: "by instance",
    workers_up: "Instances up",
    workers_up_in_text: "instances up",
    connected: "up",
    worker_gone: "The instance has stopped reporting",
    no_workers: "No instance has reported yet.",
    worst_pipeline: "Slowest operation",
    worst_pipeline_in_text: "slowest operation",
    slowest_computation: "Slowest internal or client operation",
    slowest_computation_in_text: "slowest internal or client operation",
    median_column: "p50",
    median_in_text: "p50",
    rate: "rate",
};

impl Words {
    /// The words for an application with these sources. Before the first data, it is assumed to be one of Wallaroo.
    #[must_use]
    pub fn of(sources: &[Source]) -> &'static Self {
        if sources.is_empty() || sources.contains(&Source::Wallaroo) { &WALLAROO } else { &SERVICE }
    }

    /// What a view of this kind is, within a sentence.
    #[must_use]
    pub fn view_kind(&self, kind: &Kind) -> String {
        let (operation, instance) = (self.pipeline_in_text, self.worker_in_text);
        let computation = if self.is_service { "internal or client operation" } else { "computation" };
        match kind {
            Kind::StartToEnd => operation.to_owned(),
            Kind::StartToEndByWorker => format!("{operation} on one {instance}"),
            Kind::NodeIngressEgress => instance.to_owned(),
            Kind::NodeIngressEgressByPipeline => format!("{instance} in one {operation}"),
            Kind::Computation => computation.to_owned(),
            Kind::ComputationByWorker => format!("{computation} on one {instance}"),
            Kind::PipelineIngestion | Kind::Throughput | Kind::Other(_) => kind.as_str().replace('-', " "),
        }
    }

    /// The words for several applications: neutral if one of them is a service. `sources` are those of each application.
    #[must_use]
    pub fn of_all<'a>(sources: impl IntoIterator<Item = &'a [Source]>) -> &'static Self {
        if sources.into_iter().any(|sources| Self::of(sources).is_service) { &SERVICE } else { &WALLAROO }
    }
}

/// Where the data of an application comes from: `OpenTelemetry metrics, StatsD`.
#[must_use]
pub fn source_names(sources: &[Source]) -> String {
    let name = |source: &Source| match source {
        Source::Wallaroo => "Wallaroo",
        Source::Emit => "joey-emit",
        Source::OtlpMetrics => "OpenTelemetry metrics",
        Source::OtlpTraces if sources.contains(&Source::OtlpMetrics) => "traces",
        Source::OtlpTraces => "OpenTelemetry traces",
        Source::Statsd => "StatsD",
        Source::Pipe => "pipe",
    };
    sources.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What a reader has to know about measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caveat {
    /// One word.
    pub word: &'static str,
    /// The explanation.
    pub text: &'static str,
}

/// Some counts are in a higher bin than their durations.
pub const APPROXIMATE: Caveat = Caveat {
    word: "approximate",
    text: "The source's buckets are coarser than they look; counts may be in a higher bin.",
};

/// Some events are not counted.
pub const SAMPLED: Caveat = Caveat { word: "sampled", text: "The source does not report every event." };

/// The caveats of measurements that are approximate or sampled.
#[must_use]
pub fn caveats(is_approximate: bool, is_sampled: bool) -> Vec<Caveat> {
    let approximate = is_approximate.then_some(APPROXIMATE);
    approximate.into_iter().chain(is_sampled.then_some(SAMPLED)).collect()
}

/// The caveats of a view.
#[must_use]
pub fn view_caveats(provenance: Provenance) -> Vec<Caveat> {
    caveats(provenance.is_approximate, provenance.is_sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallaroo_keeps_its_words_and_all_others_are_services() {
        for sources in [&[][..], &[Source::Wallaroo], &[Source::Wallaroo, Source::Statsd]] {
            assert_eq!(Words::of(sources), &WALLAROO, "{sources:?}");
        }
        for sources in [&[Source::OtlpMetrics][..], &[Source::OtlpMetrics, Source::OtlpTraces], &[Source::Pipe]] {
            assert_eq!(Words::of(sources), &SERVICE, "{sources:?}");
        }
        assert_eq!(Words::of_all([&[Source::Wallaroo][..], &[]]), &WALLAROO);
        assert_eq!(Words::of_all([&[Source::Wallaroo][..], &[Source::Emit]]), &SERVICE);
    }

    #[test]
    fn a_kind_of_view_is_called_as_its_application_calls_it() {
        assert_eq!(WALLAROO.view_kind(&Kind::StartToEndByWorker), "pipeline on one worker");
        assert_eq!(SERVICE.view_kind(&Kind::StartToEndByWorker), "operation on one instance");
        assert_eq!(SERVICE.view_kind(&Kind::ComputationByWorker), "internal or client operation on one instance");
        assert_eq!(WALLAROO.view_kind(&Kind::PipelineIngestion), "pipeline ingestion");
    }

    #[test]
    fn sources_have_names() {
        let names = |sources: &[Source]| source_names(sources);
        assert_eq!(names(&[Source::OtlpMetrics, Source::OtlpTraces]), "OpenTelemetry metrics, traces");
        assert_eq!(names(&[Source::OtlpTraces, Source::Statsd]), "OpenTelemetry traces, StatsD");
        assert_eq!(names(&[Source::Wallaroo, Source::Emit, Source::Pipe]), "Wallaroo, joey-emit, pipe");
        assert_eq!(names(&[]), "");
    }

    #[test]
    fn exact_measurements_have_no_caveats() {
        assert_eq!(view_caveats(Provenance::default()), []);
        assert_eq!(caveats(true, true), [APPROXIMATE, SAMPLED]);
    }
}
