//! Estimates the clock offset of one worker from the period ends and arrival times of its frames.
//!
//! A worker stamps each period with its own clock. As long as that clock is close to the relay's, the stamp is used,
//! and a late frame belongs to the past: an idle component may flush minutes later. If a worker's clock is off, one
//! **offset** is added to all of its period ends, so that their distances do not change. A frame is never placed by its
//! own arrival time, because every network delay would then become a wrong rate.
//!
//! The offset is derived from the *delay* of frames, which is arrival minus period end:
//! - A period cannot end after it arrives. A frame from the future immediately shows that its worker is ahead.
//! - A frame from the past is either late, or its worker has set its clock back. The frame is **held** until this is
//!   clear. The next frame that is on time shows that the clock has not changed. Three frames in a row whose arrival
//!   distances equal the distances of their period ends show that it has changed. If neither happens, the frame counts
//!   as late.
//! - Frames that arrive faster than their periods end are a backlog or a recording. They are not held.
//!
//! This module does no I/O: times are arguments, and the caller publishes released frames.

use joey_shared::histogram::Histogram;
use joey_shared::wire::PackedHistogram;

use crate::data_point::Counts;

const SECOND_NS: i64 = 1_000_000_000;

/// Minimum tolerance: a smaller difference never counts as an offset. 2 s.
const TOLERANCE_NS_MIN: i64 = 2 * SECOND_NS;

/// Tolerance in periods: a larger difference may be a clock offset.
const TOLERANCE_PERIODS: i64 = 3;

/// How much a frame may be early compared with a whole number of seconds: 0.1 s.
const EARLY_NS_MAX: i64 = SECOND_NS / 10;

/// Minimum time that a frame is held: 2 s.
const HOLD_NS_MIN: i64 = 2 * SECOND_NS;

/// A frame older than this, of a worker that has never been on time, is a recording and is not held: one day.
const RECORDING_NS: i64 = 86_400 * SECOND_NS;

/// Number of frames in a row, after the first, whose arrival distances must equal the distances of their period ends to
/// prove a new offset.
const STEPS_MIN: u32 = 2;

/// Minimum jitter that is tolerated between such frames: 0.25 s.
const JITTER_NS_MIN: i64 = SECOND_NS / 4;

/// Maximum number of frames held for one worker. At the limit all of them count as late.
const HELD_PER_WORKER_MAX: usize = 4_096;

/// Clock estimate for one worker.
#[derive(Debug, Default)]
pub(super) struct WorkerClock {
    /// Offset added to period ends. It is in whole seconds, so that periods that end on a full second still do.
    offset_ns: i64,
    /// The previous offset. It applies to frames that were in flight when the clock was set, and if the clock is set
    /// back again.
    previous_ns: i64,
    /// When the offset was detected, on the relay's clock.
    since_ns: u64,
    /// Whether a frame has ever been on time.
    has_been_on_time: bool,
    /// Whether frames arrive faster than their periods end. Then no frame is held.
    is_catching_up: bool,
    /// A delay that may become the new offset.
    candidate: Option<OffsetCandidate>,
    held: Vec<HeldFrame>,
    /// Offset that was last logged.
    logged_ns: i64,
}

/// Frames with about the same delay.
#[derive(Debug)]
struct OffsetCandidate {
    /// Smallest delay among them.
    delay_ns: i64,
    /// Arrival and period end of the first frame.
    first_arrival_ns: i64,
    first_end_ns: i64,
    /// Arrival and period end of the last frame that arrived one period after its predecessor.
    step_arrival_ns: i64,
    step_end_ns: i64,
    /// Number of such frames.
    steps: u32,
    /// Shortest period among them.
    period_ns: i64,
}

/// Pace of a frame compared with the previous frame of the same delay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The arrival distance equals the distance of the period ends, or the frame is of the same period, or the pace is
    /// unknown.
    Even,
    /// It arrived much sooner: a backlog.
    Faster,
    /// It arrived much later: the delay does not come from a clock offset.
    Slower,
}

/// A frame that waits until the offset is clear.
#[derive(Debug)]
pub(super) struct HeldFrame {
    /// Number of its series.
    pub(super) series: u32,
    /// Its period, and the period end on the worker's clock, in ns.
    pub(super) period_ns: u64,
    pub(super) end_ns: u64,
    arrival_ns: u64,
    histogram: PackedHistogram,
}

