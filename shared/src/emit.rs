//! The protocol `joey.emit` between a producer and the relay: Joey's own ingest protocol, with acknowledgements.
//!
//! `docs/emit-protocol.md` is the specification. Its hex examples are tests in this module. A connection starts with
//! [`preamble`]. After that, both sides send frames: a `u32` length, little-endian, and one postcard value of
//! [`Message`] or [`Reply`]. New variants are added at the end of an enum; any other change needs a new [`VERSION`].
//! Decoding accepts any bytes: it returns a value or an error and never panics. It allocates nothing for a length
//! before the bytes have arrived.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::series::{Provenance, Source};
use crate::wire::{self, Blob, WireError, read_histogram, write_histogram};

/// The first bytes of a connection. As a big-endian length they would be more than 1 GiB, so they never start a frame of
/// Wallaroo's format, which uses the same port.
pub const MAGIC: [u8; 4] = *b"JOEY";
/// The protocol version, the byte after [`MAGIC`].
pub const VERSION: u8 = 1;
/// Maximum length of the first message, [`Message::Hello`], in bytes. It may contain a token of several kilobytes.
pub const HELLO_BYTES_MAX: usize = 8 * 1024;
/// Maximum length of a reply, in bytes.
pub const REPLY_BYTES_MAX: usize = 1024;
/// Length of the header of a frame, in bytes.
pub const HEADER_BYTES: usize = 4;

/// A number that identifies the producer, from its start to its end. It has to be random, so that no two producers have the
/// same.
pub type Session = [u8; 16];

/// The first bytes of a connection: [`MAGIC`] and [`VERSION`].
#[must_use]
pub const fn preamble() -> [u8; 5] {
    let [j, o, e, y] = MAGIC;
    [j, o, e, y, VERSION]
}

/// A message from producer to relay. Add new variants at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<'a> {
    /// The first message on every connection.
    #[serde(borrow)]
    Hello(Hello<'a>),
    /// The names of a series, before the first data of this series on a connection.
    Series(Series<'a>),
    /// The histograms of one period, or a part of them.
    Data(Data<'a>),
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Identifies the producer across its connections.
    pub session: Session,
    /// The application.
    pub app: &'a str,
    /// The worker.
    pub worker: &'a str,
    /// What kind of producer it is.
    pub origin: Origin,
    /// A token, a JWT in its compact form.
    pub token: Option<&'a str>,
}

/// The kind of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// An application that measures itself.
    Emit,
    /// `joey pipe`, which reads the output of another program.
    Pipe,
}

/// The names of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series<'a> {
    /// The number of the series on this connection: 0 for the first, and one more for each further one.
    pub number: u32,
    /// The position in the pipeline.
    pub id: u16,
    /// The category.
    pub category: &'a str,
    /// The pipeline, which may be empty.
    pub pipeline: &'a str,
    /// The name of the metric.
    pub name: &'a str,
    /// As in [`Provenance::is_approximate`].
    pub is_approximate: bool,
    /// As in [`Provenance::is_sampled`].
    pub is_sampled: bool,
    /// As in [`Provenance::has_extremes`].
    pub has_extremes: bool,
}

/// Histograms of one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data<'a> {
    /// Counts the data messages of a session from 1. A message that is sent again keeps its number.
    pub seq: u64,
    /// The length of the period, in ns.
    pub period_ns: u64,
    /// The end of the period, in ns since the Unix epoch.
    pub end_ns: u64,
    /// The histograms. [`entries`] decodes them.
    #[serde(borrow)]
    pub entries: Blob<'a>,
}

/// A message from relay to producer. Add new variants at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// The answer to [`Message::Hello`].
    Welcome {
        /// The highest sequence number of this session that the relay has received; 0 if it has none. The producer need not send
        /// data up to this number again.
        last_seq: u64,
        /// Maximum length of a message that the relay accepts, in bytes.
        frame_bytes_max: u32,
    },
    /// The connection is refused. The relay closes it.
    Refused {
        /// The reason, as in `docs/emit-protocol.md`.
        reason: &'a str,
    },
    /// All data up to this number has been received, and need not be sent again.
    Ack {
        /// The sequence number.
        seq: u64,
    },
    /// Some histograms of a data message were refused. An acknowledgement follows nevertheless: sending them again
    /// would not help.
    Rejected {
        /// The sequence number of the message.
        seq: u64,
        /// How many histograms were refused.
        histograms: u32,
        /// How many durations they count. It saturates.
        count: u64,
        /// The reason, as in `docs/emit-protocol.md`.
        reason: &'a str,
    },
}

impl Origin {
    /// The source of the series of such a producer.
    #[must_use]
    pub const fn source(self) -> Source {
        match self {
            Self::Emit => Source::Emit,
            Self::Pipe => Source::Pipe,
        }
    }
}

