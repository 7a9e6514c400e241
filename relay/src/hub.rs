//! Who hears what. Producers publish into the log of their application; viewers read from its feeds.
//!
//! A feed is what one topic's viewers get: a ring of batches, each encoded once. The feed of a whole application always
//! exists; the feed of a part of it exists while somebody watches it, and begins with what the ring of the whole holds.
//!
//! Publishing never waits for a viewer: it appends under a short lock, and a viewer is only woken. A viewer holds a
//! position, not a queue, so one that stops reading costs nothing and is told what it missed.
//!
//! The locks are `parking_lot`'s, which a panic does not poison, and nothing is awaited under them.

mod clocks;
mod batch;
mod describe;
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
use joey_shared::wire::{AppEntry, RefusedName};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::broadcast::{Handed, Listener, News, Piece, Round, Rounds};
use self::describe::Description;
use self::feed::Feed;
use self::log::{Log, Now, Stamped};
use self::peers::Peers;
pub use self::peers::{Accepted, NotTaken, Outgoing, RELAYS_MAX, RemoteLog, Standing, Want};
pub use self::subscription::{Read, Subscription, Viewer};
use crate::config::{Config, at_least_one};
use crate::data_point::{Counts, DataPoint};
use crate::metrics::{Counters, Gauges, RejectReason};
use crate::runtime::clock::nanos;
use crate::runtime::sync::{AtomicU64, Mutex, MutexGuard, RwLock};

/// How much longer than asked for history is kept, so that a window as long as the ring is whole: its newest period began a
/// while ago, and the oldest one arrived a while after its end.
const SLACK: Duration = Duration::from_secs(15);

/// Frames held, over all workers, until it is known where they belong: some 5 MB. One more counts as late.
const HELD_MAX: u64 = 65_536;

/// How much the wall clock changes at once where somebody sets it, at least: 1 s.
const WALL_STEP_NS: u64 = 1_000_000_000;

/// Refused names in the log: ten at once, and one a second.
const NAMES_LOGGED: Quota = Quota::per_second(at_least_one(1)).allow_burst(at_least_one(10));

/// How much longer than anything that speaks of it a series is kept: a sum spans ten seconds, and is dropped by a sweep.
const SERIES_SLACK: Duration = Duration::from_secs(20);

/// Every application, and the viewers that want to hear of new ones.
#[derive(Debug)]
pub struct Hub {
    config: Config,
    counters: Counters,
    /// Random number of this run. Below `2^53`, so that it survives a JavaScript number.
    epoch: u64,
    apps: RwLock<BTreeMap<String, Arc<App>>>,
    /// Applications with updates that are not in a batch yet.
    dirty: Mutex<Vec<Arc<App>>>,
    /// Woken when the first application becomes dirty.
    work: Notify,
    viewers: Mutex<BTreeMap<u64, Arc<dyn Listener>>>,
    rounds: Arc<Rounds>,
    next_viewer: AtomicU64,
    next_feed: AtomicU64,
    series: AtomicU64,
    /// Frames that wait until it is known where they belong.
    held: AtomicU64,
    /// How many refused names may be logged.
    log_names: DefaultDirectRateLimiter,
    wall_clock: Mutex<WallClock>,
    ring_bytes: AtomicU64,
    /// Goes up with every change of the catalogue.
    catalogue: AtomicU64,
    /// The catalogue's value when an application was last forgotten.
    forgotten: AtomicU64,
    peers: Peers,
}

/// What became of the wall clock while the relay runs.
#[derive(Debug, Default)]
struct WallClock {
    /// How far it is ahead of the relay's own clock, in ns, to the last whole step.
    step_ns: i64,
    /// When it was last set, by the relay's own clock.
    at_ns: u64,
}

