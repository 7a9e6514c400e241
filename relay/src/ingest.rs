//! Producers' connections: reads frames, decodes and checks them, and publishes their histograms to the hub.
//!
//! Each connection has one task. The first bytes tell the format: [`wallaroo`], or [`native`], Joey's own one.
//!
//! The task sends nothing to a Wallaroo worker, which does not read. It never stops reading, because a worker buffers unsent
//! frames without limit. A frame that cannot be used is rejected and counted. If the announced length exceeds the limit, the task
//! closes the connection, because the start of the next frame is unknown.

pub mod presence;
pub mod wallaroo;
pub mod otlp;
pub mod native;
pub mod statsd;
pub mod self_metrics;

mod buffer;
mod rate_limit;
mod series_cache;
mod polled_socket;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use joey_shared::emit::MAGIC;
use joey_shared::series::escape_name;
use joey_shared::wire::RejectedName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::buffer::{Buffer, ReadError};
use self::native::Sessions;
use self::polled_socket::PolledSocket;
use self::rate_limit::FrameRateLimit;
use self::series_cache::{CachedSeries, SeriesCache};
use self::wallaroo::{Frame, NextFrame, decode, decode_counts, next_frame, rejected_name, split_prefix};
use crate::auth::{Auth, tls};
use crate::data_point::DataPoint;
use crate::hub::{App, Hub, Publisher};
use crate::metrics::{CloseReason, RejectReason};
use crate::net::listener::{LimitedListener, enable_keepalive};
use crate::runtime::panic_guard::catch_panic;

/// Maximum number of workers on one connection. A Wallaroo connection has one.
const WORKERS_PER_CONNECTION: usize = 16;
/// Frames processed before the task yields to others.
const FRAMES_PER_YIELD: usize = 128;

/// Accepts and serves producers until `stop`.
pub async fn run(
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    mut listener: LimitedListener,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    while let Some((stream, peer, permit)) = stop.run_until_cancelled(listener.accept()).await {
        if !auth.policy().allows_producer(peer.ip()) {
            hub.counters().close(CloseReason::ProducerForbiddenNetwork);
            tracing::debug!(%peer, "producer rejected: see --producers-allow");
            continue;
        }
        hub.counters().producer_connections.inc();
        let panics = hub.counters().task_panics.clone();
        let connection = Connection {
            hub: hub.clone(),
            auth: auth.clone(),
            sessions: sessions.clone(),
            peer,
            closing: stop.child_token(),
        };
        tasks.spawn(catch_panic(panics, "producer", async move {
            let _permit = permit;
            enable_keepalive(&stream);
            // An acknowledgement is sent at once. If this fails, it arrives later.
            let _ = stream.set_nodelay(true);
            connection.serve_while_allowed(stream).await;
        }));
    }
    tasks.close();
    tasks.wait().await;
}

/// What the task of one connection needs.
struct Connection {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    sessions: Arc<Sessions>,
    peer: SocketAddr,
    /// Cancelled when the connection has to end.
    closing: CancellationToken,
}

impl Connection {
    /// Serves the connection until it ends, the relay stops, or the producer's network is no longer allowed.
    async fn serve_while_allowed(&self, stream: TcpStream) {
        let mut served = pin!(self.serve(stream));
        tokio::select! {
            () = network_disallowed(&self.auth, self.peer.ip()) => {
                self.hub.counters().close(CloseReason::ProducerForbiddenNetwork);
                tracing::warn!(peer = %self.peer, "producer closed: its network is no longer allowed");
                self.closing.cancel();
                served.await;
            }
            () = &mut served => {}
        }
    }

    /// Serves the connection, over TLS if configured.
    async fn serve(&self, stream: TcpStream) {
        let tls = self.auth.policy().tls().cloned().filter(|_| self.hub.config().ingest_tls);
        let Some(tls) = tls else { return self.serve_format(stream, PolledSocket::new).await };
        match self.closing.run_until_cancelled(tls::accept(tls, stream)).await {
            Some(Some(stream)) => self.serve_format(stream, |stream| stream).await,
            Some(None) => self.hub.counters().close(CloseReason::ProducerTlsHandshake),
            None => {}
        }
    }

