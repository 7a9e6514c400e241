//! Tests of stores.

use super::*;
use crate::histogram::Grid;
use crate::series::{COMPUTATION, START_TO_END, SeriesKey, Source};
use crate::view::Kind;
use alloc::string::ToString;
use proptest::prelude::*;

const S: u64 = 1_000_000_000;

fn entry(number: u32, category: &str, worker: &str) -> SeriesEntry {
    let [category, pipeline, worker, name] = [category, "p", worker, "n"].map(ToString::to_string);
    SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
}

fn update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::default();
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq, series, period_ns: 2 * S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A store with `updates` of the computations of two workers. Each update arrives when its period ends.
fn store_of(updates: &[Update]) -> AppStore {
    let mut store = AppStore::default();
    store.announce(1, &[entry(0, COMPUTATION, "a"), entry(1, COMPUTATION, "b"), entry(2, START_TO_END, "a")]);
    for update in updates {
        store.apply(1, update, update.end_ns);
    }
    store
}

#[test]
fn totals_are_the_sum_of_the_workers() {
    let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 100, &[9, 9]), update(3, 0, 100, &[5])]);
    let total = store.find(&ViewKey::computation("n")).unwrap();
    assert_eq!(store.histogram(total).count(), 4);
    let counts: Vec<_> = store
        .views()
        .iter()
        .filter(|view| view.key.kind == Kind::ComputationByWorker)
        .map(|view| view.window.histogram().count())
        .collect();
    assert_eq!(counts, [2, 2]);
}

#[test]
fn a_service_has_a_total_for_each_instance_and_marks() {
    let metrics = Provenance { is_approximate: true, ..Provenance::exact(Source::OtlpMetrics) };
    let spans = Provenance { has_extremes: false, ..Provenance::exact(Source::OtlpTraces) };
    let mut store = AppStore::default();
    store.announce(
        1,
        &[
            SeriesEntry { provenance: metrics, ..entry(0, START_TO_END, "i-1") },
            SeriesEntry { provenance: spans, ..entry(1, START_TO_END, "i-1") },
        ],
    );
    for seq in 1..=3 {
        store.apply(1, &update(seq, u32::from(seq == 3), 100, &[5]), 100 * S);
    }
    let mut total = |name: Option<&str>| {
        let key = ViewKey { name: name.map(ToString::to_string), ..ViewKey::worker("i-1") };
        let at = store.find(&key).unwrap();
        (store.histogram(at).count(), store.views()[at].provenance)
    };
    assert_eq!(total(None), (2, metrics));
    assert_eq!(total(Some("spans")), (1, spans));
}

#[test]
fn a_view_of_several_units_is_approximate() {
    let mut store = store_of(&[update(1, 0, 100, &[5])]);
    let seconds = Histogram::from_counts(Grid::new(3, Unit::Seconds).unwrap(), 100, [7]);
    let at = store.find(&ViewKey::computation("n")).unwrap();
    assert!(!store.views()[at].provenance.is_approximate);
    store.apply(1, &Update { histogram: seconds, ..update(2, 1, 100, &[]) }, 100 * S);
    assert!(store.views()[at].provenance.is_approximate);
    assert_eq!(store.histogram(at).count(), 8);
}

#[test]
fn a_sequence_number_is_counted_once_but_a_period_may_repeat() {
    let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 0, 100, &[5])]);
    assert_eq!(store.apply(1, &update(2, 0, 100, &[5]), 0), Applied::Duplicate);
    assert_eq!(store.apply(7, &update(2, 0, 100, &[5]), 0), Applied::UnknownSeries);
    store.announce(7, &[entry(0, COMPUTATION, "a")]);
    assert_eq!(store.apply(7, &update(2, 0, 100, &[5]), 0), Applied::Counted);
    assert_eq!(store.histogram(0).count(), 3);
}

#[test]
fn a_period_is_complete_when_a_later_one_begins_or_two_periods_later() {
    let mut store = store_of(&[update(1, 0, 100, &[5; 6])]);
    assert_eq!((store.through_ns(), store.throughput(0)), (98 * S, None));
    assert_eq!(store.histogram(0).count(), 6);
    store.advance(103 * S);
    assert_eq!(store.through_ns(), 98 * S);
    store.advance(104 * S);
    assert_eq!((store.through_ns(), store.throughput(0).unwrap().median), (100 * S, 3.0));
    store.apply(1, &update(2, 1, 102, &[5]), 104 * S);
    assert_eq!((store.through_ns(), store.clock_ns()), (100 * S, 102 * S));
    store.apply(1, &update(3, 1, 104, &[5]), 104 * S);
    assert_eq!(store.through_ns(), 102 * S);
}

#[test]
fn old_updates_are_counted_within_the_window_only() {
    let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 4000, &[5])]);
    assert_eq!(store.apply(1, &update(3, 0, 3600, &[5]), 4000 * S), Applied::Counted);
    assert_eq!(store.apply(1, &update(4, 0, 200, &[5]), 4000 * S), Applied::Late);
    assert_eq!((store.late(), store.histogram(0).count()), (1, 0));
    store.set_seconds(900);
    assert_eq!(store.histogram(0).count(), 1);
}

/// Updates of three series within the length of a window. Some are empty or saturated.
fn any_updates() -> impl Strategy<Value = Vec<Update>> {
    let one = (0..3_u32, 1000..1290_u64, 1..5_u64, prop::collection::vec(any::<u64>(), 0..4), any::<u8>());
    let built = |(at, (series, end_s, period_s, durations, full)): (usize, (u32, u64, u64, Vec<u64>, u8))| {
        let mut update = Update { period_ns: period_s * S, ..update(at as u64 + 1, series, end_s, &durations) };
        if full < 9 {
            update.histogram.add(usize::from(full), u64::MAX);
        }
        update
    };
    prop::collection::vec(one, 1..60).prop_map(move |all| all.into_iter().enumerate().map(built).collect())
}

/// The histogram and throughput of each view after all its periods are complete.
fn contents(mut store: AppStore) -> Vec<(ViewKey, Histogram, Option<Throughput>)> {
    store.advance(u64::MAX);
    let views: Vec<(usize, ViewKey)> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
    views.into_iter().map(|(at, key)| (key, store.histogram(at), store.throughput(at))).collect()
}

proptest! {
    #[test]
    fn order_and_repetition_of_updates_do_not_matter(
        (updates, shuffled) in any_updates().prop_flat_map(|updates| {
            let twice = [&updates[..], &updates[..]].concat();
            (Just(updates), Just(twice).prop_shuffle())
        }),
    ) {
        let (once, again) = (store_of(&updates), store_of(&shuffled));
        prop_assert_eq!((once.clock_ns(), once.late()), (again.clock_ns(), again.late()));
        prop_assert_eq!(contents(once), contents(again));
    }
}
