//! The connection to NATS. It executes the actions of the bridge and passes received messages to it.
//!
//! Nothing here delays a viewer of this relay. While NATS is unavailable or slow, outgoing messages are dropped and
//! counted, and relays that miss them request the data later. `async-nats` reconnects by itself, except after a server
//! has rejected its credentials; then the client is restarted.

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
use crate::hub::{Hub, PeerBatch};
use crate::metrics::{ClusterCounters, ClusterDropReason, ClusterRejectReason};
use crate::runtime::clock::nanos;

/// Tick interval of the bridge.
const TICK: Duration = Duration::from_millis(100);
/// Interval of pings to the NATS server. After two unanswered pings the connection counts as lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum delay before the next connection attempt, in ms. The delay is random, so that relays do not reconnect all at
/// once.
const RECONNECT_DELAY_MS_MAX: u64 = 500;
/// Delay before the client is restarted after a rejection.
const RESTART_DELAY: Duration = Duration::from_secs(2);
/// Maximum number of queued messages in each direction. Further outgoing messages are dropped and counted. Further
/// incoming messages are dropped by `async-nats`.
const QUEUED_MESSAGES_MAX: usize = 1_024;
/// Maximum total size of queued outgoing messages: 16 MiB.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// Queue group of the relays that answer history requests for one log.
const QUEUE_GROUP: &str = "holders";

/// Runs the connection until `stop`. `batches` receives the hub's batches for other relays.
pub async fn run(hub: Arc<Hub>, mut bridge: Bridge, mut batches: mpsc::Receiver<PeerBatch>, stop: CancellationToken) {
    let (mut network, mut received) = Network::new(hub.config().clone(), hub.counters().cluster.clone());
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
            Some((subject, payload)) = received.recv() => bridge.receive(&subject, &payload, now_ns()),
            Some(batch) = batches.recv() => bridge.publish_batch(batch),
            () = hub.interest_changed() => bridge.tick(now_ns()),
            _ = ticks.tick() => {
                bridge.tick(now_ns());
                network.restart_if_needed().await;
            }
        }
        bridge.take_actions().into_iter().for_each(|action| network.perform(action));
    }
    while let Ok(batch) = batches.try_recv() {
        bridge.publish_batch(batch);
    }
    bridge.announce_leaving();
    bridge.take_actions().into_iter().for_each(|action| network.perform(action));
    network.finish().await;
}

/// State that the event callback of `async-nats` sets.
#[derive(Debug, Default)]
struct Signals {
    connected: AtomicBool,
    changed: Notify,
    /// Whether the client has given up and must be restarted.
    needs_restart: AtomicBool,
    queued_bytes: AtomicUsize,
}

type Received = (String, Bytes);

/// The NATS client with its subscriptions and its queue.
#[derive(Debug)]
struct Network {
    config: Config,
    counters: ClusterCounters,
    signals: Arc<Signals>,
    received: mpsc::Sender<Received>,
    /// For each subject: whether the queue group is used, and the task that receives messages.
    subscriptions: BTreeMap<String, (bool, Option<AbortHandle>)>,
    running: Option<Running>,
    /// When to check the client next.
    check_due: Instant,
}

#[derive(Debug)]
struct Running {
    client: Client,
    queue: mpsc::Sender<(String, Bytes)>,
    writer: tokio::task::JoinHandle<()>,
}

impl Network {
    fn new(config: Config, counters: ClusterCounters) -> (Self, mpsc::Receiver<Received>) {
        let (received, receiver) = mpsc::channel(QUEUED_MESSAGES_MAX);
        let (signals, check_due) = (Arc::default(), Instant::now() + RESTART_DELAY);
        let subscriptions = BTreeMap::new();
        (Self { config, counters, signals, received, subscriptions, running: None, check_due }, receiver)
    }

