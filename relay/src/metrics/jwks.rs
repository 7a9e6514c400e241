//! Metrics of fetching the keys of an identity provider.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What became of the attempts to fetch a key set. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct JwksCounters {
    /// Attempts.
    pub fetches: Counter,
    /// Attempts that failed.
    pub failures: Counter,
    /// Keys in force.
    pub keys: Gauge,
    /// When they were fetched last, in s since the Unix epoch; 0 if they never were.
    pub fetched_timestamp_seconds: Gauge<f64, AtomicU64>,
}

impl JwksCounters {
    /// Adds the metrics to `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("jwks");
        registry.register("fetches", "Attempts to fetch the keys of the identity provider", self.fetches.clone());
        registry.register("failures", "Attempts to fetch them that failed", self.failures.clone());
        registry.register("keys", "Keys of the identity provider in force", self.keys.clone());
        registry.register(
            "fetched_timestamp_seconds",
            "When the keys of the identity provider were fetched last, in seconds since the Unix epoch",
            self.fetched_timestamp_seconds.clone(),
        );
    }
}