    /// Determines the format from the first bytes, and reads the connection.
    async fn serve_format<S, R>(&self, mut stream: S, of_wallaroo: impl FnOnce(S) -> R)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        R: AsyncRead + Unpin,
    {
        let mut buffer = Buffer::default();
        let first_bytes = read_first_bytes(&self.hub, &mut stream, &mut buffer);
        if self.closing.run_until_cancelled(first_bytes).await.is_none() {
            return;
        }
        if buffer.filled().starts_with(&MAGIC) {
            let producer = native::Producer::new(self.hub.clone(), self.auth.clone(), self.sessions.clone(), self.peer);
            producer.serve(stream, buffer, &self.closing).await;
        } else {
            let producer = Producer::new(self.hub.clone(), self.peer);
            self.closing.run_until_cancelled(producer.read(of_wallaroo(stream), buffer)).await;
        }
    }
}

/// Reads until the first bytes differ from the start of [`MAGIC`] or are complete. If the stream ends or fails earlier, the
/// next read fails as well.
async fn read_first_bytes(hub: &Hub, stream: &mut (impl AsyncRead + Unpin), buffer: &mut Buffer) {
    let mut deadline = None;
    while MAGIC.starts_with(buffer.filled()) && buffer.filled().len() < MAGIC.len() {
        match buffer.read_from(stream, deadline).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => hub.counters().ingest_bytes.inc_by(bytes as u64),
        };
        deadline = deadline.or_else(|| Some(Instant::now() + hub.config().frame_timeout));
    }
}

/// Waits until the policy no longer allows producers at `peer`.
async fn network_disallowed(auth: &Auth, peer: IpAddr) {
    if auth.watch().wait_for(|policy| !policy.allows_producer(peer)).await.is_err() {
        std::future::pending().await
    }
}

/// Reads the frames of one Wallaroo worker from `stream` until the connection ends or has to be closed.
pub async fn read_producer(hub: Arc<Hub>, peer: SocketAddr, stream: impl AsyncRead + Unpin) {
    Producer::new(hub, peer).read(stream, Buffer::default()).await;
}

/// Reads the messages of one producer that speaks Joey's own protocol from `stream`, without its first bytes being read yet, and
/// writes the replies, until the connection ends or has to be closed.
pub async fn serve_native(producer: native::Producer, stream: impl AsyncRead + AsyncWrite + Unpin) {
    producer.serve(stream, Buffer::default(), &CancellationToken::new()).await;
}

/// The connection of a Wallaroo worker, or of several. Dropping it reports to the hub that the workers have left.
struct Producer {
    hub: Arc<Hub>,
    peer: SocketAddr,
    workers: Vec<(Arc<App>, String)>,
    cache: SeriesCache,
    rate_limit: FrameRateLimit,
}

impl Producer {
    fn new(hub: Arc<Hub>, peer: SocketAddr) -> Self {
        let rate_limit = FrameRateLimit::new(hub.config().frames_per_sec_max);
        Self { hub, peer, workers: Vec::new(), cache: SeriesCache::default(), rate_limit }
    }

