//! What carries one viewer's messages: a WebSocket, or, where a network lets none through, the body of one HTTP answer and
//! the requests that bring commands.
//!
//! Both hold little: what is to be said is gathered, written when a turn is over, and nothing more is gathered or heard until
//! it has gone. What has not moved at all for too long is given up.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use joey_shared::close;
use joey_shared::stream::{head, notice};
use joey_shared::wire::CLIENT_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::{CancellationToken, PollSender};

use super::Ended;
use super::idle::Line;
use super::websocket::Socket;
use crate::metrics::CloseReason;
use crate::net::counted_io::BytesWritten;
use crate::net::ws_frame::WsFrame;

/// Commands that may wait for a stream's session; who brings one more waits as well.
const COMMANDS_MAX: usize = 16;
/// How long a viewer may take to hear why it is sent away.
const GOODBYE: Duration = Duration::from_secs(1);

/// What carries one viewer's messages.
#[derive(Debug)]
pub struct Transport {
    line: Arc<Line>,
    /// Where the line has no socket.
    stream: Option<Box<Stream>>,
}

/// Where commands for a stream go. One that could not be read is the end.
pub type Commands = mpsc::Sender<Result<Bytes, Ended>>;

/// The session's end of a stream. Dropping it ends the connection, unless everything was said.
struct Stream {
    gathered: BytesMut,
    messages: PollSender<Bytes>,
    /// Ready when nobody takes messages any more.
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    commands: mpsc::Receiver<Result<Bytes, Ended>>,
    connection: CancellationToken,
    /// What the connection has written.
    written: BytesWritten,
    is_over: bool,
}

/// The other end of a stream: the body of an answer, and the way in for commands.
#[derive(Debug)]
pub struct Far {
    /// The body, piece by piece.
    pub messages: mpsc::Receiver<Bytes>,
    /// From whoever brings commands.
    pub commands: Commands,
}

/// Why a write did not succeed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// The viewer has left, or its connection failed.
    Gone,
    /// Nothing moved for too long.
    Stalled,
}

impl Transport {
    /// A WebSocket.
    #[must_use]
    pub fn socket(socket: Socket) -> Self {
        Self { line: Arc::new(Line::new(Some(socket))), stream: None }
    }

    /// A stream over the connection that counts in `written` and ends with `connection`.
    #[must_use]
    pub fn stream(written: BytesWritten, connection: CancellationToken) -> (Self, Far) {
        // One piece waits while one is gathered; more would only be older when it arrives.
        let (messages, far_messages) = mpsc::channel(1);
        let (far_commands, commands) = mpsc::channel(COMMANDS_MAX);
        let far_end = messages.clone();
        let stream = Stream {
            gathered: BytesMut::new(),
            messages: PollSender::new(messages),
            closed: Box::pin(async move { far_end.closed().await }),
            commands,
            connection,
            written,
            is_over: false,
        };
        let far = Far { messages: far_messages, commands: far_commands };
        (Self { line: Arc::new(Line::new(None)), stream: Some(Box::new(stream)) }, far)
    }

