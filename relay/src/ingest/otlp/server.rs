//! Listens for OTLP over HTTP and over gRPC. Each connection has a limit on idle time, and its own on data points.
//!
//! Both ports accept both protocols. Some exporters use gRPC unless told otherwise, whatever the port of their
//! endpoint.
//!
//! hyper serves the connections directly, because the relay limits their number, their time and the size of their
//! heads.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::service::{Client, Service};
use super::{Receiver, grpc, http};
use crate::auth::{Auth, tls};
use crate::hub::Hub;
use crate::metrics::CloseReason;
use crate::net::listener::{LimitedListener, enable_keepalive};
use crate::runtime::panic_guard::catch_panic;
use crate::runtime::sync::Mutex;

/// Maximum time to the first complete head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time between an answer and the next complete head of a request: two of the usual export intervals.
const IDLE_TIMEOUT: Duration = Duration::from_secs(130);
/// Maximum size of a request head.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Maximum number of simultaneous requests on one connection.
const STREAMS_MAX: u32 = 32;
/// Interval at which a connection is checked for being idle.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Interval at which silent instances are noticed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The two ports. Either may be closed.
#[derive(Debug)]
pub struct Listeners {
    /// For OTLP over HTTP.
    pub http: Option<LimitedListener>,
    /// For OTLP over gRPC.
    pub grpc: Option<LimitedListener>,
}

/// The requests of one connection, in either protocol.
#[derive(Clone)]
struct Routers {
    http: Router,
    grpc: Router,
}

impl Routers {
    /// The router of the request's protocol.
    fn of(&self, headers: &HeaderMap) -> Router {
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        if content_type.starts_with(b"application/grpc") { self.grpc.clone() } else { self.http.clone() }
    }
}

/// When a connection was last used.
#[derive(Debug)]
struct Activity {
    /// Requests in progress.
    requests: usize,
    /// Answered requests.
    answered: u64,
    last: Instant,
}

/// Serves both ports until `stop`. Then waits until open requests are answered.
pub async fn run(hub: Arc<Hub>, auth: Arc<Auth>, listeners: Listeners, stop: CancellationToken) {
    let receiver = Arc::new(Receiver::new(hub.clone()));
    let service = Service::new(hub.clone(), auth, receiver.clone());
    let routers = Routers { http: http::router(service.clone()), grpc: grpc::router(service.clone()) };
    let serve_port = async |listener: Option<_>| {
        if let Some(listener) = listener {
            accept(listener, routers.clone(), service.clone(), stop.clone()).await;
        }
    };
    let sweep = async {
        let mut interval = interval(SWEEP_INTERVAL);
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            receiver.sweep(hub.config().now_ns());
        }
    };
    tokio::join!(serve_port(listeners.http), serve_port(listeners.grpc), sweep);
}

/// Accepts and serves connections until `stop`.
async fn accept(mut listener: LimitedListener, routers: Routers, service: Arc<Service>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some((stream, peer, permit)) = stop.run_until_cancelled(listener.accept()).await {
        let counters = service.hub().counters().clone();
        let policy = service.auth().policy();
        if !policy.allows_producer(peer.ip()) {
            counters.close(CloseReason::ProducerForbiddenNetwork);
            tracing::debug!(%peer, "OTLP connection rejected: see --producers-allow");
            continue;
        }
        counters.producer_connections.inc();
        enable_keepalive(&stream);
        // If this fails, answers are only slower.
        let _ = stream.set_nodelay(true);
        let tls = policy.tls().filter(|_| service.hub().config().ingest_tls).map(|tls| tls::with_http2(tls));
        let (client, routers, stop) = (service.client(peer), routers.clone(), stop.clone());
        connections.spawn(catch_panic(counters.task_panics.clone(), "otlp", async move {
            let _permit = permit;
            let panics = counters.task_panics.clone();
            let Some(tls) = tls else { return serve(stream, routers, client, panics, &stop).await };
            match stop.run_until_cancelled(tls::accept(tls, stream)).await {
                Some(Some(stream)) => serve(stream, routers, client, panics, &stop).await,
                Some(None) => counters.close(CloseReason::ProducerTlsHandshake),
                None => {}
            }
        }));
    }
    connections.close();
    connections.wait().await;
}

/// Runs the requests of a connection with HTTP/2, which are tasks of their own, and counts panics in them.
#[derive(Clone)]
struct RequestExecutor(Counter);

impl<F> hyper::rt::Executor<F> for RequestExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, request: F) {
        tokio::spawn(catch_panic(self.0.clone(), "otlp", request.map(drop)));
    }
}

/// Serves the requests of one connection until it is idle for too long, or until `stop`.
async fn serve<S>(stream: S, routers: Routers, client: Client, panics: Counter, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Mutex::new(Activity { requests: 0, answered: 0, last: Instant::now() }));
    let of_requests = activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client.clone());
        let (answer, activity) = (routers.of(request.headers()).oneshot(request), of_requests.clone());
        activity.lock().requests += 1;
        async move {
            // Dropped with the request, if the connection is closed before the answer.
            let _request = InProgress(activity);
            answer.await
        }
    });
    let mut http = auto::Builder::new(RequestExecutor(panics));
    // `idle` limits the time of a head, and does not close a connection between two exports.
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // An error here needs no handling: the connection is closed.
        _ = connection.as_mut() => {}
        () = idle(&activity) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(HEAD_TIMEOUT, connection).await;
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Waits until a connection has had no request for too long.
async fn idle(activity: &Mutex<Activity>) {
    loop {
        let (requests, answered, last) = {
            let activity = activity.lock();
            (activity.requests, activity.answered, activity.last)
        };
        let end = last + if answered == 0 { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
        if requests == 0 && Instant::now() >= end {
            return;
        }
        sleep_until(end.max(Instant::now() + IDLE_CHECK)).await;
    }
}

/// A request in progress.
struct InProgress(Arc<Mutex<Activity>>);

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        activity.requests -= 1;
        activity.answered += 1;
        activity.last = Instant::now();
    }
}

#[cfg(test)]
mod tests;
