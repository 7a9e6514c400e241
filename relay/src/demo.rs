//! Simulated producers for `joey demo`: three realistic applications that connect to the ingest port.
//!
//! Their data depends on the time alone. So they can send five minutes of history when they start, and all windows are full
//! within the first second.

pub mod emitter;
mod latency_model;
mod simulated_apps;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::simulated_apps::Worker;
use crate::runtime::clock::monotonic_ns;

/// Wallaroo's period: 2 s.
const PERIOD_NS: u64 = 2_000_000_000;
/// Number of periods of history sent at the start: 5 min.
const HISTORY_PERIODS: u64 = 150;
/// Wallaroo's pause before it reconnects.
const RECONNECT: Duration = Duration::from_millis(250);

/// Runs every worker until `stop`.
pub async fn run(ingest: SocketAddr, stop: CancellationToken) {
    let mut workers = tokio::task::JoinSet::new();
    for worker in simulated_apps::workers() {
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(run_worker(ingest, worker)).await });
    }
    while workers.join_next().await.is_some() {}
}

/// Runs one worker: connects, sends the history once, then sends each period when it ends. Some workers are absent at times.
async fn run_worker(ingest: SocketAddr, worker: Worker) {
    // The last period that was sent.
    let mut sent = (monotonic_ns() / PERIOD_NS).saturating_sub(HISTORY_PERIODS);
    loop {
        while !worker.is_present(monotonic_ns() / PERIOD_NS) {
            tokio::time::sleep(RECONNECT).await;
        }
        if let Ok(stream) = TcpStream::connect(ingest).await {
            // Reconnects after a pause if the connection fails.
            let _ = send_periods(stream, &worker, &mut sent).await;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Sends all periods after `sent` until the worker is absent or the connection fails.
async fn send_periods(mut stream: TcpStream, worker: &Worker, sent: &mut u64) -> std::io::Result<()> {
    stream.write_all(&[emitter::connect(), emitter::join(worker.app, worker.name)].concat()).await?;
    loop {
        let ended = monotonic_ns() / PERIOD_NS;
        while *sent < ended {
            *sent += 1;
            if worker.is_present(*sent) {
                stream.write_all(&worker.frames(*sent, PERIOD_NS)).await?;
            }
        }
        if !worker.is_present(ended) {
            return Ok(());
        }
        let next_ns = (ended + 1) * PERIOD_NS;
        // A worker flushes at the first event after the end of a period, so each worker is a little late.
        let late_ns = 20_000_000 + 60_000_000 * (worker.name.len() as u64 % 4);
        tokio::time::sleep(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns()) + late_ns)).await;
    }
}
