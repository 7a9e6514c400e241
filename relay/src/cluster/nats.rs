//! The connection to NATS: it does what the bridge decides, and tells it what it hears.
//!
//! Nothing here makes a viewer of this relay wait. While NATS is away or slow, what should go out is dropped and counted, and
//! whoever missed it asks for it later. `async-nats` connects again by itself, unless a server refuses its credentials; then
//! it is started anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::bridge::{Action, Bridge};
use super::parts::{self, Joined, Joiner, Splitter};
use crate::config::{Config, NatsUrl};
use crate::hub::{Hub, Outgoing};
use crate::metrics::{ClusterCounters, ClusterDropReason, ClusterRejectReason};
use crate::runtime::clock::nanos;

/// How often the bridge looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// How often NATS is asked whether it lives; after two times without an answer it counts as gone.
const PING: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest wait before the next attempt to connect, in ms. It is drawn anew each time, so that relays do not come at once.
const PAUSE_MS_MAX: u64 = 500;
/// How long until everything is started anew after a refusal.
const ANEW: Duration = Duration::from_secs(2);
/// Messages that may wait to be handed on, each way. More that go out are dropped and counted; of those that come in,
/// `async-nats` then drops.
const WAITING_MAX: usize = 1_024;
/// Their bytes on the way out: 16 MiB.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// The group of those that answer questions for one log.
const GROUP: &str = "holders";

/// Does what `bridge` decides and tells it what is heard, until `stop`. `outgoing` is what `hub` hands out.
pub async fn run(hub: Arc<Hub>, mut bridge: Bridge, mut outgoing: mpsc::Receiver<Outgoing>, stop: CancellationToken) {
    let (mut network, mut heard) = Network::new(hub.config().clone(), hub.counters().cluster.clone());
    network.start().await;
    let begun = Instant::now();
    let now_ns = move || nanos(begun.elapsed());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = network.signals.changed.notified() => {
                if network.signals.connected.load(Relaxed) {
                    bridge.connected();
                    bridge.tick(now_ns());
                }
            }
            Some((subject, payload)) = heard.recv() => bridge.hear(&subject, &payload, now_ns()),
            Some(batch) = outgoing.recv() => bridge.outgoing(batch),
            () = hub.wanted_changed() => bridge.tick(now_ns()),
            _ = ticks.tick() => {
                bridge.tick(now_ns());
                network.look_after().await;
            }
        }
        bridge.take_actions().into_iter().for_each(|action| network.perform(action));
    }
    while let Ok(batch) = outgoing.try_recv() {
        bridge.outgoing(batch);
    }
    bridge.leave();
    bridge.take_actions().into_iter().for_each(|action| network.perform(action));
    network.finish().await;
}

/// What `async-nats` says from its own tasks.
#[derive(Debug, Default)]
struct Signals {
    connected: AtomicBool,
    changed: Notify,
    /// Whether it has given up, and everything must be started anew.
    is_over: AtomicBool,
    waiting_bytes: AtomicUsize,
}

type Heard = (String, Bytes);

/// The client, what it listens to, and what waits for it.
#[derive(Debug)]
struct Network {
    config: Config,
    counters: ClusterCounters,
    signals: Arc<Signals>,
    heard: mpsc::Sender<Heard>,
    /// What is listened to, whether as one of a group, and the task that does.
    subscriptions: BTreeMap<String, (bool, Option<AbortHandle>)>,
    running: Option<Running>,
    /// When to look whether the client still lives.
    probe_at: Instant,
}

#[derive(Debug)]
struct Running {
    client: Client,
    waiting: mpsc::Sender<(String, Bytes)>,
    writer: tokio::task::JoinHandle<()>,
}

