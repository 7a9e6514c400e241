//! Replicas of other relays' logs that our viewers watch: applying batches, detecting missing updates, requesting
//! history, and answering requests of other relays.

use std::collections::BTreeMap;

use bytes::Bytes;
use joey_shared::wire::{AppEntry, ServerMessage};

use super::super::messages::{ClusterMessage, PageEnd, decode_page, encode_page};
use super::super::page::Page;
use super::super::subjects::{LogId, SubjectKind};
use super::{Action, Bridge, HeldReplica};
use crate::hub::{ApplyOutcome, Hub};
use crate::metrics::ClusterRejectReason;
use crate::runtime::clock::nanos;

/// How long a log may be behind its announced newest number before updates count as lost, in ns. Batches may still be
/// in flight.
const LOSS_GRACE_NS: u64 = 250_000_000;
/// Timeout of a request, and delay before the next request after a useless answer, in ns.
const RETRY_NS: u64 = 1_000_000_000;
/// How often that delay doubles while answers contain nothing new: up to 32 s.
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
/// After this many failed requests, viewers receive what the replica has.
const FAILURES_BEFORE_READY: u32 = 3;
/// Maximum number of concurrent requests. Each answer may have several megabytes.
const REQUESTS_MAX: usize = 8;
/// Approximate size of an answer in bytes. The requesting relay sends further requests for more.
const PAGE_BYTES: usize = 2 << 20;
/// Maximum number of batches of one log that wait for missing predecessors. More are dropped and requested later.
const EARLY_BATCHES_MAX: usize = 256;

/// State of a replica of another relay's log.
#[derive(Debug, Default)]
pub(super) struct Replica {
    origin: u64,
    /// Newest number of the log, as far as announced.
    head: u64,
    /// When to send a request, if the replica is still behind.
    due_ns: u64,
    /// Pending request: the parts received so far, and its deadline.
    pending: Option<(Page, u64)>,
    /// Number of consecutive requests without a useful answer.
    failures: u32,
    /// Whether some history has been applied. Before that, a batch cannot be distinguished from the start of the log.
    has_history: bool,
    /// Whether viewers can read the replica: all history has arrived, or no relay has any.
    is_ready: bool,
    /// Batches that arrived before their predecessors, by first number.
    early_batches: BTreeMap<u64, Bytes>,
    /// When a message from or about the origin was last received.
    last_received_ns: u64,
    /// How long the origin had been silent before that time according to another relay, in ns.
    silent_before_ns: u64,
    /// Last catalogue entry of the origin, if the origin is gone.
    pub(super) ownerless: Option<AppEntry>,
}

impl Replica {
    /// Creates an empty replica of a log of `origin` whose newest number is `head`.
    pub(super) fn new(origin: u64, head: u64, now_ns: u64) -> Self {
        Self { origin, head, last_received_ns: now_ns, ..Self::default() }
    }

    /// Creates an empty replica of an ownerless log of which relay `holder` has the numbers up to `head`.
    pub(super) fn ownerless(holder: u64, head: u64, silent_before_ns: u64, entry: AppEntry, now_ns: u64) -> Self {
        Self { silent_before_ns, ownerless: Some(entry), ..Self::new(holder, head, now_ns) }
    }

    /// Updates the newest number of the log.
    fn update_head(&mut self, head: u64, now_ns: u64) {
        if head <= self.head {
            return;
        }
        let is_fresh = self.head == 0;
        self.head = head;
        if self.due_ns > now_ns {
            self.due_ns = self.due_ns.min(now_ns + RETRY_NS);
        } else if !is_fresh {
            self.due_ns = now_ns + LOSS_GRACE_NS;
        }
    }

    /// How long the origin has been silent, in ns.
    pub(super) const fn silence_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.last_received_ns).saturating_add(self.silent_before_ns)
    }

    /// Whether viewers can read the replica and other relays can request it.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }
}

impl Bridge {
    /// Records that the newest number of the log `id` is `head`.
    pub(super) fn update_head(&mut self, id: &LogId, origin: Option<u64>, head: u64, now_ns: u64) {
        let replica = self.replicas.entry(id.clone()).or_default();
        (replica.last_received_ns, replica.silent_before_ns) = (now_ns, 0);
        if let Some(origin) = origin {
            (replica.origin, replica.ownerless) = (origin, None);
        }
        replica.update_head(head, now_ns);
    }

