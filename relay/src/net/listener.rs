//! A listening port with a connection limit, in total and for each address.
//!
//! When the process runs out of file descriptors, the listener briefly closes a spare one. It uses the descriptor to accept and
//! close the waiting connection, which would otherwise hang in the backlog (Mosquitto does the same). Accepting never spins.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::metrics::{CloseReason, Counters};

/// Pause after the operating system fails to accept a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// The reasons that a listener counts for its rejected connections.
#[derive(Clone, Copy, Debug)]
pub struct LimitReasons {
    /// The total limit is reached.
    pub total: CloseReason,
    /// The limit for this address is reached.
    pub per_address: CloseReason,
    /// The process has no file descriptor left.
    pub descriptors: CloseReason,
}

/// A listening port with a connection limit.
#[derive(Debug)]
pub struct LimitedListener {
    listener: TcpListener,
    spare: Option<File>,
    limit: Arc<ConnectionLimit>,
    reasons: LimitReasons,
    counters: Counters,
}

/// Counts open connections and limits their number.
#[derive(Debug)]
pub struct ConnectionLimit {
    total_max: usize,
    per_address_max: usize,
    in_use: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of one open connection, released when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    address: IpAddr,
}

impl ConnectionLimit {
    /// Allows `total_max` connections in total and `per_address_max` from one address; 0 means no limit for each address.
    #[must_use]
    pub fn new(total_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_address_max, in_use: Mutex::default() })
    }

    /// Number of open connections.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use.lock().values().sum()
    }

    /// Acquires a permit for a connection from `address`.
    ///
    /// # Errors
    /// Returns the reason from `reasons` if a limit is reached.
    pub fn acquire(self: &Arc<Self>, address: IpAddr, reasons: LimitReasons) -> Result<ConnectionPermit, CloseReason> {
        let mut in_use = self.in_use.lock();
        if in_use.values().sum::<usize>() >= self.total_max {
            return Err(reasons.total);
        }
        let from_address = in_use.entry(address).or_default();
        if self.per_address_max > 0 && *from_address >= self.per_address_max {
            return Err(reasons.per_address);
        }
        *from_address += 1;
        drop(in_use);
        Ok(ConnectionPermit { limit: self.clone(), address })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut in_use = self.limit.in_use.lock();
        if let Some(from_address) = in_use.get_mut(&self.address) {
            *from_address -= 1;
            if *from_address == 0 {
                in_use.remove(&self.address);
            }
        }
    }
}

impl LimitedListener {
    /// Limits the connections of `listener`.
    #[must_use]
    pub fn new(listener: TcpListener, limit: Arc<ConnectionLimit>, reasons: LimitReasons, counters: Counters) -> Self {
        Self { listener, spare: spare_descriptor(), limit, reasons, counters }
    }

    /// Accepts the next connection within the limit. Rejects and counts all others.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr, ConnectionPermit) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.limit.acquire(peer.ip(), self.reasons) {
                    Ok(permit) => return (stream, peer, permit),
                    Err(reason) => {
                        self.counters.close(reason);
                        tracing::debug!(%peer, reason = reason.as_str(), "connection rejected");
                    }
                },
                Err(error) => {
                    if is_out_of_descriptors(&error) {
                        self.reject_with_spare_descriptor().await;
                    } else {
                        tracing::warn!(%error, "cannot accept a connection");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn reject_with_spare_descriptor(&mut self) {
        self.counters.close(self.reasons.descriptors);
        tracing::warn!("no file descriptor left: raise the limit on open files (LimitNOFILE)");
        self.spare = None;
        // The waiting connection is accepted with the spare descriptor and closed at once.
        drop(tokio::time::timeout(PAUSE, self.listener.accept()).await);
        self.spare = spare_descriptor();
    }
}

/// Enables TCP keepalive: the kernel probes a quiet peer after 15 s, then every 5 s, three times. So a peer that has vanished is
/// noticed, and one that merely sends nothing stays connected.
pub fn enable_keepalive(stream: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    // If this fails, the connection still works; only a vanished peer is noticed later.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // ENFILE and EMFILE, for which `io::ErrorKind` has no variants.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Raises the soft limit on open files to the hard limit. Returns the limit that is now in force.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: LimitReasons = LimitReasons {
        total: CloseReason::ConnectionLimit,
        per_address: CloseReason::ConnectionAddressLimit,
        descriptors: CloseReason::ConnectionFdLimit,
    };

    #[test]
    fn permits_are_limited_in_total_and_for_each_address_and_released_on_drop() {
        let limit = ConnectionLimit::new(3, 2);
        let [a, b] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = limit.acquire(a, REASONS).unwrap();
        let _second = limit.acquire(a, REASONS).unwrap();
        assert_eq!(limit.acquire(a, REASONS).unwrap_err(), CloseReason::ConnectionAddressLimit);
        let _third = limit.acquire(b, REASONS).unwrap();
        assert_eq!(limit.acquire(b, REASONS).unwrap_err(), CloseReason::ConnectionLimit);
        drop(first);
        assert_eq!(limit.in_use(), 2);
        assert!(limit.acquire(a, REASONS).is_ok());
    }

    #[tokio::test]
    async fn a_full_listener_closes_and_counts_the_next_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Counters::default();
        let mut listener = LimitedListener::new(listener, ConnectionLimit::new(1, 0), REASONS, counters.clone());
        let first = TcpStream::connect(address).await.unwrap();
        let (_, _, permit) = listener.accept().await;
        let second = TcpStream::connect(address).await.unwrap();
        let closed = async {
            let mut byte = [0];
            second.readable().await.unwrap();
            second.try_read(&mut byte)
        };
        tokio::select! {
            _ = listener.accept() => panic!("the limit was exceeded"),
            read = closed => assert_eq!(read.unwrap(), 0),
        }
        drop((first, permit));
        let _third = TcpStream::connect(address).await.unwrap();
        listener.accept().await;
        assert!(crate::metrics::text_of(&counters.connections_closed).contains("connection_limit"));
    }
}
