//! Faults around a relay, one at a time, over real sockets. After each, delivery must be complete: every accepted
//! update reached every viewer or was reported missing, and other clients notice nothing. `docs/reliability.md` lists
//! which fault each test covers.
//!
//! - `process`: a relay that is killed or stopped, a producer that floods it.
//! - `ingest`: bytes of producers that are truncated, corrupted or sent slowly.
//! - `network`: connections that are closed, reset, frozen or slow.
//! - `stalled`: viewers that do not read.
//! - `connections`: more connections than allowed, and silent ones.
//! - `protocol`: WebSocket frames that no client should send.
//! - `journal`: a journal whose relay is killed, whose disk fails or hangs, and whose files are damaged.
//! - `console`: standard error and output that are closed, full or not read.
//! - `time`: clocks that jump.

#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/console.rs"]
mod console;
#[path = "faults/ingest.rs"]
mod ingest;
#[path = "faults/journal.rs"]
mod journal;
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

use joey_tests::delivery::{self, CheckedViewer};
use joey_tests::{Producer, Relay, Viewer};

/// A producer that has sent number 1 of `App`, and a viewer of it.
fn start_producer(relay: &Relay) -> (Producer, CheckedViewer) {
    (delivery::start_producer(relay), CheckedViewer::subscribe("App", Viewer::connect(relay)))
}
