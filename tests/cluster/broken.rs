//! Servers, relays and wires that fail: viewers of the relay that takes something in notice nothing, and the others have all of
//! it afterwards, each number once.

use std::time::{Duration, Instant};

use joey_tests::ledger::{Witness, send};
use joey_tests::proxy::Proxy;
use joey_tests::{Nats, Producer, Relay, Viewer};

use super::{begun, check, is_connected, only_log, relay, relays, witness};

/// How long an engine is away where that is what it is about.
const OUTAGE: Duration = Duration::from_secs(20);

/// Sends numbers from `next` on for so long, while `local` reads all of them at once; gives the next number.
pub(crate) fn goes_on(producer: &mut Producer, local: &mut Witness, mut next: u64, during: Duration) -> u64 {
    let begun = Instant::now();
    while begun.elapsed() < during {
        send(producer, "App", "w", next..next + 20);
        next += 20;
        local.reads_to(next - 1);
    }
    next
}

#[test]
fn a_server_that_is_killed_for_a_while_costs_nobody_anything() {
    let mut nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let (mut local, mut remote) = (witness(&relays[0], epoch), witness(&relays[1], epoch));
    remote.reads_to(1);
    nats.kill();
    relays.iter().for_each(|relay| is_connected(relay, false));
    let next = goes_on(&mut producer, &mut local, 2, OUTAGE);
    relays.iter().for_each(|relay| assert_eq!(relay.get("/readyz").0, 200, "a relay alone is a relay"));
    assert!(
        relays[0].metric("joey_cluster_messages_dropped_total{reason=\"disconnected\"}") > 0,
        "what could not go out is counted"
    );
    nats.restart();
    let next = goes_on(&mut producer, &mut local, next, Duration::from_secs(1));
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
    assert!(relays[1].metric("joey_cluster_backfilled_updates_total") > 0);
}

#[test]
fn a_server_that_hangs_for_a_while_costs_nobody_anything() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let (mut local, mut remote) = (witness(&relays[0], epoch), witness(&relays[1], epoch));
    remote.reads_to(1);
    nats.signal("STOP");
    let next = goes_on(&mut producer, &mut local, 2, OUTAGE);
    relays.iter().for_each(|relay| is_connected(relay, false));
    nats.signal("CONT");
    let next = goes_on(&mut producer, &mut local, next, Duration::from_secs(1));
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
}

#[test]
fn a_relay_that_is_cut_off_from_the_server_is_whole_again_afterwards() {
    let nats = Nats::start();
    let wire = Proxy::to(nats.address);
    let origin = relay(&nats.url());
    let (mut producer, epoch) = begun(&origin);
    let (cut_off, other) = (relay(&format!("nats://{}", wire.address)), relay(&nats.url()));
    let mut local = witness(&origin, epoch);
    let mut watching = [witness(&cut_off, epoch), witness(&other, epoch)];
    let mut next = 2;
    for fault in [Proxy::freeze, Proxy::cut, Proxy::reset] {
        fault(&wire);
        is_connected(&cut_off, false);
        next = goes_on(&mut producer, &mut local, next, Duration::from_secs(3));
        watching[1].reads_to(next - 1);
        wire.thaw();
        wire.mend();
        is_connected(&cut_off, true);
        watching[0].reads_to(next - 1);
    }
    watching.iter_mut().chain([&mut local]).for_each(|witness| check(witness, next - 1));
}

#[test]
fn an_origin_that_is_cut_off_goes_on_for_its_own_viewers() {
    let nats = Nats::start();
    let wire = Proxy::to(nats.address);
    let origin = relay(&format!("nats://{}", wire.address));
    let other = relay(&nats.url());
    let (mut producer, epoch) = begun(&origin);
    let (mut local, mut remote) = (witness(&origin, epoch), witness(&other, epoch));
    remote.reads_to(1);
    wire.freeze();
    // Longer than others remember it, and longer than it remembers what they want.
    let next = goes_on(&mut producer, &mut local, 2, Duration::from_secs(12));
    other.knows(1);
    wire.thaw();
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
}

