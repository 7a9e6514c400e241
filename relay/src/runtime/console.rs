//! Standard error, which may be closed, on a full disk, or a pipe without a reader.
//!
//! A dedicated thread writes to it from a bounded queue. If a line cannot be written, or the queue is full, the line is dropped
//! and counted. So no task waits for standard error or fails because of it.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Maximum number of queued lines, about 1 MB.
const LINES_MAX: usize = 8_192;

static QUEUE: OnceLock<NonBlocking> = OnceLock::new();
/// Number of lines that could not be written.
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Keeps the writer thread alive. When dropped, it writes the queued lines, for about one second at most.
#[must_use]
pub struct Console {
    _worker: WorkerGuard,
}

/// Starts the writer thread, and redirects panic messages from standard error to the log.
pub fn start() -> Console {
    let (queue, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name("console").finish(Stderr);
    // A second call, possible only in tests, keeps the first queue.
    let _ = QUEUE.set(queue);
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("no message");
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(location, "panic: {what}");
        } else {
            line(format_args!("joey: panic: {what}"));
        }
    }));
    Console { _worker: worker }
}

/// Whether a terminal may be coloured: `NO_COLOR` is not set, or empty (<https://no-color.org>).
#[must_use]
pub fn allows_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Maximum number of diverted lines that are not read yet.
const DIVERTED_MAX: usize = 64;

/// Where lines go while the screen of a terminal must not be disturbed.
static DIVERTED: Mutex<Option<Sender<String>>> = Mutex::new(None);

/// Diverts all lines from standard error to the receiver, until [`restore`].
pub fn divert() -> Receiver<String> {
    let (sender, receiver) = mpsc::channel(DIVERTED_MAX);
    *DIVERTED.lock() = Some(sender);
    receiver
}

/// Writes lines to standard error again.
pub fn restore() {
    *DIVERTED.lock() = None;
}

/// Writes a line to standard error, or drops it.
pub fn line(text: impl Display) {
    if let Some(sender) = &*DIVERTED.lock() {
        // Nobody reads them any faster than they are shown.
        let _ = sender.try_send(text.to_string());
        return;
    }
    let text = format!("{text}\n");
    match QUEUE.get() {
        Some(queue) => _ = queue.clone().write_all(text.as_bytes()),
        None => _ = Stderr.write(text.as_bytes()),
    }
}

/// The writer for the log.
#[must_use]
pub fn writer() -> impl for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static {
    || -> Box<dyn Write> {
        match QUEUE.get() {
            Some(queue) => Box::new(queue.clone()),
            None => Box::new(Stderr),
        }
    }
}

/// Number of lines dropped since the program started.
#[must_use]
pub fn dropped() -> u64 {
    let queue_full = QUEUE.get().map_or(0, |queue| queue.error_counter().dropped_lines() as u64);
    FAILED.load(Relaxed) + queue_full
}

/// Standard error. A failed write is counted and is not an error.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().lock().write_all(line).is_err() {
            FAILED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