    /// Reads from `stream`, after the bytes in `buffer`.
    async fn read(mut self, mut stream: impl AsyncRead + Unpin, mut buffer: Buffer) {
        tracing::debug!(peer = %self.peer, "producer connected");
        let hub = self.hub.clone();
        // When the incomplete frame at the end of the buffer began.
        let mut partial_since = None;
        let ended: Result<&str, RejectReason> = loop {
            let timer = hub.timings().ingest.start();
            let (consumed, outcome) = self.process_frames(buffer.filled()).await;
            // A read that completes no frame is a part of the next one.
            if outcome == Ok(0) {
                timer.discard()
            } else {
                drop(timer)
            }
            buffer.consume(consumed);
            match outcome {
                Ok(0) if !buffer.is_empty() => _ = partial_since.get_or_insert_with(Instant::now),
                Ok(_) if !buffer.is_empty() => partial_since = Some(Instant::now()),
                Ok(_) => partial_since = None,
                Err(length) => {
                    tracing::warn!(peer = %self.peer, length, "producer closed: the frame exceeds the length limit");
                    break Err(RejectReason::FrameTooLong);
                }
            }
            let deadline = partial_since.map(|since: Instant| since + self.hub.config().frame_timeout);
            match buffer.read_from(&mut stream, deadline).await {
                Ok(0) if buffer.is_empty() => break Ok("closed"),
                Err(ReadError::Socket) if buffer.is_empty() => break Ok("reset"),
                Ok(0) | Err(ReadError::Socket) => break Err(RejectReason::Truncated),
                Ok(bytes) => _ = self.hub.counters().ingest_bytes.inc_by(bytes as u64),
                Err(ReadError::Timeout) => break Err(RejectReason::FrameTimeout),
            }
        };
        if let Err(reason) = ended {
            self.hub.counters().close(CloseReason::Frame(reason));
            self.hub.counters().reject(reason);
        }
        let reason = ended.unwrap_or_else(RejectReason::as_str);
        tracing::info!(peer = %self.peer, reason, "producer disconnected");
    }

    /// Processes every complete frame at the start of `bytes`. Returns the number of bytes consumed, and the number of
    /// frames or the length that exceeds the limit.
    async fn process_frames(&mut self, bytes: &[u8]) -> (usize, Result<usize, u32>) {
        let now_ns = self.hub.config().now_ns();
        let (mut consumed, mut frames, mut left) = (0, 0, FRAMES_PER_YIELD);
        let outcome = loop {
            let (length, cached) = self.process_cached(&bytes[consumed..], left, now_ns);
            consumed += length;
            frames += cached;
            left -= cached;
            if left == 0 {
                tokio::task::yield_now().await;
                left = FRAMES_PER_YIELD;
                continue;
            }
            match next_frame(&bytes[consumed..], self.hub.config().frame_bytes_max) {
                NextFrame::Partial => break Ok(frames),
                NextFrame::TooLong(length) => break Err(length),
                NextFrame::Whole(body, length) => {
                    if let Err(reason) = self.rate_limit.check().and_then(|()| self.process(body, now_ns)) {
                        reject(&self.hub, self.peer, reason);
                        if let RejectReason::InvalidName | RejectReason::NameTooLong = reason {
                            self.report_name(body, now_ns);
                        }
                    }
                    consumed += length;
                    frames += 1;
                    left -= 1;
                }
            }
        };
        (consumed, outcome)
    }

