//! Tests of comparisons: examples, and properties against the durations themselves.

use super::*;
use crate::series::{COMPUTATION, SeriesKey};
use crate::store::{AppStore, Applied};
use crate::view::ViewKey;
use crate::window::SLOT_NS;
use crate::wire::{SeriesEntry, Update};
use alloc::string::ToString;
use proptest::prelude::*;
use std::vec::Vec;

fn histogram(grid: Grid, durations: &[u64]) -> Histogram {
    let mut histogram = Histogram::new(grid);
    durations.iter().for_each(|&ns| histogram.record(ns));
    histogram
}

fn coarse(counts: &[(usize, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    counts.iter().for_each(|&(bin, count)| histogram.add(bin, count));
    histogram
}

/// The distance of two histograms: its share in percent, whether the first is slower, and the edge.
fn distance(current: &Histogram, reference: &Histogram) -> (f64, bool, u128) {
    let distance = Comparison::new(current, reference).distance().unwrap();
    (distance.share * 100.0, distance.is_slower, distance.edge_ns)
}

#[test]
fn the_distance_is_the_largest_difference_of_cumulative_shares() {
    let before = coarse(&[(10, 90), (12, 10)]);
    assert_eq!(distance(&coarse(&[(10, 50), (12, 50)]), &before), (40.0, true, 1_024));
    assert_eq!(distance(&before, &coarse(&[(10, 5), (12, 5)])), (40.0, false, 1_024));
    // The number of events does not matter, only their shares.
    assert_eq!(distance(&coarse(&[(10, 9_000), (12, 1_000)]), &before).0, 0.0);
    assert_eq!(distance(&coarse(&[(40, 1)]), &coarse(&[(3, u64::MAX)])), (100.0, true, 8));
}

#[test]
fn a_percentile_moves_by_bins_within_a_range_of_ratios() {
    let change = |current: &Histogram, reference: &Histogram| {
        Comparison::new(current, reference).quantile(Quantile::P50).unwrap()
    };
    let one = change(&coarse(&[(11, 1)]), &coarse(&[(10, 1)]));
    assert_eq!((one.bins, one.ratio, one.nominal_ratio()), (1, (1.0, 4.0), Some(2.0)));
    let same = change(&coarse(&[(10, 3)]), &coarse(&[(10, 1)]));
    assert_eq!((same.bins, same.ratio), (0, (0.5, 2.0)));
    let down = change(&coarse(&[(7, 1)]), &coarse(&[(10, 1)]));
    assert_eq!((down.bins, down.nominal_ratio()), (-3, Some(0.125)));
    // The extremes narrow the range.
    let narrow = change(&histogram(Grid::WALLAROO, &[600]), &histogram(Grid::WALLAROO, &[300]));
    assert_eq!((narrow.bins, narrow.ratio), (1, (2.0, 2.0)));
    // From zero, there is no ratio.
    let zero = change(&coarse(&[(10, 1)]), &coarse(&[(0, 1)]));
    assert_eq!((zero.bins, zero.ratio.1, zero.nominal_ratio()), (10, f64::INFINITY, None));
    let nothing = change(&histogram(Grid::WALLAROO, &[0]), &histogram(Grid::WALLAROO, &[0]));
    assert_eq!((nothing.bins, nothing.ratio), (0, (0.0, f64::INFINITY)));
    assert!(Comparison::new(&coarse(&[(1, 1)]), &Histogram::default()).quantile(Quantile::P50).is_none());
}

#[test]
fn scales_are_folded_to_the_coarser_one_and_units_are_marked() {
    let (fine, wallaroo) = (histogram(Grid::FINEST, &[1_000; 3]), histogram(Grid::WALLAROO, &[1_000; 3]));
    let comparison = Comparison::new(&fine, &wallaroo);
    assert_eq!((comparison.grid(), comparison.is_folded(), comparison.is_exact()), (Grid::WALLAROO, true, true));
    assert_eq!(comparison.distance().map(|distance| distance.share), Some(0.0));
    let same = Comparison::new(&fine, &fine);
    assert_eq!((same.grid(), same.is_folded(), same.is_exact()), (Grid::FINEST, false, true));
    // An empty side has no bins of its own.
    let empty = Histogram::default();
    let none = Comparison::new(&fine, &empty);
    assert_eq!((none.grid(), none.is_folded(), none.distance()), (Grid::FINEST, false, None));
    let seconds = histogram(Grid::new(3, Unit::Seconds).unwrap(), &[1_000]);
    assert!(!Comparison::new(&seconds, &fine).is_exact());
}

#[test]
fn a_change_needs_events_and_must_be_beyond_chance() {
    let evidence = |share: u64, count: u64| {
        let sides = [count / 2 + share * count / 100, count / 2];
        let [current, reference] = sides.map(|slow| coarse(&[(10, count - slow), (12, slow)]));
        Comparison::new(&current, &reference).change().evidence
    };
    assert_eq!(evidence(50, 98), Evidence::TooFew);
    assert_eq!(evidence(10, 1_000), Evidence::Chance);
    // sqrt(7.25 * 2 / 1000) is 12.05 %.
    assert_eq!(evidence(12, 1_000), Evidence::Chance);
    assert_eq!(evidence(13, 1_000), Evidence::Changed);
    assert_eq!(evidence(1, 1_000_000), Evidence::Changed);
    assert_eq!(evidence(0, 1_000_000), Evidence::Chance);
}

/// A store with computations `n0`, `n1`, … and these durations in one second.
fn store(computations: &[&[(u64, u64)]]) -> AppStore {
    let mut store = AppStore::default();
    for (number, durations) in (0..).zip(computations) {
        let name = alloc::format!("n{number}");
        let [category, pipeline, worker] = [COMPUTATION, "p", "w"].map(ToString::to_string);
        store.announce(1, &[SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })]);
        let mut histogram = Histogram::default();
        durations.iter().for_each(|&(ns, count)| histogram.record_many(ns, count));
        let end_ns = 100 * SLOT_NS;
        let seq = u64::from(number) + 1;
        let update = Update { seq, series: number, period_ns: SLOT_NS, end_ns, offset_ns: 0, histogram };
        assert_eq!(store.apply(1, &update, end_ns), Applied::Counted);
    }
    store
}

