//! Who may watch: tokens, origins, and both of them renewed while the relay runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use joey_shared::close;
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, ServerMessage, Start, SubscribeError};
use joey_tests::token::{self, OTHER_SECRET, PRIVATE_PEM, PUBLIC_PEM, SECRET, claims, eddsa, hs256, now_s, unsigned};
use joey_tests::viewer::{category, open, series};
use joey_tests::{Frame, Heard, Oracle, Relay, Tap, Viewer, eventually, eventually_is, joey, joey_in};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

const THEN_S: u64 = 1_700_000_000;

/// A numbered frame.
pub(crate) fn numbered(app: &str, category: &str, number: u64) -> Frame {
    Frame::new(app, category, ["p", "w", "n"], THEN_S + 2 * number).with(&[number])
}

/// A relay that asks for tokens, and the folder of its key, a secret.
fn guarded(words: &[&str]) -> (Relay, TempDir) {
    let folder = TempDir::new().expect("there is room for a key");
    let key = token::key_file(folder.path(), "key", SECRET);
    (Relay::start_with(&[&["--token-key", &key], words].concat()), folder)
}

/// A token that names only these applications and categories.
fn narrow(apps: &[&str], categories: &[&str]) -> String {
    hs256(SECRET, &claims(json!({"apps": apps, "categories": categories})))
}

/// Has the relay read everything again, and waits until it says how that went: [`RENEWED`] or [`KEPT`].
pub(crate) fn hang_up(relay: &Relay, word: &str) {
    let times = |relay: &Relay| relay.log().matches(word).count();
    let before = times(relay);
    relay.signal("HUP");
    eventually(word, || (times(relay) > before).then_some(()));
}

pub(crate) const RENEWED: &str = "reloaded";
pub(crate) const KEPT: &str = "reload failed";

// === tokens ===

#[test]
fn each_kind_of_key_lets_in_whom_it_has_signed_for() {
    let folder = TempDir::new().expect("there is room for keys");
    let good = claims(json!({}));
    for (key, token) in [(SECRET, hs256(SECRET, &good)), (PRIVATE_PEM, eddsa(&good)), (PUBLIC_PEM, eddsa(&good))] {
        let relay = Relay::start_with(&["--token-key", &token::key_file(folder.path(), "key", key)]);
        relay.producer("App", "w").send(&numbered("App", "computation", 1));
        relay.accepts(1);
        Viewer::with_token(&relay, &token).follow("App", Filter::All, Start::History);
        let mut viewer = Viewer::opened(&relay, None);
        viewer.show(&token);
        viewer.follow("App", Filter::All, Start::History);
    }
    // Where no token is asked for, one does no harm.
    let relay = Relay::start();
    let mut viewer = Viewer::with_token(&relay, "anything");
    viewer.show("anything");
    viewer.ask("App", Filter::All, Start::History);
    viewer.wait_for(|heard| matches!(heard, Heard::Refused(..)).then_some(()));
}

