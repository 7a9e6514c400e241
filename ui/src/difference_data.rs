//! The columns of the difference heatmap, read from the stores of both sides.

use std::collections::BTreeMap;

use joey_shared::compare::Comparison;
use joey_shared::histogram::{Grid, Histogram};
use joey_shared::store::AppStore;
use joey_shared::window::SLOT_NS;

use crate::chart::difference::{Difference, DifferenceColumn};
use crate::chart::timeline::Column;
use crate::chart_data::window_range;
use crate::time_format::UtcOffsets;

/// One side over time.
#[derive(Clone, Debug)]
pub struct Side {
    /// First and last second of the window.
    pub range: (u64, u64),
    /// Last complete second.
    pub through: u64,
    /// The periods with counts, ascending, each in its own bins.
    pub columns: Vec<Column>,
}

/// What each column of this side is compared with.
#[derive(Clone, Debug)]
pub enum OtherSide {
    /// One distribution, such as that of a baseline: it was measured at another time.
    Whole(Box<Histogram>),
    /// What was measured in the same seconds.
    SameSeconds(Side),
}

/// The periods of the view at `view_index` within `range`, or within the window.
pub fn side(store: &mut AppStore, view_index: usize, range: Option<(u64, u64)>) -> Option<Side> {
    let period_seconds = (store.views().get(view_index)?.period_ns / SLOT_NS).max(1);
    let (from, to) = range.unwrap_or_else(|| window_range(store));
    let through = store.through_second();
    let mut columns: Vec<Column> = Vec::new();
    let mut previous = from.saturating_sub(1);
    store.window_at(view_index).for_each_column(from..=to, |second, width, histogram| {
        let width = period_seconds.max(width).min(second.saturating_sub(previous)).max(1);
        columns.push(Column { second, width, histogram: histogram.clone() });
        previous = second;
    });
    Some(Side { range: (from, to), through, columns })
}

/// The difference of `current` and `other`, column by column. A column exists where both have events.
#[must_use]
pub fn difference(current: &Side, other: &OtherSide, utc_offsets: UtcOffsets, hover: Option<u64>) -> Difference {
    let pairs: Vec<(u64, u64, Histogram, Histogram)> = match other {
        OtherSide::Whole(reference) => current
            .columns
            .iter()
            .filter(|column| column.second <= current.through)
            .map(|column| (column.second, column.width, column.histogram.clone(), Histogram::clone(reference)))
            .collect(),
        OtherSide::SameSeconds(reference) => same_seconds(current, reference),
    };
    let both = pairs.into_iter().filter(|(_, _, current, reference)| !current.is_empty() && !reference.is_empty());
    let both: Vec<_> = both.collect();
    let grid = common_grid(&both);
    let column = |(second, width, current, reference): (u64, u64, Histogram, Histogram)| {
        // Without the extremes of whole windows, which a column does not have.
        let plain = |side: Histogram| side.in_grid(grid).with_statistics(u64::MAX, 0, None);
        DifferenceColumn { second, width, current: plain(current), reference: plain(reference) }
    };
    let (from, to) = current.range;
    Difference { from, to, columns: both.into_iter().map(column).collect(), grid, utc_offsets, hover }
}

/// The finest bins that all sides have.
fn common_grid(pairs: &[(u64, u64, Histogram, Histogram)]) -> Grid {
    let mut all: Option<Histogram> = None;
    for side in pairs.iter().flat_map(|(_, _, current, reference)| [current, reference]) {
        match &mut all {
            Some(all) if all.grid() != side.grid() => *all = Comparison::new(all, side).current().clone(),
            Some(_) => {}
            None => all = Some(side.clone()),
        }
    }
    all.map_or(Grid::WALLAROO, |all| all.grid())
}

