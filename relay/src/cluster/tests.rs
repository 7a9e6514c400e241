//! Several relays on a simulated network that loses, duplicates, delays and reorders messages and partitions the
//! relays. Every replica must become a copy of its origin with each number once, and logs without interest must not be
//! sent.

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
use super::messages::ClusterMessage;
use super::subjects::{LogId, SubjectKind, Subjects};
use crate::config::Config;
use crate::data_point::DataPoint;
use crate::hub::{Hub, Interest, PeerBatch};

mod ownerless_logs;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const STEP: u64 = 50 * MS;
const BEGIN: u64 = 1_000_000 * S;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(BEGIN) };
}

/// Time on the simulated clock.
fn now() -> u64 {
    NOW.get()
}

/// Faults that the network applies to each message.
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
    outgoing: mpsc::Receiver<PeerBatch>,
    subscribed: BTreeSet<(String, bool)>,
    /// Nodes in different partitions cannot communicate.
    partition: u8,
}

/// Relays and the messages in flight between them.
struct Network {
    nodes: Vec<Node>,
    in_flight: Vec<(u64, usize, String, Bytes)>,
    faults: Faults,
    rng: Rng,
    /// Every message that was sent: sender and subject.
    sent: Vec<(usize, SubjectKind)>,
    /// Number of messages that announced replicas of ownerless logs.
    replica_messages: usize,
}

impl Network {
    fn with(nodes: usize, seed: u64) -> Self {
        NOW.set(BEGIN);
        let mut network = Self {
            nodes: Vec::new(),
            in_flight: Vec::new(),
            faults: NONE,
            rng: Rng::with_seed(seed),
            sent: Vec::new(),
            replica_messages: 0,
        };
        for at in 0..nodes {
            network.nodes.push(node(100 + at as u64));
        }
        network.run(S);
        network
    }

    fn hub(&self, at: usize) -> &Hub {
        &self.nodes[at].hub
    }

    /// Publishes `count` updates at node `at` and cuts a batch.
    fn publish(&mut self, at: usize, app: &'static str, count: usize) {
        let hub = &self.nodes[at].hub;
        let known = hub.app(app).unwrap();
        for update in 0..count {
            hub.publish(&known, &data_point(app, update), now()).unwrap();
        }
        hub.cut_all(now());
    }

    /// Publishes `count` updates of `App` at node 0, `times` times, one step apart.
    fn publish_repeatedly(&mut self, times: usize, count: usize) {
        for _ in 0..times {
            self.publish(0, "App", count);
            self.run(STEP);
        }
    }

    fn register_interest(&self, at: usize, app: &str) -> Interest {
        self.nodes[at].hub.register_interest(app)
    }

    fn isolate(&mut self, at: usize) {
        self.nodes[at].partition = 1;
    }

