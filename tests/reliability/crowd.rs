//! Ten thousand viewers: they connect, are all disconnected at once and resume, and reconnect to a restarted relay
//! after it was killed. To fit into one process, they keep no windows but only their last sequence number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::backoff;
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, ServerMessage, Start, Subscribed};
use joey_tests::{Relay, eventually_within};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::Measurement;
use crate::fleet::open;
use crate::load::{Load, app};
use crate::usage::Usage;

const VIEWERS: usize = 10_000;
const APPS: usize = 10;
/// Concurrent handshakes in this process.
const AT_ONCE: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(120);

/// State that all viewers share.
struct Common {
    http: SocketAddr,
    /// Whether each viewer has received everything that existed when it subscribed.
    caught_up: Vec<AtomicBool>,
    /// Maximum number of consecutive failed attempts of any viewer.
    attempts_max: AtomicUsize,
    /// Number of updates that viewers found missing.
    missing: AtomicU64,
    handshakes: Semaphore,
}

impl Common {
    /// Starts a new phase: viewers count as caught up only if they catch up after this.
    fn begin_phase(&self) {
        self.caught_up.iter().for_each(|caught_up| caught_up.store(false, Relaxed));
        self.attempts_max.store(0, Relaxed);
    }
}

pub(crate) fn measurements() -> Vec<Measurement> {
    let mut relay = Relay::start_with(&["--per-address", "0", "--viewers", "10500"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the runtime starts");
    let load = Load::start(&relay, APPS, 100);
    eventually_within(TIMEOUT, "every application exists", || (relay.metric("joey_apps") == 10).then_some(()));
    let empty = Usage::of(&relay);
    let common = Arc::new(Common {
        http: relay.http,
        caught_up: (0..VIEWERS).map(|_| AtomicBool::new(false)).collect(),
        attempts_max: AtomicUsize::new(0),
        missing: AtomicU64::new(0),
        handshakes: Semaphore::new(AT_ONCE),
    });
    let (drop_all, dropped) = watch::channel(0);
    let start = Instant::now();
    for at in 0..VIEWERS {
        runtime.spawn(watch(common.clone(), at, dropped.clone()));
    }
    let all_there = || {
        eventually_within(TIMEOUT, "all have caught up", || {
            common.caught_up.iter().all(|caught_up| caught_up.load(Relaxed)).then_some(())
        });
    };
    all_there();
    let connected = start.elapsed();
    std::thread::sleep(Duration::from_secs(5));
    let steady = Usage::of(&relay);
    let mut measurements = vec![
        Measurement::at_most("10,000 viewers are connected after", connected.as_secs_f64(), 10.0, "s"),
        Measurement::at_most("memory per viewer", (steady.rss_mb - empty.rss_mb) * 1024.0 / VIEWERS as f64, 26.4, "KB"),
    ];

    common.begin_phase();
    let disconnected = Instant::now();
    drop_all.send(1).expect("the viewers are there");
    all_there();
    let peak = Usage::of(&relay);
    measurements.push(Measurement::at_most(
        "disconnected, all have resumed after",
        disconnected.elapsed().as_secs_f64(),
        30.0,
        "s",
    ));
    measurements.push(Measurement::at_most(
        "maximum failed attempts of a viewer",
        common.attempts_max.load(Relaxed) as f64,
        3.0,
        "",
    ));
    let missing = common.missing.load(Relaxed);
    measurements.push(Measurement::holds("missing updates", missing, missing == 0));
    measurements.push(Measurement::at_most(
        "peak memory relative to before",
        peak.rss_max_mb / steady.rss_mb,
        1.5,
        "times",
    ));

    common.begin_phase();
    relay.kill();
    std::thread::sleep(Duration::from_secs(1));
    relay.restart_on_same_ports();
    let listening = Instant::now();
    all_there();
    measurements.push(Measurement::at_most(
        "killed, all have reconnected after",
        listening.elapsed().as_secs_f64(),
        30.0,
        "s",
    ));
    measurements.push(Measurement::info("maximum failed attempts of a viewer", common.attempts_max.load(Relaxed)));
    let again = Usage::of(&relay);
    measurements.push(Measurement::at_most(
        "peak memory relative to before",
        again.rss_max_mb / steady.rss_mb,
        1.5,
        "times",
    ));
    let sent = load.finish();
    let read: u64 = sent.iter().filter_map(|ranges| ranges.last()).map(|range| range.end() - range.start() + 1).sum();
    let accepted = relay.metric("joey_frames_accepted_total");
    measurements.push(Measurement::holds(
        "frames sent to the restarted relay, and accepted",
        format!("{read} / {accepted}"),
        read == accepted,
    ));
    runtime.shutdown_background();
    measurements
}

/// Runs one viewer forever: subscribes to an application, and resumes where it was after a disconnect.
async fn watch(common: Arc<Common>, at: usize, mut dropped: watch::Receiver<u32>) {
    let mut position = None;
    let mut attempt = 0;
    loop {
        let permit = common.handshakes.acquire().await.expect("the semaphore is never closed");
        let socket = open(TcpStream::connect(common.http).await, common.http).await;
        drop(permit);
        if let Some(socket) = socket {
            common.attempts_max.fetch_max(attempt, Relaxed);
            attempt = 0;
            tokio::select! {
                _ = serve_connection(&common, at, socket, &mut position) => {}
                _ = dropped.changed() => {}
            }
        } else {
            attempt += 1;
        }
        let delay_ms = backoff::delay_ms(u32::try_from(attempt).unwrap_or(u32::MAX), fastrand::u32(..));
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }
}

/// Serves one connection until it ends. `position` is the epoch and the sequence number that the viewer has reached.
async fn serve_connection(
    common: &Common,
    at: usize,
    mut socket: WebSocketStream<TcpStream>,
    position: &mut Option<(u64, u64)>,
) -> Option<()> {
    let topic = Topic { app: app(at % APPS), filter: Filter::All };
    let start = position.map_or(Start::History, |(epoch, seq)| Start::After { epoch, seq });
    let subscribe = Message::from(ClientMessage::Subscribe { sub: 1, topic, start }.encode());
    socket.send(subscribe.clone()).await.ok()?;
    let (mut wanted, mut is_waiting) = (None, false);
    loop {
        let Message::Binary(bytes) = socket.next().await?.ok()? else { continue };
        match ServerMessage::decode(&bytes).expect("the relay sends valid messages") {
            // Its producer has not reconnected yet.
            ServerMessage::SubscribeFailed { .. } => is_waiting = true,
            ServerMessage::Catalogue { apps, .. }
                if is_waiting && apps.iter().any(|entry| entry.app == app(at % APPS)) =>
            {
                is_waiting = false;
                socket.send(subscribe.clone()).await.ok()?;
            }
            ServerMessage::Subscribed(Subscribed { epoch, next, head, missing, .. }) => {
                common.missing.fetch_add(missing, Relaxed);
                *position = Some((epoch, next - 1));
                wanted = Some(head);
            }
            ServerMessage::Batch { head, .. } | ServerMessage::Rollup { head, .. } => {
                let (epoch, reached) = (*position)?;
                common.missing.fetch_add(head.from.saturating_sub(reached + 1), Relaxed);
                *position = Some((epoch, head.to));
            }
            ServerMessage::Gap { from, to, .. } => {
                common.missing.fetch_add(to - from + 1, Relaxed);
                *position = position.map(|(epoch, _)| (epoch, to));
            }
            _ => {}
        }
        if let (Some(head), Some((_, reached))) = (wanted, *position)
            && reached >= head
        {
            common.caught_up[at].store(true, Relaxed);
        }
    }
}
