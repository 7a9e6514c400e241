//! One viewer: subscriptions in, batches out, over whatever [`Transport`] carries them.
//!
//! A viewer that has everything stands by, and is handed what is new ([`rounds`], [`line`]). All else is this task's: it takes
//! what is there from where its viewer is, writes it in one go, and sleeps. It holds positions, no queue. While a write waits,
//! nothing is read for this viewer either: its positions stay, and when the ring has moved on beyond them it is told what it
//! missed.
//!
//! What its pass does not allow does not exist for this viewer, and it is answered as if it did not.

pub mod websocket;
mod answers;
mod idle;
mod logs;
mod permissions;
pub mod broadcast;
mod subscriptions;
mod transport;

use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::close;
use joey_shared::series::Topic;
use joey_shared::wire::{AppEntry, ClientMessage, Hello, Refusal, ServerMessage, Start, VERSION};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::answers::Answers;
use self::idle::Stand;
use self::logs::Logs;
use self::permissions::{Pass, Turn};
use self::subscriptions::Subscriptions;
use self::transport::Failure;
pub use self::transport::{Commands, Far, Transport};
use crate::auth::Auth;
use crate::config::at_least_one;
use crate::hub::{Hub, Subscription, Viewer};
use crate::metrics::CloseReason;
use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;

/// Bytes of batches gathered before they are written. The ring may drop them meanwhile.
const GATHERED_BYTES: usize = 512 * 1024;
/// Batches taken from one feed before the next gets its turn.
const BATCHES_PER_TURN: usize = 64;
/// Applications and workers in one message of the catalogue; one application with more comes alone.
const WORKERS_PER_MESSAGE: usize = 1_000;
/// Shortest time between two messages of the catalogue.
const CATALOGUE_PAUSE: Duration = Duration::from_millis(250);

/// How often a viewer is pinged. Most proxies give a connection up after a minute without a byte, and one that has vanished
/// is to be gone in three quarters of a minute.
const PING: Duration = Duration::from_secs(15);
/// A viewer that leaves this many pings without an answer is gone.
const UNANSWERED_MAX: u32 = 2;
/// Commands of one viewer: 50 a second, 2,500 at once, since whoever comes back asks again for everything that it follows.
/// What exceeds it waits.
const COMMANDS: Quota = Quota::per_second(at_least_one(50)).allow_burst(at_least_one(2_500));

/// Serves one viewer, whose request may have brought a `token`, until it leaves, fails, or the relay stops.
pub async fn serve(
    mut transport: Transport,
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    token: Option<String>,
    stop: CancellationToken,
) {
    // What happens once is on the heap while it does, or every viewer's task would have to have room for it.
    let admission = Box::pin(stop.run_until_cancelled(Pass::admit(&mut transport, &auth, token))).await;
    let pass = match admission.unwrap_or(Err(Ended::Close(close::RESTART, CloseReason::Restart))) {
        Ok(pass) => pass,
        Err(ended) => return Box::pin(finish(transport, &hub, ended)).await,
    };
    let Some(viewer) = hub.enter(transport.line().clone()) else {
        let full = Ended::Close(close::FULL, CloseReason::ViewerLimit);
        return Box::pin(finish(transport, &hub, full)).await;
    };
    let mut session = Session {
        transport,
        viewer,
        pass,
        subscriptions: Subscriptions::default(),
        logs: Logs::default(),
        catalogue: 0,
        catalogue_due: Instant::now(),
        wall_clock: (0, 0),
        told: Instant::now(),
        cluster_due: Instant::now(),
        ping_due: Instant::now() + PING,
        unanswered: 0,
        commands: RateLimiter::direct(COMMANDS),
        answers: Answers::new(),
        postponed: None,
        apps: VecDeque::new(),
        replaces: false,
        hub,
    };
    let ended = session.run(&stop).await;
    let Session { transport, hub, .. } = session;
    Box::pin(finish(transport, &hub, ended)).await;
}

async fn finish(transport: Transport, hub: &Hub, ended: Ended) {
    match ended {
        Ended::Gone => {}
        Ended::Close(code, reason) => {
            hub.counters().close(reason);
            transport.say_goodbye(code, reason.as_str()).await;
        }
    }
}

/// Why a session is over.
#[derive(Debug)]
pub enum Ended {
    /// The viewer left, or its connection failed.
    Gone,
    /// The relay ends it, with a code and a reason that is a label too.
    Close(u16, CloseReason),
}

