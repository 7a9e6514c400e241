//! The log of one application: numbers of series and updates, updates that are not cut yet, feeds and workers.

mod feeds;
mod recovered;
mod replica;
mod staged;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use joey_shared::series::{Filter, Source};
use joey_shared::wire::{AppEntry, REJECTED_NAMES_MAX, RejectedName, Update, UpdatesWriter, WorkerEntry, span_of};

pub(super) use self::staged::Staged;
pub use self::staged::{Mark, Safe};
use super::batch::{CutTime, EncodedUpdates};
use super::feed::{EMPTY_BATCH_INTERVAL_NS, Feed};
use super::series::SeriesTable;
use super::worker_clock::{Decision, HeldFrame, WorkerClock};
use super::worker_clocks::WorkerClocks;
use crate::data_point::{Counts, DataPoint};

/// A batch is cut early when it contains this many updates, about 40 KB. Every viewer accepts messages of that size.
const BATCH_UPDATES_MAX: usize = 1_000;

/// Capacity retained for encoded pending updates, in bytes: about a hundred updates.
const PENDING_BYTES: usize = 4 * 1024;

/// Maximum time for which updates are pending while batches are cut: the longest `--batch-ms`, 1 s.
const PENDING_NS_MAX: u64 = 1_000_000_000;

/// Minimum time between two catalogue changes that only update statistics: 10 s.
const ENTRY_INTERVAL_NS: u64 = 10_000_000_000;

/// Interval between two checks for silent series, in ns: 10 s.
const EXPIRY_CHECK_NS: u64 = 10_000_000_000;

/// A series expires after at least three of its periods without an update.
const SILENT_PERIODS: u64 = 3;

/// Log of one application.
#[derive(Debug)]
pub(super) struct Log {
    series: SeriesTable,
    /// Newest sequence number.
    head: u64,
    /// Updates that are not cut yet, encoded for the feed of the whole application.
    pending: Pending,
    /// Newest period end, corrected by the offset of its worker.
    clock_ns: u64,
    clocks: WorkerClocks,
    /// Number of held frames: the offset of their worker clock is not known yet.
    held: u64,
    /// Batches that the journal has not written yet. Viewers do not see them.
    staged: VecDeque<Staged>,
    /// The newest segment of the journal with names of this log, and number of series that had been added by then.
    journaled: (u64, u64),
    /// Messages whose frames the clock at this position holds.
    held_marks: Vec<(u32, Mark)>,
    /// Last number that was read from the journal.
    recovered_through: u64,
    /// When the newest batch was cut.
    cut_ns: u64,
    /// For a replica: how far the origin's clock is behind ours, in ns. It is the smallest difference between receiving
    /// a batch and its cut time. `None` for our own logs.
    origin_behind_ns: Option<i64>,
    /// For a replica: when the current data was received from another relay, on our clock.
    received_ns: u64,
    /// When the newest frame arrived.
    pub(super) last_received_ns: u64,
    late: u64,
    /// Feed of the whole application.
    whole: Feed,
    /// Filtered feeds with subscribers, by number.
    filtered_feeds: BTreeMap<u32, Feed>,
    /// Time of the next check for feeds that are due for an empty batch.
    empty_batches_due_ns: u64,
    /// Time of the next check for silent series.
    expiry_check_due_ns: u64,
    workers: BTreeMap<String, Worker>,
    /// When the catalogue last changed only because statistics changed.
    announced_ns: u64,
    /// Frames rejected because of a limit.
    pub(super) over_limit: u64,
    /// Frames rejected because of a name in them, and the newest of these names.
    rejected_for_name: u64,
    rejected_names: VecDeque<RejectedName>,
    /// Version of the catalogue at the last change of this entry.
    pub(super) changed: u64,
}

/// Encoded updates that wait for the next batch.
#[derive(Debug, Default)]
struct Pending {
    count: usize,
    /// When the first update was published, on the relay's clock.
    since_ns: u64,
    /// Period end and period of the first update. The updates are encoded relative to them.
    end_ns: u64,
    period_ns: u64,
    updates: UpdatesWriter,
    /// Messages whose data ends in these updates.
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    connections: usize,
    since_ns: u64,
    reconnects: u32,
}

