//! Turns printed histograms into series and histograms.

use std::collections::HashMap;

use joey_emit::send::SeriesName;
use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{COMPUTATION, check_name, escape_name};

use super::parse::{Bin, Printed};

/// Maximum number of histograms that are remembered. The relay's default limit of series is the same.
const SERIES_MAX: usize = 10_000;
/// After so many prints in a row in which no count is lower than in the print before, a histogram looks cumulative.
const GROWTHS_MAX: u32 = 5;

/// Why a histogram cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its unit is unknown.
    NoUnit(String),
    /// There are too many histograms.
    TooMany,
}

/// What is remembered of the histograms of one name.
#[derive(Debug, Default)]
struct Known {
    /// Whether a bin was no power of two. The series is approximate from then on.
    is_approximate: bool,
    /// The counts of the last print.
    last: Vec<Bin>,
    /// Number of consecutive prints that contain the print before.
    growths: u32,
}

/// Converts histograms, and remembers what it has seen of each.
#[derive(Debug)]
pub(super) struct Converter {
    /// The name of a histogram that has none of its own.
    default_name: String,
    unit: Option<Unit>,
    is_cumulative: bool,
    known: HashMap<String, Known>,
    /// Number of negative values so far, which are no durations.
    pub(super) negative: u64,
    /// The first histogram that looks cumulative although `--cumulative` was not given.
    pub(super) suspect: Option<String>,
}

impl Converter {
    /// Uses `unit` instead of the printed one, if it is given.
    pub(super) fn new(default_name: String, unit: Option<Unit>, is_cumulative: bool) -> Self {
        Self { default_name, unit, is_cumulative, known: HashMap::new(), negative: 0, suspect: None }
    }

    /// Converts a printed histogram.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub(super) fn convert(&mut self, printed: Printed) -> Result<(SeriesName, Histogram), Unusable> {
        let Printed { name, unit, mut bins } = printed;
        let name = if name.is_empty() { self.default_name.clone() } else { name };
        let Some(unit) = self.unit.or(unit) else { return Err(Unusable::NoUnit(name)) };
        if self.known.len() >= SERIES_MAX && !self.known.contains_key(&name) {
            return Err(Unusable::TooMany);
        }
        let known = self.known.entry(name.clone()).or_default();
        if self.is_cumulative {
            bins = known.difference(&bins);
        } else if known.is_growing(&bins) && self.suspect.is_none() {
            self.suspect = Some(name.clone());
        }
        let is_negative = |bin: &&Bin| bin.low.is_none();
        self.negative += bins.iter().filter(is_negative).map(|bin| bin.count).sum::<u64>();
        bins.retain(|bin| bin.low.is_some());
        known.is_approximate |= !bins.iter().all(is_power_of_two);
        let is_approximate = known.is_approximate;
        let valid = check_name(name.as_bytes()).map_or_else(|_| escape_name(name.as_bytes()), str::to_owned);
        let series =
            SeriesName { is_approximate, has_extremes: false, ..SeriesName::exact(COMPUTATION, "", valid.as_str()) };
        Ok((series, histogram(&bins, unit, is_approximate)))
    }
}

impl Known {
    /// What was added since the last print. A count that is lower than before starts again at zero.
    fn difference(&mut self, bins: &[Bin]) -> Vec<Bin> {
        let mut added = Vec::new();
        for bin in bins {
            let last = self.last.iter_mut().find(|last| (last.low, last.high) == (bin.low, bin.high));
            let before = match last {
                Some(last) => std::mem::replace(&mut last.count, bin.count),
                None => {
                    self.last.push(*bin);
                    0
                }
            };
            let count = bin.count.checked_sub(before).unwrap_or(bin.count);
            added.extend((count > 0).then_some(Bin { count, ..*bin }));
        }
        added
    }

    /// Whether the prints up to this one look as if they were never cleared.
    fn is_growing(&mut self, bins: &[Bin]) -> bool {
        let contains =
            |last: &Bin| bins.iter().any(|bin| (bin.low, bin.high) == (last.low, last.high) && bin.count >= last.count);
        let is_larger = !self.last.is_empty() && self.last != bins && self.last.iter().all(contains);
        self.growths = if is_larger { self.growths + 1 } else { 0 };
        bins.clone_into(&mut self.last);
        self.growths >= GROWTHS_MAX
    }
}

/// Whether this is a bin of `hist()`: 0, 1, or from a power of two up to the next one. bcc's first bin counts 0 and 1.
fn is_power_of_two(bin: &Bin) -> bool {
    match (bin.low, bin.high) {
        (Some(0), Some(high)) => high <= 1,
        (Some(low), Some(high)) => low.is_power_of_two() && high == low - 1 + low,
        _ => false,
    }
}

/// The counts of `bins`, which have no negative values.
fn histogram(bins: &[Bin], unit: Unit, is_approximate: bool) -> Histogram {
    let scale = if is_approximate { Grid::FINEST.scale() } else { 0 };
    let grid = Grid::new(scale, unit).unwrap_or_default();
    let mut histogram = Histogram::new(grid);
    for bin in bins {
        histogram.add(bin_of(grid, bin, is_approximate), bin.count);
    }
    histogram.set_bounds();
    histogram
}

