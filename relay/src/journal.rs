//! The journal (`--journal`): the history on disk, so that it survives a restart of the relay.
//!
//! The journal is a directory of segment files. A segment contains records with checksums, is complete in itself, and is
//! only appended to. One thread writes. It writes everything that waits for it at once, and reports to its [`Sink`] what
//! is written. The hub then shows these batches to viewers and acknowledges their data, so whatever somebody outside has
//! seen is on disk.
//!
//! A disk that is full, fails or hangs never delays the relay: batches that it cannot take are shown without being
//! written, and counted. The file `state` then says that viewers have seen more than the segments contain.

mod record;
mod segment;
mod state;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;

use anyhow::Context as _;
use joey_shared::emit::Session;
use parking_lot::Mutex;
use tokio::sync::mpsc;

pub use self::record::{BatchRecord, Record, frame};
use self::segment::Segment;
use self::state::StateFile;
use self::writer::Writer;
pub use crate::config::JournalConfig;
use crate::metrics::Counters;

/// Maximum number of records that wait for the disk.
const QUEUE_RECORDS: usize = 4_096;
/// Maximum size of the records that wait for the disk, in bytes: 16 MiB.
const QUEUE_BYTES_MAX: u64 = 16 << 20;
/// After this time without a completed write, in ns, batches no longer wait for the disk: 1 s.
const STALL_NS: u64 = 1_000_000_000;
/// Segments are at most this large, plus one record, in bytes: 16 MiB.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// A journal has at least about this many segments, because the oldest one is deleted as a whole.
const SEGMENTS: u64 = 8;

/// Receives what has been written.
pub trait Sink: Send + Sync {
    /// The batches of this log up to number `to` are written, or cannot be written.
    fn written(&self, app: &str, epoch: u64, to: u64);
}

/// A record for the writer.
#[derive(Debug)]
pub struct Entry {
    /// The application and the epoch of its log.
    pub app: String,
    /// Epoch of the log.
    pub epoch: u64,
    /// First and last number of the batch.
    pub range: (u64, u64),
    /// When the batch was cut, in ns.
    pub cut_ns: u64,
    /// Sessions whose data up to this sequence number is in the batch.
    pub sessions: Vec<(Session, u64)>,
    /// The encoded record.
    pub frame: bytes::Bytes,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// [`Sink::written`] will report it.
    Queued,
    /// It may be written, but the disk does not keep up: do not wait for it.
    NotAwaited,
}

/// An open journal whose records can be read, and which is not written yet.
#[derive(Debug)]
pub struct OpenedJournal {
    config: JournalConfig,
    state: StateFile,
    segments: Vec<Segment>,
    is_complete: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replayed {
    /// Number of records.
    pub records: u64,
    /// Bytes at the end of the newest segment that a killed relay had not written completely. They were cut off.
    pub torn_bytes: u64,
    /// Bytes that cannot be read in older segments.
    pub damaged_bytes: u64,
}

impl OpenedJournal {
    /// Opens the directory, which is created if it does not exist.
    ///
    /// # Errors
    /// Fails if the directory cannot be used, another relay uses it, or it was written by another release.
    pub fn open(config: JournalConfig) -> anyhow::Result<Self> {
        let dir = &config.dir;
        let context = || format!("cannot use the journal in {}", dir.display());
        std::fs::create_dir_all(dir).with_context(context)?;
        let (state, is_complete) = StateFile::open(dir).with_context(context)?;
        let segments = segment::list(dir).with_context(context)?;
        Ok(Self { config, state, segments, is_complete })
    }

    /// Whether viewers can have seen nothing that is not in the journal. This does not hold after a power failure unless
    /// writes were synchronized, and if the disk could not take everything.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Reads all records in order, and cuts off an incomplete end.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn replay(&mut self, mut each: impl FnMut(&Record<'_>)) -> anyhow::Result<Replayed> {
        let mut replayed = Replayed::default();
        let newest = self.segments.len().saturating_sub(1);
        for (at, segment) in self.segments.iter_mut().enumerate() {
            let context = format!("cannot read {}", segment.path.display());
            let bad_bytes = segment
                .replay(at == newest, |record| {
                    replayed.records += 1;
                    each(record);
                })
                .context(context)?;
            if at == newest {
                replayed.torn_bytes += bad_bytes;
            } else {
                replayed.damaged_bytes += bad_bytes;
            }
        }
        self.segments.retain(|segment| segment.bytes > 0);
        Ok(replayed)
    }

