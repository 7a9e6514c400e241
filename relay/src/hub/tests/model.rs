//! Random operations on a hub beside a model that keeps everything: whatever is published, cut, dropped, followed and left in
//! whatever order, every number reaches each subscription exactly once or lies in a gap that it is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

/// The workers that are published for.
const WORKERS: [&str; 3] = ["a", "b", "c"];
/// Every kind of topic: the whole, a category, a series, and a series that nobody sends.
const TOPICS: usize = 5;
/// Seconds of single updates, and of sums behind them; those after which a silent application is forgotten.
const RING_S: u64 = 20;
const SUMS_S: u64 = 70;
const FORGET_S: u64 = 60;

#[derive(Clone, Debug)]
enum Op {
    /// So many updates of one worker; the worker `b` reports another category.
    Publish {
        worker: usize,
        updates: usize,
    },
    Cut,
    /// So many seconds pass, and old history is dropped.
    Pass {
        seconds: u64,
    },
    /// Follow a topic.
    Follow {
        topic: usize,
        start: From,
    },
    /// One subscription takes at most so many batches.
    Read {
        which: usize,
        batches: usize,
    },
    /// One subscription ends.
    Leave {
        which: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum From {
    History,
    Live,
    /// After the stamp that is so far from the newest.
    Back(u64),
    OtherEpoch,
    /// With so many seconds.
    Seconds(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![
        2 => Just(From::History),
        1 => Just(From::Live),
        3 => (0..40_u64).prop_map(From::Back),
        1 => Just(From::OtherEpoch),
        1 => (1..90_u64).prop_map(From::Seconds),
    ];
    prop_oneof![
        // More than 1,000 make a batch full before it is cut.
        8 => (0..WORKERS.len(), prop_oneof![30 => 1..6_usize, 1 => 900..1_100_usize])
            .prop_map(|(worker, updates)| Op::Publish { worker, updates }),
        5 => Just(Op::Cut),
        3 => prop_oneof![4 => 1..15_u64, 1 => Just(2 * FORGET_S)].prop_map(|seconds| Op::Pass { seconds }),
        3 => (0..TOPICS, start).prop_map(|(topic, start)| Op::Follow { topic, start }),
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

/// What was published under one number.
#[derive(Clone, Debug)]
struct Sent {
    worker: usize,
    /// The number of its series.
    series: u32,
    histogram: Histogram,
    /// When it left for the ring; `None` while it waits.
    cut_ns: Option<u64>,
}

/// What is counted in a range, by series.
type Counts = BTreeMap<u32, Histogram>;

/// A hub, and everything that was ever published in the present log of its one application.
struct World {
    hub: Arc<Hub>,
    viewer: super::Viewer,
    now_ns: u64,
    epoch: u64,
    sent: Vec<Sent>,
    /// Which worker each number of a series was given for. A worker that was let go gets another one.
    numbers: BTreeMap<u32, usize>,
    /// Batches cut before this may be gone, and sums of batches cut before that.
    dropped_ns: u64,
    dropped_sum_ns: u64,
    is_short_of_room: bool,
    followed: Vec<(Subscription, usize)>,
    /// Goes up with every update ever, and is what its histogram counts.
    total: u64,
    told_missing: u64,
}

impl World {
    fn new(ring_bytes_max: Option<u64>, has_sums: bool) -> Self {
        let defaults = Config::default();
        let hub = hub(Config {
            ring: Duration::from_secs(RING_S),
            rollups: Duration::from_secs(if has_sums { SUMS_S } else { 0 }),
            forget_after: Duration::from_secs(FORGET_S),
            ring_bytes_max: ring_bytes_max.unwrap_or(defaults.ring_bytes_max),
            ..defaults
        });
        Self {
            viewer: entered(&hub),
            hub,
            now_ns: NOW,
            epoch: 0,
            sent: Vec::new(),
            numbers: BTreeMap::new(),
            dropped_ns: 0,
            dropped_sum_ns: 0,
            is_short_of_room: ring_bytes_max.is_some(),
            followed: Vec::new(),
            total: 0,
            told_missing: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Publish { worker, updates } => self.publish(worker, updates),
            Op::Cut => {
                self.hub.cut_all(self.now_ns);
                self.has_cut();
            }
            Op::Pass { seconds } => {
                if seconds >= SERIES_SLACK.as_secs() {
                    // Nothing waits for so long to be cut.
                    self.hub.cut_all(self.now_ns);
                    self.has_cut();
                }
                self.now_ns += seconds * S;
                self.hub.evict_old(self.now_ns);
                let kept = |span| self.now_ns.saturating_sub(nanos(span + SLACK));
                (self.dropped_ns, self.dropped_sum_ns) =
                    (kept(self.hub.config().ring), kept(self.hub.config().rollups));
                if !self.has_sums() {
                    self.dropped_sum_ns = self.dropped_ns;
                }
            }
            Op::Follow { topic, start } => self.follow(topic, start),
            Op::Read { which, batches } if !self.followed.is_empty() => {
                let at = which % self.followed.len();
                _ = self.read(at, batches);
            }
            Op::Leave { which } if !self.followed.is_empty() => {
                drop(self.followed.swap_remove(which % self.followed.len()));
            }
            Op::Read { .. } | Op::Leave { .. } => {}
        }
        self.accounts_are_right();
    }

    fn publish(&mut self, worker: usize, updates: usize) {
        let app = self.hub.app("app").unwrap();
        if app.epoch != self.epoch {
            assert!(self.followed.is_empty(), "an application that somebody watches is not forgotten");
            (self.epoch, self.dropped_ns, self.dropped_sum_ns) = (app.epoch, 0, 0);
            self.sent.clear();
            self.numbers.clear();
        }
        for _ in 0..updates {
            self.total += 1;
            let mut histogram = Histogram::default();
            histogram.record(self.total);
            let end_s = self.now_ns / S;
            let category = category_of(WORKERS[worker]);
            let metrics = DataPoint { histogram: histogram.clone(), ..metrics(WORKERS[worker], category, end_s) };
            let series = self.hub.publish(&app, &metrics, self.now_ns).unwrap();
            assert_eq!(*self.numbers.entry(series).or_insert(worker), worker, "a number is given once");
            self.sent.push(Sent { worker, series, histogram, cut_ns: None });
            if self.pending() == 1_000 {
                self.has_cut();
            }
        }
    }

    fn pending(&self) -> usize {
        self.sent.iter().rev().take_while(|sent| sent.cut_ns.is_none()).count()
    }

    fn has_cut(&mut self) {
        let now_ns = self.now_ns;
        self.sent.iter_mut().rev().take_while(|sent| sent.cut_ns.is_none()).for_each(|sent| sent.cut_ns = Some(now_ns));
    }

    fn follow(&mut self, at: usize, from: From) {
        let head = self.sent.len() as u64;
        let start = match from {
            From::History => Start::History,
            From::Live => Start::Live,
            From::Back(back) => Start::After { epoch: self.epoch, seq: head.saturating_sub(back) },
            From::OtherEpoch => Start::After { epoch: self.epoch ^ 1, seq: head },
            From::Seconds(seconds) => Start::Back { span_ns: seconds * S },
        };
        let subscribed = self.viewer.subscribe(1, &topic(filter(at)), None, start, self.now_ns);
        let Ok((subscription, subscribed)) = subscribed else {
            assert!(self.hub.gauges(0).apps == 0, "an application that exists can be followed");
            return;
        };
        assert_eq!(subscription.of().epoch(), self.epoch, "a log begins with an update");
        self.has_cut();
        let wanted = match from {
            From::Live => head + 1,
            From::Back(back) => head.saturating_sub(back) + 1,
            From::History | From::OtherEpoch | From::Seconds(_) => 1,
        };
        assert!((1..=head + 1).contains(&subscribed.next) && subscribed.next >= wanted);
        match from {
            From::Back(_) => {
                assert_eq!(subscribed.missing, subscribed.next - wanted, "what is missing is told exactly")
            }
            _ => assert_eq!(subscribed.missing, 0, "nothing is missed by whoever asks for what there is"),
        }
        self.told_missing += subscribed.missing;
        let (filter, before) = (filter(at), wanted..=subscribed.next - 1);
        match from {
            From::Live | From::Back(_) => self.is_rightly_gone(before, &filter),
            From::OtherEpoch => self.was_cut_before(self.dropped_sum_ns, before, &filter),
            From::History => self.was_cut_before(self.dropped_ns, before, &filter),
            From::Seconds(seconds) => {
                let since_ns = self.now_ns.saturating_sub(seconds * S);
                self.was_cut_before(since_ns.max(self.dropped_sum_ns), before, &filter);
            }
        }
        self.followed.push((subscription, at));
    }

    /// Reads; says whether there was anything.
    fn read(&mut self, at: usize, batches: usize) -> bool {
        let (subscription, topic) = &mut self.followed[at];
        let filter = filter(*topic);
        let mut expected = subscription.position();
        let read = subscription.read(batches, self.now_ns);
        let position = subscription.position();
        assert!(read.batches.len() <= batches);
        if let Some((from, to)) = read.gap {
            assert!(from == expected && from <= to, "a gap begins where the viewer is");
            self.told_missing += to - from + 1;
            self.is_rightly_gone(from..=to, &filter);
            expected = to + 1;
        }
        for bytes in &read.batches {
            let (from, to, counted, is_sum) = covered(bytes);
            // Where a viewer resumes within a batch it gets the whole batch, whose stamps say what it has. A sum has none.
            assert!(from == expected || !is_sum && from < expected && expected <= to, "{from}..={to} after {expected}");
            assert!(!is_sum || self.has_sums());
            assert_eq!(counted, self.counted(from, to, &filter), "{from}..={to} of {filter:?}");
            expected = to + 1;
        }
        assert_eq!(expected, position);
        if read.gap.is_none() && read.batches.is_empty() {
            // Everything that was cut has been read; what is beyond did not pass.
            let cut = (self.sent.len() - self.pending()) as u64;
            assert_eq!(self.counted(expected, cut, &filter), Counts::new(), "beyond {expected} of {filter:?}");
            return false;
        }
        true
    }

    /// What the updates with these numbers that pass add up to.
    fn counted(&self, from: u64, to: u64, filter: &Filter) -> Counts {
        let mut counted = Counts::new();
        for seq in from..=to {
            let sent = &self.sent[seq as usize - 1];
            if self.passes(sent, filter) {
                counted.entry(sent.series).or_default().merge(&sent.histogram);
            }
        }
        counted
    }

    fn passes(&self, sent: &Sent, filter: &Filter) -> bool {
        let worker = WORKERS[sent.worker];
        let [category, pipeline, worker, name] = [category_of(worker), "p", worker, "n"].map(str::to_owned);
        filter.admits(&SeriesKey { category, pipeline, worker, name })
    }

    fn has_sums(&self) -> bool {
        self.hub.config().rollups > Duration::ZERO
    }

    /// What a viewer goes on without was old enough to be gone: its sums as well, or its single updates if the viewer comes
    /// back in the middle of ten seconds of which only the sum is left.
    fn is_rightly_gone(&self, gone: RangeInclusive<u64>, filter: &Filter) {
        let spans: BTreeSet<u64> = self
            .cut_times(gone.clone(), filter)
            .filter(|&cut_ns| cut_ns >= self.dropped_sum_ns)
            .map(|ns| ns / super::super::batch::SPAN_NS)
            .collect();
        assert!(self.is_short_of_room || spans.len() <= usize::from(self.has_sums()), "{gone:?} is gone too early");
        self.was_cut_before(self.dropped_ns, gone, filter);
    }

    /// What passes `filter` of these numbers was cut before `before_ns`, unless there is too much history anyway.
    fn was_cut_before(&self, before_ns: u64, numbers: RangeInclusive<u64>, filter: &Filter) {
        let is_old = self.cut_times(numbers.clone(), filter).all(|cut_ns| cut_ns < before_ns);
        assert!(self.is_short_of_room || is_old, "{numbers:?} should be held");
    }

    fn cut_times(&self, numbers: RangeInclusive<u64>, filter: &Filter) -> impl Iterator<Item = u64> {
        let sent = numbers.map(|seq| &self.sent[seq as usize - 1]).filter(|sent| self.passes(sent, filter));
        sent.map(|sent| sent.cut_ns.expect("nobody gets past what waits"))
    }

    /// What is counted as held is what is held.
    fn accounts_are_right(&self) {
        let held: u64 = self.hub.apps.read().values().map(|app| app.log.lock().ring_bytes()).sum();
        assert_eq!(self.hub.ring_bytes.load(Relaxed), held);
        assert_eq!(self.hub.series.load(Relaxed), self.hub.gauges(0).series as u64);
        assert_eq!(self.hub.counters().frames_accepted.get(), self.total);
        assert_eq!(self.hub.counters().gap_updates.get(), self.told_missing);
    }
}

/// The range that a message covers, what it counts there, and whether it is a sum. The stamps of a batch lie in its range and
/// ascend.
fn covered(bytes: &[u8]) -> (u64, u64, Counts, bool) {
    let (head, updates, is_sum) = match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } => (head, updates, false),
        ServerMessage::Sum { head, updates } => (head, updates, true),
        other => panic!("nobody asked for {other:?}"),
    };
    let (mut counted, mut last) = (Counts::new(), head.from - 1);
    for update in head.read(updates).map(Result::unwrap) {
        assert!(is_sum || update.seq > last && update.seq <= head.to, "{} after {last} in {head:?}", update.seq);
        last = update.seq;
        counted.entry(update.series).or_default().merge(&update.histogram);
    }
    (head.from, head.to, counted, is_sum)
}

proptest! {
    #[test]
    fn every_number_is_delivered_once_or_told_missing(
        ring_bytes_max in prop_oneof![Just(None), (1_000..8_000_u64).prop_map(Some)],
        has_sums in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(ring_bytes_max, has_sums);
        for op in &ops {
            world.run(op);
        }
        // In the end everybody catches up, and leaves nothing behind.
        world.run(&Op::Cut);
        for at in 0..world.followed.len() {
            while world.read(at, usize::MAX) {}
        }
        world.followed.clear();
        world.accounts_are_right();
        world.run(&Op::Pass { seconds: 10 * FORGET_S });
        prop_assert_eq!(world.hub.gauges(0).ring_bytes, 0);
        prop_assert_eq!(world.hub.gauges(0).apps, 0);
    }
}
