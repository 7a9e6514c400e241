//! Viewers where no WebSocket gets through: the same messages as an answer without an end, the same rules.

use joey_shared::close;
use joey_shared::series::Filter;
use joey_shared::wire::{ClientMessage, Start};
use joey_tests::ledger::{Witness, check_books, numbered, padded, send};
use joey_tests::stream::{post, record};
use joey_tests::token::{self, OTHER_SECRET, SECRET, claims, hs256};
use joey_tests::viewer::narrow;
use joey_tests::{Heard, Relay, Stream, Viewer, eventually_is, eventually_within};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

fn stream(relay: &Relay) -> Stream {
    Stream::open(relay.http, "").expect("the relay takes viewers")
}

fn describe() -> Vec<u8> {
    record(&ClientMessage::Describe { app: "App".to_owned() }.encode())
}

#[test]
fn a_stream_brings_what_a_websocket_does_and_resumes_where_it_was() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", 1..=500);
    relay.accepts(500);
    let mut over_stream = Witness::of("App", Viewer::streaming(stream(&relay)));
    let mut over_socket = Witness::of("App", Viewer::connect(&relay));
    over_stream.reads_to(500);
    // A break, over which more arrives; after it, live.
    over_stream.viewer = None;
    eventually_is("viewers", &1, || relay.metric("joey_viewers"));
    send(&mut producer, "App", "w", 501..=1_000);
    relay.accepts(1_000);
    over_stream.returns(Viewer::streaming(stream(&relay)));
    over_stream.reads_to(1_000);
    send(&mut producer, "App", "w", 1_001..=1_100);
    // From one way to the other and back.
    over_stream.returns_to(relay.http);
    over_stream.reads_to(1_050);
    over_stream.returns(Viewer::streaming(stream(&relay)));
    for witness in [&mut over_stream, &mut over_socket] {
        witness.reads_all(1_100);
        assert_eq!(witness.ledger.missing(witness.epoch), 0);
    }
    check_books(&relay, 1_100, 0);
}

