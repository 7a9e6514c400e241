//! Exponential histograms: buckets of any scale and offset become bins, exactly where the bins allow it.
//!
//! Scales above 3 are folded: `2^(scale - 3)` neighbouring buckets are one bin of scale 3. A bucket of a negative scale is wider
//! than any bin. Its count goes to the bin that contains the bucket's upper bound, and the histogram is approximate.

use joey_shared::histogram::{Grid, Histogram, SCALE_MAX, Unit};
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use super::units::TimeUnit;
use crate::metrics::RejectReason;

/// The counts of a data point: of one period, or since the start of a cumulative stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exponential {
    /// At most [`SCALE_MAX`].
    scale: i32,
    /// Count of the values that the producer considers to be zero, and the largest of them in the instrument's unit.
    zeros: u64,
    zero_threshold: f64,
    /// Occupied buckets in ascending order, as index and count.
    buckets: Vec<(i64, u64)>,
    /// Number of negative values. They are no durations.
    pub(super) negatives: u64,
    /// Sum of all values, in the instrument's unit, if it is finite.
    pub(super) sum: Option<f64>,
}

impl Exponential {
    /// Reads a data point of an instrument in `unit`.
    ///
    /// # Errors
    /// [`RejectReason::OtlpBadBuckets`] if the counts of the buckets do not add up to the count of the data point.
    pub(super) fn read(point: &ExponentialHistogramDataPoint, unit: TimeUnit) -> Result<Self, RejectReason> {
        let (positive, negative) = (counts(point.positive.as_ref()), counts(point.negative.as_ref()));
        let total = |counts: &[u64]| counts.iter().map(|&count| u128::from(count)).sum::<u128>();
        let negatives = total(negative);
        if total(positive) + negatives + u128::from(point.zero_count) != u128::from(point.count) {
            return Err(RejectReason::OtlpBadBuckets);
        }
        // `max` returns the other operand if one is not a number.
        let zero_threshold = point.zero_threshold.max(0.0);
        let mut read = Self {
            scale: point.scale.min(i32::from(SCALE_MAX)),
            zeros: point.zero_count,
            zero_threshold,
            buckets: Vec::new(),
            negatives: u64::try_from(negatives).unwrap_or(u64::MAX),
            sum: point.sum.filter(|sum| sum.is_finite() && negatives == 0),
        };
        let finer = shift_between(point.scale, read.scale);
        // Only the indices in the grid are stored, so a stream has a few hundred buckets at most.
        let (first, last) = index_range(read.scale, unit.grid);
        let offset = point.positive.as_ref().map_or(0, |buckets| i64::from(buckets.offset));
        for (&count, index) in positive.iter().zip(offset..).filter(|(count, _)| **count > 0) {
            push(&mut read.buckets, (index >> finer).clamp(first, last), count);
        }
        Ok(read)
    }

