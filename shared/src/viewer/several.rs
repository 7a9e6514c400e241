//! Several relays that fill the same stores.
//!
//! Each relay has its own connection, subscriptions, positions and counters. Applications of the same name share one store,
//! so their histograms are added there, bin by bin. A store identifies updates by epoch and sequence number. The same log
//! that arrives from two relays of a cluster is therefore counted once.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::catalogue::merged;
use super::{Effects, Incoming, Subscriber, Viewer};
use crate::store::{AppStore, AppStores};
use crate::wire::{AppEntry, WireError};

/// Several relays and the stores that they fill. Each relay has an id, which the caller chooses.
///
/// ```
/// use joey_shared::viewer::Viewers;
///
/// let mut viewers = Viewers::new(300);
/// for relay in [1, 2] {
///     viewers.add(relay);
/// }
/// assert_eq!(viewers.relays().count(), 2);
/// viewers.remove(1);
/// assert!(viewers.relay(1).is_none());
/// ```
#[derive(Debug, Default)]
pub struct Viewers {
    stores: AppStores,
    relays: Vec<Subscriber>,
    /// The applications of all relays, if there are several.
    merged: BTreeMap<String, AppEntry>,
    /// The number of the relay whose records follow in a recording.
    pub(super) replayed: u32,
}

impl Viewers {
    /// No relays yet; their windows will be `seconds` long.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self { stores: AppStores::new(seconds), relays: Vec::new(), merged: BTreeMap::new(), replayed: 0 }
    }

    /// Adds a relay without subscriptions, unless there is one with this `id`. Returns it.
    pub fn add(&mut self, id: u32) -> &mut Subscriber {
        let known = self.relays.iter().position(|relay| relay.id == id);
        let index = known.unwrap_or_else(|| {
            self.relays.push(Subscriber::new(id));
            self.merge_catalogues();
            self.relays.len() - 1
        });
        &mut self.relays[index]
    }

    /// Removes a relay and what it has sent. Histograms of several relays cannot be taken apart again, so all stores are
    /// emptied and the other relays send what they retain once more.
    pub fn remove(&mut self, id: u32) {
        self.relays.retain(|relay| relay.id != id);
        self.merge_catalogues();
        let apps: Vec<String> = self.stores.iter().map(|(app, _)| app.into()).collect();
        self.stores.clear();
        for app in &apps {
            self.forget(app);
        }
    }

    /// Sorts the relays as in `ids`.
    pub fn set_order(&mut self, ids: &[u32]) {
        self.relays.sort_by_key(|relay| ids.iter().position(|id| *id == relay.id));
    }

    /// The relays, in the order in which they were added or that was set.
    pub fn relays(&self) -> impl Iterator<Item = &Subscriber> {
        self.relays.iter()
    }

    /// The same, to change their subscriptions.
    pub fn relays_mut(&mut self) -> impl Iterator<Item = &mut Subscriber> {
        self.relays.iter_mut()
    }

    /// The relay with this id.
    #[must_use]
    pub fn relay(&self, id: u32) -> Option<&Subscriber> {
        self.relays.iter().find(|relay| relay.id == id)
    }

    /// The same, to change its subscriptions.
    pub fn relay_mut(&mut self, id: u32) -> Option<&mut Subscriber> {
        self.relays.iter_mut().find(|relay| relay.id == id)
    }

    /// With one relay there is nothing to merge.
    fn merge_catalogues(&mut self) {
        self.merged = if self.relays.len() > 1 { merged(&self.relays) } else { BTreeMap::new() };
    }

    /// The applications of all relays, by name.
    #[must_use]
    pub fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        match self.relays.as_slice() {
            [only] => only.catalogue(),
            _ => &self.merged,
        }
    }

    /// The stores.
    #[must_use]
    pub const fn stores(&self) -> &AppStores {
        &self.stores
    }

    /// The stores, for reading their windows.
    pub const fn stores_mut(&mut self) -> &mut AppStores {
        &mut self.stores
    }

    /// The store of one application.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.stores.get(app)
    }

    /// The same, for reading its windows.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        self.stores.get_mut(app)
    }

    /// Number of malformed messages.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.relays.iter().map(Subscriber::malformed).sum()
    }

    /// Number of updates that are known to be missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.relays.iter().map(Subscriber::missing).sum()
    }

    /// How long each relay retains single updates at least, in ns; 0 before any hello.
    #[must_use]
    pub fn ring_ns(&self) -> u64 {
        self.relays.iter().filter_map(Subscriber::relay).map(|relay| relay.ring_ns).min().unwrap_or(0)
    }

    /// Processes one message of relay `id` that arrived at local time `now_ns` (any monotonic clock). Calls `incoming` for
    /// each update that no relay had sent before.
    ///
    /// # Errors
    /// Fails if the message or a part of it is malformed. The error is counted in [`Subscriber::malformed`], and the relay
    /// remains usable. A message of an unknown relay is ignored.
    pub fn receive(
        &mut self,
        id: u32,
        bytes: &[u8],
        now_ns: u64,
        incoming: impl FnMut(&Incoming<'_>),
    ) -> Result<(), WireError> {
        let Some(index) = self.relays.iter().position(|relay| relay.id == id) else { return Ok(()) };
        // An answer to a subscription tells whether two relays have the same log.
        let state = |relay: &Subscriber| (relay.catalogue_revision, relay.answers);
        let before = state(&self.relays[index]);
        let outcome = receive(&mut self.stores, &mut self.relays, index, bytes, now_ns, incoming);
        // A full catalogue comes in parts, which are merged together with the last one.
        if state(&self.relays[index]) != before && self.relays[index].has_catalogue {
            self.merge_catalogues();
        }
        outcome
    }

    /// Removes the windows of an application and the positions of its topics, and subscribes again. Use it after an absence
    /// that is longer than the retained history. The time in between is then missing from the windows instead of counting as
    /// zero.
    pub fn forget(&mut self, app: &str) {
        forget(&mut self.stores, &mut self.relays, app);
    }

    /// Completes the newest periods that are due at local time `now_ns`, even without an update of a later one.
    pub fn advance(&mut self, now_ns: u64) {
        advance(&mut self.stores, &self.relays, now_ns);
    }

    /// The time of the relays of `app` at local time `now_ns`, in ns since the Unix epoch: the latest, if their clocks
    /// differ. `None` before the hello of any of them.
    #[must_use]
    pub fn app_relay_ns(&self, app: &str, now_ns: u64) -> Option<u64> {
        relay_ns(&self.relays, app, now_ns)
    }

    /// Sets the length of every window, in seconds.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.stores.set_seconds(seconds);
        self.relays.iter_mut().for_each(|relay| relay.revision += 1);
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.stores.seconds()
    }

    /// Increases whenever something may have changed, as long as no relay is removed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.relays.iter().map(Subscriber::revision).sum()
    }
}

