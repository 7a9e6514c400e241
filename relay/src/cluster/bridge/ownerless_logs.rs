//! Logs whose origins are gone. Whoever holds a replica of one says so, so that viewers of any relay find it: it stays in the
//! catalogue, and is fetched as every other log is.
//!
//! It costs nothing while all is well, since a log that its origin tells is not spoken of here. Of many holders those four that
//! have most of it speak, and the others only listen.

use std::collections::BTreeSet;
use std::time::Duration;

use joey_shared::series::check_name;
use joey_shared::wire::AppEntry;

use super::super::messages::{HeldWord, Word, split_held};
use super::super::subjects::{LogId, Place};
use super::{BEAT_MAX, BEATS_LOST_MAX, Bridge, Kept, Replica};
use crate::hub::RemoteLog;
use crate::metrics::ClusterRejectReason;
use crate::runtime::clock::nanos;

/// How many relays say of one log that they hold it. More would make a crowd of words where everybody watches the same.
const SPEAKERS_MAX: usize = 4;

impl Bridge {
    /// The origins of these logs tell them no more. Of those that are held here, others hear from here.
    pub(super) fn adopt(&mut self, ended: impl IntoIterator<Item = (LogId, AppEntry)>) {
        let now_ns = self.hub.config().now_ns();
        let mut is_any = false;
        for (id, mut entry) in ended {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            for worker in entry.workers.iter_mut().filter(|worker| worker.connected) {
                (worker.connected, worker.since_ns) = (false, now_ns);
            }
            replica.orphan = Some(entry);
            is_any = true;
        }
        if is_any {
            self.show_orphans();
            self.holds_due_ns = 0;
        }
    }

    /// Has the hub know which logs without an origin are held here.
    fn show_orphans(&mut self) {
        let held = |(id, replica): (&LogId, &Replica)| {
            let entry = replica.orphan.clone().filter(|_| replica.is_ready())?;
            let head = self.hub.replica_head(&id.app, id.epoch).filter(|&head| head > 0)?;
            Some((id.clone(), RemoteLog { epoch: id.epoch, head, entry }))
        };
        let (ids, logs): (BTreeSet<LogId>, Vec<RemoteLog>) = self.replicas.iter().filter_map(held).unzip();
        for id in self.orphans.difference(&ids) {
            self.hub.drop_orphan(self.relay, &id.app, id.epoch);
        }
        if !logs.is_empty() {
            self.hub.set_orphans(self.relay, logs);
        }
        self.counters.ownerless_logs.set(i64::try_from(ids.len()).unwrap_or(i64::MAX));
        self.orphans = ids;
    }

    pub(super) fn tell_holds(&mut self, now_ns: u64) {
        self.show_orphans();
        let word = |id: &LogId| {
            let replica = self.replicas.get(id)?;
            let head = self.hub.replica_head(&id.app, id.epoch)?;
            let own = (head, self.relay);
            let others = self.peers.iter().filter_map(|(&relay, peer)| Some((peer.held.get(id)?.head, relay)));
            let quiet_ms = u32::try_from(replica.quiet(now_ns) / 1_000_000).unwrap_or(u32::MAX);
            let speaks = others.filter(|other| *other > own).count() < SPEAKERS_MAX;
            speaks.then(|| Some(HeldWord { epoch: id.epoch, head, quiet_ms, entry: replica.orphan.clone()? }))?
        };
        let logs = self.orphans.iter().filter_map(word).collect();
        let (relay, ttl_ms) = (self.relay, self.wants_ttl_ms());
        for logs in split_held(logs) {
            let word = Word::Holds { relay, ttl_ms, logs };
            self.say(&Place::Wants, &word);
        }
    }

    pub(super) fn hear_holds(&mut self, relay: u64, lives: Duration, logs: Vec<HeldWord>, now_ns: u64) {
        let mut room = self.room();
        let lives_ns = nanos(lives).min(BEAT_MAX * BEATS_LOST_MAX);
        let until_ns = now_ns + lives_ns;
        let hub = self.hub.clone();
        let Some(peer) = self.peer(relay, lives_ns, now_ns) else { return };
        let (mut refused, mut news, mut ids) = (0, Vec::new(), Vec::new());
        for HeldWord { epoch, head, quiet_ms, entry } in logs {
            let id = LogId { app: entry.app.clone(), epoch };
            let is_known = peer.held.contains_key(&id);
            if check_name(id.app.as_bytes()).is_err() || (!is_known && room == 0) {
                refused += 1;
                continue;
            }
            let quiet_ns = u64::from(quiet_ms) * 1_000_000;
            // Its origin is cut off from them, and is here; or it is forgotten here sooner than there.
            if hub.is_own(&id.app, epoch) || quiet_ns > nanos(hub.config().forget_after) {
                continue;
            }
            room -= usize::from(!is_known);
            news.push(RemoteLog { epoch, head, entry: entry.clone() });
            peer.held.insert(id.clone(), Kept { head, quiet_ns, until_ns, entry });
            ids.push(id);
        }
        (0..refused).for_each(|_| self.counters.reject(ClusterRejectReason::ReplicaEntry));
        hub.set_orphans(relay, news);
        ids.retain(|id| self.wanted.contains(&id.app));
        ids.iter().for_each(|id| self.note_held(id, relay, now_ns));
    }

    /// Viewers here have come to watch other applications than `before`: takes what is held of them elsewhere.
    pub(super) fn look_for_orphans(&mut self, before: &BTreeSet<String>, now_ns: u64) {
        let is_new = |id: &&LogId| self.wanted.contains(&id.app) && !before.contains(&id.app);
        let held = self.peers.iter().flat_map(|(&relay, peer)| peer.held.keys().map(move |id| (relay, id)));
        let held: Vec<(u64, LogId)> =
            held.filter(|(_, id)| is_new(id)).map(|(relay, id)| (relay, id.clone())).collect();
        for (relay, id) in held {
            self.note_held(&id, relay, now_ns);
        }
        self.drop_unwanted(now_ns);
    }

    /// Drops what viewers here watch no more. What nobody writes any more is kept for as long as a new viewer would want it.
    pub(super) fn drop_unwanted(&mut self, now_ns: u64) {
        let ring_ns = nanos(self.hub.config().ring);
        let is_kept = |replica: &Replica| replica.orphan.is_some() && replica.quiet(now_ns) <= ring_ns;
        let gone = self.replicas.iter().filter(|(id, replica)| !self.wanted.contains(&id.app) && !is_kept(replica));
        let gone: Vec<LogId> = gone.map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.drop_replica(id));
    }
}