#[test]
fn views_that_changed_most_are_first_and_missing_ones_are_listed() {
    // 0: few events; 1: a tenth is slower; 2: all are slower; 3: unchanged; 4: only now.
    let mut current =
        store(&[&[(9_000, 50)], &[(100, 9_000), (9_000, 1_000)], &[(9_000, 500)], &[(100, 700)], &[(1, 900)]]);
    let mut reference = store(&[&[(100, 50)], &[(100, 10_000)], &[(100, 500)], &[(100, 900)]]);
    let totals = |changes: &[ViewChange]| -> Vec<_> {
        let totals = changes.iter().filter(|view| view.key.kind == crate::view::Kind::Computation);
        totals.map(|view| (view.key.name.clone().unwrap(), view.change.map(|change| change.evidence))).collect()
    };
    let named = |name: &str, evidence| (name.to_string(), evidence);
    let expected = [
        named("n2", Some(Evidence::Changed)),
        named("n1", Some(Evidence::Changed)),
        named("n0", Some(Evidence::TooFew)),
        named("n3", Some(Evidence::Chance)),
        named("n4", None),
    ];
    assert_eq!(totals(&changes(&mut current, &mut reference)), expected);
    let missing = changes(&mut reference, &mut current);
    let missing = missing.iter().find(|view| view.key == ViewKey::computation("n4")).unwrap();
    assert!(missing.current.is_none() && missing.reference.is_some() && missing.change.is_none());
}

