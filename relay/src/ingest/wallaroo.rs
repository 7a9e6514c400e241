//! Wallaroo's metrics format: frames of every release, decoded in place.
//!
//! Source: `lib/wallaroo_labs/hub/hub_protocol.pony`, the same bytes from release 0.1.2 to the last. All integers are
//! big-endian. A frame is a `u32` length and that many bytes; the first of them says what follows:
//!
//! | type | body |
//! |---|---|
//! | 1 connect | nothing |
//! | 2 join | topic, worker; the worker may be absent |
//! | 3 payload | event, topic, and a data block of exact length |
//!
//! Strings are a `u32` length and bytes. The data block of the event `metrics` is a meaningless `u32`, then name, category,
//! worker, pipeline, a `u16` id, 65 `u64` bins, minimum, maximum, period and period end, all in ns.
//!
//! Decoding allocates nothing and is total: any bytes give a frame or the reason why not.

use std::ops::Range;

use joey_shared::histogram::{BINS, Histogram};
use joey_shared::series::{NameError, check_name};
use joey_shared::wire::Span;

use crate::data_point::{Counts, DataPoint};
use crate::metrics::RejectReason;

/// What a topic begins with; the application's name follows.
const TOPIC_PREFIX: &[u8] = b"metrics:";
/// The one event that carries histograms.
const METRICS_EVENT: &[u8] = b"metrics";

/// Shortest and longest period that is believed, in ns: 10 ms and 1 h. Wallaroo's is 2 s.
const PERIOD_NS: std::ops::RangeInclusive<u64> = 10_000_000..=3_600_000_000_000;

/// Bytes of a metrics frame behind its names: the bins, minimum, maximum, period and period end.
const COUNTED_BYTES: usize = 8 * (BINS + 4);

/// What one frame says.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for the length of one frame; a box would allocate"
)]
pub enum Frame<'a> {
    /// The connection speaks this protocol.
    Connect,
    /// This connection belongs to a worker of an application.
    Join {
        /// The application.
        app: &'a str,
        /// The worker, where the frame names one.
        worker: Option<&'a str>,
    },
    /// One histogram.
    Metrics(DataPoint<'a>),
    /// A payload of another event, which no Wallaroo release sends to a hub.
    OtherEvent,
}

/// What stands at the front of a producer's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// Not yet a whole frame.
    Partial,
    /// A whole frame: its body, and how many bytes it takes with its length.
    Whole(&'a [u8], usize),
    /// A length that no frame has; where the next frame would begin cannot be known.
    TooLong(u32),
}

/// Looks for one frame at the front of `bytes`. Nothing that is merely announced is allocated.
#[must_use]
pub fn front(bytes: &[u8], frame_bytes_max: usize) -> Front<'_> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Front::Partial };
    let length = u32::from_be_bytes(*length);
    let Some(wanted) = usize::try_from(length).ok().filter(|&wanted| wanted <= frame_bytes_max) else {
        return Front::TooLong(length);
    };
    rest.get(..wanted).map_or(Front::Partial, |body| Front::Whole(body, wanted + 4))
}

/// Decodes the body of one frame, without its length.
///
/// # Errors
/// Why the frame is refused. The frames after it are not affected.
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
            if event == METRICS_EVENT { metrics(app_of(topic)?, data) } else { Ok(Frame::OtherEvent) }
        }
        _ => Err(RejectReason::UnknownType),
    }
}

/// The application and the first name that cannot be taken of a frame that [`decode`] refuses for a name; nothing where the name
/// is that of the application.
#[must_use]
pub fn refused_name(body: &[u8]) -> Option<(&str, &[u8], NameError)> {
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

/// Parts the body of a metrics frame, if it is one, in what says whose it is and what it counted. Of two bodies with the same
/// front either both are metrics of the same series, as far as [`decode`] looks at the front, or none is.
#[must_use]
pub fn parts(body: &[u8]) -> Option<(&[u8], &[u8; COUNTED_BYTES])> {
    body.split_last_chunk()
}

/// Reads what a metrics frame counted, where it lies: most of the bins are empty and are not copied.
///
/// # Errors
/// [`RejectReason::BadPeriod`] and [`RejectReason::BadTime`], as [`decode`] gives them.
pub fn counted(bytes: &[u8; COUNTED_BYTES]) -> Result<Counts<impl ExactSizeIterator<Item = u64>>, RejectReason> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let (bins, rest) = numbers.split_at(BINS);
    let [min_ns, max_ns, period_ns, end_ns] = std::array::from_fn(|at| u64::from_be_bytes(rest[at]));
    check_times(period_ns, end_ns)?;
    let occupied = occupied(bins);
    let first = occupied.start;
    let counts = bins[occupied].iter().map(|count| u64::from_be_bytes(*count));
    Ok(Counts { span: Span { first, counts, min_ns, max_ns }, period_ns, end_ns })
}

