//! Several relays over an engine that loses, doubles, delays, reorders and parts them: whatever it does, a replica becomes what
//! its origin has, every number once, and nothing is said that nobody wants to hear.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use joey_shared::histogram::Histogram;
use joey_shared::series::COMPUTATION;
use joey_shared::wire::{Blob, ServerMessage};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::bridge::{Action, Bridge};
use super::messages::Word;
use super::subjects::{LogId, Place, Subjects};
use crate::config::Config;
use crate::data_point::DataPoint;
use crate::hub::{Hub, Outgoing, Want};

mod ownerless_logs;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const STEP: u64 = 50 * MS;
const BEGIN: u64 = 1_000_000 * S;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(BEGIN) };
}

/// The time on the simulated wall.
fn now() -> u64 {
    NOW.get()
}

/// What the engine does to each message.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lost: f64,
    doubled: f64,
    delay_ns_max: u64,
}

const NONE: Faults = Faults { lost: 0.0, doubled: 0.0, delay_ns_max: 0 };
const ALL: Faults = Faults { lost: 0.2, doubled: 0.3, delay_ns_max: 400 * MS };

struct Node {
    hub: Arc<Hub>,
    bridge: Bridge,
    outgoing: mpsc::Receiver<Outgoing>,
    subscribed: BTreeSet<(String, bool)>,
    /// Nodes of different sides do not hear each other.
    side: u8,
}

/// Relays and what is under way between them.
struct Air {
    nodes: Vec<Node>,
    under_way: Vec<(u64, usize, String, Bytes)>,
    faults: Faults,
    chance: Rng,
    /// Every message that was said: by whom, under which subject.
    said: Vec<(usize, Place)>,
    /// How many of them were about logs that are held for an origin that is gone.
    holds: usize,
}

impl Air {
    fn with(nodes: usize, seed: u64) -> Self {
        NOW.set(BEGIN);
        let mut air = Self {
            nodes: Vec::new(),
            under_way: Vec::new(),
            faults: NONE,
            chance: Rng::with_seed(seed),
            said: Vec::new(),
            holds: 0,
        };
        for at in 0..nodes {
            air.nodes.push(node(100 + at as u64));
        }
        air.run(S);
        air
    }

    fn hub(&self, at: usize) -> &Hub {
        &self.nodes[at].hub
    }

    /// Publishes `count` updates at node `at`, and cuts.
    fn publish(&mut self, at: usize, app: &'static str, count: usize) {
        let hub = &self.nodes[at].hub;
        let known = hub.app(app).unwrap();
        for update in 0..count {
            hub.publish(&known, &metrics(app, update), now()).unwrap();
        }
        hub.cut_all(now());
    }

    /// Publishes `count` updates of `App` at the first node, so many `times`, a step apart.
    fn flows(&mut self, times: usize, count: usize) {
        for _ in 0..times {
            self.publish(0, "App", count);
            self.run(STEP);
        }
    }

    fn want(&self, at: usize, app: &str) -> Want {
        self.nodes[at].hub.want(app)
    }

    fn part(&mut self, at: usize) {
        self.nodes[at].side = 1;
    }

    fn heal(&mut self) {
        for node in &mut self.nodes {
            if std::mem::take(&mut node.side) == 1 {
                node.bridge.connected();
            }
        }
    }

    fn run(&mut self, span_ns: u64) {
        for _ in 0..span_ns / STEP {
            NOW.set(now() + STEP);
            for at in 0..self.nodes.len() {
                let node = &mut self.nodes[at];
                while let Ok(batch) = node.outgoing.try_recv() {
                    node.bridge.outgoing(batch);
                }
                node.bridge.tick(now() - BEGIN);
                self.perform(at);
            }
            self.deliver();
        }
    }

    /// Runs until `is_so`, and gives how long that took.
    fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> u64 {
        let begun = now();
        while !is_so(self) {
            assert!(now() - begun < 120 * S, "it never came about: {what}");
            self.run(STEP);
        }
        now() - begun
    }

    fn perform(&mut self, at: usize) {
        for action in self.nodes[at].bridge.take_actions() {
            match action {
                Action::Subscribe { subject, is_shared } => {
                    self.nodes[at].subscribed.insert((subject, is_shared));
                }
                Action::Unsubscribe { subject } => self.nodes[at].subscribed.retain(|(known, _)| *known != subject),
                Action::Publish { subject, payload } => self.send(at, &subject, &payload),
            }
        }
    }

