//! The thread that connects to a relay and sends, and the thread that reads the replies.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::{Duration, Instant};

use joey_shared::backoff;
use joey_shared::emit::{HEADER_BYTES, Hello, Message, REPLY_BYTES_MAX, Reply, Session, next_frame, preamble};

use super::outbox::Progress;
use super::{SendConfig, Shared, State, Stats};

/// Maximum time to establish a connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time without progress: for the answer to the first message, for a write, and for an acknowledgement. After it, the
/// connection is considered broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// Maximum length of an error in [`super::Stats::last_error`], in characters.
const ERROR_CHARS_MAX: usize = 300;

/// Connects and sends until the sender is closed.
pub(super) fn run(shared: &Shared, config: &SendConfig) {
    let session = random_session();
    let (mut relay, mut attempt) = (0, 0);
    while !shared.state.lock().is_closed && !config.relays.is_empty() {
        let address = &config.relays[relay % config.relays.len()];
        let before = shared.state.lock().outbox.stats().acknowledged;
        let (Ok(error) | Err(error)) =
            serve_connection(shared, config, session, address).map_err(|error| error.to_string());
        let has_worked = set_error(shared, &error).acknowledged != before;
        if has_worked {
            // Only this relay knows what has arrived without an acknowledgement, so it is tried again first.
            attempt = 0;
        } else {
            (relay, attempt) = (relay + 1, attempt + 1);
        }
        // In each round, all other relays are tried with a short delay.
        let is_failover = !has_worked && !relay.is_multiple_of(config.relays.len());
        let chance = random_u64() as u32;
        let delay_ms = if is_failover {
            backoff::failover_delay_ms(chance)
        } else {
            backoff::delay_ms(attempt / u32::try_from(config.relays.len()).unwrap_or(1), chance)
        };
        let start = Instant::now();
        let delay = Duration::from_millis(delay_ms.into());
        let mut state = shared.state.lock();
        while !state.is_closed
            && let Some(left) = delay.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
        {
            shared.changed.wait_for(&mut state, left);
        }
    }
}

fn set_error(shared: &Shared, error: &str) -> Stats {
    let mut state = shared.state.lock();
    let stats = state.outbox.stats_mut();
    stats.is_connected = false;
    stats.last_error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
    let stats = stats.clone();
    drop(state);
    shared.changed.notify_all();
    stats
}

/// Connects to `address` and sends until the connection fails or the sender is closed. Returns why it ended.
///
/// # Errors
/// Fails if no connection can be established, or the relay refuses it.
fn serve_connection(shared: &Shared, config: &SendConfig, session: Session, address: &str) -> io::Result<String> {
    let opened = connect(address);
    shared.state.lock().outbox.stats_mut().is_reachable = opened.is_ok();
    let stream =
        opened.map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))?;
    {
        let mut state = shared.state.lock();
        if state.is_closed {
            return Ok("closed".to_owned());
        }
        state.stream = Some(stream.try_clone()?);
        state.broken = None;
    }
    let outcome = exchange(shared, config, session, &stream, address);
    shared.state.lock().stream = None;
    let _ = stream.shutdown(Shutdown::Both);
    outcome
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last_error = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                return Ok(stream);
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn exchange(
    shared: &Shared,
    config: &SendConfig,
    session: Session,
    stream: &TcpStream,
    address: &str,
) -> io::Result<String> {
    let SendConfig { app, worker, origin, token, .. } = config;
    let hello = Hello { session, app, worker, origin: *origin, token: token.as_deref() };
    let mut writer = stream;
    let hello = [&preamble(), &Message::Hello(hello).to_frame()[..]].concat();
    writer.write_all(&hello).map_err(|error| no_welcome(&error, address))?;
    let mut replies = Replies::default();
    let (last_seq, frame_bytes_max) = loop {
        match replies.next(stream).map_err(|error| no_welcome(&error, address))? {
            Reply::Welcome { last_seq, frame_bytes_max } => break (last_seq, frame_bytes_max),
            Reply::Refused { reason } => {
                shared.state.lock().outbox.stats_mut().refused = Some(reason.to_owned());
                return Err(io::Error::other(format!("the relay refuses: {reason}")));
            }
            Reply::Ack { .. } | Reply::Rejected { .. } => {}
        }
    };
    let mut state = shared.state.lock();
    let progress = state.outbox.welcome(last_seq, frame_bytes_max);
    let stats = state.outbox.stats_mut();
    (stats.is_connected, stats.connections) = (true, stats.connections + 1);
    (stats.last_error, stats.refused) = (None, None);
    drop(state);
    shared.changed.notify_all();
    // A relay may have nothing to acknowledge for a long time. The other thread notices if it should have.
    stream.set_read_timeout(None)?;
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("joey-acks".to_owned());
        reader.spawn_scoped(scope, move || {
            let reason = read_replies(shared, replies, stream);
            shared.state.lock().broken = Some(reason);
            shared.changed.notify_all();
        })?;
        let reason = write_messages(shared, progress, frame_bytes_max, stream);
        // Ends the other thread.
        let _ = stream.shutdown(Shutdown::Both);
        Ok(reason)
    })
}

