//! What the page shows instead of live data: a copy of the stores while the page is paused, and a part of it while a
//! range of time is selected. The viewer still receives data, but nothing here expires.

use std::collections::BTreeMap;

use joey_shared::store::{AppStore, AppStores};
use joey_shared::wire::AppEntry;

use crate::time_range::TimeRange;

/// A copy of the data of the subscribed applications.
#[derive(Debug)]
pub struct Snapshot {
    /// The catalogue at the time of the copy.
    pub catalogue: BTreeMap<String, AppEntry>,
    /// The relay's clock at the time of the copy, in ns since the Unix epoch.
    pub relay_ns: Option<u64>,
    /// The clock of the relays of each application at that time.
    app_relay_ns: BTreeMap<String, Option<u64>>,
    stores: BTreeMap<String, AppStore>,
    /// How much history had been requested from the relays at that time, in seconds.
    pub requested_seconds: u64,
    selected: Option<Selected>,
}

/// A part of the copy.
#[derive(Debug)]
struct Selected {
    range: TimeRange,
    stores: BTreeMap<String, AppStore>,
}

impl Snapshot {
    /// Copies the stores of the applications in `catalogue`, which have `requested_seconds` of history. The page's clock is
    /// `relay_ns`, that of the relays of an application is `app_relay_ns`.
    #[must_use]
    pub fn of(
        catalogue: &BTreeMap<String, AppEntry>,
        stores: &AppStores,
        requested_seconds: u64,
        relay_ns: Option<u64>,
        app_relay_ns: impl Fn(&str) -> Option<u64>,
    ) -> Self {
        let store = |app: &String| Some((app.clone(), stores.get(app)?.clone()));
        Self {
            catalogue: catalogue.clone(),
            relay_ns,
            app_relay_ns: catalogue.keys().map(|app| (app.clone(), app_relay_ns(app))).collect(),
            stores: catalogue.keys().filter_map(store).collect(),
            requested_seconds,
            selected: None,
        }
    }

    /// The whole copy of the store of an application, also while a range is selected.
    pub fn whole_app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        self.stores.get_mut(app)
    }

    /// The clock of the relays of `app` at the time of the copy.
    #[must_use]
    pub fn app_relay_ns(&self, app: &str) -> Option<u64> {
        self.app_relay_ns.get(app).copied().unwrap_or(self.relay_ns)
    }

    /// Shows only the seconds of `range` from now on, or the whole copy for `None`.
    pub fn select(&mut self, range: Option<TimeRange>) {
        self.selected = range.map(|range| {
            let part = |(app, store): (&String, &mut AppStore)| (app.clone(), store.between(range.from..=range.to));
            Selected { range, stores: self.stores.iter_mut().map(part).collect() }
        });
    }

    /// The selected range.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        self.selected.as_ref().map(|selected| selected.range)
    }

    /// The seconds that are shown of an application. They are more than those of the selected range if it divides a step of
    /// ten seconds, and fewer if it ends after the newest second.
    #[must_use]
    pub fn shown_range(&self, app: &str) -> Option<TimeRange> {
        let store = self.selected.as_ref()?.stores.get(app)?;
        let to = joey_shared::window::second_of(store.clock_ns());
        Some(TimeRange { from: (to + 1).saturating_sub(store.seconds()), to })
    }

    /// The store of an application, as it is shown.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.selected.as_ref().map_or(&self.stores, |selected| &selected.stores).get(app)
    }

    /// The same, to read windows.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        let Self { stores, selected, .. } = self;
        selected.as_mut().map_or(stores, |selected| &mut selected.stores).get_mut(app)
    }

    /// Sets the length of the windows of the whole copy, in seconds.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.stores.values_mut().for_each(|store| store.set_seconds(seconds));
    }

    /// Changes whenever something else is shown.
    #[must_use]
    pub fn revision(&self) -> u64 {
        let range = self.range().map_or(0, |range| range.from.wrapping_mul(SECONDS_APART).wrapping_add(range.to));
        range.wrapping_add(self.stores.values().map(AppStore::revision).sum())
    }
}

/// Larger than the length of any range, so that two ranges have different revisions.
const SECONDS_APART: u64 = 1 << 13;
