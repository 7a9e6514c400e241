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
mod peers;
mod broadcast;
mod series;
mod rollup;
mod worker_clock;

use std::collections::{BTreeMap, BinaryHeap};
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
use self::log::{Log, PublishStats, PublishTime};
use self::peers::Peers;
pub use self::peers::{ApplyOutcome, Interest, LogState, PeerBatch, RELAYS_MAX, RemoteLog, ReplicaError};
use self::series_messages::SeriesMessages;
pub use self::subscription::{Read, Subscription, Viewer};
use crate::config::{Config, at_least_one};
use crate::data_point::{Counts, DataPoint};
use crate::metrics::{Counters, Gauges, RejectReason};
use crate::runtime::clock::nanos;
use crate::runtime::sync::{AtomicU64, Mutex, MutexGuard, RwLock};

/// History is retained this much longer than configured, so that a window as long as the ring is complete. The newest
/// period of such a window started some time ago, and its oldest period arrived some time after its end.
const RETENTION_SLACK: Duration = Duration::from_secs(15);

/// Maximum number of held frames over all workers, about 5 MB. A frame is held until the offset of its worker clock is
/// known. Frames beyond the limit count as late.
const HELD_FRAMES_MAX: u64 = 65_536;

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

    /// Publishes one histogram that the relay read at `now_ns`. Returns the number of its series.
    ///
    /// # Errors
    /// [`RejectReason::SeriesLimit`] if the series is new and the maximum number of series exists.
    pub fn publish(&self, app: &Arc<App>, point: &DataPoint<'_>, now_ns: u64) -> Result<u32, RejectReason> {
        self.publisher(app, now_ns).publish(point)
    }

    /// Starts publishing several histograms of `app` that the relay read at `now_ns`.
    pub fn publisher<'a>(&'a self, app: &'a Arc<App>, now_ns: u64) -> Publisher<'a> {
        let now = PublishTime { ns: now_ns, ring_ns: nanos(self.config.ring) };
        Publisher { hub: self, app, now, log: app.log.lock(), stats: PublishStats::default() }
    }

    /// Releases frames that have been held for too long at `due_ns`, and logs workers whose clock offset has changed.
    pub fn release_held(&self, due_ns: u64, now_ns: u64) {
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        for app in apps {
            let mut publisher = self.publisher(&app, now_ns);
            publisher.release_due(due_ns);
            let changed = publisher.log.changed_offsets();
            drop(publisher);
            for (worker, offset_ns) in changed {
                let offset_s = offset_ns as f64 / 1e9;
                if offset_ns == 0 {
                    tracing::info!(app = app.name, worker, "the worker's clock is correct again");
                } else {
                    tracing::warn!(
                        app = app.name,
                        worker,
                        offset_s,
                        "the worker's clock is off: its period ends are corrected"
                    );
                }
            }
        }
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
        let cut = log.cut(now_ns);
        self.counters.batches.inc_by(cut.batches);
        self.ring_bytes.fetch_add(cut.bytes, Relaxed);
        if cut.batches > 0 {
            self.send_to_peers(app, log, now_ns);
        }
        tracing::trace!(app = app.name, batches = cut.batches, bytes = cut.bytes, "cut");
    }

    /// Evicts history that is too old, and removes applications without producers and viewers.
    pub fn evict_old(&self, now_ns: u64) {
        let oldest_ns = now_ns.saturating_sub(nanos(self.config.ring + RETENTION_SLACK));
        let oldest_rollup_ns = now_ns.saturating_sub(nanos(self.config.rollups + RETENTION_SLACK));
        let silent_since_ns = now_ns.saturating_sub(nanos(self.config.forget_after));
        self.expire_remote_interest(now_ns);
        let mut silent = Vec::new();
        for app in self.all_logs() {
            if self.config.rollups > Duration::ZERO {
                self.roll_up(&app, oldest_ns);
            }
            let mut log = app.log.lock();
            // An update must not lose its series before it is in a batch.
            self.cut(&app, &mut log, now_ns);
            let mut freed = log.evict_rollups(oldest_rollup_ns);
            if self.config.rollups == Duration::ZERO {
                freed += log.evict_older(oldest_ns);
            }
            self.ring_bytes.fetch_sub(freed, Relaxed);
            let series = log.expire_series(now_ns, self.series_retention_ns()) as u64;
            self.series.fetch_sub(series, Relaxed);
            self.counters.series_expired.inc_by(series);
            if series > 0 || log.is_entry_stale(now_ns) {
                log.changed = self.catalogue_changed();
            }
            if log.is_silent_since(silent_since_ns) && self.is_own(&app.name, app.epoch) {
                silent.push(app.name.clone());
            }
        }
        for name in silent {
            self.remove_if_silent(&name, silent_since_ns);
        }
        self.drop_unused_replicas();
    }

    /// Replaces batches whose time span ended before `oldest_ns` by rollups. Computing a rollup takes some time; the
    /// log is not locked meanwhile, so producers do not wait.
    fn roll_up(&self, app: &App, oldest_ns: u64) {
        loop {
            let Some((number, batches)) = app.log.lock().batches_to_roll_up(oldest_ns) else { break };
            let rollups = rollup::roll_up(number, &batches);
            let mut log = app.log.lock();
            let (Some(feed), Some(last)) = (log.feed_mut(number), batches.last()) else { continue };
            self.ring_bytes.fetch_add(feed.insert_rollups(rollups), Relaxed);
            self.ring_bytes.fetch_sub(feed.evict_through(last.to), Relaxed);
        }
        self.evict_bytes();
    }

    fn remove_if_silent(&self, name: &str, since_ns: u64) {
        let mut apps = self.apps.write();
        // A new connection also holds a reference, or it may already have sent something and left. In both cases the
        // application stays.
        let is_silent = |app: &Arc<App>| Arc::strong_count(app) == 1 && app.log.lock().is_silent_since(since_ns);
        if !apps.get(name).is_some_and(is_silent) {
            return;
        }
        let Some(app) = apps.remove(name) else { return };
        let version = self.catalogue_changed();
        self.removed_version.store(version, Relaxed);
        drop(apps);
        self.release_app(&app);
        tracing::info!(app = name, "application removed: it has no producers and no viewers");
    }

    /// Releases the memory accounted to an application that has been removed.
    fn release_app(&self, app: &App) {
        let mut log = app.log.lock();
        self.series.fetch_sub(log.series().len() as u64, Relaxed);
        self.ring_bytes.fetch_sub(log.evict_all(), Relaxed);
    }

    /// Evicts the oldest batches of the largest logs until the total size is within the limit.
    fn evict_bytes(&self) {
        if self.ring_bytes.load(Relaxed) <= self.config.ring_bytes_max {
            return;
        }
        let apps = self.all_logs();
        // Each log is asked for its size once. Asking a thousand logs again for every evicted batch would block the
        // batch cutter.
        let mut largest: BinaryHeap<(u64, usize)> =
            apps.iter().enumerate().map(|(at, app)| (app.log.lock().ring_bytes(), at)).collect();
        while self.ring_bytes.load(Relaxed) > self.config.ring_bytes_max
            && let Some((_, at)) = largest.pop()
        {
            let mut log = apps[at].log.lock();
            // Evict one hundredth of the log at a time.
            let target = log.ring_bytes().saturating_sub((log.ring_bytes() / 100).max(1));
            let mut freed = 0;
            while log.ring_bytes() > target {
                let bytes = log.evict_oldest();
                if bytes == 0 {
                    break;
                }
                freed += bytes;
                self.counters.batches_evicted.inc();
            }
            self.ring_bytes.fetch_sub(freed, Relaxed);
            if freed > 0 {
                largest.push((log.ring_bytes(), at));
            }
        }
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
        }
    }
}

