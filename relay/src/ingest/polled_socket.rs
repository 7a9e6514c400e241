//! A producer's socket, which is polled while much comes.
//!
//! Waiting for a socket costs the runtime a wake-up for whatever arrives, many times what reading it costs. A producer whose
//! frames come one by one and closer than [`OFTEN`] is therefore taken out of what the runtime waits for, and looked at after
//! every [`REST`] until nothing has come. Network drivers do the same with interrupts (Linux: `networking/napi.rst`).

use std::io::{self, ErrorKind, Read as _};
use std::mem;
use std::net;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A socket that is found empty twice within this time is polled from then on.
const OFTEN: Duration = Duration::from_millis(1);
/// Time between two looks at it, which the runtime's clock makes up to twice as long. Any update waits longer for company.
const REST: Duration = Duration::from_millis(1);

/// A producer's socket.
#[derive(Debug)]
pub(super) struct Socket {
    state: State,
    often: Duration,
    /// When it was last found empty.
    emptied: Option<Instant>,
    /// Whether anything has been read since.
    has_read: bool,
}

#[derive(Debug)]
enum State {
    /// The runtime says when there is something.
    Waiting(TcpStream),
    /// It is looked at when the time has come.
    Polled(net::TcpStream, Pin<Box<Sleep>>),
    /// It has failed.
    Gone,
}

impl Socket {
    /// Reads what comes through `stream`.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { state: State::Waiting(stream), often: OFTEN, emptied: None, has_read: false }
    }

    /// Notes that it was found empty; gives how long ago it was found so before, if anything has been read since.
    fn note_empty(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.emptied.replace(now).filter(|_| self.has_read);
        self.has_read = false;
        before.map(|before| now - before)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match mem::replace(&mut self.state, State::Gone) {
                State::Waiting(mut stream) => {
                    let outcome = pin!(&mut stream).poll_read(context, buffer);
                    if outcome.is_pending() && self.note_empty().is_some_and(|since| since < self.often) {
                        self.state = State::Polled(stream.into_std()?, Box::pin(sleep(REST)));
                    } else {
                        self.has_read |= outcome.is_ready();
                        self.state = State::Waiting(stream);
                        return outcome;
                    }
                }
                State::Polled(mut stream, mut rest) => {
                    if rest.as_mut().poll(context).is_pending() {
                        self.state = State::Polled(stream, rest);
                        return Poll::Pending;
                    }
                    let room = buffer.initialize_unfilled();
                    let most = room.len();
                    match stream.read(room) {
                        Ok(bytes) => {
                            buffer.advance(bytes);
                            self.has_read = bytes == most;
                            // What did not fill the room was all. Looking at once would find a little again and again.
                            if !self.has_read {
                                rest.as_mut().reset(Instant::now() + REST);
                            }
                            self.state = State::Polled(stream, rest);
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                        Err(_) if self.note_empty().is_some() => {
                            rest.as_mut().reset(Instant::now() + REST);
                            self.state = State::Polled(stream, rest);
                        }
                        Err(_) => self.state = State::Waiting(TcpStream::from_std(stream)?),
                    }
                }
                State::Gone => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(often: Duration) -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let producer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        producer.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (producer, Socket { often, ..Socket::new(stream) })
    }

    /// Sends what comes through `socket` as `pieces`, each when the one before has been read.
    async fn exchange(producer: &mut TcpStream, socket: &mut Socket, pieces: &[&[u8]]) {
        for piece in pieces {
            producer.write_all(piece).await.unwrap();
            // More room than is needed, so that the end of what there is can be seen.
            let mut got = [0; 100];
            let bytes = socket.read(&mut got).await.unwrap();
            assert_eq!(&got[..bytes], *piece);
        }
    }

    #[tokio::test]
    async fn a_socket_is_polled_while_it_is_emptied_often_and_waited_for_again_when_nothing_comes() {
        let (mut producer, mut socket) = pair(Duration::MAX).await;
        for _ in 0..3 {
            assert!(matches!(socket.state, State::Waiting(_)));
            exchange(&mut producer, &mut socket, &[b"first", b"second", b"third"]).await;
            assert!(matches!(socket.state, State::Polled(..)));
            let mut byte = [0];
            let nothing = tokio::time::timeout(20 * REST, socket.read(&mut byte)).await;
            nothing.unwrap_err();
        }
        // Nothing is lost on the way, and the end is seen from either state.
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
    async fn a_socket_that_is_emptied_seldom_is_waited_for() {
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
