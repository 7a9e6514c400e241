//! A TCP proxy in front of a relay that injects network faults: disconnects, resets, silence, low rates, delays,
//! single-byte chunks, wrong bytes.
//!
//! Every fault can be set and lifted while connections are open, and applies to all of them. A frozen proxy closes
//! nothing and forwards nothing: each side notices only by its own timeout.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// How often a waiting pump checks for changes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes forwarded at once.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Receive buffer for bytes from the relay. The kernel's default would be megabytes.
const RECV_BUFFER_BYTES: usize = 64 * 1024;
/// No byte is flipped.
const NEVER: u64 = u64::MAX;

/// A proxy. Dropping it disconnects it permanently.
#[derive(Debug)]
pub struct Proxy {
    /// Address to connect to instead of the relay's.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    is_disconnected: AtomicBool,
    /// Whether the last disconnect was a reset.
    is_reset: AtomicBool,
    /// Incremented by every disconnect; connections with an older count end.
    disconnects: AtomicU64,
    is_frozen: AtomicBool,
    delay_ms: AtomicU64,
    /// 0 means unlimited.
    bytes_per_sec: AtomicU64,
    chunk_bytes: AtomicU64,
    /// Position of the byte towards the relay that is flipped.
    flipped_byte: AtomicU64,
    rejects_upgrades: AtomicBool,
    drops_frames: AtomicBool,
    connections: AtomicU64,
}

