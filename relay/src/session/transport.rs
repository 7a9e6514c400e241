//! Transport of one viewer's messages: a WebSocket, or, for networks that block WebSockets, the body of one HTTP
//! response and separate requests for commands.
//!
//! Both buffer little. Messages are queued and written at the end of a turn. Until the write is complete, nothing more
//! is queued or received. A connection that makes no progress for too long is closed.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use joey_shared::close;
use joey_shared::stream::{encode_notice, record_header};
use joey_shared::wire::CLIENT_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::{CancellationToken, PollSender};

use super::Ended;
use super::idle::SessionHandle;
use super::websocket::Socket;
use crate::metrics::CloseReason;
use crate::net::counted_io::BytesWritten;
use crate::net::ws_frame::WsFrame;

/// Maximum number of commands that wait for a stream's session. Further requests wait as well.
const COMMANDS_MAX: usize = 16;
/// How long a viewer may take to receive the close reason.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Transport of one viewer.
#[derive(Debug)]
pub struct Transport {
    handle: Arc<SessionHandle>,
    /// `None` if the handle has a socket.
    stream: Option<Box<Stream>>,
}

/// Sender of commands for a stream. An error ends the session.
pub type CommandSender = mpsc::Sender<Result<Bytes, Ended>>;

/// The session's end of a stream. Dropping it aborts the connection unless the stream has ended properly.
struct Stream {
    queued: BytesMut,
    messages: PollSender<Bytes>,
    /// Completes when the receiver of messages is gone.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    commands: mpsc::Receiver<Result<Bytes, Ended>>,
    connection: CancellationToken,
    /// Counts the bytes that the connection has written.
    written: BytesWritten,
    is_over: bool,
}

/// The HTTP side of a stream: the response body and the sender of commands.
#[derive(Debug)]
pub struct StreamHandle {
    /// Chunks of the body.
    pub messages: mpsc::Receiver<Bytes>,
    /// Sender for received commands.
    pub commands: CommandSender,
}

/// Why a write failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteFailure {
    /// The viewer disconnected, or its connection failed.
    Gone,
    /// No progress for too long.
    Stalled,
}

impl Transport {
    /// Creates a WebSocket transport.
    #[must_use]
    pub fn socket(socket: Socket) -> Self {
        Self { handle: Arc::new(SessionHandle::new(Some(socket))), stream: None }
    }

    /// Creates a stream transport over the connection that counts into `written` and is closed by `connection`.
    #[must_use]
    pub fn stream(written: BytesWritten, connection: CancellationToken) -> (Self, StreamHandle) {
        // One chunk waits while the next one is queued. More would only add delay.
        let (messages, peer_messages) = mpsc::channel(1);
        let (peer_commands, commands) = mpsc::channel(COMMANDS_MAX);
        let watched_messages = messages.clone();
        let stream = Stream {
            queued: BytesMut::new(),
            messages: PollSender::new(messages),
            closed: Box::pin(async move { watched_messages.closed().await }),
            commands,
            connection,
            written,
            is_over: false,
        };
        let peer = StreamHandle { messages: peer_messages, commands: peer_commands };
        (Self { handle: Arc::new(SessionHandle::new(None)), stream: Some(Box::new(stream)) }, peer)
    }

