//! The state of metric streams: which intervals were received, and the last values of cumulative streams.
//!
//! A stream is one instrument of one scope of one resource with one set of attributes. The rules follow OpenTelemetry's metrics
//! data model:
//!
//! - **Delta**: each data point counts once. One that covers only what was received before is a duplicate, for example after a
//!   retry. One that arrives late fills its gap.
//! - **Cumulative**: a data point counts what was added since the previous one. A later start time, or a count that is lower
//!   than before, means that the producer has started again. Then the whole data point counts.
//! - The first data point of a cumulative stream counts only if nothing of it can have been counted before: the process or the
//!   attributes are new. Otherwise it is the base for the next one.
//! - Two producers that write the same stream cannot be told apart. The one that started last wins. The data points of the other
//!   one are refused as overlapping.
//!
//! The table is bounded by bytes. At the limit, the stream that was silent for longest is forgotten.

use lru::LruCache;
use smallvec::SmallVec;

use super::explicit::Explicit;
use super::exponential::Exponential;
use crate::metrics::RejectReason;

/// Maximum size of the table: 64 MiB, about 100,000 streams of a typical service.
const BYTES_MAX: usize = 64 << 20;

/// Size of an entry without its buckets, with the overhead of the table.
const ENTRY_BYTES: usize = size_of::<Entry>() + 64;

/// Maximum number of separate intervals stored for a delta stream. Beyond it, the oldest gap counts as received.
const INTERVALS_MAX: usize = 16;

/// Period of the first data point of a delta stream without start times: 1 s.
const FIRST_PERIOD_NS: u64 = 1_000_000_000;

/// Longest period of later data points of such a stream, which may have been silent before: 1 min, the default interval of
/// OpenTelemetry's exporters.
const UNKNOWN_PERIOD_NS: u64 = 60_000_000_000;

/// Identifies a stream: two independent hashes of its names and attributes.
pub(super) type Key = [u64; 2];

/// What a data point covers, in ns since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
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
        /// What was received, in ascending order. Intervals that touch are one.
        received: SmallVec<[Interval; 2]>,
        /// The fraction of a sum that did not make a whole event yet.
        fraction: f64,
    },
    Cumulative {
        start_ns: u64,
        end_ns: u64,
        value: Value,
    },
    /// All cumulative streams of one instrument, whatever their attributes.
    Instrument {
        /// Time of the newest data points, and of those before.
        end_ns: u64,
        previous_ns: Option<u64>,
    },
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
                Stream::Delta { received, .. } if received.spilled() => received.capacity() * size_of::<Interval>(),
                Stream::Cumulative { value, .. } => value.bytes(),
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
    /// When a stream was last forgotten because the table was full.
    forgotten_ns: u64,
    /// How long a silent stream is retained, in ns.
    retention_ns: u64,
}

impl Streams {
    /// Creates an empty table at `now_ns`.
    pub(super) fn new(now_ns: u64, retention_ns: u64) -> Self {
        let entries = LruCache::unbounded();
        Self { entries, bytes: 0, bytes_max: BYTES_MAX, since_ns: now_ns, forgotten_ns: 0, retention_ns }
    }