    /// Starts to write. The `first` records are on disk when this returns.
    ///
    /// # Errors
    /// Fails if the journal cannot be written.
    pub fn start(
        self,
        first: &[Record<'_>],
        sessions: &[(Session, u64)],
        counters: Counters,
        clock: fn() -> u64,
        retention_ns: u64,
    ) -> anyhow::Result<(Journal, NotRunning)> {
        let Self { config, state, segments, .. } = self;
        let context = format!("cannot write the journal in {}", config.dir.display());
        let generation = segments.last().map_or(1, |segment| segment.generation + 1);
        let segment_bytes_max = (config.bytes_max / SEGMENTS).min(SEGMENT_BYTES_MAX);
        let (sender, receiver) = mpsc::channel(QUEUE_RECORDS);
        let shared = Arc::new(Shared {
            tail: Mutex::new(Tail { generation, bytes: 0, sender: Some(sender) }),
            segment_bytes_max,
            queued_bytes: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            progress_ns: AtomicU64::new(0),
            is_bypassed: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
            state,
            counters,
            clock,
        });
        let mut writer = Writer::new(config, segments, retention_ns, shared.clone());
        writer.remember(sessions);
        writer.begin(generation, first).context(context.clone())?;
        shared.state.opened(writer.is_synced()).context(context)?;
        Ok((Journal { shared, thread: Mutex::default() }, NotRunning { writer, receiver }))
    }
}

/// The writer before [`Journal::run`].
#[derive(Debug)]
pub struct NotRunning {
    writer: Writer,
    receiver: mpsc::Receiver<Queued>,
}

/// A journal that is written.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer and those who append share.
#[derive(Debug)]
struct Shared {
    tail: Mutex<Tail>,
    segment_bytes_max: u64,
    /// Size of the records that wait, and their number.
    queued_bytes: AtomicU64,
    in_flight: AtomicU64,
    /// When the writer last completed a write, or the queue was last empty.
    progress_ns: AtomicU64,
    /// Whether batches do not wait for the disk at present.
    is_bypassed: AtomicBool,
    /// Whether a record has been lost since the start.
    has_lost: AtomicBool,
    state: StateFile,
    counters: Counters,
    clock: fn() -> u64,
}

/// The end of the journal. While it is locked, records are numbered and queued.
#[derive(Debug)]
struct Tail {
    /// Number of the segment for the next record.
    generation: u64,
    /// Bytes for this segment so far.
    bytes: u64,
    /// `None` once the journal is closed.
    sender: Option<mpsc::Sender<Queued>>,
}

#[derive(Debug)]
struct Queued {
    generation: u64,
    entry: Entry,
}

impl Shared {
    /// Counts updates that will not be written. The next records go to another segment, with all names. Returns its
    /// number.
    fn lose(&self, updates: u64, tail: &mut Tail) -> u64 {
        self.counters.journal_updates_lost.inc_by(updates);
        self.has_lost.store(true, SeqCst);
        tail.generation += 1;
        tail.bytes = 0;
        tail.generation
    }
}

impl Journal {
    /// Starts the thread that writes and reports to `sink`.
    ///
    /// # Errors
    /// Fails if no thread can be started.
    pub fn run(&self, NotRunning { writer, receiver }: NotRunning, sink: Arc<dyn Sink>) -> anyhow::Result<()> {
        let thread = std::thread::Builder::new().name("joey-journal".to_owned());
        let thread = thread.spawn(move || writer.run(receiver, &*sink)).context("cannot start a thread")?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Queues the record that `build` returns for a segment. A segment must contain the names of all series in it. Never
    /// waits.
    pub fn append(&self, build: impl FnOnce(u64) -> Entry) -> Appended {
        let shared = &*self.shared;
        let mut tail = shared.tail.lock();
        if tail.bytes >= shared.segment_bytes_max {
            tail.generation += 1;
            tail.bytes = 0;
        }
        let generation = tail.generation;
        let entry = build(generation);
        let (bytes, updates) = (entry.frame.len() as u64, entry.range.1 - entry.range.0 + 1);
        if shared.in_flight.fetch_add(1, SeqCst) == 0 {
            shared.progress_ns.store((shared.clock)(), Relaxed);
        }
        let has_room = shared.queued_bytes.fetch_add(bytes, Relaxed) + bytes <= QUEUE_BYTES_MAX;
        let sent = has_room
            && tail.sender.as_ref().is_some_and(|sender| sender.try_send(Queued { generation, entry }).is_ok());
        if sent {
            tail.bytes += bytes;
        } else {
            shared.in_flight.fetch_sub(1, SeqCst);
            shared.queued_bytes.fetch_sub(bytes, Relaxed);
            shared.lose(updates, &mut tail);
        }
        drop(tail);
        if !sent {
            self.write_state_in_background();
        }
        // Read after the record is queued: if it is not bypassed now, a later bypass releases the batch.
        if sent && !shared.is_bypassed.load(SeqCst) { Appended::Queued } else { Appended::NotAwaited }
    }

    /// Checks whether the disk keeps up at `now_ns`. Returns whether batches must not wait for it.
    pub fn is_stalled(&self, now_ns: u64) -> bool {
        let shared = &*self.shared;
        let waits = shared.in_flight.load(SeqCst) > 0;
        let is_late = waits && now_ns.saturating_sub(shared.progress_ns.load(Relaxed)) >= STALL_NS;
        if is_late && !shared.is_bypassed.swap(true, SeqCst) {
            shared.counters.journal_stalls.inc();
            tracing::warn!(
                "the journal's disk does not respond: updates are sent and acknowledged before they are written"
            );
            self.write_state_in_background();
        } else if !waits && shared.is_bypassed.swap(false, SeqCst) {
            tracing::info!("the journal's disk responds again");
            self.write_state_in_background();
        }
        shared.is_bypassed.load(SeqCst)
    }

    /// Whether nothing waits for the disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.shared.in_flight.load(SeqCst) == 0
    }

    /// Writes what is queued, synchronizes it with the disk, and ends the thread. Blocks.
    pub fn close(&self) {
        self.shared.tail.lock().sender = None;
        if let Some(thread) = self.thread.lock().take() {
            // It has logged the reason if it failed.
            let _ = thread.join();
        }
    }

    /// Updates the file `state`. A disk that hangs blocks only a thread of its own.
    fn write_state_in_background(&self) {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("joey-journal-state".to_owned());
        // Without a thread the file keeps its content until the next change.
        let _ = thread.spawn(move || shared.write_state());
    }
}

impl Shared {
    /// Whether viewers may have seen something that is not written.
    fn is_behind(&self) -> bool {
        self.has_lost.load(SeqCst) || self.is_bypassed.load(SeqCst)
    }

    fn write_state(&self) {
        if let Err(error) = self.state.set(|| self.is_behind()) {
            tracing::warn!(%error, "cannot note in the journal that it is incomplete");
        }
    }
}

#[cfg(test)]
mod tests;
