//! The page's data: the relays and the stores that they fill, a snapshot while the page is paused, an open recording, and the
//! subscriptions.
//!
//! It is plain memory without signals. Components read it after a tick of the frame loop.
//!
//! The subscriptions depend on the page: everything of an application while it is open, and only the categories of the
//! key figures of each application on the landing page. Each relay has the same subscriptions, as far as it has the
//! applications.

mod comparison;
mod history;
mod objectives;
mod recording;
mod relay_objectives;
mod subscriptions;

use joey_shared::store::{AppStore, WINDOW_SECONDS};
use joey_shared::viewer::{Subscriber, Viewers};
use joey_shared::window::second_of;
use joey_shared::wire::AppEntry;
use std::collections::BTreeMap;

use self::comparison::Compared;
pub use self::objectives::{MissedObjective, WindowShare};
use self::recording::{Opened, Recorder};
pub use self::recording::{RECORDING_BYTES_MAX, RecordingProgress};
pub use self::subscriptions::OBJECTIVE_SERIES_MAX;
use crate::app_cache::AppCache;
use crate::objectives::AppObjectives;
use crate::recent_change::{RecentChange, RecentChanges};
use crate::route::Page;
use crate::snapshot::Snapshot;
use crate::statistics::{AppStatistics, ViewStatistics, view_statistics};
use crate::time_range::TimeRange;
use crate::vocabulary::Words;

/// The page's data.
#[derive(Debug)]
pub struct Model {
    viewers: Viewers,
    snapshot: Option<Snapshot>,
    page: Page,
    /// The longest history that subscriptions have requested, in seconds.
    requested_seconds: u64,
    /// When the last subscription of each application ended, in local ns.
    unsubscribed_ns: Vec<(String, u64)>,
    recorder: Option<Recorder>,
    opened: Option<Opened>,
    compared: Compared,
    cache: Cache,
    /// Number of changes of the list of relays.
    relay_changes: u64,
    /// Number of times that other stores were shown.
    generation: u64,
    /// What was computed for the key figures of each application.
    app_caches: BTreeMap<String, AppCache>,
    recent_changes: RecentChanges,
    /// By application.
    objectives: BTreeMap<String, AppObjectives>,
}

/// The statistics of one application's views: rows, sorting and figures need the same ones.
#[derive(Debug, Default)]
struct Cache {
    app: String,
    /// By view index.
    statistics: Vec<Option<(CacheKey, ViewStatistics)>>,
}

/// The statistics of a view are unchanged while these are.
#[derive(Debug, PartialEq, Eq)]
struct CacheKey {
    revision: u64,
    clock_ns: u64,
    through_ns: u64,
    window_seconds: u64,
    gaps: usize,
}

