//! Several relays without faults: every viewer receives everything, no relay sends unnecessary messages, and strangers
//! are rejected.

use joey_tests::delivery::send;
use joey_tests::tls::CertificateAuthority;
use joey_tests::viewer::Received;
use joey_tests::{Nats, NatsSubscriber, Relay, Viewer, eventually, eventually_is, relay::program};

use super::{check, checked_viewer, relay, relays, start_producer, wait_for_connected};

#[test]
fn viewers_of_every_relay_receive_every_number_once() {
    let servers = Nats::cluster();
    let relays = relays(4, |at| servers[usize::try_from(at % 3).expect("it fits")].url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut early: Vec<_> = relays.iter().map(|relay| checked_viewer(relay, epoch)).collect();
    send(&mut producer, "App", "w", 2..=2_000);
    early.iter_mut().for_each(|checked| checked.read_to(1_000));
    // These find most of the log retained at their relay, or at the origin.
    let mut late: Vec<_> = relays.iter().map(|relay| checked_viewer(relay, epoch)).collect();
    send(&mut producer, "App", "w", 2_001..=3_000);
    early.iter_mut().chain(&mut late).for_each(|checked| check(checked, 3_000));
    for relay in &relays {
        assert_eq!(relay.metric("joey_task_panics_total"), 0);
        eventually_is("viewers of all relays", &8, || relay.metric("joey_cluster_viewers"));
    }
}

/// A server that limits the size of a message to `max_payload` bytes.
fn server(max_payload: usize) -> (Nats, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be written");
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, format!("max_payload: {max_payload}\n")).expect("a temporary folder can be written");
    (Nats::start_with(&["-c", file.to_str().expect("it is text")]), folder)
}

#[test]
fn everything_arrives_over_a_server_with_a_small_message_limit() {
    for max_payload in [4_096, 1_024] {
        let (nats, _folder) = server(max_payload);
        let relays = relays(2, |_| nats.url());
        let (mut producer, epoch) = start_producer(&relays[0]);
        let mut early = checked_viewer(&relays[1], epoch);
        send(&mut producer, "App", "w", 2..=1_000);
        early.read_to(1_000);
        // This one requests history, which is also split into parts.
        let mut late = checked_viewer(&relays[1], epoch);
        send(&mut producer, "App", "w", 1_001..=1_500);
        [&mut early, &mut late].into_iter().for_each(|checked| check(checked, 1_500));
        for relay in &relays {
            assert_eq!(
                relay.metric("joey_cluster_messages_dropped_total{reason=\"too_long\"}"),
                0,
                "{max_payload} bytes"
            );
        }
    }
}

#[test]
fn a_server_with_too_small_a_message_limit_is_logged_once() {
    let (nats, _folder) = server(128);
    let relay = relay(&nats.url());
    let _producer = relay.producer(&"long ".repeat(40), "w");
    let dropped = "joey_cluster_messages_dropped_total{reason=\"too_long\"}";
    eventually("messages that are too long are counted", || (relay.metric(dropped) >= 2).then_some(()));
    relay.wait_for_log("max_payload is too small");
    assert_eq!(relay.log().matches("max_payload is too small").count(), 1, "{}", relay.log());
}

#[test]
fn two_relays_that_ingest_one_application_show_both_logs_everywhere() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (_producer, _) = start_producer(&relays[0]);
    let mut other = relays[1].producer("App", "v");
    send(&mut other, "App", "v", 1..=100);
    for relay in &relays {
        eventually("both workers are in one table", || {
            let stats = relay.stats("App");
            let counts = stats["views"].as_array()?.iter().filter(|view| view["kind"] == "computation-by-worker");
            let counts: u64 = counts.filter_map(|view| view["count"].as_u64()).sum();
            // A number is the count of its frame.
            (counts == 1 + 100 * 101 / 2).then_some(())
        });
    }
}

#[test]
fn repeated_and_reordered_messages_count_once() {
    let nats = Nats::start();
    let relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut watching: Vec<_> = relays.iter().map(|relay| checked_viewer(relay, epoch)).collect();
    let mut echo = NatsSubscriber::subscribe(&nats, "joey.>");
    let mut rng = fastrand::Rng::with_seed(43);
    for round in 0..40 {
        let from = 2 + round * 50;
        send(&mut producer, "App", "w", from..from + 50);
        watching.iter_mut().for_each(|checked| checked.read_to(from + 49));
        let mut again = echo.received();
        again.extend_from_within(..);
        rng.shuffle(&mut again);
        again.iter().for_each(|(subject, payload)| echo.publish(subject, payload));
    }
    watching.iter_mut().for_each(|checked| check(checked, 2_001));
}

