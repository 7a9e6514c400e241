//! Metrics of the relay's watcher.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label `state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// The state, one of a fixed set.
    pub state: &'static str,
}

/// Metrics of the relay's watcher. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ObjectiveCounters {
    /// Pairs of an objective and a view, by state.
    pub states: Family<StateLabel, Gauge>,
    /// Changes that a command or a webhook was told of.
    pub notifications: Counter,
    /// Changes that a command or a webhook could not be told of.
    pub notifications_failed: Counter,
    /// Updates that the watcher did not count because of its limit on views.
    pub updates_dropped: Counter,
}

impl ObjectiveCounters {
    /// Sets the number of pairs of an objective and a view in `state`.
    pub fn set(&self, state: &'static str, count: usize) {
        self.states.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "objectives",
            "Objectives that the relay watches, for each view, by state",
            self.states.clone(),
        );
        let registry = registry.sub_registry_with_prefix("objective");
        registry.register(
            "notifications",
            "Changes of objectives that a command or a webhook was told of",
            self.notifications.clone(),
        );
        registry.register(
            "notifications_failed",
            "Changes of objectives that a command or a webhook could not be told of",
            self.notifications_failed.clone(),
        );
        registry.register(
            "updates_dropped",
            "Updates that the watcher did not count because of its limit on views",
            self.updates_dropped.clone(),
        );
    }
}
