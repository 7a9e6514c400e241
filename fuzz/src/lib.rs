//! What no bytes may do: one function for each way in, which panics where a promise is broken. The fuzz targets call these
//! with whatever the fuzzer makes up, and `tests/corpus.rs` calls them with what it found worth keeping.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use joey::config::Config;
use joey::data_point::DataPoint;
use joey::demo::emitter;
use joey::hub::{Hub, Subscription};
use joey::ingest;
use joey::ingest::wallaroo::{Frame, decode};
use joey_shared::histogram::{Histogram, Quantile};
use joey_shared::series::{COMPUTATION, Filter, PIPELINE_INGESTION, START_TO_END, SeriesKey, Topic};
use joey_shared::store::AppStore;
use joey_shared::viewer::Viewer;
use joey_shared::window::SECONDS_MAX;
use joey_shared::wire::{
    BatchHead, Blob, ClientMessage, Hello, SeriesEntry, ServerMessage, Start, Subscribed, Update, VERSION,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// A way in, by the name of its target and of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// Every way in.
pub const TARGETS: [Target; 7] = [
    ("frame", frame),
    ("stream", stream),
    ("command", command),
    ("message", message),
    ("viewer", viewer),
    ("store", store),
    ("hub", hub),
];

const S: u64 = 1_000_000_000;

/// The body of one producer frame: refused, or such that writing it again gives what it says.
pub fn frame(bytes: &[u8]) {
    match decode(bytes) {
        Ok(Frame::Metrics(metrics)) => {
            let again = emitter::metrics(&metrics);
            assert_eq!(decode(&again[4..]), Ok(Frame::Metrics(metrics)));
        }
        Ok(Frame::Join { app, worker: Some(worker) }) => {
            assert_eq!(decode(&emitter::join(app, worker)[4..]), Ok(Frame::Join { app, worker: Some(worker) }));
        }
        _ => {}
    }
}

/// A producer's bytes: in pieces of any size they become what they become in one piece. The first byte says how long the
/// pieces are.
pub fn stream(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    assert_eq!(ingested(bytes, usize::from(piece) + 1), ingested(bytes, usize::MAX));
}

/// What the relay makes of `bytes`: what it counts, the series and the updates.
fn ingested(bytes: &[u8], piece: usize) -> (Vec<String>, Vec<SeriesEntry>, Vec<Told>) {
    let hub = Arc::new(Hub::new(Config::default(), 7));
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("there is memory");
    runtime.block_on(ingest::read_producer(hub.clone(), peer, Pieces { rest: bytes, piece }));
    let text = joey::metrics::render(hub.counters(), &hub.gauges(0));
    let is_about_frames =
        |line: &&str| line.starts_with("joey_frames_rejected") || line.starts_with("joey_connections");
    let mut counts: Vec<String> = text.lines().filter(is_about_frames).map(str::to_owned).collect();
    counts.sort();
    let (_, apps, _) = hub.catalogue_since(0);
    let viewer = hub.register_viewer(Arc::<Notify>::default()).expect("there is room");
    let (mut series, mut told) = (Vec::new(), Vec::new());
    for app in apps {
        for names in hub.own_app(&app.app).expect("it is in the catalogue").series_messages(&Filter::All) {
            match ServerMessage::decode(&names) {
                Ok(ServerMessage::Series { series: some, .. }) => series.extend(some),
                other => panic!("these are no names: {other:?}"),
            }
        }
        let topic = Topic { app: app.app, filter: Filter::All };
        let (mut all, _) = viewer.subscribe(1, &topic, None, Start::History, 0).expect("it exists");
        for batch in all.read(usize::MAX, 0).batches {
            told.extend(updates(&batch).1.into_iter().map(Told::from));
        }
    }
    assert_eq!(told.len() as u64, hub.counters().frames_accepted.get());
    (counts, series, told)
}

/// An update without what depends on when it arrived.
#[derive(Debug, PartialEq)]
struct Told {
    seq: u64,
    series: u32,
    period_ns: u64,
    sent_end_ns: u64,
    histogram: Histogram,
}

impl From<Update> for Told {
    fn from(update: Update) -> Self {
        let sent_end_ns = update.sent_end_ns();
        let Update { seq, series, period_ns, histogram, .. } = update;
        Self { seq, series, period_ns, sent_end_ns, histogram }
    }
}

/// Gives at most so many bytes at once.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let (now, rest) = self.rest.split_at(self.piece.min(buffer.remaining()).min(self.rest.len()));
        buffer.put_slice(now);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

/// A message from a viewer: refused, or such that writing it again gives what it says.
pub fn command(bytes: &[u8]) {
    if let Ok(message) = ClientMessage::decode(bytes) {
        assert_eq!(ClientMessage::decode(&message.encode()), Ok(message));
    }
}

/// A message from a relay: refused, or such that writing it again gives what it says. An update takes at least a byte of its
/// batch, so that no short message becomes a long list.
pub fn message(bytes: &[u8]) {
    let Ok(message) = ServerMessage::decode(bytes) else { return };
    let again = message.encode();
    assert_eq!(ServerMessage::decode(&again), Ok(message.clone()));
    if let ServerMessage::Batch { head, updates } | ServerMessage::Rollup { head, updates } = message {
        assert!(head.read(updates).count() <= updates.0.len());
    }
}

/// A viewer that follows two topics is told anything: messages, each behind its length in two bytes.
pub fn viewer(bytes: &[u8]) {
    let mut viewer = Viewer::default();
    viewer.connected();
    for filter in [Filter::All, Filter::Category(COMPUTATION.to_owned())] {
        viewer.subscribe(Topic { app: "app".to_owned(), filter }, Start::History);
    }
    let hello = Hello {
        version: VERSION,
        release: "",
        epoch: 7,
        now_ns: S,
        ring_ns: S,
        series_retention_ns: S,
        demo: false,
        ingest_port: 5001,
    };
    let known = ServerMessage::Series { app: "app".to_owned(), epoch: 7, series: series(), last: true };
    let subscribed = |sub| Subscribed { sub, feed: sub, epoch: 7, next: 1, head: 0, missing: 0 };
    let mut told = vec![ServerMessage::Hello(hello).encode(), known.encode()];
    told.extend([1, 2].map(|sub| ServerMessage::Subscribed(subscribed(sub)).encode()));
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (message, behind) = behind.split_at(length);
        told.push(message.to_vec());
        rest = behind;
    }
    let mut unreadable = 0;
    for message in told {
        unreadable += u64::from(viewer.receive(&message, S, |_| {}).is_err());
        let asked = viewer.outgoing();
        assert!(asked.len() <= 5, "one message is answered by {} commands", asked.len());
        assert!(asked.iter().all(|message| ClientMessage::decode(message).is_ok()));
        viewer.advance(S);
    }
    assert_eq!(viewer.malformed(), unreadable);
    if let Some(store) = viewer.app_mut("app") {
        look_at(store);
    }
}

