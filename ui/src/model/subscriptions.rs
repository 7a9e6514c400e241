//! What the page subscribes to: everything of an application while it is open, and only the categories of the key figures of
//! each application on the landing page; also what is compared or recorded.

use joey_shared::series::{COMPUTATION, Filter, PIPELINE_INGESTION, START_TO_END, Topic};
use joey_shared::viewer::Subscriber;
use joey_shared::window::SLOT_NS;
use joey_shared::wire::{AppEntry, Start};

use super::Model;
use crate::route::Page;
use crate::vocabulary::Words;

/// Maximum number of applications subscribed to on the landing page; the others are listed without measurements.
pub(super) const SUBSCRIBED_APPS_MAX: usize = 50;

/// How long a relay retains rollups by default, in ns. An application that was left for longer is loaded again.
const RETAINED_NS: u64 = 3_600 * SLOT_NS;

impl Model {
    /// Shows `page` from local time `now_ns` on and subscribes to what it needs.
    pub fn show(&mut self, page: &Page, now_ns: u64) {
        self.page = page.clone();
        self.update_subscriptions(now_ns);
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
                let apps = self.live_catalogue().iter().take(SUBSCRIBED_APPS_MAX);
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
