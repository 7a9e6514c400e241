//! Receives StatsD over UDP and a Unix datagram socket, and publishes one histogram for each series and second.
//!
//! One task owns the sockets and the histograms of the current second. StatsD is never answered, and its clients do not
//! send again: a packet that is lost before the relay reads it is gone. The kernel counts the packets that it drops,
//! and the relay reports this number.

mod aggregator;
mod parse;
mod sockets;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::aggregator::Aggregator;
pub use self::parse::{Kind, Metric, lines};
pub use self::sockets::Sockets;
use self::sockets::{PACKET_BYTES_MAX, Received};
use super::presence::Presence;
use crate::auth::Auth;
use crate::hub::Hub;
use crate::metrics::RejectReason;

/// The period of every series, in ns: 1 s. Periods end at whole seconds of the relay's clock, as the slots of a window
/// do.
pub const PERIOD_NS: u64 = 1_000_000_000;

/// Packets processed before the task checks the time and yields to others.
const PACKETS_PER_YIELD: usize = 64;
/// Packets that are still read when the relay stops. They were sent before.
const PACKETS_AT_STOP: usize = 10_000;
/// Pause after an error of a socket.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Receives packets and publishes their metrics until `stop`.
pub async fn run(hub: Arc<Hub>, auth: Arc<Auth>, sockets: Sockets, stop: CancellationToken) {
    let mut receiver = Receiver {
        aggregator: Aggregator::new(hub.config()),
        buffer: vec![0; PACKET_BYTES_MAX + 1],
        dropped: sockets.packets_dropped(),
        presence: Presence::new(hub.clone()),
        sockets,
        hub,
        auth,
    };
    loop {
        let now_ns = receiver.hub.config().now_ns();
        let end_ns = (now_ns / PERIOD_NS + 1).saturating_mul(PERIOD_NS);
        let deadline = Instant::now() + Duration::from_nanos(end_ns - now_ns);
        if stop.run_until_cancelled(receiver.receive_until(deadline)).await.is_none() {
            break;
        }
        // If the flush is late, the period ends at the last whole second.
        let now_ns = receiver.hub.config().now_ns();
        receiver.flush(end_ns.max(now_ns / PERIOD_NS * PERIOD_NS));
    }
    receiver.receive_some(PACKETS_AT_STOP);
    let now_ns = receiver.hub.config().now_ns();
    receiver.flush(now_ns);
}

struct Receiver {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    sockets: Sockets,
    aggregator: Aggregator,
    presence: Presence,
    /// One byte larger than a packet may be, so that a longer packet is noticed.
    buffer: Vec<u8>,
    /// Packets dropped by the kernel at the last flush.
    dropped: u64,
}

impl Receiver {
    async fn receive_until(&mut self, deadline: Instant) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return,
                () = self.sockets.readable() => {}
            }
            if self.receive_some(PACKETS_PER_YIELD) {
                tokio::task::yield_now().await;
            } else {
                sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Processes the packets that have arrived, and at most `packets_max`. Returns whether the sockets work.
    fn receive_some(&mut self, packets_max: usize) -> bool {
        let policy = self.auth.policy();
        let counters = self.hub.counters();
        for _ in 0..packets_max {
            let (length, peer) = match self.sockets.try_receive(&mut self.buffer) {
                Received::Packet(length, peer) => (length, peer),
                Received::Nothing => return true,
                Received::Error => return false,
            };
            counters.statsd_packets.inc();
            counters.ingest_bytes.inc_by(length as u64);
            if peer.is_some_and(|peer| !policy.allows_producer(peer)) {
                counters.reject(RejectReason::ForbiddenNetwork);
            } else if length > PACKET_BYTES_MAX {
                // The kernel has cut it off, and its last line may be incomplete.
                counters.reject(RejectReason::FrameTooLong);
            } else {
                self.aggregator.receive(&self.buffer[..length], peer, counters);
            }
        }
        true
    }

    fn flush(&mut self, end_ns: u64) {
        self.hub.timings().ingest.time(|| self.aggregator.flush(&self.hub, &self.presence, end_ns));
        self.presence.sweep(end_ns);
        let dropped = self.sockets.packets_dropped();
        self.hub.counters().statsd_packets_dropped.inc_by(dropped.saturating_sub(self.dropped));
        self.dropped = dropped.max(self.dropped);
    }
}
