//! The command line against a real relay: exit codes, `joey tap`, health, and restarts.

use joey_shared::series::Filter;
use joey_shared::wire::Start;
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Oracle, Received, Relay, S, Tap, Viewer, eventually, eventually_is, joey, joey_with_env};
use serde_json::json;

const THEN_S: u64 = 1_700_000_000;

/// A frame whose only duration is its number.
fn numbered(app: &str, number: u64) -> Frame {
    Frame::new(app, "computation", ["p", "w", "n"], THEN_S + 2 * number).with(&[number])
}

fn send(relay: &Relay, app: &str, numbers: std::ops::RangeInclusive<u64>) {
    let frames: Vec<Frame> = numbers.map(|number| numbered(app, number)).collect();
    relay.producer(app, "w").send_all(&frames);
}

/// An address on which nothing listens.
fn unused_address() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn health_endpoints_and_metrics() {
    let relay = Relay::start();
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!((relay.get(path).0, relay.get(path).2.trim()), (200, "ok"), "{path}");
    }
    send(&relay, "App", 1..=3);
    relay.wait_for_accepted(3);
    let mut viewer = Viewer::connect(&relay);
    viewer.subscribe("App", Filter::All, Start::History);
    let (status, head, metrics) = relay.get("/metrics");
    assert!(status == 200 && head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        metrics.contains("\n# TYPE joey_frames_accepted_total counter\n") && !metrics.contains("# EOF"),
        "{metrics}"
    );
    for (metric, value) in [
        ("joey_frames_accepted_total", 3),
        ("joey_viewers", 1),
        ("joey_apps", 1),
        ("joey_series", 1),
        ("joey_topics", 1),
    ] {
        assert_eq!(relay.metric(metric), value, "{metric}");
    }
    for metric in ["joey_ring_bytes", "joey_batches_total", "joey_sent_bytes_total", "joey_ingest_bytes_total"] {
        assert!(relay.metric(metric) > 0, "{metric}");
    }
    for metric in ["joey_frames_late_total", "joey_gaps_total", "joey_gap_updates_total"] {
        assert!(metrics.contains(&format!("\n{metric} 0\n")), "{metric}");
    }
    assert_eq!(relay.get("/no-such-page").0, 404);
}

