//! Metrics of the relay's watcher.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::metric_set::metric_set;

/// The label `state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// The state, one of a fixed set.
    pub state: &'static str,
}

metric_set! {
    /// Metrics of the relay's watcher. Clones share the counts.
    pub struct ObjectiveCounters {
        /// Objectives that the relay watches, for each view, by state.
        pub objectives: Family<StateLabel, Gauge>,
        /// Changes of objectives that a command or a webhook was told of.
        pub objective_notifications: Counter,
        /// Changes of objectives that a command or a webhook could not be told of.
        pub objective_notifications_failed: Counter,
        /// Updates that the watcher did not count because of its limit on views.
        pub objective_updates_dropped: Counter,
    }
}

impl ObjectiveCounters {
    /// Sets the number of pairs of an objective and a view in `state`.
    pub fn set(&self, state: &'static str, count: usize) {
        self.objectives.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
