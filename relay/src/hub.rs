//! The hub: producers publish into the log of their application, and viewers read from the feeds of that log.
//!
//! A feed holds the batches that the viewers of one topic receive. Each batch is encoded once and stored in a ring
//! buffer. The feed of a whole application always exists. A filtered feed exists while a viewer is subscribed;
//! it starts with the matching history of the whole feed.
//!
//! Publishing never waits for a viewer: it appends under a short lock and only wakes viewers. A viewer has a position
//! instead of a queue. A viewer that stops reading therefore costs nothing, and it receives a gap message for the
//! updates that it missed.
//!
//! All locks are from `parking_lot`, so a panic does not poison them. No code awaits while it holds one.

mod worker_clocks;
mod batch;
mod series_messages;
mod feed;
mod subscription;
mod log;
mod publisher;
mod eviction;
mod peers;
mod broadcast;
mod journaling;
mod objectives;
mod series;
mod rollup;
mod worker_clock;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::series::Filter;
use joey_shared::wire::{AppEntry, RejectedName};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::broadcast::{Broadcast, BroadcastQueue, Delivered, NewBatches, NumberedBatch, Subscriber};
use self::feed::Feed;
pub use self::journaling::Recovered;
use self::log::Log;
pub use self::log::{Mark, Safe};
pub use self::objectives::AnnouncedObjectives;
use self::objectives::Objectives;
use self::peers::Peers;
pub use self::peers::{ApplyOutcome, Interest, LogState, PeerBatch, RELAYS_MAX, RemoteLog, ReplicaError};
pub use self::publisher::Publisher;
use self::series_messages::SeriesMessages;
pub use self::subscription::{Read, Subscription, Viewer};
use crate::config::{Config, at_least_one};
use crate::journal::Journal;
use crate::metrics::{Counters, Gauges, RejectReason, Timings};
use crate::runtime::clock::nanos;
use crate::runtime::sync::{AtomicU64, Mutex, RwLock};

/// History is retained this much longer than configured, so that a window as long as the ring is complete. The newest
/// period of such a window started some time ago, and its oldest period arrived some time after its end.
const RETENTION_SLACK: Duration = Duration::from_secs(15);

/// Smallest change of the wall clock offset that counts as a clock step, in ns: 1 s.
const WALL_STEP_NS: u64 = 1_000_000_000;

/// Rate limit for rejected names in the relay's log output: one per second, with a burst of ten.
const NAME_LOG_RATE: Quota = Quota::per_second(at_least_one(1)).allow_burst(at_least_one(10));

/// A silent series is retained this much longer than the data that refers to it: a rollup spans ten seconds, and the
/// next sweep drops it.
const SERIES_SLACK: Duration = Duration::from_secs(20);

/// All applications, and the viewers to notify about them.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    counters: Counters,
    timings: Timings,
    /// Random number of this run. It is below `2^53`, so that it fits into a JavaScript number.
    epoch: u64,
    apps: RwLock<BTreeMap<String, Arc<App>>>,
    /// Applications with updates that are not in a batch yet.
    dirty: Mutex<Vec<Arc<App>>>,
    /// Notified when the first application becomes dirty.
    work: Notify,
    viewers: Mutex<BTreeMap<u64, Arc<dyn Subscriber>>>,
    broadcasts: Arc<BroadcastQueue>,
    next_viewer: AtomicU64,
    next_feed: AtomicU64,
    series: AtomicU64,
    /// Number of held frames: the offset of their worker clock is not known yet.
    held: AtomicU64,
    /// Rate limiter for logging rejected names.
    name_log_limit: DefaultDirectRateLimiter,
    wall_clock: Mutex<WallClock>,
    ring_bytes: AtomicU64,
    /// Version of the catalogue. It increases with every change.
    catalogue_version: AtomicU64,
    /// Version of the catalogue at the last removal of an application.
    removed_version: AtomicU64,
    peers: Peers,
    objectives: Objectives,
    /// The journal, if the history survives a restart.
    journal: Option<Journal>,
}

/// Steps of the wall clock while the relay runs.
#[derive(Debug, Default)]
struct WallClock {
    /// Offset of the wall clock from the relay's monotonic clock at the last step, in ns.
    step_ns: i64,
    /// Time of the last step on the relay's clock, in ns.
    at_ns: u64,
}

/// One application.
#[derive(Debug)]
pub struct App {
    name: String,
    /// Epoch of the application's log. An application that returns after its removal gets a new log with a new epoch.
    /// Sequence numbers of the old log are not valid in the new one.
    epoch: u64,
    log: Mutex<Log>,
    /// Cached series messages, valid until the series change. Lock this before `log`.
    series_messages: Mutex<Option<Arc<SeriesMessages>>>,
}

