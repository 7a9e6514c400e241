//! The encoded form of a histogram, in messages and in memory.
//!
//! It contains the counts from the first to the last occupied bin as varints. A second of Wallaroo's traffic occupies 12 to 27
//! adjacent bins and takes 21 to 57 bytes; 65 plain counters take 520. Finer bins have gaps between them, so at scale 1 to 3 a
//! zero is followed by the number of further zeros.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use smallvec::SmallVec;

use super::WireError;
use crate::histogram::{Grid, Histogram, Unit};

/// The first byte of the long form. In the short form (scale 0 in ns, no sum), it is the first occupied bin, at most 64.
const LONG_FORM: u8 = 0x80;
/// The bit of the first byte that announces a sum.
const HAS_SUM: u8 = 0x40;

/// The parts of a histogram that are encoded: its counts from the first to the last occupied bin.
#[derive(Clone, Debug)]
pub struct Span<C> {
    /// The edges of the bins.
    pub grid: Grid,
    /// The first occupied bin; 0 if there is none.
    pub first: usize,
    /// The counts from there to the last occupied bin.
    pub counts: C,
    /// As in [`Histogram::min_ns`].
    pub min_ns: u64,
    /// As in [`Histogram::max_ns`].
    pub max_ns: u64,
    /// As in [`Histogram::sum_ns`].
    pub sum_ns: Option<u64>,
}

impl<C: ExactSizeIterator<Item = u64>> Span<C> {
    /// The histogram of these parts.
    #[must_use]
    pub fn into_histogram(self) -> Histogram {
        let Self { grid, first, counts, min_ns, max_ns, sum_ns } = self;
        Histogram::from_counts(grid, first, counts).with_statistics(min_ns, max_ns, sum_ns)
    }
}

/// The parts of `histogram` that are encoded.
#[must_use]
pub fn span_of(histogram: &Histogram) -> Span<impl ExactSizeIterator<Item = u64>> {
    let (first, counts) = histogram.span();
    let (min_ns, max_ns, sum_ns) = (histogram.min_ns, histogram.max_ns, histogram.sum_ns);
    Span { grid: histogram.grid(), first, counts: counts.iter().copied(), min_ns, max_ns, sum_ns }
}

/// The largest encoded size of a histogram with `bins` bins between its first and last occupied one, in bytes: head, first bin,
/// length, sum, minimum, maximum and counts of at most ten bytes each.
pub(super) const fn encoded_bytes_max(bins: usize) -> usize {
    10 * (6 + bins)
}

/// Writes `span`. `out` has room for [`encoded_bytes_max`] bytes.
pub(super) fn write(out: &mut Out<'_>, span: Span<impl ExactSizeIterator<Item = u64>>) {
    let Span { grid, first, counts, min_ns, max_ns, sum_ns } = span;
    let length = counts.len();
    if grid == Grid::WALLAROO && sum_ns.is_none() {
        out.byte(first as u8);
        out.byte(length as u8);
        for count in counts {
            out.number(count);
        }
    } else {
        write_long(out, grid, first, counts, sum_ns);
    }
    let low = |bin: usize| if length == 0 { 0 } else { grid.low(bin) };
    out.signed(difference(min_ns, low(first)));
    out.signed(difference(max_ns, low(first + length.saturating_sub(1))));
}

fn write_long(
    out: &mut Out<'_>,
    grid: Grid,
    first: usize,
    counts: impl ExactSizeIterator<Item = u64>,
    sum_ns: Option<u64>,
) {
    let sum_bit = if sum_ns.is_some() { HAS_SUM } else { 0 };
    out.byte(LONG_FORM | sum_bit | unit_code(grid.unit()) << 2 | grid.scale());
    out.number(first as u64);
    out.number(counts.len() as u64);
    let mut zeros = 0;
    for count in counts {
        if count == 0 {
            zeros += 1;
            continue;
        }
        if zeros > 0 {
            out.byte(0);
            out.number(zeros - 1);
            zeros = 0;
        }
        out.number(count);
    }
    if let Some(sum_ns) = sum_ns {
        out.number(sum_ns);
    }
}