/// The updates of one batch, of any values, into a store. The first byte says how long its windows are.
pub fn store(bytes: &[u8]) {
    let Some((&seconds, bytes)) = bytes.split_first() else { return };
    let mut store = AppStore::new(u64::from(seconds) * 4);
    store.announce(7, &series());
    let head = BatchHead { feed: 1, from: 1, to: 1, cut_ns: S, end_ns: 1_000 * S, period_ns: S, series: Vec::new() };
    for update in head.read(Blob(bytes)).map_while(Result::ok) {
        let series = update.series % 3;
        store.apply(7, &Update { series, ..update }, update.end_ns);
    }
    store.advance(u64::MAX);
    look_at(&mut store);
    store.set_seconds(SECONDS_MAX);
    look_at(&mut store);
}

/// Everything that a screen would show of a store, and what must hold of it.
fn look_at(store: &mut AppStore) {
    for at in 0..store.views().len() {
        let histogram = store.histogram(at);
        let mut last = 0;
        for millionths in [0, 1, 500_000, 990_000, 999_999, 1_000_000] {
            let quantile = Quantile::from_millionths(millionths).and_then(|q| histogram.quantile(q));
            if let Some(range) = quantile {
                assert!(u128::from(range.low) <= range.high && range.low >= last, "quantiles go up: {range:?}");
                last = range.low;
            }
        }
        if let Some(rate) = store.throughput(at) {
            assert!(0.0 <= rate.min && rate.min <= rate.median && rate.median <= rate.max, "{rate:?}");
        }
        let mut columns = 0;
        store.window_at(at).for_each_column(0..=u64::MAX, |_, _, _| columns += 1);
        assert!(columns <= SECONDS_MAX, "{columns} seconds are kept");
    }
}

/// Three series of three categories.
fn series() -> Vec<SeriesEntry> {
    let entry = |(number, category): (usize, &str)| {
        let [category, pipeline, worker, name] = [category, "p", "w", "n"].map(str::to_owned);
        SeriesEntry::new(number as u32, 1, SeriesKey { category, pipeline, worker, name })
    };
    [COMPUTATION, START_TO_END, PIPELINE_INGESTION].into_iter().enumerate().map(entry).collect()
}

