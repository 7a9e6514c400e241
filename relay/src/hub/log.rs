//! One application's log: numbers for series and updates, what is not cut yet, its feeds and its workers.

mod replica;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{AppEntry, REFUSED_NAMES_MAX, RefusedName, Update, UpdatesWriter, WorkerEntry, span_of};

use super::batch::{Batch, Written};
use super::broadcast::Listener;
use super::clocks::Clocks;
use super::feed::{COVER_NS, Feed, History};
use super::series::SeriesTable;
use super::worker_clock::{Decision, Held, WorkerClock};
use crate::data_point::{Counts, DataPoint};

/// A batch is cut early when it holds this many updates: some 40 KB, which no viewer's buffer refuses.
const BATCH_UPDATES_MAX: usize = 1_000;

/// Room that an application keeps for updates that wait, in bytes: some hundred of them.
const PENDING_BYTES: usize = 4 * 1024;

/// Topics of one application that may be watched at once besides the whole.
const FEEDS_MAX: usize = 1_000;

/// The least time between two changes of the catalogue that only say how things go on: 10 s.
const ENTRY_NS: u64 = 10_000_000_000;

/// How often it is looked which series have gone silent, in ns: every 10 s.
const SILENT_SERIES_NS: u64 = 10_000_000_000;

/// A series is let go after three of its periods of silence at the earliest.
const SILENT_PERIODS: u64 = 3;

/// The log of one application.
#[derive(Debug)]
pub(super) struct Log {
    series: SeriesTable,
    /// The newest number given.
    head: u64,
    /// What is not cut yet, as the feed of everything will have it.
    pending: Pending,
    /// The newest period end, after the offset of its worker.
    clock_ns: u64,
    clocks: Clocks,
    /// Frames that wait until it is known where they belong.
    held: u64,
    /// When the newest batch was cut.
    cut_ns: u64,
    /// How far the clock of another relay, whose log this is a replica of, is behind ours, in ns: the least difference between
    /// when a batch came and when it was cut. 0 for our own logs.
    origin_behind_ns: Option<i64>,
    /// When what is taken from another relay came, by our clock.
    came_ns: u64,
    /// When the newest frame arrived.
    pub(super) heard_ns: u64,
    late: u64,
    /// The feed of everything.
    whole: Feed,
    /// The feeds of parts that somebody watches, by number.
    parts: BTreeMap<u32, Feed>,
    /// When it is next looked which of them need a batch although nothing has passed.
    covers_due_ns: u64,
    /// When it is next looked which series have gone silent.
    silent_series_due_ns: u64,
    workers: BTreeMap<String, Worker>,
    /// When the catalogue last changed only because time went on.
    told_ns: u64,
    /// Frames refused because of a limit.
    pub(super) limited: u64,
    /// Frames refused because of a name in them, and the newest of these names.
    refused_for_name: u64,
    refused_names: VecDeque<RefusedName>,
    /// The catalogue's version when this entry last changed.
    pub(super) changed: u64,
}

/// Updates that are encoded already and wait for company.
#[derive(Debug, Default)]
struct Pending {
    count: usize,
    /// Period end and period of the first one, which it is written relative to.
    end_ns: u64,
    period_ns: u64,
    updates: UpdatesWriter,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    connections: usize,
    since_ns: u64,
    returns: u32,
}

/// What became of published updates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamped {
    /// How many were stamped.
    pub(super) accepted: u64,
    /// How many of them are older than everything that the ring is meant to hold.
    pub(super) late: u64,
    /// How many of them were moved, since the clock of their worker is off.
    pub(super) moved: u64,
    /// How many are held, and how many of those held before were stamped.
    pub(super) held: u64,
    pub(super) released: u64,
    /// Whether one of them is the first one since the last cut.
    pub(super) is_first: bool,
}

/// How much longer a replica keeps a series than its origin, in ns, so that it never lacks one that is still sent: 1 min.
const REPLICA_NS: u64 = 60_000_000_000;

/// How far a worker that agrees with the wall clock may be from it: its offset is in whole seconds. 3 s.
const WALL_TOLERANCE_NS: u64 = 3_000_000_000;

/// When something is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// By the relay's clock, in ns since the Unix epoch.
    pub(super) ns: u64,
    /// How much history the ring is meant to hold, in ns.
    pub(super) ring_ns: u64,
}

