//! Clocks that are ahead, behind, set, drifting and stalling, frame by frame.

use super::*;
use joey_shared::wire::span_of;
use proptest::prelude::*;

const MS: i64 = 1_000_000;
const S: i64 = SECOND_NS;
/// Any time long after the epoch.
const NOW: i64 = 1_800_000_000 * S;

/// A worker with periods of one second, and what became of its frames.
#[derive(Default)]
struct Worker {
    clock: WorkerClock,
    /// The end of each period by the worker's clock, and where it was placed; both less [`NOW`], in ns.
    placed: Vec<(i64, i64)>,
}

impl Worker {
    /// A frame arrives; both times are ns after [`NOW`].
    fn frame(&mut self, arrival: i64, end: i64) {
        self.frame_of(S, arrival, end);
    }

    fn frame_of(&mut self, period: i64, arrival: i64, end: i64) {
        let [end_ns, period_ns, now_ns] = [NOW + end, period, NOW + arrival].map(i64::unsigned_abs);
        let decision = self.clock.decide(end_ns, period_ns, now_ns);
        if decision == Decision::Hold {
            let nothing = Histogram::default();
            let counted = Counts { span: span_of(&nothing), period_ns, end_ns };
            self.clock.hold(Held::new(0, counted, now_ns));
            return;
        }
        if decision == Decision::PlaceAfterHeld {
            self.release();
        }
        self.placed.push((end, self.clock.placed(end_ns).cast_signed() - NOW));
    }

    fn release(&mut self) {
        for held in self.clock.release() {
            self.placed.push((held.end_ns.cast_signed() - NOW, self.clock.placed(held.end_ns).cast_signed() - NOW));
        }
    }

    /// Frames arrive once a second from second `from` on; the clock is ahead by `ahead`, each comes `jitter(second)` late.
    fn paced(&mut self, seconds: std::ops::Range<i64>, ahead: i64, jitter: impl Fn(i64) -> i64) {
        for second in seconds {
            self.frame(second * S + jitter(second), second * S + ahead);
        }
    }

    /// By how much the periods that ended in `ends`, in whole seconds, were moved, without repetitions.
    fn moves(&self) -> Vec<i64> {
        let mut moves: Vec<i64> = self.placed.iter().map(|(end, placed)| (placed - end) / S).collect();
        moves.dedup();
        moves
    }

    fn offset_s(&self) -> i64 {
        self.clock.offset().0 / S
    }
}

/// Tens of milliseconds, never twice the same.
const fn jitter(second: i64) -> i64 {
    (second * 37 % 80) * MS
}

#[test]
fn a_clock_that_is_off_by_little_is_believed() {
    for ahead in [-2_900, -500, 0, 2_900] {
        let mut worker = Worker::default();
        worker.paced(0..20, ahead * MS, |_| 0);
        assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 20), "{ahead} ms ahead");
    }
}

#[test]
fn a_worker_ahead_is_moved_as_a_whole_whatever_the_jitter() {
    let mut worker = Worker::default();
    worker.paced(0..60, 30 * S, jitter);
    assert_eq!((worker.moves(), worker.placed.len()), (vec![-30], 60));
}

#[test]
fn a_stall_and_the_burst_after_it_move_nothing() {
    for ahead in [0, 30 * S] {
        let mut worker = Worker::default();
        worker.paced(0..20, ahead, jitter);
        // Twelve seconds come at once.
        (20..32).for_each(|second| worker.frame(32 * S + second * MS, second * S + ahead));
        worker.paced(33..60, ahead, jitter);
        assert_eq!((worker.moves(), worker.placed.len()), (vec![-ahead / S], 59));
    }
}

#[test]
fn a_worker_behind_is_moved_from_its_first_frame_on() {
    for behind in [4, 30, 3_600] {
        let mut worker = Worker::default();
        worker.paced(0..2, -behind * S, jitter);
        assert!(worker.placed.is_empty());
        worker.paced(2..20, -behind * S, jitter);
        assert_eq!((worker.moves(), worker.placed.len()), (vec![behind], 20));
        assert_eq!(worker.clock.offset().1, (NOW + jitter(0)).unsigned_abs());
    }
}

