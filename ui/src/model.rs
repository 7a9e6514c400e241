//! The page's data: the viewer with its stores, a snapshot while the page is paused, an open recording, and the
//! subscriptions.
//!
//! It is plain memory without signals. Components read it after a tick of the frame loop.
//!
//! The subscriptions depend on the page: everything of an application while it is open, and only the categories of the key figures
//! of each application on the landing page.

mod comparison;
mod recording;

use joey_shared::series::{COMPUTATION, Filter, PIPELINE_INGESTION, START_TO_END, Topic};
use joey_shared::store::{AppStore, WINDOW_SECONDS};
use joey_shared::viewer::Viewer;
use joey_shared::window::{SECONDS_MAX, SLOT_NS, second_of};
use joey_shared::wire::{AppEntry, Start};
use std::collections::BTreeMap;

use self::comparison::Compared;
use self::recording::{Opened, Recorder};
pub use self::recording::{RECORDING_BYTES_MAX, RecordingProgress};
use crate::route::Page;
use crate::snapshot::Snapshot;
use crate::statistics::{AppStatistics, ViewStatistics, app_statistics, view_statistics};
use crate::time_range::TimeRange;
use crate::vocabulary::Words;

/// Maximum number of applications subscribed to on the landing page; the others are listed without measurements.
const SUBSCRIBED_APPS_MAX: usize = 50;

/// How long a relay retains rollups by default, in ns. An application that was left for longer is loaded again.
const RETAINED_NS: u64 = 3_600 * SLOT_NS;

