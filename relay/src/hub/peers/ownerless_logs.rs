//! Logs whose origin is gone, and the relays that still hold them, this one perhaps among them: they stay in the catalogue and
//! can be fetched for as long as anybody says that it holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use joey_shared::wire::AppEntry;

use super::{Hub, Peer, RemoteLog};

/// A log without an origin.
#[derive(Debug)]
pub(super) struct Orphan {
    entry: AppEntry,
    holders: BTreeSet<u64>,
    /// The catalogue's version when it was last heard of differently.
    changed: u64,
}

/// Orphans by application and epoch.
pub(super) type Orphans = BTreeMap<(String, u64), Orphan>;

impl Hub {
    /// Relay `relay`, which may be this one, holds these logs, besides those that it named before. There are at most as many as
    /// there may be applications; a log of our own is none.
    pub fn set_orphans(&self, relay: u64, logs: Vec<RemoteLog>) {
        let mut orphans = self.peers.orphans.write();
        for RemoteLog { epoch, entry, .. } in logs {
            if self.is_own(&entry.app, epoch) {
                continue;
            }
            let key = (entry.app.clone(), epoch);
            if let Some(known) = orphans.get_mut(&key) {
                known.holders.insert(relay);
            } else if orphans.len() < self.config.apps_max {
                let changed = self.catalogue_changed();
                orphans.insert(key, Orphan { entry, holders: BTreeSet::from([relay]), changed });
                self.logs_changed();
            }
        }
    }

    /// Relay `relay` no longer holds the log of `epoch` of `app`.
    pub fn drop_orphan(&self, relay: u64, app: &str, epoch: u64) {
        self.drop_orphans(relay, |(name, number)| name == app && *number == epoch);
    }

    /// Relay `relay` no longer holds those of its orphans for which `ends` holds.
    pub(super) fn drop_orphans(&self, relay: u64, ends: impl Fn(&(String, u64)) -> bool) {
        let mut orphans = self.peers.orphans.write();
        let before = orphans.len();
        orphans.retain(|key, orphan| {
            let has_left = ends(key) && orphan.holders.remove(&relay);
            !(has_left && orphan.holders.is_empty())
        });
        if orphans.len() != before {
            self.forgotten.store(self.catalogue_changed(), Relaxed);
            self.logs_changed();
        }
    }

    /// Whether the log of `epoch` of `app` is written here.
    #[must_use]
    pub fn is_own(&self, app: &str, epoch: u64) -> bool {
        self.apps.read().get(app).is_some_and(|app| app.epoch == epoch)
    }

    /// The epochs of the orphans of `app`.
    pub(super) fn orphan_epochs(&self, app: &str) -> Vec<u64> {
        let orphans = self.peers.orphans.read();
        let of_app = orphans.range((app.to_owned(), 0)..=(app.to_owned(), u64::MAX));
        of_app.map(|((_, epoch), _)| *epoch).collect()
    }
}

/// The applications with orphans that were heard of differently after `version`.
pub(super) fn changed(orphans: &Orphans, version: u64) -> impl Iterator<Item = &String> {
    orphans.iter().filter(move |(_, orphan)| orphan.changed > version).map(|((app, _), _)| app)
}

/// Adds the orphans of an application to what is known of it, unless its origin, one of `relays`, is there after all.
pub(super) fn add(entry: &mut AppEntry, orphans: &Orphans, relays: &BTreeMap<u64, Peer>) {
    for ((app, epoch), orphan) in orphans.range((entry.app.clone(), 0)..=(entry.app.clone(), u64::MAX)) {
        let is_told = |peer: &Peer| peer.logs.get(app).is_some_and(|log| log.epoch == *epoch);
        if !relays.values().any(is_told) {
            // Producers that have gone to another relay bring the same series there.
            let series = entry.series.max(orphan.entry.series);
            super::add(entry, &orphan.entry);
            entry.series = series;
        }
    }
}
