//! What the page knows: the viewer behind the socket, the picture that is held while paused, and what is followed.
//!
//! Plain memory, in one place. Components read it when the clock says that it is time; nothing here is a signal.
//!
//! What is followed depends on the page alone: all of one application while it is open, and only the rates and the ends of
//! the pipelines of every application on the landing page.

use joey_shared::series::{Filter, PIPELINE_INGESTION, START_TO_END, Topic};
use joey_shared::store::{AppStore, WINDOW_SECONDS};
use joey_shared::vecmap::VecMap;
use joey_shared::viewer::Viewer;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::{AppEntry, Start};

use crate::route::Page;
use crate::statistics::{AppStatistics, ViewStatistics, app_statistics, view_statistics};

/// Applications followed at once on the landing page; the others are listed without numbers.
const FOLLOWED_APPS_MAX: usize = 50;

/// How long a relay remembers at least the sums of what it has heard, in ns, unless it was told otherwise.
const REMEMBERED_NS: u64 = 3_600 * SLOT_NS;

/// Everything that the page knows.
#[derive(Debug)]
pub struct Model {
    viewer: Viewer,
    held: Option<Held>,
    page: Page,
    /// How far back everything that is followed was asked for, in seconds.
    asked: u64,
    /// When each application was last followed by anything, by the local clock in ns.
    left: Vec<(String, u64)>,
    cache: Cache,
}

/// The picture that is shown while paused. Data keeps coming in behind it.
#[derive(Debug)]
struct Held {
    stores: Vec<(String, AppStore)>,
    catalogue: VecMap<String, AppEntry>,
    relay_ns: Option<u64>,
}

/// Numbers that were asked for since they last changed: rows, sorting and the strip of figures ask for the same ones.
#[derive(Debug, Default)]
struct Cache {
    app: String,
    /// By position of the view.
    figures: Vec<Option<(Stamp, ViewStatistics)>>,
}

/// View revision, application clock, end of the complete part, window: while these are equal, so are the numbers.
type Stamp = (u64, u64, u64, u64, usize);

impl Model {
    /// A model that knows nothing yet, with windows of `seconds`.
    #[must_use]
    pub fn new(seconds: u64) -> Self {
        Self {
            viewer: Viewer::new(seconds),
            held: None,
            page: Page::Landing,
            asked: seconds.max(WINDOW_SECONDS),
            left: Vec::new(),
            cache: Cache::default(),
        }
    }

