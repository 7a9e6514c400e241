//! Lanes: the counters that one thread writes, so that recording needs no locked instruction.
//!
//! Each thread owns a lane number for as long as it lives. It adds to the counters of its lane with a plain load and
//! store, because nobody else writes them. Counters are never reset; whoever takes a snapshot remembers what it has
//! seen. A count can therefore neither be lost nor be seen twice.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use joey_shared::histogram::Grid;

/// The bins in which durations are counted.
pub(crate) const GRID: Grid = Grid::FINEST;
/// Number of bins: `GRID.bins()`.
const BINS: usize = 513;
/// Number of threads that can own a lane at a time. Further threads share a lane, which costs them locked instructions.
pub(crate) const LANES: usize = 64;

/// The lanes that threads own, one bit for each.
static OWNED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LANE: LaneNumber = LaneNumber::acquire();
    /// The same number, for a faster access: `LANES` if the thread owns none, `UNKNOWN` before the first use.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
}

const UNKNOWN: usize = usize::MAX;

/// A lane number that the current thread owns until it ends; [`LANES`] if none is free.
struct LaneNumber(usize);

impl LaneNumber {
    fn acquire() -> Self {
        let mut owned = OWNED.load(Relaxed);
        loop {
            let number = owned.trailing_ones() as usize;
            if number >= LANES {
                return Self(LANES);
            }
            match OWNED.compare_exchange_weak(owned, owned | 1 << number, AcqRel, Relaxed) {
                Ok(_) => return Self(number),
                Err(now) => owned = now,
            }
        }
    }
}

impl Drop for LaneNumber {
    fn drop(&mut self) {
        // The thread may still record in the destructors of other variables.
        let _ = NUMBER.try_with(|number| number.set(LANES));
        if self.0 < LANES {
            OWNED.fetch_and(!(1 << self.0), Release);
        }
    }
}

/// The lane of the current thread; [`LANES`] if it owns none.
#[inline]
pub(crate) fn current() -> usize {
    let number = NUMBER.try_with(Cell::get).unwrap_or(LANES);
    if number == UNKNOWN { first_use() } else { number }
}

#[cold]
fn first_use() -> usize {
    let number = LANE.try_with(|lane| lane.0).unwrap_or(LANES);
    let _ = NUMBER.try_with(|known| known.set(number));
    number
}

/// The counters of one series and one lane, about 4 KiB. The alignment keeps those of other threads out of its cache
/// lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lane {
    counts: [AtomicU64; BINS],
    /// The sum of all durations in ns, modulo `2^64`.
    sum_ns: AtomicU64,
    /// The extremes since the last snapshot.
    min_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BINS],
            sum_ns: AtomicU64::new(0),
            min_ns: AtomicU64::new(u64::MAX),
            max_ns: AtomicU64::new(0),
        }
    }
}

/// What was seen of a lane in earlier snapshots.
#[derive(Debug)]
pub(crate) struct Seen {
    counts: Box<[u64; BINS]>,
    sum_ns: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { counts: Box::new([0; BINS]), sum_ns: 0 }
    }
}

/// What was recorded between two snapshots of a lane, except the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extremes {
    pub(crate) min_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) sum_ns: u64,
}

impl Lane {
    /// Records a duration. Only the thread that owns the lane may call this.
    #[inline]
    pub(crate) fn record(&self, ns: u64, count: u64) {
        self.record_extremes(ns);
        let add = |counter: &AtomicU64, number: u64| counter.store(counter.load(Relaxed).wrapping_add(number), Release);
        add(&self.sum_ns, ns.wrapping_mul(count));
        if let Some(counter) = self.counts.get(GRID.bin_of(ns)) {
            add(counter, count);
        }
    }

    /// Records a duration from any thread.
    pub(crate) fn record_shared(&self, ns: u64, count: u64) {
        self.record_extremes(ns);
        self.sum_ns.fetch_add(ns.wrapping_mul(count), Release);
        if let Some(counter) = self.counts.get(GRID.bin_of(ns)) {
            counter.fetch_add(count, Release);
        }
    }

    #[inline]
    fn record_extremes(&self, ns: u64) {
        // A snapshot may reset them at the same time, so a change needs a locked instruction. It is rare.
        if ns < self.min_ns.load(Relaxed) {
            self.min_ns.fetch_min(ns, Relaxed);
        }
        if ns > self.max_ns.load(Relaxed) {
            self.max_ns.fetch_max(ns, Relaxed);
        }
    }

