//! The bins of a histogram: base-2 exponential, with a scale and a unit.
//!
//! At scale `s` the edges are `unit * 2^(i / 2^s)`, as in OpenTelemetry's exponential histograms and Prometheus' native
//! histograms. Scale 0 in nanoseconds is Wallaroo's format. A source that measures in seconds has other edges than one
//! that measures in nanoseconds, because 1,000 is not a power of two. Its histograms therefore keep its unit, so that no
//! count has to move to another bin.
//!
//! Bin 0 counts zero. Bin `j` counts `low(j) <= ns < high(j)`. OpenTelemetry's bins are closed at the other end: a
//! duration that equals an edge is in the bin below it. An edge that is a whole number of nanoseconds is a power of two
//! times the unit, so only such durations differ.

/// The finest scale that is retained: 8 bins for each power of two, each 9 % wide.
pub const SCALE_MAX: u8 = 3;

/// Number of powers of two that the bins cover, from about 1 ns to `2^64` ns.
const OCTAVES: usize = 64;

/// `2^(63 + k / 8)`, rounded down.
const EIGHTHS: [u64; 8] = [
    0x8000_0000_0000_0000,
    0x8b95_c1e3_ea8b_d6e6,
    0x9837_f051_8db8_a96f,
    0xa5fe_d6a9_b151_38ea,
    0xb504_f333_f9de_6484,
    0xc567_2a11_5506_dadd,
    0xd744_fcca_d69d_6af4,
    0xeac0_c6e7_dd24_392e,
];

/// The unit in which the edges of scale 0 are powers of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// 1 ns, as in Wallaroo.
    #[default]
    Nanoseconds,
    /// 1,000 ns.
    Microseconds,
    /// 1,000,000 ns.
    Milliseconds,
    /// 1,000,000,000 ns, the unit of OpenTelemetry's semantic conventions.
    Seconds,
}

impl Unit {
    /// All units, from the shortest.
    pub const ALL: [Self; 4] = [Self::Nanoseconds, Self::Microseconds, Self::Milliseconds, Self::Seconds];

    /// Its length in ns.
    #[must_use]
    pub const fn ns(self) -> u64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
        }
    }

    /// The SI symbol.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// The largest power of two, as an exponent, that is at most its length in ns. Bin 1 starts this many octaves below the unit.
    const fn octave(self) -> u32 {
        self.ns().ilog2()
    }
}

/// The edges of a histogram's bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grid {
    scale: u8,
    unit: Unit,
}

impl Grid {
    /// The bins of Wallaroo: powers of two of a nanosecond.
    pub const WALLAROO: Self = Self { scale: 0, unit: Unit::Nanoseconds };
    /// The finest bins for durations in nanoseconds, for sources that report single durations.
    pub const FINEST: Self = Self { scale: SCALE_MAX, unit: Unit::Nanoseconds };

    /// The grid of this scale and unit; `None` above [`SCALE_MAX`].
    #[must_use]
    pub const fn new(scale: u8, unit: Unit) -> Option<Self> {
        if scale <= SCALE_MAX { Some(Self { scale, unit }) } else { None }
    }

    /// The scale, `0..=SCALE_MAX`: there are `2^scale` bins for each power of two.
    #[must_use]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The unit.
    #[must_use]
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// The grid of the same unit at `scale`, if that is coarser.
    #[must_use]
    pub const fn folded(self, scale: u8) -> Self {
        Self { scale: if scale < self.scale { scale } else { self.scale }, unit: self.unit }
    }

    /// Number of bins: 65 at scale 0, 513 at scale 3.
    #[must_use]
    pub const fn bins(self) -> usize {
        (OCTAVES << self.scale) + 1
    }

