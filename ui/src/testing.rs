//! Stores and models for the unit tests of this crate.

use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{
    COMPUTATION, NODE_INGRESS_EGRESS, PIPELINE_INGESTION, Provenance, START_TO_END, SeriesKey, Source, THROUGHPUT,
};
use joey_shared::store::AppStore;
use joey_shared::wire::{
    AppEntry, BatchHead, Hello, SeriesEntry, ServerMessage, Subscribed, Update, UpdatesWriter, VERSION,
};

use crate::model::Model;
use crate::route::Page;

/// Nanoseconds in a second.
pub(crate) const S: u64 = 1_000_000_000;

/// An update of a period of two seconds that ended at second `end_s`.
pub(crate) fn update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::default();
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq, series, period_ns: 2 * S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A store with the series of a computation on two workers (0, 1), of a pipeline (2), its source (3) and a worker (4). Each of
/// `updates` arrives when its period ends.
pub(crate) fn store_of(updates: &[Update]) -> AppStore {
    let entry = |number, category: &str, worker: &str, name: &str| {
        let [category, pipeline, worker, name] = [category, "p", worker, name].map(ToOwned::to_owned);
        SeriesEntry::new(number, 1, SeriesKey { category, pipeline, worker, name })
    };
    let mut store = AppStore::default();
    store.announce(
        1,
        &[
            entry(0, COMPUTATION, "a", "n"),
            entry(1, COMPUTATION, "b", "n"),
            entry(2, START_TO_END, "a", "p"),
            entry(3, PIPELINE_INGESTION, "a", "p source"),
            entry(4, NODE_INGRESS_EGRESS, "a", "p"),
        ],
    );
    for update in updates {
        store.apply(1, update, update.end_ns);
    }
    store
}

/// An update of a service: a period of one second with these durations, and their sum, in bins of scale 3 in seconds.
pub(crate) fn fine_update(seq: u64, series: u32, end_s: u64, durations: &[u64]) -> Update {
    let mut histogram = Histogram::with_sum(Grid::new(3, Unit::Seconds).unwrap());
    durations.iter().for_each(|&ns| histogram.record(ns));
    Update { seq, series, period_ns: S, end_ns: end_s * S, offset_ns: 0, histogram }
}

/// A store of a service with an operation on two instances (0, 1) and among its spans (2), an internal operation (3) and a
/// counter (4).
pub(crate) fn service_of(updates: &[Update]) -> AppStore {
    let entry = |number, category: &str, pipeline: &str, worker: &str, name: &str, source| {
        let [category, pipeline, worker, name] = [category, pipeline, worker, name].map(ToOwned::to_owned);
        let provenance = Provenance::exact(source);
        SeriesEntry { provenance, ..SeriesEntry::new(number, 0, SeriesKey { category, pipeline, worker, name }) }
    };
    let mut store = AppStore::default();
    store.announce(
        1,
        &[
            entry(0, START_TO_END, "GET /", "i-1", "GET /", Source::OtlpMetrics),
            entry(1, START_TO_END, "GET /", "i-2", "GET /", Source::OtlpMetrics),
            entry(2, START_TO_END, "GET / spans", "i-1", "GET / spans", Source::OtlpTraces),
            entry(3, COMPUTATION, "", "i-1", "render", Source::OtlpMetrics),
            entry(4, THROUGHPUT, "", "i-1", "hits", Source::OtlpMetrics),
        ],
    );
    for update in updates {
        store.apply(1, update, update.end_ns);
    }
    store
}

/// The hello of a relay whose clock began at 1,000 s.
pub(crate) const fn hello() -> Hello<'static> {
    Hello {
        version: VERSION,
        release: "t",
        epoch: 1,
        now_ns: 1_000 * S,
        ring_ns: 300 * S,
        series_retention_ns: 3_635 * S,
        demo: false,
        ingest_port: 5001,
    }
}

/// A live model on the dashboard of `app`, which has received this many seconds of a computation. The relay's clock began at
/// 1,000 s.
pub(crate) fn live_model(seconds: u64) -> Model {
    let mut model = Model::new(300);
    model.show(&Page::Dashboard("app".to_owned()), 0);
    connect(&mut model, 1, 1);
    (1..=seconds).for_each(|second| receive_second(&mut model, second));
    model
}

/// Adds relay `id`, which answers. Its log of `app` has this epoch.
pub(crate) fn connect(model: &mut Model, id: u32, epoch: u64) {
    model.add_relay(id, 0);
    model.relay_mut(id).unwrap().connected();
    model.outgoing(id, 0);
    let hello = hello();
    let app = AppEntry { app: "app".to_owned(), ..AppEntry::default() };
    let [category, pipeline, worker, name] = [COMPUTATION, "p", "w", "n"].map(ToOwned::to_owned);
    let series = vec![SeriesEntry::new(0, 1, SeriesKey { category, pipeline, worker, name })];
    for message in [
        ServerMessage::Hello(hello),
        ServerMessage::Catalogue { full: true, apps: vec![app], last: true },
        ServerMessage::Series { app: "app".to_owned(), epoch, series, last: true },
        ServerMessage::Subscribed(Subscribed { sub: 1, feed: 1, epoch, next: 1, head: 0, missing: 0 }),
    ] {
        model.receive(id, &message.encode(), 0).unwrap();
    }
}

/// Delivers the update of one second to a model of [`live_model`], in order.
pub(crate) fn receive_second(model: &mut Model, second: u64) {
    receive_second_of(model, 1, second);
}

/// The same from relay `id`.
pub(crate) fn receive_second_of(model: &mut Model, id: u32, second: u64) {
    let end_ns = (1_000 + second) * S;
    let head =
        BatchHead { feed: 1, from: second, to: second, cut_ns: end_ns, end_ns, period_ns: S, series: Vec::new() };
    let mut writer = UpdatesWriter::new(&head);
    writer.push(&Update { period_ns: S, ..update(second, 0, 1_000 + second, &[5, 900]) });
    let message = ServerMessage::Batch { head, updates: writer.finish() }.encode();
    model.receive(id, &message, second * S).unwrap();
}