#[test]
fn a_token_that_is_not_good_is_closed_with_4401_however_it_is_shown() {
    let folder = TempDir::new().expect("there is room for keys");
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
        assert_eq!(Viewer::opened(&relay, Some(token)).take(), Heard::Closed(close::TOKEN), "header, number {at}");
        let mut viewer = Viewer::opened(&relay, None);
        viewer.show(token);
        assert_eq!(viewer.take(), Heard::Closed(close::TOKEN), "message, number {at}");
        // In the place of a good one.
        let mut viewer = Viewer::with_token(&relay, &mine);
        viewer.show(token);
        assert_eq!(viewer.closes(), close::TOKEN, "instead, number {at}");
    }
    assert_eq!(relay.closed("invalid_token"), 3 * bad.len() as u64);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn before_a_token_the_relay_says_nothing_and_listens_to_nothing_else() {
    let (relay, _folder) = guarded(&[]);
    let cases = [
        (Message::from(ClientMessage::Describe { app: "App".to_owned() }.encode()), close::TOKEN),
        (Message::from("text"), close::NOT_BINARY),
        (Message::from(vec![0xff; 8]), close::UNREADABLE),
        (Message::from(ClientMessage::Token { token: "a".repeat(20_000) }.encode()), close::TOO_BIG),
    ];
    for (message, code) in cases {
        let mut viewer = Viewer::opened(&relay, None);
        viewer.say_raw(Message::Ping(vec![1].into()));
        viewer.say_raw(message);
        assert_eq!(viewer.take(), Heard::Closed(code));
    }
    // A token of a megabyte is cut off, or closed, and harms nobody.
    let mut viewer = Viewer::opened(&relay, None);
    viewer.say_raw(Message::from(ClientMessage::Token { token: "a".repeat(1 << 16) }.encode()));
    assert!(matches!(viewer.take(), Heard::Closed(_)));
    let long = "a".repeat(1 << 20);
    let (status, ..) = relay.get_with("/ws", &format!("Sec-WebSocket-Protocol: joey.v1, bearer.{long}\r\n"));
    assert_eq!(status, 431);
    let _good = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({}))));
}

#[test]
fn a_ping_before_a_token_is_answered_before_the_next() {
    let (relay, _folder) = guarded(&[]);
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/ws", relay.http)).expect("a WebSocket");
    for number in 0..3 {
        socket.send(Message::Ping(vec![number].into())).expect("open");
        assert_eq!(socket.read().expect("open"), Message::Pong(vec![number].into()));
    }
}

#[test]
fn a_thousand_that_show_nothing_are_closed_and_keep_nobody_out() {
    let (relay, _folder) = guarded(&["--per-address", "0", "--viewers", "600"]);
    let mut silent: Vec<Viewer> = (0..1_000).map(|_| Viewer::opened(&relay, None)).collect();
    // They take no viewer's place.
    let mut good = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({}))));
    for viewer in &mut silent {
        assert_eq!(viewer.take(), Heard::Closed(close::NO_TOKEN));
    }
    drop(silent);
    assert_eq!((relay.closed("no_token"), relay.metric("joey_viewers")), (1_000, 1));
    good.ask("App", Filter::All, Start::Live);
    good.wait_for(|heard| matches!(heard, Heard::Refused(..)).then_some(()));
}

#[test]
fn only_the_protocols_own_name_is_echoed() {
    let (relay, _folder) = guarded(&[]);
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
    // In the address a token counts for nothing.
    let mut viewer = tungstenite::connect(format!("ws://{}/ws?token={token}&access_token={token}", relay.http));
    let (socket, _) = viewer.as_mut().expect("the relay takes connections");
    let closed = eventually("the end", || match socket.read() {
        Ok(Message::Close(frame)) => Some(frame.map(|frame| u16::from(frame.code))),
        _ => None,
    });
    assert_eq!(closed, Some(close::NO_TOKEN));
}

/// The answer to `message`, the catalogue and beats left out.
fn answer(socket: &mut WebSocket<TcpStream>, message: &ClientMessage) -> Vec<u8> {
    socket.send(Message::from(message.encode())).expect("the relay reads");
    loop {
        let Message::Binary(bytes) = socket.read().expect("the relay answers") else { continue };
        match ServerMessage::decode(&bytes).expect("it speaks the protocol") {
            ServerMessage::SubscribeFailed { .. } | ServerMessage::Series { .. } | ServerMessage::Subscribed(_) => {
                return bytes.to_vec();
            }
            _ => {}
        }
    }
}

