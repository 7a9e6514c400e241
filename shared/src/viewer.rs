//! A connected viewer without the socket: what it follows, how far it has come, what it must ask for after a break.
//!
//! The browser's link, `joey tap`, `joey stats` and the end-to-end tests all put a socket around this. It takes bytes and
//! times and gives bytes: [`Viewer::connected`] after each (re)connection, [`Viewer::receive`] for each message,
//! [`Viewer::outgoing`] for what is to be sent.
//!
//! Never twice: updates are merged by stamp, so overlapping subscriptions and resumes are harmless. Never silently less:
//! after a jump between the ranges of two batches, or a heartbeat that speaks of more than came, the viewer asks once for
//! what is missing; what does not come then either becomes a [`Gap`](crate::store::Gap) that names how much it is.

mod messages;
mod progress;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::series::{SeriesKey, Topic};
use crate::store::{AppStore, WINDOW_SECONDS};
use crate::vecmap::VecMap;
use crate::wire::{AppEntry, ClientMessage, SeriesEntry, ServerMessage, Start, Update, VERSION, WireError};

/// What a relay said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayInfo {
    /// Its protocol version.
    pub version: u16,
    /// Its release.
    pub release: String,
    /// Its run.
    pub epoch: u64,
    /// How far back it remembers, in ns.
    pub ring_ns: u64,
    /// How long it keeps the number of a series that nobody sends any more, in ns.
    pub series_retention_ns: u64,
    /// Whether it makes up its own producers.
    pub demo: bool,
    /// The TCP port where producers connect.
    pub ingest_port: u16,
}

/// What a relay that is one of several says of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Whether it hears of them.
    pub connected: bool,
    /// How many there are, itself counted.
    pub relays: u32,
    /// How many viewers, wherever they are, watch each application that is followed here.
    pub watching: Vec<(String, u32)>,
}

/// One update as it comes in, with the names that its numbers stand for.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The application.
    pub app: &'a str,
    /// The epoch of the log.
    pub epoch: u64,
    /// Series and producer id.
    pub series: &'a SeriesEntry,
    /// The update.
    pub update: &'a Update,
    /// Where it is a sum of several updates: the last number of the stretch of the log that it stands for. The first is the
    /// update's own, and of that stretch it counts what its series has there.
    pub rollup_to: Option<u64>,
}

/// A subscription that the viewer wants, across connections.
#[derive(Clone, Debug)]
struct Subscription {
    topic: Topic,
    /// The log that it is about, where the relay is one of several; the relay's own log of the application otherwise.
    log: Option<u64>,
    start: Start,
    /// Whether the relay has answered on this connection.
    live: Option<Live>,
    /// Refused because the application does not exist yet.
    waiting: bool,
    /// The relay has named the logs to follow instead.
    sees_logs: bool,
    /// The number from which on this viewer has asked again for what did not come. It asks once.
    asked: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    feed: u32,
    epoch: u64,
    next: u64,
    /// The newest number when the subscription was made.
    head: u64,
}

/// How far a topic has come, kept after it is no longer followed.
#[derive(Clone, Copy, Debug)]
struct Progress {
    epoch: u64,
    /// The first number that it is about; 0 when it began with everything there was.
    from: u64,
    next: u64,
    cut_ns: u64,
}

/// Everything that a viewer knows.
#[derive(Debug)]
pub struct Viewer {
    seconds: u64,
    relay: Option<RelayInfo>,
    /// Where else to go.
    relays: Vec<String>,
    wall_clock: Option<(i64, u64)>,
    catalogue: VecMap<String, AppEntry>,
    has_catalogue: bool,
    catalogue_revision: u64,
    apps: VecMap<String, AppStore>,
    subscriptions: VecMap<u32, Subscription>,
    next_sub: u32,
    /// By topic and, where the relay is one of several, by log.
    progress: VecMap<(Topic, Option<u64>), Progress>,
    /// The logs of each application that is followed, as far as the relay has named them on this connection.
    logs: VecMap<String, Vec<u64>>,
    /// Names behind numbers, by `(epoch, app)`.
    names: VecMap<(u64, String), VecMap<u32, SeriesEntry>>,
    cluster: Option<ClusterInfo>,
    outgoing: Vec<Vec<u8>>,
    connected: bool,
    /// `(relay clock, local clock)` at the same instant, in ns.
    clock: Option<(u64, u64)>,
    /// When the token ends, by the relay's clock in ns since the Unix epoch.
    expires_ns: Option<u64>,
    unreadable: u64,
    missing: u64,
    revision: u64,
}

impl Default for Viewer {
    fn default() -> Self {
        Self::new(WINDOW_SECONDS)
    }
}