/// Publishes histograms of one application. It locks the log and updates the counters once for all of them.
/// Do not keep it: while it exists, nobody else can publish to this log or read from it.
#[derive(Debug)]
pub struct Publisher<'a> {
    hub: &'a Hub,
    app: &'a Arc<App>,
    now: PublishTime,
    log: MutexGuard<'a, Log>,
    stats: PublishStats,
}

impl Publisher<'_> {
    /// Publishes one histogram. Returns the number of its series.
    ///
    /// # Errors
    /// [`RejectReason::SeriesLimit`] if the series is new and the maximum number of series exists.
    pub fn publish(&mut self, point: &DataPoint<'_>) -> Result<u32, RejectReason> {
        let Self { hub, now, log, .. } = self;
        #[cfg(test)]
        assert_ne!(point.name, crate::runtime::panic_guard::PANIC_NAME);
        let known = log.series_number(point);
        let series = if let Some(number) = known {
            number
        } else {
            let is_full = log.series().len() >= hub.config.series_per_app_max || !log.series().has_number();
            if is_full || !hub.reserve_series() {
                // The next periodic catalogue update includes this count. One producer must not trigger extra catalogue
                // updates.
                log.over_limit += 1;
                log.last_received_ns = now.ns;
                return Err(RejectReason::SeriesLimit);
            }
            log.changed = hub.catalogue_changed();
            log.add_series(point, now.ns)
        };
        let is_known = self.publish_known(series, point.counts());
        debug_assert!(is_known, "the series was found or added above");
        Ok(series)
    }

    /// Publishes counts of a series whose number [`Publisher::publish`] returned. Returns `false` if that series has
    /// expired.
    #[must_use]
    pub fn publish_known(&mut self, series: u32, counts: Counts<impl ExactSizeIterator<Item = u64>>) -> bool {
        let Self { hub, now, log, stats, .. } = self;
        let has_room = hub.held.load(Relaxed) + stats.held < HELD_FRAMES_MAX;
        let published = log.publish(series, counts, *now, has_room, stats);
        if published == Some(true) {
            self.cut();
        }
        published.is_some()
    }

    /// Releases frames that have been held for too long at `due_ns`.
    fn release_due(&mut self, due_ns: u64) {
        if self.log.release_due(due_ns, self.now, &mut self.stats) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.hub.cut(self.app, &mut self.log, self.now.ns);
        self.stats.is_first = false;
    }
}

impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        let counters = &self.hub.counters;
        counters.frames_accepted.inc_by(self.stats.accepted);
        counters.frames_late.inc_by(self.stats.late);
        counters.frames_clock_adjusted.inc_by(self.stats.clock_adjusted);
        if self.stats.held != self.stats.released {
            // The difference may be negative; it wraps, and so does the addition.
            self.hub.held.fetch_add(self.stats.held.wrapping_sub(self.stats.released), Relaxed);
        }
        if self.stats.is_first {
            self.hub.dirty.lock().push(self.app.clone());
            self.hub.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
