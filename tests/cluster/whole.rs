//! Several relays and nothing goes wrong: everybody has everything, nothing is said in vain, and strangers stay outside.

use joey_tests::ledger::send;
use joey_tests::tls::Authority;
use joey_tests::viewer::Heard;
use joey_tests::{Ear, Nats, Relay, Viewer, eventually, eventually_is, relay::program};

use super::{begun, check, is_connected, relay, relays, witness};

#[test]
fn viewers_of_every_relay_get_every_number_once_whenever_they_come() {
    let servers = Nats::cluster();
    let relays = relays(4, |at| servers[usize::try_from(at % 3).expect("it fits")].url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut early: Vec<_> = relays.iter().map(|relay| witness(relay, epoch)).collect();
    send(&mut producer, "App", "w", 2..=2_000);
    early.iter_mut().for_each(|witness| witness.reads_to(1_000));
    // These find most of it held where they come in, or at the origin.
    let mut late: Vec<_> = relays.iter().map(|relay| witness(relay, epoch)).collect();
    send(&mut producer, "App", "w", 2_001..=3_000);
    early.iter_mut().chain(&mut late).for_each(|witness| check(witness, 3_000));
    for relay in &relays {
        assert_eq!(relay.metric("joey_task_panics_total"), 0);
        eventually_is("viewers of all relays", &8, || relay.metric("joey_cluster_viewers"));
    }
}

/// A server that takes at most so many bytes in one message.
fn server(max_payload: usize) -> (Nats, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, format!("max_payload: {max_payload}\n")).expect("there is room");
    (Nats::start_with(&["-c", file.to_str().expect("it is text")]), folder)
}