fn durations() -> impl Strategy<Value = Vec<u64>> {
    let duration = (0..40_u32, any::<u64>()).prop_map(|(bits, noise)| noise >> (24 + bits));
    prop::collection::vec(duration, 1..200)
}

fn grid() -> impl Strategy<Value = Grid> {
    prop::sample::select([0, 1, 2, 3].map(|scale| Grid::new(scale, Unit::Nanoseconds).unwrap()).to_vec())
}

/// The value of rank `ceil(q * n)`.
fn exact_quantile(durations: &[u64], q: Quantile) -> u64 {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[q.rank(sorted.len() as u128) as usize - 1]
}

proptest! {
    #[test]
    fn the_ratio_of_the_durations_is_in_the_range(
        now in durations(), before in durations(), grids in (grid(), grid()), q in 0..=1_000_000_u32,
    ) {
        let q = Quantile::from_millionths(q).unwrap();
        let (current, reference) = (histogram(grids.0, &now), histogram(grids.1, &before));
        let change = Comparison::new(&current, &reference).quantile(q).unwrap();
        let [now, before] = [&now, &before].map(|durations| exact_quantile(durations, q) as f64);
        let (low, high) = change.ratio;
        prop_assert!(low <= high, "{change:?}");
        prop_assert!(low * before <= now * (1.0 + 1e-9) && (high.is_infinite() || now <= high * before * (1.0 + 1e-9)), "{change:?} {now} {before}");
        prop_assert_eq!(change.bins.signum() > 0, now > before && change.bins != 0);
    }

    #[test]
    fn the_distance_is_that_of_the_durations_at_the_edges_of_bins(
        now in durations(), before in durations(), grids in (grid(), grid()),
    ) {
        let (current, reference) = (histogram(grids.0, &now), histogram(grids.1, &before));
        let comparison = Comparison::new(&current, &reference);
        let distance = comparison.distance().unwrap();
        // Each side's share of durations below `edge`, without histograms.
        let below = |durations: &[u64], edge: u128| {
            durations.iter().filter(|&&ns| u128::from(ns) < edge).count() as f64 / durations.len() as f64
        };
        let at = |edge| (below(&now, edge) - below(&before, edge)).abs();
        let grid = comparison.grid();
        let largest = (0..grid.bins()).map(|bin| at(grid.high(bin))).fold(0.0, f64::max);
        prop_assert!((distance.share - largest).abs() < 1e-9);
        if largest > 0.0 {
            prop_assert!((at(distance.edge_ns) - largest).abs() < 1e-9);
            prop_assert_eq!(distance.is_slower, below(&now, distance.edge_ns) < below(&before, distance.edge_ns));
        }
        // At any duration, and so with finer bins, it is at least as large.
        let anywhere = now.iter().chain(&before).map(|&ns| at(u128::from(ns) + 1)).fold(0.0, f64::max);
        prop_assert!(distance.share <= anywhere + 1e-9);
    }

    #[test]
    fn sides_can_be_exchanged(now in durations(), before in durations(), grids in (grid(), grid())) {
        let (current, reference) = (histogram(grids.0, &now), histogram(grids.1, &before));
        let there = Comparison::new(&current, &reference);
        let back = Comparison::new(&reference, &current);
        prop_assert_eq!(there.change().evidence, back.change().evidence);
        let (one, other) = (there.distance().unwrap(), back.distance().unwrap());
        prop_assert!((one.share - other.share).abs() < 1e-12);
        prop_assert_eq!(one.edge_ns, other.edge_ns);
        let quantiles = [&there, &back].map(|comparison| comparison.quantile(Quantile::P99).unwrap().bins);
        prop_assert_eq!(quantiles[0], -quantiles[1]);
    }

    #[test]
    fn differences_of_shares_add_up_to_zero_and_change_sign(
        now in durations(), before in durations(), grids in (grid(), grid()), times in 1..1_000_u64,
    ) {
        let (current, reference) = (histogram(grids.0, &now), histogram(grids.1, &before));
        let there = Comparison::new(&current, &reference).differences();
        let back = Comparison::new(&reference, &current).differences();
        prop_assert!(there.iter().map(|(_, difference)| difference).sum::<f64>().abs() < 1e-9);
        prop_assert!(there.is_sorted_by_key(|(bin, _)| *bin) && there.len() == back.len());
        for ((bin, one), (other_bin, other)) in there.iter().zip(&back) {
            prop_assert_eq!(bin, other_bin);
            prop_assert!((one + other).abs() < 1e-12 && one.abs() <= 1.0);
        }
        // More events of the same shares do not differ at all.
        let mut more = Histogram::new(grids.0);
        now.iter().for_each(|&ns| more.record_many(ns, times));
        prop_assert!(Comparison::new(&more, &current).differences().iter().all(|(_, difference)| *difference == 0.0));
    }

    #[test]
    fn more_events_of_the_same_distributions_are_more_evidence(
        now in durations(), before in durations(), times in 1..1_000_u64,
    ) {
        let times_as_many = |durations: &[u64], times: u64| {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|&ns| histogram.record_many(ns, times));
            histogram
        };
        let change = |times| {
            let (current, reference) = (times_as_many(&now, times), times_as_many(&before, times));
            Comparison::new(&current, &reference).change()
        };
        let (few, many) = (change(1), change(times));
        prop_assert!((few.distance.unwrap().share - many.distance.unwrap().share).abs() < 1e-9);
        prop_assert!(few.evidence != Evidence::Changed || many.evidence == Evidence::Changed);
    }

    #[test]
    fn the_ranking_is_an_order(sides in prop::collection::vec((durations(), 1..50_u64), 3)) {
        let reference = coarse(&[(10, 500), (20, 500)]);
        let changes: Vec<Change> = sides.iter().map(|(durations, times)| {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|&ns| histogram.record_many(ns, *times));
            Comparison::new(&histogram, &reference).change()
        }).collect();
        let order = |a: usize, b: usize| Change::compare_rank(changes.get(a), changes.get(b));
        prop_assert_eq!(order(0, 1), order(1, 0).reverse());
        prop_assert!(order(0, 1).is_gt() || order(1, 2).is_gt() || order(0, 2).is_le());
        prop_assert!(order(0, 9).is_le());
    }
}

