//! Made-up producers for `joey demo`: three applications that look like real ones and speak to the real port.
//!
//! What they send depends on the time alone, so five minutes of history can be sent at once when they start, and the
//! windows are full in the first second.

pub mod emitter;
mod model;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::world::Worker;
use crate::runtime::clock::monotonic_ns;

/// Wallaroo's period: 2 s.
const PERIOD_NS: u64 = 2_000_000_000;
/// Periods of history sent at the start: 5 min.
const HISTORY_PERIODS: u64 = 150;
/// Wallaroo's pause before it reconnects.
const RECONNECT: Duration = Duration::from_millis(250);

/// Runs every worker until `stop`.
pub async fn run(ingest: SocketAddr, stop: CancellationToken) {
    let mut workers = tokio::task::JoinSet::new();
    for worker in world::workers() {
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(live(ingest, worker)).await });
    }
    while workers.join_next().await.is_some() {}
}

/// One worker's life: it connects, tells the past once, then each period as it ends; some workers go away at times.
async fn live(ingest: SocketAddr, worker: Worker) {
    // The newest period that has been told.
    let mut told = (monotonic_ns() / PERIOD_NS).saturating_sub(HISTORY_PERIODS);
    loop {
        while !worker.is_present(monotonic_ns() / PERIOD_NS) {
            tokio::time::sleep(RECONNECT).await;
        }
        if let Ok(stream) = TcpStream::connect(ingest).await {
            // The next connection comes after a break, whatever ended this one.
            let _ = speak(stream, &worker, &mut told).await;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn speak(mut stream: TcpStream, worker: &Worker, told: &mut u64) -> std::io::Result<()> {
    stream.write_all(&[emitter::connect(), emitter::join(worker.app, worker.name)].concat()).await?;
    loop {
        let ended = monotonic_ns() / PERIOD_NS;
        while *told < ended {
            *told += 1;
            if worker.is_present(*told) {
                stream.write_all(&worker.frames(*told, PERIOD_NS)).await?;
            }
        }
        if !worker.is_present(ended) {
            return Ok(());
        }
        let next_ns = (ended + 1) * PERIOD_NS;
        // Workers flush on the first event after a period's end: a little late, each in its own way.
        let late_ns = 20_000_000 + 60_000_000 * (worker.name.len() as u64 % 4);
        tokio::time::sleep(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns()) + late_ns)).await;
    }
}
