//! Metrics of fetching the keys of an identity provider.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::metric_set::metric_set;

metric_set! {
    /// What became of the attempts to fetch a key set. Clones share the counts.
    pub struct JwksCounters {
        /// Attempts to fetch the keys of the identity provider.
        pub fetches: Counter,
        /// Attempts to fetch them that failed.
        pub failures: Counter,
        /// Keys of the identity provider in force.
        pub keys: Gauge,
        /// When the keys of the identity provider were fetched last, in seconds since the Unix epoch; 0 if they never were.
        pub fetched_timestamp_seconds: Gauge<f64, AtomicU64>,
    }
}
