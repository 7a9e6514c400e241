//! Producers that send a histogram of each series every second, through Joey's own ingest protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use joey_emit::send::{SendConfig, Sender, SeriesName};
use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_tests::{Relay, S, now_ns};

/// The application that all sources report.
pub(crate) const APP: &str = "Bench";
/// Number of producers.
const WORKERS: usize = 10;
/// Periods before the page opens: a full window, and a margin at its edge.
const PAST_SECONDS: u64 = 296;
/// Maximum number of updates before the page opens. With 10,000 series the window is full after five minutes only.
const PAST_UPDATES_MAX: u64 = 600_000;
/// How long the relay may take to acknowledge the history.
const PATIENCE: Duration = Duration::from_secs(120);
/// Start of an accelerated source, before now. The relay takes such periods for a recording and does not correct their clock.
const RECORDED_AGO_SECONDS: u64 = 3 * 86_400;

/// The series of a scene.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// Their number, a multiple of ten.
    pub(crate) count: usize,
    /// The scale of their histograms: 0, whose bins double, or 3, whose bins are 9 % wide.
    pub(crate) scale: u8,
}

impl Series {
    /// The histogram of series `number` for the second that ends at `end_s`. It differs in each second.
    pub(crate) fn histogram(self, number: usize, end_s: u64) -> Histogram {
        let grid = Grid::new(self.scale, Unit::Nanoseconds).expect("the scale is valid");
        let mut histogram = Histogram::new(grid);
        let base_ns = 20_000 << (number % 5);
        // A service's latencies: most are near the median, fewer and fewer are longer.
        for step in 0..24_u64 {
            let count = (400 >> step.min(8)) + (7 * number as u64 + 13 * end_s + 3 * step) % (200 >> step.min(7));
            histogram.record_many(base_ns + base_ns * step * step / 12, count);
        }
        histogram
    }

    /// Reads a scene from the command line.
    pub(crate) fn read(count: &str, scale: &str) -> Self {
        Self { count: count.parse().expect("a number of series"), scale: scale.parse().expect("a scale") }
    }

    /// Number of seconds of history that a page has to load.
    fn past_seconds(self) -> u64 {
        PAST_SECONDS.min(PAST_UPDATES_MAX / self.count as u64)
    }

    /// Sends the period that ends at `end_s` of all series.
    fn send(self, workers: &[Sender], end_s: u64) {
        let each = self.count / workers.len();
        for (worker, sender) in workers.iter().enumerate() {
            let named = |number: usize| {
                let name = SeriesName::exact("computation", "Orders", format!("Step {number:05}"));
                (name, self.histogram(number, end_s))
            };
            sender.send(S, end_s * S, (worker * each..(worker + 1) * each).map(named));
        }
    }
}

/// A thread that sends the periods of all series until it is dropped.
#[derive(Debug)]
pub(crate) struct Source {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Sends the history, then continues in real time.
    pub(crate) fn start(relay: &Relay, series: Series) -> Self {
        let workers = workers(relay);
        let mut next_s = now_ns() / S - series.past_seconds();
        send_history(series, &workers, &mut next_s, || now_ns() / S);
        Self::spawn(move |_| {
            while next_s <= now_ns() / S {
                series.send(&workers, next_s);
                next_s += 1;
            }
            Duration::from_nanos(S - now_ns() % S)
        })
    }

    /// Sends the history, then continues `speed` times as fast as real time, three days ago.
    pub(crate) fn start_accelerated(relay: &Relay, series: Series, history_seconds: u64, speed: u32) -> Self {
        let workers = workers(relay);
        let first_s = now_ns() / S - RECORDED_AGO_SECONDS;
        let mut next_s = first_s;
        send_history(series, &workers, &mut next_s, || first_s + history_seconds);
        Self::spawn(move |started| {
            series.send(&workers, next_s);
            next_s += 1;
            let due = Duration::from_secs(next_s - first_s - history_seconds) / speed;
            due.saturating_sub(started.elapsed())
        })
    }

    /// Calls `send` in a thread, which returns how long to wait before the next call.
    fn spawn(mut send: impl FnMut(Instant) -> Duration + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let started = Instant::now();
            while !is_asked.load(Ordering::Relaxed) {
                sleep(send(started));
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the sender's thread runs");
        }
    }
}

fn workers(relay: &Relay) -> Vec<Sender> {
    let relays = vec![relay.ingest.to_string()];
    let config =
        |number: usize| SendConfig { relays: relays.clone(), ..SendConfig::new(APP, format!("worker-{number}")) };
    (0..WORKERS).map(|number| Sender::start(config(number)).expect("a thread can be started")).collect()
}

/// Sends all periods from `next_s` to the one that `through_s` returns, and waits until the relay has them.
fn send_history(series: Series, workers: &[Sender], next_s: &mut u64, through_s: impl Fn() -> u64) {
    while *next_s <= through_s() {
        series.send(workers, *next_s);
        *next_s += 1;
        // Without this, the buffer of a sender would overflow.
        if next_s.is_multiple_of(20) || *next_s > through_s() {
            assert!(workers.iter().all(|worker| worker.flush(PATIENCE)), "the relay acknowledges the history");
        }
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, scale } = self;
        if *count >= 1_000 {
            write!(out, "{},{:03} series, scale {scale}", count / 1_000, count % 1_000)
        } else {
            write!(out, "{count} series, scale {scale}")
        }
    }
}