/// From the first occupied bin to the last. Most are empty, which is seen of eight at once in three quarters of the time.
fn occupied(bins: &[[u8; 8]]) -> Range<usize> {
    let is_occupied = |count: &[u8; 8]| *count != [0; 8];
    let is_any = |eight: &[[u8; 8]; 8]| eight.iter().fold(0, |any, count| any | u64::from_ne_bytes(*count)) != 0;
    let (front, _) = bins.as_chunks();
    let start = 8 * front.iter().position(is_any).unwrap_or(front.len());
    let Some(first) = bins[start..].iter().position(is_occupied).map(|at| start + at) else { return 0..0 };
    let (_, back) = bins.as_rchunks();
    let end = bins.len() - 8 * back.iter().rev().position(is_any).unwrap_or(back.len());
    let last = bins[..end].iter().rposition(is_occupied).unwrap_or(first);
    first..last + 1
}

fn check_times(period_ns: u64, end_ns: u64) -> Result<(), RejectReason> {
    if !PERIOD_NS.contains(&period_ns) {
        return Err(RejectReason::BadPeriod);
    }
    if end_ns < period_ns { Err(RejectReason::BadTime) } else { Ok(()) }
}

fn app_of(topic: &[u8]) -> Result<&str, RejectReason> {
    let app = topic.strip_prefix(TOPIC_PREFIX).filter(|app| !app.is_empty()).ok_or(RejectReason::BadTopic)?;
    Ok(check_name(app)?)
}

fn metrics<'a>(app: &'a str, data: &'a [u8]) -> Result<Frame<'a>, RejectReason> {
    let mut rest = Reader(data);
    // The producer computes this header wrongly; it says nothing.
    rest.u32()?;
    let [name, category, worker, pipeline] = [rest.string()?, rest.string()?, rest.string()?, rest.string()?];
    let id = rest.u16()?;
    let counts: [u8; 8 * BINS] = rest.array()?;
    let mut bins = [0; BINS];
    for (bin, count) in bins.iter_mut().zip(counts.as_chunks().0) {
        *bin = u64::from_be_bytes(*count);
    }
    let histogram = Histogram { bins, min_ns: rest.u64()?, max_ns: rest.u64()? };
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
        histogram,
        period_ns,
        end_ns,
    }))
}

