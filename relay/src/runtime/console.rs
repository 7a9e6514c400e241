//! Standard error, which may be closed, on a full disk, or a pipe without a reader.
//!
//! A dedicated thread writes to it from a bounded queue. If a line cannot be written, or the queue is full, the line is dropped
//! and counted. So no task waits for standard error or fails because of it.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// Writes a line to standard error, or drops it.
pub fn line(text: impl Display) {
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