#[test]
fn what_a_token_does_not_cover_is_answered_as_if_it_did_not_exist() {
    let (relay, _folder) = guarded(&[]);
    let names = ["a.b.c", "a.b", "a", "ab", "b.a", "A.b", "caf\u{e9}"];
    for name in names {
        relay.producer(name, "w").send_all(&[numbered(name, "computation", 1), numbered(name, "start-to-end", 2)]);
    }
    relay.accepts(2 * names.len() as u64);
    let token = narrow(&["a.*", "cafe\u{301}"], &["computation"]);
    let shown = format!("bearer.{token}");
    let mut socket = open(relay.http, &[("Sec-WebSocket-Protocol", &shown)]).expect("the relay takes viewers");
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
    viewer.wait_for(|heard| matches!(heard, Heard::Catalogue(true, _)).then_some(()));
    assert_eq!(viewer.catalogue.keys().collect::<Vec<_>>(), ["a.b", "a.b.c"]);
    for (filter, covered) in [
        (Filter::All, false),
        (category("start-to-end"), false),
        (series("start-to-end", "p", "w", "n"), false),
        (category("computation*"), false),
        (category("Computation"), false),
    ] {
        let sub = viewer.ask("a.b", filter.clone(), Start::History);
        let refused = viewer.wait_for(|heard| match heard {
            Heard::Refused(refused, SubscribeError::NoSuchApp) if *refused == sub => Some(true),
            Heard::Subscribed(subscribed) if subscribed.sub == sub => Some(false),
            _ => None,
        });
        assert_eq!(refused, !covered, "{filter:?}");
    }
    let (_, subscribed) = viewer.follow("a.b", category("computation"), Start::History);
    assert_eq!(viewer.collect(&[subscribed.feed], subscribed.head).updates.len(), 1);
    viewer.follow("a.b.c", series("computation", "p", "w", "n"), Start::History);
    viewer.say(&ClientMessage::Describe { app: "a.b".to_owned() });
    let mut named = Vec::new();
    viewer.wait_for(|heard| match heard {
        Heard::Series(app, some, last) if app == "a.b" => {
            named.extend(some.clone());
            last.then_some(())
        }
        _ => None,
    });
    assert_eq!(named.iter().map(|entry| entry.key.category.as_str()).collect::<Vec<_>>(), ["computation"]);
    // What appears later is filtered as well, and what is alive beats.
    relay.producer("a", "later").finish();
    relay.producer("a.later", "w").finish();
    viewer.wait_for_worker("a.later", "w", |_| true);
    assert_eq!(viewer.catalogue.len(), 3);
    let beat = viewer.wait_for(|heard| match heard {
        Heard::Heartbeat(sent) => Some(sent.len()),
        _ => None,
    });
    assert_eq!(beat, 2);
}

#[test]
fn a_token_is_renewed_in_place_without_losing_a_number() {
    let (relay, _folder) = guarded(&[]);
    let life_s = 6;
    let end_s = now_s() + life_s;
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("App", "computation", 1));
    relay.accepts(1);
    let mut viewer = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({"exp": end_s}))));
    let expires = |heard: &Heard| match heard {
        Heard::Expires(at_ns) => Some(*at_ns),
        _ => None,
    };
    // At the beginning, and when a third is left.
    assert_eq!(viewer.wait_for(expires), end_s * 1_000_000_000);
    let (_, subscribed) = viewer.follow("App", Filter::All, Start::History);
    assert_eq!(viewer.wait_for(expires), end_s * 1_000_000_000);
    producer.send(&numbered("App", "computation", 2));
    let newer_s = now_s() + 900;
    viewer.show(&hs256(SECRET, &claims(json!({"exp": newer_s}))));
    assert_eq!(viewer.wait_for(expires), newer_s * 1_000_000_000);
    eventually("the first token ends", || (now_s() > end_s + 1).then_some(()));
    producer.send_all(&[numbered("App", "computation", 3), numbered("App", "computation", 4)]);
    let collected = viewer.collect(&[subscribed.feed], 4);
    assert_eq!((collected.numbers, collected.gaps), (vec![1, 2, 3, 4], vec![]));
}

