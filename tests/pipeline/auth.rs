//! Authentication of viewers: tokens, origins, and reloading both while the relay runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use joey_shared::close;
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, ServerMessage, Start, SubscribeError};
use joey_tests::token::{self, OTHER_SECRET, PRIVATE_PEM, PUBLIC_PEM, SECRET, claims, eddsa, hs256, now_s, unsigned};
use joey_tests::viewer::{category, open, series};
use joey_tests::{Frame, Oracle, Received, Relay, Tap, Viewer, eventually, eventually_is, joey, joey_with_env};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

const THEN_S: u64 = 1_700_000_000;

/// A numbered frame.
pub(crate) fn numbered(app: &str, category: &str, number: u64) -> Frame {
    Frame::new(app, category, ["p", "w", "n"], THEN_S + 2 * number).with(&[number])
}

/// A relay that requires tokens, and the folder of its key, a secret.
fn relay_with_token_key(arguments: &[&str]) -> (Relay, TempDir) {
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    (Relay::start_with(&[&["--token-key", &key], arguments].concat()), folder)
}

/// A token that allows only these applications and categories.
fn limited_token(apps: &[&str], categories: &[&str]) -> String {
    hs256(SECRET, &claims(json!({"apps": apps, "categories": categories})))
}

/// Makes the relay reload its configuration, and waits until it logs the result: [`RELOADED`] or [`UNCHANGED`].
pub(crate) fn reload(relay: &Relay, word: &str) {
    let times = |relay: &Relay| relay.log().matches(word).count();
    let before = times(relay);
    relay.signal("HUP");
    eventually(word, || (times(relay) > before).then_some(()));
}

pub(crate) const RELOADED: &str = "reloaded";
pub(crate) const UNCHANGED: &str = "reload failed";

// === tokens ===

#[test]
fn each_kind_of_key_accepts_the_tokens_that_it_signed() {
    let folder = TempDir::new().expect("keys can be written");
    let good = claims(json!({}));
    for (key, token) in [(SECRET, hs256(SECRET, &good)), (PRIVATE_PEM, eddsa(&good)), (PUBLIC_PEM, eddsa(&good))] {
        let relay = Relay::start_with(&["--token-key", &token::key_file(folder.path(), "key", key)]);
        relay.producer("App", "w").send(&numbered("App", "computation", 1));
        relay.wait_for_accepted(1);
        Viewer::with_token(&relay, &token).subscribe("App", Filter::All, Start::History);
        let mut viewer = Viewer::connect_without_hello(&relay, None);
        viewer.send_token(&token);
        viewer.subscribe("App", Filter::All, Start::History);
    }
    // A relay that requires no token accepts any.
    let relay = Relay::start();
    let mut viewer = Viewer::with_token(&relay, "anything");
    viewer.send_token("anything");
    viewer.request_subscription("App", Filter::All, Start::History);
    viewer.wait_for(|received| matches!(received, Received::Rejected(..)).then_some(()));
}

