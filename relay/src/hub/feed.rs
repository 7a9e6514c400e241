//! One topic's ring: the batches that its viewers get, each encoded once when it is cut, and the sums of those that are gone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use joey_shared::series::Filter;
use joey_shared::wire::{BatchHead, ServerMessage, Update, UpdatesWriter};

use super::batch::{Batch, SPAN_NS, Written};
use super::broadcast::{Audience, Listener, Piece, Rounds};
use super::rollup;
use super::series::{Names, Part};
use crate::net::ws_frame::WsFrame;

/// How long a feed may go without a batch while its application has updates, in ns: 10 s. Then an empty one says that the
/// numbers since did not pass, so that a viewer that comes back later is not told that it missed them.
pub(super) const COVER_NS: u64 = 10_000_000_000;

/// The ring of one topic of one application.
#[derive(Debug)]
pub(super) struct Feed {
    number: u32,
    filter: Filter,
    ring: VecDeque<Batch>,
    /// Sums of batches that have left the ring, and of some that are still in it, in order and apart from one another.
    sums: VecDeque<Batch>,
    /// Whether `sums` reach as far back as those of the whole application.
    has_past: bool,
    /// The number after the last one that any batch covered.
    next: u64,
    /// When the last batch was cut.
    covered_ns: u64,
    /// When what is taken from another relay has come.
    came_ns: u64,
    /// How many of the log's series had been added when this feed last announced those that pass.
    announced: u64,
    bytes: u64,
    audience: Audience,
    rounds: Arc<Rounds>,
}

/// What a feed holds at one moment.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The first number held, or the next one when nothing is.
    oldest: u64,
    batches: Vec<Batch>,
    sums: Vec<Batch>,
}

/// What comes next for a viewer.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// This message.
    Piece(&'a Batch),
    /// The sum of these, which is not made yet.
    SumOf(Vec<Batch>),
    /// It has everything.
    Nothing,
}

impl Feed {
    /// An empty feed from the log's first number on.
    pub(super) fn new(number: u32, filter: Filter, rounds: Arc<Rounds>) -> Self {
        Self {
            number,
            has_past: matches!(filter, Filter::All),
            filter,
            ring: VecDeque::new(),
            sums: VecDeque::new(),
            next: 1,
            covered_ns: 0,
            came_ns: 0,
            announced: 0,
            bytes: 0,
            audience: Audience::default(),
            rounds,
        }
    }

    /// The feed of a part of an application, with the history that `whole` holds.
    pub(super) fn filtered(number: u32, filter: Filter, rounds: Arc<Rounds>, whole: &History, part: &Part) -> Self {
        let mut feed = Self::new(number, filter, rounds);
        // Whoever subscribes is told the names so far.
        feed.announced = part.names.added;
        let is_whole = whole.batches.is_sorted_by(|a, b| a.to + 1 == b.from);
        if !part.is_empty() || !is_whole {
            feed.catch_up(whole, part);
        } else if let Some(last) = whole.batches.last() {
            // Nothing of it can pass, and nobody needs to look.
            feed.next = whole.oldest;
            feed.cover(Names::default(), last.to, last.cut_ns);
        }
        feed
    }

