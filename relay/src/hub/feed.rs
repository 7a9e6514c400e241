//! One topic's ring: the batches that its viewers get, each encoded once when it is cut.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, SeriesEntry, ServerMessage, Update, UpdatesWriter};
use tokio::sync::Notify;

/// How long a feed may go without a batch while its application has updates, in ns: 10 s. Then an empty one says that the
/// numbers since did not pass, so that a viewer that comes back later is not told that it missed them.
const COVER_NS: u64 = 10_000_000_000;

/// What a batch costs beyond its bytes.
const BATCH_OVERHEAD: u64 = 64;

/// The ring of one topic of one application.
#[derive(Debug)]
pub(super) struct Feed {
    number: u32,
    filter: Filter,
    ring: VecDeque<Batch>,
    /// The number after the last one that any batch covered.
    next: u64,
    /// When the last batch was cut.
    covered_ns: u64,
    /// For each of the log's series, whether its updates pass.
    admitted: Vec<bool>,
    /// How many of them were announced in some batch, as far as they pass.
    announced: usize,
    bytes: u64,
    viewers: Vec<(u64, Arc<Notify>)>,
}

/// One message as it goes over every socket.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    from: u64,
    to: u64,
    cut_ns: u64,
    bytes: Bytes,
}

/// What a feed holds at one moment.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The first number held, or the next one when nothing is.
    oldest: u64,
    batches: Vec<Batch>,
}

impl Feed {
    /// An empty feed from the log's first number on.
    pub(super) const fn new(number: u32, filter: Filter) -> Self {
        Self {
            number,
            filter,
            ring: VecDeque::new(),
            next: 1,
            covered_ns: 0,
            admitted: Vec::new(),
            announced: 0,
            bytes: 0,
            viewers: Vec::new(),
        }
    }

    /// The feed of a part of an application, with the history that `whole` holds.
    pub(super) fn filtered(number: u32, filter: Filter, whole: &History, series: &[SeriesEntry]) -> Self {
        let mut feed = Self::new(number, filter);
        // Whoever subscribes has just been told the names so far.
        feed.announced = series.len();
        feed.catch_up(whole, series);
        feed
    }

    /// Takes over what `whole`, the history of the whole application, holds beyond this feed.
    pub(super) fn catch_up(&mut self, whole: &History, series: &[SeriesEntry]) {
        if self.ring.is_empty() {
            // What the whole no longer holds, its part does not hold either, and must not claim to.
            self.next = self.next.max(whole.oldest);
        }
        let next = self.next;
        for batch in whole.batches.iter().filter(|batch| batch.to >= next) {
            if let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&batch.bytes) {
                let updates: Vec<Update> = head.read(updates).filter_map(Result::ok).collect();
                self.cut(&updates, series, head.to, head.cut_ns);
            }
        }
        if let Some(last) = whole.batches.last().filter(|last| last.to >= self.next) {
            // Looked through to the end, so that nobody has to do it again.
            self.covered_ns = 0;
            self.cut(&[], series, last.to, last.cut_ns.max(COVER_NS));
        }
    }

    /// Encodes those of `updates` that pass as one batch that covers everything up to `to`, and wakes the viewers. Where none
    /// passes there is a batch only once in a while. Gives the bytes that it takes.
    pub(super) fn cut(&mut self, updates: &[Update], series: &[SeriesEntry], to: u64, cut_ns: u64) -> u64 {
        let passes = series[self.admitted.len()..].iter().map(|entry| self.filter.admits(&entry.key));
        self.admitted.extend(passes);
        let passed = |update: &&Update| self.admitted.get(update.series as usize).copied().unwrap_or(false);
        let first = updates.iter().find(passed);
        if first.is_none() && cut_ns < self.covered_ns.saturating_add(COVER_NS) {
            return 0;
        }
        let (end_ns, period_ns) = first.map_or((0, 0), |first| (first.end_ns, first.period_ns));
        let new = series.iter().zip(&self.admitted).skip(self.announced);
        let head = BatchHead {
            feed: self.number,
            from: self.next,
            to,
            cut_ns,
            end_ns,
            period_ns,
            series: new.filter(|&(_, &admitted)| admitted).map(|(entry, _)| entry.clone()).collect(),
        };
        let mut writer = UpdatesWriter::new(&head);
        updates.iter().filter(passed).for_each(|update| writer.push(update));
        let (from, to) = (head.from, head.to);
        let bytes = Bytes::from(ServerMessage::Batch { head, updates: writer.finish() }.encode());
        let cost = bytes.len() as u64 + BATCH_OVERHEAD;
        self.ring.push_back(Batch { from, to, cut_ns, bytes });
        self.announced = series.len();
        self.covered_ns = cut_ns;
        self.next = to + 1;
        self.bytes += cost;
        self.viewers.iter().for_each(|(_, wake)| wake.notify_one());
        cost
    }

    /// The relay's number for this feed.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// What passes.
    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The first number that is still held, or the next one when nothing is.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.next, |batch| batch.from)
    }

    /// The last number that any batch covered.
    pub(super) const fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Everything held.
    pub(super) fn history(&self) -> History {
        History { oldest: self.oldest(), batches: self.ring.iter().cloned().collect() }
    }

    /// Up to `batches_max` messages that reach to `next` or beyond; moves `next` past them.
    pub(super) fn after(&self, from: u64, batches_max: usize, next: &mut u64) -> Vec<Bytes> {
        let at = self.ring.partition_point(|batch| batch.to < from);
        let batches = self.ring.range(at..).take(batches_max);
        batches
            .map(|batch| {
                *next = batch.to + 1;
                batch.bytes.clone()
            })
            .collect()
    }

    /// Drops the oldest batch; gives the bytes freed, 0 when there was none.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        let freed = self.ring.pop_front().map_or(0, |batch| batch.bytes.len() as u64 + BATCH_OVERHEAD);
        self.bytes -= freed;
        freed
    }

    /// Drops batches cut before `oldest_ns`; gives the bytes freed.
    pub(super) fn evict_older(&mut self, oldest_ns: u64) -> u64 {
        let mut freed = 0;
        while self.ring.front().is_some_and(|batch| batch.cut_ns < oldest_ns) {
            freed += self.evict_oldest();
        }
        freed
    }

    /// Bytes held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A viewer follows this feed.
    pub(super) fn enter(&mut self, viewer: u64, wake: Arc<Notify>) {
        self.viewers.push((viewer, wake));
    }

    /// One subscription of this viewer has ended.
    pub(super) fn leave(&mut self, viewer: u64) {
        if let Some(at) = self.viewers.iter().position(|(number, _)| *number == viewer) {
            self.viewers.swap_remove(at);
        }
    }

    /// Whether nobody follows this feed.
    pub(super) const fn is_unwatched(&self) -> bool {
        self.viewers.is_empty()
    }
}
