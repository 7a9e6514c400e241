//! Joey's own ingest protocol, with acknowledgements. `docs/emit-protocol.md` is its specification, `joey_shared::emit`
//! its codec.
//!
//! The relay acknowledges data as soon as it is in the log, before viewers can receive it. So if the relay is killed, either the
//! producer knows that the data arrived, or no viewer has seen it, and it can be sent to the restarted relay. With a journal it
//! acknowledges data that is on disk, and the restarted relay knows from its journal what that was. The sequence number
//! of a session prevents that data counts twice if only the connection was lost.
//!
//! A message or histogram that cannot be used is rejected, counted, and reported to the producer. As for other formats, the task
//! never stops reading because of what it has read.

mod announced;
mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use joey_shared::emit::{
    Data, HEADER_BYTES, HELLO_BYTES_MAX, Hello, MAGIC, Message, Origin, Reply, Session, VERSION, entries, next_frame,
};
use joey_shared::histogram::Histogram;
use joey_shared::series::{check_name, escape_name};
use joey_shared::wire::{RejectedName, span_of};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::announced::{Announced, AnnouncedSeries, Announcement};
use self::sessions::LastSeq;
pub use self::sessions::Sessions;
use super::buffer::{Buffer, ReadError};
use super::rate_limit::FrameRateLimit;
use super::wallaroo::check_times;
use crate::auth::Auth;
use crate::data_point::{Counts, DataPoint};
use crate::hub::{App, Hub, Mark, Publisher};
use crate::metrics::{CloseReason, RejectReason};

/// Maximum time for which a connection that the relay closes stays open, so that the producer reads the last replies. If it were
/// closed with unread data, the kernel would send a reset, which may overtake them.
const LINGER: Duration = Duration::from_secs(1);
/// Messages processed before the task yields to others.
const MESSAGES_PER_YIELD: usize = 64;

/// The connection of a producer. Dropping it reports to the hub that the worker has left.
pub struct Producer {
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    sessions: Arc<Sessions>,
    peer: SocketAddr,
    rate_limit: FrameRateLimit,
    has_preamble: bool,
    joined: Option<Joined>,
    /// Replies that are not written yet.
    replies: Vec<u8>,
    /// The newest sequence number that was acknowledged on this connection.
    acknowledged: u64,
}

/// What the relay knows after `Hello`.
struct Joined {
    app: Arc<App>,
    worker: String,
    origin: Origin,
    session: Session,
    last_seq: LastSeq,
    announced: Announced,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The producer has closed it, or it has failed between two messages.
    Closed,
    /// The relay is stopping, or the producer's network is no longer allowed.
    Stopped,
    /// The relay refuses it, with a reply.
    Refused(CloseReason),
    /// The rest of the stream cannot be decoded, or the replies cannot be written.
    Failed(CloseReason),
}

/// The histograms of a data message that were rejected, by reason.
#[derive(Default)]
struct Rejections(Vec<(RejectReason, u32, u64)>);

impl Rejections {
    /// Adds a histogram with `count` durations.
    fn add(&mut self, reason: RejectReason, count: u128) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if let Some((_, histograms, total)) = self.0.iter_mut().find(|(other, ..)| *other == reason) {
            (*histograms, *total) = (histograms.saturating_add(1), total.saturating_add(count));
        } else {
            self.0.push((reason, 1, count));
        }
    }
}

