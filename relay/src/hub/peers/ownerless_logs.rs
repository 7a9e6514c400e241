//! Logs whose origin is gone, and the relays that still have a replica. Such a log stays in the catalogue and can be
//! fetched as long as at least one relay announces its replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use joey_shared::wire::AppEntry;

use super::{Hub, Peer, RemoteLog};

/// A log without an origin.
#[derive(Debug)]
pub(super) struct OwnerlessLog {
    entry: AppEntry,
    holders: BTreeSet<u64>,
    /// Version of the catalogue at the last change.
    changed: u64,
}

/// Ownerless logs by application and epoch.
pub(super) type OwnerlessLogs = BTreeMap<(String, u64), OwnerlessLog>;

impl Hub {
    /// Adds replicas of ownerless logs on relay `relay`, which may be this relay. Logs that are not in `logs` stay. The
    /// total is limited to the maximum number of applications. Our own logs are ignored.
    pub fn add_ownerless_logs(&self, relay: u64, logs: Vec<RemoteLog>) {
        let mut ownerless = self.peers.ownerless.write();
        for RemoteLog { epoch, entry, .. } in logs {
            if self.is_own(&entry.app, epoch) {
                continue;
            }
            let key = (entry.app.clone(), epoch);
            if let Some(known) = ownerless.get_mut(&key) {
                known.holders.insert(relay);
            } else if ownerless.len() < self.config.apps_max {
                let changed = self.catalogue_changed();
                ownerless.insert(key, OwnerlessLog { entry, holders: BTreeSet::from([relay]), changed });
                self.logs_changed();
            }
        }
    }

    /// Removes the replica on relay `relay` of the log with this epoch.
    pub fn remove_ownerless_log(&self, relay: u64, app: &str, epoch: u64) {
        self.remove_ownerless_where(relay, |(name, number)| name == app && *number == epoch);
    }

    /// Removes the replicas on relay `relay` for which `ends` holds.
    pub(super) fn remove_ownerless_where(&self, relay: u64, ends: impl Fn(&(String, u64)) -> bool) {
        let mut ownerless = self.peers.ownerless.write();
        let before = ownerless.len();
        ownerless.retain(|key, log| {
            let has_left = ends(key) && log.holders.remove(&relay);
            !(has_left && log.holders.is_empty())
        });
        if ownerless.len() != before {
            self.removed_version.store(self.catalogue_changed(), Relaxed);
            self.logs_changed();
        }
    }

    /// Whether the log with this epoch is our own.
    #[must_use]
    pub fn is_own(&self, app: &str, epoch: u64) -> bool {
        self.apps.read().get(app).is_some_and(|app| app.epoch == epoch)
    }

    /// Epochs of the ownerless logs of `app`.
    pub(super) fn ownerless_epochs(&self, app: &str) -> Vec<u64> {
        let ownerless = self.peers.ownerless.read();
        let of_app = ownerless.range((app.to_owned(), 0)..=(app.to_owned(), u64::MAX));
        of_app.map(|((_, epoch), _)| *epoch).collect()
    }
}

/// Applications whose ownerless logs changed after `version`.
pub(super) fn changed(ownerless: &OwnerlessLogs, version: u64) -> impl Iterator<Item = &String> {
    ownerless.iter().filter(move |(_, log)| log.changed > version).map(|((app, _), _)| app)
}

/// Merges the ownerless logs of an application into `entry`, except logs whose origin is one of `relays` again.
pub(super) fn add(entry: &mut AppEntry, ownerless: &OwnerlessLogs, relays: &BTreeMap<u64, Peer>) {
    for ((app, epoch), log) in ownerless.range((entry.app.clone(), 0)..=(entry.app.clone(), u64::MAX)) {
        let is_announced = |peer: &Peer| peer.logs.get(app).is_some_and(|log| log.epoch == *epoch);
        if !relays.values().any(is_announced) {
            // Producers that moved to another relay send the same series there.
            let series = entry.series.max(log.entry.series);
            super::merge_entry(entry, &log.entry);
            entry.series = series;
        }
    }
}