#[test]
fn an_invalid_token_is_closed_with_4401_however_it_is_sent() {
    let folder = TempDir::new().expect("keys can be written");
    let now_s = now_s();
    let good = claims(json!({}));
    let mine = eddsa(&good);
    let head = |token: &str| token.split('.').next().unwrap_or_default().to_owned();
    let bad = [
        String::new(),
        "e30.e30.e30".to_owned(),
        mine[..mine.len() - 1].to_owned(),
        mine[..mine.len() / 2].to_owned(),
        format!("{mine}.{mine}"),
        head(&mine),
        unsigned("none", &good),
        unsigned("None", &good),
        unsigned("EdDSA", &good),
        unsigned("HS256", &good),
        hs256(PUBLIC_PEM, &good),
        hs256(PUBLIC_PEM.trim(), &good),
        hs256(SECRET, &good),
        eddsa(&json!({"aud": "joey"})),
        eddsa(&json!({"exp": now_s + 900})),
        eddsa(&json!({"aud": "joey", "exp": now_s - 60})),
        eddsa(&json!({"aud": "joey", "exp": (now_s + 900).to_string()})),
        eddsa(&claims(json!({"aud": "yoej"}))),
        eddsa(&claims(json!({"aud": ["a", "b"]}))),
        eddsa(&claims(json!({"nbf": now_s + 60}))),
        eddsa(&claims(json!({"apps": "*"}))),
        eddsa(&claims(json!({"categories": [[]]}))),
        "a".repeat(12_000),
    ];
    let relay = Relay::start_with(&["--token-key", &token::key_file(folder.path(), "key", PUBLIC_PEM)]);
    for (at, token) in bad.iter().enumerate() {
        assert_eq!(
            Viewer::connect_without_hello(&relay, Some(token)).next_message(),
            Received::Closed(close::INVALID_TOKEN),
            "header, number {at}"
        );
        let mut viewer = Viewer::connect_without_hello(&relay, None);
        viewer.send_token(token);
        assert_eq!(viewer.next_message(), Received::Closed(close::INVALID_TOKEN), "message, number {at}");
        // Instead of a valid one.
        let mut viewer = Viewer::with_token(&relay, &mine);
        viewer.send_token(token);
        assert_eq!(viewer.wait_for_close(), close::INVALID_TOKEN, "renewal, number {at}");
    }
    assert_eq!(relay.closed("invalid_token"), 3 * bad.len() as u64);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn before_a_token_the_relay_sends_nothing_and_accepts_no_other_message() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let cases = [
        (Message::from(ClientMessage::Describe { app: "App".to_owned() }.encode()), close::INVALID_TOKEN),
        (Message::from("text"), close::NOT_BINARY),
        (Message::from(vec![0xff; 8]), close::MALFORMED),
        (Message::from(ClientMessage::Token { token: "a".repeat(20_000) }.encode()), close::TOO_BIG),
    ];
    for (message, code) in cases {
        let mut viewer = Viewer::connect_without_hello(&relay, None);
        viewer.send_raw(Message::Ping(vec![1].into()));
        viewer.send_raw(message);
        assert_eq!(viewer.next_message(), Received::Closed(code));
    }
    // A token of a megabyte is rejected and affects no other client.
    let mut viewer = Viewer::connect_without_hello(&relay, None);
    viewer.send_raw(Message::from(ClientMessage::Token { token: "a".repeat(1 << 16) }.encode()));
    assert!(matches!(viewer.next_message(), Received::Closed(_)));
    let long = "a".repeat(1 << 20);
    let (status, ..) = relay.get_with_headers("/ws", &format!("Sec-WebSocket-Protocol: joey.v1, bearer.{long}\r\n"));
    assert_eq!(status, 431);
    let _good = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({}))));
}

#[test]
fn pings_before_a_token_are_answered() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/ws", relay.http)).expect("a WebSocket");
    for number in 0..3 {
        socket.send(Message::Ping(vec![number].into())).expect("open");
        assert_eq!(socket.read().expect("open"), Message::Pong(vec![number].into()));
    }
}

#[test]
fn a_thousand_connections_without_a_token_are_closed_and_do_not_block_viewers() {
    let (relay, _folder) = relay_with_token_key(&["--per-address", "0", "--viewers", "600"]);
    let mut silent: Vec<Viewer> = (0..1_000).map(|_| Viewer::connect_without_hello(&relay, None)).collect();
    // They do not count towards the limit of viewers.
    let mut good = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({}))));
    for viewer in &mut silent {
        assert_eq!(viewer.next_message(), Received::Closed(close::NO_TOKEN));
    }
    drop(silent);
    assert_eq!((relay.closed("no_token"), relay.metric("joey_viewers")), (1_000, 1));
    good.request_subscription("App", Filter::All, Start::Live);
    good.wait_for(|received| matches!(received, Received::Rejected(..)).then_some(()));
}

