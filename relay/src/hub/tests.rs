//! Publish, read, leave: what a viewer gets, and what it is told when it cannot get it.

use std::time::Duration;

use joey_shared::histogram::Histogram;
use joey_shared::series::{COMPUTATION, SeriesKey, Topic};
use joey_shared::viewer::Viewer as Client;
use joey_shared::wire::{ClientMessage, SeriesEntry, ServerMessage, Start, Update};

use super::*;

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

pub(super) fn metrics(worker: &'static str, category: &'static str, end_s: u64) -> DataPoint<'static> {
    let mut histogram = Histogram::default();
    histogram.record(5);
    DataPoint {
        app: "app",
        name: "n",
        category,
        worker,
        pipeline: "p",
        id: 1,
        histogram,
        period_ns: 2 * S,
        end_ns: end_s * S,
    }
}

/// A viewer that nobody has to wake.
pub(super) fn entered(hub: &Arc<Hub>) -> Viewer {
    hub.enter(Arc::<Notify>::default()).unwrap()
}

/// Publishes one update for each worker named and cuts them into one batch at `now_ns`.
pub(super) fn publish(hub: &Hub, workers: &[&'static str], now_ns: u64) {
    let app = hub.app("app").unwrap();
    for worker in workers {
        hub.publish(&app, &metrics(worker, COMPUTATION, now_ns / S), now_ns).unwrap();
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

/// The series that a viewer is named that follows the part of `app` that `filter` admits.
pub(super) fn named(app: &App, filter: &Filter) -> Vec<SeriesEntry> {
    let names = app.names(filter);
    let series = names.iter().flat_map(|message| match ServerMessage::decode(message).unwrap() {
        ServerMessage::Series { series, .. } => series,
        other => panic!("{other:?}"),
    });
    series.collect()
}

/// The numbers of all updates that `subscription` has to give.
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
fn a_new_viewer_gets_the_history_and_then_what_comes() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b"], NOW);
    let viewer = entered(&hub);
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
fn a_part_has_the_numbers_of_the_whole() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b", "a"], NOW);
    let viewer = entered(&hub);
    let (mut part, subscribed) = viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
    assert_eq!((subscribed.next, subscribed.head), (1, 3));
    publish(&hub, &["b"], NOW);
    publish(&hub, &["b", "a"], NOW);
    assert_eq!(seqs(&mut part), [1, 3, 6]);
    assert_eq!(named(part.of(), part.filter()).len(), 1);
    // Nobody follows it any more: its ring is gone, and what it took.
    let with = hub.gauges(0);
    drop(part);
    let without = hub.gauges(0);
    assert!(with.topics == 2 && without.topics == 1 && without.ring_bytes < with.ring_bytes);
}

#[test]
fn a_topic_without_updates_is_caught_up_at_once() {
    let hub = hub(Config::default());
    publish(&hub, &["a"], NOW);
    let viewer = entered(&hub);
    let (mut part, subscribed) = viewer.subscribe(1, &topic(only("nobody")), None, Start::History, NOW).unwrap();
    assert!(seqs(&mut part).is_empty());
    assert!(part.position() > subscribed.head);
}

#[test]
fn a_quiet_topic_is_not_told_that_it_missed_what_was_not_for_it() {
    let hub = hub(Config { ring: Duration::from_secs(10), ..Config::default() });
    publish(&hub, &["quiet"], NOW);
    let viewer = entered(&hub);
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
fn a_viewer_resumes_after_its_stamp_unless_it_is_of_another_epoch() {
    let hub = hub(Config::default());
    publish(&hub, &["a"; 5], NOW);
    let viewer = entered(&hub);
    let next = |epoch, seq| {
        let start = Start::After { epoch, seq };
        let (_, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, start, NOW).unwrap();
        (subscribed.next, subscribed.missing)
    };
    assert_eq!([next(7, 3), next(7, 5), next(7, 999), next(8, 3)], [(4, 0), (6, 0), (6, 0), (1, 0)]);
}

#[test]
fn what_the_ring_dropped_is_told_exactly() {
    let hub = hub(Config { ring: Duration::from_secs(10), rollups: Duration::ZERO, ..Config::default() });
    publish(&hub, &["a", "a"], NOW);
    let viewer = entered(&hub);
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
fn history_is_held_to_its_bytes_at_the_expense_of_the_largest() {
    let hub = hub(Config { ring_bytes_max: 20_000, ..Config::default() });
    let small = hub.app("small").unwrap();
    hub.publish(&small, &DataPoint { app: "small", ..metrics("a", COMPUTATION, 1_000) }, NOW).unwrap();
    for _ in 0..1_000 {
        publish(&hub, &["a", "b"], NOW);
    }
    assert!(hub.gauges(0).ring_bytes <= 20_000);
    assert!(hub.counters().batches_evicted.get() > 0);
    let viewer = entered(&hub);
    let (mut kept, _) = viewer
        .subscribe(1, &Topic { app: "small".to_owned(), filter: Filter::All }, None, Start::History, NOW)
        .unwrap();
    assert_eq!(seqs(&mut kept), [1]);
}

#[test]
fn limits_refuse_and_count() {
    let hub = hub(Config { apps_max: 1, series_per_app_max: 2, ..Config::default() });
    publish(&hub, &["a", "b"], NOW);
    assert_eq!(hub.app("other").unwrap_err(), RejectReason::AppLimit);
    let app = hub.app("app").unwrap();
    assert_eq!(hub.publish(&app, &metrics("c", COMPUTATION, 1_000), NOW), Err(RejectReason::SeriesLimit));
    assert!(hub.publish(&app, &metrics("a", COMPUTATION, 1_000), NOW).is_ok());
    assert_eq!(hub.catalogue_since(0).1[0].limited, 1);
}

#[test]
fn a_clock_far_ahead_is_moved_back() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    hub.publish(&app, &metrics("a", COMPUTATION, 400_000_000), NOW + S).unwrap();
    hub.publish(&app, &metrics("a", COMPUTATION, 1_004), NOW + S).unwrap();
    let viewer = entered(&hub);
    let (mut all, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW).unwrap();
    let updates = updates(&all.read(1, 0).batches[0]);
    assert_eq!((updates[0].end_ns, updates[0].sent_end_ns()), (1_001 * S, 400_000_000 * S));
    assert_eq!((updates[1].end_ns, updates[1].offset_ns), (1_004 * S, 0));
    assert_eq!(hub.counters().frames_clock_adjusted.get(), 1);
}

#[test]
fn workers_come_go_and_return() {
    let hub = hub(Config::default());
    let app = hub.app("app").unwrap();
    let worker = |hub: &Hub| {
        let worker = &hub.catalogue_since(0).1[0].workers[0];
        (worker.connected, worker.since_ns / S, worker.returns)
    };
    hub.worker_joined(&app, "w", S);
    // The old connection of a worker that was cut off ends after the new one has begun.
    hub.worker_joined(&app, "w", 2 * S);
    hub.worker_left(&app, "w", 3 * S);
    assert_eq!(worker(&hub), (true, 1, 0));
    hub.worker_left(&app, "w", 4 * S);
    assert_eq!(worker(&hub), (false, 4, 0));
    hub.worker_joined(&app, "w", 5 * S);
    assert_eq!(worker(&hub), (true, 5, 1));
}

#[test]
fn an_application_that_nobody_sends_or_watches_is_forgotten() {
    let hub = hub(Config::default());
    publish(&hub, &["a"], NOW);
    let version = hub.catalogue_since(0).2;
    let viewer = entered(&hub);
    let (watching, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::Live, NOW).unwrap();
    hub.evict_old(NOW + 7_200 * S);
    assert_eq!(hub.gauges(0).apps, 1);
    drop(watching);
    hub.evict_old(NOW + 7_200 * S);
    let figures = hub.gauges(0);
    assert_eq!((figures.apps, figures.series, figures.ring_bytes), (0, 0, 0));
    assert!(hub.catalogue_since(version).0);
    publish(&hub, &["a"], NOW + 7_200 * S);
    assert_eq!(hub.gauges(0).series, 1);
}

#[test]
fn series_that_nobody_sends_are_let_go_and_their_numbers_never_given_again() {
    let config = Config { rollups: Duration::ZERO, series_max: 30, ..Config::default() };
    let hub = hub(config);
    let keep_s = hub.series_ns() / S;
    let app = hub.app("app").unwrap();
    let mut given = vec![];
    // A hundred times ten workers that nobody has heard of before, and one that goes on; thirty are the limit.
    for round in 0..100 {
        let now_s = NOW / S + round * keep_s;
        let names: Vec<String> = (0..10).map(|at| format!("w{round}-{at}")).chain(["w".to_owned()]).collect();
        for worker in &names {
            let metrics = DataPoint { worker, ..metrics("w", COMPUTATION, now_s) };
            given.push((hub.publish(&app, &metrics, now_s * S).expect("there is a place"), worker.clone()));
        }
        hub.cut_all(now_s * S);
        hub.evict_old((now_s + 12) * S);
        assert!(hub.gauges(0).series <= 22);
        // One that was heard a moment ago stays.
        assert_eq!(hub.publish(&app, &metrics("w", COMPUTATION, now_s), (now_s + 20) * S), Ok(given.last().unwrap().0));
    }
    let numbers: BTreeMap<u32, String> = given.iter().cloned().collect();
    assert!(given.iter().all(|(number, worker)| numbers[number] == *worker), "a number stands for one series only");
    assert_eq!(hub.counters().series_expired.get(), given.len() as u64 - 99 - hub.gauges(0).series as u64);
    let clocks = app.log.lock().clocks();
    assert_eq!(clocks, hub.gauges(0).series, "a clock goes with the last series of its worker");
}

#[test]
fn a_whole_client_counts_every_update_once() {
    let hub = hub(Config::default());
    publish(&hub, &["a", "b"], NOW);
    let viewer = entered(&hub);
    let mut client = Client::default();
    client.connected();
    client.follow(topic(Filter::All), Start::History);
    client.follow(topic(only("a")), Start::History);
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
