//! Evicts history by age and by size, expires series, and removes silent applications.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{App, Hub, RETENTION_SLACK, rollup};
use crate::runtime::clock::nanos;

impl Hub {
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
            if log.is_cut_overdue(now_ns) {
                // An update must not lose its series before it is in a batch.
                self.cut(&app, &mut log, now_ns);
            }
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
    pub(super) fn roll_up(&self, app: &App, oldest_ns: u64) {
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
    pub(super) fn release_app(&self, app: &App) {
        let mut log = app.log.lock();
        self.series.fetch_sub(log.series().len() as u64, Relaxed);
        self.ring_bytes.fetch_sub(log.evict_all(), Relaxed);
    }

    /// Evicts the oldest batches of the largest logs until the total size is within the limit.
    pub(super) fn evict_bytes(&self) {
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
}