    /// What the session shares with whoever hands out what is new.
    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The next command, nothing where something else has come, or the end. May be given up and asked for again.
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
        let Some(mut socket) = self.line.socket() else { return Poll::Ready(Err(Ended::Gone)) };
        Poll::Ready(match ready!(socket.poll_message(context)) {
            Ok(Message::Binary(bytes)) if bytes.len() > CLIENT_BYTES_MAX => {
                Err(Ended::Close(close::TOO_BIG, CloseReason::TooBig))
            }
            Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
            Ok(Message::Text(_)) => Err(Ended::Close(close::NOT_BINARY, CloseReason::NotBinary)),
            // The answer to a ping is written with whatever comes next.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Ok(Message::Close(_)) => {
                // The answer to a goodbye: as much of it as there is room for.
                let _ = socket.poll_drain(context);
                drop(socket);
                // Nothing may follow it.
                self.line.stand_down();
                Err(Ended::Gone)
            }
            Err(_) => Err(Ended::Gone),
        })
    }

    /// Gathers one message, which [`Transport::flush`] writes.
    pub(super) fn push(&mut self, frame: &WsFrame) {
        if let Some(stream) = &mut self.stream {
            stream.gathered.put_slice(&head(frame.len()));
            stream.gathered.put_slice(frame);
        } else if let Some(mut socket) = self.line.socket() {
            socket.push(frame);
        }
    }

    /// Asks the viewer for a sign of life; says whether there is a way to ask. Who reads a stream is asked by nothing but what
    /// is written to it.
    pub(super) fn ping(&mut self) -> bool {
        let ping = Message::Ping(Bytes::new());
        // What fails here fails when it is read or written too.
        self.line.socket().is_some_and(|mut socket| socket.push_message(ping).is_ok())
    }

    /// Writes what was gathered, for as long as the connection takes something every `stall`.
    pub(super) async fn flush(&mut self, stall: Duration) -> Result<(), Failure> {
        let at_once = poll_fn(|context| Poll::Ready(self.poll_drain(context))).await;
        match at_once {
            Poll::Ready(outcome) => outcome,
            // Seldom, and so on the heap: what it needs would be a quarter of a viewer's task.
            Poll::Pending => Box::pin(self.moving(stall)).await,
        }
    }

    /// A long message may take a slow viewer longer than `stall`, as long as it moves.
    async fn moving(&mut self, stall: Duration) -> Result<(), Failure> {
        let (mut bytes, mut moved) = (self.written(), Instant::now());
        loop {
            if let Ok(outcome) = timeout(stall / 8, poll_fn(|context| self.poll_drain(context))).await {
                return outcome;
            }
            if self.written() > bytes {
                (bytes, moved) = (self.written(), Instant::now());
            } else if moved.elapsed() >= stall {
                return Err(Failure::Stalled);
            }
        }
    }

    /// Bytes that the connection has taken.
    fn written(&self) -> u64 {
        match &self.stream {
            Some(stream) => stream.written.bytes(),
            None => self.line.socket().map_or(0, |socket| socket.written()),
        }
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Some(stream) = &mut self.stream {
            return stream.poll_drain(context);
        }
        let Some(mut socket) = self.line.socket() else { return Poll::Ready(Ok(())) };
        socket.poll_drain(context).map_err(|_| Failure::Gone)
    }

    /// Ends the connection with a reason, if the viewer takes it in time.
    pub(super) async fn say_goodbye(mut self, code: u16, reason: &'static str) {
        let goodbye = async {
            if let Some(mut stream) = self.stream.take() {
                stream.gathered.put_slice(&notice(code, reason));
                let said = poll_fn(|context| stream.poll_drain(context)).await.is_ok();
                // Once there is room again, the connection has taken it.
                stream.is_over = said && poll_fn(|context| stream.messages.poll_reserve(context)).await.is_ok();
                return;
            }
            if let Some(mut socket) = self.line.socket() {
                // What fails here fails when it is written too.
                socket.push_close(code, reason).ok();
            }
            if poll_fn(|context| self.poll_drain(context)).await.is_ok() {
                // The viewer's own close frame ends the conversation in order.
                while poll_fn(|context| self.poll_message(context)).await.is_ok() {}
            }
        };
        timeout(GOODBYE, goodbye).await.ok();
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        self.line.socket().map_or(Poll::Ready(Err(Error::AlreadyClosed)), |mut socket| socket.poll_message(context))
    }
}

impl Stream {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.gathered.is_empty() {
            // What is gathered stays until there is room.
            ready!(self.messages.poll_reserve(context)).map_err(|_| Failure::Gone)?;
            self.messages.send_item(self.gathered.split().freeze()).map_err(|_| Failure::Gone)?;
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