fn bin_of(grid: Grid, bin: &Bin, is_approximate: bool) -> usize {
    let (low, high) = (bin.low.unwrap_or(0), bin.high.or(bin.low).unwrap_or(0));
    if high == 0 {
        0
    } else if is_approximate {
        // The bin that contains the end, as for the buckets of other formats; of an open bin, the start.
        let unit_ns = grid.unit().ns();
        let end_ns = high.saturating_add(1).saturating_mul(unit_ns).saturating_sub(1);
        grid.bin_of(if bin.high.is_some() { end_ns } else { low.saturating_mul(unit_ns) })
    } else {
        grid.bin_of_index(high.ilog2().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn bin(low: u64, high: u64, count: u64) -> Bin {
        Bin { low: Some(low), high: Some(high), count }
    }

    fn printed(name: &str, bins: &[Bin]) -> Printed {
        Printed { name: name.to_owned(), unit: Some(Unit::Microseconds), bins: bins.to_vec() }
    }

    fn converter(is_cumulative: bool) -> Converter {
        Converter::new("App".to_owned(), None, is_cumulative)
    }

    /// The bins as lower and upper bound in ns, and count.
    fn ranges(histogram: &Histogram) -> Vec<(u64, u128, u64)> {
        let grid = histogram.grid();
        histogram.occupied().map(|(bin, count)| (grid.low(bin), grid.high(bin), count)).collect()
    }

    #[test]
    fn powers_of_two_keep_their_exact_bins_in_their_unit() {
        let bins = [bin(0, 0, 1), bin(1, 1, 2), bin(2, 3, 3), bin(1 << 20, (2 << 20) - 1, 4)];
        let (series, histogram) = converter(false).convert(printed("usecs[nginx]", &bins)).unwrap();
        let us = u128::from(US);
        let expected = [(0, 1, 1), (US, 2 * us, 2), (2 * US, 4 * us, 3), (US << 20, us << 21, 4)];
        assert_eq!(ranges(&histogram), expected);
        assert_eq!((&*series.name, &*series.category), ("usecs[nginx]", COMPUTATION));
        assert!(!series.is_approximate && !series.has_extremes);
    }

    #[test]
    fn the_first_bin_of_bcc_counts_as_one_unit() {
        let (series, histogram) = converter(false).convert(printed("", &[bin(0, 1, 5)])).unwrap();
        assert_eq!((&*series.name, ranges(&histogram)), ("App", vec![(US, 2 * u128::from(US), 5)]));
    }

    #[test]
    fn other_bins_are_approximate_and_stay_so() {
        let mut converter = converter(false);
        let bins = [Bin { low: None, ..bin(0, 0, 3) }, bin(100, 199, 5), Bin { high: None, ..bin(1_000, 0, 1) }];
        let (series, histogram) = converter.convert(printed("lat", &bins)).unwrap();
        assert!(series.is_approximate);
        let ranges = ranges(&histogram);
        assert_eq!(ranges.iter().map(|range| range.2).collect::<Vec<_>>(), [5, 1]);
        // The ends of the buckets are in the bins: 200 us, and 1 ms of the last, open one.
        for ((low, high, _), ns) in ranges.into_iter().zip([200 * US - 1, 1_000 * US]) {
            assert!(low <= ns && u128::from(ns) < high && high < u128::from(low) * 11 / 10, "{low} {ns} {high}");
        }
        assert_eq!(converter.negative, 3);
        assert!(converter.convert(printed("lat", &[bin(1, 1, 1)])).unwrap().0.is_approximate);
    }

    #[test]
    fn without_a_unit_a_histogram_is_unusable() {
        let unknown = Printed { unit: None, ..printed("bytes", &[bin(1, 1, 1)]) };
        assert_eq!(converter(false).convert(unknown.clone()), Err(Unusable::NoUnit("bytes".to_owned())));
        let mut given = Converter::new("App".to_owned(), Some(Unit::Milliseconds), false);
        assert_eq!(ranges(&given.convert(unknown).unwrap().1)[0].0, 1_000_000);
    }

    #[test]
    fn cumulative_histograms_are_subtracted() {
        let mut converter = converter(true);
        let mut counts = |bins: &[Bin]| {
            let (_, histogram) = converter.convert(printed("x", bins)).unwrap();
            histogram.occupied().map(|(_, count)| count).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[bin(1, 1, 5)]), [5]);
        assert_eq!(counts(&[bin(1, 1, 7), bin(2, 3, 1)]), [2, 1]);
        assert_eq!(counts(&[bin(1, 1, 7), bin(2, 3, 1)]), [] as [u64; 0]);
        // It was cleared.
        assert_eq!(counts(&[bin(1, 1, 2)]), [2]);
    }

    #[test]
    fn histograms_that_only_grow_are_suspected_to_be_cumulative() {
        let mut growing = converter(false);
        for count in 1..=6 {
            assert_eq!(growing.suspect, None);
            growing.convert(printed("x", &[bin(1, 1, count)])).unwrap();
        }
        assert_eq!(growing.suspect.as_deref(), Some("x"));
        let mut steady = converter(false);
        for count in [3, 4, 5, 6, 2, 3, 4, 5, 6] {
            steady.convert(printed("x", &[bin(1, 1, count)])).unwrap();
        }
        assert_eq!(steady.suspect, None);
    }
}
