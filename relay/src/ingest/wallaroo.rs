//! Wallaroo's metrics format, the same in every release. Frames are decoded in place.
//!
//! Source: `lib/wallaroo_labs/hub/hub_protocol.pony`, unchanged from release 0.1.2 to the last. All integers are
//! big-endian. A frame is a `u32` length and that many bytes. The first byte is the frame's type:
//!
//! | type | body |
//! |---|---|
//! | 1 connect | nothing |
//! | 2 join | topic, worker; the worker may be absent |
//! | 3 payload | event, topic, and a data block of exact length |
//!
//! Strings are a `u32` length and bytes. The data block of the event `metrics` is a meaningless `u32`, then name,
//! category, worker, pipeline, a `u16` id, 65 `u64` bins, minimum, maximum, period and period end, all in ns.
//!
//! Decoding allocates nothing and is total: any bytes result in a frame or a rejection reason.

use std::ops::Range;

use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{NameError, Provenance, Source, check_name};
use joey_shared::wire::Span;

use crate::data_point::{Counts, DataPoint};
use crate::metrics::RejectReason;

/// Number of bins in a frame.
const BINS: usize = 65;
/// The prefix of a topic, before the application's name.
const TOPIC_PREFIX: &[u8] = b"metrics:";
/// The event that carries histograms.
const METRICS_EVENT: &[u8] = b"metrics";

/// Accepted periods in ns: 10 ms to 1 h. Wallaroo's period is 2 s.
pub(super) const PERIOD_NS: std::ops::RangeInclusive<u64> = 10_000_000..=3_600_000_000_000;

/// Size of the last part of a metrics frame in bytes: the bins, minimum, maximum, period and period end.
const COUNTS_BYTES: usize = 8 * (BINS + 4);

/// A decoded frame.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it stays on the stack while one frame is processed; a box would allocate"
)]
pub enum Frame<'a> {
    /// The first frame of a connection.
    Connect,
    /// This connection belongs to a worker of an application.
    Join {
        /// The application.
        app: &'a str,
        /// The worker, if the frame names one.
        worker: Option<&'a str>,
    },
    /// One histogram.
    Metrics(DataPoint<'a>),
    /// A payload of another event, which no Wallaroo release sends to a hub.
    UnknownEvent,
}

/// The result of looking for a frame at the start of a producer's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum NextFrame<'a> {
    /// The frame is incomplete.
    Partial,
    /// A complete frame: its body, and its size in bytes including the length field.
    Whole(&'a [u8], usize),
    /// The announced length exceeds the limit. The start of the next frame is unknown.
    TooLong(u32),
}

/// Looks for one frame at the start of `bytes`. Allocates nothing for an incomplete frame.
#[must_use]
pub fn next_frame(bytes: &[u8], frame_bytes_max: usize) -> NextFrame<'_> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return NextFrame::Partial };
    let length = u32::from_be_bytes(*length);
    let Some(wanted) = usize::try_from(length).ok().filter(|&wanted| wanted <= frame_bytes_max) else {
        return NextFrame::TooLong(length);
    };
    rest.get(..wanted).map_or(NextFrame::Partial, |body| NextFrame::Whole(body, wanted + 4))
}

/// Decodes the body of one frame, without its length.
///
/// # Errors
/// Returns why the frame is rejected. The frames after it are not affected.
pub fn decode(body: &[u8]) -> Result<Frame<'_>, RejectReason> {
    let mut rest = Reader(body);
    match rest.byte()? {
        1 => rest.end().map(|()| Frame::Connect),
        2 => {
            let app = app_of(rest.string()?)?;
            let worker = if rest.0.is_empty() { None } else { Some(check_name(rest.string()?)?) };
            rest.end()?;
            Ok(Frame::Join { app, worker })
        }
        3 => {
            let event = rest.string()?;
            let topic = rest.string()?;
            let data = rest.string()?;
            rest.end()?;
            if event == METRICS_EVENT { decode_metrics(app_of(topic)?, data) } else { Ok(Frame::UnknownEvent) }
        }
        _ => Err(RejectReason::UnknownType),
    }
}

