//! A viewer without its socket: its subscriptions, its position in each log, and what to request again after a
//! reconnect.
//!
//! The page, `joey tap`, `joey stats` and the end-to-end tests wrap it in a socket. A [`Viewer`] has one relay and its stores.
//! [`Viewers`] have several relays that fill the same stores. Both have no I/O and no clock. Call
//! [`Viewer::connected`] after each (re)connection and [`Viewer::receive`] for each message, and send the messages that
//! [`Viewer::outgoing`] returns.
//!
//! No update is counted twice. The viewer identifies updates by epoch and sequence number, so overlapping subscriptions
//! and resumed ones are harmless. No loss is silent. If the ranges of two batches do not connect, or a heartbeat
//! announces more than was received, the viewer requests the missing range once. If it does not arrive, the viewer
//! records a [`Gap`](crate::store::Gap) with the number of missing updates.

mod catalogue;
mod messages;
mod progress;
mod replay;
mod several;
mod single;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(crate) use self::replay::catalogue_messages;
pub use self::several::Viewers;
pub use self::single::Viewer;
use crate::series::{SeriesKey, Topic};
use crate::store::AppStores;
use crate::wire::{
    AppEntry, ClientMessage, ObjectiveEntry, SeriesEntry, ServerMessage, Start, Update, VERSION, WireError,
};

/// Information about the relay, from its hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayInfo {
    /// The protocol version.
    pub version: u16,
    /// The release of the relay.
    pub release: String,
    /// The epoch of the relay, which changes when it restarts.
    pub epoch: u64,
    /// How long the relay retains single updates, in ns.
    pub ring_ns: u64,
    /// How long the relay retains a series that no producer sends any more, in ns.
    pub series_retention_ns: u64,
    /// Whether the relay runs simulated producers.
    pub demo: bool,
    /// The TCP port where producers connect.
    pub ingest_port: u16,
}

/// Information about the cluster that the relay belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Whether the relay is connected to the others.
    pub connected: bool,
    /// Number of relays, including this one.
    pub relays: u32,
    /// Number of viewers of each subscribed application, over all relays.
    pub watching: Vec<(String, u32)>,
}

/// One received update with its names.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The application.
    pub app: &'a str,
    /// The epoch of the log.
    pub epoch: u64,
    /// The series and its producer ID.
    pub series: &'a SeriesEntry,
    /// The update.
    pub update: &'a Update,
    /// For an item of a rollup: the last sequence number of the range that it adds up. The first is `update.seq`. The item is the
    /// sum of all updates of its series in this range.
    pub rollup_to: Option<u64>,
}

/// A subscription, which outlives the connection.
#[derive(Clone, Debug)]
struct Subscription {
    topic: Topic,
    /// The epoch of the log, if several relays have a log of the application. `None` is the relay's own log.
    log: Option<u64>,
    start: Start,
    /// The relay's answer on this connection.
    live: Option<Live>,
    /// Whether the relay rejected it because the application does not exist yet.
    waiting: bool,
    /// Whether the relay requires one subscription for each log instead.
    has_several_logs: bool,
    /// The sequence number from which missing updates were requested again. They are requested once.
    retried_from: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    feed: u32,
    epoch: u64,
    next: u64,
    /// The newest sequence number at the time of the subscription.
    head: u64,
}

/// The position of a topic in a log. It is kept after the subscription ends.
#[derive(Clone, Copy, Debug)]
struct Progress {
    epoch: u64,
    /// The first sequence number received; 0 if the subscription started with all retained history.
    from: u64,
    next: u64,
    cut_ns: u64,
}

/// What the owner of the stores has to do after a message. The stores can be shared with other relays.
#[derive(Debug, Default)]
struct Effects {
    /// The catalogue was received completely, so some stores may not be needed any more.
    catalogue: bool,
    /// Applications whose store has to be replaced, with the epoch of the log that replaces it.
    replaced: Vec<(String, u64)>,
}

