//! A series: the handle that records durations.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use joey_shared::histogram::Histogram;
use parking_lot::Mutex;

use crate::lane::{self, GRID, LANES, Lane, Seen};
use crate::snapshot::Snapshot;

/// A handle that records durations of one series. Cloning it is cheap, and clones record to the same series.
///
/// Recording takes a few nanoseconds on any thread, allocates nothing and never blocks.
#[derive(Clone)]
pub struct Series(Option<Arc<Inner>>);

/// One series and its counters.
pub(crate) struct Inner {
    category: Arc<str>,
    pipeline: Arc<str>,
    name: Arc<str>,
    /// The lanes of threads that have recorded before.
    lanes: [OnceLock<Box<Lane>>; LANES],
    /// The lanes that [`Inner::take`] should create, one bit for each. Until then their threads use the shared lane, so
    /// that recording never allocates.
    wanted: AtomicU64,
    /// The lane of all other threads.
    shared: Lane,
    seen: Mutex<AllSeen>,
}

/// What earlier snapshots have seen of each lane.
#[derive(Default)]
struct AllSeen {
    lanes: Vec<Option<Box<Seen>>>,
    shared: Seen,
}

impl fmt::Debug for Series {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(inner) = &self.0 else { return out.write_str("Series(disabled)") };
        write!(out, "Series({}, {}, {})", inner.category, inner.pipeline, inner.name)
    }
}

impl Series {
    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self(Some(inner))
    }

    /// A handle that records nothing, for measurements that are switched off. A series beyond the limit is one too.
    #[must_use]
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Whether it records. It does not if it is [`Series::disabled`], or the maximum number of series existed when it was
    /// created.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Records a duration. Durations above 584 years count as that long.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a duration in ns.
    #[inline]
    pub fn record_ns(&self, ns: u64) {
        self.record_many_ns(ns, 1);
    }

    /// Records a duration, in ns, `count` times.
    #[inline]
    pub fn record_many_ns(&self, ns: u64, count: u64) {
        let Some(inner) = &self.0 else { return };
        let number = lane::current();
        match inner.lanes.get(number).and_then(OnceLock::get) {
            Some(lane) => lane.record(ns, count),
            None => inner.record_shared(number, ns, count),
        }
    }

    /// Counts events without durations, for a series of the category `throughput` or `pipeline-ingestion`.
    #[inline]
    pub fn count(&self, events: u64) {
        self.record_many_ns(0, events);
    }

    /// Starts a timer that records when it is dropped. It reads no clock if the series records nothing.
    #[must_use = "the duration is recorded when the timer is dropped"]
    pub fn start(&self) -> Timer<'_> {
        Timer { series: self, start: self.is_recording().then(Instant::now) }
    }

    /// Runs `work` and records how long it took.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let timer = self.start();
        let result = work();
        drop(timer);
        result
    }
}

impl Inner {
    pub(crate) fn new(category: &str, pipeline: &str, name: &str) -> Self {
        Self {
            category: category.into(),
            pipeline: pipeline.into(),
            name: name.into(),
            lanes: [const { OnceLock::new() }; LANES],
            wanted: AtomicU64::new(0),
            shared: Lane::default(),
            seen: Mutex::default(),
        }
    }

    #[cold]
    fn record_shared(&self, number: usize, ns: u64, count: u64) {
        if number < LANES && self.wanted.load(Relaxed) & (1 << number) == 0 {
            self.wanted.fetch_or(1 << number, Relaxed);
        }
        self.shared.record_shared(ns, count);
    }

    /// What was recorded since the last call; `None` if there is nothing. Creates wanted lanes, each of which reduces
    /// `lanes_left`.
    pub(crate) fn take(&self, lanes_left: &AtomicUsize) -> Option<Snapshot> {
        let mut histogram = Histogram::with_sum(GRID);
        let mut seen = self.seen.lock();
        seen.lanes.resize_with(LANES, || None);
        let AllSeen { lanes, shared } = &mut *seen;
        let used = self.lanes.iter().zip(lanes).filter_map(|(lane, seen)| Some((lane.get()?, seen)));
        for (lane, seen) in used {
            take(lane, seen.get_or_insert_default(), &mut histogram);
        }
        take(&self.shared, shared, &mut histogram);
        drop(seen);
        let wanted = self.wanted.swap(0, Relaxed);
        for (number, lane) in self.lanes.iter().enumerate() {
            let reserve = || lanes_left.try_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            if wanted & (1 << number) != 0 && lane.get().is_none() && reserve() {
                lane.get_or_init(Box::default);
            }
        }
        if histogram.is_empty() {
            return None;
        }
        // The sums of lanes are modulo 2^64.
        let sum_max = histogram.count().saturating_mul(u128::from(histogram.max_ns));
        histogram.sum_ns = histogram.sum_ns.filter(|_| sum_max <= u128::from(u64::MAX));
        let (category, pipeline, name) = (self.category.clone(), self.pipeline.clone(), self.name.clone());
        Some(Snapshot { category, pipeline, name, histogram })
    }
}

fn take(lane: &Lane, seen: &mut Seen, histogram: &mut Histogram) {
    let extremes = lane.take(seen, |bin, count| histogram.add(bin, count));
    if let Some(extremes) = extremes {
        histogram.min_ns = histogram.min_ns.min(extremes.min_ns);
        histogram.max_ns = histogram.max_ns.max(extremes.max_ns);
        histogram.sum_ns = histogram.sum_ns.and_then(|sum| sum.checked_add(extremes.sum_ns));
    }
}

/// Records the time since its start when it is dropped.
#[derive(Debug)]
pub struct Timer<'a> {
    series: &'a Series,
    start: Option<Instant>,
}

impl Timer<'_> {
    /// Ends the timer without recording.
    pub fn discard(mut self) {
        self.start = None;
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            self.series.record(start.elapsed());
        }
    }
}