/// What a cut made.
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
            clocks: Clocks::default(),
            held: 0,
            cut_ns: 0,
            origin_behind_ns: None,
            came_ns: 0,
            heard_ns: 0,
            late: 0,
            whole,
            parts: BTreeMap::new(),
            covers_due_ns: 0,
            silent_series_due_ns: 0,
            workers: BTreeMap::new(),
            told_ns: 0,
            limited: 0,
            refused_for_name: 0,
            refused_names: VecDeque::new(),
            changed: 0,
        }
    }

    /// The number of the series that `metrics` belongs to, if it has one.
    pub(super) fn series_number(&self, metrics: &DataPoint<'_>) -> Option<u32> {
        self.series.find(metrics)
    }

    /// Gives the series that `metrics` belongs to a number.
    pub(super) fn add_series(&mut self, metrics: &DataPoint<'_>, now_ns: u64) -> u32 {
        let clock = self.clocks.enter(metrics.worker);
        let number = self.series.add(metrics, clock, now_ns);
        self.pass_to_parts(number);
        number
    }

    /// Updates of a series that is new pass to the feeds of parts that admit it.
    fn pass_to_parts(&mut self, number: u32) {
        let Self { series, parts, .. } = self;
        let admits = |feed: &&Feed| series.get(number).is_some_and(|new| feed.filter().admits(&new.entry.key));
        let feeds: Vec<u32> = parts.values().filter(admits).map(Feed::number).collect();
        feeds.into_iter().for_each(|feed| series.pass_to(number, feed));
    }

    /// Lets go of the series that nobody has sent for `keep_ns` at `now_ns`, if it is time to look; says how many.
    ///
    /// Nothing that is held speaks of them any more. In a replica it is the origin that lets go first, so time is what has come.
    pub(super) fn let_go_of_series(&mut self, now_ns: u64, keep_ns: u64) -> usize {
        if now_ns < self.silent_series_due_ns {
            return 0;
        }
        self.silent_series_due_ns = now_ns.saturating_add(SILENT_SERIES_NS);
        let is_replica = self.origin_behind_ns.is_some();
        let (now_ns, keep_ns) = if is_replica { (self.came_ns, keep_ns + REPLICA_NS) } else { (now_ns, keep_ns) };
        let Self { series, clocks, .. } = self;
        let gone = series.let_go(|series| {
            let silence_ns = now_ns.saturating_sub(series.heard_ns);
            silence_ns >= keep_ns.max(series.period_ns.saturating_mul(SILENT_PERIODS))
                && series.clock.is_none_or(|clock| !clocks.holds(clock))
        });
        for series in gone.iter().filter(|series| series.clock.is_some()) {
            clocks.leave(&series.entry.key.worker);
        }
        gone.len()
    }

    /// Stamps what was `counted` of `series`, read at `now_ns`, or holds it, if there is room, until it is known where it belongs.
    /// Says whether there are enough for a batch; nothing where that series was let go.
    pub(super) fn publish(
        &mut self,
        series: u32,
        counted: Counts<impl ExactSizeIterator<Item = u64>>,
        now: Now,
        has_room: bool,
        stamped: &mut Stamped,
    ) -> Option<bool> {
        let known = self.series.get_mut(series)?;
        known.heard_ns = now.ns;
        known.period_ns = counted.period_ns;
        let at = known.clock?;
        let clock = self.clocks.at(at);
        let before = clock.offset();
        let decision = clock.decide(counted.end_ns, counted.period_ns, now.ns);
        if clock.offset() != before {
            // The next sweep tells everybody. A clock that jumps about must not make the catalogue change faster.
            self.told_ns = 0;
        }
        match decision {
            Decision::Place => {}
            Decision::Hold if has_room => {
                clock.hold(Held::new(series, counted, now.ns));
                self.heard_ns = now.ns;
                self.held += 1;
                stamped.held += 1;
                return Some(false);
            }
            Decision::Hold | Decision::PlaceAfterHeld => self.release(at, now, stamped),
        }
        let end_ns = self.clocks.at(at).placed(counted.end_ns);
        Some(self.stamp(series, counted, end_ns, now, stamped))
    }

    /// Stamps everything that the clock `at` holds.
    fn release(&mut self, at: u32, now: Now, stamped: &mut Stamped) {
        for held in self.clocks.at(at).release() {
            let (histogram, end_ns) = (held.histogram(), self.clocks.at(at).placed(held.end_ns));
            let counted = Counts { span: span_of(&histogram), period_ns: held.period_ns, end_ns: held.end_ns };
            self.stamp(held.series, counted, end_ns, now, stamped);
            self.held -= 1;
            stamped.released += 1;
        }
    }

    /// Stamps what has been held for too long at `due_ns`. Says whether there are enough for a batch.
    pub(super) fn release_due(&mut self, due_ns: u64, now: Now, stamped: &mut Stamped) -> bool {
        if self.held > 0 {
            self.clocks.due(due_ns).into_iter().for_each(|at| self.release(at, now, stamped));
        }
        self.pending.count >= BATCH_UPDATES_MAX
    }

    /// Workers whose offset has changed since the last call, with the offset.
    pub(super) fn changed_offsets(&mut self) -> Vec<(String, i64)> {
        self.clocks.changed_offsets()
    }

    /// How many workers' clocks there are.
    #[cfg(test)]
    pub(super) fn clocks(&self) -> usize {
        self.clocks.len()
    }

    fn stamp(
        &mut self,
        series: u32,
        Counts { span, period_ns, end_ns: sent_end_ns }: Counts<impl ExactSizeIterator<Item = u64>>,
        end_ns: u64,
        now: Now,
        stamped: &mut Stamped,
    ) -> bool {
        self.clock_ns = self.clock_ns.max(end_ns);
        let is_late = end_ns.saturating_add(now.ring_ns) < self.clock_ns;
        self.late += u64::from(is_late);
        stamped.late += u64::from(is_late);
        self.heard_ns = now.ns;
        self.head += 1;
        let Pending { count, end_ns: first_end_ns, period_ns: first_period_ns, updates } = &mut self.pending;
        *count += 1;
        if *count == 1 {
            stamped.is_first = true;
            (*first_end_ns, *first_period_ns) = (end_ns, period_ns);
            updates.begin(self.head, end_ns, period_ns);
        }
        let offset_ns = end_ns.wrapping_sub(sent_end_ns).cast_signed();
        stamped.moved += u64::from(offset_ns != 0);
        stamped.accepted += 1;
        updates.push_parts([self.head, period_ns, end_ns], offset_ns, series, span);
        *count >= BATCH_UPDATES_MAX
    }

    /// Makes one batch for each feed of what was published since the last cut.
    pub(super) fn cut(&mut self, now_ns: u64) -> Cut {
        let mut cut = Cut::default();
        let Pending { count, end_ns, period_ns, updates } = &mut self.pending;
        if *count == 0 {
            return cut;
        }
        // A wall clock that steps back must not make two spans of ten seconds out of one.
        let now_ns = now_ns.max(self.cut_ns);
        self.cut_ns = now_ns;
        let written = Written { end_ns: *end_ns, period_ns: *period_ns, updates: updates.finish() };
        let mut count_in = |bytes| {
            cut.batches += u64::from(bytes > 0);
            cut.bytes += bytes;
        };
        let names = self.series.names_since(self.whole.announced(), &Filter::All);
        count_in(self.whole.cut_written(&written, names, self.head, now_ns));
        *count = 0;
        // A burst's room is given back; a steady stream keeps what it needs.
        updates.shrink_to(PENDING_BYTES);
        if !self.parts.is_empty() {
            // Read back from the whole's bytes: what nobody watches in part need not be kept in another form.
            let parts = self.cut_parts(&self.whole.last_batch(), self.head, now_ns);
            cut.batches += parts.batches;
            cut.bytes += parts.bytes;
        }
        cut
    }

    /// Makes one batch for each feed of a part that some of `updates` pass to. The others are only looked at now and then.
    fn cut_parts(&mut self, updates: &[Update], to: u64, cut_ns: u64) -> Cut {
        let Self { series, parts, covers_due_ns, .. } = self;
        let mut cut = Cut::default();
        let mut count_in = |bytes| {
            cut.batches += u64::from(bytes > 0);
            cut.bytes += bytes;
        };
        let mut passing: Vec<(u32, usize)> = Vec::new();
        for (at, update) in updates.iter().enumerate() {
            passing.extend(series.feeds_of(update.series).iter().map(|&feed| (feed, at)));
        }
        passing.sort_unstable();
        for of_feed in passing.chunk_by(|(feed, _), (next, _)| feed == next) {
            let Some(part) = of_feed.first().and_then(|(feed, _)| parts.get_mut(feed)) else { continue };
            let names = series.names_since(part.announced(), part.filter());
            count_in(part.cut(of_feed.iter().map(|&(_, at)| &updates[at]), names, to, cut_ns));
        }
        if cut_ns >= *covers_due_ns {
            *covers_due_ns = cut_ns.saturating_add(COVER_NS / 10);
            for part in parts.values_mut().filter(|part| part.is_cover_due(cut_ns)) {
                let names = series.names_since(part.announced(), part.filter());
                count_in(part.cover(names, to, cut_ns));
            }
        }
        cut
    }

    /// The message of the newest batch of everything.
    pub(super) fn newest(&self) -> Option<Bytes> {
        self.whole.newest_bytes()
    }

    // === what is there ===

    pub(super) const fn series(&self) -> &SeriesTable {
        &self.series
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    // === feeds ===

    pub(super) fn feeds(&self) -> usize {
        1 + self.parts.len()
    }

    /// The feed of `filter`, if somebody watches it.
    pub(super) fn feed_of(&self, filter: &Filter) -> Option<&Feed> {
        self.all_feeds().find(|feed| feed.filter() == filter)
    }

    /// The feed of this number, while it exists.
    pub(super) fn feed(&self, number: u32) -> Option<&Feed> {
        if number == self.whole.number() { Some(&self.whole) } else { self.parts.get(&number) }
    }

    fn all_feeds(&self) -> impl Iterator<Item = &Feed> {
        std::iter::once(&self.whole).chain(self.parts.values())
    }

    /// What the feed of everything holds.
    pub(super) fn history(&self) -> History {
        self.whole.history()
    }

    /// Adds a feed that was made from an earlier look at [`Log::history`], unless somebody else was faster; gives the bytes
    /// that it takes.
    pub(super) fn insert_feed(&mut self, mut feed: Feed) -> u64 {
        if self.feed_of(feed.filter()).is_some() {
            return 0;
        }
        feed.catch_up(&self.whole.history(), &self.series.part(feed.filter(), feed.announced()));
        let bytes = feed.bytes();
        self.series.pass_all_to(feed.filter(), feed.number());
        self.parts.insert(feed.number(), feed);
        bytes
    }

    /// A viewer follows the feed of `filter`; that of everything where there is no such feed.
    pub(super) fn enter_feed(&mut self, filter: &Filter, viewer: u64, listener: Arc<dyn Listener>) -> &Feed {
        let feed = match self.parts.values_mut().find(|feed| feed.filter() == filter) {
            Some(part) => part,
            None => &mut self.whole,
        };
        feed.enter(viewer, listener);
        feed
    }

    /// A viewer no longer follows the feed of this number. The last one takes the feed of a part with it; gives the bytes freed.
    pub(super) fn leave_feed(&mut self, number: u32, viewer: u64) -> u64 {
        let Some(feed) = self.feed_mut(number) else { return 0 };
        feed.leave(viewer);
        if !feed.is_unwatched() {
            return 0;
        }
        let Some(part) = self.parts.remove(&number) else { return 0 };
        self.series.pass_no_more_to(number);
        part.bytes()
    }

    // === history ===

    pub(super) fn ring_bytes(&self) -> u64 {
        self.all_feeds().map(Feed::bytes).sum()
    }

    /// Whether there may be one more feed.
    pub(super) fn has_room_for_feed(&self) -> bool {
        self.parts.len() < FEEDS_MAX
    }

    /// Drops the oldest batch of the largest feed; gives the bytes freed.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        self.feeds_mut().max_by_key(|feed| feed.bytes()).map_or(0, Feed::evict_oldest)
    }

    /// Drops batches cut before `oldest_ns`; gives the bytes freed.
    pub(super) fn evict_older(&mut self, oldest_ns: u64) -> u64 {
        let oldest_ns = self.by_origin(oldest_ns);
        self.feeds_mut().map(|feed| feed.evict_older(oldest_ns)).sum()
    }

    /// Drops sums cut before `oldest_ns`; gives the bytes freed.
    pub(super) fn evict_sums(&mut self, oldest_ns: u64) -> u64 {
        let oldest_ns = self.by_origin(oldest_ns);
        self.feeds_mut().map(|feed| feed.evict_sums(oldest_ns)).sum()
    }

    /// Drops everything; gives the bytes freed.
    pub(super) fn evict_all(&mut self) -> u64 {
        self.feeds_mut().map(|feed| feed.evict_older(u64::MAX) + feed.evict_sums(u64::MAX)).sum()
    }

    /// Ten seconds of some feed's batches that were over before `oldest_ns`, and the feed's number.
    pub(super) fn due(&self, oldest_ns: u64) -> Option<(u32, Vec<Batch>)> {
        let oldest_ns = self.by_origin(oldest_ns);
        self.all_feeds().find_map(|feed| Some((feed.number(), feed.due(oldest_ns)?)))
    }

    /// The feed of this number, while it exists.
    pub(super) fn feed_mut(&mut self, number: u32) -> Option<&mut Feed> {
        if number == self.whole.number() { Some(&mut self.whole) } else { self.parts.get_mut(&number) }
    }

    fn feeds_mut(&mut self) -> impl Iterator<Item = &mut Feed> {
        std::iter::once(&mut self.whole).chain(self.parts.values_mut())
    }

    /// Whether nobody is connected, nobody watches, and nothing came since `since_ns`.
    pub(super) fn is_forgettable(&self, since_ns: u64) -> bool {
        let last_ns = self.workers.values().map(|worker| worker.since_ns).fold(self.heard_ns, u64::max);
        last_ns < since_ns
            && self.workers.values().all(|worker| worker.connections == 0)
            && self.parts.is_empty()
            && self.whole.is_unwatched()
    }

    // === workers ===

    pub(super) fn worker_joined(&mut self, name: &str, now_ns: u64, workers_max: usize) {
        if let Some(worker) = self.workers.get_mut(name) {
            if worker.connections == 0 {
                worker.returns += 1;
                worker.since_ns = now_ns;
            }
            worker.connections += 1;
            return;
        }
        if self.workers.len() >= workers_max {
            let gone = self.workers.iter().filter(|(_, worker)| worker.connections == 0);
            let Some(longest) = gone.min_by_key(|(_, worker)| worker.since_ns).map(|(name, _)| name.clone()) else {
                return;
            };
            self.workers.remove(&longest);
        }
        self.workers.insert(name.to_owned(), Worker { connections: 1, since_ns: now_ns, returns: 0 });
    }

    pub(super) fn worker_left(&mut self, name: &str, now_ns: u64) {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.connections = worker.connections.saturating_sub(1);
            if worker.connections == 0 {
                worker.since_ns = now_ns;
            }
        }
    }

    /// A frame was refused because of `name`. Says whether that name is new here.
    pub(super) fn refuse_name(&mut self, name: RefusedName, now_ns: u64) -> bool {
        self.refused_for_name += 1;
        self.heard_ns = now_ns;
        if self.refused_names.contains(&name) {
            return false;
        }
        if self.refused_names.len() >= REFUSED_NAMES_MAX {
            self.refused_names.pop_front();
        }
        self.refused_names.push_back(name);
        // The next sweep tells everybody. Names that keep changing must not make the catalogue change faster.
        self.told_ns = 0;
        true
    }

    /// Whether its line in the catalogue, told at `told_ns`, should be told again though nobody came or went.
    pub(super) fn is_entry_stale(&mut self, now_ns: u64) -> bool {
        let is_stale = self.heard_ns > self.told_ns && now_ns >= self.told_ns.saturating_add(ENTRY_NS);
        if is_stale {
            self.told_ns = now_ns;
        }
        is_stale
    }

    /// This application's line in the catalogue.
    ///
    /// The wall clock is ahead of the relay's own by `wall_step_ns`. A worker that agrees with it is right, and not named.
    pub(super) fn entry(&self, app: &str, wall_step_ns: i64) -> AppEntry {
        let worker = |(name, worker): (&String, &Worker)| {
            let offset =
                self.clocks.of(name).map(WorkerClock::offset).filter(|(offset_ns, _)| is_off(*offset_ns, wall_step_ns));
            let (offset_ns, offset_since_ns) = offset.unwrap_or_default();
            WorkerEntry {
                worker: name.clone(),
                connected: worker.connections > 0,
                since_ns: worker.since_ns,
                returns: worker.returns,
                offset_ns,
                offset_since_ns,
            }
        };
        AppEntry {
            app: app.to_owned(),
            workers: self.workers.iter().map(worker).collect(),
            series: u32::try_from(self.series.len()).unwrap_or(u32::MAX),
            heard_ns: self.heard_ns,
            late: self.late,
            limited: self.limited,
            refused_for_name: self.refused_for_name,
            refused_names: self.refused_names.iter().cloned().collect(),
        }
    }
}

/// Whether a worker with this offset disagrees with the relay's own clock and with its wall clock.
const fn is_off(offset_ns: i64, wall_step_ns: i64) -> bool {
    offset_ns != 0 && offset_ns.saturating_add(wall_step_ns).unsigned_abs() > WALL_TOLERANCE_NS
}
