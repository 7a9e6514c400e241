//! The updates of one batch: each written relative to the one before, each read without allocating.

use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SeriesEntry, SparseBins, WireError};
use crate::histogram::{BINS, Histogram, bin_low};

/// One producer histogram for one series and one period, with the relay's stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its number in the application's log. With the log's epoch this is its identity.
    pub seq: u64,
    /// The number of its series in the log.
    pub series: u32,
    /// The span that it counts, in ns.
    pub period_ns: u64,
    /// When that span ended, in ns since the Unix epoch. Where the producer's clock was implausibly far ahead this is the
    /// newest boundary of its period by the relay's clock.
    pub end_ns: u64,
    /// By how much the producer's own stamp was later than `end_ns`; 0 from a sound clock.
    pub skew_ns: u64,
    /// What was counted.
    pub histogram: Histogram,
}

/// Which part of a log a batch covers, and what its updates are written relative to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHead {
    /// The feed, as announced in [`Subscribed`](super::Subscribed).
    pub feed: u32,
    /// First number covered. One more than the last batch's `to`, or something is missing.
    pub from: u64,
    /// Last number covered, whether or not every number between passed the filter.
    pub to: u64,
    /// When the batch was cut, by the relay's clock, in ns since the Unix epoch.
    pub cut_ns: u64,
    /// The period end that the first update is relative to.
    pub end_ns: u64,
    /// The period that the first update is relative to.
    pub period_ns: u64,
    /// Series that occur here for the first time in this feed.
    pub series: Vec<SeriesEntry>,
}

impl BatchHead {
    /// Reads the updates that came with this head.
    #[must_use]
    pub fn read<'a>(&self, updates: Blob<'a>) -> Updates<'a> {
        Updates { rest: updates.0, seq: self.from, end_ns: self.end_ns, period_ns: self.period_ns }
    }
}

/// How one update is written. Differences wrap, so that every value a producer can send has exactly one form.
#[derive(Serialize, Deserialize)]
struct Item {
    /// Numbers left out since the update before (or since the batch's `from`).
    skip: u64,
    series: u32,
    end: i64,
    period: i64,
    skew_ns: u64,
    bins: SparseBins,
    /// Minimum relative to the low bound of the lowest occupied bin (0 when there is none).
    min: i64,
    /// Maximum relative to the low bound of the highest occupied bin (0 when there is none).
    max: i64,
}

/// What a minimum and a maximum are written relative to.
fn anchors(bins: &[u64; BINS]) -> (u64, u64) {
    let low = |bin: Option<usize>| bin.map_or(0, bin_low);
    (low(bins.iter().position(|&count| count > 0)), low(bins.iter().rposition(|&count| count > 0)))
}

/// `value - base`, wrapping, as a signed number that is small when the two are near.
fn difference(value: u64, base: u64) -> i64 {
    value.wrapping_sub(base).cast_signed()
}

/// The inverse of [`difference`].
fn applied(base: u64, difference: i64) -> u64 {
    base.wrapping_add(difference.cast_unsigned())
}

/// Writes the updates of one batch.
#[derive(Debug)]
pub struct UpdatesWriter {
    bytes: Vec<u8>,
    next_seq: u64,
    end_ns: u64,
    period_ns: u64,
}

impl UpdatesWriter {
    /// Begins the batch that `head` describes.
    #[must_use]
    pub fn new(head: &BatchHead) -> Self {
        Self { bytes: Vec::new(), next_seq: head.from, end_ns: head.end_ns, period_ns: head.period_ns }
    }

    /// Adds an update. Numbers must ascend.
    pub fn push(&mut self, update: &Update) {
        let Histogram { bins, min_ns, max_ns } = &update.histogram;
        let (lowest, highest) = anchors(bins);
        let item = Item {
            skip: update.seq.wrapping_sub(self.next_seq),
            series: update.series,
            end: difference(update.end_ns, self.end_ns),
            period: difference(update.period_ns, self.period_ns),
            skew_ns: update.skew_ns,
            bins: SparseBins(*bins),
            min: difference(*min_ns, lowest),
            max: difference(*max_ns, highest),
        };
        self.next_seq = update.seq.wrapping_add(1);
        self.end_ns = update.end_ns;
        self.period_ns = update.period_ns;
        // Writing to memory cannot fail; were it to, the batch would end here and stay readable.
        if let Ok(bytes) = postcard::to_extend(&item, core::mem::take(&mut self.bytes)) {
            self.bytes = bytes;
        }
    }

    /// The updates written.
    #[must_use]
    pub fn finish(&self) -> Blob<'_> {
        Blob(&self.bytes)
    }
}

/// Reads the updates of one batch, one at a time. Ends at the first that makes no sense.
#[derive(Clone, Debug)]
pub struct Updates<'a> {
    rest: &'a [u8],
    seq: u64,
    end_ns: u64,
    period_ns: u64,
}

impl Iterator for Updates<'_> {
    type Item = Result<Update, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Ok((item, rest)) = postcard::take_from_bytes::<Item>(self.rest) else {
            self.rest = &[];
            return Some(Err(WireError::Malformed));
        };
        self.rest = rest;
        let seq = self.seq.wrapping_add(item.skip);
        self.seq = seq.wrapping_add(1);
        self.end_ns = applied(self.end_ns, item.end);
        self.period_ns = applied(self.period_ns, item.period);
        let (lowest, highest) = anchors(&item.bins.0);
        Some(Ok(Update {
            seq,
            series: item.series,
            period_ns: self.period_ns,
            end_ns: self.end_ns,
            skew_ns: item.skew_ns,
            histogram: Histogram {
                bins: item.bins.0,
                min_ns: applied(lowest, item.min),
                max_ns: applied(highest, item.max),
            },
        }))
    }
}

/// Bytes that are written and read in one piece, borrowed from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob<'a>(pub &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor).map(Blob)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = &'de [u8];

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
        Ok(bytes)
    }
}