#[test]
fn a_token_that_is_not_renewed_ends_its_connection_a_while_after_its_end() {
    let (relay, _folder) = guarded(&[]);
    // Its end has just passed, as between two clocks.
    let mut viewer = Viewer::with_token(&relay, &hs256(SECRET, &claims(json!({"exp": now_s() - 2}))));
    // It may stay for a while, and see what there is.
    relay.producer("App", "w").finish();
    viewer.wait_for_worker("App", "w", |_| true);
    assert_eq!(viewer.closes(), close::TOKEN);
    assert_eq!(relay.closed("token_expired"), 1);
}

#[test]
fn another_token_widens_and_narrows_what_a_viewer_sees() {
    let (relay, _folder) = guarded(&[]);
    let mut producers = Vec::new();
    for name in ["a", "b"] {
        let mut producer = relay.producer(name, "w");
        producer.send(&numbered(name, "computation", 1));
        producers.push(producer);
    }
    relay.accepts(2);
    let mut viewer = Viewer::with_token(&relay, &narrow(&["a"], &["*"]));
    let full = |heard: &Heard| matches!(heard, Heard::Catalogue(true, _)).then_some(());
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.len(), 1);
    let (sub_a, a) = viewer.follow("a", Filter::All, Start::History);
    viewer.collect(&[a.feed], 1);

    viewer.show(&narrow(&["*"], &["*"]));
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.len(), 2);
    let (_, b) = viewer.follow("b", Filter::All, Start::History);
    viewer.collect(&[b.feed], 1);

    viewer.show(&narrow(&["b"], &["*"]));
    let refused = viewer.wait_for(|heard| match heard {
        Heard::Refused(sub, SubscribeError::NoSuchApp) => Some(*sub),
        _ => None,
    });
    assert_eq!(refused, sub_a);
    viewer.wait_for(full);
    assert_eq!(viewer.catalogue.keys().collect::<Vec<_>>(), ["b"]);
    producers.iter_mut().zip(["a", "b"]).for_each(|(producer, name)| producer.send(&numbered(name, "computation", 2)));
    // The other one goes on as if nothing had been.
    let collected = viewer.collect(&[b.feed], 2);
    assert_eq!((collected.updates.len(), collected.batches.len()), (1, 1));
}

// === the command line ===

#[test]
fn minted_tokens_let_clients_in() {
    let folder = TempDir::new().expect("there is room for keys");
    let secret = token::key_file(folder.path(), "secret", SECRET);
    let private = token::key_file(folder.path(), "private.pem", PRIVATE_PEM);
    let public = token::key_file(folder.path(), "public.pem", PUBLIC_PEM);
    let mint = |words: &[&str]| {
        let done = joey(&[&["token", "--token-key"], words].concat());
        assert_eq!((done.code, done.out.lines().count()), (0, 1), "{}", done.err);
        done.out.trim().to_owned()
    };
    for (minting, checking) in [(&secret, &secret), (&private, &private), (&private, &public)] {
        let relay = Relay::start_with(&["--token-key", checking, "--token-audience", "us"]);
        let frames = [numbered("App", "computation", 1)];
        relay.producer("App", "w").send_all(&frames);
        relay.accepts(1);
        let address = relay.http.to_string();
        let words = ["stats", "App", "--json", "--once", "--relay", &address];
        let stats = |token: &str| joey_in(&words, &[("JOEY_TOKEN", token)]);
        let done = stats(&mint(&[minting, "--audience", "us", "--ttl", "1h", "--subject", "somebody"]));
        assert_eq!(done.code, 0, "{}", done.err);
        Oracle::of(&frames).check(&serde_json::from_str(&done.out).expect("it prints JSON"));
        assert_eq!(stats(&mint(&[minting, "--audience", "us", "--apps", "Other , Ap*"])).code, 0);
        assert_eq!(stats(&mint(&[minting, "--audience", "us", "--apps", "Other,*x"])).code, 3);
        for refused in [mint(&[minting]), "nonsense".to_owned(), String::new()] {
            let done = stats(&refused);
            assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
            assert!(refused.is_empty() || !done.err.contains(&refused), "{}", done.err);
        }
        let file = token::key_file(folder.path(), "token", &format!("{}\n", mint(&[minting, "--audience", "us"])));
        assert_eq!(joey(&[&words, &["--token-file", file.as_str()][..]].concat()).code, 0);
    }
    for wrong in [&["--token-key", public.as_str()][..], &["--token-key", "/nowhere"], &["--token-key", "/dev/null"]] {
        let done = joey(&[&["token"], wrong].concat());
        assert_eq!((done.code, done.out.as_str(), done.err.trim().lines().count()), (1, "", 1), "{}", done.err);
    }
    assert_eq!(joey(&["token", "--token-key", &secret, "--ttl", "soon"]).code, 2);
}