    fn reconnect_all(&mut self) {
        for node in &mut self.nodes {
            if std::mem::take(&mut node.partition) == 1 {
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
                    node.bridge.publish_batch(batch);
                }
                node.bridge.tick(now() - BEGIN);
                self.perform(at);
            }
            self.deliver();
        }
    }

    /// Runs until `condition` holds. Returns how long that took.
    fn run_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> u64 {
        let begun = now();
        while !condition(self) {
            assert!(now() - begun < 120 * S, "timeout: {what}");
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
        self.sent.push((from, subjects().parse(subject).expect("the subject is valid")));
        self.replica_messages +=
            usize::from(matches!(ClusterMessage::decode(payload), Some(ClusterMessage::Replicas { .. })));
        let receives = |node: &Node, shared: bool| {
            node.subscribed.iter().any(|(known, is_shared)| *is_shared == shared && matches(known, subject))
        };
        let others =
            || (0..self.nodes.len()).filter(|&at| at != from && self.nodes[at].partition == self.nodes[from].partition);
        let mut to: Vec<usize> = others().filter(|&at| receives(&self.nodes[at], false)).collect();
        let group: Vec<usize> = others().filter(|&at| receives(&self.nodes[at], true)).collect();
        to.extend(self.rng.choice(group));
        for at in to {
            if self.rng.f64() < self.faults.lost {
                continue;
            }
            let copies = 1 + usize::from(self.rng.f64() < self.faults.doubled);
            for _ in 0..copies {
                let delay = self.rng.u64(0..=self.faults.delay_ns_max);
                self.in_flight.push((now() + delay, at, subject.to_owned(), payload.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(first) = self.in_flight.iter().position(|(due, ..)| *due <= now()) {
            let (_, at, subject, payload) = self.in_flight.remove(first);
            self.nodes[at].bridge.receive(&subject, &payload, now() - BEGIN);
            self.perform(at);
        }
    }

    /// Identity of node `at`'s own log.
    fn log_of(&self, at: usize, app: &str) -> LogId {
        let logs = self.hub(at).own_logs();
        let log = logs.iter().find(|log| log.entry.app == app).expect("the node has this log");
        LogId { app: app.to_owned(), epoch: log.epoch }
    }

    fn is_complete(&self, at: usize, log: &LogId, head: u64) -> bool {
        self.hub(at).replica_head(&log.app, log.epoch) == Some(head)
    }

    /// Checks that node `at` has each number of `log` up to `head` exactly once.
    fn check(&self, at: usize, log: &LogId, head: u64) {
        let numbers = numbers(&self.hub(at).history(&log.app, log.epoch, 0).expect("the node has the log"));
        assert_eq!(numbers, (1..=head).collect::<Vec<_>>(), "node {at}");
    }

    /// Number of announcements of replicas so far.
    fn replica_announcements(&self) -> usize {
        self.replica_messages
    }

    fn batches_sent(&self) -> usize {
        self.sent.iter().filter(|(_, kind)| matches!(kind, SubjectKind::LogBatches(_))).count()
    }
}

fn node(epoch: u64) -> Node {
    node_at(epoch, &[])
}

/// A node with these advertised addresses.
fn node_at(epoch: u64, advertise: &[&str]) -> Node {
    let nats = vec!["nats://127.0.0.1".parse().unwrap()];
    let advertise = advertise.iter().map(|&address| address.to_owned()).collect();
    let forget_after = Duration::from_secs(400);
    let hub = Arc::new(Hub::new(Config { clock: now, nats, advertise, forget_after, ..Config::default() }, epoch));
    let outgoing = hub.take_peer_batches().unwrap();
    Node { bridge: Bridge::new(hub.clone(), subjects()), hub, outgoing, subscribed: BTreeSet::new(), partition: 0 }
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

fn data_point(app: &'static str, update: usize) -> DataPoint<'static> {
    let mut histogram = Histogram::default();
    histogram.record(update as u64);
    DataPoint {
        app,
        name: ["a", "b", "c"][update % 3],
        category: COMPUTATION,
        worker: "w",
        pipeline: "p",
        id: 1,
        provenance: joey_shared::series::Provenance::default(),
        histogram,
        period_ns: 2 * S,
        end_ns: now() - now() % (2 * S),
    }
}

/// Sequence numbers of all updates in these messages, in order.
fn numbers(messages: &[Bytes]) -> Vec<u64> {
    let of = |bytes: &Bytes| match ServerMessage::decode(bytes).unwrap() {
        ServerMessage::Batch { head, updates } => head.read(updates).map(|update| update.unwrap().seq).collect(),
        ServerMessage::Series { .. } => Vec::new(),
        other => panic!("{other:?}"),
    };
    messages.iter().flat_map(of).collect()
}

#[test]
fn a_replica_contains_history_and_live_batches() {
    let mut network = Network::with(2, 1);
    (0..20).for_each(|_| network.publish(0, "App", 5));
    let _interest = network.register_interest(1, "App");
    network.run(S);
    let log = network.log_of(0, "App");
    network.check(1, &log, 100);
    network.publish_repeatedly(20, 5);
    network.run(STEP);
    network.check(1, &log, 200);
    let requests = network.hub(1).counters().cluster.history_requests.get();
    assert_eq!(requests, 1, "no gap occurs after the first request");
}

#[test]
fn lost_duplicated_and_reordered_messages_do_not_corrupt_replicas() {
    for seed in 0..30 {
        let mut network = Network::with(3, seed);
        let _interests = [network.register_interest(1, "App"), network.register_interest(2, "App")];
        network.faults = ALL;
        network.publish_repeatedly(200, 3);
        let log = network.log_of(0, "App");
        network.run_until("both are complete despite the faults", |network| {
            (1..3).all(|at| network.is_complete(at, &log, 600))
        });
        (1..3).for_each(|at| network.check(at, &log, 600));
    }
}

#[test]
fn a_disconnected_relay_catches_up_within_three_seconds() {
    let mut network = Network::with(3, 3);
    let _interests = [network.register_interest(1, "App"), network.register_interest(2, "App")];
    network.publish(0, "App", 10);
    network.run(2 * S);
    network.isolate(1);
    network.publish_repeatedly(400, 4);
    let log = network.log_of(0, "App");
    assert!(network.is_complete(2, &log, 1_610) && network.is_complete(1, &log, 10), "only one relay is disconnected");
    network.reconnect_all();
    let took = network.run_until("the gap is filled", |network| network.is_complete(1, &log, 1_610));
    assert!(took <= 3 * S, "{} ms", took / MS);
    (1..3).for_each(|at| network.check(at, &log, 1_610));
}

#[test]
fn relays_with_the_same_gap_request_it_from_the_origin() {
    let mut network = Network::with(4, 13);
    let _interests = [1, 2, 3].map(|at| network.register_interest(at, "App"));
    network.publish(0, "App", 10);
    network.run(2 * S);
    network.isolate(0);
    network.publish_repeatedly(400, 4);
    let log = network.log_of(0, "App");
    network.reconnect_all();
    let took = network.run_until("all are complete", |network| (1..4).all(|at| network.is_complete(at, &log, 1_610)));
    assert!(took <= 3 * S, "{} ms", took / MS);
    (1..4).for_each(|at| network.check(at, &log, 1_610));
}

#[test]
fn logs_without_remote_viewers_are_not_sent() {
    let mut network = Network::with(3, 4);
    network.publish_repeatedly(100, 3);
    assert_eq!(network.batches_sent(), 0);
    // Viewers watch it at its origin, and another application elsewhere.
    let interests = (network.register_interest(0, "App"), network.register_interest(1, "Other"));
    network.publish_repeatedly(100, 3);
    assert_eq!(network.batches_sent(), 0);
    let interest = network.register_interest(1, "App");
    network.run(S);
    network.publish(0, "App", 3);
    network.run(S);
    assert_eq!(network.batches_sent(), 1, "each batch once for all viewers");
    drop((interest, interests));
    // Wait until the interest has lingered here and has expired on the other relays.
    network.run(45 * S);
    let before = network.batches_sent();
    network.publish(0, "App", 3);
    network.run(5 * S);
    assert_eq!(network.batches_sent(), before);
    let log = network.log_of(0, "App");
    assert_eq!(network.hub(1).replica_head("App", log.epoch), None, "the replica is dropped");
}

#[test]
fn a_log_of_a_dead_origin_is_fetched_from_a_replica() {
    let mut network = Network::with(3, 5);
    let _interest = network.register_interest(1, "App");
    network.publish(0, "App", 10);
    network.run(2 * S);
    let log = network.log_of(0, "App");
    let _other = network.register_interest(2, "App");
    // Its announcements are still valid, but it does not answer.
    network.isolate(0);
    network.run_until("the other replica is complete", |network| network.is_complete(2, &log, 10));
    network.check(2, &log, 10);
}

#[test]
fn two_relays_that_ingest_one_application_replicate_both_logs() {
    let mut network = Network::with(2, 6);
    let _interests = [network.register_interest(0, "App"), network.register_interest(1, "App")];
    for _ in 0..50 {
        network.publish(0, "App", 2);
        network.publish(1, "App", 3);
        network.run(STEP);
    }
    network.run(S);
    let (mine, theirs) = (network.log_of(0, "App"), network.log_of(1, "App"));
    assert_ne!(mine, theirs);
    network.check(1, &mine, 100);
    network.check(0, &theirs, 150);
}

#[test]
fn a_restarted_origin_begins_a_new_log() {
    let mut network = Network::with(2, 7);
    let _interest = network.register_interest(1, "App");
    network.publish(0, "App", 10);
    network.run(2 * S);
    let before = network.log_of(0, "App");
    network.nodes[0] = node(500);
    network.run(S);
    network.publish(0, "App", 4);
    network.run(3 * S);
    network.check(1, &before, 10);
    let after = network.log_of(0, "App");
    network.check(1, &after, 4);
}

#[test]
fn a_history_larger_than_a_message_is_sent_in_pages() {
    let mut network = Network::with(2, 8);
    for _ in 0..400 {
        network.publish(0, "App", 900);
    }
    let log = network.log_of(0, "App");
    let held: usize = network.hub(0).history("App", log.epoch, 0).unwrap().iter().map(Bytes::len).sum();
    assert!(held > 3 << 20, "{held} bytes are more than one page");
    let _interest = network.register_interest(1, "App");
    network.run_until("the replica is complete", |network| network.is_complete(1, &log, 360_000));
    network.check(1, &log, 360_000);
}

#[test]
fn presence_is_counted_on_all_relays_and_ends_with_a_relay() {
    let mut network = Network::with(3, 9);
    let _interests =
        [network.register_interest(1, "App"), network.register_interest(1, "App"), network.register_interest(2, "App")];
    network.run(3 * S);
    let elsewhere = |network: &Network, at: usize| {
        let here: u32 = network.hub(at).presence().iter().map(|(_, viewers)| viewers).sum();
        network.hub(at).viewer_count("App") - here
    };
    assert_eq!([0, 1, 2].map(|at| elsewhere(&network, at)), [3, 1, 2]);
    network.isolate(2);
    network.run(15 * S);
    assert_eq!([0, 1, 2].map(|at| elsewhere(&network, at)), [2, 0, 0]);
    assert_eq!(network.hub(0).counters().cluster.relays.get(), 2);
}

#[test]
fn every_relay_lists_every_application() {
    let mut network = Network::with(2, 10);
    network.publish(0, "App", 3);
    let app = network.hub(0).app("App").unwrap();
    network.hub(0).worker_joined(&app, "w", now());
    network.run(3 * S);
    let (_, entries, _) = network.hub(1).catalogue_since(0);
    assert_eq!((entries[0].app.as_str(), entries[0].series, entries[0].workers.len()), ("App", 3, 1));
    assert_eq!(network.batches_sent(), 0, "listing an application sends no batches");
}

#[test]
fn a_leaving_relay_is_removed_from_the_catalogue() {
    let mut network = Network::with(2, 11);
    network.publish(0, "App", 3);
    network.run(3 * S);
    network.nodes[0].bridge.announce_leaving();
    network.perform(0);
    network.deliver();
    assert_eq!(network.hub(1).catalogue_since(0).1, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_messages_are_handled_without_panic(
        messages in proptest::collection::vec((0..8_usize, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..60)
    ) {
        let mut network = Network::with(1, 12);
        let _interest = network.register_interest(0, "App");
        network.run(STEP);
        for (kind, number, bytes) in messages {
            let relay = number % 5;
            let message = match kind {
                0 => ClusterMessage::HistoryRequest { relay, request: number, app: "App".into(), epoch: number, after: number },
                1 => ClusterMessage::HistoryPart { request: relay, index: relay as u32, end: None, bytes: Blob(&bytes) },
                2 => ClusterMessage::Leaving { relay },
                3 => ClusterMessage::Interest {
                    relay,
                    ttl_ms: u32::MAX,
                    requests_logs: true,
                    viewers: u32::MAX,
                    apps: vec![(String::from_utf8_lossy(&bytes).into_owned(), u32::MAX)],
                },
                4 => {
                    let log = super::messages::LogInfo { app: "App".into(), epoch: relay, head: number, entry: None };
                    ClusterMessage::Logs { relay, release: String::new(), logs: vec![log] }
                }
                5 => {
                    let app = if number % 2 == 0 { "App" } else { "" }.to_owned();
                    let entry = joey_shared::wire::AppEntry { app, ..Default::default() };
                    let held = super::messages::ReplicaInfo { epoch: relay, head: number, silent_ms: number as u32, entry };
                    ClusterMessage::Replicas { relay, ttl_ms: number as u32, logs: vec![held] }
                }
                6 => ClusterMessage::Addresses { relay, addresses: vec![String::from_utf8_lossy(&bytes).into_owned()] },
                _ => ClusterMessage::Leaving { relay: u64::MAX },
            };
            let kinds = [SubjectKind::Logs, SubjectKind::Interest, SubjectKind::LogBatches(LogId { app: "App".into(), epoch: relay })];
            for kind in kinds {
                let node = &mut network.nodes[0];
                node.bridge.receive(&subjects().subject(&kind), &message.encode().into(), now() - BEGIN);
                node.bridge.receive(&subjects().subject(&kind), &Bytes::from(bytes.clone()), now() - BEGIN);
            }
            network.run(STEP);
        }
        network.run(S);
    }
}
