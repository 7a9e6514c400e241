//! Exponential histograms: buckets of any scale and offset become bins, exactly where the bins allow it.
//!
//! Scales above 3 are folded: `2^(scale - 3)` neighbouring buckets are one bin of scale 3. A bucket of a negative scale
//! is wider than any bin. Its count goes to the bin that contains the bucket's upper bound, and the histogram is
//! approximate.

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

    /// What was added since `earlier`, in the coarser of the two scales and with the wider of the two zero buckets.
    /// `None` if any count is lower than it was, so that the producer must have started again.
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

    /// The histogram of these counts, and whether it is approximate. `max` is the largest value in the instrument's
    /// unit.
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

/// By how many bits to shift an index of scale `fine` for the bucket of scale `coarse` that contains it. Shifting by 63
/// bits leaves the sign: bucket 0 or -1.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECONDS: TimeUnit = TimeUnit { grid: Unit::Seconds, factor: 1 };

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        let positive = Some(Buckets { offset, bucket_counts: counts.to_vec() });
        let count = counts.iter().fold(0, |total: u64, count| total.wrapping_add(*count));
        ExponentialHistogramDataPoint { scale, count, positive, ..Default::default() }
    }

    fn read(point: &ExponentialHistogramDataPoint) -> Exponential {
        Exponential::read(point, SECONDS).unwrap()
    }

    /// Bounds of the occupied bins in ns, with their counts.
    fn bins(value: &Exponential, unit: TimeUnit) -> Vec<(u64, u128, u64)> {
        let (histogram, _) = value.histogram(unit, None);
        let grid = histogram.grid();
        histogram.occupied().map(|(bin, count)| (grid.low(bin), grid.high(bin), count)).collect()
    }

    /// The data point that an SDK makes of these durations in ns, at `scale`, for an instrument in seconds.
    fn exported(scale: i32, durations_ns: &[u64]) -> ExponentialHistogramDataPoint {
        let index = |ns: u64| {
            // The bucket whose upper bound is at or above the value.
            let exact = (ns as f64 / 1e9).log2() * f64::from(scale).exp2();
            exact.ceil() as i32 - 1
        };
        let indices: Vec<i32> = durations_ns.iter().map(|&ns| index(ns)).collect();
        let offset = indices.iter().copied().min().unwrap_or(0);
        let last = indices.iter().copied().max().unwrap_or(0);
        let mut counts = vec![0; (last - offset + 1) as usize];
        indices.iter().for_each(|at| counts[(at - offset) as usize] += 1);
        point(scale, offset, &counts)
    }

    #[test]
    fn a_bucket_becomes_the_bin_of_the_same_range() {
        assert_eq!(
            bins(&read(&point(0, -1, &[3, 4])), SECONDS),
            [(500_000_000, 1_000_000_000, 3), (1_000_000_000, 2_000_000_000, 4)]
        );
        let (histogram, is_approximate) = read(&point(3, 0, &[1])).histogram(SECONDS, None);
        assert_eq!((histogram.grid(), is_approximate), (Grid::new(3, Unit::Seconds).unwrap(), false));
        assert_eq!(bins(&read(&point(3, 0, &[1])), SECONDS), [(1_000_000_000, 1_090_507_733, 1)]);
    }

    #[test]
    fn a_finer_scale_is_folded_to_scale_3() {
        // 2^17 buckets of scale 20 are one bin of scale 3.
        let fine = point(20, -(1 << 17), &vec![1; 3 << 17]);
        let value = read(&fine);
        assert_eq!((value.scale, &value.buckets), (3, &vec![(-1, 1 << 17), (0, 1 << 17), (1, 1 << 17)]));
    }

    #[test]
    fn the_count_of_a_wide_bucket_goes_to_the_bin_of_its_upper_bound() {
        // Bucket 0 of scale -2 is (1 s, 16 s], bucket -1 is (1/16 s, 1 s].
        let value = read(&point(-2, -1, &[5, 7]));
        assert_eq!(bins(&value, SECONDS), [(500_000_000, 1_000_000_000, 5), (8_000_000_000, 16_000_000_000, 7)]);
        let (histogram, is_approximate) = value.histogram(SECONDS, Some(3.0));
        assert!(is_approximate);
        let grid = histogram.grid();
        assert_eq!(histogram.occupied().last(), Some((grid.bin_of(3_000_000_000), 7)), "the maximum is 3 s");
    }

    #[test]
    fn minutes_become_bins_of_seconds() {
        let minutes = TimeUnit { grid: Unit::Seconds, factor: 60 };
        let value = Exponential::read(&point(0, 0, &[2]), minutes).unwrap();
        assert!(value.histogram(minutes, None).1);
        assert_eq!(bins(&value, minutes), [(64_000_000_000, 128_000_000_000, 2)], "(60 s, 120 s]");
    }

    #[test]
    fn zeros_are_counted_in_the_zero_bin() {
        let zeros = |zero_threshold| {
            let point = ExponentialHistogramDataPoint { zero_count: 3, count: 3, zero_threshold, ..Default::default() };
            let (histogram, is_approximate) = read(&point).histogram(SECONDS, None);
            (histogram.count_at(0), is_approximate)
        };
        assert_eq!([0.0, 1e-10, f64::NAN, -1.0].map(zeros), [(3, false); 4]);
        assert_eq!(zeros(1e-3), (3, true), "they may be up to 1 ms");
    }

    #[test]
    fn counts_that_do_not_add_up_are_refused() {
        for change in [1_u64, u64::MAX] {
            let mut wrong = point(3, 0, &[1, 2]);
            wrong.count = wrong.count.wrapping_add(change);
            assert_eq!(Exponential::read(&wrong, SECONDS), Err(RejectReason::OtlpBadBuckets));
        }
        let overflowing = ExponentialHistogramDataPoint { count: 1, ..point(3, 0, &[u64::MAX, 2]) };
        assert_eq!(Exponential::read(&overflowing, SECONDS), Err(RejectReason::OtlpBadBuckets));
    }

    #[test]
    fn negative_values_are_left_out_and_the_sum_with_them() {
        let negative = Some(Buckets { offset: 0, bucket_counts: vec![4] });
        let value = read(&ExponentialHistogramDataPoint { negative, count: 6, sum: Some(1.0), ..point(3, 0, &[2]) });
        assert_eq!((value.count(), value.negatives, value.sum), (2, 4, None));
    }

    #[test]
    fn a_sum_that_is_no_number_is_left_out() {
        for sum in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(read(&ExponentialHistogramDataPoint { sum: Some(sum), ..point(3, 0, &[2]) }).sum, None);
        }
    }

    #[test]
    fn a_difference_is_taken_at_the_coarser_scale() {
        let early = ExponentialHistogramDataPoint { sum: Some(10.0), ..point(3, 0, &[1, 2, 3, 0, 0, 0, 0, 0, 4]) };
        let late = ExponentialHistogramDataPoint { sum: Some(12.5), ..point(2, 0, &[3, 5, 1, 0, 4]) };
        let added = read(&late).since(&read(&early)).unwrap();
        assert_eq!((added.scale, added.buckets, added.sum), (2, vec![(1, 2), (2, 1)], Some(2.5)));
        let wide = read(&point(-1, 0, &[20]));
        assert_eq!(wide.since(&read(&early)).unwrap().buckets, [(0, 10)]);
    }

    #[test]
    fn a_lower_count_in_any_bucket_is_a_reset() {
        let early = read(&point(3, 0, &[5, 5]));
        assert_eq!(read(&point(3, 0, &[9, 4])).since(&early), None);
        assert_eq!(read(&point(3, 0, &[50])).since(&early), None);
        assert_eq!(read(&point(3, 5, &[50])).since(&early), None);
        assert!(read(&point(3, 0, &[5, 5])).since(&early).is_some_and(|added| added.count() == 0));
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_the_buckets_below_it() {
        let early = read(&point(0, 0, &[3, 4]));
        let late = ExponentialHistogramDataPoint { zero_threshold: 2.0, zero_count: 5, count: 11, ..point(0, 1, &[6]) };
        let added = read(&late).since(&early).unwrap();
        assert_eq!((added.zeros, added.buckets), (2, vec![(1, 2)]));
    }

    #[test]
    fn durations_that_are_powers_of_two_are_one_bin_lower_than_in_a_producer_that_counts_edges_up() {
        let grid = Grid::new(3, Unit::Seconds).unwrap();
        for ns in [250_000_000_u64, 500_000_000, 1_000_000_000, 2_000_000_000, 64_000_000_000] {
            let (histogram, _) = read(&exported(3, &[ns])).histogram(SECONDS, None);
            assert_eq!(
                histogram.count_at(grid.bin_of(ns) - 1),
                1,
                "{ns} ns is the upper bound of OpenTelemetry's bucket"
            );
            let (histogram, _) = read(&exported(3, &[ns + 1])).histogram(SECONDS, None);
            assert_eq!(histogram.count_at(grid.bin_of(ns + 1)), 1);
        }
    }

    #[test]
    fn buckets_outside_the_bins_take_no_memory() {
        for (scale, offset, bins) in [(3, -10_000, 1), (3, i32::MAX, 1), (3, -3_000, 513), (0, -3_000, 65)] {
            let value = read(&point(scale, offset, &[1; 6_000]));
            assert!(value.buckets.len() <= bins && value.count() == 6_000, "{scale} {offset}: {}", value.buckets.len());
        }
    }

    fn any_point() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
        let buckets = || (any::<i32>(), prop::collection::vec(any::<u64>(), 0..20));
        let floats = (any::<f64>(), any::<Option<f64>>());
        (any::<i32>(), buckets(), buckets(), any::<u64>(), floats, any::<bool>()).prop_map(
            |(scale, positive, negative, zero_count, (zero_threshold, sum), is_small)| {
                let scale = if is_small { scale % 21 } else { scale };
                let limit = |(offset, counts): (i32, Vec<u64>)| {
                    let bucket_counts: Vec<u64> = counts.into_iter().map(|count| count >> 8).collect();
                    Some(Buckets { offset: if is_small { offset % 4_000 } else { offset }, bucket_counts })
                };
                let (positive, negative, zero_count) = (limit(positive), limit(negative), zero_count >> 8);
                let of = |buckets: &Option<Buckets>| counts(buckets.as_ref()).iter().sum::<u64>();
                let count = of(&positive) + of(&negative) + zero_count;
                ExponentialHistogramDataPoint {
                    scale,
                    positive,
                    negative,
                    zero_count,
                    zero_threshold,
                    sum,
                    count,
                    ..Default::default()
                }
            },
        )
    }

    fn any_unit() -> impl Strategy<Value = TimeUnit> {
        (prop::sample::select(Unit::ALL.to_vec()), prop::sample::select(vec![1_u32, 60, 86_400]))
            .prop_map(|(grid, factor)| TimeUnit { grid, factor })
    }

    proptest! {
        #[test]
        fn any_scale_and_offset_keep_every_count(point in any_point(), unit in any_unit(), max in any::<Option<f64>>()) {
            let value = Exponential::read(&point, unit).unwrap();
            let (histogram, _) = value.histogram(unit, max);
            let positive: u64 = counts(point.positive.as_ref()).iter().sum();
            prop_assert_eq!(histogram.count(), u128::from(positive + point.zero_count));
            prop_assert!(value.buckets.len() <= 513);
            prop_assert!(value.buckets.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert_eq!(value.since(&value).map(|added| added.count()), Some(0));
        }

        #[test]
        fn a_difference_of_any_two_scales_is_what_was_added(
            before in prop::collection::vec(1_u64..100_000_000_000, 1..30),
            added in prop::collection::vec(1_u64..100_000_000_000, 0..30),
            scales in (-3_i32..8, -3_i32..8),
        ) {
            let all: Vec<u64> = before.iter().chain(&added).copied().collect();
            let [now, then, new] = [&all, &before, &added].map(|durations| exported(scales.0, durations));
            // The scale of a cumulative histogram only ever decreases.
            let coarse = read(&exported(scales.0.min(scales.1), &all));
            let difference = read(&now).since(&read(&then)).unwrap();
            let (expected, _) = read(&new).histogram(SECONDS, None);
            prop_assert_eq!(difference.histogram(SECONDS, None).0, expected);
            prop_assert_eq!(coarse.since(&read(&then)).unwrap().count(), added.len() as u64);
        }

        #[test]
        fn folding_scale_20_equals_recording_the_durations(ns in 2_000..200_000_000_000_u64) {
            // Of all edges, only powers of two are whole numbers of ns, for example 1/512 s.
            let is_edge = (0..20).any(|shift| ns << shift == 1_000_000_000 || ns == 1_000_000_000 << shift);
            prop_assume!(!is_edge);
            let folded = read(&exported(20, &[ns])).histogram(SECONDS, None).0;
            let mut recorded = Histogram::new(Grid::new(3, Unit::Seconds).unwrap());
            recorded.record(ns);
            prop_assert_eq!(folded.occupied().collect::<Vec<_>>(), recorded.occupied().collect::<Vec<_>>());
        }
    }
}
