//! One histogram of one series over one period, whatever format it arrived in.

use joey_shared::histogram::Histogram;
use joey_shared::wire::{Span, span_of};

/// One histogram for one series and one period.
#[derive(Debug, PartialEq, Eq)]
pub struct DataPoint<'a> {
    /// The application.
    pub app: &'a str,
    /// The metric's name.
    pub name: &'a str,
    /// What is measured.
    pub category: &'a str,
    /// The worker.
    pub worker: &'a str,
    /// The pipeline.
    pub pipeline: &'a str,
    /// Where in the pipeline the metric sits.
    pub id: u16,
    /// What was counted.
    pub histogram: Histogram,
    /// The span counted, in ns.
    pub period_ns: u64,
    /// When the span ended, in ns since the Unix epoch by the producer's clock.
    pub end_ns: u64,
}

impl DataPoint<'_> {
    /// What was counted, and when.
    #[must_use]
    pub fn counted(&self) -> Counts<impl ExactSizeIterator<Item = u64>> {
        Counts { span: span_of(&self.histogram), period_ns: self.period_ns, end_ns: self.end_ns }
    }
}

/// What of one histogram is different in every frame.
#[derive(Clone, Debug)]
pub struct Counts<C> {
    /// What was counted.
    pub span: Span<C>,
    /// The span of time counted, in ns.
    pub period_ns: u64,
    /// When it ended, in ns since the Unix epoch by the producer's clock.
    pub end_ns: u64,
}
