//! Origins that are killed: viewers that connect later, or to another relay, find the history that a relay still holds,
//! and viewers learn the addresses of other relays.

use joey_shared::series::Filter;
use joey_shared::wire::Start;
use joey_tests::delivery::send;
use joey_tests::{Frame, Nats, Received, Relay, S, Tap, Viewer, eventually, eventually_is, now_ns};

use super::{check, checked_viewer, only_log, relay, relays, start_producer, wait_for_connected};

#[test]
fn a_late_viewer_gets_the_log_of_a_killed_origin_from_a_replica() {
    let nats = Nats::start();
    let mut relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut watching = checked_viewer(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=3_000);
    check(&mut watching, 3_000);
    relays[0].kill();
    for relay in &relays[1..] {
        relay.wait_for_relays(2);
    }
    assert_eq!(relays[2].metric("joey_cluster_backfilled_updates_total"), 0, "it never held any of the log");
    let mut viewer = Viewer::connect(&relays[2]);
    viewer.wait_for_worker("App", "w", |worker| !worker.connected);
    assert_eq!(viewer.logs("App"), [epoch]);
    let mut late = checked_viewer(&relays[2], epoch);
    check(&mut late, 3_000);
    assert_eq!(relays[2].metric("joey_cluster_backfilled_updates_total"), 3_000);
    for relay in &relays[1..] {
        eventually_is("ownerless logs", &1, || relay.metric("joey_cluster_ownerless_logs"));
    }
    // The log is copied on: the first replica may be killed as well.
    relays[1].kill();
    drop(watching);
    relays.push(relay(&nats.url()));
    relays[3].wait_for_relays(2);
    let mut latest = checked_viewer(&relays[3], epoch);
    check(&mut latest, 3_000);
}

#[test]
fn a_relay_that_starts_after_the_origin_was_killed_finds_the_replicas() {
    let nats = Nats::start();
    let mut relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut watching = checked_viewer(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=500);
    check(&mut watching, 500);
    relays[0].kill();
    relays[1].wait_for_relays(1);
    // No viewer is left, but the only copy of the log is still retained.
    drop(watching);
    let newcomer = relay(&nats.url());
    let mut late = checked_viewer(&newcomer, epoch);
    check(&mut late, 500);
    // A producer that connects there starts another log; both belong to one application.
    let mut producer = newcomer.producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    eventually("both logs are in one table", || {
        let stats = newcomer.stats("App");
        let counts = stats["views"].as_array()?.iter().filter(|view| view["kind"] == "computation-by-worker");
        let counts: u64 = counts.filter_map(|view| view["count"].as_u64()).sum();
        (counts == 500 * 501 / 2 + 100 * 101 / 2).then_some(())
    });
}

/// A relay that advertises its address.
fn advertised(nats: &Nats) -> (Relay, String) {
    let mut relay = relay(&nats.url());
    let address = format!("http://{}", relay.http);
    relay.restart_with(&["--advertise", &address]);
    wait_for_connected(&relay, true);
    (relay, address)
}

#[test]
fn viewers_receive_the_addresses_of_all_living_relays() {
    let nats = Nats::start();
    let (first, a) = advertised(&nats);
    let mut viewer = Viewer::connect(&first);
    let mut receives = |mut expected: Vec<&String>| {
        expected.sort_unstable();
        viewer.wait_for(|received| match received {
            Received::Relays(addresses) => {
                let mut addresses: Vec<&String> = addresses.iter().collect();
                addresses.sort_unstable();
                (addresses == expected).then_some(())
            }
            _ => None,
        });
    };
    receives(vec![&a]);
    let (mut second, b) = advertised(&nats);
    receives(vec![&a, &b]);
    // A relay without its own address forwards those of the others.
    let third = relay(&nats.url());
    third.wait_for_relays(3);
    let mut other = Viewer::connect(&third);
    other.wait_for(|received| match received {
        Received::Relays(addresses) => {
            (addresses.len() == 2 && addresses.contains(&a) && addresses.contains(&b)).then_some(())
        }
        _ => None,
    });
    second.kill();
    receives(vec![&a]);
}

#[test]
fn tap_resumes_at_a_relay_whose_address_it_received() {
    let nats = Nats::start();
    let (mut first, a) = advertised(&nats);
    let (second, _) = advertised(&nats);
    for relay in [&first, &second] {
        relay.wait_for_relays(2);
    }
    let mut producer = second.producer("App", "w");
    let mut sends = |numbers: std::ops::RangeInclusive<u64>| {
        let frame = |number| Frame::new("App", "computation", ["p", "w", "n"], now_ns() / S / 2 * 2).with(&[number]);
        let frames: Vec<Frame> = numbers.map(frame).collect();
        producer.send_all(&frames);
    };
    sends(1..=50);
    let epoch = only_log(&first);
    let mut tap = Tap::start(&["App", "--history", "--relay", &a]);
    tap.wait_until_printed(1..=50);
    sends(51..=100);
    tap.wait_until_printed(1..=100);
    first.kill();
    sends(101..=150);
    tap.wait_until_printed(1..=150);
    sends(151..=200);
    tap.wait_until_printed(1..=200);
    let stamps: Vec<(u64, u64)> =
        tap.lines().iter().filter_map(|line| Some((line["epoch"].as_u64()?, line["seq"].as_u64()?))).collect();
    assert_eq!(stamps, (1..=200).map(|seq| (epoch, seq)).collect::<Vec<_>>(), "each update once, in order");
    assert!(tap.is_running());
    assert_eq!((second.metric("joey_gaps_total"), second.metric("joey_task_panics_total")), (0, 0));
    // A viewer of the other relay receives the same log.
    let (_, subscribed) = Viewer::connect(&second).subscribe_log("App", epoch, Filter::All, Start::History);
    assert_eq!((subscribed.next, subscribed.missing), (1, 0));
}