impl Producer {
    /// A connection from `peer`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, auth: Arc<Auth>, sessions: Arc<Sessions>, peer: SocketAddr) -> Self {
        let rate_limit = FrameRateLimit::new(hub.config().frames_per_sec_max);
        let (has_preamble, joined, replies, acknowledged) = (false, None, Vec::new(), 0);
        Self { hub, auth, sessions, peer, rate_limit, has_preamble, joined, replies, acknowledged }
    }

    /// Serves the connection, whose first bytes may be in `buffer`, until it ends or `closing` is cancelled.
    pub(super) async fn serve(
        mut self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        mut buffer: Buffer,
        closing: &CancellationToken,
    ) {
        let end = self.exchange(&mut stream, &mut buffer, closing).await;
        if end == End::Stopped {
            // If it takes too long or fails, the producer sends the data again, and the session is known.
            let _ = timeout(LINGER, self.acknowledge_rest(&mut stream)).await;
        }
        let (peer, counters) = (self.peer, self.hub.counters());
        let reason = match end {
            End::Closed => "closed",
            End::Stopped => "stopped",
            End::Refused(reason) | End::Failed(reason) => {
                counters.close(reason);
                if let CloseReason::Frame(reason) = reason {
                    counters.reject(reason);
                }
                reason.as_str()
            }
        };
        tracing::info!(%peer, reason, "producer disconnected");
        drop(self);
        if end != End::Closed {
            // If it takes too long or fails, the producer has closed the connection, or does not read.
            let _ = timeout(LINGER, close(&mut stream)).await;
        }
    }

    async fn exchange(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buffer: &mut Buffer,
        closing: &CancellationToken,
    ) -> End {
        let frame_timeout = self.hub.config().frame_timeout;
        // When the incomplete message at the end of the buffer began. The first one has to follow the preamble.
        let mut partial_since = Some(Instant::now());
        loop {
            self.acknowledge();
            if let Err(end) = self.write_replies(stream).await {
                return end;
            }
            let (mut consumed, mut messages) = (0, 0_usize);
            let now_ns = self.hub.config().now_ns();
            let outcome = loop {
                if self.joined.is_none() {
                    let fetch_key = self.fetch_key(&buffer.filled()[consumed..]);
                    if closing.run_until_cancelled(fetch_key).await.is_none() {
                        return End::Stopped;
                    }
                }
                match self.process(&buffer.filled()[consumed..], now_ns) {
                    Ok(Some(length)) => consumed += length,
                    Ok(None) => break None,
                    Err(end) => break Some(end),
                }
                messages += 1;
                if let Err(end) = self.write_replies(stream).await {
                    break Some(end);
                }
                if messages.is_multiple_of(MESSAGES_PER_YIELD) {
                    tokio::task::yield_now().await;
                }
            };
            buffer.consume(consumed);
            if let Some(end) = outcome {
                if let End::Refused(_) = end {
                    // If it fails, the producer has closed the connection.
                    let _ = timeout(LINGER, stream.write_all(&self.replies)).await;
                }
                return end;
            }
            partial_since = match partial_since {
                Some(since) if self.joined.is_none() || (messages == 0 && !buffer.is_empty()) => Some(since),
                _ => (!buffer.is_empty()).then(Instant::now),
            };
            let deadline = partial_since.map(|since| since + frame_timeout);
            let read = self.read_unless_safe(stream, buffer, deadline);
            match closing.run_until_cancelled(read).await {
                None => return End::Stopped,
                Some(None) => {}
                Some(Some(Ok(0) | Err(ReadError::Socket))) if buffer.is_empty() => return End::Closed,
                Some(Some(Ok(0) | Err(ReadError::Socket))) => {
                    return End::Failed(CloseReason::Frame(RejectReason::Truncated));
                }
                Some(Some(Ok(bytes))) => _ = self.hub.counters().ingest_bytes.inc_by(bytes as u64),
                Some(Some(Err(ReadError::Timeout))) => {
                    return End::Failed(CloseReason::Frame(RejectReason::FrameTimeout));
                }
            }
        }
    }

    /// Writes the replies. It is not cancelled meanwhile: what is safe has to be acknowledged.
    async fn write_replies(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
        if self.replies.is_empty() {
            return Ok(());
        }
        match timeout(self.hub.config().frame_timeout, stream.write_all(&self.replies)).await {
            Ok(Ok(())) => self.replies.clear(),
            Ok(Err(_)) => return Err(End::Closed),
            Err(_) => return Err(End::Failed(CloseReason::AckTimeout)),
        }
        Ok(())
    }

    /// Acknowledges what has become safe.
    fn acknowledge(&mut self) {
        let safe = self.joined.as_ref().map_or(0, |joined| joined.last_seq.safe.get());
        if safe > self.acknowledged {
            self.acknowledged = safe;
            self.replies.extend(Reply::Ack { seq: safe }.to_frame());
        }
    }

    /// Waits until everything that was received is safe, and acknowledges it.
    async fn acknowledge_rest(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
        let Some(last_seq) = self.joined.as_ref().map(|joined| joined.last_seq.clone()) else { return Ok(()) };
        let received = *last_seq.lock();
        let mut safe = last_seq.safe.subscribe();
        // The sender is in `last_seq`, so this cannot fail.
        let _ = safe.wait_for(|safe| *safe >= received).await;
        self.acknowledge();
        self.write_replies(stream).await
    }

    /// Reads some bytes, unless something that is not acknowledged becomes safe earlier.
    async fn read_unless_safe(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Buffer,
        deadline: Option<Instant>,
    ) -> Option<Result<usize, ReadError>> {
        let Some(joined) = self.joined.as_ref().filter(|_| self.hub.journal().is_some()) else {
            return Some(buffer.read_from(stream, deadline).await);
        };
        let mut safe = joined.last_seq.safe.subscribe();
        if *safe.borrow_and_update() > self.acknowledged {
            return None;
        }
        tokio::select! {
            read = buffer.read_from(stream, deadline) => Some(read),
            _ = safe.changed() => None,
        }
    }

    /// If `bytes` begin with a greeting whose token may be signed with a key unknown so far, waits for the keys to be fetched.
    async fn fetch_key(&self, bytes: &[u8]) {
        if self.has_preamble
            && let Ok(Some(body)) = next_frame(bytes, HELLO_BYTES_MAX)
            && let Ok(Message::Hello(Hello { token: Some(token), .. })) = Message::decode(body)
        {
            self.auth.fetch_key_of(token).await;
        }
    }

    /// Processes the preamble or the message at the start of `bytes`. Returns its length, or `None` if it is incomplete.
    fn process(&mut self, bytes: &[u8], now_ns: u64) -> Result<Option<usize>, End> {
        if !self.has_preamble {
            let Some(version) = bytes.get(MAGIC.len()) else { return Ok(None) };
            self.has_preamble = true;
            return if *version == VERSION {
                Ok(Some(MAGIC.len() + 1))
            } else {
                Err(self.refuse(CloseReason::UnsupportedVersion))
            };
        }
        let longest = if self.joined.is_some() { self.hub.config().frame_bytes_max } else { HELLO_BYTES_MAX };
        let Ok(frame) = next_frame(bytes, longest) else {
            tracing::warn!(peer = %self.peer, "producer closed: the message exceeds the length limit");
            return Err(End::Failed(CloseReason::Frame(RejectReason::FrameTooLong)));
        };
        let Some(body) = frame else { return Ok(None) };
        match (Message::decode(body), &mut self.joined) {
            (Ok(Message::Hello(hello)), None) => {
                self.join(&hello, now_ns).map_err(|reason| self.refuse(reason))?;
            }
            (_, None) => return Err(self.refuse(CloseReason::Frame(RejectReason::BadMessage))),
            (Ok(Message::Series(series)), Some(joined)) => {
                match joined.announced.add(&series, joined.origin, self.hub.config().series_per_app_max) {
                    Announcement::Taken => {}
                    Announcement::BadName(name, reason) => {
                        let escaped = escape_name(name.as_bytes());
                        self.hub.reject_name(&joined.app, RejectedName { escaped, reason }, now_ns);
                    }
                    Announcement::BadNumber => self.reject_message(),
                }
            }
            (Ok(Message::Data(data)), Some(_)) => {
                let hub = self.hub.clone();
                hub.timings().ingest.time(|| self.receive(&data, now_ns));
            }
            (Ok(Message::Hello(_)) | Err(_), Some(_)) => self.reject_message(),
        }
        Ok(Some(HEADER_BYTES + body.len()))
    }

    fn join(&mut self, hello: &Hello<'_>, now_ns: u64) -> Result<(), CloseReason> {
        let name = |name: &str| check_name(name.as_bytes()).map(drop).map_err(RejectReason::from);
        let named = if hello.app.is_empty() { Err(RejectReason::BadTopic) } else { name(hello.app) };
        named.and_then(|()| name(hello.worker)).map_err(CloseReason::Frame)?;
        if let Some(token) = hello.token {
            self.auth.policy().check_producer_token(token, hello.app)?;
        }
        let app = self.hub.app(hello.app).map_err(CloseReason::Frame)?;
        let (last_seq, has_evicted) = self.sessions.open(hello.session, now_ns);
        self.hub.counters().sessions_evicted.inc_by(u64::from(has_evicted));
        self.hub.worker_joined(&app, hello.worker, now_ns);
        tracing::info!(peer = %self.peer, app = hello.app, worker = hello.worker, "producer joined");
        let frame_bytes_max = u32::try_from(self.hub.config().frame_bytes_max).unwrap_or(u32::MAX);
        // The rest has arrived, but would be lost if the relay were killed now.
        let safe = last_seq.safe.get();
        self.replies.extend(Reply::Welcome { last_seq: safe, frame_bytes_max }.to_frame());
        self.acknowledged = safe;
        let (worker, origin, session) = (hello.worker.to_owned(), hello.origin, hello.session);
        self.joined = Some(Joined { app, worker, origin, session, last_seq, announced: Announced::default() });
        Ok(())
    }

    fn refuse(&mut self, reason: CloseReason) -> End {
        self.replies.extend(Reply::Refused { reason: reason.as_str() }.to_frame());
        End::Refused(reason)
    }

    /// Rejects a message that cannot be decoded, or has no meaning here.
    fn reject_message(&mut self) {
        let reason = RejectReason::BadMessage;
        super::reject(&self.hub, self.peer, reason);
        let seq = self.joined.as_ref().map_or(0, |joined| *joined.last_seq.lock());
        let rejected = Reply::Rejected { seq, histograms: 1, count: 0, reason: reason.as_str() };
        self.replies.extend(rejected.to_frame());
    }

    /// Publishes the histograms of `data`, unless they arrived earlier in this session, and acknowledges them.
    fn receive(&mut self, data: &Data<'_>, now_ns: u64) {
        let Self { hub, joined: Some(joined), rate_limit, replies, peer, acknowledged, .. } = self else { return };
        let session = joined.last_seq.clone();
        let mut last_seq = session.lock();
        if data.seq <= *last_seq {
            hub.counters().data_duplicates.inc();
            *acknowledged = session.safe.get();
            replies.extend(Reply::Ack { seq: *acknowledged }.to_frame());
        } else {
            // If publishing panics, the message is lost. Otherwise the producer would send it again and again.
            *last_seq = data.seq;
            for (reason, histograms, count) in publish(hub, joined, rate_limit, data, now_ns).0 {
                (0..histograms).for_each(|_| super::reject(hub, *peer, reason));
                let rejected = Reply::Rejected { seq: data.seq, histograms, count, reason: reason.as_str() };
                replies.extend(rejected.to_frame());
            }
        }
        drop(last_seq);
        self.acknowledge();
    }
}