    /// Records that relay `holder` has announced a replica of the ownerless log `id`.
    pub(super) fn update_from_holder(&mut self, id: &LogId, holder: u64, now_ns: u64) {
        let Some(HeldReplica { head, silent_before_ns, entry, .. }) =
            self.peers.get(&holder).and_then(|peer| peer.replicas.get(id))
        else {
            return;
        };
        let replica = self.replicas.entry(id.clone());
        let replica =
            replica.or_insert_with(|| Replica::ownerless(holder, *head, *silent_before_ns, entry.clone(), now_ns));
        if self.peers.get(&replica.origin).is_some_and(|peer| peer.is_origin_of(id)) {
            return;
        }
        if replica.ownerless.is_none() {
            replica.ownerless = Some(entry.clone());
        }
        // Request the log from the most complete replica.
        if *head > replica.head || !self.peers.get(&replica.origin).is_some_and(|peer| peer.has_log(id)) {
            replica.origin = holder;
        }
        replica.update_head(*head, now_ns);
    }

    pub(super) fn receive_batch(&mut self, id: &LogId, bytes: &Bytes, now_ns: u64) {
        if !self.interest.contains(&id.app) {
            // The batch was in flight when the last viewer left.
            return;
        }
        let Ok(ServerMessage::Batch { head, .. }) = ServerMessage::decode(bytes) else {
            return self.counters.reject(ClusterRejectReason::InvalidBatch);
        };
        self.update_head(id, None, head.to, now_ns);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        if replica.early_batches.len() < EARLY_BATCHES_MAX {
            replica.early_batches.insert(head.from, bytes.clone());
        }
        self.apply_early_batches(id);
    }

    /// Applies early batches until one has a missing predecessor. The history contains the updates before the first
    /// batch.
    fn apply_early_batches(&mut self, id: &LogId) {
        let Some(replica) = self.replicas.get_mut(id).filter(|replica| replica.has_history) else { return };
        while let Some(first) = replica.early_batches.first_entry() {
            match self.hub.apply_to_replica(&id.app, id.epoch, first.get()) {
                Ok(ApplyOutcome::Gap { .. }) => break,
                Ok(_) => {}
                Err(_) => self.counters.reject(ClusterRejectReason::InvalidBatch),
            }
            first.remove();
        }
    }

    pub(super) fn update_replicas(&mut self, now_ns: u64) {
        let forget_ns = nanos(self.hub.config().forget_after);
        let mut in_flight = self.replicas.values().filter(|replica| replica.pending.is_some()).count();
        let (mut ready, mut silent) = (Vec::new(), Vec::new());
        for (id, replica) in &mut self.replicas {
            if let Some((_, until_ns)) = replica.pending {
                if now_ns < until_ns {
                    continue;
                }
                // A part was lost, or the relay is gone.
                replica.pending = None;
                replica.failures += 1;
                in_flight -= 1;
            }
            let held = self.hub.replica_head(&id.app, id.epoch).unwrap_or(0);
            let is_behind = held < replica.head;
            if !is_behind || replica.failures >= FAILURES_BEFORE_READY {
                ready.push(id.clone());
            }
            if replica.silence_ns(now_ns) > forget_ns {
                silent.push(id.clone());
            }
            if !is_behind || now_ns < replica.due_ns || in_flight >= REQUESTS_MAX {
                continue;
            }
            in_flight += 1;
            let request = self.next_request;
            self.next_request += 1;
            replica.pending = Some((Page::new(request), now_ns + RETRY_NS));
            let has_origin = self.peers.get(&replica.origin).is_some_and(|peer| peer.has_log(id));
            let mut others = self.peers.iter().filter(|&(&relay, _)| relay != replica.origin);
            let has_others = others.any(|(_, peer)| peer.interest.contains_key(&id.app));
            // Prefer other replicas, so that many relays do not overload the origin; on the next attempt use the
            // origin.
            let ask_replicas = !has_origin || has_others == replica.failures.is_multiple_of(2);
            let kind =
                if ask_replicas { SubjectKind::LogReplicas(id.clone()) } else { SubjectKind::Relay(replica.origin) };
            let (app, epoch) = (id.app.clone(), id.epoch);
            let message = ClusterMessage::HistoryRequest { relay: self.relay, request, app, epoch, after: held };
            self.actions
                .push(Action::Publish { subject: self.subjects.subject(&kind), payload: message.encode().into() });
            self.counters.history_requests.inc();
        }
        ready.iter().for_each(|id| self.make_ready(id));
        silent.iter().for_each(|id| self.drop_replica(id));
    }

