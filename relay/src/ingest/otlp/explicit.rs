//! Histograms with explicit bounds: the count of a bucket goes to the bin that contains the bucket's upper bound.
//!
//! Durations are therefore never shown shorter than they were. The result is always approximate, because the bounds are
//! no bin edges.

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
    /// [`RejectReason::OtlpBadBuckets`] if the bounds do not ascend, or the counts do not match the bounds or the
    /// total.
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

    /// What was added since `earlier`, which is comparable. `None` if any count is lower than it was, so that the
    /// producer must have started again.
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

#[cfg(test)]
mod tests {
    use joey_shared::histogram::Unit;
    use proptest::prelude::*;

    use super::*;

    const MILLISECONDS: TimeUnit = TimeUnit { grid: Unit::Milliseconds, factor: 1 };

    fn point(bounds: &[f64], counts: &[u64]) -> HistogramDataPoint {
        let count = counts.iter().sum();
        let (explicit_bounds, bucket_counts) = (bounds.to_vec(), counts.to_vec());
        HistogramDataPoint { explicit_bounds, bucket_counts, count, ..Default::default() }
    }

    /// The bins, named by durations in ms that are in them.
    fn check(point: &HistogramDataPoint, max: Option<f64>, expected: &[(u64, u64)]) {
        let histogram = Explicit::read(point).unwrap().histogram(MILLISECONDS, max);
        let bin = |&(ms, count): &(u64, u64)| (Grid::FINEST.bin_of(ms * 1_000_000), count);
        assert_eq!(histogram.occupied().collect::<Vec<_>>(), expected.iter().map(bin).collect::<Vec<_>>());
    }

    #[test]
    fn a_count_goes_to_the_bin_of_its_upper_bound() {
        // The first bounds of OpenTelemetry's default.
        let point = point(&[0.0, 5.0, 10.0, 25.0], &[1, 2, 3, 4, 5]);
        check(&point, None, &[(0, 1), (5, 2), (10, 3), (25, 9)]);
        check(&point, Some(400.0), &[(0, 1), (5, 2), (10, 3), (25, 4), (400, 5)]);
    }

    #[test]
    fn no_count_is_above_the_maximum() {
        check(&point(&[10.0, 1_000.0], &[0, 3, 0]), Some(12.0), &[(12, 3)]);
    }

    #[test]
    fn infinite_bounds_are_like_missing_ones() {
        check(&point(&[10.0, f64::INFINITY], &[1, 2, 0]), None, &[(10, 3)]);
        check(&point(&[f64::NEG_INFINITY, 10.0], &[0, 2, 0]), None, &[(10, 2)]);
    }

    #[test]
    fn values_in_buckets_below_zero_are_left_out() {
        let point = HistogramDataPoint { sum: Some(4.0), ..point(&[-1.0, 0.0, 10.0], &[2, 1, 3, 0]) };
        check(&point, None, &[(0, 1), (10, 3)]);
        let value = Explicit::read(&point).unwrap();
        assert_eq!((value.negatives(), value.count(), value.sum), (2, 4, None));
    }

    #[test]
    fn a_data_point_without_buckets_has_a_count_only() {
        let only_count = HistogramDataPoint { count: 7, sum: Some(1.0), ..Default::default() };
        let value = Explicit::read(&only_count).unwrap();
        assert!(value.is_count() && value.count() == 7);
    }

    #[test]
    fn buckets_that_do_not_match_are_refused() {
        let many = vec![1; BUCKETS_MAX + 1];
        let bounds: Vec<f64> = (0..BUCKETS_MAX).map(|bound| bound as f64).collect();
        for wrong in [
            HistogramDataPoint { count: 2, ..point(&[1.0], &[1, 2]) },
            point(&[1.0], &[1]),
            point(&[], &[1, 2]),
            point(&[1.0, 1.0], &[1, 2, 3]),
            point(&[2.0, 1.0], &[1, 2, 3]),
            point(&[f64::NAN], &[1, 2]),
            HistogramDataPoint { explicit_bounds: vec![1.0], count: 2, ..Default::default() },
            point(&bounds, &many),
        ] {
            assert_eq!(Explicit::read(&wrong), Err(RejectReason::OtlpBadBuckets), "{wrong:?}");
        }
    }

    #[test]
    fn a_lower_count_is_a_reset_and_other_bounds_cannot_be_compared() {
        let [early, late] = [&[1, 5], &[3, 5]].map(|counts: &[u64; 2]| Explicit::read(&point(&[1.0], counts)).unwrap());
        assert_eq!(late.since(&early).map(|added| added.counts), Some(vec![2, 0]));
        assert_eq!(early.since(&late), None);
        assert!(!early.is_comparable(&Explicit::read(&point(&[2.0], &[3, 5])).unwrap()));
    }

    proptest! {
        #[test]
        fn any_bounds_keep_every_count(
            bounds in prop::collection::vec(any::<f64>(), 0..6),
            counts in prop::collection::vec(0..u64::MAX / 8, 0..7),
            max in any::<Option<f64>>(),
        ) {
            let point = point(&bounds, &counts);
            if let Ok(value) = Explicit::read(&point) {
                prop_assert_eq!(value.count() + value.negatives(), point.count);
                prop_assert_eq!(value.histogram(MILLISECONDS, max).count(), u128::from(value.count()));
            }
        }
    }
}
