//! The bridge decides what this relay announces, publishes and requests, and it handles messages from other relays.
//!
//! It does no I/O: messages and times come in, [`Action`]s go out. The network may lose, duplicate, delay and reorder
//! messages. Batches have sequence numbers, so no update counts twice. Origins announce the newest number of each log
//! every two seconds; a relay that lacks updates requests them.
//!
//! A relay subscribes only to logs of applications that its own viewers watch. It publishes only logs in which another
//! relay has announced interest within the last ten seconds.

mod ownerless_logs;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use joey_shared::series::check_name;
use joey_shared::wire::{self, AppEntry};

use self::replicas::Replica;
use super::messages::{ClusterMessage, LogInfo, split_apps, split_logs};
use super::subjects::{LogId, SubjectKind, Subjects};
use crate::config::is_relay_address;
use crate::hub::{Hub, PeerBatch, RELAYS_MAX, RemoteLog};
use crate::metrics::{ClusterCounters, ClusterRejectReason};
use crate::runtime::clock::nanos;

/// Interval between announcements of logs and interest: 2 s.
const ANNOUNCE_INTERVAL_NS: u64 = 2_000_000_000;
/// A relay counts as gone after this many missed announcements.
const MISSED_ANNOUNCEMENTS_MAX: u64 = 5;
/// Every n-th announcement contains all catalogue entries, changed or not, for relays that missed one.
const FULL_ANNOUNCEMENT_EVERY: u64 = 10;
/// Number of announcements in which a reconnected relay requests all logs. Answers to the first one may arrive before
/// the NATS server has processed its subscriptions.
const LOG_REQUESTS: u32 = 2;
/// With many relays, interest is announced less often, so that no relay receives more than a hundred announcements a
/// second.
const INTEREST_INTERVAL_PER_RELAY_NS: u64 = 10_000_000;
/// Maximum interval between announcements of interest: 60 s.
const INTEREST_INTERVAL_MAX_NS: u64 = 60_000_000_000;
/// Maximum number of logs and interest entries of all other relays. More are rejected and counted.
const ITEMS_MAX: usize = 200_000;

/// An action for the network layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish a message.
    Publish {
        /// Subject of the message.
        subject: String,
        /// Bytes of the message.
        payload: Bytes,
    },
    /// Subscribe to a subject.
    Subscribe {
        /// The subject.
        subject: String,
        /// Whether to join the queue group, in which one member receives each message.
        is_shared: bool,
    },
    /// Unsubscribe from a subject.
    Unsubscribe {
        /// The subject.
        subject: String,
    },
}

/// The connection of this relay to the other relays.
#[derive(Debug)]
pub struct Bridge {
    hub: Arc<Hub>,
    relay: u64,
    subjects: Subjects,
    counters: ClusterCounters,
    items_max: usize,
    peers: BTreeMap<u64, Peer>,
    /// Applications that our viewers watch.
    interest: BTreeSet<String>,
    /// Logs of other relays that our viewers watch.
    replicas: BTreeMap<LogId, Replica>,
    /// Ownerless logs among them, as last registered with the hub.
    ownerless: BTreeSet<LogId>,
    /// Catalogue entries as last announced.
    announced: BTreeMap<LogId, AppEntry>,
    announcements: u64,
    logs_due_ns: u64,
    interest_due_ns: u64,
    replicas_due_ns: u64,
    /// Whether the next announcement contains all entries, because a relay has joined.
    needs_full_announcement: bool,
    /// Number of remaining announcements that request all logs, after this relay was disconnected.
    log_requests_left: u32,
    next_request: u64,
    actions: Vec<Action>,
}

/// State of another relay.
#[derive(Debug, Default)]
struct Peer {
    until_ns: u64,
    viewers: u32,
    /// Its own logs, by application. It has one of each.
    logs: BTreeMap<String, AnnouncedLog>,
    /// Applications that its viewers watch: number of viewers, and until when the interest is valid.
    interest: BTreeMap<String, (u32, u64)>,
    /// Ownerless logs of which it has replicas.
    replicas: BTreeMap<LogId, HeldReplica>,
}

/// A log as announced by its origin.
#[derive(Debug)]
struct AnnouncedLog {
    epoch: u64,
    head: u64,
    until_ns: u64,
    entry: AppEntry,
}

