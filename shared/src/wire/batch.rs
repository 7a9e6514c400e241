//! The updates of one batch. Each is encoded relative to the previous one. Decoding allocates nothing.

use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SeriesEntry, Span, SparseBins, WireError, span_of};
use crate::histogram::{BINS, Histogram, bin_low};

/// One histogram of one series over one period, with its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The sequence number in the application's log. Together with the epoch of the log, it identifies the update.
    pub seq: u64,
    /// The number of the series in the log.
    pub series: u32,
    /// Length of the period, in ns.
    pub period_ns: u64,
    /// End of the period, in ns since the Unix epoch: by the producer's clock, plus `offset_ns`.
    pub end_ns: u64,
    /// The offset that the relay added to the period end, in ns. Positive if the producer's clock is behind, 0 if it is
    /// approximately right.
    pub offset_ns: i64,
    /// The counts.
    pub histogram: Histogram,
}

impl Update {
    /// End of the period by the producer's clock, in ns since the Unix epoch.
    #[must_use]
    pub const fn producer_end_ns(&self) -> u64 {
        self.end_ns.wrapping_sub(self.offset_ns.cast_unsigned())
    }
}

/// The range of the log that a batch covers, and the base of its first update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHead {
    /// The feed, as announced in [`Subscribed`](super::Subscribed).
    pub feed: u32,
    /// First sequence number of the range. It follows the previous batch's `to`; otherwise, updates are missing.
    pub from: u64,
    /// Last sequence number of the range. Not every update of the range has to match the filter.
    pub to: u64,
    /// When the batch was cut, in ns since the Unix epoch by the relay's clock.
    pub cut_ns: u64,
    /// The period end that the first update is relative to, in ns since the Unix epoch.
    pub end_ns: u64,
    /// The period that the first update is relative to, in ns.
    pub period_ns: u64,
    /// The series that appear in this feed for the first time.
    pub series: Vec<SeriesEntry>,
}

impl BatchHead {
    /// Decodes the updates of the same message.
    #[must_use]
    pub fn read<'a>(&self, updates: Blob<'a>) -> Updates<'a> {
        Updates { rest: updates.0, seq: self.from, end_ns: self.end_ns, period_ns: self.period_ns }
    }
}

/// One encoded update. Differences wrap around, so that every possible value has exactly one encoding.
#[derive(Deserialize)]
struct Item {
    /// Sequence numbers skipped since the previous update, or since `from` of the batch.
    skip: u64,
    series: u32,
    end: i64,
    period: i64,
    offset_ns: i64,
    bins: SparseBins,
    /// Minimum, relative to the low bound of the lowest occupied bin (0 if there is none).
    min: i64,
    /// Maximum, relative to the low bound of the highest occupied bin (0 if there is none).
    max: i64,
}

/// The bases of the encoded minimum and maximum.
fn anchors(bins: &[u64; BINS]) -> (u64, u64) {
    let low = |bin: Option<usize>| bin.map_or(0, bin_low);
    (low(bins.iter().position(|&count| count > 0)), low(bins.iter().rposition(|&count| count > 0)))
}

/// `value - base`, wrapping, as a signed number.
fn difference(value: u64, base: u64) -> i64 {
    value.wrapping_sub(base).cast_signed()
}

/// The inverse of [`difference`].
fn add_difference(base: u64, difference: i64) -> u64 {
    base.wrapping_add(difference.cast_unsigned())
}

/// Encodes the updates of one batch. This is most of the cost of an update in the relay.
///
/// The writer reserves the space for an update once. This takes about a fifth less time than checking the space for
/// each byte, and two fifths less if histograms repeat.
#[derive(Debug, Default)]
pub struct UpdatesWriter {
    /// The encoded bytes, and reserved space after them.
    buffer: Vec<u8>,
    written: usize,
    next_seq: u64,
    end_ns: u64,
    period_ns: u64,
}

impl UpdatesWriter {
    /// Starts the batch of `head`.
    #[must_use]
    pub fn new(head: &BatchHead) -> Self {
        let mut writer = Self::default();
        writer.begin(head.from, head.end_ns, head.period_ns);
        writer
    }