impl Network {
    fn new(config: Config, counters: ClusterCounters) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(WAITING_MAX);
        let (signals, probe_at) = (Arc::default(), Instant::now() + ANEW);
        let subscriptions = BTreeMap::new();
        (Self { config, counters, signals, heard, subscriptions, running: None, probe_at }, receiver)
    }

    /// Begins to connect; that it is not there yet is no error.
    async fn start(&mut self) {
        self.signals.is_over.store(false, Relaxed);
        let client = match self.connect().await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!("cannot use NATS: {error:#}");
                self.signals.is_over.store(true, Relaxed);
                return;
            }
        };
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let writer = tokio::spawn(write(client.clone(), queue, self.signals.clone(), self.counters.clone()));
        for (subject, (is_shared, task)) in &mut self.subscriptions {
            *task = Some(listen(&client, subject, *is_shared, self.heard.clone(), &self.counters));
        }
        self.running = Some(Running { client, waiting, writer });
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        let (addresses, users): (Vec<ServerAddr>, Vec<_>) = self.config.nats.iter().map(NatsUrl::split).unzip();
        let mut options = match (&self.config.nats_creds, users.into_iter().flatten().next()) {
            (Some(file), _) => with_keys(&tokio::fs::read_to_string(file).await?)?,
            (None, Some((user, Some(password)))) => ConnectOptions::with_user_and_password(user, password),
            (None, Some((token, None))) => ConnectOptions::with_token(token),
            (None, None) => ConnectOptions::new(),
        };
        if let Some(file) = &self.config.nats_ca {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        let (signals, counters) = (self.signals.clone(), self.counters.clone());
        let options = options
            .name("joey")
            .no_echo()
            .retry_on_initial_connect()
            .ping_interval(PING)
            .connection_timeout(CONNECT)
            .client_capacity(WAITING_MAX / 4)
            .subscription_capacity(WAITING_MAX)
            .reconnect_delay_callback(|_| Duration::from_millis(fastrand::u64(0..PAUSE_MS_MAX)))
            .event_callback(move |event| {
                signals.take(&event, &counters);
                std::future::ready(())
            });
        Ok(options.connect(addresses).await?)
    }

    /// Starts anew where `async-nats` has given up.
    async fn look_after(&mut self) {
        if Instant::now() < self.probe_at {
            return;
        }
        self.probe_at = Instant::now() + ANEW;
        if self.signals.is_over.load(Relaxed) {
            self.running = None;
            self.start().await;
        } else if !self.signals.connected.load(Relaxed)
            && let Some(running) = &self.running
        {
            // It only says that it has given up to somebody who wants something of it.
            let probe = format!("{}.probe", self.config.nats_prefix);
            let _ = running.waiting.try_send((probe, Bytes::new()));
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Publish { subject, payload } => self.publish(subject, payload),
            Action::Subscribe { subject, is_shared } => {
                let client = self.running.as_ref().map(|running| &running.client);
                let task = client.map(|client| listen(client, &subject, is_shared, self.heard.clone(), &self.counters));
                self.subscriptions.insert(subject, (is_shared, task));
            }
            Action::Unsubscribe { subject } => {
                // The subscription ends with its task.
                if let Some((_, Some(task))) = self.subscriptions.remove(&subject) {
                    task.abort();
                }
            }
        }
    }

    fn publish(&self, subject: String, payload: Bytes) {
        let Some(running) = self.running.as_ref().filter(|_| self.signals.connected.load(Relaxed)) else {
            return self.counters.drop(ClusterDropReason::Disconnected);
        };
        let length = payload.len();
        if self.signals.waiting_bytes.load(Relaxed) + length > WAITING_BYTES_MAX {
            return self.counters.drop(ClusterDropReason::QueueFull);
        }
        self.signals.waiting_bytes.fetch_add(length, Relaxed);
        if running.waiting.try_send((subject, payload)).is_err() {
            self.signals.waiting_bytes.fetch_sub(length, Relaxed);
            self.counters.drop(ClusterDropReason::QueueFull);
        }
    }

    /// Sends what still waits, if that is quick.
    async fn finish(self) {
        let Some(Running { client, waiting, writer }) = self.running else { return };
        drop(waiting);
        let rest = async {
            let _ = writer.await;
            let _ = client.flush().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
    }
}