    /// Calls `visit(bin, count)` for what was recorded since `seen`. Returns the extremes and the sum of it; `None` if
    /// there is nothing.
    ///
    /// The writer updates the extremes first, then the sum, then the count. So a duration that is recorded at this
    /// instant may have its extremes or its sum in this snapshot, and its count in the next one. Extremes outside the
    /// counted bins are therefore left for the next snapshot, and missing ones are replaced by the edge of the
    /// outermost bin. Sums are exact over all snapshots.
    pub(crate) fn take(&self, seen: &mut Seen, mut visit: impl FnMut(usize, u64)) -> Option<Extremes> {
        let mut bins: Option<(usize, usize)> = None;
        for (bin, (counter, seen)) in self.counts.iter().zip(seen.counts.iter_mut()).enumerate() {
            let now = counter.load(Acquire);
            let count = now.wrapping_sub(*seen);
            if count > 0 {
                *seen = now;
                bins = Some((bins.map_or(bin, |(first, _)| first), bin));
                visit(bin, count);
            }
        }
        let (first, last) = bins?;
        let (mut min_ns, mut max_ns) = (self.min_ns.swap(u64::MAX, Relaxed), self.max_ns.swap(0, Relaxed));
        let (in_min, in_max) = (GRID.bin_of(min_ns), GRID.bin_of(max_ns));
        if in_min < first {
            self.min_ns.fetch_min(min_ns, Relaxed);
        }
        if in_max > last {
            self.max_ns.fetch_max(max_ns, Relaxed);
        }
        if in_min != first {
            min_ns = GRID.low(first);
        }
        if in_max != last {
            max_ns = u64::try_from(GRID.high(last) - 1).unwrap_or(u64::MAX);
        }
        let sum_ns = self.sum_ns.load(Acquire);
        let since = sum_ns.wrapping_sub(seen.sum_ns);
        seen.sum_ns = sum_ns;
        Some(Extremes { min_ns, max_ns, sum_ns: since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_counter_for_each_bin() {
        assert_eq!(GRID.bins(), BINS);
    }

    #[test]
    fn a_thread_keeps_its_lane_and_returns_it_at_its_end() {
        let mine = current();
        assert_eq!(current(), mine);
        let other = std::thread::spawn(current).join().unwrap();
        assert!(other != mine && other < LANES);
        assert!(std::thread::spawn(current).join().unwrap() < LANES);
    }

    #[test]
    fn what_was_seen_is_not_seen_again() {
        let (lane, mut seen) = (Lane::default(), Seen::default());
        let mut counts = Vec::new();
        lane.record(100, 1);
        lane.record_shared(100, 2);
        lane.record(5, 1);
        let extremes = lane.take(&mut seen, |bin, count| counts.push((bin, count)));
        assert_eq!(extremes, Some(Extremes { min_ns: 5, max_ns: 100, sum_ns: 305 }));
        assert_eq!(counts, [(GRID.bin_of(5), 1), (GRID.bin_of(100), 3)]);
        assert_eq!(lane.take(&mut seen, |_, _| unreachable!()), None);
        lane.record(7, 1);
        let extremes = lane.take(&mut seen, |_, _| {});
        assert_eq!(extremes, Some(Extremes { min_ns: 7, max_ns: 7, sum_ns: 7 }));
    }

    #[test]
    fn extremes_stay_with_the_counts_of_durations_recorded_during_a_snapshot() {
        let (lane, mut seen) = (Lane::default(), Seen::default());
        lane.record(100, 1);
        // The first steps of recording 5 and 5,000.
        lane.record_extremes(5);
        lane.record_extremes(5_000);
        let (low, high) = (GRID.low(GRID.bin_of(100)), u64::try_from(GRID.high(GRID.bin_of(100))).unwrap());
        let extremes = lane.take(&mut seen, |_, _| {}).unwrap();
        assert_eq!((extremes.min_ns, extremes.max_ns), (low, high - 1));
        lane.record(5, 1);
        lane.record(5_000, 1);
        let extremes = lane.take(&mut seen, |_, _| {}).unwrap();
        assert_eq!((extremes.min_ns, extremes.max_ns), (5, 5_000));

        // The extremes of 100 are in the previous snapshot, its count is not.
        lane.counts[GRID.bin_of(100)].fetch_add(1, Relaxed);
        let extremes = lane.take(&mut seen, |_, _| {}).unwrap();
        assert_eq!((extremes.min_ns, extremes.max_ns), (low, high - 1));
    }
}
