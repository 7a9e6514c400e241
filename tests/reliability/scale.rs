//! CPU time per delivered update of a single relay, of two and of four. Each relay has the same number of viewers, and
//! the first relay ingests everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, ServerMessage, Start};
use joey_tests::{Nats, NatsSubscriber, Relay, Viewer, eventually};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::Measurement;
use crate::cluster::read;
use crate::fleet::open;
use crate::load::{Load, app};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 400;
const APPS: usize = 4;
/// Viewers at each relay: enough that delivery dominates the relay's cost.
const VIEWERS: usize = 400;
const COUNTS: [usize; 3] = [1, 2, 4];
/// Number of runs for each count, interleaved. The minimum is reported, because other load on the machine only adds.
const RUNS: usize = 2;
/// Interval at which the viewers poll.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const PHASE: Duration = Duration::from_secs(20);

/// One measurement: CPU time per delivered update, in µs.
#[derive(Clone, Copy, Debug)]
struct ScaleResult {
    /// Over all relays.
    all: f64,
    /// At the relay that ingests.
    first: f64,
    /// Maximum of the other relays; NaN if there are none.
    other: f64,
    delivered: u64,
    /// Batches published to NATS while only viewers of the first relay were subscribed.
    unneeded: usize,
    /// Viewers, one at each relay, that received every number once as a single update.
    exact: usize,
}

pub(crate) fn measurements() -> Vec<Measurement> {
    let mut results: [Vec<ScaleResult>; 3] = Default::default();
    for _ in 0..RUNS {
        for (at, &count) in COUNTS.iter().enumerate() {
            results[at].push(measure(count));
        }
    }
    let best = |at: usize, of: fn(&ScaleResult) -> f64| results[at].iter().map(of).fold(f64::INFINITY, f64::min);
    let [one, two, four] = [0, 1, 2].map(|at| best(at, |results| results.all));
    let ratio = |what, value: f64| {
        let within = (0.9..=1.1).contains(&value);
        Measurement { what, value: format!("{value:.3}"), goal: "0.90 to 1.10".to_owned(), is_met: within }
    };
    let all = || results.iter().flatten();
    let unneeded: usize = all().map(|results| results.unneeded).sum();
    let exact: usize = all().map(|results| results.exact).sum();
    let expected = RUNS * COUNTS.iter().sum::<usize>();
    let delivered: u64 = all().map(|results| results.delivered).sum();
    vec![
        Measurement::info("updates delivered in total", delivered),
        Measurement::info(
            "µs of CPU per delivered update, at 1, 2, 4 relays",
            format!("{one:.3}, {two:.3}, {four:.3}"),
        ),
        Measurement::info("… at the ingesting relay, at 1, 2, 4 relays", {
            let [one, two, four] = [0, 1, 2].map(|at| best(at, |results| results.first));
            format!("{one:.3}, {two:.3}, {four:.3}")
        }),
        Measurement::info("… at the other relays, at 2, 4 relays", {
            format!("{:.3}, {:.3}", best(1, |results| results.other), best(2, |results| results.other))
        }),
        ratio("ratio of two relays to one", two / one),
        ratio("ratio of four relays to one", four / one),
        Measurement::holds("batches to NATS without viewers elsewhere", unneeded, unneeded == 0),
        Measurement::holds("viewers, one per relay, that received every number once", exact, exact == expected),
    ]
}

