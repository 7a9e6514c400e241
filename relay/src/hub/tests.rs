//! Publishing, reading and unsubscribing: what a viewer receives, and which gaps are reported.

use std::time::Duration;

use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{COMPUTATION, SeriesKey, Topic};
use joey_shared::viewer::Viewer as Client;
use joey_shared::wire::{ClientMessage, SeriesEntry, ServerMessage, Start, Update};

use super::*;
use crate::data_point::DataPoint;

#[cfg(not(shuttle))]
mod journal;
mod model;
#[cfg(shuttle)]
mod schedules;
mod rollups;
mod threads;

pub(super) const S: u64 = 1_000_000_000;
pub(super) const NOW: u64 = 1_000 * S;

pub(super) fn hub(config: Config) -> Arc<Hub> {
    Arc::new(Hub::new(config, 7))
}

pub(super) fn data_point(worker: &'static str, category: &'static str, end_s: u64) -> DataPoint<'static> {
    let mut histogram = Histogram::default();
    histogram.record(5);
    DataPoint {
        app: "app",
        name: "n",
        category,
        worker,
        pipeline: "p",
        id: 1,
        provenance: joey_shared::series::Provenance::default(),
        histogram,
        period_ns: 2 * S,
        end_ns: end_s * S,
    }
}

/// A viewer that nobody needs to wake.
pub(super) fn registered_viewer(hub: &Arc<Hub>) -> Viewer {
    hub.register_viewer(Arc::<Notify>::default()).unwrap()
}

/// Publishes one update for each of `workers` and cuts them into one batch at `now_ns`.
pub(super) fn publish(hub: &Hub, workers: &[&'static str], now_ns: u64) {
    let app = hub.app("app").unwrap();
    for worker in workers {
        hub.publish(&app, &data_point(worker, COMPUTATION, now_ns / S), now_ns).unwrap();
    }
    hub.cut_all(now_ns);
}

pub(super) fn topic(filter: Filter) -> Topic {
    Topic { app: "app".to_owned(), filter }
}

pub(super) fn only(worker: &str) -> Filter {
    let [category, pipeline, worker, name] = [COMPUTATION, "p", worker, "n"].map(str::to_owned);
    Filter::Series(SeriesKey { category, pipeline, worker, name })
}

/// Series that a subscriber of the part of `app` that `filter` admits receives.
pub(super) fn named(app: &App, filter: &Filter) -> Vec<SeriesEntry> {
    let names = app.series_messages(filter);
    let series = names.iter().flat_map(|message| match ServerMessage::decode(message).unwrap() {
        ServerMessage::Series { series, .. } => series,
        other => panic!("{other:?}"),
    });
    series.collect()
}

/// Numbers of all updates that `subscription` can read.
fn seqs(subscription: &mut Subscription) -> Vec<u64> {
    let read = subscription.read(usize::MAX, 0);
    read.batches.iter().flat_map(|bytes| updates(bytes)).map(|update| update.seq).collect()
}

fn updates(bytes: &[u8]) -> Vec<Update> {
    match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } => head.read(updates).map(Result::unwrap).collect(),
        other => panic!("not a batch: {other:?}"),
    }
}

#[test]
fn a_new_viewer_gets_history_and_then_live_batches() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b"], NOW);
    let viewer = registered_viewer(&hub);
    let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    assert_eq!((subscribed.next, subscribed.head, subscribed.missing), (1, 2, 0));
    assert_eq!(seqs(&mut all), [1, 2]);
    publish(&hub, &["a"], NOW);
    assert_eq!((seqs(&mut all), seqs(&mut all)), (vec![3], vec![]));
    let (mut live, _) = viewer.subscribe(2, &topic(Filter::All), None, Start::Live, NOW).unwrap();
    publish(&hub, &["b"], NOW);
    assert_eq!(seqs(&mut live), [4]);
}

#[test]
fn a_part_has_the_sequence_numbers_of_the_whole_log() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b", "a"], NOW);
    let viewer = registered_viewer(&hub);
    let (mut part, subscribed) = viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
    assert_eq!((subscribed.next, subscribed.head), (1, 3));
    publish(&hub, &["b"], NOW);
    publish(&hub, &["b", "a"], NOW);
    assert_eq!(seqs(&mut part), [1, 3, 6]);
    assert_eq!(named(part.app(), part.filter()).len(), 1);
    // The last subscription ends, so the feed and its bytes are removed.
    let with = hub.gauges(0);
    drop(part);
    let without = hub.gauges(0);
    assert!(with.topics == 2 && without.topics == 1 && without.ring_bytes < with.ring_bytes);
}

