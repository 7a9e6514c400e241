//! The state of metric streams: which intervals were received, and the last values of cumulative streams.
//!
//! A stream is one instrument of one scope of one resource with one set of attributes. The rules follow OpenTelemetry's
//! metrics data model:
//!
//! - **Delta**: each data point counts once, whenever it arrives.
//! - **Cumulative**: a data point counts what was added since the previous one. A count that is lower than before means
//!   that the producer has started again. Then the whole data point counts.
//! - The first data point of a cumulative stream counts only if nothing of it can have been counted before: the process
//!   or the attributes are new. Otherwise it is the base for the next one.
//! - Processes that send the same stream, for lack of a name of their own, are told apart by their start times. Their
//!   counts are added up.
//!
//! The table is bounded by bytes. At the limit, the stream that was silent for longest is forgotten.

use std::num::NonZeroUsize;

use lru::LruCache;
use smallvec::SmallVec;

use super::explicit::Explicit;
use super::exponential::Exponential;
use crate::metrics::RejectReason;

/// Maximum size of the table: 64 MiB, about 100,000 streams of a typical service.
const BYTES_MAX: usize = 64 << 20;

/// Size of an entry without its buckets, with the overhead of the table.
const ENTRY_BYTES: usize = size_of::<Entry>() + 64;

/// Number of data points of a delta stream that are remembered to recognize duplicates.
const RECENT: usize = 8;

/// Maximum number of processes that send the same cumulative stream at once.
const WRITERS_MAX: usize = 32;

/// A process that has not sent the stream for this time, in ns, makes room for others: 5 min.
const WRITER_SILENCE_NS: u64 = 300_000_000_000;

/// Period of the first data point of a delta stream without start times: 1 s.
const FIRST_PERIOD_NS: u64 = 1_000_000_000;

/// Longest period of later data points of such a stream, which may have been silent before: 1 min, the default interval
/// of OpenTelemetry's exporters.
const UNKNOWN_PERIOD_NS: u64 = 60_000_000_000;

/// Identifies a stream: two independent hashes of its names and attributes.
pub(super) type Key = [u64; 2];

/// What a data point covers, in ns since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
}

impl Interval {
    /// Whether the start is known.
    const fn is_known(self) -> bool {
        self.start_ns > 0 && self.start_ns < self.end_ns
    }

    /// The interval itself, if its start is known. If not, it is the time since `previous_ns`, the end of the previous
    /// data point.
    fn or_since(self, previous_ns: Option<u64>) -> Result<Self, RejectReason> {
        let end_ns = self.end_ns;
        let start_ns = match previous_ns {
            _ if self.is_known() => self.start_ns,
            None => end_ns.saturating_sub(FIRST_PERIOD_NS),
            Some(previous_ns) if previous_ns == end_ns => return Err(RejectReason::OtlpDuplicate),
            Some(previous_ns) if previous_ns > end_ns => return Err(RejectReason::OtlpOutOfOrder),
            Some(previous_ns) => previous_ns.max(end_ns.saturating_sub(UNKNOWN_PERIOD_NS)),
        };
        Ok(Self { start_ns, end_ns })
    }
}

/// The value of a cumulative data point.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Exponential(Exponential),
    Explicit(Explicit),
    /// Of a monotonic sum, rounded down.
    Number(u64),
}

/// Difference of two cumulative values.
#[derive(Debug, PartialEq)]
enum Difference {
    /// What was added.
    Added(Value),
    /// A count is lower than before.
    Reset,
    /// The buckets differ.
    Incomparable,
}

impl Value {
    fn since(&self, earlier: &Self) -> Difference {
        let added = match (self, earlier) {
            (Self::Exponential(now), Self::Exponential(before)) => now.since(before).map(Self::Exponential),
            (Self::Explicit(now), Self::Explicit(before)) if now.is_comparable(before) => {
                now.since(before).map(Self::Explicit)
            }
            (Self::Number(now), Self::Number(before)) => now.checked_sub(*before).map(Self::Number),
            _ => return Difference::Incomparable,
        };
        added.map_or(Difference::Reset, Difference::Added)
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Exponential(value) => value.bytes(),
            Self::Explicit(value) => value.bytes(),
            Self::Number(_) => 0,
        }
    }
}

#[derive(Debug)]
enum Stream {
    Delta {
        /// Fingerprints of the newest data points, and where to store the next one.
        recent: [u64; RECENT],
        next: usize,
        /// The newest end.
        end_ns: u64,
        /// The fraction of a sum that did not make a whole event yet.
        fraction: f64,
    },
    Cumulative {
        writers: SmallVec<[Writer; 1]>,
        /// The latest start of a process that was forgotten.
        forgotten_start_ns: u64,
    },
    /// All cumulative streams of one instrument, whatever their attributes.
    Instrument {
        /// Time of the newest data points, and of those before.
        end_ns: u64,
        previous_ns: Option<u64>,
    },
}

