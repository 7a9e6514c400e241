//! State of the other relays: their logs and viewers, our replicas of logs that our viewers watch, and our batches that
//! their viewers watch.
//!
//! This module does not depend on how relays communicate. The cluster module passes in what it receives and takes out
//! what it sends.

mod ownerless_logs;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{self, AppEntry, REJECTED_NAMES_MAX, ServerMessage, WorkerEntry};
use tokio::sync::{Notify, mpsc};

use self::ownerless_logs::OwnerlessLogs;
use super::log::Log;
use super::{App, Hub};
use crate::runtime::sync::{AtomicBool, AtomicU64, Mutex, RwLock};

/// Maximum number of batches that wait to be sent to other relays. More are dropped and counted; a relay that misses
/// one requests it.
const PEER_BATCHES_MAX: usize = 4_096;
/// Maximum number of other relays.
pub const RELAYS_MAX: usize = 1_024;
/// How long the relay stays interested in an application after its last viewer has left, in ns: 30 s.
const INTEREST_LINGER_NS: u64 = 30_000_000_000;

/// A log of another relay, as that relay announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLog {
    /// Epoch of the log.
    pub epoch: u64,
    /// Newest sequence number.
    pub head: u64,
    /// Its catalogue entry.
    pub entry: AppEntry,
}

/// A batch of our own log that viewers of other relays watch.
#[derive(Clone, Debug)]
pub struct PeerBatch {
    /// Name of the application.
    pub app: String,
    /// Epoch of the log.
    pub epoch: u64,
    /// The message that viewers of the whole application receive.
    pub bytes: Bytes,
}

/// Outcome of applying a message to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The message was new.
    Applied,
    /// The replica already contains it.
    Duplicate,
    /// The replica lacks the numbers before the message. The message was not applied.
    Gap {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// Why a message could not be applied to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaError {
    /// The message is invalid or of the wrong kind.
    Malformed,
    /// The maximum number of series or applications is reached.
    Limit,
}

/// What the hub has received about other relays.
#[derive(Debug)]
pub(super) struct Peers {
    relays: RwLock<BTreeMap<u64, Peer>>,
    ownerless: RwLock<OwnerlessLogs>,
    /// Replicas, by application and epoch.
    pub(super) replicas: RwLock<BTreeMap<(String, u64), Arc<Replica>>>,
    /// Number of our subscriptions for each application, and the end of the linger time when there are none.
    interest: Mutex<BTreeMap<String, (usize, u64)>>,
    interest_notify: Notify,
    /// Until when other relays are interested in each application.
    remote_interest: RwLock<HashMap<String, u64>>,
    peer_batches: mpsc::Sender<PeerBatch>,
    peer_batches_receiver: Mutex<Option<mpsc::Receiver<PeerBatch>>>,
    /// Increases when a log appears or ends, or a replica becomes ready.
    version: AtomicU64,
    /// Increases when the addresses of other relays change.
    addresses_version: AtomicU64,
}

#[derive(Debug, Default)]
struct Peer {
    logs: BTreeMap<String, RemoteLog>,
    /// Version of the catalogue at the last change of each application.
    changed: BTreeMap<String, u64>,
    viewers: BTreeMap<String, u32>,
    /// Addresses of this relay for viewers.
    addresses: Vec<String>,
}

/// A copy of another relay's log.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) app: Arc<App>,
    is_ready: AtomicBool,
    /// Whether to drop the replica as soon as it has no viewers.
    is_dropping: AtomicBool,
}

/// Interest of our viewers in an application. Dropping it ends the interest after a linger time.
#[derive(Debug)]
pub struct Interest {
    hub: Arc<Hub>,
    app: String,
}

/// State of a log that a viewer subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    /// The relay has it.
    Available,
    /// The relay is fetching it.
    Fetching,
    /// No relay has it.
    Unknown,
}

impl Default for Peers {
    fn default() -> Self {
        let (peer_batches, peer_batches_receiver) = mpsc::channel(PEER_BATCHES_MAX);
        Self {
            relays: RwLock::default(),
            ownerless: RwLock::default(),
            replicas: RwLock::default(),
            interest: Mutex::default(),
            interest_notify: Notify::new(),
            remote_interest: RwLock::default(),
            peer_batches,
            peer_batches_receiver: Mutex::new(Some(peer_batches_receiver)),
            version: AtomicU64::new(0),
            addresses_version: AtomicU64::new(0),
        }
    }
}

