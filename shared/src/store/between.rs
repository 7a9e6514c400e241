//! An application in an earlier range of seconds.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::changes::Changes;
use super::{AppStore, View};
use crate::window::{SLOT_NS, Window, second_of};

impl AppStore {
    /// The application as it was in `seconds` since the Unix epoch: the windows of all views end with the last of them and
    /// are as long as all of them. The range is extended to whole steps and ends with the newest second at the latest.
    /// [`AppStore::clock_ns`] and [`AppStore::seconds`] of the result tell which range it is.
    ///
    /// The result cannot receive updates: it does not know any series.
    pub fn between(&mut self, seconds: RangeInclusive<u64>) -> Self {
        let clock = second_of(self.clock_ns);
        self.views.iter_mut().for_each(|view| view.window.slide(clock));
        // All windows end with the same second, so they have the same steps.
        let seconds =
            self.views.first().map_or_else(|| seconds.clone(), |view| view.window.whole_steps(seconds.clone()));
        let (from, to) = seconds.clone().into_inner();
        let part = |view: &View| View { window: view.window.between(seconds.clone()), ..view.clone_without_window() };
        let views: Vec<View> = self.views.iter().map(part).collect();
        let gaps = self.gaps.iter().filter(|gap| {
            // A gap without a beginning or an end reaches over everything before or after it.
            gap.from_ns <= to * SLOT_NS && (gap.to_ns == 0 || gap.to_ns > from.saturating_sub(1) * SLOT_NS)
        });
        Self {
            views,
            index: self.index.clone(),
            seconds: (to + 1).saturating_sub(from).max(1),
            clock_ns: self.clock_ns.min(to * SLOT_NS),
            through_ns: self.through_ns.min(to * SLOT_NS),
            revision: self.revision,
            views_revision: self.views_revision,
            changes: Changes::new(self.revision),
            last_received_ns: self.last_received_ns,
            gaps: gaps.copied().collect(),
            ..Self::default()
        }
    }
}

impl View {
    /// The same view with an empty window.
    fn clone_without_window(&self) -> Self {
        Self { key: self.key.clone(), window: Window::new(1), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use crate::series::{COMPUTATION, SeriesKey};
    use crate::store::{Applied, Gap};
    use crate::view::ViewKey;
    use crate::wire::{SeriesEntry, Update};
    use alloc::string::ToString;

    /// A store with one update of one second for each of seconds 1 to 100: the second's number of durations of 7 ns.
    fn store() -> AppStore {
        let mut store = AppStore::default();
        let [category, pipeline, worker, name] = [COMPUTATION, "p", "w", "n"].map(ToString::to_string);
        store.announce(1, &[SeriesEntry::new(0, 1, SeriesKey { category, pipeline, worker, name })]);
        for second in 1..=100 {
            let mut histogram = Histogram::default();
            histogram.add(3, second);
            let end_ns = second * SLOT_NS;
            let update = Update { seq: second, series: 0, period_ns: SLOT_NS, end_ns, offset_ns: 0, histogram };
            assert_eq!(store.apply(1, &update, end_ns), Applied::Counted);
        }
        store
    }

    #[test]
    fn a_range_of_an_application_has_the_counts_of_its_seconds() {
        let mut part = store().between(11..=20);
        let at = part.find(&ViewKey::computation("n")).expect("the view stays");
        assert_eq!(part.histogram(at).count(), (11..=20).sum());
        let throughput = part.throughput(at).expect("it has seconds");
        assert_eq!((throughput.min, throughput.max), (11.0, 20.0));
        assert_eq!((part.clock_ns(), part.seconds(), part.through_second()), (20 * SLOT_NS, 10, 20));
    }

    #[test]
    fn the_newest_period_of_a_range_is_as_incomplete_as_it_was() {
        let mut whole = store();
        let part = whole.between(91..=200);
        assert_eq!((part.clock_ns(), part.through_ns(), part.seconds()), (whole.clock_ns(), whole.through_ns(), 10));
    }

    #[test]
    fn a_range_has_the_gaps_that_overlap_it() {
        let mut whole = store();
        for (from, to) in [(0, 5), (15, 16), (50, 0)] {
            whole.record_gap(Gap { from_ns: from * SLOT_NS, to_ns: to * SLOT_NS, updates: None, relay: 0 });
        }
        assert_eq!(whole.between(11..=20).gaps().len(), 1);
        assert_eq!(whole.between(1..=100).gaps().len(), 3);
    }
}
