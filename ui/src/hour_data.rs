//! What the strip of the last hour shows: throughput and 99th percentile in steps of ten seconds.
//!
//! Steps are kept from one tick to the next. Only those that have changed are read again, and a long history is read in
//! parts: with 1,000 series, an hour has 3.6 million seconds.

use core::ops::RangeInclusive;
use std::collections::VecDeque;

use joey_shared::histogram::{Histogram, Quantile, QuantileRange};
use joey_shared::store::AppStore;
use joey_shared::window::{SECONDS_MAX, second_of};

use crate::statistics::missing_seconds;

/// Length of a step in seconds. The store keeps the older part of the hour in the same steps.
pub const STEP: u64 = 10;

/// How many seconds of views are read at once: a few ms of work.
const SECONDS_AT_ONCE: u64 = 200_000;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its last second, a multiple of [`STEP`].
    pub to: u64,
    /// Events per second over its complete seconds; `None` if there are none.
    pub rate: Option<f64>,
    /// The range of the 99th percentile; `None` without latencies.
    pub p99: Option<QuantileRange>,
}

/// The last hour of some views.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hour {
    /// The first second.
    pub from: u64,
    /// The last second.
    pub to: u64,
    /// The first second with data.
    pub first: Option<u64>,
    /// Seconds for which updates are missing, as inclusive ranges.
    pub missing: Vec<(u64, u64)>,
    /// The steps that have been read, ascending and without gaps. The last one may be incomplete.
    pub steps: Vec<Step>,
}

/// The steps of some views, kept from one tick to the next.
#[derive(Debug, Default)]
pub struct HourCache {
    /// Changes if positions or revisions of the store are no longer comparable.
    identity: Option<[u64; 3]>,
    views: Vec<usize>,
    has_latency: bool,
    steps: VecDeque<Step>,
    /// The last second of the step that was read last, and the events in each of its seconds. The newest step is read
    /// again whenever it gets another second. With 10,000 series, reading all ten again would take longer than
    /// everything else in a tick.
    seconds: (u64, [f64; STEP as usize]),
    /// Whether the whole hour has been read.
    is_complete: bool,
    /// The store's revision, clock and last complete second when the steps were read.
    revision: u64,
    clock: u64,
    through: u64,
}

impl HourCache {
    /// Whether it holds steps of the store with this identity.
    #[must_use]
    pub fn is_of(&self, identity: [u64; 3]) -> bool {
        self.identity == Some(identity)
    }

    /// Begins anew with these views of the store with this identity. Only a single view has percentiles.
    pub fn begin(&mut self, identity: [u64; 3], views: Vec<usize>, has_latency: bool) {
        *self = Self { identity: Some(identity), views, has_latency, ..Self::default() };
    }

    /// The last hour. Reads what has changed in `store`, and a part of what has not been read yet.
    pub fn update(&mut self, store: &mut AppStore) -> Hour {
        let to = second_of(store.clock_ns());
        let from = (to + 1).saturating_sub(SECONDS_MAX).max(1);
        let known = store.views().len();
        self.views.retain(|&view| view < known);
        let first = self.views.iter().filter_map(|&view| store.window_at(view).first_second()).min();
        let missing = missing_seconds(store, from, to);
        match first.filter(|&first| first <= to) {
            Some(first) => self.read(store, first, from..=to),
            None => self.steps.clear(),
        }
        Hour { from, to, first, missing, steps: self.steps.iter().copied().collect() }
    }

    /// Reads the steps of `seconds`, of which those before `first` do not exist.
    fn read(&mut self, store: &mut AppStore, first: u64, seconds: RangeInclusive<u64>) {
        let (from, to) = seconds.into_inner();
        let through = store.through_second();
        if self.is_complete && (self.revision, self.clock, self.through) == (store.revision(), to, through) {
            return;
        }
        // Seconds after the clock have not changed but come into being, and incomplete ones become complete.
        let changed = store.first_change_since(self.revision).min(self.clock + 1).min(self.through + 1);
        (self.revision, self.clock, self.through) = (store.revision(), to, through);
        let (oldest, newest) = (from.max(first).next_multiple_of(STEP), to.next_multiple_of(STEP));
        while self.steps.back().is_some_and(|step| step.to >= changed) {
            self.steps.pop_back();
        }
        while self.steps.front().is_some_and(|step| step.to < oldest) {
            self.steps.pop_front();
        }
        let mut steps_left = (SECONDS_AT_ONCE / STEP / (self.views.len() as u64).max(1)).max(4);
        let next = self.steps.back().map_or(newest, |step| step.to + STEP);
        if (newest + STEP).saturating_sub(next) / STEP > steps_left {
            // The newest steps are read first.
            self.steps.clear();
        } else {
            for end in (next..=newest).step_by(STEP as usize) {
                let step = self.step(store, first, end, through, changed);
                self.steps.push_back(step);
                steps_left = steps_left.saturating_sub(1);
            }
        }
        while steps_left > 0 {
            let end = self.steps.front().map_or(newest, |step| step.to - STEP);
            if end < oldest {
                break;
            }
            let step = self.step(store, first, end, through, 0);
            self.steps.push_front(step);
            steps_left -= 1;
        }
        self.is_complete = self.steps.front().is_some_and(|step| step.to <= oldest);
    }

