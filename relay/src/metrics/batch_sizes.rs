//! The sizes of batches.

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

    /// The histogram.
    pub(super) fn histogram(&self) -> Histogram {
        self.0.clone()
    }
}
