//! Handing out what is new to those who stand by for it.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::{Handed, Hub, Round};

/// Viewers that are served before others get their turn: some 300 µs. It has to be less than tokio lets a task do at once,
/// 128 operations, or those behind TLS would seem full.
const TURN: usize = 64;
/// Viewers for whom another thread is worth its while.
const SHARE_MIN: usize = 256;

/// Hands out what is cut, until `stop`.
pub async fn hand_out(hub: Arc<Hub>, stop: CancellationToken) {
    let work = async {
        loop {
            hub.rounds().due().await;
            loop {
                let (began, rounds) = (Instant::now(), hub.rounds().take());
                if rounds.is_empty() {
                    break;
                }
                for round in rounds {
                    make(&hub, Arc::new(round)).await;
                }
                hub.rounds().are_made(began.elapsed());
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Makes one round, on as many threads as it is worth. It is over when all are served, so that nobody gets a later one first.
async fn make(hub: &Arc<Hub>, round: Arc<Round>) {
    let threads = Handle::current().metrics().num_workers();
    let shares = (round.audience().len() / SHARE_MIN).clamp(1, threads);
    let share = round.audience().len().div_ceil(shares).max(1);
    let others: Vec<_> = (1..shares).map(|at| tokio::spawn(serve(hub.clone(), round.clone(), share, at))).collect();
    serve(hub.clone(), round, share, 0).await;
    // Should one have failed, whoever it was to serve is a round behind, and is woken by the next.
    join_all(others).await;
}

/// Serves the share at `at` of shares of `share` viewers.
async fn serve(hub: Arc<Hub>, round: Arc<Round>, share: usize, at: usize) {
    for listeners in round.audience().chunks(share).nth(at).unwrap_or_default().chunks(TURN) {
        // Asked for once, since even the clock is a hundredth of what it takes to serve a viewer.
        let (now, mut all) = (Instant::now(), Handed::default());
        for (_, listener) in listeners {
            let handed = listener.hand(&round.news, now);
            all.messages += handed.messages;
            all.bytes += handed.bytes;
        }
        hub.counters().sent_messages.inc_by(all.messages);
        hub.counters().sent_messages_direct.inc_by(all.messages);
        hub.counters().sent_bytes.inc_by(all.bytes);
        yield_now().await;
    }
}
