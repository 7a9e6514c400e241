//! Tests of the histogram.

use super::grid::tests::duration;
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn histogram_of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    values.iter().for_each(|&ns| histogram.record(ns));
    histogram
}

#[test]
fn quantiles_of_the_captured_frame_match_a_manual_calculation() {
    let mut captured = Histogram { min_ns: 34, max_ns: 14509, ..Histogram::default() };
    for (bin, count) in [(6, 57306), (7, 505), (8, 4), (9, 7), (12, 2), (14, 17)] {
        captured.add(bin, count);
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
    full.add(3, u64::MAX);
    full.merge(&full.clone());
    full.record(7);
    assert_eq!((full.count_at(3), full.count()), (u64::MAX, u128::from(u64::MAX)));
}

fn histogram_in(grid: Grid, values: &[u64]) -> Histogram {
    let mut histogram = Histogram::with_sum(grid);
    values.iter().for_each(|&ns| histogram.record(ns));
    histogram
}

fn any_unit() -> impl Strategy<Value = Unit> {
    prop::sample::select(Unit::ALL.to_vec())
}

#[test]
fn counts_may_arrive_in_any_order_of_bins() {
    let mut histogram = Histogram::new(Grid::FINEST);
    for bin in [300, 7, 512, 0, 7, 9_999] {
        histogram.add(bin, 1);
    }
    histogram.add(100, 0);
    let occupied: Vec<_> = histogram.occupied().collect();
    assert_eq!(occupied, [(0, 1), (7, 2), (300, 1), (512, 2)]);
    assert_eq!(Histogram::from_counts(Grid::FINEST, 5, [0, 0, 2, 0, 0]), Histogram::from_counts(Grid::FINEST, 7, [2]));
    assert_eq!(Histogram::from_counts(Grid::WALLAROO, 63, [1, 2, 3, 4]).span(), (63, &[1, 9][..]));
}

#[test]
fn bounds_replace_unknown_extremes() {
    let seconds = Grid::new(0, Unit::Seconds).unwrap();
    let mut histogram = Histogram::from_counts(seconds, seconds.bin_of_index(-1), [3, 1]);
    histogram.set_bounds();
    assert_eq!(histogram.extremes(), Some((500_000_000, 2_000_000_000)));
    let p50 = histogram.quantile(Quantile::P50).unwrap();
    assert_eq!((p50.low, p50.high), (500_000_000, 1_000_000_000));
}

#[test]
fn the_mean_is_known_only_if_every_part_has_a_sum() {
    let mut histogram = Histogram::default();
    histogram.merge(&histogram_in(Grid::FINEST, &[100, 300]));
    assert_eq!(histogram.mean_ns(), Some(200.0));
    histogram.merge(&Histogram::default());
    assert_eq!(histogram.mean_ns(), Some(200.0));
    histogram.merge(&histogram_of(&[100]));
    assert_eq!(histogram.mean_ns(), None);
}

proptest! {
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
        let buckets = (0..ours.grid().bins()).map(|bin| ours.count_at(bin)).collect();
        let theirs = ::histogram::Histogram::from_buckets(0, 64, buckets).unwrap();
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

    #[test]
    fn histograms_of_any_scales_merge_exactly_in_any_order(
        parts in prop::collection::vec((0..=SCALE_MAX, prop::collection::vec(duration(), 1..20)), 1..8),
        unit in any_unit(),
    ) {
        let scale = parts.iter().map(|(scale, _)| *scale).min().unwrap();
        let all: Vec<u64> = parts.iter().flat_map(|(_, values)| values).copied().collect();
        let parts = parts.iter().map(|(scale, values)| histogram_in(Grid::new(*scale, unit).unwrap(), values));
        let (mut forward, mut backward) = (Histogram::default(), Histogram::default());
        parts.clone().for_each(|part| forward.merge(&part));
        parts.rev().for_each(|part| backward.merge(&part));
        prop_assert_eq!(&forward, &histogram_in(Grid::new(scale, unit).unwrap(), &all));
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn a_fine_quantile_range_contains_the_true_value(
        values in prop::collection::vec(duration(), 1..200),
        millionths in 0..=1_000_000_u32,
        unit in any_unit(),
    ) {
        let q = Quantile::from_millionths(millionths).unwrap();
        let range = histogram_in(Grid::new(SCALE_MAX, unit).unwrap(), &values).quantile(q).unwrap();
        let mut sorted = values;
        sorted.sort_unstable();
        let expected = sorted[usize::try_from(q.rank(sorted.len() as u128)).unwrap() - 1];
        prop_assert!(range.low <= expected && u128::from(expected) <= range.high, "{expected} in {range:?}");
    }

    #[test]
    fn units_may_be_mixed_without_losing_a_count(values in prop::collection::vec(duration(), 1..50)) {
        let mut mixed = histogram_in(Grid::new(3, Unit::Seconds).unwrap(), &values);
        mixed.merge(&histogram_in(Grid::FINEST, &values));
        prop_assert_eq!((mixed.grid(), mixed.count()), (Grid::FINEST, 2 * values.len() as u128));
    }
}