/// Two bytes an operation: publish, cut, let time pass, follow, read, leave. What a subscription gets follows without a hole
/// on what it got before, or on the gap that it is told of.
pub fn hub(bytes: &[u8]) {
    let config = Config {
        ring: Duration::from_secs(10),
        rollups: Duration::from_secs(60),
        forget_after: Duration::from_secs(60),
        ring_bytes_max: 4_000,
        apps_max: 3,
        series_max: 20,
        ..Config::default()
    };
    let hub = Arc::new(Hub::new(config, 7));
    let viewer = hub.register_viewer(Arc::<Notify>::default()).expect("there is room");
    let mut now_ns = 1_000 * S;
    let mut followed: Vec<Subscription> = Vec::new();
    for operation in bytes.chunks_exact(2) {
        let number = usize::from(operation[1]);
        let app = ["a", "b", "c", "d"][number % 4];
        match operation[0] % 6 {
            0 => publish(&hub, app, number / 4, now_ns),
            1 => hub.cut_all(now_ns),
            2 => {
                now_ns += number as u64 * S;
                hub.evict_old(now_ns);
            }
            3 => {
                let topic = Topic { app: app.to_owned(), filter: filter(number / 4) };
                let start = match number / 32 {
                    0..=2 => Start::History,
                    3 => Start::Live,
                    4 => Start::Recent { span_ns: number as u64 * S },
                    back => Start::After { epoch: 7, seq: back as u64 },
                };
                if let Ok((subscription, subscribed)) = viewer.subscribe(1, &topic, None, start, now_ns) {
                    assert_eq!(subscription.position(), subscribed.next);
                    followed.push(subscription);
                }
            }
            4 if !followed.is_empty() => {
                let at = number % followed.len();
                _ = read(&mut followed[at], number / 16, now_ns);
            }
            5 if !followed.is_empty() => drop(followed.swap_remove(number % followed.len())),
            _ => {}
        }
        assert!(hub.gauges(0).apps <= 3 && hub.gauges(0).series <= 20);
    }
    hub.cut_all(now_ns);
    assert!(hub.gauges(0).ring_bytes <= 4_000);
    for subscription in &mut followed {
        while read(subscription, usize::MAX, now_ns) {}
    }
    followed.clear();
    hub.evict_old(now_ns + 1_000 * S);
    let figures = hub.gauges(0);
    assert_eq!((figures.apps, figures.series, figures.ring_bytes), (0, 0, 0));
}

fn publish(hub: &Hub, app: &str, number: usize, now_ns: u64) {
    let Ok(known) = hub.app(app) else { return };
    let mut histogram = Histogram::default();
    histogram.record(number as u64);
    let category = [COMPUTATION, START_TO_END][number % 2];
    let worker = ["v", "w", "x", "y"][number / 2 % 4];
    let end_ns = if number > 60 { u64::MAX } else { now_ns - (now_ns % S) };
    let metrics = DataPoint { app, name: "n", category, worker, pipeline: "p", id: 1, histogram, period_ns: S, end_ns };
    // A refusal for want of room is right too.
    let _ = hub.publish(&known, &metrics, now_ns);
}

fn filter(number: usize) -> Filter {
    let worker = ["v", "w", "nobody"][number % 3];
    match number % 4 {
        0 => Filter::All,
        1 => Filter::Category(COMPUTATION.to_owned()),
        2 => Filter::Category("\0".to_owned()),
        _ => {
            let [category, pipeline, worker, name] = [COMPUTATION, "p", worker, "n"].map(str::to_owned);
            Filter::Series(SeriesKey { category, pipeline, worker, name })
        }
    }
}

/// Reads; says whether there was anything.
fn read(subscription: &mut Subscription, batches: usize, now_ns: u64) -> bool {
    let mut next = subscription.position();
    let read = subscription.read(batches, now_ns);
    if let Some((from, to)) = read.gap {
        assert!(from == next && to >= from);
        next = to + 1;
    }
    for piece in &read.batches {
        let (head, updates, is_sum) = updates(piece);
        assert!(head.from == next || !is_sum && head.from < next && next <= head.to, "{next} comes next, not {head:?}");
        let mut last = head.from - 1;
        for update in updates.into_iter().filter(|_| !is_sum) {
            assert!(update.seq > last && update.seq <= head.to);
            last = update.seq;
        }
        next = head.to + 1;
    }
    assert_eq!(next, subscription.position());
    read.gap.is_some() || !read.batches.is_empty()
}

/// What a piece of a ring says, and whether it is a sum.
fn updates(piece: &[u8]) -> (BatchHead, Vec<Update>, bool) {
    let (head, updates, is_sum) = match ServerMessage::decode(piece) {
        Ok(ServerMessage::Batch { head, updates }) => (head, updates, false),
        Ok(ServerMessage::Rollup { head, updates }) => (head, updates, true),
        other => panic!("nobody asked for {other:?}"),
    };
    let updates = head.read(updates).collect::<Result<_, _>>().expect("what was written can be read");
    (head, updates, is_sum)
}