const fn unit_code(unit: Unit) -> u8 {
    match unit {
        Unit::Nanoseconds => 0,
        Unit::Microseconds => 1,
        Unit::Milliseconds => 2,
        Unit::Seconds => 3,
    }
}

/// Reads one histogram from the start of `rest`.
pub(super) fn read(rest: &mut &[u8]) -> Result<Histogram, WireError> {
    let head: u8 = take(rest)?;
    let mut histogram = if head & LONG_FORM == 0 { read_short(head, rest)? } else { read_long(head, rest)? };
    let (first, counts) = histogram.span();
    let low = |bin: usize| if counts.is_empty() { 0 } else { histogram.grid().low(bin) };
    let (lowest, highest) = (low(first), low((first + counts.len()).saturating_sub(1)));
    histogram.min_ns = add_difference(lowest, take(rest)?);
    histogram.max_ns = add_difference(highest, take(rest)?);
    Ok(histogram)
}

fn read_short(first: u8, rest: &mut &[u8]) -> Result<Histogram, WireError> {
    let (first, length) = (usize::from(first), usize::from(take::<u8>(rest)?));
    if first + length > Grid::WALLAROO.bins() {
        return Err(WireError::Malformed);
    }
    Histogram::try_from_counts(Grid::WALLAROO, first, length, |counts| {
        for count in counts {
            *count = take_number(rest)?;
        }
        Ok(())
    })
}

fn read_long(head: u8, rest: &mut &[u8]) -> Result<Histogram, WireError> {
    let (grid, span) = read_long_span(head, rest)?;
    let (first, mut sum_ns) = (span.start, None);
    let mut histogram = Histogram::try_from_counts(grid, first, span.len(), |counts| {
        sum_ns = read_long_counts(head, span, rest, |bin, count| counts[bin - first] = count)?;
        Ok(())
    })?;
    histogram.sum_ns = sum_ns;
    Ok(histogram)
}

/// The edges of the bins in the long form.
fn long_grid(head: u8) -> Result<Grid, WireError> {
    let (scale, unit) = (head & 3, Unit::ALL[usize::from(head >> 2 & 3)]);
    Grid::new(scale, unit).filter(|_| head & 0x30 == 0).ok_or(WireError::Malformed)
}

/// Reads the edges of the bins of the long form, and the bins from the first to the last occupied one.
fn read_long_span(head: u8, rest: &mut &[u8]) -> Result<(Grid, Range<usize>), WireError> {
    let grid = long_grid(head)?;
    let (first, length) = (take_number(rest)?, take_number(rest)?);
    let end = first.checked_add(length).filter(|&end| end <= grid.bins() as u64).ok_or(WireError::Malformed)?;
    Ok((grid, first as usize..end as usize))
}

/// Reads the counts of the long form in the bins of `span`, and the sum that follows them.
fn read_long_counts(
    head: u8,
    span: Range<usize>,
    rest: &mut &[u8],
    mut visit: impl FnMut(usize, u64),
) -> Result<Option<u64>, WireError> {
    let Range { start: mut bin, end } = span;
    while bin < end {
        let count = take_number(rest)?;
        if count > 0 {
            visit(bin, count);
            bin += 1;
            continue;
        }
        let further = take_number(rest)?;
        // The last bin of the span is occupied.
        let room = (end - bin).checked_sub(2).ok_or(WireError::Malformed)?;
        bin += usize::try_from(further).ok().filter(|&further| further <= room).ok_or(WireError::Malformed)? + 1;
    }
    if head & HAS_SUM != 0 { take(rest).map(Some) } else { Ok(None) }
}

/// Reads one number from the start of `rest`. Most numbers have one byte.
fn take_number(rest: &mut &[u8]) -> Result<u64, WireError> {
    if let [byte @ 0..0x80, after @ ..] = *rest {
        *rest = after;
        return Ok(u64::from(*byte));
    }
    take(rest)
}