    /// The bin that counts a duration of `ns` nanoseconds.
    ///
    /// At scale 0 in ns this is `64 - clz(ns)`, as in Wallaroo's `lib/wallaroo/core/metrics/histogram.pony`.
    ///
    /// ```
    /// use joey_shared::histogram::Grid;
    /// assert_eq!([0, 1, 3, 4, u64::MAX].map(|ns| Grid::WALLAROO.bin_of(ns)), [0, 1, 2, 3, 64]);
    /// assert_eq!([0, 1, 1_000_000].map(|ns| Grid::FINEST.bin_of(ns)), [0, 1, 160]);
    /// ```
    #[must_use]
    #[inline]
    pub fn bin_of(self, ns: u64) -> usize {
        match self.unit {
            Unit::Nanoseconds if self.scale == 0 => (u64::BITS - ns.leading_zeros()) as usize,
            _ if ns == 0 => 0,
            Unit::Nanoseconds => {
                let octave = ns.ilog2();
                let mantissa = ns << (63 - octave);
                // An eighth of an octave on a linear scale contains one edge. Its lower part belongs to the bin of the
                // same number, the upper part to the next bin.
                let linear = (mantissa >> 60) as usize & 7;
                let is_above = EIGHTHS.get(linear + 1).is_some_and(|&edge| mantissa > edge);
                let eighths = octave as usize * 8 + linear + usize::from(is_above);
                (eighths >> (SCALE_MAX - self.scale)) + 1
            }
            _ => {
                let (mut first, mut last) = (1, self.bins() - 1);
                while first < last {
                    let middle = (first + last).div_ceil(2);
                    (first, last) = if self.low(middle) <= ns { (middle, last) } else { (first, middle - 1) };
                }
                first
            }
        }
    }

    /// The lower bound of `bin`, inclusive: the shortest duration of the bin, in ns. Bin 1 starts at 1 ns.
    #[must_use]
    #[inline]
    pub fn low(self, bin: usize) -> u64 {
        // Powers of two need no table. This is the path of every update of Wallaroo.
        if self.scale == 0 && matches!(self.unit, Unit::Nanoseconds) && bin <= OCTAVES {
            return if bin == 0 { 0 } else { 1 << (bin - 1) };
        }
        u64::try_from(self.edge(bin)).unwrap_or(u64::MAX)
    }

    /// The upper bound of `bin`, exclusive, in ns, up to about `2^65`.
    #[must_use]
    pub fn high(self, bin: usize) -> u128 {
        if bin == 0 { self.edge(1) } else { self.edge(bin + 1) }
    }

    /// The lower edge of `bin`, rounded up to a whole number of ns.
    fn edge(self, bin: usize) -> u128 {
        // Bin 1 also counts durations that are shorter than its lower edge would be, so it starts at 1 ns.
        let steps = match bin.min(self.bins()) {
            0 => return 0,
            1 => return 1,
            bin => bin - 1,
        };
        let (octave, eighth) = (steps >> self.scale, (steps & ((1 << self.scale) - 1)) << (SCALE_MAX - self.scale));
        // At most 2^30 * 2^64.
        let product = u128::from(self.unit.ns()) * u128::from(EIGHTHS[eighth]);
        // 2^63 is the denominator of `EIGHTHS`. The formula gives `unit / 2^octave()` for bin 1.
        let shift = 63 + self.unit.octave() as usize;
        let (whole, has_rest) = if octave >= shift {
            (product << (octave - shift), false)
        } else {
            let shift = shift - octave;
            (product >> shift, product & ((1 << shift) - 1) != 0)
        };
        // The root of a power of two is irrational: even if its digits end here, the next whole number is above it.
        whole + u128::from(has_rest || eighth > 0)
    }

    /// The bin for OpenTelemetry's bucket `index` of this grid, which counts `(base^index, base^(index + 1)]` units, where
    /// `base` is `2^(1 / 2^scale)`. An index outside the bins gives the first or the last one.
    ///
    /// ```
    /// use joey_shared::histogram::{Grid, Unit};
    /// let seconds = Grid::new(3, Unit::Seconds).expect("the scale is valid");
    /// // The bucket from 1 s to 2^(1/8) s.
    /// let bin = seconds.bin_of_index(0);
    /// assert_eq!((seconds.low(bin), seconds.high(bin)), (1_000_000_000, 1_090_507_733));
    /// ```
    #[must_use]
    pub fn bin_of_index(self, index: i64) -> usize {
        let first = i64::from(self.unit.octave()) << self.scale;
        let bin = index.saturating_add(first).saturating_add(1).max(1);
        usize::try_from(bin).unwrap_or(usize::MAX).min(self.bins() - 1)
    }

    /// The inverse of [`Grid::bin_of_index`]: OpenTelemetry's bucket index of `bin`, which must not be 0.
    #[must_use]
    pub fn index_of_bin(self, bin: usize) -> i64 {
        bin as i64 - 1 - (i64::from(self.unit.octave()) << self.scale)
    }

