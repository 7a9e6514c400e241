//! Servers, relays and connections that fail: viewers of the origin notice nothing, and the others receive everything
//! afterwards, each number once.

use std::time::{Duration, Instant};

use joey_tests::delivery::{CheckedViewer, send};
use joey_tests::proxy::Proxy;
use joey_tests::{Nats, Producer, Relay, Viewer};

use super::{check, checked_viewer, only_log, relay, relays, start_producer, wait_for_connected};

/// Length of an outage of NATS.
const OUTAGE: Duration = Duration::from_secs(20);

/// Sends numbers from `next` on for a while, which `local` reads at once; returns the next number.
pub(crate) fn keep_sending(producer: &mut Producer, local: &mut CheckedViewer, mut next: u64, during: Duration) -> u64 {
    let start = Instant::now();
    while start.elapsed() < during {
        send(producer, "App", "w", next..next + 20);
        next += 20;
        local.read_to(next - 1);
    }
    next
}

#[test]
fn killing_a_server_for_a_while_loses_nothing() {
    let mut nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let (mut local, mut remote) = (checked_viewer(&relays[0], epoch), checked_viewer(&relays[1], epoch));
    remote.read_to(1);
    nats.kill();
    relays.iter().for_each(|relay| wait_for_connected(relay, false));
    let next = keep_sending(&mut producer, &mut local, 2, OUTAGE);
    relays.iter().for_each(|relay| assert_eq!(relay.get("/readyz").0, 200, "a relay works without NATS"));
    assert!(
        relays[0].metric("joey_cluster_messages_dropped_total{reason=\"disconnected\"}") > 0,
        "unsent messages are counted"
    );
    nats.restart();
    let next = keep_sending(&mut producer, &mut local, next, Duration::from_secs(1));
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
    assert!(relays[1].metric("joey_cluster_backfilled_updates_total") > 0);
}

#[test]
fn a_server_that_hangs_for_a_while_loses_nothing() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let (mut local, mut remote) = (checked_viewer(&relays[0], epoch), checked_viewer(&relays[1], epoch));
    remote.read_to(1);
    nats.signal("STOP");
    let next = keep_sending(&mut producer, &mut local, 2, OUTAGE);
    relays.iter().for_each(|relay| wait_for_connected(relay, false));
    nats.signal("CONT");
    let next = keep_sending(&mut producer, &mut local, next, Duration::from_secs(1));
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
}

#[test]
fn a_relay_cut_off_from_nats_catches_up_afterwards() {
    let nats = Nats::start();
    let proxy = Proxy::new(nats.address);
    let origin = relay(&nats.url());
    let (mut producer, epoch) = start_producer(&origin);
    let (cut_off, other) = (relay(&format!("nats://{}", proxy.address)), relay(&nats.url()));
    let mut local = checked_viewer(&origin, epoch);
    let mut watching = [checked_viewer(&cut_off, epoch), checked_viewer(&other, epoch)];
    let mut next = 2;
    for fault in [Proxy::freeze, Proxy::disconnect, Proxy::reset] {
        fault(&proxy);
        wait_for_connected(&cut_off, false);
        next = keep_sending(&mut producer, &mut local, next, Duration::from_secs(3));
        watching[1].read_to(next - 1);
        proxy.unfreeze();
        proxy.restore();
        wait_for_connected(&cut_off, true);
        watching[0].read_to(next - 1);
    }
    watching.iter_mut().chain([&mut local]).for_each(|checked| check(checked, next - 1));
}

#[test]
fn an_origin_cut_off_from_nats_serves_its_own_viewers() {
    let nats = Nats::start();
    let proxy = Proxy::new(nats.address);
    let origin = relay(&format!("nats://{}", proxy.address));
    let other = relay(&nats.url());
    let (mut producer, epoch) = start_producer(&origin);
    let (mut local, mut remote) = (checked_viewer(&origin, epoch), checked_viewer(&other, epoch));
    remote.read_to(1);
    proxy.freeze();
    // Longer than other relays remember it, and longer than it remembers their subscriptions.
    let next = keep_sending(&mut producer, &mut local, 2, Duration::from_secs(12));
    other.wait_for_relays(1);
    proxy.unfreeze();
    check(&mut local, next - 1);
    check(&mut remote, next - 1);
}