/// Reads one postcard value from the start of `rest`.
pub(crate) fn take<'a, T: serde::Deserialize<'a>>(rest: &mut &'a [u8]) -> Result<T, WireError> {
    let (value, after) = postcard::take_from_bytes(rest).map_err(|_| WireError::Malformed)?;
    *rest = after;
    Ok(value)
}

/// `value - base`, wrapping, as a signed number.
pub(super) const fn difference(value: u64, base: u64) -> i64 {
    value.wrapping_sub(base).cast_signed()
}

/// The inverse of [`difference`].
pub(super) const fn add_difference(base: u64, difference: i64) -> u64 {
    base.wrapping_add(difference.cast_unsigned())
}

/// A buffer and the position of the next byte.
pub(super) struct Out<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) at: usize,
}

impl Out<'_> {
    pub(super) fn byte(&mut self, byte: u8) {
        self.buffer[self.at] = byte;
        self.at += 1;
    }

    /// Writes a number as postcard does: seven bits per byte, the lowest first. A version without branches would take
    /// about half as long again if histograms repeat, and about a sixth less time if they do not.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Writes a signed number as postcard does, so that small numbers of either sign are short.
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }
}

/// Appends the encoded form of `histogram` to `bytes`.
pub fn write_histogram(bytes: &mut Vec<u8>, histogram: &Histogram) {
    let (start, span) = (bytes.len(), span_of(histogram));
    bytes.resize(start + encoded_bytes_max(span.counts.len()), 0);
    let mut out = Out { buffer: &mut bytes[start..], at: 0 };
    write(&mut out, span);
    let length = out.at;
    bytes.truncate(start + length);
}

/// Reads one histogram from the start of `bytes`, which then starts after it.
///
/// # Errors
/// Fails if the bytes do not start with the encoded form of a histogram.
pub fn read_histogram(bytes: &mut &[u8]) -> Result<Histogram, WireError> {
    read(bytes)
}

/// Size of the buffer in which a histogram is packed, in bytes. Only those with more than 45 bins need an allocation.
const PACKED_BYTES: usize = 512;

/// A histogram as bytes in memory, about 20 to 100.
///
/// The store retains hundreds of histograms for each view. Packed, they take a tenth of the memory. Unpacking a
/// histogram costs less than drawing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedHistogram(Box<[u8]>);

impl PackedHistogram {
    /// Packs `histogram`.
    #[must_use]
    pub fn pack(histogram: &Histogram) -> Self {
        let span = span_of(histogram);
        let mut buffer: SmallVec<[u8; PACKED_BYTES]> = SmallVec::from_elem(0, encoded_bytes_max(span.counts.len()));
        let mut out = Out { buffer: &mut buffer, at: 0 };
        write(&mut out, span);
        let length = out.at;
        Self(Box::from(&buffer[..length]))
    }

    /// The edges of its bins; `None` if nothing was packed.
    #[must_use]
    pub(crate) fn grid(&self) -> Option<Grid> {
        let head = *self.0.first()?;
        if head & LONG_FORM == 0 { Some(Grid::WALLAROO) } else { long_grid(head).ok() }
    }

    /// Calls `visit` for each bin with a count, and returns the sum of the durations. Takes less time than unpacking.
    pub(crate) fn for_each_count(&self, mut visit: impl FnMut(usize, u64)) -> Option<u64> {
        let (&head, mut rest) = self.0.split_first()?;
        if head & LONG_FORM != 0 {
            let (_, span) = read_long_span(head, &mut rest).ok()?;
            return read_long_counts(head, span, &mut rest, visit).ok().flatten();
        }
        let (&length, mut rest) = rest.split_first()?;
        for bin in usize::from(head)..usize::from(head) + usize::from(length) {
            visit(bin, take_number(&mut rest).ok()?);
        }
        None
    }