struct Session {
    transport: Transport,
    hub: Arc<Hub>,
    viewer: Viewer,
    pass: Pass,
    subscriptions: Subscriptions,
    logs: Logs,
    /// The version of the catalogue that the viewer has.
    catalogue: u64,
    catalogue_due: Instant,
    /// How far the wall clock was set, as far as the viewer knows.
    wall_clock: (i64, u64),
    /// When the viewer was last told something.
    told: Instant,
    /// When the viewer is next told how the relay stands with others, if that has changed.
    cluster_due: Instant,
    ping_due: Instant,
    /// Pings since the viewer was last heard.
    unanswered: u32,
    commands: DefaultDirectRateLimiter,
    answers: Answers,
    /// What a hasty viewer has said that is heard later. Until then it is not listened to, which slows it down.
    postponed: Option<Postponed>,
    /// What is still to be told of the catalogue, and whether it replaces what the viewer knows.
    apps: VecDeque<AppEntry>,
    replaces: bool,
}

/// What was heard too early: a command or a sign of life, and when it may be heard.
struct Postponed {
    command: Option<Bytes>,
    due: Instant,
}

impl Session {
    async fn run(&mut self, stop: &CancellationToken) -> Ended {
        match self.converse(stop).await {
            Break(ended) => ended,
            Continue(never) => match never {},
        }
    }

