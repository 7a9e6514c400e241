//! A viewer's WebSocket: the library's protocol over any connection, and a queue of frames that nobody copies.
//!
//! The library keeps to RFC 6455: it reads, unmasks, puts fragments together, answers pings and close frames. What it has to
//! say joins the queue. Messages go past it, since it would copy each of them into a buffer of the viewer's own: that was
//! two fifths of a viewer's memory.

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

/// Bytes read from a viewer at once, and held for that as long as it stays. It says little: the library's default of 128 KiB
/// would be the largest part of a viewer's cost.
const READ_BYTES: usize = 128;
/// Longest message that is read to its end. It leaves room above [`CLIENT_BYTES_MAX`], so that a viewer that says too much
/// can be told so; one that goes beyond this is cut off without a word.
const MESSAGE_BYTES_MAX: usize = 4 * CLIENT_BYTES_MAX;

/// What carries a WebSocket: TCP alone, or whatever is around it.
pub type Carrier = Either<TcpStream, TokioIo<Upgraded>>;

/// A WebSocket, from the moment at which both sides have agreed on it.
#[derive(Debug)]
pub struct Socket {
    connection: Carrier,
    protocol: WebSocketContext,
    queue: Queue,
    /// Whether the connection holds something back that was written, as one with TLS may.
    is_unflushed: bool,
    /// Bytes that the connection has taken.
    written: u64,
    /// A write has failed, which may have cost a message.
    is_broken: bool,
}

impl Socket {
    /// The WebSocket of a connection that was a request before, and of which this was `read` already.
    #[must_use]
    pub fn new(connection: Carrier, read: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            // What the library writes goes into the queue at once.
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let protocol = WebSocketContext::from_partially_read(read, Role::Server, Some(config));
        Self { connection, protocol, queue: Queue::default(), is_unflushed: false, written: 0, is_broken: false }
    }

    /// Bytes that the connection has taken.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Puts a message at the end of the queue.
    pub fn push(&mut self, frame: &WsFrame) {
        self.queue.0.push_back(frame.bytes().clone());
    }

    /// Puts a ping, a close frame or a text at the end of the queue.
    ///
    /// # Errors
    /// When one side has said goodbye already.
    pub fn push_message(&mut self, message: Message) -> Result<(), Error> {
        let mut stream = Stream { connection: &mut self.connection, queue: &mut self.queue, context: None };
        self.protocol.write(&mut stream, message)?;
        self.protocol.flush(&mut stream)
    }

    /// Puts a close frame at the end of the queue.
    ///
    /// # Errors
    /// As [`Socket::push_message`].
    pub fn push_close(&mut self, code: u16, reason: &'static str) -> Result<(), Error> {
        self.push_message(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
    }

    /// Writes the queue; ready when all of it has gone.
    pub fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = if self.is_broken {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        } else {
            self.poll_write_queue(context)
        };
        self.noting(outcome)
    }

    fn noting(&mut self, outcome: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.is_broken |= matches!(outcome, Poll::Ready(Err(_)));
        outcome
    }

    fn poll_write_queue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.0.is_empty() {
            match poll_write_buf(Pin::new(&mut self.connection), context, &mut self.queue) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.took(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Few viewers need a queue ever again.
        self.queue.0.shrink_to(0);
        self.poll_flush(context)
    }

    /// Writes one message where the queue is empty, past the queue; what does not go joins it. As [`Socket::poll_drain`].
    pub fn poll_send(&mut self, frame: &WsFrame, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken || !self.queue.0.is_empty() {
            self.push(frame);
            return self.poll_drain(context);
        }
        let outcome = self.poll_write(frame, context);
        self.noting(outcome)
    }

    fn poll_write(&mut self, frame: &WsFrame, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel is asked past tokio, whose note on who may write is one more cold line of memory: 3 % of a round.
        let mut written = match &self.connection {
            Carrier::Left(stream) => SockRef::from(stream).send(frame.bytes()).unwrap_or(0),
            Carrier::Right(_) => 0,
        };
        if written < frame.bytes().len() {
            match Pin::new(&mut self.connection).poll_write(context, &frame.bytes()[written..]) {
                Poll::Ready(Ok(more)) => written += more,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.took(written);
        if written < frame.bytes().len() {
            self.queue.0.push_back(frame.bytes().slice(written..));
            return Poll::Pending;
        }
        self.poll_flush(context)
    }

    fn took(&mut self, bytes: usize) {
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

    /// The next message, control frames included, which are answered already; the answer waits in the queue.
    pub fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        let mut stream = Stream { connection: &mut self.connection, queue: &mut self.queue, context: Some(context) };
        let message = match self.protocol.read(&mut stream) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
            Ok(message) => message,
        };
        // An answer waits in the library until somebody asks for it.
        if matches!(message, Message::Ping(_) | Message::Close(_)) {
            match self.protocol.flush(&mut stream) {
                // It has nothing to say after a close frame.
                Ok(()) | Err(Error::ConnectionClosed) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(message))
    }
}

/// What waits to be written.
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

/// What the library takes for a stream: it reads from the connection, and writes into the queue.
struct Stream<'a, 'b> {
    connection: &'a mut Carrier,
    queue: &'a mut Queue,
    /// Who is woken when there is more to read; nobody where nothing is to be read.
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
