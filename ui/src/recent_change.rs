//! What changed lately: the end of the window compared with the rest of it, for each view.
//!
//! The end is the last fifth of the window, a minute at most: of five minutes, the last minute against the four before. Both
//! parts are exact sums, and a change counts only if chance does not explain it (`joey_shared::compare`).

use joey_shared::compare::{Change, Comparison, Evidence, QuantileChange};
use joey_shared::format;
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::store::AppStore;
use joey_shared::view::ViewKey;
use joey_shared::window::second_of;

use crate::units;

/// Maximum length of the end of the window, in seconds.
const RECENT_SECONDS_MAX: u64 = 60;

/// How often a change in the cache is computed again, in seconds of the application's clock. A thousand rows take some
/// milliseconds.
const CACHED_SECONDS: u64 = 5;

/// How the end of a window differs from the rest of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentChange {
    /// The distance of the distributions, and whether it means anything.
    pub change: Change,
    /// The change of the median.
    pub p50: Option<QuantileChange>,
    /// The change of the 99th percentile.
    pub p99: Option<QuantileChange>,
}

/// The length of the end of a window of `seconds`, in seconds.
#[must_use]
pub fn recent_seconds(seconds: u64) -> u64 {
    (seconds / 5).clamp(1, RECENT_SECONDS_MAX)
}

impl RecentChange {
    /// The change of the view at `view_index`; `None` if it has no latency or a part has no events.
    pub fn of(store: &mut AppStore, view_index: usize) -> Option<Self> {
        if !store.views().get(view_index)?.key.kind.has_latency() {
            return None;
        }
        let to = second_of(store.clock_ns());
        let from = (to + 1).saturating_sub(recent_seconds(store.seconds()));
        let total = store.histogram(view_index);
        let mut recent = Histogram::new(total.grid());
        store.window_at(view_index).for_each_column(from..=to, |_, _, histogram| {
            // A period may have finer bins than the window, whose bins are the coarsest of all its periods.
            if histogram.grid() == total.grid() {
                recent.merge(histogram);
            } else {
                recent.merge(&histogram.in_grid(total.grid()));
            }
        });
        // The extremes of a part are not known.
        let recent = recent.with_statistics(u64::MAX, 0, None);
        Self::between(&recent, &without(&total, &recent))
    }

    fn between(recent: &Histogram, before: &Histogram) -> Option<Self> {
        let comparison = Comparison::new(recent, before);
        let change = comparison.change();
        change.distance?;
        let [p50, p99] = [Quantile::P50, Quantile::P99].map(|quantile| comparison.quantile(quantile));
        Some(Self { change, p50, p99 })
    }

    /// What views are ordered by; `None` if chance explains the change.
    #[must_use]
    pub fn rank(&self) -> Option<f64> {
        self.change.rank()
    }

    /// The change in words: `slower` and a share, or why there is none.
    #[must_use]
    pub fn text(&self) -> (&'static str, String) {
        let share = self.change.distance.map(|distance| distance.share).unwrap_or_default();
        let share = format!("{:.0}\u{2009}%", share * 100.0);
        match (self.change.evidence, self.change.distance) {
            (Evidence::Changed, Some(distance)) if distance.is_slower => ("slower", share),
            (Evidence::Changed, _) => ("faster", share),
            (Evidence::Chance, _) => ("≈", String::new()),
            (Evidence::TooFew, _) => ("few events", String::new()),
        }
    }

    /// The change in a sentence.
    #[must_use]
    pub fn tooltip(&self, seconds: u64) -> String {
        let recent = recent_seconds(seconds);
        let Some(distance) = self.change.distance else { return String::new() };
        let percent = |share: f64| format!("{:.1}\u{2009}%", share * 100.0);
        let reason = match self.change.evidence {
            Evidence::Changed => "",
            Evidence::Chance => "; chance explains a difference of this size",
            Evidence::TooFew => "; too few events to tell",
        };
        format!(
            "{} of the last {recent} s take less than {}, {} of the {} s before{reason} ({} and {} events)",
            percent(distance.current_below),
            units::duration(distance.edge_ns).thin(),
            percent(distance.reference_below),
            seconds.saturating_sub(recent),
            format::count(self.change.count),
            format::count(self.change.reference_count),
        )
    }
}

/// The counts of `total` that are not in `part`. Both have the same bins.
fn without(total: &Histogram, part: &Histogram) -> Histogram {
    let (first, counts) = total.span();
    let left = counts.iter().enumerate().map(|(at, count)| count.saturating_sub(part.count_at(first + at)));
    Histogram::from_counts(total.grid(), first, left)
}

