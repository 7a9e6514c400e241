//! What other relays have, and what they are told: their logs and viewers, our replicas of what is watched here, and the
//! batches of ours that somebody watches there.
//!
//! Nothing here knows how relays talk to one another. Whoever does hands in what it hears and takes out what is to be sent.

mod ownerless_logs;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{self, AppEntry, REFUSED_NAMES_MAX, ServerMessage, WorkerEntry};
use tokio::sync::{Notify, mpsc};

use self::ownerless_logs::Orphans;
use super::log::Log;
use super::{App, Hub};
use crate::runtime::sync::{AtomicBool, AtomicU64, Mutex, RwLock};

/// Batches that may wait to be sent to other relays. What is more is dropped and counted; who misses it asks for it.
const OUTGOING_MAX: usize = 4_096;
/// Other relays that are known at once.
pub const RELAYS_MAX: usize = 1_024;
/// How long an application that nobody here follows any more is still listened to, in ns: 30 s.
const LINGER_NS: u64 = 30_000_000_000;

/// What another relay says of one of its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLog {
    /// The log's epoch.
    pub epoch: u64,
    /// The newest number in it.
    pub head: u64,
    /// Its line in the catalogue.
    pub entry: AppEntry,
}

/// A batch of our own that somebody elsewhere watches.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The application.
    pub app: String,
    /// The log's epoch.
    pub epoch: u64,
    /// The message as viewers of everything get it.
    pub bytes: Bytes,
}

/// What became of a message about a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It was new.
    Taken,
    /// It was here already.
    Again,
    /// It does not follow what is here: these numbers lie between. It was not taken.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// Why a message about a replica was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It makes no sense, or is about something else.
    Malformed,
    /// There are as many series or applications as there may be.
    Limit,
}

/// What the hub knows of other relays.
#[derive(Debug)]
pub(super) struct Peers {
    relays: RwLock<BTreeMap<u64, Peer>>,
    orphans: RwLock<Orphans>,
    /// Replicas, by application and epoch.
    pub(super) replicas: RwLock<BTreeMap<(String, u64), Arc<Replica>>>,
    /// How many subscriptions here are about each application, and until when it lingers once there is none.
    wants: Mutex<BTreeMap<String, (usize, u64)>>,
    wants_changed: Notify,
    /// Until when somebody elsewhere watches each application.
    listeners: RwLock<HashMap<String, u64>>,
    outgoing: mpsc::Sender<Outgoing>,
    receiver: Mutex<Option<mpsc::Receiver<Outgoing>>>,
    /// Goes up when a log appears, ends, or a replica becomes ready.
    version: AtomicU64,
    /// Goes up when the addresses of other relays change.
    addresses_version: AtomicU64,
}

#[derive(Debug, Default)]
struct Peer {
    logs: BTreeMap<String, RemoteLog>,
    /// The catalogue's version when each application was last heard of differently.
    changed: BTreeMap<String, u64>,
    viewers: BTreeMap<String, u32>,
    /// Where its viewers may go.
    addresses: Vec<String>,
}

/// Another relay's log, as far as it has come here.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) app: Arc<App>,
    is_ready: AtomicBool,
    /// Whether it is to go as soon as nobody follows it.
    is_leaving: AtomicBool,
}

/// That somebody here follows an application. Dropping it says that nobody does any more, after a while.
#[derive(Debug)]
pub struct Want {
    hub: Arc<Hub>,
    app: String,
}

/// How a log that a viewer asks for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be followed.
    Here,
    /// It is being fetched.
    Coming,
    /// Nobody has it.
    Unknown,
}

impl Default for Peers {
    fn default() -> Self {
        let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
        Self {
            relays: RwLock::default(),
            orphans: RwLock::default(),
            replicas: RwLock::default(),
            wants: Mutex::default(),
            wants_changed: Notify::new(),
            listeners: RwLock::default(),
            outgoing,
            receiver: Mutex::new(Some(receiver)),
            version: AtomicU64::new(0),
            addresses_version: AtomicU64::new(0),
        }
    }
}

impl Hub {
    // === what others say ===

    /// Whether there may be other relays, so that viewers are told which logs there are.
    #[must_use]
    pub const fn is_clustered(&self) -> bool {
        !self.config.nats.is_empty()
    }