#[test]
fn a_clock_that_is_set_moves_what_comes_after_and_nothing_else() {
    for by in [-3_600, -600, -10, 10, 600] {
        let mut worker = Worker::default();
        worker.paced(0..20, 0, jitter);
        worker.paced(20..40, by * S, jitter);
        assert_eq!((worker.moves(), worker.placed.len()), (vec![0, -by], 40), "set by {by} s");
        // And back again.
        worker.paced(40..60, 0, jitter);
        assert_eq!((worker.offset_s(), worker.placed.len()), (0, 60), "set back by {by} s");
        let mut seconds: Vec<i64> = worker.placed.iter().map(|(_, placed)| placed / S).collect();
        seconds.sort_unstable();
        assert_eq!(seconds, (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn an_idle_component_that_flushes_late_stays_in_the_past() {
    let mut worker = Worker::default();
    worker.paced(0..20, 0, jitter);
    worker.frame(19 * S + 500 * MS, -180 * S);
    assert_eq!((worker.placed.len(), worker.clock.held()), (20, 1));
    worker.paced(20..22, 0, jitter);
    assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 23));
    // Where nothing else comes, it counts as late after a while.
    worker.frame(22 * S, -180 * S);
    let at = |second: i64| (NOW + second * S).unsigned_abs();
    assert!(!worker.clock.is_due(at(24)) && worker.clock.is_due(at(25)));
    worker.release();
    assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 24));
}

#[test]
fn a_recording_looks_as_it_did() {
    // Of another year, and of half an hour ago, ten times as fast.
    for (age, pace) in [(400 * 86_400, 0), (1_800, 0), (1_800, 100)] {
        let mut worker = Worker::default();
        (0..300).for_each(|second| worker.frame(second * pace * MS, (second - age) * S));
        assert_eq!((worker.moves(), worker.clock.held()), (vec![0], 0), "{age} s old");
        worker.release();
        assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 300), "{age} s old");
    }
}

#[test]
fn two_backlogs_a_while_apart_are_no_clock() {
    for apart in [1, 2, 3, 7, 20] {
        let mut worker = Worker::default();
        (-120..-60).for_each(|second| worker.frame((second + 120) * MS, second * S));
        (-60..-20).for_each(|second| worker.frame(apart * S + (second + 60) * MS, second * S));
        (-20..-5).for_each(|second| worker.frame(2 * apart * S + (second + 20) * MS, second * S));
        worker.release();
        assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 115), "{apart} s apart");
    }
}

#[test]
fn late_frames_at_a_pace_of_their_own_are_no_clock() {
    let mut worker = Worker::default();
    (0..40).for_each(|number| worker.frame(number * 2_500 * MS, (number - 60) * S));
    worker.release();
    assert_eq!((worker.moves(), worker.placed.len()), (vec![0], 40));
}

#[test]
fn the_shortest_period_shows_it_first() {
    let mut worker = Worker::default();
    for second in 0..20 {
        if second % 10 == 0 {
            worker.frame_of(10 * S, second * S, second * S - 600 * S);
        }
        worker.frame(second * S + MS, second * S - 600 * S);
    }
    assert_eq!((worker.moves(), worker.placed.len()), (vec![600], 22));
}

#[test]
fn one_frame_of_nonsense_moves_no_other() {
    let mut worker = Worker::default();
    worker.paced(0..20, 0, jitter);
    worker.frame(20 * S, i64::MAX - NOW);
    worker.frame(20 * S, 1_000_000 * S);
    worker.paced(21..40, 0, jitter);
    let sound: Vec<_> = worker.placed.iter().filter(|(end, _)| *end < 100 * S).collect();
    assert!(sound.iter().all(|(end, placed)| end == placed));
    assert_eq!((sound.len(), worker.offset_s()), (39, 0));
}

#[test]
fn a_drifting_clock_is_followed() {
    for drift_ppm in [-10_000, 10_000] {
        let mut worker = Worker::default();
        for second in 0..2_000 {
            worker.frame(second * S, second * S + second * S / 1_000_000 * drift_ppm);
        }
        assert_eq!(worker.placed.len() + worker.clock.held(), 2_000);
        // Never far from when it arrived.
        let last = worker.placed.last().unwrap().1;
        assert!((last - 1_999 * S).abs() <= 6 * S, "{last}");
    }
}

proptest! {
    #[test]
    fn any_times_give_every_frame_a_place_once(
        frames in prop::collection::vec((any::<u64>(), 10_000_000..=3_600_000_000_000_u64, any::<u64>()), 1..200),
    ) {
        let (mut clock, mut placed, count) = (WorkerClock::default(), 0, frames.len());
        for (end_ns, period_ns, now_ns) in frames {
            match clock.decide(end_ns, period_ns, now_ns) {
                Decision::Place => placed += 1,
                Decision::PlaceAfterHeld => placed += 1 + clock.release().len(),
                Decision::Hold => {
                    let nothing = Histogram::default();
                    let counted = Counts { span: span_of(&nothing), period_ns, end_ns };
                    clock.hold(Held::new(0, counted, now_ns));
                }
            }
            clock.placed(end_ns);
            clock.is_due(now_ns);
        }
        prop_assert_eq!(placed + clock.release().len(), count);
    }
}
