//! Tests of windows.

use super::*;
use crate::histogram::{Grid, Unit};
use proptest::prelude::*;
use std::vec;

const S: u64 = SLOT_NS;

fn update(end_s: u64, period_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::default();
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq: 0, series: 0, period_ns: period_s * S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A window of `seconds` with `updates`. It slides to the end of each update, as in a store.
fn window_of(seconds: u64, updates: &[Update]) -> Window {
    let mut window = Window::new(seconds);
    for update in updates {
        window.slide(second_of(update.end_ns));
        window.add(update);
    }
    window
}

#[test]
fn events_are_summed_first_and_then_divided() {
    let one = |end| update(end, 2, &[5]);
    let window = window_of(300, &[one(100), one(100), one(100), one(102)]);
    assert_eq!(window.throughput(102), Some(Throughput { min: 0.5, median: 1.0, max: 1.5 }));
}

#[test]
fn a_second_without_data_is_zero_from_the_first_second_on() {
    let window = window_of(300, &[update(100, 1, &[5, 5]), update(103, 1, &[5])]);
    assert_eq!(window.throughput(103), Some(Throughput { min: 0.0, median: 0.5, max: 2.0 }));
    assert_eq!(window.throughput(99), None);
}

#[test]
fn a_histogram_leaves_the_window_completely() {
    let mut window = window_of(10, &[update(100, 2, &[7; 3]), update(109, 2, &[7])]);
    assert_eq!(window.histogram().count(), 4);
    window.slide(110);
    assert_eq!(window.histogram().count(), 1);
    window.set_seconds(60);
    assert_eq!(window.histogram().count(), 4);
}

#[test]
fn an_update_older_than_all_retained_seconds_is_late() {
    let mut window = window_of(10, &[update(5000, 2, &[7])]);
    assert_eq!(window.add(&update(5000 - SECONDS_MAX, 2, &[7])), Added::Late);
    assert_eq!(window.add(&update(5001 - SECONDS_MAX, 2, &[7])), Added::Counted);
    assert_eq!(window.histogram().count(), 1);
}

#[test]
fn seconds_older_than_fifteen_minutes_are_merged_into_steps() {
    let mut window = window_of(3_600, &[update(1_001, 1, &[7; 3]), update(1_009, 1, &[7]), update(1_010, 1, &[9])]);
    window.slide(1_915);
    let mut columns = vec![];
    window.for_each_column(1..=1_915, |second, width, bins| {
        columns.push((second, width, bins.count_at(3), bins.count_at(4)))
    });
    assert_eq!(columns, [(1_010, 10, 4, 1)]);
    let mut rates = vec![];
    window.for_each_rate(1_000..=1_011, |_, rate| rates.push(rate));
    assert_eq!(rates[0], 0.0);
    assert!(rates[1..=10].iter().all(|rate| (rate - 0.5).abs() < 1e-9) && rates[11] == 0.0);
    // A late update is added to the step of its second.
    window.add(&update(1_002, 1, &[7]));
    window.slide(4_609);
    assert_eq!(window.histogram().count(), 6);
    window.slide(4_610);
    assert_eq!((window.histogram().count(), window.slots.len()), (0, 0));
}

#[test]
fn a_window_that_starts_within_a_step_equals_a_recomputed_one() {
    for seconds in FINE_SECONDS - 15..=FINE_SECONDS + 15 {
        let mut window = window_of(seconds, &[]);
        for second in 1..=FINE_SECONDS + 25 {
            window.slide(second);
            window.add(&update(second, 1, &[7]));
            if second > FINE_SECONDS {
                let (mut recomputed, slid) = (window.clone(), window.histogram());
                recomputed.set_seconds(seconds);
                assert_eq!(
                    (slid, window.outside),
                    (recomputed.histogram(), recomputed.outside),
                    "{seconds} s at {second}"
                );
            }
        }
    }
}

#[test]
fn the_fine_scale_returns_when_the_coarse_histograms_have_left() {
    let fine = |end_s| {
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        histogram.record(1_000_000);
        Update { histogram, ..update(end_s, 1, &[]) }
    };
    let mut window = window_of(10, &[fine(100), update(101, 1, &[1_000_000]), fine(104)]);
    let total = window.histogram();
    assert_eq!((total.grid(), total.count(), total.mean_ns()), (Grid::WALLAROO, 3, None));
    window.slide(112);
    let total = window.histogram();
    assert_eq!((total.grid(), total.count(), total.mean_ns()), (Grid::FINEST, 1, Some(1_000_000.0)));
    // A slot of both scales is coarse.
    window.add(&update(104, 1, &[7]));
    assert_eq!((window.histogram().grid(), window.histogram().count()), (Grid::WALLAROO, 2));
}

#[test]
fn several_updates_of_one_second_equal_a_recomputed_sum() {
    let of = |count: u64, sum_ns: Option<u64>, grid| {
        let mut histogram = Histogram::new(grid);
        histogram.add(grid.bin_of(7), count);
        Update { histogram: histogram.with_statistics(7, 7, sum_ns), ..update(100, 1, &[]) }
    };
    let (fine, coarse) = (Grid::FINEST, Grid::WALLAROO);
    // With and without a sum, a sum that becomes too large, a count that saturates, and another grid.
    let second = [of(1, Some(7), fine), of(2, Some(14), fine), of(1, Some(u64::MAX), fine), of(1, None, fine)];
    let second = [second.as_slice(), &[of(u64::MAX, None, fine), of(3, Some(21), fine), of(1, None, coarse)]].concat();
    for updates in 1..=second.len() {
        let mut window = window_of(10, &[of(5, Some(35), fine)]);
        window.slide(101);
        window.add(&Update { end_ns: 101 * S, ..of(5, Some(35), fine) });
        second[..updates].iter().for_each(|update| _ = window.add(update));
        let (slid, mut recomputed) = (window.histogram(), window.clone());
        recomputed.set_seconds(10);
        assert_eq!(slid, recomputed.histogram(), "{updates} updates");
        window.slide(110);
        assert_eq!((window.histogram().count(), window.histogram().sum_ns), (5, Some(35)), "{updates} updates");
    }
}

#[test]
fn impossible_periods_neither_panic_nor_use_memory() {
    let mut huge = update(5000, 1, &[7]);
    (huge.period_ns, huge.end_ns) = (u64::MAX, u64::MAX);
    let mut none = update(5000, 1, &[7]);
    none.period_ns = 0;
    let window = window_of(300, &[none, huge]);
    assert!(window.slots.len() as u64 <= SECONDS_MAX + 1);
    assert_eq!(window.histogram().count(), 1);
}

#[test]
fn an_unaligned_period_is_distributed_by_overlap() {
    let mut odd = update(0, 0, &[7; 6]);
    (odd.period_ns, odd.end_ns) = (3 * S / 2, 100 * S + S / 2);
    let mut rates = vec![];
    window_of(300, &[odd]).for_each_rate(99..=101, |second, rate| rates.push((second, rate)));
    assert_eq!(rates, [(99, 0.0), (100, 4.0), (101, 2.0)]);
}

/// The share by division of 128 bits.
fn plain_share(count: u128, overlap_ns: u64, period_ns: u64) -> u128 {
    let product = count * u128::from(overlap_ns);
    let (whole, rest) = (product / u128::from(period_ns), product % u128::from(period_ns));
    if whole >> 64 == 0 { (whole << 64) | ((rest << 64) / u128::from(period_ns)) } else { u128::MAX }
}

fn any_update() -> impl Strategy<Value = Update> {
    (1000..1400_u64, 1..4_u64, prop::collection::vec(any::<u64>(), 0..5), 0..3_u8).prop_map(
        |(end, period, ns, full)| {
            let mut update = update(end, period, &ns);
            if full == 0 {
                update.histogram.add(64, u64::MAX);
            }
            update
        },
    )
}

/// An update of the two hours before second 9000.
fn any_old_update() -> impl Strategy<Value = Update> {
    (2_000..9_000_u64, 1..40_u64, prop::collection::vec(any::<u64>(), 0..3), 0..=3_u8).prop_map(
        |(end, period, ns, scale)| {
            let mut histogram = Histogram::with_sum(Grid::new(scale, Unit::Nanoseconds).unwrap());
            ns.iter().for_each(|&ns| histogram.record(ns));
            Update { histogram, ..update(end, period, &[]) }
        },
    )
}

proptest! {
    #[test]
    fn a_share_is_exact(count in prop_oneof![0..5_000_u64, any::<u64>()], period in prop_oneof![1..9_000_000_000_u64, any::<u64>().prop_map(|ns| ns.max(1))], part in 0..=8_u64) {
        let overlap = period / 8 * part;
        for overlap in [overlap, overlap.min(S), period] {
            prop_assert_eq!(share(count.into(), overlap, period), plain_share(count.into(), overlap, period));
        }
    }

    #[test]
    fn an_hour_of_updates_gives_the_same_window_in_any_order(
        updates in prop::collection::vec(any_old_update(), 1..60),
        seconds in 1..=SECONDS_MAX,
        slides in prop::collection::vec(0..3_000_u64, 0..4),
    ) {
        let mut forward = window_of(seconds, &updates);
        let clock = forward.clock + slides.iter().sum::<u64>();
        slides.iter().for_each(|by| forward.slide(forward.clock + by));
        let mut backward = Window::new(seconds);
        backward.slide(clock);
        updates.iter().rev().for_each(|update| { backward.add(update); });
        let mut sum = Histogram::default();
        let is_inside = |update: &&Update| {
            let end = second_of(update.end_ns);
            let end = if end <= coarse_through(clock) { end.next_multiple_of(STEP) } else { end };
            end + seconds > clock
        };
        updates.iter().filter(is_inside).for_each(|update| sum.merge(&update.histogram));
        prop_assert_eq!(forward.histogram(), sum.clone());
        prop_assert_eq!(backward.histogram(), sum);
        let rates = |window: &Window| {
            let mut rates = vec![];
            window.for_each_rate(clock.saturating_sub(SECONDS_MAX)..=clock, |second, rate| rates.push((second, rate)));
            rates
        };
        prop_assert_eq!(rates(&forward), rates(&backward));
    }

    #[test]
    fn sliding_equals_recomputing_in_any_order(
        updates in prop::collection::vec(any_update(), 1..60),
        seconds in 1..400_u64,
        through in 1000..1500_u64,
    ) {
        let clock = updates.iter().map(|update| second_of(update.end_ns)).max().unwrap();
        let slid = window_of(seconds, &updates);
        // Expected: a plain sum over the updates in the window, and for each second the updates that cover it.
        let mut sum = Histogram::default();
        updates.iter().filter(|update| second_of(update.end_ns) + seconds > clock).for_each(|update| sum.merge(&update.histogram));
        prop_assert_eq!(slid.histogram(), sum.clone());
        for q in [Quantile::P50, Quantile::P99, Quantile::P9999] {
            prop_assert_eq!(slid.quantile(q), sum.quantile(q));
            prop_assert!(sum.quantile(q).map_or(0, |range| range.high) <= slid.quantile_bound(q));
        }
        let first = updates.iter().map(|update| (update.end_ns - update.period_ns) / S + 1).min().unwrap();
        let rates: Vec<f64> = (first.max((clock + 1).saturating_sub(seconds))..=through.min(clock))
            .map(|second| {
                let covers = |update: &&Update| (update.end_ns - update.period_ns) / S < second && second <= update.end_ns / S;
                let rate = |update: &Update| update.histogram.count() as f64 / (update.period_ns / S) as f64;
                // The events of a second saturate at 2^64.
                updates.iter().filter(covers).map(rate).sum::<f64>().min(18_446_744_073_709_551_616.0)
            })
            .collect();
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
        match slid.throughput(through) {
            None => prop_assert!(rates.is_empty()),
            Some(found) => {
                prop_assert!(near(found.min, rates.iter().copied().fold(f64::INFINITY, f64::min)), "{found:?} {rates:?}");
                prop_assert!(near(found.max, rates.iter().copied().fold(0.0, f64::max)));
            }
        }
        let mut reversed = updates.clone();
        reversed.reverse();
        let backward = window_of(seconds, &reversed);
        prop_assert_eq!(backward.histogram(), slid.histogram());
        prop_assert_eq!(backward.throughput(through), slid.throughput(through));
    }
}
