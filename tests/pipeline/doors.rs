//! Who may send, and over what: certificates, networks of producers, and what the relay wants to be told beyond loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_tests::tls::Authority;
use joey_tests::token::{self, SECRET};
use joey_tests::{Frame, Oracle, PATIENCE, Producer, Relay, Tap, eventually_is, joey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::{KEPT, RENEWED, hang_up, numbered};

fn tls_words(authority: &Authority) -> Vec<String> {
    ["--tls-cert".to_owned(), authority.path("cert.pem"), "--tls-key".to_owned(), authority.path("key.pem")].into()
}

fn start(words: &[String]) -> Relay {
    Relay::start_with(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// One figure of a relay that encrypts.
fn metric(authority: &Authority, relay: &Relay, name: &str) -> u64 {
    let metrics = authority.get(relay.http, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("figures are whole numbers"))
}

#[test]
fn over_tls_everything_works_for_those_who_believe_the_certificate() {
    let authority = Authority::new();
    authority.certify();
    let relay = start(&tls_words(&authority));
    let frames: Vec<Frame> = (1..=20).map(|number| numbered("App", "computation", number)).collect();
    relay.producer("App", "w").send_all(&frames);
    let accepted = "joey_frames_accepted_total";
    eventually_is("frames", &20, || metric(&authority, &relay, accepted));
    let health = authority.get(relay.http, "/livez").to_lowercase();
    assert!(health.contains("200 ok") && health.contains("strict-transport-security: max-age="), "{health}");
    let address = format!("wss://localhost:{}", relay.http.port());
    let words = ["stats", "App", "--json", "--once", "--relay", &address];
    let done = joey(&[&words, &["--ca", &authority.path("ca.pem")][..]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    Oracle::of(&frames).check(&serde_json::from_str(&done.out).expect("it prints JSON"));
    // Whoever does not believe it, or does not encrypt, gets nothing.
    for words in [&words[..], &["stats", "App", "--once", "--relay", &relay.http.to_string()]] {
        let done = joey(words);
        assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
    }
    let stranger = Authority::new();
    assert_eq!(joey(&[&words, &["--ca", &stranger.path("ca.pem")][..]].concat()).code, 1);
    // Nor does whoever begins and does not go on.
    let mut silent = TcpStream::connect(relay.http).expect("the relay listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
    silent.write_all(&[0x16, 3, 1]).expect("the relay reads");
    assert_eq!(silent.read(&mut [0; 16]).expect("the relay ends it"), 0);
    let closed = "joey_connections_closed_total{reason=\"tls_handshake\"}";
    // The one that does not encrypt tries a WebSocket and then a stream.
    eventually_is("handshakes that failed", &5, || metric(&authority, &relay, closed));
    // Without TLS there is nothing to be strict about.
    assert!(!Relay::start().get("/livez").1.to_lowercase().contains("strict-transport"));
}

#[test]
fn a_certificate_is_read_again_while_old_connections_go_on_and_a_bad_one_changes_nothing() {
    let authority = Authority::new();
    authority.certify();
    let relay = start(&tls_words(&authority));
    let shown = |address: SocketAddr| {
        let stream = authority.connect(address);
        stream.conn.peer_certificates().expect("it shows one")[0].clone().into_owned()
    };
    let first = shown(relay.http);
    assert_eq!(shown(relay.http), first);
    let address = format!("wss://localhost:{}", relay.http.port());
    let tap = Tap::start(&["--relay", &address, "--ca", &authority.path("ca.pem")]);
    eventually_is("viewers", &1, || metric(&authority, &relay, "joey_viewers"));
    authority.certify();
    hang_up(&relay, RENEWED);
    let second = shown(relay.http);
    assert_ne!(first, second);
    let key = std::fs::read_to_string(authority.path("key.pem")).expect("it is ours");
    let cert = std::fs::read_to_string(authority.path("cert.pem")).expect("it is ours");
    let other = Authority::new();
    other.certify();
    let other_key = std::fs::read_to_string(other.path("key.pem")).expect("it is ours");
    for (bad_cert, bad_key) in
        [("", key.as_str()), ("nonsense", &key), (&cert, ""), (&cert, &other_key), (&cert, &cert)]
    {
        authority.write("cert.pem", bad_cert);
        authority.write("key.pem", bad_key);
        hang_up(&relay, KEPT);
        assert_eq!(shown(relay.http), second);
    }
    // The viewer of before has seen nothing of all this.
    relay.producer("App", "w").send(&numbered("App", "computation", 7));
    tap.prints([7]);
    assert_eq!(tap.complaints(), "");
}

#[test]
fn producers_can_be_asked_to_encrypt_too() {
    let authority = Authority::new();
    authority.certify();
    let relay = start(&[tls_words(&authority), vec!["--ingest-tls".to_owned()]].concat());
    let frame = numbered("App", "computation", 1);
    let mut producer = authority.connect(relay.ingest);
    // In pieces, so that a frame spans several records.
    for piece in frame.encode().chunks(50) {
        producer.write_all(piece).expect("the relay reads");
    }
    eventually_is("frames", &1, || metric(&authority, &relay, "joey_frames_accepted_total"));
    let mut plain = Producer::connect(relay.ingest);
    plain.send(&frame);
    // It may be told why, in the language of TLS, and then it is over.
    eventually_is("plain producers", &1, || {
        metric(&authority, &relay, "joey_connections_closed_total{reason=\"producer_tls_handshake\"}")
    });
    assert_eq!(metric(&authority, &relay, "joey_frames_accepted_total"), 1);
    let done = joey(&["serve", "--ingest-tls"]);
    assert!(done.code == 1 && done.err.contains("tls_cert"), "{}", done.err);
}

// === producers ===

/// A producer's connection from another address of this machine.
fn producer_from(own: [u8; 4], ingest: SocketAddr) -> Producer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads are to be had");
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((own, 0).into())?;
        socket.connect(ingest).await?.into_std()
    });
    let stream = connected.expect("the relay listens for producers");
    stream.set_nonblocking(false).expect("the socket is open");
    Producer::over(stream)
}

#[test]
fn only_producers_of_the_networks_on_the_list_are_read() {
    let folder = TempDir::new().expect("there is room for a file");
    let config =
        |networks: Value| token::key_file(folder.path(), "joey.toml", &format!("producers_allow = {networks}\n"));
    let relay = Relay::start_with(&["--config", &config(json!(["127.0.0.2/31"]))]);
    let mut welcome = producer_from([127, 0, 0, 2], relay.ingest);
    welcome.send(&numbered("App", "computation", 1));
    relay.accepts(1);
    producer_from([127, 0, 0, 1], relay.ingest).is_cut_off();
    assert_eq!(relay.closed("producer_forbidden_network"), 1);
    // Another list: whoever is no longer on it is cut off, whoever is new may come.
    let _ = config(json!(["127.0.0.1", "::1"]));
    hang_up(&relay, RENEWED);
    welcome.is_cut_off();
    assert_eq!(relay.closed("producer_forbidden_network"), 2);
    let mut other = producer_from([127, 0, 0, 1], relay.ingest);
    other.send(&numbered("App", "computation", 2));
    relay.accepts(2);
    for bad in [json!(["127.0.0.0/33"]), json!(["everybody"]), json!([""])] {
        let _ = config(bad);
        hang_up(&relay, KEPT);
    }
    other.send(&numbered("App", "computation", 3));
    relay.accepts(3);
}

#[test]
fn beyond_loopback_the_relay_says_what_it_wants_to_be_told() {
    let folder = TempDir::new().expect("there is room for a key");
    let key = token::key_file(folder.path(), "key", SECRET);
    let refused = |words: &[&str], wanted: &[&str]| {
        let done = joey(&[&["serve"], words].concat());
        assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
        wanted.iter().for_each(|wanted| assert!(done.err.contains(wanted), "{}", done.err));
    };
    let http = ["--ingest", "127.0.0.1:0", "--http", "0.0.0.0:0"];
    let words = ["--origin", "--token-key", "--insecure-open"];
    refused(&http, &words);
    refused(&[&http[..], &["--origin", "https://ui.example"]].concat(), &words);
    refused(&[&http[..], &["--token-key", &key]].concat(), &words);
    refused(&["--http", "127.0.0.1:0", "--ingest", "[::]:0"], &["--producers-allow", "--insecure-open"]);
    let here = ["--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    refused(&[&here[..], &["--token-key", "/nowhere"]].concat(), &["/nowhere"]);
    refused(&[&here[..], &["--origin", "ui.example"]].concat(), &["ui.example"]);
    refused(&[&here[..], &["--producers-allow", "10.0.0.0/40"]].concat(), &["10.0.0.0/40"]);
}
