//! The compact form of bins, in messages and in memory: the first occupied bin, the number of bins, and their counts as varints.
//!
//! A second of real traffic occupies 12 to 27 adjacent bins. This form takes 21 to 57 bytes for them; 65 plain counters take 520.

use alloc::boxed::Box;
use core::fmt;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::histogram::{BINS, Histogram};

/// The 65 counts of a histogram. The compact form is `(first, counts)`, where the first and the last count are not zero. If all
/// counts are zero, it is `(0, [])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseBins(pub [u64; BINS]);

/// The first occupied bin, and the counts from there to the last occupied bin.
fn span(bins: &[u64; BINS]) -> (usize, &[u64]) {
    let first = bins.iter().position(|&count| count > 0).unwrap_or(0);
    let end = bins.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
    (first, &bins[first..end])
}

/// The part of a histogram that is encoded: its counts from the first to the last occupied bin.
#[derive(Clone, Debug)]
pub struct Span<C> {
    /// The first occupied bin; 0 if there is none.
    pub first: usize,
    /// The counts from there to the last occupied bin.
    pub counts: C,
    /// As in [`Histogram::min_ns`].
    pub min_ns: u64,
    /// As in [`Histogram::max_ns`].
    pub max_ns: u64,
}

/// The part of `histogram` that is encoded.
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

/// Decodes counts directly into their bins, without an intermediate vector.
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

/// [`SparseBins`] as bytes in memory, about 20 to 60.
///
/// The store retains hundreds of histograms for each view. Packed, they take a tenth of the memory. Unpacking a
/// histogram costs less than drawing it.
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

    /// The 65 counts. They are zero if nothing was packed.
    #[must_use]
    pub fn unpack(&self) -> [u64; BINS] {
        super::decode::<SparseBins>(&self.0).map_or([0; BINS], |bins| bins.0)
    }

    /// Whether all counts are zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // If all counts are zero, the form has two bytes: first bin 0, length 0.
        self.0.len() <= 2
    }
}
