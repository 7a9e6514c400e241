//! Logs of other relays that viewers here watch: what has come of them, what is missing and who is asked for it; and what
//! others are told that ask here.

use std::collections::BTreeMap;

use bytes::Bytes;
use joey_shared::wire::{AppEntry, ServerMessage};

use super::super::messages::{PageEnd, Word, parts_of, pieces_of};
use super::super::page::Page;
use super::super::subjects::{LogId, Place};
use super::{Action, Bridge, Kept};
use crate::hub::{Accepted, Hub};
use crate::metrics::ClusterRejectReason;
use crate::runtime::clock::nanos;

/// How long a log may be behind what its origin says before something counts as lost, in ns: what is under way arrives.
const GRACE: u64 = 250_000_000;
/// How long an answer may take, and how long after a useless one the next question waits, in ns.
const RETRY: u64 = 1_000_000_000;
/// How often that wait may double while answers come and bring nothing: up to 32 s.
const ROUNDS_DOUBLED_MAX: u32 = 5;
/// After how many useless answers viewers get what there is.
const TRIES_BEFORE_READY: u32 = 3;
/// Questions under way at once; each may bring some megabytes.
const ASKS_MAX: usize = 8;
/// Bytes of history in one answer, roughly; the asker asks on for more.
const PAGE_BYTES: usize = 2 << 20;
/// Batches of one log that came early and wait for those before them: more are let go, and asked for.
const HELD_MAX: usize = 256;

/// A log of another relay that viewers here watch.
#[derive(Debug, Default)]
pub(super) struct Replica {
    origin: u64,
    /// The last number that there is, as far as is known.
    head: u64,
    /// When to ask, if it is behind then.
    due_ns: u64,
    /// What has come of the answer under way, and when it is given up.
    asking: Option<(Page, u64)>,
    /// Questions in a row that brought nothing.
    tries: u32,
    /// Whether some history has come. Before it, a batch cannot be told from a beginning.
    has_history: bool,
    /// Whether viewers read it: all the history has come, or nobody has any.
    is_ready: bool,
    /// Batches that came before those before them, by the number that they begin with.
    held: BTreeMap<u64, Bytes>,
    /// When its origin was last heard, by way of anybody.
    heard_ns: u64,
    /// How much longer ago than that, where somebody else told of it, in ns.
    quiet_ns: u64,
    /// What its origin said of it last, now that the origin is gone.
    pub(super) orphan: Option<AppEntry>,
}

impl Replica {
    /// Nothing yet of a log of `origin` that has come as far as `head` there.
    pub(super) fn new(origin: u64, head: u64, now_ns: u64) -> Self {
        Self { origin, head, heard_ns: now_ns, ..Self::default() }
    }

    /// Nothing yet of a log without an origin that `holder` has as far as `head`.
    pub(super) fn of_orphan(holder: u64, head: u64, quiet_ns: u64, entry: AppEntry, now_ns: u64) -> Self {
        Self { quiet_ns, orphan: Some(entry), ..Self::new(holder, head, now_ns) }
    }

    /// The log has come as far as `head`.
    fn note_head(&mut self, head: u64, now_ns: u64) {
        if head <= self.head {
            return;
        }
        let is_fresh = self.head == 0;
        self.head = head;
        if self.due_ns > now_ns {
            self.due_ns = self.due_ns.min(now_ns + RETRY);
        } else if !is_fresh {
            self.due_ns = now_ns + GRACE;
        }
    }

    /// How long ago the origin was last heard, in ns.
    pub(super) const fn quiet(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.heard_ns).saturating_add(self.quiet_ns)
    }

    /// Whether viewers here read it, and others may ask for it.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }
}

impl Bridge {
    /// Somebody said that the log `id` has come as far as `head`.
    pub(super) fn note_head(&mut self, id: &LogId, origin: Option<u64>, head: u64, now_ns: u64) {
        let replica = self.replicas.entry(id.clone()).or_default();
        (replica.heard_ns, replica.quiet_ns) = (now_ns, 0);
        if let Some(origin) = origin {
            (replica.origin, replica.orphan) = (origin, None);
        }
        replica.note_head(head, now_ns);
    }