#[test]
fn a_topic_without_updates_is_caught_up_at_once() {
    let hub = hub(Config::default());
    publish(&hub, &["a"], NOW);
    let viewer = registered_viewer(&hub);
    let (mut part, subscribed) = viewer.subscribe(1, &topic(only("nobody")), None, Start::History, NOW).unwrap();
    assert!(seqs(&mut part).is_empty());
    assert!(part.position() > subscribed.head);
}

#[test]
fn a_topic_without_recent_updates_reports_no_gap() {
    let hub = hub(Config { ring: Duration::from_secs(10), ..Config::default() });
    publish(&hub, &["quiet"], NOW);
    let viewer = registered_viewer(&hub);
    let (mut part, _) = viewer.subscribe(1, &topic(only("quiet")), None, Start::History, NOW).unwrap();
    let _other = viewer.subscribe(2, &topic(only("quiet")), None, Start::Live, NOW).unwrap();
    assert_eq!(seqs(&mut part), [1]);
    for second in 1..100 {
        publish(&hub, &["busy"; 7], NOW + second * S);
        hub.evict_old(NOW + second * S);
        assert!(seqs(&mut part).is_empty());
    }
    let position = part.position();
    drop(part);
    let start = Start::After { epoch: 7, seq: position - 1 };
    let (_, subscribed) = viewer.subscribe(3, &topic(only("quiet")), None, start, NOW + 100 * S).unwrap();
    assert_eq!((subscribed.missing, hub.counters().gaps.get()), (0, 0));
}

#[test]
fn a_viewer_resumes_after_its_number_unless_the_epoch_differs() {
    let hub = hub(Config::default());
    publish(&hub, &["a"; 5], NOW);
    let viewer = registered_viewer(&hub);
    let next = |epoch, seq| {
        let start = Start::After { epoch, seq };
        let (_, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, start, NOW).unwrap();
        (subscribed.next, subscribed.missing)
    };
    assert_eq!([next(7, 3), next(7, 5), next(7, 999), next(8, 3)], [(4, 0), (6, 0), (6, 0), (1, 0)]);
}

#[test]
fn evicted_updates_are_reported_as_an_exact_gap() {
    let hub = hub(Config { ring: Duration::from_secs(10), rollups: Duration::ZERO, ..Config::default() });
    publish(&hub, &["a", "a"], NOW);
    let viewer = registered_viewer(&hub);
    let (mut slow, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    publish(&hub, &["a"], NOW + 30 * S);
    hub.evict_old(NOW + 30 * S);
    let read = slow.read(usize::MAX, 0);
    assert_eq!((read.gap, read.batches.len()), (Some((1, 2)), 1));
    let (_, late) = viewer.subscribe(2, &topic(Filter::All), None, Start::After { epoch: 7, seq: 1 }, NOW).unwrap();
    assert_eq!((late.next, late.missing), (3, 1));
    assert_eq!((hub.counters().gaps.get(), hub.counters().gap_updates.get()), (2, 3));
}

#[test]
fn the_byte_limit_evicts_from_the_largest_log() {
    let hub = hub(Config { ring_bytes_max: 20_000, ..Config::default() });
    let small = hub.app("small").unwrap();
    hub.publish(&small, &DataPoint { app: "small", ..data_point("a", COMPUTATION, 1_000) }, NOW).unwrap();
    for _ in 0..1_000 {
        publish(&hub, &["a", "b"], NOW);
    }
    assert!(hub.gauges(0).ring_bytes <= 20_000);
    assert!(hub.counters().batches_evicted.get() > 0);
    let viewer = registered_viewer(&hub);
    let (mut small_feed, _) = viewer
        .subscribe(1, &Topic { app: "small".to_owned(), filter: Filter::All }, None, Start::History, NOW)
        .unwrap();
    assert_eq!(seqs(&mut small_feed), [1]);
}

#[test]
fn limits_reject_and_count() {
    let hub = hub(Config { apps_max: 1, series_per_app_max: 2, ..Config::default() });
    publish(&hub, &["a", "b"], NOW);
    assert_eq!(hub.app("other").unwrap_err(), RejectReason::AppLimit);
    let app = hub.app("app").unwrap();
    assert_eq!(hub.publish(&app, &data_point("c", COMPUTATION, 1_000), NOW), Err(RejectReason::SeriesLimit));
    assert!(hub.publish(&app, &data_point("a", COMPUTATION, 1_000), NOW).is_ok());
    assert_eq!(hub.catalogue_since(0).1[0].over_limit, 1);
}

#[test]
fn periods_of_a_clock_far_ahead_are_moved_back() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    hub.publish(&app, &data_point("a", COMPUTATION, 400_000_000), NOW + S).unwrap();
    hub.publish(&app, &data_point("a", COMPUTATION, 1_004), NOW + S).unwrap();
    let viewer = registered_viewer(&hub);
    let (mut all, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    let updates = updates(&all.read(1, 0).batches[0]);
    assert_eq!((updates[0].end_ns, updates[0].producer_end_ns()), (1_001 * S, 400_000_000 * S));
    assert_eq!((updates[1].end_ns, updates[1].offset_ns), (1_004 * S, 0));
    assert_eq!(hub.counters().frames_clock_adjusted.get(), 1);
}

#[test]
fn workers_join_leave_and_return() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    let worker = |hub: &Hub| {
        let worker = &hub.catalogue_since(0).1[0].workers[0];
        (worker.connected, worker.since_ns / S, worker.reconnects)
    };
    hub.worker_joined(&app, "w", S);
    // A disconnected worker's old connection ends after its new one has started.
    hub.worker_joined(&app, "w", 2 * S);
    hub.worker_left(&app, "w", 3 * S);
    assert_eq!(worker(&hub), (true, 1, 0));
    hub.worker_left(&app, "w", 4 * S);
    assert_eq!(worker(&hub), (false, 4, 0));
    hub.worker_joined(&app, "w", 5 * S);
    assert_eq!(worker(&hub), (true, 5, 1));
}

