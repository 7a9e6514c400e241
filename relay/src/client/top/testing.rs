//! A store for the tests of the terminal view.

use joey_shared::histogram::Histogram;
use joey_shared::series::{COMPUTATION, SeriesKey};
use joey_shared::store::AppStore;
use joey_shared::wire::{SeriesEntry, Update};

pub(super) const S: u64 = 1_000_000_000;

/// Two computations of one worker over ten seconds: four events of 1,000 ns a second in `Decode`, and one of 3 ms in
/// `Encode`. All seconds are complete.
pub(super) fn store() -> AppStore {
    let mut store = AppStore::new(60);
    let series = |number, name: &str| {
        let [category, pipeline, worker, name] = [COMPUTATION, "Orders", "w1", name].map(str::to_owned);
        SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
    };
    store.announce(1, &[series(0, "Decode"), series(1, "Encode")]);
    for second in 101..=110 {
        for (series, ns, count) in [(0, 1_000, 4), (1, 3_000_000, 1)] {
            let mut histogram = Histogram::default();
            histogram.record_many(ns, count);
            let seq = second * 2 + u64::from(series);
            let update = Update { seq, series, period_ns: S, end_ns: second * S, offset_ns: 0, histogram };
            store.apply(1, &update, second * S);
        }
    }
    store.advance(120 * S);
    store
}