impl Signals {
    fn take(&self, event: &Event, counters: &ClusterCounters) {
        match event {
            Event::Connected => self.connected.store(true, Relaxed),
            Event::Disconnected | Event::Closed => self.connected.store(false, Relaxed),
            Event::SlowConsumer(_) => counters.reject(ClusterRejectReason::SlowConsumer),
            Event::ServerError(error) => tracing::warn!("NATS says: {error}"),
            Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {}
        }
        let is_connected = self.connected.load(Relaxed);
        if counters.connected.set(i64::from(is_connected)) != i64::from(is_connected) {
            let state = if is_connected { "connected to NATS" } else { "without NATS: this relay is on its own" };
            tracing::info!("{state}");
            self.changed.notify_one();
        }
    }
}

/// With the key in a file: a JWT and its seed as `nsc` writes them, or a seed alone as `nk` does.
fn with_keys(text: &str) -> anyhow::Result<ConnectOptions> {
    if text.contains("BEGIN NATS USER JWT") {
        return Ok(ConnectOptions::with_credentials(text)?);
    }
    let seed = text.trim();
    anyhow::ensure!(seed.starts_with("SU"), "nats_creds holds neither a JWT nor the seed of a user's nkey");
    Ok(ConnectOptions::with_nkey(seed.to_owned()))
}

/// Hands to `client` what waits in `queue`, in parts where the server wants it so.
async fn write(
    client: Client,
    mut queue: mpsc::Receiver<(String, Bytes)>,
    signals: Arc<Signals>,
    counters: ClusterCounters,
) {
    let (mut splitter, mut has_warned) = (Splitter::new(), false);
    while let Some((subject, payload)) = queue.recv().await {
        let (length, max_payload) = (payload.len(), client.max_payload());
        let parts = splitter.split(payload, max_payload);
        if parts.is_none() {
            counters.drop(ClusterDropReason::TooLong);
            if !std::mem::replace(&mut has_warned, true) {
                tracing::warn!(length, max_payload, "NATS takes too little at once for what relays tell each other");
            }
        }
        for (header, bytes) in parts.unwrap_or_default() {
            let part_length = bytes.len();
            let written = match header {
                None => client.publish(subject.clone(), bytes).await,
                Some(header) => {
                    let mut headers = HeaderMap::new();
                    headers.insert(parts::HEADER, header);
                    client.publish_with_headers(subject.clone(), headers, bytes).await
                }
            };
            if written.is_err() {
                signals.is_over.store(true, Relaxed);
                counters.connected.set(0);
                signals.connected.store(false, Relaxed);
            } else if part_length > 0 {
                counters.sent_messages.inc();
                counters.sent_bytes.inc_by(part_length as u64);
            }
        }
        signals.waiting_bytes.fetch_sub(length, Relaxed);
    }
}

/// A task that hands on what is said under `subject`, for as long as it runs.
fn listen(
    client: &Client,
    subject: &str,
    is_shared: bool,
    heard: mpsc::Sender<Heard>,
    counters: &ClusterCounters,
) -> AbortHandle {
    let (client, subject, counters) = (client.clone(), subject.to_owned(), counters.clone());
    let work = async move {
        let subscriber = if is_shared {
            client.queue_subscribe(subject, GROUP.to_owned()).await
        } else {
            client.subscribe(subject).await
        };
        let Ok(mut subscriber) = subscriber else { return };
        let mut joiner = Joiner::default();
        while let Some(message) = subscriber.next().await {
            counters.received_messages.inc();
            counters.received_bytes.inc_by(message.payload.len() as u64);
            let header = message.headers.as_ref().and_then(|headers| headers.get(parts::HEADER));
            let payload = match header.map(|header| joiner.take(header.as_str(), &message.payload)) {
                None => message.payload,
                Some(Joined::Whole(payload)) => payload,
                Some(Joined::Open) => continue,
                Some(Joined::Lost) => {
                    counters.reject(ClusterRejectReason::MissingPart);
                    continue;
                }
            };
            if heard.send((message.subject.to_string(), payload)).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(work).abort_handle()
}
