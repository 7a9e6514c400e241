//! A WebSocket frame for all viewers: header and message in one buffer.
//!
//! A server does not mask its frames, so the bytes are the same for all viewers and are assembled once.

use std::ops::Deref;

use bytes::{BufMut as _, Bytes, BytesMut};

/// A final frame of binary data: RFC 6455, section 5.2.
const FINAL_BINARY: u8 = 0x82;
/// Length markers: the real length follows in two bytes, or in eight.
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

/// A message with its frame header. Clones share the bytes. It dereferences to the message alone.
#[derive(Clone, Debug)]
pub struct WsFrame(Bytes);

impl WsFrame {
    /// Builds the frame for `message`.
    #[must_use]
    pub fn new(message: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(10 + message.len());
        bytes.put_u8(FINAL_BINARY);
        match (u8::try_from(message.len()), u16::try_from(message.len())) {
            (Ok(length), _) if length < TWO_BYTES => bytes.put_u8(length),
            (_, Ok(length)) => {
                bytes.put_u8(TWO_BYTES);
                bytes.put_u16(length);
            }
            _ => {
                bytes.put_u8(EIGHT_BYTES);
                bytes.put_u64(message.len() as u64);
            }
        }
        bytes.put_slice(message);
        Self(bytes.freeze())
    }

    /// The bytes of header and message.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The message alone, sharing the bytes.
    #[must_use]
    pub fn message(&self) -> Bytes {
        self.0.slice(self.header_bytes()..)
    }

    fn header_bytes(&self) -> usize {
        match self.0[1] {
            TWO_BYTES => 4,
            EIGHT_BYTES => 10,
            _ => 2,
        }
    }
}

impl Deref for WsFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[self.header_bytes()..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_length_depends_on_the_message_length() {
        for (length, header) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let message = vec![7; length];
            let frame = WsFrame::new(&message);
            assert_eq!(frame.bytes()[..header.len()], header, "{length}");
            assert_eq!((&*frame, &*frame.message()), (&*message, &*message));
        }
    }
}
