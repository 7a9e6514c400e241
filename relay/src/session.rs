//! The session of one viewer: it receives commands and sends batches over a [`Transport`].
//!
//! A viewer that is up to date becomes idle and receives new batches from the [`broadcast`] task through its session
//! handle (`idle`). In all other cases the session's own task works: it reads from the feeds at the viewer's
//! positions, writes everything at once, and sleeps. A session has positions instead of a queue. While a write is
//! pending, nothing is read for this viewer. If the ring buffer evicts what is at its position meanwhile, the viewer
//! receives a gap message.
//!
//! A viewer without permission for something gets the same answers as if it did not exist.

pub mod websocket;
mod describe;
mod idle;
mod logs;
mod objectives;
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
use joey_shared::wire::{AppEntry, ClientMessage, Hello, ServerMessage, Start, SubscribeError, VERSION};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::describe::DescribeState;
use self::idle::IdlePosition;
use self::logs::LogSubscriptions;
use self::objectives::SentObjectives;
use self::permissions::{ExpiryEvent, Permissions};
use self::subscriptions::Subscriptions;
use self::transport::WriteFailure;
pub use self::transport::{CommandSender, StreamHandle, Transport};
use crate::auth::Auth;
use crate::config::at_least_one;
use crate::hub::{Hub, Subscription, Viewer};
use crate::metrics::CloseReason;
use crate::net::ws_frame::WsFrame;
use crate::runtime::clock::nanos;

/// Maximum number of bytes queued before they are written. The ring buffer may evict them meanwhile.
const QUEUED_BYTES_MAX: usize = 512 * 1024;
/// Maximum number of batches read from one feed before the next feed's turn.
const BATCHES_PER_TURN: usize = 64;
/// Maximum number of applications and workers in one catalogue message. A larger application gets a message of its own.
const WORKERS_PER_MESSAGE: usize = 1_000;
/// Minimum time between two catalogue messages.
const CATALOGUE_INTERVAL: Duration = Duration::from_millis(250);

/// Ping interval. Most proxies close a connection after a minute without traffic, and a vanished viewer should be
/// detected within 45 seconds.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A session ends after this many unanswered pings.
const UNANSWERED_PINGS_MAX: u32 = 2;
/// Rate limit for commands of one viewer: 50 a second, with a burst of 2,500, because a viewer that reconnects
/// subscribes to everything again. Commands beyond the limit are delayed.
const COMMAND_RATE: Quota = Quota::per_second(at_least_one(50)).allow_burst(at_least_one(2_500));

