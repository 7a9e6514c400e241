//! The latency axis: the logarithm of a duration in ns.
//!
//! Bins of different scales and units have different edges. All charts therefore place a bin by the logarithms of its edges, not
//! by its number.

use joey_shared::histogram::{Grid, Histogram};

/// Minimum number of bins on an axis, so that a view with a single bin is not one thick bar.
const BINS_MIN: usize = 8;

/// Minimum length of an axis, in powers of two. It has at least two of the ticks 1, 2 and 5.
const OCTAVES_MIN: usize = 3;

/// A range of the axis, as powers of two of a ns: `10.0` is 1,024 ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyRange {
    /// The lower end. It is -1 for zero, which has no logarithm.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl LatencyRange {
    /// The range of charts without counts: from 128 ns to 17 ms.
    pub const EMPTY: Self = Self { low: 7.0, high: 24.0 };

    /// The range of `bin`. The bin of zero is one unit long.
    #[must_use]
    pub fn of_bin(grid: Grid, bin: usize) -> Self {
        Self::of_bins(grid, bin, bin)
    }

    /// The range from bin `first` to bin `last`.
    fn of_bins(grid: Grid, first: usize, last: usize) -> Self {
        Self { low: log2(grid.low(first).into()), high: log2(grid.high(last)) }
    }

    /// The range of all counts of `histogram`, with a margin of one bin.
    #[must_use]
    pub fn around(histogram: &Histogram) -> Option<Self> {
        let (first, last) = outer_bins(histogram)?;
        Some(Self::of_bins(histogram.grid(), first, last))
    }

    /// The range that contains both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// The ends as durations in ns.
    #[must_use]
    pub fn durations(self) -> (u128, u128) {
        // An edge is a whole number of ns. Its logarithm is not exact, and less than 1 ns is zero.
        let duration = |log2: f64| if log2 < 0.0 { 0 } else { log2.exp2().round() as u128 };
        (duration(self.low), duration(self.high))
    }
}

/// The lowest and the highest bin with counts, and one bin more on each side.
fn outer_bins(histogram: &Histogram) -> Option<(usize, usize)> {
    let (first, counts) = histogram.span();
    let last = first + counts.len().checked_sub(1)?;
    Some((first.saturating_sub(1), (last + 1).min(histogram.grid().bins() - 1)))
}

/// The range of a chart of `total` alone.
#[must_use]
pub fn visible_range(total: &Histogram) -> LatencyRange {
    let grid = total.grid();
    let Some((mut low, mut high)) = outer_bins(total) else { return LatencyRange::EMPTY };
    let bins_min = BINS_MIN.max(OCTAVES_MIN << grid.scale());
    while high - low + 1 < bins_min {
        low = low.saturating_sub(1);
        high = (high + 1).min(grid.bins() - 1);
    }
    LatencyRange::of_bins(grid, low, high)
}

/// The finest grid, up to `grid`, for which `has_room` is true; otherwise that of scale 0.
#[must_use]
pub fn finest_grid(grid: Grid, has_room: impl Fn(Grid) -> bool) -> Grid {
    let folded = (1..=grid.scale()).rev().map(|scale| grid.folded(scale));
    folded.into_iter().find(|&folded| has_room(folded)).unwrap_or_else(|| grid.folded(0))
}

/// The logarithm of a duration in ns; -1 for zero.
#[must_use]
pub fn log2(ns: u128) -> f64 {
    if ns == 0 { -1.0 } else { (ns as f64).log2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::histogram::Unit;

    /// The range of a chart with counts in these bins.
    fn check(grid: Grid, bins: &[usize], low: f64, high: f64) {
        let mut histogram = Histogram::new(grid);
        bins.iter().for_each(|&bin| histogram.add(bin, 1));
        let range = visible_range(&histogram);
        assert!((range.low - low).abs() < 1e-6 && (range.high - high).abs() < 1e-6, "{grid:?} {bins:?}: {range:?}");
    }

    #[test]
    fn bins_of_wallaroo_are_whole_powers_of_two() {
        for bin in 0..=64 {
            let range = LatencyRange::of_bin(Grid::WALLAROO, bin);
            assert_eq!((range.low, range.high), (bin as f64 - 1.0, bin as f64));
        }
    }

    #[test]
    fn the_visible_range_holds_every_count_with_a_margin() {
        check(Grid::WALLAROO, &[5, 20], 3.0, 21.0);
        check(Grid::WALLAROO, &[0, 64], -1.0, 64.0);
        check(Grid::WALLAROO, &[], 7.0, 24.0);
        check(Grid::WALLAROO, &[0], -1.0, 7.0);
        check(Grid::WALLAROO, &[64], 56.0, 64.0);
    }

    #[test]
    fn fine_bins_have_an_axis_of_three_octaves_at_least() {
        let seconds = Grid::new(3, Unit::Seconds).unwrap();
        let bin = seconds.bin_of_index(0);
        let second = 1e9_f64.log2();
        check(seconds, &[bin], second - 1.5, second + 1.625);
        check(seconds, &[bin, bin + 79], second - 0.125, second + 10.125);
        check(seconds, &[], 7.0, 24.0);
    }

    #[test]
    fn the_ends_of_a_range_are_durations() {
        assert_eq!(LatencyRange { low: -1.0, high: 64.0 }.durations(), (0, 1 << 64));
        let seconds = Grid::new(3, Unit::Seconds).unwrap();
        for bin in [1, 2, 200, seconds.bin_of_index(0), 300] {
            let (low, high) = LatencyRange::of_bin(seconds, bin).durations();
            let is_near = |a: u128, b: u128| a.abs_diff(b) <= b >> 40;
            assert!(is_near(low, seconds.low(bin).into()) && is_near(high, seconds.high(bin)), "{bin}: {low} {high}");
        }
    }
}
