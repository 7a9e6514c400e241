//! Compares two distributions of latencies: by how much each percentile moved, how far the distributions are apart, and
//! whether there are enough events for that to mean anything. The page and `joey compare` rank views with it.
//!
//! Everything is computed from the counts of bins, so it is as exact as they are:
//!
//! - Histograms of different scales are first folded to the coarser one. [`Comparison::is_folded`] tells that.
//! - A percentile is a range, so its change is a number of bins and a range of ratios, never one number.
//! - The distance is the largest difference of the cumulative shares, the statistic of Kolmogorov and Smirnov. It needs no
//!   assumption about the distribution and is found with integers. Between the edges of the bins it may be larger, never
//!   smaller: a distance that is found exists.
//! - A change counts only if it is beyond chance: see [`Evidence`].

mod views;

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::cmp::Ordering;

pub use self::views::{ViewChange, ViewSide, changes};
use crate::histogram::{Grid, Histogram, Quantile, QuantileRange, Unit};
use crate::window::Throughput;

/// Minimum number of events on each side. Below it, the 99th percentile is the maximum.
pub const EVENTS_MIN: u128 = 100;

/// `ln(2 / α) / 2` for α = 10^-6: two samples of one distribution are farther apart than
/// `sqrt(CRITICAL * (n + m) / (n * m))` with at most about this probability (Kolmogorov and Smirnov; it is smaller in bins).
/// The level is strict because tables have hundreds of rows, are read again every second, and latencies that follow each
/// other are not independent.
const CRITICAL: f64 = 7.254_329_4;

/// Two distributions with the same bins.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    current: Cow<'a, Histogram>,
    reference: Cow<'a, Histogram>,
    is_folded: bool,
    is_exact: bool,
}

/// How far a percentile moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileChange {
    /// The number of bins between the two ranges; positive if the current one is higher.
    pub bins: i32,
    /// The number of bins for each power of two, as an exponent of two: the scale of both sides.
    pub scale: u8,
    /// The smallest and the largest possible ratio of the current value to the reference. The second is infinite if the
    /// reference may be 0.
    pub ratio: (f64, f64),
    /// The range of the current value, in the bins of both sides.
    pub current: QuantileRange,
    /// The range of the reference.
    pub reference: QuantileRange,
}

impl QuantileChange {
    /// The ratio of the middles of the two bins: 2 for one bin of scale 0. `None` in or from the bin of zero.
    #[must_use]
    pub fn nominal_ratio(&self) -> Option<f64> {
        let has_zero = |range: &QuantileRange| range.high <= 1;
        if has_zero(&self.current) || has_zero(&self.reference) {
            return None;
        }
        Some(exp2(f64::from(self.bins) / f64::from(1_u32 << self.scale)))
    }
}

/// `2^x`. The crate has no `std`, and `x` is a multiple of 1/8.
fn exp2(x: f64) -> f64 {
    /// `2^(1/8)`.
    const EIGHTH: f64 = 1.090_507_732_665_257_7;
    let eighths = (x * 8.0) as i32;
    let (base, times) = if eighths < 0 { (1.0 / EIGHTH, -eighths) } else { (EIGHTH, eighths) };
    let octave = if eighths < 0 { 0.5 } else { 2.0 };
    let whole = (0..times / 8).fold(1.0, |product, _| product * octave);
    (0..times % 8).fold(whole, |product, _| product * base)
}

/// The largest difference of the cumulative shares of two distributions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// The difference, from 0 to 1.
    pub share: f64,
    /// Whether the current events take longer: a smaller share of them is below the edge.
    pub is_slower: bool,
    /// The edge of bins where the difference is largest, in ns.
    pub edge_ns: u128,
    /// The share of the current events below the edge.
    pub current_below: f64,
    /// The share of the reference's events below the edge.
    pub reference_below: f64,
}

/// Whether a distance means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It is larger than chance explains: two samples of one distribution are that far apart in less than one case of a
    /// million.
    Changed,
    /// Chance explains it.
    Chance,
    /// One side has fewer than [`EVENTS_MIN`] events.
    TooFew,
}