/// For a frame that [`decode`] rejects because of a name: the application, the first invalid name, and its error.
/// Returns `None` if the application's own name is invalid.
#[must_use]
pub fn rejected_name(body: &[u8]) -> Option<(&str, &[u8], NameError)> {
    let mut rest = Reader(body);
    let (app, names) = match rest.byte().ok()? {
        2 => (app_of(rest.string().ok()?).ok()?, vec![rest.string().ok()?]),
        3 => {
            rest.string().ok()?;
            let app = app_of(rest.string().ok()?).ok()?;
            let mut data = Reader(rest.string().ok()?);
            data.u32().ok()?;
            (app, (0..4).map(|_| data.string()).collect::<Result<_, _>>().ok()?)
        }
        _ => return None,
    };
    names.into_iter().find_map(|name| Some((app, name, check_name(name).err()?)))
}

/// Splits the body of a metrics frame into the prefix, which identifies the series, and the counts. Any two bodies with the same
/// prefix belong to the same series, or [`decode`] rejects the prefix of both.
#[must_use]
pub fn split_prefix(body: &[u8]) -> Option<(&[u8], &[u8; COUNTS_BYTES])> {
    body.split_last_chunk()
}

/// Decodes the counts of a metrics frame in place. Empty bins at both ends, usually most bins, are not copied.
///
/// # Errors
/// Fails with [`RejectReason::BadPeriod`] or [`RejectReason::BadTime`], like [`decode`].
pub fn decode_counts(bytes: &[u8; COUNTS_BYTES]) -> Result<Counts<impl ExactSizeIterator<Item = u64>>, RejectReason> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let (bins, rest) = numbers.split_at(BINS);
    let [min_ns, max_ns, period_ns, end_ns] = std::array::from_fn(|at| u64::from_be_bytes(rest[at]));
    check_times(period_ns, end_ns)?;
    let occupied = occupied(bins);
    let first = occupied.start;
    let counts = bins[occupied].iter().map(|count| u64::from_be_bytes(*count));
    let span = Span { grid: Grid::WALLAROO, first, counts, min_ns, max_ns, sum_ns: None };
    Ok(Counts { span, period_ns, end_ns })
}

/// The range from the first occupied bin to the last. Checking eight bins at once takes three quarters of the time.
fn occupied(bins: &[[u8; 8]]) -> Range<usize> {
    let is_occupied = |count: &[u8; 8]| *count != [0; 8];
    let has_any = |eight: &[[u8; 8]; 8]| eight.iter().fold(0, |any, count| any | u64::from_ne_bytes(*count)) != 0;
    let (chunks, _) = bins.as_chunks();
    let start = 8 * chunks.iter().position(has_any).unwrap_or(chunks.len());
    let Some(first) = bins[start..].iter().position(is_occupied).map(|at| start + at) else { return 0..0 };
    let (_, chunks) = bins.as_rchunks();
    let end = bins.len() - 8 * chunks.iter().rev().position(has_any).unwrap_or(chunks.len());
    let last = bins[..end].iter().rposition(is_occupied).unwrap_or(first);
    first..last + 1
}

/// Checks the period of a histogram.
///
/// # Errors
/// Fails with [`RejectReason::BadPeriod`] or [`RejectReason::BadTime`].
pub(super) fn check_times(period_ns: u64, end_ns: u64) -> Result<(), RejectReason> {
    if !PERIOD_NS.contains(&period_ns) {
        return Err(RejectReason::BadPeriod);
    }
    if end_ns < period_ns { Err(RejectReason::BadTime) } else { Ok(()) }
}

fn app_of(topic: &[u8]) -> Result<&str, RejectReason> {
    let app = topic.strip_prefix(TOPIC_PREFIX).filter(|app| !app.is_empty()).ok_or(RejectReason::BadTopic)?;
    Ok(check_name(app)?)
}

