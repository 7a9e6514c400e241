//! The hosts on the network: a relay made of its real parts, producers, and viewers around the viewer that the page and
//! the command line share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::{SinkExt as _, StreamExt as _};
use joey::auth::Auth;
use joey::config::Config;
use joey::http::accept::serve_connection;
use joey::hub::Hub;
use joey::metrics::CloseReason;
use joey::net::listener::{ConnectionLimit, LimitReasons};
use joey::runtime::panic_guard::catch_panic;
use joey::session::broadcast;
use joey::{http, ingest, server};
use joey_shared::histogram::Histogram;
use joey_shared::series::{Filter, SeriesKey, Topic};
use joey_shared::viewer::Viewer;
use joey_shared::wire::{SUBPROTOCOL, ServerMessage, Start};
use joey_tests::{Frame, S, frame};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

/// The hosts. One viewer subscribes to all series, one to a category, and one to all and at times to parts of them as
/// well.
pub(crate) const RELAY: &str = "relay";
pub(crate) const PRODUCERS: [&str; 2] = ["producer-a", "producer-b"];
pub(crate) const VIEWERS: [&str; 3] = ["whole", "part", "both"];

const APP: &str = "app";
const CATEGORIES: [&str; 2] = ["computation", "start-to-end"];
const INGEST: u16 = 5001;
const HTTP: u16 = 4000;
/// Start of the simulated time, in ns since the Unix epoch.
const BEGAN_NS: u64 = 1_544_101_820 * S;
/// A relay that sends nothing for this long is considered dead: three of its heartbeats.
const SILENCE: Duration = Duration::from_secs(15);
/// Timeout for opening a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Length of the period ends that one item of a rollup covers, in ns.
const SUM_NS: u64 = 10 * S;
const REASONS: LimitReasons = LimitReasons {
    total: CloseReason::ConnectionLimit,
    per_address: CloseReason::ConnectionAddressLimit,
    descriptors: CloseReason::ConnectionFdLimit,
};

pub(crate) struct World {
    seed: u64,
    config: Config,
    pub(crate) shared: Shared,
    pub(crate) seen: [Rc<RefCell<Observed>>; 3],
}

/// What the hosts share with the test; all of them run on one thread.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    /// One for each run of the relay; its epoch is its position, from 1.
    pub(crate) logs: Rc<RefCell<Vec<Log>>>,
    /// The number of the last frame that any producer sent.
    frames: Rc<Cell<u64>>,
    /// Producers no longer send, and viewers no longer disconnect.
    pub(crate) is_recovery: Rc<Cell<bool>>,
}

/// What one run of the relay has cut, recorded by a viewer inside the hub.
pub(crate) struct Log {
    pub(crate) hub: Arc<Hub>,
    /// The update with each sequence number.
    pub(crate) numbers: BTreeMap<u64, Cut>,
}

/// One update as it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) frame: u64,
    series: u32,
    end_ns: u64,
}

/// What a viewer received.
#[derive(Default)]
pub(crate) struct Observed {
    /// By epoch, the frame with each sequence number that arrived, alone or in a rollup.
    pub(crate) got: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// Number of rollups received.
    pub(crate) sums: u64,
    /// The first sequence number that each relay still held when this viewer connected to it.
    pub(crate) began: BTreeMap<u64, u64>,
    /// Number of updates of each epoch that were reported missing.
    pub(crate) missing: BTreeMap<u64, u64>,
    /// Gaps of unknown size, and number of relay restarts.
    pub(crate) unknown_gaps: usize,
    pub(crate) restarts: usize,
    frames: BTreeSet<u64>,
}

/// Category of a frame.
pub(crate) const fn category(frame: u64) -> &'static str {
    CATEGORIES[(frame % 2) as usize]
}

/// Current time in the simulated world.
fn now_ns() -> u64 {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    BEGAN_NS + u64::try_from(elapsed.as_nanos()).expect("a simulation is short")
}

impl World {
    pub(crate) fn new(seed: u64, rng: &mut Rng) -> Self {
        let ring_bytes_max = if rng.bool() { 64 << 20 } else { rng.u64(6_000..20_000) };
        let ring = Duration::from_secs(rng.u64(1..20));
        let rollups = if rng.bool() { Duration::ZERO } else { Duration::from_secs(rng.u64(10..120)) };
        let config = Config { clock: now_ns, ring, rollups, ring_bytes_max, insecure_open: true, ..Config::default() };
        Self { seed, config, shared: Shared::default(), seen: std::array::from_fn(|_| Rc::default()) }
    }

    /// Adds all hosts to the network.
    pub(crate) fn populate(&self, sim: &mut Sim<'_>) {
        let (config, shared) = (self.config.clone(), self.shared.clone());
        sim.host(RELAY, move || relay(config.clone(), shared.clone()));
        let mut rng = Rng::with_seed(self.seed);
        for name in PRODUCERS {
            let (shared, rng) = (self.shared.clone(), rng.fork());
            sim.host(name, move || produce(name, shared.clone(), rng.clone()));
        }
        for (name, seen) in VIEWERS.into_iter().zip(&self.seen) {
            let (shared, seen, rng) = (self.shared.clone(), seen.clone(), rng.fork());
            sim.host(name, move || watch(name, shared.clone(), seen.clone(), rng.clone()));
        }
    }
}

