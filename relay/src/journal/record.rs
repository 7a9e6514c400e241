//! The records of a segment: a length, a checksum and a message in postcard.

use joey_shared::emit::Session;
use joey_shared::wire::{Blob, SeriesEntry};
use serde::{Deserialize, Serialize};

/// Length and CRC-32 of the message, each four bytes in little endian.
const HEADER_BYTES: usize = 8;

/// One record. Add new variants at the end.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record<'a> {
    /// A batch of an application's log.
    Batch(#[serde(borrow)] BatchRecord<'a>),
    /// Sessions of Joey's own protocol, and up to which sequence number their data is in the journal.
    Sessions(Vec<(Session, u64)>),
    /// From here on, a log has another epoch, because viewers may have seen updates of the old one that are lost.
    NewEpoch {
        /// The application.
        app: &'a str,
        /// The old epoch.
        old: u64,
        /// The new one.
        new: u64,
    },
}

/// The content of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchRecord<'a> {
    /// The application.
    pub app: &'a str,
    /// Epoch of its log.
    pub epoch: u64,
    /// First and last sequence number.
    pub from: u64,
    /// Last sequence number.
    pub to: u64,
    /// When it was cut, in ns since the Unix epoch by the relay's clock.
    pub cut_ns: u64,
    /// The values that the first update is encoded relative to.
    pub end_ns: u64,
    /// The period of these values.
    pub period_ns: u64,
    /// Number of the next new series. Numbers below are never reused.
    pub series_next: u32,
    /// The series that are new in this segment.
    pub names: Vec<SeriesEntry>,
    /// The sessions whose data up to this sequence number is in this batch or earlier ones.
    pub sessions: Vec<(Session, u64)>,
    /// The updates as in a batch for viewers. They come last, so that both can share the bytes.
    #[serde(borrow)]
    pub updates: Blob<'a>,
}

impl Record<'_> {
    /// The record with its length and checksum.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        // Serializing to memory cannot fail. An empty message would be read as damaged.
        let mut frame = postcard::to_extend(self, vec![0; HEADER_BYTES]).unwrap_or_default();
        write_header(&mut frame);
        frame
    }
}

/// Any bytes as the message of a record, with its length and a correct checksum.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; HEADER_BYTES], message].concat();
    write_header(&mut frame);
    frame
}

/// Writes the length and the checksum of the message before it.
fn write_header(frame: &mut [u8]) {
    let Some((header, message)) = frame.split_at_mut_checked(HEADER_BYTES) else { return };
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(message).to_le_bytes());
}

/// Reads the record at the start of `bytes`. Returns it and its length; `None` if it is incomplete or damaged.
pub(super) fn next_record(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let message = rest.get(..length)?;
    if crc32fast::hash(message) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((postcard::from_bytes(message).ok()?, HEADER_BYTES + length))
}
