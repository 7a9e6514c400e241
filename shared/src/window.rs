//! The window of one view: the latencies and the number of events of each second, over the last hour. Seconds older than 15
//! minutes are merged into steps of ten seconds, the resolution of the relay's rollups.
//!
//! The rules:
//! - A histogram belongs completely to the second in which its period ended. Its events are spread evenly over its period.
//! - The order of arrival does not matter. An update that is older than all retained seconds is rejected as late.
//! - The sum over the window is maintained by adding and subtracting integers, so it always equals the recomputed sum.
//! - A second without data counts as zero from the first second of the view on. Earlier seconds do not exist.
//!
//! Second `k` is the span `((k-1) s, k s]` since the Unix epoch, because periods are identified by their ends.

mod between;
mod extremes;
pub(crate) mod state;
mod sum;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::ops::RangeInclusive;

use self::extremes::Extremes;
use self::sum::WindowSum;
use crate::histogram::{Histogram, Quantile, QuantileRange};
use crate::wire::{PackedHistogram, Update};

/// Nanoseconds in one slot.
pub const SLOT_NS: u64 = 1_000_000_000;
/// Longest window, in seconds. Older seconds are removed.
pub const SECONDS_MAX: u64 = 3_600;
/// Age up to which single seconds are retained, in seconds.
const FINE_SECONDS: u64 = 900;
/// Length of a step, in seconds. Older seconds are merged into steps.
const STEP: u64 = 10;

/// The second that the instant `ns` belongs to, both since the Unix epoch.
#[must_use]
pub const fn second_of(ns: u64) -> u64 {
    ns.div_ceil(SLOT_NS)
}

/// The last second that is merged into a step if the newest second is `clock`.
const fn coarse_through(clock: u64) -> u64 {
    let oldest_fine = clock.saturating_sub(FINE_SECONDS);
    oldest_fine - oldest_fine % STEP
}

/// The first second of a window of `seconds` whose rate changes when the newest second becomes `clock` after `before`, because of
/// an update whose period starts with second `first`, and of seconds that are merged into steps.
pub(crate) fn first_changed_second(first: u64, before: u64, clock: u64, seconds: u64) -> u64 {
    let (from, to) = (coarse_through(before), coarse_through(clock));
    let first = if first <= to { (first - 1) / STEP * STEP + 1 } else { first };
    if from < to && to + seconds > clock { first.min(from + 1) } else { first }
}

/// Events per second: minimum, median and maximum over the complete seconds of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Minimum.
    pub min: f64,
    /// Median; for an even number of seconds, the mean of the two middle values.
    pub median: f64,
    /// Maximum.
    pub max: f64,
}

/// Number of complete seconds that a recent rate averages: enough to be steady, few enough to follow changes.
const RECENT_SECONDS: usize = 10;

/// The recent rate: the mean of the last few of `rates`, which are those of complete seconds. `None` if there are none.
#[must_use]
pub fn recent_rate(rates: &[f64]) -> Option<f64> {
    let last = &rates[rates.len().saturating_sub(RECENT_SECONDS)..];
    (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
}

/// The outcome of adding an update to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was added.
    Counted,
    /// Its period ended before the oldest retained second.
    Late,
}

/// The retained seconds of one view, and the sum over its window.
///
/// ```
/// use joey_shared::histogram::{Histogram, Quantile};
/// use joey_shared::window::{SLOT_NS, Window, second_of};
/// use joey_shared::wire::Update;
///
/// let mut window = Window::new(60);
/// for end_s in [100, 101] {
///     let mut histogram = Histogram::default();
///     (0..4).for_each(|_| histogram.record(1_500));
///     let end_ns = end_s * SLOT_NS;
///     window.slide(second_of(end_ns));
///     window.add(&Update { seq: end_s, series: 0, period_ns: SLOT_NS, end_ns, offset_ns: 0, histogram });
/// }
/// assert_eq!(window.histogram().quantile(Quantile::P99).map(|range| range.high), Some(1_500));
/// assert_eq!(window.throughput(101).map(|throughput| throughput.median), Some(4.0));
///
/// // Second 100 leaves the window after 60 seconds.
/// window.slide(160);
/// assert_eq!(window.histogram().count(), 4);
/// ```
#[derive(Clone, Debug)]
pub struct Window {
    /// Seconds with data, in ascending order. Up to [`coarse_through`] these are steps, identified by their last second.
    slots: VecDeque<Slot>,
    /// Number of slots at the front that are older than the window.
    outside: usize,
    /// Sum over the other slots. It has 128 bits, so it cannot saturate and subtraction is exact.
    sum: WindowSum,
    /// The minimum and maximum of the same slots.
    extremes: Extremes,
    /// The newest second of the application. The window ends here.
    clock: u64,
    /// The last second that is merged into a step.
    coarse: u64,
    /// Length of the window in seconds.
    seconds: u64,
    /// The first second in which this view existed.
    first: Option<u64>,
    /// The last second with a count.
    last: Option<u64>,
}

