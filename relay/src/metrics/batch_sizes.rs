//! The sizes of batches.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Number of buckets: powers of two up to 1,024. A batch is cut when it has 1,000 updates.
const BUCKETS: u16 = 11;

/// Numbers of updates in batches. Clones share the counts.
#[derive(Clone, Debug)]
pub struct BatchSizes(Histogram);

impl Default for BatchSizes {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(1.0, 2.0, BUCKETS)))
    }
}

impl BatchSizes {
    /// Counts a batch of this many updates.
    pub fn observe(&self, updates: usize) {
        self.0.observe(updates as f64);
    }
}

impl EncodeMetric for BatchSizes {
    fn encode(&self, encoder: MetricEncoder<'_>) -> std::fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}