    /// The bin at the coarser `scale` that contains `bin`.
    #[must_use]
    pub const fn folded_bin(self, bin: usize, scale: u8) -> usize {
        if bin == 0 || scale >= self.scale { bin } else { ((bin - 1) >> (self.scale - scale)) + 1 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn all_grids() -> Vec<Grid> {
        let of_unit = |unit| (0..=SCALE_MAX).filter_map(move |scale| Grid::new(scale, unit));
        Unit::ALL.into_iter().flat_map(of_unit).collect()
    }

    fn any_grid() -> impl Strategy<Value = Grid> {
        prop::sample::select(all_grids())
    }

    /// Durations spread over all magnitudes, with many values at the edges of bins.
    pub(in crate::histogram) fn duration() -> impl Strategy<Value = u64> {
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
    fn wallaroos_bins_match_the_producers_examples() {
        for (ns, bin) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (1 << 63, 64), (u64::MAX, 64)]
        {
            assert_eq!(Grid::WALLAROO.bin_of(ns), bin, "{ns} ns");
        }
        assert_eq!(Grid::WALLAROO.high(64), 1 << 64);
    }

    #[test]
    fn edges_match_the_formula() {
        for grid in all_grids() {
            assert_eq!((grid.low(0), grid.bins()), (0, (64 << grid.scale()) + 1));
            assert_eq!((grid.low(1), grid.high(0)), (1, 1));
            for bin in 2..grid.bins() {
                let exponent = grid.index_of_bin(bin) as f64 / f64::from(1_u32 << grid.scale());
                let expected = exponent.exp2() * grid.unit().ns() as f64;
                let low = grid.edge(bin) as f64;
                assert!(low >= expected * (1.0 - 1e-14) && low <= expected * (1.0 + 1e-14) + 1.0, "{grid:?} {bin}");
                assert_eq!(grid.high(bin - 1), grid.edge(bin));
                assert_eq!(grid.bin_of_index(grid.index_of_bin(bin)), bin);
            }
        }
    }

    #[test]
    fn an_index_outside_the_bins_gives_the_first_or_the_last_bin() {
        for grid in all_grids() {
            assert_eq!((grid.bin_of_index(i64::MIN), grid.bin_of_index(i64::MAX)), (1, grid.bins() - 1));
        }
    }

    #[test]
    fn only_exact_powers_of_two_are_in_another_bin_than_in_opentelemetry() {
        // OpenTelemetry's bins are open below and closed above.
        let theirs = |grid: Grid, ns: u64| {
            let index =
                (0..).find(|&index| u128::from(ns) <= grid.high(grid.bin_of_index(index)) - u128::from(index & 7 != 7));
            grid.bin_of_index(index.unwrap())
        };
        for ns in 2..5_000_u64 {
            let ours = Grid::FINEST.bin_of(ns);
            let difference = usize::from(ns.is_power_of_two());
            assert_eq!(ours - theirs(Grid::FINEST, ns), difference, "{ns} ns");
        }
    }

    proptest! {
        #[test]
        fn a_duration_lies_within_its_bin(grid in any_grid(), ns in duration()) {
            let bin = grid.bin_of(ns);
            prop_assert!(bin < grid.bins());
            prop_assert!(ns == 0 || bin > 0);
            prop_assert!(grid.low(bin) <= ns);
            prop_assert!(u128::from(ns) < grid.high(bin));
        }

        #[test]
        fn the_finest_bins_are_nine_percent_wide(ns in 1_000_000..u64::MAX / 4) {
            let bin = Grid::FINEST.bin_of(ns);
            let (low, high) = (Grid::FINEST.low(bin) as f64, Grid::FINEST.high(bin) as f64);
            prop_assert!((high / low - 1.090_507_7).abs() < 1e-5);
        }

        #[test]
        fn folding_a_bin_gives_the_bin_of_the_coarser_grid(grid in any_grid(), ns in duration(), scale in 0..=SCALE_MAX) {
            let folded = grid.folded(scale);
            prop_assert_eq!(grid.folded_bin(grid.bin_of(ns), scale), folded.bin_of(ns));
        }

        #[test]
        fn wallaroos_bins_match_those_of_two_other_crates(ns in duration()) {
            let bin = Grid::WALLAROO.bin_of(ns);
            let mut h2 = ::histogram::Histogram::new(0, 64).unwrap();
            h2.increment(ns).unwrap();
            prop_assert_eq!(h2.as_slice()[bin], 1);
            let mut base2 = base2histogram::Histogram::<()>::with_log_scale(1, 1);
            base2.record(ns);
            prop_assert_eq!(base2.bucket(bin).count(), 1);
        }
    }
}
