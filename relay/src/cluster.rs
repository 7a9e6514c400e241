//! Cluster of several relays: viewers of every relay can watch what any relay ingests. The relays communicate through a
//! NATS server.
//!
//! Without NATS, a relay serves its own producers and viewers as a single relay. When NATS returns, gaps are filled:
//! all updates have sequence numbers, and every relay retains its history.
//!
//! - [`subjects`]: NATS subjects.
//! - [`messages`]: messages between relays.
//! - `page`: assembles a history page from its parts.
//! - `parts`: splits messages that are larger than the NATS server allows.
//! - [`bridge`]: decides what is announced, published and requested.
//! - [`nats`]: the connection to NATS.

pub mod subjects;
pub mod messages;
mod page;
mod parts;
pub mod bridge;
pub mod nats;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::bridge::Bridge;
use self::subjects::Subjects;
use crate::hub::Hub;

/// Connects `hub` to the other relays of the cluster until `stop`.
pub async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    // The configuration has validated the prefix. Only this task takes the receiver.
    let Some(outgoing) = hub.take_peer_batches() else { return };
    let subjects = Subjects::new(&hub.config().nats_prefix);
    let bridge = Bridge::new(hub.clone(), subjects);
    nats::run(hub, bridge, outgoing, stop).await;
}

#[cfg(test)]
mod tests;
