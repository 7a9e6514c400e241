//! Several relays as one: what one takes in, the viewers of all can watch. They talk through NATS, an engine that others run.
//!
//! Without NATS, or without an address of one, a relay serves its own producers and viewers as if it were alone. What it
//! missed is filled in when NATS is back, since every log has its numbers and every relay keeps its history.
//!
//! - [`subjects`]: names as NATS subjects.
//! - [`words`]: what relays say to each other.
//! - `page`: one answer, put together from its parts.
//! - [`bridge`]: who is told what, and what is asked for.
//! - [`engine`]: the connection to NATS.

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

/// Shares what `hub` takes in with other relays, and what they take in with it, until `stop`.
pub async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    // Whoever settled the configuration has tried the prefix, and nobody else takes what is handed out.
    let Some(outgoing) = hub.outgoing() else { return };
    let subjects = Subjects::new(&hub.config().nats_prefix);
    let bridge = Bridge::new(hub.clone(), subjects);
    nats::run(hub, bridge, outgoing, stop).await;
}

#[cfg(test)]
mod tests;