    async fn converse(&mut self, stop: &CancellationToken) -> ControlFlow<Ended, std::convert::Infallible> {
        self.greet();
        loop {
            self.hear_postponed()?;
            let more = self.send_news()?;
            self.flush().await?;
            if !more {
                self.stand_by();
            }
            let has_news = self.hub.catalogue_version() > self.catalogue;
            let catalogue_due = if has_news { self.catalogue_due } else { self.ping_due };
            let next_timer = self.ping_due.min(catalogue_due);
            let cluster_due = self.hub.is_clustered().then_some(self.cluster_due);
            let others =
                [cluster_due, self.pass.due(), self.logs.due(), self.postponed.as_ref().map(|postponed| postponed.due)];
            let next_timer = others.into_iter().flatten().fold(next_timer, Instant::min);
            let (line, listens) = (self.transport.line().clone(), self.postponed.is_none());
            let heartbeat_due = self.told + self.hub.config().heartbeat;
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.stand_down();
                    // What was cut before the end goes out first.
                    loop {
                        let more = self.send_news()?;
                        self.flush().await?;
                        if !more {
                            return Break(Ended::Close(close::RESTART, CloseReason::Restart));
                        }
                    }
                }
                // Before anything that may go on and on.
                () = self.pass.rules_changed() => {
                    self.stand_down();
                    self.review()?;
                }
                heard = self.transport.recv(), if listens => {
                    self.stand_down();
                    self.hear(heard)?;
                }
                () = std::future::ready(()), if more => {}
                () = line.woken() => self.stand_down(),
                () = line.until_due(heartbeat_due, next_timer) => self.stand_down(),
            }
        }
    }

    /// From now on what is new is handed out to this viewer, where one subscription brings everything.
    fn stand_by(&self) {
        if let Some(subscription) = self.subscriptions.only().and_then(|only| self.subscriptions.get(only)) {
            let (feed, next) = (subscription.feed(), subscription.position());
            self.transport.line().stand_by(Stand { feed, next, told: self.told });
        }
    }

    /// Goes on from what was handed out.
    fn stand_down(&mut self) {
        if let Some(Stand { next, told, .. }) = self.transport.line().stand_down() {
            self.told = told;
            let only = self.subscriptions.only();
            if let Some(subscription) = only.and_then(|only| self.subscriptions.get_mut(only)) {
                subscription.skip_to(next);
            }
        }
    }

    fn greet(&mut self) {
        let config = self.hub.config();
        let hello = Hello {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION"),
            epoch: self.hub.epoch(),
            now_ns: config.now_ns(),
            ring_ns: nanos(config.ring),
            series_ns: self.hub.series_ns(),
            demo: config.demo,
            ingest_port: config.ingest.port(),
        };
        self.say(&ServerMessage::Hello(hello));
        self.send_addresses();
        self.say_end_of_pass();
    }

    /// Says until when the viewer's token is good, if it needs one.
    fn say_end_of_pass(&mut self) {
        if let Some(at_ns) = self.pass.claims.expires_ns() {
            self.say(&ServerMessage::Expires { at_ns });
        }
    }

    /// The rules have changed: whoever they no longer let in has to go, and others may see less or more.
    fn review(&mut self) -> ControlFlow<Ended> {
        match self.pass.review() {
            Ok(()) => self.keep_to_pass(),
            Err(ended) => return Break(ended),
        }
        Continue(())
    }

    /// Ends what the pass no longer allows, and tells anew what there is.
    fn keep_to_pass(&mut self) {
        let claims = &self.pass.claims;
        let is_covered = |subscription: &Subscription| claims.allow_topic(subscription.app(), subscription.filter());
        let ended = self.subscriptions.iter().filter(|(_, subscription)| !is_covered(subscription));
        let mut ended: Vec<u32> = ended.map(|(sub, _)| sub).collect();
        ended.extend(self.logs.uncovered(|topic| claims.allow_topic(&topic.app, &topic.filter)));
        for sub in ended {
            self.leave(sub);
            self.say(&ServerMessage::Refused { sub, reason: Refusal::NoSuchApp });
        }
        // After the usual pause, however many tokens come.
        (self.catalogue, self.apps) = (0, VecDeque::new());
        self.answers.forget();
        self.say_end_of_pass();
    }

    /// Gathers what is new; says whether there is more already.
    fn send_news(&mut self) -> ControlFlow<Ended, bool> {
        let now = Instant::now();
        match self.pass.turn(now) {
            Some(Turn::Over) => return Break(Ended::Close(close::TOKEN, CloseReason::TokenExpired)),
            Some(Turn::Notice) => self.say_end_of_pass(),
            None => {}
        }
        self.send_wall_clock();
        let more_apps = self.send_catalogue(now);
        self.send_logs(now);
        if now >= self.cluster_due {
            self.cluster_due = now + self.hub.config().heartbeat;
            self.send_cluster();
        }
        let more = self.send_batches() || more_apps;
        if now >= self.told + self.hub.config().heartbeat {
            let sent = self.subscriptions.iter();
            let sent = sent.map(|(sub, own)| (own.feed(), self.subscriptions.position(sub) - 1)).collect();
            self.say(&ServerMessage::Heartbeat { now_ns: self.hub.config().now_ns(), sent });
        }
        if now >= self.ping_due {
            if self.unanswered >= UNANSWERED_MAX {
                self.hub.counters().close(CloseReason::PingTimeout);
                return Break(Ended::Gone);
            }
            self.ping_due = now + PING;
            self.unanswered += u32::from(self.transport.ping());
        }
        Continue(more)
    }

    /// Says how far the relay's wall clock was set, if that has changed.
    fn send_wall_clock(&mut self) {
        let wall_clock = self.hub.wall_clock();
        if wall_clock != self.wall_clock {
            self.wall_clock = wall_clock;
            let (step_ns, at_ns) = wall_clock;
            self.say(&ServerMessage::WallClock { step_ns, at_ns });
        }
    }

    /// Gathers one message of what is new in the catalogue; says whether there is more.
    fn send_catalogue(&mut self, now: Instant) -> bool {
        if self.apps.is_empty() {
            if now < self.catalogue_due || self.hub.catalogue_version() <= self.catalogue {
                return false;
            }
            self.catalogue_due = now + CATALOGUE_PAUSE;
            let (full, mut apps, version) = self.hub.catalogue_since(self.catalogue);
            apps.retain(|entry| self.pass.claims.allow_app(&entry.app));
            (self.catalogue, self.replaces, self.apps) = (version, full, apps.into());
            if self.apps.is_empty() && !full {
                return false;
            }
        }
        let (mut part, mut workers) = (Vec::new(), 0);
        while let Some(entry) = self.apps.front() {
            workers += 1 + entry.workers.len();
            if workers > WORKERS_PER_MESSAGE && !part.is_empty() {
                break;
            }
            part.extend(self.apps.pop_front());
        }
        let last = self.apps.is_empty();
        if last {
            // Gives the room back.
            self.apps = VecDeque::new();
        }
        // Only the first message of a whole catalogue replaces what the viewer knows.
        let full = std::mem::take(&mut self.replaces);
        self.say(&ServerMessage::Catalogue { full, apps: part, last });
        !last
    }

    /// Gathers batches of what has something new; says whether there is more.
    fn send_batches(&mut self) -> bool {
        let now_ns = self.hub.config().now_ns();
        self.subscriptions.note(self.transport.line().take_news());
        let mut bytes = 0;
        for sub in self.subscriptions.due() {
            if bytes >= GATHERED_BYTES {
                self.subscriptions.begin_with(sub);
                break;
            }
            let Some(subscription) = self.subscriptions.get_mut(sub) else { continue };
            let feed = subscription.feed();
            let read = subscription.read(BATCHES_PER_TURN, now_ns);
            if let Some((from, to)) = read.gap {
                // Series may have been named for the first time in what is gone.
                let (app, filter) = (subscription.of().clone(), subscription.filter().clone());
                self.name(&app, &filter);
                self.say(&ServerMessage::Gap { feed, from, to });
            }
            for batch in &read.batches {
                bytes += batch.len();
                self.push(batch);
            }
            if !read.is_cut_short {
                self.subscriptions.has_everything(sub);
            }
        }
        self.subscriptions.is_any_ready()
    }

    fn hear(&mut self, heard: Result<Option<Bytes>, Ended>) -> ControlFlow<Ended> {
        self.unanswered = 0;
        match heard {
            Ok(command) => self.hear_if_due(command),
            Err(ended) => Break(ended),
        }
    }

    fn hear_postponed(&mut self) -> ControlFlow<Ended> {
        match self.postponed.take_if(|postponed| postponed.due <= Instant::now()) {
            Some(Postponed { command, .. }) => self.hear_if_due(command),
            None => Continue(()),
        }
    }

    fn hear_if_due(&mut self, command: Option<Bytes>) -> ControlFlow<Ended> {
        let now = Instant::now();
        let due = self.answers.due(now).filter(|_| command.is_some());
        let due = due.or_else(|| self.commands.check().is_err().then(|| now + COMMANDS.replenish_interval()));
        if let Some(due) = due {
            self.postponed = Some(Postponed { command, due });
            return Continue(());
        }
        match command.map(|bytes| ClientMessage::decode(&bytes)) {
            Some(Ok(message)) => self.obey(message),
            Some(Err(_)) => Break(Ended::Close(close::UNREADABLE, CloseReason::Malformed)),
            None => Continue(()),
        }
    }

    fn obey(&mut self, message: ClientMessage) -> ControlFlow<Ended> {
        match message {
            ClientMessage::Subscribe { sub, topic, start } => match self.refusal(sub, &topic) {
                Some(reason) => self.say(&ServerMessage::Refused { sub, reason }),
                None if self.hub.is_clustered() => self.tell_logs(sub, topic),
                None => self.follow(sub, &topic, None, start),
            },
            ClientMessage::SubscribeLog { sub, epoch, topic, start } => match self.refusal(sub, &topic) {
                Some(reason) => self.say(&ServerMessage::Refused { sub, reason }),
                None => self.follow_log(sub, epoch, topic, start),
            },
            ClientMessage::Unsubscribe { sub } => self.leave(sub),
            ClientMessage::Describe { app } => self.describe(app),
            ClientMessage::Token { token } => match self.pass.renew(token) {
                Ok(()) => self.keep_to_pass(),
                Err(ended) => return Break(ended),
            },
        }
        Continue(())
    }

    /// Why a subscription of this number to this topic cannot be made, if so.
    fn refusal(&self, sub: u32, topic: &Topic) -> Option<Refusal> {
        if self.subscriptions.contains(sub) || self.logs.holds(sub) {
            Some(Refusal::NumberTaken)
        } else if self.subscriptions.len() + self.logs.len() >= self.hub.config().subscriptions_max {
            Some(Refusal::TooMany)
        } else {
            (!self.pass.claims.allow_topic(&topic.app, &topic.filter)).then_some(Refusal::NoSuchApp)
        }
    }

    /// Follows a topic in our own log of its application, or in that of the epoch `log`.
    fn follow(&mut self, sub: u32, topic: &Topic, log: Option<u64>, start: Start) {
        match self.viewer.subscribe(sub, topic, log, start, self.hub.config().now_ns()) {
            Err(reason) => self.say(&ServerMessage::Refused { sub, reason }),
            Ok((subscription, subscribed)) => {
                self.name(subscription.of(), &topic.filter);
                self.subscriptions.enter(sub, subscription);
                self.say(&ServerMessage::Subscribed(subscribed));
            }
        }
    }

    fn leave(&mut self, sub: u32) {
        self.logs.leave(sub);
        self.subscriptions.leave(sub);
        self.want_no_more();
    }

    fn say(&mut self, message: &ServerMessage<'_>) {
        self.push(&WsFrame::new(&message.encode()));
    }

    /// Gathers one message for the next [`Session::flush`].
    fn push(&mut self, frame: &WsFrame) {
        self.told = Instant::now();
        self.hub.counters().sent_bytes.inc_by(frame.len() as u64);
        self.hub.counters().sent_messages.inc();
        self.transport.push(frame);
    }

    async fn flush(&mut self) -> ControlFlow<Ended> {
        let Err(failure) = self.transport.flush(self.hub.config().stall_timeout).await else { return Continue(()) };
        if matches!(failure, Failure::Stalled) {
            self.hub.counters().close(CloseReason::Stalled);
        }
        // Where nothing gets through, neither would a reason.
        Break(Ended::Gone)
    }
}