/// One application.
#[derive(Debug)]
pub struct App {
    name: String,
    /// The epoch of its log. A name that returns after it was forgotten begins a new log, whose numbers must not be taken for
    /// those of the old one.
    epoch: u64,
    log: Mutex<Log>,
    /// The names of its series, while they are as they were. Locked before `log`.
    description: Mutex<Option<Arc<Description>>>,
}

impl App {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The epoch of its log.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Hub {
    /// A hub without applications.
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
            rounds: Arc::default(),
            next_viewer: AtomicU64::new(1),
            next_feed: AtomicU64::new(1),
            series: AtomicU64::new(0),
            held: AtomicU64::new(0),
            log_names: RateLimiter::direct(NAMES_LOGGED),
            wall_clock: Mutex::default(),
            ring_bytes: AtomicU64::new(0),
            catalogue: AtomicU64::new(1),
            forgotten: AtomicU64::new(0),
            peers: Peers::default(),
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The random number of this run.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    // === producers ===

    /// The application of this name, made if need be.
    ///
    /// # Errors
    /// [`RejectReason::AppLimit`] when there are as many as there may be.
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
        let app = Arc::new(self.empty_app(name, self.epoch + self.forgotten.load(Relaxed)));
        app.log.lock().changed = self.catalogue_changed();
        apps.insert(name.to_owned(), app.clone());
        Ok(app)
    }

    fn empty_app(&self, name: &str, epoch: u64) -> App {
        let log = Log::new(Feed::new(self.feed_number(), Filter::All, self.rounds.clone()));
        App { name: name.to_owned(), epoch, log: Mutex::new(log), description: Mutex::default() }
    }

    /// Our own logs and the replicas of others.
    fn all_logs(&self) -> Vec<Arc<App>> {
        let mut all: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        all.extend(self.peers.replicas.read().values().map(|replica| replica.app.clone()));
        all
    }

    /// Stamps one histogram that was read at `now_ns` and puts it on its way; gives the number of its series.
    ///
    /// # Errors
    /// [`RejectReason::SeriesLimit`] when it is of a new series and there are as many as there may be.
    pub fn publish(&self, app: &Arc<App>, metrics: &DataPoint<'_>, now_ns: u64) -> Result<u32, RejectReason> {
        self.publishing(app, now_ns).metrics(metrics)
    }

    /// Begins to publish several histograms of `app` that were read at `now_ns`.
    pub fn publishing<'a>(&'a self, app: &'a Arc<App>, now_ns: u64) -> Publishing<'a> {
        let now = Now { ns: now_ns, ring_ns: nanos(self.config.ring) };
        Publishing { hub: self, app, now, log: app.log.lock(), stamped: Stamped::default() }
    }

    /// Gives a place to frames that have waited for one too long at `due_ns`, and names workers whose clock is off in the log.
    pub fn release_held(&self, due_ns: u64, now_ns: u64) {
        let apps: Vec<Arc<App>> = self.apps.read().values().cloned().collect();
        for app in apps {
            let mut publishing = self.publishing(&app, now_ns);
            publishing.release_due(due_ns);
            let changed = publishing.log.changed_offsets();
            drop(publishing);
            for (worker, offset_ns) in changed {
                let offset_s = offset_ns as f64 / 1e9;
                if offset_ns == 0 {
                    tracing::info!(app = app.name, worker, "the worker's clock is right again");
                } else {
                    tracing::warn!(
                        app = app.name,
                        worker,
                        offset_s,
                        "the worker's clock is off: its periods are moved"
                    );
                }
            }
        }
    }

    /// A frame of `app` was refused because of `name`.
    pub fn refuse_name(&self, app: &App, name: RefusedName, now_ns: u64) {
        let line = self.log_names.check().is_ok().then(|| name.clone());
        if app.log.lock().refuse_name(name, now_ns)
            && let Some(RefusedName { shown, why }) = line
        {
            tracing::warn!(app = app.name, name = shown, %why, "frames refused for a name in them");
        }
    }