    /// Relay `relay` has these logs, besides those that it named before, if there is room for one more relay.
    pub fn set_remote(&self, relay: u64, logs: Vec<RemoteLog>) {
        let mut relays = self.peers.relays.write();
        if relays.len() >= RELAYS_MAX && !relays.contains_key(&relay) {
            return;
        }
        let peer = relays.entry(relay).or_default();
        for log in logs {
            let app = log.entry.app.clone();
            if !peer.logs.contains_key(&app) && peer.logs.len() >= self.config.apps_max {
                continue;
            }
            let before = peer.logs.insert(app.clone(), log);
            let now = &peer.logs[&app];
            if before.as_ref().is_none_or(|before| before.entry != now.entry) {
                peer.changed.insert(app, self.catalogue_changed());
            }
            if before.is_none_or(|before| before.epoch != now.epoch) {
                self.logs_changed();
            }
        }
    }

    /// Relay `relay` is gone, or has forgotten `app` if one is named. What was replicated of it stays until it is too old.
    pub fn drop_remote(&self, relay: u64, app: Option<&str>) {
        let mut relays = self.peers.relays.write();
        let gone = if let Some(app) = app {
            relays.get_mut(&relay).is_some_and(|peer| peer.logs.remove(app).is_some())
        } else {
            let peer = relays.remove(&relay);
            if peer.as_ref().is_some_and(|peer| !peer.addresses.is_empty()) {
                self.peers.addresses_version.fetch_add(1, Relaxed);
            }
            peer.is_some()
        };
        drop(relays);
        if app.is_none() {
            self.drop_orphans(relay, |_| true);
        }
        if gone {
            self.forgotten.store(self.catalogue_changed(), Relaxed);
            self.logs_changed();
        }
    }

    /// How many viewers of each application relay `relay` has.
    pub fn set_presence(&self, relay: u64, viewers: Vec<(String, u32)>) {
        if let Some(peer) = self.peers.relays.write().get_mut(&relay) {
            peer.viewers = viewers.into_iter().take(self.config.apps_max).collect();
        }
    }

    /// Viewers may go to these addresses of relay `relay`, should this one be gone.
    pub fn set_addresses(&self, relay: u64, addresses: Vec<String>) {
        if let Some(peer) = self.peers.relays.write().get_mut(&relay)
            && peer.addresses != addresses
        {
            peer.addresses = addresses;
            self.peers.addresses_version.fetch_add(1, Relaxed);
        }
    }

