//! What was recorded in one period.

use std::sync::Arc;

use joey_shared::histogram::Histogram;

/// The histogram of one series over one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The category, which decides where the page shows the series.
    pub category: Arc<str>,
    /// The pipeline, or the operation of a service.
    pub pipeline: Arc<str>,
    /// The name of the series.
    pub name: Arc<str>,
    /// The recorded durations. It is not empty.
    pub histogram: Histogram,
}