/// What a viewer knows of one relay, without the stores that it fills: its subscriptions, its position in each log, the
/// catalogue. [`Viewer`] has one and its stores, [`Viewers`] has several that fill the same stores.
#[derive(Debug)]
pub struct Subscriber {
    /// Distinguishes the relays that fill the same stores.
    id: u32,
    relay: Option<RelayInfo>,
    /// Addresses of all relays.
    relays: Vec<String>,
    wall_clock: Option<(i64, u64)>,
    catalogue: BTreeMap<String, AppEntry>,
    has_catalogue: bool,
    catalogue_revision: u64,
    subscriptions: BTreeMap<u32, Subscription>,
    next_sub: u32,
    /// By topic and by the epoch of the log, see [`Subscription::log`].
    progress: BTreeMap<(Topic, Option<u64>), Progress>,
    /// The epochs of the logs of each subscribed application that the relay has sent on this connection.
    logs: BTreeMap<String, Vec<u64>>,
    /// The series of each log by number. The key of the outer map is `(epoch, app)`.
    names: BTreeMap<(u64, String), BTreeMap<u32, SeriesEntry>>,
    cluster: Option<ClusterInfo>,
    /// The objectives that the relay watches, by application.
    objectives: BTreeMap<String, Vec<ObjectiveEntry>>,
    outgoing: Vec<Vec<u8>>,
    connected: bool,
    /// Whether the commands come from a recording. The viewer then makes no subscriptions of its own.
    replaying: bool,
    /// Relay time and local time of the same instant, in ns.
    clock: Option<(u64, u64)>,
    /// When the token expires, in ns since the Unix epoch by the relay's clock.
    expires_ns: Option<u64>,
    malformed: u64,
    missing: u64,
    answers: u64,
    revision: u64,
    effects: Effects,
}

