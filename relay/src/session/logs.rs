//! Subscriptions to applications with logs on several relays: which logs exist, and which ones are being fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use joey_shared::series::Topic;
use joey_shared::viewer::ClusterInfo;
use joey_shared::wire::{ServerMessage, Start, SubscribeError};
use tokio::time::Instant;

use super::Session;
use crate::hub::{Interest, LogState};

/// How long fetching a log may take before its subscription is rejected.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A viewer's subscriptions to applications and logs of a cluster.
#[derive(Debug, Default)]
pub(super) struct LogSubscriptions {
    /// Version of the hub's logs that was last sent.
    version: u64,
    /// Subscriptions that were redirected to the logs of the application, and the logs that were sent.
    redirected: BTreeMap<u32, Redirected>,
    pending: BTreeMap<u32, PendingLog>,
    /// Interest in the applications of these subscriptions, once for each application.
    interest: BTreeMap<String, Interest>,
    /// Cluster state that was last sent.
    cluster: Option<ClusterInfo>,
    /// Version of the addresses that were last sent.
    addresses_version: u64,
}

#[derive(Debug)]
struct Redirected {
    topic: Topic,
    epochs: Vec<u64>,
}

/// A subscription to a log that is being fetched.
#[derive(Debug)]
struct PendingLog {
    topic: Topic,
    epoch: u64,
    start: Start,
    deadline: Instant,
}

impl LogSubscriptions {
    /// Number of subscriptions in this state.
    pub(super) fn len(&self) -> usize {
        self.redirected.len() + self.pending.len()
    }

    /// Whether a subscription with this number is in this state.
    pub(super) fn contains(&self, sub: u32) -> bool {
        self.redirected.contains_key(&sub) || self.pending.contains_key(&sub)
    }

    /// Removes a subscription.
    pub(super) fn remove(&mut self, sub: u32) {
        self.redirected.remove(&sub);
        self.pending.remove(&sub);
    }

    /// Whether a subscription in this state refers to `app`.
    fn concerns(&self, app: &str) -> bool {
        self.redirected.values().any(|redirected| redirected.topic.app == app)
            || self.pending.values().any(|pending| pending.topic.app == app)
    }

    /// Earliest deadline of a pending subscription.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Subscriptions for which `is_allowed` does not hold.
    pub(super) fn denied(&self, is_allowed: impl Fn(&Topic) -> bool) -> Vec<u32> {
        let redirected = self.redirected.iter().map(|(&sub, redirected)| (sub, &redirected.topic));
        let pending = self.pending.iter().map(|(&sub, pending)| (sub, &pending.topic));
        redirected.chain(pending).filter(|(_, topic)| !is_allowed(topic)).map(|(sub, _)| sub).collect()
    }
}

impl Session {
    /// Answers a subscription with the list of logs to subscribe to instead.
    pub(super) fn redirect_to_logs(&mut self, sub: u32, topic: Topic) {
        let epochs = self.hub.log_epochs(&topic.app);
        if epochs.is_empty() {
            return self.send(&ServerMessage::SubscribeFailed { sub, reason: SubscribeError::NoSuchApp });
        }
        self.send(&ServerMessage::Logs { app: topic.app.clone(), epochs: epochs.clone() });
        self.register_interest(&topic.app);
        self.logs.redirected.insert(sub, Redirected { topic, epochs });
        self.send(&ServerMessage::SubscribeFailed { sub, reason: SubscribeError::SeveralLogs });
    }

    /// Subscribes to a topic in one log: now if the relay has it, later if the relay is fetching it.
    pub(super) fn subscribe_to_log(&mut self, sub: u32, epoch: u64, topic: Topic, start: Start) {
        let state = self.hub.log_state(&topic.app, epoch);
        if state != LogState::Unknown && self.hub.is_clustered() {
            self.register_interest(&topic.app);
        }
        match state {
            LogState::Available => self.subscribe(sub, &topic, Some(epoch), start),
            LogState::Fetching => {
                let deadline = Instant::now() + FETCH_TIMEOUT;
                self.logs.pending.insert(sub, PendingLog { topic, epoch, start, deadline });
            }
            LogState::Unknown => self.send(&ServerMessage::SubscribeFailed { sub, reason: SubscribeError::NoSuchApp }),
        }
    }

    /// Ends the interest in applications without subscriptions.
    pub(super) fn drop_unused_interest(&mut self) {
        let mut interest = std::mem::take(&mut self.logs.interest);
        let is_subscribed =
            |app: &str| self.subscriptions.iter().any(|(_, subscription)| subscription.app_name() == app);
        interest.retain(|app, _| self.logs.concerns(app) || is_subscribed(app));
        self.logs.interest = interest;
    }

    fn register_interest(&mut self, app: &str) {
        if !self.logs.interest.contains_key(app) {
            self.logs.interest.insert(app.to_owned(), self.hub.register_interest(app));
        }
    }

    /// Sends the addresses that the viewer can connect to if this relay is gone.
    pub(super) fn send_addresses(&mut self) {
        let version = self.hub.addresses_version();
        let addresses = self.hub.addresses();
        let should_send = !addresses.is_empty() || version != self.logs.addresses_version;
        self.logs.addresses_version = version;
        if should_send {
            self.send(&ServerMessage::Relays { addresses });
        }
    }

    /// Sends the cluster state if it has changed.
    pub(super) fn send_cluster(&mut self) {
        if self.hub.addresses_version() != self.logs.addresses_version {
            self.send_addresses();
        }
        let Some((connected, relays)) = self.hub.cluster_state() else { return };
        let watching = self.logs.interest.keys().map(|app| (app.clone(), self.hub.viewer_count(app))).collect();
        let now = ClusterInfo { connected, relays, watching };
        if self.logs.cluster.as_ref() == Some(&now) {
            return;
        }
        let ClusterInfo { connected, relays, watching } = now.clone();
        self.logs.cluster = Some(now);
        self.send(&ServerMessage::Cluster { connected, relays, watching });
    }

    /// Sends changed lists of logs, and answers pending subscriptions whose log has arrived or whose deadline is over.
    pub(super) fn send_logs(&mut self, now: Instant) {
        let version = self.hub.logs_version();
        let is_due = self.logs.due().is_some_and(|due| now >= due);
        if version == self.logs.version && !is_due {
            return;
        }
        self.logs.version = version;
        let mut changed = BTreeMap::new();
        for redirected in self.logs.redirected.values_mut() {
            let epochs = self.hub.log_epochs(&redirected.topic.app);
            if epochs != redirected.epochs {
                redirected.epochs.clone_from(&epochs);
                changed.insert(redirected.topic.app.clone(), epochs);
            }
        }
        for (app, epochs) in changed {
            self.send(&ServerMessage::Logs { app, epochs });
        }
        let subs: Vec<u32> = self.logs.pending.keys().copied().collect();
        for sub in subs {
            let Some(pending) = self.logs.pending.get(&sub) else { continue };
            let state = self.hub.log_state(&pending.topic.app, pending.epoch);
            if state == LogState::Fetching && now < pending.deadline {
                continue;
            }
            let Some(PendingLog { topic, epoch, start, .. }) = self.logs.pending.remove(&sub) else { continue };
            if state == LogState::Available {
                self.subscribe(sub, &topic, Some(epoch), start);
            } else {
                self.send(&ServerMessage::SubscribeFailed { sub, reason: SubscribeError::NoSuchApp });
            }
        }
    }
}