impl Model {
    /// An empty model with windows of `seconds`.
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            viewers: Viewers::new(seconds),
            snapshot: None,
            page: Page::Landing,
            requested_seconds: seconds.max(WINDOW_SECONDS),
            unsubscribed_ns: Vec::new(),
            recorder: None,
            opened: None,
            compared: Compared::default(),
            cache: Cache::default(),
            relay_changes: 0,
            generation: 0,
            app_caches: BTreeMap::new(),
            recent_changes: RecentChanges::default(),
            objectives: BTreeMap::new(),
        }
    }

    /// Adds relay `id` at local time `now_ns`, and subscribes it to what the page needs.
    pub fn add_relay(&mut self, id: u32, now_ns: u64) {
        self.viewers.add(id);
        self.relays_changed(now_ns);
    }

    /// Removes relay `id` and its data at local time `now_ns`. The others send theirs again.
    pub fn remove_relay(&mut self, id: u32, now_ns: u64) {
        self.viewers.remove(id);
        self.record_removal(id, now_ns);
        self.relays_changed(now_ns);
    }

    /// Sorts the relays as in `ids`. The clock of the first is the page's.
    pub fn set_relay_order(&mut self, ids: &[u32]) {
        self.viewers.set_order(ids);
    }

    fn relays_changed(&mut self, now_ns: u64) {
        self.relay_changes += 1;
        self.forget_statistics();
        self.update_subscriptions(now_ns);
    }

    /// The relays, in the order in which they were added.
    pub fn relays(&self) -> impl Iterator<Item = &Subscriber> {
        self.viewers.relays()
    }

    /// What is known of relay `id`.
    #[must_use]
    pub fn relay(&self, id: u32) -> Option<&Subscriber> {
        self.viewers.relay(id)
    }

    /// The same, for its connection.
    pub fn relay_mut(&mut self, id: u32) -> Option<&mut Subscriber> {
        self.viewers.relay_mut(id)
    }

    /// The applications of all relays, without regard to a snapshot.
    fn live_catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.viewers.catalogue()
    }

    /// Completes the newest periods that are due at local time `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        self.viewers.advance(now_ns);
    }

    /// A copy of what is shown, at local time `now_ns`.
    fn copy(&self, relay_ns: Option<u64>, now_ns: u64) -> Snapshot {
        let app_relay_ns = |app: &str| match &self.opened {
            Some(opened) => Some(opened.playback().app_relay_ns(app)),
            None => self.viewers.app_relay_ns(app, now_ns),
        };
        Snapshot::of(self.shown_catalogue(), self.shown_stores(), self.requested_seconds, relay_ns, app_relay_ns)
    }

    /// Takes a snapshot at local time `now_ns`, which is shown until [`resume`](Self::resume).
    pub fn pause(&mut self, now_ns: u64) {
        let relay_ns = self.relay_ns(now_ns);
        self.snapshot = Some(self.copy(relay_ns, now_ns));
    }

    /// Shows live data again.
    pub fn resume(&mut self) {
        self.snapshot = None;
        self.forget_statistics();
        self.app_caches.clear();
    }

    /// Whether all requested history has arrived.
    #[must_use]
    pub fn has_history(&self) -> bool {
        if self.opened.is_some() {
            return !self.is_reading_recording();
        }
        let connected = || self.viewers.relays().filter(|relay| relay.is_connected());
        let has_all =
            |relay: &Subscriber| relay.has_catalogue() && relay.topics().next().is_some() && relay.is_caught_up();
        // A relay that does not have the application does not hold up the others.
        connected().any(has_all) && connected().all(|relay| has_all(relay) || relay.is_waiting())
    }

    /// The selected range.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        self.snapshot.as_ref().and_then(Snapshot::range)
    }

    /// The seconds that are shown of `app`: those of its window, or of the selected range.
    #[must_use]
    pub fn shown_range(&self, app: &str) -> Option<TimeRange> {
        let live = || {
            let store = self.app(app).filter(|store| store.clock_ns() > 0)?;
            let to = second_of(store.clock_ns());
            Some(TimeRange { from: (to + 1).saturating_sub(store.seconds()), to })
        };
        self.snapshot.as_ref().and_then(|snapshot| snapshot.shown_range(app)).or_else(live)
    }

    /// Whether a snapshot is shown.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The clock of the first relay that has answered, at local time `now_ns`; the instant of the pause while paused.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        match (&self.snapshot, &self.opened) {
            (Some(snapshot), _) => snapshot.relay_ns,
            (None, _) => self.live_relay_ns(now_ns),
        }
    }

    /// The same also while paused; the position in an open recording.
    #[must_use]
    pub fn live_relay_ns(&self, now_ns: u64) -> Option<u64> {
        match &self.opened {
            Some(opened) => Some(opened.playback().position_ns()),
            None => self.viewers.relays().find_map(|relay| relay.relay_ns(now_ns)),
        }
    }

    /// The clock of the relays that have `app`: the latest of them, if they differ.
    #[must_use]
    pub fn app_relay_ns(&self, app: &str, now_ns: u64) -> Option<u64> {
        match (&self.snapshot, &self.opened) {
            (Some(snapshot), _) => snapshot.app_relay_ns(app),
            (None, Some(opened)) => Some(opened.playback().app_relay_ns(app)),
            (None, None) => self.viewers.app_relay_ns(app, now_ns),
        }
    }

    /// By how much the clock of relay `id` is ahead of the first relay's, in ns at local time `now_ns`; negative if it is
    /// behind. `None` for the first relay itself, and before both have answered.
    #[must_use]
    pub fn clock_ahead_ns(&self, id: u32, now_ns: u64) -> Option<i64> {
        let first = self.viewers.relays().find(|relay| relay.relay_ns(now_ns).is_some())?;
        let (first_ns, own_ns) = (first.relay_ns(now_ns)?, self.relay(id)?.relay_ns(now_ns)?);
        (first.id() != id).then(|| own_ns.cast_signed().saturating_sub(first_ns.cast_signed()))
    }

    /// How long each relay retains single updates at least, in ns.
    #[must_use]
    pub fn ring_ns(&self) -> u64 {
        self.recording().map_or(&self.viewers, |recording| recording.viewers()).ring_ns()
    }

    /// The applications of all relays.
    #[must_use]
    pub fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.snapshot.as_ref().map_or_else(|| self.shown_catalogue(), |snapshot| &snapshot.catalogue)
    }

    /// The words for the parts of an application.
    #[must_use]
    pub fn words(&self, app: &str) -> &'static Words {
        Words::of(self.catalogue().get(app).map_or(&[], |entry| &entry.sources))
    }

    /// The store of an application, if it is subscribed to.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.snapshot.as_ref().map_or_else(|| self.shown_stores().get(app), |snapshot| snapshot.app(app))
    }

    /// The same, to read windows, which slide when they are read.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        match &mut self.snapshot {
            Some(snapshot) => snapshot.app_mut(app),
            None => recording::shown(&mut self.opened, &mut self.viewers).get_mut(app),
        }
    }

    /// Changes the length of every window, at local time `now_ns`. A window longer than all before is requested again from the
    /// relay.
    pub fn set_seconds(&mut self, seconds: u64, now_ns: u64) {
        self.viewers.set_seconds(seconds);
        if let Some(opened) = &mut self.opened {
            opened.playback_mut().viewers_mut().set_seconds(seconds);
        }
        if seconds > self.requested_seconds {
            self.request_history(seconds, now_ns);
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.set_seconds(seconds);
        }
    }

    /// The length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.viewers.seconds()
    }

    /// Computes everything anew: other stores are shown, or other seconds of them.
    fn forget_statistics(&mut self) {
        self.cache = Cache::default();
        self.app_caches.clear();
        self.recent_changes = RecentChanges::default();
        self.objectives.values_mut().for_each(AppObjectives::forget_outcomes);
        self.generation += 1;
    }

    /// The statistics of the view of `app` at `view_index`.
    pub fn view_statistics(&mut self, app: &str, view_index: usize) -> Option<ViewStatistics> {
        let Self { snapshot, viewers, opened, cache, .. } = self;
        let store = match snapshot {
            Some(snapshot) => snapshot.app_mut(app),
            None => recording::shown(opened, viewers).get_mut(app),
        }?;
        cached_statistics(cache, app, store, view_index)
    }

    /// How the end of the window of a view of `app` differs from the rest of it; a few seconds old at most.
    pub fn recent_change(&mut self, app: &str, view_index: usize) -> Option<RecentChange> {
        let mut changes = core::mem::take(&mut self.recent_changes);
        let change = self.app_mut(app).and_then(|store| changes.of(app, store, view_index));
        self.recent_changes = changes;
        change
    }

    /// The key figures of `app`.
    pub fn app_statistics(&mut self, app: &str) -> Option<AppStatistics> {
        if !self.app_caches.contains_key(app) {
            // Applications come and go.
            let shown = recording::shown(&mut self.opened, &mut self.viewers);
            self.app_caches.retain(|app, _| shown.get(app).is_some());
        }
        let store = match &mut self.snapshot {
            Some(snapshot) => snapshot.app_mut(app),
            None => recording::shown(&mut self.opened, &mut self.viewers).get_mut(app),
        }?;
        Some(self.app_caches.entry(app.to_owned()).or_default().statistics(store))
    }

    /// Changes when other stores are shown, such as those of a recording: revisions of different stores cannot be compared.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Changes when views may have new positions, because a store was replaced.
    #[must_use]
    pub fn removals(&self) -> u64 {
        self.shown_stores().removals()
    }

    /// Increases whenever something that is shown may have changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match &self.snapshot {
            Some(snapshot) => snapshot.revision(),
            None => {
                let stores = self.shown_stores().iter().map(|(_, store)| store.revision());
                let recorded = self.recording().map(|recording| recording.viewers().revision());
                let relays = recorded.unwrap_or_else(|| self.relay_changes + self.viewers.revision());
                relays + stores.sum::<u64>()
            }
        }
    }
}

