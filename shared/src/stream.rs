//! Length-prefixed messages in a byte stream: the transport of the protocol for networks that block WebSockets.
//!
//! `shared/README.md` is the specification. A length is checked before anything is allocated for it. Any bytes decode
//! to records or to an error.

use alloc::vec::Vec;

use crate::wire::WireError;

/// The bit of a length that marks a notice.
const NOTICE: u32 = 1 << 31;
/// The code of the notice that opens a stream. Its text is the stream's ID. Any other code ends the stream.
pub const OPENED: u16 = 0;
/// Maximum length of a record that a viewer accepts, in bytes: twice the maximum that a relay queues for one viewer.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// One record of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message of the protocol.
    Message(&'a [u8]),
    /// A notice about the stream: [`OPENED`] and its ID, or a code of [`crate::close`] and the reason.
    Notice(u16, &'a str),
}

/// The header of a message of `length` bytes.
#[must_use]
pub const fn record_header(length: usize) -> [u8; 4] {
    // Messages are much shorter than 2 GiB.
    (length as u32).to_le_bytes()
}

/// Encodes a notice.
#[must_use]
pub fn encode_notice(code: u16, text: &str) -> Vec<u8> {
    let length = (2 + text.len()) as u32 | NOTICE;
    [&length.to_le_bytes(), &code.to_le_bytes()[..], text.as_bytes()].concat()
}

/// Decodes records from chunks of bytes of any length.
///
/// ```
/// use joey_shared::stream::{Record, Records};
/// let mut records = Records::default();
/// records.push(&[2, 0, 0]);
/// assert_eq!(records.take(100), Ok(None));
/// records.push(&[0, 7, 8]);
/// assert_eq!(records.take(100), Ok(Some(Record::Message(&[7, 8]))));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    taken: usize,
}

impl Records {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next record if it is complete.
    ///
    /// # Errors
    /// Fails if the record is longer than `longest` bytes, or if it is a notice without a code or without valid UTF-8.
    /// The rest of the stream cannot be decoded after that.
    pub fn take(&mut self, longest: usize) -> Result<Option<Record<'_>>, WireError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let head = u32::from_le_bytes(*head);
        let length = (head & !NOTICE) as usize;
        if length > longest {
            return Err(WireError::TooLong);
        }
        let Some(record) = rest.get(..length) else { return Ok(None) };
        self.taken += 4 + length;
        if head & NOTICE == 0 {
            return Ok(Some(Record::Message(record)));
        }
        let (code, text) = record.split_first_chunk().ok_or(WireError::Malformed)?;
        let text = core::str::from_utf8(text).map_err(|_| WireError::Malformed)?;
        Ok(Some(Record::Notice(u16::from_le_bytes(*code), text)))
    }

    /// Whether all bytes were decoded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;
    use std::vec;

    /// The code and the contents of a record; a message has no code.
    type Read = (Option<u16>, Vec<u8>);

    fn read(pieces: &[&[u8]]) -> Result<Vec<Read>, WireError> {
        let (mut records, mut read) = (Records::default(), Vec::new());
        for piece in pieces {
            records.push(piece);
            while let Some(record) = records.take(300)? {
                read.push(match record {
                    Record::Message(bytes) => (None, bytes.to_vec()),
                    Record::Notice(code, text) => (Some(code), text.as_bytes().to_vec()),
                });
            }
        }
        Ok(read)
    }

    #[test]
    fn malformed_records_are_errors() {
        assert_eq!(read(&[&record_header(301)]), Err(WireError::TooLong));
        assert_eq!(read(&[&[1, 0, 0, 0x80, 7]]), Err(WireError::Malformed));
        assert_eq!(read(&[&[3, 0, 0, 0x80, 7, 0, 0xff]]), Err(WireError::Malformed));
        assert_eq!(read(&[&[0, 0, 0, 0]]), Ok(vec![(None, vec![])]));
        assert_eq!(read(&[&record_header(300), &[0; 299]]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn records_are_decoded_from_chunks_of_any_length(
            written in prop::collection::vec((any::<Option<u16>>(), "[a-zä]{0,90}"), 0..9),
            cut in 1_usize..40,
        ) {
            let record = |(code, text): &(Option<u16>, String)| match code {
                Some(code) => encode_notice(*code, text),
                None => [&record_header(text.len()), text.as_bytes()].concat(),
            };
            let bytes: Vec<u8> = written.iter().flat_map(record).collect();
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let expected: Vec<_> = written.into_iter().map(|(code, text)| (code, text.into_bytes())).collect();
            prop_assert_eq!(read(&pieces), Ok(expected));
        }

        #[test]
        fn any_bytes_decode_to_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[&bytes]);
        }
    }
}
