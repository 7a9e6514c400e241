//! The catalogues of several relays as one.
//!
//! Relays of a cluster announce the same workers and counters, independent relays their own. Relays that send the same log
//! of an application are of the same cluster. What they announce is not added twice.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::Subscriber;
use crate::wire::{AppEntry, REJECTED_NAMES_MAX, WorkerEntry};

/// The applications of all `relays`.
#[must_use]
pub(super) fn merged(relays: &[Subscriber]) -> BTreeMap<String, AppEntry> {
    let mut apps: BTreeMap<String, AppEntry> = BTreeMap::new();
    for (index, relay) in relays.iter().enumerate() {
        for (app, entry) in relay.catalogue() {
            let Some(known) = apps.get_mut(app) else {
                apps.insert(app.clone(), entry.clone());
                continue;
            };
            let is_same_log = relays.iter().take(index).any(|other| other.shares_log(relay, app));
            merge(known, entry, is_same_log);
        }
    }
    apps
}

/// Adds `other` to `entry`. If both describe the same log, the counters are not added.
fn merge(entry: &mut AppEntry, other: &AppEntry, is_same_log: bool) {
    for worker in &other.workers {
        match entry.workers.binary_search_by(|known| known.worker.cmp(&worker.worker)) {
            Ok(at) => merge_worker(&mut entry.workers[at], worker, is_same_log),
            Err(at) => entry.workers.insert(at, worker.clone()),
        }
    }
    entry.sources.extend(&other.sources);
    entry.sources.sort_unstable();
    entry.sources.dedup();
    // Series of the same name are one row of a table.
    entry.series = entry.series.max(other.series);
    entry.is_approximate |= other.is_approximate;
    entry.is_sampled |= other.is_sampled;
    entry.last_received_ns = entry.last_received_ns.max(other.last_received_ns);
    let counted = |own: u64, other: u64| if is_same_log { own.max(other) } else { own.saturating_add(other) };
    entry.late = counted(entry.late, other.late);
    entry.over_limit = counted(entry.over_limit, other.over_limit);
    entry.rejected_for_name = counted(entry.rejected_for_name, other.rejected_for_name);
    for name in &other.rejected_names {
        if !entry.rejected_names.contains(name) && entry.rejected_names.len() < REJECTED_NAMES_MAX {
            entry.rejected_names.push(name.clone());
        }
    }
}

/// Workers of the same name: if one of them is gone, this is shown.
fn merge_worker(worker: &mut WorkerEntry, other: &WorkerEntry, is_same_log: bool) {
    let reconnects = if is_same_log {
        worker.reconnects.max(other.reconnects)
    } else {
        worker.reconnects.saturating_add(other.reconnects)
    };
    let is_newer = other.since_ns > worker.since_ns;
    if (worker.connected && !other.connected) || (worker.connected == other.connected && is_newer) {
        (worker.connected, worker.since_ns) = (other.connected, other.since_ns);
    }
    if other.offset_ns.unsigned_abs() > worker.offset_ns.unsigned_abs() {
        (worker.offset_ns, worker.offset_since_ns) = (other.offset_ns, other.offset_since_ns);
    }
    worker.reconnects = reconnects;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;

    fn worker(worker: &str, connected: bool, since_ns: u64, reconnects: u32, offset_ns: i64) -> WorkerEntry {
        WorkerEntry { worker: worker.to_owned(), connected, since_ns, reconnects, offset_ns, offset_since_ns: 0 }
    }

    fn entry(workers: &[WorkerEntry], series: u32, late: u64) -> AppEntry {
        AppEntry { app: "a".to_owned(), workers: workers.to_vec(), series, late, ..AppEntry::default() }
    }

    #[test]
    fn independent_relays_add_their_counters_and_the_worst_worker_is_shown() {
        let mut merged = entry(&[worker("b", true, 5, 1, 0), worker("c", true, 5, 0, 0)], 4, 2);
        merge(&mut merged, &entry(&[worker("a", true, 6, 0, 0), worker("b", false, 3, 2, -9)], 6, 1), false);
        let workers = [worker("a", true, 6, 0, 0), worker("b", false, 3, 3, -9), worker("c", true, 5, 0, 0)];
        assert_eq!(merged, entry(&workers, 6, 3));
    }

    #[test]
    fn relays_of_a_cluster_count_once() {
        let both = entry(&[worker("b", true, 5, 1, 0)], 4, 2);
        let mut merged = both.clone();
        merge(&mut merged, &both, true);
        assert_eq!(merged, both);
    }
}
