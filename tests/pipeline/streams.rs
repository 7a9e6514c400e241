//! Viewers without WebSockets: the same messages and rules over an endless HTTP response.

use joey_shared::close;
use joey_shared::series::Filter;
use joey_shared::wire::{ClientMessage, Start};
use joey_tests::delivery::{CheckedViewer, check_frame_counts, numbered, padded, send};
use joey_tests::stream::{post, record};
use joey_tests::token::{self, OTHER_SECRET, SECRET, claims, hs256};
use joey_tests::viewer::connect_with_small_buffer;
use joey_tests::{Received, Relay, Stream, Viewer, eventually_is, eventually_within};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

fn stream(relay: &Relay) -> Stream {
    Stream::open(relay.http, "").expect("the relay accepts viewers")
}

fn describe() -> Vec<u8> {
    record(&ClientMessage::Describe { app: "App".to_owned() }.encode())
}

#[test]
fn a_stream_delivers_what_a_websocket_does_and_resumes_where_it_was() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", 1..=500);
    relay.wait_for_accepted(500);
    let mut over_stream = CheckedViewer::subscribe("App", Viewer::over_stream(stream(&relay)));
    let mut over_socket = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    over_stream.read_to(500);
    // Disconnect while more updates arrive, then continue live.
    over_stream.viewer = None;
    eventually_is("viewers", &1, || relay.metric("joey_viewers"));
    send(&mut producer, "App", "w", 501..=1_000);
    relay.wait_for_accepted(1_000);
    over_stream.resume_on(Viewer::over_stream(stream(&relay)));
    over_stream.read_to(1_000);
    send(&mut producer, "App", "w", 1_001..=1_100);
    // Switch to a WebSocket and back.
    over_stream.reconnect_to(relay.http);
    over_stream.read_to(1_050);
    over_stream.resume_on(Viewer::over_stream(stream(&relay)));
    for checked in [&mut over_stream, &mut over_socket] {
        checked.read_and_check(1_100);
        assert_eq!(checked.delivery.missing(checked.epoch), 0);
    }
    check_frame_counts(&relay, 1_100, 0);
}

