//! One histogram of one series over one period, independent of the producer's format.

use joey_shared::histogram::Histogram;
use joey_shared::series::Provenance;
use joey_shared::wire::{Span, span_of};

/// One histogram for one series and one period.
#[derive(Debug, PartialEq, Eq)]
pub struct DataPoint<'a> {
    /// The application.
    pub app: &'a str,
    /// The metric's name.
    pub name: &'a str,
    /// The category of the metric.
    pub category: &'a str,
    /// The worker.
    pub worker: &'a str,
    /// The pipeline.
    pub pipeline: &'a str,
    /// The step's position in the pipeline.
    pub id: u16,
    /// Where the histogram comes from. It is part of the identity of the series.
    pub provenance: Provenance,
    /// The counts.
    pub histogram: Histogram,
    /// The length of the period, in ns.
    pub period_ns: u64,
    /// The end of the period, in ns since the Unix epoch by the producer's clock.
    pub end_ns: u64,
}

impl DataPoint<'_> {
    /// The part that differs in every data point of its series.
    #[must_use]
    pub fn counts(&self) -> Counts<impl ExactSizeIterator<Item = u64>> {
        Counts { span: span_of(&self.histogram), period_ns: self.period_ns, end_ns: self.end_ns }
    }
}

/// The part of a data point that differs in every one of its series.
#[derive(Clone, Debug)]
pub struct Counts<C> {
    /// The occupied bins, the minimum, the maximum and the sum.
    pub span: Span<C>,
    /// The length of the period, in ns.
    pub period_ns: u64,
    /// The end of the period, in ns since the Unix epoch by the producer's clock.
    pub end_ns: u64,
}
