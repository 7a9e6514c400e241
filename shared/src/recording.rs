//! Recordings: the messages that a viewer received, with their times, as a file.
//!
//! The page and the command line write the same files, and [`Playback`] reads them into a
//! [`Viewers`](crate::viewer::Viewers) that then show what the recording viewer showed. `shared/README.md` is the
//! specification.
//!
//! A file is valid after each record, because records are only appended, and each has a checksum. A reader takes every
//! record up to the first incomplete or damaged one and tells how many bytes follow. A file never contains a token: of
//! the commands of a viewer, only those about subscriptions can be written.

mod checksum;
mod excerpt;
mod playback;

use alloc::vec::Vec;

use self::checksum::crc32;
pub use self::excerpt::{Detail, excerpt};
pub use self::playback::Playback;
use crate::wire::{ClientMessage, VERSION};

/// The first bytes of a recording. The first one is not text, so that no program takes the file for text.
pub const MAGIC: [u8; 8] = *b"\x89joeyrec";
/// The version of the format of a file that has one relay.
pub const FORMAT: u16 = 1;
/// The version of the format of a file that has several relays, see [`Entry::Relay`]. A release that reads only version 1 would
/// ignore the number of the relay and count wrongly.
pub const FORMAT_OF_SEVERAL: u16 = 2;
/// Length of the header of a file, in bytes.
pub const HEADER_BYTES: usize = 12;
/// Maximum length of the body of a record, in bytes: twice the longest message that a viewer accepts.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Length of what precedes the payload of a record, in bytes: length, checksum, kind and time.
const RECORD_HEAD_BYTES: usize = 17;
/// Length of kind and time, in bytes.
const BODY_HEAD_BYTES: usize = 9;
/// Maximum number of relays in a file at once. A page uses eight at most. Their numbers are smaller than this.
pub const RECORDED_RELAYS_MAX: u32 = 64;

/// The header of a file with one relay.
#[must_use]
pub fn header() -> [u8; HEADER_BYTES] {
    header_of(FORMAT)
}

/// The header of a file with several relays.
#[must_use]
pub fn header_of_several() -> [u8; HEADER_BYTES] {
    header_of(FORMAT_OF_SEVERAL)
}