    /// Makes the replica readable for viewers and for requests of other relays.
    fn make_ready(&mut self, id: &LogId) {
        let Some(replica) = self.replicas.get_mut(id).filter(|replica| !replica.is_ready) else { return };
        replica.is_ready = true;
        self.hub.mark_replica_ready(&id.app, id.epoch);
        self.subscribe(&SubjectKind::LogReplicas(id.clone()), true);
    }

    pub(super) fn receive_part(&mut self, request: u64, index: u32, end: Option<PageEnd>, bytes: &[u8], now_ns: u64) {
        let pending = self.replicas.iter_mut().find_map(|(id, replica)| {
            let (page, until_ns) = replica.pending.as_mut()?;
            (page.request == request).then_some((id, page, until_ns))
        });
        // A late answer is ignored; its request has already been repeated.
        let Some((id, page, until_ns)) = pending else { return };
        page.add(index, end, bytes);
        *until_ns = now_ns + RETRY_NS;
        if let Some((page, end)) = page.complete() {
            let id = id.clone();
            self.apply_page(&id, &page, end, now_ns);
            self.update_replicas(now_ns);
        }
    }

    fn apply_page(&mut self, id: &LogId, page: &[u8], end: PageEnd, now_ns: u64) {
        let head = |hub: &Hub| hub.replica_head(&id.app, id.epoch).unwrap_or(0);
        let before = head(&self.hub);
        let messages = decode_page(page);
        let is_valid = messages.is_some_and(|messages| {
            messages.into_iter().all(|message| self.hub.apply_to_replica(&id.app, id.epoch, message).is_ok())
        });
        if !is_valid {
            self.counters.reject(ClusterRejectReason::InvalidHistory);
        }
        let filled = head(&self.hub).saturating_sub(before);
        self.counters.backfilled_updates.inc_by(filled);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        replica.pending = None;
        replica.has_history |= is_valid && end.has_log;
        let made_progress = filled > 0 || (end.has_log && !replica.is_ready);
        replica.failures = if made_progress { 0 } else { replica.failures + 1 };
        // Ask another relay at once. If none has anything new, wait with exponential backoff.
        let backoff = replica.failures / 2;
        let should_back_off = replica.failures > 0 && replica.failures.is_multiple_of(2);
        let pause = if should_back_off { RETRY_NS << backoff.min(BACKOFF_DOUBLINGS_MAX) } else { 0 };
        replica.due_ns = now_ns + pause;
        if replica.has_history && !end.has_more {
            self.make_ready(id);
        }
        self.apply_early_batches(id);
    }

    // === requests of other relays ===

    pub(super) fn send_history(&mut self, relay: u64, request: u64, app: &str, epoch: u64, after: u64) {
        let history = self.hub.history(app, epoch, after);
        let has_log = history.is_some();
        let history = history.unwrap_or_default();
        let mut room = PAGE_BYTES;
        let mut messages: Vec<&[u8]> = Vec::new();
        for message in &history {
            // The first message contains the series names. Always send at least one message after it.
            if room < message.len() && messages.len() > 1 {
                break;
            }
            room = room.saturating_sub(message.len());
            messages.push(message);
        }
        let end = PageEnd { has_log, has_more: messages.len() < history.len() };
        let subject = self.subjects.subject(&SubjectKind::Relay(relay));
        for part in encode_page(request, &messages, end) {
            self.actions.push(Action::Publish { subject: subject.clone(), payload: part.into() });
        }
    }

    pub(super) fn drop_replica(&mut self, id: &LogId) {
        if self.replicas.remove(id).is_some_and(|replica| replica.is_ready) {
            let subject = self.subjects.subject(&SubjectKind::LogReplicas(id.clone()));
            self.actions.push(Action::Unsubscribe { subject });
        }
        self.hub.drop_replica(&id.app, id.epoch);
    }
}
