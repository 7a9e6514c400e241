//! Histograms with explicit bounds: the count of a bucket goes to the bin that contains the bucket's upper bound.
//!
//! Durations are therefore never shown shorter than they were. The result is always approximate, because the bounds are no bin
//! edges.

use joey_shared::histogram::{Grid, Histogram};
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

use super::units::TimeUnit;
use crate::metrics::RejectReason;

/// Maximum number of buckets of a data point. SDKs have 16 by default. This bounds the state of a cumulative stream.
const BUCKETS_MAX: usize = 1_024;

/// The counts of a data point: of one period, or since the start of a cumulative stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Explicit {
    /// Upper bounds of all buckets but the last, in the instrument's unit, in ascending order.
    bounds: Vec<f64>,
    /// One count for each bucket.
    counts: Vec<u64>,
    /// Sum of all values, in the instrument's unit, if it is finite.
    pub(super) sum: Option<f64>,
}

impl Explicit {
    /// Reads a data point.
    ///
    /// # Errors
    /// [`RejectReason::OtlpBadBuckets`] if the bounds do not ascend, or the counts do not match the bounds or the total.
    pub(super) fn read(point: &HistogramDataPoint) -> Result<Self, RejectReason> {
        let HistogramDataPoint { bucket_counts, explicit_bounds, count, .. } = point;
        // A data point may have a count and a sum only. It has one bucket then, without bounds.
        let counts = if bucket_counts.is_empty() { vec![*count] } else { bucket_counts.clone() };
        let total: u128 = counts.iter().map(|&count| u128::from(count)).sum();
        let is_valid = counts.len() == explicit_bounds.len() + 1
            && counts.len() <= BUCKETS_MAX
            && explicit_bounds.iter().all(|bound| !bound.is_nan())
            && explicit_bounds.is_sorted_by(|low, high| low < high)
            && total == u128::from(*count);
        if !is_valid {
            return Err(RejectReason::OtlpBadBuckets);
        }
        let sum = point.sum.filter(|sum| sum.is_finite());
        let mut read = Self { bounds: explicit_bounds.clone(), counts, sum };
        if read.negatives() > 0 {
            read.sum = None;
        }
        Ok(read)
    }

    /// Bytes on the heap.
    pub(super) const fn bytes(&self) -> usize {
        2 * self.counts.len() * size_of::<u64>()
    }

    /// Number of durations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |total: u64, count| total.saturating_add(*count)) - self.negatives()
    }

    /// Number of values in buckets below zero. They are no durations.
    pub(super) fn negatives(&self) -> u64 {
        let below = self.bounds.iter().zip(&self.counts).take_while(|(bound, _)| **bound < 0.0);
        below.fold(0, |total, (_, count)| total.saturating_add(*count))
    }

    /// Whether it has only a count, which says nothing about durations.
    pub(super) const fn is_count(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Whether `earlier` has the same buckets, so that their counts can be compared.
    pub(super) fn is_comparable(&self, earlier: &Self) -> bool {
        self.bounds == earlier.bounds
    }

    /// What was added since `earlier`, which is comparable. `None` if any count is lower than it was, so that the producer must
    /// have started again.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        let pairs = self.counts.iter().zip(&earlier.counts);
        let counts = pairs.map(|(now, before)| now.checked_sub(*before)).collect::<Option<Vec<u64>>>()?;
        let sums = self.sum.zip(earlier.sum).map(|(now, before)| now - before);
        Some(Self { bounds: self.bounds.clone(), counts, sum: sums.filter(|sum| *sum >= 0.0) })
    }

    /// The histogram of these counts. `max` is the largest value in the instrument's unit.
    pub(super) fn histogram(&self, unit: TimeUnit, max: Option<f64>) -> Histogram {
        let grid = Grid::FINEST;
        let max = max.and_then(|max| unit.duration_ns(max)).map(|ns| grid.bin_of(ns));
        let mut histogram = Histogram::new(grid);
        let mut below = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            let upper = self.bounds.get(at).copied().unwrap_or(f64::INFINITY);
            if upper < 0.0 {
                continue;
            }
            // The last bucket has no upper bound. All that is known of its durations is that they exceed the lower one.
            let bin = unit.duration_ns(upper).map(|ns| grid.bin_of(ns)).or(max).unwrap_or(below);
            // No duration is in a bin above that of the maximum.
            histogram.add(max.map_or(bin, |max| bin.min(max)), count);
            below = bin;
        }
        histogram
    }
}