#[derive(Clone, Debug)]
struct Slot {
    second: u64,
    histogram: PackedHistogram,
    /// The minimum and the maximum of the histogram. They are read more often than its counts.
    min_ns: u64,
    max_ns: u64,
    /// Events in this second in units of `2^-64`. This is exact for every period that divides evenly, and it does not
    /// depend on the order of updates. Saturates at `2^64` events.
    events: u128,
}

impl Slot {
    /// A slot without counts.
    fn new(second: u64) -> Self {
        Self { second, histogram: PackedHistogram::default(), min_ns: u64::MAX, max_ns: 0, events: 0 }
    }

    /// Whether it has no counts. Then it has no minimum and maximum either, or they are inconsistent.
    fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Adds counts.
    fn merge(&mut self, histogram: &Histogram) {
        let mut sum = self.histogram.unpack();
        sum.merge(histogram);
        self.set(&sum);
    }

    fn set(&mut self, histogram: &Histogram) {
        self.histogram = PackedHistogram::pack(histogram);
        (self.min_ns, self.max_ns) = (histogram.min_ns, histogram.max_ns);
    }
}

impl Window {
    /// Creates an empty window of `seconds`, clamped to `1..=`[`SECONDS_MAX`].
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            slots: VecDeque::new(),
            outside: 0,
            sum: WindowSum::default(),
            extremes: Extremes::default(),
            clock: 0,
            coarse: 0,
            seconds: seconds.clamp(1, SECONDS_MAX),
            first: None,
            last: None,
        }
    }

    /// Sets the length to `seconds`, clamped to `1..=`[`SECONDS_MAX`], and recomputes the sum.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds.clamp(1, SECONDS_MAX);
        self.outside = self.slots.partition_point(|slot| slot.second + self.seconds <= self.clock);
        self.sum = WindowSum::default();
        for slot in self.slots.range(self.outside..) {
            self.sum.add(&slot.histogram.unpack());
        }
        self.find_extremes();
    }

    /// Reads the minimum and maximum of all slots in the window.
    fn find_extremes(&mut self) {
        let slots = self.slots.range(self.outside..).filter(|slot| !slot.is_empty());
        self.extremes = Extremes::of(slots.map(|slot| (slot.min_ns, slot.max_ns)));
    }

    /// Moves the end of the window forward to second `clock`. It never moves backward.
    pub fn slide(&mut self, clock: u64) {
        if clock <= self.clock {
            return;
        }
        self.clock = clock;
        while let Some(slot) = self.slots.get(self.outside).filter(|slot| slot.second + self.seconds <= self.clock) {
            if !slot.is_empty() {
                self.sum.subtract(&slot.histogram);
                self.extremes.remove(slot.min_ns, slot.max_ns);
            }
            self.outside += 1;
        }
        if coarse_through(self.clock) > self.coarse {
            self.coarsen();
            // The oldest slots are steps, which end at the seconds at which more seconds become a step. Looking at the
            // oldest slot more often would cost much of the time of adding an update: it is in no cache of the processor.
            while self.slots.front().is_some_and(|slot| slot.second + SECONDS_MAX <= self.clock) {
                self.slots.pop_front();
                self.outside -= 1;
            }
        }
    }

    /// Merges the seconds that have become older than 15 minutes into steps.
    fn coarsen(&mut self) {
        let before = mem::replace(&mut self.coarse, coarse_through(self.clock));
        if self.slots.front().is_none_or(|slot| slot.second > self.coarse) {
            return;
        }
        let from = self.slots.partition_point(|slot| slot.second <= before);
        let to = self.slots.partition_point(|slot| slot.second <= self.coarse);
        if from == to {
            return;
        }
        let mut steps: Vec<Slot> = Vec::new();
        for slot in self.slots.drain(from..to) {
            let second = slot.second.next_multiple_of(STEP);
            match steps.last_mut().filter(|step| step.second == second) {
                Some(step) => {
                    step.merge(&slot.histogram.unpack());
                    step.events = step.events.saturating_add(slot.events);
                }
                None => steps.push(Slot { second, ..slot }),
            }
        }
        let removed = to - from - steps.len();
        steps.into_iter().rev().for_each(|step| self.slots.insert(from, step));
        if self.coarse + self.seconds <= self.clock {
            self.outside -= removed;
        } else {
            // The window starts within a step. Seconds that had left the window return until their whole step leaves it.
            self.set_seconds(self.seconds);
        }
    }

    /// The second that identifies the slot of `second`.
    const fn slot_second(&self, second: u64) -> u64 {
        if second <= self.coarse { second.next_multiple_of(STEP) } else { second }
    }

    /// Adds an update. Call [`Window::slide`] first, because the window must not end before an update that it contains.
    pub fn add(&mut self, update: &Update) -> Added {
        let second = second_of(update.end_ns);
        if self.slot_second(second) + SECONDS_MAX <= self.clock {
            return Added::Late;
        }
        let start_ns = update.end_ns.saturating_sub(update.period_ns);
        // Second 0 is the instant of the Unix epoch. No real period ends there.
        let second = second.max(1);
        let first = (start_ns / SLOT_NS + 1).min(second);
        self.first = Some(self.first.map_or(first, |known| known.min(first)));
        let count = update.histogram.count();
        if count > 0 {
            self.last = self.last.max(Some(second));
            self.add_latency(second, &update.histogram);
            // A step is removed together with its last second.
            let expired = self.clock.saturating_sub(SECONDS_MAX);
            for second in first.max(expired - expired % STEP + 1)..=second {
                let overlap_ns =
                    second.saturating_mul(SLOT_NS).min(update.end_ns) - ((second - 1) * SLOT_NS).max(start_ns);
                let at = self.slot(second);
                let slot = &mut self.slots[at];
                slot.events = slot.events.saturating_add(share(count, overlap_ns, update.period_ns));
            }
        }
        Added::Counted
    }

    fn add_latency(&mut self, second: u64, histogram: &Histogram) {
        let is_inside = self.slot_second(second) + self.seconds > self.clock;
        let at = self.slot(second);
        let Self { slots, sum, extremes, .. } = self;
        let slot = &mut slots[at];
        if slot.is_empty() {
            slot.set(histogram);
            if is_inside {
                sum.add(histogram);
                extremes.add(slot.min_ns, slot.max_ns);
            }
            return;
        }
        let (before, before_ns) = (mem::take(&mut slot.histogram), (slot.min_ns, slot.max_ns));
        let mut merged = before.unpack();
        let before_sum_ns = merged.sum_ns;
        merged.merge(histogram);
        slot.set(&merged);
        if !is_inside {
            return;
        }
        if before.grid() == Some(histogram.grid()) && !merged.is_saturated() {
            sum.add_to_earlier(histogram, before_sum_ns, merged.sum_ns);
        } else {
            sum.subtract(&before);
            sum.add(&merged);
        }
        extremes.remove(before_ns.0, before_ns.1);
        extremes.add(slot.min_ns, slot.max_ns);
    }

    /// The position of the first slot that does not end before `second`. Nearly always it is one of the newest, or the first one
    /// in the window.
    fn position(&self, second: u64) -> usize {
        let is_before = |slot: &Slot| slot.second < second;
        if let Some(newer) = self.slots.iter().rev().take(3).position(is_before) {
            return self.slots.len() - newer;
        }
        if second.saturating_add(self.seconds) == self.clock + 1 {
            return self.outside;
        }
        self.slots.partition_point(is_before)
    }

    /// The position of the slot of `second`, which is created if necessary.
    fn slot(&mut self, second: u64) -> usize {
        let second = self.slot_second(second);
        let at = self.position(second);
        if self.slots.get(at).is_none_or(|slot| slot.second != second) {
            self.slots.insert(at, Slot::new(second));
            self.outside += usize::from(second + self.seconds <= self.clock);
        }
        at
    }

    /// The sum of all histograms in the window.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let (min_ns, max_ns) = self.extremes();
        let total = self.sum.histogram();
        let sum_ns = total.sum_ns;
        total.with_statistics(min_ns, max_ns, sum_ns)
    }

    /// Quantile `q` of [`Window::histogram`], without the histogram.
    #[must_use]
    pub fn quantile(&self, q: Quantile) -> Option<QuantileRange> {
        self.sum.quantile(q, self.extremes())
    }

    /// An upper bound of [`Window::quantile`] in ns, which takes less time: the end of its bin. 0 if the window is empty.
    #[must_use]
    pub fn quantile_bound(&self, q: Quantile) -> u128 {
        self.sum.quantile(q, NO_EXTREMES).map_or(0, |range| range.high)
    }

    /// The minimum and maximum of all histograms in the window, in ns.
    fn extremes(&self) -> (u64, u64) {
        let read_all = || {
            let slots = self.slots.range(self.outside..).filter(|slot| !slot.is_empty());
            slots.fold(NO_EXTREMES, |(min, max), slot| (min.min(slot.min_ns), max.max(slot.max_ns)))
        };
        self.extremes.get().unwrap_or_else(read_all)
    }

    /// Finds the minimum and maximum if they are unknown, so that all following reads are fast.
    pub fn prepare(&mut self) {
        if self.extremes.get().is_none() {
            self.find_extremes();
        }
    }

    /// The seconds of the window in which this view existed, up to and including second `through`.
    #[must_use]
    pub fn seconds_through(&self, through: u64) -> RangeInclusive<u64> {
        let start = (self.clock + 1).saturating_sub(self.seconds);
        self.first.map_or(1, |first| first.max(start))..=self.first.map_or(0, |_| through.min(self.clock))
    }

    /// Throughput over the seconds of the window up to and including second `through`; `None` if there are none.
    #[must_use]
    pub fn throughput(&self, through: u64) -> Option<Throughput> {
        let mut events: Vec<u128> = Vec::new();
        self.visit_events(self.seconds_through(through), |_, share| events.push(share));
        let (min, max) = (*events.iter().min()?, *events.iter().max()?);
        let is_even = events.len().is_multiple_of(2);
        let middle = events.len() / 2;
        let (below, &mut upper, _) = events.select_nth_unstable(middle);
        // For an even number of seconds, the median is the mean of the two middle values.
        let lower = if is_even { below.iter().max().copied().unwrap_or(upper) } else { upper };
        let [lower, upper] = [lower, upper].map(per_second);
        Some(Throughput { min: per_second(min), median: f64::midpoint(lower, upper), max: per_second(max) })
    }

    /// Calls `visit(second, events per second)` for each of `seconds`. The rate of a second without counts is 0.
    pub fn for_each_rate(&self, seconds: RangeInclusive<u64>, mut visit: impl FnMut(u64, f64)) {
        self.visit_events(seconds, |second, events| visit(second, per_second(events)));
    }

    fn visit_events(&self, seconds: RangeInclusive<u64>, mut visit: impl FnMut(u64, u128)) {
        let at = self.position(*seconds.start());
        let mut slots = self.slots.range(at..);
        let mut next = slots.next();
        for second in seconds {
            // The slot of a step is that of several seconds.
            let events = match next {
                Some(slot) if slot.second == self.slot_second(second) => {
                    if second <= self.coarse {
                        slot.events / u128::from(STEP)
                    } else {
                        slot.events
                    }
                }
                _ => 0,
            };
            if next.is_some_and(|slot| slot.second == second) {
                next = slots.next();
            }
            visit(second, events);
        }
    }

    /// Calls `visit(second, width, histogram)` for each of `seconds` in which a period with counts ended, in ascending
    /// order. `width` is the length of the slot in seconds: 1, or 10 for a step.
    pub fn for_each_column(&self, seconds: RangeInclusive<u64>, mut visit: impl FnMut(u64, u64, &Histogram)) {
        let at = self.slots.partition_point(|slot| slot.second < *seconds.start());
        for slot in self.slots.range(at..).take_while(|slot| slot.second <= *seconds.end()) {
            if !slot.is_empty() {
                let width = if slot.second <= self.coarse { STEP } else { 1 };
                visit(slot.second, width, &slot.histogram.unpack());
            }
        }
    }

    /// The first second in which this view existed.
    #[must_use]
    pub const fn first_second(&self) -> Option<u64> {
        self.first
    }

    /// The last second with a count.
    #[must_use]
    pub const fn last_second(&self) -> Option<u64> {
        self.last
    }
}

