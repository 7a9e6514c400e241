//! The thread that writes the journal.

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use joey_shared::emit::Session;
use lru::LruCache;
use tokio::sync::mpsc;

use super::record::Record;
use super::segment::Segment;
use super::{Entry, JournalConfig, Queued, Shared, Sink};

/// Maximum number of sessions that a segment begins with. As many as the relay remembers.
const SESSIONS_MAX: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// Maximum size of one write, in bytes: 1 MiB.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Time after a failed write before the next attempt.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Writer {
    config: JournalConfig,
    /// Complete segments, the oldest first.
    segments: std::collections::VecDeque<Segment>,
    /// The segment that is written; `None` after a failure.
    current: Option<(Segment, File)>,
    /// Segments whose newest batch is older than this are deleted, in ns.
    retention_ns: u64,
    /// What each session has delivered, for the beginning of the next segment.
    sessions: LruCache<Session, u64>,
    /// Records for earlier segments cannot be written, because records before them are lost.
    generation_min: u64,
    /// When the next attempt is due after a failure.
    retry_at: Option<Instant>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(config: JournalConfig, segments: Vec<Segment>, retention_ns: u64, shared: Arc<Shared>) -> Self {
        Self {
            config,
            segments: segments.into(),
            current: None,
            retention_ns,
            sessions: LruCache::new(SESSIONS_MAX),
            generation_min: 0,
            retry_at: None,
            shared,
        }
    }

    pub(super) const fn is_synced(&self) -> bool {
        self.config.is_synced
    }

    /// Remembers what sessions have delivered.
    pub(super) fn remember(&mut self, sessions: &[(Session, u64)]) {
        for (session, seq) in sessions {
            self.sessions.push(*session, *seq);
        }
    }

    /// Starts the segment `generation` with the sessions and `first`, and synchronizes it.
    pub(super) fn begin(&mut self, generation: u64, first: &[Record<'_>]) -> io::Result<()> {
        self.create(generation, first)?;
        for segment in &self.segments {
            // The previous relay may not have done this.
            File::open(&segment.path)?.sync_data()?;
        }
        if let Some((_, file)) = &self.current {
            file.sync_data()?;
        }
        File::open(&self.config.dir)?.sync_data()
    }

    fn create(&mut self, generation: u64, first: &[Record<'_>]) -> io::Result<()> {
        if let Some((segment, file)) = self.current.take() {
            if self.config.is_synced {
                file.sync_data()?;
            }
            self.segments.push_back(segment);
        }
        let sessions: Vec<(Session, u64)> = self.sessions.iter().rev().map(|(session, seq)| (*session, *seq)).collect();
        let mut content = Record::Sessions(sessions).to_frame();
        first.iter().for_each(|record| content.extend(record.to_frame()));
        self.current = Some(Segment::create(&self.config.dir, generation, &content)?);
        if self.config.is_synced {
            File::open(&self.config.dir)?.sync_data()?;
        }
        Ok(())
    }

    /// Writes until the journal is closed.
    pub(super) fn run(mut self, mut receiver: mpsc::Receiver<Queued>, sink: &dyn Sink) {
        let mut group = Vec::new();
        while let Some(first) = receiver.blocking_recv() {
            let mut bytes = first.entry.frame.len();
            group.push(first);
            while bytes < WRITE_BYTES_MAX
                && let Ok(next) = receiver.try_recv()
            {
                bytes += next.entry.frame.len();
                group.push(next);
            }
            for records in group.chunk_by(|record, next| record.generation == next.generation) {
                self.write(records);
            }
            let shared = &self.shared;
            shared.progress_ns.store((shared.clock)(), Relaxed);
            for Queued { entry, .. } in group.drain(..) {
                sink.written(&entry.app, entry.epoch, entry.range.1);
                shared.queued_bytes.fetch_sub(entry.frame.len() as u64, Relaxed);
                shared.in_flight.fetch_sub(1, SeqCst);
            }
            self.delete_old();
        }
        self.close();
    }

    /// Writes records of one segment. Counts them as lost if that fails.
    fn write(&mut self, records: &[Queued]) {
        let Some(first) = records.first() else { return };
        if first.generation < self.generation_min {
            return self.lose(records);
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.generation_min = self.lose_from(records);
            return;
        }
        match self.try_write(first.generation, records) {
            Ok(bytes) => {
                if self.retry_at.take().is_some() {
                    tracing::info!("the journal is written again");
                }
                self.shared.counters.journal_bytes.inc_by(bytes);
                for Queued { entry: Entry { sessions, .. }, .. } in records {
                    self.remember(sessions);
                }
            }
            Err(error) => {
                self.shared.counters.journal_errors.inc();
                if self.retry_at.is_none() {
                    tracing::error!(%error, "cannot write the journal: the history since then will not survive a restart");
                }
                if let Some((segment, file)) = self.current.take() {
                    // Otherwise the next start cuts off the incomplete record.
                    let _ = file.set_len(segment.bytes);
                    self.segments.push_back(segment);
                }
                self.retry_at = Some(Instant::now() + RETRY);
                self.generation_min = self.lose_from(records);
                self.shared.write_state();
            }
        }
    }

    fn try_write(&mut self, generation: u64, records: &[Queued]) -> io::Result<u64> {
        if self.current.as_ref().is_none_or(|(segment, _)| segment.generation != generation) {
            self.create(generation, &[])?;
        }
        let Some((segment, file)) = &mut self.current else { return Ok(0) };
        let bytes: Vec<&[u8]> = records.iter().map(|record| &*record.entry.frame).collect();
        let bytes = bytes.concat();
        file.write_all(&bytes)?;
        if self.config.is_synced {
            file.sync_data()?;
        }
        segment.bytes += bytes.len() as u64;
        let newest = records.iter().map(|record| record.entry.cut_ns).max();
        segment.newest_ns = segment.newest_ns.max(newest.unwrap_or(0));
        Ok(bytes.len() as u64)
    }

    /// Counts the updates of `records` as lost.
    fn lose(&self, records: &[Queued]) {
        self.shared.counters.journal_updates_lost.inc_by(updates_in(records));
    }

    /// Counts the updates of `records` as lost, and starts another segment. Returns its number.
    fn lose_from(&self, records: &[Queued]) -> u64 {
        self.shared.lose(updates_in(records), &mut self.shared.tail.lock())
    }

    /// Deletes the oldest segments while they are too old, or the journal is too large.
    fn delete_old(&mut self) {
        let oldest_ns = (self.shared.clock)().saturating_sub(self.retention_ns);
        let mut bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        bytes += self.current.as_ref().map_or(0, |(segment, _)| segment.bytes);
        while let Some(oldest) = self.segments.front()
            && (bytes > self.config.bytes_max || oldest.newest_ns < oldest_ns)
        {
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                self.shared.counters.journal_errors.inc();
                tracing::warn!(%error, path = %oldest.path.display(), "cannot delete an old segment of the journal");
            }
            bytes -= oldest.bytes;
            self.segments.pop_front();
        }
        self.shared.counters.journal_stored_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn close(&self) {
        let synced = self.current.as_ref().map_or(Ok(()), |(_, file)| file.sync_all());
        let closed = synced.and_then(|()| {
            if self.shared.has_lost.load(SeqCst) {
                return self.shared.state.set(|| true);
            }
            for segment in &self.segments {
                File::open(&segment.path)?.sync_data()?;
            }
            File::open(&self.config.dir)?.sync_data()?;
            self.shared.state.closed()
        });
        if let Err(error) = closed {
            self.shared.counters.journal_errors.inc();
            tracing::error!(%error, "cannot complete the journal");
        }
    }
}

fn updates_in(records: &[Queued]) -> u64 {
    records.iter().map(|record| record.entry.range.1 - record.entry.range.0 + 1).sum()
}