/// Results of published updates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PublishStats {
    /// Updates that got a sequence number.
    pub(super) accepted: u64,
    /// Updates among them that are older than the configured history.
    pub(super) late: u64,
    /// Updates among them whose period end was moved because the clock of their worker is off.
    pub(super) clock_adjusted: u64,
    /// Frames that are now held, and previously held frames that were released.
    pub(super) held: u64,
    pub(super) released: u64,
    /// Whether one of them is the first update since the last cut.
    pub(super) is_first: bool,
}

/// A replica retains a silent series this much longer than its origin, in ns, so that it never lacks a series that is
/// still sent: 1 min.
const REPLICA_SERIES_SLACK_NS: u64 = 60_000_000_000;

/// A worker agrees with the wall clock if it differs by at most this much: 3 s. Worker offsets are in whole seconds.
const WALL_TOLERANCE_NS: u64 = 3_000_000_000;

/// Time of a publish call.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishTime {
    /// Time on the relay's clock, in ns since the Unix epoch.
    pub(super) ns: u64,
    /// Configured length of the history, in ns.
    pub(super) ring_ns: u64,
}

/// Result of a cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cut {
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

impl Log {
    pub(super) fn new(whole: Feed) -> Self {
        Self {
            series: SeriesTable::default(),
            head: 0,
            pending: Pending::default(),
            clock_ns: 0,
            clocks: WorkerClocks::default(),
            held: 0,
            staged: VecDeque::new(),
            journaled: (0, 0),
            held_marks: Vec::new(),
            recovered_through: 0,
            cut_ns: 0,
            origin_behind_ns: None,
            received_ns: 0,
            last_received_ns: 0,
            late: 0,
            whole,
            filtered_feeds: BTreeMap::new(),
            empty_batches_due_ns: 0,
            expiry_check_due_ns: 0,
            workers: BTreeMap::new(),
            announced_ns: 0,
            over_limit: 0,
            rejected_for_name: 0,
            rejected_names: VecDeque::new(),
            changed: 0,
        }
    }

    /// Returns the number of the series of `point`, if the series exists.
    pub(super) fn series_number(&self, point: &DataPoint<'_>) -> Option<u32> {
        self.series.find(point)
    }

    /// Adds the series of `point` and returns its number.
    pub(super) fn add_series(&mut self, point: &DataPoint<'_>, now_ns: u64) -> u32 {
        let clock = self.clocks.add_series(point.worker);
        let number = self.series.add(point, clock, now_ns);
        self.add_to_matching_feeds(number);
        number
    }

    /// Adds a new series to the filtered feeds whose filter admits it.
    fn add_to_matching_feeds(&mut self, number: u32) {
        let Self { series, filtered_feeds, .. } = self;
        let admits = |feed: &&Feed| series.get(number).is_some_and(|new| feed.filter().matches(&new.entry.key));
        let feeds: Vec<u32> = filtered_feeds.values().filter(admits).map(Feed::number).collect();
        feeds.into_iter().for_each(|feed| series.add_feed(number, feed));
    }

    /// Removes the series without an update for `max_silence_ns` at `now_ns`, if the check is due. Returns how many.
    ///
    /// No stored data refers to these series any more. In a replica the origin expires series first; silence is
    /// therefore measured at the time of the last received data.
    pub(super) fn expire_series(&mut self, now_ns: u64, max_silence_ns: u64) -> usize {
        if now_ns < self.expiry_check_due_ns {
            return 0;
        }
        self.expiry_check_due_ns = now_ns.saturating_add(EXPIRY_CHECK_NS);
        let is_replica = self.origin_behind_ns.is_some();
        let (now_ns, max_silence_ns) = if is_replica {
            (self.received_ns, max_silence_ns + REPLICA_SERIES_SLACK_NS)
        } else {
            (now_ns, max_silence_ns)
        };
        let Self { series, clocks, .. } = self;
        let removed = series.expire(|series| {
            let silence_ns = now_ns.saturating_sub(series.last_received_ns);
            silence_ns >= max_silence_ns.max(series.period_ns.saturating_mul(SILENT_PERIODS))
                && series.clock.is_none_or(|clock| !clocks.holds_frames(clock))
        });
        for series in removed.iter().filter(|series| series.clock.is_some()) {
            clocks.remove_series(&series.entry.key.worker);
        }
        removed.len()
    }

