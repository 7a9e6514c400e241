//! What this relay says to the others, what it makes of what they say, and what it asks them for.
//!
//! It decides and touches no network: messages and times come in, [`Action`]s go out. What carries them may lose, double,
//! delay and reorder; every batch has its stamp, so nothing counts twice, and what is missing shows in the heads that
//! origins tell every two seconds, and is asked for.
//!
//! A relay listens only to the logs of applications that its own viewers watch, and publishes only those of its logs that
//! some other relay has asked for within the last ten seconds.

mod ownerless_logs;
mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use joey_shared::series::check_name;
use joey_shared::wire::{self, AppEntry};

use self::replicas::Replica;
use super::messages::{LogWord, Word, split_apps, split_logs};
use super::subjects::{LogId, Place, Subjects};
use crate::config::is_relay_address;
use crate::hub::{Hub, Outgoing, RELAYS_MAX, RemoteLog};
use crate::metrics::{ClusterCounters, ClusterRejectReason};
use crate::runtime::clock::nanos;

/// How often a relay tells its logs and what it wants: 2 s.
const BEAT: u64 = 2_000_000_000;
/// After how many beats that were not heard a relay counts as gone.
const BEATS_LOST_MAX: u64 = 5;
/// Every so many beats all entries are told, changed or not, for those who missed one.
const FULL_EVERY: u64 = 10;
/// In how many beats a relay that has come back asks for everything: the answers to the first may come before the network
/// knows that it listens.
const ASKS_FOR_ALL: u32 = 2;
/// With many relays the wants of each are told less often, so that nobody hears more than a hundred of them a second.
const BEAT_PER_RELAY: u64 = 10_000_000;
/// The longest time between two wants, however many relays there are: 60 s.
const BEAT_MAX: u64 = 60_000_000_000;
/// Logs and wishes of other relays, all together; more are refused and counted.
const ITEMS_MAX: usize = 200_000;

/// Something to be done on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this.
    Publish {
        /// Where.
        subject: String,
        /// What.
        payload: Bytes,
    },
    /// Listen to this subject; as one of a group of which only one hears each message.
    Subscribe {
        /// Where.
        subject: String,
        /// Whether it is shared with the group.
        is_shared: bool,
    },
    /// Listen no longer.
    Unsubscribe {
        /// Where.
        subject: String,
    },
}

/// One relay among others.
#[derive(Debug)]
pub struct Bridge {
    hub: Arc<Hub>,
    relay: u64,
    subjects: Subjects,
    counters: ClusterCounters,
    items_max: usize,
    peers: BTreeMap<u64, Peer>,
    /// Applications that viewers here watch.
    wanted: BTreeSet<String>,
    /// Logs of other relays that viewers here watch.
    replicas: BTreeMap<LogId, Replica>,
    /// Those of them whose origins are gone, as the hub was told.
    orphans: BTreeSet<LogId>,
    /// Entries as they were last told.
    told: BTreeMap<LogId, AppEntry>,
    beats: u64,
    logs_due_ns: u64,
    wants_due_ns: u64,
    holds_due_ns: u64,
    /// Whether the next beat tells everything, for somebody who is new.
    is_full_due: bool,
    /// In how many beats others should still be asked to tell everything, since this relay was away.
    asks_for_all: u32,
    next_ask: u64,
    actions: Vec<Action>,
}

/// What another relay said.
#[derive(Debug, Default)]
struct Peer {
    until_ns: u64,
    viewers: u32,
    /// Its logs, by application: it has one of each.
    logs: BTreeMap<String, Told>,
    /// Applications that it wants: for how many viewers, and until when.
    wants: BTreeMap<String, (u32, u64)>,
    /// Logs that it holds and whose origins are gone.
    held: BTreeMap<LogId, Kept>,
}

/// What the origin of a log said of it.
#[derive(Debug)]
struct Told {
    epoch: u64,
    head: u64,
    until_ns: u64,
    entry: AppEntry,
}