/// The changes of one application's views, so that sorting a table does not compute them at every tick.
#[derive(Debug, Default)]
pub struct RecentChanges {
    app: String,
    /// By view index.
    views: Vec<Option<Cached>>,
}

#[derive(Debug)]
struct Cached {
    key: ViewKey,
    /// The clock, in units of [`CACHED_SECONDS`], and the length of the window.
    computed: (u64, u64),
    change: Option<RecentChange>,
}

impl RecentChanges {
    /// The change of the view of `app` at `view_index`, a few seconds old at most.
    pub fn of(&mut self, app: &str, store: &mut AppStore, view_index: usize) -> Option<RecentChange> {
        if self.app != app {
            *self = Self { app: app.to_owned(), views: Vec::new() };
        }
        let computed = (second_of(store.clock_ns()) / CACHED_SECONDS, store.seconds());
        let key = &store.views().get(view_index)?.key;
        let cached = self.views.get(view_index).and_then(Option::as_ref);
        if let Some(cached) = cached.filter(|cached| cached.computed == computed && cached.key == *key) {
            return cached.change.clone();
        }
        let key = key.clone();
        let change = RecentChange::of(store, view_index);
        if self.views.len() <= view_index {
            self.views.resize_with(view_index + 1, || None);
        }
        self.views[view_index] = Some(Cached { key, computed, change: change.clone() });
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fine_update, service_of, store_of, update};
    use joey_shared::wire::Update;

    /// The change of a view with `before` in each second of four minutes and `lately` in each of the last minute.
    fn check(before: &[u64], lately: &[u64]) -> Option<RecentChange> {
        let at = |second: u64| if second > 540 { lately } else { before };
        let updates: Vec<Update> = (301..=600).map(|second| fine_update(second, 0, second, at(second))).collect();
        RecentChange::of(&mut service_of(&updates), 0)
    }

    #[test]
    fn a_slower_minute_is_found() {
        let change = check(&[1_000_000; 10], &[1_000_000, 1_000_000, 9_000_000, 9_000_000]).unwrap();
        assert_eq!((change.change.count, change.change.reference_count), (240, 2_400));
        assert_eq!((change.text(), change.rank()), (("slower", "50\u{2009}%".to_owned()), Some(0.5)));
        assert_eq!(change.p99.map(|p99| p99.bins > 20), Some(true));
        let tooltip = change.tooltip(300);
        assert!(tooltip.starts_with("50.0\u{2009}% of the last 60 s take less than "), "{tooltip}");
        assert!(tooltip.ends_with(", 100.0\u{2009}% of the 240 s before (240 and 2\u{202f}400 events)"), "{tooltip}");
    }

    #[test]
    fn chance_and_too_few_events_have_no_rank() {
        assert_eq!(check(&[5; 4], &[5; 4]).unwrap().text().0, "≈");
        let few = check(&[5; 4], &[900]).unwrap();
        assert_eq!((few.text().0, few.rank()), ("few events", None));
        assert_eq!(check(&[5], &[]), None);
    }

    #[test]
    fn the_end_is_a_fifth_of_the_window_and_a_minute_at_most() {
        assert_eq!([1, 10, 60, 300, 900, 3_600].map(recent_seconds), [1, 2, 12, 60, 60, 60]);
    }

    #[test]
    fn a_cached_change_is_computed_again_after_some_seconds() {
        let mut store = store_of(&[update(1, 2, 100, &[5; 200]), update(2, 2, 200, &[5; 200])]);
        let mut changes = RecentChanges::default();
        let index = store.find(&ViewKey::pipeline("p")).unwrap();
        let count = |changes: &mut RecentChanges, store: &mut AppStore| {
            changes.of("a", store, index).map(|change| change.change.count)
        };
        assert_eq!(count(&mut changes, &mut store), Some(200));
        store.apply(1, &update(3, 2, 204, &[5; 3]), 0);
        assert_eq!(count(&mut changes, &mut store), Some(200));
        store.apply(1, &update(4, 2, 206, &[5; 3]), 0);
        assert_eq!(count(&mut changes, &mut store), Some(206));
    }

    #[test]
    fn the_parts_add_up() {
        let (mut total, mut part) = (Histogram::default(), Histogram::default());
        for number in 0..200_u64 {
            let ns = number * number * 37;
            total.record(ns);
            if number % 3 == 0 {
                part.record(ns);
            }
        }
        let mut both = without(&total, &part);
        assert_eq!(both.count() + part.count(), total.count());
        both.merge(&part);
        assert!((0..65).all(|bin| both.count_at(bin) == total.count_at(bin)));
    }
}