#[test]
fn only_the_name_of_the_protocol_is_echoed() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let token = hs256(SECRET, &claims(json!({})));
    let upgrade = format!(
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: joey.v1, bearer.{token}\r\n"
    );
    let mut stream = TcpStream::connect(relay.http).expect("the relay listens");
    let request = format!("GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n{upgrade}\r\n", relay.http);
    stream.write_all(request.as_bytes()).expect("the relay reads");
    let mut head = [0; 1_024];
    let length = stream.read(&mut head).expect("the relay answers");
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(head.contains("101 switching") && head.contains("sec-websocket-protocol: joey.v1\r\n"), "{head}");
    assert!(!head.contains("bearer"), "{head}");
    // A token in the address is ignored.
    let mut viewer = tungstenite::connect(format!("ws://{}/ws?token={token}&access_token={token}", relay.http));
    let (socket, _) = viewer.as_mut().expect("the relay accepts connections");
    let closed = eventually("the end", || match socket.read() {
        Ok(Message::Close(frame)) => Some(frame.map(|frame| u16::from(frame.code))),
        _ => None,
    });
    assert_eq!(closed, Some(close::NO_TOKEN));
}

/// The answer to `message`, skipping catalogue messages and heartbeats.
fn answer(socket: &mut WebSocket<TcpStream>, message: &ClientMessage) -> Vec<u8> {
    socket.send(Message::from(message.encode())).expect("the relay reads");
    loop {
        let Message::Binary(bytes) = socket.read().expect("the relay answers") else { continue };
        match ServerMessage::decode(&bytes).expect("it sends valid messages") {
            ServerMessage::SubscribeFailed { .. } | ServerMessage::Series { .. } | ServerMessage::Subscribed(_) => {
                return bytes.to_vec();
            }
            _ => {}
        }
    }
}

#[test]
fn a_topic_outside_the_token_is_answered_like_one_that_does_not_exist() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let names = ["a.b.c", "a.b", "a", "ab", "b.a", "A.b", "caf\u{e9}"];
    for name in names {
        relay.producer(name, "w").send_all(&[numbered(name, "computation", 1), numbered(name, "start-to-end", 2)]);
    }
    relay.wait_for_accepted(2 * names.len() as u64);
    let token = limited_token(&["a.*", "cafe\u{301}"], &["computation"]);
    let shown = format!("bearer.{token}");
    let mut socket = open(relay.http, &[("Sec-WebSocket-Protocol", &shown)]).expect("the relay accepts viewers");
    let absent = "zzz";
    let topics = |app: &str| {
        let filters = [Filter::All, category("computation"), series("computation", "p", "w", "n"), category("\0")];
        filters.map(|filter| Topic { app: app.to_owned(), filter })
    };
    let with_name = |bytes: &[u8], app: &str| {
        let (mut message, mut name) = (ServerMessage::decode(bytes).expect("it was read"), String::new());
        if let ServerMessage::Series { app, .. } = &mut message {
            std::mem::swap(app, &mut name);
        }
        assert!(name.is_empty() || name == app);
        message.encode()
    };
    for hidden in ["a", "ab", "b.a", "A.b", "caf\u{e9}", "a.*", "*", "a.\0", "", ".."] {
        for (mine, theirs) in topics(hidden).into_iter().zip(topics(absent)) {
            let subscribe = |topic: Topic| ClientMessage::Subscribe { sub: 9, topic, start: Start::History };
            let unknown = answer(&mut socket, &subscribe(theirs));
            assert_eq!(unknown, ServerMessage::SubscribeFailed { sub: 9, reason: SubscribeError::NoSuchApp }.encode());
            assert_eq!(answer(&mut socket, &subscribe(mine)), unknown, "{hidden:?}");
        }
        let describe = |app: &str| ClientMessage::Describe { app: app.to_owned() };
        let unknown = with_name(&answer(&mut socket, &describe(absent)), absent);
        assert_eq!(with_name(&answer(&mut socket, &describe(hidden)), hidden), unknown, "{hidden:?}");
    }

    let mut viewer = Viewer::with_token(&relay, &token);
    viewer.wait_for(|received| matches!(received, Received::Catalogue(true, _)).then_some(()));
    assert_eq!(viewer.catalogue.keys().collect::<Vec<_>>(), ["a.b", "a.b.c"]);
    for (filter, covered) in [
        (Filter::All, false),
        (category("start-to-end"), false),
        (series("start-to-end", "p", "w", "n"), false),
        (category("computation*"), false),
        (category("Computation"), false),
    ] {
        let sub = viewer.request_subscription("a.b", filter.clone(), Start::History);
        let rejected = viewer.wait_for(|received| match received {
            Received::Rejected(rejected, SubscribeError::NoSuchApp) if *rejected == sub => Some(true),
            Received::Subscribed(subscribed) if subscribed.sub == sub => Some(false),
            _ => None,
        });
        assert_eq!(rejected, !covered, "{filter:?}");
    }
    let (_, subscribed) = viewer.subscribe("a.b", category("computation"), Start::History);
    assert_eq!(viewer.collect(&[subscribed.feed], subscribed.head).updates.len(), 1);
    viewer.subscribe("a.b.c", series("computation", "p", "w", "n"), Start::History);
    viewer.send(&ClientMessage::Describe { app: "a.b".to_owned() });
    let mut named = Vec::new();
    viewer.wait_for(|received| match received {
        Received::Series(app, some, last) if app == "a.b" => {
            named.extend(some.clone());
            last.then_some(())
        }
        _ => None,
    });
    assert_eq!(named.iter().map(|entry| entry.key.category.as_str()).collect::<Vec<_>>(), ["computation"]);
    // Applications that appear later are filtered as well, and heartbeats continue.
    relay.producer("a", "later").finish();
    relay.producer("a.later", "w").finish();
    viewer.wait_for_worker("a.later", "w", |_| true);
    assert_eq!(viewer.catalogue.len(), 3);
    let beat = viewer.wait_for(|received| match received {
        Received::Heartbeat(sent) => Some(sent.len()),
        _ => None,
    });
    assert_eq!(beat, 2);
}

