//! Bins on the wire and at rest: first occupied bin, how many bins follow, their counts as varints.
//!
//! A second of real traffic occupies 12 to 27 neighbouring bins, so this takes 21 to 57 bytes where 65 plain counters take 520.

use alloc::boxed::Box;
use core::fmt;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::histogram::{BINS, Histogram};

/// The 65 counts of a histogram in their compact form: `(first, counts)`, where `counts` begins and ends with a bin that
/// is not zero. All zero is `(0, [])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseBins(pub [u64; BINS]);

/// The first occupied bin and the counts from there to the last one.
fn span(bins: &[u64; BINS]) -> (usize, &[u64]) {
    let first = bins.iter().position(|&count| count > 0).unwrap_or(0);
    let end = bins.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
    (first, &bins[first..end])
}

/// What a histogram counted, as it is written: its counts from the first occupied bin to the last one.
#[derive(Clone, Debug)]
pub struct Span<C> {
    /// The first occupied bin; 0 when there is none.
    pub first: usize,
    /// The counts from there to the last occupied bin.
    pub counts: C,
    /// As in [`Histogram::min_ns`].
    pub min_ns: u64,
    /// As in [`Histogram::max_ns`].
    pub max_ns: u64,
}

/// The part of `histogram` that is written.
#[must_use]
pub fn span_of(histogram: &Histogram) -> Span<impl ExactSizeIterator<Item = u64>> {
    let (first, counts) = span(&histogram.bins);
    Span { first, counts: counts.iter().copied(), min_ns: histogram.min_ns, max_ns: histogram.max_ns }
}

impl Serialize for SparseBins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (first, counts) = span(&self.0);
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&(first as u8))?;
        tuple.serialize_element(counts)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for SparseBins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, SpanVisitor)
    }
}

struct SpanVisitor;

impl<'de> Visitor<'de> for SpanVisitor {
    type Value = SparseBins;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a first bin and the counts from there")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SparseBins, A::Error> {
        let first: u8 = seq.next_element()?.ok_or_else(|| A::Error::missing_field("first"))?;
        let counts = Counts { first: usize::from(first) };
        seq.next_element_seed(counts)?.ok_or_else(|| A::Error::missing_field("counts"))
    }
}

/// Reads counts straight into their bins, without a vector between.
struct Counts {
    first: usize,
}

impl<'de> DeserializeSeed<'de> for Counts {
    type Value = SparseBins;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SparseBins, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Counts {
    type Value = SparseBins;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("at most 65 counts in all")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SparseBins, A::Error> {
        let mut bins = [0; BINS];
        let mut next = self.first;
        while let Some(count) = seq.next_element()? {
            *bins.get_mut(next).ok_or_else(|| A::Error::invalid_length(next, &self))? = count;
            next += 1;
        }
        Ok(SparseBins(bins))
    }
}

/// [`SparseBins`] as bytes at rest, some 20 to 60 of them.
///
/// The windowed store keeps hundreds of histograms for each view; packed they take a tenth of the memory, and unpacking one
/// costs less than drawing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBins(Box<[u8]>);

impl PackedBins {
    /// Packs `bins`.
    #[must_use]
    pub fn pack(bins: &[u64; BINS]) -> Self {
        Self(super::encode(&SparseBins(*bins)).into_boxed_slice())
    }

    /// Calls `visit(bin, count)` for every occupied bin, in ascending order.
    pub fn for_each(&self, mut visit: impl FnMut(usize, u64)) {
        let bins = self.unpack();
        bins.iter().enumerate().filter(|&(_, &count)| count > 0).for_each(|(bin, &count)| visit(bin, count));
    }

    /// The 65 counts. Nothing packed yet is all zero.
    #[must_use]
    pub fn unpack(&self) -> [u64; BINS] {
        super::decode::<SparseBins>(&self.0).map_or([0; BINS], |bins| bins.0)
    }

    /// Whether no count was ever packed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // The form of all zero is two bytes: first 0, length 0.
        self.0.len() <= 2
    }
}
