//! Origins that are killed: whoever comes later, and to another relay, finds what somebody still holds; and viewers who were told
//! of one relay know where else to go.

use joey_shared::series::Filter;
use joey_shared::wire::Start;
use joey_tests::ledger::send;
use joey_tests::{Frame, Heard, Nats, Relay, S, Tap, Viewer, eventually, eventually_is, now_ns};

use super::{begun, check, is_connected, only_log, relay, relays, witness};

#[test]
fn a_viewer_that_comes_after_the_origin_was_killed_gets_its_log_from_whoever_watched_it() {
    let nats = Nats::start();
    let mut relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut watching = witness(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=3_000);
    check(&mut watching, 3_000);
    relays[0].kill();
    for relay in &relays[1..] {
        relay.knows(2);
    }
    assert_eq!(relays[2].metric("joey_cluster_backfilled_updates_total"), 0, "it never had anything of it");
    let mut viewer = Viewer::connect(&relays[2]);
    viewer.wait_for_worker("App", "w", |worker| !worker.connected);
    assert_eq!(viewer.logs("App"), [epoch]);
    let mut late = witness(&relays[2], epoch);
    check(&mut late, 3_000);
    assert_eq!(relays[2].metric("joey_cluster_backfilled_updates_total"), 3_000);
    for relay in &relays[1..] {
        eventually_is("logs without an origin", &1, || relay.metric("joey_cluster_ownerless_logs"));
    }
    // It goes on from hand to hand: who watched first may go as well.
    relays[1].kill();
    drop(watching);
    relays.push(relay(&nats.url()));
    relays[3].knows(2);
    let mut latest = witness(&relays[3], epoch);
    check(&mut latest, 3_000);
}

#[test]
fn a_relay_that_comes_after_the_origin_was_killed_finds_what_is_held() {
    let nats = Nats::start();
    let mut relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut watching = witness(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=500);
    check(&mut watching, 500);
    relays[0].kill();
    relays[1].knows(1);
    // Nobody watches any more, and what nobody else has is kept all the same.
    drop(watching);
    let newcomer = relay(&nats.url());
    let mut late = witness(&newcomer, epoch);
    check(&mut late, 500);
    // A producer that comes back there begins another log, and both are one application.
    let mut producer = newcomer.producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    eventually("both logs are in one table", || {
        let stats = newcomer.stats("App");
        let counts = stats["views"].as_array()?.iter().filter(|view| view["kind"] == "computation-by-worker");
        let counts: u64 = counts.filter_map(|view| view["count"].as_u64()).sum();
        (counts == 500 * 501 / 2 + 100 * 101 / 2).then_some(())
    });
}

/// A relay that says where it is.
fn advertised(nats: &Nats) -> (Relay, String) {
    let mut relay = relay(&nats.url());
    let address = format!("http://{}", relay.http);
    relay.restart_with(&["--advertise", &address]);
    is_connected(&relay, true);
    (relay, address)
}

#[test]
fn viewers_are_told_where_all_living_relays_are() {
    let nats = Nats::start();
    let (first, a) = advertised(&nats);
    let mut viewer = Viewer::connect(&first);
    let mut told = |mut expected: Vec<&String>| {
        expected.sort_unstable();
        viewer.wait_for(|heard| match heard {
            Heard::Relays(told) => {
                let mut told: Vec<&String> = told.iter().collect();
                told.sort_unstable();
                (told == expected).then_some(())
            }
            _ => None,
        });
    };
    told(vec![&a]);
    let (mut second, b) = advertised(&nats);
    told(vec![&a, &b]);
    // One that has no address of its own passes on those of the others.
    let third = relay(&nats.url());
    third.knows(3);
    let mut other = Viewer::connect(&third);
    other.wait_for(|heard| match heard {
        Heard::Relays(told) => (told.len() == 2 && told.contains(&a) && told.contains(&b)).then_some(()),
        _ => None,
    });
    second.kill();
    told(vec![&a]);
}

#[test]
fn tap_goes_on_at_a_relay_that_it_was_told_of_where_it_was() {
    let nats = Nats::start();
    let (mut first, a) = advertised(&nats);
    let (second, _) = advertised(&nats);
    for relay in [&first, &second] {
        relay.knows(2);
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
    tap.prints(1..=50);
    sends(51..=100);
    tap.prints(1..=100);
    first.kill();
    sends(101..=150);
    tap.prints(1..=150);
    sends(151..=200);
    tap.prints(1..=200);
    let stamps: Vec<(u64, u64)> =
        tap.lines().iter().filter_map(|line| Some((line["epoch"].as_u64()?, line["seq"].as_u64()?))).collect();
    assert_eq!(stamps, (1..=200).map(|seq| (epoch, seq)).collect::<Vec<_>>(), "each stamp once, in order");
    assert!(tap.runs());
    assert_eq!((second.metric("joey_gaps_total"), second.metric("joey_task_panics_total")), (0, 0));
    // Whoever asks the other one gets the same.
    let (_, subscribed) = Viewer::connect(&second).follow_log("App", epoch, Filter::All, Start::History);
    assert_eq!((subscribed.next, subscribed.missing), (1, 0));
}
