//! The latency histogram: exact integer counts in base-2 exponential bins.
//!
//! The [`Grid`] of a histogram says where the edges of its bins are: its scale is 0 (Wallaroo's 65 bins) to 3 (bins that are 9 %
//! wide). Merging two histograms adds their bins. If their scales differ, the finer one is folded first: neighbouring bins add
//! up, exactly. So a histogram of any set of workers over any span of time is exact. The position of a value within its bin
//! is unknown. A quantile is therefore a range, never a point.
//!
//! | operation | failure |
//! |---|---|
//! | [`Histogram::record`], [`Histogram::add`], [`Histogram::merge`] | none: a bin saturates at `u64::MAX` |
//! | [`Histogram::quantile`] | `None` if the histogram is empty |

mod grid;

use smallvec::SmallVec;

pub use self::grid::{Grid, SCALE_MAX, Unit};

/// Number of bins that a histogram stores without an allocation. A second of Wallaroo's traffic occupies 12 to 27 adjacent bins.
const INLINE_BINS: usize = 32;

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
        // `count` is at most 513 * u64::MAX, so the product cannot overflow.
        let rank = (count * self.0 as u128).div_ceil(1_000_000);
        if rank == 0 { 1 } else { rank }
    }

    /// The same for a count of 64 bits, without a division of 128 bits for most of them.
    pub(crate) fn rank_of(self, count: u64) -> u64 {
        let product = count.checked_mul(u64::from(self.0));
        product.map_or_else(|| self.rank(count.into()) as u64, |product| product.div_ceil(1_000_000).max(1))
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
    /// Upper bound, up to `2^65`.
    pub high: u128,
}

/// Counts of durations in the bins of a [`Grid`], with the exact minimum and maximum, and the sum where the source reports it.
///
/// ```
/// use joey_shared::histogram::{Grid, Histogram, Quantile};
/// let mut histogram = Histogram::default();
/// for ns in [100, 120, 130, 900] {
///     histogram.record(ns);
/// }
/// let p50 = histogram.quantile(Quantile::P50).expect("it is not empty");
/// assert_eq!((p50.low, p50.high), (100, 128));
///
/// let mut finer = Histogram::with_sum(Grid::FINEST);
/// finer.record(1_000);
/// finer.record(2_000);
/// assert_eq!(finer.mean_ns(), Some(1_500.0));
/// // Merging folds the finer histogram to the scale of the coarser one.
/// finer.merge(&histogram);
/// assert_eq!((finer.grid(), finer.count(), finer.mean_ns()), (Grid::WALLAROO, 6, None));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    grid: Grid,
    /// The lowest occupied bin; 0 if there is none.
    first: u16,
    /// The counts from the lowest to the highest occupied bin.
    counts: SmallVec<[u64; INLINE_BINS]>,
    /// The shortest recorded duration, in ns; `u64::MAX` if there is none.
    pub min_ns: u64,
    /// The longest recorded duration, in ns; 0 if there is none.
    pub max_ns: u64,
    /// The sum of the recorded durations, in ns, if every source reports it and it is at most `u64::MAX` (584 years).
    pub sum_ns: Option<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(Grid::WALLAROO)
    }
}

impl core::fmt::Debug for Histogram {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "Histogram(scale {} {} ", self.grid.scale(), self.grid.unit().symbol())?;
        write!(out, "min {} max {} sum {:?} ", self.min_ns, self.max_ns, self.sum_ns)?;
        out.debug_map().entries(self.occupied()).finish()?;
        write!(out, ")")
    }
}

impl Histogram {
    /// Creates an empty histogram without a sum.
    #[must_use]
    pub const fn new(grid: Grid) -> Self {
        Self { grid, first: 0, counts: SmallVec::new_const(), min_ns: u64::MAX, max_ns: 0, sum_ns: None }
    }

    /// Creates an empty histogram that keeps the sum of its durations.
    #[must_use]
    pub const fn with_sum(grid: Grid) -> Self {
        let mut histogram = Self::new(grid);
        histogram.sum_ns = Some(0);
        histogram
    }

    /// Sets the minimum, the maximum, both in ns, and the sum.
    #[must_use]
    pub const fn with_statistics(mut self, min_ns: u64, max_ns: u64, sum_ns: Option<u64>) -> Self {
        (self.min_ns, self.max_ns, self.sum_ns) = (min_ns, max_ns, sum_ns);
        self
    }