/// The minimum and maximum of a window without durations.
const NO_EXTREMES: (u64, u64) = (u64::MAX, 0);

/// The share of `count` events in `period_ns` that falls into `overlap_ns`, in units of `2^-64` events.
fn share(count: u128, overlap_ns: u64, period_ns: u64) -> u128 {
    if overlap_ns == period_ns && count >> 64 == 0 && period_ns > 0 {
        return count << 64;
    }
    // Division of 128 bits takes a hundred instructions in a processor, and several hundred in a browser.
    if let Some(product) = u64::try_from(count).ok().and_then(|count| count.checked_mul(overlap_ns))
        && let Ok(period) = u32::try_from(period_ns)
        && period > 0
    {
        let period = u64::from(period);
        let (whole, rest) = (product / period, product % period);
        let (high, rest) = ((rest << 32) / period, (rest << 32) % period);
        let low = (rest << 32) / period;
        return u128::from(whole) << 64 | u128::from(high << 32 | low);
    }
    let Some(whole) = (count * u128::from(overlap_ns)).checked_div(u128::from(period_ns)) else { return 0 };
    let rest = (count * u128::from(overlap_ns)) % u128::from(period_ns);
    if whole >> 64 == 0 { (whole << 64) | ((rest << 64) / u128::from(period_ns)) } else { u128::MAX }
}

/// Converts units of `2^-64` events in one second to events per second.
fn per_second(events: u128) -> f64 {
    events as f64 / 18_446_744_073_709_551_616.0
}

#[cfg(test)]
mod tests;
