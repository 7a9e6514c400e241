//! The updates of one batch: each written relative to the one before, each read without allocating.

use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SeriesEntry, Span, SparseBins, WireError, span_of};
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
    /// When that span ended, in ns since the Unix epoch: by the producer's clock, plus the offset of that clock.
    pub end_ns: u64,
    /// The offset that the relay added to the producer's own period end, in ns: positive where the producer's clock is behind, 0
    /// where it is about right.
    pub offset_ns: i64,
    /// What was counted.
    pub histogram: Histogram,
}

impl Update {
    /// When its period ended by the producer's own clock, in ns since the Unix epoch.
    #[must_use]
    pub const fn producer_end_ns(&self) -> u64 {
        self.end_ns.wrapping_sub(self.offset_ns.cast_unsigned())
    }
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

/// How one update is read. Differences wrap, so that every value a producer can send has exactly one form.
#[derive(Deserialize)]
struct Item {
    /// Numbers left out since the update before (or since the batch's `from`).
    skip: u64,
    series: u32,
    end: i64,
    period: i64,
    offset_ns: i64,
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

/// Writes the updates of one batch, each straight into its bytes: this is most of what an update costs a relay.
///
/// The room for an update is asked for once. That takes a fifth less time than asking for every byte of it, and two fifths less
/// where histograms repeat.
#[derive(Debug, Default)]
pub struct UpdatesWriter {
    /// What is written, and behind it room for more.
    room: Vec<u8>,
    written: usize,
    next_seq: u64,
    end_ns: u64,
    period_ns: u64,
}

impl UpdatesWriter {
    /// Begins the batch that `head` describes.
    #[must_use]
    pub fn new(head: &BatchHead) -> Self {
        let mut writer = Self::default();
        writer.begin(head.from, head.end_ns, head.period_ns);
        writer
    }

    /// Begins another batch, from number `from` on and relative to this period, in the room that there is.
    pub fn begin(&mut self, from: u64, end_ns: u64, period_ns: u64) {
        self.written = 0;
        (self.next_seq, self.end_ns, self.period_ns) = (from, end_ns, period_ns);
    }

    /// Adds an update. Numbers must ascend.
    pub fn push(&mut self, update: &Update) {
        let Update { seq, series, period_ns, end_ns, offset_ns, ref histogram } = *update;
        self.push_parts([seq, period_ns, end_ns], offset_ns, series, span_of(histogram));
    }

    /// Adds an update whose parts are in several places: its number, period and period end, its offset, its series, what was
    /// counted.
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
        let mut out = self.room_for(NUMBERS_BESIDES_COUNTS + length);
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

    /// The updates written.
    #[must_use]
    pub fn finish(&self) -> Blob<'_> {
        Blob(&self.room[..self.written])
    }

    /// Forgets what was written, and gives back all room but for `bytes` unless half of it was needed.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.written < self.room.len() / 2 {
            self.room.truncate(bytes);
            self.room.shrink_to(bytes);
        }
        self.written = 0;
    }

    fn room_for(&mut self, numbers: usize) -> Out<'_> {
        let end = self.written + numbers * NUMBER_BYTES_MAX;
        if self.room.len() < end {
            self.grow(end);
        }
        Out { room: &mut self.room[self.written..end], at: 0 }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.room.reserve(least - self.room.len());
        self.room.resize(self.room.capacity(), 0);
    }
}

/// Most bytes of a number.
const NUMBER_BYTES_MAX: usize = 10;
/// Numbers of an update that are there whatever was counted.
const NUMBERS_BESIDES_COUNTS: usize = 9;

/// Room that is written from the front.
struct Out<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Out<'_> {
    fn byte(&mut self, byte: u8) {
        self.room[self.at] = byte;
        self.at += 1;
    }

    /// As postcard writes a number: seven bits a byte, the lowest first. Without branches it would take half as long again
    /// where histograms repeat, and a sixth less where none does.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// As postcard writes a number that may be negative: small ones of either sign are short.
    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
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
            offset_ns: item.offset_ns,
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
