//! Random operations on a hub, compared with a model that stores everything. In any order of publishing, cutting,
//! evicting, subscribing and unsubscribing, each subscription gets every number exactly once or in a reported gap.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

/// Workers that publish.
const WORKERS: [&str; 3] = ["a", "b", "c"];
/// Number of topics: the whole application, a category, two series, and a series without updates.
const TOPICS: usize = 5;
/// Retention of single updates and of rollups in seconds, and the time after which a silent application is removed.
const RING_S: u64 = 20;
const ROLLUPS_S: u64 = 70;
const FORGET_S: u64 = 60;

#[derive(Clone, Debug)]
enum Op {
    /// Publish a number of updates of one worker. The worker `b` reports another category.
    Publish {
        worker: usize,
        updates: usize,
    },
    Cut,
    /// Let some seconds pass, and evict old history.
    Pass {
        seconds: u64,
    },
    /// Subscribe to a topic.
    Subscribe {
        topic: usize,
        start: StartAt,
    },
    /// Read at most this many batches from one subscription.
    Read {
        which: usize,
        batches: usize,
    },
    /// End one subscription.
    Leave {
        which: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum StartAt {
    History,
    Live,
    /// After the number with this distance from the newest.
    Back(u64),
    OtherEpoch,
    /// With this many seconds of history.
    Seconds(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![
        2 => Just(StartAt::History),
        1 => Just(StartAt::Live),
        3 => (0..40_u64).prop_map(StartAt::Back),
        1 => Just(StartAt::OtherEpoch),
        1 => (1..90_u64).prop_map(StartAt::Seconds),
    ];
    prop_oneof![
        // 1,000 updates fill a batch before it is cut.
        8 => (0..WORKERS.len(), prop_oneof![30 => 1..6_usize, 1 => 900..1_100_usize])
            .prop_map(|(worker, updates)| Op::Publish { worker, updates }),
        5 => Just(Op::Cut),
        3 => prop_oneof![4 => 1..15_u64, 1 => Just(2 * FORGET_S)].prop_map(|seconds| Op::Pass { seconds }),
        3 => (0..TOPICS, start).prop_map(|(topic, start)| Op::Subscribe { topic, start }),
        8 => (any::<usize>(), 1..4_usize).prop_map(|(which, batches)| Op::Read { which, batches }),
        2 => any::<usize>().prop_map(|which| Op::Leave { which }),
    ]
}

fn filter(topic: usize) -> Filter {
    match topic {
        0 => Filter::All,
        1 => Filter::Category(COMPUTATION.to_owned()),
        2 => only("a"),
        3 => only("c"),
        _ => only("nobody"),
    }
}

fn category_of(worker: &str) -> &'static str {
    if worker == "b" { "other" } else { COMPUTATION }
}

/// An update that was published under one number.
#[derive(Clone, Debug)]
struct Published {
    worker: usize,
    /// Number of its series.
    series: u32,
    histogram: Histogram,
    /// When it was cut; `None` while it is pending.
    cut_ns: Option<u64>,
}

/// Counts in a range, by series.
type Counts = BTreeMap<u32, Histogram>;

/// A hub, and everything that was published in the current log of its only application.
struct World {
    hub: Arc<Hub>,
    viewer: super::Viewer,
    now_ns: u64,
    epoch: u64,
    published: Vec<Published>,
    /// Worker of each series number. An expired worker's series gets a new number.
    numbers: BTreeMap<u32, usize>,
    /// Batches cut before the first time, and rollups of batches cut before the second, may have been evicted.
    dropped_ns: u64,
    dropped_rollup_ns: u64,
    has_byte_limit: bool,
    subscriptions: Vec<(Subscription, usize)>,
    /// Number of updates ever published; also the value that an update's histogram records.
    total: u64,
    reported_missing: u64,
}

impl World {
    fn new(ring_bytes_max: Option<u64>, has_rollups: bool) -> Self {
        let defaults = Config::default();
        let hub = hub(Config {
            ring: Duration::from_secs(RING_S),
            rollups: Duration::from_secs(if has_rollups { ROLLUPS_S } else { 0 }),
            forget_after: Duration::from_secs(FORGET_S),
            ring_bytes_max: ring_bytes_max.unwrap_or(defaults.ring_bytes_max),
            ..defaults
        });
        Self {
            viewer: registered_viewer(&hub),
            hub,
            now_ns: NOW,
            epoch: 0,
            published: Vec::new(),
            numbers: BTreeMap::new(),
            dropped_ns: 0,
            dropped_rollup_ns: 0,
            has_byte_limit: ring_bytes_max.is_some(),
            subscriptions: Vec::new(),
            total: 0,
            reported_missing: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Publish { worker, updates } => self.publish(worker, updates),
            Op::Cut => {
                self.hub.cut_all(self.now_ns);
                self.mark_cut();
            }
            Op::Pass { seconds } => {
                if seconds >= SERIES_SLACK.as_secs() {
                    // Updates never stay pending for so long.
                    self.hub.cut_all(self.now_ns);
                    self.mark_cut();
                }
                self.now_ns += seconds * S;
                // This cuts pending updates first.
                self.hub.evict_old(self.now_ns);
                self.mark_cut();
                let retained_since = |span| self.now_ns.saturating_sub(nanos(span + RETENTION_SLACK));
                (self.dropped_ns, self.dropped_rollup_ns) =
                    (retained_since(self.hub.config().ring), retained_since(self.hub.config().rollups));
                if !self.has_rollups() {
                    self.dropped_rollup_ns = self.dropped_ns;
                }
            }
            Op::Subscribe { topic, start } => self.subscribe(topic, start),
            Op::Read { which, batches } if !self.subscriptions.is_empty() => {
                let at = which % self.subscriptions.len();
                _ = self.read(at, batches);
            }
            Op::Leave { which } if !self.subscriptions.is_empty() => {
                drop(self.subscriptions.swap_remove(which % self.subscriptions.len()));
            }
            Op::Read { .. } | Op::Leave { .. } => {}
        }
        self.check_totals();
    }

    fn publish(&mut self, worker: usize, updates: usize) {
        let app = self.hub.app("app").unwrap();
        if app.epoch != self.epoch {
            assert!(self.subscriptions.is_empty(), "an application with viewers is not removed");
            (self.epoch, self.dropped_ns, self.dropped_rollup_ns) = (app.epoch, 0, 0);
            self.published.clear();
            self.numbers.clear();
        }
        for _ in 0..updates {
            self.total += 1;
            // Scales alternate, with and without a sum, so rollups have to fold.
            let grid = Grid::new((self.total % 4) as u8, Unit::Nanoseconds).unwrap();
            let mut histogram =
                if self.total.is_multiple_of(3) { Histogram::with_sum(grid) } else { Histogram::new(grid) };
            histogram.record(self.total);
            let end_s = self.now_ns / S;
            let category = category_of(WORKERS[worker]);
            let point = DataPoint { histogram: histogram.clone(), ..data_point(WORKERS[worker], category, end_s) };
            let series = self.hub.publish(&app, &point, self.now_ns).unwrap();
            assert_eq!(*self.numbers.entry(series).or_insert(worker), worker, "a number is never reused");
            self.published.push(Published { worker, series, histogram, cut_ns: None });
            if self.pending() == 1_000 {
                self.mark_cut();
            }
        }
    }

    fn pending(&self) -> usize {
        self.published.iter().rev().take_while(|published| published.cut_ns.is_none()).count()
    }

    fn mark_cut(&mut self) {
        let now_ns = self.now_ns;
        self.published
            .iter_mut()
            .rev()
            .take_while(|published| published.cut_ns.is_none())
            .for_each(|published| published.cut_ns = Some(now_ns));
    }

    fn subscribe(&mut self, at: usize, from: StartAt) {
        let head = self.published.len() as u64;
        let start = match from {
            StartAt::History => Start::History,
            StartAt::Live => Start::Live,
            StartAt::Back(back) => Start::After { epoch: self.epoch, seq: head.saturating_sub(back) },
            StartAt::OtherEpoch => Start::After { epoch: self.epoch ^ 1, seq: head },
            StartAt::Seconds(seconds) => Start::Recent { span_ns: seconds * S },
        };
        let subscribed = self.viewer.subscribe(1, &topic(filter(at)), None, start, self.now_ns);
        let Ok((subscription, subscribed)) = subscribed else {
            assert!(self.hub.gauges(0).apps == 0, "an existing application can be subscribed to");
            return;
        };
        assert_eq!(subscription.app().epoch(), self.epoch, "a log starts with an update");
        self.mark_cut();
        let requested = match from {
            StartAt::Live => head + 1,
            StartAt::Back(back) => head.saturating_sub(back) + 1,
            StartAt::History | StartAt::OtherEpoch | StartAt::Seconds(_) => 1,
        };
        assert!((1..=head + 1).contains(&subscribed.next) && subscribed.next >= requested);
        match from {
            StartAt::Back(_) => {
                assert_eq!(subscribed.missing, subscribed.next - requested, "the number of missing updates is exact")
            }
            _ => assert_eq!(subscribed.missing, 0, "a request for existing history has no gap"),
        }
        self.reported_missing += subscribed.missing;
        let (filter, before) = (filter(at), requested..=subscribed.next - 1);
        match from {
            StartAt::Live | StartAt::Back(_) => self.assert_may_be_evicted(before, &filter),
            StartAt::OtherEpoch => self.assert_cut_before(self.dropped_rollup_ns, before, &filter),
            StartAt::History => self.assert_cut_before(self.dropped_ns, before, &filter),
            StartAt::Seconds(seconds) => {
                let since_ns = self.now_ns.saturating_sub(seconds * S);
                self.assert_cut_before(since_ns.max(self.dropped_rollup_ns), before, &filter);
            }
        }
        self.subscriptions.push((subscription, at));
    }

    /// Reads from one subscription. Returns whether there was anything.
    fn read(&mut self, at: usize, batches: usize) -> bool {
        let (subscription, topic) = &mut self.subscriptions[at];
        let filter = filter(*topic);
        let mut expected = subscription.position();
        let read = subscription.read(batches, self.now_ns);
        let position = subscription.position();
        assert!(read.batches.len() <= batches);
        if let Some((from, to)) = read.gap {
            assert!(from == expected && from <= to, "a gap starts at the viewer's position");
            self.reported_missing += to - from + 1;
            self.assert_may_be_evicted(from..=to, &filter);
            expected = to + 1;
        }
        for bytes in &read.batches {
            let (from, to, counted, is_rollup) = covered(bytes);
            // A viewer that resumes inside a batch gets the whole batch with its sequence numbers. A rollup has no such
            // numbers.
            assert!(
                from == expected || !is_rollup && from < expected && expected <= to,
                "{from}..={to} after {expected}"
            );
            assert!(!is_rollup || self.has_rollups());
            assert_eq!(counted, self.counted(from, to, &filter), "{from}..={to} of {filter:?}");
            expected = to + 1;
        }
        assert_eq!(expected, position);
        if read.gap.is_none() && read.batches.is_empty() {
            // Everything that was cut has been read, so no later update matches.
            let cut = (self.published.len() - self.pending()) as u64;
            assert_eq!(self.counted(expected, cut, &filter), Counts::new(), "beyond {expected} of {filter:?}");
            return false;
        }
        true
    }

    /// Sum of the matching updates in this range.
    fn counted(&self, from: u64, to: u64, filter: &Filter) -> Counts {
        let mut counted = Counts::new();
        for seq in from..=to {
            let published = &self.published[seq as usize - 1];
            if self.passes(published, filter) {
                counted.entry(published.series).or_default().merge(&published.histogram);
            }
        }
        counted
    }

    fn passes(&self, published: &Published, filter: &Filter) -> bool {
        let worker = WORKERS[published.worker];
        let [category, pipeline, worker, name] = [category_of(worker), "p", worker, "n"].map(str::to_owned);
        filter.matches(&SeriesKey { category, pipeline, worker, name })
    }

    fn has_rollups(&self) -> bool {
        self.hub.config().rollups > Duration::ZERO
    }

    /// Asserts that the skipped updates were old enough to be evicted, including their rollups. If the viewer resumed
    /// inside a ten-second span of which only the rollup remains, the single updates suffice.
    fn assert_may_be_evicted(&self, gone: RangeInclusive<u64>, filter: &Filter) {
        let spans: BTreeSet<u64> = self
            .cut_times(gone.clone(), filter)
            .filter(|&cut_ns| cut_ns >= self.dropped_rollup_ns)
            .map(|ns| ns / super::super::batch::SPAN_NS)
            .collect();
        assert!(
            self.has_byte_limit || spans.len() <= usize::from(self.has_rollups()),
            "{gone:?} was evicted too early"
        );
        self.assert_cut_before(self.dropped_ns, gone, filter);
    }

    /// Asserts that the updates in this range that match `filter` were cut before `before_ns`, unless the byte limit
    /// applies.
    fn assert_cut_before(&self, before_ns: u64, numbers: RangeInclusive<u64>, filter: &Filter) {
        let is_old = self.cut_times(numbers.clone(), filter).all(|cut_ns| cut_ns < before_ns);
        assert!(self.has_byte_limit || is_old, "{numbers:?} should still be stored");
    }

    fn cut_times(&self, numbers: RangeInclusive<u64>, filter: &Filter) -> impl Iterator<Item = u64> {
        let published =
            numbers.map(|seq| &self.published[seq as usize - 1]).filter(|published| self.passes(published, filter));
        published.map(|published| published.cut_ns.expect("a pending update cannot be skipped"))
    }

    /// The accounted totals equal the actual ones.
    fn check_totals(&self) {
        let held: u64 = self.hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
        assert_eq!(self.hub.ring_bytes.load(Relaxed), held);
        assert_eq!(self.hub.series.load(Relaxed), self.hub.gauges(0).series as u64);
        assert_eq!(self.hub.counters().frames_accepted.get(), self.total);
        assert_eq!(self.hub.counters().gap_updates.get(), self.reported_missing);
    }
}

/// Range of a message, its counts, and whether it is a rollup. The numbers in a batch must ascend within its range.
fn covered(bytes: &[u8]) -> (u64, u64, Counts, bool) {
    let (head, updates, is_rollup) = match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } => (head, updates, false),
        ServerMessage::Rollup { head, updates } => (head, updates, true),
        other => panic!("unexpected message {other:?}"),
    };
    let (mut counted, mut last) = (Counts::new(), head.from - 1);
    for update in head.read(updates).map(Result::unwrap) {
        assert!(is_rollup || update.seq > last && update.seq <= head.to, "{} after {last} in {head:?}", update.seq);
        last = update.seq;
        counted.entry(update.series).or_default().merge(&update.histogram);
    }
    (head.from, head.to, counted, is_rollup)
}

proptest! {
    #[test]
    fn every_number_is_delivered_once_or_reported_missing(
        ring_bytes_max in prop_oneof![Just(None), (1_000..8_000_u64).prop_map(Some)],
        has_rollups in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(ring_bytes_max, has_rollups);
        for op in &ops {
            world.run(op);
        }
        // Finally all subscriptions catch up, and everything expires.
        world.run(&Op::Cut);
        for at in 0..world.subscriptions.len() {
            while world.read(at, usize::MAX) {}
        }
        world.subscriptions.clear();
        world.check_totals();
        world.run(&Op::Pass { seconds: 10 * FORGET_S });
        prop_assert_eq!(world.hub.gauges(0).ring_bytes, 0);
        prop_assert_eq!(world.hub.gauges(0).apps, 0);
    }
}
