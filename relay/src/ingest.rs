//! Producers' connections: bytes in, checked and stamped histograms on to the hub.
//!
//! One task for each connection. It never answers, because no producer listens, and it never stops reading, because a
//! Wallaroo worker queues without bound what it cannot write: what cannot be used is dropped here and counted. A frame that
//! makes no sense costs that frame. A length that no frame has ends the connection, since where the next frame would begin
//! cannot be known.

pub mod wallaroo;

mod series_cache;
mod polled_socket;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::series::shown_refused;
use joey_shared::wire::RefusedName;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::polled_socket::Socket;
use self::series_cache::Fronts;
use self::wallaroo::{Frame, Front, counted, decode, front, parts, refused_name};
use crate::auth::{Access, tls};
use crate::config::at_least_one;
use crate::data_point::DataPoint;
use crate::hub::{App, Hub, Publishing};
use crate::metrics::RejectReason;
use crate::net::listener::{Door, keep_alive};
use crate::runtime::panic_guard::contained;

/// Room for one read: some 25 frames.
const READ_BYTES: usize = 16 * 1024;
/// Room for one read of a producer that has just filled it: some 200 frames, for which the kernel is asked once. With half of it a
/// frame takes 6 % longer, with twice as much not measurably less.
const BUSY_BYTES: usize = 128 * 1024;
/// Workers that one connection may speak for; a Wallaroo connection speaks for one.
const WORKERS_PER_CONNECTION: usize = 16;
/// Seconds' worth of frames that a producer may send at once, for example when it has waited for the relay.
const BURST_SECS: NonZeroU32 = at_least_one(10);
/// Frames taken before other tasks get their turn.
const FRAMES_PER_TURN: usize = 128;
/// Frames for which a producer's rate is asked at once, since asking takes longer than decoding.
const FRAMES_PER_RATE: NonZeroU32 = at_least_one(32);
/// Frames a second that the limiter can still tell from one another. More is no limit.
const FRAMES_PER_SEC_MAX: NonZeroU32 = at_least_one(100_000_000);

/// Takes producers in until `stop`.
pub async fn run(hub: Arc<Hub>, access: Arc<Access>, mut door: Door, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some((stream, peer, place)) = stop.run_until_cancelled(door.next()).await {
        if !access.rules().admits_producer(peer.ip()) {
            hub.counters().close("producer_network");
            tracing::debug!(%peer, "producer turned away: see --producers-allow");
            continue;
        }
        hub.counters().producers.inc();
        let (hub, access, stop) = (hub.clone(), access.clone(), stop.clone());
        tasks.spawn(contained(hub.counters().panics.clone(), "producer", async move {
            let _place = place;
            keep_alive(&stream);
            tokio::select! {
                () = stop.cancelled() => {}
                () = banned(&access, peer.ip()) => {
                    hub.counters().close("producer_network");
                    tracing::warn!(%peer, "producer closed: its network is no longer allowed");
                }
                () = converse(&hub, &access, peer, stream) => {}
            }
        }));
    }
    tasks.close();
    tasks.wait().await;
}

/// Reads from one connection, behind TLS where that is asked for.
async fn converse(hub: &Arc<Hub>, access: &Access, peer: SocketAddr, stream: TcpStream) {
    let tls = access.rules().tls().cloned().filter(|_| hub.config().ingest_tls);
    let Some(tls) = tls else { return read(hub.clone(), peer, Socket::new(stream)).await };
    match tls::accept(tls, stream).await {
        Some(stream) => read(hub.clone(), peer, stream).await,
        None => hub.counters().close("producer_tls_handshake"),
    }
}

/// Waits until producers at `peer` may no longer send.
async fn banned(access: &Access, peer: IpAddr) {
    if access.watch().wait_for(|rules| !rules.admits_producer(peer)).await.is_err() {
        std::future::pending().await
    }
}

/// Reads what one producer sends, whatever carries it, until it ends or has to be ended.
pub async fn read(hub: Arc<Hub>, peer: SocketAddr, stream: impl AsyncRead + Unpin) {
    Producer::new(hub, peer).read(stream).await;
}

/// One connection, and the workers that it speaks for. Dropping it says that they are gone.
struct Producer {
    hub: Arc<Hub>,
    peer: SocketAddr,
    workers: Vec<(Arc<App>, String)>,
    fronts: Fronts,
    pace: Pace,
}

impl Producer {
    fn new(hub: Arc<Hub>, peer: SocketAddr) -> Self {
        let frames = hub.config().frames_per_sec_max.min(FRAMES_PER_SEC_MAX);
        let burst = frames.saturating_mul(BURST_SECS);
        let rate = RateLimiter::direct(Quota::per_second(frames).allow_burst(burst));
        Self { hub, peer, workers: Vec::new(), fronts: Fronts::default(), pace: Pace { rate, allowed: 0 } }
    }