    /// The viewer, for the link.
    pub const fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }

    /// The viewer, to read.
    #[must_use]
    pub const fn seen(&self) -> &Viewer {
        &self.viewer
    }

    /// Shows `page` from local time `now_ns` on: follows what it needs, leaves what it does not.
    pub fn show(&mut self, page: &Page, now_ns: u64) {
        self.page = page.clone();
        self.refollow(now_ns);
    }

    /// Follows what the page needs, which grows with the catalogue.
    pub fn refollow(&mut self, now_ns: u64) {
        let wanted = self.wanted();
        let unwanted: Vec<Topic> = self.viewer.followed().filter(|topic| !wanted.contains(topic)).cloned().collect();
        for topic in &unwanted {
            self.viewer.unfollow(topic);
        }
        for topic in unwanted {
            if wanted.iter().all(|kept| kept.app != topic.app) {
                self.left.retain(|(app, _)| *app != topic.app);
                self.left.push((topic.app, now_ns));
            }
        }
        let start = Start::Back { span_ns: self.asked * SLOT_NS };
        for topic in wanted {
            let left = self.left.iter().position(|(app, _)| *app == topic.app).map(|at| self.left.swap_remove(at));
            if left.is_some_and(|(_, left_ns)| now_ns.saturating_sub(left_ns) > REMEMBERED_NS) {
                self.viewer.forget(&topic.app);
            }
            self.viewer.follow(topic, start);
        }
    }

    fn wanted(&self) -> Vec<Topic> {
        let topic = |app: &String, filter| Topic { app: app.clone(), filter };
        match &self.page {
            Page::Dashboard(app) | Page::Workers(app) | Page::Detail(app, _) => vec![topic(app, Filter::All)],
            Page::Landing => {
                let apps = self.viewer.catalogue().keys().take(FOLLOWED_APPS_MAX);
                let both = |app| {
                    [START_TO_END, PIPELINE_INGESTION].map(|category| topic(app, Filter::Category(category.to_owned())))
                };
                apps.flat_map(both).collect()
            }
            Page::Unknown(_) => Vec::new(),
        }
    }

    /// Holds the picture as it is at local time `now_ns`.
    pub fn pause(&mut self, now_ns: u64) {
        let mut stores: Vec<(String, AppStore)> = Vec::new();
        for topic in self.viewer.followed() {
            if let Some(store) = self.viewer.app(&topic.app).filter(|_| of(&stores, &topic.app).is_none()) {
                stores.push((topic.app.clone(), store.clone()));
            }
        }
        let relay_ns = self.viewer.relay_ns(now_ns);
        self.held = Some(Held { stores, catalogue: self.viewer.catalogue().clone(), relay_ns });
    }

    /// Lets the picture go on from now.
    pub fn resume(&mut self) {
        self.held = None;
        self.cache = Cache::default();
    }

    /// Whether the picture is held.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// The relay's clock at local time `now_ns`; the instant of the pause while paused.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        self.held.as_ref().map_or_else(|| self.viewer.relay_ns(now_ns), |held| held.relay_ns)
    }

    /// How far the relay's wall clock was set while it ran, in ns, and when; nothing where it was not.
    #[must_use]
    pub const fn wall_clock(&self) -> Option<(i64, u64)> {
        self.viewer.wall_clock()
    }

    /// How far back the relay remembers single updates, in ns.
    #[must_use]
    pub fn ring_ns(&self) -> u64 {
        self.viewer.relay().map_or(0, |relay| relay.ring_ns)
    }

    /// The applications.
    #[must_use]
    pub fn catalogue(&self) -> &VecMap<String, AppEntry> {
        self.held.as_ref().map_or_else(|| self.viewer.catalogue(), |held| &held.catalogue)
    }

    /// What is shown of an application.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.held.as_ref().map_or_else(|| self.viewer.app(app), |held| of(&held.stores, app))
    }

    /// What is shown of an application, to read its windows.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        match &mut self.held {
            Some(held) => of_mut(&mut held.stores, app),
            None => self.viewer.app_mut(app),
        }
    }

    /// Changes the length of every window, at local time `now_ns`. One that reaches farther back than anything was asked for
    /// so far is asked for anew.
    pub fn set_seconds(&mut self, seconds: u64, now_ns: u64) {
        self.viewer.set_seconds(seconds);
        if seconds > self.asked {
            self.asked = seconds;
            let followed: Vec<Topic> = self.viewer.followed().cloned().collect();
            for topic in &followed {
                self.viewer.unfollow(topic);
            }
            for app in self.viewer.catalogue().keys().cloned().collect::<Vec<String>>() {
                self.viewer.forget(&app);
            }
            self.left.clear();
            self.refollow(now_ns);
        }
        if let Some(held) = &mut self.held {
            held.stores.iter_mut().for_each(|(_, store)| store.set_seconds(seconds));
        }
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.viewer.seconds()
    }

    /// The numbers of view `at` of `app`.
    pub fn view_statistics(&mut self, app: &str, at: usize) -> Option<ViewStatistics> {
        if self.cache.app != app {
            self.cache = Cache { app: app.to_owned(), figures: Vec::new() };
        }
        let store = match &mut self.held {
            Some(held) => of_mut(&mut held.stores, app),
            None => self.viewer.app_mut(app),
        }?;
        let revision = store.views().get(at)?.revision;
        let stamp = (revision, store.clock_ns(), store.through_ns(), store.seconds(), store.holes().len());
        if self.cache.figures.len() <= at {
            self.cache.figures.resize_with(at + 1, || None);
        }
        let cached = &mut self.cache.figures[at];
        if let Some((_, figures)) = cached.as_ref().filter(|(known, _)| *known == stamp) {
            return Some(figures.clone());
        }
        let figures = view_statistics(store, at)?;
        *cached = Some((stamp, figures.clone()));
        Some(figures)
    }

    /// An application at a glance.
    pub fn app_statistics(&mut self, app: &str) -> Option<AppStatistics> {
        let store = self.app_mut(app)?;
        Some(app_statistics(store, |store, at| view_statistics(store, at).map(|figures| figures.quantiles)))
    }

    /// Goes up whenever something that is shown may have changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match &self.held {
            Some(held) => held.stores.iter().map(|(_, store)| store.revision()).sum(),
            None => {
                let apps = self.viewer.catalogue().keys().filter_map(|app| self.viewer.app(app));
                self.viewer.revision() + apps.map(AppStore::revision).sum::<u64>()
            }
        }
    }
}

