//! A producer's TCP connection, with a say in where its bytes are cut.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{Frame, PATIENCE, frame};

/// How a stream of bytes is cut into writes.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Not at all.
    Nowhere,
    /// After every byte.
    EveryByte,
    /// After any number of bytes up to this one.
    Anywhere(usize),
}

/// One connection.
#[derive(Debug)]
pub struct Producer {
    stream: TcpStream,
    chance: fastrand::Rng,
}

impl Producer {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(ingest: SocketAddr) -> Self {
        Self::over(TcpStream::connect(ingest).expect("the relay listens for producers"))
    }

    /// Uses a connection that is there.
    ///
    /// # Panics
    /// When it has failed.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("the socket is open");
        Self { stream, chance: fastrand::Rng::with_seed(7) }
    }

    /// Connects and introduces itself, as a Wallaroo worker does.
    #[must_use]
    pub fn joined(ingest: SocketAddr, app: &str, worker: &str) -> Self {
        let mut producer = Self::connect(ingest);
        producer.write(&frame::connect());
        producer.write(&frame::join(app, Some(worker)));
        producer
    }

    /// The same where it may be that nobody listens.
    #[must_use]
    pub fn tries_to_join(ingest: SocketAddr, app: &str, worker: &str) -> Option<Self> {
        let stream = TcpStream::connect(ingest).ok()?;
        let mut producer = Self { stream, chance: fastrand::Rng::with_seed(7) };
        let greeting = [frame::connect(), frame::join(app, Some(worker))].concat();
        producer.tries_to_write(&greeting).then_some(producer)
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &Frame) {
        self.write(&frame.encode());
    }

    /// Sends many frames, as fast as they are taken.
    pub fn send_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) {
        let bytes: Vec<u8> = frames.into_iter().flat_map(Frame::encode).collect();
        self.write(&bytes);
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the relay no longer takes them.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the relay reads on");
    }

    /// Writes bytes as long as the relay takes them; says whether it took all.
    #[must_use]
    pub fn tries_to_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Ends the connection with a reset.
    ///
    /// # Panics
    /// When the socket is gone.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("the socket is open");
    }

    /// Writes bytes in pieces, each in a segment of its own as far as the kernel plays along.
    pub fn write_cut(&mut self, bytes: &[u8], cut: Cut) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match cut {
                Cut::Nowhere => rest.len(),
                Cut::EveryByte => 1,
                Cut::Anywhere(most) => self.chance.usize(1..=most).min(rest.len()),
            };
            self.write(&rest[..length]);
            rest = &rest[length..];
        }
    }

    /// What the relay sends back within `wait`: a producer must never be answered, so this should be nothing.
    ///
    /// # Panics
    /// When the connection fails.
    #[must_use]
    pub fn answer(&mut self, wait: Duration) -> Answer {
        self.stream.set_read_timeout(Some(wait)).expect("the socket is open");
        let mut buffer = [0; 256];
        match self.stream.read(&mut buffer) {
            Ok(0) => Answer::Closed,
            Ok(length) => Answer::Bytes(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Answer::Nothing,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Answer::Closed,
            Err(error) => panic!("reading from the relay: {error}"),
        }
    }

    /// Waits until the relay ends this connection.
    ///
    /// # Panics
    /// When it does not.
    pub fn is_cut_off(mut self) {
        assert_eq!(self.answer(PATIENCE), Answer::Closed);
    }

    /// Says that nothing more will come, and waits until the relay has read everything and closed as well.
    pub fn finish(self) {
        // The relay may have been first.
        let _ = self.stream.shutdown(Shutdown::Write);
        self.is_cut_off();
    }
}

/// What a producer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, as it must be.
    Nothing,
    /// The end of the connection.
    Closed,
    /// Bytes.
    Bytes(Vec<u8>),
}