    /// The step that ends with second `end`, of which the seconds before `first` do not exist and those after `through` are not
    /// complete. If it is the newest step and was read last, its seconds before `changed` are still the same.
    fn step(&mut self, store: &mut AppStore, first: u64, end: u64, through: u64, changed: u64) -> Step {
        let start = end + 1 - STEP;
        let from = start.max(first);
        let complete = from..=end.min(through);
        let (read_end, mut seconds) = self.seconds;
        // All of an older step is read: a store that has merged it divides its events among ten seconds.
        let changed = if read_end == end && end >= self.clock { changed.max(start) } else { start };
        for second in changed..=end {
            seconds[(second - start) as usize] = 0.0;
        }
        for &view in &self.views {
            let add = |second: u64, rate: f64| seconds[(second - start) as usize] += rate;
            store.window_at(view).for_each_rate(changed..=end.min(through), add);
        }
        self.seconds = (end, seconds);
        let events: f64 = seconds.iter().sum();
        let rate = (!complete.is_empty()).then(|| events / (complete.end() + 1 - complete.start()) as f64);
        let p99 = match self.views.as_slice() {
            [view] if self.has_latency => {
                let mut sum: Option<Histogram> = None;
                store.window_at(*view).for_each_column(from..=end, |_, _, histogram| match &mut sum {
                    Some(sum) => sum.merge(histogram),
                    None => sum = Some(histogram.clone()),
                });
                sum.and_then(|sum| sum.quantile(Quantile::P99))
            }
            _ => None,
        };
        Step { to: end, rate, p99 }
    }
}

impl Hour {
    /// The seconds of the hour during which there is a step.
    #[must_use]
    pub fn known_from(&self) -> Option<u64> {
        let step = self.steps.first()?;
        Some((step.to + 1 - STEP).max(self.first.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{S, fine_update, service_of, store_of, update};
    use joey_shared::view::ViewKey;
    use joey_shared::wire::Update;

    fn begin(views: &[usize], has_latency: bool) -> HourCache {
        let mut cache = HourCache::default();
        cache.begin([0; 3], views.to_vec(), has_latency);
        cache
    }

    #[test]
    fn steps_have_the_rate_and_the_percentile_of_their_seconds() {
        let updates: Vec<Update> =
            (1..=45).map(|second| fine_update(second, 0, 1_000 + second, &[1_000_000; 3])).collect();
        let mut store = service_of(&updates);
        let hour = begin(&[0], true).update(&mut store);
        assert_eq!((hour.from, hour.to, hour.first, hour.known_from()), (1, 1_045, Some(1_001), Some(1_001)));
        let ends: Vec<u64> = hour.steps.iter().map(|step| step.to).collect();
        assert_eq!(ends, [1_010, 1_020, 1_030, 1_040, 1_050]);
        assert!(hour.steps.iter().all(|step| step.rate == Some(3.0)), "{:?}", hour.steps);
        let p99 = hour.steps[0].p99.unwrap();
        assert!(p99.low <= 1_000_000 && p99.high >= 1_000_000);
        assert!(begin(&[0], false).update(&mut store).steps[0].p99.is_none());
        assert_eq!(begin(&[], false).update(&mut store).steps, []);
        assert_eq!(begin(&[99], true).update(&mut store).steps, []);
    }

    #[test]
    fn what_is_kept_equals_what_is_read_again() {
        for seed in 1..40_u64 {
            let mut state = seed;
            // A small generator of numbers below `below`.
            let mut random = move |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let mut store = store_of(&[]);
            let (mut many, mut one) = (begin(&[0, 2, 4], true), begin(&[2], true));
            let mut clock = 5_000;
            for seq in 1..90 {
                clock += if random(9) == 0 { 400 } else { random(3) };
                // Most updates are recent, some are late.
                let age = if random(5) == 0 { random(1_000) } else { random(3) };
                let durations = vec![7 + random(1_000); random(3) as usize];
                let of_series = update(seq, random(3) as u32, clock - age, &durations);
                store.apply(1, &Update { period_ns: (1 + random(3)) * S, ..of_series }, clock * S);
                if random(3) > 0 {
                    for (cache, views) in [(&mut many, &[0, 2, 4][..]), (&mut one, &[2])] {
                        let (kept, read) = (cache.update(&mut store), begin(views, true).update(&mut store));
                        // Seconds that the store has merged into a step since then add up to the same, but for rounding.
                        let rate = |step: &Step| step.rate.unwrap_or(-1.0);
                        let is_equal = |(kept, read): (&Step, &Step)| {
                            (kept.to, kept.p99) == (read.to, read.p99) && (rate(kept) - rate(read)).abs() < 1e-9
                        };
                        assert_eq!(kept.steps.len(), read.steps.len());
                        let differs = kept.steps.iter().zip(&read.steps).find(|both| !is_equal(*both));
                        assert!(differs.is_none(), "seed {seed}, update {seq}: {differs:?} of {:?}", kept.first);
                    }
                }
            }
        }
    }

    #[test]
    fn a_long_history_of_many_views_is_read_in_parts_from_its_end() {
        let updates: Vec<Update> = (1..=300).map(|seq| update(seq, 2, 5_000 + 10 * seq, &[5; 4])).collect();
        let mut store = store_of(&updates);
        let view = store.find(&ViewKey::pipeline("p")).unwrap();
        let mut cache = begin(&[view; 4_000], false);
        let mut counts = Vec::new();
        for _ in 0..100 {
            let hour = cache.update(&mut store);
            assert_eq!(hour.steps.last().map(|step| step.to), Some(8_000));
            counts.push(hour.steps.len());
        }
        assert_eq!((counts[0], counts[1], counts[99]), (5, 9, 300));
    }
}