    /// How long a series is kept that nobody sends any more, in ns: until no window of a viewer and nothing that is held here can
    /// speak of it.
    #[must_use]
    pub fn series_ns(&self) -> u64 {
        nanos(self.config.ring.max(self.config.rollups) + SLACK + SERIES_SLACK)
    }

    /// Takes one of the places for series, unless all are taken.
    fn take_series_place(&self) -> bool {
        let is_free = self.series.fetch_add(1, Relaxed) < self.config.series_max as u64;
        if !is_free {
            self.series.fetch_sub(1, Relaxed);
        }
        is_free
    }

    /// A connection of `worker` is open.
    pub fn worker_joined(&self, app: &App, worker: &str, now_ns: u64) {
        let mut log = app.log.lock();
        log.worker_joined(worker, now_ns, self.config.workers_per_app_max);
        log.changed = self.catalogue_changed();
    }

    /// A connection of `worker` has ended.
    pub fn worker_left(&self, app: &App, worker: &str, now_ns: u64) {
        let mut log = app.log.lock();
        log.worker_left(worker, now_ns);
        log.changed = self.catalogue_changed();
    }

    // === clocks ===

    /// Notes that the wall clock is ahead of the relay's own by `step_ns` at `now_ns`. A change of a second or more means that it
    /// was set; less is how two clocks differ.
    pub fn note_wall_clock(&self, step_ns: i64, now_ns: u64) {
        let mut wall_clock = self.wall_clock.lock();
        let by_ns = step_ns.saturating_sub(wall_clock.step_ns);
        if by_ns.unsigned_abs() < WALL_STEP_NS {
            return;
        }
        *wall_clock = WallClock { step_ns, at_ns: now_ns };
        drop(wall_clock);
        self.counters.wall_clock_steps.inc();
        let (by_s, in_all_s) = (by_ns as f64 / 1e9, step_ns as f64 / 1e9);
        tracing::warn!(by_s, in_all_s, "the wall clock was set: the relay goes on by its own, and no count changes");
        self.wake_all();
    }

    /// How far the wall clock was set since the relay started, in ns, and when it was last set; 0 and 0 if it was not.
    #[must_use]
    pub fn wall_clock(&self) -> (i64, u64) {
        let wall_clock = self.wall_clock.lock();
        (wall_clock.step_ns, wall_clock.at_ns)
    }

    // === batches ===