#[test]
fn two_samples_of_one_distribution_are_within_chance() {
    // A fixed sequence, so that the test has no luck.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 1_000_000
    };
    for _ in 0..1_000 {
        let mut sample = || {
            let mut histogram = Histogram::new(Grid::FINEST);
            (0..300).for_each(|_| histogram.record(next()));
            histogram
        };
        let (current, reference) = (sample(), sample());
        assert_eq!(Comparison::new(&current, &reference).change().evidence, Evidence::Chance);
    }
}

#[test]
fn the_largest_counts_do_not_overflow() {
    let full = Histogram::from_counts(Grid::FINEST, 0, std::vec![u64::MAX; Grid::FINEST.bins()]);
    let one = coarse(&[(64, u64::MAX)]);
    let change = Comparison::new(&full, &one).change();
    assert_eq!(change.evidence, Evidence::Changed);
    assert!(change.distance.unwrap().share > 0.98);
    assert_eq!(Comparison::new(&full, &full).distance().unwrap().share, 0.0);
}

#[test]
fn a_rate_changes_by_the_medians() {
    let throughput = |median| Some(Throughput { min: 0.0, median, max: 9.0 });
    let change = RateChange::between(throughput(5.0), throughput(2.0)).unwrap();
    assert_eq!(change.ratio(), Some(2.5));
    assert_eq!(RateChange::between(throughput(5.0), throughput(0.0)).unwrap().ratio(), None);
    assert_eq!(RateChange::between(None, throughput(1.0)), None);
}