    /// Starts to connect. It is not an error if the server is not reachable yet.
    async fn start(&mut self) {
        self.signals.needs_restart.store(false, Relaxed);
        let client = match self.connect().await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!("cannot use NATS: {error:#}");
                self.signals.needs_restart.store(true, Relaxed);
                return;
            }
        };
        let (queue, receiver) = mpsc::channel(QUEUED_MESSAGES_MAX);
        let writer = tokio::spawn(write(client.clone(), receiver, self.signals.clone(), self.counters.clone()));
        for (subject, (is_shared, task)) in &mut self.subscriptions {
            *task = Some(subscribe(&client, subject, *is_shared, self.received.clone(), &self.counters));
        }
        self.running = Some(Running { client, queue, writer });
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        let (addresses, users): (Vec<ServerAddr>, Vec<_>) = self.config.nats.iter().map(NatsUrl::split).unzip();
        let mut options = match (&self.config.nats_creds, users.into_iter().flatten().next()) {
            (Some(file), _) => credentials_from(&tokio::fs::read_to_string(file).await?)?,
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
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .client_capacity(QUEUED_MESSAGES_MAX / 4)
            .subscription_capacity(QUEUED_MESSAGES_MAX)
            .reconnect_delay_callback(|_| Duration::from_millis(fastrand::u64(0..RECONNECT_DELAY_MS_MAX)))
            .event_callback(move |event| {
                signals.handle_event(&event, &counters);
                std::future::ready(())
            });
        Ok(options.connect(addresses).await?)
    }

    /// Restarts the client if `async-nats` has given up.
    async fn restart_if_needed(&mut self) {
        if Instant::now() < self.check_due {
            return;
        }
        self.check_due = Instant::now() + RESTART_DELAY;
        if self.signals.needs_restart.load(Relaxed) {
            self.running = None;
            self.start().await;
        } else if !self.signals.connected.load(Relaxed)
            && let Some(running) = &self.running
        {
            // The client only reports that it has given up when it is used, so publish a probe.
            let probe = format!("{}.probe", self.config.nats_prefix);
            let _ = running.queue.try_send((probe, Bytes::new()));
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Publish { subject, payload } => self.publish(subject, payload),
            Action::Subscribe { subject, is_shared } => {
                let client = self.running.as_ref().map(|running| &running.client);
                let task =
                    client.map(|client| subscribe(client, &subject, is_shared, self.received.clone(), &self.counters));
                self.subscriptions.insert(subject, (is_shared, task));
            }
            Action::Unsubscribe { subject } => {
                // Aborting the task ends the subscription.
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
        if self.signals.queued_bytes.load(Relaxed) + length > QUEUED_BYTES_MAX {
            return self.counters.drop(ClusterDropReason::QueueFull);
        }
        self.signals.queued_bytes.fetch_add(length, Relaxed);
        if running.queue.try_send((subject, payload)).is_err() {
            self.signals.queued_bytes.fetch_sub(length, Relaxed);
            self.counters.drop(ClusterDropReason::QueueFull);
        }
    }

    /// Sends the queued messages, with a short timeout.
    async fn finish(self) {
        let Some(Running { client, queue, writer }) = self.running else { return };
        drop(queue);
        let rest = async {
            let _ = writer.await;
            let _ = client.flush().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
    }
}

impl Signals {
    fn handle_event(&self, event: &Event, counters: &ClusterCounters) {
        match event {
            Event::Connected => self.connected.store(true, Relaxed),
            Event::Disconnected | Event::Closed => self.connected.store(false, Relaxed),
            Event::SlowConsumer(_) => counters.reject(ClusterRejectReason::SlowConsumer),
            Event::ServerError(error) => tracing::warn!("NATS server error: {error}"),
            Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {}
        }
        let is_connected = self.connected.load(Relaxed);
        if counters.connected.set(i64::from(is_connected)) != i64::from(is_connected) {
            let state =
                if is_connected { "connected to NATS" } else { "disconnected from NATS: this relay works on its own" };
            tracing::info!("{state}");
            self.changed.notify_one();
        }
    }
}

/// Connection options with credentials from a file: a JWT and its seed as written by `nsc`, or a seed alone as written
/// by `nk`.
fn credentials_from(text: &str) -> anyhow::Result<ConnectOptions> {
    if text.contains("BEGIN NATS USER JWT") {
        return Ok(ConnectOptions::with_credentials(text)?);
    }
    let seed = text.trim();
    anyhow::ensure!(seed.starts_with("SU"), "nats_creds contains neither a JWT nor the seed of a user nkey");
    Ok(ConnectOptions::with_nkey(seed.to_owned()))
}

/// Publishes the messages in `queue` through `client`, split into parts if the server requires it.
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
                tracing::warn!(length, max_payload, "max_payload is too small for the messages between relays");
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
                signals.needs_restart.store(true, Relaxed);
                counters.connected.set(0);
                signals.connected.store(false, Relaxed);
            } else if part_length > 0 {
                counters.sent_messages.inc();
                counters.sent_bytes.inc_by(part_length as u64);
            }
        }
        signals.queued_bytes.fetch_sub(length, Relaxed);
    }
}

/// Spawns a task that receives the messages of `subject` and forwards them to `received`.
fn subscribe(
    client: &Client,
    subject: &str,
    is_shared: bool,
    received: mpsc::Sender<Received>,
    counters: &ClusterCounters,
) -> AbortHandle {
    let (client, subject, counters) = (client.clone(), subject.to_owned(), counters.clone());
    let work = async move {
        let subscriber = if is_shared {
            client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await
        } else {
            client.subscribe(subject).await
        };
        let Ok(mut subscriber) = subscriber else { return };
        let mut joiner = Joiner::default();
        while let Some(message) = subscriber.next().await {
            counters.received_messages.inc();
            counters.received_bytes.inc_by(message.payload.len() as u64);
            let header = message.headers.as_ref().and_then(|headers| headers.get(parts::HEADER));
            let payload = match header.map(|header| joiner.add(header.as_str(), &message.payload)) {
                None => message.payload,
                Some(Joined::Whole(payload)) => payload,
                Some(Joined::Incomplete) => continue,
                Some(Joined::Lost) => {
                    counters.reject(ClusterRejectReason::MissingPart);
                    continue;
                }
            };
            if received.send((message.subject.to_string(), payload)).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(work).abort_handle()
}
