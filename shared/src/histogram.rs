//! The latency histogram: 65 power-of-two bins of exact integer counts.
//!
//! The bins are those of Wallaroo: bin 0 counts the value 0, bin `i` counts `2^(i-1) <= ns < 2^i`. Merging two
//! histograms adds their bins, so a histogram of any set of workers over any span of time is exact. The position of a
//! value within its bin is unknown. A quantile is therefore a range, never a point.
//!
//! | operation | failure |
//! |---|---|
//! | [`Histogram::record`], [`Histogram::merge`] | none: a bin saturates at `u64::MAX` |
//! | [`Histogram::quantile`] | `None` if the histogram is empty |
//! | [`bin_low`], [`bin_high`] | panic if the bin is above 64 |

/// Number of bins. Bin 64 counts the values from `2^63` on.
pub const BINS: usize = 65;

/// The bin that counts a duration of `ns` nanoseconds, in `0..=64`.
///
/// The rule is `64 - clz(ns)`, as in Wallaroo's `lib/wallaroo/core/metrics/histogram.pony`.
///
/// ```
/// use joey_shared::histogram::bin_of;
/// assert_eq!([bin_of(0), bin_of(1), bin_of(3), bin_of(4), bin_of(u64::MAX)], [0, 1, 2, 3, 64]);
/// ```
#[must_use]
pub const fn bin_of(ns: u64) -> usize {
    (u64::BITS - ns.leading_zeros()) as usize
}

/// The lower bound of `bin`, inclusive, in ns.
///
/// # Panics
/// If `bin` is above 64.
#[must_use]
pub const fn bin_low(bin: usize) -> u64 {
    assert!(bin < BINS);
    if bin == 0 { 0 } else { 1 << (bin - 1) }
}

/// The upper bound of `bin`, exclusive, in ns, up to `2^64`.
///
/// # Panics
/// If `bin` is above 64.
#[must_use]
pub const fn bin_high(bin: usize) -> u128 {
    assert!(bin < BINS);
    1 << bin
}

/// A quantile in millionths, `0..=1_000_000`. Ranks are computed in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantile(u32);

impl Quantile {
    /// The median.
    pub const P50: Self = Self(500_000);
    /// The 90th percentile.
    pub const P90: Self = Self(900_000);
    /// The 95th percentile.
    pub const P95: Self = Self(950_000);
    /// The 99th percentile.
    pub const P99: Self = Self(990_000);
    /// The 99.9th percentile.
    pub const P999: Self = Self(999_000);
    /// The 99.99th percentile.
    pub const P9999: Self = Self(999_900);

    /// Creates the quantile of `millionths`; `None` above one million.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 { Some(Self(millionths)) } else { None }
    }

    /// This quantile in millionths, `0..=1_000_000`.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// The rank of this quantile among `count` values: `ceil(q * count)`, at least 1.
    #[must_use]
    pub const fn rank(self, count: u128) -> u128 {
        // `count` is at most 65 * u64::MAX, so the product cannot overflow.
        let rank = (count * self.0 as u128).div_ceil(1_000_000);
        if rank == 0 { 1 } else { rank }
    }
}

/// The range that contains a quantile: `low <= value < high`, in ns.
///
/// It is the range of one bin, clamped to the recorded minimum and maximum. In the bin of the maximum, `high` is the maximum and
/// inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantileRange {
    /// Lower bound, inclusive.
    pub low: u64,
    /// Upper bound, up to `2^64`.
    pub high: u128,
}

/// Counts of durations in power-of-two bins, with the exact minimum and maximum.
///
/// ```
/// use joey_shared::histogram::{Histogram, Quantile};
/// let mut histogram = Histogram::default();
/// for ns in [100, 120, 130, 900] {
///     histogram.record(ns);
/// }
/// let p50 = histogram.quantile(Quantile::P50).expect("it is not empty");
/// assert_eq!((p50.low, p50.high), (100, 128));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Counts by bin, see [`bin_of`].
    pub bins: [u64; BINS],
    /// The shortest recorded duration, in ns; `u64::MAX` if there is none.
    pub min_ns: u64,
    /// The longest recorded duration, in ns; 0 if there is none.
    pub max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: [0; BINS], min_ns: u64::MAX, max_ns: 0 }
    }
}