/// A replica of an ownerless log, as announced by a relay.
#[derive(Debug)]
struct HeldReplica {
    head: u64,
    /// How long the origin had been silent at the announcement, in ns.
    silent_before_ns: u64,
    until_ns: u64,
    entry: AppEntry,
}

impl Peer {
    /// Whether that relay is the origin of the log `id`.
    fn is_origin_of(&self, id: &LogId) -> bool {
        self.logs.get(&id.app).is_some_and(|announced| announced.epoch == id.epoch)
    }

    /// Whether that relay has the log `id`.
    fn has_log(&self, id: &LogId) -> bool {
        self.is_origin_of(id) || self.replicas.contains_key(id)
    }
}

impl Bridge {
    /// Creates the bridge of a relay that has not announced anything yet.
    #[must_use]
    pub fn new(hub: Arc<Hub>, subjects: Subjects) -> Self {
        let (relay, counters) = (hub.epoch(), hub.counters().cluster.clone());
        let mut bridge = Self {
            hub,
            relay,
            subjects,
            counters,
            items_max: ITEMS_MAX,
            peers: BTreeMap::new(),
            interest: BTreeSet::new(),
            replicas: BTreeMap::new(),
            ownerless: BTreeSet::new(),
            announced: BTreeMap::new(),
            announcements: 0,
            logs_due_ns: 0,
            interest_due_ns: 0,
            replicas_due_ns: 0,
            needs_full_announcement: true,
            log_requests_left: LOG_REQUESTS,
            next_request: 1,
            actions: Vec::new(),
        };
        for kind in [SubjectKind::Logs, SubjectKind::Interest, SubjectKind::Relay(relay)] {
            bridge.subscribe(&kind, false);
        }
        bridge
    }

    /// Takes the actions to execute, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Handles a new or restored connection to the network.
    pub fn connected(&mut self) {
        self.needs_full_announcement = true;
        self.log_requests_left = LOG_REQUESTS;
        (self.logs_due_ns, self.interest_due_ns, self.replicas_due_ns) = (0, 0, 0);
    }

    /// Publishes a batch of our own log in which other relays are interested.
    pub fn publish_batch(&mut self, PeerBatch { app, epoch, bytes }: PeerBatch) {
        let kind = SubjectKind::LogBatches(LogId { app: app.to_string(), epoch });
        self.publish(&kind, bytes);
    }

    /// Announces that this relay is shutting down.
    pub fn announce_leaving(&mut self) {
        let message = ClusterMessage::Leaving { relay: self.relay };
        self.send(&SubjectKind::Interest, &message);
    }

    // === announcements ===

    /// Does everything that is due at `now_ns` on a monotonic clock.
    pub fn tick(&mut self, now_ns: u64) {
        self.update_interest(now_ns);
        if now_ns >= self.logs_due_ns {
            self.logs_due_ns = now_ns + ANNOUNCE_INTERVAL_NS;
            self.expire(now_ns);
            self.announce_logs();
            self.update_metrics();
        }
        if now_ns >= self.interest_due_ns {
            self.interest_due_ns = now_ns + self.interest_interval_ns();
            self.announce_interest();
        }
        if now_ns >= self.replicas_due_ns {
            self.replicas_due_ns = now_ns + self.interest_interval_ns();
            self.announce_replicas(now_ns);
        }
        self.update_replicas(now_ns);
    }

    /// Subscribes to the applications that our viewers have started to watch, and unsubscribes from those that they no
    /// longer watch.
    fn update_interest(&mut self, now_ns: u64) {
        let interest: BTreeSet<String> = self.hub.watched_apps(self.hub.config().now_ns()).into_iter().collect();
        if interest == self.interest {
            return;
        }
        let before = std::mem::replace(&mut self.interest, interest);
        for app in self.interest.difference(&before) {
            self.actions.push(Action::Subscribe { subject: self.subjects.all_logs_subject(app), is_shared: false });
        }
        for (&origin, peer) in &self.peers {
            let logs = peer.logs.iter().filter(|(app, _)| self.interest.contains(*app) && !before.contains(*app));
            for (app, announced) in logs {
                let id = LogId { app: app.clone(), epoch: announced.epoch };
                self.replicas.entry(id).or_insert_with(|| Replica::new(origin, announced.head, now_ns));
            }
        }
        for app in before.difference(&self.interest) {
            self.actions.push(Action::Unsubscribe { subject: self.subjects.all_logs_subject(app) });
        }
        self.fetch_ownerless_logs(&before, now_ns);
        // Other relays start to publish when they receive our interest.
        self.interest_due_ns = 0;
    }

