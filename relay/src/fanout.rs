//! One viewer: subscriptions in, batches out, over whatever [`Transport`] carries them.
//!
//! The task sleeps until a feed has something, takes what is there from where this viewer is, and writes it in one go.
//! It holds positions, no queue. While a write waits, nothing is read for this viewer either: its positions stay, and when
//! the ring has moved on beyond them it is told what it missed.
//!
//! What its pass does not allow does not exist for this viewer, and it is answered as if it did not.

mod logs;
mod pass;
mod transport;

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::close;
use joey_shared::series::Topic;
use joey_shared::vecmap::VecMap;
use joey_shared::wire::{AppEntry, ClientMessage, Hello, Refusal, SeriesEntry, ServerMessage, Start, VERSION};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::logs::Logs;
use self::pass::{Pass, Turn};
use self::transport::Failure;
pub use self::transport::{Commands, Far, Transport};
use crate::access::Access;
use crate::config::at_least_one;
use crate::hub::{Hub, Subscription, Viewer};
use crate::nanos;

/// Batches taken from one feed before the next gets its turn.
const BATCHES_PER_TURN: usize = 64;
/// Wider subscriptions that one is held against. Any of them will do; a viewer with more only gets some things twice.
const WIDER_MAX: usize = 8;
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
    access: Arc<Access>,
    token: Option<String>,
    stop: CancellationToken,
) {
    let pass = match stop.run_until_cancelled(Pass::admit(&mut transport, &access, token)).await {
        Some(Ok(pass)) => pass,
        Some(Err(ended)) => return finish(transport, &hub, ended).await,
        None => return finish(transport, &hub, Ended::Close(close::RESTART, "restart")).await,
    };
    let Some(viewer) = hub.enter() else {
        hub.counters().close("viewer_limit");
        return transport.say_goodbye(close::FULL, "as many viewers as there may be").await;
    };
    let mut session = Session {
        transport,
        viewer,
        pass,
        subscriptions: VecMap::new(),
        logs: Logs::default(),
        catalogue: 0,
        catalogue_due: Instant::now(),
        heartbeat_due: Instant::now() + hub.config().heartbeat,
        cluster_due: Instant::now(),
        ping_due: Instant::now() + PING,
        unanswered: 0,
        commands: RateLimiter::direct(COMMANDS),
        hub,
    };
    let ended = session.run(&stop).await;
    let Session { transport, hub, .. } = session;
    finish(transport, &hub, ended).await;
}

async fn finish(transport: Transport, hub: &Hub, ended: Ended) {
    match ended {
        Ended::Gone => {}
        Ended::Close(code, reason) => {
            hub.counters().close(reason);
            transport.say_goodbye(code, reason).await;
        }
    }
}

/// Why a session is over.
#[derive(Debug)]
pub enum Ended {
    /// The viewer left, or its connection failed.
    Gone,
    /// The relay ends it, with a code and a reason that is a label too.
    Close(u16, &'static str),
}

struct Session {
    transport: Transport,
    hub: Arc<Hub>,
    viewer: Viewer,
    pass: Pass,
    /// A tree would take 1.9 KB for the one entry that most viewers have.
    subscriptions: VecMap<u32, Following>,
    logs: Logs,
    /// The version of the catalogue that the viewer has.
    catalogue: u64,
    catalogue_due: Instant,
    heartbeat_due: Instant,
    /// When the viewer is next told how the relay stands with others, if that has changed.
    cluster_due: Instant,
    ping_due: Instant,
    /// Pings since the viewer was last heard.
    unanswered: u32,
    commands: DefaultDirectRateLimiter,
}

/// A subscription, and which others would bring the same.
struct Following {
    subscription: Subscription,
    /// Subscriptions that cover this one; of two equal ones the older covers.
    wider: Vec<u32>,
    /// The one of them that does bring the same at present.
    tied_to: Option<u32>,
}

impl Session {
    async fn run(&mut self, stop: &CancellationToken) -> Ended {
        match self.converse(stop).await {
            Break(ended) => ended,
            Continue(never) => match never {},
        }
    }