    fn send(&mut self, from: usize, subject: &str, payload: &Bytes) {
        self.said.push((from, subjects().read(subject).expect("it is one of ours")));
        self.holds += usize::from(matches!(Word::decode(payload), Some(Word::Holds { .. })));
        let hears = |node: &Node, shared: bool| {
            node.subscribed.iter().any(|(known, is_shared)| *is_shared == shared && matches(known, subject))
        };
        let others = || (0..self.nodes.len()).filter(|&at| at != from && self.nodes[at].side == self.nodes[from].side);
        let mut to: Vec<usize> = others().filter(|&at| hears(&self.nodes[at], false)).collect();
        let group: Vec<usize> = others().filter(|&at| hears(&self.nodes[at], true)).collect();
        to.extend(self.chance.choice(group));
        for at in to {
            if self.chance.f64() < self.faults.lost {
                continue;
            }
            let copies = 1 + usize::from(self.chance.f64() < self.faults.doubled);
            for _ in 0..copies {
                let delay = self.chance.u64(0..=self.faults.delay_ns_max);
                self.under_way.push((now() + delay, at, subject.to_owned(), payload.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(first) = self.under_way.iter().position(|(due, ..)| *due <= now()) {
            let (_, at, subject, payload) = self.under_way.remove(first);
            self.nodes[at].bridge.hear(&subject, &payload, now() - BEGIN);
            self.perform(at);
        }
    }

    /// The epoch of node `at`'s own log.
    fn log_of(&self, at: usize, app: &str) -> LogId {
        let logs = self.hub(at).own_logs();
        let log = logs.iter().find(|log| log.entry.app == app).expect("it has this log");
        LogId { app: app.to_owned(), epoch: log.epoch }
    }

    fn is_whole(&self, at: usize, log: &LogId, head: u64) -> bool {
        self.hub(at).replica_head(&log.app, log.epoch) == Some(head)
    }

    /// Checks that node `at` holds each number of `log` up to `head` once.
    fn check(&self, at: usize, log: &LogId, head: u64) {
        let numbers = numbers(&self.hub(at).history(&log.app, log.epoch, 0).expect("it is held"));
        assert_eq!(numbers, (1..=head).collect::<Vec<_>>(), "node {at}");
    }

    /// How often somebody who is not cut off has said what it holds.
    fn heard_of_holders(&self) -> usize {
        self.holds
    }

    fn batches_said(&self) -> usize {
        self.said.iter().filter(|(_, place)| matches!(place, Place::Log(_))).count()
    }
}

fn node(epoch: u64) -> Node {
    node_at(epoch, &[])
}

/// A node that is reached under these addresses.
fn node_at(epoch: u64, advertise: &[&str]) -> Node {
    let nats = vec!["nats://127.0.0.1".parse().unwrap()];
    let advertise = advertise.iter().map(|&address| address.to_owned()).collect();
    let forget_after = Duration::from_secs(400);
    let hub = Arc::new(Hub::new(Config { clock: now, nats, advertise, forget_after, ..Config::default() }, epoch));
    let outgoing = hub.outgoing().unwrap();
    Node { bridge: Bridge::new(hub.clone(), subjects()), hub, outgoing, subscribed: BTreeSet::new(), side: 0 }
}

fn subjects() -> Subjects {
    Subjects::new("joey")
}

fn matches(known: &str, subject: &str) -> bool {
    match known.strip_suffix('*') {
        Some(beginning) => subject.strip_prefix(beginning).is_some_and(|rest| !rest.contains('.')),
        None => known == subject,
    }
}

fn metrics(app: &'static str, update: usize) -> DataPoint<'static> {
    let mut histogram = Histogram::default();
    histogram.record(update as u64);
    DataPoint {
        app,
        name: ["a", "b", "c"][update % 3],
        category: COMPUTATION,
        worker: "w",
        pipeline: "p",
        id: 1,
        histogram,
        period_ns: 2 * S,
        end_ns: now() - now() % (2 * S),
    }
}

/// The numbers of all updates in these messages, in the order in which they stand there.
fn numbers(messages: &[Bytes]) -> Vec<u64> {
    let of = |bytes: &Bytes| match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } => head.read(updates).map(|update| update.unwrap().seq).collect(),
        ServerMessage::Series { .. } => Vec::new(),
        other => panic!("{other:?}"),
    };
    messages.iter().flat_map(of).collect()
}

#[test]
fn what_was_before_and_what_comes_after_is_one_log_elsewhere() {
    let mut air = Air::with(2, 1);
    (0..20).for_each(|_| air.publish(0, "App", 5));
    let _want = air.want(1, "App");
    air.run(S);
    let log = air.log_of(0, "App");
    air.check(1, &log, 100);
    air.flows(20, 5);
    air.run(STEP);
    air.check(1, &log, 200);
    let asked = air.hub(1).counters().cluster.history_requests.get();
    assert_eq!(asked, 1, "nothing was missing after that");
}

#[test]
fn whatever_the_engine_loses_doubles_or_turns_around_is_there_once() {
    for seed in 0..30 {
        let mut air = Air::with(3, seed);
        let _wants = [air.want(1, "App"), air.want(2, "App")];
        air.faults = ALL;
        air.flows(200, 3);
        let log = air.log_of(0, "App");
        air.run_until("both have everything, faults and all", |air| (1..3).all(|at| air.is_whole(at, &log, 600)));
        (1..3).for_each(|at| air.check(at, &log, 600));
    }
}

#[test]
fn a_relay_that_was_cut_off_is_whole_again_within_three_seconds() {
    let mut air = Air::with(3, 3);
    let _wants = [air.want(1, "App"), air.want(2, "App")];
    air.publish(0, "App", 10);
    air.run(2 * S);
    air.part(1);
    air.flows(400, 4);
    let log = air.log_of(0, "App");
    assert!(air.is_whole(2, &log, 1_610) && air.is_whole(1, &log, 10), "one is cut off and the other is not");
    air.heal();
    let took = air.run_until("the gap is filled", |air| air.is_whole(1, &log, 1_610));
    assert!(took <= 3 * S, "{} ms", took / MS);
    (1..3).for_each(|at| air.check(at, &log, 1_610));
}

#[test]
fn relays_that_all_lack_the_same_ask_its_origin() {
    let mut air = Air::with(4, 13);
    let _wants = [1, 2, 3].map(|at| air.want(at, "App"));
    air.publish(0, "App", 10);
    air.run(2 * S);
    air.part(0);
    air.flows(400, 4);
    let log = air.log_of(0, "App");
    air.heal();
    let took = air.run_until("all have it", |air| (1..4).all(|at| air.is_whole(at, &log, 1_610)));
    assert!(took <= 3 * S, "{} ms", took / MS);
    (1..4).for_each(|at| air.check(at, &log, 1_610));
}

#[test]
fn what_nobody_watches_elsewhere_crosses_no_wire() {
    let mut air = Air::with(3, 4);
    air.flows(100, 3);
    assert_eq!(air.batches_said(), 0);
    // Watched where it comes from, and something else elsewhere.
    let wants = (air.want(0, "App"), air.want(1, "Other"));
    air.flows(100, 3);
    assert_eq!(air.batches_said(), 0);
    let want = air.want(1, "App");
    air.run(S);
    air.publish(0, "App", 3);
    air.run(S);
    assert_eq!(air.batches_said(), 1, "each once, however many watch");
    drop((want, wants));
    // What lingers here, and then what the others still believe.
    air.run(45 * S);
    let before = air.batches_said();
    air.publish(0, "App", 3);
    air.run(5 * S);
    assert_eq!(air.batches_said(), before);
    let log = air.log_of(0, "App");
    assert_eq!(air.hub(1).replica_head("App", log.epoch), None, "what nobody watches takes no room");
}

#[test]
fn the_log_of_an_origin_that_has_died_comes_from_whoever_has_it() {
    let mut air = Air::with(3, 5);
    let _want = air.want(1, "App");
    air.publish(0, "App", 10);
    air.run(2 * S);
    let log = air.log_of(0, "App");
    let _other = air.want(2, "App");
    // Its word is still believed, and nobody answers there.
    air.part(0);
    air.run_until("the other one has it", |air| air.is_whole(2, &log, 10));
    air.check(2, &log, 10);
}

#[test]
fn two_relays_that_take_in_one_application_each_have_the_log_of_the_other() {
    let mut air = Air::with(2, 6);
    let _wants = [air.want(0, "App"), air.want(1, "App")];
    for _ in 0..50 {
        air.publish(0, "App", 2);
        air.publish(1, "App", 3);
        air.run(STEP);
    }
    air.run(S);
    let (mine, theirs) = (air.log_of(0, "App"), air.log_of(1, "App"));
    assert_ne!(mine, theirs);
    air.check(1, &mine, 100);
    air.check(0, &theirs, 150);
}

#[test]
fn a_restarted_origin_begins_another_log() {
    let mut air = Air::with(2, 7);
    let _want = air.want(1, "App");
    air.publish(0, "App", 10);
    air.run(2 * S);
    let before = air.log_of(0, "App");
    air.nodes[0] = node(500);
    air.run(S);
    air.publish(0, "App", 4);
    air.run(3 * S);
    air.check(1, &before, 10);
    let after = air.log_of(0, "App");
    air.check(1, &after, 4);
}

#[test]
fn a_history_larger_than_any_message_comes_in_pages() {
    let mut air = Air::with(2, 8);
    for _ in 0..400 {
        air.publish(0, "App", 900);
    }
    let log = air.log_of(0, "App");
    let held: usize = air.hub(0).history("App", log.epoch, 0).unwrap().iter().map(Bytes::len).sum();
    assert!(held > 3 << 20, "{held} bytes are more than one page");
    let _want = air.want(1, "App");
    air.run_until("everything is there", |air| air.is_whole(1, &log, 360_000));
    air.check(1, &log, 360_000);
}

#[test]
fn presence_is_counted_everywhere_and_ends_with_a_relay() {
    let mut air = Air::with(3, 9);
    let _wants = [air.want(1, "App"), air.want(1, "App"), air.want(2, "App")];
    air.run(3 * S);
    let elsewhere = |air: &Air, at: usize| {
        let here: u32 = air.hub(at).presence().iter().map(|(_, viewers)| viewers).sum();
        air.hub(at).viewers_of("App") - here
    };
    assert_eq!([0, 1, 2].map(|at| elsewhere(&air, at)), [3, 1, 2]);
    air.part(2);
    air.run(15 * S);
    assert_eq!([0, 1, 2].map(|at| elsewhere(&air, at)), [2, 0, 0]);
    assert_eq!(air.hub(0).counters().cluster.relays.get(), 2);
}

#[test]
fn an_application_known_anywhere_is_known_everywhere() {
    let mut air = Air::with(2, 10);
    air.publish(0, "App", 3);
    let app = air.hub(0).app("App").unwrap();
    air.hub(0).worker_joined(&app, "w", now());
    air.run(3 * S);
    let (_, entries, _) = air.hub(1).catalogue_since(0);
    assert_eq!((entries[0].app.as_str(), entries[0].series, entries[0].workers.len()), ("App", 3, 1));
    assert_eq!(air.batches_said(), 0, "knowing of it is not watching it");
}

#[test]
fn a_relay_alone_or_leaving_is_noticed() {
    let mut air = Air::with(2, 11);
    air.publish(0, "App", 3);
    air.run(3 * S);
    air.nodes[0].bridge.leave();
    air.perform(0);
    air.deliver();
    assert_eq!(air.hub(1).catalogue_since(0).1, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_said_panics_or_grows_without_end(
        words in proptest::collection::vec((0..8_usize, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..60)
    ) {
        let mut air = Air::with(1, 12);
        let _want = air.want(0, "App");
        air.run(STEP);
        for (kind, number, bytes) in words {
            let relay = number % 5;
            let word = match kind {
                0 => Word::Ask { relay, ask: number, app: "App".into(), epoch: number, after: number },
                1 => Word::Part { ask: relay, index: relay as u32, end: None, bytes: Blob(&bytes) },
                2 => Word::Leaves { relay },
                3 => Word::Wants {
                    relay,
                    ttl_ms: u32::MAX,
                    is_back: true,
                    viewers: u32::MAX,
                    apps: vec![(String::from_utf8_lossy(&bytes).into_owned(), u32::MAX)],
                },
                4 => {
                    let log = super::messages::LogWord { app: "App".into(), epoch: relay, head: number, entry: None };
                    Word::Logs { relay, release: String::new(), logs: vec![log] }
                }
                5 => {
                    let app = if number % 2 == 0 { "App" } else { "" }.to_owned();
                    let entry = joey_shared::wire::AppEntry { app, ..Default::default() };
                    let held = super::messages::HeldWord { epoch: relay, head: number, quiet_ms: number as u32, entry };
                    Word::Holds { relay, ttl_ms: number as u32, logs: vec![held] }
                }
                6 => Word::Reach { relay, addresses: vec![String::from_utf8_lossy(&bytes).into_owned()] },
                _ => Word::Leaves { relay: u64::MAX },
            };
            let places = [Place::Logs, Place::Wants, Place::Log(LogId { app: "App".into(), epoch: relay })];
            for place in places {
                let node = &mut air.nodes[0];
                node.bridge.hear(&subjects().of(&place), &word.encode().into(), now() - BEGIN);
                node.bridge.hear(&subjects().of(&place), &Bytes::from(bytes.clone()), now() - BEGIN);
            }
            air.run(STEP);
        }
        air.run(S);
    }
}