impl From<Viewer> for Viewers {
    fn from(Viewer { stores, relay }: Viewer) -> Self {
        Self { stores, relays: Vec::from([relay]), merged: BTreeMap::new(), replayed: 0 }
    }
}

/// The latest time of the relays that have `app`. If none has it, of all.
fn relay_ns(relays: &[Subscriber], app: &str, now_ns: u64) -> Option<u64> {
    let latest = |has_app: bool| {
        let relays = relays.iter().filter(|relay| !has_app || relay.catalogue.contains_key(app));
        relays.filter_map(|relay| relay.relay_ns(now_ns)).max()
    };
    latest(true).or_else(|| latest(false))
}

/// Processes a message of the relay at `index`.
pub(super) fn receive(
    stores: &mut AppStores,
    relays: &mut [Subscriber],
    index: usize,
    bytes: &[u8],
    now_ns: u64,
    incoming: impl FnMut(&Incoming<'_>),
) -> Result<(), WireError> {
    let outcome = relays[index].receive(stores, bytes, now_ns, incoming);
    let Effects { catalogue, replaced } = core::mem::take(&mut relays[index].effects);
    for (app, epoch) in replaced {
        stores.remove(&app);
        for (other, relay) in relays.iter_mut().enumerate() {
            if other == index {
                relay.announce_known_series(stores, &app, epoch);
            } else {
                relay.reload(stores, &app);
            }
        }
    }
    if catalogue {
        stores.retain(|app| relays.iter().any(|relay| relay.needs(app)));
    }
    outcome
}

pub(super) fn forget(stores: &mut AppStores, relays: &mut [Subscriber], app: &str) {
    stores.remove(app);
    relays.iter_mut().for_each(|relay| relay.reload(stores, app));
}

pub(super) fn advance(stores: &mut AppStores, relays: &[Subscriber], now_ns: u64) {
    for (app, store) in stores.iter_mut() {
        if let Some(relay_ns) = relay_ns(relays, app, now_ns) {
            store.advance(relay_ns);
        }
    }
}
