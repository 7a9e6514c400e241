//! One application as a viewer knows it: its views, its clock, and which of its periods are complete.
//!
//! The same store runs in the browser, behind `joey stats` and in the tests. Its clock is the newest plausible period end
//! that was seen, not the time on anybody's wall, so a recording from last year looks as it did then.

use alloc::vec::Vec;

use crate::histogram::Histogram;
use crate::seqset::SeqSet;
use crate::series::{Filter, SeriesKey};
use crate::vecmap::VecMap;
use crate::view::ViewKey;
use crate::window::{Added, Throughput, Window, second_of};
use crate::wire::{SeriesEntry, Update};

/// Length of a window unless somebody chooses another, in seconds: that of the original Metrics UI.
pub const WINDOW_SECONDS: u64 = 300;

/// Silence of this many seconds is never a stall; the slowest producers report every two.
pub const QUIET_SECONDS: u64 = 5;

/// Logs remembered for one application, one of each relay that has it. A log ends when its relay restarts; nothing more comes
/// from older ones.
const LOGS_MAX: usize = 64;

/// Stretches remembered for one log. A viewer follows a few topics, each without a break or nearly so.
const STRETCHES_MAX: usize = 4_096;

/// Holes remembered for one application; older ones are forgotten first.
const HOLES_MAX: usize = 64;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is counted in its views.
    Counted,
    /// It was here before, and is counted once.
    Duplicate,
    /// Its period ended before everything that the windows keep; it is counted as late.
    Late,
    /// Its series was never announced; nothing can be said about it.
    UnknownSeries,
}

/// One view and when it was last heard from.
#[derive(Clone, Debug)]
pub struct View {
    /// What it shows.
    pub key: ViewKey,
    /// The lowest producer id among its series: where in the pipeline it sits.
    pub id: u16,
    /// Its seconds.
    pub window: Window,
    /// When its newest update arrived at the relay, in ns since the Unix epoch.
    pub last_received_ns: u64,
    /// The period of its newest update, in ns; 0 before the first. How soon the next one may be expected.
    pub period_ns: u64,
    /// Goes up whenever an update is added.
    pub revision: u64,
    /// The round of the store in which it was last named or heard.
    round: u32,
}

/// A part of the log that this viewer did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the last update before it was cut, in ns since the Unix epoch; 0 when there was none.
    pub from_ns: u64,
    /// When the first update after it was cut; 0 while none has come.
    pub to_ns: u64,
    /// How many updates are missing; `None` where the relay restarted and nobody knows.
    pub updates: Option<u64>,
}

/// Everything that a viewer knows about one application.
#[derive(Clone, Debug)]
pub struct AppStore {
    views: Vec<View>,
    index: VecMap<ViewKey, usize>,
    logs: Vec<Log>,
    seconds: u64,
    clock_ns: u64,
    through_ns: u64,
    /// The period that is still open, if any.
    open: Option<Open>,
    revision: u64,
    last_received_ns: u64,
    late: u64,
    holes: Vec<Gap>,
    /// Goes up as updates arrive, at intervals that are as long as a series is kept; and when it last did, by their arrival.
    round: u32,
    round_ns: u64,
}

/// The newest period, while it is not complete.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// When the first of its updates arrived.
    arrival_ns: u64,
    /// Where it begins: the earliest start of all updates with the newest end.
    start_ns: u64,
    /// Its longest period.
    period_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Log {
    epoch: u64,
    series: VecMap<u32, Announced>,
    merged: SeqSet,
    /// Which stretches have come for which topics. Few, since neighbours are joined.
    covered: Vec<Stretch>,
}

/// A stretch of a log that has come for one topic.
#[derive(Clone, Debug)]
struct Stretch {
    filter: Filter,
    /// First and last number.
    from: u64,
    to: u64,
    /// Whether it came added up, so that which of its updates are counted cannot be seen from their numbers.
    is_sum: bool,
}

/// Series that have come already for some of a stretch.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Which.
    pub(crate) filter: Filter,
    /// Whether they came for all of it.
    pub(crate) is_whole: bool,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    own: usize,
    total: Option<usize>,
    /// The round in which it was last named or heard.
    round: u32,
}

impl Default for AppStore {
    fn default() -> Self {
        Self::new(WINDOW_SECONDS)
    }
}