impl Hub {
    // === state of other relays ===

    /// Whether the relay is part of a cluster. Then viewers receive the list of logs.
    #[must_use]
    pub const fn is_clustered(&self) -> bool {
        !self.config.nats.is_empty()
    }

    /// Adds or updates logs of relay `relay`, unless the maximum number of relays is reached. Logs that are not in
    /// `logs` stay.
    pub fn update_remote_logs(&self, relay: u64, logs: Vec<RemoteLog>) {
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

    /// Removes relay `relay`, or only its log of `app`. Replicas of its logs stay until they expire.
    pub fn remove_remote_logs(&self, relay: u64, app: Option<&str>) {
        let mut relays = self.peers.relays.write();
        let was_removed = if let Some(app) = app {
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
            self.remove_ownerless_where(relay, |_| true);
        }
        if was_removed {
            self.removed_version.store(self.catalogue_changed(), Relaxed);
            self.logs_changed();
        }
    }

    /// Sets the number of viewers of each application on relay `relay`.
    pub fn set_presence(&self, relay: u64, viewers: Vec<(String, u32)>) {
        if let Some(peer) = self.peers.relays.write().get_mut(&relay) {
            peer.viewers = viewers.into_iter().take(self.config.apps_max).collect();
        }
    }

    /// Sets the addresses of relay `relay`. Viewers can connect to them if this relay is gone.
    pub fn set_addresses(&self, relay: u64, addresses: Vec<String>) {
        if let Some(peer) = self.peers.relays.write().get_mut(&relay)
            && peer.addresses != addresses
        {
            peer.addresses = addresses;
            self.peers.addresses_version.fetch_add(1, Relaxed);
        }
    }

    /// Addresses that viewers can connect to if this relay is gone, own addresses first, at most [`wire::RELAYS_MAX`].
    /// In a large cluster each relay lists different addresses, so that the viewers of a failed relay spread over
    /// several others.
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

    /// Increases when [`Hub::addresses`] may have changed.
    #[must_use]
    pub fn addresses_version(&self) -> u64 {
        self.peers.addresses_version.load(Relaxed)
    }

    /// Number of subscriptions on this relay, by application.
    #[must_use]
    pub fn presence(&self) -> Vec<(String, u32)> {
        let interest = self.peers.interest.lock();
        let watched = interest.iter().filter(|(_, (count, _))| *count > 0);
        watched.map(|(app, &(count, _))| (app.clone(), u32::try_from(count).unwrap_or(u32::MAX))).collect()
    }

    /// Our own logs, to announce to other relays.
    #[must_use]
    pub fn own_logs(&self) -> Vec<RemoteLog> {
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        let log = |app: &Arc<App>| {
            let log = app.log.lock();
            RemoteLog { epoch: app.epoch, head: log.head(), entry: log.entry(&app.name, self.wall_clock().0) }
        };
        apps.iter().map(log).collect()
    }

    /// Epochs of the logs of `app` on other relays, including ownerless logs.
    fn remote_epochs(&self, app: &str) -> Vec<u64> {
        let mut epochs: Vec<u64> = {
            let relays = self.peers.relays.read();
            relays.values().filter_map(|peer| Some(peer.logs.get(app)?.epoch)).collect()
        };
        epochs.extend(self.ownerless_epochs(app));
        epochs
    }

    /// Merges the catalogue entries of other relays that changed after `version` into our own entries.
    pub(super) fn merge_remote_entries(&self, entries: &mut Vec<AppEntry>, full: bool, version: u64) {
        let (relays, ownerless) = (self.peers.relays.read(), self.peers.ownerless.read());
        if relays.is_empty() && ownerless.is_empty() {
            return;
        }
        let mut by_app: BTreeMap<String, AppEntry> =
            entries.drain(..).map(|entry| (entry.app.clone(), entry)).collect();
        let version = if full { 0 } else { version };
        let changed = relays.values().flat_map(|peer| &peer.changed).filter(|&(_, &at)| at > version);
        for app in changed.map(|(app, _)| app).chain(ownerless_logs::changed(&ownerless, version)) {
            if !by_app.contains_key(app) {
                let own = self.apps.read().get(app).cloned();
                let own = own.map(|own| own.log.lock().entry(app, self.wall_clock().0));
                by_app.insert(app.clone(), own.unwrap_or_else(|| AppEntry { app: app.clone(), ..AppEntry::default() }));
            }
        }
        for (app, entry) in &mut by_app {
            relays.values().filter_map(|peer| peer.logs.get(app)).for_each(|log| merge_entry(entry, &log.entry));
            ownerless_logs::add(entry, &ownerless, &relays);
        }
        let is_ownerless =
            |app: &String| ownerless.range((app.clone(), 0)..).next().is_some_and(|((name, _), _)| name == app);
        by_app.retain(|app, _| {
            let is_written = |peer: &Peer| peer.logs.contains_key(app);
            self.apps.read().contains_key(app) || relays.values().any(is_written) || is_ownerless(app)
        });
        entries.extend(by_app.into_values());
    }

    /// Whether the relay is connected to the cluster, and how many relays it has; `None` outside a cluster.
    #[must_use]
    pub fn cluster_state(&self) -> Option<(bool, u32)> {
        let relays = u32::try_from(self.peers.relays.read().len() + 1).unwrap_or(u32::MAX);
        self.is_clustered().then(|| (self.counters.cluster.connected.get() == 1, relays))
    }

    /// Number of viewers of `app` on all relays.
    #[must_use]
    pub fn viewer_count(&self, app: &str) -> u32 {
        let here = self.peers.interest.lock().get(app).map_or(0, |&(count, _)| count);
        let relays = self.peers.relays.read();
        let elsewhere = relays.values().filter_map(|peer| peer.viewers.get(app));
        elsewhere.fold(u32::try_from(here).unwrap_or(u32::MAX), |sum, &viewers| sum.saturating_add(viewers))
    }

    // === interest of our viewers ===

    /// Registers interest in `app` until the returned guard is dropped.
    #[must_use]
    pub fn register_interest(self: &Arc<Self>, app: &str) -> Interest {
        self.peers.interest.lock().entry(app.to_owned()).or_default().0 += 1;
        self.peers.interest_notify.notify_one();
        Interest { hub: self.clone(), app: app.to_owned() }
    }

    /// Applications that our viewers watch or watched until shortly before `now_ns`.
    #[must_use]
    pub fn watched_apps(&self, now_ns: u64) -> Vec<String> {
        let mut interest = self.peers.interest.lock();
        interest.retain(|_, (count, until_ns)| *count > 0 || *until_ns > now_ns);
        interest.keys().cloned().collect()
    }

    /// Waits until the interest of our viewers may have changed.
    pub async fn interest_changed(&self) {
        self.peers.interest_notify.notified().await;
    }

    // === logs ===

    fn logs_changed(&self) {
        self.peers.version.fetch_add(1, Relaxed);
        self.wake_all();
    }

    /// Increases when a log appears or ends on any relay, or a replica becomes ready.
    #[must_use]
    pub fn logs_version(&self) -> u64 {
        self.peers.version.load(Relaxed)
    }

    /// Epochs of all logs of `app` that this relay has or can fetch.
    #[must_use]
    pub fn log_epochs(&self, app: &str) -> Vec<u64> {
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

    /// State of the log with this epoch.
    #[must_use]
    pub fn log_state(&self, app: &str, epoch: u64) -> LogState {
        if self.is_own(app, epoch) {
            return LogState::Available;
        }
        match self.replica(app, epoch) {
            Some(replica) if replica.is_ready() => LogState::Available,
            Some(_) => LogState::Fetching,
            None if self.remote_epochs(app).contains(&epoch) => LogState::Fetching,
            None => LogState::Unknown,
        }
    }

    pub(super) fn replica(&self, app: &str, epoch: u64) -> Option<Arc<Replica>> {
        self.peers.replicas.read().get(&(app.to_owned(), epoch)).cloned()
    }

    /// Newest number of our replica, or `None` if there is no replica.
    #[must_use]
    pub fn replica_head(&self, app: &str, epoch: u64) -> Option<u64> {
        self.replica(app, epoch).map(|replica| replica.app.log.lock().head())
    }

    /// Applies one message of another relay's log to our replica, which is created if necessary. The message contains
    /// series names, a batch, a rollup, or a permanent gap.
    ///
    /// # Errors
    /// If the message is invalid, or a limit is reached.
    pub fn apply_to_replica(&self, app: &str, epoch: u64, message: &[u8]) -> Result<ApplyOutcome, ReplicaError> {
        let message = ServerMessage::decode(message).map_err(|_| ReplicaError::Malformed)?;
        let replica = self.get_or_create_replica(app, epoch)?;
        let mut log = replica.app.log.lock();
        log.set_received_at(self.config.now_ns());
        let reserve = || self.reserve_series();
        let (outcome, bytes) = match message {
            ServerMessage::Series { series, .. } => (log.add_names(&series, reserve)?, 0),
            ServerMessage::Batch { head, updates } => log.apply_batch(&head, updates, reserve)?,
            ServerMessage::Rollup { head, updates } => log.apply_rollup(&head, updates, reserve)?,
            ServerMessage::Gap { from, to, .. } => log.apply_gap(from, to),
            _ => return Err(ReplicaError::Malformed),
        };
        drop(log);
        self.ring_bytes.fetch_add(bytes, Relaxed);
        tracing::trace!(app, epoch, ?outcome, "applied a message from another relay");
        Ok(outcome)
    }

    fn get_or_create_replica(&self, app: &str, epoch: u64) -> Result<Arc<Replica>, ReplicaError> {
        if let Some(replica) = self.replica(app, epoch) {
            replica.is_dropping.store(false, Relaxed);
            return Ok(replica);
        }
        let mut replicas = self.peers.replicas.write();
        let key = (app.to_owned(), epoch);
        if let Some(replica) = replicas.get(&key) {
            return Ok(replica.clone());
        }
        if self.is_own(app, epoch) || replicas.len() >= self.config.apps_max {
            return Err(ReplicaError::Limit);
        }
        let app = self.empty_app(app, epoch);
        let (is_ready, is_dropping) = (AtomicBool::new(false), AtomicBool::new(false));
        let replica = Arc::new(Replica { app: Arc::new(app), is_ready, is_dropping });
        replicas.insert(key, replica.clone());
        Ok(replica)
    }

    /// Marks that the replica has all available history. Subscriptions that wait for it continue.
    pub fn mark_replica_ready(&self, app: &str, epoch: u64) {
        if let Ok(replica) = self.get_or_create_replica(app, epoch)
            && !replica.is_ready.swap(true, Relaxed)
        {
            self.logs_changed();
        }
    }

    /// Drops a replica as soon as it has no viewers: now, or in a later sweep.
    pub fn drop_replica(&self, app: &str, epoch: u64) {
        if let Some(replica) = self.replica(app, epoch) {
            replica.is_dropping.store(true, Relaxed);
        }
        self.drop_unused_replicas();
    }

    /// Drops the marked replicas that are no longer in use.
    pub(super) fn drop_unused_replicas(&self) {
        let is_dropping = |replica: &Replica| replica.is_dropping.load(Relaxed);
        if !self.peers.replicas.read().values().any(|replica| is_dropping(replica)) {
            return;
        }
        let mut replicas = self.peers.replicas.write();
        // A subscription holds the application, and a thread that applies a message holds the replica. Nobody can start
        // to use it while we hold the write lock.
        let is_in_use = |replica: &Arc<Replica>| Arc::strong_count(replica) > 1 || Arc::strong_count(&replica.app) > 1;
        let unused = replicas.extract_if(.., |_, replica| is_dropping(replica) && !is_in_use(replica));
        let unused: Vec<Arc<Replica>> = unused.map(|(_, replica)| replica).collect();
        drop(replicas);
        unused.iter().for_each(|replica| self.release_app(&replica.app));
        if !unused.is_empty() {
            self.logs_changed();
        }
    }

    /// Answer to a history request: the messages after number `after` of the log with this epoch, our own or a replica.
    /// Series names come first, then batches and rollups in order. A gap precedes them if older numbers have been
    /// evicted.
    #[must_use]
    pub fn history(&self, app: &str, epoch: u64, after: u64) -> Option<Vec<Bytes>> {
        let own = self.apps.read().get(app).filter(|app| app.epoch == epoch).cloned();
        let app = own.or_else(|| Some(self.replica(app, epoch)?.app.clone()))?;
        let log = app.log.lock();
        let names = log.series().names_since(0, &Filter::All);
        let mut messages: Vec<Bytes> =
            app.encode_series(&names.entries).map(|message| message.encode().into()).collect();
        let (retained, begins) = log.messages_after(after);
        if after > 0 && begins > after + 1 {
            messages.push(ServerMessage::Gap { feed: 0, from: after + 1, to: begins - 1 }.encode().into());
        }
        messages.extend(retained);
        Some(messages)
    }

    // === interest of other relays ===

    /// Registers that another relay is interested in `app` until `until_ns`. From now on, batches of our own log are
    /// sent to peers.
    pub fn add_remote_interest(&self, app: &str, until_ns: u64) {
        let mut remote_interest = self.peers.remote_interest.write();
        if remote_interest.len() < self.config.apps_max || remote_interest.contains_key(app) {
            let until = remote_interest.entry(app.to_owned()).or_default();
            *until = until_ns.max(*until);
        }
    }

    /// Takes the receiver of batches for other relays. It can be taken once.
    #[must_use]
    pub fn take_peer_batches(&self) -> Option<mpsc::Receiver<PeerBatch>> {
        self.peers.peer_batches_receiver.lock().take()
    }

    /// Queues the newest batch of `app` for other relays, if one of them is interested at `now_ns`.
    pub(super) fn send_to_peers(&self, app: &App, log: &Log, now_ns: u64) {
        let is_watched = self.peers.remote_interest.read().get(&app.name).is_some_and(|&until_ns| until_ns > now_ns);
        let Some(bytes) = is_watched.then(|| log.newest_message()).flatten() else { return };
        let batch = PeerBatch { app: app.name.clone(), epoch: app.epoch, bytes };
        if self.peers.peer_batches.try_send(batch).is_err() {
            self.counters.peer_batches_dropped.inc();
        }
    }

    /// Removes interest of other relays that has not been renewed in time.
    pub(super) fn expire_remote_interest(&self, now_ns: u64) {
        self.peers.remote_interest.write().retain(|_, until_ns| *until_ns > now_ns);
    }
}

impl Replica {
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let until_ns = self.hub.config.now_ns().saturating_add(INTEREST_LINGER_NS);
        if let Some((count, linger_ns)) = self.hub.peers.interest.lock().get_mut(&self.app) {
            *count -= 1;
            *linger_ns = until_ns;
        }
        self.hub.peers.interest_notify.notify_one();
    }
}

/// Merges another relay's catalogue entry into `entry`.
fn merge_entry(entry: &mut AppEntry, other: &AppEntry) {
    for other in &other.workers {
        match entry.workers.iter_mut().find(|known| known.worker == other.worker) {
            None => entry.workers.push(other.clone()),
            Some(known) => merge_worker(known, other),
        }
    }
    entry.workers.sort_by(|a, b| a.worker.cmp(&b.worker));
    entry.series = entry.series.saturating_add(other.series);
    entry.sources.extend(&other.sources);
    entry.sources.sort_unstable();
    entry.sources.dedup();
    entry.is_approximate |= other.is_approximate;
    entry.is_sampled |= other.is_sampled;
    entry.last_received_ns = entry.last_received_ns.max(other.last_received_ns);
    entry.late = entry.late.saturating_add(other.late);
    entry.over_limit = entry.over_limit.saturating_add(other.over_limit);
    entry.rejected_for_name = entry.rejected_for_name.saturating_add(other.rejected_for_name);
    entry.rejected_names.extend_from_slice(&other.rejected_names);
    let more = entry.rejected_names.len().saturating_sub(REJECTED_NAMES_MAX);
    entry.rejected_names.drain(..more);
}

/// Merges the entries of one worker. A worker that moved between relays has the state of its current or latest
/// connection.
fn merge_worker(known: &mut WorkerEntry, other: &WorkerEntry) {
    if (other.connected, other.since_ns) > (known.connected, known.since_ns) {
        (known.connected, known.since_ns) = (other.connected, other.since_ns);
        (known.offset_ns, known.offset_since_ns) = (other.offset_ns, other.offset_since_ns);
    }
    known.reconnects = known.reconnects.saturating_add(other.reconnects);
}

#[cfg(test)]
mod tests;