#[test]
fn tap_takes_a_newer_token_from_its_file_and_prints_everything_once() {
    let (relay, folder) = guarded(&[]);
    let short = |life_s: u64| hs256(SECRET, &claims(json!({"exp": now_s() + life_s})));
    let file = token::key_file(folder.path(), "token", &short(900));
    let tap = Tap::start(&["App", "--relay", &relay.http.to_string(), "--token-file", &file]);
    eventually_is("viewers", &1, || relay.metric("joey_viewers"));
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[numbered("App", "computation", 1), numbered("App", "computation", 2)]);
    tap.prints(1..=2);
    // Another key takes the place of the first; the tap's token counts no longer, until there is one in the file that does.
    let _ = token::key_file(folder.path(), "key", OTHER_SECRET);
    hang_up(&relay, RENEWED);
    eventually("the tap says what it wants", || tap.complaints().contains("rejects the token in").then_some(()));
    producer.send(&numbered("App", "computation", 3));
    let _ = token::key_file(folder.path(), "token", &hs256(OTHER_SECRET, &claims(json!({}))));
    tap.prints(1..=3);
    // And once more, this time before anybody asks: it goes on over the same connection.
    let before = relay.metric("joey_subscriptions_total");
    let newer = hs256(OTHER_SECRET, &claims(json!({"sub": "newer"})));
    let _ = token::key_file(folder.path(), "token", &newer);
    producer.send(&numbered("App", "computation", 4));
    tap.prints(1..=4);
    assert_eq!(relay.metric("joey_subscriptions_total"), before);
}

// === pages and figures ===

#[test]
fn origins_are_read_again_and_a_bad_file_changes_nothing() {
    let folder = TempDir::new().expect("there is room for a file");
    let config = |text: &str| token::key_file(folder.path(), "joey.toml", text);
    let relay = Relay::start_with(&["--config", &config("origins = ['https://a.example']")]);
    let status = |origin: &str| open(relay.http, &[("Origin", origin)]).err();
    let check = |a, b| assert_eq!((status("https://a.example"), status("https://b.example")), (a, b));
    check(None, Some(403));
    let _ = config("origins = ['https://*.b.example', 'https://b.example']");
    hang_up(&relay, RENEWED);
    check(Some(403), None);
    assert_eq!(status("https://x.b.example"), None);
    for bad in ["origins = ['b.example']", "no_such_option = 1", "token_keys = ['/nowhere']", "tls_cert = 'x'", "\u{0}"]
    {
        let _ = config(bad);
        hang_up(&relay, KEPT);
        check(Some(403), None);
    }
    assert_eq!(relay.closed("forbidden_origin"), 2 + 5);
}

