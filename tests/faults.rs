//! What goes wrong around a relay, one fault at a time, over real sockets. Each time the books must balance: what was accepted
//! is what every viewer was given plus what it was told is missing, and nobody else notices. `docs/reliability.md` says which
//! fault of its table each test is about.
//!
//! - `process`: a relay that is killed or stopped, a producer that floods it.
//! - `ingest`: bytes that are cut short, turned over or dripped by producers.
//! - `network`: wires that are cut, reset, frozen, slow.
//! - `stalled`: viewers that do not read.
//! - `connections`: more of them than there may be, and some that say nothing.
//! - `protocol`: WebSocket frames that no client should send.
//! - `console`: standard error and output that are closed, full, or read by nobody.
//! - `time`: clocks that jump.

#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/console.rs"]
mod console;
#[path = "faults/ingest.rs"]
mod ingest;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/process.rs"]
mod process;
#[path = "faults/protocol.rs"]
mod protocol;
#[path = "faults/stalled.rs"]
mod stalled;
#[path = "faults/time.rs"]
mod time;

use joey_tests::ledger::{self, Witness};
use joey_tests::{Producer, Relay, Viewer};

/// A producer that has sent number 1 of `App`, and a viewer of it.
fn begun(relay: &Relay) -> (Producer, Witness) {
    (ledger::begun(relay), Witness::of("App", Viewer::connect(relay)))
}