#[test]
fn a_token_is_renewed_without_losing_an_update() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let life_s = 6;
    let end_s = now_s() + life_s;
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("App", "computation", 1));
    relay.wait_for_accepted(1);
    let mut viewer = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({"exp": end_s}))));
    let expires = |received: &Received| match received {
        Received::Expires(at_ns) => Some(*at_ns),
        _ => None,
    };
    // At the beginning, and when a third of the time is left.
    assert_eq!(viewer.wait_for(expires), end_s * 1_000_000_000);
    let (_, subscribed) = viewer.subscribe("App", Filter::All, Start::History);
    assert_eq!(viewer.wait_for(expires), end_s * 1_000_000_000);
    producer.send(&numbered("App", "computation", 2));
    let newer_s = now_s() + 900;
    viewer.send_token(&hs256(SECRET, &claims(json!({"exp": newer_s}))));
    assert_eq!(viewer.wait_for(expires), newer_s * 1_000_000_000);
    eventually("the first token expires", || (now_s() > end_s + 1).then_some(()));
    producer.send_all(&[numbered("App", "computation", 3), numbered("App", "computation", 4)]);
    let collected = viewer.collect(&[subscribed.feed], 4);
    assert_eq!((collected.numbers, collected.gaps), (vec![1, 2, 3, 4], vec![]));
}

#[test]
fn a_token_that_is_not_renewed_closes_its_connection_soon_after_it_expires() {
    let (relay, _folder) = relay_with_token_key(&[]);
    // It has just expired, as with two clocks that differ slightly.
    let mut viewer = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({"exp": now_s() - 1}))));
    // The connection stays open for a while and receives the catalogue.
    relay.producer("App", "w").finish();
    viewer.wait_for_worker("App", "w", |_| true);
    assert_eq!(viewer.wait_for_close(), close::INVALID_TOKEN);
    assert_eq!(relay.closed("token_expired"), 1);
}

