//! WebSocket frames that no client should send, written by hand: they close or slow down only the connection that sends
//! them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, Start, SubscribeError};
use joey_tests::delivery::{check_frame_counts, send};
use joey_tests::{Received, Relay, TIMEOUT, Viewer};

use super::start_producer;

/// A connection after its handshake, and the head of the relay's response.
fn upgraded(http: SocketAddr, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(http).expect("the relay listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
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

/// Waits until the relay closes the connection.
fn wait_until_closed(stream: &mut TcpStream, what: &str) {
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
fn invalid_websocket_frames_close_only_their_connection() {
    let relay = Relay::start();
    let (mut producer, mut checked) = start_producer(&relay);
    let unmasked = [0x82, 1, 0].to_vec();
    let huge = [&[0x82, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    for (what, bytes) in [
        ("a reserved bit", frame(0xc2, &[0])),
        ("an unknown kind", frame(0x83, &[0])),
        ("an unknown control frame", frame(0x8b, &[0])),
        ("a long ping", frame(0x89, &[0; 126])),
        ("a fragmented ping", frame(0x09, &[0])),
        ("a continuation without a first frame", frame(0x80, &[0])),
        ("a message inside a fragmented message", [frame(0x02, &[0]), frame(0x82, &[0])].concat()),
        ("no mask", unmasked),
        ("an impossible length", huge),
        ("a close code that does not exist", frame(0x88, &[0, 1])),
        ("text that is not UTF-8", frame(0x81, &[0xff, 0xfe])),
    ] {
        let (mut stream, _) = upgraded(relay.http, "");
        stream.write_all(&bytes).expect("the relay reads");
        wait_until_closed(&mut stream, what);
    }
    send(&mut producer, "App", "w", 2..=50);
    checked.read_and_check(50);
    check_frame_counts(&relay, 50, 0);
}

#[test]
fn a_message_with_endless_fragments_is_closed_at_the_limit() {
    let relay = Relay::start();
    let (mut stream, _) = upgraded(relay.http, "");
    let mut fragments = frame(0x02, &[0]);
    let fragment = frame(0x00, &[0]);
    // Twice the maximum message size.
    (0..2 * 64 * 1_024).for_each(|_| fragments.extend(&fragment));
    // The relay may stop reading before the end.
    let _ = stream.write_all(&fragments);
    wait_until_closed(&mut stream, "endless fragments");
    check_frame_counts(&relay, 0, 0);
}

#[test]
fn a_flood_of_pings_slows_down_only_its_sender() {
    let relay = Relay::start();
    let (mut producer, mut checked) = start_producer(&relay);
    let (mut stream, _) = upgraded(relay.http, "");
    stream.set_nonblocking(true).expect("the socket is open");
    let pings: Vec<u8> = (0..50_000).flat_map(|_| frame(0x89, &[0; 100])).collect();
    // As many bytes as the relay accepts while no answer is read; the sender keeps the rest.
    let mut rest = &pings[..];
    while let Ok(written) = stream.write(rest)
        && !rest.is_empty()
    {
        rest = &rest[written..];
    }
    send(&mut producer, "App", "w", 2..=500);
    checked.read_and_check(500);
    check_frame_counts(&relay, 500, 0);
}

#[test]
fn a_viewer_cannot_exceed_its_subscription_limit() {
    let relay = Relay::start();
    let (mut producer, mut checked) = start_producer(&relay);
    let mut greedy = Viewer::connect(&relay);
    for sub in 1..=1_200 {
        let topic = Topic { app: "App".to_owned(), filter: Filter::All };
        greedy.send(&ClientMessage::Subscribe { sub, topic, start: Start::Live });
    }
    for sub in 1_001..=1_200 {
        greedy.wait_for(|received| {
            (*received == Received::Rejected(sub, SubscribeError::TooManySubscriptions)).then_some(())
        });
    }
    send(&mut producer, "App", "w", 2..=100);
    checked.read_and_check(100);
    check_frame_counts(&relay, 100, 0);
}