    /// What is on its way to those who stand by for it.
    #[must_use]
    pub fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// Waits until some application has something to cut.
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    /// Cuts a batch of every application that has something to send.
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
            self.hand_out(app, log, now_ns);
        }
        tracing::trace!(app = app.name, batches = cut.batches, bytes = cut.bytes, "cut");
    }

    /// Drops history that is too old, and applications that nobody sends or watches.
    pub fn evict_old(&self, now_ns: u64) {
        let oldest_ns = now_ns.saturating_sub(nanos(self.config.ring + SLACK));
        let oldest_sum_ns = now_ns.saturating_sub(nanos(self.config.rollups + SLACK));
        let silent_since_ns = now_ns.saturating_sub(nanos(self.config.forget_after));
        self.forget_listeners(now_ns);
        let mut silent = Vec::new();
        for app in self.all_logs() {
            if self.config.rollups > Duration::ZERO {
                self.sum_up(&app, oldest_ns);
            }
            let mut log = app.log.lock();
            let mut freed = log.evict_sums(oldest_sum_ns);
            if self.config.rollups == Duration::ZERO {
                freed += log.evict_older(oldest_ns);
            }
            self.ring_bytes.fetch_sub(freed, Relaxed);
            let series = log.let_go_of_series(now_ns, self.series_ns()) as u64;
            self.series.fetch_sub(series, Relaxed);
            self.counters.series_expired.inc_by(series);
            if series > 0 || log.is_entry_stale(now_ns) {
                log.changed = self.catalogue_changed();
            }
            if log.is_forgettable(silent_since_ns) && self.is_own(&app.name, app.epoch) {
                silent.push(app.name.clone());
            }
        }
        for name in silent {
            self.forget(&name, silent_since_ns);
        }
        self.drop_leaving();
    }

    /// Puts sums in the place of batches that were over before `oldest_ns`. Adding up takes a while; producers do not wait.
    fn sum_up(&self, app: &App, oldest_ns: u64) {
        loop {
            let Some((number, batches)) = app.log.lock().due(oldest_ns) else { break };
            let sums = rollup::of(number, &batches);
            let mut log = app.log.lock();
            let (Some(feed), Some(last)) = (log.feed_mut(number), batches.last()) else { continue };
            self.ring_bytes.fetch_add(feed.insert_sums(sums), Relaxed);
            self.ring_bytes.fetch_sub(feed.evict_through(last.to), Relaxed);
        }
        self.evict_bytes();
    }

    fn forget(&self, name: &str, since_ns: u64) {
        let mut apps = self.apps.write();
        // Somebody who has just come for it holds it too, or has come, sent and gone; then it is not forgotten.
        let is_silent = |app: &Arc<App>| Arc::strong_count(app) == 1 && app.log.lock().is_forgettable(since_ns);
        if !apps.get(name).is_some_and(is_silent) {
            return;
        }
        let Some(app) = apps.remove(name) else { return };
        let version = self.catalogue_changed();
        self.forgotten.store(version, Relaxed);
        drop(apps);
        self.give_up(&app);
        tracing::info!(app = name, "forgotten: nobody sends or watches");
    }

    /// Gives back the room of an application that nobody can find any more.
    fn give_up(&self, app: &App) {
        let mut log = app.log.lock();
        self.series.fetch_sub(log.series().len() as u64, Relaxed);
        self.ring_bytes.fetch_sub(log.evict_all(), Relaxed);
    }

    /// While there is more history than there may be, drops the oldest batch of whoever has most.
    fn evict_bytes(&self) {
        if self.ring_bytes.load(Relaxed) <= self.config.ring_bytes_max {
            return;
        }
        let apps = self.all_logs();
        // All are asked once. Asking a thousand applications for every batch of theirs that goes would keep the cutter busy.
        let mut largest: BinaryHeap<(u64, usize)> =
            apps.iter().enumerate().map(|(at, app)| (app.log.lock().ring_bytes(), at)).collect();
        while self.ring_bytes.load(Relaxed) > self.config.ring_bytes_max
            && let Some((_, at)) = largest.pop()
        {
            let mut log = apps[at].log.lock();
            // A hundredth at a time.
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

    /// Registers a viewer, which hears through `listener`; `None` when there are as many as there may be.
    pub fn enter(self: &Arc<Self>, listener: Arc<dyn Listener>) -> Option<Viewer> {
        let mut viewers = self.viewers.lock();
        if viewers.len() >= self.config.viewers_max {
            return None;
        }
        let number = self.next_viewer.fetch_add(1, Relaxed);
        viewers.insert(number, listener.clone());
        drop(viewers);
        Some(Viewer::new(self.clone(), number, listener))
    }

    /// Wakes every viewer that waits for news of the catalogue.
    pub fn wake_all(&self) {
        self.viewers.lock().values().for_each(|listener| listener.wake());
    }

    /// Wakes every viewer that stands by and has been told nothing for as long as there may be between heartbeats.
    pub fn remind_all(&self) {
        let now = Instant::now();
        self.viewers.lock().values().for_each(|listener| listener.remind(now, self.config.heartbeat));
    }

    fn catalogue_changed(&self) -> u64 {
        self.catalogue.fetch_add(1, Relaxed) + 1
    }

    /// The catalogue's version.
    #[must_use]
    pub fn catalogue_version(&self) -> u64 {
        self.catalogue.load(Relaxed)
    }

    /// What changed in the catalogue since `version`: whether it is everything, the entries, and the version reached.
    #[must_use]
    pub fn catalogue_since(&self, version: u64) -> (bool, Vec<AppEntry>, u64) {
        // Read under the lock under which applications come and go, so that none of them falls between.
        let apps = self.apps.read();
        let now = self.catalogue_version();
        let (wall_step_ns, _) = self.wall_clock();
        let full = version == 0 || self.forgotten.load(Relaxed) > version;
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
        self.add_remote(&mut entries, full, version);
        (full, entries, now)
    }

    /// Our own log of an application, if there is one.
    #[must_use]
    pub fn own(&self, app: &str) -> Option<Arc<App>> {
        self.apps.read().get(app).cloned()
    }

    fn feed_number(&self) -> u32 {
        u32::try_from(self.next_feed.fetch_add(1, Relaxed)).unwrap_or(u32::MAX)
    }

    // === metrics ===

    /// Current values for `/metrics`. `producers` are connected.
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

/// Histograms of one application on their way into its log, which is locked once for all of them, as counters are counted once.
/// It must not be kept: nobody else can publish or read meanwhile.
#[derive(Debug)]
pub struct Publishing<'a> {
    hub: &'a Hub,
    app: &'a Arc<App>,
    now: Now,
    log: MutexGuard<'a, Log>,
    stamped: Stamped,
}

impl Publishing<'_> {
    /// Stamps one histogram; gives the number of its series.
    ///
    /// # Errors
    /// [`RejectReason::SeriesLimit`] when it is of a new series and there are as many as there may be.
    pub fn metrics(&mut self, metrics: &DataPoint<'_>) -> Result<u32, RejectReason> {
        let Self { hub, now, log, .. } = self;
        #[cfg(test)]
        assert_ne!(metrics.name, crate::runtime::panic_guard::PANIC_NAME);
        let known = log.series_number(metrics);
        let series = if let Some(number) = known {
            number
        } else {
            let is_full = log.series().len() >= hub.config.series_per_app_max || !log.series().has_number();
            if is_full || !hub.take_series_place() {
                // The catalogue says so with its next beat; one producer must not make it beat faster.
                log.limited += 1;
                log.heard_ns = now.ns;
                return Err(RejectReason::SeriesLimit);
            }
            log.changed = hub.catalogue_changed();
            log.add_series(metrics, now.ns)
        };
        let is_known = self.counted(series, metrics.counts());
        debug_assert!(is_known, "it was found or added above");
        Ok(series)
    }

    /// Stamps what was counted of a series whose number [`Publishing::metrics`] gave; says whether that still stands for it.
    #[must_use]
    pub fn counted(&mut self, series: u32, counted: Counts<impl ExactSizeIterator<Item = u64>>) -> bool {
        let Self { hub, now, log, stamped, .. } = self;
        let has_room = hub.held.load(Relaxed) + stamped.held < HELD_MAX;
        let published = log.publish(series, counted, *now, has_room, stamped);
        if published == Some(true) {
            self.cut();
        }
        published.is_some()
    }

    /// Stamps what has been held for too long at `due_ns`.
    fn release_due(&mut self, due_ns: u64) {
        if self.log.release_due(due_ns, self.now, &mut self.stamped) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.hub.cut(self.app, &mut self.log, self.now.ns);
        self.stamped.is_first = false;
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        let Counters { frames_accepted, frames_late, frames_clock_adjusted, .. } = &self.hub.counters;
        frames_accepted.inc_by(self.stamped.accepted);
        frames_late.inc_by(self.stamped.late);
        frames_clock_adjusted.inc_by(self.stamped.moved);
        if self.stamped.held != self.stamped.released {
            // Counts of both wrap as one number.
            self.hub.held.fetch_add(self.stamped.held.wrapping_sub(self.stamped.released), Relaxed);
        }
        if self.stamped.is_first {
            self.hub.dirty.lock().push(self.app.clone());
            self.hub.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