    /// Publishes `counts` of `series`, read at `now.ns`. If the worker's clock offset is uncertain and `has_room` is
    /// set, the frame is held. Returns whether the pending batch is full, or `None` if the series has expired.
    pub(super) fn publish(
        &mut self,
        series: u32,
        counts: Counts<impl ExactSizeIterator<Item = u64>>,
        now: PublishTime,
        has_room: bool,
        stats: &mut PublishStats,
    ) -> Option<bool> {
        let known = self.series.get_mut(series)?;
        known.last_received_ns = now.ns;
        known.period_ns = counts.period_ns;
        let at = known.clock?;
        let interval_ns = known.entry.provenance.source.export_interval_ns();
        let clock = self.clocks.get_mut(at);
        let before = clock.offset();
        let decision = clock.decide(counts.end_ns, counts.period_ns.max(interval_ns), now.ns);
        if clock.offset() != before {
            // The next sweep announces the change. A clock that changes often must not cause more catalogue updates.
            self.announced_ns = 0;
        }
        match decision {
            Decision::Accept => {}
            Decision::Hold if has_room => {
                clock.hold(HeldFrame::new(series, counts, now.ns));
                self.last_received_ns = now.ns;
                self.held += 1;
                stats.held += 1;
                return Some(false);
            }
            Decision::Hold | Decision::AcceptAfterHeld => self.release(at, now, stats),
        }
        let end_ns = self.clocks.get_mut(at).corrected_end_ns(counts.end_ns);
        Some(self.append(series, counts, end_ns, now, stats))
    }

    /// Releases everything that the clock at position `at` holds.
    fn release(&mut self, at: u32, now: PublishTime, stats: &mut PublishStats) {
        for held in self.clocks.get_mut(at).release() {
            let (histogram, end_ns) = (held.histogram(), self.clocks.get_mut(at).corrected_end_ns(held.end_ns));
            let counts = Counts { span: span_of(&histogram), period_ns: held.period_ns, end_ns: held.end_ns };
            self.append(held.series, counts, end_ns, now, stats);
            self.held -= 1;
            stats.released += 1;
        }
        self.release_marks(at);
    }

    /// Releases frames that have been held for too long at `due_ns`. Returns whether the pending batch is full.
    pub(super) fn release_due(&mut self, due_ns: u64, now: PublishTime, stats: &mut PublishStats) -> bool {
        if self.held > 0 {
            self.clocks.due(due_ns).into_iter().for_each(|at| self.release(at, now, stats));
        }
        self.is_full()
    }

    /// Whether the pending batch is full.
    pub(super) const fn is_full(&self) -> bool {
        self.pending.count >= BATCH_UPDATES_MAX
    }

    /// Workers whose offset has changed since the last call, with their offsets.
    pub(super) fn changed_offsets(&mut self) -> Vec<(String, i64)> {
        self.clocks.changed_offsets()
    }

    /// Number of worker clocks.
    #[cfg(test)]
    pub(super) fn clocks(&self) -> usize {
        self.clocks.len()
    }

    fn append(
        &mut self,
        series: u32,
        Counts { span, period_ns, end_ns: producer_end_ns }: Counts<impl ExactSizeIterator<Item = u64>>,
        end_ns: u64,
        now: PublishTime,
        stats: &mut PublishStats,
    ) -> bool {
        self.clock_ns = self.clock_ns.max(end_ns);
        let is_late = end_ns.saturating_add(now.ring_ns) < self.clock_ns;
        self.late += u64::from(is_late);
        stats.late += u64::from(is_late);
        self.last_received_ns = now.ns;
        self.head += 1;
        let Pending { count, since_ns, end_ns: first_end_ns, period_ns: first_period_ns, updates, .. } =
            &mut self.pending;
        *count += 1;
        if *count == 1 {
            stats.is_first = true;
            (*since_ns, *first_end_ns, *first_period_ns) = (now.ns, end_ns, period_ns);
            updates.begin(self.head, end_ns, period_ns);
        }
        let offset_ns = end_ns.wrapping_sub(producer_end_ns).cast_signed();
        stats.clock_adjusted += u64::from(offset_ns != 0);
        stats.accepted += 1;
        updates.push_parts([self.head, period_ns, end_ns], offset_ns, series, span);
        *count >= BATCH_UPDATES_MAX
    }

