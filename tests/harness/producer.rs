//! A producer's TCP connection that controls how its bytes are split into writes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{Frame, TIMEOUT, frame};

/// How a stream of bytes is split into writes.
#[derive(Clone, Copy, Debug)]
pub enum Chunking {
    /// One write.
    Whole,
    /// One write per byte.
    SingleBytes,
    /// Writes of random lengths up to this one.
    Random(usize),
}

/// One connection.
#[derive(Debug)]
pub struct Producer {
    stream: TcpStream,
    rng: fastrand::Rng,
}

impl Producer {
    /// Connects without sending anything.
    ///
    /// # Panics
    /// If the relay does not listen.
    #[must_use]
    pub fn connect(ingest: SocketAddr) -> Self {
        Self::over(TcpStream::connect(ingest).expect("the relay listens for producers"))
    }

    /// Uses an open connection.
    ///
    /// # Panics
    /// If it has failed.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("the socket is open");
        Self { stream, rng: fastrand::Rng::with_seed(7) }
    }

    /// Connects and sends the connect and join frames, as a Wallaroo worker does.
    #[must_use]
    pub fn connect_and_join(ingest: SocketAddr, app: &str, worker: &str) -> Self {
        let mut producer = Self::connect(ingest);
        producer.write(&frame::connect());
        producer.write(&frame::join(app, Some(worker)));
        producer
    }

    /// Does the same when the relay may not be listening.
    #[must_use]
    pub fn try_connect_and_join(ingest: SocketAddr, app: &str, worker: &str) -> Option<Self> {
        let stream = TcpStream::connect(ingest).ok()?;
        let mut producer = Self { stream, rng: fastrand::Rng::with_seed(7) };
        let frames = [frame::connect(), frame::join(app, Some(worker))].concat();
        producer.try_write(&frames).then_some(producer)
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &Frame) {
        self.write(&frame.encode());
    }

    /// Sends many frames as fast as the relay reads them.
    pub fn send_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) {
        let bytes: Vec<u8> = frames.into_iter().flat_map(Frame::encode).collect();
        self.write(&bytes);
    }

    /// Writes bytes unchanged.
    ///
    /// # Panics
    /// If the relay no longer reads them.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the relay reads on");
    }

    /// Writes bytes as long as the relay reads them; returns whether it accepted all.
    #[must_use]
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Ends the connection with a reset.
    ///
    /// # Panics
    /// If the socket is gone.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("the socket is open");
    }

    /// Writes bytes in chunks, each in its own segment if the kernel allows it.
    pub fn write_in_chunks(&mut self, bytes: &[u8], cut: Chunking) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match cut {
                Chunking::Whole => rest.len(),
                Chunking::SingleBytes => 1,
                Chunking::Random(length_max) => self.rng.usize(1..=length_max).min(rest.len()),
            };
            self.write(&rest[..length]);
            rest = &rest[length..];
        }
    }

    /// Reads what the relay sends back within `wait`. The relay must never answer a producer, so this should be
    /// nothing.
    ///
    /// # Panics
    /// If the connection fails.
    #[must_use]
    pub fn read_reply(&mut self, wait: Duration) -> Reply {
        self.stream.set_read_timeout(Some(wait)).expect("the socket is open");
        let mut buffer = [0; 256];
        match self.stream.read(&mut buffer) {
            Ok(0) => Reply::Closed,
            Ok(length) => Reply::Bytes(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Reply::Nothing,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Reply::Closed,
            Err(error) => panic!("reading from the relay: {error}"),
        }
    }

    /// Waits until the relay closes this connection.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_close(mut self) {
        assert_eq!(self.read_reply(TIMEOUT), Reply::Closed);
    }

    /// Closes the write side and waits until the relay has read everything and closed as well.
    pub fn finish(self) {
        // The relay may have closed first.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.wait_for_close();
    }
}

/// What a producer reads from the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing, as required.
    Nothing,
    /// End of the connection.
    Closed,
    /// Bytes.
    Bytes(Vec<u8>),
}
