//! Sends histograms to a relay in Joey's own protocol, from threads of its own, and keeps them until the relay has acknowledged
//! them.
//!
//! A [`Sender`] takes the histograms of one period at a time and never blocks. A [`PeriodicSender`] collects them itself, at the
//! end of each period. If the connection breaks or the relay restarts, the sender reconnects and sends again what was not
//! acknowledged; nothing counts twice. If the buffer is full, the oldest data is dropped. [`Stats`] tells how much.
//!
//! `docs/emit-protocol.md` specifies the protocol.

mod connection;
mod outbox;
mod periodic;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub use joey_shared::emit::Origin;
use joey_shared::histogram::Histogram;
use parking_lot::{Condvar, Mutex};

use self::outbox::Outbox;
pub use self::periodic::PeriodicSender;
use crate::snapshot::Snapshot;

/// Where and as what to send.
#[derive(Clone, Debug)]
pub struct SendConfig {
    /// The relays' addresses for producers, as `host:port`. If one fails, the next one is tried. Default: `127.0.0.1:5001`.
    pub relays: Vec<String>,
    /// The application.
    pub app: String,
    /// The worker: the instance of the application.
    pub worker: String,
    /// The kind of producer. Default: an application that measures itself.
    pub origin: Origin,
    /// A token, for a relay that checks tokens of producers. Default: none.
    pub token: Option<String>,
    /// Memory for data that is not acknowledged, in bytes. Beyond it, the oldest data is dropped and counted. Default:
    /// 4 MiB, about 50,000 histograms.
    pub buffer_bytes: usize,
    /// Time for which dropping the sender waits for acknowledgements. Default: 2 s.
    pub flush_timeout: Duration,
}

impl SendConfig {
    /// The defaults, for this application and worker.
    #[must_use]
    pub fn new(app: impl Into<String>, worker: impl Into<String>) -> Self {
        Self {
            relays: vec!["127.0.0.1:5001".to_owned()],
            app: app.into(),
            worker: worker.into(),
            origin: Origin::Emit,
            token: None,
            buffer_bytes: 4 << 20,
            flush_timeout: Duration::from_secs(2),
        }
    }
}

/// The names of a series, and what its histograms do not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesName {
    /// What is measured, for example `computation`.
    pub category: Arc<str>,
    /// The pipeline; may be empty.
    pub pipeline: Arc<str>,
    /// The name of the metric.
    pub name: Arc<str>,
    /// Whether counts may be in a higher bin than their durations.
    pub is_approximate: bool,
    /// Whether only a part of the events is counted.
    pub is_sampled: bool,
    /// Whether minimum and maximum are exact.
    pub has_extremes: bool,
}

impl SeriesName {
    /// A series of exact histograms.
    #[must_use]
    pub fn exact(category: impl Into<Arc<str>>, pipeline: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        let (category, pipeline, name) = (category.into(), pipeline.into(), name.into());
        Self { category, pipeline, name, is_approximate: false, is_sampled: false, has_extremes: true }
    }
}

impl From<Snapshot> for (SeriesName, Histogram) {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { category, pipeline, name, histogram } = snapshot;
        (SeriesName::exact(category, pipeline, name), histogram)
    }
}

/// A number of histograms, and of durations in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Histograms.
    pub histograms: u64,
    /// Durations that they count.
    pub durations: u64,
}

impl Totals {
    fn of(histogram: &Histogram) -> Self {
        Self { histograms: 1, durations: u64::try_from(histogram.count()).unwrap_or(u64::MAX) }
    }

    fn add(&mut self, other: Self) {
        self.histograms = self.histograms.saturating_add(other.histograms);
        self.durations = self.durations.saturating_add(other.durations);
    }
}

/// What has become of the data so far. [`Stats::recorded`] is the sum of what was acknowledged, was dropped and is in the buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Given to the sender.
    pub recorded: Totals,
    /// Received by a relay, including what it has rejected.
    pub acknowledged: Totals,
    /// Dropped because the buffer was full, there were too many series, or a message was too long for the relay. A part of it may
    /// have arrived, if only the acknowledgement is missing.
    pub dropped: Totals,
    /// Rejected by a relay, by reason.
    pub rejected: Vec<(String, Totals)>,
    /// Memory in use for data that is not acknowledged, in bytes.
    pub buffered_bytes: usize,
    /// Whether a relay has accepted the current connection.
    pub is_connected: bool,
    /// Whether the last attempt has found a listener, whatever it then answered.
    pub is_reachable: bool,
    /// Number of connections that a relay has accepted.
    pub connections: u64,
    /// Why the last connection failed or was refused, with its address.
    pub last_error: Option<String>,
    /// The relay's reason, if it has refused the last connection. The sender tries again nevertheless.
    pub refused: Option<String>,
}

/// Sends histograms from a thread of its own. Dropping it waits for acknowledgements for [`SendConfig::flush_timeout`].
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    flush_timeout: Duration,
}

/// What the application's threads and the sender's thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified after each change of the state.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    is_closed: bool,
    /// The current connection, to end it from another thread.
    stream: Option<TcpStream>,
    /// Why the thread that reads replies has ended, if it has.
    broken: Option<String>,
    /// When the relay has last acknowledged something on this connection, or should have started to.
    acknowledged_at: Instant,
}

impl Sender {
    /// Starts to connect.
    ///
    /// # Errors
    /// Fails if the thread cannot be started.
    pub fn start(config: SendConfig) -> io::Result<Self> {
        let state = State {
            outbox: Outbox::new(config.buffer_bytes),
            is_closed: false,
            stream: None,
            broken: None,
            acknowledged_at: Instant::now(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let flush_timeout = config.flush_timeout;
        let of_thread = shared.clone();
        thread::Builder::new().name("joey-send".to_owned()).spawn(move || connection::run(&of_thread, &config))?;
        Ok(Self { shared, flush_timeout })
    }

    /// Adds the histograms of the period that ended `end_ns` after the Unix epoch and was `period_ns` long. Empty ones
    /// are left out. Relays reject periods outside 10 ms to 1 h.
    pub fn send(&self, period_ns: u64, end_ns: u64, histograms: impl IntoIterator<Item = (SeriesName, Histogram)>) {
        self.shared.state.lock().outbox.push(period_ns, end_ns, histograms);
        self.shared.changed.notify_all();
    }

    /// What has become of the data so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.state.lock().outbox.stats()
    }

    /// Waits until everything is acknowledged or dropped, at most for `timeout`. Returns whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.shared.state.lock();
        while !state.outbox.is_empty() {
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else { return false };
            self.shared.changed.wait_for(&mut state, left);
        }
        true
    }
}

impl Sender {
    /// Waits for acknowledgements for [`SendConfig::flush_timeout`], then ends the connection. Only the first call has an effect.
    fn close(&self) {
        if self.shared.state.lock().is_closed {
            return;
        }
        self.flush(self.flush_timeout);
        let mut state = self.shared.state.lock();
        state.is_closed = true;
        if let Some(stream) = state.stream.take() {
            // Both threads of the connection notice that.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
