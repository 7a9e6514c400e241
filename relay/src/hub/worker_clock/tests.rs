//! Worker clocks that are ahead, behind, set, drifting and stalling, tested frame by frame.

use super::*;
use joey_shared::wire::span_of;
use proptest::prelude::*;

const MS: i64 = 1_000_000;
const S: i64 = SECOND_NS;
/// An arbitrary time long after the epoch.
const NOW: i64 = 1_800_000_000 * S;

/// A worker with periods of one second, and the decisions about its frames.
#[derive(Default)]
struct Worker {
    clock: WorkerClock,
    /// Period ends on the worker's clock and after correction, both relative to [`NOW`], in ns.
    accepted: Vec<(i64, i64)>,
}

impl Worker {
    /// A frame arrives. Both times are relative to [`NOW`], in ns.
    fn frame(&mut self, arrival: i64, end: i64) {
        self.frame_of(S, arrival, end);
    }

    fn frame_of(&mut self, period: i64, arrival: i64, end: i64) {
        let [end_ns, period_ns, now_ns] = [NOW + end, period, NOW + arrival].map(i64::unsigned_abs);
        let decision = self.clock.decide(end_ns, period_ns, now_ns);
        if decision == Decision::Hold {
            let nothing = Histogram::default();
            let counts = Counts { span: span_of(&nothing), period_ns, end_ns };
            self.clock.hold(HeldFrame::new(0, counts, now_ns));
            return;
        }
        if decision == Decision::AcceptAfterHeld {
            self.release();
        }
        self.accepted.push((end, self.clock.corrected_end_ns(end_ns).cast_signed() - NOW));
    }

    fn release(&mut self) {
        for held in self.clock.release() {
            self.accepted
                .push((held.end_ns.cast_signed() - NOW, self.clock.corrected_end_ns(held.end_ns).cast_signed() - NOW));
        }
    }

    /// One frame arrives in each of `seconds`. The clock is ahead by `ahead`, and each frame is `jitter(second)` late.
    fn paced(&mut self, seconds: std::ops::Range<i64>, ahead: i64, jitter: impl Fn(i64) -> i64) {
        for second in seconds {
            self.frame(second * S + jitter(second), second * S + ahead);
        }
    }

    /// Corrections of the period ends in whole seconds, without repetitions.
    fn moves(&self) -> Vec<i64> {
        let mut moves: Vec<i64> = self.accepted.iter().map(|(end, accepted)| (accepted - end) / S).collect();
        moves.dedup();
        moves
    }

    fn offset_s(&self) -> i64 {
        self.clock.offset().0 / S
    }
}

/// Some tens of milliseconds that vary from second to second.
const fn jitter(second: i64) -> i64 {
    (second * 37 % 80) * MS
}

#[test]
fn a_clock_within_the_tolerance_is_not_corrected() {
    for ahead in [-2_900, -500, 0, 2_900] {
        let mut worker = Worker::default();
        worker.paced(0..20, ahead * MS, |_| 0);
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 20), "{ahead} ms ahead");
    }
}

#[test]
fn every_period_of_a_worker_ahead_is_moved_by_the_same_offset() {
    let mut worker = Worker::default();
    worker.paced(0..60, 30 * S, jitter);
    assert_eq!((worker.moves(), worker.accepted.len()), (vec![-30], 60));
}

#[test]
fn a_stall_and_the_burst_after_it_do_not_change_the_offset() {
    for ahead in [0, 30 * S] {
        let mut worker = Worker::default();
        worker.paced(0..20, ahead, jitter);
        // Frames of twelve seconds arrive at once.
        (20..32).for_each(|second| worker.frame(32 * S + second * MS, second * S + ahead));
        worker.paced(33..60, ahead, jitter);
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![-ahead / S], 59));
    }
}

#[test]
fn a_worker_behind_is_moved_from_its_first_frame() {
    for behind in [4, 30, 3_600] {
        let mut worker = Worker::default();
        worker.paced(0..2, -behind * S, jitter);
        assert!(worker.accepted.is_empty());
        worker.paced(2..20, -behind * S, jitter);
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![behind], 20));
        assert_eq!(worker.clock.offset().1, (NOW + jitter(0)).unsigned_abs());
    }
}

