//! WebSocket of a viewer: tungstenite's protocol over any connection, and a zero-copy queue of frames.
//!
//! tungstenite implements RFC 6455: it reads, unmasks and joins fragments, and it answers pings and close frames. Its
//! own output joins the queue. Messages bypass tungstenite, because it would copy each of them into a buffer per
//! viewer, which was two fifths of a viewer's memory.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use joey_shared::wire::CLIENT_BYTES_MAX;
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::either::Either;
use tokio_util::io::poll_write_buf;

use crate::net::ws_frame::WsFrame;

/// Size of the read buffer in bytes, allocated for the whole connection. Viewers send little. The library's default of
/// 128 KiB would be the largest part of a viewer's memory.
const READ_BYTES: usize = 128;
/// Maximum size of a message in bytes. It is larger than [`CLIENT_BYTES_MAX`], so that a viewer with a message that is
/// too long receives a close reason. Beyond this size the connection is closed without one.
const MESSAGE_BYTES_MAX: usize = 4 * CLIENT_BYTES_MAX;

/// The byte stream under a WebSocket: plain TCP, or an upgraded connection such as TLS.
pub type SocketIo = Either<TcpStream, TokioIo<Upgraded>>;

/// A WebSocket after its handshake.
#[derive(Debug)]
pub struct Socket {
    connection: SocketIo,
    protocol: WebSocketContext,
    queue: Queue,
    /// Whether the connection may buffer written bytes, as TLS does.
    is_unflushed: bool,
    /// Number of bytes that the connection has accepted.
    written: u64,
    /// Whether a write has failed, so that a message may be lost.
    is_broken: bool,
}

impl Socket {
    /// Creates the WebSocket of an upgraded HTTP connection. `read` contains bytes that have already been read.
    #[must_use]
    pub fn new(connection: SocketIo, read: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // The library writes to the queue without buffering.
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let protocol = WebSocketContext::from_partially_read(read, Role::Server, Some(config));
        Self { connection, protocol, queue: Queue::default(), is_unflushed: false, written: 0, is_broken: false }
    }

    /// Number of bytes that the connection has accepted.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Appends a message to the queue.
    pub fn push(&mut self, frame: &WsFrame) {
        self.queue.0.push_back(frame.bytes().clone());
    }

    /// Appends a ping, a close frame or a text to the queue.
    ///
    /// # Errors
    /// If either side has already sent a close frame.
    pub fn push_message(&mut self, message: Message) -> Result<(), Error> {
        let mut stream = Stream { connection: &mut self.connection, queue: &mut self.queue, context: None };
        self.protocol.write(&mut stream, message)?;
        self.protocol.flush(&mut stream)
    }

    /// Appends a close frame to the queue.
    ///
    /// # Errors
    /// See [`Socket::push_message`].
    pub fn push_close(&mut self, code: u16, reason: &'static str) -> Result<(), Error> {
        self.push_message(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
    }

    /// Writes the queue; ready when the queue is empty and flushed.
    pub fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = if self.is_broken {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        } else {
            self.poll_write_queue(context)
        };
        self.track_failure(outcome)
    }

    fn track_failure(&mut self, outcome: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.is_broken |= matches!(outcome, Poll::Ready(Err(_)));
        outcome
    }

    fn poll_write_queue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.0.is_empty() {
            match poll_write_buf(Pin::new(&mut self.connection), context, &mut self.queue) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.record_written(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Most viewers never need the queue again.
        self.queue.0.shrink_to(0);
        self.poll_flush(context)
    }

    /// Writes one message directly if the queue is empty; the rest of it joins the queue. Otherwise like
    /// [`Socket::poll_drain`].
    pub fn poll_send(&mut self, frame: &WsFrame, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken || !self.queue.0.is_empty() {
            self.push(frame);
            return self.poll_drain(context);
        }
        let outcome = self.poll_write(frame, context);
        self.track_failure(outcome)
    }

    fn poll_write(&mut self, frame: &WsFrame, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Write to the kernel directly. Tokio's readiness state would be one more cold cache line: 3 % of a broadcast.
        let mut written = match &self.connection {
            SocketIo::Left(stream) => SockRef::from(stream).send(frame.bytes()).unwrap_or(0),
            SocketIo::Right(_) => 0,
        };
        if written < frame.bytes().len() {
            match Pin::new(&mut self.connection).poll_write(context, &frame.bytes()[written..]) {
                Poll::Ready(Ok(more)) => written += more,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.record_written(written);
        if written < frame.bytes().len() {
            self.queue.0.push_back(frame.bytes().slice(written..));
            return Poll::Pending;
        }
        self.poll_flush(context)
    }

    fn record_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.is_unflushed |= bytes > 0;
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            std::task::ready!(Pin::new(&mut self.connection).poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Receives the next message. Control frames are included; their answers are already in the queue.
    pub fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        let mut stream = Stream { connection: &mut self.connection, queue: &mut self.queue, context: Some(context) };
        let message = match self.protocol.read(&mut stream) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
            Ok(message) => message,
        };
        // tungstenite keeps an answer back until it is flushed.
        if matches!(message, Message::Ping(_) | Message::Close(_)) {
            match self.protocol.flush(&mut stream) {
                // Nothing more is sent after a close frame.
                Ok(()) | Err(Error::ConnectionClosed) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(message))
    }
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
struct Queue(VecDeque<Bytes>);

impl Buf for Queue {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |front| front)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.0.iter().zip(slices).map(|(bytes, slice)| *slice = IoSlice::new(bytes)).count()
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.0.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.0.pop_front();
        }
    }
}

/// Stream for tungstenite: it reads from the connection and writes to the queue.
struct Stream<'a, 'b> {
    connection: &'a mut SocketIo,
    queue: &'a mut Queue,
    /// Context to wake when there is more to read; `None` if nothing should be read.
    context: Option<&'a mut Context<'b>>,
}

impl Read for Stream<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(context) = &mut self.context else { return Err(io::ErrorKind::WouldBlock.into()) };
        let mut read = ReadBuf::new(bytes);
        match Pin::new(&mut *self.connection).poll_read(context, &mut read) {
            Poll::Ready(outcome) => outcome.map(|()| read.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Stream<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.0.push_back(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