    /// Where viewers may go should this relay be gone, its own addresses first; at most [`wire::RELAYS_MAX`]. Of many relays,
    /// each names others, so that those of one that is gone do not all go to the same.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut addresses = self.config.advertise.clone();
        let relays = self.peers.relays.read();
        let others = relays.range(self.epoch..).chain(relays.range(..self.epoch));
        for address in others.flat_map(|(_, peer)| &peer.addresses) {
            if addresses.len() >= wire::RELAYS_MAX {
                break;
            }
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Goes up when [`Hub::addresses`] may have changed.
    #[must_use]
    pub fn addresses_version(&self) -> u64 {
        self.peers.addresses_version.load(Relaxed)
    }

    /// Subscriptions of viewers here, by application.
    #[must_use]
    pub fn presence(&self) -> Vec<(String, u32)> {
        let wants = self.peers.wants.lock();
        let watched = wants.iter().filter(|(_, (count, _))| *count > 0);
        watched.map(|(app, &(count, _))| (app.clone(), u32::try_from(count).unwrap_or(u32::MAX))).collect()
    }

    /// Our own logs, to tell others.
    #[must_use]
    pub fn own_logs(&self) -> Vec<RemoteLog> {
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        let log = |app: &Arc<App>| {
            let log = app.log.lock();
            RemoteLog { epoch: app.epoch, head: log.head(), entry: log.entry(&app.name, self.wall_clock().0) }
        };
        apps.iter().map(log).collect()
    }

    /// The epochs of logs of `app` that other relays write or hold.
    fn remote_epochs(&self, app: &str) -> Vec<u64> {
        let mut epochs: Vec<u64> = {
            let relays = self.peers.relays.read();
            relays.values().filter_map(|peer| Some(peer.logs.get(app)?.epoch)).collect()
        };
        epochs.extend(self.orphan_epochs(app));
        epochs
    }

    /// Adds what other relays say of `version` or later to the lines of our own catalogue.
    pub(super) fn add_remote(&self, entries: &mut Vec<AppEntry>, full: bool, version: u64) {
        let (relays, orphans) = (self.peers.relays.read(), self.peers.orphans.read());
        if relays.is_empty() && orphans.is_empty() {
            return;
        }
        let mut by_app: BTreeMap<String, AppEntry> =
            entries.drain(..).map(|entry| (entry.app.clone(), entry)).collect();
        let version = if full { 0 } else { version };
        let changed = relays.values().flat_map(|peer| &peer.changed).filter(|&(_, &at)| at > version);
        for app in changed.map(|(app, _)| app).chain(ownerless_logs::changed(&orphans, version)) {
            if !by_app.contains_key(app) {
                let own = self.apps.read().get(app).cloned();
                let own = own.map(|own| own.log.lock().entry(app, self.wall_clock().0));
                by_app.insert(app.clone(), own.unwrap_or_else(|| AppEntry { app: app.clone(), ..AppEntry::default() }));
            }
        }
        for (app, entry) in &mut by_app {
            relays.values().filter_map(|peer| peer.logs.get(app)).for_each(|log| add(entry, &log.entry));
            ownerless_logs::add(entry, &orphans, &relays);
        }
        let is_orphan =
            |app: &String| orphans.range((app.clone(), 0)..).next().is_some_and(|((name, _), _)| name == app);
        by_app.retain(|app, _| {
            let is_written = |peer: &Peer| peer.logs.contains_key(app);
            self.apps.read().contains_key(app) || relays.values().any(is_written) || is_orphan(app)
        });
        entries.extend(by_app.into_values());
    }

    /// How we stand with others: whether we hear of them, and how many we are; none where there can be no others.
    #[must_use]
    pub fn standing_of_cluster(&self) -> Option<(bool, u32)> {
        let relays = u32::try_from(self.peers.relays.read().len() + 1).unwrap_or(u32::MAX);
        self.is_clustered().then(|| (self.counters.cluster.connected.get() == 1, relays))
    }

    /// How many viewers of `app` there are, here and in other relays.
    #[must_use]
    pub fn viewers_of(&self, app: &str) -> u32 {
        let here = self.peers.wants.lock().get(app).map_or(0, |&(count, _)| count);
        let relays = self.peers.relays.read();
        let elsewhere = relays.values().filter_map(|peer| peer.viewers.get(app));
        elsewhere.fold(u32::try_from(here).unwrap_or(u32::MAX), |sum, &viewers| sum.saturating_add(viewers))
    }

    // === what is wanted here ===

    /// Somebody here follows `app`, for as long as what is given lives.
    #[must_use]
    pub fn want(self: &Arc<Self>, app: &str) -> Want {
        self.peers.wants.lock().entry(app.to_owned()).or_default().0 += 1;
        self.peers.wants_changed.notify_one();
        Want { hub: self.clone(), app: app.to_owned() }
    }

    /// The applications that are followed here, or were until a moment before `now_ns`.
    #[must_use]
    pub fn wanted(&self, now_ns: u64) -> Vec<String> {
        let mut wants = self.peers.wants.lock();
        wants.retain(|_, (count, until_ns)| *count > 0 || *until_ns > now_ns);
        wants.keys().cloned().collect()
    }

    /// Waits until more or less may be wanted.
    pub async fn wanted_changed(&self) {
        self.peers.wants_changed.notified().await;
    }

    // === logs ===

    fn logs_changed(&self) {
        self.peers.version.fetch_add(1, Relaxed);
        self.wake_all();
    }

    /// Goes up when a log appears or ends anywhere, or a replica can be followed.
    #[must_use]
    pub fn logs_version(&self) -> u64 {
        self.peers.version.load(Relaxed)
    }

    /// The epochs of all logs of `app` that can be followed here or fetched.
    #[must_use]
    pub fn logs_of(&self, app: &str) -> Vec<u64> {
        let mut epochs: Vec<u64> = self.apps.read().get(app).map(|app| app.epoch).into_iter().collect();
        epochs.extend(self.remote_epochs(app));
        let replicas = self.peers.replicas.read();
        epochs.extend(
            replicas
                .iter()
                .filter(|((name, _), replica)| name == app && replica.is_ready())
                .map(|((_, epoch), _)| *epoch),
        );
        drop(replicas);
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// How the log of `epoch` of `app` stands.
    #[must_use]
    pub fn standing(&self, app: &str, epoch: u64) -> Standing {
        if self.is_own(app, epoch) {
            return Standing::Here;
        }
        match self.replica(app, epoch) {
            Some(replica) if replica.is_ready() => Standing::Here,
            Some(_) => Standing::Coming,
            None if self.remote_epochs(app).contains(&epoch) => Standing::Coming,
            None => Standing::Unknown,
        }
    }

    pub(super) fn replica(&self, app: &str, epoch: u64) -> Option<Arc<Replica>> {
        self.peers.replicas.read().get(&(app.to_owned(), epoch)).cloned()
    }

    /// The newest number of our replica; none while there is no replica.
    #[must_use]
    pub fn replica_head(&self, app: &str, epoch: u64) -> Option<u64> {
        self.replica(app, epoch).map(|replica| replica.app.log.lock().head())
    }

    /// Takes one message of the log of `epoch` of `app` into our replica, which is made if need be: its names, batches, sums,
    /// and gaps that nobody can fill.
    ///
    /// # Errors
    /// When it makes no sense, or there is no room.
    pub fn accept(&self, app: &str, epoch: u64, message: &[u8]) -> Result<Accepted, NotTaken> {
        let message = ServerMessage::decode(message).map_err(|_| NotTaken::Malformed)?;
        let replica = self.replica_made(app, epoch)?;
        let mut log = replica.app.log.lock();
        log.comes_at(self.config.now_ns());
        let take_place = || self.take_series_place();
        let (accepted, bytes) = match message {
            ServerMessage::Series { series, .. } => (log.learn(&series, take_place)?, 0),
            ServerMessage::Batch { head, updates } => log.accept_batch(&head, updates, take_place)?,
            ServerMessage::Sum { head, updates } => log.accept_sum(&head, updates, take_place)?,
            ServerMessage::Gap { from, to, .. } => log.accept_gap(from, to),
            _ => return Err(NotTaken::Malformed),
        };
        drop(log);
        self.ring_bytes.fetch_add(bytes, Relaxed);
        tracing::trace!(app, epoch, ?accepted, "accepted from another relay");
        Ok(accepted)
    }

    fn replica_made(&self, app: &str, epoch: u64) -> Result<Arc<Replica>, NotTaken> {
        if let Some(replica) = self.replica(app, epoch) {
            replica.is_leaving.store(false, Relaxed);
            return Ok(replica);
        }
        let mut replicas = self.peers.replicas.write();
        let key = (app.to_owned(), epoch);
        if let Some(replica) = replicas.get(&key) {
            return Ok(replica.clone());
        }
        if self.is_own(app, epoch) || replicas.len() >= self.config.apps_max {
            return Err(NotTaken::Limit);
        }
        let app = self.empty_app(app, epoch);
        let (is_ready, is_leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        let replica = Arc::new(Replica { app: Arc::new(app), is_ready, is_leaving });
        replicas.insert(key, replica.clone());
        Ok(replica)
    }

    /// The replica has the history that there was: whoever waits for it is answered.
    pub fn replica_ready(&self, app: &str, epoch: u64) {
        if let Ok(replica) = self.replica_made(app, epoch)
            && !replica.is_ready.swap(true, Relaxed)
        {
            self.logs_changed();
        }
    }

    /// Drops a replica and what it held, as soon as nobody here follows it: now, or when history is next looked through.
    pub fn drop_replica(&self, app: &str, epoch: u64) {
        if let Some(replica) = self.replica(app, epoch) {
            replica.is_leaving.store(true, Relaxed);
        }
        self.drop_leaving();
    }

    /// Drops the replicas that are to go and that nobody holds.
    pub(super) fn drop_leaving(&self) {
        let is_leaving = |replica: &Replica| replica.is_leaving.load(Relaxed);
        if !self.peers.replicas.read().values().any(|replica| is_leaving(replica)) {
            return;
        }
        let mut replicas = self.peers.replicas.write();
        // Whoever follows it holds its application too, whoever takes something into it holds the replica, and nobody can
        // begin to while the table is ours.
        let is_held = |replica: &Arc<Replica>| Arc::strong_count(replica) > 1 || Arc::strong_count(&replica.app) > 1;
        let gone = replicas.extract_if(.., |_, replica| is_leaving(replica) && !is_held(replica));
        let gone: Vec<Arc<Replica>> = gone.map(|(_, replica)| replica).collect();
        drop(replicas);
        gone.iter().for_each(|replica| self.give_up(&replica.app));
        if !gone.is_empty() {
            self.logs_changed();
        }
    }

    /// The log of `epoch` of `app`, ours or a replica, from after number `after` on, as messages to answer a request with:
    /// names, then what is held in order, with a gap in front where it does not reach back so far.
    #[must_use]
    pub fn history(&self, app: &str, epoch: u64, after: u64) -> Option<Vec<Bytes>> {
        let own = self.apps.read().get(app).filter(|app| app.epoch == epoch).cloned();
        let app = own.or_else(|| Some(self.replica(app, epoch)?.app.clone()))?;
        let log = app.log.lock();
        let names = log.series().names_since(0, &Filter::All);
        let mut messages: Vec<Bytes> = app.messages(&names.entries).map(|message| message.encode().into()).collect();
        let (pieces, begins) = log.pieces_after(after);
        if after > 0 && begins > after + 1 {
            messages.push(ServerMessage::Gap { feed: 0, from: after + 1, to: begins - 1 }.encode().into());
        }
        messages.extend(pieces);
        Some(messages)
    }

    // === what others want ===

    /// Somebody elsewhere watches `app` until `until_ns`: batches of our own log of it are handed out from now on.
    pub fn listen(&self, app: &str, until_ns: u64) {
        let mut listeners = self.peers.listeners.write();
        if listeners.len() < self.config.apps_max || listeners.contains_key(app) {
            let until = listeners.entry(app.to_owned()).or_default();
            *until = until_ns.max(*until);
        }
    }

    /// The batches of our own logs that somebody elsewhere watches. Can be taken once.
    #[must_use]
    pub fn outgoing(&self) -> Option<mpsc::Receiver<Outgoing>> {
        self.peers.receiver.lock().take()
    }

    /// Hands out the newest batch of `app`, if somebody elsewhere watches it at `now_ns`.
    pub(super) fn hand_out(&self, app: &App, log: &Log, now_ns: u64) {
        let is_heard = self.peers.listeners.read().get(&app.name).is_some_and(|&until_ns| until_ns > now_ns);
        let Some(bytes) = is_heard.then(|| log.newest()).flatten() else { return };
        let batch = Outgoing { app: app.name.clone(), epoch: app.epoch, bytes };
        if self.peers.outgoing.try_send(batch).is_err() {
            self.counters.peer_batches_dropped.inc();
        }
    }

    /// Forgets listeners that have not said for a while that they still listen.
    pub(super) fn forget_listeners(&self, now_ns: u64) {
        self.peers.listeners.write().retain(|_, until_ns| *until_ns > now_ns);
    }
}

impl Replica {
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        let until_ns = self.hub.config.now_ns().saturating_add(LINGER_NS);
        if let Some((count, linger_ns)) = self.hub.peers.wants.lock().get_mut(&self.app) {
            *count -= 1;
            *linger_ns = until_ns;
        }
        self.hub.peers.wants_changed.notify_one();
    }
}

/// Adds what another relay says of an application to what is known of it.
fn add(entry: &mut AppEntry, other: &AppEntry) {
    for theirs in &other.workers {
        match entry.workers.iter_mut().find(|mine| mine.worker == theirs.worker) {
            None => entry.workers.push(theirs.clone()),
            Some(mine) => merge(mine, theirs),
        }
    }
    entry.workers.sort_by(|a, b| a.worker.cmp(&b.worker));
    entry.series = entry.series.saturating_add(other.series);
    entry.heard_ns = entry.heard_ns.max(other.heard_ns);
    entry.late = entry.late.saturating_add(other.late);
    entry.limited = entry.limited.saturating_add(other.limited);
    entry.refused_for_name = entry.refused_for_name.saturating_add(other.refused_for_name);
    entry.refused_names.extend_from_slice(&other.refused_names);
    let more = entry.refused_names.len().saturating_sub(REFUSED_NAMES_MAX);
    entry.refused_names.drain(..more);
}

/// A worker that has moved from one relay to another is where it is connected, or was last.
fn merge(mine: &mut WorkerEntry, theirs: &WorkerEntry) {
    if (theirs.connected, theirs.since_ns) > (mine.connected, mine.since_ns) {
        (mine.connected, mine.since_ns) = (theirs.connected, theirs.since_ns);
        (mine.offset_ns, mine.offset_since_ns) = (theirs.offset_ns, theirs.offset_since_ns);
    }
    mine.returns = mine.returns.saturating_add(theirs.returns);
}

#[cfg(test)]
mod tests;
