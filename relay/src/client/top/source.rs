//! Where the data on screen comes from: the live viewer, or a copy of it while the screen is paused.

use std::collections::BTreeMap;

use joey_shared::store::{AppStore, AppStores};
use joey_shared::viewer::Viewer;
use joey_shared::wire::AppEntry;

/// A copy of a viewer's data, which does not change.
pub(super) struct Frozen {
    stores: AppStores,
    catalogue: BTreeMap<String, AppEntry>,
    relay_ns: u64,
}

impl Frozen {
    /// Copies the data of `viewer` at local time `now_ns`.
    pub(super) fn of(viewer: &Viewer, now_ns: u64) -> Self {
        Self {
            stores: viewer.stores().clone(),
            catalogue: viewer.catalogue().clone(),
            relay_ns: viewer.relay_ns(now_ns).unwrap_or(0),
        }
    }

    /// Sets the length of all windows, in seconds.
    pub(super) fn set_seconds(&mut self, seconds: u64) {
        self.stores.set_seconds(seconds);
    }
}

/// The data to show.
pub(super) enum Source<'a> {
    /// That of the viewer at the given local time, in ns.
    Live(&'a mut Viewer, u64),
    /// A copy.
    Frozen(&'a mut Frozen),
}

impl Source<'_> {
    /// The applications.
    pub(super) fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        match self {
            Self::Live(viewer, _) => viewer.catalogue(),
            Self::Frozen(frozen) => &frozen.catalogue,
        }
    }

    /// The store of an application, once something of it has arrived.
    pub(super) fn store(&mut self, app: &str) -> Option<&mut AppStore> {
        match self {
            Self::Live(viewer, _) => viewer.app_mut(app),
            Self::Frozen(frozen) => frozen.stores.get_mut(app),
        }
    }

    /// The time of the relay, in ns since the Unix epoch; 0 before the first message.
    pub(super) fn relay_ns(&self) -> u64 {
        match self {
            Self::Live(viewer, now_ns) => viewer.relay_ns(*now_ns).unwrap_or(0),
            Self::Frozen(frozen) => frozen.relay_ns,
        }
    }
}