/// What a holder said of a log whose origin is gone.
#[derive(Debug)]
struct Kept {
    head: u64,
    /// How long before it was said the origin was last heard, in ns.
    quiet_ns: u64,
    until_ns: u64,
    entry: AppEntry,
}

impl Peer {
    /// Whether this relay is the origin of the log `id`.
    fn writes(&self, id: &LogId) -> bool {
        self.logs.get(&id.app).is_some_and(|told| told.epoch == id.epoch)
    }

    /// Whether this relay can be asked for the log `id`.
    fn has(&self, id: &LogId) -> bool {
        self.writes(id) || self.held.contains_key(id)
    }
}

impl Bridge {
    /// A relay that has said nothing yet.
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
            wanted: BTreeSet::new(),
            replicas: BTreeMap::new(),
            orphans: BTreeSet::new(),
            told: BTreeMap::new(),
            beats: 0,
            logs_due_ns: 0,
            wants_due_ns: 0,
            holds_due_ns: 0,
            is_full_due: true,
            asks_for_all: ASKS_FOR_ALL,
            next_ask: 1,
            actions: Vec::new(),
        };
        for place in [Place::Logs, Place::Wants, Place::Relay(relay)] {
            bridge.subscribe(&place, false);
        }
        bridge
    }

    /// What is to be done on the network, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The network is there, perhaps again.
    pub fn connected(&mut self) {
        self.is_full_due = true;
        self.asks_for_all = ASKS_FOR_ALL;
        (self.logs_due_ns, self.wants_due_ns, self.holds_due_ns) = (0, 0, 0);
    }

    /// A batch of a log of this relay that somebody elsewhere wants.
    pub fn outgoing(&mut self, Outgoing { app, epoch, bytes }: Outgoing) {
        let place = Place::Log(LogId { app: app.to_string(), epoch });
        self.publish(&place, bytes);
    }

    /// This relay stops.
    pub fn leave(&mut self) {
        let word = Word::Leaves { relay: self.relay };
        self.say(&Place::Wants, &word);
    }

    // === beats ===

    /// Does what is due at `now_ns`, by a clock that only goes forward.
    pub fn tick(&mut self, now_ns: u64) {
        self.look_at_wants(now_ns);
        if now_ns >= self.logs_due_ns {
            self.logs_due_ns = now_ns + BEAT;
            self.expire(now_ns);
            self.tell_logs();
            self.count();
        }
        if now_ns >= self.wants_due_ns {
            self.wants_due_ns = now_ns + self.wants_every();
            self.tell_wants();
        }
        if now_ns >= self.holds_due_ns {
            self.holds_due_ns = now_ns + self.wants_every();
            self.tell_holds(now_ns);
        }
        self.look_after_replicas(now_ns);
    }

    /// Listens to what viewers here have come to watch, and no longer to what they no longer do.
    fn look_at_wants(&mut self, now_ns: u64) {
        let wanted: BTreeSet<String> = self.hub.wanted(self.hub.config().now_ns()).into_iter().collect();
        if wanted == self.wanted {
            return;
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        for app in self.wanted.difference(&before) {
            self.actions.push(Action::Subscribe { subject: self.subjects.logs_of(app), is_shared: false });
        }
        for (&origin, peer) in &self.peers {
            let logs = peer.logs.iter().filter(|(app, _)| self.wanted.contains(*app) && !before.contains(*app));
            for (app, told) in logs {
                let id = LogId { app: app.clone(), epoch: told.epoch };
                self.replicas.entry(id).or_insert_with(|| Replica::new(origin, told.head, now_ns));
            }
        }
        for app in before.difference(&self.wanted) {
            self.actions.push(Action::Unsubscribe { subject: self.subjects.logs_of(app) });
        }
        self.look_for_orphans(&before, now_ns);
        // Others begin to publish when they hear of it.
        self.wants_due_ns = 0;
    }

    fn tell_logs(&mut self) {
        let is_full = std::mem::take(&mut self.is_full_due) || self.beats.is_multiple_of(FULL_EVERY);
        self.beats += 1;
        let mut told = BTreeMap::new();
        let mut logs = Vec::new();
        for RemoteLog { epoch, head, entry } in self.hub.own_logs() {
            let id = LogId { app: entry.app.clone(), epoch };
            let is_new = is_full || self.told.get(&id) != Some(&entry);
            logs.push(LogWord { app: entry.app.clone(), epoch, head, entry: is_new.then(|| entry.clone()) });
            told.insert(id, entry);
        }
        self.told = told;
        let addresses = &self.hub.config().advertise;
        if is_full && !addresses.is_empty() {
            let word = Word::Reach { relay: self.relay, addresses: addresses.clone() };
            self.say(&Place::Wants, &word);
        }
        for logs in split_logs(logs) {
            let release = env!("CARGO_PKG_VERSION").to_owned();
            let word = Word::Logs { relay: self.relay, release, logs };
            self.say(&Place::Logs, &word);
        }
    }

    fn tell_wants(&mut self) {
        let watched: BTreeMap<String, u32> = self.hub.presence().into_iter().collect();
        let apps = self.wanted.iter().map(|app| (app.clone(), watched.get(app).copied().unwrap_or(0))).collect();
        let (relay, viewers, ttl_ms) = (self.relay, self.viewers(), self.wants_ttl_ms());
        let mut is_back = self.asks_for_all > 0;
        self.asks_for_all = self.asks_for_all.saturating_sub(1);
        for apps in split_apps(apps) {
            let word = Word::Wants { relay, ttl_ms, is_back: std::mem::take(&mut is_back), viewers, apps };
            self.say(&Place::Wants, &word);
        }
    }

    fn wants_every(&self) -> u64 {
        (self.peers.len() as u64 * BEAT_PER_RELAY).clamp(BEAT, BEAT_MAX)
    }

    /// How long what is said so often holds, in ms.
    fn wants_ttl_ms(&self) -> u32 {
        u32::try_from(self.wants_every() * BEATS_LOST_MAX / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Forgets what was not said again in time.
    fn expire(&mut self, now_ns: u64) {
        let gone: Vec<u64> =
            self.peers.iter().filter(|(_, peer)| peer.until_ns < now_ns).map(|(&relay, _)| relay).collect();
        gone.into_iter().for_each(|relay| self.forget(relay));
        let (mut ended, mut gone) = (Vec::new(), Vec::new());
        for (&relay, peer) in &mut self.peers {
            for (app, told) in peer.logs.extract_if(.., |_, told| told.until_ns < now_ns) {
                gone.push((relay, app.clone()));
                ended.push((LogId { app, epoch: told.epoch }, told.entry));
            }
            for (id, _) in peer.held.extract_if(.., |_, kept| kept.until_ns < now_ns) {
                self.hub.drop_orphan(relay, &id.app, id.epoch);
            }
            let before = peer.wants.len();
            peer.wants.retain(|_, (_, until_ns)| *until_ns >= now_ns);
            if peer.wants.len() != before {
                self.hub.set_presence(relay, presence(peer));
            }
        }
        self.adopt(ended);
        gone.iter().for_each(|(relay, app)| self.hub.drop_remote(*relay, Some(app)));
        self.drop_unwanted(now_ns);
    }

    fn forget(&mut self, relay: u64) {
        if let Some(peer) = self.peers.remove(&relay) {
            tracing::info!(relay, "another relay has gone");
            // Ours are named before those of the one that is gone are taken away, so that nobody sees them go and come.
            let logs = peer.logs.into_iter();
            self.adopt(logs.map(|(app, told)| (LogId { app, epoch: told.epoch }, told.entry)));
            self.hub.drop_remote(relay, None);
        }
    }

    fn viewers(&self) -> u32 {
        u32::try_from(self.hub.gauges(0).viewers).unwrap_or(u32::MAX)
    }

    fn count(&self) {
        let (mut viewers, mut apps) = (u64::from(self.viewers()), BTreeMap::<String, u64>::new());
        for (app, watched) in self.hub.presence() {
            *apps.entry(app).or_default() += u64::from(watched);
        }
        for peer in self.peers.values() {
            viewers += u64::from(peer.viewers);
            for (app, (watched, _)) in &peer.wants {
                *apps.entry(app.clone()).or_default() += u64::from(*watched);
            }
        }
        self.counters.set_presence(self.peers.len() + 1, viewers, apps);
    }

    // === hearing ===

    /// Somebody said `payload` under `subject`.
    pub fn hear(&mut self, subject: &str, payload: &Bytes, now_ns: u64) {
        let Some(place) = self.subjects.read(subject) else {
            return self.counters.reject(ClusterRejectReason::UnknownSubject);
        };
        if let Place::Log(id) = place {
            return self.hear_batch(&id, payload, now_ns);
        }
        match Word::decode(payload) {
            Some(Word::Logs { relay, release, logs }) => self.hear_logs(relay, &release, logs, now_ns),
            Some(Word::Wants { relay, ttl_ms, is_back, viewers, apps }) => {
                self.hear_wants(relay, Duration::from_millis(u64::from(ttl_ms)), is_back, viewers, apps, now_ns);
            }
            Some(Word::Leaves { relay }) => self.forget(relay),
            Some(Word::Ask { relay, ask, app, epoch, after }) => self.answer(relay, ask, &app, epoch, after),
            Some(Word::Part { ask, index, end, bytes }) => self.hear_part(ask, index, end, bytes.0, now_ns),
            Some(Word::Holds { relay, ttl_ms, logs }) => {
                self.hear_holds(relay, Duration::from_millis(u64::from(ttl_ms)), logs, now_ns);
            }
            Some(Word::Reach { relay, addresses }) => self.hear_reach(relay, addresses, now_ns),
            None => self.counters.reject(ClusterRejectReason::Malformed),
        }
    }

    /// The relay that says something, made known if need be.
    fn peer(&mut self, relay: u64, lives_ns: u64, now_ns: u64) -> Option<&mut Peer> {
        if relay == self.relay {
            return None;
        }
        if !self.peers.contains_key(&relay) {
            if self.peers.len() >= RELAYS_MAX {
                self.counters.reject(ClusterRejectReason::RelayLimit);
                return None;
            }
            // It has heard nothing of this relay yet.
            (self.is_full_due, self.logs_due_ns, self.wants_due_ns, self.holds_due_ns) = (true, 0, 0, 0);
            self.hub.set_remote(relay, Vec::new());
            self.peers.insert(relay, Peer::default());
        }
        let peer = self.peers.get_mut(&relay)?;
        peer.until_ns = peer.until_ns.max(now_ns.saturating_add(lives_ns));
        Some(peer)
    }

    /// How many more logs and wishes of others there may be.
    fn room(&self) -> usize {
        let items = |peer: &Peer| peer.logs.len() + peer.wants.len() + peer.held.len();
        let held: usize = self.peers.values().map(items).sum();
        self.items_max.saturating_sub(held)
    }

    fn hear_logs(&mut self, relay: u64, release: &str, logs: Vec<LogWord>, now_ns: u64) {
        let is_new = !self.peers.contains_key(&relay);
        let mut room = self.room();
        let mut refused = 0;
        let until_ns = now_ns + BEAT * BEATS_LOST_MAX;
        let Some(peer) = self.peer(relay, BEAT * BEATS_LOST_MAX, now_ns) else { return };
        if is_new {
            tracing::info!(relay, release, "another relay is there");
        }
        let (mut heads, mut news) = (Vec::new(), Vec::new());
        for LogWord { app, epoch, head, entry } in logs {
            let before = peer.logs.get(&app);
            let is_sound = entry.as_ref().is_none_or(|entry| entry.app == app);
            if check_name(app.as_bytes()).is_err() || !is_sound || (before.is_none() && room == 0) {
                refused += 1;
                continue;
            }
            room -= usize::from(before.is_none());
            let same = before.filter(|before| before.epoch == epoch);
            // Messages may come in another order; a log never gets shorter.
            let head = same.map_or(head, |before| before.head.max(head));
            // Most beats bring nothing but heads, which are no news for the catalogue.
            if entry.is_some() || same.is_none() {
                let bare = || AppEntry { app: app.clone(), ..AppEntry::default() };
                let entry = entry.unwrap_or_else(|| before.map_or_else(bare, |before| before.entry.clone()));
                news.push(RemoteLog { epoch, head, entry: entry.clone() });
                peer.logs.insert(app.clone(), Told { epoch, head, until_ns, entry });
            } else if let Some(told) = peer.logs.get_mut(&app) {
                (told.head, told.until_ns) = (head, until_ns);
            }
            heads.push((LogId { app, epoch }, head));
        }
        (0..refused).for_each(|_| self.counters.reject(ClusterRejectReason::LogEntry));
        for (id, head) in heads {
            if self.wanted.contains(&id.app) {
                self.note_head(&id, Some(relay), head, now_ns);
            } else if let Some(replica) = self.replicas.get_mut(&id) {
                replica.orphan = None;
            }
        }
        self.hub.set_remote(relay, news);
    }

    fn hear_wants(
        &mut self,
        relay: u64,
        lives: Duration,
        is_back: bool,
        viewers: u32,
        apps: Vec<(String, u32)>,
        now_ns: u64,
    ) {
        let lives_ns = nanos(lives).min(BEAT_MAX * BEATS_LOST_MAX);
        let until_ns = now_ns + lives_ns;
        let mut room = self.room();
        let (mut refused, mut is_new) = (0, is_back);
        let hub = self.hub.clone();
        let listen_until_ns = hub.config().now_ns().saturating_add(lives_ns);
        let Some(peer) = self.peer(relay, lives_ns, now_ns) else { return };
        peer.viewers = viewers;
        for (app, watched) in apps {
            let is_known = peer.wants.contains_key(&app);
            if check_name(app.as_bytes()).is_err() || (!is_known && room == 0) {
                refused += 1;
                continue;
            }
            room -= usize::from(!is_known);
            is_new |= !is_known;
            hub.listen(&app, listen_until_ns);
            peer.wants.insert(app, (watched, until_ns));
        }
        hub.set_presence(relay, presence(peer));
        (0..refused).for_each(|_| self.counters.reject(ClusterRejectReason::SubscriptionEntry));
        if is_new {
            // What it has just begun to want it can only ask for once it knows the heads.
            self.logs_due_ns = 0;
            self.is_full_due |= is_back;
            self.holds_due_ns = if is_back { 0 } else { self.holds_due_ns };
        }
    }

    fn hear_reach(&mut self, relay: u64, addresses: Vec<String>, now_ns: u64) {
        let is_sound = addresses.len() <= wire::RELAYS_MAX && addresses.iter().all(|address| is_relay_address(address));
        if !is_sound {
            return self.counters.reject(ClusterRejectReason::InvalidAddresses);
        }
        if self.peer(relay, BEAT * BEATS_LOST_MAX, now_ns).is_some() {
            self.hub.set_addresses(relay, addresses);
        }
    }

    // === saying ===

    fn say(&mut self, place: &Place, word: &Word<'_>) {
        self.publish(place, word.encode().into());
    }

    fn publish(&mut self, place: &Place, payload: Bytes) {
        self.actions.push(Action::Publish { subject: self.subjects.of(place), payload });
    }

    fn subscribe(&mut self, place: &Place, is_shared: bool) {
        self.actions.push(Action::Subscribe { subject: self.subjects.of(place), is_shared });
    }
}

fn presence(peer: &Peer) -> Vec<(String, u32)> {
    peer.wants.iter().map(|(app, (watched, _))| (app.clone(), *watched)).collect()
}