impl Series<'_> {
    /// What is known about the histograms of this series, if a producer of this kind sends it.
    #[must_use]
    pub const fn provenance(&self, origin: Origin) -> Provenance {
        let Self { is_approximate, is_sampled, has_extremes, .. } = *self;
        Provenance { source: origin.source(), is_approximate, is_sampled, has_extremes }
    }
}

impl<'a> Message<'a> {
    /// Decodes one message, without the header of its frame.
    ///
    /// ```
    /// use joey_shared::emit::{Data, Message};
    /// use joey_shared::wire::Blob;
    /// let data = Message::Data(Data { seq: 1, period_ns: 2, end_ns: 3, entries: Blob(&[]) });
    /// let frame = data.to_frame();
    /// assert_eq!(frame, [5, 0, 0, 0, 2, 1, 2, 3, 0]);
    /// assert_eq!(Message::decode(&frame[4..]), Ok(data));
    /// ```
    ///
    /// # Errors
    /// Fails if `bytes` are not exactly one message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }

    /// Encodes this message as a frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        to_frame(self)
    }
}

impl<'a> Reply<'a> {
    /// Decodes one reply, without the header of its frame.
    ///
    /// # Errors
    /// Fails if `bytes` are not exactly one reply.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }

    /// Encodes this reply as a frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        to_frame(self)
    }
}

fn to_frame(value: &impl Serialize) -> Vec<u8> {
    let body = wire::encode(value);
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(body);
    frame
}

/// The first frame in `bytes`, without its header; `None` if it is incomplete. The frame ends [`HEADER_BYTES`] and its length
/// after the start of `bytes`.
///
/// # Errors
/// Fails with [`WireError::TooLong`] if the frame announces more than `longest` bytes. The rest of the stream cannot be decoded.
pub fn next_frame(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, WireError> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > longest { Err(WireError::TooLong) } else { Ok(rest.get(..length)) }
}

/// Appends the histogram of `series` to the entries of a data message.
pub fn write_entry(entries: &mut Vec<u8>, series: u32, histogram: &Histogram) {
    entries.extend(wire::encode(&series));
    write_histogram(entries, histogram);
}

/// The histograms in a data message, each with the number of its series. Ends after an error.
pub fn entries<'a>(blob: Blob<'a>) -> impl Iterator<Item = Result<(u32, Histogram), WireError>> + 'a {
    let mut rest = blob.0;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = read_entry(&mut rest);
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