impl Proxy {
    /// A proxy to `target`.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            is_disconnected: AtomicBool::new(false),
            is_reset: AtomicBool::new(false),
            disconnects: AtomicU64::new(0),
            is_frozen: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            bytes_per_sec: AtomicU64::new(0),
            chunk_bytes: AtomicU64::new(CHUNK_BYTES),
            flipped_byte: AtomicU64::new(NEVER),
            rejects_upgrades: AtomicBool::new(false),
            drops_frames: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Read first, so that a disconnect at any time from here on ends this connection.
                let disconnects_at_start = shared.disconnects.load(SeqCst);
                if !shared.is_disconnected.load(SeqCst)
                    && let Ok(there) = TcpStream::connect(target)
                {
                    // Bytes that the proxy does not forward should wait at the relay, not here.
                    let _ = SockRef::from(&there).set_recv_buffer_size(RECV_BUFFER_BYTES);
                    forward(stream, there, &shared, disconnects_at_start);
                    shared.connections.fetch_add(1, SeqCst);
                }
            }
        });
        Self { address, state }
    }

    /// Number of connections forwarded so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(SeqCst)
    }

    /// Closes every connection gracefully, and every new one at once.
    pub fn disconnect(&self) {
        self.end(false);
    }

    /// Resets every connection, which discards bytes in flight, and closes every new one at once.
    pub fn reset(&self) {
        self.end(true);
    }

    fn end(&self, is_reset: bool) {
        self.state.is_reset.store(is_reset, SeqCst);
        self.state.is_disconnected.store(true, SeqCst);
        self.state.disconnects.fetch_add(1, SeqCst);
    }

    /// Accepts connections again.
    pub fn restore(&self) {
        self.state.is_disconnected.store(false, SeqCst);
    }

    /// Stops forwarding without closing anything.
    pub fn freeze(&self) {
        self.state.is_frozen.store(true, SeqCst);
    }

    /// Forwards again.
    pub fn unfreeze(&self) {
        self.state.is_frozen.store(false, SeqCst);
    }

    /// Delays every chunk by `by`.
    pub fn delay(&self, by: Duration) {
        self.state.delay_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), SeqCst);
    }

    /// Forwards at most this many bytes per second in each direction; 0 means unlimited.
    pub fn limit_rate(&self, bytes_per_sec: u64) {
        self.state.bytes_per_sec.store(bytes_per_sec, SeqCst);
    }

    /// Forwards at most this many bytes at once.
    pub fn limit_chunks(&self, chunk_bytes: u64) {
        self.state.chunk_bytes.store(chunk_bytes.clamp(1, CHUNK_BYTES), SeqCst);
    }

    /// Rejects every WebSocket upgrade, as some corporate proxies do, and forwards all other requests.
    pub fn reject_upgrades(&self) {
        self.state.rejects_upgrades.store(true, SeqCst);
    }

    /// Forwards every WebSocket handshake but no frame that the relay sends afterwards, like a proxy that buffers a
    /// response until its end.
    pub fn drop_frames(&self) {
        self.state.drops_frames.store(true, SeqCst);
    }

    /// Flips a bit in byte `at` of what each connection sends to the relay.
    pub fn flip_bit_at(&self, at: u64) {
        self.state.flipped_byte.store(at, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn forward(here: TcpStream, there: TcpStream, state: &Arc<State>, disconnects_at_start: u64) {
    let (here, there) = (Arc::new(here), Arc::new(there));
    for (from, to, is_to_relay) in [(here.clone(), there.clone(), true), (there, here, false)] {
        // A short timeout, so that a disconnect is noticed while nothing is sent or the other end does not read.
        let _ = from.set_read_timeout(Some(POLL_INTERVAL));
        let _ = to.set_write_timeout(Some(POLL_INTERVAL));
        let _ = to.set_nodelay(true);
        let state = state.clone();
        thread::spawn(move || {
            Pump { from, to, state, disconnects_at_start, is_to_relay, forwarded: 0, is_dropping: false }.run()
        });
    }
}

/// One direction of one connection.
struct Pump {
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    state: Arc<State>,
    disconnects_at_start: u64,
    is_to_relay: bool,
    forwarded: u64,
    /// Whether this is a WebSocket whose frames are dropped.
    is_dropping: bool,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).expect("it fits")];
        while self.is_open() {
            if self.state.is_frozen.load(SeqCst) {
                thread::sleep(POLL_INTERVAL);
                continue;
            }
            match (&*self.from).read(&mut buffer) {
                Ok(0) => break,
                Ok(length) if self.forward_bytes(&mut buffer[..length]) => {}
                Err(error) if is_timeout(&error) => {}
                Ok(_) | Err(_) => break,
            }
        }
        if !self.is_open() && self.state.is_reset.load(SeqCst) {
            // With a linger time of zero, closing the socket sends a reset; both directions hold both sockets.
            let _ = SockRef::from(&*self.from).set_linger(Some(Duration::ZERO));
            let _ = SockRef::from(&*self.to).set_linger(Some(Duration::ZERO));
        } else {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
        }
    }

    fn is_open(&self) -> bool {
        self.state.disconnects.load(SeqCst) == self.disconnects_at_start
    }

    /// Writes what was read, in chunks and with the current faults; returns whether the connection is still open.
    fn forward_bytes(&mut self, bytes: &mut [u8]) -> bool {
        let wrong = self.state.flipped_byte.load(SeqCst).wrapping_sub(self.forwarded);
        if let Some(byte) = usize::try_from(wrong).ok().and_then(|at| bytes.get_mut(at)).filter(|_| self.is_to_relay) {
            *byte ^= 0x10;
        }
        if self.is_dropping {
            return true;
        }
        let mut rest = &*bytes;
        if !self.is_to_relay && self.state.drops_frames.load(SeqCst) && rest.starts_with(b"HTTP/1.1 101") {
            let head = rest.windows(4).position(|end| end == b"\r\n\r\n").map_or(rest.len(), |at| at + 4);
            rest = &rest[..head];
            self.is_dropping = true;
        }
        let is_upgrade = || String::from_utf8_lossy(bytes).to_lowercase().contains("upgrade: websocket");
        if self.is_to_relay && self.state.rejects_upgrades.load(SeqCst) && is_upgrade() {
            let _ = (&*self.from).write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return false;
        }
        while !rest.is_empty() {
            thread::sleep(Duration::from_millis(self.state.delay_ms.load(SeqCst)));
            while self.state.is_frozen.load(SeqCst) && self.is_open() {
                thread::sleep(POLL_INTERVAL);
            }
            let most = usize::try_from(self.state.chunk_bytes.load(SeqCst)).unwrap_or(usize::MAX);
            let rate = self.state.bytes_per_sec.load(SeqCst);
            // With a rate limit, forward what a twentieth of a second allows, then sleep for that long.
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
            if !self.is_open() {
                return false;
            }
        }
        self.forwarded += bytes.len() as u64;
        true
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