/// Takes fields off the front of a frame.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RejectReason> {
        let (array, rest) = self.0.split_first_chunk().ok_or(RejectReason::BadLength)?;
        self.0 = rest;
        Ok(*array)
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

    /// Bytes written as hex, whitespace ignored.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    /// The worked example of a metrics frame, from the format's description, byte by byte.
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
        let mut histogram = Histogram { min_ns: 90, max_ns: 900, ..Histogram::default() };
        (histogram.bins[7], histogram.bins[10]) = (3, 2);
        DataPoint {
            app: "Alerts",
            name: "Check",
            category: "computation",
            worker: "initializer",
            pipeline: "Alerts",
            id: 2,
            histogram,
            period_ns: 2_000_000_000,
            end_ns: 1_544_101_820_000_000_000,
        }
    }

    #[test]
    fn the_worked_example_decodes_by_hand_and_comes_out_of_our_emitter() {
        let bytes = example();
        assert_eq!(bytes.len(), 645);
        let Front::Whole(body, 645) = front(&bytes, 16_384) else { panic!("not one whole frame") };
        assert_eq!(decode(body), Ok(Frame::Metrics(example_metrics())));
        assert_eq!(emitter::metrics(&example_metrics()), bytes);
    }

    #[test]
    fn what_was_counted_is_read_where_it_lies_as_it_is_decoded() {
        let check = |metrics: DataPoint<'_>| {
            let bytes = emitter::metrics(&metrics);
            let (front, tail) = parts(&bytes[4..]).unwrap();
            assert_eq!(front.len() + tail.len(), bytes.len() - 4);
            let (read, decoded) = (counted(tail).unwrap(), metrics.counted());
            assert_eq!((read.span.first, read.period_ns), (decoded.span.first, decoded.period_ns));
            assert_eq!((read.span.min_ns, read.span.max_ns), (decoded.span.min_ns, decoded.span.max_ns));
            assert_eq!(read.end_ns, decoded.end_ns);
            assert!(read.span.counts.eq(decoded.span.counts));
        };
        check(example_metrics());
        check(DataPoint { histogram: Histogram::default(), ..example_metrics() });
        let mut edges = Histogram { min_ns: 0, max_ns: u64::MAX, ..Histogram::default() };
        (edges.bins[0], edges.bins[BINS - 1]) = (u64::MAX, 256);
        check(DataPoint { histogram: edges, ..example_metrics() });
        let refused = |metrics: DataPoint<'_>| {
            counted(parts(&emitter::metrics(&metrics)[4..]).unwrap().1).map(|counted| counted.end_ns)
        };
        assert_eq!(refused(DataPoint { period_ns: 0, ..example_metrics() }), Err(RejectReason::BadPeriod));
        assert_eq!(refused(DataPoint { end_ns: 1_999_999_999, ..example_metrics() }), Err(RejectReason::BadTime));
        assert_eq!(parts(&[3; COUNTED_BYTES - 1]), None);
    }

    #[test]
    fn connect_and_both_forms_of_join() {
        assert_eq!(decode(&hex("01")), Ok(Frame::Connect));
        // A payload whose type is wrong in one bit.
        assert_eq!(decode(&hex("01 00000007 6d657472696373")), Err(RejectReason::BadLength));
        let long = hex("02 0000000e 6d6574726963733a416c65727473 0000000b 696e697469616c697a6572");
        assert_eq!(decode(&long), Ok(Frame::Join { app: "Alerts", worker: Some("initializer") }));
        let short = hex("02 0000000e 6d6574726963733a416c65727473");
        assert_eq!(decode(&short), Ok(Frame::Join { app: "Alerts", worker: None }));
        assert_eq!(emitter::join("Alerts", "initializer")[4..], long);
        assert_eq!(emitter::connect(), hex("00000001 01"));
    }

    #[test]
    fn every_cut_is_partial_and_every_shorter_body_is_refused() {
        let bytes = example();
        for at in 0..bytes.len() {
            assert_eq!(front(&bytes[..at], 16_384), Front::Partial);
        }
        for at in 5..bytes.len() {
            assert_eq!(decode(&bytes[4..at]), Err(RejectReason::BadLength), "{at}");
        }
    }

    #[test]
    fn a_claim_beyond_the_limit_is_seen_before_its_bytes_come() {
        for length in [16_385_u32, 1 << 31, u32::MAX] {
            assert_eq!(front(&length.to_be_bytes(), 16_384), Front::TooLong(length));
        }
        assert_eq!(front(&[0; 4], 16_384), Front::Whole(&[], 4));
        assert_eq!(decode(&[]), Err(RejectReason::BadLength));
    }

    #[test]
    fn no_flipped_bit_panics() {
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
    fn impossible_times_and_names_are_refused() {
        let check = |metrics: DataPoint<'_>, reason| {
            assert_eq!(decode(&emitter::metrics(&metrics)[4..]), Err(reason));
        };
        for period_ns in [0, 1, 9_999_999, 3_600_000_000_001, u64::MAX] {
            check(DataPoint { period_ns, end_ns: u64::MAX, ..example_metrics() }, RejectReason::BadPeriod);
        }
        check(DataPoint { end_ns: 1_999_999_999, ..example_metrics() }, RejectReason::BadTime);
        check(DataPoint { worker: "a\u{202e}b", ..example_metrics() }, RejectReason::BadName);
        let long = "n".repeat(256);
        check(DataPoint { name: &long, ..example_metrics() }, RejectReason::LongName);
        check(DataPoint { app: "", ..example_metrics() }, RejectReason::BadTopic);
    }

    #[test]
    fn other_events_and_types_are_named() {
        let mut other = example();
        other[9] = b'M';
        assert_eq!(decode(&other[4..]), Ok(Frame::OtherEvent));
        assert_eq!(decode(&[9, 9, 9]), Err(RejectReason::UnknownType));
    }
}