/// Does what `joey serve` does, except for what needs the operating system.
async fn relay(config: Config, Shared { logs, .. }: Shared) -> turmoil::Result {
    let epoch = logs.borrow().len() as u64 + 1;
    let auth = Auth::new(&config)?;
    let hub = Arc::new(Hub::new(config, epoch));
    let _app = hub.app(APP).expect("the limits are not reached");
    logs.borrow_mut().push(Log { hub: hub.clone(), numbers: BTreeMap::new() });
    tokio::task::spawn_local(record_log(hub.clone(), logs));
    let stop = CancellationToken::new();
    tokio::spawn(server::cut_batches(hub.clone(), stop.clone()));
    tokio::spawn(broadcast::run(hub.clone(), stop.clone()));
    tokio::spawn(server::sweep(hub.clone(), stop.clone()));
    let limit = ConnectionLimit::new(1_000, 0);
    let router = http::router(hub.clone(), auth, limit.clone(), TaskTracker::new(), stop.clone(), stop.clone(), None);
    let producers = TcpListener::bind((Ipv4Addr::UNSPECIFIED, INGEST)).await?;
    let viewers = TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP)).await?;
    loop {
        tokio::select! {
            producer = producers.accept() => {
                let (stream, peer) = producer?;
                tokio::spawn(catch_panic(hub.counters().task_panics.clone(), "producer", ingest::read_producer(hub.clone(), peer, stream)));
            }
            viewer = viewers.accept() => {
                let (stream, peer) = viewer?;
                let permit = limit.acquire(IpAddr::from(Ipv4Addr::LOCALHOST), REASONS).expect("the limits are not reached");
                let (router, stop) = (router.clone(), stop.clone());
                let connection = async move { serve_connection(stream, peer, router, Arc::new(permit), &stop).await };
                tokio::spawn(catch_panic(hub.counters().task_panics.clone(), "http", connection));
            }
        }
    }
}

/// Records what is cut at once.
async fn record_log(hub: Arc<Hub>, logs: Rc<RefCell<Vec<Log>>>) {
    let wake = Arc::<Notify>::default();
    let viewer = hub.register_viewer(wake.clone()).expect("the limits are not reached");
    let (mut all, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, now_ns()).expect("it exists");
    loop {
        wake.notified().await;
        let read = all.read(usize::MAX, 0);
        assert_eq!(read.gap, None, "the ring holds what was just cut");
        let mut logs = logs.borrow_mut();
        let log = logs.last_mut().expect("this relay's is the last");
        for bytes in read.batches {
            let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&bytes) else {
                panic!("a ring holds batches")
            };
            for update in head.read(updates).map(|update| update.expect("what was written can be read")) {
                let cut = Cut { frame: update.histogram.max_ns, series: update.series, end_ns: update.end_ns };
                log.numbers.insert(update.seq, cut);
            }
        }
    }
}

/// Sends frames in chunks of random sizes, over connections that end at random times. Each frame counts one duration,
/// which is its own number.
async fn produce(name: &str, shared: Shared, mut rng: Rng) -> turmoil::Result {
    while !shared.is_recovery.get() {
        if let Ok(Ok(mut stream)) = timeout(TIMEOUT, TcpStream::connect((RELAY, INGEST))).await {
            let until = Instant::now() + Duration::from_secs(rng.u64(3..30));
            // In the simulation, a link that lost a packet never delivers anything again; a real one stalls for
            // minutes.
            let _ = timeout_at(until, send(name, &mut stream, &shared, &mut rng)).await;
        }
        sleep(Duration::from_millis(rng.u64(1..2_000))).await;
    }
    Ok(())
}

async fn send(name: &str, stream: &mut TcpStream, shared: &Shared, rng: &mut Rng) -> std::io::Result<()> {
    stream.write_all(&[frame::connect(), frame::join(APP, Some(name))].concat()).await?;
    while !shared.is_recovery.get() {
        let mut bytes = Vec::new();
        for _ in 0..rng.u8(1..5) {
            let number = shared.frames.get() + 1;
            shared.frames.set(number);
            let next = Frame::new(APP, category(number), ["p", name, "n"], now_ns() / S);
            bytes.extend(next.with(&[number]).encode());
        }
        let cut = rng.usize(..bytes.len());
        stream.write_all(&bytes[..cut]).await?;
        sleep(Duration::from_millis(rng.u64(0..100))).await;
        stream.write_all(&bytes[cut..]).await?;
        sleep(Duration::from_millis(rng.u64(20..700))).await;
    }
    stream.shutdown().await
}