#[test]
fn malformed_messages_at_the_server_do_not_harm_a_relay() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut checked = checked_viewer(&relays[1], epoch);
    checked.read_to(1);
    let mut stranger = NatsSubscriber::subscribe(&nats, "joey.>");
    let mut rng = fastrand::Rng::with_seed(7);
    let subjects =
        ["joey.v1.logs", "joey.v1.wants", "joey.v1.log.QXBw.7", "joey.v1.relay.7", "joey.v1.log.*", "joey.v1.x"];
    for _ in 0..2_000 {
        let garbage: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(..)).collect();
        let subject = subjects[rng.usize(..subjects.len() - 2)];
        stranger.publish(subject, &garbage);
    }
    stranger.received();
    eventually("the messages are rejected", || {
        let refused =
            |reason| relays[1].metric(&format!("joey_cluster_messages_rejected_total{{reason=\"{reason}\"}}"));
        (refused("malformed") > 0 && refused("invalid_batch") > 0).then_some(())
    });
    send(&mut producer, "App", "w", 2..=500);
    check(&mut checked, 500);
    relays.iter().for_each(|relay| assert_eq!(relay.metric("joey_task_panics_total"), 0));
}

#[test]
fn only_relays_with_valid_credentials_and_certificates_connect() {
    let nats = Nats::start_with(&["--user", "joey", "--pass", "s3@cret"]);
    let with =
        |user: &str| Relay::start_with(&["--log-level", "debug", "--nats", &format!("nats://{user}{}", nats.address)]);
    let relay = with("joey:s3%40cret@");
    wait_for_connected(&relay, true);
    assert!(!relay.log().contains("s3@cret") && !relay.log().contains("s3%40cret"), "passwords are in no log");
    for stranger in [with(""), with("joey:wrong@")] {
        eventually("the server rejects it", || {
            stranger.log().to_lowercase().contains("authorization violation").then_some(())
        });
        wait_for_connected(&stranger, false);
        assert_eq!(stranger.get("/readyz").0, 200, "its own viewers are served");
    }
    drop(relay);

    let nats = Nats::start_with(&["--auth", "t0ken"]);
    wait_for_connected(&Relay::start_with(&["--nats", &format!("nats://t0ken@{}", nats.address)]), true);

    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| authority.path(name));
    let nats = Nats::start_with(&["--tls", "--tlscert", &cert, "--tlskey", &key]);
    let url = format!("tls://{}", nats.address);
    wait_for_connected(&Relay::start_with(&["--nats", &url, "--nats-ca", &ca]), true);
    let stranger = Relay::start_with(&["--nats", &url]);
    eventually("it trusts no certificate", || {
        (stranger.metric("joey_cluster_connected") == 0 && stranger.get("/readyz").0 == 200).then_some(())
    });
}

#[test]
fn relays_with_another_prefix_form_a_separate_cluster() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let other = Relay::start_with(&["--nats", &nats.url(), "--nats-prefix", "other.team"]);
    wait_for_connected(&other, true);
    other.wait_for_relays(1);
    let (_producer, _) = start_producer(&relays[0]);
    super::only_log(&relays[1]);
    assert_eq!(relays[0].metric("joey_cluster_relays"), 2);
    let wrong = std::process::Command::new(program())
        .args(["serve", "--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0", "--nats-prefix", "a.>"])
        .output();
    let wrong = wrong.expect("the program runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("nats_prefix"));
}

#[test]
fn viewers_receive_the_number_of_relays_and_of_other_viewers() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (_producer, epoch) = start_producer(&relays[0]);
    let _elsewhere = checked_viewer(&relays[0], epoch);
    let mut viewer = Viewer::connect(&relays[1]);
    viewer.wait_for_worker("App", "w", |_| true);
    assert_eq!(viewer.logs("App"), [epoch]);
    let together = Received::Cluster(true, 2, vec![("App".to_owned(), 2)]);
    viewer.wait_for(|received| (*received == together).then_some(()));
    drop(nats);
    viewer.wait_for(|received| matches!(received, Received::Cluster(false, _, _)).then_some(()));
}