/// The page's data.
#[derive(Debug)]
pub struct Model {
    viewer: Viewer,
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
            viewer: Viewer::new(seconds),
            snapshot: None,
            page: Page::Landing,
            requested_seconds: seconds.max(WINDOW_SECONDS),
            unsubscribed_ns: Vec::new(),
            recorder: None,
            opened: None,
            compared: Compared::default(),
            cache: Cache::default(),
        }
    }

    /// The viewer, for the connection.
    pub const fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }

    /// The viewer, to read.
    #[must_use]
    pub const fn seen(&self) -> &Viewer {
        &self.viewer
    }

    /// Shows `page` from local time `now_ns` on and subscribes to what it needs.
    pub fn show(&mut self, page: &Page, now_ns: u64) {
        self.page = page.clone();
        self.update_subscriptions(now_ns);
    }

    /// Subscribes to what the page needs, and ends all other subscriptions. The landing page needs more as the catalogue grows.
    pub fn update_subscriptions(&mut self, now_ns: u64) {
        let needed = self.needed_topics();
        let unneeded: Vec<Topic> = self.viewer.topics().filter(|topic| !needed.contains(topic)).cloned().collect();
        for topic in &unneeded {
            self.viewer.unsubscribe(topic);
        }
        for topic in unneeded {
            if needed.iter().all(|needed| needed.app != topic.app) {
                self.unsubscribed_ns.retain(|(app, _)| *app != topic.app);
                self.unsubscribed_ns.push((topic.app, now_ns));
            }
        }
        let start = Start::Recent { span_ns: self.requested_seconds * SLOT_NS };
        for topic in needed {
            let index = self.unsubscribed_ns.iter().position(|(app, _)| *app == topic.app);
            let unsubscribed = index.map(|index| self.unsubscribed_ns.swap_remove(index));
            if unsubscribed.is_some_and(|(_, since_ns)| now_ns.saturating_sub(since_ns) > RETAINED_NS) {
                self.forget(&topic.app);
            }
            self.viewer.subscribe(topic, start);
        }
    }

    fn needed_topics(&self) -> Vec<Topic> {
        let mut topics = self.topics_of_page();
        let recorded = self.recorder.iter().flat_map(|recorder| recorder.topics());
        topics.extend(recorded.filter(|topic| !topics.contains(topic)).collect::<Vec<Topic>>());
        topics
    }

    fn topics_of_page(&self) -> Vec<Topic> {
        let topic = |app: &String, filter| Topic { app: app.clone(), filter };
        match &self.page {
            Page::Dashboard(app) | Page::Workers(app) | Page::Detail(app, _) => {
                let others = self.compared_apps().filter(|other| *other != app);
                let mut topics: Vec<Topic> = others.map(|other| topic(other, Filter::All)).collect();
                topics.dedup();
                topics.insert(0, topic(app, Filter::All));
                topics
            }
            Page::Landing => {
                let apps = self.viewer.catalogue().iter().take(SUBSCRIBED_APPS_MAX);
                let both = |(app, entry): (&String, &AppEntry)| {
                    // Services ingest nothing. Some have no operation that is called from outside.
                    let second = if Words::of(&entry.sources).is_service { COMPUTATION } else { PIPELINE_INGESTION };
                    [START_TO_END, second].map(|category| topic(app, Filter::Category(category.to_owned())))
                };
                apps.flat_map(both).collect()
            }
            Page::Unknown(_) => Vec::new(),
        }
    }

    /// Takes a snapshot at local time `now_ns`, which is shown until [`resume`](Self::resume).
    pub fn pause(&mut self, now_ns: u64) {
        self.snapshot = Some(self.copy(now_ns));
    }

    /// A copy of what is shown at local time `now_ns`.
    fn copy(&self, now_ns: u64) -> Snapshot {
        match &self.opened {
            Some(opened) => Snapshot::of_all(opened.playback().viewer(), opened.playback().position_ns()),
            None => Snapshot::of(&self.viewer, now_ns),
        }
    }

    /// Shows live data again.
    pub fn resume(&mut self) {
        self.snapshot = None;
        self.cache = Cache::default();
    }

    /// Shows only the seconds of `range`, of a snapshot that is taken at local time `now_ns` if there is none.
    /// `None` shows the whole snapshot again. Returns false if the range is older than what was requested from the relay:
    /// then the history of the last hour is requested, and the caller selects again when it
    /// [has arrived](Self::has_history).
    #[must_use]
    pub fn select(&mut self, range: Option<TimeRange>, now_ns: u64) -> bool {
        let oldest = self.relay_ns(now_ns).map_or(u64::MAX, second_of).saturating_sub(self.requested_seconds);
        let is_live = self.opened.is_none();
        if is_live && range.is_some_and(|range| range.from < oldest) && self.requested_seconds < SECONDS_MAX {
            self.request_history(SECONDS_MAX, now_ns);
            return false;
        }
        let copy = self.snapshot.take().unwrap_or_else(|| self.copy(now_ns));
        self.snapshot.insert(copy).select(range);
        self.cache = Cache::default();
        true
    }

    /// Whether all requested history has arrived.
    #[must_use]
    pub fn has_history(&self) -> bool {
        if self.opened.is_some() {
            return !self.is_reading_recording();
        }
        self.viewer.has_catalogue() && self.viewer.topics().next().is_some() && self.viewer.is_caught_up()
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

    /// The relay's clock at local time `now_ns`; the instant of the pause while paused.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        match (&self.snapshot, &self.opened) {
            (Some(snapshot), _) => snapshot.relay_ns,
            (None, Some(opened)) => Some(opened.playback().position_ns()),
            (None, None) => self.viewer.relay_ns(now_ns),
        }
    }

    /// The relay's clock at local time `now_ns`, also while paused; the position in an open recording.
    #[must_use]
    pub fn live_relay_ns(&self, now_ns: u64) -> Option<u64> {
        self.opened
            .as_ref()
            .map_or_else(|| self.viewer.relay_ns(now_ns), |opened| Some(opened.playback().position_ns()))
    }

    /// By how much the relay's wall clock was set while it ran, in ns, and when; `None` if it was not.
    #[must_use]
    pub fn wall_clock(&self) -> Option<(i64, u64)> {
        self.shown().wall_clock()
    }

    /// How long the relay retains single updates, in ns.
    #[must_use]
    pub fn ring_ns(&self) -> u64 {
        self.shown().relay().map_or(0, |relay| relay.ring_ns)
    }

    /// The applications.
    #[must_use]
    pub fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.snapshot.as_ref().map_or_else(|| self.shown().catalogue(), |snapshot| &snapshot.catalogue)
    }

    /// The words for the parts of an application.
    #[must_use]
    pub fn words(&self, app: &str) -> &'static Words {
        Words::of(self.catalogue().get(app).map_or(&[], |entry| &entry.sources))
    }

    /// The store of an application, if it is subscribed to.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.snapshot.as_ref().map_or_else(|| self.shown().app(app), |snapshot| snapshot.app(app))
    }

    /// The same, to read windows, which slide when they are read.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        match &mut self.snapshot {
            Some(snapshot) => snapshot.app_mut(app),
            None => recording::shown(&mut self.opened, &mut self.viewer).app_mut(app),
        }
    }

    /// Changes the length of every window, at local time `now_ns`. A window longer than all before is requested again from the
    /// relay.
    pub fn set_seconds(&mut self, seconds: u64, now_ns: u64) {
        self.viewer.set_seconds(seconds);
        if let Some(opened) = &mut self.opened {
            opened.playback_mut().viewer_mut().set_seconds(seconds);
        }
        if seconds > self.requested_seconds {
            self.request_history(seconds, now_ns);
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.set_seconds(seconds);
        }
    }

    /// Requests the history of the last `seconds` again, at local time `now_ns`.
    fn request_history(&mut self, seconds: u64, now_ns: u64) {
        self.requested_seconds = seconds;
        let subscribed: Vec<Topic> = self.viewer.topics().cloned().collect();
        for topic in &subscribed {
            self.viewer.unsubscribe(topic);
        }
        for app in self.viewer.catalogue().keys().cloned().collect::<Vec<String>>() {
            self.forget(&app);
        }
        self.unsubscribed_ns.clear();
        self.update_subscriptions(now_ns);
    }

    /// The length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.viewer.seconds()
    }

    /// The statistics of the view of `app` at `view_index`.
    pub fn view_statistics(&mut self, app: &str, view_index: usize) -> Option<ViewStatistics> {
        let Self { snapshot, opened, viewer, cache, .. } = self;
        let store = match snapshot {
            Some(snapshot) => snapshot.app_mut(app),
            None => recording::shown(opened, viewer).app_mut(app),
        }?;
        cached_statistics(cache, app, store, view_index)
    }

    /// The key figures of `app`.
    pub fn app_statistics(&mut self, app: &str) -> Option<AppStatistics> {
        let store = self.app_mut(app)?;
        Some(app_statistics(store, |store, view_index| {
            view_statistics(store, view_index).map(|statistics| statistics.quantiles)
        }))
    }

    /// Increases whenever something that is shown may have changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match &self.snapshot {
            Some(snapshot) => snapshot.revision(),
            None => {
                let viewer = self.shown();
                let apps = viewer.catalogue().keys().filter_map(|app| viewer.app(app));
                viewer.revision() + apps.map(AppStore::revision).sum::<u64>()
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
    use joey_shared::series::Source;
    use joey_shared::wire::{Hello, ServerMessage, VERSION};

    const S: u64 = 1_000_000_000;

    /// A model with the applications `a` and `b` in its catalogue.
    pub(super) fn model() -> Model {
        let mut model = Model::new(300);
        let hello = Hello {
            version: VERSION,
            release: "t",
            epoch: 1,
            now_ns: 1_000 * S,
            ring_ns: 300 * S,
            series_retention_ns: 3_635 * S,
            demo: false,
            ingest_port: 5001,
        };
        let apps = ["a", "b"].map(|app| AppEntry { app: app.to_owned(), ..AppEntry::default() }).to_vec();
        for message in [ServerMessage::Hello(hello), ServerMessage::Catalogue { full: true, apps, last: true }] {
            model.viewer().receive(&message.encode(), 0, |_| {}).unwrap();
        }
        model
    }

    pub(super) fn subscribed(model: &Model) -> Vec<String> {
        model.seen().topics().map(|topic| format!("{} {:?}", topic.app, topic.filter)).collect()
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
        model.viewer().receive(&message.encode(), 0, |_| {}).unwrap();
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
        assert_eq!(model.unsubscribed_ns, [("a".to_owned(), S)]);
        let revision = model.seen().revision();
        model.show(&Page::Dashboard("a".to_owned()), 100 * S);
        assert_eq!(model.seen().revision(), revision);
        model.show(&Page::Unknown("x".to_owned()), 101 * S);
        model.show(&Page::Dashboard("a".to_owned()), 4_000 * S);
        assert_eq!(model.seen().revision(), revision + 1);
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
