//! The sum of the histograms in a window, to which histograms are added and from which they are subtracted.

use alloc::vec::Vec;

use crate::histogram::{Grid, Histogram, Quantile, QuantileRange, quantile_of, range_of};
use crate::wire::PackedHistogram;

/// The sum over the slots in a window. There is one part for each grid, so that the counts of a fine grid become visible again
/// when the last histogram of a coarser grid has left the window.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowSum {
    parts: Vec<Part>,
}

/// The sum of the histograms of one grid.
#[derive(Clone, Debug)]
struct Part {
    grid: Grid,
    /// Number of histograms.
    histograms: usize,
    /// Number of histograms without a sum of their durations, and the sum of the others in ns.
    without_sum: usize,
    sum_ns: u128,
    /// Number of durations.
    total: u128,
    /// The bin of the first count.
    first: usize,
    /// Counts. They have 128 bits, so they cannot saturate and subtraction is exact.
    counts: Vec<u128>,
}

impl WindowSum {
    /// Adds `histogram`.
    pub(super) fn add(&mut self, histogram: &Histogram) {
        let (first, counts) = histogram.span();
        if counts.is_empty() {
            return;
        }
        let part = self.part(histogram.grid(), first);
        part.histograms += 1;
        match histogram.sum_ns {
            Some(sum_ns) => part.sum_ns += u128::from(sum_ns),
            None => part.without_sum += 1,
        }
        part.add_counts(first, counts);
    }

    /// Adds `histogram` to the counts of one that was added before and has the same grid. The sum of that one's durations was
    /// `before`, and is `after` now.
    pub(super) fn add_to_earlier(&mut self, histogram: &Histogram, before: Option<u64>, after: Option<u64>) {
        let (first, counts) = histogram.span();
        let part = self.part(histogram.grid(), first);
        if let Some(before) = before {
            part.sum_ns -= u128::from(before);
            match after {
                Some(after) => part.sum_ns += u128::from(after),
                None => part.without_sum += 1,
            }
        }
        part.add_counts(first, counts);
    }

    /// Subtracts `histogram`, which was added before.
    pub(super) fn subtract(&mut self, histogram: &PackedHistogram) {
        let at = self.parts.iter().position(|part| Some(part.grid) == histogram.grid());
        let Some(at) = at.filter(|_| !histogram.is_empty()) else { return };
        let part = &mut self.parts[at];
        part.histograms -= 1;
        if part.histograms == 0 {
            self.parts.swap_remove(at);
            return;
        }
        let Part { first, counts, total, .. } = part;
        let sum_ns = histogram.for_each_count(|bin, count| {
            counts[bin - *first] -= u128::from(count);
            *total -= u128::from(count);
        });
        match sum_ns {
            Some(sum_ns) => part.sum_ns -= u128::from(sum_ns),
            None => part.without_sum -= 1,
        }
    }

    fn part(&mut self, grid: Grid, first: usize) -> &mut Part {
        let at = self.parts.iter().position(|part| part.grid == grid).unwrap_or_else(|| {
            self.parts.push(Part {
                grid,
                histograms: 0,
                without_sum: 0,
                sum_ns: 0,
                total: 0,
                first,
                counts: Vec::new(),
            });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }

    /// Quantile `q` of a histogram with these counts, minimum and maximum.
    pub(super) fn quantile(&self, q: Quantile, extremes: (u64, u64)) -> Option<QuantileRange> {
        match self.parts.as_slice() {
            [part] => match u64::try_from(part.total) {
                Ok(total) => part.bin_of_rank(q.rank_of(total)).map(|bin| range_of(part.grid, bin, extremes)),
                // Counts may be saturated.
                Err(_) => quantile_of(part.grid, part.first, part.counts(), extremes, q),
            },
            _ => self.histogram().with_statistics(extremes.0, extremes.1, None).quantile(q),
        }
    }

    /// The sum as one histogram, in the coarsest grid of the window. It has no minimum and maximum.
    pub(super) fn histogram(&self) -> Histogram {
        let mut total = Histogram::default();
        // The order matters only if units are mixed.
        for unit in crate::histogram::Unit::ALL {
            for part in self.parts.iter().filter(|part| part.grid.unit() == unit) {
                total.merge(&part.histogram());
            }
        }
        total
    }
}

impl Part {
    /// Adds the counts of the bins from `first` on.
    fn add_counts(&mut self, first: usize, counts: &[u64]) {
        self.reserve(first, counts.len());
        let mut total = 0;
        for (sum, &count) in self.counts[first - self.first..].iter_mut().zip(counts) {
            *sum += u128::from(count);
            total += u128::from(count);
        }
        self.total += total;
    }

    /// Makes room for `length` counts from bin `first` on.
    fn reserve(&mut self, first: usize, length: usize) {
        if first < self.first {
            self.counts.splice(0..0, core::iter::repeat_n(0, self.first - first));
            self.first = first;
        }
        let end = first - self.first + length;
        if self.counts.len() < end {
            self.counts.resize(end, 0);
        }
    }

    /// The bin of the duration of this rank, found from the end: the ranks of most percentiles are near it. No count is
    /// saturated.
    fn bin_of_rank(&self, rank: u64) -> Option<usize> {
        let mut above = (self.total as u64).checked_sub(rank)?;
        let at = self.counts.iter().rposition(|&count| match above.checked_sub(count as u64) {
            Some(rest) => {
                above = rest;
                false
            }
            None => true,
        })?;
        Some(self.first + at)
    }

    /// The counts from bin `first` on.
    fn counts(&self) -> impl ExactSizeIterator<Item = u64> + Clone {
        self.counts.iter().map(|&count| u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn histogram(&self) -> Histogram {
        let counts = self.counts();
        let sum_ns = u64::try_from(self.sum_ns).ok().filter(|_| self.without_sum == 0);
        Histogram::from_counts(self.grid, self.first, counts).with_statistics(u64::MAX, 0, sum_ns)
    }
}