    /// Creates a histogram from the counts of consecutive bins, the first of which is `first`. It has no minimum, maximum or
    /// sum. Counts beyond the last bin are added to it.
    #[must_use]
    pub fn from_counts<I>(grid: Grid, first: usize, counts: I) -> Self
    where
        I: IntoIterator<Item = u64, IntoIter: ExactSizeIterator>,
    {
        let mut counts = counts.into_iter();
        let room = grid.bins().saturating_sub(first);
        let mut histogram = Self { counts: SmallVec::from_elem(0, counts.len().min(room)), ..Self::new(grid) };
        for (mine, count) in histogram.counts.iter_mut().zip(counts.by_ref()) {
            *mine = count;
        }
        histogram.set_first(first);
        counts.for_each(|count| histogram.add(grid.bins(), count));
        histogram
    }

    /// Creates a histogram from `length` counts from bin `first` on, which are valid bins of `grid`. `fill` sets the
    /// counts, which are 0 before.
    ///
    /// # Errors
    /// The error that `fill` returns.
    pub(crate) fn try_from_counts<E>(
        grid: Grid,
        first: usize,
        length: usize,
        fill: impl FnOnce(&mut [u64]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut histogram = Self { counts: SmallVec::from_elem(0, length), ..Self::new(grid) };
        fill(&mut histogram.counts)?;
        histogram.set_first(first);
        Ok(histogram)
    }

    /// Sets the bin of the first count, and removes empty bins at both ends.
    fn set_first(&mut self, first: usize) {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        let empty = self.counts.iter().take_while(|&&count| count == 0).count();
        if empty > 0 {
            self.counts.drain(..empty);
        }
        self.first = if self.counts.is_empty() { 0 } else { (first + empty) as u16 };
    }

    /// The edges of its bins.
    #[must_use]
    pub const fn grid(&self) -> Grid {
        self.grid
    }

    /// Records one duration, in ns.
    pub fn record(&mut self, ns: u64) {
        self.record_many(ns, 1);
    }

    /// Records a duration, in ns, `count` times.
    pub fn record_many(&mut self, ns: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.add(self.grid.bin_of(ns), count);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.and_then(|sum| sum.checked_add(ns.checked_mul(count)?));
    }

    /// Adds `count` durations to `bin`, without a minimum, maximum or sum. A bin after the last one is the last one.
    pub fn add(&mut self, bin: usize, count: u64) {
        if count > 0 {
            let slot = self.slot(bin);
            *slot = slot.saturating_add(count);
        }
    }

    /// The count of `bin`, which becomes part of the span. The caller adds to it.
    fn slot(&mut self, bin: usize) -> &mut u64 {
        let bin = bin.min(self.grid.bins() - 1);
        let mut first = usize::from(self.first);
        if self.counts.is_empty() {
            first = bin;
            self.counts.push(0);
        } else if bin < first {
            self.counts.insert_many(0, core::iter::repeat_n(0, first - bin));
            first = bin;
        } else if bin >= first + self.counts.len() {
            self.counts.resize(bin - first + 1, 0);
        }
        self.first = first as u16;
        &mut self.counts[bin - first]
    }

    /// Sets the minimum and the maximum to the edges of the outermost occupied bins, for a source that does not report them.
    pub fn set_bounds(&mut self) {
        if let Some(last) = self.counts.len().checked_sub(1) {
            let first = usize::from(self.first);
            self.min_ns = self.grid.low(first);
            self.max_ns = u64::try_from(self.grid.high(first + last)).unwrap_or(u64::MAX);
        }
    }

    /// Adds all counts of `other`. The order and grouping of merges do not matter.
    ///
    /// The result has the coarser of the two scales. It has a sum if both have one. If the units differ, the result is in
    /// nanoseconds, and each count moves to the bin that contains the end of its bin. This is not exact; the store marks
    /// views of such series as approximate.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        if self.grid == other.grid {
            self.add_span(usize::from(other.first), &other.counts);
        } else {
            let grid = self.common_grid(other.grid);
            self.regrid(grid);
            let mut other = other.clone();
            other.regrid(grid);
            self.add_span(usize::from(other.first), &other.counts);
        }
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns = self.sum_ns.zip(other.sum_ns).and_then(|(mine, theirs)| mine.checked_add(theirs));
    }

    fn common_grid(&self, other: Grid) -> Grid {
        let unit = if self.grid.unit() == other.unit() { other.unit() } else { Unit::Nanoseconds };
        Grid::new(self.grid.scale().min(other.scale()), unit).unwrap_or_default()
    }

    /// Adds the counts of consecutive bins, the first and the last of which are occupied.
    fn add_span(&mut self, first: usize, counts: &[u64]) {
        if let Some(last) = counts.len().checked_sub(1) {
            self.slot(first + last);
            self.slot(first);
            let at = first - usize::from(self.first);
            for (mine, theirs) in self.counts[at..].iter_mut().zip(counts) {
                *mine = mine.saturating_add(*theirs);
            }
        }
    }

    /// Merges neighbouring bins down to `scale`, exactly. Does nothing if the scale is not finer.
    pub fn fold_to(&mut self, scale: u8) {
        self.regrid(self.grid.folded(scale));
    }

    /// The same counts in the bins of `grid`. This is exact if the unit is the same and the scale is not finer.
    #[must_use]
    pub fn in_grid(&self, grid: Grid) -> Self {
        let mut converted = self.clone();
        converted.regrid(grid);
        converted
    }

    fn regrid(&mut self, grid: Grid) {
        if grid == self.grid {
            return;
        }
        let is_exact = grid.unit() == self.grid.unit() && grid.scale() <= self.grid.scale();
        let mut folded = Self { min_ns: self.min_ns, max_ns: self.max_ns, sum_ns: self.sum_ns, ..Self::new(grid) };
        for (bin, count) in self.occupied() {
            let to = if is_exact {
                self.grid.folded_bin(bin, grid.scale())
            } else if bin == 0 {
                0
            } else {
                grid.bin_of(u64::try_from(self.grid.high(bin) - 1).unwrap_or(u64::MAX))
            };
            folded.add(to, count);
        }
        *self = folded;
    }

    /// Number of recorded durations, at most `513 * u64::MAX`.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.counts.iter().map(|&count| u128::from(count)).sum()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether the count of a bin is the highest possible one, so that it may be too low.
    pub(crate) fn is_saturated(&self) -> bool {
        self.counts.contains(&u64::MAX)
    }

    /// The recorded minimum and maximum, in ns; `None` if the histogram is empty or the producer's values are inconsistent.
    #[must_use]
    pub fn extremes(&self) -> Option<(u64, u64)> {
        (!self.is_empty() && self.min_ns <= self.max_ns).then_some((self.min_ns, self.max_ns))
    }

    /// The arithmetic mean in ns; `None` without a sum or without counts.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        self.sum_ns.filter(|_| !self.is_empty()).map(|sum| sum as f64 / self.count() as f64)
    }

    /// The lowest occupied bin, and the counts from there to the highest occupied bin.
    #[must_use]
    pub fn span(&self) -> (usize, &[u64]) {
        (usize::from(self.first), &self.counts)
    }

    /// The count of `bin`.
    #[must_use]
    pub fn count_at(&self, bin: usize) -> u64 {
        bin.checked_sub(usize::from(self.first)).and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }

    /// The bins with a count, as `(bin, count)` in ascending order.
    pub fn occupied(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let bins = usize::from(self.first)..;
        bins.zip(self.counts.iter().copied()).filter(|&(_, count)| count > 0)
    }

    /// The range that contains quantile `q`: the bin of rank `ceil(q * count)`, clamped to the recorded minimum and
    /// maximum. `None` if the histogram is empty.
    ///
    /// All quantiles are computed by the same function, [`quantile_of`].
    #[must_use]
    pub fn quantile(&self, q: Quantile) -> Option<QuantileRange> {
        let (first, counts) = self.span();
        quantile_of(self.grid, first, counts.iter().copied(), (self.min_ns, self.max_ns), q)
    }

    /// The range of `bin`, clamped to the recorded minimum and maximum if they are inside it.
    ///
    /// A minimum or maximum outside its bin is an error of the producer. It must not invert the range.
    #[must_use]
    pub fn range_of(&self, bin: usize) -> QuantileRange {
        range_of(self.grid, bin, (self.min_ns, self.max_ns))
    }
}