    async fn read(mut self, mut stream: impl AsyncRead + Unpin) {
        tracing::debug!(peer = %self.peer, "producer connected");
        let mut buffer = Buffer::default();
        // When the frame that is now incomplete began.
        let mut partial_since = None;
        let ended = loop {
            let deadline = partial_since.map(|since: Instant| since + self.hub.config().frame_deadline);
            match read_some(&mut stream, buffer.room(), deadline).await {
                Ok(0) if buffer.is_empty() => break "closed",
                Err(Ended::Socket) if buffer.is_empty() => break "reset",
                Ok(0) | Err(Ended::Socket) => break "truncated",
                Ok(bytes) => {
                    self.hub.counters().bytes_in.inc_by(bytes as u64);
                    buffer.has_got(bytes);
                }
                Err(Ended::Deadline) => break "slow_frame",
            }
            let (taken, outcome) = self.take_frames(buffer.got()).await;
            buffer.drop_front(taken);
            match outcome {
                Ok(0) if !buffer.is_empty() => _ = partial_since.get_or_insert_with(Instant::now),
                Ok(_) if !buffer.is_empty() => partial_since = Some(Instant::now()),
                Ok(_) => partial_since = None,
                Err(length) => {
                    tracing::warn!(peer = %self.peer, length, "producer closed: no frame is that long");
                    break "frame_too_long";
                }
            }
        };
        if ended != "closed" && ended != "reset" {
            self.hub.counters().close(ended);
            self.hub.counters().reject(ended);
        }
        tracing::info!(peer = %self.peer, reason = ended, "producer gone");
    }

    /// Takes every whole frame at the front of `bytes`; gives how many bytes that were, and how many frames or the length that
    /// no frame has.
    async fn take_frames(&mut self, bytes: &[u8]) -> (usize, Result<usize, u32>) {
        let now_ns = self.hub.config().now_ns();
        let (mut taken, mut frames, mut left) = (0, 0, FRAMES_PER_TURN);
        let outcome = loop {
            let (length, known) = self.take_known(&bytes[taken..], left, now_ns);
            taken += length;
            frames += known;
            left -= known;
            if left == 0 {
                tokio::task::yield_now().await;
                left = FRAMES_PER_TURN;
                continue;
            }
            match front(&bytes[taken..], self.hub.config().frame_bytes_max) {
                Front::Partial => break Ok(frames),
                Front::TooLong(length) => break Err(length),
                Front::Whole(body, length) => {
                    if let Err(reason) = self.pace.allow().and_then(|()| self.take(body, now_ns)) {
                        refused(&self.hub, self.peer, reason);
                        if let RejectReason::BadName | RejectReason::LongName = reason {
                            self.note_name(body, now_ns);
                        }
                    }
                    taken += length;
                    frames += 1;
                    left -= 1;
                }
            }
        };
        (taken, outcome)
    }

    /// Takes frames off the front of `bytes` for as long as they are of series that this connection has sent before, `most` at
    /// most; gives how many bytes and frames. A log is locked once for all of them that follow one another.
    fn take_known(&mut self, bytes: &[u8], most: usize, now_ns: u64) -> (usize, usize) {
        let Self { hub, peer, workers, fronts, pace } = self;
        let (mut taken, mut frames) = (0, 0);
        let mut publishing: Option<(usize, Publishing<'_>)> = None;
        while frames < most
            && let Front::Whole(body, length) = front(&bytes[taken..], hub.config().frame_bytes_max)
            && let Some((begin, rest)) = parts(body)
            && let Some((worker, series)) = fronts.find(begin)
        {
            publishing.take_if(|(at, _)| *at != worker);
            let (_, log) = publishing.get_or_insert_with(|| (worker, hub.publishing(&workers[worker].0, now_ns)));
            match pace.allow().and_then(|()| counted(rest)) {
                Ok(counted) => {
                    if !log.counted(series, counted) {
                        // It was let go meanwhile. The frame is decoded, and its series gets another number.
                        break;
                    }
                }
                Err(reason) => refused(hub, *peer, reason),
            }
            taken += length;
            frames += 1;
        }
        (taken, frames)
    }

    fn take(&mut self, body: &[u8], now_ns: u64) -> Result<(), RejectReason> {
        match decode(body)? {
            Frame::Connect => Ok(()),
            Frame::Join { app, worker } => {
                let app = self.hub.app(app)?;
                tracing::info!(peer = %self.peer, app = app.name(), worker, "producer joined");
                worker.into_iter().for_each(|worker| self.speaks_for(&app, worker, now_ns));
                Ok(())
            }
            Frame::Metrics(metrics) => self.publish(body, &metrics, now_ns),
            Frame::OtherEvent => Err(RejectReason::OtherEvent),
        }
    }

    fn publish(&mut self, body: &[u8], metrics: &DataPoint<'_>, now_ns: u64) -> Result<(), RejectReason> {
        let known = |(app, worker): &(Arc<App>, String)| app.name() == metrics.app && worker == metrics.worker;
        if let Some(at) = self.workers.iter().position(known) {
            let series = self.hub.publish(&self.workers[at].0, metrics, now_ns)?;
            if let Some((begin, _)) = parts(body) {
                self.fronts.insert(begin, at, series);
            }
            return Ok(());
        }
        // A payload may come before its join, or for a worker that never joined.
        let app = self.hub.app(metrics.app)?;
        self.speaks_for(&app, metrics.worker, now_ns);
        self.hub.publish(&app, metrics, now_ns).map(drop)
    }

    /// Notes which name the frame in `body` was refused for, where whoever watches its application sees it.
    fn note_name(&self, body: &[u8], now_ns: u64) {
        if let Some((app, name, why)) = refused_name(body)
            && let Ok(app) = self.hub.app(app)
        {
            self.hub.refuse_name(&app, RefusedName { shown: shown_refused(name), why }, now_ns);
        }
    }

    fn speaks_for(&mut self, app: &Arc<App>, worker: &str, now_ns: u64) {
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

/// How many frames a producer may still send.
struct Pace {
    rate: DefaultDirectRateLimiter,
    /// Frames that the rate has allowed and that have not come yet.
    allowed: u32,
}

impl Pace {
    /// Takes one frame from what the rate allows.
    fn allow(&mut self) -> Result<(), RejectReason> {
        if self.allowed == 0 {
            self.allowed = match self.rate.check_n(FRAMES_PER_RATE) {
                Ok(Ok(())) => FRAMES_PER_RATE.get(),
                _ => u32::from(self.rate.check().is_ok()),
            };
        }
        self.allowed = self.allowed.checked_sub(1).ok_or(RejectReason::Rate)?;
        Ok(())
    }
}

/// Counts a frame that is dropped.
fn refused(hub: &Hub, peer: SocketAddr, reason: RejectReason) {
    hub.counters().reject(reason.as_str());
    tracing::debug!(%peer, reason = reason.as_str(), "frame refused");
}

/// What was read and is not taken yet.
struct Buffer {
    /// All of it has been written before, so that reading need not clear it.
    bytes: Vec<u8>,
    length: usize,
    /// Bytes to keep room for.
    room: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], length: 0, room: READ_BYTES }
    }
}

