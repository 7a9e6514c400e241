//! The hub in thousands of orders in which its threads may take turns, each of which a seed repeats. Real threads meet the usual
//! orders only; here the scheduler looks for the others, and a thread that nobody wakes ends the test at once.
//!
//! Built with `--cfg shuttle` alone; `cargo xtask schedules` does it.

use std::collections::BTreeMap;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};

use super::*;

/// Orders that each scheduler tries of each scene; `JOEY_SCHEDULES` says otherwise.
const SCHEDULES: usize = 2_000;
/// How often the second scheduler lets another thread go first. Most faults need one or two of these.
const TURNS: usize = 3;
/// More history than any of these scenes makes: a number of bytes that has wrapped below zero.
const WRAPPED: u64 = 1 << 40;

fn in_many_orders(scene: fn()) {
    let wanted = std::env::var("JOEY_SCHEDULES").ok();
    let schedules = wanted.map_or(SCHEDULES, |wanted| wanted.parse().expect("JOEY_SCHEDULES is a number"));
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        // It warns that weak orderings count as strong ones here; the hub's counters guard nothing.
        config.silence_warnings = true;
        config
    };
    // `SHUTTLE_RANDOM_SEED` replaces the seed.
    Runner::new(RandomScheduler::new_from_seed(1, schedules), config()).run(scene);
    Runner::new(PctScheduler::new_from_seed(1, TURNS, schedules), config()).run(scene);
}

/// What one subscription has brought.
struct Told {
    /// The number that has to come next.
    next: u64,
    /// How many updates of each series.
    counts: BTreeMap<u32, u128>,
}

impl Told {
    const fn from(next: u64) -> Self {
        Self { next, counts: BTreeMap::new() }
    }