impl AppStore {
    /// An empty store with windows of `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self {
            views: Vec::new(),
            index: VecMap::new(),
            logs: Vec::new(),
            seconds,
            clock_ns: 0,
            through_ns: 0,
            open: None,
            revision: 0,
            last_received_ns: 0,
            late: 0,
            holes: Vec::new(),
            round: 0,
            round_ns: 0,
        }
    }

    /// Learns the numbers of `series` in the log of `epoch`. Repeating it is harmless.
    pub fn announce(&mut self, epoch: u64, series: &[SeriesEntry]) {
        for entry in series {
            let (own, total) = ViewKey::of_series(&entry.key);
            let own = self.view_for(own, entry.id);
            let total = total.map(|total| self.view_for(total, entry.id));
            let round = self.round;
            self.log(epoch).series.insert(entry.number, Announced { own, total, round });
        }
    }

    fn view_for(&mut self, key: ViewKey, id: u16) -> usize {
        if let Some(&at) = self.index.get(&key) {
            self.views[at].id = self.views[at].id.min(id);
            self.views[at].round = self.round;
            return at;
        }
        let mut window = Window::new(self.seconds);
        window.slide(second_of(self.clock_ns));
        self.index.insert(key.clone(), self.views.len());
        self.views.push(View { key, id, window, last_received_ns: 0, period_ns: 0, revision: 0, round: self.round });
        self.revision += 1;
        self.views.len() - 1
    }

    fn log(&mut self, epoch: u64) -> &mut Log {
        let at = self.logs.iter().position(|log| log.epoch == epoch).unwrap_or_else(|| {
            if self.logs.len() == LOGS_MAX {
                self.logs.remove(0);
            }
            self.logs.push(Log { epoch, ..Log::default() });
            self.logs.len() - 1
        });
        &mut self.logs[at]
    }

    /// Counts an update of the log of `epoch` that arrived at the relay at `arrival_ns`, once.
    pub fn apply(&mut self, epoch: u64, update: &Update, arrival_ns: u64) -> Applied {
        let round = self.round;
        let log = self.log(epoch);
        let Some(announced) = log.series.get_mut(&update.series) else { return Applied::UnknownSeries };
        announced.round = round;
        let announced = *announced;
        if !log.merged.insert(update.seq) {
            return Applied::Duplicate;
        }
        self.count(announced, update, arrival_ns)
    }

    /// Notes that the stretch `from..=to` of the log of `epoch` has come for the topic that `filter` describes.
    pub(crate) fn cover(&mut self, epoch: u64, filter: &Filter, from: u64, to: u64, is_sum: bool) {
        let covered = &mut self.log(epoch).covered;
        // Most often it follows what came last.
        let joins = |stretch: &Stretch| {
            stretch.is_sum == is_sum
                && stretch.filter == *filter
                && from <= stretch.to.saturating_add(1)
                && stretch.from <= to.saturating_add(1)
        };
        if let Some(stretch) = covered.iter_mut().rev().find(|stretch| joins(stretch)) {
            (stretch.from, stretch.to) = (stretch.from.min(from), stretch.to.max(to));
            return;
        }
        if covered.len() == STRETCHES_MAX {
            covered.remove(0);
        }
        covered.push(Stretch { filter: filter.clone(), from, to, is_sum });
    }

    /// Which series of the topic that `filter` describes have come for some of `from..=to` already.
    pub(crate) fn known(&mut self, epoch: u64, filter: &Filter, from: u64, to: u64) -> Vec<Known> {
        let overlapping = self.log(epoch).covered.iter().filter(|stretch| stretch.from <= to && from <= stretch.to);
        overlapping
            .filter_map(|stretch| {
                // Topics contain one another or have nothing in common.
                let filter = if stretch.filter.covers(filter) {
                    filter
                } else if filter.covers(&stretch.filter) {
                    &stretch.filter
                } else {
                    return None;
                };
                Some(Known { filter: filter.clone(), is_whole: stretch.from <= from && to <= stretch.to })
            })
            .collect()
    }

    /// Whether number `seq`, of series `key`, is part of a sum that has come.
    pub(crate) fn is_summed(&mut self, epoch: u64, seq: u64, key: &SeriesKey) -> bool {
        let mut sums = self.log(epoch).covered.iter().filter(|stretch| stretch.is_sum);
        sums.any(|sum| (sum.from..=sum.to).contains(&seq) && sum.filter.matches(key))
    }

    /// Counts an update, or a sum of several, of which the caller knows that it was not here before.
    pub(crate) fn add(&mut self, epoch: u64, update: &Update, arrival_ns: u64) -> Applied {
        let round = self.round;
        let Some(announced) = self.log(epoch).series.get_mut(&update.series) else { return Applied::UnknownSeries };
        announced.round = round;
        let announced = *announced;
        self.count(announced, update, arrival_ns)
    }

    fn count(&mut self, Announced { own, total, .. }: Announced, update: &Update, arrival_ns: u64) -> Applied {
        self.last_received_ns = self.last_received_ns.max(arrival_ns);
        self.move_clock(update, arrival_ns);
        self.revision += 1;
        let (clock, revision) = (second_of(self.clock_ns), self.revision);
        let mut added = Added::Late;
        for at in core::iter::once(own).chain(total) {
            let view = &mut self.views[at];
            view.window.slide(clock);
            added = view.window.add(update);
            view.last_received_ns = view.last_received_ns.max(arrival_ns);
            view.period_ns = update.period_ns;
            view.revision = revision;
            view.round = self.round;
        }
        if added == Added::Late {
            self.late += 1;
            return Applied::Late;
        }
        Applied::Counted
    }

    /// A period is complete once an update of a later one has arrived: everything up to where the newest begins.
    fn move_clock(&mut self, update: &Update, arrival_ns: u64) {
        let start_ns = update.end_ns.saturating_sub(update.period_ns);
        if update.end_ns > self.clock_ns {
            self.clock_ns = update.end_ns;
            self.open = Some(Open { arrival_ns, start_ns, period_ns: update.period_ns });
        } else if update.end_ns == self.clock_ns
            && let Some(open) = &mut self.open
        {
            open.start_ns = open.start_ns.min(start_ns);
            open.period_ns = open.period_ns.max(update.period_ns);
        }
        if let Some(open) = self.open {
            self.through_ns = self.through_ns.max(open.start_ns);
        }
    }

    /// Lets time pass: two periods after its first update arrived, the newest period is complete as well.
    pub fn advance(&mut self, now_ns: u64) {
        if self.open.is_some_and(|open| now_ns >= open.arrival_ns.saturating_add(open.period_ns.saturating_mul(2))) {
            self.open = None;
            self.through_ns = self.clock_ns;
            self.revision += 1;
            self.views.iter_mut().for_each(|view| view.revision = self.revision);
        }
    }

    /// Lets go of series, and of views, of which nothing was heard or said for at least `keep_ns` while updates of others came:
    /// names that change all day would fill the memory. Says whether anything went.
    pub(crate) fn let_go(&mut self, keep_ns: u64) -> bool {
        if self.last_received_ns < self.round_ns.saturating_add(keep_ns) {
            return false;
        }
        (self.round, self.round_ns) = (self.round + 1, self.last_received_ns);
        let stays = |last: u32| last + 2 > self.round;
        let before: usize = self.logs.iter().map(|log| log.series.len()).sum();
        self.logs.iter_mut().for_each(|log| log.series.retain(|_, announced| stays(announced.round)));
        let mut places = Vec::new();
        let mut place = 0;
        self.views.retain(|view| {
            places.push(place);
            place += usize::from(stays(view.round));
            stays(view.round)
        });
        if before == self.logs.iter().map(|log| log.series.len()).sum::<usize>() && place == places.len() {
            return false;
        }
        // A view is there at least as long as any series that feeds it.
        for announced in self.logs.iter_mut().flat_map(|log| log.series.values_mut()) {
            announced.own = places[announced.own];
            announced.total = announced.total.map(|total| places[total]);
        }
        let Self { views, index, .. } = self;
        index.retain(|key, &at| views.get(places[at]).is_some_and(|view| view.key == *key));
        index.values_mut().for_each(|at| *at = places[*at]);
        self.revision += 1;
        self.views.iter_mut().for_each(|view| view.revision = self.revision);
        true
    }

    /// Whether the log of `epoch` has a series of this number.
    pub(crate) fn knows(&self, epoch: u64, number: u32) -> bool {
        self.logs.iter().any(|log| log.epoch == epoch && log.series.contains_key(&number))
    }

    /// Changes the length of every window to `seconds`.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.revision += 1;
        for view in &mut self.views {
            view.window.slide(second_of(self.clock_ns));
            view.window.set_seconds(seconds);
            view.revision = self.revision;
        }
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Every view, in the order in which they were first seen. Positions change when some are let go of, and with them the revision
    /// of each.
    #[must_use]
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Every view with its position, ordered by key.
    pub fn views_by_key(&self) -> impl Iterator<Item = (usize, &View)> {
        self.index.values().map(|&at| (at, &self.views[at]))
    }

    /// The position of the view with this key.
    #[must_use]
    pub fn find(&self, key: &ViewKey) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// What view `at` counted in its window, up to the application's clock.
    pub fn histogram(&mut self, at: usize) -> Histogram {
        self.window_at(at).histogram()
    }

    /// The events per second of view `at` over the complete seconds of its window.
    pub fn throughput(&mut self, at: usize) -> Option<Throughput> {
        let through = self.through_second();
        self.window_at(at).throughput(through)
    }

    /// The window of view `at`, ending at the application's clock.
    pub fn window_at(&mut self, at: usize) -> &Window {
        let clock = second_of(self.clock_ns);
        let window = &mut self.views[at].window;
        window.slide(clock);
        window
    }

    /// The newest plausible period end seen, in ns since the Unix epoch; 0 before the first.
    #[must_use]
    pub const fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// The end of the newest complete period, in ns since the Unix epoch; 0 before the first.
    #[must_use]
    pub const fn through_ns(&self) -> u64 {
        self.through_ns
    }

    /// The last second that is wholly complete.
    #[must_use]
    pub const fn through_second(&self) -> u64 {
        self.through_ns / crate::window::SLOT_NS
    }

    /// When the newest update arrived at the relay, in ns since the Unix epoch; 0 before the first.
    #[must_use]
    pub const fn last_received_ns(&self) -> u64 {
        self.last_received_ns
    }

    /// How long ago the application was heard by the relay, in ns, by whose clock it is `relay_ns`, if that is longer than it
    /// should be: 5 s, or three periods.
    #[must_use]
    pub fn silent_for(&self, relay_ns: u64) -> Option<u64> {
        let period_ns = self.views.iter().map(|view| view.period_ns).max().unwrap_or(0);
        let silence_ns = relay_ns.saturating_sub(self.last_received_ns);
        let limit_ns = (QUIET_SECONDS * crate::window::SLOT_NS).max(period_ns.saturating_mul(3));
        (self.last_received_ns > 0 && silence_ns > limit_ns).then_some(silence_ns)
    }

    /// Goes up whenever anything changes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// How many updates came too late for any window.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Notes that a part of the log is missing.
    pub fn record_gap(&mut self, hole: Gap) {
        if self.holes.len() == HOLES_MAX {
            self.holes.remove(0);
        }
        self.holes.push(hole);
        self.revision += 1;
    }

    /// Closes holes that had no end yet: updates are coming again.
    pub fn close_gaps(&mut self, cut_ns: u64) {
        self.holes.iter_mut().filter(|hole| hole.to_ns == 0).for_each(|hole| hole.to_ns = cut_ns);
    }

    /// What is missing, oldest first.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.holes
    }
}

