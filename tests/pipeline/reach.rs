//! How the command line connects to a relay: skipping servers that are not relays, falling back to HTTP without
//! WebSockets, and the errors that it prints if a relay rejects it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use joey_tests::proxy::Proxy;
use joey_tests::viewer::open;
use joey_tests::{Frame, Relay, Tap, eventually, joey, joey_with_env};

const THEN_S: u64 = 1_700_000_000;

fn send(relay: &Relay, numbers: std::ops::RangeInclusive<u64>) {
    let frame = |number| Frame::new("App", "computation", ["p", "w", "n"], THEN_S + 2 * number).with(&[number]);
    relay.producer("App", "w").send_all(&numbers.map(frame).collect::<Vec<_>>());
}

/// A server that sends every request the same `answer` and disconnects, or never answers if it is empty.
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

/// Responses of servers that are not relays.
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
fn the_second_relay_is_tried_whatever_the_first_one_answers() {
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.wait_for_accepted(5);
    for answer in NO_RELAYS {
        let list = format!("{},{}", server(answer), relay.http);
        for once in [&["--once"][..], &[]] {
            let done = joey(&[&["stats", "App", "--json", "--relay", &list], once].concat());
            assert_eq!(done.code, 0, "{answer:?}: {}", done.err);
        }
    }
}

#[test]
fn a_waiting_client_exits_only_when_every_relay_rejects_it_permanently() {
    let [forbidden, unauthorized, away] =
        [NO_RELAYS[4], answer!("401 Unauthorized", ""), NO_RELAYS[8]].map(|answer| server(answer).to_string());
    let done = joey(&["tap", "--relay", &forbidden, "--relay", &unauthorized]);
    assert_eq!(done.code, 1, "{done:?}");
    let last = done.err.lines().last().unwrap_or_default();
    for part in [&forbidden, &unauthorized, "403 Forbidden: go away", "401 Unauthorized"] {
        assert!(last.contains(part), "{part}: {last}");
    }
    let mut tap = Tap::start(&["--relay", &forbidden, "--relay", &away]);
    eventually("the tap waits", || tap.stderr().contains("503 Service Unavailable; waiting").then_some(()));
    assert!(tap.is_running());
    let done = joey(&["tap", "--once", "--relay", &forbidden, "--relay", &away]);
    assert!(done.code == 1 && done.err.lines().count() == 2, "{done:?}");
}

#[test]
fn a_relay_list_may_contain_spaces_and_capitals_and_is_fully_validated() {
    let relay = Relay::start();
    let (gone, here) = (server("\u{0}").to_string(), relay.http.to_string());
    for list in [format!("{gone}, {here}"), format!(" WS://{gone} ,\tHTTP://{here}/ "), format!("{here} ")] {
        let done = joey_with_env(&["stats", "Nobody"], &[("JOEY_RELAY", &list)]);
        assert_eq!(done.code, 3, "{list}: {}", done.err);
    }
    for wrong in ["ftp://h", "h:99999", "ws://", "a b", ""] {
        let done = joey(&["stats", "Nobody", "--relay", &format!("{here},{wrong}")]);
        assert!(done.code == 2 && done.err.contains("relay.example"), "{wrong:?}: {done:?}");
    }
}

#[test]
fn the_command_line_falls_back_to_http_without_websockets() {
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.wait_for_accepted(5);
    let proxy = Proxy::new(relay.http);
    proxy.reject_upgrades();
    let address = proxy.address.to_string();
    let done = joey(&["stats", "App", "--json", "--once", "--relay", &address]);
    assert_eq!(done.code, 0, "{}", done.err);
    let tap = Tap::start(&["App", "--history", "--relay", &address]);
    tap.wait_until_printed(1..=5);
    send(&relay, 6..=10);
    tap.wait_until_printed(1..=10);
    proxy.disconnect();
    send(&relay, 11..=15);
    relay.wait_for_accepted(15);
    proxy.restore();
    // It resumes as over a WebSocket: nothing is printed twice or left out.
    tap.wait_until_printed(1..=15);
}

#[test]
fn a_websocket_that_delivers_nothing_is_replaced_by_a_stream() {
    // The proxy forwards the handshake and drops all frames; it forwards everything else.
    let relay = Relay::start();
    send(&relay, 1..=5);
    relay.wait_for_accepted(5);
    let proxy = Proxy::new(relay.http);
    proxy.drop_frames();
    let done = joey(&["stats", "App", "--json", "--once", "--relay", &proxy.address.to_string()]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_rejected_client_receives_the_reason_and_the_option_to_set() {
    let relay = Relay::start();
    let check = |method: &str, path: &str, origin: &str, expected: u16| {
        let (status, head, body) = relay.request(method, path, &format!("Origin: {origin}\r\n"));
        assert_eq!(status, expected, "{method} {path} {origin}: {body}");
        if status == 403 {
            let head = head.to_lowercase();
            assert!(
                head.contains("content-type: text/plain") && head.contains("access-control-allow-origin: *"),
                "{head}"
            );
        }
        body
    };
    for path in ["/ws", "/stream"] {
        let body = check("POST", path, "http://joey.localhost:4000", 403);
        assert!(body.contains("--origin http://joey.localhost:4000") && body.contains("JOEY_ORIGIN"), "{body}");
        assert!(check("POST", path, "null", 403).contains("without an origin"));
    }
    assert!(check("GET", "/ws", "http://evil.example", 403).contains("--origin http://evil.example"));
    check("GET", "/ws", &format!("http://{}", relay.http), 426);
    // Hosts are compared without case and without the default port.
    for (host, origin) in [("127.0.0.1:80", "http://127.0.0.1"), ("LOCALHOST", "https://localhost:443")] {
        assert!(open(relay.http, &[("Host", host), ("Origin", origin)]).is_ok(), "{host} {origin}");
    }
    assert_eq!(open(relay.http, &[("Host", "127.0.0.1:81"), ("Origin", "http://127.0.0.1")]).err(), Some(403));
}