/// One process that sends a cumulative stream.
#[derive(Debug)]
struct Writer {
    /// 0 if it is unknown.
    start_ns: u64,
    end_ns: u64,
    value: Value,
    /// When it last sent, on the relay's clock.
    used_ns: u64,
}

#[derive(Debug)]
struct Entry {
    stream: Stream,
    /// When the entry was added and last used, on the relay's clock.
    since_ns: u64,
    used_ns: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match &self.stream {
                Stream::Cumulative { writers, .. } => {
                    let spilled = if writers.spilled() { writers.capacity() * size_of::<Writer>() } else { 0 };
                    spilled + writers.iter().map(|writer| writer.value.bytes()).sum::<usize>()
                }
                Stream::Delta { .. } | Stream::Instrument { .. } => 0,
            }
    }
}

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    bytes_max: usize,
    /// When the relay started to receive. What was counted before, an earlier run of the relay may have published.
    since_ns: u64,
    /// When a cumulative stream was last forgotten because the table was full, and the latest start of all that were.
    forgotten_ns: u64,
    forgotten_start_ns: u64,
    /// How long a silent stream is retained, in ns.
    retention_ns: u64,
}

impl Streams {
    /// Creates an empty table at `now_ns`.
    pub(super) fn new(now_ns: u64, retention_ns: u64) -> Self {
        // Resizing, unlike creating it with this size, allocates nothing. The limit on bytes is always reached before.
        let mut entries = LruCache::new(NonZeroUsize::MIN);
        entries.resize(NonZeroUsize::MIN.saturating_add(BYTES_MAX / ENTRY_BYTES));
        Self {
            entries,
            bytes: 0,
            bytes_max: BYTES_MAX,
            since_ns: now_ns,
            forgotten_ns: 0,
            forgotten_start_ns: 0,
            retention_ns,
        }
    }

    /// Records a delta data point and returns what it covers. A start time of 0, or one that equals the end, is
    /// unknown. The fingerprint is a hash of its times and its value.
    ///
    /// # Errors
    /// [`RejectReason::OtlpDuplicate`] or [`RejectReason::OtlpOutOfOrder`] if it must not count.
    pub(super) fn delta(
        &mut self,
        key: Key,
        interval: Interval,
        fingerprint: u64,
        now_ns: u64,
    ) -> Result<Interval, RejectReason> {
        // 0 marks an empty place.
        let fingerprint = fingerprint.max(1);
        self.update(key, now_ns, |stream| {
            let Some(Stream::Delta { recent, next, end_ns, .. }) = stream else {
                let mut recent = [0; RECENT];
                recent[0] = fingerprint;
                *stream = Some(Stream::Delta { recent, next: 1, end_ns: interval.end_ns, fraction: 0.0 });
                return interval.or_since(None);
            };
            if recent.contains(&fingerprint) {
                return Err(RejectReason::OtlpDuplicate);
            }
            let interval = interval.or_since(Some(*end_ns))?;
            recent[*next] = fingerprint;
            *next = (*next + 1) % RECENT;
            *end_ns = interval.end_ns.max(*end_ns);
            Ok(interval)
        })
    }

    /// Adds `value` to the fraction that is left of the delta stream `key`, and returns the whole part.
    pub(super) fn whole(&mut self, key: Key, value: f64) -> u64 {
        let Some(Entry { stream: Stream::Delta { fraction, .. }, .. }) = self.entries.peek_mut(&key) else { return 0 };
        let total = *fraction + value;
        *fraction = total.fract();
        // A conversion from a float saturates.
        total as u64
    }