impl Buffer {
    fn got(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Room for the next read. What is there already counts, so that a steady stream is read into the same memory again and
    /// again.
    fn room(&mut self) -> &mut [u8] {
        let needed = self.room.max(self.length + READ_BYTES / 4);
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        &mut self.bytes[self.length..]
    }

    /// That many bytes were read into the room.
    fn has_got(&mut self, bytes: usize) {
        self.length += bytes;
        // A frame that has begun takes some of the room, so a read that fills it is not always that long. Seeing this saves a
        // third of the reads of a producer that never pauses.
        let is_busy = bytes >= READ_BYTES || self.length == self.bytes.len();
        self.room = if is_busy { BUSY_BYTES } else { READ_BYTES };
    }

    /// Drops that many bytes at the front. The room of a large frame, or of a busy moment, is given back.
    fn drop_front(&mut self, bytes: usize) {
        self.bytes.copy_within(bytes..self.length, 0);
        self.length -= bytes;
        self.bytes.truncate(self.room.max(self.length));
        self.bytes.shrink_to(self.room);
    }
}

/// Why there is nothing more to read.
enum Ended {
    Deadline,
    Socket,
}

async fn read_some(
    stream: &mut (impl AsyncRead + Unpin),
    room: &mut [u8],
    deadline: Option<Instant>,
) -> Result<usize, Ended> {
    let read = stream.read(room);
    match deadline {
        Some(deadline) => timeout_at(deadline, read).await.map_err(|_| Ended::Deadline)?,
        None => read.await,
    }
    .map_err(|_| Ended::Socket)
}

#[cfg(test)]
mod tests {
    use joey_shared::histogram::Histogram;

    use super::*;
    use crate::config::Config;
    use crate::demo::emitter;

    #[tokio::test]
    async fn a_series_that_was_let_go_gets_another_number_on_the_same_connection() {
        let hub = Arc::new(Hub::new(Config::default(), 7));
        let mut producer = Producer::new(hub.clone(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let (period_ns, end_ns) = (1_000_000_000, hub.config().now_ns());
        let frame = |name| {
            let [app, category, worker, pipeline] = ["App", "computation", "w", "p"];
            let histogram = Histogram::default();
            emitter::metrics(&DataPoint { app, name, category, worker, pipeline, id: 1, histogram, period_ns, end_ns })
        };
        let frames = [emitter::join("App", "w"), frame("a"), frame("b"), frame("a"), frame("b")].concat();
        assert_eq!(producer.take_frames(&frames).await, (frames.len(), Ok(5)));
        hub.evict_old(end_ns + hub.series_ns() + 1_000_000_000);
        assert_eq!((hub.gauges(0).series, hub.counters().series_let_go.get()), (0, 2));
        for _ in 0..2 {
            assert_eq!(producer.take_frames(&frames).await, (frames.len(), Ok(5)));
        }
        assert_eq!((hub.gauges(0).series, hub.counters().accepted.get()), (2, 12));
        let log = hub.own("App").unwrap();
        assert_eq!(log.names_since(0, |_| true).1, 4, "both were added twice");
    }
}
