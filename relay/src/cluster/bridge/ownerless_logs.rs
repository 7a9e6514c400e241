//! Logs whose origin is gone. Relays with a replica announce it, so that viewers of every relay find it. The log stays
//! in the catalogue and is fetched like every other log.
//!
//! These announcements cost nothing as long as origins are alive. If many relays have replicas, only the four most
//! complete ones are announced.

use std::collections::BTreeSet;
use std::time::Duration;

use joey_shared::series::check_name;
use joey_shared::wire::AppEntry;

use super::super::messages::{ClusterMessage, ReplicaInfo, split_replicas};
use super::super::subjects::{LogId, SubjectKind};
use super::{Bridge, HeldReplica, INTEREST_INTERVAL_MAX_NS, MISSED_ANNOUNCEMENTS_MAX, Replica};
use crate::hub::RemoteLog;
use crate::metrics::ClusterRejectReason;
use crate::runtime::clock::nanos;

/// Maximum number of relays that announce a replica of the same log. More would only add traffic.
const ANNOUNCERS_MAX: usize = 4;

impl Bridge {
    /// Marks logs as ownerless because their origins no longer announce them, and starts to announce our replicas of
    /// them.
    pub(super) fn mark_ownerless(&mut self, ended: impl IntoIterator<Item = (LogId, AppEntry)>) {
        let now_ns = self.hub.config().now_ns();
        let mut is_any = false;
        for (id, mut entry) in ended {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            for worker in entry.workers.iter_mut().filter(|worker| worker.connected) {
                (worker.connected, worker.since_ns) = (false, now_ns);
            }
            replica.ownerless = Some(entry);
            is_any = true;
        }
        if is_any {
            self.register_ownerless_logs();
            self.replicas_due_ns = 0;
        }
    }

    /// Registers our replicas of ownerless logs with the hub.
    fn register_ownerless_logs(&mut self) {
        let held = |(id, replica): (&LogId, &Replica)| {
            let entry = replica.ownerless.clone().filter(|_| replica.is_ready())?;
            let head = self.hub.replica_head(&id.app, id.epoch).filter(|&head| head > 0)?;
            Some((id.clone(), RemoteLog { epoch: id.epoch, head, entry }))
        };
        let (ids, logs): (BTreeSet<LogId>, Vec<RemoteLog>) = self.replicas.iter().filter_map(held).unzip();
        for id in self.ownerless.difference(&ids) {
            self.hub.remove_ownerless_log(self.relay, &id.app, id.epoch);
        }
        if !logs.is_empty() {
            self.hub.add_ownerless_logs(self.relay, logs);
        }
        self.counters.ownerless_logs.set(i64::try_from(ids.len()).unwrap_or(i64::MAX));
        self.ownerless = ids;
    }

    pub(super) fn announce_replicas(&mut self, now_ns: u64) {
        self.register_ownerless_logs();
        let info = |id: &LogId| {
            let replica = self.replicas.get(id)?;
            let head = self.hub.replica_head(&id.app, id.epoch)?;
            let own = (head, self.relay);
            let others = self.peers.iter().filter_map(|(&relay, peer)| Some((peer.replicas.get(id)?.head, relay)));
            let silent_ms = u32::try_from(replica.silence_ns(now_ns) / 1_000_000).unwrap_or(u32::MAX);
            let should_announce = others.filter(|other| *other > own).count() < ANNOUNCERS_MAX;
            should_announce
                .then(|| Some(ReplicaInfo { epoch: id.epoch, head, silent_ms, entry: replica.ownerless.clone()? }))?
        };
        let logs = self.ownerless.iter().filter_map(info).collect();
        let (relay, ttl_ms) = (self.relay, self.interest_ttl_ms());
        for logs in split_replicas(logs) {
            let message = ClusterMessage::Replicas { relay, ttl_ms, logs };
            self.send(&SubjectKind::Interest, &message);
        }
    }

    pub(super) fn receive_replicas(&mut self, relay: u64, ttl: Duration, logs: Vec<ReplicaInfo>, now_ns: u64) {
        let mut room = self.room();
        let ttl_ns = nanos(ttl).min(INTEREST_INTERVAL_MAX_NS * MISSED_ANNOUNCEMENTS_MAX);
        let until_ns = now_ns + ttl_ns;
        let hub = self.hub.clone();
        let Some(peer) = self.peer_entry(relay, ttl_ns, now_ns) else { return };
        let (mut rejected, mut changed, mut ids) = (0, Vec::new(), Vec::new());
        for ReplicaInfo { epoch, head, silent_ms, entry } in logs {
            let id = LogId { app: entry.app.clone(), epoch };
            let is_known = peer.replicas.contains_key(&id);
            if check_name(id.app.as_bytes()).is_err() || (!is_known && room == 0) {
                rejected += 1;
                continue;
            }
            let silent_before_ns = u64::from(silent_ms) * 1_000_000;
            // Ignore the replica if this relay is the origin, disconnected from the sender, or if the log has already
            // expired here.
            if hub.is_own(&id.app, epoch) || silent_before_ns > nanos(hub.config().forget_after) {
                continue;
            }
            room -= usize::from(!is_known);
            changed.push(RemoteLog { epoch, head, entry: entry.clone() });
            peer.replicas.insert(id.clone(), HeldReplica { head, silent_before_ns, until_ns, entry });
            ids.push(id);
        }
        (0..rejected).for_each(|_| self.counters.reject(ClusterRejectReason::ReplicaEntry));
        hub.add_ownerless_logs(relay, changed);
        ids.retain(|id| self.interest.contains(&id.app));
        ids.iter().for_each(|id| self.update_from_holder(id, relay, now_ns));
    }

    /// Starts to fetch ownerless logs of applications that our viewers watch now but not in `before`.
    pub(super) fn fetch_ownerless_logs(&mut self, before: &BTreeSet<String>, now_ns: u64) {
        let is_new = |id: &&LogId| self.interest.contains(&id.app) && !before.contains(&id.app);
        let held = self.peers.iter().flat_map(|(&relay, peer)| peer.replicas.keys().map(move |id| (relay, id)));
        let held: Vec<(u64, LogId)> =
            held.filter(|(_, id)| is_new(id)).map(|(relay, id)| (relay, id.clone())).collect();
        for (relay, id) in held {
            self.update_from_holder(&id, relay, now_ns);
        }
        self.drop_unused_replicas(now_ns);
    }

    /// Drops replicas that our viewers no longer watch. A replica of an ownerless log is retained as long as a new
    /// viewer's window may contain it.
    pub(super) fn drop_unused_replicas(&mut self, now_ns: u64) {
        let ring_ns = nanos(self.hub.config().ring);
        let is_retained = |replica: &Replica| replica.ownerless.is_some() && replica.silence_ns(now_ns) <= ring_ns;
        let removed =
            self.replicas.iter().filter(|(id, replica)| !self.interest.contains(&id.app) && !is_retained(replica));
        let removed: Vec<LogId> = removed.map(|(id, _)| id.clone()).collect();
        removed.iter().for_each(|id| self.drop_replica(id));
    }
}
