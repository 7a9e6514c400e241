//! How long the relay's own work takes, recorded with `joey-emit`, for `--self`.

use joey_emit::{Registry, Series, Snapshot};

/// The pipeline of all these series: the way of an update through the relay.
const PIPELINE: &str = "Updates";

/// Durations of the steps of an update's way through the relay. If they are off, recording does nothing.
#[derive(Debug)]
pub struct Timings {
    registry: Option<Registry>,
    /// From reading the bytes of a producer until everything complete in them is in the logs.
    pub ingest: Series,
    /// From the arrival of a batch's first update until the batch is cut.
    pub batch_wait: Series,
    /// From the cut of a batch until the journal has written it.
    pub journal_wait: Series,
    /// From the first batch in the queue of a topic until all viewers who are up to date have it.
    pub broadcast: Series,
    /// From the arrival of a batch's first update until all viewers of a topic who are up to date have it.
    pub ingest_to_broadcast: Series,
}

impl Timings {
    /// Creates the series, which record only if `is_on`.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        let registry = is_on.then(Registry::default);
        let step = |name| registry.as_ref().map_or_else(Series::disabled, |all| all.computation(PIPELINE, name));
        Self {
            ingest: step("Ingest"),
            batch_wait: step("Wait for the batch"),
            journal_wait: step("Wait for the journal"),
            broadcast: step("Broadcast"),
            ingest_to_broadcast: registry.as_ref().map_or_else(Series::disabled, |all| all.start_to_end(PIPELINE)),
            registry,
        }
    }

    /// The registry of the series, for further ones; `None` if they are off.
    #[must_use]
    pub const fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// What was recorded since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Snapshot> {
        self.registry.as_ref().map(Registry::take).unwrap_or_default()
    }
}