#[test]
fn one_server_of_three_may_die() {
    let mut servers = Nats::cluster();
    let all: Vec<String> = servers.iter().map(Nats::url).collect();
    // Each begins somewhere else.
    let relays = relays(3, |at| {
        let at = usize::try_from(at).expect("it fits");
        [&all[at..], &all[..at]].concat().join(",")
    });
    let (mut producer, epoch) = begun(&relays[0]);
    let mut local = witness(&relays[0], epoch);
    let mut watching: Vec<Witness> = relays.iter().map(|relay| witness(relay, epoch)).collect();
    let mut next = 2;
    for server in &mut servers {
        server.kill();
        next = goes_on(&mut producer, &mut local, next, Duration::from_secs(1));
        watching.iter_mut().for_each(|witness| witness.reads_to(next - 1));
        server.restart();
        relays.iter().for_each(|relay| is_connected(relay, true));
    }
    watching.iter_mut().chain([&mut local]).for_each(|witness| check(witness, next - 1));
}

#[test]
fn a_viewer_whose_relay_dies_goes_on_at_another_and_misses_nothing() {
    let nats = Nats::start();
    let mut relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut moving = witness(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=1_000);
    moving.reads_to(500);
    relays[1].kill();
    moving.reads_to_the_end();
    send(&mut producer, "App", "w", 1_001..=1_500);
    assert_eq!(only_log(&relays[2]), epoch);
    moving.returns_to(relays[2].http);
    send(&mut producer, "App", "w", 1_501..=2_000);
    check(&mut moving, 2_000);
    relays[0].knows(2);
}

#[test]
fn an_origin_that_is_killed_leaves_what_others_hold_and_begins_anew() {
    let nats = Nats::start();
    let mut relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let mut before = witness(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=1_000);
    check(&mut before, 1_000);
    relays[0].restart_on_same_ports();
    let mut producer = relays[0].producer("App", "w");
    send(&mut producer, "App", "w", 1..=300);
    let mut viewer = Viewer::connect(&relays[1]);
    viewer.wait_for_worker("App", "w", |_| true);
    // The old log and the new one.
    let epochs = loop {
        let epochs = viewer.logs("App");
        if epochs.iter().any(|&other| other != epoch) {
            break epochs;
        }
    };
    assert!(epochs.contains(&epoch), "what is held here may still be read");
    let new = epochs.into_iter().find(|&other| other != epoch).expect("there is one");
    let mut after = Witness::of_log("App", new, Viewer::connect(&relays[1]));
    check(&mut after, 300);
    let mut late = Witness::of_log("App", epoch, Viewer::connect(&relays[1]));
    check(&mut late, 1_000);
}

#[test]
fn a_relay_that_hangs_for_a_while_catches_up() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = begun(&relays[0]);
    let (mut local, mut remote) = (witness(&relays[0], epoch), witness(&relays[1], epoch));
    remote.reads_to(1);
    relays[1].signal("STOP");
    let next = goes_on(&mut producer, &mut local, 2, Duration::from_secs(12));
    relays[0].knows(1);
    relays[1].signal("CONT");
    check(&mut remote, next - 1);
    check(&mut local, next - 1);
}

#[test]
fn a_relay_starts_without_its_server_and_finds_it_later() {
    let mut nats = Nats::start();
    nats.kill();
    let relays: Vec<Relay> = (0..2).map(|_| Relay::start_with(&["--nats", &nats.url()])).collect();
    let mut producer = relays[0].producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    let epoch = only_log(&relays[0]);
    let mut local = witness(&relays[0], epoch);
    check(&mut local, 100);
    nats.restart();
    let mut remote = witness(&relays[1], epoch);
    check(&mut remote, 100);
}
