//! Standard error, which may be closed, on a full disk, or a pipe that nobody reads.
//!
//! A thread of its own writes to it, behind a queue of bounded length. A line that cannot be written, or for which there is no
//! room in the queue, is dropped and counted. So no task waits for the console, and none fails with it.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written. A megabyte or so.
const LINES_MAX: usize = 8_192;

static QUEUE: OnceLock<NonBlocking> = OnceLock::new();
/// Lines that could not be written.
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Standard error in use. When dropped, it writes what waits, for about a second at most.
#[must_use]
pub struct Console {
    _worker: WorkerGuard,
}

/// Starts the thread that writes, and has panics reported through the log instead of straight to standard error.
pub fn start() -> Console {
    let (queue, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name("console").finish(Stderr);
    // A second start, which only a test could make, keeps the first queue.
    let _ = QUEUE.set(queue);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("no message");
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(place, "panic: {what}");
        } else {
            line(format_args!("joey: panic: {what}"));
        }
    }));
    Console { _worker: worker }
}

/// Writes a line, or drops it.
pub fn line(text: impl Display) {
    let text = format!("{text}\n");
    match QUEUE.get() {
        Some(queue) => _ = queue.clone().write_all(text.as_bytes()),
        None => _ = Stderr.write(text.as_bytes()),
    }
}

/// Where the log goes.
#[must_use]
pub fn writer() -> impl for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static {
    || -> Box<dyn Write> {
        match QUEUE.get() {
            Some(queue) => Box::new(queue.clone()),
            None => Box::new(Stderr),
        }
    }
}

/// How many lines were dropped since the program began.
#[must_use]
pub fn dropped() -> u64 {
    let waiting_in_vain = QUEUE.get().map_or(0, |queue| queue.error_counter().dropped_lines() as u64);
    FAILED.load(Relaxed) + waiting_in_vain
}

/// Standard error; a write that fails is counted and no error.
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
