//! Joey's own ingest protocol: what a sender has recorded is shown once, through broken lines and restarts of the relay.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use joey_emit::send::{SendConfig, Sender, SeriesName, Stats, Totals};
use joey_shared::histogram::{Grid, Histogram};
use joey_tests::proxy::Proxy;
use joey_tests::token::{SECRET, claims, hs256, key_file};
use joey_tests::{Relay, S, TIMEOUT, Tap, eventually, now_ns};
use serde_json::json;
use tempfile::TempDir;

fn start(address: impl ToString, token: Option<String>) -> Sender {
    let relays = vec![address.to_string()];
    Sender::start(SendConfig { relays, token, ..SendConfig::new("App", "w") }).expect("a thread can be started")
}

/// Sends one histogram, whose only duration is its number.
fn send(sender: &Sender, number: u64) {
    let mut histogram = Histogram::with_sum(Grid::FINEST);
    histogram.record(number);
    sender.send(S, now_ns(), [(SeriesName::exact("computation", "p", "n"), histogram)]);
}

/// Checks that everything was acknowledged.
fn check_all_arrived(sender: &Sender, histograms: u64) {
    assert!(sender.flush(TIMEOUT), "{:?}", sender.stats());
    let Stats { recorded, acknowledged, dropped, rejected, .. } = sender.stats();
    let all = Totals { histograms, durations: histograms };
    assert_eq!((recorded, acknowledged, dropped, rejected), (all, all, Totals::default(), Vec::new()));
}

#[test]
fn a_broken_line_neither_loses_nor_doubles_a_count() {
    let relay = Relay::start();
    let proxy = Proxy::new(relay.ingest);
    let tap = Tap::start(&["App", "--history", "--relay", &relay.http.to_string()]);
    let sender = start(proxy.address, None);
    let mut number = 0;
    for round in 0..6_u64 {
        for _ in 0..20 {
            number += 1;
            send(&sender, number);
            thread::sleep(Duration::from_millis(1));
        }
        // Some acknowledgements are on their way, and some messages are in the proxy.
        match round % 3 {
            0 => proxy.reset(),
            1 => proxy.disconnect(),
            // The relay answers, but the producer does not receive it.
            _ => {
                proxy.delay(Duration::from_millis(5));
                proxy.disconnect();
            }
        }
        number += 1;
        send(&sender, number);
        proxy.restore();
        proxy.delay(Duration::ZERO);
        eventually("the sender reconnects", || (sender.stats().connections > round).then_some(()));
    }
    check_all_arrived(&sender, number);
    tap.wait_until_printed(1..=number);
    assert_eq!(relay.frame_counts(), (number, 0));
    let stats = relay.stats("App");
    assert_eq!(stats["views"][0]["count"], number, "{stats}");
    assert!(proxy.connections() >= 6);
}

#[test]
fn a_restart_of_the_relay_neither_loses_nor_doubles_a_count() {
    let mut relay = Relay::start();
    let tap = Tap::start(&["App", "--history", "--relay", &relay.http.to_string()]);
    let sender = start(relay.ingest, None);
    send(&sender, 1);
    tap.wait_until_printed([1]);
    let mut number = 1;
    for _ in 0..2 {
        let (first, is_stopping) = (number + 1, AtomicBool::new(false));
        number = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for number in first.. {
                    send(&sender, number);
                    if is_stopping.load(Relaxed) {
                        return number;
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                unreachable!("the numbers do not end")
            });
            eventually("data arrives", || (sender.stats().acknowledged.histograms > first + 20).then_some(()));
            let connections = sender.stats().connections;
            relay.signal("TERM");
            assert!(relay.wait().success());
            relay.restart_on_same_ports();
            eventually("the sender reconnects", || (sender.stats().connections > connections).then_some(()));
            is_stopping.store(true, Relaxed);
            sending.join().expect("the thread sends")
        });
        check_all_arrived(&sender, number);
        tap.wait_until_printed(1..=number);
    }
}

#[test]
fn what_does_not_fit_the_buffer_is_dropped_and_counted() {
    let relay = Relay::start();
    let proxy = Proxy::new(relay.ingest);
    proxy.disconnect();
    let relays = vec![proxy.address.to_string()];
    let config = SendConfig { relays, buffer_bytes: 10_000, ..SendConfig::new("App", "w") };
    let sender = Sender::start(config).expect("a thread can be started");
    (1..=1_000).for_each(|number| send(&sender, number));
    let dropped = sender.stats().dropped.histograms;
    assert!((800..1_000).contains(&dropped), "{dropped}");
    proxy.restore();
    assert!(sender.flush(TIMEOUT));
    let stats = sender.stats();
    assert_eq!(stats.dropped.histograms + stats.acknowledged.histograms, 1_000);
    assert_eq!(relay.frame_counts(), (stats.acknowledged.histograms, 0));
}

#[test]
fn a_refused_sender_learns_the_reason_and_its_data_is_not_lost() {
    let folder = TempDir::new().expect("keys can be written");
    let key = key_file(folder.path(), "key", SECRET);
    let relay = Relay::start_with(&["--token-key", &key]);
    for (token, reason) in
        [("a.b.c".to_owned(), "invalid_token"), (hs256(SECRET, &claims(json!({"apps": ["Other*"]}))), "forbidden_app")]
    {
        let sender = start(relay.ingest, Some(token));
        send(&sender, 1);
        let refused = eventually("the relay refuses", || sender.stats().refused);
        assert_eq!((refused.as_str(), sender.stats().dropped), (reason, Totals::default()));
        eventually("it is counted", || (relay.closed(reason) > 0).then_some(()));
    }
    let sender = start(relay.ingest, Some(hs256(SECRET, &claims(json!({"apps": ["A*"]})))));
    send(&sender, 1);
    check_all_arrived(&sender, 1);
    // A Wallaroo worker uses the same port.
    relay.producer("App", "w").send(&joey_tests::Frame::new("App", "computation", ["p", "w", "n"], now_ns() / S));
    relay.wait_for_accepted(2);
}

#[test]
fn first_bytes_that_arrive_one_by_one_select_the_right_format() {
    let relay = Relay::start();
    let proxy = Proxy::new(relay.ingest);
    proxy.limit_chunks(1);
    let sender = start(proxy.address, None);
    send(&sender, 1);
    check_all_arrived(&sender, 1);
    // A frame whose length begins like the preamble is too long.
    let mut other = joey_tests::Producer::connect(relay.ingest);
    other.write(b"JO");
    other.write(b"XX");
    other.wait_for_close();
    assert_eq!(relay.closed("frame_too_long"), 1);
}
