//! The hub under thousands of thread schedules, each reproducible from a seed. Real threads only run in the usual
//! schedules; the scheduler also finds the others. A thread that is never woken fails the test at once.
//!
//! Built only with `--cfg shuttle`; run by `cargo xtask schedules`.

use std::collections::BTreeMap;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};

use super::*;

/// Default number of schedules per scheduler and scene; `JOEY_SCHEDULES` overrides it.
const SCHEDULES: usize = 2_000;
/// Number of preemptions in the second scheduler. Most bugs need one or two.
const PREEMPTIONS: usize = 3;
/// More bytes than any scene produces: a counter beyond it has wrapped below zero.
const WRAPPED: u64 = 1 << 40;

fn in_many_schedules(scene: fn()) {
    let wanted = std::env::var("JOEY_SCHEDULES").ok();
    let schedules = wanted.map_or(SCHEDULES, |wanted| wanted.parse().expect("JOEY_SCHEDULES is a number"));
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        // Shuttle warns that it treats weak orderings as strong ones. The hub's counters do not guard other data.
        config.silence_warnings = true;
        config
    };
    // `SHUTTLE_RANDOM_SEED` replaces the seed.
    Runner::new(RandomScheduler::new_from_seed(1, schedules), config()).run(scene);
    Runner::new(PctScheduler::new_from_seed(1, PREEMPTIONS, schedules), config()).run(scene);
}

/// What one subscription has delivered.
struct Received {
    /// Next expected number.
    next: u64,
    /// Number of updates of each series.
    counts: BTreeMap<u32, u128>,
}

impl Received {
    const fn from(next: u64) -> Self {
        Self { next, counts: BTreeMap::new() }
    }

    /// Reads as much as a viewer reads in one turn. Returns whether there was any.
    fn read(&mut self, hub: &Hub, subscription: &mut Subscription, now_ns: u64) -> bool {
        let read = subscription.read(64, now_ns);
        assert_eq!(read.gap, None);
        for bytes in &read.batches {
            let (head, updates) = match ServerMessage::decode(bytes).unwrap() {
                ServerMessage::Batch { head, updates } | ServerMessage::Rollup { head, updates } => (head, updates),
                other => panic!("{other:?}"),
            };
            assert_eq!(head.from, self.next, "lost or duplicated");
            self.next = head.to + 1;
            for update in head.read(updates).map(Result::unwrap) {
                *self.counts.entry(update.series).or_default() += update.histogram.count();
            }
        }
        assert!(hub.gauges(0).ring_bytes < WRAPPED);
        !read.batches.is_empty()
    }

    fn count(&self) -> u128 {
        self.counts.values().sum()
    }

    /// Reads until it has `count` updates, and waits for a wake-up whenever there are none.
    fn read_all(&mut self, hub: &Hub, wake: &Notify, subscription: &mut Subscription, now_ns: u64, count: u128) {
        while self.count() < count {
            if !self.read(hub, subscription, now_ns) {
                block_on(wake.notified());
            }
        }
        assert_eq!(self.count(), count);
    }
}

/// Subscribes to `filter` from the start and reads until it has `count` updates.
fn read_to_the_end(hub: &Arc<Hub>, filter: Filter, count: u128) {
    let wake = Arc::<Notify>::default();
    let viewer = hub.register_viewer(wake.clone()).unwrap();
    let (mut subscription, subscribed) = viewer.subscribe(1, &topic(filter), None, Start::History, NOW).unwrap();
    Received::from(subscribed.next).read_all(hub, &wake, &mut subscription, NOW, count);
}

/// Cuts batches like the relay, which wakes only for the first pending update, until number `last` is in a batch.
fn cut_to_the_end(hub: &Hub, last: u64, now_ns: u64) {
    let newest = || hub.apps.read()["app"].log.lock().feed_for(&Filter::All).unwrap().newest();
    while newest() < last {
        block_on(hub.wait_for_work());
        hub.cut_all(now_ns);
    }
}

/// The accounted totals equal the actual ones, and no viewer is left.
fn check_totals(hub: &Hub) {
    let held: u64 = hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
    let gauges = hub.gauges(0);
    assert_eq!((gauges.ring_bytes, gauges.topics, gauges.viewers), (held, gauges.apps, 0));
}

fn all_join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Spawns a thread that does `work` with the hub.
fn spawn_with(hub: &Arc<Hub>, work: impl FnOnce(&Arc<Hub>) + Send + 'static) -> thread::JoinHandle<()> {
    let hub = hub.clone();
    thread::spawn(move || work(&hub))
}

