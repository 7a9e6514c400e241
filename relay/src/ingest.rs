//! Producers' connections: reads frames, decodes and checks them, and publishes their histograms to the hub.
//!
//! Each connection has one task. The task sends nothing, because producers do not read. It never stops reading, because
//! a Wallaroo worker buffers unsent frames without limit. A frame that cannot be used is rejected and counted. If the
//! announced length exceeds the limit, the task closes the connection, because the start of the next frame is unknown.

pub mod presence;
pub mod wallaroo;
pub mod otlp;
pub mod statsd;

mod series_cache;
mod polled_socket;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::series::escape_name;
use joey_shared::wire::RejectedName;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::polled_socket::PolledSocket;
use self::series_cache::{CachedSeries, SeriesCache};
use self::wallaroo::{Frame, NextFrame, decode, decode_counts, next_frame, rejected_name, split_prefix};
use crate::auth::{Auth, tls};
use crate::config::at_least_one;
use crate::data_point::DataPoint;
use crate::hub::{App, Hub, Publisher};
use crate::metrics::{CloseReason, RejectReason};
use crate::net::listener::{LimitedListener, enable_keepalive};
use crate::runtime::panic_guard::catch_panic;

/// Buffer for one read, about 25 frames.
const READ_BYTES: usize = 16 * 1024;
/// Buffer for one read of a busy producer, which has just filled the smaller one: about 200 frames for one system call. With half
/// of it a frame takes 6 % longer; with twice as much there is no measurable gain.
const BUSY_BYTES: usize = 128 * 1024;
/// Maximum number of workers on one connection. A Wallaroo connection has one.
const WORKERS_PER_CONNECTION: usize = 16;
/// Burst limit: a producer may send the frames of this many seconds at once, for example after it has waited for the relay.
const BURST_SECS: NonZeroU32 = at_least_one(10);
/// Frames processed before the task yields to others.
const FRAMES_PER_YIELD: usize = 128;
/// Frames requested from the rate limiter at once, because one request takes longer than decoding a frame.
const FRAMES_PER_PERMIT: NonZeroU32 = at_least_one(32);
/// Highest frame rate that the limiter can measure. A higher setting means no limit.
const FRAMES_PER_SEC_MAX: NonZeroU32 = at_least_one(100_000_000);

/// Accepts and serves producers until `stop`.
pub async fn run(hub: Arc<Hub>, auth: Arc<Auth>, mut listener: LimitedListener, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some((stream, peer, permit)) = stop.run_until_cancelled(listener.accept()).await {
        if !auth.policy().allows_producer(peer.ip()) {
            hub.counters().close(CloseReason::ProducerForbiddenNetwork);
            tracing::debug!(%peer, "producer rejected: see --producers-allow");
            continue;
        }
        hub.counters().producer_connections.inc();
        let (hub, auth, stop) = (hub.clone(), auth.clone(), stop.clone());
        tasks.spawn(catch_panic(hub.counters().task_panics.clone(), "producer", async move {
            let _permit = permit;
            enable_keepalive(&stream);
            tokio::select! {
                () = stop.cancelled() => {}
                () = network_disallowed(&auth, peer.ip()) => {
                    hub.counters().close(CloseReason::ProducerForbiddenNetwork);
                    tracing::warn!(%peer, "producer closed: its network is no longer allowed");
                }
                () = serve_connection(&hub, &auth, peer, stream) => {}
            }
        }));
    }
    tasks.close();
    tasks.wait().await;
}

/// Serves one connection, over TLS if configured.
async fn serve_connection(hub: &Arc<Hub>, auth: &Auth, peer: SocketAddr, stream: TcpStream) {
    let tls = auth.policy().tls().cloned().filter(|_| hub.config().ingest_tls);
    let Some(tls) = tls else { return read_producer(hub.clone(), peer, PolledSocket::new(stream)).await };
    match tls::accept(tls, stream).await {
        Some(stream) => read_producer(hub.clone(), peer, stream).await,
        None => hub.counters().close(CloseReason::ProducerTlsHandshake),
    }
}

/// Waits until the policy no longer allows producers at `peer`.
async fn network_disallowed(auth: &Auth, peer: IpAddr) {
    if auth.watch().wait_for(|policy| !policy.allows_producer(peer)).await.is_err() {
        std::future::pending().await
    }
}

/// Reads one producer's frames from `stream` until the connection ends or has to be closed.
pub async fn read_producer(hub: Arc<Hub>, peer: SocketAddr, stream: impl AsyncRead + Unpin) {
    Producer::new(hub, peer).read(stream).await;
}