    /// Records a delta data point and returns what it covers. A start time of 0, or one that equals the end, is unknown.
    ///
    /// # Errors
    /// [`RejectReason::OtlpDuplicate`], [`RejectReason::OtlpOutOfOrder`] or [`RejectReason::OtlpOverlap`] if it must not count.
    pub(super) fn delta(
        &mut self,
        key: Key,
        start_ns: u64,
        end_ns: u64,
        now_ns: u64,
    ) -> Result<Interval, RejectReason> {
        self.update(key, now_ns, |entry| {
            if !matches!(entry, Some(Stream::Delta { .. })) {
                *entry = Some(Stream::Delta { received: SmallVec::new(), fraction: 0.0 });
            }
            let Some(Stream::Delta { received, .. }) = entry else { return Err(RejectReason::OtlpOverlap) };
            let is_known = start_ns > 0 && start_ns < end_ns;
            let interval = if is_known { Interval { start_ns, end_ns } } else { unknown_interval(received, end_ns)? };
            add_interval(received, interval)?;
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
    /// `instrument` identifies all streams of the instrument.
    ///
    /// # Errors
    /// [`RejectReason::OtlpDuplicate`], [`RejectReason::OtlpOutOfOrder`] or [`RejectReason::OtlpOverlap`] if it must not count.
    pub(super) fn cumulative(
        &mut self,
        [key, instrument]: [Key; 2],
        Interval { start_ns, end_ns }: Interval,
        value: Value,
        now_ns: u64,
    ) -> Result<Option<(Interval, Value)>, RejectReason> {
        let known_from_ns = self.instrument(instrument, end_ns, now_ns);
        let is_new = start_ns > 0 && start_ns < end_ns && self.is_after_all_state(start_ns, now_ns);
        self.update(key, now_ns, |stream| {
            let next = |value: Value| Some(Stream::Cumulative { start_ns, end_ns, value });
            let Some(Stream::Cumulative { start_ns: known_start_ns, end_ns: known_end_ns, value: known }) = stream
            else {
                // The first data point. If the instrument was exported before without it, it was zero then.
                let from_ns = if is_new { Some(start_ns.max(known_from_ns.unwrap_or(0))) } else { known_from_ns };
                let from_ns = from_ns.filter(|_| start_ns != end_ns);
                *stream = next(value.clone());
                return Ok(from_ns.map(|start_ns| (Interval { start_ns, end_ns }, value)));
            };
            let (known_start_ns, known_end_ns) = (*known_start_ns, *known_end_ns);
            if end_ns <= known_end_ns {
                let is_same = end_ns == known_end_ns && start_ns == known_start_ns;
                return Err(if is_same {
                    RejectReason::OtlpDuplicate
                } else if start_ns == known_start_ns {
                    RejectReason::OtlpOutOfOrder
                } else {
                    RejectReason::OtlpOverlap
                });
            }
            if start_ns < known_start_ns && start_ns > 0 {
                return Err(RejectReason::OtlpOverlap);
            }
            let since_last = Interval { start_ns: known_end_ns, end_ns };
            let has_new_start = start_ns > 0 && start_ns > known_start_ns && known_start_ns > 0;
            let added = if start_ns == end_ns {
                // A start at an unknown time: the value was there before.
                None
            } else if has_new_start && start_ns >= known_end_ns {
                Some((Interval { start_ns, end_ns }, value.clone()))
            } else {
                match value.since(known) {
                    Difference::Added(added) => Some((since_last, added)),
                    Difference::Reset if has_new_start => Some((Interval { start_ns, end_ns }, value.clone())),
                    Difference::Reset => Some((since_last, value.clone())),
                    Difference::Incomparable => None,
                }
            };
            *stream = next(value);
            Ok(added)
        })
    }

    /// Whether nothing that began at `start_ns` can have been counted before: it is after the relay started, after the table
    /// forgot a stream, and within the time for which streams are retained.
    const fn is_after_all_state(&self, start_ns: u64, now_ns: u64) -> bool {
        start_ns >= self.since_ns
            && start_ns > self.forgotten_ns
            && start_ns >= now_ns.saturating_sub(self.retention_ns)
    }

    /// Records that a cumulative instrument was exported at `end_ns`. Returns when it was exported before.
    fn instrument(&mut self, key: Key, end_ns: u64, now_ns: u64) -> Option<u64> {
        let forgotten_ns = self.forgotten_ns;
        let since_ns = self.entries.peek(&key).map_or(now_ns, |entry| entry.since_ns);
        self.update(key, now_ns, |stream| match stream {
            Some(Stream::Instrument { end_ns: known_ns, previous_ns }) => {
                if end_ns > *known_ns {
                    *previous_ns = Some(*known_ns);
                    *known_ns = end_ns;
                }
                previous_ns.filter(|_| end_ns == *known_ns && since_ns > forgotten_ns)
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
            self.forgotten_ns = now_ns;
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

/// The interval of a delta data point without a start time: since the previous one.
fn unknown_interval(received: &[Interval], end_ns: u64) -> Result<Interval, RejectReason> {
    let start_ns = match received.last() {
        None => end_ns.saturating_sub(FIRST_PERIOD_NS),
        Some(last) if last.end_ns == end_ns => return Err(RejectReason::OtlpDuplicate),
        Some(last) if last.end_ns > end_ns => return Err(RejectReason::OtlpOutOfOrder),
        Some(last) => last.end_ns.max(end_ns.saturating_sub(UNKNOWN_PERIOD_NS)),
    };
    Ok(Interval { start_ns, end_ns })
}

/// Adds an interval to those that were received.
///
/// An overlap of less than half of the interval is accepted, because not all producers start an interval exactly where the
/// previous one ended.
fn add_interval(received: &mut SmallVec<[Interval; 2]>, new: Interval) -> Result<(), RejectReason> {
    let common_ns = |known: &Interval| known.end_ns.min(new.end_ns).saturating_sub(known.start_ns.max(new.start_ns));
    let overlap_ns: u64 = received.iter().map(common_ns).sum();
    let length_ns = new.end_ns - new.start_ns;
    if overlap_ns >= length_ns {
        return Err(RejectReason::OtlpDuplicate);
    }
    if overlap_ns > length_ns / 2 {
        return Err(RejectReason::OtlpOverlap);
    }
    let touches = |known: &Interval| known.start_ns <= new.end_ns && new.start_ns <= known.end_ns;
    let mut merged = new;
    for known in received.iter().filter(|known| touches(known)) {
        merged.start_ns = merged.start_ns.min(known.start_ns);
        merged.end_ns = merged.end_ns.max(known.end_ns);
    }
    received.retain(|known| !touches(known));
    let at = received.partition_point(|known| known.start_ns < merged.start_ns);
    received.insert(at, merged);
    if received.len() > INTERVALS_MAX {
        let first = received.remove(0);
        received[0].start_ns = first.start_ns;
    }
    Ok(())
}