#[test]
fn what_the_ring_no_longer_holds_is_named_over_a_stream_too() {
    let relay = Relay::start_with(&["--ring-bytes", "60000", "--sum-secs", "0"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    let mut witness = Witness::of("App", Viewer::streaming(stream(&relay)));
    witness.reads_to(1);
    witness.viewer = None;
    producer.send_all(&(2..=2_000).map(|number| padded("App", "w", number)).collect::<Vec<_>>());
    relay.accepts(2_000);
    witness.returns(Viewer::streaming(stream(&relay)));
    witness.reads_all(2_000);
    assert!(witness.ledger.missing(witness.epoch) > 0);
}

#[test]
fn the_answer_is_for_nobody_to_hold_back_and_its_id_is_never_the_same() {
    let relay = Relay::start();
    let streams = [stream(&relay), stream(&relay)];
    assert_ne!(streams[0].id, streams[1].id);
    for stream in &streams {
        assert!(stream.id.len() == 32 && stream.id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", stream.id);
        for line in ["content-type: application/octet-stream", "x-accel-buffering: no", "cache-control: no-store"] {
            assert!(stream.head.contains(line), "{}", stream.head);
        }
    }
    eventually_is("viewers", &2, || relay.metric("joey_viewers"));
    drop(streams);
    eventually_is("viewers", &0, || relay.metric("joey_viewers"));
}

#[test]
fn only_whole_messages_for_a_stream_that_is_open_are_taken() {
    let relay = Relay::start();
    let long = record(&[0; 16 * 1024 + 1]);
    for (body, status, code) in [
        (&long[..], 413, close::TOO_BIG),
        (&[0; 200 * 1024][..], 413, close::TOO_BIG),
        (&describe()[..5], 400, close::UNREADABLE),
        (&[2, 0, 0, 0x80, 0, 0], 400, close::UNREADABLE),
        (&[1, 0, 0, 0, 0xff], 204, close::UNREADABLE),
        (&[0, 0, 0, 0], 204, close::UNREADABLE),
    ] {
        let stream = stream(&relay);
        assert_eq!(stream.command(&describe()), 204);
        assert_eq!(stream.command(body), status, "{} bytes", body.len());
        let mut viewer = Viewer::streaming(stream);
        assert_eq!(viewer.closes(), code, "{} bytes", body.len());
    }
    let unknown = |id: &str| post(relay.http, &format!("/stream/{id}"), "", &describe()).0;
    let open = stream(&relay);
    assert_eq!(unknown(&open.id), 204);
    assert_eq!(["0", &"0".repeat(32), &open.id[1..]].map(unknown), [404; 3]);
    let id = open.id.clone();
    drop(open);
    eventually_is("the answer to the id of a stream that is gone", &404, || unknown(&id));
    assert!(relay.closed("unknown_stream") >= 4);
    assert_eq!((relay.closed("too_big"), relay.closed("malformed")), (2, 4));
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn commands_that_do_not_come_to_their_end_are_not_waited_for() {
    let relay = Relay::start();
    let open = stream(&relay);
    // It says that more will come.
    let (status, _) = post(relay.http, &format!("/stream/{}", open.id), "Transfer-Encoding: chunked\r\n", &[]);
    assert_eq!(status, 408);
    assert_eq!(relay.closed("command_timeout"), 1);
    assert_eq!(open.command(&describe()), 204, "the stream goes on");
}

#[test]
fn a_page_of_another_site_may_neither_open_a_stream_nor_speak_over_one() {
    let relay = Relay::start_with(&["--origin", "https://ui.example"]);
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    let own = format!("http://{}", relay.http);
    for origin in ["https://evil.example", "null", "http://ui.example"] {
        assert_eq!(Stream::open(relay.http, &from(origin)).err(), Some(403), "{origin}");
        let (status, _) = post(relay.http, &format!("/stream/{}", stream(&relay).id), &from(origin), &describe());
        assert_eq!(status, 403, "{origin}");
    }
    assert_eq!(relay.closed("forbidden_origin"), 6);
    for origin in ["https://ui.example", &own] {
        let stream = Stream::open(relay.http, &from(origin)).expect("it may");
        assert_eq!(post(relay.http, &format!("/stream/{}", stream.id), &from(origin), &describe()).0, 204);
    }
    // A browser asks first whether it may show a token.
    let asked = |origin: &str| {
        let lines = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
        );
        relay.ask("OPTIONS", "/stream", &lines).1.to_lowercase()
    };
    let allowed = asked("https://ui.example");
    for line in
        ["access-control-allow-origin: https://ui.example", "access-control-allow-headers: authorization", "post"]
    {
        assert!(allowed.contains(line), "{allowed}");
    }
    assert!(!asked("https://evil.example").contains("allow-origin"));
}

#[test]
fn tokens_count_over_a_stream_as_they_do_over_a_websocket() {
    let folder = TempDir::new().expect("there is room for a key");
    let relay = Relay::start_with(&["--token-key", &token::key_file(folder.path(), "key", SECRET)]);
    for app in ["App", "Other"] {
        relay.producer(app, "w").send(&numbered(app, "w", 1));
    }
    relay.accepts(2);
    let good = hs256(SECRET, &claims(json!({"apps": ["App"]})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let shown =
        |token: &str| Stream::open(relay.http, &format!("Authorization: Bearer {token}\r\n")).expect("it opens");
    let mut with_request = Viewer::streaming(shown(&good));
    let mut with_message = Viewer::streaming_unheard(stream(&relay));
    with_message.show(&good);
    for viewer in [&mut with_request, &mut with_message] {
        viewer.follow("App", Filter::All, Start::History);
        let sub = viewer.ask("Other", Filter::All, Start::History);
        viewer.wait_for(|heard| matches!(heard, Heard::Refused(refused, _) if *refused == sub).then_some(()));
    }
    assert_eq!(Viewer::streaming_unheard(shown(&bad)).take(), Heard::Closed(close::TOKEN));
    let mut silent = Viewer::streaming_unheard(stream(&relay));
    let mut hasty = Viewer::streaming_unheard(stream(&relay));
    hasty.ask("App", Filter::All, Start::History);
    assert_eq!(hasty.take(), Heard::Closed(close::TOKEN));
    with_request.show(&bad);
    assert_eq!(with_request.closes(), close::TOKEN);
    assert_eq!(silent.take(), Heard::Closed(close::NO_TOKEN));
    assert_eq!((relay.closed("invalid_token"), relay.closed("no_token")), (3, 1));
}

#[test]
fn a_stream_that_nobody_reads_is_cut_and_told_what_it_missed_on_return() {
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    let open = Stream::open_over(narrow(relay.http, None), relay.http, "").expect("the relay takes viewers");
    let mut stalled = Witness::of("App", Viewer::streaming(open));
    let mut healthy = Witness::of("App", Viewer::streaming(stream(&relay)));
    let mut last = 1;
    eventually_within(Duration::from_secs(60), "the stalled viewer is let go", || {
        producer.send_all(&(last + 1..=last + 400).map(|number| padded("App", "w", number)).collect::<Vec<_>>());
        last += 400;
        healthy.reads_to(last);
        (relay.closed("stalled") == 1 && relay.metric("joey_viewers") == 1).then_some(())
    });
    let sent: Vec<u64> = (1..=last).collect();
    stalled.reads_to_the_end();
    stalled.returns(Viewer::streaming(stream(&relay)));
    stalled.reads_to(last);
    for witness in [&stalled, &healthy] {
        witness.check(&sent);
    }
    assert_eq!(healthy.ledger.missing(healthy.epoch), 0, "who reads misses nothing");
    check_books(&relay, last, 0);
}

#[test]
fn stopping_sends_what_there_is_and_tells_streams_to_come_back() {
    let mut relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    relay.accepts(100);
    let mut witness = Witness::of("App", Viewer::streaming(stream(&relay)));
    let mut idle = Viewer::streaming(stream(&relay));
    relay.signal("TERM");
    assert_eq!(witness.reads_to_the_end(), close::RESTART);
    witness.check(&(1..=100).collect::<Vec<_>>());
    assert_eq!(idle.closes(), close::RESTART);
    assert_eq!(relay.wait().code(), Some(0));
}