#[test]
fn setting_a_clock_moves_only_later_periods() {
    for by in [-3_600, -600, -10, 10, 600] {
        let mut worker = Worker::default();
        worker.paced(0..20, 0, jitter);
        worker.paced(20..40, by * S, jitter);
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![0, -by], 40), "set by {by} s");
        // Set it back again.
        worker.paced(40..60, 0, jitter);
        assert_eq!((worker.offset_s(), worker.accepted.len()), (0, 60), "set back by {by} s");
        let mut seconds: Vec<i64> = worker.accepted.iter().map(|(_, accepted)| accepted / S).collect();
        seconds.sort_unstable();
        assert_eq!(seconds, (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn a_late_flush_of_an_idle_component_is_not_moved() {
    let mut worker = Worker::default();
    worker.paced(0..20, 0, jitter);
    worker.frame(19 * S + 500 * MS, -180 * S);
    assert_eq!((worker.accepted.len(), worker.clock.held_count()), (20, 1));
    worker.paced(20..22, 0, jitter);
    assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 23));
    // If no other frame arrives, it counts as late after a while.
    worker.frame(22 * S, -180 * S);
    let at = |second: i64| (NOW + second * S).unsigned_abs();
    assert!(!worker.clock.is_due(at(24)) && worker.clock.is_due(at(25)));
    worker.release();
    assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 24));
}

#[test]
fn a_recording_is_not_moved() {
    // A recording from another year, one that is half an hour old, and the same at ten times the speed.
    for (age, pace) in [(400 * 86_400, 0), (1_800, 0), (1_800, 100)] {
        let mut worker = Worker::default();
        (0..300).for_each(|second| worker.frame(second * pace * MS, (second - age) * S));
        assert_eq!((worker.moves(), worker.clock.held_count()), (vec![0], 0), "{age} s old");
        worker.release();
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 300), "{age} s old");
    }
}

#[test]
fn two_backlogs_do_not_change_the_offset() {
    for apart in [1, 2, 3, 7, 20] {
        let mut worker = Worker::default();
        (-120..-60).for_each(|second| worker.frame((second + 120) * MS, second * S));
        (-60..-20).for_each(|second| worker.frame(apart * S + (second + 60) * MS, second * S));
        (-20..-5).for_each(|second| worker.frame(2 * apart * S + (second + 20) * MS, second * S));
        worker.release();
        assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 115), "{apart} s apart");
    }
}

#[test]
fn late_frames_at_another_rate_do_not_change_the_offset() {
    let mut worker = Worker::default();
    (0..40).for_each(|number| worker.frame(number * 2_500 * MS, (number - 60) * S));
    worker.release();
    assert_eq!((worker.moves(), worker.accepted.len()), (vec![0], 40));
}

#[test]
fn frames_with_the_shortest_period_decide_the_offset() {
    let mut worker = Worker::default();
    for second in 0..20 {
        if second % 10 == 0 {
            worker.frame_of(10 * S, second * S, second * S - 600 * S);
        }
        worker.frame(second * S + MS, second * S - 600 * S);
    }
    assert_eq!((worker.moves(), worker.accepted.len()), (vec![600], 22));
}

#[test]
fn one_absurd_frame_moves_no_other_frame() {
    let mut worker = Worker::default();
    worker.paced(0..20, 0, jitter);
    worker.frame(20 * S, i64::MAX - NOW);
    worker.frame(20 * S, 1_000_000 * S);
    worker.paced(21..40, 0, jitter);
    let sound: Vec<_> = worker.accepted.iter().filter(|(end, _)| *end < 100 * S).collect();
    assert!(sound.iter().all(|(end, accepted)| end == accepted));
    assert_eq!((sound.len(), worker.offset_s()), (39, 0));
}

#[test]
fn the_offset_follows_a_drifting_clock() {
    for drift_ppm in [-10_000, 10_000] {
        let mut worker = Worker::default();
        for second in 0..2_000 {
            worker.frame(second * S, second * S + second * S / 1_000_000 * drift_ppm);
        }
        assert_eq!(worker.accepted.len() + worker.clock.held_count(), 2_000);
        // The corrected end is never far from the arrival.
        let last = worker.accepted.last().unwrap().1;
        assert!((last - 1_999 * S).abs() <= 6 * S, "{last}");
    }
}

proptest! {
    #[test]
    fn every_frame_is_accepted_once_for_any_times(
        frames in prop::collection::vec((any::<u64>(), 10_000_000..=3_600_000_000_000_u64, any::<u64>()), 1..200),
    ) {
        let (mut clock, mut accepted, count) = (WorkerClock::default(), 0, frames.len());
        for (end_ns, period_ns, now_ns) in frames {
            match clock.decide(end_ns, period_ns, now_ns) {
                Decision::Accept => accepted += 1,
                Decision::AcceptAfterHeld => accepted += 1 + clock.release().len(),
                Decision::Hold => {
                    let nothing = Histogram::default();
                    let counts = Counts { span: span_of(&nothing), period_ns, end_ns };
                    clock.hold(HeldFrame::new(0, counts, now_ns));
                }
            }
            clock.corrected_end_ns(end_ns);
            clock.is_due(now_ns);
        }
        prop_assert_eq!(accepted + clock.release().len(), count);
    }
}