/// Publishes the histograms of `data`. Returns those that were rejected.
fn publish(
    hub: &Hub,
    joined: &mut Joined,
    rate_limit: &mut FrameRateLimit,
    data: &Data<'_>,
    now_ns: u64,
) -> Rejections {
    let Joined { app, worker, announced, session, last_seq, .. } = joined;
    let mut rejections = Rejections::default();
    let series_max = hub.config().series_per_app_max;
    let times = check_times(data.period_ns, data.end_ns);
    let mut log = hub.publisher(app, now_ns);
    log.begin_whole();
    for entry in entries(data.entries) {
        let Ok((number, histogram)) = entry else {
            rejections.add(RejectReason::BadMessage, 0);
            break;
        };
        let count = histogram.count();
        let series = rate_limit.check().and(times).and_then(|()| announced.get(number, series_max));
        let published = series.and_then(|series| publish_one(&mut log, app, worker, series, data, histogram));
        if let Err(reason) = published {
            rejections.add(reason, count);
        }
    }
    log.finish(worker, Mark { session: Some(*session), seq: data.seq, safe: last_seq.safe.clone() });
    rejections
}

fn publish_one(
    log: &mut Publisher<'_>,
    app: &App,
    worker: &str,
    series: &mut AnnouncedSeries,
    data: &Data<'_>,
    histogram: Histogram,
) -> Result<(), RejectReason> {
    let Data { period_ns, end_ns, .. } = *data;
    if let Some(number) = series.number
        && log.publish_known(number, Counts { span: span_of(&histogram), period_ns, end_ns })
    {
        return Ok(());
    }
    // The series is new in this log, or has expired.
    let [category, pipeline, name] = series.names();
    let (app, id, provenance) = (app.name(), series.id, series.provenance);
    let point = DataPoint { app, name, category, worker, pipeline, id, provenance, histogram, period_ns, end_ns };
    let number = log.publish(&point)?;
    series.number = Some(number);
    Ok(())
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(Joined { app, worker, session, last_seq, .. }) = self.joined.take() {
            let now_ns = self.hub.config().now_ns();
            let has_evicted = self.sessions.close(session, last_seq, now_ns);
            self.hub.counters().sessions_evicted.inc_by(u64::from(has_evicted));
            self.hub.worker_left(&app, &worker, now_ns);
        }
    }
}

/// Closes the sending side, and discards what still arrives until the producer closes as well.
async fn close(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut discarded = [0; 4096];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests;