impl App {
    /// Name of the application.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.log.lock().series().len()
    }

    /// Epoch of the application's log.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Hub {
    /// Creates a hub without applications.
    #[must_use]
    pub fn new(config: Config, epoch: u64) -> Self {
        Self {
            timings: Timings::new(config.self_metrics),
            config,
            counters: Counters::default(),
            epoch,
            apps: RwLock::default(),
            dirty: Mutex::default(),
            work: Notify::new(),
            viewers: Mutex::default(),
            broadcasts: Arc::default(),
            next_viewer: AtomicU64::new(1),
            next_feed: AtomicU64::new(1),
            series: AtomicU64::new(0),
            held: AtomicU64::new(0),
            name_log_limit: RateLimiter::direct(NAME_LOG_RATE),
            wall_clock: Mutex::default(),
            ring_bytes: AtomicU64::new(0),
            catalogue_version: AtomicU64::new(1),
            removed_version: AtomicU64::new(0),
            peers: Peers::default(),
            objectives: Objectives::default(),
            journal: None,
        }
    }

    /// Configuration of the relay.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Metric counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Durations of the relay's own work.
    #[must_use]
    pub const fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Random number of this run.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    // === producers ===

    /// Returns the application with this name and creates it if necessary.
    ///
    /// # Errors
    /// [`RejectReason::AppLimit`] if the maximum number of applications exists.
    pub fn app(&self, name: &str) -> Result<Arc<App>, RejectReason> {
        if let Some(app) = self.apps.read().get(name) {
            return Ok(app.clone());
        }
        let mut apps = self.apps.write();
        if let Some(app) = apps.get(name) {
            return Ok(app.clone());
        }
        if apps.len() >= self.config.apps_max {
            return Err(RejectReason::AppLimit);
        }
        let app = Arc::new(self.empty_app(name, self.epoch + self.removed_version.load(Relaxed)));
        app.log.lock().changed = self.catalogue_changed();
        apps.insert(name.to_owned(), app.clone());
        Ok(app)
    }

    fn empty_app(&self, name: &str, epoch: u64) -> App {
        let log = Log::new(Feed::new(self.new_feed_number(), Filter::All, self.broadcasts.clone()));
        App { name: name.to_owned(), epoch, log: Mutex::new(log), series_messages: Mutex::default() }
    }

    /// Returns the relay's own logs and the replicas of other relays' logs.
    fn all_logs(&self) -> Vec<Arc<App>> {
        let mut all: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        all.extend(self.peers.replicas.read().values().map(|replica| replica.app.clone()));
        all
    }

    /// Records that a frame of `app` was rejected because of `name`.
    pub fn reject_name(&self, app: &App, name: RejectedName, now_ns: u64) {
        let logged = self.name_log_limit.check().is_ok().then(|| name.clone());
        if app.log.lock().reject_name(name, now_ns)
            && let Some(RejectedName { escaped, reason }) = logged
        {
            tracing::warn!(app = app.name, name = escaped, %reason, "frames rejected for a name in them");
        }
    }

    /// How long a silent series is retained, in ns. After this time no viewer's window and no retained data refers to
    /// it.
    #[must_use]
    pub fn series_retention_ns(&self) -> u64 {
        nanos(self.config.ring.max(self.config.rollups) + RETENTION_SLACK + SERIES_SLACK)
    }

    /// Reserves room for one more series. Returns `false` if the limit is reached.
    fn reserve_series(&self) -> bool {
        let has_room = self.series.fetch_add(1, Relaxed) < self.config.series_max as u64;
        if !has_room {
            self.series.fetch_sub(1, Relaxed);
        }
        has_room
    }

    /// Records a new connection of `worker`.
    pub fn worker_joined(&self, app: &App, worker: &str, now_ns: u64) {
        let mut log = app.log.lock();
        log.worker_joined(worker, now_ns, self.config.workers_per_app_max);
        log.changed = self.catalogue_changed();
    }

    /// Records the end of a connection of `worker`.
    pub fn worker_left(&self, app: &App, worker: &str, now_ns: u64) {
        let mut log = app.log.lock();
        log.worker_left(worker, now_ns);
        log.changed = self.catalogue_changed();
    }

    // === clocks ===

    /// Records that the wall clock is ahead of the relay's monotonic clock by `step_ns` at `now_ns`. A change of one
    /// second or more is a step: somebody set the clock. A smaller change is ordinary drift between two clocks.
    pub fn update_wall_clock(&self, step_ns: i64, now_ns: u64) {
        let mut wall_clock = self.wall_clock.lock();
        let delta_ns = step_ns.saturating_sub(wall_clock.step_ns);
        if delta_ns.unsigned_abs() < WALL_STEP_NS {
            return;
        }
        *wall_clock = WallClock { step_ns, at_ns: now_ns };
        drop(wall_clock);
        self.counters.wall_clock_steps.inc();
        let (step_s, total_s) = (delta_ns as f64 / 1e9, step_ns as f64 / 1e9);
        tracing::warn!(
            step_s,
            total_s,
            "the wall clock was set: the relay keeps its own monotonic time, and no counts change"
        );
        self.wake_all();
    }

    /// Total offset of the wall clock since the relay started, in ns, and the time of the last step; `(0, 0)` without a
    /// step.
    #[must_use]
    pub fn wall_clock(&self) -> (i64, u64) {
        let wall_clock = self.wall_clock.lock();
        (wall_clock.step_ns, wall_clock.at_ns)
    }

    // === batches ===

    /// Queue of new batches for idle viewers.
    #[must_use]
    pub fn broadcast_queue(&self) -> &BroadcastQueue {
        &self.broadcasts
    }

    /// Waits until an application has updates to cut.
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    /// Cuts a batch for every application with pending updates.
    pub fn cut_all(&self, now_ns: u64) {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        for app in dirty {
            self.cut(&app, &mut app.log.lock(), now_ns);
        }
        self.evict_bytes();
    }

    fn cut(&self, app: &App, log: &mut Log, now_ns: u64) {
        let (updates, since_ns) = log.pending();
        if updates == 0 {
            return;
        }
        self.counters.batch_updates.observe(updates);
        self.timings.batch_wait.record_ns(now_ns.saturating_sub(since_ns));
        if let Some(journal) = &self.journal {
            return self.stage(journal, app, log, now_ns);
        }
        let cut = log.cut(now_ns);
        self.counters.batches.inc_by(cut.batches);
        self.ring_bytes.fetch_add(cut.bytes, Relaxed);
        if cut.batches > 0 {
            self.send_to_peers(app, log, now_ns);
        }
        tracing::trace!(app = app.name, batches = cut.batches, bytes = cut.bytes, "cut");
    }

    // === viewers ===

    /// Registers a viewer that is notified through `subscriber`. Returns `None` if the maximum number of viewers is
    /// connected.
    pub fn register_viewer(self: &Arc<Self>, subscriber: Arc<dyn Subscriber>) -> Option<Viewer> {
        let mut viewers = self.viewers.lock();
        if viewers.len() >= self.config.viewers_max {
            return None;
        }
        let number = self.next_viewer.fetch_add(1, Relaxed);
        viewers.insert(number, subscriber.clone());
        drop(viewers);
        Some(Viewer::new(self.clone(), number, subscriber))
    }

    /// Wakes every viewer, for example after a change of the catalogue.
    pub fn wake_all(&self) {
        self.viewers.lock().values().for_each(|subscriber| subscriber.wake());
    }

    /// Wakes every idle viewer that is due for a heartbeat.
    pub fn wake_silent_viewers(&self) {
        let now = Instant::now();
        self.viewers.lock().values().for_each(|subscriber| subscriber.wake_if_silent(now, self.config.heartbeat));
    }

    fn catalogue_changed(&self) -> u64 {
        self.catalogue_version.fetch_add(1, Relaxed) + 1
    }

    /// Current version of the catalogue.
    #[must_use]
    pub fn catalogue_version(&self) -> u64 {
        self.catalogue_version.load(Relaxed)
    }

    /// Changes of the catalogue since `version`. Returns whether the list is complete, the entries, and the new
    /// version.
    #[must_use]
    pub fn catalogue_since(&self, version: u64) -> (bool, Vec<AppEntry>, u64) {
        // Read the version under the lock that guards additions and removals, so that no change is missed in between.
        let apps = self.apps.read();
        let now = self.catalogue_version();
        let (wall_step_ns, _) = self.wall_clock();
        let full = version == 0 || self.removed_version.load(Relaxed) > version;
        let apps: Vec<Arc<App>> = {
            let all = apps.values().cloned().collect();
            drop(apps);
            all
        };
        let entries = apps.iter().filter_map(|app| {
            let log = app.log.lock();
            (full || log.changed > version).then(|| log.entry(&app.name, wall_step_ns))
        });
        let mut entries = entries.collect();
        self.merge_remote_entries(&mut entries, full, version);
        (full, entries, now)
    }

    /// Returns the relay's own log of an application, if it exists.
    #[must_use]
    pub fn own_app(&self, app: &str) -> Option<Arc<App>> {
        self.apps.read().get(app).cloned()
    }

    fn new_feed_number(&self) -> u32 {
        u32::try_from(self.next_feed.fetch_add(1, Relaxed)).unwrap_or(u32::MAX)
    }

    // === metrics ===

    /// Current values for `/metrics`. `producers` is the number of connected producers.
    #[must_use]
    pub fn gauges(&self, producers: usize) -> Gauges {
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        Gauges {
            producers,
            viewers: self.viewers.lock().len(),
            apps: apps.len(),
            topics: apps.iter().map(|app| app.log.lock().feeds()).sum(),
            series: apps.iter().map(|app| app.log.lock().series().len()).sum(),
            ring_bytes: self.ring_bytes.load(Relaxed),
            held: self.held.load(Relaxed),
            wall_clock_offset_ns: self.wall_clock().0,
            is_clustered: self.is_clustered(),
            is_watching: self.config.watch.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