    /// Processes frames at the start of `bytes`, as long as their series are in the cache, and at most `frames_max`. Returns the
    /// number of bytes and frames consumed. Consecutive frames of one log lock it once.
    fn process_cached(&mut self, bytes: &[u8], frames_max: usize, now_ns: u64) -> (usize, usize) {
        let Self { hub, peer, workers, cache, rate_limit } = self;
        let (mut consumed, mut frames) = (0, 0);
        let mut publishing: Option<(usize, Publisher<'_>)> = None;
        while frames < frames_max
            && let NextFrame::Whole(body, length) = next_frame(&bytes[consumed..], hub.config().frame_bytes_max)
            && let Some((prefix, rest)) = split_prefix(body)
            && let Some(CachedSeries { worker, series }) = cache.find(prefix)
        {
            publishing.take_if(|(at, _)| *at != worker);
            let (_, log) = publishing.get_or_insert_with(|| (worker, hub.publisher(&workers[worker].0, now_ns)));
            match rate_limit.check().and_then(|()| decode_counts(rest)) {
                Ok(counts) => {
                    if !log.publish_known(series, counts) {
                        // The series has expired. The frame is decoded as a whole, and its series receives a new number.
                        break;
                    }
                }
                Err(reason) => reject(hub, *peer, reason),
            }
            consumed += length;
            frames += 1;
        }
        (consumed, frames)
    }

    fn process(&mut self, body: &[u8], now_ns: u64) -> Result<(), RejectReason> {
        match decode(body)? {
            Frame::Connect => Ok(()),
            Frame::Join { app, worker } => {
                let app = self.hub.app(app)?;
                tracing::info!(peer = %self.peer, app = app.name(), worker, "producer joined");
                worker.into_iter().for_each(|worker| self.add_worker(&app, worker, now_ns));
                Ok(())
            }
            Frame::Metrics(point) => self.publish(body, &point, now_ns),
            Frame::UnknownEvent => Err(RejectReason::UnknownEvent),
        }
    }

    fn publish(&mut self, body: &[u8], point: &DataPoint<'_>, now_ns: u64) -> Result<(), RejectReason> {
        let known = |(app, worker): &(Arc<App>, String)| app.name() == point.app && worker == point.worker;
        if let Some(at) = self.workers.iter().position(known) {
            let series = self.hub.publish(&self.workers[at].0, point, now_ns)?;
            if let Some((prefix, _)) = split_prefix(body) {
                self.cache.insert(prefix, CachedSeries { worker: at, series });
            }
            return Ok(());
        }
        // A payload may arrive before its join, or for a worker that never joins.
        let app = self.hub.app(point.app)?;
        self.add_worker(&app, point.worker, now_ns);
        self.hub.publish(&app, point, now_ns).map(drop)
    }

    /// Reports the invalid name in the rejected frame `body` to the viewers of its application.
    fn report_name(&self, body: &[u8], now_ns: u64) {
        if let Some((app, name, reason)) = rejected_name(body)
            && let Ok(app) = self.hub.app(app)
        {
            self.hub.reject_name(&app, RejectedName { escaped: escape_name(name), reason }, now_ns);
        }
    }

    fn add_worker(&mut self, app: &Arc<App>, worker: &str, now_ns: u64) {
        let is_known = self.workers.iter().any(|(known, name)| Arc::ptr_eq(known, app) && name == worker);
        if !is_known && self.workers.len() < WORKERS_PER_CONNECTION {
            self.hub.worker_joined(app, worker, now_ns);
            self.workers.push((app.clone(), worker.to_owned()));
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        for (app, worker) in &self.workers {
            self.hub.worker_left(app, worker, self.hub.config().now_ns());
        }
    }
}

/// Counts a rejected frame.
fn reject(hub: &Hub, peer: SocketAddr, reason: RejectReason) {
    hub.counters().reject(reason);
    tracing::debug!(%peer, reason = reason.as_str(), "frame rejected");
}

#[cfg(test)]
mod tests {
    use joey_shared::histogram::Histogram;

    use super::*;
    use crate::config::Config;
    use crate::demo::emitter;

    #[tokio::test]
    async fn an_expired_series_receives_a_new_number_on_the_same_connection() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let mut producer = Producer::new(hub.clone(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let (period_ns, end_ns) = (1_000_000_000, hub.config().now_ns());
        let frame = |name| {
            let [app, category, worker, pipeline] = ["App", "computation", "w", "p"];
            let histogram = Histogram::default();
            emitter::metrics(&DataPoint {
                app,
                name,
                category,
                worker,
                pipeline,
                id: 1,
                provenance: joey_shared::series::Provenance::default(),
                histogram,
                period_ns,
                end_ns,
            })
        };
        let frames = [emitter::join("App", "w"), frame("a"), frame("b"), frame("a"), frame("b")].concat();
        assert_eq!(producer.process_frames(&frames).await, (frames.len(), Ok(5)));
        hub.evict_old(end_ns + hub.series_retention_ns() + 1_000_000_000);
        assert_eq!((hub.gauges(0).series, hub.counters().series_expired.get()), (0, 2));
        for _ in 0..2 {
            assert_eq!(producer.process_frames(&frames).await, (frames.len(), Ok(5)));
        }
        assert_eq!((hub.gauges(0).series, hub.counters().frames_accepted.get()), (2, 12));
        let log = hub.own_app("App").unwrap();
        assert_eq!(log.series_messages_since(0, |_| true).1, 4, "both series were added twice");
    }
}
