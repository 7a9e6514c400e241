//! What a relay takes for each update that it delivers when it is alone, one of two, and one of four: as many viewers at each,
//! everything taken in at the first, and every viewer's application coming from there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::{ClientMessage, ServerMessage, Start};
use joey_tests::{Ear, Nats, Relay, Viewer, eventually};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::Figure;
use crate::cluster::read;
use crate::fleet::open;
use crate::load::{Load, app};
use crate::usage::Usage;

const FRAMES_PER_SEC: u64 = 400;
const APPS: usize = 4;
/// Viewers at each relay: enough for delivering to be what a relay does.
const VIEWERS: usize = 400;
const COUNTS: [usize; 3] = [1, 2, 4];
/// Each count is taken so often, in turns, and the least is the figure: whatever else the machine does only adds.
const ROUNDS: usize = 2;
/// Time between two looks of a crowd.
const GLANCE: Duration = Duration::from_millis(2);
const PHASE: Duration = Duration::from_secs(20);

/// One measurement: µs of CPU for each update delivered.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Over all relays.
    all: f64,
    /// At the relay that takes in.
    first: f64,
    /// At the other relay that takes most; as much as the first where there is no other.
    other: f64,
    delivered: u64,
    /// Batches that crossed to NATS while only viewers of the first relay watched.
    in_vain: usize,
    /// Viewers, one at each relay, that got every number once, by itself.
    exact: usize,
}

pub(crate) fn figures() -> Vec<Figure> {
    let mut taken: [Vec<Taken>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (at, &count) in COUNTS.iter().enumerate() {
            taken[at].push(measure(count));
        }
    }
    let best = |at: usize, of: fn(&Taken) -> f64| taken[at].iter().map(of).fold(f64::INFINITY, f64::min);
    let [one, two, four] = [0, 1, 2].map(|at| best(at, |taken| taken.all));
    let ratio = |what, value: f64| {
        let within = (0.9..=1.1).contains(&value);
        Figure { what, value: format!("{value:.3}"), goal: "0.90 to 1.10".to_owned(), is_met: within }
    };
    let all = || taken.iter().flatten();
    let in_vain: usize = all().map(|taken| taken.in_vain).sum();
    let exact: usize = all().map(|taken| taken.exact).sum();
    let expected = ROUNDS * COUNTS.iter().sum::<usize>();
    let delivered: u64 = all().map(|taken| taken.delivered).sum();
    vec![
        Figure::known("updates delivered in all", delivered),
        Figure::known("µs of CPU an update delivered, at 1, 2, 4 relays", format!("{one:.3}, {two:.3}, {four:.3}")),
        Figure::known("… where they are taken in, at 1, 2, 4 relays", {
            let [one, two, four] = [0, 1, 2].map(|at| best(at, |taken| taken.first));
            format!("{one:.3}, {two:.3}, {four:.3}")
        }),
        Figure::known("… elsewhere, at 2, 4 relays", {
            format!("{:.3}, {:.3}", best(1, |taken| taken.other), best(2, |taken| taken.other))
        }),
        ratio("two relays to one", two / one),
        ratio("four relays to one", four / one),
        Figure::holds("batches to NATS that nobody elsewhere watched", in_vain, in_vain == 0),
        Figure::holds("viewers, one a relay, that got every number once", exact, exact == expected),
    ]
}

fn measure(count: usize) -> Taken {
    let nats = Nats::start();
    // As many batches whatever else the machine does: with more processes than cores each would cut less often otherwise.
    let words = ["--nats", &nats.url(), "--per-address", "0", "--batch-ms", "40"];
    let relays: Vec<Relay> = (0..count).map(|_| Relay::start_with(&words)).collect();
    relays.iter().for_each(|relay| relay.knows(count as u64));
    let mut ear = Ear::at(&nats, "joey.v1.log.>");
    let load = Load::start(&relays[0], APPS, FRAMES_PER_SEC);
    for relay in &relays {
        (0..APPS).for_each(|at| Viewer::connect(relay).wait_for_worker(&app(at), "w", |_| true));
    }
    let mut crowds = vec![Crowd::start(&relays[0])];
    std::thread::sleep(Duration::from_secs(3));
    let in_vain = ear.so_far().len();
    drop(ear);
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
        let (witness, _) = thread.join().expect("viewers do not fail");
        witness.check(&numbers);
        let (missing, added_up) = (witness.ledger.missing(witness.epoch), witness.ledger.added_up(witness.epoch));
        exact += usize::from((missing, added_up) == (0, 0));
    }
    drop(crowds);
    let spent =
        before.iter().zip(&after).map(|((used, came), (used_now, come))| (used_now.cpu_since(used), come - came));
    let spent: Vec<(f64, u64)> = spent.collect();
    let each = |&(cpu_s, delivered): &(f64, u64)| cpu_s * 1e6 / delivered as f64;
    let (cpu_s, delivered) = spent.iter().fold((0.0, 0), |(cpu_s, sum), one| (cpu_s + one.0, sum + one.1));
    let first = each(&spent[0]);
    let other = spent[1..].iter().map(each).fold(f64::NAN, f64::max);
    Taken { all: each(&(cpu_s, delivered)), first, other, delivered, in_vain, exact }
}

fn now(relay: &Relay, crowd: &Crowd) -> (Usage, u64) {
    (Usage::of(relay), crowd.came.load(Relaxed))
}

/// Viewers of one relay that count what comes and keep nothing.
struct Crowd {
    came: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Viewers that have all begun to get something. They look every [`GLANCE`] whether there is something, and are never woken
    /// for it: on loopback that is charged to the relay, and costs the less the more there is to do.
    fn start(relay: &Relay) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("threads are to be had");
        let (came, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for at in 0..VIEWERS {
            runtime.spawn(watch(relay.http, app(at % APPS), came.clone(), begun.clone()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Relaxed) {
                runtime.block_on(tokio::task::yield_now());
                std::thread::sleep(GLANCE);
            }
        });
        eventually("viewers follow", || (begun.load(Relaxed) == VIEWERS as u64).then_some(()));
        Self { came, stop, thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

async fn watch(http: SocketAddr, app: String, came: Arc<AtomicU64>, begun: Arc<AtomicU64>) {
    let mut socket = open(TcpStream::connect(http).await, http).await.expect("the relay takes viewers");
    let topic = Topic { app, filter: Filter::All };
    let ask = ClientMessage::Subscribe { sub: 1, topic: topic.clone(), start: Start::Live };
    socket.send(Message::from(ask.encode())).await.expect("the relay reads");
    let mut has_begun = false;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        match ServerMessage::decode(&bytes).expect("the relay speaks the protocol") {
            ServerMessage::Logs { epochs, .. } => {
                let ask =
                    ClientMessage::SubscribeLog { sub: 2, epoch: epochs[0], topic: topic.clone(), start: Start::Live };
                socket.send(Message::from(ask.encode())).await.expect("the relay reads");
            }
            ServerMessage::Batch { head, .. } => {
                came.fetch_add(head.to + 1 - head.from, Relaxed);
                if !std::mem::replace(&mut has_begun, true) {
                    begun.fetch_add(1, Relaxed);
                }
            }
            _ => {}
        }
    }
}
