//! Who may come in: one listening port with places, in total and for each address.
//!
//! When the operating system has no descriptor left, the spare one is given up for a moment, so that whoever waits is
//! turned away at once instead of hanging in the backlog (Mosquitto does the same). Accepting never spins.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::metrics::Counters;

/// Pause after the operating system refuses a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Why somebody was turned away, as a label.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// All places are taken.
    pub full: &'static str,
    /// All places for this address are taken.
    pub address: &'static str,
    /// The operating system has no descriptor left.
    pub descriptors: &'static str,
}

/// A listening port and its places.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    spare: Option<File>,
    places: Arc<Places>,
    labels: Labels,
    counters: Counters,
}

/// How many are inside.
#[derive(Debug)]
pub struct Places {
    places_max: usize,
    per_address_max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// Places for `places_max` connections in total and `per_address_max` from one address; 0 there means any number.
    #[must_use]
    pub fn new(places_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { places_max, per_address_max, taken: Mutex::default() })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().values().sum()
    }

    /// Takes one for a connection from `address`.
    ///
    /// # Errors
    /// The label of what there is no more of.
    pub fn take(self: &Arc<Self>, address: IpAddr, labels: Labels) -> Result<Place, &'static str> {
        let mut taken = self.taken.lock();
        if taken.values().sum::<usize>() >= self.places_max {
            return Err(labels.full);
        }
        let here = taken.entry(address).or_default();
        if self.per_address_max > 0 && *here >= self.per_address_max {
            return Err(labels.address);
        }
        *here += 1;
        drop(taken);
        Ok(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(here) = taken.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

impl Door {
    /// A door in front of `listener`.
    #[must_use]
    pub fn new(listener: TcpListener, places: Arc<Places>, labels: Labels, counters: Counters) -> Self {
        Self { listener, spare: spare(), places, labels, counters }
    }

    /// The next connection that has a place. Everybody else is turned away and counted.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr, Place) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.places.take(peer.ip(), self.labels) {
                    Ok(place) => return (stream, peer, place),
                    Err(reason) => {
                        self.counters.close(reason);
                        tracing::debug!(%peer, reason, "turned away");
                    }
                },
                Err(error) => {
                    if is_out_of_descriptors(&error) {
                        self.turn_away_with_spare().await;
                    } else {
                        tracing::warn!(%error, "cannot accept");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn turn_away_with_spare(&mut self) {
        self.counters.close(self.labels.descriptors);
        tracing::warn!("no descriptor left: raise the limit on open files (LimitNOFILE)");
        self.spare = None;
        // Whoever waits gets the spare descriptor, and a closed connection.
        drop(tokio::time::timeout(PAUSE, self.listener.accept()).await);
        self.spare = spare();
    }
}

/// A quiet peer is normal, a vanished one is not: the kernel asks after 15 s, every 5 s, three times.
pub fn keep_alive(stream: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    // Without it the connection works as well; only a vanished peer is noticed later.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE, which `io::ErrorKind` does not tell apart from others.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Raises the soft limit on open files to the hard one, and gives what is allowed now.
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

    const LABELS: Labels = Labels { full: "full", address: "address", descriptors: "descriptors" };

    #[test]
    fn places_are_counted_in_total_and_for_each_address_and_given_back() {
        let places = Places::new(3, 2);
        let [a, b] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = places.take(a, LABELS).unwrap();
        let _second = places.take(a, LABELS).unwrap();
        assert_eq!(places.take(a, LABELS).unwrap_err(), "address");
        let _third = places.take(b, LABELS).unwrap();
        assert_eq!(places.take(b, LABELS).unwrap_err(), "full");
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(a, LABELS).is_ok());
    }

    #[tokio::test]
    async fn one_too_many_is_closed_and_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Counters::default();
        let mut door = Door::new(listener, Places::new(1, 0), LABELS, counters.clone());
        let first = TcpStream::connect(address).await.unwrap();
        let (_, _, place) = door.next().await;
        let second = TcpStream::connect(address).await.unwrap();
        let turned_away = async {
            let mut byte = [0];
            second.readable().await.unwrap();
            second.try_read(&mut byte)
        };
        tokio::select! {
            _ = door.next() => panic!("there was no place"),
            read = turned_away => assert_eq!(read.unwrap(), 0),
        }
        drop((first, place));
        let _third = TcpStream::connect(address).await.unwrap();
        door.next().await;
        assert!(crate::metrics::text_of(&counters.closed).contains("full"));
    }
}