/// Both sides in steps that are as long as the longest period of either, so that each step has whole periods of both. Steps
/// that are not complete on both sides, or begin before the window, are left out.
fn same_seconds(current: &Side, reference: &Side) -> Vec<(u64, u64, Histogram, Histogram)> {
    let widths = current.columns.iter().chain(&reference.columns).map(|column| column.width);
    let step = widths.max().unwrap_or(1);
    let mut steps: BTreeMap<u64, [Histogram; 2]> = BTreeMap::new();
    for (side, columns) in [&current.columns, &reference.columns].into_iter().enumerate() {
        for column in columns {
            let end = column.second.next_multiple_of(step);
            steps.entry(end).or_default()[side].merge(&column.histogram);
        }
    }
    let (from, through) = (current.range.0, current.through.min(reference.through));
    let is_whole = |end: u64| end <= through && end.saturating_sub(step) + 1 >= from;
    let whole = steps.into_iter().filter(|(end, _)| is_whole(*end));
    whole.map(|(end, [current, reference])| (end, step, current, reference)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fine_update, service_of, store_of, update};
    use joey_shared::view::ViewKey;

    /// The side of the computation on worker `a`, and that on `b`, with periods of two seconds.
    fn sides() -> (Side, Side) {
        let mut store = store_of(&[
            update(1, 0, 100, &[5; 4]),
            update(2, 1, 100, &[5, 900]),
            update(3, 0, 102, &[5; 3]),
            update(4, 1, 104, &[900]),
            update(5, 0, 106, &[5]),
            update(6, 1, 106, &[5; 2]),
            update(7, 0, 108, &[5]),
            update(8, 1, 108, &[900]),
        ]);
        let mut side_of = |worker: &str| {
            let is_worker = |view: &&joey_shared::store::View| {
                view.key.worker.as_deref() == Some(worker) && view.key.name.is_some()
            };
            let key = store.views().iter().find(is_worker).unwrap().key.clone();
            let at = store.find(&key).unwrap();
            side(&mut store, at, None).unwrap()
        };
        (side_of("a"), side_of("b"))
    }

    fn columns(chart: &Difference) -> Vec<(u64, u128, u128)> {
        chart.columns.iter().map(|column| (column.second, column.current.count(), column.reference.count())).collect()
    }

    #[test]
    fn only_seconds_with_events_on_both_sides_are_compared() {
        let (a, b) = sides();
        assert_eq!((a.range.1, a.through), (108, 106));
        let chart = difference(&a, &OtherSide::SameSeconds(b), UtcOffsets::default(), None);
        // 102 and 104 have one side only, 108 is not complete.
        assert_eq!(columns(&chart), [(100, 4, 2), (106, 1, 2)]);
        assert!(chart.columns[1].differences(chart.grid).iter().all(|(_, difference)| *difference == 0.0));
    }

    #[test]
    fn a_baseline_is_compared_with_every_complete_column() {
        let (a, _) = sides();
        let mut baseline = Histogram::default();
        baseline.record_many(900, 10);
        let chart = difference(&a, &OtherSide::Whole(Box::new(baseline)), UtcOffsets::default(), None);
        assert_eq!(columns(&chart), [(100, 4, 10), (102, 3, 10), (106, 1, 10)]);
        let none = difference(&a, &OtherSide::Whole(Box::default()), UtcOffsets::default(), None);
        assert_eq!(columns(&none), []);
    }

    #[test]
    fn periods_of_different_lengths_are_compared_in_the_longer_one() {
        let column =
            |second, width| Column { second, width, histogram: Histogram::from_counts(Grid::WALLAROO, 3, [1]) };
        let range = (101, 112);
        let long = Side { range, through: 112, columns: [104, 108, 112].map(|second| column(second, 4)).to_vec() };
        let short = Side { range, through: 111, columns: (101..=111).map(|second| column(second, 1)).collect() };
        for (current, reference, expected) in
            [(&long, &short, [(104, 1, 4), (108, 1, 4)]), (&short, &long, [(104, 4, 1), (108, 4, 1)])]
        {
            let other = OtherSide::SameSeconds(Side::clone(reference));
            assert_eq!(columns(&difference(current, &other, UtcOffsets::default(), None)), expected);
        }
    }

    #[test]
    fn fine_bins_are_compared_in_the_coarser_ones() {
        let mut fine = service_of(&[fine_update(1, 0, 100, &[1_000_000; 3]), fine_update(2, 0, 101, &[1])]);
        let current = side(&mut fine, 0, None).unwrap();
        let mut coarse = store_of(&[update(1, 0, 100, &[1_000_000; 3]), update(2, 0, 102, &[5])]);
        let at = coarse.find(&ViewKey::computation("n")).unwrap();
        let reference = OtherSide::Whole(Box::new(coarse.histogram(at)));
        let chart = difference(&current, &reference, UtcOffsets::default(), None);
        assert_eq!(chart.grid, Grid::WALLAROO);
        let same = OtherSide::Whole(Box::new(current.columns[0].histogram.clone()));
        assert_eq!(difference(&current, &same, UtcOffsets::default(), None).grid.scale(), 3);
    }
}
