//! How the command line gets to a relay: past servers that are none, over HTTP where no WebSocket gets through, and what it is
//! told where it may not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use joey_tests::proxy::Proxy;
use joey_tests::viewer::open;
use joey_tests::{Frame, Relay, Tap, eventually, joey, joey_in};

const THEN_S: u64 = 1_700_000_000;

fn send(relay: &Relay, numbers: std::ops::RangeInclusive<u64>) {
    let frame = |number| Frame::new("App", "computation", ["p", "w", "n"], THEN_S + 2 * number).with(&[number]);
    relay.producer("App", "w").send_all(&numbers.map(frame).collect::<Vec<_>>());
}

/// A server that gives every request the same `answer` and hangs up, or with an empty one waits for ever.
fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                if answer.is_empty() {
                    thread::sleep(Duration::from_secs(3_600));
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

macro_rules! answer {
    ($status:literal, $said:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n\r\n", $said)
    };
}

/// What may stand where a relay should, other than one.
const NO_RELAYS: [&str; 12] = [
    answer!("200 OK", "<html>welcome</html>"),
    answer!("204 No Content", ""),
    answer!("302 Found", ""),
    answer!("400 Bad Request", ""),
    answer!("403 Forbidden", "go away\n"),
    answer!("404 Not Found", "not found"),
    answer!("408 Request Timeout", ""),
    answer!("429 Too Many Requests", ""),
    answer!("503 Service Unavailable", ""),
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n",
    "220 smtp.example ESMTP\r\n",
    "\u{0}",
];

#[test]
fn whatever_the_first_relay_answers_the_second_is_tried() {
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.accepts(5);
    for answer in NO_RELAYS {
        let list = format!("{},{}", server(answer), relay.http);
        for once in [&["--once"][..], &[]] {
            let done = joey(&[&["stats", "App", "--json", "--relay", &list], once].concat());
            assert_eq!(done.code, 0, "{answer:?}: {}", done.err);
        }
    }
}

#[test]
fn only_where_all_refuse_for_good_a_client_that_waits_ends() {
    let [forbidden, unauthorized, away] =
        [NO_RELAYS[4], answer!("401 Unauthorized", ""), NO_RELAYS[8]].map(|answer| server(answer).to_string());
    let done = joey(&["tap", "--relay", &forbidden, "--relay", &unauthorized]);
    assert_eq!(done.code, 1, "{done:?}");
    let last = done.err.lines().last().unwrap_or_default();
    for said in [&forbidden, &unauthorized, "403 Forbidden: go away", "401 Unauthorized"] {
        assert!(last.contains(said), "{said}: {last}");
    }
    let mut tap = Tap::start(&["--relay", &forbidden, "--relay", &away]);
    eventually("it waits", || tap.complaints().contains("503 Service Unavailable); waiting").then_some(()));
    assert!(tap.runs());
    let done = joey(&["tap", "--once", "--relay", &forbidden, "--relay", &away]);
    assert!(done.code == 1 && done.err.lines().count() == 2, "{done:?}");
}

#[test]
fn a_list_may_hold_spaces_and_capitals_and_is_checked_whole() {
    let relay = Relay::start();
    let (gone, here) = (server("\u{0}").to_string(), relay.http.to_string());
    for list in [format!("{gone}, {here}"), format!(" WS://{gone} ,\tHTTP://{here}/ "), format!("{here} ")] {
        let done = joey_in(&["stats", "Nobody"], &[("JOEY_RELAY", &list)]);
        assert_eq!(done.code, 3, "{list}: {}", done.err);
    }
    for wrong in ["ftp://h", "h:99999", "ws://", "a b", ""] {
        let done = joey(&["stats", "Nobody", "--relay", &format!("{here},{wrong}")]);
        assert!(done.code == 2 && done.err.contains("relay.example"), "{wrong:?}: {done:?}");
    }
}

#[test]
fn where_no_websocket_gets_through_the_command_line_goes_over_http() {
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.accepts(5);
    let wire = Proxy::to(relay.http);
    wire.refuse_upgrades();
    let there = wire.address.to_string();
    let done = joey(&["stats", "App", "--json", "--once", "--relay", &there]);
    assert_eq!(done.code, 0, "{}", done.err);
    let tap = Tap::start(&["App", "--history", "--relay", &there]);
    tap.prints(1..=5);
    send(&relay, 6..=10);
    tap.prints(1..=10);
    wire.cut();
    send(&relay, 11..=15);
    relay.accepts(15);
    wire.mend();
    // It resumes as over a WebSocket: nothing twice and nothing left out.
    tap.prints(1..=15);
}

#[test]
fn a_websocket_that_opens_and_brings_nothing_is_given_up_for_a_stream() {
    // It takes the handshake as a relay does, and no frame gets through; all else is carried.
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.accepts(5);
    let wire = Proxy::to(relay.http);
    wire.swallow_frames();
    let done = joey(&["stats", "App", "--json", "--once", "--relay", &wire.address.to_string()]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn who_is_turned_away_is_told_why_and_what_to_set() {
    let relay = Relay::start();
    let check = |method: &str, path: &str, origin: &str, expected: u16| {
        let (status, head, said) = relay.ask(method, path, &format!("Origin: {origin}\r\n"));
        assert_eq!(status, expected, "{method} {path} {origin}: {said}");
        if status == 403 {
            let head = head.to_lowercase();
            assert!(
                head.contains("content-type: text/plain") && head.contains("access-control-allow-origin: *"),
                "{head}"
            );
        }
        said
    };
    for path in ["/ws", "/stream"] {
        let said = check("POST", path, "http://joey.localhost:4000", 403);
        assert!(said.contains("--origin http://joey.localhost:4000") && said.contains("JOEY_ORIGIN"), "{said}");
        assert!(check("POST", path, "null", 403).contains("without an origin"));
    }
    assert!(check("GET", "/ws", "http://evil.example", 403).contains("--origin http://evil.example"));
    check("GET", "/ws", &format!("http://{}", relay.http), 426);
    // Names with capitals and the usual port are the same names.
    for (host, origin) in [("127.0.0.1:80", "http://127.0.0.1"), ("LOCALHOST", "https://localhost:443")] {
        assert!(open(relay.http, &[("Host", host), ("Origin", origin)]).is_ok(), "{host} {origin}");
    }
    assert_eq!(open(relay.http, &[("Host", "127.0.0.1:81"), ("Origin", "http://127.0.0.1")]).err(), Some(403));
}
