//! The data of one application in a viewer: its views, its clock, and which of its periods are complete.
//!
//! The page, `joey stats` and the tests use the same store. Its clock is the newest plausible period end that it has
//! received, not the wall clock. A recording from last year therefore looks the same as it did then.

mod apps;
mod between;
mod changes;
mod ranges;
pub(crate) mod state;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use self::apps::AppStores;
use self::changes::Changes;
use self::ranges::ReceivedRanges;
use crate::histogram::{Histogram, Quantile, QuantileRange, Unit};
use crate::seqset::SeqSet;
use crate::series::Provenance;
use crate::view::ViewKey;
use crate::window::{Added, SLOT_NS, Throughput, Window, first_changed_second, second_of};
use crate::wire::{SeriesEntry, Update};

/// Default length of a window, in seconds; the same as in the original Metrics UI.
pub const WINDOW_SECONDS: u64 = 300;

/// Shortest silence that counts as a stall, in seconds. The slowest producers report every two seconds.
pub const QUIET_SECONDS: u64 = 5;

/// Maximum number of logs of one application. Each relay that has the application has one log of it. A log ends when its relay
/// restarts, so the oldest are removed first.
const LOGS_MAX: usize = 64;

/// Maximum number of gaps of one application. The oldest are removed first.
const GAPS_MAX: usize = 64;

/// The outcome of applying an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was added to its views.
    Counted,
    /// It was received before. It is not counted again.
    Duplicate,
    /// Its period ended before the oldest second of the windows. It is counted as late.
    Late,
    /// The relay has not announced its series, so it cannot be counted.
    UnknownSeries,
}

/// One view: its window and when it last received an update.
#[derive(Clone, Debug)]
pub struct View {
    /// Identifies the view.
    pub key: ViewKey,
    /// The lowest producer ID of its series, which is its position in the pipeline.
    pub id: u16,
    /// Where the histograms of its series come from, and what they do not know.
    pub provenance: Provenance,
    /// The unit of its histograms, once it has one with counts.
    unit: Option<Unit>,
    /// Its latencies and events, second by second.
    pub window: Window,
    /// When its newest update arrived at the relay, in ns since the Unix epoch.
    pub last_received_ns: u64,
    /// The period of its newest update, in ns; 0 before the first. The next update is due after this time.
    pub period_ns: u64,
    /// Increases with every added update.
    pub revision: u64,
    /// The store's expiry interval in which it was last announced or updated.
    interval: u32,
}

impl View {
    /// When the last event was counted, in ns since the Unix epoch, if that was more than three periods, and more than
    /// [`QUIET_SECONDS`], before second `now`.
    #[must_use]
    pub fn stalled_since_ns(&self, now: u64) -> Option<u64> {
        let expected = (self.period_ns / SLOT_NS).saturating_mul(3).max(QUIET_SECONDS);
        let last = self.window.last_second()?;
        (now.saturating_sub(last) > expected).then(|| last.saturating_mul(SLOT_NS))
    }
}

/// A part of the log that this viewer did not receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the last batch before the gap was cut, in ns since the Unix epoch; 0 if there was none.
    pub from_ns: u64,
    /// When the first batch after the gap was cut, in ns since the Unix epoch; 0 until it arrives.
    pub to_ns: u64,
    /// Number of missing updates; `None` if it is unknown because the relay restarted.
    pub updates: Option<u64>,
    /// The relay that did not send it: the id of its [`Subscriber`](crate::viewer::Subscriber).
    pub relay: u32,
}

/// Everything that a viewer has received of one application.
///
/// ```
/// use joey_shared::histogram::Histogram;
/// use joey_shared::series::{COMPUTATION, SeriesKey};
/// use joey_shared::store::{AppStore, Applied};
/// use joey_shared::view::ViewKey;
/// use joey_shared::wire::{SeriesEntry, Update};
///
/// const S: u64 = 1_000_000_000;
/// let (epoch, mut store) = (7, AppStore::default());
/// let names = [COMPUTATION, "Orders", "w1", "Check"].map(str::to_owned);
/// let [category, pipeline, worker, name] = names;
/// store.announce(epoch, &[SeriesEntry::new(0, 1, SeriesKey { category, pipeline, worker, name })]);
///
/// let mut histogram = Histogram::default();
/// histogram.record(1_500);
/// let update = Update { seq: 1, series: 0, period_ns: S, end_ns: 100 * S, offset_ns: 0, histogram };
/// assert_eq!(store.apply(epoch, &update, 100 * S), Applied::Counted);
/// assert_eq!(store.apply(epoch, &update, 100 * S), Applied::Duplicate);
///
/// // The update belongs to the view of its computation on this worker, and to the total of the computation.
/// let total = store.find(&ViewKey::computation("Check")).expect("the series was announced");
/// assert_eq!((store.views().len(), store.histogram(total).count()), (2, 1));
/// ```
#[derive(Clone, Debug)]
pub struct AppStore {
    views: Vec<View>,
    index: BTreeMap<ViewKey, usize>,
    logs: Vec<Log>,
    seconds: u64,
    clock_ns: u64,
    through_ns: u64,
    /// The newest period, until it is complete.
    open: Option<Open>,
    revision: u64,
    /// The revision in which views were last added, changed or removed.
    views_revision: u64,
    changes: Changes,
    last_received_ns: u64,
    late: u64,
    gaps: Vec<Gap>,
    /// Number of the current expiry interval. An interval is as long as an unused series is retained.
    interval: u32,
    /// Arrival time of the newest update when the interval began, in ns since the Unix epoch.
    interval_start_ns: u64,
}