/// The statistics of the view of `app` at `view_index` of its `store`.
fn cached_statistics(cache: &mut Cache, app: &str, store: &mut AppStore, view_index: usize) -> Option<ViewStatistics> {
    if cache.app != app {
        *cache = Cache { app: app.to_owned(), statistics: Vec::new() };
    }
    let key = CacheKey {
        revision: store.views().get(view_index)?.revision,
        clock_ns: store.clock_ns(),
        through_ns: store.through_ns(),
        window_seconds: store.seconds(),
        gaps: store.gaps().len(),
    };
    if cache.statistics.len() <= view_index {
        cache.statistics.resize_with(view_index + 1, || None);
    }
    let cached = &mut cache.statistics[view_index];
    if let Some((_, statistics)) = cached.as_ref().filter(|(cached_key, _)| *cached_key == key) {
        return Some(statistics.clone());
    }
    let statistics = view_statistics(store, view_index)?;
    *cached = Some((key, statistics.clone()));
    Some(statistics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hello;
    use joey_shared::series::{COMPUTATION, PIPELINE_INGESTION, START_TO_END, Source};
    use joey_shared::wire::ServerMessage;

    const S: u64 = 1_000_000_000;

    /// A model with the applications `a` and `b` in its catalogue.
    pub(super) fn model() -> Model {
        let mut model = Model::new(300);
        model.add_relay(1, 0);
        let apps = ["a", "b"].map(|app| AppEntry { app: app.to_owned(), ..AppEntry::default() }).to_vec();
        for message in [ServerMessage::Hello(hello()), ServerMessage::Catalogue { full: true, apps, last: true }] {
            model.receive(1, &message.encode(), 0).unwrap();
        }
        model
    }

    pub(super) fn subscribed(model: &Model) -> Vec<String> {
        model.relays().flat_map(Subscriber::topics).map(|topic| format!("{} {:?}", topic.app, topic.filter)).collect()
    }

    #[test]
    fn the_page_determines_the_subscriptions() {
        let mut model = model();
        model.show(&Page::Landing, 0);
        assert_eq!(subscribed(&model).len(), 4);
        model.show(&Page::Dashboard("a".to_owned()), 0);
        assert_eq!(subscribed(&model), ["a All"]);
        model.show(&Page::Workers("a".to_owned()), 0);
        assert_eq!(subscribed(&model), ["a All"]);
        model.show(&Page::Unknown("x".to_owned()), 0);
        assert!(subscribed(&model).is_empty());
    }

    #[test]
    fn the_landing_page_has_the_calls_of_services() {
        let mut model = model();
        let service = AppEntry { app: "a".to_owned(), sources: vec![Source::Statsd], ..AppEntry::default() };
        let message = ServerMessage::Catalogue { full: false, apps: vec![service], last: true };
        model.receive(1, &message.encode(), 0).unwrap();
        model.show(&Page::Landing, 0);
        let expected = [("a", COMPUTATION), ("a", START_TO_END), ("b", PIPELINE_INGESTION), ("b", START_TO_END)];
        let expected = expected.map(|(app, category)| format!("{app} Category({category:?})"));
        let mut topics = subscribed(&model);
        topics.sort();
        assert_eq!(topics, expected);
        assert!(model.words("a").is_service && !model.words("b").is_service);
    }

    #[test]
    fn an_application_is_loaded_again_only_if_the_relay_has_no_rollups_of_the_time_between() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        model.show(&Page::Unknown("x".to_owned()), S);
        // The other application was on the landing page before.
        assert_eq!(model.unsubscribed_ns, [("b".to_owned(), 0), ("a".to_owned(), S)]);
        let revision = model.viewers.revision();
        model.show(&Page::Dashboard("a".to_owned()), 100 * S);
        assert_eq!(model.viewers.revision(), revision);
        model.show(&Page::Unknown("x".to_owned()), 101 * S);
        model.show(&Page::Dashboard("a".to_owned()), 4_000 * S);
        assert_eq!(model.viewers.revision(), revision + 1);
    }

    #[test]
    fn each_relay_is_subscribed_to_what_it_has_and_clocks_are_compared_with_the_first() {
        let mut model = model();
        model.add_relay(2, 0);
        let heartbeat = ServerMessage::Heartbeat { now_ns: 970 * S, sent: Vec::new() };
        let apps = ["b", "c"].map(|app| AppEntry { app: app.to_owned(), ..AppEntry::default() }).to_vec();
        let catalogue = ServerMessage::Catalogue { full: true, apps, last: true };
        for message in [heartbeat, catalogue] {
            model.receive(2, &message.encode(), 0).unwrap();
        }
        assert_eq!(model.catalogue().keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        let topics = |id| {
            let topics = model.relay(id).unwrap().topics().map(|topic| topic.app.clone());
            topics.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<String>()
        };
        assert_eq!((topics(1), topics(2)), ("ab".to_owned(), "bc".to_owned()));
        assert_eq!((model.clock_ahead_ns(1, S), model.clock_ahead_ns(2, S)), (None, Some(-30 * S.cast_signed())));
        assert_eq!((model.relay_ns(S), model.app_relay_ns("c", S)), (Some(1_001 * S), Some(971 * S)));
        model.set_relay_order(&[2, 1]);
        assert_eq!(model.relay_ns(S), Some(971 * S));
        model.show(&Page::Dashboard("a".to_owned()), S);
        assert_eq!(subscribed(&model), ["a All", "a All"]);
        model.remove_relay(2, S);
        assert_eq!(model.catalogue().keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        model.pause(5 * S);
        assert_eq!((model.relay_ns(9 * S), model.is_paused()), (Some(1_005 * S), true));
        assert_eq!(model.catalogue().len(), 2);
        model.resume();
        assert_eq!(model.relay_ns(9 * S), Some(1_009 * S));
        assert_eq!(model.view_statistics("a", 0), None);
    }
}