fn header_of(format: u16) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&format.to_le_bytes());
    header[10..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The content of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A message of the relay, as received.
    Message(&'a [u8]),
    /// A command of the viewer about a subscription. It tells which topic the relay's answers are about.
    Command(&'a [u8]),
    /// The state of an application when the recording began; its views follow.
    App(&'a [u8]),
    /// The state of a view.
    View(&'a [u8]),
    /// The viewer removed the windows of an application and requested it again.
    Forget(&'a str),
    /// The messages and commands that follow are of the relay with this number, until the next such entry. At the beginning of a
    /// file, they are of number 0. Numbers are less than [`RECORDED_RELAYS_MAX`].
    Relay(u32),
    /// The viewer removed the relay with this number and what it had sent. The number can be used again, for another relay.
    Removed(u32),
    /// The recording ended. Its time is the end of the file, so that what only depends on the time is complete there too.
    End,
    /// An entry of a later version. Readers ignore it.
    Unknown(u8),
}

/// One record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was received, in ns since the Unix epoch by the clock of the first relay.
    pub time_ns: u64,
    /// The content.
    pub entry: Entry<'a>,
}

impl<'a> Record<'a> {
    /// Appends the record to `out`. Leaves out what no reader accepts: a record that is too long, an unknown one, and a
    /// command that is not about a subscription. Returns whether it was written.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let number;
        let (kind, payload) = match self.entry {
            Entry::Message(bytes) => (0, bytes),
            Entry::Command(bytes) if is_about_subscription(bytes) => (1, bytes),
            Entry::App(bytes) => (2, bytes),
            Entry::View(bytes) => (3, bytes),
            Entry::Forget(app) => (4, app.as_bytes()),
            Entry::Relay(relay) => {
                number = relay.to_le_bytes();
                (5, &number[..])
            }
            Entry::Removed(relay) => {
                number = relay.to_le_bytes();
                (6, &number[..])
            }
            Entry::End => (7, &[][..]),
            Entry::Command(_) | Entry::Unknown(_) => return false,
        };
        let length = BODY_HEAD_BYTES + payload.len();
        if length > BODY_BYTES_MAX {
            return false;
        }
        out.reserve(8 + length);
        // The length is at most `BODY_BYTES_MAX`.
        out.extend_from_slice(&(length as u32).to_le_bytes());
        let checksum_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        out.extend_from_slice(&self.time_ns.to_le_bytes());
        out.extend_from_slice(payload);
        let checksum = crc32(&out[checksum_at + 4..]);
        out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
        true
    }

    /// Number of bytes of the record in a file.
    #[must_use]
    pub const fn length_of(payload: usize) -> usize {
        RECORD_HEAD_BYTES + payload
    }

    fn of_body(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        let (time, payload) = rest.split_first_chunk()?;
        let entry = match kind {
            0 => Entry::Message(payload),
            1 => Entry::Command(payload),
            2 => Entry::App(payload),
            3 => Entry::View(payload),
            4 => Entry::Forget(core::str::from_utf8(payload).ok()?),
            5 => Entry::Relay(u32::from_le_bytes(payload.try_into().ok()?)),
            6 => Entry::Removed(u32::from_le_bytes(payload.try_into().ok()?)),
            7 => Entry::End,
            other => Entry::Unknown(other),
        };
        Some(Self { time_ns: u64::from_le_bytes(*time), entry })
    }
}

/// Whether `command` is one of a viewer about a subscription. All others are left out, above all tokens.
fn is_about_subscription(command: &[u8]) -> bool {
    matches!(
        ClientMessage::decode(command),
        Ok(ClientMessage::Subscribe { .. } | ClientMessage::SubscribeLog { .. } | ClientMessage::Unsubscribe { .. })
    )
}

/// Why bytes are not a recording that this release can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingError {
    /// They are something else.
    NotARecording,
    /// The file format has another version.
    OtherFormat(u16),
    /// The messages have another version of the protocol.
    OtherProtocol(u16),
    /// There is no whole record.
    Empty,
}

impl core::fmt::Display for RecordingError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotARecording => out.write_str("This is not a recording of Joey."),
            Self::OtherFormat(version) => write!(
                out,
                "This recording has version {version} of the file format, and this release of Joey reads versions up to {FORMAT_OF_SEVERAL}."
            ),
            Self::OtherProtocol(version) => write!(
                out,
                "This recording contains protocol {version}, and this release of Joey reads protocol {VERSION}."
            ),
            Self::Empty => out.write_str("This recording contains nothing."),
        }
    }
}

impl core::error::Error for RecordingError {}

/// Reads the records of a file.
///
/// ```
/// use joey_shared::recording::{Entry, Reader, Record, header};
/// let mut file = header().to_vec();
/// let record = Record { time_ns: 7, entry: Entry::Forget("Alerts") };
/// assert!(record.write(&mut file));
///
/// // A recorder was killed while it wrote the second record.
/// record.write(&mut file);
/// file.pop();
/// let mut reader = Reader::new(&file)?;
/// assert_eq!(reader.by_ref().collect::<Vec<_>>(), [record]);
/// assert_eq!(reader.unread_bytes(), 22);
/// # Ok::<(), joey_shared::recording::RecordingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// Fails if `bytes` do not begin with the header of a recording of this version.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RecordingError> {
        let number = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
        let (Some(format), Some(protocol)) = (number(8), number(10)) else { return Err(RecordingError::NotARecording) };
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordingError::NotARecording);
        }
        if !(FORMAT..=FORMAT_OF_SEVERAL).contains(&format) {
            return Err(RecordingError::OtherFormat(format));
        }
        if protocol != VERSION {
            return Err(RecordingError::OtherProtocol(protocol));
        }
        Ok(Self { bytes, at: HEADER_BYTES })
    }

    /// Continues at a position that [`Reader::position`] returned for the same bytes.
    #[must_use]
    pub const fn resume(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The position of the next record, in bytes from the start of the file.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Number of bytes that were not read. After the last record this is the length of the torn or damaged tail.
    #[must_use]
    pub const fn unread_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = rest.get(..length).filter(|_| length <= BODY_BYTES_MAX)?;
        if crc32(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let record = Record::of_body(body)?;
        self.at += 8 + length;
        Some(record)
    }
}

#[cfg(test)]
mod tests;
