//! Simulated producers for `joey demo`: three realistic applications that connect to the ingest port, and a service that exports
//! OpenTelemetry metrics.
//!
//! Their data depends on the time alone. So they can send five minutes of history when they start, and all windows are full
//! within the first second. What happens in them is in docs/using-overview.md and in the log.

mod deploys;
pub mod emitter;
mod latency_model;
mod simulated_apps;
mod simulated_service;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::deploys::Deploys;
use self::simulated_apps::Worker;
use self::simulated_service::{INSTANCES, Instance};
use crate::runtime::clock::monotonic_ns;

/// Wallaroo's period: 2 s.
const PERIOD_NS: u64 = 2_000_000_000;
/// Number of periods of history sent at the start: 5 min.
const HISTORY_PERIODS: u64 = 150;
/// Number of seconds of history that the service exports at the start: 5 min.
const HISTORY_SECONDS: u64 = 300;
/// The pause of all producers before they reconnect. It is Wallaroo's.
const RECONNECT: Duration = Duration::from_millis(250);

/// Maximum length of the answer to an export, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;
/// How long an export takes after the end of its period, in ns.
const EXPORT_DELAY_NS: u64 = 15_000_000;

/// Runs every worker until `stop`, and the service if the relay receives OTLP over HTTP. The service deploys a slow release
/// `deploy_after` the start and each rollback.
pub async fn run(ingest: SocketAddr, otlp: Option<SocketAddr>, deploy_after: Duration, stop: CancellationToken) {
    let mut workers = tokio::task::JoinSet::new();
    let deploys = Deploys::new(monotonic_ns() / simulated_service::PERIOD_NS, deploy_after);
    tracing::info!(
        "demo: Market Spread loses worker3 at times, Settle has spikes, and Check Order has a cache; Word Count stalls at times"
    );
    if otlp.is_some() {
        let (first_s, slow_s) = (deploy_after.as_secs(), deploys::DEPLOYED_SECONDS);
        tracing::info!(first_s, slow_s, "demo: Web Shop deploys a slow release and rolls it back, again and again");
        workers.spawn({
            let stop = stop.clone();
            async move {
                deploys.log(stop).await;
                Some(())
            }
        });
    }
    for (otlp, instance) in otlp.iter().copied().flat_map(|otlp| INSTANCES.map(|instance| (otlp, instance))) {
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(run_instance(otlp, instance, deploys)).await });
    }
    for worker in simulated_apps::workers() {
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(run_worker(ingest, worker)).await });
    }
    while workers.join_next().await.is_some() {}
}

/// Runs one instance of the service: connects, exports the history once, then exports each period when it ends.
async fn run_instance(otlp: SocketAddr, instance: Instance, deploys: Deploys) {
    let mut exported = (monotonic_ns() / simulated_service::PERIOD_NS).saturating_sub(HISTORY_SECONDS);
    loop {
        // Reconnects after a pause if the connection fails.
        if let Err(error) = export_periods(otlp, instance, deploys, &mut exported).await {
            tracing::debug!(%error, "the simulated service reconnects");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Exports all periods after `exported` until the connection fails.
async fn export_periods(
    otlp: SocketAddr,
    instance: Instance,
    deploys: Deploys,
    exported: &mut u64,
) -> anyhow::Result<()> {
    let stream = TokioIo::new(TcpStream::connect(otlp).await?);
    let (mut sender, connection) = http1::handshake::<_, Body>(stream).await?;
    let export = async {
        loop {
            let ended = monotonic_ns() / simulated_service::PERIOD_NS;
            while *exported < ended {
                let request = Request::post("/v1/metrics")
                    .header(header::HOST, otlp.to_string())
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(instance.export(*exported + 1, deploys)))?;
                let answer = sender.send_request(request).await?;
                anyhow::ensure!(answer.status().is_success(), "the relay answers {}", answer.status());
                // The next request waits until the answer has been read.
                to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await?;
                *exported += 1;
            }
            let next_ns = (ended + 1) * simulated_service::PERIOD_NS;
            tokio::time::sleep(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns()) + EXPORT_DELAY_NS)).await;
        }
    };
    tokio::select! {
        result = connection => Ok(result?),
        result = export => result,
    }
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