#[test]
fn no_update_is_lost_and_no_thread_hangs_in_any_schedule() {
    in_many_schedules(|| {
        const UPDATES: u64 = 3;
        let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
        let app = hub.app("app").unwrap();
        let producer = |worker: &'static str| {
            let app = app.clone();
            spawn_with(&hub, move |hub| {
                hub.worker_joined(&app, worker, NOW);
                for _ in 0..UPDATES {
                    hub.publish(&app, &data_point(worker, COMPUTATION, 1_000), NOW).unwrap();
                }
                hub.worker_left(&app, worker, NOW);
            })
        };
        let threads = vec![
            producer("a"),
            producer("b"),
            spawn_with(&hub, |hub| cut_to_the_end(hub, 2 * UPDATES, NOW)),
            spawn_with(&hub, |hub| read_to_the_end(hub, Filter::All, 2 * u128::from(UPDATES))),
            spawn_with(&hub, |hub| read_to_the_end(hub, only("a"), UPDATES.into())),
            // Subscribes and unsubscribes, so that the filtered feed starts and ends at any time.
            spawn_with(&hub, |hub| {
                for _ in 0..2 {
                    let viewer = registered_viewer(&hub);
                    let (mut part, subscribed) =
                        viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
                    let mut received = Received::from(subscribed.next);
                    while received.read(hub, &mut part, NOW) {}
                    assert!(received.next > subscribed.head && received.counts.len() <= 1);
                }
            }),
            spawn_with(&hub, |hub| {
                for _ in 0..2 {
                    hub.evict_old(NOW + 1);
                    let (_, entries, version) = hub.catalogue_since(0);
                    assert!(entries.len() == 1 && version <= hub.catalogue_version());
                }
            }),
        ];
        all_join(threads);
        check_totals(&hub);
    });
}

#[test]
fn rollups_replace_batches_in_any_schedule() {
    in_many_schedules(|| {
        const LATER: u64 = 1_060 * S;
        let hub = hub(Config { ring: Duration::from_secs(10), ..Config::default() });
        let app = hub.app("app").unwrap();
        let publish = |hub: &Hub, app: &Arc<App>, now_ns| {
            hub.publish(app, &data_point("a", COMPUTATION, now_ns / S), now_ns).unwrap();
        };
        for second in [1_000, 1_004, 1_008, 1_013, 1_018, 1_021, 1_057] {
            publish(&hub, &app, second * S);
            hub.cut_all(second * S);
        }
        let slow = |hub: &Arc<Hub>| {
            let wake = Arc::<Notify>::default();
            let viewer = hub.register_viewer(wake.clone()).unwrap();
            let (mut slow, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::Live, LATER).unwrap();
            // As if it had subscribed before all of them and had not read since.
            (slow.next, slow.no_rollups_through) = (1, 0);
            Received::from(1).read_all(hub, &wake, &mut slow, LATER, 9);
        };
        let threads = vec![
            spawn_with(&hub, slow),
            spawn_with(&hub, slow),
            spawn_with(&hub, |hub| hub.evict_old(LATER)),
            spawn_with(&hub, |hub| {
                let wake = Arc::<Notify>::default();
                let viewer = hub.register_viewer(wake.clone()).unwrap();
                let back = Start::Recent { span_ns: 3_600 * S };
                let (mut part, subscribed) = viewer.subscribe(1, &topic(only("a")), None, back, LATER).unwrap();
                assert_eq!(subscribed.next, 1);
                Received::from(1).read_all(hub, &wake, &mut part, LATER, 9);
            }),
            spawn_with(&hub, move |hub| (0..2).for_each(|_| publish(hub, &app, LATER))),
            spawn_with(&hub, |hub| cut_to_the_end(hub, 9, LATER)),
        ];
        all_join(threads);
        check_totals(&hub);
    });
}

#[test]
fn an_application_with_a_new_update_is_not_removed() {
    in_many_schedules(|| {
        let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
        publish(&hub, &["a"], NOW);
        let before = hub.app("app").unwrap().epoch;
        let threads =
            vec![spawn_with(&hub, |hub| hub.evict_old(NOW + S)), spawn_with(&hub, |hub| publish(hub, &["a"], NOW + S))];
        all_join(threads);
        let viewer = registered_viewer(&hub);
        let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW + S).unwrap();
        // The application was removed before the update was published, or not at all.
        let count = if subscribed.epoch == before { 2 } else { 1 };
        let mut received = Received::from(1);
        while received.read(&hub, &mut all, NOW + S) {}
        assert_eq!(received.count(), count);
        drop((all, viewer));
        check_totals(&hub);
    });
}