    /// Takes as much as a viewer takes in one turn; says whether there was any.
    fn take(&mut self, hub: &Hub, subscription: &mut Subscription, now_ns: u64) -> bool {
        let read = subscription.read(64, now_ns);
        assert_eq!(read.gap, None);
        for bytes in &read.batches {
            let (head, updates) = match ServerMessage::decode(bytes).unwrap() {
                ServerMessage::Batch { head, updates } | ServerMessage::Sum { head, updates } => (head, updates),
                other => panic!("{other:?}"),
            };
            assert_eq!(head.from, self.next, "lost, or twice");
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

    /// Takes `count` updates, sleeping until it is woken whenever there is none.
    fn take_all(&mut self, hub: &Hub, wake: &Notify, subscription: &mut Subscription, now_ns: u64, count: u128) {
        while self.count() < count {
            if !self.take(hub, subscription, now_ns) {
                block_on(wake.notified());
            }
        }
        assert_eq!(self.count(), count);
    }
}

/// Follows `filter` from the beginning until it has `count` updates.
fn follow_to_the_end(hub: &Arc<Hub>, filter: Filter, count: u128) {
    let wake = Arc::<Notify>::default();
    let viewer = hub.enter(wake.clone()).unwrap();
    let (mut subscription, subscribed) = viewer.subscribe(1, &topic(filter), None, Start::History, NOW).unwrap();
    Told::from(subscribed.next).take_all(hub, &wake, &mut subscription, NOW, count);
}

/// As the relay does it: woken by the first update that waits, and not otherwise, until number `last` is in a batch.
fn cut_to_the_end(hub: &Hub, last: u64, now_ns: u64) {
    let newest = || hub.apps.read()["app"].log.lock().feed(&Filter::All).unwrap().newest();
    while newest() < last {
        block_on(hub.wait_for_work());
        hub.cut_all(now_ns);
    }
}

/// What it counts as held is what it holds, and nobody is left over.
fn balances(hub: &Hub) {
    let held: u64 = hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
    let figures = hub.gauges(0);
    assert_eq!((figures.ring_bytes, figures.feeds, figures.viewers), (held, figures.apps, 0));
}

fn all_join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A thread that does `work` with the hub.
fn with(hub: &Arc<Hub>, work: impl FnOnce(&Arc<Hub>) + Send + 'static) -> thread::JoinHandle<()> {
    let hub = hub.clone();
    thread::spawn(move || work(&hub))
}

#[test]
fn nothing_is_lost_in_any_order_and_nobody_sleeps_for_ever() {
    in_many_orders(|| {
        const UPDATES: u64 = 3;
        let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
        let app = hub.app("app").unwrap();
        let producer = |worker: &'static str| {
            let app = app.clone();
            with(&hub, move |hub| {
                hub.worker_joined(&app, worker, NOW);
                for _ in 0..UPDATES {
                    hub.publish(&app, &metrics(worker, COMPUTATION, 1_000), NOW).unwrap();
                }
                hub.worker_left(&app, worker, NOW);
            })
        };
        let threads = vec![
            producer("a"),
            producer("b"),
            with(&hub, |hub| cut_to_the_end(hub, 2 * UPDATES, NOW)),
            with(&hub, |hub| follow_to_the_end(hub, Filter::All, 2 * u128::from(UPDATES))),
            with(&hub, |hub| follow_to_the_end(hub, only("a"), UPDATES.into())),
            // Comes and goes, so that the feed of a part begins and ends at any moment.
            with(&hub, |hub| {
                for _ in 0..2 {
                    let viewer = entered(&hub);
                    let (mut part, subscribed) =
                        viewer.subscribe(1, &topic(only("a")), None, Start::History, NOW).unwrap();
                    let mut told = Told::from(subscribed.next);
                    while told.take(hub, &mut part, NOW) {}
                    assert!(told.next > subscribed.head && told.counts.len() <= 1);
                }
            }),
            with(&hub, |hub| {
                for _ in 0..2 {
                    hub.evict_old(NOW + 1);
                    let (_, entries, version) = hub.catalogue_since(0);
                    assert!(entries.len() == 1 && version <= hub.catalogue_version());
                }
            }),
        ];
        all_join(threads);
        balances(&hub);
    });
}

#[test]
fn sums_take_the_place_of_batches_in_any_order() {
    in_many_orders(|| {
        const LATER: u64 = 1_060 * S;
        let hub = hub(Config { ring: Duration::from_secs(10), ..Config::default() });
        let app = hub.app("app").unwrap();
        let publish = |hub: &Hub, app: &Arc<App>, now_ns| {
            hub.publish(app, &metrics("a", COMPUTATION, now_ns / S), now_ns).unwrap();
        };
        for second in [1_000, 1_004, 1_008, 1_013, 1_018, 1_021, 1_057] {
            publish(&hub, &app, second * S);
            hub.cut_all(second * S);
        }
        let slow = |hub: &Arc<Hub>| {
            let wake = Arc::<Notify>::default();
            let viewer = hub.enter(wake.clone()).unwrap();
            let (mut slow, _) = viewer.subscribe(1, &topic(Filter::All), None, Start::Live, LATER).unwrap();
            // As if it had come before all of them and had not read since.
            (slow.next, slow.single_through) = (1, 0);
            Told::from(1).take_all(hub, &wake, &mut slow, LATER, 9);
        };
        let threads = vec![
            with(&hub, slow),
            with(&hub, slow),
            with(&hub, |hub| hub.evict_old(LATER)),
            with(&hub, |hub| {
                let wake = Arc::<Notify>::default();
                let viewer = hub.enter(wake.clone()).unwrap();
                let back = Start::Back { span_ns: 3_600 * S };
                let (mut part, subscribed) = viewer.subscribe(1, &topic(only("a")), None, back, LATER).unwrap();
                assert_eq!(subscribed.next, 1);
                Told::from(1).take_all(hub, &wake, &mut part, LATER, 9);
            }),
            with(&hub, move |hub| (0..2).for_each(|_| publish(hub, &app, LATER))),
            with(&hub, |hub| cut_to_the_end(hub, 9, LATER)),
        ];
        all_join(threads);
        balances(&hub);
    });
}

#[test]
fn what_was_just_published_is_not_forgotten() {
    in_many_orders(|| {
        let hub = hub(Config { forget_after: Duration::ZERO, ..Config::default() });
        publish(&hub, &["a"], NOW);
        let before = hub.app("app").unwrap().epoch;
        let threads = vec![with(&hub, |hub| hub.evict_old(NOW + S)), with(&hub, |hub| publish(hub, &["a"], NOW + S))];
        all_join(threads);
        let viewer = entered(&hub);
        let (mut all, subscribed) = viewer.subscribe(1, &topic(Filter::All), None, Start::History, NOW + S).unwrap();
        // Forgotten before it was published, or not at all.
        let count = if subscribed.epoch == before { 2 } else { 1 };
        let mut told = Told::from(1);
        while told.take(&hub, &mut all, NOW + S) {}
        assert_eq!(told.count(), count);
        drop((all, viewer));
        balances(&hub);
    });
}