/// Serves one viewer until it disconnects, fails, or the relay stops. `token` is the token of its HTTP request.
pub async fn serve(
    mut transport: Transport,
    hub: Arc<Hub>,
    auth: Arc<Auth>,
    token: Option<String>,
    stop: CancellationToken,
) {
    // Code that runs once allocates its state on the heap. Otherwise the task of every viewer would reserve room for
    // it.
    let admission = Box::pin(stop.run_until_cancelled(Permissions::admit(&mut transport, &auth, token))).await;
    let permissions = match admission.unwrap_or(Err(Ended::Close(close::RESTART, CloseReason::Restart))) {
        Ok(permissions) => permissions,
        Err(ended) => return Box::pin(finish(transport, &hub, ended)).await,
    };
    let Some(viewer) = hub.register_viewer(transport.handle().clone()) else {
        let full = Ended::Close(close::VIEWER_LIMIT, CloseReason::ViewerLimit);
        return Box::pin(finish(transport, &hub, full)).await;
    };
    let mut session = Session {
        transport,
        viewer,
        permissions,
        subscriptions: Subscriptions::default(),
        logs: LogSubscriptions::default(),
        objectives: SentObjectives::default(),
        catalogue: 0,
        catalogue_due: Instant::now(),
        wall_clock: (0, 0),
        last_sent: Instant::now(),
        cluster_due: Instant::now(),
        ping_due: Instant::now() + PING_INTERVAL,
        unanswered: 0,
        commands: RateLimiter::direct(COMMAND_RATE),
        describe: DescribeState::new(),
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
            transport.close(code, reason.as_str()).await;
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The viewer disconnected, or its connection failed.
    Gone,
    /// The relay closes the session with this code and reason. The reason is also a metric label.
    Close(u16, CloseReason),
}

struct Session {
    transport: Transport,
    hub: Arc<Hub>,
    viewer: Viewer,
    permissions: Permissions,
    subscriptions: Subscriptions,
    logs: LogSubscriptions,
    objectives: SentObjectives,
    /// Version of the catalogue that the viewer has.
    catalogue: u64,
    catalogue_due: Instant,
    /// Wall clock step that was last sent to the viewer.
    wall_clock: (i64, u64),
    /// When the last message was sent to the viewer.
    last_sent: Instant,
    /// When to check next whether the cluster state has changed.
    cluster_due: Instant,
    ping_due: Instant,
    /// Pings sent since the last message from the viewer.
    unanswered: u32,
    commands: DefaultDirectRateLimiter,
    describe: DescribeState,
    /// A command of a viewer that exceeds its limits, to be handled later. Until then nothing more is received, which
    /// slows the viewer down.
    postponed: Option<Postponed>,
    /// Catalogue entries that are still to be sent, and whether they replace the viewer's catalogue.
    apps: VecDeque<AppEntry>,
    replaces: bool,
}

/// A received command, or `None` for a control message, and when to handle it.
struct Postponed {
    command: Option<Bytes>,
    due: Instant,
}

impl Session {
    async fn run(&mut self, stop: &CancellationToken) -> Ended {
        match self.serve_until_end(stop).await {
            Break(ended) => ended,
            Continue(never) => match never {},
        }
    }

    async fn serve_until_end(&mut self, stop: &CancellationToken) -> ControlFlow<Ended, std::convert::Infallible> {
        self.send_hello();
        loop {
            self.handle_postponed()?;
            let more = self.queue_pending()?;
            self.flush().await?;
            if !more {
                self.enter_idle();
            }
            let has_changes = self.hub.catalogue_version() > self.catalogue;
            let catalogue_due = if has_changes { self.catalogue_due } else { self.ping_due };
            let next_timer = self.ping_due.min(catalogue_due);
            let cluster_due = self.hub.is_clustered().then_some(self.cluster_due);
            let others = [
                cluster_due,
                self.permissions.due(),
                self.logs.due(),
                self.postponed.as_ref().map(|postponed| postponed.due),
            ];
            let next_timer = others.into_iter().flatten().fold(next_timer, Instant::min);
            let (handle, can_receive) = (self.transport.handle().clone(), self.postponed.is_none());
            let heartbeat_due = self.last_sent + self.hub.config().heartbeat;
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.leave_idle();
                    // Send everything that was cut before the stop.
                    loop {
                        let more = self.queue_pending()?;
                        self.flush().await?;
                        if !more {
                            return Break(Ended::Close(close::RESTART, CloseReason::Restart));
                        }
                    }
                }
                // Checked first, because the following branches could be ready all the time.
                () = self.permissions.policy_changed() => {
                    self.leave_idle();
                    self.recheck_permissions()?;
                }
                received = self.transport.recv(), if can_receive => {
                    self.leave_idle();
                    self.permissions.fetch_key(&received).await;
                    self.handle_received(received)?;
                }
                () = std::future::ready(()), if more => {}
                () = handle.notified() => self.leave_idle(),
                () = handle.until_due(heartbeat_due, next_timer) => self.leave_idle(),
            }
        }
    }

    /// Makes the viewer idle if one subscription delivers everything. From now on it receives broadcasts.
    fn enter_idle(&self) {
        if let Some(subscription) = self.subscriptions.sole().and_then(|sub| self.subscriptions.get(sub)) {
            let (feed, next) = (subscription.feed(), subscription.position());
            self.transport.handle().enter_idle(IdlePosition { feed, next, last_sent: self.last_sent });
        }
    }

    /// Ends the idle state and continues at the position that broadcasts have reached.
    fn leave_idle(&mut self) {
        if let Some(IdlePosition { next, last_sent, .. }) = self.transport.handle().leave_idle() {
            self.last_sent = last_sent;
            let sole = self.subscriptions.sole();
            if let Some(subscription) = sole.and_then(|sub| self.subscriptions.get_mut(sub)) {
                subscription.skip_to(next);
            }
        }
    }

    fn send_hello(&mut self) {
        let config = self.hub.config();
        let hello = Hello {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION"),
            epoch: self.hub.epoch(),
            now_ns: config.now_ns(),
            ring_ns: nanos(config.ring),
            series_retention_ns: self.hub.series_retention_ns(),
            demo: config.demo,
            ingest_port: config.ingest.port(),
        };
        self.send(&ServerMessage::Hello(hello));
        self.send_addresses();
        self.send_token_expiry();
    }

    /// Sends when the viewer's token expires, if it has one.
    fn send_token_expiry(&mut self) {
        if let Some(at_ns) = self.permissions.claims.expires_ns() {
            self.send(&ServerMessage::Expires { at_ns });
        }
    }

    /// Checks the token against the changed policy. Disconnects the viewer if it is no longer allowed; otherwise its
    /// permissions may have changed.
    fn recheck_permissions(&mut self) -> ControlFlow<Ended> {
        match self.permissions.recheck() {
            Ok(()) => self.apply_permissions(),
            Err(ended) => return Break(ended),
        }
        Continue(())
    }

    /// Ends the subscriptions that the permissions no longer allow, and schedules a full catalogue.
    fn apply_permissions(&mut self) {
        let claims = &self.permissions.claims;
        let is_allowed =
            |subscription: &Subscription| claims.allow_topic(subscription.app_name(), subscription.filter());
        let denied = self.subscriptions.iter().filter(|(_, subscription)| !is_allowed(subscription));
        let mut denied: Vec<u32> = denied.map(|(sub, _)| sub).collect();
        denied.extend(self.logs.denied(|topic| claims.allow_topic(&topic.app, &topic.filter)));
        for sub in denied {
            self.unsubscribe(sub);
            self.send(&ServerMessage::SubscribeFailed { sub, reason: SubscribeError::NoSuchApp });
        }
        // The full catalogue is sent after the usual interval, even if tokens change often.
        (self.catalogue, self.apps) = (0, VecDeque::new());
        self.describe.clear();
        self.objectives.check_again();
        self.send_token_expiry();
    }

    /// Queues everything that is new for the viewer. Returns whether there is more.
    fn queue_pending(&mut self) -> ControlFlow<Ended, bool> {
        let now = Instant::now();
        match self.permissions.take_event(now) {
            Some(ExpiryEvent::Expired) => return Break(Ended::Close(close::INVALID_TOKEN, CloseReason::TokenExpired)),
            Some(ExpiryEvent::ExpiresSoon) => self.send_token_expiry(),
            None => {}
        }
        self.send_wall_clock();
        let more_apps = self.send_catalogue(now);
        self.send_logs(now);
        self.send_objectives();
        if now >= self.cluster_due {
            self.cluster_due = now + self.hub.config().heartbeat;
            self.send_cluster();
        }
        let more = self.send_batches() || more_apps;
        if now >= self.last_sent + self.hub.config().heartbeat {
            let sent = self.subscriptions.iter();
            let sent =
                sent.map(|(sub, subscription)| (subscription.feed(), self.subscriptions.position(sub) - 1)).collect();
            self.send(&ServerMessage::Heartbeat { now_ns: self.hub.config().now_ns(), sent });
        }
        if now >= self.ping_due {
            if self.unanswered >= UNANSWERED_PINGS_MAX {
                self.hub.counters().close(CloseReason::PingTimeout);
                return Break(Ended::Gone);
            }
            self.ping_due = now + PING_INTERVAL;
            self.unanswered += u32::from(self.transport.ping());
        }
        Continue(more)
    }

    /// Sends the wall clock step if it has changed.
    fn send_wall_clock(&mut self) {
        let wall_clock = self.hub.wall_clock();
        if wall_clock != self.wall_clock {
            self.wall_clock = wall_clock;
            let (step_ns, at_ns) = wall_clock;
            self.send(&ServerMessage::WallClock { step_ns, at_ns });
        }
    }

    /// Queues one message of catalogue changes. Returns whether there are more.
    fn send_catalogue(&mut self, now: Instant) -> bool {
        if self.apps.is_empty() {
            if now < self.catalogue_due || self.hub.catalogue_version() <= self.catalogue {
                return false;
            }
            self.catalogue_due = now + CATALOGUE_INTERVAL;
            let (full, mut apps, version) = self.hub.catalogue_since(self.catalogue);
            apps.retain(|entry| self.permissions.claims.allow_app(&entry.app));
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
            // Release the memory.
            self.apps = VecDeque::new();
        }
        // Only the first message of a full catalogue replaces the viewer's catalogue.
        let full = std::mem::take(&mut self.replaces);
        self.send(&ServerMessage::Catalogue { full, apps: part, last });
        !last
    }

    /// Queues batches of the ready subscriptions. Returns whether there are more.
    fn send_batches(&mut self) -> bool {
        let now_ns = self.hub.config().now_ns();
        self.subscriptions.mark_ready(self.transport.handle().take_ready_feeds());
        let mut bytes = 0;
        for sub in self.subscriptions.due() {
            if bytes >= QUEUED_BYTES_MAX {
                self.subscriptions.resume_at(sub);
                break;
            }
            let Some(subscription) = self.subscriptions.get_mut(sub) else { continue };
            let feed = subscription.feed();
            let read = subscription.read(BATCHES_PER_TURN, now_ns);
            if let Some((from, to)) = read.gap {
                // The gap may contain the announcements of new series.
                let (app, filter) = (subscription.app().clone(), subscription.filter().clone());
                self.send_names(&app, &filter);
                self.send(&ServerMessage::Gap { feed, from, to });
            }
            for batch in &read.batches {
                bytes += batch.len();
                self.push(batch);
            }
            if !read.has_more {
                self.subscriptions.mark_caught_up(sub);
            }
        }
        self.subscriptions.is_any_ready()
    }

    fn handle_received(&mut self, received: Result<Option<Bytes>, Ended>) -> ControlFlow<Ended> {
        self.unanswered = 0;
        match received {
            Ok(command) => self.handle_or_postpone(command),
            Err(ended) => Break(ended),
        }
    }

    fn handle_postponed(&mut self) -> ControlFlow<Ended> {
        match self.postponed.take_if(|postponed| postponed.due <= Instant::now()) {
            Some(Postponed { command, .. }) => self.handle_or_postpone(command),
            None => Continue(()),
        }
    }

    fn handle_or_postpone(&mut self, command: Option<Bytes>) -> ControlFlow<Ended> {
        let now = Instant::now();
        let due = self.describe.due(now).filter(|_| command.is_some());
        let due = due.or_else(|| self.commands.check().is_err().then(|| now + COMMAND_RATE.replenish_interval()));
        if let Some(due) = due {
            self.postponed = Some(Postponed { command, due });
            return Continue(());
        }
        match command.map(|bytes| ClientMessage::decode(&bytes)) {
            Some(Ok(message)) => self.handle_command(message),
            Some(Err(_)) => Break(Ended::Close(close::MALFORMED, CloseReason::Malformed)),
            None => Continue(()),
        }
    }

    fn handle_command(&mut self, message: ClientMessage) -> ControlFlow<Ended> {
        match message {
            ClientMessage::Subscribe { sub, topic, start } => match self.rejection(sub, &topic) {
                Some(reason) => self.send(&ServerMessage::SubscribeFailed { sub, reason }),
                None if self.hub.is_clustered() => self.redirect_to_logs(sub, topic),
                None => self.subscribe(sub, &topic, None, start),
            },
            ClientMessage::SubscribeLog { sub, epoch, topic, start } => match self.rejection(sub, &topic) {
                Some(reason) => self.send(&ServerMessage::SubscribeFailed { sub, reason }),
                None => self.subscribe_to_log(sub, epoch, topic, start),
            },
            ClientMessage::Unsubscribe { sub } => self.unsubscribe(sub),
            ClientMessage::Describe { app } => self.describe(app),
            ClientMessage::Token { token } => match self.permissions.renew(token) {
                Ok(()) => self.apply_permissions(),
                Err(ended) => return Break(ended),
            },
        }
        Continue(())
    }

    /// Why this subscription is rejected, or `None` if it is allowed.
    fn rejection(&self, sub: u32, topic: &Topic) -> Option<SubscribeError> {
        if self.subscriptions.contains(sub) || self.logs.contains(sub) {
            Some(SubscribeError::DuplicateNumber)
        } else if self.subscriptions.len() + self.logs.len() >= self.hub.config().subscriptions_max {
            Some(SubscribeError::TooManySubscriptions)
        } else {
            (!self.permissions.claims.allow_topic(&topic.app, &topic.filter)).then_some(SubscribeError::NoSuchApp)
        }
    }

    /// Subscribes to a topic in our own log of the application, or in the log with epoch `log`.
    fn subscribe(&mut self, sub: u32, topic: &Topic, log: Option<u64>, start: Start) {
        match self.viewer.subscribe(sub, topic, log, start, self.hub.config().now_ns()) {
            Err(reason) => self.send(&ServerMessage::SubscribeFailed { sub, reason }),
            Ok((subscription, subscribed)) => {
                self.send_names(subscription.app(), &topic.filter);
                self.subscriptions.add(sub, subscription);
                self.send(&ServerMessage::Subscribed(subscribed));
                self.objectives.check_again();
            }
        }
    }

    fn unsubscribe(&mut self, sub: u32) {
        self.logs.remove(sub);
        self.subscriptions.remove(sub);
        self.objectives.check_again();
        self.drop_unused_interest();
    }

    fn send(&mut self, message: &ServerMessage<'_>) {
        self.push(&WsFrame::new(&message.encode()));
    }

    /// Queues one message for the next [`Session::flush`].
    fn push(&mut self, frame: &WsFrame) {
        self.last_sent = Instant::now();
        self.hub.counters().sent_bytes.inc_by(frame.len() as u64);
        self.hub.counters().sent_messages.inc();
        self.transport.push(frame);
    }

    async fn flush(&mut self) -> ControlFlow<Ended> {
        let Err(failure) = self.transport.flush(self.hub.config().stall_timeout).await else { return Continue(()) };
        if matches!(failure, WriteFailure::Stalled) {
            self.hub.counters().close(CloseReason::Stalled);
        }
        // A close reason could not be delivered either.
        Break(Ended::Gone)
    }
}
