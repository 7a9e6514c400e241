//! One viewer's WebSocket: subscriptions in, batches out.
//!
//! The task sleeps until a feed has something, takes what is there from where this viewer is, and writes it in one go.
//! It holds positions, no queue. While a write waits, nothing is read for this viewer either: its positions stay, and when
//! the ring has moved on beyond them it is told what it missed.
//!
//! What its pass does not allow does not exist for this viewer, and it is answered as if it did not.

mod pass;

use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use joey_shared::close;
use joey_shared::vecmap::VecMap;
use joey_shared::wire::{
    AppEntry, CLIENT_BYTES_MAX, ClientMessage, Hello, Refusal, SeriesEntry, ServerMessage, VERSION,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::pass::{Pass, Turn};
use crate::access::Access;
use crate::config::at_least_one;
use crate::hub::{Hub, Subscription, Viewer};
use crate::metered::Written;

/// Batches taken from one feed before the next gets its turn.
const BATCHES_PER_TURN: usize = 64;
/// Series named in one message.
const SERIES_PER_MESSAGE: usize = 500;
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
    mut socket: WebSocket,
    written: Written,
    hub: Arc<Hub>,
    access: Arc<Access>,
    token: Option<String>,
    stop: CancellationToken,
) {
    let pass = match stop.run_until_cancelled(Pass::admit(&mut socket, &access, token)).await {
        Some(Ok(pass)) => pass,
        Some(Err(ended)) => return finish(socket, &hub, ended).await,
        None => return finish(socket, &hub, Ended::Close(close::RESTART, "restart")).await,
    };
    let Some(viewer) = hub.enter() else {
        hub.counters().close("viewer_limit");
        say_goodbye(socket, close::FULL, "as many viewers as there may be").await;
        return;
    };
    let mut session = Session {
        socket,
        written,
        viewer,
        pass,
        subscriptions: VecMap::new(),
        catalogue: 0,
        catalogue_due: Instant::now(),
        heartbeat_due: Instant::now() + hub.config().heartbeat,
        ping_due: Instant::now() + PING,
        unanswered: 0,
        commands: RateLimiter::direct(COMMANDS),
        hub,
    };
    let ended = session.run(&stop).await;
    let Session { socket, hub, .. } = session;
    finish(socket, &hub, ended).await;
}

async fn finish(socket: WebSocket, hub: &Hub, ended: Ended) {
    match ended {
        Ended::Gone => {}
        Ended::Close(code, reason) => {
            hub.counters().close(reason);
            say_goodbye(socket, code, reason).await;
        }
    }
}

