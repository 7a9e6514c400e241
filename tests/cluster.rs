//! Several real relays around real NATS servers: the viewers of every relay receive what any relay ingests, each number
//! once, whatever is killed, stopped or disconnected between them.
//!
//! - `sharing`: several relays without faults; which clients may connect.
//! - `cost`: every message and byte of the traffic.
//! - `failures`: servers, relays and connections that fail.
//! - `journal`: relays with a journal that are killed and continue their logs.
//! - `ownerless`: origins that are killed, and where their viewers find the history and other relays.
//! - `credentials`: authentication at the server.
//! - `partition`: a relay that the kernel disconnects.

#[path = "cluster/partition.rs"]
mod partition;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/journal.rs"]
mod journal;
#[path = "cluster/cost.rs"]
mod cost;
#[path = "cluster/ownerless.rs"]
mod ownerless;
#[path = "cluster/credentials.rs"]
mod credentials;
#[path = "cluster/sharing.rs"]
mod sharing;

use joey_tests::delivery::{self, CheckedViewer};
use joey_tests::{Producer, Relay, Viewer, eventually_is};

/// A relay that shares what it ingests through these servers.
fn relay(nats: &str) -> Relay {
    let relay = Relay::start_with(&["--nats", nats]);
    wait_for_connected(&relay, true);
    relay
}

fn wait_for_connected(relay: &Relay, expected: bool) {
    eventually_is("connected to NATS", &u64::from(expected), || relay.metric("joey_cluster_connected"));
}

/// Relays that have found each other.
fn relays(count: u64, nats: impl Fn(u64) -> String) -> Vec<Relay> {
    let relays: Vec<Relay> = (0..count).map(|at| relay(&nats(at))).collect();
    for relay in &relays {
        relay.wait_for_relays(count);
    }
    relays
}

/// A producer of `App` at `relay` that has sent number 1, and the epoch of its log.
fn start_producer(relay: &Relay) -> (Producer, u64) {
    (delivery::start_producer(relay), only_log(relay))
}

/// The epoch of the only log of `App`, once `relay` lists it.
fn only_log(relay: &Relay) -> u64 {
    let mut viewer = Viewer::connect(relay);
    viewer.wait_for_worker("App", "w", |_| true);
    let epochs = viewer.logs("App");
    assert_eq!(epochs.len(), 1);
    epochs[0]
}

/// A viewer that is subscribed to the log `epoch` of `App` at `relay`.
fn checked_viewer(relay: &Relay, epoch: u64) -> CheckedViewer {
    assert_eq!(only_log(relay), epoch, "every relay lists the same log");
    CheckedViewer::subscribe_log("App", epoch, Viewer::connect(relay))
}

/// Reads to `last` and checks that every number arrived once, as a single update, and none is missing.
fn check(checked: &mut CheckedViewer, last: u64) {
    checked.read_and_check(last);
    let (missing, rolled_up) = (checked.delivery.missing(checked.epoch), checked.delivery.rolled_up(checked.epoch));
    assert_eq!((missing, rolled_up), (0, 0));
}
