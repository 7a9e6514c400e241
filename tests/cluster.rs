//! Several real relays around real NATS servers: what one takes in, the viewers of all get, each number once, whatever is
//! killed, stopped or cut off between them.
//!
//! - `whole`: several relays and nothing goes wrong; who may come in.
//! - `cost`: every message and byte of it.
//! - `broken`: servers, relays and wires that fail.
//! - `gone`: origins that are gone, and where their viewers find what there was and who else there is.
//! - `keys`: who may come to the server.
//! - `apart`: a relay cut off by the kernel.

#[path = "cluster/apart.rs"]
mod apart;
#[path = "cluster/broken.rs"]
mod broken;
#[path = "cluster/cost.rs"]
mod cost;
#[path = "cluster/gone.rs"]
mod gone;
#[path = "cluster/keys.rs"]
mod keys;
#[path = "cluster/whole.rs"]
mod whole;

use joey_tests::ledger::{self, Witness};
use joey_tests::{Producer, Relay, Viewer, eventually_is};

/// A relay that shares what it takes in through these servers.
fn relay(nats: &str) -> Relay {
    let relay = Relay::start_with(&["--nats", nats]);
    is_connected(&relay, true);
    relay
}

fn is_connected(relay: &Relay, expected: bool) {
    eventually_is("connected to NATS", &u64::from(expected), || relay.metric("joey_cluster_connected"));
}

/// Relays that know of each other.
fn relays(count: u64, nats: impl Fn(u64) -> String) -> Vec<Relay> {
    let relays: Vec<Relay> = (0..count).map(|at| relay(&nats(at))).collect();
    for relay in &relays {
        relay.knows(count);
    }
    relays
}

/// A producer of `App` at `relay`, which has sent number 1, and the epoch of its log.
fn begun(relay: &Relay) -> (Producer, u64) {
    (ledger::begun(relay), only_log(relay))
}

/// The epoch of the only log of `App`, once `relay` knows of it.
fn only_log(relay: &Relay) -> u64 {
    let mut viewer = Viewer::connect(relay);
    viewer.wait_for_worker("App", "w", |_| true);
    let epochs = viewer.logs("App");
    assert_eq!(epochs.len(), 1);
    epochs[0]
}

/// Somebody who follows the log `epoch` of `App` at `relay`.
fn witness(relay: &Relay, epoch: u64) -> Witness {
    assert_eq!(only_log(relay), epoch, "it is the same log everywhere");
    Witness::of_log("App", epoch, Viewer::connect(relay))
}

/// Reads to `last` and checks that every number came once, by itself, and none is missing.
fn check(witness: &mut Witness, last: u64) {
    witness.reads_all(last);
    let (missing, added_up) = (witness.ledger.missing(witness.epoch), witness.ledger.added_up(witness.epoch));
    assert_eq!((missing, added_up), (0, 0));
}