/// A producer's connection and its workers. Dropping it reports to the hub that the workers have left.
struct Producer {
    hub: Arc<Hub>,
    peer: SocketAddr,
    workers: Vec<(Arc<App>, String)>,
    cache: SeriesCache,
    rate_limit: FrameRateLimit,
}

impl Producer {
    fn new(hub: Arc<Hub>, peer: SocketAddr) -> Self {
        let frames = hub.config().frames_per_sec_max.min(FRAMES_PER_SEC_MAX);
        let burst = frames.saturating_mul(BURST_SECS);
        let limiter = RateLimiter::direct(Quota::per_second(frames).allow_burst(burst));
        let rate_limit = FrameRateLimit { limiter, allowed: 0 };
        Self { hub, peer, workers: Vec::new(), cache: SeriesCache::default(), rate_limit }
    }

    async fn read(mut self, mut stream: impl AsyncRead + Unpin) {
        tracing::debug!(peer = %self.peer, "producer connected");
        let mut buffer = Buffer::default();
        // When the incomplete frame at the end of the buffer began.
        let mut partial_since = None;
        let ended: Result<&str, RejectReason> = loop {
            let deadline = partial_since.map(|since: Instant| since + self.hub.config().frame_timeout);
            match read_some(&mut stream, buffer.free(), deadline).await {
                Ok(0) if buffer.is_empty() => break Ok("closed"),
                Err(ReadError::Socket) if buffer.is_empty() => break Ok("reset"),
                Ok(0) | Err(ReadError::Socket) => break Err(RejectReason::Truncated),
                Ok(bytes) => {
                    self.hub.counters().ingest_bytes.inc_by(bytes as u64);
                    buffer.advance(bytes);
                }
                Err(ReadError::Timeout) => break Err(RejectReason::FrameTimeout),
            }
            let (consumed, outcome) = self.process_frames(buffer.filled()).await;
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

/// The frame rate limit of one producer.
struct FrameRateLimit {
    limiter: DefaultDirectRateLimiter,
    /// Frames that the limiter has already allowed.
    allowed: u32,
}

impl FrameRateLimit {
    /// Checks one frame against the limit.
    fn check(&mut self) -> Result<(), RejectReason> {
        if self.allowed == 0 {
            self.allowed = match self.limiter.check_n(FRAMES_PER_PERMIT) {
                Ok(Ok(())) => FRAMES_PER_PERMIT.get(),
                _ => u32::from(self.limiter.check().is_ok()),
            };
        }
        self.allowed = self.allowed.checked_sub(1).ok_or(RejectReason::RateLimit)?;
        Ok(())
    }
}

/// Counts a rejected frame.
fn reject(hub: &Hub, peer: SocketAddr, reason: RejectReason) {
    hub.counters().reject(reason);
    tracing::debug!(%peer, reason = reason.as_str(), "frame rejected");
}

/// The bytes that were read and not processed yet.
struct Buffer {
    /// Completely initialized, so a read need not clear it first.
    bytes: Vec<u8>,
    length: usize,
    /// The size that `bytes` should have.
    target: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], length: 0, target: READ_BYTES }
    }
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The free part, for the next read. Buffered bytes count towards the size, so a steady stream always uses the same memory.
    fn free(&mut self) -> &mut [u8] {
        let needed = self.target.max(self.length + READ_BYTES / 4);
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        &mut self.bytes[self.length..]
    }

    /// Marks `bytes` of the free part as filled.
    fn advance(&mut self, bytes: usize) {
        self.length += bytes;
        // An incomplete frame takes up a part of the buffer, so a read that fills the rest may be shorter than
        // `READ_BYTES`. Checking for this saves a third of the reads of a producer that never pauses.
        let is_busy = bytes >= READ_BYTES || self.length == self.bytes.len();
        self.target = if is_busy { BUSY_BYTES } else { READ_BYTES };
    }

    /// Removes `bytes` from the start. Frees the memory of a long frame or of a busy period.
    fn consume(&mut self, bytes: usize) {
        self.bytes.copy_within(bytes..self.length, 0);
        self.length -= bytes;
        self.bytes.truncate(self.target.max(self.length));
        self.bytes.shrink_to(self.target);
    }
}

/// Why a read failed.
enum ReadError {
    /// The incomplete frame did not arrive in time.
    Timeout,
    /// The connection failed.
    Socket,
}

async fn read_some(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    deadline: Option<Instant>,
) -> Result<usize, ReadError> {
    let read = stream.read(buffer);
    match deadline {
        Some(deadline) => timeout_at(deadline, read).await.map_err(|_| ReadError::Timeout)?,
        None => read.await,
    }
    .map_err(|_| ReadError::Socket)
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