impl HeldFrame {
    /// Stores `counts` of `series`, read at `now_ns`.
    pub(super) fn new(series: u32, counts: Counts<impl ExactSizeIterator<Item = u64>>, now_ns: u64) -> Self {
        let Counts { span, period_ns, end_ns } = counts;
        let histogram = PackedHistogram::pack(&span.into_histogram());
        Self { series, period_ns, end_ns, arrival_ns: now_ns, histogram }
    }

    /// Its histogram.
    pub(super) fn histogram(&self) -> Histogram {
        self.histogram.unpack()
    }
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Publish it with the corrected period end.
    Accept,
    /// Publish all held frames first, then this one.
    AcceptAfterHeld,
    /// Hold it: call [`WorkerClock::hold`].
    Hold,
}

impl WorkerClock {
    /// Decides about a frame whose period ended at `end_ns` on the worker's clock and which arrived at `now_ns` on
    /// ours.
    pub(super) fn decide(&mut self, end_ns: u64, period_ns: u64, now_ns: u64) -> Decision {
        let (end, now, period) = (signed(end_ns), signed(now_ns), signed(period_ns));
        let delay = now - end;
        let tolerance = tolerance_ns(period);
        if (delay.saturating_sub(self.offset_ns)).saturating_abs() <= tolerance && self.candidate.is_none() {
            self.has_been_on_time = true;
            return Decision::Accept;
        }
        self.decide_off_time(FrameTimes { end, now, period, delay, tolerance })
    }

    #[cold]
    fn decide_off_time(&mut self, frame: FrameTimes) -> Decision {
        let FrameTimes { now, delay, tolerance, .. } = frame;
        if frame.fits(self.offset_ns) {
            return self.accept_on_time();
        }
        if frame.fits(self.previous_ns) {
            // If two workers with different clocks share a name, frames of both are accepted.
            self.set_offset(self.previous_ns, now);
            return self.accept_on_time();
        }
        if delay < self.offset_ns {
            self.set_offset(frame.offset_for(delay), now);
            return self.accept_on_time();
        }
        match &mut self.candidate {
            Some(candidate) if delay < candidate.first_delay_ns().saturating_sub(tolerance) => {
                self.candidate = Some(OffsetCandidate::new(frame));
                self.is_catching_up = true;
                return self.accept();
            }
            // Even later, so it does not indicate a clock offset.
            Some(candidate) if delay > candidate.first_delay_ns().saturating_add(tolerance) => {}
            Some(candidate) => match candidate.add(frame) {
                Pace::Even if candidate.steps >= STEPS_MIN => {
                    let (offset_ns, since_ns) = (frame.offset_for(candidate.delay_ns), candidate.first_arrival_ns);
                    self.set_offset(offset_ns, since_ns);
                    return self.accept_on_time();
                }
                Pace::Even => {}
                Pace::Slower => self.candidate = Some(OffsetCandidate::new(frame)),
                Pace::Faster => {
                    self.candidate = Some(OffsetCandidate::new(frame));
                    self.is_catching_up = true;
                }
            },
            None => self.candidate = Some(OffsetCandidate::new(frame)),
        }
        let is_recording = !self.has_been_on_time && delay > RECORDING_NS;
        if self.is_catching_up || is_recording || self.held.len() >= HELD_PER_WORKER_MAX || self.is_overdue(now) {
            return self.accept();
        }
        Decision::Hold
    }

    fn accept_on_time(&mut self) -> Decision {
        self.has_been_on_time = true;
        self.is_catching_up = false;
        self.candidate = None;
        self.accept()
    }

    const fn accept(&self) -> Decision {
        if self.held.is_empty() { Decision::Accept } else { Decision::AcceptAfterHeld }
    }

    const fn set_offset(&mut self, offset_ns: i64, since_ns: i64) {
        self.previous_ns = self.offset_ns;
        self.offset_ns = offset_ns;
        self.since_ns = since_ns.unsigned_abs();
    }

    /// Holds a frame until the offset is clear.
    pub(super) fn hold(&mut self, held: HeldFrame) {
        self.held.push(held);
    }

    /// Takes all held frames, when the offset is clear or the hold time is over.
    pub(super) fn release(&mut self) -> Vec<HeldFrame> {
        std::mem::take(&mut self.held)
    }