    /// Takes over what `whole`, the history of the whole application, holds beyond this feed.
    pub(super) fn catch_up(&mut self, whole: &History, part: &Part) {
        if self.ring.is_empty() {
            // What the whole no longer holds, its part does not hold either, and must not claim to.
            self.next = self.next.max(whole.oldest);
        }
        let next = self.next;
        let mut before: Option<&Batch> = None;
        for batch in whole.batches.iter().filter(|batch| batch.to >= next) {
            if let Some(before) = before.replace(batch).filter(|before| before.to + 1 < batch.from) {
                // Between them there are sums, or nothing any more.
                self.cover(part.names.clone(), before.to, before.cut_ns);
                let is_between = |sum: &&Batch| sum.from > before.to && sum.to < batch.from;
                let between = whole.sums.iter().filter(is_between);
                let between: Vec<Batch> =
                    between.filter_map(|sum| rollup::part_of(self.number, sum, |number| part.passes(number))).collect();
                for sum in between {
                    self.append_sum(sum);
                }
                self.skip_to(batch.from);
            }
            if let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&batch.frame) {
                let updates: Vec<Update> = head.read(updates).filter_map(Result::ok).collect();
                let passing: Vec<&Update> = updates.iter().filter(|update| part.passes(update.series)).collect();
                if !passing.is_empty() || self.is_cover_due(head.cut_ns) {
                    self.cut(passing.into_iter(), part.names.clone(), head.to, head.cut_ns);
                }
            }
        }
        if let Some(last) = whole.batches.last() {
            // Looked through to the end, so that nobody has to do it again.
            self.cover(part.names.clone(), last.to, last.cut_ns);
        }
    }

    /// Says that nothing up to number `to` passed that was not given, unless that was said.
    pub(super) fn cover(&mut self, names: Names, to: u64, cut_ns: u64) -> u64 {
        if self.next > to {
            return 0;
        }
        self.cut(std::iter::empty(), names, to, cut_ns.max(COVER_NS))
    }

    /// Whether nothing has been said for so long that a batch is due although nothing passes.
    pub(super) const fn is_cover_due(&self, cut_ns: u64) -> bool {
        cut_ns >= self.covered_ns.saturating_add(COVER_NS)
    }

    /// Encodes `updates`, all of which pass, as one batch that covers everything up to `to`, and tells the viewers, with those of
    /// `names` that were not announced. Gives the bytes that it takes.
    pub(super) fn cut<'a>(
        &mut self,
        updates: impl Iterator<Item = &'a Update>,
        names: Names,
        to: u64,
        cut_ns: u64,
    ) -> u64 {
        let mut updates = updates.peekable();
        let (end_ns, period_ns) = updates.peek().map_or((0, 0), |first| (first.end_ns, first.period_ns));
        let mut writer = UpdatesWriter::default();
        writer.begin(self.next, end_ns, period_ns);
        updates.for_each(|update| writer.push(update));
        self.cut_written(&Written { end_ns, period_ns, updates: writer.finish() }, names, to, cut_ns)
    }

    /// As [`Feed::cut`], of updates that are encoded already.
    pub(super) fn cut_written(&mut self, written: &Written<'_>, names: Names, to: u64, cut_ns: u64) -> u64 {
        let &Written { end_ns, period_ns, updates } = written;
        let is_new = names.added > self.announced;
        self.announced = self.announced.max(names.added);
        let new = if is_new { names.entries } else { Vec::new() };
        let (feed, from) = (self.number, self.next);
        let head = BatchHead { feed, from, to, cut_ns, end_ns, period_ns, series: new };
        let frame = WsFrame::new(&ServerMessage::Batch { head, updates }.encode());
        self.rounds.announce(feed, &self.audience, Piece { from, to, frame: frame.clone() });
        let batch = Batch { from, to, cut_ns, came_ns: cut_ns.max(self.came_ns), frame };
        let cost = batch.cost();
        self.ring.push_back(batch);
        self.covered_ns = cut_ns;
        self.next = to + 1;
        self.bytes += cost;
        cost
    }

    /// The updates of the newest batch.
    pub(super) fn last_batch(&self) -> Vec<Update> {
        match self.ring.back().map(|batch| ServerMessage::decode(&batch.frame)) {
            Some(Ok(ServerMessage::Batch { head, updates })) => head.read(updates).filter_map(Result::ok).collect(),
            _ => Vec::new(),
        }
    }

    /// The relay's number for this feed.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// How many of the log's series had been added when it last announced those that pass.
    pub(super) const fn announced(&self) -> u64 {
        self.announced
    }

    /// What passes.
    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The first number of the batches held, or the next one when there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.ring.front().map_or(self.next, |batch| batch.from)
    }

    /// The first number that anything held covers, sums as well.
    pub(super) fn oldest_of_all(&self) -> u64 {
        self.sums.front().map_or(u64::MAX, |sum| sum.from).min(self.oldest())
    }

    /// The first number from `wanted` on that a viewer can begin with. It can begin inside a batch, since updates have their
    /// stamps, but not inside a sum.
    pub(super) fn begin(&self, wanted: u64) -> u64 {
        let at = self.ring.partition_point(|batch| batch.to < wanted);
        let single = self.ring.get(at).map_or(self.next, |batch| batch.from);
        let at = self.sums.partition_point(|sum| sum.from < wanted);
        let sum = self.sums.get(at).map_or(u64::MAX, |sum| sum.from);
        single.min(sum).max(wanted)
    }

    /// Where to begin so that nothing cut since `since_ns` is left out, as far as it is held.
    pub(super) fn since(&self, since_ns: u64) -> u64 {
        let first_of = |pieces: &VecDeque<Batch>| {
            pieces.get(pieces.partition_point(|piece| piece.cut_ns < since_ns)).map_or(self.next, |piece| piece.from)
        };
        first_of(&self.ring).min(first_of(&self.sums))
    }

    /// The last number that any batch covered.
    pub(super) const fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Everything held.
    pub(super) fn history(&self) -> History {
        let (batches, sums) = (self.ring.iter().cloned().collect(), self.sums.iter().cloned().collect());
        History { oldest: self.oldest(), batches, sums }
    }

    /// What follows for a viewer that has everything before `position`: a batch; or a sum where the batch is gone, or has been
    /// here since before `late_ns` and the viewer stands where ten seconds begin.
    pub(super) fn piece(&self, position: u64, late_ns: u64) -> Next<'_> {
        let at = self.ring.partition_point(|batch| batch.to < position);
        let Some(batch) = self.ring.get(at).filter(|batch| batch.from <= position) else {
            return self.sum_from(position).map_or(Next::Nothing, Next::Piece);
        };
        let before = at.checked_sub(1).and_then(|before| self.ring.get(before));
        let begins_span = before.is_none_or(|before| !before.goes_on_in(batch));
        if batch.came_ns >= late_ns || batch.from != position || !begins_span {
            return Next::Piece(batch);
        }
        match self.sum_from(position) {
            Some(sum) => Next::Piece(sum),
            None => Next::SumOf(self.span_at(at)),
        }
    }

    /// The sum that begins with number `from`, where there is one.
    pub(super) fn sum_from(&self, from: u64) -> Option<&Batch> {
        let at = self.sums.partition_point(|sum| sum.from < from);
        self.sums.get(at).filter(|sum| sum.from == from)
    }

    /// The batch at `at` and those after it of the same ten seconds, as far as nothing is missing between them.
    fn span_at(&self, at: usize) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for batch in self.ring.range(at..) {
            if batches.last().is_some_and(|last| !last.goes_on_in(batch)) {
                break;
            }
            batches.push(batch.clone());
        }
        batches
    }

    /// Whether it has never held anything.
    pub(super) fn is_blank(&self) -> bool {
        self.next == 1 && self.ring.is_empty()
    }

    /// Goes on at number `next`, whatever lies between.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.audience.iter().for_each(|(_, listener)| listener.news(self.number));
    }

    /// Appends the sum of what follows, where its batches are gone; gives the bytes that it takes.
    pub(super) fn append_sum(&mut self, sum: Batch) -> u64 {
        let (to, cut_ns) = (sum.to, sum.cut_ns);
        let taken = self.insert_sums(vec![sum]);
        self.covered_ns = cut_ns;
        self.skip_to(to + 1);
        taken
    }

    /// What is appended from now on has come at `now_ns`, whenever it was cut.
    pub(super) const fn comes_at(&mut self, now_ns: u64) {
        self.came_ns = now_ns;
    }

    /// The bytes of the newest batch.
    pub(super) fn newest_bytes(&self) -> Option<Bytes> {
        self.ring.back().map(|batch| batch.frame.message())
    }

    /// Everything from number `position` on, in order.
    pub(super) fn pieces_from(&self, mut position: u64) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        loop {
            position = self.begin(position);
            let Next::Piece(piece) = self.piece(position, 0) else { return pieces };
            position = piece.to + 1;
            pieces.push(piece.frame.message());
        }
    }

    /// Keeps `sums` of batches of this feed, unless somebody else was faster; gives the bytes that they take.
    pub(super) fn insert_sums(&mut self, sums: Vec<Batch>) -> u64 {
        let mut taken = 0;
        for sum in sums {
            let at = self.sums.partition_point(|known| known.to < sum.from);
            if self.sums.get(at).is_none_or(|known| known.from > sum.to) {
                taken += sum.cost();
                self.sums.insert(at, sum);
            }
        }
        self.bytes += taken;
        taken
    }

    /// Whether its oldest batch was cut after `since_ns`.
    pub(super) fn is_younger_than(&self, since_ns: u64) -> bool {
        self.ring.front().is_none_or(|batch| batch.cut_ns > since_ns)
    }

    /// Whether it lacks the sums of the time before it was first watched.
    pub(super) const fn lacks_past(&self) -> bool {
        !self.has_past
    }

    /// The sums that `whole` holds from before its batches, as far as they pass.
    pub(super) fn past_of(number: u32, whole: &History, part: &Part) -> Vec<Batch> {
        let past = whole.sums.iter().filter(|sum| sum.to < whole.oldest);
        past.filter_map(|sum| rollup::part_of(number, sum, |series| part.passes(series))).collect()
    }

    /// Takes over the sums of [`Feed::past_of`]; gives the bytes that they take.
    pub(super) fn insert_past(&mut self, sums: Vec<Batch>) -> u64 {
        self.has_past = true;
        let oldest = self.oldest();
        self.insert_sums(sums.into_iter().filter(|sum| sum.to < oldest).collect())
    }

    /// The oldest ten seconds of batches, if all of them were over before `oldest_ns`.
    pub(super) fn due(&self, oldest_ns: u64) -> Option<Vec<Batch>> {
        let span = self.ring.front()?.span();
        ((span + 1).saturating_mul(SPAN_NS) <= oldest_ns).then(|| self.span_at(0))
    }

    /// Drops batches up to number `through`; gives the bytes freed.
    pub(super) fn evict_through(&mut self, through: u64) -> u64 {
        let freed = drop_front(&mut self.ring, |batch| batch.to <= through);
        self.bytes -= freed;
        freed
    }

    /// Drops the oldest sum, or the oldest batch where there is no sum; gives the bytes freed, 0 when there was nothing.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        let oldest = self.sums.pop_front().or_else(|| self.ring.pop_front());
        let freed = oldest.map_or(0, |piece| piece.cost());
        self.bytes -= freed;
        freed
    }

    /// Drops batches cut before `oldest_ns`; gives the bytes freed.
    pub(super) fn evict_older(&mut self, oldest_ns: u64) -> u64 {
        let freed = drop_front(&mut self.ring, |batch| batch.cut_ns < oldest_ns);
        self.bytes -= freed;
        freed
    }

    /// Drops sums cut before `oldest_ns`; gives the bytes freed.
    pub(super) fn evict_sums(&mut self, oldest_ns: u64) -> u64 {
        let freed = drop_front(&mut self.sums, |sum| sum.cut_ns < oldest_ns);
        self.bytes -= freed;
        freed
    }

    /// Bytes held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A viewer follows this feed.
    pub(super) fn enter(&mut self, viewer: u64, listener: Arc<dyn Listener>) {
        Arc::make_mut(&mut self.audience).push((viewer, listener));
    }

    /// One subscription of this viewer has ended.
    pub(super) fn leave(&mut self, viewer: u64) {
        if let Some(at) = self.audience.iter().position(|(number, _)| *number == viewer) {
            Arc::make_mut(&mut self.audience).swap_remove(at);
        }
    }

    /// Whether nobody follows this feed.
    pub(super) fn is_unwatched(&self) -> bool {
        self.audience.is_empty()
    }
}

/// Drops pieces from the front for as long as `goes` holds; gives the bytes freed.
fn drop_front(pieces: &mut VecDeque<Batch>, goes: impl Fn(&Batch) -> bool) -> u64 {
    let mut freed = 0;
    while let Some(piece) = pieces.pop_front_if(|piece| goes(piece)) {
        freed += piece.cost();
    }
    freed
}