    /// Relay `holder` has said that it holds the log `id`, whose origin is gone.
    pub(super) fn note_held(&mut self, id: &LogId, holder: u64, now_ns: u64) {
        let Some(Kept { head, quiet_ns, entry, .. }) = self.peers.get(&holder).and_then(|peer| peer.held.get(id))
        else {
            return;
        };
        let replica = self.replicas.entry(id.clone());
        let replica = replica.or_insert_with(|| Replica::of_orphan(holder, *head, *quiet_ns, entry.clone(), now_ns));
        if self.peers.get(&replica.origin).is_some_and(|peer| peer.writes(id)) {
            return;
        }
        if replica.orphan.is_none() {
            replica.orphan = Some(entry.clone());
        }
        // Whoever has most is asked for it.
        if *head > replica.head || !self.peers.get(&replica.origin).is_some_and(|peer| peer.has(id)) {
            replica.origin = holder;
        }
        replica.note_head(*head, now_ns);
    }

    pub(super) fn hear_batch(&mut self, id: &LogId, bytes: &Bytes, now_ns: u64) {
        if !self.wanted.contains(&id.app) {
            // It was under way when the last viewer left.
            return;
        }
        let Ok(ServerMessage::Batch { head, .. }) = ServerMessage::decode(bytes) else {
            return self.counters.reject(ClusterRejectReason::InvalidBatch);
        };
        self.note_head(id, None, head.to, now_ns);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        if replica.held.len() < HELD_MAX {
            replica.held.insert(head.from, bytes.clone());
        }
        self.take_held(id);
    }

    /// Takes the batches that have come, as far as nothing is missing before them. What there was before the first is the
    /// affair of its history.
    fn take_held(&mut self, id: &LogId) {
        let Some(replica) = self.replicas.get_mut(id).filter(|replica| replica.has_history) else { return };
        while let Some(first) = replica.held.first_entry() {
            match self.hub.accept(&id.app, id.epoch, first.get()) {
                Ok(Accepted::Gap { .. }) => break,
                Ok(_) => {}
                Err(_) => self.counters.reject(ClusterRejectReason::InvalidBatch),
            }
            first.remove();
        }
    }

    pub(super) fn look_after_replicas(&mut self, now_ns: u64) {
        let forget_ns = nanos(self.hub.config().forget_after);
        let mut under_way = self.replicas.values().filter(|replica| replica.asking.is_some()).count();
        let (mut ready, mut silent) = (Vec::new(), Vec::new());
        for (id, replica) in &mut self.replicas {
            if let Some((_, until_ns)) = replica.asking {
                if now_ns < until_ns {
                    continue;
                }
                // Some part was lost, or nobody is there.
                replica.asking = None;
                replica.tries += 1;
                under_way -= 1;
            }
            let held = self.hub.replica_head(&id.app, id.epoch).unwrap_or(0);
            let is_behind = held < replica.head;
            if !is_behind || replica.tries >= TRIES_BEFORE_READY {
                ready.push(id.clone());
            }
            if replica.quiet(now_ns) > forget_ns {
                silent.push(id.clone());
            }
            if !is_behind || now_ns < replica.due_ns || under_way >= ASKS_MAX {
                continue;
            }
            under_way += 1;
            let ask = self.next_ask;
            self.next_ask += 1;
            replica.asking = Some((Page::new(ask), now_ns + RETRY));
            let has_origin = self.peers.get(&replica.origin).is_some_and(|peer| peer.has(id));
            let mut others = self.peers.iter().filter(|&(&relay, _)| relay != replica.origin);
            let has_others = others.any(|(_, peer)| peer.wants.contains_key(&id.app));
            // Any of those who have it too, so that a crowd does not fall upon the origin; then the other way round.
            let is_holders = !has_origin || has_others == replica.tries.is_multiple_of(2);
            let place = if is_holders { Place::Holders(id.clone()) } else { Place::Relay(replica.origin) };
            let (app, epoch) = (id.app.clone(), id.epoch);
            let word = Word::Ask { relay: self.relay, ask, app, epoch, after: held };
            self.actions.push(Action::Publish { subject: self.subjects.of(&place), payload: word.encode().into() });
            self.counters.history_requests.inc();
        }
        ready.iter().for_each(|id| self.make_ready(id));
        silent.iter().for_each(|id| self.drop_replica(id));
    }