/// Does what `joey tap` does: runs a socket around the shared viewer. At times it reads slowly, or disconnects and
/// reconnects.
async fn watch(name: &str, shared: Shared, seen: Rc<RefCell<Observed>>, mut rng: Rng) -> turmoil::Result {
    let mut viewer = Viewer::default();
    let filter = if name == "part" { Filter::Category(CATEGORIES[0].to_owned()) } else { Filter::All };
    viewer.subscribe(topic(filter), Start::History);
    loop {
        let stream = timeout(TIMEOUT, TcpStream::connect((RELAY, HTTP))).await;
        if let Ok(Ok(stream)) = stream {
            serve_viewer(name, stream, &mut viewer, &shared, &seen, &mut rng).await;
            viewer.disconnected();
        }
        sleep(Duration::from_millis(rng.u64(100..3_000))).await;
    }
}

/// Serves one connection until it fails, stays silent, or the viewer disconnects at random.
async fn serve_viewer(
    name: &str,
    stream: TcpStream,
    viewer: &mut Viewer,
    shared: &Shared,
    seen: &RefCell<Observed>,
    rng: &mut Rng,
) -> Option<()> {
    let mut request = format!("ws://{RELAY}:{HTTP}/ws").into_client_request().expect("it is an address");
    request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().expect("it is a header"));
    let (mut socket, _) = timeout(SILENCE, client_async(request, stream)).await.ok()?.ok()?;
    viewer.connected();
    loop {
        for message in viewer.outgoing() {
            timeout(SILENCE, socket.send(Message::from(message))).await.ok()?.ok()?;
        }
        let message = timeout(SILENCE, socket.next()).await.ok()??.ok()?;
        if let Message::Binary(bytes) = message {
            seen.borrow_mut().receive(viewer, &bytes, &shared.logs.borrow());
        }
        if shared.is_recovery.get() {
            continue;
        }
        match rng.u8(..200) {
            0 => return None,
            1..3 => sleep(Duration::from_millis(rng.u64(..28_000))).await,
            3..10 if name == "both" => change_subscription(viewer, rng),
            _ => {}
        }
    }
}

/// Subscribes to a part of what is already subscribed, or unsubscribes from it.
fn change_subscription(viewer: &mut Viewer, rng: &mut Rng) {
    let [category, pipeline, worker, name] = [CATEGORIES[1], "p", PRODUCERS[0], "n"].map(str::to_owned);
    let parts = [
        Filter::Category(CATEGORIES[0].to_owned()),
        Filter::Category(category.clone()),
        Filter::Series(SeriesKey { category, pipeline, worker, name }),
    ];
    let part = topic(parts[rng.usize(..parts.len())].clone());
    if viewer.topics().any(|topic| *topic == part) {
        viewer.unsubscribe(&part);
    } else {
        viewer.subscribe(part, if rng.bool() { Start::History } else { Start::Live });
    }
}

fn topic(filter: Filter) -> Topic {
    Topic { app: APP.to_owned(), filter }
}

impl Observed {
    /// Receives one message and records its updates.
    fn receive(&mut self, viewer: &mut Viewer, bytes: &[u8], logs: &[Log]) {
        let Self { got, frames, sums, .. } = self;
        let missing = viewer.missing();
        let received = viewer.receive(bytes, 0, |incoming| {
            let (epoch, update) = (incoming.epoch, incoming.update);
            let mut record = |number, frame| {
                assert!(frames.insert(frame), "frame {frame} arrived twice");
                let is_new = got.entry(epoch).or_default().insert(number, frame).is_none();
                assert!(is_new, "number {number} of {epoch} arrived twice");
            };
            let Some(to) = incoming.rollup_to else {
                record(update.seq, update.histogram.max_ns);
                return;
            };
            *sums += 1;
            let mut sum = Histogram::default();
            for (&number, cut) in logs[epoch as usize - 1].numbers.range(update.seq..=to) {
                let is_in = cut.end_ns.div_ceil(SUM_NS) == update.end_ns.div_ceil(SUM_NS);
                if is_in && cut.series == incoming.series.number {
                    sum.record(cut.frame);
                    record(number, cut.frame);
                }
            }
            assert_eq!(update.histogram, sum, "a rollup equals the sum of its updates");
        });
        received.expect("the relay sends valid messages");
        let epoch = viewer.relay().expect("the hello comes first").epoch;
        if let Ok(ServerMessage::Subscribed(subscribed)) = ServerMessage::decode(bytes)
            // The first subscription, which is to the widest topic.
            && subscribed.sub == 1
            && !self.began.contains_key(&subscribed.epoch)
        {
            self.restarts += usize::from(!self.began.is_empty());
            self.began.insert(subscribed.epoch, subscribed.next);
        }
        *self.missing.entry(epoch).or_default() += viewer.missing() - missing;
        let gaps = viewer.app(APP).map_or(&[][..], |store| store.gaps());
        self.unknown_gaps = gaps.iter().filter(|gap| gap.updates.is_none()).count();
    }
}