    /// Whether a frame has been held so long that it has to count as late.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.is_overdue(signed(now_ns))
    }

    fn is_overdue(&self, now: i64) -> bool {
        self.held.first().is_some_and(|held| {
            // A clock change is proven after two periods, and its frames may be slightly delayed.
            let wait = signed(held.period_ns).saturating_mul(5) / 2;
            now.saturating_sub(signed(held.arrival_ns)) >= wait.max(HOLD_NS_MIN)
        })
    }

    /// Number of held frames.
    pub(super) const fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Returns the offset if it has changed since the last call.
    pub(super) fn take_changed_offset(&mut self) -> Option<i64> {
        let has_changed = std::mem::replace(&mut self.logged_ns, self.offset_ns) != self.offset_ns;
        has_changed.then_some(self.offset_ns)
    }

    /// Corrects a period end of the worker's clock by the offset.
    pub(super) fn corrected_end_ns(&self, end_ns: u64) -> u64 {
        signed(end_ns).saturating_add(self.offset_ns).max(0).unsigned_abs()
    }

    /// Restores the offset that was added to a frame which a previous run of the relay received at about `now_ns`.
    pub(super) const fn recover(&mut self, offset_ns: i64, now_ns: u64) {
        self.has_been_on_time = true;
        if offset_ns != self.offset_ns {
            self.previous_ns = self.offset_ns;
            (self.offset_ns, self.logged_ns, self.since_ns) = (offset_ns, offset_ns, now_ns);
        }
    }

    /// Offset added to period ends, in ns, and when it was detected.
    pub(super) const fn offset(&self) -> (i64, u64) {
        (self.offset_ns, self.since_ns)
    }
}

/// Times of a frame in ns. They are signed and far from the limits of `i64`.
#[derive(Clone, Copy)]
struct FrameTimes {
    end: i64,
    now: i64,
    period: i64,
    delay: i64,
    tolerance: i64,
}

impl FrameTimes {
    const fn fits(&self, offset_ns: i64) -> bool {
        self.delay.saturating_sub(offset_ns).saturating_abs() <= self.tolerance
    }

    /// Offset for a clock whose frames have the delay `delay_ns`; 0 within the tolerance.
    const fn offset_for(&self, delay_ns: i64) -> i64 {
        if delay_ns.saturating_abs() <= self.tolerance { 0 } else { whole_seconds(delay_ns) }
    }
}

impl OffsetCandidate {
    const fn new(FrameTimes { end, now, period, delay, .. }: FrameTimes) -> Self {
        Self {
            delay_ns: delay,
            first_arrival_ns: now,
            first_end_ns: end,
            step_arrival_ns: now,
            step_end_ns: end,
            steps: 0,
            period_ns: period,
        }
    }

    const fn first_delay_ns(&self) -> i64 {
        self.first_arrival_ns - self.first_end_ns
    }

    /// Adds a frame with about the same delay. Returns its pace compared with the last counted frame.
    fn add(&mut self, frame: FrameTimes) -> Pace {
        self.delay_ns = self.delay_ns.min(frame.delay);
        if frame.period > self.period_ns {
            // Only frames with the shortest period are counted, because they prove an offset first.
            return Pace::Even;
        }
        self.period_ns = frame.period;
        let ended = frame.end.saturating_sub(self.step_end_ns);
        let arrived = frame.now.saturating_sub(self.step_arrival_ns);
        let jitter = (frame.period / 2).max(JITTER_NS_MIN);
        if ended.saturating_sub(arrived) > jitter.saturating_mul(3) {
            return Pace::Faster;
        }
        if arrived.saturating_sub(ended) > jitter.saturating_mul(3) {
            return Pace::Slower;
        }
        if arrived.abs_diff(ended) <= jitter.unsigned_abs() && arrived >= frame.period / 2 && ended >= frame.period / 2
        {
            (self.step_arrival_ns, self.step_end_ns) = (frame.now, frame.end);
            self.steps += 1;
        }
        Pace::Even
    }
}

/// Tolerance for a worker with this period.
fn tolerance_ns(period: i64) -> i64 {
    period.saturating_mul(TOLERANCE_PERIODS).max(TOLERANCE_NS_MIN)
}

/// Clock offset in whole seconds for frames with the delay `delay_ns`. The remainder is network delay, or up to a tenth
/// of a second by which the worker was early.
const fn whole_seconds(delay_ns: i64) -> i64 {
    delay_ns.saturating_add(EARLY_NS_MAX).div_euclid(SECOND_NS).saturating_mul(SECOND_NS)
}

/// Times after the year 2262 are clamped.
fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