#[test]
fn a_new_token_changes_what_a_viewer_may_see() {
    let (relay, _folder) = relay_with_token_key(&[]);
    let mut producers = Vec::new();
    for name in ["a", "b"] {
        let mut producer = relay.producer(name, "w");
        producer.send(&numbered(name, "computation", 1));
        producers.push(producer);
    }
    relay.wait_for_accepted(2);
    let mut viewer = Viewer::with_token(&relay, &limited_token(&["a"], &["*"]));
    let full = |received: &Received| matches!(received, Received::Catalogue(true, _)).then_some(());
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.len(), 1);
    let (sub_a, a) = viewer.subscribe("a", Filter::All, Start::History);
    viewer.collect(&[a.feed], 1);

    viewer.send_token(&limited_token(&["*"], &["*"]));
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.len(), 2);
    let (_, b) = viewer.subscribe("b", Filter::All, Start::History);
    viewer.collect(&[b.feed], 1);

    viewer.send_token(&limited_token(&["b"], &["*"]));
    let rejected = viewer.wait_for(|received| match received {
        Received::Rejected(sub, SubscribeError::NoSuchApp) => Some(*sub),
        _ => None,
    });
    assert_eq!(rejected, sub_a);
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.keys().collect::<Vec<_>>(), ["b"]);
    producers.iter_mut().zip(["a", "b"]).for_each(|(producer, name)| producer.send(&numbered(name, "computation", 2)));
    // The other subscription continues uninterrupted.
    let collected = viewer.collect(&[b.feed], 2);
    assert_eq!((collected.updates.len(), collected.batches.len()), (1, 1));
}

// === the command line ===

#[test]
fn clients_connect_with_issued_tokens() {
    let folder = TempDir::new().expect("keys can be written");
    let secret = token::key_file(folder.path(), "secret", SECRET);
    let private = token::key_file(folder.path(), "private.pem", PRIVATE_PEM);
    let public = token::key_file(folder.path(), "public.pem", PUBLIC_PEM);
    let mint = |arguments: &[&str]| {
        let done = joey(&[&["token", "--token-key"], arguments].concat());
        assert_eq!((done.code, done.out.lines().count()), (0, 1), "{}", done.err);
        done.out.trim().to_owned()
    };
    for (minting, checking) in [(&secret, &secret), (&private, &private), (&private, &public)] {
        let relay = Relay::start_with(&["--token-key", checking, "--token-audience", "us"]);
        let frames = [numbered("App", "computation", 1)];
        relay.producer("App", "w").send_all(&frames);
        relay.wait_for_accepted(1);
        let address = relay.http.to_string();
        let arguments = ["stats", "App", "--json", "--once", "--relay", &address];
        let stats = |token: &str| joey_with_env(&arguments, &[("JOEY_TOKEN", token)]);
        let done = stats(&mint(&[minting, "--audience", "us", "--ttl", "1h", "--subject", "somebody"]));
        assert_eq!(done.code, 0, "{}", done.err);
        Oracle::new(&frames).check(&serde_json::from_str(&done.out).expect("it prints JSON"));
        assert_eq!(stats(&mint(&[minting, "--audience", "us", "--apps", "Other , Ap*"])).code, 0);
        assert_eq!(stats(&mint(&[minting, "--audience", "us", "--apps", "Other,*x"])).code, 3);
        for rejected in [mint(&[minting]), "nonsense".to_owned(), String::new()] {
            let done = stats(&rejected);
            assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
            assert!(rejected.is_empty() || !done.err.contains(&rejected), "{}", done.err);
        }
        let file = token::key_file(folder.path(), "token", &format!("{}\n", mint(&[minting, "--audience", "us"])));
        assert_eq!(joey(&[&arguments, &["--token-file", file.as_str()][..]].concat()).code, 0);
    }
    for wrong in [&["--token-key", public.as_str()][..], &["--token-key", "/nowhere"], &["--token-key", "/dev/null"]] {
        let done = joey(&[&["token"], wrong].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.trim().lines().count()), (1, "", 1), "{}", done.err);
    }
    assert_eq!(joey(&["token", "--token-key", &secret, "--ttl", "soon"]).code, 2);
}