    /// Number of updates that are waiting to be cut, and when the first of them arrived.
    pub(super) const fn pending(&self) -> (usize, u64) {
        (self.pending.count, self.pending.since_ns)
    }

    /// Whether updates have been pending for longer than any batch delay.
    pub(super) const fn is_cut_overdue(&self, now_ns: u64) -> bool {
        self.pending.count > 0 && now_ns >= self.pending.since_ns.saturating_add(PENDING_NS_MAX)
    }

    /// Cuts one batch for each feed from the updates since the last cut.
    pub(super) fn cut(&mut self, now_ns: u64) -> Cut {
        if self.pending.count == 0 {
            return Cut::default();
        }
        // A step back of the wall clock must not split one ten-second span into two.
        let now_ns = now_ns.max(self.cut_ns);
        self.cut_ns = now_ns;
        let mut updates = std::mem::take(&mut self.pending.updates);
        let Pending { since_ns, end_ns, period_ns, .. } = self.pending;
        let encoded = EncodedUpdates { end_ns, period_ns, updates: updates.finish() };
        let cut = self.cut_feeds(&encoded, self.head, CutTime { ns: now_ns, received_ns: Some(since_ns) });
        self.pending.count = 0;
        // Release the memory of a burst. A steady stream keeps the capacity that it needs.
        updates.shrink_to(PENDING_BYTES);
        self.pending.updates = updates;
        cut
    }

    /// Cuts one batch up to number `to` for each feed.
    fn cut_feeds(&mut self, encoded: &EncodedUpdates<'_>, to: u64, at: CutTime) -> Cut {
        let names = self.series.names_since(self.whole.announced(), &Filter::All);
        let bytes = self.whole.cut_encoded(encoded, names, to, at);
        let mut cut = Cut { batches: u64::from(bytes > 0), bytes };
        if !self.filtered_feeds.is_empty() {
            // Decode the batch of the whole feed. Pending updates need no second representation for logs without part
            // feeds.
            let filtered = self.cut_filtered_feeds(&self.whole.last_batch(), to, at);
            cut.batches += filtered.batches;
            cut.bytes += filtered.bytes;
        }
        cut
    }

    /// Cuts one batch for each filtered feed that matches some of `updates`. The other feeds get an empty batch when
    /// one is due.
    fn cut_filtered_feeds(&mut self, updates: &[Update], to: u64, at: CutTime) -> Cut {
        let Self { series, filtered_feeds, empty_batches_due_ns, .. } = self;
        let mut cut = Cut::default();
        let mut count_in = |bytes| {
            cut.batches += u64::from(bytes > 0);
            cut.bytes += bytes;
        };
        let mut matching: Vec<(u32, usize)> = Vec::new();
        for (at, update) in updates.iter().enumerate() {
            matching.extend(series.feeds_of(update.series).iter().map(|&feed| (feed, at)));
        }
        matching.sort_unstable();
        for of_feed in matching.chunk_by(|(feed, _), (next, _)| feed == next) {
            let Some(feed) = of_feed.first().and_then(|(feed, _)| filtered_feeds.get_mut(feed)) else { continue };
            let names = series.names_since(feed.announced(), feed.filter());
            count_in(feed.cut(of_feed.iter().map(|&(_, at)| &updates[at]), names, to, at));
        }
        let cut_ns = at.ns;
        if cut_ns >= *empty_batches_due_ns {
            *empty_batches_due_ns = cut_ns.saturating_add(EMPTY_BATCH_INTERVAL_NS / 10);
            for feed in filtered_feeds.values_mut().filter(|feed| feed.is_empty_batch_due(cut_ns)) {
                let names = series.names_since(feed.announced(), feed.filter());
                count_in(feed.cut_empty(names, to, cut_ns));
            }
        }
        cut
    }

    /// Newest batch message of the whole application.
    pub(super) fn newest_message(&self) -> Option<Bytes> {
        self.whole.newest_message()
    }

    // === state ===