    /// Bytes on the heap.
    pub(super) const fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<(i64, u64)>()
    }

    /// Number of durations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().fold(self.zeros, |total, (_, count)| total.saturating_add(*count))
    }

    /// What was added since `earlier`, in the coarser of the two scales and with the wider of the two zero buckets. `None` if
    /// any count is lower than it was, so that the producer must have started again.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        let scale = self.scale.min(earlier.scale);
        let zero_threshold = self.zero_threshold.max(earlier.zero_threshold);
        let mut difference = self.reduced(scale, zero_threshold);
        let earlier = earlier.reduced(scale, zero_threshold);
        difference.zeros = difference.zeros.checked_sub(earlier.zeros)?;
        difference.negatives = difference.negatives.checked_sub(earlier.negatives)?;
        let mut rest = difference.buckets.iter_mut();
        for (index, count) in earlier.buckets {
            let (_, now) = rest.find(|(now, _)| *now >= index).filter(|(now, _)| *now == index)?;
            *now = now.checked_sub(count)?;
        }
        difference.buckets.retain(|(_, count)| *count > 0);
        let sums = difference.sum.zip(earlier.sum).map(|(now, before)| now - before);
        difference.sum = sums.filter(|sum| *sum >= 0.0);
        Some(difference)
    }

    /// The same counts at a scale that is not finer, and with a zero bucket that is not narrower.
    fn reduced(&self, scale: i32, zero_threshold: f64) -> Self {
        let shift = shift_between(self.scale, scale);
        let mut reduced = Self { scale, zero_threshold, buckets: Vec::with_capacity(self.buckets.len()), ..*self };
        for &(index, count) in &self.buckets {
            let index = index >> shift;
            if zero_threshold > self.zero_threshold && lower_bound(index, scale) < zero_threshold {
                reduced.zeros = reduced.zeros.saturating_add(count);
            } else {
                push(&mut reduced.buckets, index, count);
            }
        }
        reduced
    }

    /// The histogram of these counts, and whether it is approximate. `max` is the largest value in the instrument's unit.
    pub(super) fn histogram(&self, unit: TimeUnit, max: Option<f64>) -> (Histogram, bool) {
        let scale = u8::try_from(self.scale.max(0)).unwrap_or(SCALE_MAX);
        let grid = Grid::new(scale, unit.grid).unwrap_or(Grid::FINEST);
        let is_exact = self.scale >= 0 && unit.factor == 1;
        // No duration is in a bin above that of the maximum.
        let last = max.and_then(|max| unit.duration_ns(max)).map_or(usize::MAX, |ns| grid.bin_of(ns));
        let mut histogram = Histogram::new(grid);
        for &(index, count) in &self.buckets {
            let bin = if is_exact {
                grid.bin_of_index(index)
            } else if unit.factor == 1 {
                // The last bin of scale 0 within the bucket.
                let wide = self.scale.unsigned_abs();
                let end = i128::from(index.saturating_add(1)) << wide.min(60);
                grid.bin_of_index(i64::try_from(end - 1).unwrap_or(i64::MAX)).min(last)
            } else {
                let upper = lower_bound(index.saturating_add(1), self.scale);
                grid.bin_of(unit.duration_ns(upper).unwrap_or(u64::MAX)).min(last)
            };
            histogram.add(bin, count);
        }
        histogram.add(0, self.zeros);
        // Values of less than a nanosecond are zero in whole nanoseconds.
        let has_wide_zero = self.zeros > 0 && self.zero_threshold * unit.ns() >= 1.0;
        (histogram, !self.buckets.is_empty() && !is_exact || has_wide_zero)
    }
}

fn counts(buckets: Option<&Buckets>) -> &[u64] {
    buckets.map_or(&[], |buckets| &buckets.bucket_counts)
}

/// Adds `count` to the bucket `index`, which is not below the last one.
fn push(buckets: &mut Vec<(i64, u64)>, index: i64, count: u64) {
    match buckets.last_mut() {
        Some((last, total)) if *last == index => *total = total.saturating_add(count),
        _ => buckets.push((index, count)),
    }
}

/// By how many bits to shift an index of scale `fine` for the bucket of scale `coarse` that contains it. Shifting by 63 bits
/// leaves the sign: bucket 0 or -1.
fn shift_between(fine: i32, coarse: i32) -> u32 {
    u32::try_from(i64::from(fine) - i64::from(coarse)).unwrap_or(0).min(63)
}

/// The first and the last index of `scale` that the grid has bins for.
fn index_range(scale: i32, unit: Unit) -> (i64, i64) {
    let finest = u8::try_from(scale.max(0)).unwrap_or(SCALE_MAX);
    let grid = Grid::new(finest, unit).unwrap_or(Grid::FINEST);
    let wide = shift_between(0, scale.min(0));
    (grid.index_of_bin(1) >> wide, grid.index_of_bin(grid.bins() - 1) >> wide)
}

/// The lower bound of the bucket `index`, exclusive, in the instrument's unit: `2^(index / 2^scale)`.
fn lower_bound(index: i64, scale: i32) -> f64 {
    (index as f64 * f64::from(scale.saturating_neg()).exp2()).exp2()
}