#[test]
fn one_server_of_three_may_fail() {
    let mut servers = Nats::cluster();
    let all: Vec<String> = servers.iter().map(Nats::url).collect();
    // Each relay starts with a different server.
    let relays = relays(3, |at| {
        let at = usize::try_from(at).expect("it fits");
        [&all[at..], &all[..at]].concat().join(",")
    });
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut local = checked_viewer(&relays[0], epoch);
    let mut watching: Vec<CheckedViewer> = relays.iter().map(|relay| checked_viewer(relay, epoch)).collect();
    let mut next = 2;
    for server in &mut servers {
        server.kill();
        next = keep_sending(&mut producer, &mut local, next, Duration::from_secs(1));
        watching.iter_mut().for_each(|checked| checked.read_to(next - 1));
        server.restart();
        relays.iter().for_each(|relay| wait_for_connected(relay, true));
    }
    watching.iter_mut().chain([&mut local]).for_each(|checked| check(checked, next - 1));
}

#[test]
fn a_viewer_whose_relay_dies_resumes_at_another_and_misses_nothing() {
    let nats = Nats::start();
    let mut relays = relays(3, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut moving = checked_viewer(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=1_000);
    moving.read_to(500);
    relays[1].kill();
    moving.read_to_close();
    send(&mut producer, "App", "w", 1_001..=1_500);
    assert_eq!(only_log(&relays[2]), epoch);
    moving.reconnect_to(relays[2].http);
    send(&mut producer, "App", "w", 1_501..=2_000);
    check(&mut moving, 2_000);
    relays[0].wait_for_relays(2);
}

#[test]
fn a_killed_origin_leaves_its_replicas_and_starts_a_new_log() {
    let nats = Nats::start();
    let mut relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut before = checked_viewer(&relays[1], epoch);
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
    assert!(epochs.contains(&epoch), "a retained log can still be read");
    let new = epochs.into_iter().find(|&other| other != epoch).expect("there is one");
    let mut after = CheckedViewer::subscribe_log("App", new, Viewer::connect(&relays[1]));
    check(&mut after, 300);
    let mut late = CheckedViewer::subscribe_log("App", epoch, Viewer::connect(&relays[1]));
    check(&mut late, 1_000);
}

#[test]
fn a_relay_that_hangs_for_a_while_catches_up() {
    let nats = Nats::start();
    let relays = relays(2, |_| nats.url());
    let (mut producer, epoch) = start_producer(&relays[0]);
    let (mut local, mut remote) = (checked_viewer(&relays[0], epoch), checked_viewer(&relays[1], epoch));
    remote.read_to(1);
    relays[1].signal("STOP");
    let next = keep_sending(&mut producer, &mut local, 2, Duration::from_secs(12));
    relays[0].wait_for_relays(1);
    relays[1].signal("CONT");
    check(&mut remote, next - 1);
    check(&mut local, next - 1);
}

#[test]
fn a_relay_starts_without_nats_and_connects_later() {
    let mut nats = Nats::start();
    nats.kill();
    let relays: Vec<Relay> = (0..2).map(|_| Relay::start_with(&["--nats", &nats.url()])).collect();
    let mut producer = relays[0].producer("App", "w");
    send(&mut producer, "App", "w", 1..=100);
    let epoch = only_log(&relays[0]);
    let mut local = checked_viewer(&relays[0], epoch);
    check(&mut local, 100);
    nats.restart();
    let mut remote = checked_viewer(&relays[1], epoch);
    check(&mut remote, 100);
}