#[test]
fn an_application_without_producers_and_viewers_is_removed() {
    let hub = hub(Config::default());
    publish(&hub, &["a"], NOW);
    let version = hub.catalogue_since(0).2;
    let viewer = registered_viewer(&hub);
    let (watching, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::Live, NOW).unwrap();
    hub.evict_old(NOW + 7_200 * S);
    assert_eq!(hub.gauges(0).apps, 1);
    drop(watching);
    hub.evict_old(NOW + 7_200 * S);
    let gauges = hub.gauges(0);
    assert_eq!((gauges.apps, gauges.series, gauges.ring_bytes), (0, 0, 0));
    assert!(hub.catalogue_since(version).0);
    publish(&hub, &["a"], NOW + 7_200 * S);
    assert_eq!(hub.gauges(0).series, 1);
}

#[test]
fn silent_series_expire_and_their_numbers_are_not_reused() {
    let config = Config { rollups: Duration::ZERO, series_max: 30, ..Config::default() };
    let hub = hub(config);
    let keep_s = hub.series_retention_ns() / S;
    let app = hub.app("app").unwrap();
    let mut given = vec![];
    // A hundred times ten new workers, and one that continues. The limit is thirty.
    for round in 0..100 {
        let now_s = NOW / S + round * keep_s;
        let names: Vec<String> = (0..10).map(|at| format!("w{round}-{at}")).chain(["w".to_owned()]).collect();
        for worker in &names {
            let point = DataPoint { worker, ..data_point("w", COMPUTATION, now_s) };
            given.push((hub.publish(&app, &point, now_s * S).expect("there is room"), worker.clone()));
        }
        hub.cut_all(now_s * S);
        hub.evict_old((now_s + 12) * S);
        assert!(hub.gauges(0).series <= 22);
        // A series that was received recently stays.
        assert_eq!(
            hub.publish(&app, &data_point("w", COMPUTATION, now_s), (now_s + 20) * S),
            Ok(given.last().unwrap().0)
        );
    }
    let numbers: BTreeMap<u32, String> = given.iter().cloned().collect();
    assert!(given.iter().all(|(number, worker)| numbers[number] == *worker), "a number stands for one series only");
    assert_eq!(hub.counters().series_expired.get(), given.len() as u64 - 99 - hub.gauges(0).series as u64);
    let clocks = app.log.lock().clocks();
    assert_eq!(clocks, hub.gauges(0).series, "a clock is removed with its worker's last series");
}

#[test]
fn a_client_with_overlapping_topics_counts_every_update_once() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b"], NOW);
    let viewer = registered_viewer(&hub);
    let mut client = Client::default();
    client.connected();
    client.subscribe(topic(Filter::All), Start::History);
    client.subscribe(topic(only("a")), Start::History);
    let mut subscriptions = vec![];
    for bytes in client.outgoing() {
        let ClientMessage::Subscribe { sub, topic, start } = ClientMessage::decode(&bytes).unwrap() else { panic!() };
        let (subscription, subscribed) = viewer.subscribe(sub, &topic, None, start, NOW).unwrap();
        client.receive(&ServerMessage::Subscribed(subscribed).encode(), 0, |_| {}).unwrap();
        subscriptions.push(subscription);
    }
    publish(&hub, &["b", "a", "c"], NOW);
    let mut seen = vec![];
    for subscription in &mut subscriptions {
        for batch in subscription.read(usize::MAX, 0).batches {
            client.receive(&batch, 0, |incoming| seen.push(incoming.update.seq)).unwrap();
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert!(client.is_caught_up());
}