    /// Whether there are no counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Then the length, the second byte of the short form, is 0. The long form starts with its head, the first bin and the
        // length, all in one byte if there are no counts.
        match *self.0 {
            [head, _, length, ..] if head & LONG_FORM != 0 => length == 0,
            [_, length, ..] => length == 0,
            _ => true,
        }
    }

    /// The histogram. It is empty if nothing was packed.
    #[must_use]
    pub fn unpack(&self) -> Histogram {
        read(&mut &self.0[..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::SCALE_MAX;
    use proptest::prelude::*;

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        let counts =
            prop::collection::vec((0..513_usize, prop::sample::select(alloc::vec![0, 1, 127, 128, u64::MAX])), 0..30);
        let extremes = (any::<u64>(), any::<u64>(), proptest::option::of(any::<u64>()));
        (0..=SCALE_MAX, 0..4_usize, counts, extremes).prop_map(|(scale, unit, counts, (min_ns, max_ns, sum_ns))| {
            let grid = Grid::new(scale, Unit::ALL[unit]).unwrap();
            let mut histogram = Histogram::new(grid).with_statistics(min_ns, max_ns, sum_ns);
            counts.into_iter().for_each(|(bin, count)| histogram.add(bin % grid.bins(), count));
            histogram
        })
    }

    #[test]
    fn a_service_with_forty_occupied_bins_takes_at_most_ninety_bytes() {
        // A second with 2,000 requests: log-normal around 8 ms, over three octaves, and a few slow ones.
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        for bin in 170..206_usize {
            let distance = bin as f64 - 185.0;
            histogram.add(bin, (180.0 * (-distance * distance / 60.0).exp()) as u64 + 1);
        }
        for bin in [212, 215, 223, 240] {
            histogram.add(bin, 1);
        }
        histogram.set_bounds();
        histogram.sum_ns = Some(2_000 * 8_123_456);
        assert_eq!(histogram.occupied().count(), 40);
        let bytes = PackedHistogram::pack(&histogram).0.len();
        // An update adds at least five bytes: sequence number, series, period end, period and offset.
        assert!(bytes + 5 <= 90, "{bytes} bytes");
    }

    #[test]
    fn the_short_form_has_no_grid() {
        let histogram = Histogram::from_counts(Grid::WALLAROO, 7, [3, 0, 0, 2]).with_statistics(90, 900, None);
        // Minimum and maximum are relative to 64 and 512, in zigzag form: 2 * 26 and 2 * 388.
        assert_eq!(&*PackedHistogram::pack(&histogram).0, [7, 4, 3, 0, 0, 2, 52, 0x88, 0x06]);
    }

    proptest! {
        #[test]
        fn every_histogram_survives_encoding(histogram in any_histogram(), after in prop::collection::vec(any::<u8>(), 0..3)) {
            let mut bytes = Vec::new();
            write_histogram(&mut bytes, &histogram);
            let length = bytes.len();
            prop_assert!(length <= encoded_bytes_max(histogram.span().1.len()));
            bytes.extend(&after);
            let mut rest = &bytes[..];
            let packed = PackedHistogram::pack(&histogram);
            prop_assert_eq!((packed.is_empty(), packed.grid()), (histogram.is_empty(), Some(histogram.grid())));
            let mut counts = Vec::new();
            let sum_ns = packed.for_each_count(|bin, count| if count > 0 { counts.push((bin, count)) });
            prop_assert_eq!((counts, sum_ns), (histogram.occupied().collect(), histogram.sum_ns));
            prop_assert_eq!(read_histogram(&mut rest), Ok(histogram));
            prop_assert_eq!(rest, &after[..]);
            for at in 0..length {
                prop_assert_eq!(read_histogram(&mut &bytes[..at]), Err(WireError::Malformed));
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(histogram) = read_histogram(&mut &bytes[..]) {
                let again = PackedHistogram::pack(&histogram);
                prop_assert_eq!(again.unpack(), histogram);
            }
        }
    }
}