    /// Handle that the session shares with the broadcast task.
    pub(super) const fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }

    /// Receives the next command, or `None` for a control message, or the end. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Result<Option<Bytes>, Ended> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Ended>> {
        if let Some(stream) = &mut self.stream {
            if stream.closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Ended::Gone));
            }
            return stream.commands.poll_recv(context).map(|command| command.unwrap_or(Err(Ended::Gone)).map(Some));
        }
        let Some(mut socket) = self.handle.socket() else { return Poll::Ready(Err(Ended::Gone)) };
        Poll::Ready(match ready!(socket.poll_message(context)) {
            Ok(Message::Binary(bytes)) if bytes.len() > CLIENT_BYTES_MAX => {
                Err(Ended::Close(close::TOO_BIG, CloseReason::TooBig))
            }
            Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
            Ok(Message::Text(_)) => Err(Ended::Close(close::NOT_BINARY, CloseReason::NotBinary)),
            // The answer to a ping is sent with the next write.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Ok(Message::Close(_)) => {
                // Send the answering close frame as far as there is room.
                let _ = socket.poll_drain(context);
                drop(socket);
                // Nothing may be sent after it.
                self.handle.leave_idle();
                Err(Ended::Gone)
            }
            Err(_) => Err(Ended::Gone),
        })
    }

    /// Queues one message. [`Transport::flush`] writes it.
    pub(super) fn push(&mut self, frame: &WsFrame) {
        if let Some(stream) = &mut self.stream {
            stream.queued.put_slice(&record_header(frame.len()));
            stream.queued.put_slice(frame);
        } else if let Some(mut socket) = self.handle.socket() {
            socket.push(frame);
        }
    }

    /// Queues a ping. Returns `false` if the transport has no pings; a stream is only checked by writing to it.
    pub(super) fn ping(&mut self) -> bool {
        let ping = Message::Ping(Bytes::new());
        // The same error occurs at the next read or write.
        self.handle.socket().is_some_and(|mut socket| socket.push_message(ping).is_ok())
    }

    /// Writes the queue as long as the connection accepts some bytes within every `stall`.
    pub(super) async fn flush(&mut self, stall: Duration) -> Result<(), WriteFailure> {
        let first_try = poll_fn(|context| Poll::Ready(self.poll_drain(context))).await;
        match first_try {
            Poll::Ready(outcome) => outcome,
            // This is rare, so its state is on the heap. It would be a quarter of the size of a viewer's task.
            Poll::Pending => Box::pin(self.drain_slowly(stall)).await,
        }
    }

    /// Writes the queue to a slow viewer. This may take longer than `stall` as long as there is progress.
    async fn drain_slowly(&mut self, stall: Duration) -> Result<(), WriteFailure> {
        let (mut bytes, mut moved) = (self.written(), Instant::now());
        loop {
            if let Ok(outcome) = timeout(stall / 8, poll_fn(|context| self.poll_drain(context))).await {
                return outcome;
            }
            if self.written() > bytes {
                (bytes, moved) = (self.written(), Instant::now());
            } else if moved.elapsed() >= stall {
                return Err(WriteFailure::Stalled);
            }
        }
    }

    /// Number of bytes that the connection has accepted.
    fn written(&self) -> u64 {
        match &self.stream {
            Some(stream) => stream.written.bytes(),
            None => self.handle.socket().map_or(0, |socket| socket.written()),
        }
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteFailure>> {
        if let Some(stream) = &mut self.stream {
            return stream.poll_drain(context);
        }
        let Some(mut socket) = self.handle.socket() else { return Poll::Ready(Ok(())) };
        socket.poll_drain(context).map_err(|_| WriteFailure::Gone)
    }

    /// Closes the connection with a reason, if the viewer accepts it in time.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        let closing = async {
            if let Some(mut stream) = self.stream.take() {
                stream.queued.put_slice(&encode_notice(code, reason));
                let is_sent = poll_fn(|context| stream.poll_drain(context)).await.is_ok();
                // When there is room again, the connection has taken the notice.
                stream.is_over = is_sent && poll_fn(|context| stream.messages.poll_reserve(context)).await.is_ok();
                return;
            }
            if let Some(mut socket) = self.handle.socket() {
                // The same error occurs at the next write.
                socket.push_close(code, reason).ok();
            }
            if poll_fn(|context| self.poll_drain(context)).await.is_ok() {
                // The viewer's close frame completes the closing handshake.
                while poll_fn(|context| self.poll_message(context)).await.is_ok() {}
            }
        };
        timeout(CLOSE_TIMEOUT, closing).await.ok();
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        self.handle.socket().map_or(Poll::Ready(Err(Error::AlreadyClosed)), |mut socket| socket.poll_message(context))
    }
}

impl Stream {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteFailure>> {
        if !self.queued.is_empty() {
            // Keep the queue until there is room.
            ready!(self.messages.poll_reserve(context)).map_err(|_| WriteFailure::Gone)?;
            self.messages.send_item(self.queued.split().freeze()).map_err(|_| WriteFailure::Gone)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.cancel();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