    /// Starts another batch in the same buffer. Its range starts with `from`, and its first update is relative to this period.
    pub fn begin(&mut self, from: u64, end_ns: u64, period_ns: u64) {
        self.written = 0;
        (self.next_seq, self.end_ns, self.period_ns) = (from, end_ns, period_ns);
    }

    /// Adds an update. Sequence numbers must be ascending.
    pub fn push(&mut self, update: &Update) {
        let Update { seq, series, period_ns, end_ns, offset_ns, ref histogram } = *update;
        self.push_parts([seq, period_ns, end_ns], offset_ns, series, span_of(histogram));
    }

    /// Adds an update from its parts: sequence number, period and period end, offset, series and counts.
    pub fn push_parts(
        &mut self,
        [seq, period_ns, end_ns]: [u64; 3],
        offset_ns: i64,
        series: u32,
        span: Span<impl ExactSizeIterator<Item = u64>>,
    ) {
        let Span { first, counts, min_ns, max_ns } = span;
        let length = counts.len();
        let (next_seq, last_end_ns, last_period_ns) = (self.next_seq, self.end_ns, self.period_ns);
        let low = |bin: usize| if length == 0 { 0 } else { bin_low(bin) };
        let mut out = self.reserve(FIXED_NUMBERS + length);
        out.number(seq.wrapping_sub(next_seq));
        out.number(u64::from(series));
        out.signed(difference(end_ns, last_end_ns));
        out.signed(difference(period_ns, last_period_ns));
        out.signed(offset_ns);
        out.byte(first as u8);
        out.byte(length as u8);
        for count in counts {
            out.number(count);
        }
        out.signed(difference(min_ns, low(first)));
        out.signed(difference(max_ns, low(first + length.saturating_sub(1))));
        self.written += out.at;
        self.next_seq = seq.wrapping_add(1);
        self.end_ns = end_ns;
        self.period_ns = period_ns;
    }

    /// The encoded updates.
    #[must_use]
    pub fn finish(&self) -> Blob<'_> {
        Blob(&self.buffer[..self.written])
    }

    /// Clears the buffer. If less than half of it was used, shrinks it to `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.written < self.buffer.len() / 2 {
            self.buffer.truncate(bytes);
            self.buffer.shrink_to(bytes);
        }
        self.written = 0;
    }

    fn reserve(&mut self, numbers: usize) -> Out<'_> {
        let end = self.written + numbers * NUMBER_BYTES_MAX;
        if self.buffer.len() < end {
            self.grow(end);
        }
        Out { buffer: &mut self.buffer[self.written..end], at: 0 }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.buffer.reserve(least - self.buffer.len());
        self.buffer.resize(self.buffer.capacity(), 0);
    }
}

/// Maximum length of an encoded number, in bytes.
const NUMBER_BYTES_MAX: usize = 10;
/// Number of fields of an update besides its counts.
const FIXED_NUMBERS: usize = 9;

/// A buffer and the position of the next byte.
struct Out<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Out<'_> {
    fn byte(&mut self, byte: u8) {
        self.buffer[self.at] = byte;
        self.at += 1;
    }

    /// Writes a number as postcard does: seven bits per byte, the lowest first. A version without branches would take
    /// about half as long again if histograms repeat, and about a sixth less time if they do not.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Writes a signed number as postcard does, so that small numbers of either sign are short.
    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }
}

/// Decodes the updates of one batch, one at a time. Ends at the first malformed one.
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
        self.end_ns = add_difference(self.end_ns, item.end);
        self.period_ns = add_difference(self.period_ns, item.period);
        let (lowest, highest) = anchors(&item.bins.0);
        Some(Ok(Update {
            seq,
            series: item.series,
            period_ns: self.period_ns,
            end_ns: self.end_ns,
            offset_ns: item.offset_ns,
            histogram: Histogram {
                bins: item.bins.0,
                min_ns: add_difference(lowest, item.min),
                max_ns: add_difference(highest, item.max),
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
