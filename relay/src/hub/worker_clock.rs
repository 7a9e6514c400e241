//! The clock of one worker, as far as it can be told from when its periods end and when they arrive.
//!
//! A worker stamps each period with its own clock. As long as that is near the relay's, the stamp is believed, and a frame that
//! comes late belongs into the past: an idle component flushes minutes later. A worker whose clock is off is moved as a whole:
//! one **offset** is added to the end of each of its periods, so that they stay as far apart as they were. No frame is ever
//! placed by its own arrival, which would turn every delay on the way into a wrong rate.
//!
//! The offset is found from the *delay* of frames, arrival less period end:
//! - A period cannot end after it arrives. A frame from the future shows at once that its worker is ahead.
//! - A frame from the past is either late, or its worker has set its clock back. It is **held** until that is known: the next
//!   frame that is on time shows that the clock has not changed; three frames in a row that arrive as far apart as their
//!   periods end show that it has. If neither happens, it counts as late.
//! - Frames that come faster than their periods end are a backlog or a recording. They are not held.
//!
//! Pure: times are arguments, and whoever calls stamps what is released.

use joey_shared::histogram::Histogram;
use joey_shared::wire::PackedBins;

use crate::data_point::Counts;

const SECOND_NS: i64 = 1_000_000_000;

/// A difference that is never called one, at least: 2 s.
const TOLERANCE_NS_MIN: i64 = 2 * SECOND_NS;

/// How many of its periods a worker may be off before its clock is.
const TOLERANCE_PERIODS: i64 = 3;

/// How early a frame may be beside a whole number of seconds: 0.1 s.
const EARLY_NS_MAX: i64 = SECOND_NS / 10;

/// How long a frame is held, at least: 2 s.
const HOLD_NS_MIN: i64 = 2 * SECOND_NS;

/// A frame of a worker that has never been on time, and that is older than this, is a recording: it is not held. One day.
const RECORDING_NS: i64 = 86_400 * SECOND_NS;

/// How many frames in a row must arrive as far apart as their periods end, after the first, to show that a clock was set.
const STEPS_MIN: u32 = 2;

/// How much jitter there may be between them, at least: 0.25 s.
const JITTER_NS_MIN: i64 = SECOND_NS / 4;

/// Frames held for one worker. One more, and all count as late.
const HELD_MAX: usize = 4_096;

/// What the relay knows of one worker's clock.
#[derive(Debug, Default)]
pub(super) struct WorkerClock {
    /// What is added to its period ends. Whole seconds, so that periods that end with a second still do.
    offset_ns: i64,
    /// The offset before that: frames that were on their way when the clock was set, or one that was set back again.
    previous_ns: i64,
    /// When the offset was found, by the relay's clock.
    since_ns: u64,
    /// Whether any of its frames has been on time.
    is_proven: bool,
    /// Whether frames come faster than their periods end, so that none is held.
    is_catching_up: bool,
    /// The delay that may turn out to be a new offset.
    suspect: Option<Suspect>,
    held: Vec<Held>,
    /// The offset that the log of the relay speaks of.
    logged_ns: i64,
}

/// Frames that are late by about the same.
#[derive(Debug)]
struct Suspect {
    /// The least delay among them.
    delay_ns: i64,
    /// When the first of them arrived, and when its period ended.
    first_arrival_ns: i64,
    first_end_ns: i64,
    /// The same of the last one that came a period after the one before.
    step_arrival_ns: i64,
    step_end_ns: i64,
    /// How many came so.
    steps: u32,
    /// The shortest period among them.
    period_ns: i64,
}

/// How a frame came after the one before it, of the same delay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As long after it as its period ended after the other's, or of the same period, or it cannot be told.
    Even,
    /// Much sooner: a backlog.
    Faster,
    /// Much later: nothing that follows a clock.
    Slower,
}

/// A frame that waits for its place.
#[derive(Debug)]
pub(super) struct Held {
    /// The number of its series.
    pub(super) series: u32,
    /// Its period, and when that ended by the worker's clock, in ns.
    pub(super) period_ns: u64,
    pub(super) end_ns: u64,
    arrival_ns: u64,
    bins: PackedBins,
    min_ns: u64,
    max_ns: u64,
}

impl Held {
    /// Keeps what was `counted` of `series`, read at `now_ns`.
    pub(super) fn new(series: u32, counted: Counts<impl ExactSizeIterator<Item = u64>>, now_ns: u64) -> Self {
        let Counts { span, period_ns, end_ns } = counted;
        let mut histogram = Histogram::default();
        histogram.bins.iter_mut().skip(span.first).zip(span.counts).for_each(|(bin, count)| *bin = count);
        let bins = PackedBins::pack(&histogram.bins);
        Self { series, period_ns, end_ns, arrival_ns: now_ns, bins, min_ns: span.min_ns, max_ns: span.max_ns }
    }

    /// What was counted.
    pub(super) fn histogram(&self) -> Histogram {
        Histogram { bins: self.bins.unpack(), min_ns: self.min_ns, max_ns: self.max_ns }
    }
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It goes where its end and the offset say. Nothing else changes.
    Place,
    /// The same, after all that is held.
    PlaceAfterHeld,
    /// It is held: [`WorkerClock::hold`].
    Hold,
}

impl WorkerClock {
    /// Decides about a frame whose period ended at `end_ns` by the worker's clock and which arrived at `now_ns` by ours.
    pub(super) fn decide(&mut self, end_ns: u64, period_ns: u64, now_ns: u64) -> Decision {
        let (end, now, period) = (signed(end_ns), signed(now_ns), signed(period_ns));
        let delay = now - end;
        let tolerance = tolerance_ns(period);
        if (delay.saturating_sub(self.offset_ns)).saturating_abs() <= tolerance && self.suspect.is_none() {
            self.is_proven = true;
            return Decision::Place;
        }
        self.look_closer(WsFrame { end, now, period, delay, tolerance })
    }

