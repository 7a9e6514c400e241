//! What the key figures of an application are computed from, kept from one tick to the next. Only seconds that have changed since
//! are read again: with 1,000 series, a window of five minutes has 300,000 of them.

use joey_shared::store::AppStore;
use joey_shared::view::Kind;
use joey_shared::window::second_of;

use crate::statistics::{
    AppStatistics, RateSeries, app_statistics, ingestion_views, is_service, matching_views, without_repeated_spans,
};

/// The views of an application by their part in its key figures, the sums of their rates, and the figures.
#[derive(Debug, Default)]
pub struct AppCache {
    /// The store's revision of the views below.
    views_revision: Option<u64>,
    pipelines: Vec<usize>,
    computations: Vec<usize>,
    rates_out: RateSum,
    /// `None` if no view counts ingestion.
    rates_in: Option<RateSum>,
    /// The figures, and when they were computed.
    statistics: Option<(State, AppStatistics)>,
}

/// The figures are unchanged while these are: revision, clock, last complete period and length of the windows of the store.
type State = (u64, u64, u64, u64);

fn state(store: &AppStore) -> State {
    (store.revision(), store.clock_ns(), store.through_ns(), store.seconds())
}

impl AppCache {
    /// The key figures of the application. They are computed once for each change of `store`.
    pub fn statistics(&mut self, store: &mut AppStore) -> AppStatistics {
        let state = state(store);
        if let Some((known, statistics)) = &self.statistics
            && *known == state
        {
            return statistics.clone();
        }
        let statistics = app_statistics(store, self);
        self.statistics = Some((state, statistics.clone()));
        statistics
    }

    /// Reads what has changed in `store`.
    pub(crate) fn update(&mut self, store: &mut AppStore) {
        if self.views_revision != Some(store.views_revision()) {
            self.find_views(store);
        }
        self.rates_out.update(store);
        if let Some(rates_in) = &mut self.rates_in {
            rates_in.update(store);
        }
    }

    fn find_views(&mut self, store: &AppStore) {
        self.views_revision = Some(store.views_revision());
        self.pipelines = matching_views(store, |key| key.kind == Kind::StartToEnd);
        self.computations = matching_views(store, |key| key.kind == Kind::Computation);
        let sources = ingestion_views(store, None);
        self.rates_out = RateSum::of(counted_views(store));
        self.rates_in = if sources.is_empty() { None } else { Some(RateSum::of(sources)) };
    }

    /// The totals of the pipelines.
    pub(crate) fn pipelines(&self) -> &[usize] {
        &self.pipelines
    }

    /// The totals of the computations.
    pub(crate) fn computations(&self) -> &[usize] {
        &self.computations
    }

    /// Events per second out of the pipelines.
    pub(crate) const fn rates_out(&self) -> &RateSeries {
        &self.rates_out.rates
    }

    /// Events per second into the pipelines, if the application reports them.
    pub(crate) fn rates_in(&self) -> Option<&RateSeries> {
        self.rates_in.as_ref().map(|sum| &sum.rates)
    }
}

/// The views whose rates add up to the rate out of an application.
#[must_use]
pub fn counted_views(store: &AppStore) -> Vec<usize> {
    let pipelines = matching_views(store, |key| key.kind == Kind::StartToEnd);
    // A service without operations that are called from outside, such as a client, has the rate of its other operations.
    let is_client = pipelines.is_empty() && ingestion_views(store, None).is_empty() && is_service(store);
    let counted = if is_client { matching_views(store, |key| key.kind == Kind::Computation) } else { pipelines };
    without_repeated_spans(store, &counted)
}

/// The sum of the rates of some views, over the complete seconds of the window.
#[derive(Debug, Default)]
pub struct RateSum {
    views: Vec<usize>,
    /// The store's revision when it was read.
    revision: u64,
    rates: RateSeries,
    /// Number of seconds of views that the last update has read.
    #[cfg(test)]
    seconds_read: u64,
}

impl RateSum {
    /// The sum of these views, before the first update.
    #[must_use]
    pub fn of(views: Vec<usize>) -> Self {
        Self { views, ..Self::default() }
    }