/// The newest period, which is not complete yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Arrival time of its first update, in ns since the Unix epoch.
    arrival_ns: u64,
    /// Its start: the earliest start of all updates that have the newest end.
    start_ns: u64,
    /// The longest period of its updates, in ns.
    period_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Log {
    epoch: u64,
    series: BTreeMap<u32, SeriesViews>,
    /// Sequence numbers of the updates that were counted.
    counted: SeqSet,
    ranges: ReceivedRanges,
}

/// The views that a series belongs to, by position.
#[derive(Clone, Copy, Debug)]
struct SeriesViews {
    own: usize,
    total: Option<usize>,
    instance_total: Option<usize>,
    /// The expiry interval in which the series was last announced or updated.
    interval: u32,
}

impl Default for AppStore {
    fn default() -> Self {
        Self::new(WINDOW_SECONDS)
    }
}

impl AppStore {
    /// Creates an empty store with windows of `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self {
            views: Vec::new(),
            index: BTreeMap::new(),
            logs: Vec::new(),
            seconds,
            clock_ns: 0,
            through_ns: 0,
            open: None,
            revision: 0,
            views_revision: 0,
            changes: Changes::new(0),
            last_received_ns: 0,
            late: 0,
            gaps: Vec::new(),
            interval: 0,
            interval_start_ns: 0,
        }
    }

    /// Creates an empty store with windows of `seconds`, whose revisions are higher than `revision`. If it replaces
    /// another store of the same application, what was computed from that one is not used for it.
    pub(crate) fn starting_at(seconds: u64, revision: u64) -> Self {
        Self { revision, views_revision: revision, changes: Changes::new(revision), ..Self::new(seconds) }
    }

    /// Adds `series` of the log of `epoch`. Adding a series again has no effect.
    pub fn announce(&mut self, epoch: u64, series: &[SeriesEntry]) {
        for entry in series {
            let (own, total) = ViewKey::of_series(&entry.key);
            let own = self.view_for(own, entry);
            let total = total.map(|total| self.view_for(total, entry));
            let instance_total = ViewKey::instance_total(&entry.key, entry.provenance.source);
            let instance_total = instance_total.map(|total| self.view_for(total, entry));
            let views = SeriesViews { own, total, instance_total, interval: self.interval };
            self.log(epoch).series.insert(entry.number, views);
        }
    }

    fn view_for(&mut self, key: ViewKey, &SeriesEntry { id, provenance, .. }: &SeriesEntry) -> usize {
        if let Some(&at) = self.index.get(&key) {
            let view = &mut self.views[at];
            let before = (view.id, view.provenance);
            view.id = view.id.min(id);
            view.provenance = view.provenance.and(provenance);
            view.interval = self.interval;
            if (view.id, view.provenance) != before {
                self.revision += 1;
                self.views_revision = self.revision;
            }
            return at;
        }
        let mut window = Window::new(self.seconds);
        window.slide(second_of(self.clock_ns));
        self.index.insert(key.clone(), self.views.len());
        self.views.push(View {
            key,
            id,
            provenance,
            unit: None,
            window,
            last_received_ns: 0,
            period_ns: 0,
            revision: 0,
            interval: self.interval,
        });
        self.revision += 1;
        self.views_revision = self.revision;
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

    /// Counts an update of the log of `epoch`, unless it was counted before. It arrived at the relay at `arrival_ns`, in ns since
    /// the Unix epoch.
    pub fn apply(&mut self, epoch: u64, update: &Update, arrival_ns: u64) -> Applied {
        let interval = self.interval;
        let log = self.log(epoch);
        let Some(series) = log.series.get_mut(&update.series) else { return Applied::UnknownSeries };
        series.interval = interval;
        let series = *series;
        if !log.counted.insert(update.seq) {
            return Applied::Duplicate;
        }
        self.count(series, update, arrival_ns)
    }

    /// The ranges of the log of `epoch` that were received.
    pub(crate) fn ranges(&mut self, epoch: u64) -> &mut ReceivedRanges {
        &mut self.log(epoch).ranges
    }

    /// Counts an update or an item of a rollup. The caller has checked that it was not counted before.
    pub fn add(&mut self, epoch: u64, update: &Update, arrival_ns: u64) -> Applied {
        let interval = self.interval;
        let Some(series) = self.log(epoch).series.get_mut(&update.series) else { return Applied::UnknownSeries };
        series.interval = interval;
        let series = *series;
        self.count(series, update, arrival_ns)
    }

    fn count(&mut self, series: SeriesViews, update: &Update, arrival_ns: u64) -> Applied {
        let SeriesViews { own, total, instance_total, .. } = series;
        self.last_received_ns = self.last_received_ns.max(arrival_ns);
        let before = self.clock_ns;
        self.move_clock(update, arrival_ns);
        self.revision += 1;
        let first = update.end_ns.saturating_sub(update.period_ns) / SLOT_NS + 1;
        let changed = first_changed_second(first, second_of(before), second_of(self.clock_ns), self.seconds);
        self.changes.record(self.revision, changed);
        let (clock, revision) = (second_of(self.clock_ns), self.revision);
        let views = || core::iter::once(own).chain(total).chain(instance_total);
        // All first: a processor then reads the oldest seconds of all windows from memory at the same time.
        views().for_each(|at| self.views[at].window.slide(clock));
        let mut added = Added::Late;
        for at in views() {
            let view = &mut self.views[at];
            added = view.window.add(update);
            if !update.histogram.is_empty() {
                let unit = update.histogram.grid().unit();
                // Histograms of different units cannot be merged exactly.
                view.provenance.is_approximate |= view.unit.replace(unit).is_some_and(|known| known != unit);
            }
            view.last_received_ns = view.last_received_ns.max(arrival_ns);
            view.period_ns = update.period_ns;
            view.revision = revision;
            view.interval = self.interval;
        }
        if added == Added::Late {
            self.late += 1;
            return Applied::Late;
        }
        Applied::Counted
    }

    /// Moves the clock to the end of `update`. All periods that end before the newest period starts are then complete.
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

    /// Completes the newest period if its first update arrived more than two periods before `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        if self.open.is_some_and(|open| now_ns >= open.arrival_ns.saturating_add(open.period_ns.saturating_mul(2))) {
            self.open = None;
            self.through_ns = self.clock_ns;
            self.revision += 1;
            self.views.iter_mut().for_each(|view| view.revision = self.revision);
        }
    }

    /// Removes the series and views that were neither announced nor updated for at least `retention_ns`, measured by the arrival
    /// of other updates. Otherwise, names that keep changing would fill the memory. Returns whether it removed any.
    pub fn expire_series(&mut self, retention_ns: u64) -> bool {
        if self.last_received_ns < self.interval_start_ns.saturating_add(retention_ns) {
            return false;
        }
        (self.interval, self.interval_start_ns) = (self.interval + 1, self.last_received_ns);
        let stays = |last: u32| last + 2 > self.interval;
        let before: usize = self.logs.iter().map(|log| log.series.len()).sum();
        self.logs.iter_mut().for_each(|log| log.series.retain(|_, series| stays(series.interval)));
        let mut positions = Vec::new();
        let mut next = 0;
        self.views.retain(|view| {
            positions.push(next);
            next += usize::from(stays(view.interval));
            stays(view.interval)
        });
        if before == self.logs.iter().map(|log| log.series.len()).sum::<usize>() && next == positions.len() {
            return false;
        }
        // A view is retained at least as long as each of its series.
        for series in self.logs.iter_mut().flat_map(|log| log.series.values_mut()) {
            series.own = positions[series.own];
            series.total = series.total.map(|total| positions[total]);
            series.instance_total = series.instance_total.map(|total| positions[total]);
        }
        let Self { views, index, .. } = self;
        index.retain(|key, at| views.get(positions[*at]).is_some_and(|view| view.key == *key));
        index.values_mut().for_each(|at| *at = positions[*at]);
        self.revision += 1;
        self.views_revision = self.revision;
        self.views.iter_mut().for_each(|view| view.revision = self.revision);
        true
    }

    /// Number of series in the log of `epoch`.
    pub(crate) fn series_count(&self, epoch: u64) -> usize {
        self.logs.iter().find(|log| log.epoch == epoch).map_or(0, |log| log.series.len())
    }

    /// Whether the log of `epoch` has a series with this number.
    pub(crate) fn has_series(&self, epoch: u64, number: u32) -> bool {
        self.logs.iter().any(|log| log.epoch == epoch && log.series.contains_key(&number))
    }

    /// Sets the length of every window, in seconds.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.revision += 1;
        self.changes = Changes::new(self.revision);
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

    /// All views, in the order in which they were added. When views expire, the positions and the revisions of the others change.
    #[must_use]
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// All views with their positions, ordered by key.
    pub fn views_by_key(&self) -> impl Iterator<Item = (usize, &View)> {
        self.index.values().map(|&at| (at, &self.views[at]))
    }

    /// The position of the view with this key.
    #[must_use]
    pub fn find(&self, key: &ViewKey) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The histogram of the window of view `at`, up to the application's clock.
    pub fn histogram(&mut self, at: usize) -> Histogram {
        self.window_at(at).histogram()
    }

    /// The histogram of view `at` over the last `seconds` up to the application's clock, whatever the length of the
    /// windows. Only what has been received counts, see [`View::window`]. Where seconds are merged into steps, it
    /// begins with a whole step.
    pub fn recent_histogram(&mut self, at: usize, seconds: u64) -> Histogram {
        if seconds == self.seconds {
            return self.histogram(at);
        }
        let to = second_of(self.clock_ns);
        self.window_at(at).histogram_between((to + 1).saturating_sub(seconds)..=to)
    }

    /// Quantile `q` of [`AppStore::histogram`], without the histogram.
    pub fn quantile(&mut self, at: usize, q: Quantile) -> Option<QuantileRange> {
        self.window_at(at).quantile(q)
    }

    /// Throughput of view `at` over the complete seconds of its window, in events per second.
    pub fn throughput(&mut self, at: usize) -> Option<Throughput> {
        let through = self.through_second();
        self.window_at(at).throughput(through)
    }

    /// Moves the window of view `at` to the application's clock and returns it.
    pub fn window_at(&mut self, at: usize) -> &Window {
        let clock = second_of(self.clock_ns);
        let window = &mut self.views[at].window;
        window.slide(clock);
        window.prepare();
        window
    }

    /// The application's clock: the newest plausible period end, in ns since the Unix epoch; 0 before the first update.
    #[must_use]
    pub const fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// The end of the newest complete period, in ns since the Unix epoch; 0 before the first.
    #[must_use]
    pub const fn through_ns(&self) -> u64 {
        self.through_ns
    }

    /// The last complete second, counted from the Unix epoch.
    #[must_use]
    pub const fn through_second(&self) -> u64 {
        self.through_ns / SLOT_NS
    }

    /// When the newest update arrived at the relay, in ns since the Unix epoch; 0 before the first.
    #[must_use]
    pub const fn last_received_ns(&self) -> u64 {
        self.last_received_ns
    }

    /// How long the application has sent nothing, in ns, if this is longer than expected: 5 s or three periods, whichever is
    /// longer. `relay_ns` is the relay's current time, in ns since the Unix epoch.
    #[must_use]
    pub fn silent_for(&self, relay_ns: u64) -> Option<u64> {
        let period_ns = self.views.iter().map(|view| view.period_ns).max().unwrap_or(0);
        let silence_ns = relay_ns.saturating_sub(self.last_received_ns);
        let limit_ns = (QUIET_SECONDS * SLOT_NS).max(period_ns.saturating_mul(3));
        (self.last_received_ns > 0 && silence_ns > limit_ns).then_some(silence_ns)
    }

    /// Increases with every change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision in which views were last added, changed or removed. Their positions and keys have been the same since.
    #[must_use]
    pub const fn views_revision(&self) -> u64 {
        self.views_revision
    }

    /// The first second, since the Unix epoch, whose counts have changed since `revision`. 0 if it is unknown,
    /// `u64::MAX` if none has changed. Seconds after the clock have not changed but come into being.
    #[must_use]
    pub fn first_change_since(&self, revision: u64) -> u64 {
        self.changes.since(revision)
    }

    /// Number of updates that arrived too late for any window.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Records that a part of the log is missing.
    pub fn record_gap(&mut self, gap: Gap) {
        if self.gaps.len() == GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push(gap);
        self.revision += 1;
    }

    /// Ends the open gaps of `relay` at the batch that was cut at `cut_ns`, in ns since the Unix epoch.
    pub fn close_gaps(&mut self, relay: u32, cut_ns: u64) {
        let open = self.gaps.iter_mut().filter(|gap| gap.to_ns == 0 && gap.relay == relay);
        open.for_each(|gap| gap.to_ns = cut_ns);
    }

    /// The missing parts of the log, oldest first.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
}

#[cfg(test)]
mod tests;
