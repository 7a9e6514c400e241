//! The part of RFC 6455 that a load generator needs: a request, masked messages out, frames in.

use std::io::Read;

use anyhow::{Result, ensure};
use memchr::memmem;

/// A request for a WebSocket at `path`.
pub(crate) fn request(path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let protocol = subprotocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
    )
    .into_bytes()
}

/// Reads the response to a request, which must switch to WebSocket.
pub(crate) fn expect_switch(stream: &mut impl Read) -> Result<()> {
    let mut answer = Vec::new();
    while head(&answer).is_none() {
        let mut byte = [0];
        ensure!(stream.read(&mut byte)? == 1, "closed before it answered");
        answer.extend(byte);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "rejected: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Length of the response head at the front of `bytes`, once it is complete.
pub(crate) fn head(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Appends one binary message as a client must send it; its mask is zero, so the payload is unchanged.
pub(crate) fn push_masked(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, BINARY, payload);
}

/// Appends one text message.
pub(crate) fn push_masked_text(out: &mut Vec<u8>, text: &str) {
    push_frame(out, TEXT, text.as_bytes());
}

/// Appends the answer to a ping.
pub(crate) fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, PONG, payload);
}

fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
}

/// Frame opcodes.
const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
const PONG: u8 = 10;

/// One complete frame from a server.
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// Length with its head, in bytes.
    pub(crate) length: usize,
}

/// The frame at the front of `bytes`, once it is complete.
pub(crate) fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let &[first, second, ref rest @ ..] = bytes else { return None };
    let (head, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(head..head + length)?;
    Some(Frame { opcode: first & 0x0f, payload, length: head + length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_once_they_are_complete() {
        for (head, length) in
            [(&[0x82, 125][..], 125), (&[0x82, 126, 0x01, 0x00], 256), (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536)]
        {
            let bytes = [head, &vec![7; length]].concat();
            assert!(frame(&bytes[..bytes.len() - 1]).is_none());
            let whole = frame(&bytes).unwrap();
            assert_eq!((whole.opcode, whole.payload.len(), whole.length), (BINARY, length, bytes.len()));
        }
    }

    #[test]
    fn a_sent_frame_has_a_mask_of_zeros() {
        let mut out = Vec::new();
        push_masked(&mut out, b"hello");
        assert_eq!(out, b"\x82\x85\0\0\0\0hello");
    }
}
