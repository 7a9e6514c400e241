//! TLS, networks of producers, and the flags that a relay requires to listen beyond loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_tests::tls::CertificateAuthority;
use joey_tests::token::{self, SECRET};
use joey_tests::{Frame, Oracle, Producer, Relay, TIMEOUT, Tap, eventually_is, joey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth::{RELOADED, UNCHANGED, numbered, reload};

fn tls_arguments(authority: &CertificateAuthority) -> Vec<String> {
    ["--tls-cert".to_owned(), authority.path("cert.pem"), "--tls-key".to_owned(), authority.path("key.pem")].into()
}

fn start(arguments: &[String]) -> Relay {
    Relay::start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// One metric of a relay that uses TLS.
fn metric(authority: &CertificateAuthority, relay: &Relay, name: &str) -> u64 {
    let metrics = authority.get(relay.http, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("figures are whole numbers"))
}

#[test]
fn clients_that_trust_the_certificate_can_use_tls() {
    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let relay = start(&tls_arguments(&authority));
    let frames: Vec<Frame> = (1..=20).map(|number| numbered("App", "computation", number)).collect();
    relay.producer("App", "w").send_all(&frames);
    let accepted = "joey_frames_accepted_total";
    eventually_is("frames", &20, || metric(&authority, &relay, accepted));
    let health = authority.get(relay.http, "/livez").to_lowercase();
    assert!(health.contains("200 ok") && health.contains("strict-transport-security: max-age="), "{health}");
    let address = format!("wss://localhost:{}", relay.http.port());
    let arguments = ["stats", "App", "--json", "--once", "--relay", &address];
    let done = joey(&[&arguments, &["--ca", &authority.path("ca.pem")][..]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    Oracle::new(&frames).check(&serde_json::from_str(&done.out).expect("it prints JSON"));
    // A client that does not trust the certificate or does not use TLS gets nothing.
    for arguments in [&arguments[..], &["stats", "App", "--once", "--relay", &relay.http.to_string()]] {
        let done = joey(arguments);
        assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
    }
    let stranger = CertificateAuthority::new();
    assert_eq!(joey(&[&arguments, &["--ca", &stranger.path("ca.pem")][..]].concat()).code, 1);
    // So does a client that starts a handshake and does not finish it.
    let mut silent = TcpStream::connect(relay.http).expect("the relay listens");
    silent.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
    silent.write_all(&[0x16, 3, 1]).expect("the relay reads");
    assert_eq!(silent.read(&mut [0; 16]).expect("the relay closes it"), 0);
    let closed = "joey_connections_closed_total{reason=\"tls_handshake\"}";
    // The client without TLS tries a WebSocket and then a stream.
    eventually_is("handshakes that failed", &5, || metric(&authority, &relay, closed));
    // Without TLS the relay sends no HSTS header.
    assert!(!Relay::start().get("/livez").1.to_lowercase().contains("strict-transport"));
}

#[test]
fn a_certificate_is_reloaded_without_disconnects_and_an_invalid_one_changes_nothing() {
    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let relay = start(&tls_arguments(&authority));
    let shown = |address: SocketAddr| {
        let stream = authority.connect(address);
        stream.conn.peer_certificates().expect("it shows one")[0].clone().into_owned()
    };
    let first = shown(relay.http);
    assert_eq!(shown(relay.http), first);
    let address = format!("wss://localhost:{}", relay.http.port());
    let tap = Tap::start(&["--relay", &address, "--ca", &authority.path("ca.pem")]);
    eventually_is("viewers", &1, || metric(&authority, &relay, "joey_viewers"));
    authority.issue_certificate();
    reload(&relay, RELOADED);
    let second = shown(relay.http);
    assert_ne!(first, second);
    let key = std::fs::read_to_string(authority.path("key.pem")).expect("it belongs to this test");
    let cert = std::fs::read_to_string(authority.path("cert.pem")).expect("it belongs to this test");
    let other = CertificateAuthority::new();
    other.issue_certificate();
    let other_key = std::fs::read_to_string(other.path("key.pem")).expect("it belongs to this test");
    for (bad_cert, bad_key) in
        [("", key.as_str()), ("nonsense", &key), (&cert, ""), (&cert, &other_key), (&cert, &cert)]
    {
        authority.write("cert.pem", bad_cert);
        authority.write("key.pem", bad_key);
        reload(&relay, UNCHANGED);
        assert_eq!(shown(relay.http), second);
    }
    // The old viewer has not noticed any of this.
    relay.producer("App", "w").send(&numbered("App", "computation", 7));
    tap.wait_until_printed([7]);
    assert_eq!(tap.stderr(), "");
}

#[test]
fn producers_can_be_required_to_use_tls() {
    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let relay = start(&[tls_arguments(&authority), vec!["--ingest-tls".to_owned()]].concat());
    let frame = numbered("App", "computation", 1);
    let mut producer = authority.connect(relay.ingest);
    // In chunks, so that a frame spans several TLS records.
    for piece in frame.encode().chunks(50) {
        producer.write_all(piece).expect("the relay reads");
    }
    eventually_is("frames", &1, || metric(&authority, &relay, "joey_frames_accepted_total"));
    let mut plain = Producer::connect(relay.ingest);
    plain.send(&frame);
    // The relay may send a TLS alert before it closes the connection.
    eventually_is("plain producers", &1, || {
        metric(&authority, &relay, "joey_connections_closed_total{reason=\"producer_tls_handshake\"}")
    });
    assert_eq!(metric(&authority, &relay, "joey_frames_accepted_total"), 1);
    let done = joey(&["serve", "--ingest-tls"]);
    assert!(done.code == 2 && done.err.contains("--tls-cert"), "{}", done.err);
}

// === producers ===

/// A producer's connection from another address of this machine.
fn producer_from(own: [u8; 4], ingest: SocketAddr) -> Producer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
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
fn only_producers_of_allowed_networks_are_accepted() {
    let folder = TempDir::new().expect("a file can be written");
    let config =
        |networks: Value| token::key_file(folder.path(), "joey.toml", &format!("producers_allow = {networks}\n"));
    let relay = Relay::start_with(&["--config", &config(json!(["127.0.0.2/31"]))]);
    let mut welcome = producer_from([127, 0, 0, 2], relay.ingest);
    welcome.send(&numbered("App", "computation", 1));
    relay.wait_for_accepted(1);
    producer_from([127, 0, 0, 1], relay.ingest).wait_for_close();
    assert_eq!(relay.closed("producer_forbidden_network"), 1);
    // With a new list, a producer that is no longer on it is disconnected, and a new one may connect.
    let _ = config(json!(["127.0.0.1", "::1"]));
    reload(&relay, RELOADED);
    welcome.wait_for_close();
    assert_eq!(relay.closed("producer_forbidden_network"), 2);
    let mut other = producer_from([127, 0, 0, 1], relay.ingest);
    other.send(&numbered("App", "computation", 2));
    relay.wait_for_accepted(2);
    for bad in [json!(["127.0.0.0/33"]), json!(["everybody"]), json!([""])] {
        let _ = config(bad);
        reload(&relay, UNCHANGED);
    }
    other.send(&numbered("App", "computation", 3));
    relay.wait_for_accepted(3);
}

#[test]
fn the_relay_names_the_flags_it_requires_beyond_loopback() {
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let rejected = |arguments: &[&str], wanted: &[&str]| {
        let done = joey(&[&["serve"], arguments].concat());
        assert_eq!((done.code, done.err.trim().lines().count()), (2, 1), "{}", done.err);
        wanted.iter().for_each(|wanted| assert!(done.err.contains(wanted), "{}", done.err));
    };
    let http = ["--ingest", "127.0.0.1:0", "--http", "0.0.0.0:0"];
    let arguments = ["--origin", "--token-key", "--insecure-open"];
    rejected(&http, &arguments);
    rejected(&[&http[..], &["--origin", "https://ui.example"]].concat(), &arguments);
    rejected(&[&http[..], &["--token-key", &key]].concat(), &arguments);
    rejected(&["--http", "127.0.0.1:0", "--ingest", "[::]:0"], &["--producers-allow", "--insecure-open"]);
    let loopback = ["--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    rejected(&[&loopback[..], &["--token-key", "/nowhere"]].concat(), &["/nowhere"]);
    rejected(&[&loopback[..], &["--origin", "ui.example"]].concat(), &["ui.example"]);
    rejected(&[&loopback[..], &["--producers-allow", "10.0.0.0/40"]].concat(), &["10.0.0.0/40"]);
}