#[test]
fn figures_are_for_this_machine_or_a_token_and_pages_on_the_list_may_read_them() {
    let (relay, _folder) = guarded(&["--origin", "https://ui.example"]);
    let good = hs256(SECRET, &claims(json!({})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let status = |path: &str, lines: &str| relay.get_with(path, lines).0;
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
        let head = relay.get_with(path, &format!("Origin: {origin}\r\n")).1.to_lowercase();
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
fn a_request_that_is_far_too_long_is_refused_and_harms_nobody() {
    let relay = Relay::start();
    let many: String = (0..1_000).map(|at| format!("X-Header-{at}: {at}\r\n")).collect();
    let long = format!("X-Header: {}\r\n", "a".repeat(1 << 20));
    let path = format!("/{}", "a".repeat(100_000));
    for (path, lines) in [("/livez", many.as_str()), ("/livez", &long), (&path, ""), ("/ws", &long)] {
        let (status, ..) = relay.get_with(path, lines);
        assert!([400, 414, 431].contains(&status), "{status}");
    }
    assert_eq!(relay.get("/livez").0, 200);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
}

#[test]
fn no_token_is_ever_in_the_log_and_nobody_writes_lines_of_their_own() {
    let (relay, folder) = guarded(&["--log-level", "trace"]);
    let forged = "x\r\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}";
    let good = hs256(SECRET, &claims(json!({"sub": forged, "apps": [forged, "App"]})));
    let expired = hs256(SECRET, &claims(json!({"exp": 1})));
    let bad = hs256(OTHER_SECRET, &claims(json!({})));
    let mut viewer = Viewer::with_token(&relay, &good);
    viewer.show(&good);
    viewer.ask(forged, category(forged), Start::History);
    for token in [&expired, &bad] {
        let _ = Viewer::opened(&relay, Some(token)).closes();
        let mut viewer = Viewer::opened(&relay, None);
        viewer.show(token);
        let _ = viewer.closes();
    }
    let _ = relay.get_with("/metrics", &format!("X-Forwarded-For: 1\r\nAuthorization: Bearer {bad}\r\n"));
    let address = relay.http.to_string();
    let file = token::key_file(folder.path(), "token", &bad);
    let client = joey(&["stats", "App", "--once", "--relay", &address, "--token-file", &file]);
    assert_eq!(client.code, 1);
    let mut producer = relay.producer(forged, forged);
    producer.send(&Frame::new("App", forged, ["p", "w", "n"], THEN_S).with(&[1]));
    producer.send(&numbered("App", "computation", 1));
    relay.accepts(1);
    hang_up(&relay, RENEWED);
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
fn keys_are_read_again_and_whom_none_of_them_knows_has_to_go() {
    let folder = TempDir::new().expect("there is room for keys");
    let [first, second] =
        [("1", SECRET), ("2", OTHER_SECRET)].map(|(name, key)| token::key_file(folder.path(), name, key));
    let config = |keys: Value| token::key_file(folder.path(), "joey.toml", &format!("token_keys = {keys}\n"));
    let relay = Relay::start_with(&["--config", &config(json!([first]))]);
    let [old, new] = [SECRET, OTHER_SECRET].map(|secret| hs256(secret, &claims(json!({}))));
    let mut before = Viewer::with_token(&relay, &old);
    let refused = |token: &str| Viewer::opened(&relay, Some(token)).take() == Heard::Closed(close::TOKEN);
    assert!(refused(&new));
    // Both for a while.
    let _ = config(json!([first, second]));
    hang_up(&relay, RENEWED);
    let mut after = Viewer::with_token(&relay, &new);
    before.ask("App", Filter::All, Start::Live);
    before.wait_for(|heard| matches!(heard, Heard::Refused(..)).then_some(()));
    assert!(!refused(&old));
    // Then only the second.
    let _ = config(json!([second]));
    hang_up(&relay, RENEWED);
    assert_eq!(before.closes(), close::TOKEN);
    assert!(refused(&old) && !refused(&new));
    // A key that cannot be used changes nothing.
    let _ = token::key_file(folder.path(), "2", "short");
    hang_up(&relay, KEPT);
    assert!(relay.log().contains("a secret has 32 bytes or more"));
    assert!(!refused(&new));
    after.ask("App", Filter::All, Start::Live);
    after.wait_for(|heard| matches!(heard, Heard::Refused(..)).then_some(()));
}