/// Announcing a series.
impl SeriesEntry {
    /// The entry that announces `key` as `number`.
    #[must_use]
    pub const fn new(number: u32, id: u16, key: SeriesKey) -> Self {
        Self { number, id, key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{COMPUTATION, START_TO_END};
    use crate::view::Kind;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn entry(number: u32, category: &str, worker: &str) -> SeriesEntry {
        let [category, pipeline, worker, name] = [category, "p", worker, "n"].map(ToString::to_string);
        SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
    }

    fn update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|&ns| histogram.record(ns));
        Update { seq, series, period_ns: 2 * S, end_ns: end_s * S, offset_ns: 0, histogram }
    }

    /// A store that has seen `updates` of two workers' computations, each at its end.
    fn store_of(updates: &[Update]) -> AppStore {
        let mut store = AppStore::default();
        store.announce(1, &[entry(0, COMPUTATION, "a"), entry(1, COMPUTATION, "b"), entry(2, START_TO_END, "a")]);
        for update in updates {
            store.apply(1, update, update.end_ns);
        }
        store
    }

    #[test]
    fn totals_add_up_the_workers() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 100, &[9, 9]), update(3, 0, 100, &[5])]);
        let total = store.find(&ViewKey::computation("n")).unwrap();
        assert_eq!(store.histogram(total).count(), 4);
        let counts: Vec<_> = store
            .views()
            .iter()
            .filter(|view| view.key.kind == Kind::ComputationByWorker)
            .map(|view| view.window.histogram().count())
            .collect();
        assert_eq!(counts, [2, 2]);
    }

    #[test]
    fn a_stamp_is_counted_once_but_a_period_may_repeat() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 0, 100, &[5])]);
        assert_eq!(store.apply(1, &update(2, 0, 100, &[5]), 0), Applied::Duplicate);
        assert_eq!(store.apply(7, &update(2, 0, 100, &[5]), 0), Applied::UnknownSeries);
        store.announce(7, &[entry(0, COMPUTATION, "a")]);
        assert_eq!(store.apply(7, &update(2, 0, 100, &[5]), 0), Applied::Counted);
        assert_eq!(store.histogram(0).count(), 3);
    }

    #[test]
    fn a_period_is_complete_when_a_later_one_begins_or_after_two_more() {
        let mut store = store_of(&[update(1, 0, 100, &[5; 6])]);
        assert_eq!((store.through_ns(), store.throughput(0)), (98 * S, None));
        assert_eq!(store.histogram(0).count(), 6);
        store.advance(103 * S);
        assert_eq!(store.through_ns(), 98 * S);
        store.advance(104 * S);
        assert_eq!((store.through_ns(), store.throughput(0).unwrap().median), (100 * S, 3.0));
        store.apply(1, &update(2, 1, 102, &[5]), 104 * S);
        assert_eq!((store.through_ns(), store.clock_ns()), (100 * S, 102 * S));
        store.apply(1, &update(3, 1, 104, &[5]), 104 * S);
        assert_eq!(store.through_ns(), 102 * S);
    }

    #[test]
    fn the_first_update_may_be_an_old_one() {
        let mut store = store_of(&[update(1, 0, 100, &[5]), update(2, 1, 4000, &[5])]);
        assert_eq!(store.apply(1, &update(3, 0, 3600, &[5]), 4000 * S), Applied::Counted);
        assert_eq!(store.apply(1, &update(4, 0, 200, &[5]), 4000 * S), Applied::Late);
        assert_eq!((store.late(), store.histogram(0).count()), (1, 0));
        store.set_seconds(900);
        assert_eq!(store.histogram(0).count(), 1);
    }

    /// Updates of three series within a window's length, some of them of quiet or saturated periods.
    fn any_updates() -> impl Strategy<Value = Vec<Update>> {
        let one = (0..3_u32, 1000..1290_u64, 1..5_u64, prop::collection::vec(any::<u64>(), 0..4), any::<u8>());
        let built = |(at, (series, end_s, period_s, durations, full)): (usize, (u32, u64, u64, Vec<u64>, u8))| {
            let mut update = Update { period_ns: period_s * S, ..update(at as u64 + 1, series, end_s, &durations) };
            if full < 9 {
                update.histogram.bins[usize::from(full)] = u64::MAX;
            }
            update
        };
        prop::collection::vec(one, 1..60).prop_map(move |all| all.into_iter().enumerate().map(built).collect())
    }

    /// What each view shows once all its periods are complete.
    fn shown(mut store: AppStore) -> Vec<(ViewKey, Histogram, Option<Throughput>)> {
        store.advance(u64::MAX);
        let views: Vec<(usize, ViewKey)> = store.views_by_key().map(|(at, view)| (at, view.key.clone())).collect();
        views.into_iter().map(|(at, key)| (key, store.histogram(at), store.throughput(at))).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_show_the_same(
            (updates, shuffled) in any_updates().prop_flat_map(|updates| {
                let twice = [&updates[..], &updates[..]].concat();
                (Just(updates), Just(twice).prop_shuffle())
            }),
        ) {
            let (once, again) = (store_of(&updates), store_of(&shuffled));
            prop_assert_eq!((once.clock_ns(), once.late()), (again.clock_ns(), again.late()));
            prop_assert_eq!(shown(once), shown(again));
        }
    }
}