#[test]
fn over_a_server_that_takes_little_at_once_everything_arrives() {
    for max_payload in [4_096, 1_024] {
        let (nats, _folder) = server(max_payload);
        let relays = relays(2, |_| nats.url());
        let (mut producer, epoch) = begun(&relays[0]);
        let mut early = witness(&relays[1], epoch);
        send(&mut producer, "App", "w", 2..=1_000);
        early.reads_to(1_000);
        // This one asks for history, which comes in parts too.
        let mut late = witness(&relays[1], epoch);
        send(&mut producer, "App", "w", 1_001..=1_500);
        [&mut early, &mut late].into_iter().for_each(|witness| check(witness, 1_500));
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
fn a_server_that_takes_too_little_is_named_once() {
    let (nats, _folder) = server(128);
    let relay = relay(&nats.url());
    let _producer = relay.producer(&"long ".repeat(40), "w");
    let dropped = "joey_cluster_messages_dropped_total{reason=\"too_long\"}";
    eventually("what is too long is counted", || (relay.metric(dropped) >= 2).then_some(()));
    assert_eq!(relay.log().matches("max_payload is too small").count(), 1, "{}", relay.log());
}

#[test]
fn two_relays_that_take_in_one_application_show_both_logs_everywhere() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (_producer, _) = begun(&relays[0]);
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
fn a_message_that_comes_again_and_again_in_any_order_counts_once() {
    let nats = Nats::start();
    let relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut watching: Vec<_> = relays.iter().map(|relay| witness(relay, epoch)).collect();
    let mut echo = Ear::at(&nats, "joey.>");
    let mut chance = fastrand::Rng::with_seed(43);
    for round in 0..40 {
        let from = 2 + round * 50;
        send(&mut producer, "App", "w", from..from + 50);
        watching.iter_mut().for_each(|witness| witness.reads_to(from + 49));
        let mut again = echo.so_far();
        again.extend_from_within(..);
        chance.shuffle(&mut again);
        again.iter().for_each(|(subject, payload)| echo.say(subject, payload));
    }
    watching.iter_mut().for_each(|witness| check(witness, 2_001));
}

#[test]
fn nothing_that_is_said_at_the_server_harms_a_relay() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut witness = witness(&relays[1], epoch);
    witness.reads_to(1);
    let mut stranger = Ear::at(&nats, "joey.>");
    let mut chance = fastrand::Rng::with_seed(7);
    let subjects =
        ["joey.v1.logs", "joey.v1.wants", "joey.v1.log.QXBw.7", "joey.v1.relay.7", "joey.v1.log.*", "joey.v1.x"];
    for _ in 0..2_000 {
        let garbage: Vec<u8> = (0..chance.usize(0..60)).map(|_| chance.u8(..)).collect();
        let subject = subjects[chance.usize(..subjects.len() - 2)];
        stranger.say(subject, &garbage);
    }
    stranger.so_far();
    eventually("it is refused", || {
        let refused =
            |reason| relays[1].metric(&format!("joey_cluster_messages_rejected_total{{reason=\"{reason}\"}}"));
        (refused("malformed") > 0 && refused("invalid_batch") > 0).then_some(())
    });
    send(&mut producer, "App", "w", 2..=500);
    check(&mut witness, 500);
    relays.iter().for_each(|relay| assert_eq!(relay.metric("joey_task_panics_total"), 0));
}

#[test]
fn credentials_and_certificates_decide_who_comes_in() {
    let nats = Nats::start_with(&["--user", "joey", "--pass", "s3@cret"]);
    let with =
        |user: &str| Relay::start_with(&["--log-level", "debug", "--nats", &format!("nats://{user}{}", nats.address)]);
    let relay = with("joey:s3%40cret@");
    is_connected(&relay, true);
    assert!(!relay.log().contains("s3@cret") && !relay.log().contains("s3%40cret"), "passwords are in no log");
    for stranger in [with(""), with("joey:wrong@")] {
        eventually("it is refused", || stranger.log().to_lowercase().contains("authorization violation").then_some(()));
        is_connected(&stranger, false);
        assert_eq!(stranger.get("/readyz").0, 200, "its own viewers are served");
    }
    drop(relay);

    let nats = Nats::start_with(&["--auth", "t0ken"]);
    is_connected(&Relay::start_with(&["--nats", &format!("nats://t0ken@{}", nats.address)]), true);

    let authority = Authority::new();
    authority.certify();
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| authority.path(name));
    let nats = Nats::start_with(&["--tls", "--tlscert", &cert, "--tlskey", &key]);
    let url = format!("tls://{}", nats.address);
    is_connected(&Relay::start_with(&["--nats", &url, "--nats-ca", &ca]), true);
    let stranger = Relay::start_with(&["--nats", &url]);
    eventually("it believes nobody", || {
        (stranger.metric("joey_cluster_connected") == 0 && stranger.get("/readyz").0 == 200).then_some(())
    });
}

#[test]
fn relays_of_another_prefix_are_another_installation() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let other = Relay::start_with(&["--nats", &nats.url(), "--nats-prefix", "other.team"]);
    is_connected(&other, true);
    other.knows(1);
    let (_producer, _) = begun(&relays[0]);
    super::only_log(&relays[1]);
    assert_eq!(relays[0].metric("joey_cluster_relays"), 2);
    let wrong = std::process::Command::new(program())
        .args(["serve", "--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0", "--nats-prefix", "a.>"])
        .output();
    let wrong = wrong.expect("the program runs");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("nats_prefix"));
}

#[test]
fn viewers_are_told_how_many_relays_there_are_and_who_else_watches() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (_producer, epoch) = begun(&relays[0]);
    let _elsewhere = witness(&relays[0], epoch);
    let mut viewer = Viewer::connect(&relays[1]);
    viewer.wait_for_worker("App", "w", |_| true);
    assert_eq!(viewer.logs("App"), [epoch]);
    let together = Heard::Cluster(true, 2, vec![("App".to_owned(), 2)]);
    viewer.wait_for(|heard| (*heard == together).then_some(()));
    drop(nats);
    viewer.wait_for(|heard| matches!(heard, Heard::Cluster(false, _, _)).then_some(()));
}