#[test]
fn each_log_line_is_one_json_object() {
    let relay = Relay::start();
    relay.producer("App", "w").finish();
    relay.wait_for_log("producer disconnected");
    // The lines for interactive users are not part of the log.
    let log = relay.log();
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let events = lines.filter(|line| {
        !["Joey is at", "Viewers at", "Producers", "OpenTelemetry"].iter().any(|start| line.starts_with(start))
    });
    for line in events {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn stats_exits_with_a_code_for_each_outcome() {
    let relay = Relay::start();
    let address = relay.http.to_string();
    let check = |arguments: &[&str], code: i32, message: &str| {
        let done = joey(&[arguments, &["--relay", &address]].concat());
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(
            done.err.contains(message) && (code == 0 || done.out.is_empty()),
            "{arguments:?}: {} {}",
            done.out,
            done.err
        );
        if code == 1 || code == 3 {
            assert_eq!(done.err.trim().lines().count(), 1, "one line: {}", done.err);
        }
    };
    check(&["stats", "App", "--once"], 3, "no such application: App; this relay has none yet");
    let producer = relay.producer("App", "w");
    eventually_is("applications", &1, || relay.metric("joey_apps"));
    check(&["stats", "App", "--once"], 3, "no data for App");
    check(&["stats", "App"], 3, "no data for App");
    drop(producer);
    send(&relay, "App", 1..=1);
    relay.wait_for_accepted(1);
    check(&["stats", "App", "--once"], 0, "");
    check(&["stats", "App", "--json"], 0, "");
    check(&["stats", "app"], 3, "no such application: app; this relay has App");
    check(&["stats"], 2, "Usage");
    check(&["stats", "App", "--window", "61m"], 2, "--window");
    check(&["stats", "App", "--no-such-flag"], 2, "--no-such-flag");
    check(&["no-such-command"], 2, "no-such-command");
    let unused = unused_address();
    let done = joey(&["stats", "App", "--once", "--relay", &unused]);
    assert_eq!((done.code, done.err.trim().lines().count()), (1, 1), "{}", done.err);
    assert!(done.err.contains(&unused) && done.err.contains("start one with joey serve"), "{}", done.err);
    let producers = joey(&["stats", "App", "--once", "--relay", &relay.ingest.to_string()]);
    assert!(producers.code == 1 && producers.err.contains("name the port for viewers"), "{}", producers.err);
    assert_eq!(joey(&["tap", "--once", "--relay", &unused]).code, 1);
    assert_eq!(joey(&["stats", "App", "--once", "--relay", "ftp://nowhere"]).code, 2);
}

#[test]
fn a_relay_beyond_loopback_requires_a_flag() {
    let done = joey(&["serve", "--http", "0.0.0.0:0", "--ingest", "127.0.0.1:0"]);
    assert!(done.code == 2 && done.err.contains("--insecure-open"), "{}", done.err);
    let relay = Relay::start();
    let done = joey(&["serve", "--http", "127.0.0.1:0", "--ingest", &relay.ingest.to_string()]);
    assert!(done.code == 1 && done.err.contains(&relay.ingest.to_string()), "{}", done.err);
}

#[test]
fn stats_prints_every_view_as_a_table() {
    let relay = Relay::start();
    send(&relay, "App", 1..=5);
    relay.wait_for_accepted(5);
    let done = joey(&["stats", "App", "--once", "--relay", &relay.http.to_string()]);
    assert_eq!(done.code, 0, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("VIEW") && lines.len() == 4, "{}", done.out);
    assert!(lines.iter().any(|line| line.starts_with("computation-by-worker")), "{}", done.out);
}

#[test]
fn tap_prints_each_new_update_once() {
    let relay = Relay::start();
    send(&relay, "App", 1..=3);
    send(&relay, "Other", 1..=3);
    relay.wait_for_accepted(6);
    let address = relay.http.to_string();
    let tap = Tap::start(&["App", "--relay", &address]);
    tap.wait_until_subscribed(&relay, 1);
    send(&relay, "App", 4..=200);
    send(&relay, "Other", 4..=5);
    tap.wait_until_printed(4..=200);
    let lines = tap.lines();
    let mut expected = json!({
        "app": "App", "category": "computation", "pipeline": "p", "worker": "w", "name": "n", "id": 1,
        "period_ns": 2 * S, "period_end_ns": (THEN_S + 8) * S, "count": 1, "bins": {"3": 1}, "min_ns": 4, "max_ns": 4,
        "seq": 4, "scale": 0, "unit": "ns", "sum_ns": null, "source": "wallaroo"
    });
    expected["epoch"] = lines[0]["epoch"].clone();
    assert_eq!(lines[0], expected);
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert_eq!(numbers, (4..=200).collect::<Vec<_>>());
}

#[test]
fn tap_with_history_first_prints_what_the_ring_holds() {
    let relay = Relay::start();
    send(&relay, "App", 1..=50);
    relay.wait_for_accepted(50);
    let address = relay.http.to_string();
    let tap = Tap::start(&["--history", "--relay", &address]);
    tap.wait_until_printed(1..=50);
    send(&relay, "App", 51..=60);
    tap.wait_until_printed(1..=60);
    // A tap subscribes to a new application from its beginning, with or without history.
    let live = Tap::start(&["--relay", &address]);
    live.wait_until_subscribed(&relay, 2);
    send(&relay, "New", 100..=110);
    live.wait_until_printed(100..=110);
    tap.wait_until_printed((1..=60).chain(100..=110));
}

#[test]
fn tap_waits_for_a_stopped_relay_and_then_receives_everything() {
    let mut relay = Relay::start();
    relay.kill();
    let mut tap = Tap::start(&["App", "--relay", &relay.http.to_string()]);
    eventually("the tap reports that it waits", || tap.stderr().contains("waiting for it").then_some(()));
    relay.restart_on_same_ports();
    send(&relay, "App", 1..=5);
    tap.wait_until_printed(1..=5);
    assert!(tap.is_running());
}

#[test]
fn tap_waits_for_an_application_that_does_not_exist_yet() {
    let relay = Relay::start();
    let tap = Tap::start(&["App", "--relay", &relay.http.to_string()]);
    eventually("the tap says that it waits", || {
        (tap.stderr() == "joey: no application App yet; waiting for it\n").then_some(())
    });
    send(&relay, "App", 1..=5);
    tap.wait_until_printed(1..=5);
}

#[test]
fn tap_resumes_at_a_restarted_relay_from_the_beginning_of_its_log() {
    let mut relay = Relay::start();
    send(&relay, "App", 1..=10);
    relay.wait_for_accepted(10);
    let mut tap = Tap::start(&["App", "--relay", &relay.http.to_string()]);
    tap.wait_until_subscribed(&relay, 1);
    send(&relay, "App", 11..=20);
    tap.wait_until_printed(11..=20);
    for round in 1..=2 {
        relay.kill();
        relay.restart_on_same_ports();
        // Before and after the tap reconnects.
        send(&relay, "App", 100 * round..=100 * round + 9);
        relay.wait_for_accepted(10);
        tap.wait_until_subscribed(&relay, 1);
        send(&relay, "App", 100 * round + 10..=100 * round + 19);
        let before = (11..=20).chain((1..round).flat_map(|round| 100 * round..=100 * round + 19));
        tap.wait_until_printed(before.chain(100 * round..=100 * round + 19));
    }
    assert!(tap.is_running());
    let epochs: std::collections::BTreeSet<String> = tap.lines().iter().map(|line| line["epoch"].to_string()).collect();
    assert_eq!(epochs.len(), 3);
}

#[test]
fn tap_resumes_where_it_was_after_a_disconnect() {
    let relay = Relay::start();
    let proxy = Proxy::new(relay.http);
    send(&relay, "App", 1..=5);
    relay.wait_for_accepted(5);
    let tap = Tap::start(&["App", "--relay", &proxy.address.to_string()]);
    tap.wait_until_subscribed(&relay, 1);
    for round in 1..=3 {
        send(&relay, "App", 100 * round..=100 * round + 9);
        let until = move |last: u64| {
            (1..=round).flat_map(|round| 100 * round..=100 * round + 19).take_while(move |&n| n <= last)
        };
        tap.wait_until_printed(until(100 * round + 9));
        proxy.disconnect();
        eventually_is("viewers", &0, || relay.metric("joey_viewers"));
        send(&relay, "App", 100 * round + 10..=100 * round + 19);
        relay.wait_for_accepted(5 + 20 * round);
        proxy.restore();
        tap.wait_until_printed(until(100 * round + 19));
    }
    assert!(tap.stderr().contains("reconnecting"), "{}", tap.stderr());
}

#[test]
fn tap_switches_to_another_configured_or_advertised_relay() {
    for is_told in [false, true] {
        let other = Relay::start();
        let advertised = format!("http://{}", other.http);
        let mut first = if is_told { Relay::start_with(&["--advertise", &advertised]) } else { Relay::start() };
        let given = first.http.to_string();
        let given = if is_told { given } else { format!("{given},{}", other.http) };
        send(&first, "App", 1..=5);
        first.wait_for_accepted(5);
        let mut tap = Tap::start(&["App", "--relay", &given]);
        tap.wait_until_subscribed(&first, 1);
        send(&first, "App", 6..=10);
        tap.wait_until_printed(6..=10);
        send(&other, "App", 100..=104);
        other.wait_for_accepted(5);
        first.kill();
        // As after a restart, it prints everything that the other relay has, because that relay has its own sequence
        // numbers.
        tap.wait_until_printed((6..=10).chain(100..=104));
        send(&other, "App", 105..=109);
        tap.wait_until_printed((6..=10).chain(100..=109));
        assert!(tap.is_running());
    }
}

#[test]
fn one_reachable_relay_of_several_is_enough() {
    let relay = Relay::start();
    send(&relay, "App", 1..=5);
    relay.wait_for_accepted(5);
    let (gone, here) = (unused_address(), relay.http.to_string());
    let arguments = ["stats", "App", "--json", "--once", "--relay", &gone, "--relay", &here];
    assert_eq!(joey(&arguments).code, 0);
    assert_eq!(joey_with_env(&arguments[..4], &[("JOEY_RELAY", &format!("{gone},{here}"))]).code, 0);
    assert_eq!(joey_with_env(&arguments[..4], &[("JOEY_RELAY", &format!("{gone},{gone}"))]).code, 1);
}

#[test]
fn a_relay_sends_the_addresses_it_was_configured_to_advertise() {
    let addresses = ["wss://a.example", "HTTP://b.example:4000/joey/ws"];
    let relay = Relay::start_with(&["--advertise", &addresses.join(" , ")]);
    let received = Viewer::connect(&relay).next_message();
    assert_eq!(received, Received::Relays(addresses.map(str::to_owned).to_vec()));
    for wrong in
        ["a.example", "ftp://a.example", "ws://", "ws:///ws", "ws://a:port", "ws://a,", &["ws://a"; 17].join(",")]
    {
        let done = joey(&["serve", "--advertise", wrong]);
        assert!(done.code == 2 && done.err.contains("advertise"), "{wrong}: {}", done.err);
    }
}

#[test]
fn a_restarted_relay_starts_empty_with_a_new_epoch() {
    let mut relay = Relay::start();
    send(&relay, "App", 1..=10);
    relay.wait_for_accepted(10);
    let first = Viewer::connect(&relay).subscribe("App", Filter::All, Start::History).1;
    relay.kill();
    relay.restart_on_same_ports();
    assert_eq!(relay.metric("joey_apps"), 0);
    let frames: Vec<Frame> = (11..=20).map(|number| numbered("App", number)).collect();
    relay.producer("App", "w").send_all(&frames);
    relay.wait_for_accepted(10);
    let mut viewer = Viewer::connect(&relay);
    let (_, second) = viewer.subscribe("App", Filter::All, Start::After { epoch: first.epoch, seq: 10 });
    assert_ne!(first.epoch, second.epoch);
    assert_eq!((second.next, second.head), (1, 10));
    Oracle::new(&frames).check(&relay.stats("App"));
}
