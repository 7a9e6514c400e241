//! Producers that send at a steady rate and reconnect as a Wallaroo worker does: after 250 ms, without what happened
//! meanwhile.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use joey_tests::delivery::numbered;
use joey_tests::{Producer, Relay, S, now_ns};

/// Interval at which each producer sends.
const SEND_INTERVAL: Duration = Duration::from_millis(10);
/// Time that a producer waits before it reconnects.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);
/// Number of frames whose time of sending is stored.
const REMEMBERED: usize = 1 << 17;

/// When each recent number of each application was sent.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    sent_ns: Vec<Vec<AtomicU64>>,
}

impl Clock {
    /// How long ago `number` was sent.
    pub(crate) fn age(&self, app: usize, number: u64) -> Duration {
        let at = usize::try_from(number).unwrap_or(0) % REMEMBERED;
        self.start.elapsed().saturating_sub(Duration::from_nanos(self.sent_ns[app][at].load(Relaxed)))
    }

    fn record(&self, app: usize, number: u64) {
        let at = usize::try_from(number).unwrap_or(0) % REMEMBERED;
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sent_ns[app][at].store(now, Relaxed);
    }
}

/// The numbers sent over each connection of each producer, in order.
pub(crate) type Sent = Vec<Vec<RangeInclusive<u64>>>;

/// Running producers, one for each application.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) clock: Arc<Clock>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// Name of an application.
pub(crate) fn app(at: usize) -> String {
    format!("App{at}")
}

impl Load {
    /// Starts `apps` producers that together send `per_sec` frames per second.
    pub(crate) fn start(relay: &Relay, apps: usize, per_sec: u64) -> Self {
        let sent_ns = (0..apps).map(|_| (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect()).collect();
        let (clock, stop) = (Arc::new(Clock { start: Instant::now(), sent_ns }), Arc::new(AtomicBool::new(false)));
        let (ingest, own, ends) = (relay.ingest, clock.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut workers: Vec<Worker> = (0..apps).map(|at| Worker::new(at, ingest)).collect();
            let start = Instant::now();
            let mut sent = 0;
            for tick in 1.. {
                if ends.load(Relaxed) {
                    break;
                }
                // After a late tick, the next one catches up.
                let due = per_sec * tick / 100;
                for number in sent..due {
                    let at = usize::try_from(number).expect("it fits") % apps;
                    workers[at].send(&own);
                }
                sent = due;
                let next = start + SEND_INTERVAL * u32::try_from(tick).expect("it fits");
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            workers.into_iter().map(Worker::finish).collect()
        });
        Self { clock, stop, thread }
    }

    /// Stops the producers; returns what they sent once the relay has read it.
    pub(crate) fn finish(self) -> Sent {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("producers do not fail")
    }
}

/// One producer.
struct Worker {
    at: usize,
    app: String,
    ingest: std::net::SocketAddr,
    producer: Option<Producer>,
    retry: Instant,
    next: u64,
    sent: Vec<RangeInclusive<u64>>,
}

impl Worker {
    fn new(at: usize, ingest: std::net::SocketAddr) -> Self {
        Self { at, app: app(at), ingest, producer: None, retry: Instant::now(), next: 1, sent: Vec::new() }
    }

    fn send(&mut self, clock: &Clock) {
        let number = self.next;
        self.next += 1;
        if self.producer.is_none() && self.retry <= Instant::now() {
            self.producer = Producer::try_connect_and_join(self.ingest, &self.app, "w");
            self.retry = Instant::now() + RECONNECT_DELAY;
            if self.producer.is_some() {
                self.sent.push(number..=number - 1);
            }
        }
        let Some(producer) = &mut self.producer else { return };
        let mut frame = numbered(&self.app, "w", number);
        frame.end_ns = now_ns() / (2 * S) * 2 * S;
        clock.record(self.at, number);
        if !producer.try_write(&frame.encode()) {
            self.producer = None;
            self.retry = Instant::now() + RECONNECT_DELAY;
        } else if let Some(range) = self.sent.last_mut() {
            *range = *range.start()..=number;
        }
    }

    fn finish(self) -> Vec<RangeInclusive<u64>> {
        if let Some(producer) = self.producer {
            producer.finish();
        }
        self.sent
    }
}
