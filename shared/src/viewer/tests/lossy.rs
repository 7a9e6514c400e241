//! Tests a viewer over a connection that repeats, swaps and loses batches and breaks. The relay is a plain list of ranges.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

/// One step of a test.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next message arrives.
    Deliver,
    /// The next message arrives now and again later.
    Repeat,
    /// The next two messages are swapped.
    Swap,
    /// The next message is lost.
    Lose,
    /// The connection breaks and loses all messages in flight. A new one opens.
    Break,
    /// The relay cuts a batch of this many updates.
    Cut(u64),
    /// The relay drops its oldest batch.
    Drop,
    Heartbeat,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => Just(Step::Deliver),
        2 => Just(Step::Repeat),
        2 => Just(Step::Swap),
        1 => Just(Step::Lose),
        1 => Just(Step::Break),
        6 => (1..5_u64).prop_map(Step::Cut),
        1 => Just(Step::Drop),
        2 => Just(Step::Heartbeat),
    ]
}

/// A relay with one topic.
#[derive(Default)]
struct Relay {
    /// The ranges that it retains.
    ring: VecDeque<(u64, u64)>,
    head: u64,
    /// The subscription and its next sequence number.
    sub: Option<(u32, u64)>,
    /// Number of evicted updates when the viewer last requested all history.
    evicted: u64,
}

impl Relay {
    fn answer(&mut self, message: &ClientMessage) -> Vec<Vec<u8>> {
        let ClientMessage::Subscribe { sub, start, .. } = *message else {
            self.sub = None;
            return vec![];
        };
        let oldest = self.ring.front().map_or(self.head + 1, |&(from, _)| from);
        let (next, missing) = if let Start::After { epoch: 9, seq } = start {
            (oldest.max(seq + 1), oldest.saturating_sub(seq + 1))
        } else {
            self.evicted = oldest - 1;
            (oldest, 0)
        };
        self.sub = Some((sub, next));
        [vec![series_message(9), subscribed(sub, 9, next, self.head, missing)], self.new_batches()].concat()
    }

    /// The batches that the subscription has not received yet.
    fn new_batches(&mut self) -> Vec<Vec<u8>> {
        let Some((sub, next)) = &mut self.sub else { return vec![] };
        let new = self.ring.iter().filter(|&&(_, to)| to >= *next);
        let batches = new.map(|&(from, to)| batch(*sub + 10, from, to, &(from..=to).collect::<Vec<_>>())).collect();
        *next = self.head + 1;
        batches
    }

    fn heartbeat(&self) -> Option<Vec<u8>> {
        let (sub, next) = self.sub?;
        Some(ServerMessage::Heartbeat { now_ns: 1_000 * S, sent: vec![(sub + 10, next - 1)] }.encode())
    }
}

struct Connection {
    relay: Relay,
    viewer: Viewer,
    in_flight: VecDeque<Vec<u8>>,
    received: BTreeSet<u64>,
}

impl Connection {
    fn new() -> Self {
        let mut viewer = Viewer::default();
        viewer.subscribe(topic(Filter::All), Start::History);
        let mut connection =
            Self { relay: Relay::default(), viewer, in_flight: VecDeque::new(), received: BTreeSet::new() };
        connection.connect();
        connection
    }

    fn connect(&mut self) {
        self.viewer.disconnected();
        self.relay.sub = None;
        self.in_flight = VecDeque::from([hello(9)]);
        self.viewer.connected();
        self.answer_commands();
    }

    fn answer_commands(&mut self) {
        for message in sent_commands(&mut self.viewer) {
            self.in_flight.extend(self.relay.answer(&message));
        }
    }

    fn deliver(&mut self) {
        let Some(message) = self.in_flight.pop_front() else { return };
        let received = &mut self.received;
        let once = |incoming: &Incoming<'_>| {
            let seq = incoming.update.seq;
            assert!(received.insert(seq), "{seq} was received twice");
            assert_eq!(incoming.update.histogram.max_ns, seq);
        };
        self.viewer.receive(&message, 0, once).unwrap();
        self.answer_commands();
    }

    /// Only batches are affected. Answers to commands arrive in order.
    fn apply(&mut self, step: Step) {
        let batches = self.in_flight.iter().take_while(|message| is_batch(message)).count();
        match step {
            Step::Deliver => self.deliver(),
            Step::Repeat if batches > 0 => {
                self.in_flight.push_back(self.in_flight[0].clone());
                self.deliver();
            }
            Step::Swap if batches > 1 => self.in_flight.swap(0, 1),
            Step::Lose if batches > 0 => drop(self.in_flight.pop_front()),
            Step::Repeat | Step::Swap | Step::Lose => {}
            Step::Break => self.connect(),
            Step::Cut(updates) => {
                let from = self.relay.head + 1;
                self.relay.head += updates;
                self.relay.ring.push_back((from, self.relay.head));
                self.in_flight.extend(self.relay.new_batches());
            }
            Step::Drop => drop(self.relay.ring.pop_front()),
            Step::Heartbeat => self.in_flight.extend(self.relay.heartbeat()),
        }
    }

    /// Delivers the rest without faults. One heartbeat makes the viewer request a lost tail, and another one makes it give up.
    fn settle(&mut self) {
        for _ in 0..3 {
            while !self.in_flight.is_empty() {
                self.deliver();
            }
            self.in_flight.extend(self.relay.heartbeat());
        }
    }
}

fn is_batch(message: &[u8]) -> bool {
    matches!(ServerMessage::decode(message), Ok(ServerMessage::Batch { .. }))
}

proptest! {
    #[test]
    fn updates_are_counted_once_or_reported_missing(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut connection = Connection::new();
        for step in steps {
            connection.apply(step);
        }
        connection.settle();
        let (received, missing) = (connection.received.len() as u64, connection.viewer.missing());
        // Updates that were given up may still arrive after a repetition or a swap.
        prop_assert!(received + missing + connection.relay.evicted >= connection.relay.head, "{received} received, {missing} missing");
        let counted = connection.viewer.app_mut("app").map_or(0, |store| store.histogram(0).count());
        prop_assert_eq!(counted, u128::from(received));
        prop_assert!(connection.viewer.is_caught_up());
        prop_assert_eq!(connection.viewer.malformed(), 0);
    }

    #[test]
    fn broken_connections_alone_lose_nothing(steps in prop::collection::vec((1..5_u64, 0..4_usize, any::<bool>()), 1..60)) {
        let mut connection = Connection::new();
        for (updates, delivered, is_broken) in steps {
            connection.apply(Step::Cut(updates));
            (0..delivered).for_each(|_| connection.deliver());
            if is_broken {
                connection.apply(Step::Break);
            }
        }
        connection.settle();
        prop_assert_eq!((connection.received.len() as u64, connection.viewer.missing()), (connection.relay.head, 0));
    }
}