fn measure(count: usize) -> ScaleResult {
    let nats = Nats::start();
    // A fixed batch interval, so that the number of batches does not depend on other load: with more processes than
    // cores, each relay would otherwise cut fewer batches.
    let arguments = ["--nats", &nats.url(), "--per-address", "0", "--batch-ms", "40"];
    let relays: Vec<Relay> = (0..count).map(|_| Relay::start_with(&arguments)).collect();
    relays.iter().for_each(|relay| relay.wait_for_relays(count as u64));
    let mut subscriber = NatsSubscriber::subscribe(&nats, "joey.v1.log.>");
    let load = Load::start(&relays[0], APPS, FRAMES_PER_SEC);
    for relay in &relays {
        (0..APPS).for_each(|at| Viewer::connect(relay).wait_for_worker(&app(at), "w", |_| true));
    }
    let mut crowds = vec![Crowd::start(&relays[0])];
    std::thread::sleep(Duration::from_secs(3));
    let unneeded = subscriber.received().len();
    drop(subscriber);
    crowds.extend(relays[1..].iter().map(Crowd::start));
    let readers: Vec<_> = relays.iter().map(|relay| read(relay, &app(0))).collect();
    std::thread::sleep(Duration::from_secs(3));
    let before: Vec<(Usage, u64)> = relays.iter().zip(&crowds).map(|(relay, crowd)| now(relay, crowd)).collect();
    std::thread::sleep(PHASE);
    let after: Vec<(Usage, u64)> = relays.iter().zip(&crowds).map(|(relay, crowd)| now(relay, crowd)).collect();
    let sent = load.finish();
    let numbers: Vec<u64> = sent[0][0].clone().collect();
    let mut exact = 0;
    for (until, thread) in readers {
        until.store(numbers.len() as u64, Relaxed);
        let (checked, _) = thread.join().expect("viewers do not fail");
        checked.check(&numbers);
        let (missing, rolled_up) = (checked.delivery.missing(checked.epoch), checked.delivery.rolled_up(checked.epoch));
        exact += usize::from((missing, rolled_up) == (0, 0));
    }
    drop(crowds);
    let spent = before.iter().zip(&after).map(|((used, old), (used_now, new))| (used_now.cpu_since(used), new - old));
    let spent: Vec<(f64, u64)> = spent.collect();
    let each = |&(cpu_s, delivered): &(f64, u64)| cpu_s * 1e6 / delivered as f64;
    let (cpu_s, delivered) = spent.iter().fold((0.0, 0), |(cpu_s, sum), one| (cpu_s + one.0, sum + one.1));
    let first = each(&spent[0]);
    let other = spent[1..].iter().map(each).fold(f64::NAN, f64::max);
    ScaleResult { all: each(&(cpu_s, delivered)), first, other, delivered, unneeded, exact }
}

fn now(relay: &Relay, crowd: &Crowd) -> (Usage, u64) {
    (Usage::of(relay), crowd.received.load(Relaxed))
}

/// Viewers of one relay that count updates and keep nothing.
struct Crowd {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Starts viewers and waits until each has received something. They poll every [`POLL_INTERVAL`] and are never
    /// woken up: on loopback the wake-up is charged to the relay, and costs less the more there is to do.
    fn start(relay: &Relay) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the runtime starts");
        let (received, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for at in 0..VIEWERS {
            runtime.spawn(watch(relay.http, app(at % APPS), received.clone(), begun.clone()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Relaxed) {
                runtime.block_on(tokio::task::yield_now());
                std::thread::sleep(POLL_INTERVAL);
            }
        });
        eventually("viewers are subscribed", || (begun.load(Relaxed) == VIEWERS as u64).then_some(()));
        Self { received, stop, thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

async fn watch(http: SocketAddr, app: String, received: Arc<AtomicU64>, begun: Arc<AtomicU64>) {
    let mut socket = open(TcpStream::connect(http).await, http).await.expect("the relay accepts viewers");
    let topic = Topic { app, filter: Filter::All };
    let subscribe = ClientMessage::Subscribe { sub: 1, topic: topic.clone(), start: Start::Live };
    socket.send(Message::from(subscribe.encode())).await.expect("the relay reads");
    let mut has_begun = false;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        match ServerMessage::decode(&bytes).expect("the relay sends valid messages") {
            ServerMessage::Logs { epochs, .. } => {
                let subscribe =
                    ClientMessage::SubscribeLog { sub: 2, epoch: epochs[0], topic: topic.clone(), start: Start::Live };
                socket.send(Message::from(subscribe.encode())).await.expect("the relay reads");
            }
            ServerMessage::Batch { head, .. } => {
                received.fetch_add(head.to + 1 - head.from, Relaxed);
                if !std::mem::replace(&mut has_begun, true) {
                    begun.fetch_add(1, Relaxed);
                }
            }
            _ => {}
        }
    }
}