    pub(super) const fn series(&self) -> &SeriesTable {
        &self.series
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// Whether the application has no producers and no viewers, and has received nothing since `since_ns`.
    pub(super) fn is_silent_since(&self, since_ns: u64) -> bool {
        let last_ns = self.workers.values().map(|worker| worker.since_ns).fold(self.last_received_ns, u64::max);
        last_ns < since_ns
            && self.workers.values().all(|worker| worker.connections == 0)
            && self.filtered_feeds.is_empty()
            && self.whole.has_no_subscribers()
    }

    // === workers ===

    pub(super) fn worker_joined(&mut self, name: &str, now_ns: u64, workers_max: usize) {
        if let Some(worker) = self.workers.get_mut(name) {
            if worker.connections == 0 {
                worker.reconnects += 1;
                worker.since_ns = now_ns;
            }
            worker.connections += 1;
            return;
        }
        if self.workers.len() >= workers_max {
            let removed = self.workers.iter().filter(|(_, worker)| worker.connections == 0);
            let Some(oldest) = removed.min_by_key(|(_, worker)| worker.since_ns).map(|(name, _)| name.clone()) else {
                return;
            };
            self.workers.remove(&oldest);
        }
        self.workers.insert(name.to_owned(), Worker { connections: 1, since_ns: now_ns, reconnects: 0 });
    }

    pub(super) fn worker_left(&mut self, name: &str, now_ns: u64) {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.connections = worker.connections.saturating_sub(1);
            if worker.connections == 0 {
                worker.since_ns = now_ns;
            }
        }
    }

    /// Records that a frame was rejected because of `name`. Returns whether the name is new.
    pub(super) fn reject_name(&mut self, name: RejectedName, now_ns: u64) -> bool {
        self.rejected_for_name += 1;
        self.last_received_ns = now_ns;
        if self.rejected_names.contains(&name) {
            return false;
        }
        if self.rejected_names.len() >= REJECTED_NAMES_MAX {
            self.rejected_names.pop_front();
        }
        self.rejected_names.push_back(name);
        // The next sweep announces the change. Names that change often must not cause more catalogue updates.
        self.announced_ns = 0;
        true
    }

    /// Whether the catalogue entry, announced at `announced_ns`, should be announced again because its statistics
    /// changed.
    pub(super) fn is_entry_stale(&mut self, now_ns: u64) -> bool {
        let is_stale =
            self.last_received_ns > self.announced_ns && now_ns >= self.announced_ns.saturating_add(ENTRY_INTERVAL_NS);
        if is_stale {
            self.announced_ns = now_ns;
        }
        is_stale
    }

    /// Catalogue entry of this application.
    ///
    /// The wall clock is ahead of the relay's monotonic clock by `wall_step_ns`. A worker that agrees with the wall
    /// clock is not reported as off.
    pub(super) fn entry(&self, app: &str, wall_step_ns: i64) -> AppEntry {
        let worker = |(name, worker): (&String, &Worker)| {
            let offset = self
                .clocks
                .of_worker(name)
                .map(WorkerClock::offset)
                .filter(|(offset_ns, _)| is_off(*offset_ns, wall_step_ns));
            let (offset_ns, offset_since_ns) = offset.unwrap_or_default();
            WorkerEntry {
                worker: name.clone(),
                connected: worker.connections > 0,
                since_ns: worker.since_ns,
                reconnects: worker.reconnects,
                offset_ns,
                offset_since_ns,
            }
        };
        let mut sources: Vec<Source> = self.series.provenances().map(|provenance| provenance.source).collect();
        sources.dedup();
        AppEntry {
            app: app.to_owned(),
            workers: self.workers.iter().map(worker).collect(),
            series: u32::try_from(self.series.len()).unwrap_or(u32::MAX),
            sources,
            is_approximate: self.series.provenances().any(|provenance| provenance.is_approximate),
            is_sampled: self.series.provenances().any(|provenance| provenance.is_sampled),
            last_received_ns: self.last_received_ns,
            late: self.late,
            over_limit: self.over_limit,
            rejected_for_name: self.rejected_for_name,
            rejected_names: self.rejected_names.iter().cloned().collect(),
        }
    }
}

/// Whether a worker with this offset disagrees with both the relay's monotonic clock and its wall clock.
const fn is_off(offset_ns: i64, wall_step_ns: i64) -> bool {
    offset_ns != 0 && offset_ns.saturating_add(wall_step_ns).unsigned_abs() > WALL_TOLERANCE_NS
}
