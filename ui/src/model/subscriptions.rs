//! What the page subscribes to: everything of an application while it is open. On the landing page only the categories of the key
//! figures of each application, and those that its objectives name; also what is compared or recorded.

use joey_shared::series::{COMPUTATION, Filter, PIPELINE_INGESTION, START_TO_END, Topic};
use joey_shared::viewer::Subscriber;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::{AppEntry, Start};

use super::Model;
use crate::objectives::filters;
use crate::route::Page;
use crate::vocabulary::Words;

/// Maximum number of applications subscribed to on the landing page; the others are listed without measurements.
pub(super) const SUBSCRIBED_APPS_MAX: usize = 50;

/// Maximum number of series of the applications that the landing page subscribes to because of their objectives. The
/// objectives of the others are evaluated while they are open. It is the number of series that a relay accepts of one
/// application by default.
pub const OBJECTIVE_SERIES_MAX: u32 = 10_000;

/// How long a relay retains rollups by default, in ns. An application that was left for longer is loaded again.
const RETAINED_NS: u64 = 3_600 * SLOT_NS;

impl Model {
    /// Shows `page` from local time `now_ns` on and subscribes to what it needs.
    pub fn show(&mut self, page: &Page, now_ns: u64) {
        self.page = page.clone();
        self.update_subscriptions(now_ns);
    }

    /// Whether what the page needs depends on the number of series of each application, see [`OBJECTIVE_SERIES_MAX`].
    pub(super) fn depends_on_series_counts(&self) -> bool {
        self.page == Page::Landing && self.has_objectives()
    }