#[test]
fn evicted_updates_are_reported_missing_over_a_stream() {
    let relay = Relay::start_with(&["--ring-bytes", "60000", "--sum-secs", "0"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    let mut checked = CheckedViewer::subscribe("App", Viewer::over_stream(stream(&relay)));
    checked.read_to(1);
    checked.viewer = None;
    producer.send_all(&(2..=2_000).map(|number| padded("App", "w", number)).collect::<Vec<_>>());
    relay.wait_for_accepted(2_000);
    checked.resume_on(Viewer::over_stream(stream(&relay)));
    checked.read_and_check(2_000);
    assert!(checked.delivery.missing(checked.epoch) > 0);
}

#[test]
fn a_stream_disables_buffering_and_has_a_unique_id() {
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
fn only_complete_messages_for_an_open_stream_are_accepted() {
    let relay = Relay::start();
    let long = record(&[0; 16 * 1024 + 1]);
    for (body, status, code) in [
        (&long[..], 413, close::TOO_BIG),
        (&[0; 200 * 1024][..], 413, close::TOO_BIG),
        (&describe()[..5], 400, close::MALFORMED),
        (&[2, 0, 0, 0x80, 0, 0], 400, close::MALFORMED),
        (&[1, 0, 0, 0, 0xff], 204, close::MALFORMED),
        (&[0, 0, 0, 0], 204, close::MALFORMED),
    ] {
        let stream = stream(&relay);
        assert_eq!(stream.command(&describe()), 204);
        assert_eq!(stream.command(body), status, "{} bytes", body.len());
        let mut viewer = Viewer::over_stream(stream);
        assert_eq!(viewer.wait_for_close(), code, "{} bytes", body.len());
    }
    let unknown = |id: &str| post(relay.http, &format!("/stream/{id}"), "", &describe()).0;
    let open = stream(&relay);
    assert_eq!(unknown(&open.id), 204);
    assert_eq!(["0", &"0".repeat(32), &open.id[1..]].map(unknown), [404; 3]);
    let id = open.id.clone();
    drop(open);
    eventually_is("the status for the id of a closed stream", &404, || unknown(&id));
    assert!(relay.closed("unknown_stream") >= 4);
    assert_eq!((relay.closed("too_big"), relay.closed("malformed")), (2, 4));
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn an_unfinished_command_times_out() {
    let relay = Relay::start();
    let open = stream(&relay);
    // The header announces a body that never arrives.
    let (status, _) = post(relay.http, &format!("/stream/{}", open.id), "Transfer-Encoding: chunked\r\n", &[]);
    assert_eq!(status, 408);
    assert_eq!(relay.closed("command_timeout"), 1);
    assert_eq!(open.command(&describe()), 204, "the stream stays open");
}

#[test]
fn a_foreign_origin_can_neither_open_nor_use_a_stream() {
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
        let stream = Stream::open(relay.http, &from(origin)).expect("this origin is allowed");
        assert_eq!(post(relay.http, &format!("/stream/{}", stream.id), &from(origin), &describe()).0, 204);
    }
    // A browser sends a preflight request before it sends a token.
    let asked = |origin: &str| {
        let lines = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
        );
        relay.request("OPTIONS", "/stream", &lines).1.to_lowercase()
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
fn tokens_work_over_a_stream_as_over_a_websocket() {
    let folder = TempDir::new().expect("a key can be written");
    let relay = Relay::start_with(&["--token-key", &token::key_file(folder.path(), "key", SECRET)]);
    for app in ["App", "Other"] {
        relay.producer(app, "w").send(&numbered(app, "w", 1));
    }
    relay.wait_for_accepted(2);
    let good = hs256(SECRET, &claims(json!({"apps": ["App"]})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let shown =
        |token: &str| Stream::open(relay.http, &format!("Authorization: Bearer {token}\r\n")).expect("it opens");
    let mut with_request = Viewer::over_stream(shown(&good));
    let mut with_message = Viewer::over_stream_without_hello(stream(&relay));
    with_message.send_token(&good);
    for viewer in [&mut with_request, &mut with_message] {
        viewer.subscribe("App", Filter::All, Start::History);
        let sub = viewer.request_subscription("Other", Filter::All, Start::History);
        viewer
            .wait_for(|received| matches!(received, Received::Rejected(rejected, _) if *rejected == sub).then_some(()));
    }
    assert_eq!(Viewer::over_stream_without_hello(shown(&bad)).next_message(), Received::Closed(close::INVALID_TOKEN));
    let mut silent = Viewer::over_stream_without_hello(stream(&relay));
    let mut hasty = Viewer::over_stream_without_hello(stream(&relay));
    hasty.request_subscription("App", Filter::All, Start::History);
    assert_eq!(hasty.next_message(), Received::Closed(close::INVALID_TOKEN));
    with_request.send_token(&bad);
    assert_eq!(with_request.wait_for_close(), close::INVALID_TOKEN);
    assert_eq!(silent.next_message(), Received::Closed(close::NO_TOKEN));
    assert_eq!((relay.closed("invalid_token"), relay.closed("no_token")), (3, 1));
}

#[test]
fn a_stalled_stream_is_closed_and_learns_what_it_missed_when_it_resumes() {
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    let open = Stream::open_over(connect_with_small_buffer(relay.http, None), relay.http, "")
        .expect("the relay accepts viewers");
    let mut stalled = CheckedViewer::subscribe("App", Viewer::over_stream(open));
    let mut healthy = CheckedViewer::subscribe("App", Viewer::over_stream(stream(&relay)));
    let mut last = 1;
    eventually_within(Duration::from_secs(60), "the stalled viewer is disconnected", || {
        producer.send_all(&(last + 1..=last + 400).map(|number| padded("App", "w", number)).collect::<Vec<_>>());
        last += 400;
        healthy.read_to(last);
        (relay.closed("stalled") == 1 && relay.metric("joey_viewers") == 1).then_some(())
    });
    let sent: Vec<u64> = (1..=last).collect();
    stalled.read_to_close();
    stalled.resume_on(Viewer::over_stream(stream(&relay)));
    stalled.read_to(last);
    for checked in [&stalled, &healthy] {
        checked.check(&sent);
    }
    assert_eq!(healthy.delivery.missing(healthy.epoch), 0, "a viewer that reads misses nothing");
    check_frame_counts(&relay, last, 0);
}

#[test]
fn stopping_flushes_streams_and_closes_them_with_restart() {
    let mut relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    relay.wait_for_accepted(100);
    let mut checked = CheckedViewer::subscribe("App", Viewer::over_stream(stream(&relay)));
    let mut idle = Viewer::over_stream(stream(&relay));
    relay.signal("TERM");
    assert_eq!(checked.read_to_close(), close::RESTART);
    checked.check(&(1..=100).collect::<Vec<_>>());
    assert_eq!(idle.wait_for_close(), close::RESTART);
    assert_eq!(relay.wait().code(), Some(0));
}
