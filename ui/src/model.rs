//! The page's data: the viewer with its stores, a snapshot while the page is paused, and the subscriptions.
//!
//! It is plain memory without signals. Components read it after a tick of the frame loop.
//!
//! The subscriptions depend on the page: everything of an application while it is open, and only the categories of the key figures
//! of each application on the landing page.

use joey_shared::series::{COMPUTATION, Filter, PIPELINE_INGESTION, START_TO_END, Topic};
use joey_shared::store::{AppStore, WINDOW_SECONDS};
use joey_shared::viewer::Viewer;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::{AppEntry, Start};
use std::collections::BTreeMap;

use crate::recent_change::{RecentChange, RecentChanges};
use crate::route::Page;
use crate::statistics::{AppStatistics, ViewStatistics, app_statistics, view_statistics};
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
    cache: Cache,
    recent_changes: RecentChanges,
}

/// What is shown while the page is paused. The viewer still receives data.
#[derive(Debug)]
struct Snapshot {
    stores: Vec<(String, AppStore)>,
    catalogue: BTreeMap<String, AppEntry>,
    relay_ns: Option<u64>,
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
            cache: Cache::default(),
            recent_changes: RecentChanges::default(),
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
                self.viewer.forget(&topic.app);
            }
            self.viewer.subscribe(topic, start);
        }
    }

    fn needed_topics(&self) -> Vec<Topic> {
        let topic = |app: &String, filter| Topic { app: app.clone(), filter };
        match &self.page {
            Page::Dashboard(app) | Page::Workers(app) | Page::Detail(app, _) => vec![topic(app, Filter::All)],
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
        let mut stores: Vec<(String, AppStore)> = Vec::new();
        for topic in self.viewer.topics() {
            if let Some(store) = self.viewer.app(&topic.app).filter(|_| find(&stores, &topic.app).is_none()) {
                stores.push((topic.app.clone(), store.clone()));
            }
        }
        let relay_ns = self.viewer.relay_ns(now_ns);
        self.snapshot = Some(Snapshot { stores, catalogue: self.viewer.catalogue().clone(), relay_ns });
    }

    /// Shows live data again.
    pub fn resume(&mut self) {
        self.snapshot = None;
        self.cache = Cache::default();
    }

    /// Whether a snapshot is shown.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The relay's clock at local time `now_ns`; the instant of the pause while paused.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        self.snapshot.as_ref().map_or_else(|| self.viewer.relay_ns(now_ns), |snapshot| snapshot.relay_ns)
    }

    /// By how much the relay's wall clock was set while it ran, in ns, and when; `None` if it was not.
    #[must_use]
    pub const fn wall_clock(&self) -> Option<(i64, u64)> {
        self.viewer.wall_clock()
    }

    /// How long the relay retains single updates, in ns.
    #[must_use]
    pub fn ring_ns(&self) -> u64 {
        self.viewer.relay().map_or(0, |relay| relay.ring_ns)
    }

    /// The applications.
    #[must_use]
    pub fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.snapshot.as_ref().map_or_else(|| self.viewer.catalogue(), |snapshot| &snapshot.catalogue)
    }

    /// The words for the parts of an application.
    #[must_use]
    pub fn words(&self, app: &str) -> &'static Words {
        Words::of(self.catalogue().get(app).map_or(&[], |entry| &entry.sources))
    }

    /// The store of an application, if it is subscribed to.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.snapshot.as_ref().map_or_else(|| self.viewer.app(app), |snapshot| find(&snapshot.stores, app))
    }

    /// The same, to read windows, which slide when they are read.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        match &mut self.snapshot {
            Some(snapshot) => find_mut(&mut snapshot.stores, app),
            None => self.viewer.app_mut(app),
        }
    }

    /// Changes the length of every window, at local time `now_ns`. A window longer than all before is requested again from the
    /// relay.
    pub fn set_seconds(&mut self, seconds: u64, now_ns: u64) {
        self.viewer.set_seconds(seconds);
        if seconds > self.requested_seconds {
            self.requested_seconds = seconds;
            let subscribed: Vec<Topic> = self.viewer.topics().cloned().collect();
            for topic in &subscribed {
                self.viewer.unsubscribe(topic);
            }
            for app in self.viewer.catalogue().keys().cloned().collect::<Vec<String>>() {
                self.viewer.forget(&app);
            }
            self.unsubscribed_ns.clear();
            self.update_subscriptions(now_ns);
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.stores.iter_mut().for_each(|(_, store)| store.set_seconds(seconds));
        }
    }

    /// The length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.viewer.seconds()
    }

    /// The statistics of the view of `app` at `view_index`.
    pub fn view_statistics(&mut self, app: &str, view_index: usize) -> Option<ViewStatistics> {
        if self.cache.app != app {
            self.cache = Cache { app: app.to_owned(), statistics: Vec::new() };
        }
        let store = match &mut self.snapshot {
            Some(snapshot) => find_mut(&mut snapshot.stores, app),
            None => self.viewer.app_mut(app),
        }?;
        let key = CacheKey {
            revision: store.views().get(view_index)?.revision,
            clock_ns: store.clock_ns(),
            through_ns: store.through_ns(),
            window_seconds: store.seconds(),
            gaps: store.gaps().len(),
        };
        if self.cache.statistics.len() <= view_index {
            self.cache.statistics.resize_with(view_index + 1, || None);
        }
        let cached = &mut self.cache.statistics[view_index];
        if let Some((_, statistics)) = cached.as_ref().filter(|(cached_key, _)| *cached_key == key) {
            return Some(statistics.clone());
        }
        let statistics = view_statistics(store, view_index)?;
        *cached = Some((key, statistics.clone()));
        Some(statistics)
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
        let store = self.app_mut(app)?;
        Some(app_statistics(store, |store, view_index| {
            view_statistics(store, view_index).map(|statistics| statistics.quantiles)
        }))
    }

    /// Increases whenever something that is shown may have changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match &self.snapshot {
            Some(snapshot) => snapshot.stores.iter().map(|(_, store)| store.revision()).sum(),
            None => {
                let apps = self.viewer.catalogue().keys().filter_map(|app| self.viewer.app(app));
                self.viewer.revision() + apps.map(AppStore::revision).sum::<u64>()
            }
        }
    }
}

fn find<'a>(stores: &'a [(String, AppStore)], app: &str) -> Option<&'a AppStore> {
    stores.iter().find(|(name, _)| name == app).map(|(_, store)| store)
}

fn find_mut<'a>(stores: &'a mut [(String, AppStore)], app: &str) -> Option<&'a mut AppStore> {
    stores.iter_mut().find(|(name, _)| name == app).map(|(_, store)| store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::series::Source;
    use joey_shared::wire::{Hello, ServerMessage, VERSION};

    const S: u64 = 1_000_000_000;

    /// A model with the applications `a` and `b` in its catalogue.
    fn model() -> Model {
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

    fn subscribed(model: &Model) -> Vec<String> {
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