#[test]
fn tap_reads_a_new_token_from_its_file_and_prints_everything_once() {
    let (relay, folder) = relay_with_token_key(&[]);
    let short = |life_s: u64| hs256(SECRET, &claims(json!({"exp": now_s() + life_s})));
    let file = token::key_file(folder.path(), "token", &short(900));
    let tap = Tap::start(&["App", "--relay", &relay.http.to_string(), "--token-file", &file]);
    eventually_is("viewers", &1, || relay.metric("joey_viewers"));
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[numbered("App", "computation", 1), numbered("App", "computation", 2)]);
    tap.wait_until_printed(1..=2);
    // Another key replaces the first. The tap's token is invalid until its file contains a new one.
    let _ = token::key_file(folder.path(), "key", OTHER_SECRET);
    reload(&relay, RELOADED);
    eventually("the tap reports that it needs a new token", || {
        tap.stderr().contains("rejects the token in").then_some(())
    });
    producer.send(&numbered("App", "computation", 3));
    let _ = token::key_file(folder.path(), "token", &hs256(OTHER_SECRET, &claims(json!({}))));
    tap.wait_until_printed(1..=3);
    // Once more, before the token is rejected: the connection stays open.
    let before = relay.metric("joey_subscriptions_total");
    let newer = hs256(OTHER_SECRET, &claims(json!({"sub": "newer"})));
    let _ = token::key_file(folder.path(), "token", &newer);
    producer.send(&numbered("App", "computation", 4));
    tap.wait_until_printed(1..=4);
    assert_eq!(relay.metric("joey_subscriptions_total"), before);
}

// === origins and metrics ===

#[test]
fn origins_are_reloaded_and_an_invalid_file_changes_nothing() {
    let folder = TempDir::new().expect("a file can be written");
    let config = |text: &str| token::key_file(folder.path(), "joey.toml", text);
    let relay = Relay::start_with(&["--config", &config("origins = ['https://a.example']")]);
    let status = |origin: &str| open(relay.http, &[("Origin", origin)]).err();
    let check = |a, b| assert_eq!((status("https://a.example"), status("https://b.example")), (a, b));
    check(None, Some(403));
    let _ = config("origins = ['https://*.b.example', 'https://b.example']");
    reload(&relay, RELOADED);
    check(Some(403), None);
    assert_eq!(status("https://x.b.example"), None);
    for bad in ["origins = ['b.example']", "no_such_option = 1", "token_keys = ['/nowhere']", "tls_cert = 'x'", "\u{0}"]
    {
        let _ = config(bad);
        reload(&relay, UNCHANGED);
        check(Some(403), None);
    }
    assert_eq!(relay.closed("forbidden_origin"), 2 + 5);
}

