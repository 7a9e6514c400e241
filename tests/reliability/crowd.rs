//! Ten thousand viewers: they come, are all thrown out at once and come back with what they missed, and find another relay in
//! the place of one that was killed. They hold no windows, only how far they have come, so that they fit into one process.

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

use crate::Figure;
use crate::fleet::open;
use crate::load::{Load, app};
use crate::usage::Usage;

const VIEWERS: usize = 10_000;
const APPS: usize = 10;
/// Handshakes under way at once, as far as this process is concerned.
const AT_ONCE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(120);

/// What all of them have in common.
struct Common {
    http: SocketAddr,
    /// Which of them have everything that there was when they subscribed.
    caught_up: Vec<AtomicBool>,
    /// The most attempts in a row that failed for any of them.
    attempts_max: AtomicUsize,
    /// Updates that a viewer found missing.
    missing: AtomicU64,
    handshakes: Semaphore,
}

impl Common {
    /// From here on, who has caught up did so after this.
    fn begin_round(&self) {
        self.caught_up.iter().for_each(|caught_up| caught_up.store(false, Relaxed));
        self.attempts_max.store(0, Relaxed);
    }
}

pub(crate) fn figures() -> Vec<Figure> {
    let mut relay = Relay::start_with(&["--per-address", "0", "--viewers", "10500"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads are to be had");
    let load = Load::start(&relay, APPS, 100);
    eventually_within(PATIENCE, "every application is there", || (relay.metric("joey_apps") == 10).then_some(()));
    let empty = Usage::of(&relay);
    let common = Arc::new(Common {
        http: relay.http,
        caught_up: (0..VIEWERS).map(|_| AtomicBool::new(false)).collect(),
        attempts_max: AtomicUsize::new(0),
        missing: AtomicU64::new(0),
        handshakes: Semaphore::new(AT_ONCE),
    });
    let (drop_all, dropped) = watch::channel(0);
    let come = Instant::now();
    for at in 0..VIEWERS {
        runtime.spawn(watch(common.clone(), at, dropped.clone()));
    }
    let all_there = || {
        eventually_within(PATIENCE, "all have caught up", || {
            common.caught_up.iter().all(|caught_up| caught_up.load(Relaxed)).then_some(())
        });
    };
    all_there();
    let came = come.elapsed();
    std::thread::sleep(Duration::from_secs(5));
    let steady = Usage::of(&relay);
    let mut figures = vec![
        Figure::at_most("10,000 viewers have come after", came.as_secs_f64(), 10.0, "s"),
        Figure::at_most("memory for each", (steady.rss_mb - empty.rss_mb) * 1024.0 / VIEWERS as f64, 26.4, "KB"),
    ];

    common.begin_round();
    let thrown_out = Instant::now();
    drop_all.send(1).expect("the viewers are there");
    all_there();
    let peak = Usage::of(&relay);
    figures.push(Figure::at_most("thrown out, all are back after", thrown_out.elapsed().as_secs_f64(), 30.0, "s"));
    figures.push(Figure::at_most("attempts that failed, of any", common.attempts_max.load(Relaxed) as f64, 3.0, ""));
    let missing = common.missing.load(Relaxed);
    figures.push(Figure::holds("updates missing", missing, missing == 0));
    figures.push(Figure::at_most("memory at the peak over before", peak.rss_max_mb / steady.rss_mb, 1.5, "times"));

    common.begin_round();
    relay.kill();
    std::thread::sleep(Duration::from_secs(1));
    relay.restart_on_same_ports();
    let listening = Instant::now();
    all_there();
    figures.push(Figure::at_most("killed, all are back after", listening.elapsed().as_secs_f64(), 30.0, "s"));
    figures.push(Figure::known("attempts that failed, of any", common.attempts_max.load(Relaxed)));
    let again = Usage::of(&relay);
    figures.push(Figure::at_most("memory at the peak over before", again.rss_max_mb / steady.rss_mb, 1.5, "times"));
    let sent = load.finish();
    let read: u64 = sent.iter().filter_map(|ranges| ranges.last()).map(|range| range.end() - range.start() + 1).sum();
    let accepted = relay.metric("joey_frames_accepted_total");
    figures.push(Figure::holds(
        "sent to the new relay, and accepted",
        format!("{read} / {accepted}"),
        read == accepted,
    ));
    runtime.shutdown_background();
    figures
}

/// One viewer, for ever: follows an application, and goes on where it was when the connection is gone.
async fn watch(common: Arc<Common>, at: usize, mut dropped: watch::Receiver<u32>) {
    let mut stamp = None;
    let mut attempt = 0;
    loop {
        let permit = common.handshakes.acquire().await.expect("it is never closed");
        let socket = open(TcpStream::connect(common.http).await, common.http).await;
        drop(permit);
        if let Some(socket) = socket {
            common.attempts_max.fetch_max(attempt, Relaxed);
            attempt = 0;
            tokio::select! {
                _ = converse(&common, at, socket, &mut stamp) => {}
                _ = dropped.changed() => {}
            }
        } else {
            attempt += 1;
        }
        let delay_ms = backoff::delay_ms(u32::try_from(attempt).unwrap_or(u32::MAX), fastrand::u32(..));
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
    }
}

/// One connection to its end. `stamp` is the epoch and the number that the viewer has come to.
async fn converse(
    common: &Common,
    at: usize,
    mut socket: WebSocketStream<TcpStream>,
    stamp: &mut Option<(u64, u64)>,
) -> Option<()> {
    let topic = Topic { app: app(at % APPS), filter: Filter::All };
    let start = stamp.map_or(Start::History, |(epoch, seq)| Start::After { epoch, seq });
    let subscribe = Message::from(ClientMessage::Subscribe { sub: 1, topic, start }.encode());
    socket.send(subscribe.clone()).await.ok()?;
    let (mut wanted, mut is_waiting) = (None, false);
    loop {
        let Message::Binary(bytes) = socket.next().await?.ok()? else { continue };
        match ServerMessage::decode(&bytes).expect("the relay speaks the protocol") {
            // Its producer is not back yet.
            ServerMessage::SubscribeFailed { .. } => is_waiting = true,
            ServerMessage::Catalogue { apps, .. }
                if is_waiting && apps.iter().any(|entry| entry.app == app(at % APPS)) =>
            {
                is_waiting = false;
                socket.send(subscribe.clone()).await.ok()?;
            }
            ServerMessage::Subscribed(Subscribed { epoch, next, head, missing, .. }) => {
                common.missing.fetch_add(missing, Relaxed);
                *stamp = Some((epoch, next - 1));
                wanted = Some(head);
            }
            ServerMessage::Batch { head, .. } | ServerMessage::Rollup { head, .. } => {
                let (epoch, reached) = (*stamp)?;
                common.missing.fetch_add(head.from.saturating_sub(reached + 1), Relaxed);
                *stamp = Some((epoch, head.to));
            }
            ServerMessage::Gap { from, to, .. } => {
                common.missing.fetch_add(to - from + 1, Relaxed);
                *stamp = stamp.map(|(epoch, _)| (epoch, to));
            }
            _ => {}
        }
        if let (Some(head), Some((_, reached))) = (wanted, *stamp)
            && reached >= head
        {
            common.caught_up[at].store(true, Relaxed);
        }
    }
}