    async fn converse(&mut self, stop: &CancellationToken) -> ControlFlow<Ended, std::convert::Infallible> {
        self.greet().await?;
        loop {
            let more = self.send_news().await?;
            let has_news = self.hub.catalogue_version() > self.catalogue;
            let catalogue_due = if has_news { self.catalogue_due } else { self.heartbeat_due };
            let next_timer = self.heartbeat_due.min(catalogue_due).min(self.ping_due);
            let next_timer = self.pass.due().map_or(next_timer, |due| next_timer.min(due));
            let next_timer = self.logs.due().map_or(next_timer, |due| next_timer.min(due));
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // What was cut before the end goes out first.
                    while self.send_news().await? {}
                    return Break(Ended::Close(close::RESTART, "restart"));
                }
                heard = self.transport.recv() => self.hear(heard).await?,
                () = std::future::ready(()), if more => {}
                () = self.viewer.woken() => {}
                () = self.pass.rules_changed() => self.review().await?,
                () = tokio::time::sleep_until(next_timer) => {}
            }
        }
    }

    async fn greet(&mut self) -> ControlFlow<Ended> {
        let config = self.hub.config();
        let hello = Hello {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION"),
            epoch: self.hub.epoch(),
            now_ns: config.now_ns(),
            ring_ns: nanos(config.ring),
            demo: config.demo,
            ingest_port: config.ingest.port(),
        };
        self.say(&ServerMessage::Hello(hello)).await?;
        self.send_addresses().await?;
        self.say_end_of_pass().await
    }

    /// Says until when the viewer's token is good, if it needs one.
    async fn say_end_of_pass(&mut self) -> ControlFlow<Ended> {
        match self.pass.claims.expires_ns() {
            Some(at_ns) => self.say(&ServerMessage::Expires { at_ns }).await,
            None => Continue(()),
        }
    }

    /// The rules have changed: whoever they no longer let in has to go, and others may see less or more.
    async fn review(&mut self) -> ControlFlow<Ended> {
        match self.pass.review() {
            Ok(()) => self.keep_to_pass().await,
            Err(ended) => Break(ended),
        }
    }

    /// Ends what the pass no longer allows, and tells anew what there is.
    async fn keep_to_pass(&mut self) -> ControlFlow<Ended> {
        let claims = &self.pass.claims;
        let is_covered = |subscription: &Subscription| claims.cover(subscription.app(), subscription.filter());
        let ended = self.subscriptions.iter().filter(|(_, following)| !is_covered(&following.subscription));
        let mut ended: Vec<u32> = ended.map(|(&sub, _)| sub).collect();
        ended.extend(self.logs.uncovered(|topic| claims.cover(&topic.app, &topic.filter)));
        for sub in ended {
            self.leave(sub);
            self.say(&ServerMessage::Refused { sub, reason: Refusal::NoSuchApp }).await?;
        }
        // After the usual pause, however many tokens come.
        self.catalogue = 0;
        self.say_end_of_pass().await
    }

    /// Sends what is new; says whether there is more already.
    async fn send_news(&mut self) -> ControlFlow<Ended, bool> {
        let now = Instant::now();
        match self.pass.turn(now) {
            Some(Turn::Over) => return Break(Ended::Close(close::TOKEN, "token_expired")),
            Some(Turn::Notice) => self.say_end_of_pass().await?,
            None => {}
        }
        if now >= self.catalogue_due && self.hub.catalogue_version() > self.catalogue {
            self.catalogue_due = now + CATALOGUE_PAUSE;
            self.send_catalogue().await?;
        }
        self.send_logs(now).await?;
        if now >= self.cluster_due {
            self.cluster_due = now + self.hub.config().heartbeat;
            self.send_cluster().await?;
        }
        let more = self.send_batches().await?;
        if now >= self.heartbeat_due {
            let sent = self.subscriptions.values().map(|following| &following.subscription);
            let sent = sent.map(|subscription| (subscription.feed(), subscription.position() - 1)).collect();
            self.say(&ServerMessage::Heartbeat { now_ns: self.hub.config().now_ns(), sent }).await?;
        }
        if now >= self.ping_due {
            if self.unanswered >= UNANSWERED_MAX {
                self.hub.counters().close("silent");
                return Break(Ended::Gone);
            }
            self.ping_due = now + PING;
            let pinged = self.transport.ping(self.hub.config().stall_deadline).await;
            self.unanswered += u32::from(matches!(pinged, Ok(true)));
            self.settled(pinged)?;
        }
        self.flush().await?;
        Continue(more)
    }

    async fn send_catalogue(&mut self) -> ControlFlow<Ended> {
        let (full, mut apps, version) = self.hub.catalogue_since(self.catalogue);
        self.catalogue = version;
        apps.retain(|entry| self.pass.claims.cover_app(&entry.app));
        let (mut full, mut is_last) = (full, false);
        let mut apps = apps.into_iter().peekable();
        while !is_last && (full || apps.peek().is_some()) {
            let mut workers = 0;
            let mut fits = |entry: &AppEntry| {
                workers += 1 + entry.workers.len();
                workers <= WORKERS_PER_MESSAGE || workers == 1 + entry.workers.len()
            };
            let mut part = Vec::new();
            while let Some(entry) = apps.next_if(&mut fits) {
                part.push(entry);
            }
            is_last = apps.peek().is_none();
            self.say(&ServerMessage::Catalogue { full, apps: part, last: is_last }).await?;
            // Only the first message of a whole catalogue replaces what the viewer knows.
            full = false;
        }
        Continue(())
    }

    async fn send_batches(&mut self) -> ControlFlow<Ended, bool> {
        let (mut more, now_ns) = (false, self.hub.config().now_ns());
        let subs: Vec<u32> = self.subscriptions.keys().copied().collect();
        // Settled for all before any of them moves on: whoever reads first would always look farther than the rest.
        let untied: Vec<u32> = subs.into_iter().filter(|&sub| !self.is_tied(sub)).collect();
        for sub in untied {
            let Some(following) = self.subscriptions.get_mut(&sub) else { continue };
            let feed = following.subscription.feed();
            let read = following.subscription.read(BATCHES_PER_TURN, now_ns);
            if let Some((from, to)) = read.gap {
                // Series may have been named for the first time in what is gone.
                let series = following.subscription.series();
                let (app, epoch) = (following.subscription.app().to_owned(), following.subscription.epoch());
                self.name(&app, epoch, &series).await?;
                self.say(&ServerMessage::Gap { feed, from, to }).await?;
            }
            more |= read.batches.len() == BATCHES_PER_TURN;
            for batch in read.batches {
                self.feed(batch).await?;
            }
        }
        Continue(more)
    }

    fn enter(&mut self, sub: u32, subscription: Subscription) {
        let mut wider = Vec::new();
        for (&other, following) in self.subscriptions.iter_mut() {
            if following.subscription.covers(&subscription) {
                if wider.len() < WIDER_MAX {
                    wider.push(other);
                }
            } else if subscription.covers(&following.subscription) && following.wider.len() < WIDER_MAX {
                following.wider.push(sub);
            }
        }
        self.subscriptions.insert(sub, Following { subscription, wider, tied_to: None });
    }

    /// Whether another subscription brings everything that this one would. It does from when it has come no farther than
    /// this one: before that there is a stretch that only this one still has to bring.
    fn is_tied(&mut self, sub: u32) -> bool {
        let Some(own) = self.subscriptions.get(&sub) else { return false };
        let position = |wider: &u32| Some((*wider, self.subscriptions.get(wider)?.subscription.position()));
        let tied_to = own
            .wider
            .iter()
            .filter_map(position)
            .find(|&(wider, position)| own.tied_to == Some(wider) || position <= own.subscription.position());
        let Some(own) = self.subscriptions.get_mut(&sub) else { return false };
        own.tied_to = tied_to.map(|(wider, _)| wider);
        if let Some((_, position)) = tied_to {
            own.subscription.skip_to(position);
        }
        own.tied_to.is_some()
    }

    async fn hear(&mut self, heard: Result<Option<Bytes>, Ended>) -> ControlFlow<Ended> {
        self.unanswered = 0;
        // Not reading on is what slows a hasty viewer down; its batches wait as well, which is its own affair.
        while self.commands.check().is_err() {
            tokio::time::sleep(COMMANDS.replenish_interval()).await;
        }
        match heard {
            Ok(Some(bytes)) => match ClientMessage::decode(&bytes) {
                Ok(message) => self.obey(message).await,
                Err(_) => Break(Ended::Close(close::UNREADABLE, "unreadable")),
            },
            Ok(None) => Continue(()),
            Err(ended) => Break(ended),
        }
    }

    async fn obey(&mut self, message: ClientMessage) -> ControlFlow<Ended> {
        match message {
            ClientMessage::Subscribe { sub, topic, start } => match self.refusal(sub, &topic) {
                Some(reason) => self.say(&ServerMessage::Refused { sub, reason }).await,
                None if self.hub.is_clustered() => self.tell_logs(sub, topic).await,
                None => self.follow(sub, topic, None, start).await,
            },
            ClientMessage::SubscribeLog { sub, epoch, topic, start } => match self.refusal(sub, &topic) {
                Some(reason) => self.say(&ServerMessage::Refused { sub, reason }).await,
                None => self.follow_log(sub, epoch, topic, start).await,
            },
            ClientMessage::Unsubscribe { sub } => {
                self.leave(sub);
                Continue(())
            }
            ClientMessage::Describe { app } => {
                #[cfg(test)]
                assert_ne!(app, crate::guard::BROKEN);
                let claims = &self.pass.claims;
                // As for an application that nobody has heard of.
                let nothing = (self.hub.epoch(), Vec::new());
                let (epoch, mut series) = if claims.cover_app(&app) { self.hub.series_of(&app) } else { nothing };
                series.retain(|entry| claims.cover_category(&entry.key.category));
                self.name(&app, epoch, &series).await
            }
            ClientMessage::Token { token } => match self.pass.renew(token) {
                Ok(()) => self.keep_to_pass().await,
                Err(ended) => Break(ended),
            },
        }
    }

    /// Why a subscription of this number to this topic cannot be made, if so.
    fn refusal(&self, sub: u32, topic: &Topic) -> Option<Refusal> {
        if self.subscriptions.contains_key(&sub) || self.logs.holds(sub) {
            Some(Refusal::NumberTaken)
        } else if self.subscriptions.len() + self.logs.len() >= self.hub.config().subscriptions_max {
            Some(Refusal::TooMany)
        } else {
            (!self.pass.claims.cover(&topic.app, &topic.filter)).then_some(Refusal::NoSuchApp)
        }
    }

    /// Follows a topic in our own log of its application, or in that of the epoch `log`.
    async fn follow(&mut self, sub: u32, topic: Topic, log: Option<u64>, start: Start) -> ControlFlow<Ended> {
        match self.viewer.subscribe(sub, &topic, log, start, self.hub.config().now_ns()) {
            Err(reason) => self.say(&ServerMessage::Refused { sub, reason }).await,
            Ok((subscription, subscribed)) => {
                let series = subscription.series();
                self.name(subscription.app(), subscription.epoch(), &series).await?;
                self.enter(sub, subscription);
                self.say(&ServerMessage::Subscribed(subscribed)).await
            }
        }
    }

    fn leave(&mut self, sub: u32) {
        self.logs.leave(sub);
        self.subscriptions.remove(&sub);
        for following in self.subscriptions.values_mut() {
            following.wider.retain(|&wider| wider != sub);
            following.tied_to = following.tied_to.filter(|&tied_to| tied_to != sub);
        }
        self.want_no_more();
    }

    async fn name(&mut self, app: &str, epoch: u64, series: &[SeriesEntry]) -> ControlFlow<Ended> {
        for message in Hub::names(app, epoch, series) {
            self.say(&message).await?;
        }
        Continue(())
    }

    async fn say(&mut self, message: &ServerMessage<'_>) -> ControlFlow<Ended> {
        self.feed(Bytes::from(message.encode())).await
    }

    /// Hands one message to the transport's buffer, which writes when it has enough.
    async fn feed(&mut self, bytes: Bytes) -> ControlFlow<Ended> {
        let config = self.hub.config();
        self.heartbeat_due = Instant::now() + config.heartbeat;
        self.hub.counters().bytes_out.inc_by(bytes.len() as u64);
        self.hub.counters().messages_out.inc();
        let fed = self.transport.feed(bytes, config.stall_deadline).await;
        self.settled(fed)
    }

    async fn flush(&mut self) -> ControlFlow<Ended> {
        let flushed = self.transport.flush(self.hub.config().stall_deadline).await;
        self.settled(flushed)
    }

    fn settled<T>(&self, outcome: Result<T, Failure>) -> ControlFlow<Ended> {
        match outcome {
            Ok(_) => Continue(()),
            Err(Failure::Gone) => Break(Ended::Gone),
            Err(Failure::Stalled) => {
                self.hub.counters().close("stalled");
                // Nothing gets through, so neither would a reason.
                Break(Ended::Gone)
            }
        }
    }
}