fn decode_metrics<'a>(app: &'a str, data: &'a [u8]) -> Result<Frame<'a>, RejectReason> {
    let mut rest = Reader(data);
    // The producer computes this header wrongly, so it carries no information.
    rest.u32()?;
    let [name, category, worker, pipeline] = [rest.string()?, rest.string()?, rest.string()?, rest.string()?];
    let id = rest.u16()?;
    let counts: &[u8; 8 * BINS] = rest.chunk()?;
    let bins = counts.as_chunks().0;
    let occupied = occupied(bins);
    let first = occupied.start;
    let counts = bins[occupied].iter().map(|count| u64::from_be_bytes(*count));
    let histogram =
        Histogram::from_counts(Grid::WALLAROO, first, counts).with_statistics(rest.u64()?, rest.u64()?, None);
    let (period_ns, end_ns) = (rest.u64()?, rest.u64()?);
    rest.end()?;
    check_times(period_ns, end_ns)?;
    Ok(Frame::Metrics(DataPoint {
        app,
        name: check_name(name)?,
        category: check_name(category)?,
        worker: check_name(worker)?,
        pipeline: check_name(pipeline)?,
        id,
        provenance: Provenance::exact(Source::Wallaroo),
        histogram,
        period_ns,
        end_ns,
    }))
}

