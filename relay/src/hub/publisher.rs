//! Publishes histograms to the log of an application.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::log::{Log, Mark, PublishStats, PublishTime};
use super::{App, Hub};
use crate::data_point::{Counts, DataPoint};
use crate::metrics::RejectReason;
use crate::runtime::clock::nanos;
use crate::runtime::sync::MutexGuard;

/// Maximum number of held frames over all workers, about 5 MB. A frame is held until the offset of its worker clock is
/// known. Frames beyond the limit count as late.
const HELD_FRAMES_MAX: u64 = 65_536;

impl Hub {
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
        Publisher { hub: self, app, now, log: app.log.lock(), stats: PublishStats::default(), is_whole: false }
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
    /// Whether everything goes into one batch.
    is_whole: bool,
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
        if published == Some(true) && !self.is_whole {
            self.cut();
        }
        published.is_some()
    }

    /// Publishes everything that follows in one batch. So if the relay is killed, its journal contains all or nothing of
    /// it. Call [`Publisher::finish`] at the end.
    pub const fn begin_whole(&mut self) {
        self.is_whole = self.hub.journal().is_some();
    }

    /// Ends what [`Publisher::begin_whole`] began: all frames of a message from `worker`. `mark` learns when it is safe: at
    /// once without a journal, and otherwise when the journal contains it.
    pub fn finish(mut self, worker: &str, mark: Mark) {
        if self.hub.journal().is_none() {
            return mark.safe.reached(mark.seq);
        }
        self.log.mark(worker, mark);
        if self.log.is_full() {
            self.cut();
        }
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
