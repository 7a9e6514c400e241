//! A producer's socket that switches to polling while data arrives often.
//!
//! Each wake-up by the runtime costs much more than the read that follows. If single frames arrive in intervals shorter than
//! [`OFTEN`], the socket is removed from the runtime's event queue and read once in every [`POLL_INTERVAL`], until a read finds
//! nothing. Network drivers do the same with interrupts (Linux: `networking/napi.rst`).

use std::io::{self, ErrorKind, Read as _};
use std::mem;
use std::net;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// If a socket is drained twice within this time, it switches to polling.
const OFTEN: Duration = Duration::from_millis(1);
/// Time between two polls. The resolution of the runtime's timer can double it. The batch delay of an update is longer.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A producer's socket that is polled while it is busy.
#[derive(Debug)]
pub(super) struct PolledSocket {
    state: State,
    often: Duration,
    /// When it was last drained.
    drained: Option<Instant>,
    /// Whether any data has been read since then.
    has_read: bool,
}

#[derive(Debug)]
enum State {
    /// The runtime wakes the task when data arrives.
    Waiting(TcpStream),
    /// The task reads the socket when the timer fires.
    Polled(net::TcpStream, Pin<Box<Sleep>>),
    /// The socket has failed.
    Failed,
}

impl PolledSocket {
    /// Reads from `stream`.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { state: State::Waiting(stream), often: OFTEN, drained: None, has_read: false }
    }

    /// Records that the socket was drained. Returns the time since it was drained before, if data has been read in between.
    fn record_drained(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.drained.replace(now).filter(|_| self.has_read);
        self.has_read = false;
        before.map(|before| now - before)
    }
}

impl AsyncRead for PolledSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match mem::replace(&mut self.state, State::Failed) {
                State::Waiting(mut stream) => {
                    let outcome = pin!(&mut stream).poll_read(context, buffer);
                    if outcome.is_pending() && self.record_drained().is_some_and(|interval| interval < self.often) {
                        self.state = State::Polled(stream.into_std()?, Box::pin(sleep(POLL_INTERVAL)));
                    } else {
                        self.has_read |= outcome.is_ready();
                        self.state = State::Waiting(stream);
                        return outcome;
                    }
                }
                State::Polled(mut stream, mut timer) => {
                    if timer.as_mut().poll(context).is_pending() {
                        self.state = State::Polled(stream, timer);
                        return Poll::Pending;
                    }
                    let unfilled = buffer.initialize_unfilled();
                    let most = unfilled.len();
                    match stream.read(unfilled) {
                        Ok(bytes) => {
                            buffer.advance(bytes);
                            self.has_read = bytes == most;
                            // A short read has drained the socket. Reading again at once would find only a little data each time.
                            if !self.has_read {
                                timer.as_mut().reset(Instant::now() + POLL_INTERVAL);
                            }
                            self.state = State::Polled(stream, timer);
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                        Err(_) if self.record_drained().is_some() => {
                            timer.as_mut().reset(Instant::now() + POLL_INTERVAL);
                            self.state = State::Polled(stream, timer);
                        }
                        Err(_) => self.state = State::Waiting(TcpStream::from_std(stream)?),
                    }
                }
                State::Failed => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(often: Duration) -> (TcpStream, PolledSocket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let producer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        producer.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (producer, PolledSocket { often, ..PolledSocket::new(stream) })
    }

    /// Sends each piece after `socket` has read the previous one.
    async fn exchange(producer: &mut TcpStream, socket: &mut PolledSocket, pieces: &[&[u8]]) {
        for piece in pieces {
            producer.write_all(piece).await.unwrap();
            // The buffer is larger than the piece, so a read drains the socket.
            let mut got = [0; 100];
            let bytes = socket.read(&mut got).await.unwrap();
            assert_eq!(&got[..bytes], *piece);
        }
    }

    #[tokio::test]
    async fn a_busy_socket_is_polled_until_a_read_finds_nothing() {
        let (mut producer, mut socket) = pair(Duration::MAX).await;
        for _ in 0..3 {
            assert!(matches!(socket.state, State::Waiting(_)));
            exchange(&mut producer, &mut socket, &[b"first", b"second", b"third"]).await;
            assert!(matches!(socket.state, State::Polled(..)));
            let mut byte = [0];
            let nothing = tokio::time::timeout(20 * POLL_INTERVAL, socket.read(&mut byte)).await;
            nothing.unwrap_err();
        }
        // No data is lost, and the end is detected in either state.
        let long = vec![7; 1 << 20];
        let sender = tokio::spawn(async move {
            for part in long.chunks(1 << 12) {
                producer.write_all(part).await.unwrap();
            }
        });
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.unwrap();
        sender.await.unwrap();
        assert_eq!(got, vec![7; 1 << 20]);
    }

    #[tokio::test]
    async fn a_quiet_socket_is_not_polled() {
        let (mut producer, mut socket) = pair(Duration::ZERO).await;
        exchange(&mut producer, &mut socket, &[b"first", b"second", b"third"]).await;
        assert!(matches!(socket.state, State::Waiting(_)));
        drop(producer);
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reset_is_an_error_in_either_state() {
        for often in [Duration::ZERO, Duration::MAX] {
            let (mut producer, mut socket) = pair(often).await;
            exchange(&mut producer, &mut socket, &[b"first", b"second", b"third"]).await;
            producer.set_zero_linger().unwrap();
            drop(producer);
            assert_eq!(socket.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
}