impl Evidence {
    /// Its name in files and data attributes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Chance => "chance",
            Self::TooFew => "few",
        }
    }
}

/// How far a distribution is from its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The number of current events.
    pub count: u128,
    /// The number of the reference's events.
    pub reference_count: u128,
    /// The distance; `None` if one side has no events.
    pub distance: Option<Distance>,
    /// Whether it means anything.
    pub evidence: Evidence,
}

impl Change {
    /// What changes are ranked by: the distance if it means anything.
    #[must_use]
    pub fn rank(&self) -> Option<f64> {
        self.distance.filter(|_| self.evidence == Evidence::Changed).map(|distance| distance.share)
    }

    /// The order of what changed most. What has no rank is last.
    #[must_use]
    pub fn compare_rank(a: Option<&Self>, b: Option<&Self>) -> Ordering {
        let [a, b] = [a, b].map(|change| change.and_then(Self::rank));
        b.partial_cmp(&a).unwrap_or(Ordering::Equal)
    }
}

impl<'a> Comparison<'a> {
    /// Compares `current` with `reference`, in the finest bins that both have.
    #[must_use]
    pub fn new(current: &'a Histogram, reference: &'a Histogram) -> Self {
        let grid = match (current.is_empty(), reference.is_empty()) {
            (true, _) => reference.grid(),
            (_, true) => current.grid(),
            _ => common_grid(current.grid(), reference.grid()),
        };
        let in_grid = |histogram: &'a Histogram| {
            if histogram.grid() == grid || histogram.is_empty() {
                Cow::Borrowed(histogram)
            } else {
                Cow::Owned(histogram.in_grid(grid))
            }
        };
        let differs = |histogram: &Histogram| !histogram.is_empty() && histogram.grid() != grid;
        Self {
            is_folded: differs(current) || differs(reference),
            is_exact: [current, reference].iter().all(|side| side.is_empty() || side.grid().unit() == grid.unit()),
            current: in_grid(current),
            reference: in_grid(reference),
        }
    }

    /// The current distribution, in the bins of both.
    #[must_use]
    pub fn current(&self) -> &Histogram {
        &self.current
    }

    /// The reference, in the bins of both.
    #[must_use]
    pub fn reference(&self) -> &Histogram {
        &self.reference
    }

    /// The bins of both.
    #[must_use]
    pub fn grid(&self) -> Grid {
        if self.current.is_empty() { self.reference.grid() } else { self.current.grid() }
    }

    /// Whether one side had finer bins, or bins of another unit, than those that are compared.
    #[must_use]
    pub const fn is_folded(&self) -> bool {
        self.is_folded
    }

    /// Whether every count is compared in the bin that its duration belongs to. Otherwise the units of the sides differ, and
    /// counts may be in a higher bin.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// How far quantile `q` moved; `None` if one side has no events.
    #[must_use]
    pub fn quantile(&self, q: Quantile) -> Option<QuantileChange> {
        let (current, reference) = (self.current.quantile(q)?, self.reference.quantile(q)?);
        let grid = self.grid();
        let bin = |range: QuantileRange| grid.bin_of(range.low) as i32;
        let ratio = |over: f64, under: f64| if under > 0.0 { over / under } else { f64::INFINITY };
        // An upper bound of 0 exists only for a maximum of 0: the value is 0.
        let low = if current.low == 0 { 0.0 } else { ratio(current.low as f64, reference.high as f64) };
        Some(QuantileChange {
            bins: bin(current) - bin(reference),
            scale: grid.scale(),
            ratio: (low, ratio(current.high as f64, reference.low as f64)),
            current,
            reference,
        })
    }

    /// The largest difference of the cumulative shares; `None` if one side has no events.
    #[must_use]
    pub fn distance(&self) -> Option<Distance> {
        let sides = [&*self.current, &*self.reference];
        let counts = sides.map(Histogram::count);
        if counts.contains(&0) {
            return None;
        }
        // Products of two numbers below 2^63 fit. More events than that lose their last bits.
        let shifts = counts.map(|count| (u128::BITS - count.leading_zeros()).saturating_sub(63));
        let [n, m] = [counts[0] >> shifts[0], counts[1] >> shifts[1]];
        let spans = sides.map(Histogram::span);
        let first = spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = spans.iter().map(|(first, counts)| first + counts.len()).max().unwrap_or(0);
        let mut seen = [0_u128; 2];
        let mut largest = (0_u128, first, [0_u128; 2]);
        for bin in first..end {
            for (seen, side) in seen.iter_mut().zip(sides) {
                *seen += u128::from(side.count_at(bin));
            }
            let difference = ((seen[0] >> shifts[0]) * m).abs_diff((seen[1] >> shifts[1]) * n);
            if difference > largest.0 {
                largest = (difference, bin, seen);
            }
        }
        let (difference, bin, seen) = largest;
        let [current_below, reference_below] = [0, 1].map(|side| seen[side] as f64 / counts[side] as f64);
        Some(Distance {
            share: difference as f64 / (n as f64 * m as f64),
            is_slower: current_below < reference_below,
            edge_ns: self.grid().high(bin),
            current_below,
            reference_below,
        })
    }

    /// The bins that either side has, ascending, and in each the share of the current events minus that of the
    /// reference's, from -1 to 1. It is 0 exactly if the shares are equal. Empty if one side has no events.
    #[must_use]
    pub fn differences(&self) -> Vec<(usize, f64)> {
        let (current, reference) = (&*self.current, &*self.reference);
        let [n, m] = [current, reference].map(Histogram::count);
        if n == 0 || m == 0 {
            return Vec::new();
        }
        let mut bins: Vec<usize> = current.occupied().chain(reference.occupied()).map(|(bin, _)| bin).collect();
        bins.sort_unstable();
        bins.dedup();
        let difference = |bin: usize| {
            let [a, b] = [current, reference].map(|side| u128::from(side.count_at(bin)));
            let is_equal = a.checked_mul(m).zip(b.checked_mul(n)).is_some_and(|(a, b)| a == b);
            if is_equal { 0.0 } else { a as f64 / n as f64 - b as f64 / m as f64 }
        };
        bins.into_iter().map(|bin| (bin, difference(bin))).collect()
    }

    /// The distance, and whether it means anything.
    #[must_use]
    pub fn change(&self) -> Change {
        let (count, reference_count) = (self.current.count(), self.reference.count());
        let distance = self.distance();
        let (n, m) = (count as f64, reference_count as f64);
        let is_beyond_chance = |distance: Distance| distance.share * distance.share > CRITICAL * (1.0 / n + 1.0 / m);
        let evidence = match distance {
            _ if count < EVENTS_MIN || reference_count < EVENTS_MIN => Evidence::TooFew,
            Some(distance) if is_beyond_chance(distance) => Evidence::Changed,
            _ => Evidence::Chance,
        };
        Change { count, reference_count, distance, evidence }
    }
}

/// The finest grid that both can be folded to. If the units differ, it is in nanoseconds.
fn common_grid(a: Grid, b: Grid) -> Grid {
    let unit = if a.unit() == b.unit() { a.unit() } else { Unit::Nanoseconds };
    Grid::new(a.scale().min(b.scale()), unit).unwrap_or_default()
}

/// The change of a rate: of the medians of the complete seconds, in events per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateChange {
    /// The current rate.
    pub current: f64,
    /// The reference.
    pub reference: f64,
}

impl RateChange {
    /// The change from `reference` to `current`; `None` if one is missing.
    #[must_use]
    pub fn between(current: Option<Throughput>, reference: Option<Throughput>) -> Option<Self> {
        Some(Self { current: current?.median, reference: reference?.median })
    }

    /// The ratio of the current rate to the reference; `None` if the reference is 0.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.reference > 0.0).then(|| self.current / self.reference)
    }
}

#[cfg(test)]
mod tests;