    /// Viewers may read it, and others may ask for it here.
    fn make_ready(&mut self, id: &LogId) {
        let Some(replica) = self.replicas.get_mut(id).filter(|replica| !replica.is_ready) else { return };
        replica.is_ready = true;
        self.hub.replica_ready(&id.app, id.epoch);
        self.subscribe(&Place::Holders(id.clone()), true);
    }

    pub(super) fn hear_part(&mut self, ask: u64, index: u32, end: Option<PageEnd>, bytes: &[u8], now_ns: u64) {
        let asking = self.replicas.iter_mut().find_map(|(id, replica)| {
            let (page, until_ns) = replica.asking.as_mut()?;
            (page.ask == ask).then_some((id, page, until_ns))
        });
        // An answer that comes too late was asked for again.
        let Some((id, page, until_ns)) = asking else { return };
        page.put(index, end, bytes);
        *until_ns = now_ns + RETRY;
        if let Some((page, end)) = page.whole() {
            let id = id.clone();
            self.take_page(&id, &page, end, now_ns);
            self.look_after_replicas(now_ns);
        }
    }

    fn take_page(&mut self, id: &LogId, page: &[u8], end: PageEnd, now_ns: u64) {
        let head = |hub: &Hub| hub.replica_head(&id.app, id.epoch).unwrap_or(0);
        let before = head(&self.hub);
        let pieces = pieces_of(page);
        let is_sound = pieces
            .is_some_and(|pieces| pieces.into_iter().all(|piece| self.hub.accept(&id.app, id.epoch, piece).is_ok()));
        if !is_sound {
            self.counters.reject(ClusterRejectReason::InvalidHistory);
        }
        let filled = head(&self.hub).saturating_sub(before);
        self.counters.backfilled_updates.inc_by(filled);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        replica.asking = None;
        replica.has_history |= is_sound && end.is_held;
        let brought_something = filled > 0 || (end.is_held && !replica.is_ready);
        replica.tries = if brought_something { 0 } else { replica.tries + 1 };
        // Somebody else is asked at once; when all of them have nothing more, ever less often.
        let rounds = replica.tries / 2;
        let is_round_over = replica.tries > 0 && replica.tries.is_multiple_of(2);
        let pause = if is_round_over { RETRY << rounds.min(ROUNDS_DOUBLED_MAX) } else { 0 };
        replica.due_ns = now_ns + pause;
        if replica.has_history && !end.has_more {
            self.make_ready(id);
        }
        self.take_held(id);
    }

    // === those that others fetch here ===

    pub(super) fn answer(&mut self, relay: u64, ask: u64, app: &str, epoch: u64, after: u64) {
        let history = self.hub.history(app, epoch, after);
        let is_held = history.is_some();
        let history = history.unwrap_or_default();
        let mut room = PAGE_BYTES;
        let mut pieces: Vec<&[u8]> = Vec::new();
        for piece in &history {
            // The first message holds the names; whatever their size, something must follow.
            if room < piece.len() && pieces.len() > 1 {
                break;
            }
            room = room.saturating_sub(piece.len());
            pieces.push(piece);
        }
        let end = PageEnd { is_held, has_more: pieces.len() < history.len() };
        let subject = self.subjects.of(&Place::Relay(relay));
        for part in parts_of(ask, &pieces, end) {
            self.actions.push(Action::Publish { subject: subject.clone(), payload: part.into() });
        }
    }

    pub(super) fn drop_replica(&mut self, id: &LogId) {
        if self.replicas.remove(id).is_some_and(|replica| replica.is_ready) {
            let subject = self.subjects.of(&Place::Holders(id.clone()));
            self.actions.push(Action::Unsubscribe { subject });
        }
        self.hub.drop_replica(&id.app, id.epoch);
    }
}