/// Why a session is over.
enum Ended {
    /// The viewer left, or its connection failed.
    Gone,
    /// The relay ends it, with a code and a reason that is a label too.
    Close(u16, &'static str),
}

struct Session {
    socket: WebSocket,
    written: Written,
    hub: Arc<Hub>,
    viewer: Viewer,
    pass: Pass,
    /// A tree would take 1.9 KB for the one entry that most viewers have.
    subscriptions: VecMap<u32, Following>,
    /// The version of the catalogue that the viewer has.
    catalogue: u64,
    catalogue_due: Instant,
    heartbeat_due: Instant,
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
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // What was cut before the end goes out first.
                    while self.send_news().await? {}
                    return Break(Ended::Close(close::RESTART, "restart"));
                }
                message = self.socket.recv() => self.hear(message).await?,
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
            ring_ns: u64::try_from(config.ring.as_nanos()).unwrap_or(u64::MAX),
            demo: config.demo,
            ingest_port: config.ingest.port(),
        };
        self.say(&ServerMessage::Hello(hello)).await?;
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
        let ended: Vec<u32> = ended.map(|(&sub, _)| sub).collect();
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
            self.unanswered += 1;
            self.ping_due = now + PING;
            self.write(Message::Ping(Bytes::new())).await?;
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
                self.name(app, epoch, &series).await?;
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
                wider.push(other);
            } else if subscription.covers(&following.subscription) {
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

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> ControlFlow<Ended> {
        self.unanswered = 0;
        // Not reading on is what slows a hasty viewer down; its batches wait as well, which is its own affair.
        while self.commands.check().is_err() {
            tokio::time::sleep(COMMANDS.replenish_interval()).await;
        }
        match message {
            Some(Ok(Message::Binary(bytes))) if bytes.len() > CLIENT_BYTES_MAX => {
                Break(Ended::Close(close::TOO_BIG, "too_big"))
            }
            Some(Ok(Message::Binary(bytes))) => match ClientMessage::decode(&bytes) {
                Ok(message) => self.obey(message).await,
                Err(_) => Break(Ended::Close(close::UNREADABLE, "unreadable")),
            },
            Some(Ok(Message::Text(_))) => Break(Ended::Close(close::NOT_BINARY, "not_binary")),
            // The library answers pings.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Continue(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Break(Ended::Gone),
        }
    }

    async fn obey(&mut self, message: ClientMessage) -> ControlFlow<Ended> {
        match message {
            ClientMessage::Subscribe { sub, topic, start } => {
                let made = if self.subscriptions.contains_key(&sub) {
                    Err(Refusal::NumberTaken)
                } else if self.subscriptions.len() >= self.hub.config().subscriptions_max {
                    Err(Refusal::TooMany)
                } else if !self.pass.claims.cover(&topic.app, &topic.filter) {
                    Err(Refusal::NoSuchApp)
                } else {
                    self.viewer.subscribe(sub, &topic, start, self.hub.config().now_ns())
                };
                match made {
                    Err(reason) => self.say(&ServerMessage::Refused { sub, reason }).await,
                    Ok((subscription, subscribed)) => {
                        let series = subscription.series();
                        self.name(subscription.app().to_owned(), subscription.epoch(), &series).await?;
                        self.enter(sub, subscription);
                        self.say(&ServerMessage::Subscribed(subscribed)).await
                    }
                }
            }
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
                self.name(app, epoch, &series).await
            }
            ClientMessage::Token { token } => match self.pass.renew(token) {
                Ok(()) => self.keep_to_pass().await,
                Err(ended) => Break(ended),
            },
        }
    }

    fn leave(&mut self, sub: u32) {
        self.subscriptions.remove(&sub);
        for following in self.subscriptions.values_mut() {
            following.wider.retain(|&wider| wider != sub);
            following.tied_to = following.tied_to.filter(|&tied_to| tied_to != sub);
        }
    }

    async fn name(&mut self, app: String, epoch: u64, series: &[SeriesEntry]) -> ControlFlow<Ended> {
        let messages = series.len().div_ceil(SERIES_PER_MESSAGE).max(1);
        for at in 0..messages {
            let part = series.chunks(SERIES_PER_MESSAGE).nth(at).unwrap_or_default().to_vec();
            let message = ServerMessage::Series { app: app.clone(), epoch, series: part, last: at + 1 == messages };
            self.say(&message).await?;
        }
        Continue(())
    }

    async fn say(&mut self, message: &ServerMessage<'_>) -> ControlFlow<Ended> {
        self.feed(Bytes::from(message.encode())).await
    }

    /// Hands one message to the socket's buffer, which writes when it has enough.
    async fn feed(&mut self, bytes: Bytes) -> ControlFlow<Ended> {
        self.heartbeat_due = Instant::now() + self.hub.config().heartbeat;
        self.hub.counters().bytes_out.inc_by(bytes.len() as u64);
        self.hub.counters().messages_out.inc();
        self.write(Message::Binary(bytes)).await
    }

    async fn write(&mut self, message: Message) -> ControlFlow<Ended> {
        let stall = self.hub.config().stall_deadline;
        let fed = while_it_moves(self.socket.feed(message), &self.written, stall).await;
        self.settled(fed)
    }

    async fn flush(&mut self) -> ControlFlow<Ended> {
        let stall = self.hub.config().stall_deadline;
        let flushed = while_it_moves(self.socket.flush(), &self.written, stall).await;
        self.settled(flushed)
    }

    fn settled(&self, outcome: Option<Result<(), axum::Error>>) -> ControlFlow<Ended> {
        match outcome {
            Some(Ok(())) => Continue(()),
            Some(Err(_)) => Break(Ended::Gone),
            None => {
                self.hub.counters().close("stalled");
                // Nothing gets through, so neither would a reason.
                Break(Ended::Gone)
            }
        }
    }
}

/// Waits for `write` for as long as the socket takes something every `stall`; a long message may take a slow viewer longer.
async fn while_it_moves<T>(write: impl Future<Output = T>, written: &Written, stall: Duration) -> Option<T> {
    let mut write = pin!(write);
    let (mut bytes, mut moved) = (written.bytes(), Instant::now());
    loop {
        if let Ok(outcome) = timeout(stall / 8, write.as_mut()).await {
            return Some(outcome);
        }
        if written.bytes() > bytes {
            (bytes, moved) = (written.bytes(), Instant::now());
        } else if moved.elapsed() >= stall {
            return None;
        }
    }
}

/// Ends a connection with a reason, if the viewer takes it within a second.
async fn say_goodbye(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let goodbye = async {
        socket.send(Message::Close(Some(frame))).await.ok();
        // The viewer's own close frame ends the conversation in order.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    timeout(Duration::from_secs(1), goodbye).await.ok();
}
