//! With a journal, a batch is *staged* between the cut and the moment when it is on disk. Viewers do not see it before.

use std::sync::Arc;

use bytes::Bytes;
use joey_shared::emit::Session;
use joey_shared::series::Filter;
use joey_shared::wire::Blob;
use tokio::sync::watch;

use super::super::batch::{CutTime, EncodedUpdates};
use super::{Cut, Log, PENDING_BYTES, Pending};
use crate::journal::{BatchRecord, Entry, Record};

/// Up to which sequence number the data of one producer is safe, so that it can be acknowledged.
#[derive(Debug)]
pub struct Safe(watch::Sender<u64>);

impl Safe {
    /// Everything up to `seq` is safe.
    #[must_use]
    pub fn new(seq: u64) -> Self {
        Self(watch::Sender::new(seq))
    }

    /// The newest safe sequence number.
    #[must_use]
    pub fn get(&self) -> u64 {
        *self.0.borrow()
    }

    /// Announces changes of the number.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// Everything up to `seq` is safe now.
    pub fn reached(&self, seq: u64) {
        self.0.send_if_modified(|known| {
            let is_new = seq > *known;
            *known = seq.max(*known);
            is_new
        });
    }
}

/// A message of a producer, which is safe when the batches with its data are.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The session of Joey's own protocol, so that a restarted relay recognizes the message if it arrives again.
    pub session: Option<Session>,
    /// Number of the message.
    pub seq: u64,
    /// Where to report it.
    pub safe: Arc<Safe>,
}

/// A batch that is not on disk yet.
#[derive(Debug)]
pub(in crate::hub) struct Staged {
    to: u64,
    cut: CutTime,
    end_ns: u64,
    period_ns: u64,
    updates: Bytes,
    marks: Vec<Mark>,
}

/// Adds `mark`, and drops earlier ones of the same producer.
fn push_mark(marks: &mut Vec<Mark>, mark: Mark) {
    match marks.iter_mut().rev().find(|known| Arc::ptr_eq(&known.safe, &mark.safe)) {
        Some(known) => known.seq = known.seq.max(mark.seq),
        None => marks.push(mark),
    }
}

impl Log {
    /// Records that all data of a message of `worker` has been published: it is pending, held, or was rejected.
    pub(in crate::hub) fn mark(&mut self, worker: &str, mark: Mark) {
        if let Some(clock) = self.clocks.position_of(worker)
            && self.clocks.holds_frames(clock)
        {
            self.held_marks.push((clock, mark));
        } else {
            self.mark_end(mark);
        }
    }

    /// Records that the message has been published, except for what is held.
    pub(in crate::hub) fn mark_end(&mut self, mark: Mark) {
        if self.pending.count > 0 {
            push_mark(&mut self.pending.marks, mark);
        } else if let Some(last) = self.staged.back_mut() {
            push_mark(&mut last.marks, mark);
        } else {
            mark.safe.reached(mark.seq);
        }
    }

    /// The marks of the frames that the clock at this position held until now. Their frames are pending.
    pub(super) fn release_marks(&mut self, clock: u32) {
        if self.held_marks.is_empty() {
            return;
        }
        let released = self.held_marks.extract_if(.., |(at, _)| *at == clock);
        for (_, mark) in released {
            push_mark(&mut self.pending.marks, mark);
        }
    }

    /// Last number that viewers can see, or the head if nothing is staged.
    pub(in crate::hub) fn published_head(&self) -> u64 {
        if self.staged.is_empty() { self.head } else { self.whole.newest() }
    }

    /// Stages the pending updates. Returns the record of them for segment `generation`, with the names that are not in
    /// this segment yet.
    pub(in crate::hub) fn stage(&mut self, app: &str, epoch: u64, generation: u64, now_ns: u64) -> Entry {
        let now_ns = now_ns.max(self.cut_ns);
        self.cut_ns = now_ns;
        let from = self.staged.back().map_or_else(|| self.whole.newest(), |staged| staged.to) + 1;
        let to = self.head;
        let known = if self.journaled.0 == generation { self.journaled.1 } else { 0 };
        let names = self.series.names_since(known, &Filter::All);
        self.journaled = (generation, names.added);
        let Pending { count, since_ns, end_ns, period_ns, updates, marks } = &mut self.pending;
        let (since_ns, end_ns, period_ns, marks) = (*since_ns, *end_ns, *period_ns, std::mem::take(marks));
        let sessions: Vec<_> = marks.iter().filter_map(|mark| Some((mark.session?, mark.seq))).collect();
        let encoded = updates.finish();
        let length = encoded.0.len();
        let record = BatchRecord {
            app,
            epoch,
            from,
            to,
            cut_ns: now_ns,
            end_ns,
            period_ns,
            series_next: self.series.next_number(),
            names: names.entries,
            sessions: sessions.clone(),
            updates: encoded,
        };
        let frame = Bytes::from(Record::Batch(record).to_frame());
        let updates_at = frame.len().saturating_sub(length);
        self.staged.push_back(Staged {
            to,
            cut: CutTime { ns: now_ns, received_ns: Some(since_ns) },
            end_ns,
            period_ns,
            updates: frame.slice(updates_at..),
            marks,
        });
        *count = 0;
        updates.shrink_to(PENDING_BYTES);
        Entry { app: app.to_owned(), epoch, range: (from, to), cut_ns: now_ns, sessions, frame }
    }

    /// Shows the oldest staged batch to viewers if it ends at or before number `to`, and reports its messages as safe. Returns
    /// the result, and when the batch was staged.
    pub(in crate::hub) fn publish_staged(&mut self, to: u64) -> Option<(Cut, u64)> {
        let Staged { to, cut: at, end_ns, period_ns, updates, marks } =
            self.staged.pop_front_if(|staged| staged.to <= to)?;
        let encoded = EncodedUpdates { end_ns, period_ns, updates: Blob(&updates) };
        let cut = self.cut_feeds(&encoded, to, at);
        marks.into_iter().for_each(|mark| mark.safe.reached(mark.seq));
        Some((cut, at.ns))
    }
}