impl Viewer {
    /// A viewer that follows nothing yet, with windows of `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self {
            seconds,
            relay: None,
            relays: Vec::new(),
            wall_clock: None,
            catalogue: VecMap::new(),
            has_catalogue: false,
            catalogue_revision: 0,
            apps: VecMap::new(),
            subscriptions: VecMap::new(),
            next_sub: 1,
            progress: VecMap::new(),
            logs: VecMap::new(),
            names: VecMap::new(),
            cluster: None,
            outgoing: Vec::new(),
            connected: false,
            clock: None,
            expires_ns: None,
            unreadable: 0,
            missing: 0,
            revision: 0,
        }
    }

    /// Follows `topic` from `start` on, or from where this viewer left it. Following it already changes nothing.
    pub fn follow(&mut self, topic: Topic, start: Start) {
        if self.subscriptions.values().any(|subscription| subscription.topic == topic) {
            return;
        }
        self.follow_log(topic, start, None);
    }

    fn follow_log(&mut self, topic: Topic, start: Start, log: Option<u64>) {
        let sub = self.next_sub;
        self.next_sub += 1;
        let (live, waiting, sees_logs, asked) = (None, false, false, None);
        self.subscriptions.insert(sub, Subscription { topic, log, start, live, waiting, sees_logs, asked });
        self.subscribe(sub);
    }

    /// Stops following `topic`. What is known stays, and following it again resumes.
    pub fn unsubscribe(&mut self, topic: &Topic) {
        self.leave(|subscription| subscription.topic == *topic);
    }

    /// Ends those subscriptions for which `ends` holds.
    fn leave(&mut self, ends: impl Fn(&Subscription) -> bool) {
        let ended = self.subscriptions.iter().filter(|(_, subscription)| ends(subscription));
        let ended: Vec<u32> = ended.map(|(&sub, _)| sub).collect();
        for sub in ended {
            self.subscriptions.remove(&sub);
            self.send(&ClientMessage::Unsubscribe { sub });
        }
    }

    /// Forgets an application's windows and how far its topics had come. For a return after so long that the time between
    /// can no longer be had: a window that leaves it out is right, one that counts it as zero is not.
    pub fn forget(&mut self, app: &str) {
        self.apps.remove(app);
        self.progress.retain(|(topic, _), _| topic.app != app);
        // The relay names a series once in a connection, so the names must outlive the numbers.
        let epochs: Vec<u64> = self.names.keys().filter(|(_, name)| name == app).map(|(epoch, _)| *epoch).collect();
        epochs.into_iter().for_each(|epoch| self.announce_known(app, epoch));
        let topics = self.subscriptions.iter().filter(|(_, subscription)| subscription.topic.app == app);
        let subs: Vec<u32> = topics.map(|(&sub, _)| sub).collect();
        for sub in subs {
            self.send(&ClientMessage::Unsubscribe { sub });
            self.subscribe(sub);
        }
        self.revision += 1;
    }

    /// What is followed.
    pub fn followed(&self) -> impl Iterator<Item = &Topic> {
        self.subscriptions.values().filter(|own| own.log.is_none()).map(|own| &own.topic)
    }

    /// A connection is open: asks again for everything that is followed, each from where it had come to.
    pub fn connected(&mut self) {
        self.connected = true;
        self.outgoing.clear();
        // Whether there are several logs is this relay's to say.
        self.subscriptions.retain(|_, subscription| subscription.log.is_none());
        let subs: Vec<u32> = self.subscriptions.keys().copied().collect();
        subs.into_iter().for_each(|sub| self.subscribe(sub));
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.outgoing.clear();
        for subscription in self.subscriptions.values_mut() {
            subscription.live = None;
            subscription.waiting = false;
            subscription.sees_logs = false;
        }
        self.logs.clear();
        self.cluster = None;
        self.revision += 1;
    }

    fn subscribe(&mut self, sub: u32) {
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return };
        subscription.live = None;
        subscription.waiting = false;
        let (topic, log) = (subscription.topic.clone(), subscription.log);
        let mut start = subscription.start;
        let key = (topic.clone(), log);
        self.catch_up_with_wider(&key, start);
        // From a relay that is one of several: what of this log came over a relay that was not.
        let before = self.progress.get(&key).or_else(|| self.progress.get(&(key.0, None)));
        if let Some(progress) = before.filter(|progress| log.is_none_or(|epoch| progress.epoch == epoch)) {
            start = Start::After { epoch: progress.epoch, seq: progress.next.saturating_sub(1) };
        }
        self.send(&match log {
            None => ClientMessage::Subscribe { sub, topic, start },
            Some(epoch) => ClientMessage::SubscribeLog { sub, epoch, topic, start },
        });
    }

    /// Asks for the names of an application's series without following it.
    pub fn describe(&mut self, app: &str) {
        self.send(&ClientMessage::Describe { app: app.to_string() });
    }

    fn send(&mut self, message: &ClientMessage) {
        if self.connected {
            self.outgoing.push(message.encode());
        }
    }

    /// Takes the messages that are to be sent.
    pub fn outgoing(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.outgoing)
    }

    /// Takes one message at local time `now_ns` (any clock that only moves forward) and shows `incoming` every update
    /// that was not here before.
    ///
    /// # Errors
    /// When the message, or a part of it, makes no sense. It is counted in [`Viewer::unreadable`]; going on is safe.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        mut incoming: impl FnMut(&Incoming<'_>),
    ) -> Result<(), WireError> {
        self.revision += 1;
        let outcome = ServerMessage::decode(bytes).and_then(|message| self.handle(message, now_ns, &mut incoming));
        self.unreadable += u64::from(outcome.is_err());
        outcome
    }

    /// Lets time pass, so that the newest periods become complete without a later one.
    pub fn advance(&mut self, now_ns: u64) {
        if let Some(relay_ns) = self.relay_ns(now_ns) {
            self.apps.values_mut().for_each(|store| store.advance(relay_ns));
        }
    }

    /// The relay's clock at local time `now_ns`, in ns since the Unix epoch, once it has said hello.
    #[must_use]
    pub fn relay_ns(&self, now_ns: u64) -> Option<u64> {
        self.clock.map(|(relay_ns, local_ns)| relay_ns.saturating_add(now_ns.saturating_sub(local_ns)))
    }

    /// Whether everything that is followed has all the history that there was when it was subscribed.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.subscriptions.values().all(|own| {
            let has_logs = own.sees_logs && self.logs.get(&own.topic.app).is_some();
            // A log that nobody can bring is a hole, and nothing to wait for.
            let is_hole = own.waiting && own.log.is_some();
            has_logs || is_hole || own.live.is_some_and(|live| live.next > live.head)
        })
    }

    /// Whether a followed application does not exist.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.subscriptions.values().any(|own| own.waiting && own.log.is_none())
    }

    /// Shows the relay another token in place of the one that this connection began with.
    pub fn set_token(&mut self, token: &str) {
        self.send(&ClientMessage::Token { token: token.to_string() });
    }

    /// When the token ends, by the relay's clock in ns since the Unix epoch; nothing where it asks for none.
    #[must_use]
    pub const fn expires_ns(&self) -> Option<u64> {
        self.expires_ns
    }

    /// The relay, once it has said hello.
    #[must_use]
    pub const fn relay(&self) -> Option<&RelayInfo> {
        self.relay.as_ref()
    }

    /// How far the wall clock of the relay was set since it started, in ns, and when that was by the clock that all its times are
    /// by. Nothing where it was not.
    #[must_use]
    pub const fn wall_clock(&self) -> Option<(i64, u64)> {
        self.wall_clock
    }

    /// Where else to go, as the relay told last; at most [`RELAYS_MAX`](crate::wire::RELAYS_MAX) addresses.
    #[must_use]
    pub fn relays(&self) -> &[String] {
        &self.relays
    }

    /// What the relay says of others, where it is one of several.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }

    /// Whether the relay speaks this version of the protocol; true until it has spoken.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        self.relay.as_ref().is_none_or(|relay| relay.version == VERSION)
    }

    /// The applications that the relay knows.
    #[must_use]
    pub const fn catalogue(&self) -> &VecMap<String, AppEntry> {
        &self.catalogue
    }

    /// Whether the relay has said which applications it knows, on this or an earlier connection.
    #[must_use]
    pub const fn has_catalogue(&self) -> bool {
        self.has_catalogue
    }

    /// Goes up with every change of the catalogue.
    #[must_use]
    pub const fn catalogue_revision(&self) -> u64 {
        self.catalogue_revision
    }

    /// What is known about one application.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.apps.get(app)
    }

    /// What is known about one application, to read its windows.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        self.apps.get_mut(app)
    }

    /// The names of an application's series, as far as the relay has told them.
    pub fn series(&self, app: &str) -> impl Iterator<Item = &SeriesKey> {
        let named = self.names.iter().filter(move |((_, name), _)| name == app);
        named.flat_map(|(_, series)| series.values().map(|entry| &entry.key))
    }

    /// Changes the length of every window.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.revision += 1;
        self.apps.values_mut().for_each(|store| store.set_seconds(seconds));
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// How many messages made no sense.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How many updates are known to be missing.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Goes up whenever anything may have changed.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

#[cfg(test)]
mod tests;
