//! Applications that have a log in each of several relays: which ones there are, and those that are still on their way here.

use std::collections::BTreeMap;
use std::time::Duration;

use joey_shared::series::Topic;
use joey_shared::viewer::ClusterInfo;
use joey_shared::wire::{Refusal, ServerMessage, Start};
use tokio::time::Instant;

use super::Session;
use crate::hub::{Standing, Want};

/// How long a log of another relay may take to come before the viewer is told that it does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one viewer was told of logs, and what it waits for.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// The hub's version when it was last told.
    version: u64,
    /// Subscriptions that were answered with the logs to follow instead, and the logs named.
    told: BTreeMap<u32, Told>,
    coming: BTreeMap<u32, Coming>,
    /// That this viewer watches each of the applications above, once for each however many subscriptions there are.
    wants: BTreeMap<String, Want>,
    /// What was said of the cluster.
    cluster: Option<ClusterInfo>,
    /// The hub's version of the addresses that were told.
    addresses: u64,
}

#[derive(Debug)]
struct Told {
    topic: Topic,
    epochs: Vec<u64>,
}

/// A subscription to a log that is being fetched.
#[derive(Debug)]
struct Coming {
    topic: Topic,
    epoch: u64,
    start: Start,
    deadline: Instant,
}

impl Logs {
    /// How many subscriptions are held here.
    pub(super) fn len(&self) -> usize {
        self.told.len() + self.coming.len()
    }

    /// Whether a subscription of this number is held here.
    pub(super) fn holds(&self, sub: u32) -> bool {
        self.told.contains_key(&sub) || self.coming.contains_key(&sub)
    }

    /// A subscription has ended.
    pub(super) fn leave(&mut self, sub: u32) {
        self.told.remove(&sub);
        self.coming.remove(&sub);
    }

    /// Whether some subscription that is held here is about `app`.
    fn is_about(&self, app: &str) -> bool {
        self.told.values().any(|told| told.topic.app == app)
            || self.coming.values().any(|coming| coming.topic.app == app)
    }

    /// When somebody has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.coming.values().map(|coming| coming.deadline).min()
    }

    /// The subscriptions that `is_covered` does not hold for.
    pub(super) fn uncovered(&self, is_covered: impl Fn(&Topic) -> bool) -> Vec<u32> {
        let told = self.told.iter().map(|(&sub, told)| (sub, &told.topic));
        let coming = self.coming.iter().map(|(&sub, coming)| (sub, &coming.topic));
        told.chain(coming).filter(|(_, topic)| !is_covered(topic)).map(|(sub, _)| sub).collect()
    }
}

impl Session {
    /// Answers a subscription with the logs to follow instead.
    pub(super) fn tell_logs(&mut self, sub: u32, topic: Topic) {
        let epochs = self.hub.logs_of(&topic.app);
        if epochs.is_empty() {
            return self.say(&ServerMessage::Refused { sub, reason: Refusal::NoSuchApp });
        }
        self.say(&ServerMessage::Logs { app: topic.app.clone(), epochs: epochs.clone() });
        self.want(&topic.app);
        self.logs.told.insert(sub, Told { topic, epochs });
        self.say(&ServerMessage::Refused { sub, reason: Refusal::SeeLogs });
    }

    /// Follows a topic in one log: at once if it is here, later if it is on its way.
    pub(super) fn follow_log(&mut self, sub: u32, epoch: u64, topic: Topic, start: Start) {
        let standing = self.hub.standing(&topic.app, epoch);
        if standing != Standing::Unknown && self.hub.is_clustered() {
            self.want(&topic.app);
        }
        match standing {
            Standing::Here => self.follow(sub, &topic, Some(epoch), start),
            Standing::Coming => {
                let deadline = Instant::now() + PATIENCE;
                self.logs.coming.insert(sub, Coming { topic, epoch, start, deadline });
            }
            Standing::Unknown => self.say(&ServerMessage::Refused { sub, reason: Refusal::NoSuchApp }),
        }
    }

    /// No longer watches what nothing here is about any more.
    pub(super) fn want_no_more(&mut self) {
        let mut wants = std::mem::take(&mut self.logs.wants);
        let is_followed = |app: &str| self.subscriptions.iter().any(|(_, subscription)| subscription.app() == app);
        wants.retain(|app, _| self.logs.is_about(app) || is_followed(app));
        self.logs.wants = wants;
    }

    fn want(&mut self, app: &str) {
        if !self.logs.wants.contains_key(app) {
            self.logs.wants.insert(app.to_owned(), self.hub.want(app));
        }
    }

    /// Says where else to go, should this relay be gone.
    pub(super) fn send_addresses(&mut self) {
        let version = self.hub.addresses_version();
        let addresses = self.hub.addresses();
        let is_news = !addresses.is_empty() || version != self.logs.addresses;
        self.logs.addresses = version;
        if is_news {
            self.say(&ServerMessage::Relays { addresses });
        }
    }

    /// Says how the relay stands with others, if that has changed.
    pub(super) fn send_cluster(&mut self) {
        if self.hub.addresses_version() != self.logs.addresses {
            self.send_addresses();
        }
        let Some((connected, relays)) = self.hub.standing_of_cluster() else { return };
        let watching = self.logs.wants.keys().map(|app| (app.clone(), self.hub.viewers_of(app))).collect();
        let now = ClusterInfo { connected, relays, watching };
        if self.logs.cluster.as_ref() == Some(&now) {
            return;
        }
        let ClusterInfo { connected, relays, watching } = now.clone();
        self.logs.cluster = Some(now);
        self.say(&ServerMessage::Cluster { connected, relays, watching });
    }

    /// Tells what has changed about logs, and answers whoever has waited for one.
    pub(super) fn send_logs(&mut self, now: Instant) {
        let version = self.hub.logs_version();
        let is_due = self.logs.due().is_some_and(|due| now >= due);
        if version == self.logs.version && !is_due {
            return;
        }
        self.logs.version = version;
        let mut changed = BTreeMap::new();
        for told in self.logs.told.values_mut() {
            let epochs = self.hub.logs_of(&told.topic.app);
            if epochs != told.epochs {
                told.epochs.clone_from(&epochs);
                changed.insert(told.topic.app.clone(), epochs);
            }
        }
        for (app, epochs) in changed {
            self.say(&ServerMessage::Logs { app, epochs });
        }
        let subs: Vec<u32> = self.logs.coming.keys().copied().collect();
        for sub in subs {
            let Some(coming) = self.logs.coming.get(&sub) else { continue };
            let standing = self.hub.standing(&coming.topic.app, coming.epoch);
            if standing == Standing::Coming && now < coming.deadline {
                continue;
            }
            let Some(Coming { topic, epoch, start, .. }) = self.logs.coming.remove(&sub) else { continue };
            if standing == Standing::Here {
                self.follow(sub, &topic, Some(epoch), start);
            } else {
                self.say(&ServerMessage::Refused { sub, reason: Refusal::NoSuchApp });
            }
        }
    }
}
