//! The history of the last hour: which part of it the relays were asked for, and the range of it that is selected.

use joey_shared::store::AppStore;
use joey_shared::window::{SECONDS_MAX, second_of};

use super::Model;
use super::recording::shown;
use crate::time_range::TimeRange;

impl Model {
    /// How much history there is of what is shown, in seconds: what was requested from the relays, before the snapshot
    /// was taken if there is one. An open recording has all that it will ever have.
    fn available_seconds(&self) -> u64 {
        let live = || self.snapshot.as_ref().map_or(self.requested_seconds, |snapshot| snapshot.requested_seconds);
        if self.opened.is_some() { SECONDS_MAX } else { live() }
    }

    /// The first second of which the page has been sent the history, at local time `now_ns`; `None` before a relay has answered.
    #[must_use]
    pub fn available_from(&self, now_ns: u64) -> Option<u64> {
        let newest = self.relay_ns(now_ns).map(second_of)?;
        Some((newest + 1).saturating_sub(self.available_seconds()))
    }

    /// Shows only the seconds of `range`, of a snapshot that is taken at local time `now_ns` if there is none.
    /// `None` shows the whole snapshot again. Returns false if the range is older than what was requested from the relay:
    /// then the history of the last hour is requested, and the caller selects again when it
    /// [has arrived](Self::has_history).
    #[must_use]
    pub fn select(&mut self, range: Option<TimeRange>, now_ns: u64) -> bool {
        let available = self.available_seconds();
        let oldest = self.relay_ns(now_ns).map_or(u64::MAX, second_of).saturating_sub(available);
        if range.is_some_and(|range| range.from < oldest) && available < SECONDS_MAX {
            self.load_hour(now_ns);
            return false;
        }
        let snapshot = self.snapshot.take();
        let relay_ns = self.relay_ns(now_ns);
        let mut snapshot = snapshot.unwrap_or_else(|| self.copy(relay_ns, now_ns));
        snapshot.select(range);
        self.snapshot = Some(snapshot);
        self.forget_statistics();
        self.app_caches.clear();
        true
    }

    /// Whether the relays can be asked for more history than the page shows.
    #[must_use]
    pub const fn can_load_hour(&self) -> bool {
        self.snapshot.is_none() && self.opened.is_none() && self.requested_seconds < SECONDS_MAX
    }

    /// Requests the history of the last hour at local time `now_ns`, unless it has been requested before.
    pub fn load_hour(&mut self, now_ns: u64) {
        if self.requested_seconds < SECONDS_MAX {
            self.request_history(SECONDS_MAX, now_ns);
        }
    }

    /// The store of an application with all its seconds, also those outside of the selected range.
    pub fn whole_app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        match &mut self.snapshot {
            Some(snapshot) => snapshot.whole_app_mut(app),
            None => shown(&mut self.opened, &mut self.viewers).get_mut(app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::model;
    use crate::route::Page;
    use crate::testing;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_range_before_what_was_requested_is_requested_first() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        let available = |model: &Model| model.available_from(5 * S);
        assert_eq!((available(&model), model.can_load_hour()), (Some(1_005 - 299), true));
        assert!(!model.select(Some(TimeRange { from: 400, to: 500 }), 5 * S));
        assert_eq!((available(&model), model.can_load_hour()), (Some(0), false));
        assert!(model.select(Some(TimeRange { from: 400, to: 500 }), 5 * S));
    }

    #[test]
    fn a_snapshot_does_not_have_what_is_requested_after_it_was_taken() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        model.pause(5 * S);
        model.set_seconds(3_600, 5 * S);
        assert!(!model.select(Some(TimeRange { from: 400, to: 500 }), 5 * S));
        // The caller resumes, and selects again when the history has arrived.
        model.resume();
        assert!(model.select(Some(TimeRange { from: 400, to: 500 }), 5 * S));
    }

    #[test]
    fn the_whole_store_has_what_is_outside_of_the_selected_range() {
        let mut model = testing::live_model(60);
        let newest = second_of(model.app("app").unwrap().clock_ns());
        let range = TimeRange { from: newest - 20, to: newest - 10 };
        assert!(model.select(Some(range), 0));
        let clock = |store: &mut AppStore| second_of(store.clock_ns());
        assert_eq!(model.app_mut("app").map(clock), Some(newest - 10));
        assert_eq!(model.whole_app_mut("app").map(clock), Some(newest));
    }
}
