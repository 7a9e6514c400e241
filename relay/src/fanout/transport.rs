//! What carries one viewer's messages: a WebSocket, or, where a network lets none through, the body of one HTTP answer and
//! the requests that bring commands.
//!
//! Both hold little: a write waits until there is room, and what has not moved at all for too long is given up.

use std::pin::pin;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::SinkExt as _;
use joey_shared::close;
use joey_shared::stream::{head, notice};
use joey_shared::wire::CLIENT_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Ended;
use crate::metered::Written;

/// Bytes of a stream gathered before a write.
const WRITE_BYTES: usize = 16 * 1024;
/// Commands that may wait for a stream's session; who brings one more waits as well.
const COMMANDS_MAX: usize = 16;
/// How long a viewer may take to hear why it is sent away.
const GOODBYE: Duration = Duration::from_secs(1);

/// What carries one viewer's messages.
#[derive(Debug)]
pub struct Transport {
    way: Way,
    written: Written,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every viewer has a socket")]
enum Way {
    Socket(WebSocket),
    Stream(Stream),
}

/// Where commands for a stream go. One that could not be read is the end.
pub type Commands = mpsc::Sender<Result<Bytes, Ended>>;

/// The session's end of a stream. Dropping it ends the connection, unless everything was said.
#[derive(Debug)]
struct Stream {
    gathered: BytesMut,
    messages: mpsc::Sender<Bytes>,
    commands: mpsc::Receiver<Result<Bytes, Ended>>,
    connection: CancellationToken,
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
pub(super) enum Failure {
    /// The viewer has left, or its connection failed.
    Gone,
    /// Nothing moved for too long.
    Stalled,
}

impl Transport {
    /// A WebSocket, and the count of what its connection has written.
    #[must_use]
    pub const fn socket(socket: WebSocket, written: Written) -> Self {
        Self { way: Way::Socket(socket), written }
    }

    /// A stream over the connection that counts in `written` and ends with `connection`.
    #[must_use]
    pub fn stream(written: Written, connection: CancellationToken) -> (Self, Far) {
        // One piece waits while one is gathered; more would only be older when it arrives.
        let (messages, far_messages) = mpsc::channel(1);
        let (far_commands, commands) = mpsc::channel(COMMANDS_MAX);
        let stream = Stream { gathered: BytesMut::new(), messages, commands, connection, is_over: false };
        let far = Far { messages: far_messages, commands: far_commands };
        (Self { way: Way::Stream(stream), written }, far)
    }

    /// The next command, nothing where something else has come, or the end. May be given up and asked for again.
    pub(super) async fn recv(&mut self) -> Result<Option<Bytes>, Ended> {
        match &mut self.way {
            Way::Socket(socket) => match socket.recv().await {
                Some(Ok(Message::Binary(bytes))) if bytes.len() > CLIENT_BYTES_MAX => {
                    Err(Ended::Close(close::TOO_BIG, "too_big"))
                }
                Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
                Some(Ok(Message::Text(_))) => Err(Ended::Close(close::NOT_BINARY, "not_binary")),
                // The library answers pings.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
                Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ended::Gone),
            },
            Way::Stream(stream) => tokio::select! {
                () = stream.messages.closed() => Err(Ended::Gone),
                command = stream.commands.recv() => command.unwrap_or(Err(Ended::Gone)).map(Some),
            },
        }
    }

    /// Hands one message to the buffer, which is written when it holds enough.
    pub(super) async fn feed(&mut self, message: Bytes, stall: Duration) -> Result<(), Failure> {
        match &mut self.way {
            Way::Socket(socket) => moving(socket.feed(Message::Binary(message)), &self.written, stall).await,
            Way::Stream(stream) => {
                stream.gathered.put_slice(&head(message.len()));
                stream.gathered.put_slice(&message);
                if stream.gathered.len() < WRITE_BYTES {
                    return Ok(());
                }
                moving(stream.flush(), &self.written, stall).await
            }
        }
    }

    /// Writes what is in the buffer.
    pub(super) async fn flush(&mut self, stall: Duration) -> Result<(), Failure> {
        match &mut self.way {
            Way::Socket(socket) => moving(socket.flush(), &self.written, stall).await,
            Way::Stream(stream) => moving(stream.flush(), &self.written, stall).await,
        }
    }

    /// Asks the viewer for a sign of life; says whether there is a way to ask. Who reads a stream is asked by nothing but what
    /// is written to it.
    pub(super) async fn ping(&mut self, stall: Duration) -> Result<bool, Failure> {
        let Way::Socket(socket) = &mut self.way else { return Ok(false) };
        moving(socket.feed(Message::Ping(Bytes::new())), &self.written, stall).await.map(|()| true)
    }

    /// Ends the connection with a reason, if the viewer takes it in time.
    pub(super) async fn say_goodbye(self, code: u16, reason: &'static str) {
        let goodbye = async {
            match self.way {
                Way::Socket(mut socket) => {
                    socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.ok();
                    // The viewer's own close frame ends the conversation in order.
                    while let Some(Ok(_)) = socket.recv().await {}
                }
                Way::Stream(mut stream) => {
                    stream.gathered.put_slice(&notice(code, reason));
                    // Once there is room again, the connection has taken it.
                    let said = stream.flush().await.is_ok() && stream.messages.reserve().await.is_ok();
                    stream.is_over = said;
                }
            }
        };
        timeout(GOODBYE, goodbye).await.ok();
    }
}

impl Stream {
    async fn flush(&mut self) -> Result<(), mpsc::error::SendError<()>> {
        if !self.gathered.is_empty() {
            // What is gathered stays until there is room, should nobody wait so long.
            self.messages.reserve().await?.send(self.gathered.split().freeze());
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.cancel();
        }
    }
}

/// Waits for `write` for as long as the connection takes something every `stall`; a long message may take a slow viewer longer.
async fn moving<E>(
    write: impl Future<Output = Result<(), E>>,
    written: &Written,
    stall: Duration,
) -> Result<(), Failure> {
    let mut write = pin!(write);
    let (mut bytes, mut moved) = (written.bytes(), Instant::now());
    loop {
        if let Ok(outcome) = timeout(stall / 8, write.as_mut()).await {
            return outcome.map_err(|_| Failure::Gone);
        }
        if written.bytes() > bytes {
            (bytes, moved) = (written.bytes(), Instant::now());
        } else if moved.elapsed() >= stall {
            return Err(Failure::Stalled);
        }
    }
}
