//! A wire between a viewer and a relay that can be cut and mended.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// A wire. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Proxy {
    /// Where to connect instead of to the relay.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    /// Goes up with every cut; connections of an earlier number end.
    cuts: AtomicU64,
}

impl Proxy {
    /// A wire to `target`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !shared.is_cut.load(SeqCst)
                    && let Ok(there) = TcpStream::connect(target)
                {
                    carry(&stream, &there, &shared);
                }
            }
        });
        Self { address, state }
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        self.state.is_cut.store(true, SeqCst);
        self.state.cuts.fetch_add(1, SeqCst);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.is_cut.store(false, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn carry(here: &TcpStream, there: &TcpStream, state: &Arc<State>) {
    for (from, to) in [(here, there), (there, here)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let state = state.clone();
        let born = state.cuts.load(SeqCst);
        // A short timeout, so that a cut is noticed while nothing flows.
        let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
        thread::spawn(move || {
            pump(from, to, || state.cuts.load(SeqCst) == born);
        });
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, whole: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while whole() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) if to.write_all(&buffer[..length]).is_ok() => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
