//! One topic's feed: a ring buffer of batches, each encoded once when it is cut, and the rollups of evicted batches.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, ServerMessage, Update, UpdatesWriter};

use super::batch::{Batch, CutTime, EncodedUpdates, SPAN_NS};
use super::broadcast::{BroadcastQueue, NumberedBatch, Subscriber, Subscribers};
use super::rollup;
use super::series::{MatchingSeries, Names};
use crate::net::ws_frame::WsFrame;

/// Maximum time without a batch while the application has updates, in ns: 10 s. Then an empty batch states that no
/// update of the range matched, so that a viewer that reconnects later does not report a gap.
pub(super) const EMPTY_BATCH_INTERVAL_NS: u64 = 10_000_000_000;

/// Feed of one topic of one application.
#[derive(Debug)]
pub(super) struct Feed {
    number: u32,
    filter: Filter,
    ring: VecDeque<Batch>,
    /// Rollups of evicted batches and of some batches that are still in the ring, in order and without overlaps.
    rollups: VecDeque<Batch>,
    /// Whether `rollups` reach back as far as those of the whole application.
    has_old_rollups: bool,
    /// Sequence number after the last one that a batch covers.
    next: u64,
    /// When the last batch was cut.
    last_cut_ns: u64,
    /// When the relay received the current data from another relay. 0 for our own logs.
    received_ns: u64,
    /// Number of the log's series that had been added at the last announcement of matching series.
    announced: u64,
    bytes: u64,
    subscribers: Subscribers,
    broadcasts: Arc<BroadcastQueue>,
}

/// Snapshot of the messages in a feed.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// First sequence number in the batches, or the next number if there are none.
    oldest: u64,
    batches: Vec<Batch>,
    rollups: Vec<Batch>,
}

/// The next message for a viewer.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// This message.
    Message(&'a Batch),
    /// The rollup of these batches, which does not exist yet.
    MissingRollup(Vec<Batch>),
    /// The viewer is up to date.
    Nothing,
}

impl Feed {
    /// Creates an empty feed that starts at the log's first number.
    pub(super) fn new(number: u32, filter: Filter, broadcasts: Arc<BroadcastQueue>) -> Self {
        Self {
            number,
            has_old_rollups: matches!(filter, Filter::All),
            filter,
            ring: VecDeque::new(),
            rollups: VecDeque::new(),
            next: 1,
            last_cut_ns: 0,
            received_ns: 0,
            announced: 0,
            bytes: 0,
            subscribers: Subscribers::default(),
            broadcasts,
        }
    }

    /// Creates a filtered feed of an application and fills it with the matching history of `whole`.
    pub(super) fn filtered(
        number: u32,
        filter: Filter,
        broadcasts: Arc<BroadcastQueue>,
        whole: &History,
        matching: &MatchingSeries,
    ) -> Self {
        let mut feed = Self::new(number, filter, broadcasts);
        // A new subscriber receives all series names so far.
        feed.announced = matching.names.added;
        let is_whole = whole.batches.is_sorted_by(|a, b| a.to + 1 == b.from);
        if !matching.is_empty() || !is_whole {
            feed.catch_up(whole, matching);
        } else if let Some(last) = whole.batches.last() {
            // No update can match, so decoding the history is unnecessary.
            feed.next = whole.oldest;
            feed.cut_empty(Names::default(), last.to, last.cut_ns);
        }
        feed
    }