/// Why a server at `address` is probably not a relay's port for producers: a relay answers before it closes, unless the limit on
/// connections or the producer's network keep it from reading.
fn no_welcome(error: &io::Error, address: &str) -> io::Error {
    let port = "name the port for producers (joey serve --ingest, 5001 by default)";
    let reason = match error.kind() {
        ErrorKind::InvalidData => format!("{address} does not speak Joey's ingest protocol; {port}"),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("{address} does not answer; {port}"),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => format!(
            "{address} does not speak Joey's ingest protocol; {port}, or allow this connection there (--producers, \
             --per-address, --producers-allow)"
        ),
        _ => format!("{address}: {error}"),
    };
    io::Error::new(error.kind(), reason)
}

/// Sends what was not sent on this connection, until it fails or the sender is closed. Returns the reason.
fn write_messages(shared: &Shared, mut progress: Progress, frame_bytes_max: u32, mut stream: &TcpStream) -> String {
    let frame_bytes_max = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut state = shared.state.lock();
        loop {
            if state.is_closed {
                return "closed".to_owned();
            }
            if let Some(reason) = state.broken.take() {
                return reason;
            }
            let had_sent = is_unacknowledged(&state, &progress);
            state.outbox.write(&mut progress, &mut bytes, WRITE_BYTES, frame_bytes_max);
            if !bytes.is_empty() {
                if !had_sent {
                    state.acknowledged_at = Instant::now();
                }
                break;
            }
            if had_sent {
                let Some(left) = SILENCE_MAX.checked_sub(state.acknowledged_at.elapsed()) else {
                    return "no acknowledgement for 10 s".to_owned();
                };
                shared.changed.wait_for(&mut state, left);
            } else {
                shared.changed.wait(&mut state);
            }
        }
        drop(state);
        if let Err(error) = stream.write_all(&bytes) {
            return error.to_string();
        }
    }
}

/// Whether a message was sent that is not acknowledged.
fn is_unacknowledged(state: &State, progress: &Progress) -> bool {
    !state.outbox.is_empty() && progress.sent_seq() >= state.outbox.first_seq()
}

/// Applies replies until the connection ends. Returns the reason.
fn read_replies(shared: &Shared, mut replies: Replies, stream: &TcpStream) -> String {
    loop {
        let reply = match replies.next(stream) {
            Ok(reply) => reply,
            Err(error) => return error.to_string(),
        };
        let mut state = shared.state.lock();
        match reply {
            Reply::Ack { seq } => {
                if state.outbox.acknowledge(seq) {
                    state.acknowledged_at = Instant::now();
                }
            }
            Reply::Rejected { histograms, count, reason, .. } => state.outbox.reject(histograms, count, reason),
            Reply::Welcome { .. } | Reply::Refused { .. } => {}
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// Reads replies from a connection.
#[derive(Default)]
struct Replies {
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that were decoded.
    taken: usize,
}

impl Replies {
    fn next(&mut self, mut stream: &TcpStream) -> io::Result<Reply<'_>> {
        let invalid = |_| io::Error::new(ErrorKind::InvalidData, "the answer is not from a relay");
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let length = loop {
            if let Some(body) = next_frame(&self.buffer, REPLY_BYTES_MAX).map_err(invalid)? {
                break body.len();
            }
            let mut chunk = [0; 1024];
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the relay has closed the connection")),
                Ok(bytes) => self.buffer.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        self.taken = HEADER_BYTES + length;
        Reply::decode(&self.buffer[HEADER_BYTES..self.taken]).map_err(invalid)
    }
}

fn random_session() -> Session {
    let mut session = Session::default();
    session[..8].copy_from_slice(&random_u64().to_le_bytes());
    session[8..].copy_from_slice(&random_u64().to_le_bytes());
    session
}

/// A random number. The standard library seeds its hash maps with random keys of the operating system.
fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    // The keys of the second map of a thread differ from those of the first by one, so the input is different too.
    hasher.write_u128(Instant::now().elapsed().as_nanos());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
