//! WebSocket frames that no client should send, written by hand: they end or slow down whoever sends them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, Start, SubscribeError};
use joey_tests::ledger::{check_books, send};
use joey_tests::{Heard, PATIENCE, Relay, Viewer};

use super::begun;

/// A connection after its handshake, with what the relay answered.
fn upgraded(http: SocketAddr, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(http).expect("the relay listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {http}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: joey.v1\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).expect("the relay reads");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the relay answers");
        head.extend(byte);
    }
    (stream, String::from_utf8(head).expect("a head is text"))
}

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | u8::try_from(length).expect("it is short")),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("it is not that long").to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Waits until the relay ends the connection.
fn ends(stream: &mut TcpStream, what: &str) {
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return,
            Err(error) => panic!("{what}: still open: {error}"),
        }
    }
}

#[test]
fn compression_is_not_negotiated() {
    let relay = Relay::start();
    let (_, head) = upgraded(relay.http, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 101") && !head.contains("sec-websocket-extensions"), "{head}");
}

#[test]
fn frames_against_the_standard_end_their_connection_only() {
    let relay = Relay::start();
    let (mut producer, mut witness) = begun(&relay);
    let unmasked = [0x82, 1, 0].to_vec();
    let huge = [&[0x82, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    for (what, bytes) in [
        ("a reserved bit", frame(0xc2, &[0])),
        ("an unknown kind", frame(0x83, &[0])),
        ("an unknown control frame", frame(0x8b, &[0])),
        ("a long ping", frame(0x89, &[0; 126])),
        ("a ping in pieces", frame(0x09, &[0])),
        ("a continuation of nothing", frame(0x80, &[0])),
        ("a message within a message", [frame(0x02, &[0]), frame(0x82, &[0])].concat()),
        ("no mask", unmasked),
        ("an impossible length", huge),
        ("a close code that does not exist", frame(0x88, &[0, 1])),
        ("text that is no UTF-8", frame(0x81, &[0xff, 0xfe])),
    ] {
        let (mut stream, _) = upgraded(relay.http, "");
        stream.write_all(&bytes).expect("the relay reads");
        ends(&mut stream, what);
    }
    send(&mut producer, "App", "w", 2..=50);
    witness.reads_all(50);
    check_books(&relay, 50, 0);
}

#[test]
fn a_message_in_endless_pieces_ends_at_the_limit() {
    let relay = Relay::start();
    let (mut stream, _) = upgraded(relay.http, "");
    let mut pieces = frame(0x02, &[0]);
    let piece = frame(0x00, &[0]);
    // Twice as many bytes as are read of any message.
    (0..2 * 64 * 1_024).for_each(|_| pieces.extend(&piece));
    // The relay need not read to the end.
    let _ = stream.write_all(&pieces);
    ends(&mut stream, "endless pieces");
    check_books(&relay, 0, 0);
}

#[test]
fn a_flood_of_pings_and_commands_slows_down_its_sender_only() {
    let relay = Relay::start();
    let (mut producer, mut witness) = begun(&relay);
    let (mut stream, _) = upgraded(relay.http, "");
    stream.set_nonblocking(true).expect("the socket is open");
    let pings: Vec<u8> = (0..50_000).flat_map(|_| frame(0x89, &[0; 100])).collect();
    // As much as is taken without reading any answer; the rest waits at the sender.
    let mut rest = &pings[..];
    while let Ok(written) = stream.write(rest)
        && !rest.is_empty()
    {
        rest = &rest[written..];
    }
    send(&mut producer, "App", "w", 2..=500);
    witness.reads_all(500);
    check_books(&relay, 500, 0);
}

#[test]
fn a_viewer_cannot_have_more_subscriptions_than_it_may() {
    let relay = Relay::start();
    let (mut producer, mut witness) = begun(&relay);
    let mut greedy = Viewer::connect(&relay);
    for sub in 1..=1_200 {
        let topic = Topic { app: "App".to_owned(), filter: Filter::All };
        greedy.say(&ClientMessage::Subscribe { sub, topic, start: Start::Live });
    }
    for sub in 1_001..=1_200 {
        greedy.wait_for(|heard| (*heard == Heard::Refused(sub, SubscribeError::TooManySubscriptions)).then_some(()));
    }
    send(&mut producer, "App", "w", 2..=100);
    witness.reads_all(100);
    check_books(&relay, 100, 0);
}