    /// Records a cumulative data point. Returns what was added and when, or `None` if the data point is a base.
    /// `instrument` identifies all streams of the instrument with the same start time.
    ///
    /// # Errors
    /// [`RejectReason::OtlpDuplicate`] or [`RejectReason::OtlpOutOfOrder`] if it must not count, and
    /// [`RejectReason::OtlpOverlap`] if too many processes send this stream.
    pub(super) fn cumulative(
        &mut self,
        [key, instrument]: [Key; 2],
        interval: Interval,
        value: Value,
        now_ns: u64,
    ) -> Result<Option<(Interval, Value)>, RejectReason> {
        let end_ns = interval.end_ns;
        // A start that equals the end is unknown: the value was there before.
        let start_ns = if interval.is_known() { interval.start_ns } else { 0 };
        let known_from_ns = self.instrument(instrument, start_ns, end_ns, now_ns);
        let known_from_ns = known_from_ns.filter(|_| interval.start_ns != end_ns);
        let is_new = start_ns > 0 && self.is_after_all_state(start_ns, now_ns);
        self.update(key, now_ns, |stream| {
            let is_first = stream.is_none();
            if !matches!(stream, Some(Stream::Cumulative { .. })) {
                // A stream that was something else has no known history.
                let forgotten_start_ns = if is_first { 0 } else { start_ns };
                *stream = Some(Stream::Cumulative { writers: SmallVec::new(), forgotten_start_ns });
            }
            let Some(Stream::Cumulative { writers, forgotten_start_ns }) = stream else { return Ok(None) };
            // After a data point with an unknown start, the others have its end as their start.
            let follows = |writer: &Writer| writer.start_ns == 0 && writer.end_ns == start_ns;
            let known = writers.iter().position(|writer| writer.start_ns == start_ns);
            let known = known.or_else(|| writers.iter().position(follows));
            if let Some(writer) = known.and_then(|at| writers.get_mut(at)) {
                if end_ns <= writer.end_ns {
                    let is_same = end_ns == writer.end_ns;
                    return Err(if is_same { RejectReason::OtlpDuplicate } else { RejectReason::OtlpOutOfOrder });
                }
                let since_last = Interval { start_ns: writer.end_ns, end_ns };
                let added = match value.since(&writer.value) {
                    Difference::Added(added) => Some((since_last, added)),
                    Difference::Reset if interval.start_ns < end_ns => Some((since_last, value.clone())),
                    Difference::Reset | Difference::Incomparable => None,
                };
                *writer = Writer { start_ns, end_ns, value, used_ns: now_ns };
                return Ok(added);
            }
            // A process that was not seen before.
            writers.retain(|writer| {
                let is_silent = now_ns.saturating_sub(writer.used_ns) > WRITER_SILENCE_NS;
                if is_silent {
                    *forgotten_start_ns = writer.start_ns.max(*forgotten_start_ns);
                }
                !is_silent
            });
            if writers.len() >= WRITERS_MAX {
                return Err(RejectReason::OtlpOverlap);
            }
            let from_ns = if is_new && start_ns > *forgotten_start_ns {
                Some(start_ns.max(known_from_ns.unwrap_or(0)))
            } else {
                // If the instrument was exported before without these attributes, their value was zero then.
                known_from_ns.filter(|_| is_first)
            };
            writers.push(Writer { start_ns, end_ns, value: value.clone(), used_ns: now_ns });
            Ok(from_ns.map(|start_ns| (Interval { start_ns, end_ns }, value)))
        })
    }

    /// Whether nothing that began at `start_ns` can have been counted before: it is after the relay started, after the
    /// start of any stream that was forgotten, and within the time for which streams are retained.
    const fn is_after_all_state(&self, start_ns: u64, now_ns: u64) -> bool {
        start_ns >= self.since_ns
            && start_ns > self.forgotten_start_ns
            && start_ns >= now_ns.saturating_sub(self.retention_ns)
    }

    /// Records that a cumulative instrument was exported at `end_ns`. Returns when it was exported before, if all of
    /// its streams since then are known.
    fn instrument(&mut self, key: Key, start_ns: u64, end_ns: u64, now_ns: u64) -> Option<u64> {
        let since_ns = self.entries.peek(&key).map_or(now_ns, |entry| entry.since_ns);
        let is_complete = if start_ns > 0 { start_ns > self.forgotten_start_ns } else { since_ns > self.forgotten_ns };
        self.update(key, now_ns, |stream| match stream {
            Some(Stream::Instrument { end_ns: known_ns, previous_ns }) => {
                if end_ns > *known_ns {
                    *previous_ns = Some(*known_ns);
                    *known_ns = end_ns;
                }
                previous_ns.filter(|_| end_ns == *known_ns && is_complete)
            }
            _ => {
                *stream = Some(Stream::Instrument { end_ns, previous_ns: None });
                None
            }
        })
    }

    /// Calls `change` with the state of a stream, and stores what it leaves there.
    fn update<T>(&mut self, key: Key, now_ns: u64, change: impl FnOnce(&mut Option<Stream>) -> T) -> T {
        let (mut stream, since_ns) = match self.entries.pop(&key) {
            Some(entry) => {
                self.bytes -= entry.bytes();
                (Some(entry.stream), entry.since_ns)
            }
            None => (None, now_ns),
        };
        let result = change(&mut stream);
        if let Some(stream) = stream {
            let entry = Entry { stream, since_ns, used_ns: now_ns };
            self.bytes += entry.bytes();
            self.entries.put(key, entry);
        }
        while self.bytes > self.bytes_max
            && let Some((_, entry)) = self.entries.pop_lru()
        {
            self.bytes -= entry.bytes();
            if let Stream::Cumulative { writers, .. } = entry.stream {
                self.forgotten_ns = now_ns;
                let latest_ns = writers.iter().map(|writer| writer.start_ns).max().unwrap_or(0);
                // A start in the future must not turn all new streams into bases.
                self.forgotten_start_ns = self.forgotten_start_ns.max(latest_ns.min(now_ns));
            }
        }
        result
    }

    /// Removes streams that have been silent for longer than the retention.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        let oldest_ns = now_ns.saturating_sub(self.retention_ns);
        while self.entries.peek_lru().is_some_and(|(_, entry)| entry.used_ns < oldest_ns)
            && let Some((_, entry)) = self.entries.pop_lru()
        {
            self.bytes -= entry.bytes();
        }
    }

    /// Number of entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