fn of<'a>(stores: &'a [(String, AppStore)], app: &str) -> Option<&'a AppStore> {
    stores.iter().find(|(name, _)| name == app).map(|(_, store)| store)
}

fn of_mut<'a>(stores: &'a mut [(String, AppStore)], app: &str) -> Option<&'a mut AppStore> {
    stores.iter_mut().find(|(name, _)| name == app).map(|(_, store)| store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use joey_shared::wire::{Hello, ServerMessage, VERSION};

    const S: u64 = 1_000_000_000;

    /// A model that was told of applications `a` and `b`.
    fn model() -> Model {
        let mut model = Model::new(300);
        let hello = Hello {
            version: VERSION,
            release: "t",
            epoch: 1,
            now_ns: 1_000 * S,
            ring_ns: 300 * S,
            series_ns: 3_635 * S,
            demo: false,
            ingest_port: 5001,
        };
        let apps = ["a", "b"].map(|app| AppEntry { app: app.to_owned(), ..AppEntry::default() }).to_vec();
        for message in [ServerMessage::Hello(hello), ServerMessage::Catalogue { full: true, apps, last: true }] {
            model.viewer().receive(&message.encode(), 0, |_| {}).unwrap();
        }
        model
    }

    fn followed(model: &Model) -> Vec<String> {
        model.seen().followed().map(|topic| format!("{} {:?}", topic.app, topic.filter)).collect()
    }

    #[test]
    fn the_page_decides_what_is_followed() {
        let mut model = model();
        model.show(&Page::Landing, 0);
        assert_eq!(followed(&model).len(), 4);
        model.show(&Page::Dashboard("a".to_owned()), 0);
        assert_eq!(followed(&model), ["a All"]);
        model.show(&Page::Workers("a".to_owned()), 0);
        assert_eq!(followed(&model), ["a All"]);
        model.show(&Page::Unknown("x".to_owned()), 0);
        assert!(followed(&model).is_empty());
    }

    #[test]
    fn an_application_is_forgotten_only_when_the_relay_cannot_fill_the_time_between() {
        let mut model = model();
        model.show(&Page::Dashboard("a".to_owned()), 0);
        model.show(&Page::Unknown("x".to_owned()), S);
        assert_eq!(model.left, [("a".to_owned(), S)]);
        let revision = model.seen().revision();
        model.show(&Page::Dashboard("a".to_owned()), 100 * S);
        assert_eq!(model.seen().revision(), revision);
        model.show(&Page::Unknown("x".to_owned()), 101 * S);
        model.show(&Page::Dashboard("a".to_owned()), 4_000 * S);
        assert_eq!(model.seen().revision(), revision + 1);
    }

    #[test]
    fn a_held_picture_does_not_move() {
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