impl core::fmt::Debug for Histogram {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "Histogram(min {} max {} ", self.min_ns, self.max_ns)?;
        out.debug_map().entries(self.occupied()).finish()?;
        write!(out, ")")
    }
}

impl Histogram {
    /// Records one duration, in ns.
    pub fn record(&mut self, ns: u64) {
        let bin = &mut self.bins[bin_of(ns)];
        *bin = bin.saturating_add(1);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds all counts of `other`. The order and grouping of merges do not matter.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine = mine.saturating_add(*theirs);
        }
        if !other.is_empty() {
            self.min_ns = self.min_ns.min(other.min_ns);
            self.max_ns = self.max_ns.max(other.max_ns);
        }
    }

    /// Number of recorded durations, at most `65 * u64::MAX`.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.bins.iter().map(|&count| u128::from(count)).sum()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bins.iter().all(|&count| count == 0)
    }

    /// The recorded minimum and maximum, in ns; `None` if the histogram is empty or the producer's values are inconsistent.
    #[must_use]
    pub fn extremes(&self) -> Option<(u64, u64)> {
        (!self.is_empty() && self.min_ns <= self.max_ns).then_some((self.min_ns, self.max_ns))
    }

    /// The bins with a count, as `(bin, count)` in ascending order.
    pub fn occupied(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.bins.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }

    /// The range that contains quantile `q`: the bin of rank `ceil(q * count)`, clamped to the recorded minimum and
    /// maximum. `None` if the histogram is empty.
    ///
    /// All quantiles are computed here.
    #[must_use]
    pub fn quantile(&self, q: Quantile) -> Option<QuantileRange> {
        let rank = q.rank(self.count());
        let mut seen = 0_u128;
        for (bin, count) in self.occupied() {
            seen += u128::from(count);
            if seen >= rank {
                return Some(self.range_of(bin));
            }
        }
        None
    }

    /// The range of `bin`, clamped to the recorded minimum and maximum if they are inside it.
    ///
    /// A minimum or maximum outside its bin is an error of the producer. It must not invert the range.
    fn range_of(&self, bin: usize) -> QuantileRange {
        let (mut low, mut high) = (bin_low(bin), bin_high(bin));
        if let Some((min_ns, max_ns)) = self.extremes() {
            if bin_of(min_ns) == bin {
                low = min_ns;
            }
            if bin_of(max_ns) == bin {
                high = u128::from(max_ns);
            }
        }
        QuantileRange { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn histogram_of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&ns| histogram.record(ns));
        histogram
    }

    /// Durations spread over all magnitudes, with many values at the edges of bins.
    fn duration() -> impl Strategy<Value = u64> {
        (0..=64_u32, any::<u64>(), 0..4_u8).prop_map(|(shift, noise, edge)| {
            let power = 1_u64.checked_shl(shift).unwrap_or(0);
            match edge {
                0 => power,
                1 => power.wrapping_sub(1),
                2 => power.wrapping_add(1),
                _ => noise.checked_shr(shift).unwrap_or(0),
            }
        })
    }

    #[test]
    fn bins_match_the_producers_examples() {
        for (ns, bin) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (1 << 63, 64), (u64::MAX, 64)]
        {
            assert_eq!(bin_of(ns), bin, "{ns} ns");
        }
    }

    #[test]
    fn quantiles_of_the_captured_frame_match_a_manual_calculation() {
        let mut captured = Histogram { min_ns: 34, max_ns: 14509, ..Histogram::default() };
        for (bin, count) in [(6, 57306), (7, 505), (8, 4), (9, 7), (12, 2), (14, 17)] {
            captured.bins[bin] = count;
        }
        assert_eq!(captured.count(), 57841);
        let ranges = [Quantile::P50, Quantile::P95, Quantile::P99, Quantile::P999, Quantile::P9999]
            .map(|q| captured.quantile(q).map(|range| (range.low, range.high)));
        assert_eq!(ranges, [Some((34, 64)), Some((34, 64)), Some((34, 64)), Some((64, 128)), Some((8192, 14509))]);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile_and_no_extremes() {
        let mut empty = Histogram::default();
        empty.merge(&Histogram::default());
        assert_eq!((empty.quantile(Quantile::P50), empty.extremes()), (None, None));
    }

    #[test]
    fn an_extreme_outside_its_bin_does_not_invert_the_range() {
        let mut odd = histogram_of(&[100, 100]);
        (odd.min_ns, odd.max_ns) = (5000, 1);
        assert_eq!(odd.quantile(Quantile::P50), Some(QuantileRange { low: 64, high: 128 }));
    }

    #[test]
    fn a_saturated_bin_stays_saturated() {
        let mut full = histogram_of(&[7]);
        full.bins[3] = u64::MAX;
        full.merge(&full.clone());
        full.record(7);
        assert_eq!((full.bins[3], full.count()), (u64::MAX, u128::from(u64::MAX)));
    }

    proptest! {
        #[test]
        fn bins_match_those_of_two_other_crates(ns in duration()) {
            let bin = bin_of(ns);
            let mut h2 = ::histogram::Histogram::new(0, 64).unwrap();
            h2.increment(ns).unwrap();
            prop_assert_eq!(h2.as_slice()[bin], 1);
            let mut base2 = base2histogram::Histogram::<()>::with_log_scale(1, 1);
            base2.record(ns);
            prop_assert_eq!(base2.bucket(bin).count(), 1);
            prop_assert!(bin_low(bin) <= ns && u128::from(ns) < bin_high(bin));
        }

        #[test]
        fn a_quantile_range_contains_the_true_value(
            values in prop::collection::vec(duration(), 1..200),
            millionths in 0..=1_000_000_u32,
        ) {
            let q = Quantile::from_millionths(millionths).unwrap();
            let range = histogram_of(&values).quantile(q).unwrap();
            let mut sorted = values;
            sorted.sort_unstable();
            let expected = sorted[usize::try_from(q.rank(sorted.len() as u128)).unwrap() - 1];
            prop_assert!(range.low <= expected && u128::from(expected) <= range.high, "{expected} in {range:?}");
        }

        #[test]
        fn quantiles_match_those_of_another_crate(values in prop::collection::vec(duration(), 1..200)) {
            let ours = histogram_of(&values);
            let theirs = ::histogram::Histogram::from_buckets(0, 64, ours.bins.to_vec()).unwrap();
            for q in [Quantile::P50, Quantile::P90, Quantile::P99, Quantile::P9999] {
                let range = ours.quantile(q).unwrap();
                let bucket = theirs.quantile_bucket(f64::from(q.millionths()) / 1e6).unwrap().unwrap();
                prop_assert!(bucket.start() <= range.low && range.high <= u128::from(bucket.end()) + 1);
            }
        }

        #[test]
        fn merging_in_any_order_equals_recording_everything(
            parts in prop::collection::vec(prop::collection::vec(duration(), 0..20), 0..8),
        ) {
            let all: Vec<u64> = parts.iter().flatten().copied().collect();
            let (mut forward, mut backward) = (Histogram::default(), Histogram::default());
            parts.iter().for_each(|part| forward.merge(&histogram_of(part)));
            parts.iter().rev().for_each(|part| backward.merge(&histogram_of(part)));
            prop_assert_eq!(&forward, &histogram_of(&all));
            prop_assert_eq!(forward, backward);
        }
    }
}
