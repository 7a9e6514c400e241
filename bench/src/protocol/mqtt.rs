//! The part of MQTT 3.1.1 that a load generator needs, in its cheapest form: no acknowledgements, no retained messages.
//! Viewers use it inside a WebSocket.

/// The subprotocol of a viewer's WebSocket.
pub(crate) const SUBPROTOCOL: &str = "mqtt";
/// A ping. The answer is ignored; it only makes the server read.
pub(crate) const PING: &[u8] = &[0xc0, 0];

/// The first packet of a client with this name.
pub(crate) fn connect(name: &str) -> Vec<u8> {
    // Version 4, a clean session, and no keep-alive timeout.
    packet(0x10, &[&string("MQTT"), &[4, 2, 0, 0], &string(name)])
}

/// A viewer's second packet. The server answers with [`ready`].
pub(crate) fn subscribe(patterns: &[String]) -> Vec<u8> {
    let patterns: Vec<u8> = patterns.iter().flat_map(|pattern| [string(pattern), vec![0]].concat()).collect();
    packet(0x82, &[&[0, 1], &patterns])
}

/// The server's answer once it has accepted this many patterns.
pub(crate) fn ready(patterns: usize) -> Vec<u8> {
    packet(0x90, &[&[0, 1], &vec![0; patterns]])
}

/// Appends one message.
pub(crate) fn push(out: &mut Vec<u8>, topic: &str, payload: &[u8]) {
    out.extend(packet(0x30, &[&string(topic), payload]));
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![kind];
    // Seven bits per byte, lowest first; the eighth bit says that more bytes follow.
    let mut left = body.len();
    while left > 0x7f {
        out.push(left as u8 & 0x7f | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend(body);
    out
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_encoded_as_in_the_standard() {
        assert_eq!(connect("a"), b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a");
        assert_eq!(subscribe(&["a/#".to_owned()]), b"\x82\x08\0\x01\0\x03a/#\0");
        assert_eq!(ready(1), b"\x90\x03\0\x01\0");
        let mut out = Vec::new();
        push(&mut out, "a", &[7; 197]);
        assert_eq!(out[..6], *b"\x30\xc8\x01\0\x01a");
    }
}
