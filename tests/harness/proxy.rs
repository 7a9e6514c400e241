//! A wire to a relay that fails as networks do: cut, reset, gone silent, slow, late, in single bytes, with a byte wrong.
//!
//! Every fault can be set and lifted while connections are open, and is the same for all of them. A frozen wire ends nothing
//! and carries nothing: each side believes in the other until a deadline of its own.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// How often a pump that waits looks at what has changed.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes carried at once.
const PIECE_BYTES: u64 = 64 * 1024;
/// Bytes from the relay that may wait to be carried. The kernel's own choice would be megabytes.
const WAITING_BYTES: usize = 64 * 1024;
/// No byte is wrong.
const NEVER: u64 = u64::MAX;

/// A wire. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Proxy {
    /// Where to connect instead of to the relay.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    is_cut: AtomicBool,
    /// Whether the last cut was a reset.
    is_reset: AtomicBool,
    /// Goes up with every cut; connections of an earlier number end.
    cuts: AtomicU64,
    is_frozen: AtomicBool,
    delay_ms: AtomicU64,
    /// 0 is any rate.
    bytes_per_sec: AtomicU64,
    piece_bytes: AtomicU64,
    /// Which byte towards the relay is wrong.
    wrong_byte: AtomicU64,
    is_against_upgrades: AtomicBool,
    swallows_frames: AtomicBool,
    connections: AtomicU64,
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
        let state = Arc::new(State {
            is_cut: AtomicBool::new(false),
            is_reset: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            is_frozen: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            bytes_per_sec: AtomicU64::new(0),
            piece_bytes: AtomicU64::new(PIECE_BYTES),
            wrong_byte: AtomicU64::new(NEVER),
            is_against_upgrades: AtomicBool::new(false),
            swallows_frames: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !shared.is_cut.load(SeqCst)
                    && let Ok(there) = TcpStream::connect(target)
                {
                    // What the wire does not carry shall wait at the relay, not here.
                    let _ = SockRef::from(&there).set_recv_buffer_size(WAITING_BYTES);
                    carry(stream, there, &shared);
                    shared.connections.fetch_add(1, SeqCst);
                }
            }
        });
        Self { address, state }
    }

    /// How many connections it has carried so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(SeqCst)
    }

    /// Ends every connection in order, and every new one at once.
    pub fn cut(&self) {
        self.end(false);
    }

    /// Ends every connection with a reset, which throws away what is under way, and every new one at once.
    pub fn reset(&self) {
        self.end(true);
    }

    fn end(&self, is_reset: bool) {
        self.state.is_reset.store(is_reset, SeqCst);
        self.state.is_cut.store(true, SeqCst);
        self.state.cuts.fetch_add(1, SeqCst);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.is_cut.store(false, SeqCst);
    }

    /// Carries nothing any more, and tells nobody.
    pub fn freeze(&self) {
        self.state.is_frozen.store(true, SeqCst);
    }

    /// Carries on.
    pub fn thaw(&self) {
        self.state.is_frozen.store(false, SeqCst);
    }

    /// Holds every piece back for so long.
    pub fn delay(&self, by: Duration) {
        self.state.delay_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), SeqCst);
    }

    /// Carries at most so many bytes a second each way; 0 is any number.
    pub fn limit(&self, bytes_per_sec: u64) {
        self.state.bytes_per_sec.store(bytes_per_sec, SeqCst);
    }

    /// Carries at most so many bytes at once.
    pub fn cut_into(&self, piece_bytes: u64) {
        self.state.piece_bytes.store(piece_bytes.clamp(1, PIECE_BYTES), SeqCst);
    }

    /// Refuses every WebSocket, as some companies' proxies do, and carries all else.
    pub fn refuse_upgrades(&self) {
        self.state.is_against_upgrades.store(true, SeqCst);
    }

    /// Lets every WebSocket be opened and carries nothing that the relay says over it, as a proxy does that waits for the end of an
    /// answer.
    pub fn swallow_frames(&self) {
        self.state.swallows_frames.store(true, SeqCst);
    }

    /// Flips a bit in byte `at` of what each connection sends to the relay.
    pub fn flip(&self, at: u64) {
        self.state.wrong_byte.store(at, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn carry(here: TcpStream, there: TcpStream, state: &Arc<State>) {
    let (here, there) = (Arc::new(here), Arc::new(there));
    let born = state.cuts.load(SeqCst);
    for (from, to, is_to_relay) in [(here.clone(), there.clone(), true), (there, here, false)] {
        // A short timeout, so that a cut is noticed while nothing flows or nobody takes it.
        let _ = from.set_read_timeout(Some(LOOK));
        let _ = to.set_write_timeout(Some(LOOK));
        let _ = to.set_nodelay(true);
        let state = state.clone();
        thread::spawn(move || Pump { from, to, state, born, is_to_relay, carried: 0, is_swallowing: false }.run());
    }
}

/// One direction of one connection.
struct Pump {
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    state: Arc<State>,
    born: u64,
    is_to_relay: bool,
    carried: u64,
    /// Whether this is a WebSocket that brings nothing.
    is_swallowing: bool,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = vec![0; usize::try_from(PIECE_BYTES).expect("it fits")];
        while self.is_whole() {
            if self.state.is_frozen.load(SeqCst) {
                thread::sleep(LOOK);
                continue;
            }
            match (&*self.from).read(&mut buffer) {
                Ok(0) => break,
                Ok(length) if self.pass_on(&mut buffer[..length]) => {}
                Err(error) if is_timeout(&error) => {}
                Ok(_) | Err(_) => break,
            }
        }
        if !self.is_whole() && self.state.is_reset.load(SeqCst) {
            // With no time to linger, closing the socket sends a reset; both directions hold both sockets.
            let _ = SockRef::from(&*self.from).set_linger(Some(Duration::ZERO));
            let _ = SockRef::from(&*self.to).set_linger(Some(Duration::ZERO));
        } else {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
        }
    }

    fn is_whole(&self) -> bool {
        self.state.cuts.load(SeqCst) == self.born
    }

    /// Writes what was read, in pieces and with the faults of the moment; says whether the wire is still whole.
    fn pass_on(&mut self, bytes: &mut [u8]) -> bool {
        let wrong = self.state.wrong_byte.load(SeqCst).wrapping_sub(self.carried);
        if let Some(byte) = usize::try_from(wrong).ok().and_then(|at| bytes.get_mut(at)).filter(|_| self.is_to_relay) {
            *byte ^= 0x10;
        }
        if self.is_swallowing {
            return true;
        }
        let mut rest = &*bytes;
        if !self.is_to_relay && self.state.swallows_frames.load(SeqCst) && rest.starts_with(b"HTTP/1.1 101") {
            let head = rest.windows(4).position(|end| end == b"\r\n\r\n").map_or(rest.len(), |at| at + 4);
            rest = &rest[..head];
            self.is_swallowing = true;
        }
        let is_upgrade = || String::from_utf8_lossy(bytes).to_lowercase().contains("upgrade: websocket");
        if self.is_to_relay && self.state.is_against_upgrades.load(SeqCst) && is_upgrade() {
            let _ = (&*self.from).write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return false;
        }
        while !rest.is_empty() {
            thread::sleep(Duration::from_millis(self.state.delay_ms.load(SeqCst)));
            while self.state.is_frozen.load(SeqCst) && self.is_whole() {
                thread::sleep(LOOK);
            }
            let most = usize::try_from(self.state.piece_bytes.load(SeqCst)).unwrap_or(usize::MAX);
            let rate = self.state.bytes_per_sec.load(SeqCst);
            // A limited wire carries what a twentieth of a second allows, and then rests for as long.
            let most = if rate > 0 { most.min(usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1)) } else { most };
            match (&*self.to).write(&rest[..rest.len().min(most)]) {
                Ok(written) if rate > 0 => {
                    rest = &rest[written..];
                    thread::sleep(Duration::from_secs_f64(written as f64 / rate as f64));
                }
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) => {}
                Err(_) => return false,
            }
            if !self.is_whole() {
                return false;
            }
        }
        self.carried += bytes.len() as u64;
        true
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
