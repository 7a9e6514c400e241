//! As much of the NATS protocol as a load generator needs. A viewer speaks it inside a WebSocket.

use std::io::Write as _;

/// What the server says once it has taken a viewer's subscriptions.
pub(crate) const READY: &[u8] = b"PONG\r\n";

/// A client's first words.
pub(crate) const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"joey-bench\",\"version\":\"1\"}\r\n";

/// A viewer's first words; the server answers with [`READY`] once it has taken them.
pub(crate) fn subscribe(subjects: &[String]) -> Vec<u8> {
    let mut out = CONNECT.to_vec();
    for (at, subject) in subjects.iter().enumerate() {
        out.extend(format!("SUB {subject} {}\r\n", at + 1).bytes());
    }
    out.extend(b"PING\r\n");
    out
}

/// Appends one message.
pub(crate) fn push(out: &mut Vec<u8>, subject: &str, payload: &[u8]) {
    // Writing to memory cannot fail.
    write!(out, "PUB {subject} {}\r\n", payload.len()).ok();
    out.extend(payload);
    out.extend(b"\r\n");
}

/// A channel's name as NATS writes it.
pub(crate) fn subject(channel: &str) -> String {
    channel.replace('/', ".")
}
