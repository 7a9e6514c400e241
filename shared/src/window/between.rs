//! A part of a window: the same view in an earlier range of seconds.

use alloc::collections::VecDeque;
use core::ops::RangeInclusive;

use super::{NO_EXTREMES, SECONDS_MAX, STEP, Slot, Window, WindowSum};
use crate::histogram::Histogram;

impl Window {
    /// The window as it was in `seconds`: it ends with the last of them, is as long as all of them, and has no other
    /// data. Seconds that are merged into a step are included or left out together, see [`Window::whole_steps`].
    #[must_use]
    pub fn between(&self, seconds: RangeInclusive<u64>) -> Self {
        let (from, to) = self.whole_steps(seconds).into_inner();
        let slots = self.slots.iter().skip_while(|slot| slot.second < from).take_while(|slot| slot.second <= to);
        let slots: VecDeque<Slot> = slots.cloned().collect();
        let last = slots.iter().rev().find(|slot| !slot.is_empty()).map(|slot| slot.second);
        let first = self.first.filter(|&first| first <= to);
        let mut window = Self { slots, clock: to, first, last, coarse: self.coarse, ..Self::new(1) };
        window.set_seconds((to + 1).saturating_sub(from));
        window
    }

    /// The sum of all histograms in `seconds`: that of [`Window::between`], without a copy of its slots.
    #[must_use]
    pub fn histogram_between(&self, seconds: RangeInclusive<u64>) -> Histogram {
        let (from, to) = self.whole_steps(seconds).into_inner();
        let (mut sum, (mut min_ns, mut max_ns)) = (WindowSum::default(), NO_EXTREMES);
        let slots = self.slots.range(self.position(from)..).take_while(|slot| slot.second <= to);
        for slot in slots.filter(|slot| !slot.is_empty()) {
            sum.add(&slot.histogram.unpack());
            (min_ns, max_ns) = (min_ns.min(slot.min_ns), max_ns.max(slot.max_ns));
        }
        let total = sum.histogram();
        let sum_ns = total.sum_ns;
        total.with_statistics(min_ns, max_ns, sum_ns)
    }

    /// The smallest range that contains `seconds` and no part of a step. It ends with the newest second at the latest, and
    /// is at most as long as the longest window, up to a step.
    #[must_use]
    pub fn whole_steps(&self, seconds: RangeInclusive<u64>) -> RangeInclusive<u64> {
        let (from, to) = seconds.into_inner();
        // Seconds after the newest one have not happened yet.
        let to = self.slot_second(to.min(self.clock));
        let from = from.min(to).max((to + 1).saturating_sub(SECONDS_MAX));
        let start_of_step = from.saturating_sub(1) / STEP * STEP + 1;
        (if from <= self.coarse { start_of_step } else { from })..=to
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SLOT_NS, second_of};
    use super::*;
    use crate::histogram::Histogram;
    use crate::wire::Update;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The end of the newest period.
    const CLOCK: u64 = 10_000;

    /// A window of five minutes with one period of one second for each of `(age in seconds, duration in ns)`.
    fn window_of(periods: &[(u64, u64)]) -> Window {
        let mut window = Window::new(300);
        window.slide(CLOCK);
        for &(age, duration) in periods {
            let mut histogram = Histogram::default();
            histogram.record(duration);
            let end_ns = (CLOCK - age) * SLOT_NS;
            window.add(&Update { seq: 0, series: 0, period_ns: SLOT_NS, end_ns, offset_ns: 0, histogram });
        }
        window
    }

    #[test]
    fn a_part_has_only_its_own_seconds() {
        let part = window_of(&[(0, 7), (1, 7), (2, 900), (3, 7)]).between(CLOCK - 2..=CLOCK - 1);
        let histogram = part.histogram();
        assert_eq!((histogram.count(), histogram.min_ns, histogram.max_ns), (2, 7, 900));
        assert_eq!(part.seconds_through(CLOCK), CLOCK - 2..=CLOCK - 1);
        assert_eq!(part.throughput(CLOCK).map(|throughput| throughput.median), Some(1.0));
        assert_eq!(part.last_second(), Some(CLOCK - 1));
    }

    #[test]
    fn a_part_before_the_first_second_is_empty() {
        let part = window_of(&[(0, 7)]).between(CLOCK - 50..=CLOCK - 10);
        assert_eq!((part.histogram().count(), part.throughput(CLOCK)), (0, None));
        assert!(part.seconds_through(CLOCK).is_empty());
    }

    #[test]
    fn a_part_never_divides_a_step_and_ends_with_the_newest_second() {
        let window = window_of(&[(2_000, 7), (1_995, 7), (0, 7)]);
        assert_eq!(window.whole_steps(CLOCK - 2_000..=CLOCK - 1_995), CLOCK - 2_009..=CLOCK - 1_990);
        assert_eq!(window.between(CLOCK - 1_998..=CLOCK - 1_997).histogram().count(), 1);
        assert_eq!(window.whole_steps(CLOCK - 4_000..=CLOCK + 50), CLOCK - 3_599..=CLOCK);
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_whole(
            periods in prop::collection::vec((0..3_400_u64, 1..1_000_000_u64), 0..80),
            cut in 1..3_400_u64,
        ) {
            let window = window_of(&periods);
            let (start, cut) = (CLOCK - 3_400, *window.whole_steps(CLOCK - cut..=CLOCK - cut).end());
            let mut sum = window.between(start..=cut).histogram();
            sum.merge(&window.between(cut + 1..=CLOCK).histogram());
            prop_assert_eq!(sum, window.between(start..=CLOCK).histogram());
            prop_assert_eq!(window.histogram_between(start..=cut), window.between(start..=cut).histogram());
            let inside = periods.iter().filter(|(age, _)| second_of((CLOCK - age) * SLOT_NS) > cut);
            let expected: Vec<u64> = inside.map(|(_, duration)| *duration).collect();
            prop_assert_eq!(window.between(cut + 1..=CLOCK).histogram().count(), expected.len() as u128);
        }
    }
}