impl Subscriber {
    /// Creates the state for one relay, without subscriptions. The gaps that it records have this `id`.
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self {
            id,
            relay: None,
            relays: Vec::new(),
            wall_clock: None,
            catalogue: BTreeMap::new(),
            has_catalogue: false,
            catalogue_revision: 0,
            subscriptions: BTreeMap::new(),
            next_sub: 1,
            progress: BTreeMap::new(),
            logs: BTreeMap::new(),
            names: BTreeMap::new(),
            cluster: None,
            objectives: BTreeMap::new(),
            outgoing: Vec::new(),
            connected: false,
            replaying: false,
            clock: None,
            expires_ns: None,
            malformed: 0,
            missing: 0,
            answers: 0,
            revision: 0,
            effects: Effects { catalogue: false, replaced: Vec::new() },
        }
    }

    /// The id that was given to [`Subscriber::new`].
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Subscribes to `topic` from `start` on, or resumes it from its last position. Has no effect if it is subscribed already.
    pub fn subscribe(&mut self, topic: Topic, start: Start) {
        if self.subscriptions.values().any(|subscription| subscription.topic == topic) {
            return;
        }
        self.subscribe_log(topic, start, None);
    }

    fn subscribe_log(&mut self, topic: Topic, start: Start, log: Option<u64>) {
        let sub = self.next_sub;
        self.next_sub += 1;
        let (live, waiting, has_several_logs, retried_from) = (None, false, false, None);
        self.subscriptions
            .insert(sub, Subscription { topic, log, start, live, waiting, has_several_logs, retried_from });
        self.send_subscribe(sub);
    }

    /// Unsubscribes from `topic`. Its data stays, and a new subscription resumes from the last position.
    pub fn unsubscribe(&mut self, topic: &Topic) {
        self.end_subscriptions(|subscription| subscription.topic == *topic);
    }

    /// Ends the subscriptions for which `ends` returns true.
    fn end_subscriptions(&mut self, ends: impl Fn(&Subscription) -> bool) {
        let ended = self.subscriptions.iter().filter(|(_, subscription)| ends(subscription));
        let ended: Vec<u32> = ended.map(|(&sub, _)| sub).collect();
        for sub in ended {
            self.subscriptions.remove(&sub);
            self.send(&ClientMessage::Unsubscribe { sub });
        }
    }

    /// Removes the positions of the topics of `app`, and subscribes again. Use it after the store of `app` was removed.
    fn reload(&mut self, stores: &mut AppStores, app: &str) {
        self.progress.retain(|(topic, _), _| topic.app != app);
        // The relay announces each series once on a connection, so the new store needs the known ones.
        let epochs: Vec<u64> = self.names.keys().filter(|(_, name)| name == app).map(|(epoch, _)| *epoch).collect();
        epochs.into_iter().for_each(|epoch| self.announce_known_series(stores, app, epoch));
        let topics = self.subscriptions.iter().filter(|(_, subscription)| subscription.topic.app == app);
        let subs: Vec<u32> = topics.map(|(&sub, _)| sub).collect();
        for sub in subs {
            self.send(&ClientMessage::Unsubscribe { sub });
            self.send_subscribe(sub);
        }
        self.revision += 1;
    }

    /// The topics that this viewer is subscribed to.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.subscriptions.values().filter(|own| own.log.is_none()).map(|own| &own.topic)
    }

    /// Call this when a connection is open. Subscribes to all topics again, each from its last position.
    pub fn connected(&mut self) {
        self.connected = true;
        self.outgoing.clear();
        // The relay decides whether there are several logs.
        self.subscriptions.retain(|_, subscription| subscription.log.is_none());
        let subs: Vec<u32> = self.subscriptions.keys().copied().collect();
        subs.into_iter().for_each(|sub| self.send_subscribe(sub));
    }

    /// Call this when the connection has ended.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.outgoing.clear();
        for subscription in self.subscriptions.values_mut() {
            subscription.live = None;
            subscription.waiting = false;
            subscription.has_several_logs = false;
        }
        self.logs.clear();
        self.cluster = None;
        self.objectives.clear();
        self.revision += 1;
    }

    fn send_subscribe(&mut self, sub: u32) {
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return };
        subscription.live = None;
        subscription.waiting = false;
        let (topic, log) = (subscription.topic.clone(), subscription.log);
        let mut start = subscription.start;
        let key = (topic.clone(), log);
        self.resume_from_wider_topic(&key, start);
        // The same log may have been received from a relay that was not part of a cluster.
        let before = self.progress.get(&key).or_else(|| self.progress.get(&(key.0, None)));
        if let Some(progress) = before.filter(|progress| log.is_none_or(|epoch| progress.epoch == epoch)) {
            start = Start::After { epoch: progress.epoch, seq: progress.next.saturating_sub(1) };
        }
        self.send(&match log {
            None => ClientMessage::Subscribe { sub, topic, start },
            Some(epoch) => ClientMessage::SubscribeLog { sub, epoch, topic, start },
        });
    }

    /// Requests the series of an application without subscribing to it.
    pub fn describe(&mut self, app: &str) {
        self.send(&ClientMessage::Describe { app: app.to_string() });
    }

    fn send(&mut self, message: &ClientMessage) {
        if self.connected {
            self.outgoing.push(message.encode());
        }
    }

    /// Returns the messages to send, and clears the queue.
    pub fn outgoing(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.outgoing)
    }

    /// Processes one message that arrived at local time `now_ns` (any monotonic clock) into `stores`. Calls `incoming`
    /// for each update that was not received before.
    ///
    /// # Errors
    /// Fails if the message or a part of it is malformed. The error is counted in [`Subscriber::malformed`], and the
    /// viewer remains usable.
    fn receive(
        &mut self,
        stores: &mut AppStores,
        bytes: &[u8],
        now_ns: u64,
        mut incoming: impl FnMut(&Incoming<'_>),
    ) -> Result<(), WireError> {
        self.revision += 1;
        let message = ServerMessage::decode(bytes);
        let outcome = message.and_then(|message| self.handle(stores, message, now_ns, &mut incoming));
        self.malformed += u64::from(outcome.is_err());
        outcome
    }

    /// The relay's time at local time `now_ns`, in ns since the Unix epoch; `None` before its hello.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        self.clock.map(|(relay_ns, local_ns)| relay_ns.saturating_add(now_ns.saturating_sub(local_ns)))
    }

    /// Whether all subscriptions have received the history that existed when they were made.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.subscriptions.values().all(|own| {
            let has_logs = own.has_several_logs && self.logs.contains_key(&own.topic.app);
            // A log that no relay holds any more is recorded as a gap.
            let is_gap = own.waiting && own.log.is_some();
            has_logs || is_gap || own.live.is_some_and(|live| live.next > live.head)
        })
    }

    /// Whether a connection is open.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the relay has not answered a subscription yet. The time from then to the next of its [`answers`](Self::answers)
    /// is a round trip.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.subscriptions.values().any(|own| own.live.is_none() && !own.waiting && !own.has_several_logs)
    }

    /// Number of answers to subscriptions.
    #[must_use]
    pub const fn answers(&self) -> u64 {
        self.answers
    }

    /// Whether a subscribed application does not exist yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.subscriptions.values().any(|own| own.waiting && own.log.is_none())
    }

    /// Sends the relay a new token for this connection.
    pub fn set_token(&mut self, token: &str) {
        self.send(&ClientMessage::Token { token: token.to_string() });
    }

    /// When the token expires, in ns since the Unix epoch by the relay's clock; `None` if the relay requires no token.
    #[must_use]
    pub const fn expires_ns(&self) -> Option<u64> {
        self.expires_ns
    }

    /// Information about the relay; `None` before its hello.
    #[must_use]
    pub const fn relay(&self) -> Option<&RelayInfo> {
        self.relay.as_ref()
    }

    /// How far the relay's wall clock was set since its start, in ns, and when, in ns since the Unix epoch by the
    /// relay's monotonic clock. `None` if it was not set.
    #[must_use]
    pub const fn wall_clock(&self) -> Option<(i64, u64)> {
        self.wall_clock
    }

    /// Addresses of all relays, as announced by the relay; at most [`RELAYS_MAX`](crate::wire::RELAYS_MAX).
    #[must_use]
    pub fn relays(&self) -> &[String] {
        &self.relays
    }

    /// Information about the cluster; `None` if the relay runs alone.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }

    /// Whether the relay uses the same protocol version; true before its hello.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        self.relay.as_ref().is_none_or(|relay| relay.version == VERSION)
    }

    /// The applications of the relay, by name.
    #[must_use]
    pub const fn catalogue(&self) -> &BTreeMap<String, AppEntry> {
        &self.catalogue
    }

    /// Whether the catalogue was received completely, on this or an earlier connection.
    #[must_use]
    pub const fn has_catalogue(&self) -> bool {
        self.has_catalogue
    }

    /// Increases with every change of the catalogue.
    #[must_use]
    pub const fn catalogue_revision(&self) -> u64 {
        self.catalogue_revision
    }

    /// The objectives that the relay watches itself, with their state in each subscribed application.
    #[must_use]
    pub const fn objectives(&self) -> &BTreeMap<String, Vec<ObjectiveEntry>> {
        &self.objectives
    }

    /// Whether this relay and `other` send the same log of `app`, as the relays of a cluster do.
    #[must_use]
    pub fn shares_log(&self, other: &Self, app: &str) -> bool {
        let epochs = |relay: &Self| -> Vec<u64> {
            let own = relay.progress.iter().filter(|((topic, _), _)| topic.app == app);
            own.map(|(_, progress)| progress.epoch).collect()
        };
        let others = epochs(other);
        epochs(self).iter().any(|epoch| others.contains(epoch))
    }

    /// The series of an application that the relay has announced.
    pub fn series(&self, app: &str) -> impl Iterator<Item = &SeriesKey> {
        let named = self.names.iter().filter(move |((_, name), _)| name == app);
        named.flat_map(|(_, series)| series.values().map(|entry| &entry.key))
    }

    /// Number of malformed messages.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Number of updates that are known to be missing.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Increases whenever something may have changed.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

#[cfg(test)]
mod tests;