    /// Adds the seconds that have become complete, and reads those again that have changed. The result equals
    /// [`rates`](crate::statistics::rates).
    pub fn update(&mut self, store: &mut AppStore) {
        let through = store.through_second();
        let window_start = (second_of(store.clock_ns()) + 1).saturating_sub(store.seconds());
        let firsts = self.views.iter().filter_map(|&view| store.window_at(view).first_second());
        let start = firsts.min().map(|first| first.max(window_start)).filter(|&start| start <= through);
        let known = self.rates.start_second..self.rates.start_second + self.rates.values.len() as u64;
        let changed = store.first_change_since(self.revision);
        self.revision = store.revision();
        let Some(start) = start else {
            self.rates = RateSeries::default();
            return;
        };
        let is_usable = known.contains(&start) && known.end <= through + 1;
        let from = if is_usable { known.end.min(changed).max(start) } else { start };
        let values = &mut self.rates.values;
        if is_usable {
            values.drain(..(start - known.start) as usize);
        } else {
            values.clear();
        }
        values.truncate((from - start) as usize);
        values.resize((through + 1 - start) as usize, 0.0);
        self.rates.start_second = start;
        let changed = &mut self.rates.values[(from - start) as usize..];
        for &view in &self.views {
            let mut sums = changed.iter_mut();
            store.window_at(view).for_each_rate(from..=through, |_, rate| {
                if let Some(sum) = sums.next() {
                    *sum += rate;
                }
            });
        }
        #[cfg(test)]
        {
            self.seconds_read = self.views.len() as u64 * (through + 1 - from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::rates;
    use crate::testing::{S, store_of, update};
    use joey_shared::wire::Update;

    #[test]
    fn what_is_kept_equals_what_is_read_again() {
        for seed in 1..60_u64 {
            let mut state = seed;
            // A small generator of numbers below `below`.
            let mut random = move |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let mut store = store_of(&[]);
            let mut sum = RateSum::of(vec![0, 2, 4]);
            let mut clock = 5_000;
            for seq in 1..90 {
                clock += if random(9) == 0 { 400 } else { random(3) };
                // Most updates are recent, some are late.
                let age = if random(5) == 0 { random(1_000) } else { random(3) };
                let durations = vec![7; random(3) as usize];
                let of_series = update(seq, random(3) as u32, clock - age, &durations);
                store.apply(1, &Update { period_ns: (1 + random(3)) * S, ..of_series }, clock * S);
                if random(12) == 0 {
                    store.set_seconds(1 + random(1_200));
                }
                if random(3) > 0 {
                    sum.update(&mut store);
                    let expected = rates(&mut store, &[0, 2, 4]);
                    assert!(sum.rates == expected, "seed {seed}, update {seq}");
                }
            }
        }
    }

    #[test]
    fn only_seconds_that_have_changed_are_read() {
        let updates: Vec<Update> = (1..=600).map(|seq| update(seq, 2, 1_000 + seq, &[5; 4])).collect();
        let mut store = store_of(&updates);
        let mut sum = RateSum::of(vec![0, 2, 4]);
        let mut seconds_read = |store: &mut AppStore| {
            sum.update(store);
            sum.seconds_read
        };
        assert!(seconds_read(&mut store) > 3 * 290);
        assert_eq!(seconds_read(&mut store), 0);
        store.apply(1, &update(601, 2, 1_601, &[5]), 0);
        assert!(seconds_read(&mut store) <= 3 * 3);
        store.apply(1, &update(602, 0, 1_580, &[5]), 0);
        assert_eq!(seconds_read(&mut store), 3 * 21);
    }

    #[test]
    fn figures_are_computed_once_for_each_change() {
        let mut store = store_of(&[update(1, 2, 100, &[700]), update(2, 0, 102, &[9])]);
        let mut cache = AppCache::default();
        let first = cache.statistics(&mut store);
        assert_eq!(cache.statistics(&mut store), first);
        assert_eq!(app_statistics(&mut store, &mut AppCache::default()), first);
        store.apply(1, &update(3, 2, 104, &[9_000_000; 9]), 0);
        let later = cache.statistics(&mut store);
        assert_ne!(later.worst_pipeline, first.worst_pipeline);
        assert_eq!(app_statistics(&mut store, &mut AppCache::default()), later);
    }
}