/// Reads fields from the start of a frame.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], RejectReason> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(RejectReason::BadLength)?;
        self.0 = rest;
        Ok(chunk)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RejectReason> {
        self.chunk().copied()
    }

    fn byte(&mut self) -> Result<u8, RejectReason> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, RejectReason> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RejectReason> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RejectReason> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], RejectReason> {
        let length = usize::try_from(self.u32()?).map_err(|_| RejectReason::BadLength)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(RejectReason::BadLength)?;
        self.0 = rest;
        Ok(string)
    }

    const fn end(&self) -> Result<(), RejectReason> {
        if self.0.is_empty() { Ok(()) } else { Err(RejectReason::BadLength) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::emitter;

    /// Parses hex digits, ignoring white space.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    /// The example of a metrics frame from the format's description, byte by byte.
    fn example() -> Vec<u8> {
        let mut bytes =
            hex("00000281 03 00000007 6d657472696373 0000000e 6d6574726963733a416c65727473 0000025f 000002f3
             00000005 436865636b 0000000b 636f6d7075746174696f6e 0000000b 696e697469616c697a6572
             00000006 416c65727473 0002");
        bytes.extend([0; 56]);
        bytes.extend(hex("0000000000000003"));
        bytes.extend([0; 16]);
        bytes.extend(hex("0000000000000002"));
        bytes.extend([0; 432]);
        bytes.extend(hex("000000000000005a 0000000000000384 0000000077359400 156dc06c9e225800"));
        bytes
    }

    fn example_metrics() -> DataPoint<'static> {
        let histogram = Histogram::from_counts(Grid::WALLAROO, 7, [3, 0, 0, 2]).with_statistics(90, 900, None);
        DataPoint {
            app: "Alerts",
            name: "Check",
            category: "computation",
            worker: "initializer",
            pipeline: "Alerts",
            id: 2,
            provenance: Provenance::default(),
            histogram,
            period_ns: 2_000_000_000,
            end_ns: 1_544_101_820_000_000_000,
        }
    }

    #[test]
    fn the_example_frame_is_decoded_and_encoded_correctly() {
        let bytes = example();
        assert_eq!(bytes.len(), 645);
        let NextFrame::Whole(body, 645) = next_frame(&bytes, 16_384) else { panic!("not one complete frame") };
        assert_eq!(decode(body), Ok(Frame::Metrics(example_metrics())));
        assert_eq!(emitter::metrics(&example_metrics()), bytes);
    }

    #[test]
    fn counts_are_the_same_in_place_and_decoded() {
        let check = |metrics: DataPoint<'_>| {
            let bytes = emitter::metrics(&metrics);
            let (prefix, counts) = split_prefix(&bytes[4..]).unwrap();
            assert_eq!(prefix.len() + counts.len(), bytes.len() - 4);
            let (read, decoded) = (decode_counts(counts).unwrap(), metrics.counts());
            assert_eq!((read.span.first, read.period_ns), (decoded.span.first, decoded.period_ns));
            assert_eq!((read.span.min_ns, read.span.max_ns), (decoded.span.min_ns, decoded.span.max_ns));
            assert_eq!(read.end_ns, decoded.end_ns);
            assert!(read.span.counts.eq(decoded.span.counts));
        };
        check(example_metrics());
        check(DataPoint { histogram: Histogram::default(), ..example_metrics() });
        let mut edges = Histogram::default().with_statistics(0, u64::MAX, None);
        edges.add(0, u64::MAX);
        edges.add(BINS - 1, 256);
        check(DataPoint { histogram: edges, ..example_metrics() });
        let decoded_end = |metrics: DataPoint<'_>| {
            decode_counts(split_prefix(&emitter::metrics(&metrics)[4..]).unwrap().1).map(|counts| counts.end_ns)
        };
        assert_eq!(decoded_end(DataPoint { period_ns: 0, ..example_metrics() }), Err(RejectReason::BadPeriod));
        assert_eq!(decoded_end(DataPoint { end_ns: 1_999_999_999, ..example_metrics() }), Err(RejectReason::BadTime));
        assert_eq!(split_prefix(&[3; COUNTS_BYTES - 1]), None);
    }

    #[test]
    fn connect_and_both_forms_of_join_are_decoded() {
        assert_eq!(decode(&hex("01")), Ok(Frame::Connect));
        // A payload whose type has one wrong bit.
        assert_eq!(decode(&hex("01 00000007 6d657472696373")), Err(RejectReason::BadLength));
        let long = hex("02 0000000e 6d6574726963733a416c65727473 0000000b 696e697469616c697a6572");
        assert_eq!(decode(&long), Ok(Frame::Join { app: "Alerts", worker: Some("initializer") }));
        let short = hex("02 0000000e 6d6574726963733a416c65727473");
        assert_eq!(decode(&short), Ok(Frame::Join { app: "Alerts", worker: None }));
        assert_eq!(emitter::join("Alerts", "initializer")[4..], long);
        assert_eq!(emitter::connect(), hex("00000001 01"));
    }

    #[test]
    fn a_truncated_frame_is_partial_and_a_truncated_body_is_rejected() {
        let bytes = example();
        for at in 0..bytes.len() {
            assert_eq!(next_frame(&bytes[..at], 16_384), NextFrame::Partial);
        }
        for at in 5..bytes.len() {
            assert_eq!(decode(&bytes[4..at]), Err(RejectReason::BadLength), "{at}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_detected_before_the_body_arrives() {
        for length in [16_385_u32, 1 << 31, u32::MAX] {
            assert_eq!(next_frame(&length.to_be_bytes(), 16_384), NextFrame::TooLong(length));
        }
        assert_eq!(next_frame(&[0; 4], 16_384), NextFrame::Whole(&[], 4));
        assert_eq!(decode(&[]), Err(RejectReason::BadLength));
    }

    #[test]
    fn a_flipped_bit_never_panics() {
        let bytes = example();
        for at in 4..bytes.len() {
            for bit in 0..8 {
                let mut broken = bytes.clone();
                broken[at] ^= 1 << bit;
                let _ = decode(&broken[4..]);
            }
        }
    }

    #[test]
    fn impossible_times_and_names_are_rejected() {
        let check = |metrics: DataPoint<'_>, reason| {
            assert_eq!(decode(&emitter::metrics(&metrics)[4..]), Err(reason));
        };
        for period_ns in [0, 1, 9_999_999, 3_600_000_000_001, u64::MAX] {
            check(DataPoint { period_ns, end_ns: u64::MAX, ..example_metrics() }, RejectReason::BadPeriod);
        }
        check(DataPoint { end_ns: 1_999_999_999, ..example_metrics() }, RejectReason::BadTime);
        check(DataPoint { worker: "a\u{202e}b", ..example_metrics() }, RejectReason::InvalidName);
        let long = "n".repeat(256);
        check(DataPoint { name: &long, ..example_metrics() }, RejectReason::NameTooLong);
        check(DataPoint { app: "", ..example_metrics() }, RejectReason::BadTopic);
    }

    #[test]
    fn unknown_events_and_types_are_distinguished() {
        let mut other = example();
        other[9] = b'M';
        assert_eq!(decode(&other[4..]), Ok(Frame::UnknownEvent));
        assert_eq!(decode(&[9, 9, 9]), Err(RejectReason::UnknownType));
    }
}
