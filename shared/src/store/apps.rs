//! The stores of all applications. One or several relays fill them.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};

use super::{AppStore, WINDOW_SECONDS};

/// The store of each application, by name. All have windows of the same length.
#[derive(Clone, Debug)]
pub struct AppStores {
    seconds: u64,
    /// Number of times that a store was removed.
    removals: u64,
    stores: BTreeMap<String, AppStore>,
}

impl Default for AppStores {
    fn default() -> Self {
        Self::new(WINDOW_SECONDS)
    }
}

impl AppStores {
    /// No stores yet; they will have windows of `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self { seconds, removals: 0, stores: BTreeMap::new() }
    }

    /// The store of `app`.
    #[must_use]
    pub fn get(&self, app: &str) -> Option<&AppStore> {
        self.stores.get(app)
    }

    /// The store of `app`, for reading its windows.
    pub fn get_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        self.stores.get_mut(app)
    }

    /// The store of `app`, created if there is none.
    pub(crate) fn get_or_create(&mut self, app: &str) -> &mut AppStore {
        // Revisions that no earlier store of the same application has had.
        let (seconds, revision) = (self.seconds, (self.removals + 1) << 40);
        self.stores.entry(app.to_string()).or_insert_with(|| AppStore::starting_at(seconds, revision))
    }

    /// Adds or replaces the store of `app`.
    pub(crate) fn insert(&mut self, app: String, store: AppStore) {
        self.removals += u64::from(self.stores.insert(app, store).is_some());
    }

    /// Removes the store of `app`.
    pub fn remove(&mut self, app: &str) {
        self.removals += u64::from(self.stores.remove(app).is_some());
    }

    /// Removes all stores.
    pub fn clear(&mut self) {
        self.stores.clear();
        self.removals += 1;
    }

    /// Removes the store of each application for which `stays` is false.
    pub fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        let before = self.stores.len();
        self.stores.retain(|app, _| stays(app));
        self.removals += u64::from(self.stores.len() < before);
    }

    /// Changes when a store was removed: the positions of views in a new store of the same application are others.
    #[must_use]
    pub const fn removals(&self) -> u64 {
        self.removals
    }

    /// All stores with the names of their applications.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AppStore)> {
        self.stores.iter().map(|(app, store)| (app.as_str(), store))
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut AppStore)> {
        self.stores.iter_mut().map(|(app, store)| (app.as_str(), store))
    }

    /// Sets the length of every window, in seconds.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.stores.values_mut().for_each(|store| store.set_seconds(seconds));
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }
}