    #[cold]
    fn look_closer(&mut self, frame: WsFrame) -> Decision {
        let WsFrame { now, delay, tolerance, .. } = frame;
        if frame.fits(self.offset_ns) {
            return self.on_time();
        }
        if frame.fits(self.previous_ns) {
            // Where neither of two clocks stops, each of their frames has its place.
            self.set_offset(self.previous_ns, now);
            return self.on_time();
        }
        if delay < self.offset_ns {
            self.set_offset(frame.offset_for(delay), now);
            return self.on_time();
        }
        match &mut self.suspect {
            Some(suspect) if delay < suspect.first_delay_ns().saturating_sub(tolerance) => {
                self.suspect = Some(Suspect::of(frame));
                self.is_catching_up = true;
                return self.place();
            }
            // Even later, which says nothing of the clock.
            Some(suspect) if delay > suspect.first_delay_ns().saturating_add(tolerance) => {}
            Some(suspect) => match suspect.add(frame) {
                Pace::Even if suspect.steps >= STEPS_MIN => {
                    let (offset_ns, since_ns) = (frame.offset_for(suspect.delay_ns), suspect.first_arrival_ns);
                    self.set_offset(offset_ns, since_ns);
                    return self.on_time();
                }
                Pace::Even => {}
                Pace::Slower => self.suspect = Some(Suspect::of(frame)),
                Pace::Faster => {
                    self.suspect = Some(Suspect::of(frame));
                    self.is_catching_up = true;
                }
            },
            None => self.suspect = Some(Suspect::of(frame)),
        }
        let is_recording = !self.is_proven && delay > RECORDING_NS;
        if self.is_catching_up || is_recording || self.held.len() >= HELD_MAX || self.is_overdue(now) {
            return self.place();
        }
        Decision::Hold
    }

    fn on_time(&mut self) -> Decision {
        self.is_proven = true;
        self.is_catching_up = false;
        self.suspect = None;
        self.place()
    }

    const fn place(&self) -> Decision {
        if self.held.is_empty() { Decision::Place } else { Decision::PlaceAfterHeld }
    }

    const fn set_offset(&mut self, offset_ns: i64, since_ns: i64) {
        self.previous_ns = self.offset_ns;
        self.offset_ns = offset_ns;
        self.since_ns = since_ns.unsigned_abs();
    }

    /// Keeps a frame until more is known.
    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    /// Everything held, once it is known where it belongs, or at `now_ns` has waited long enough.
    pub(super) fn release(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// Whether something has been held for so long that it has to count as late.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.is_overdue(signed(now_ns))
    }

    fn is_overdue(&self, now: i64) -> bool {
        self.held.first().is_some_and(|held| {
            // A change of the clock shows after two periods, and what comes then may be delayed a little.
            let wait = signed(held.period_ns).saturating_mul(5) / 2;
            now.saturating_sub(signed(held.arrival_ns)) >= wait.max(HOLD_NS_MIN)
        })
    }

    /// How many frames are held.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    /// The offset, if it is another one than at the last call.
    pub(super) fn news(&mut self) -> Option<i64> {
        let is_new = std::mem::replace(&mut self.logged_ns, self.offset_ns) != self.offset_ns;
        is_new.then_some(self.offset_ns)
    }

    /// Where a period belongs that ended at `end_ns` by the worker's clock.
    pub(super) fn placed(&self, end_ns: u64) -> u64 {
        signed(end_ns).saturating_add(self.offset_ns).max(0).unsigned_abs()
    }

    /// What is added to period ends, in ns, and when that was found.
    pub(super) const fn offset(&self) -> (i64, u64) {
        (self.offset_ns, self.since_ns)
    }
}

/// The times of a frame in ns. They are signed, and far from the bounds.
#[derive(Clone, Copy)]
struct WsFrame {
    end: i64,
    now: i64,
    period: i64,
    delay: i64,
    tolerance: i64,
}

impl WsFrame {
    const fn fits(&self, offset_ns: i64) -> bool {
        self.delay.saturating_sub(offset_ns).saturating_abs() <= self.tolerance
    }

    /// The offset for a clock whose frames have the delay `delay_ns`; none within the tolerance.
    const fn offset_for(&self, delay_ns: i64) -> i64 {
        if delay_ns.saturating_abs() <= self.tolerance { 0 } else { whole_seconds(delay_ns) }
    }
}

impl Suspect {
    const fn of(WsFrame { end, now, period, delay, .. }: WsFrame) -> Self {
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

    /// Adds a frame of about the same delay, and says how it came after the last one that counted.
    fn add(&mut self, frame: WsFrame) -> Pace {
        self.delay_ns = self.delay_ns.min(frame.delay);
        if frame.period > self.period_ns {
            // Those of the shortest period show it first.
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

/// How far a worker with such periods may be off.
fn tolerance_ns(period: i64) -> i64 {
    period.saturating_mul(TOLERANCE_PERIODS).max(TOLERANCE_NS_MIN)
}

/// The whole seconds that a clock is off whose frames have the delay `delay_ns`: what is beyond them is how long they were on
/// their way, or up to a tenth of a second by which the worker was early.
const fn whole_seconds(delay_ns: i64) -> i64 {
    delay_ns.saturating_add(EARLY_NS_MAX).div_euclid(SECOND_NS).saturating_mul(SECOND_NS)
}

/// Beyond the year 2262 all times are the same.
fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
