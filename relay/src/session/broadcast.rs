//! The broadcast task: writes new batches to idle viewers.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::{Broadcast, Delivered, Hub};

/// Number of viewers served before the task yields, which takes about 300 µs. It must be less than tokio's budget of
/// 128 operations per poll; beyond that, TLS connections would report that they are full.
const SUBSCRIBERS_PER_TURN: usize = 64;
/// Minimum number of viewers for an additional thread.
const SHARE_SIZE_MIN: usize = 256;

/// Sends queued broadcasts until `stop`.
pub async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    let work = async {
        loop {
            hub.broadcast_queue().ready().await;
            loop {
                let (began, broadcasts) = (Instant::now(), hub.broadcast_queue().take_all());
                if broadcasts.is_empty() {
                    break;
                }
                for broadcast in broadcasts {
                    let broadcast = Arc::new(broadcast);
                    send_broadcast(&hub, broadcast.clone()).await;
                    record_timings(&hub, &broadcast);
                }
                hub.broadcast_queue().record_duration(began.elapsed());
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Records how long a broadcast took that is complete now. One without batches has only woken its viewers.
fn record_timings(hub: &Hub, broadcast: &Broadcast) {
    let timings = hub.timings();
    let Some(first) = broadcast.new.batches.first().filter(|_| timings.broadcast.is_recording()) else { return };
    timings.broadcast.record(broadcast.queued_at.elapsed());
    if let Some(received_ns) = first.received_ns {
        timings.ingest_to_broadcast.record_ns(hub.config().now_ns().saturating_sub(received_ns));
    }
}

/// Sends one broadcast with a suitable number of threads. It returns after all viewers are served, so that no viewer
/// receives a later broadcast first.
async fn send_broadcast(hub: &Arc<Hub>, broadcast: Arc<Broadcast>) {
    let threads = Handle::current().metrics().num_workers();
    let shares = (broadcast.subscribers().len() / SHARE_SIZE_MIN).clamp(1, threads);
    let share = broadcast.subscribers().len().div_ceil(shares).max(1);
    let others: Vec<_> =
        (1..shares).map(|at| tokio::spawn(send_to_share(hub.clone(), broadcast.clone(), share, at))).collect();
    send_to_share(hub.clone(), broadcast, share, 0).await;
    // If a task panics, its viewers miss this broadcast. The next one wakes them.
    join_all(others).await;
}

/// Serves the viewers of share number `at`; a share has `share` viewers.
async fn send_to_share(hub: Arc<Hub>, broadcast: Arc<Broadcast>, share: usize, at: usize) {
    for subscribers in broadcast.subscribers().chunks(share).nth(at).unwrap_or_default().chunks(SUBSCRIBERS_PER_TURN) {
        // Read the clock once per turn. A clock read costs one hundredth of serving a viewer.
        let (now, mut all) = (Instant::now(), Delivered::default());
        for (_, subscriber) in subscribers {
            let delivered = subscriber.deliver(&broadcast.new, now);
            all.messages += delivered.messages;
            all.bytes += delivered.bytes;
        }
        hub.counters().sent_messages.inc_by(all.messages);
        hub.counters().sent_messages_direct.inc_by(all.messages);
        hub.counters().sent_bytes.inc_by(all.bytes);
        yield_now().await;
    }
}