/// The range that contains quantile `q` of `counts`, which are those of the bins of `grid` from `first` on: the bin of rank
/// `ceil(q * count)`, clamped to the minimum and maximum. `None` if there are no counts.
pub(crate) fn quantile_of(
    grid: Grid,
    first: usize,
    counts: impl Iterator<Item = u64> + Clone,
    extremes: (u64, u64),
    q: Quantile,
) -> Option<QuantileRange> {
    let rank = q.rank(counts.clone().map(u128::from).sum());
    let mut seen = 0_u128;
    let mut bins = counts.zip(first..);
    let (_, bin) = bins.find(|&(count, _)| {
        seen += u128::from(count);
        seen >= rank
    })?;
    Some(range_of(grid, bin, extremes))
}

/// The range of `bin`, clamped to the minimum and maximum if they are inside it and consistent.
pub(crate) fn range_of(grid: Grid, bin: usize, (min_ns, max_ns): (u64, u64)) -> QuantileRange {
    let (low, high) = (grid.low(bin), grid.high(bin));
    let mut range = QuantileRange { low, high };
    if min_ns <= max_ns {
        if low <= min_ns && u128::from(min_ns) < high {
            range.low = min_ns;
        }
        if low <= max_ns && u128::from(max_ns) < high {
            range.high = u128::from(max_ns);
        }
    }
    range
}

#[cfg(test)]
mod tests;
