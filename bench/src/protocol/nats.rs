//! The part of the NATS protocol that a load generator needs. Viewers use it inside a WebSocket.

use std::io::Write as _;

/// The server's answer once it has accepted a viewer's subscriptions.
pub(crate) const READY: &[u8] = b"PONG\r\n";

/// The first line of a client.
pub(crate) const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"joey-bench\",\"version\":\"1\"}\r\n";

/// The first lines of a viewer; the server answers with [`READY`] once it has accepted them.
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

/// The name of a channel as a NATS subject.
pub(crate) fn subject(channel: &str) -> String {
    channel.replace('/', ".")
}