#[test]
fn metrics_require_loopback_or_a_token_and_allow_listed_origins() {
    let (relay, _folder) = relay_with_token_key(&["--origin", "https://ui.example"]);
    let good = hs256(SECRET, &claims(json!({})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let status = |path: &str, lines: &str| relay.get_with_headers(path, lines).0;
    let far = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(status("/metrics", ""), 200);
    for lines in [far, "Forwarded: for=192.0.2.7\r\n"] {
        assert_eq!(status("/metrics", lines), 401);
        assert_eq!(status("/metrics", &format!("{lines}Authorization: Bearer {good}\r\n")), 200);
        assert_eq!(status("/metrics", &format!("{lines}Authorization: bearer {good}\r\n")), 200);
        for wrong in
            [format!("Bearer {bad}"), format!("Basic {good}"), good.clone(), "Bearer".to_owned(), String::new()]
        {
            assert_eq!(status("/metrics", &format!("{lines}Authorization: {wrong}\r\n")), 401, "{wrong}");
        }
        for open in ["/livez", "/readyz", "/healthz", "/"] {
            assert_eq!(status(open, lines), 200, "{open}");
        }
    }
    let allowed = |path: &str, origin: &str| {
        let head = relay.get_with_headers(path, &format!("Origin: {origin}\r\n")).1.to_lowercase();
        let line = head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: ").map(str::to_owned));
        line.unwrap_or_default()
    };
    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        assert_eq!(allowed(path, "https://ui.example"), "https://ui.example", "{path}");
        for other in ["https://ui.example.evil.net", "http://ui.example", "null", "*"] {
            assert_eq!(allowed(path, other), "", "{path} {other}");
        }
    }
}

#[test]
fn an_oversized_request_is_rejected_without_affecting_others() {
    let relay = Relay::start();
    let many: String = (0..1_000).map(|at| format!("X-Header-{at}: {at}\r\n")).collect();
    let long = format!("X-Header: {}\r\n", "a".repeat(1 << 20));
    let path = format!("/{}", "a".repeat(100_000));
    for (path, lines) in [("/livez", many.as_str()), ("/livez", &long), (&path, ""), ("/ws", &long)] {
        let (status, ..) = relay.get_with_headers(path, lines);
        assert!([400, 414, 431].contains(&status), "{status}");
    }
    assert_eq!(relay.get("/livez").0, 200);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn the_log_contains_no_tokens_and_no_forged_lines() {
    let (relay, folder) = relay_with_token_key(&["--log-level", "trace"]);
    let forged = "x\r\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}";
    let good = hs256(SECRET, &claims(json!({"sub": forged, "apps": [forged, "App"]})));
    let expired = hs256(SECRET, &claims(json!({"exp": 1})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let mut viewer = Viewer::with_token(&relay, &good);
    viewer.send_token(&good);
    viewer.request_subscription(forged, category(forged), Start::History);
    for token in [&expired, &bad] {
        let _ = Viewer::connect_without_hello(&relay, Some(token)).wait_for_close();
        let mut viewer = Viewer::connect_without_hello(&relay, None);
        viewer.send_token(token);
        let _ = viewer.wait_for_close();
    }
    let _ = relay.get_with_headers("/metrics", &format!("X-Forwarded-For: 1\r\nAuthorization: Bearer {bad}\r\n"));
    let address = relay.http.to_string();
    let file = token::key_file(folder.path(), "token", &bad);
    let client = joey(&["stats", "App", "--once", "--relay", &address, "--token-file", &file]);
    assert_eq!(client.code, 1);
    let mut producer = relay.producer(forged, forged);
    producer.send(&Frame::new("App", forged, ["p", "w", "n"], THEN_S).with(&[1]));
    producer.send(&numbered("App", "computation", 1));
    relay.wait_for_accepted(1);
    reload(&relay, RELOADED);
    let texts = [relay.log(), client.err, client.out];
    for token in [&good, &expired, &bad] {
        for part in token.split('.').skip(1) {
            assert!(!texts.iter().any(|text| text.contains(part)), "{part}");
        }
    }
    assert!(!texts[0].contains(SECRET));
    let events = texts[0].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(events.into_iter().all(|event| event["fields"]["message"] != "forged"));
}

// === keys that change ===

#[test]
fn keys_are_reloaded_and_viewers_of_removed_keys_are_disconnected() {
    let folder = TempDir::new().expect("keys can be written");
    let [first, second] =
        [("1", SECRET), ("2", OTHER_SECRET)].map(|(name, key)| token::key_file(folder.path(), name, key));
    let config = |keys: Value| token::key_file(folder.path(), "joey.toml", &format!("token_keys = {keys}\n"));
    let relay = Relay::start_with(&["--config", &config(json!([first]))]);
    let [old, new] = [SECRET, OTHER_SECRET].map(|secret| hs256(secret, &claims(json!({}))));
    let mut before = Viewer::with_token(&relay, &old);
    let rejected = |token: &str| {
        Viewer::connect_without_hello(&relay, Some(token)).next_message() == Received::Closed(close::INVALID_TOKEN)
    };
    assert!(rejected(&new));
    // Both keys are valid for a while.
    let _ = config(json!([first, second]));
    reload(&relay, RELOADED);
    let mut after = Viewer::with_token(&relay, &new);
    before.request_subscription("App", Filter::All, Start::Live);
    before.wait_for(|received| matches!(received, Received::Rejected(..)).then_some(()));
    assert!(!rejected(&old));
    // Then only the second one.
    let _ = config(json!([second]));
    reload(&relay, RELOADED);
    assert_eq!(before.wait_for_close(), close::INVALID_TOKEN);
    assert!(rejected(&old) && !rejected(&new));
    // An invalid key changes nothing.
    let _ = token::key_file(folder.path(), "2", "short");
    reload(&relay, UNCHANGED);
    assert!(relay.log().contains("a secret has 32 bytes or more"));
    assert!(!rejected(&new));
    after.request_subscription("App", Filter::All, Start::Live);
    after.wait_for(|received| matches!(received, Received::Rejected(..)).then_some(()));
}