    fn announce_logs(&mut self) {
        let is_full = std::mem::take(&mut self.needs_full_announcement)
            || self.announcements.is_multiple_of(FULL_ANNOUNCEMENT_EVERY);
        self.announcements += 1;
        let mut announced = BTreeMap::new();
        let mut logs = Vec::new();
        for RemoteLog { epoch, head, entry } in self.hub.own_logs() {
            let id = LogId { app: entry.app.clone(), epoch };
            let is_new = is_full || self.announced.get(&id) != Some(&entry);
            logs.push(LogInfo { app: entry.app.clone(), epoch, head, entry: is_new.then(|| entry.clone()) });
            announced.insert(id, entry);
        }
        self.announced = announced;
        let addresses = &self.hub.config().advertise;
        if is_full && !addresses.is_empty() {
            let message = ClusterMessage::Addresses { relay: self.relay, addresses: addresses.clone() };
            self.send(&SubjectKind::Interest, &message);
        }
        for logs in split_logs(logs) {
            let release = env!("CARGO_PKG_VERSION").to_owned();
            let message = ClusterMessage::Logs { relay: self.relay, release, logs };
            self.send(&SubjectKind::Logs, &message);
        }
    }

    fn announce_interest(&mut self) {
        let watched: BTreeMap<String, u32> = self.hub.presence().into_iter().collect();
        let apps = self.interest.iter().map(|app| (app.clone(), watched.get(app).copied().unwrap_or(0))).collect();
        let (relay, viewers, ttl_ms) = (self.relay, self.viewers(), self.interest_ttl_ms());
        let mut requests_logs = self.log_requests_left > 0;
        self.log_requests_left = self.log_requests_left.saturating_sub(1);
        for apps in split_apps(apps) {
            let message = ClusterMessage::Interest {
                relay,
                ttl_ms,
                requests_logs: std::mem::take(&mut requests_logs),
                viewers,
                apps,
            };
            self.send(&SubjectKind::Interest, &message);
        }
    }

    fn interest_interval_ns(&self) -> u64 {
        (self.peers.len() as u64 * INTEREST_INTERVAL_PER_RELAY_NS).clamp(ANNOUNCE_INTERVAL_NS, INTEREST_INTERVAL_MAX_NS)
    }