    /// Subscribes to what the page needs, and ends all other subscriptions. The landing page needs more as the catalogue grows.
    pub fn update_subscriptions(&mut self, now_ns: u64) {
        let needed = self.needed_topics();
        let subscribed: Vec<Topic> = self.viewers.relays().flat_map(Subscriber::topics).cloned().collect();
        for topic in subscribed.iter().filter(|topic| !needed.contains(topic)) {
            self.viewers.relays_mut().for_each(|relay| relay.unsubscribe(topic));
            if needed.iter().all(|needed| needed.app != topic.app) {
                self.unsubscribed_ns.retain(|(app, _)| *app != topic.app);
                self.unsubscribed_ns.push((topic.app.clone(), now_ns));
            }
        }
        let start = Start::Recent { span_ns: self.requested_seconds * SLOT_NS };
        for topic in needed {
            let index = self.unsubscribed_ns.iter().position(|(app, _)| *app == topic.app);
            let unsubscribed = index.map(|index| self.unsubscribed_ns.swap_remove(index));
            if unsubscribed.is_some_and(|(_, since_ns)| now_ns.saturating_sub(since_ns) > RETAINED_NS) {
                self.forget(&topic.app, now_ns);
            }
            let is_open = self.page.app().is_some();
            for relay in self.viewers.relays_mut() {
                // The application that is open may still come to a relay. The others are in its catalogue then.
                if is_open || relay.catalogue().contains_key(&topic.app) {
                    relay.subscribe(topic.clone(), start);
                }
            }
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
                let mut topics = self.key_figure_topics();
                let (of_objectives, _) = self.objective_topics(&topics);
                // Everything includes the key figures.
                topics.retain(|known| {
                    !of_objectives.iter().any(|topic| topic.app == known.app && topic.filter == Filter::All)
                });
                topics.extend(of_objectives);
                topics
            }
            Page::Unknown(_) => Vec::new(),
        }
    }

    /// What the key figures of the landing page need.
    fn key_figure_topics(&self) -> Vec<Topic> {
        let both = |(app, entry): (&String, &AppEntry)| {
            // Services ingest nothing. Some have no operation that is called from outside.
            let second = if Words::of(&entry.sources).is_service { COMPUTATION } else { PIPELINE_INGESTION };
            [START_TO_END, second]
                .map(|category| Topic { app: app.clone(), filter: Filter::Category(category.to_owned()) })
        };
        self.live_catalogue().iter().take(SUBSCRIBED_APPS_MAX).flat_map(both).collect()
    }

    /// What the landing page needs for objectives beyond the topics that it has, and the applications that have too
    /// many series for that.
    fn objective_topics(&self, known: &[Topic]) -> (Vec<Topic>, Vec<String>) {
        let (mut topics, mut too_large, mut total) = (Vec::new(), Vec::new(), 0_u32);
        for (app, objectives) in &self.objectives {
            let Some(entry) = self.live_catalogue().get(app) else { continue };
            let mut own: Vec<Topic> = Vec::new();
            for filter in objectives.list().iter().flat_map(filters) {
                let topic = Topic { app: app.clone(), filter };
                if !known.contains(&topic) && !own.contains(&topic) {
                    own.push(topic);
                }
            }
            if own.iter().any(|topic| topic.filter == Filter::All) {
                own.retain(|topic| topic.filter == Filter::All);
            }
            let with_own = total.saturating_add(entry.series);
            if own.is_empty() {
                continue;
            }
            if with_own > OBJECTIVE_SERIES_MAX {
                too_large.push(app.clone());
            } else {
                total = with_own;
                topics.extend(own);
            }
        }
        (topics, too_large)
    }

    /// The applications whose objectives are evaluated only while they are open, because together they have more series than the
    /// landing page subscribes to.
    #[must_use]
    pub fn apps_without_outcomes(&self) -> Vec<String> {
        let is_landing = self.page == Page::Landing && self.opened.is_none();
        let has_everything =
            |app: &String| self.recorder.iter().any(|recorder| recorder.topics().any(|t| t.app == *app));
        let (_, mut too_large) =
            if is_landing { self.objective_topics(&self.key_figure_topics()) } else { Default::default() };
        too_large.retain(|app| !has_everything(app));
        too_large
    }

    /// Requests the history of the last `seconds` again, at local time `now_ns`.
    pub(super) fn request_history(&mut self, seconds: u64, now_ns: u64) {
        self.requested_seconds = seconds;
        for relay in self.viewers.relays_mut() {
            let subscribed: Vec<Topic> = relay.topics().cloned().collect();
            subscribed.iter().for_each(|topic| relay.unsubscribe(topic));
        }
        for app in self.live_catalogue().keys().cloned().collect::<Vec<String>>() {
            self.forget(&app, now_ns);
        }
        self.unsubscribed_ns.clear();
        self.update_subscriptions(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{model, subscribed};
    use super::*;
    use joey_shared::objective::Objective;
    use joey_shared::wire::ServerMessage;

    fn set(model: &mut Model, app: &str, objectives: &[&str]) {
        let parse = |text: &&str| text.parse::<Objective>().expect("it is an objective");
        model.set_objectives(app, objectives.iter().map(parse).collect());
        model.update_subscriptions(0);
    }

    #[test]
    fn the_landing_page_has_what_objectives_name() {
        let mut model = model();
        let category = |app: &str, category: &str| format!("{app} Category({category:?})");
        let figures = ["a", "b"].map(|app| [category(app, PIPELINE_INGESTION), category(app, START_TO_END)]).concat();
        let topics = |model: &Model| {
            let mut topics = subscribed(model);
            topics.sort();
            topics
        };
        set(&mut model, "a", &["start-to-end/*: p99 < 1ms over 1m"]);
        assert_eq!(topics(&model), figures);
        set(&mut model, "a", &["computation-by-worker/p/w/*: p99 < 1ms over 1m", "gc-pause/*: p9 < 1ms over 1m"]);
        let mut expected = [&figures[..], &[category("a", COMPUTATION), category("a", "gc-pause")]].concat();
        expected.sort();
        assert_eq!(topics(&model), expected);
        set(&mut model, "a", &["computation/n: p99 < 1ms over 1m", "*: p99 < 1ms over 1m"]);
        assert_eq!(topics(&model), [&["a All".to_owned()], &figures[2..]].concat());
        // An application that the relay does not have.
        set(&mut model, "other", &["*: p99 < 1ms over 1m"]);
        assert_eq!(topics(&model).len(), 3);
        set(&mut model, "a", &[]);
        assert_eq!(topics(&model), figures);
    }

    #[test]
    fn applications_with_too_many_series_are_named() {
        let mut model = model();
        let entry = |app: &str, series| AppEntry { app: app.to_owned(), series, ..AppEntry::default() };
        let apps = vec![entry("a", OBJECTIVE_SERIES_MAX - 5), entry("b", 6), entry("c", 5)];
        model.receive(1, &ServerMessage::Catalogue { full: true, apps, last: true }.encode(), 0).unwrap();
        model.show(&Page::Landing, 0);
        for app in ["a", "b", "c"] {
            set(&mut model, app, &["computation/*: p99 < 1ms over 1m"]);
        }
        let of_objectives = subscribed(&model).into_iter().filter(|topic| topic.contains(COMPUTATION));
        assert_eq!(of_objectives.count(), 2);
        assert_eq!(model.apps_without_outcomes(), ["b"]);
        model.show(&Page::Dashboard("b".to_owned()), 0);
        assert!(model.apps_without_outcomes().is_empty());
    }
}