fn read_entry(rest: &mut &[u8]) -> Result<(u32, Histogram), WireError> {
    let (series, after) = postcard::take_from_bytes(rest).map_err(|_| WireError::Malformed)?;
    *rest = after;
    Ok((series, read_histogram(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Grid, Unit};
    use alloc::string::String;
    use proptest::prelude::*;
    use std::vec;

    const S: u64 = 1_000_000_000;
    const SPECIFICATION: &str = include_str!("../../docs/emit-protocol.md");

    /// The bytes of the example with this title in the specification: the hexadecimal digits at the start of each line.
    fn example(title: &str) -> Vec<u8> {
        let (_, after) = SPECIFICATION.split_once(&std::format!("{title}:\n\n```\n")).expect("the example exists");
        let (block, _) = after.split_once("\n```").expect("the example ends");
        let is_hex = |word: &&str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let of_line = |line: &'static str| {
            line.split("  ")
                .take(1)
                .flat_map(str::split_whitespace)
                .take_while(is_hex)
                .map(|word| u8::from_str_radix(word, 16).expect("it is hexadecimal"))
        };
        block.lines().flat_map(of_line).collect()
    }

    fn hello() -> Message<'static> {
        let session = *b"0123456789abcdef";
        Message::Hello(Hello { session, app: "Shop", worker: "web-1", origin: Origin::Emit, token: None })
    }

    fn series() -> Message<'static> {
        Message::Series(Series {
            number: 0,
            id: 0,
            category: "computation",
            pipeline: "",
            name: "checkout",
            is_approximate: false,
            is_sampled: false,
            has_extremes: true,
        })
    }

    fn histogram() -> Histogram {
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        for ns in [1_000_000, 1_050_000, 1_500_000] {
            histogram.record(ns);
        }
        histogram
    }

    #[test]
    fn the_examples_of_the_specification_are_decoded_and_encoded() {
        let mut blob = Vec::new();
        write_entry(&mut blob, 0, &histogram());
        let mut coarse = Histogram::default();
        [90, 100, 120, 600, 900].into_iter().for_each(|ns| coarse.record(ns));
        let mut coarse_blob = Vec::new();
        write_entry(&mut coarse_blob, 0, &coarse);
        let data = |seq, entries| Message::Data(Data { seq, period_ns: S, end_ns: 1_700_000_000 * S, entries });
        for (title, message) in [
            ("Hello", hello()),
            ("Series", series()),
            ("Data", data(1, Blob(&blob))),
            ("Data at scale 0", data(2, Blob(&coarse_blob))),
        ] {
            assert_eq!(example(title), message.to_frame(), "{title}: {:02x?}", message.to_frame());
            assert_eq!(Message::decode(&example(title)[HEADER_BYTES..]), Ok(message), "{title}");
        }
        for (title, reply) in [
            ("Welcome", Reply::Welcome { last_seq: 0, frame_bytes_max: 16_384 }),
            ("Refused", Reply::Refused { reason: "invalid_token" }),
            ("Ack", Reply::Ack { seq: 300 }),
            ("Rejected", Reply::Rejected { seq: 300, histograms: 1, count: 3, reason: "series_limit" }),
        ] {
            assert_eq!(example(title), reply.to_frame(), "{title}: {:02x?}", reply.to_frame());
            assert_eq!(Reply::decode(&example(title)[HEADER_BYTES..]), Ok(reply), "{title}");
        }
        assert_eq!(example("Preamble"), preamble());
    }

    #[test]
    fn the_preamble_is_no_length_of_a_wallaroo_frame() {
        // `--frame-bytes` is at most 1 MiB.
        assert!(u32::from_be_bytes(MAGIC) > 1 << 20);
    }

    #[test]
    fn a_frame_is_read_once_it_is_complete() {
        let frame = hello().to_frame();
        for at in 0..frame.len() {
            assert_eq!(next_frame(&frame[..at], HELLO_BYTES_MAX), Ok(None));
        }
        assert_eq!(next_frame(&[&frame[..], &[7]].concat(), HELLO_BYTES_MAX), Ok(Some(&frame[HEADER_BYTES..])));
        assert_eq!(next_frame(&frame, frame.len() - HEADER_BYTES - 1), Err(WireError::TooLong));
        assert_eq!(next_frame(&[0xff; 4], HELLO_BYTES_MAX), Err(WireError::TooLong));
    }

    #[test]
    fn entries_end_after_an_error() {
        let mut blob = Vec::new();
        write_entry(&mut blob, 3, &histogram());
        let whole = blob.len();
        write_entry(&mut blob, 4, &Histogram::new(Grid::new(1, Unit::Seconds).unwrap()));
        let read: Vec<_> = entries(Blob(&blob)).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], Ok((3, histogram())));
        for at in whole + 1..blob.len() {
            let read: Vec<_> = entries(Blob(&blob[..at])).collect();
            assert_eq!(read, vec![Ok((3, histogram())), Err(WireError::Malformed)]);
        }
    }

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        let counts = prop::collection::vec((0..513_usize, 1..u64::MAX), 0..20);
        (0..4_u8, 0..4_usize, counts, any::<(u64, u64, Option<u64>)>()).prop_map(|(scale, unit, counts, statistics)| {
            let grid = Grid::new(scale, Unit::ALL[unit]).unwrap();
            let mut histogram = Histogram::new(grid).with_statistics(statistics.0, statistics.1, statistics.2);
            counts.into_iter().for_each(|(bin, count)| histogram.add(bin % grid.bins(), count));
            histogram
        })
    }

    proptest! {
        #[test]
        fn messages_survive_encoding(
            session: [u8; 16],
            names: [String; 4],
            numbers: (u64, u64, u64, u32, u16),
            flags: [bool; 3],
            token: Option<String>,
            histograms in prop::collection::vec((any::<u32>(), any_histogram()), 0..5),
        ) {
            let [app, worker, category, name] = &names;
            let (seq, period_ns, end_ns, number, id) = numbers;
            let [is_approximate, is_sampled, has_extremes] = flags;
            let mut blob = Vec::new();
            histograms.iter().for_each(|(series, histogram)| write_entry(&mut blob, *series, histogram));
            let pipeline = "";
            for message in [
                Message::Hello(Hello { session, app, worker, origin: Origin::Pipe, token: token.as_deref() }),
                Message::Series(Series { number, id, category, pipeline, name, is_approximate, is_sampled, has_extremes }),
                Message::Data(Data { seq, period_ns, end_ns, entries: Blob(&blob) }),
            ] {
                let frame = message.to_frame();
                let body = next_frame(&frame, usize::MAX).unwrap().unwrap();
                prop_assert_eq!(body.len() + HEADER_BYTES, frame.len());
                prop_assert_eq!(Message::decode(body), Ok(message));
            }
            let read: Result<Vec<_>, _> = entries(Blob(&blob)).collect();
            prop_assert_eq!(read, Ok(histograms));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Message::decode(&bytes), Reply::decode(&bytes), next_frame(&bytes, 100));
            // An entry takes at least four bytes, so a short message cannot expand to a long list.
            prop_assert!(entries(Blob(&bytes)).count() <= bytes.len());
        }
    }
}