    /// Validity of an announcement of interest, in ms.
    fn interest_ttl_ms(&self) -> u32 {
        u32::try_from(self.interest_interval_ns() * MISSED_ANNOUNCEMENTS_MAX / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Removes relays, logs and interest that were not announced again in time.
    fn expire(&mut self, now_ns: u64) {
        let removed: Vec<u64> =
            self.peers.iter().filter(|(_, peer)| peer.until_ns < now_ns).map(|(&relay, _)| relay).collect();
        removed.into_iter().for_each(|relay| self.remove_relay(relay));
        let (mut ended, mut removed) = (Vec::new(), Vec::new());
        for (&relay, peer) in &mut self.peers {
            for (app, announced) in peer.logs.extract_if(.., |_, announced| announced.until_ns < now_ns) {
                removed.push((relay, app.clone()));
                ended.push((LogId { app, epoch: announced.epoch }, announced.entry));
            }
            for (id, _) in peer.replicas.extract_if(.., |_, replica| replica.until_ns < now_ns) {
                self.hub.remove_ownerless_log(relay, &id.app, id.epoch);
            }
            let before = peer.interest.len();
            peer.interest.retain(|_, (_, until_ns)| *until_ns >= now_ns);
            if peer.interest.len() != before {
                self.hub.set_presence(relay, presence(peer));
            }
        }
        self.mark_ownerless(ended);
        removed.iter().for_each(|(relay, app)| self.hub.remove_remote_logs(*relay, Some(app)));
        self.drop_unused_replicas(now_ns);
    }

    fn remove_relay(&mut self, relay: u64) {
        if let Some(peer) = self.peers.remove(&relay) {
            tracing::info!(relay, "relay left the cluster");
            // Announce our replicas before the logs of the removed relay disappear, so that viewers do not see the logs
            // vanish and return.
            let logs = peer.logs.into_iter();
            self.mark_ownerless(logs.map(|(app, announced)| (LogId { app, epoch: announced.epoch }, announced.entry)));
            self.hub.remove_remote_logs(relay, None);
        }
    }

    fn viewers(&self) -> u32 {
        u32::try_from(self.hub.gauges(0).viewers).unwrap_or(u32::MAX)
    }

    fn update_metrics(&self) {
        let (mut viewers, mut apps) = (u64::from(self.viewers()), BTreeMap::<String, u64>::new());
        for (app, watched) in self.hub.presence() {
            *apps.entry(app).or_default() += u64::from(watched);
        }
        for peer in self.peers.values() {
            viewers += u64::from(peer.viewers);
            for (app, (watched, _)) in &peer.interest {
                *apps.entry(app.clone()).or_default() += u64::from(*watched);
            }
        }
        self.counters.set_presence(self.peers.len() + 1, viewers, apps);
    }

    // === received messages ===

    /// Handles a message received under `subject`.
    pub fn receive(&mut self, subject: &str, payload: &Bytes, now_ns: u64) {
        let Some(kind) = self.subjects.parse(subject) else {
            return self.counters.reject(ClusterRejectReason::UnknownSubject);
        };
        if let SubjectKind::LogBatches(id) = kind {
            return self.receive_batch(&id, payload, now_ns);
        }
        match ClusterMessage::decode(payload) {
            Some(ClusterMessage::Logs { relay, release, logs }) => self.receive_logs(relay, &release, logs, now_ns),
            Some(ClusterMessage::Interest { relay, ttl_ms, requests_logs, viewers, apps }) => {
                self.receive_interest(
                    relay,
                    Duration::from_millis(u64::from(ttl_ms)),
                    requests_logs,
                    viewers,
                    apps,
                    now_ns,
                );
            }
            Some(ClusterMessage::Leaving { relay }) => self.remove_relay(relay),
            Some(ClusterMessage::HistoryRequest { relay, request, app, epoch, after }) => {
                self.send_history(relay, request, &app, epoch, after)
            }
            Some(ClusterMessage::HistoryPart { request, index, end, bytes }) => {
                self.receive_part(request, index, end, bytes.0, now_ns)
            }
            Some(ClusterMessage::Replicas { relay, ttl_ms, logs }) => {
                self.receive_replicas(relay, Duration::from_millis(u64::from(ttl_ms)), logs, now_ns);
            }
            Some(ClusterMessage::Addresses { relay, addresses }) => self.receive_addresses(relay, addresses, now_ns),
            None => self.counters.reject(ClusterRejectReason::Malformed),
        }
    }

    /// Returns the entry of a relay and creates it if necessary.
    fn peer_entry(&mut self, relay: u64, ttl_ns: u64, now_ns: u64) -> Option<&mut Peer> {
        if relay == self.relay {
            return None;
        }
        if !self.peers.contains_key(&relay) {
            if self.peers.len() >= RELAYS_MAX {
                self.counters.reject(ClusterRejectReason::RelayLimit);
                return None;
            }
            // The new relay has not received our announcements yet.
            (self.needs_full_announcement, self.logs_due_ns, self.interest_due_ns, self.replicas_due_ns) =
                (true, 0, 0, 0);
            self.hub.update_remote_logs(relay, Vec::new());
            self.peers.insert(relay, Peer::default());
        }
        let peer = self.peers.get_mut(&relay)?;
        peer.until_ns = peer.until_ns.max(now_ns.saturating_add(ttl_ns));
        Some(peer)
    }

    /// How many more logs and interest entries of other relays are allowed.
    fn room(&self) -> usize {
        let items = |peer: &Peer| peer.logs.len() + peer.interest.len() + peer.replicas.len();
        let held: usize = self.peers.values().map(items).sum();
        self.items_max.saturating_sub(held)
    }

    fn receive_logs(&mut self, relay: u64, release: &str, logs: Vec<LogInfo>, now_ns: u64) {
        let is_new = !self.peers.contains_key(&relay);
        let mut room = self.room();
        let mut rejected = 0;
        let until_ns = now_ns + ANNOUNCE_INTERVAL_NS * MISSED_ANNOUNCEMENTS_MAX;
        let Some(peer) = self.peer_entry(relay, ANNOUNCE_INTERVAL_NS * MISSED_ANNOUNCEMENTS_MAX, now_ns) else {
            return;
        };
        if is_new {
            tracing::info!(relay, release, "relay joined the cluster");
        }
        let (mut heads, mut changed) = (Vec::new(), Vec::new());
        for LogInfo { app, epoch, head, entry } in logs {
            let before = peer.logs.get(&app);
            let is_valid = entry.as_ref().is_none_or(|entry| entry.app == app);
            if check_name(app.as_bytes()).is_err() || !is_valid || (before.is_none() && room == 0) {
                rejected += 1;
                continue;
            }
            room -= usize::from(before.is_none());
            let same = before.filter(|before| before.epoch == epoch);
            // Messages may be reordered, but the newest number never decreases.
            let head = same.map_or(head, |before| before.head.max(head));
            // Most announcements only contain newest numbers, which do not change the catalogue.
            if entry.is_some() || same.is_none() {
                let bare = || AppEntry { app: app.clone(), ..AppEntry::default() };
                let entry = entry.unwrap_or_else(|| before.map_or_else(bare, |before| before.entry.clone()));
                changed.push(RemoteLog { epoch, head, entry: entry.clone() });
                peer.logs.insert(app.clone(), AnnouncedLog { epoch, head, until_ns, entry });
            } else if let Some(announced) = peer.logs.get_mut(&app) {
                (announced.head, announced.until_ns) = (head, until_ns);
            }
            heads.push((LogId { app, epoch }, head));
        }
        (0..rejected).for_each(|_| self.counters.reject(ClusterRejectReason::LogEntry));
        for (id, head) in heads {
            if self.interest.contains(&id.app) {
                self.update_head(&id, Some(relay), head, now_ns);
            } else if let Some(replica) = self.replicas.get_mut(&id) {
                replica.ownerless = None;
            }
        }
        self.hub.update_remote_logs(relay, changed);
    }

    fn receive_interest(
        &mut self,
        relay: u64,
        ttl: Duration,
        requests_logs: bool,
        viewers: u32,
        apps: Vec<(String, u32)>,
        now_ns: u64,
    ) {
        let ttl_ns = nanos(ttl).min(INTEREST_INTERVAL_MAX_NS * MISSED_ANNOUNCEMENTS_MAX);
        let until_ns = now_ns + ttl_ns;
        let mut room = self.room();
        let (mut rejected, mut is_new) = (0, requests_logs);
        let hub = self.hub.clone();
        let interest_until_ns = hub.config().now_ns().saturating_add(ttl_ns);
        let Some(peer) = self.peer_entry(relay, ttl_ns, now_ns) else { return };
        peer.viewers = viewers;
        for (app, watched) in apps {
            let is_known = peer.interest.contains_key(&app);
            if check_name(app.as_bytes()).is_err() || (!is_known && room == 0) {
                rejected += 1;
                continue;
            }
            room -= usize::from(!is_known);
            is_new |= !is_known;
            hub.add_remote_interest(&app, interest_until_ns);
            peer.interest.insert(app, (watched, until_ns));
        }
        hub.set_presence(relay, presence(peer));
        (0..rejected).for_each(|_| self.counters.reject(ClusterRejectReason::SubscriptionEntry));
        if is_new {
            // The relay needs the newest numbers before it can request the logs that it has just become interested in.
            self.logs_due_ns = 0;
            self.needs_full_announcement |= requests_logs;
            self.replicas_due_ns = if requests_logs { 0 } else { self.replicas_due_ns };
        }
    }

    fn receive_addresses(&mut self, relay: u64, addresses: Vec<String>, now_ns: u64) {
        let is_valid = addresses.len() <= wire::RELAYS_MAX && addresses.iter().all(|address| is_relay_address(address));
        if !is_valid {
            return self.counters.reject(ClusterRejectReason::InvalidAddresses);
        }
        if self.peer_entry(relay, ANNOUNCE_INTERVAL_NS * MISSED_ANNOUNCEMENTS_MAX, now_ns).is_some() {
            self.hub.set_addresses(relay, addresses);
        }
    }

    // === sending ===

    fn send(&mut self, kind: &SubjectKind, message: &ClusterMessage<'_>) {
        self.publish(kind, message.encode().into());
    }

    fn publish(&mut self, kind: &SubjectKind, payload: Bytes) {
        self.actions.push(Action::Publish { subject: self.subjects.subject(kind), payload });
    }

    fn subscribe(&mut self, kind: &SubjectKind, is_shared: bool) {
        self.actions.push(Action::Subscribe { subject: self.subjects.subject(kind), is_shared });
    }
}

fn presence(peer: &Peer) -> Vec<(String, u32)> {
    peer.interest.iter().map(|(app, (watched, _))| (app.clone(), *watched)).collect()
}