    /// Appends the updates of `whole`, the history of the whole application, that this feed does not have yet.
    pub(super) fn catch_up(&mut self, whole: &History, matching: &MatchingSeries) {
        if self.ring.is_empty() {
            // The part must not claim to cover numbers that the whole feed has evicted.
            self.next = self.next.max(whole.oldest);
        }
        let next = self.next;
        let mut before: Option<&Batch> = None;
        for batch in whole.batches.iter().filter(|batch| batch.to >= next) {
            if let Some(before) = before.replace(batch).filter(|before| before.to + 1 < batch.from) {
                // Between these two batches there are rollups or a gap.
                self.cut_empty(matching.names.clone(), before.to, before.cut_ns);
                let is_between = |rollup: &&Batch| rollup.from > before.to && rollup.to < batch.from;
                let between = whole.rollups.iter().filter(is_between);
                let between: Vec<Batch> = between
                    .filter_map(|rollup| rollup::part_of(self.number, rollup, |number| matching.contains(number)))
                    .collect();
                for rollup in between {
                    self.append_rollup(rollup);
                }
                self.skip_to(batch.from);
            }
            if let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&batch.frame) {
                let updates: Vec<Update> = head.read(updates).filter_map(Result::ok).collect();
                let updates: Vec<&Update> = updates.iter().filter(|update| matching.contains(update.series)).collect();
                if !updates.is_empty() || self.is_empty_batch_due(head.cut_ns) {
                    let cut = CutTime::of_history(head.cut_ns);
                    self.cut(updates.into_iter(), matching.names.clone(), head.to, cut);
                }
            }
        }
        if let Some(last) = whole.batches.last() {
            // Cover the history up to its end, so that it is not scanned again.
            self.cut_empty(matching.names.clone(), last.to, last.cut_ns);
        }
    }

    /// Cuts an empty batch up to number `to`: no further update of that range matches. Does nothing if the range is
    /// already covered.
    pub(super) fn cut_empty(&mut self, names: Names, to: u64, cut_ns: u64) -> u64 {
        if self.next > to {
            return 0;
        }
        self.cut(std::iter::empty(), names, to, CutTime::of_history(cut_ns.max(EMPTY_BATCH_INTERVAL_NS)))
    }

    /// Whether the last batch is so old that an empty batch is due.
    pub(super) const fn is_empty_batch_due(&self, cut_ns: u64) -> bool {
        cut_ns >= self.last_cut_ns.saturating_add(EMPTY_BATCH_INTERVAL_NS)
    }

    /// Encodes `updates`, which all match, as one batch that covers everything up to `to`, and notifies the viewers.
    /// The batch also contains the series in `names` that have not been announced yet. Returns its size in bytes.
    pub(super) fn cut<'a>(
        &mut self,
        updates: impl Iterator<Item = &'a Update>,
        names: Names,
        to: u64,
        at: CutTime,
    ) -> u64 {
        let mut updates = updates.peekable();
        let (end_ns, period_ns) = updates.peek().map_or((0, 0), |first| (first.end_ns, first.period_ns));
        let mut writer = UpdatesWriter::default();
        writer.begin(self.next, end_ns, period_ns);
        updates.for_each(|update| writer.push(update));
        self.cut_encoded(&EncodedUpdates { end_ns, period_ns, updates: writer.finish() }, names, to, at)
    }

    /// Like [`Feed::cut`], for updates that are already encoded.
    pub(super) fn cut_encoded(&mut self, encoded: &EncodedUpdates<'_>, names: Names, to: u64, at: CutTime) -> u64 {
        let &EncodedUpdates { end_ns, period_ns, updates } = encoded;
        let CutTime { ns: cut_ns, received_ns } = at;
        let has_new_names = names.added > self.announced;
        self.announced = self.announced.max(names.added);
        let series = if has_new_names { names.entries } else { Vec::new() };
        let (feed, from) = (self.number, self.next);
        let head = BatchHead { feed, from, to, cut_ns, end_ns, period_ns, series };
        let frame = WsFrame::new(&ServerMessage::Batch { head, updates }.encode());
        self.broadcasts.enqueue(feed, &self.subscribers, NumberedBatch { from, to, received_ns, frame: frame.clone() });
        let batch = Batch { from, to, cut_ns, received_ns: cut_ns.max(self.received_ns), frame };
        let cost = batch.cost();
        self.ring.push_back(batch);
        self.last_cut_ns = cut_ns;
        self.next = to + 1;
        self.bytes += cost;
        cost
    }

    /// Moves the times of all messages back by `ns`.
    pub(super) fn shift_back(&mut self, ns: u64) {
        for message in self.ring.iter_mut().chain(&mut self.rollups) {
            message.cut_ns = message.cut_ns.saturating_sub(ns);
            message.received_ns = message.received_ns.saturating_sub(ns);
        }
        self.last_cut_ns = self.last_cut_ns.saturating_sub(ns);
    }

    /// Updates of the newest batch.
    pub(super) fn last_batch(&self) -> Vec<Update> {
        match self.ring.back().map(|batch| ServerMessage::decode(&batch.frame)) {
            Some(Ok(ServerMessage::Batch { head, updates })) => head.read(updates).filter_map(Result::ok).collect(),
            _ => Vec::new(),
        }
    }

    /// Number of this feed in the relay.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Number of the log's series that had been added at the last announcement.
    pub(super) const fn announced(&self) -> u64 {
        self.announced
    }

    /// Filter of this feed.
    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// First number of the stored batches, or the next number if there are none.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.next, |batch| batch.from)
    }

    /// First number that a stored batch or rollup covers.
    pub(super) fn oldest_with_rollups(&self) -> u64 {
        self.rollups.front().map_or(u64::MAX, |rollup| rollup.from).min(self.oldest())
    }

    /// First number at or after `requested` that a viewer can start with. A viewer can start inside a batch, because each
    /// update has a sequence number, but not inside a rollup.
    pub(super) fn first_readable(&self, requested: u64) -> u64 {
        let at = self.ring.partition_point(|batch| batch.to < requested);
        let single = self.ring.get(at).map_or(self.next, |batch| batch.from);
        let at = self.rollups.partition_point(|rollup| rollup.from < requested);
        let rollup = self.rollups.get(at).map_or(u64::MAX, |rollup| rollup.from);
        single.min(rollup).max(requested)
    }

    /// Start position that includes every stored message cut since `since_ns`.
    pub(super) fn position_since(&self, since_ns: u64) -> u64 {
        let first_of = |messages: &VecDeque<Batch>| {
            messages
                .get(messages.partition_point(|message| message.cut_ns < since_ns))
                .map_or(self.next, |message| message.from)
        };
        first_of(&self.ring).min(first_of(&self.rollups))
    }

    /// Last number that a batch covers.
    pub(super) const fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Snapshot of all stored batches and rollups.
    pub(super) fn history(&self) -> History {
        let (batches, rollups) = (self.ring.iter().cloned().collect(), self.rollups.iter().cloned().collect());
        History { oldest: self.oldest(), batches, rollups }
    }

    /// Next message for a viewer at `position`, usually a batch. It is a rollup if the batch has been evicted. It is
    /// also a rollup if `position` starts a ten-second span and its batch has been readable since before `late_ns`.
    pub(super) fn next_message(&self, position: u64, late_ns: u64) -> Next<'_> {
        let at = self.ring.partition_point(|batch| batch.to < position);
        let Some(batch) = self.ring.get(at).filter(|batch| batch.from <= position) else {
            return self.rollup_from(position).map_or(Next::Nothing, Next::Message);
        };
        let before = at.checked_sub(1).and_then(|before| self.ring.get(before));
        let begins_span = before.is_none_or(|before| !before.continues_in(batch));
        if batch.received_ns >= late_ns || batch.from != position || !begins_span {
            return Next::Message(batch);
        }
        match self.rollup_from(position) {
            Some(rollup) => Next::Message(rollup),
            None => Next::MissingRollup(self.batches_of_span(at)),
        }
    }

    /// The rollup that starts with number `from`, if it exists.
    pub(super) fn rollup_from(&self, from: u64) -> Option<&Batch> {
        let at = self.rollups.partition_point(|rollup| rollup.from < from);
        self.rollups.get(at).filter(|rollup| rollup.from == from)
    }

    /// The batch at index `at` and its direct successors in the same ten-second span.
    fn batches_of_span(&self, at: usize) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for batch in self.ring.range(at..) {
            if batches.last().is_some_and(|last| !last.continues_in(batch)) {
                break;
            }
            batches.push(batch.clone());
        }
        batches
    }

    /// Whether the feed has never contained anything.
    pub(super) fn is_unused(&self) -> bool {
        self.next == 1 && self.ring.is_empty()
    }

    /// Moves the next number forward to `next` and notifies the viewers. The numbers in between become a gap
    /// unless a rollup covers them.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.subscribers.iter().for_each(|(_, subscriber)| subscriber.notify_feed(self.number));
    }

    /// Appends a rollup whose batches are not available. Returns its size in bytes.
    pub(super) fn append_rollup(&mut self, rollup: Batch) -> u64 {
        let (to, cut_ns) = (rollup.to, rollup.cut_ns);
        let bytes = self.insert_rollups(vec![rollup]);
        self.last_cut_ns = cut_ns;
        self.skip_to(to + 1);
        bytes
    }

    /// Sets the receive time of data that is appended from now on, regardless of when it was cut.
    pub(super) const fn set_received_at(&mut self, now_ns: u64) {
        self.received_ns = now_ns;
    }

    /// Message of the newest batch.
    pub(super) fn newest_message(&self) -> Option<Bytes> {
        self.ring.back().map(|batch| batch.frame.message())
    }

    /// All messages from number `position` on, in order.
    pub(super) fn messages_from(&self, mut position: u64) -> Vec<Bytes> {
        let mut messages = Vec::new();
        loop {
            position = self.first_readable(position);
            let Next::Message(message) = self.next_message(position, 0) else { return messages };
            position = message.to + 1;
            messages.push(message.frame.message());
        }
    }

    /// Stores `rollups` of this feed's batches. Skips rollups that another thread has already stored. Returns the bytes
    /// added.
    pub(super) fn insert_rollups(&mut self, rollups: Vec<Batch>) -> u64 {
        let mut bytes = 0;
        for rollup in rollups {
            let at = self.rollups.partition_point(|other| other.to < rollup.from);
            if self.rollups.get(at).is_none_or(|other| other.from > rollup.to) {
                bytes += rollup.cost();
                self.rollups.insert(at, rollup);
            }
        }
        self.bytes += bytes;
        bytes
    }

    /// Whether the oldest batch was cut after `since_ns`.
    pub(super) fn starts_after(&self, since_ns: u64) -> bool {
        self.ring.front().is_none_or(|batch| batch.cut_ns > since_ns)
    }

    /// Whether the rollups from before the feed's creation are missing.
    pub(super) const fn lacks_old_rollups(&self) -> bool {
        !self.has_old_rollups
    }

    /// The matching part of the rollups of `whole` that end before its batches start.
    pub(super) fn old_rollups(number: u32, whole: &History, matching: &MatchingSeries) -> Vec<Batch> {
        let old = whole.rollups.iter().filter(|rollup| rollup.to < whole.oldest);
        old.filter_map(|rollup| rollup::part_of(number, rollup, |series| matching.contains(series))).collect()
    }

    /// Stores the result of [`Feed::old_rollups`]. Returns the bytes added.
    pub(super) fn insert_old_rollups(&mut self, rollups: Vec<Batch>) -> u64 {
        self.has_old_rollups = true;
        let oldest = self.oldest();
        self.insert_rollups(rollups.into_iter().filter(|rollup| rollup.to < oldest).collect())
    }

    /// Batches of the oldest ten-second span, if that span ended before `oldest_ns`.
    pub(super) fn batches_to_roll_up(&self, oldest_ns: u64) -> Option<Vec<Batch>> {
        let span = self.ring.front()?.span();
        ((span + 1).saturating_mul(SPAN_NS) <= oldest_ns).then(|| self.batches_of_span(0))
    }

    /// Drops batches up to number `through`. Returns the bytes freed.
    pub(super) fn evict_through(&mut self, through: u64) -> u64 {
        let freed = drop_front(&mut self.ring, |batch| batch.to <= through);
        self.bytes -= freed;
        freed
    }

    /// Drops the oldest rollup, or the oldest batch if there are no rollups. Returns the bytes freed; 0 if the feed is
    /// empty.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        let oldest = self.rollups.pop_front().or_else(|| self.ring.pop_front());
        let freed = oldest.map_or(0, |message| message.cost());
        self.bytes -= freed;
        freed
    }

    /// Drops batches cut before `oldest_ns`. Returns the bytes freed.
    pub(super) fn evict_older(&mut self, oldest_ns: u64) -> u64 {
        let freed = drop_front(&mut self.ring, |batch| batch.cut_ns < oldest_ns);
        self.bytes -= freed;
        freed
    }

    /// Drops rollups cut before `oldest_ns`. Returns the bytes freed.
    pub(super) fn evict_rollups(&mut self, oldest_ns: u64) -> u64 {
        let freed = drop_front(&mut self.rollups, |rollup| rollup.cut_ns < oldest_ns);
        self.bytes -= freed;
        freed
    }

    /// Accounted size in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a subscription of `viewer`.
    pub(super) fn add_subscriber(&mut self, viewer: u64, subscriber: Arc<dyn Subscriber>) {
        Arc::make_mut(&mut self.subscribers).push((viewer, subscriber));
    }

    /// Removes one subscription of `viewer`.
    pub(super) fn remove_subscriber(&mut self, viewer: u64) {
        if let Some(at) = self.subscribers.iter().position(|(number, _)| *number == viewer) {
            Arc::make_mut(&mut self.subscribers).swap_remove(at);
        }
    }

    /// Whether the feed has no subscribers.
    pub(super) fn has_no_subscribers(&self) -> bool {
        self.subscribers.is_empty()
    }
}

/// Drops messages from the front while `should_drop` holds. Returns the bytes freed.
fn drop_front(messages: &mut VecDeque<Batch>, should_drop: impl Fn(&Batch) -> bool) -> u64 {
    let mut freed = 0;
    while let Some(message) = messages.pop_front_if(|message| should_drop(message)) {
        freed += message.cost();
    }
    freed
}
