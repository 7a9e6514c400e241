//! A viewer behind a wire that repeats, swaps and loses batches and goes down, against a relay that is a plain list.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The next message arrives.
    Deliver,
    /// It arrives, and once more later.
    Repeat,
    /// The next two change places.
    Swap,
    /// It never arrives.
    Lose,
    /// The connection breaks, and with it everything under way; a new one opens.
    Break,
    /// The relay cuts a batch of so many more updates.
    Cut(u64),
    /// The relay drops its oldest batch.
    Drop,
    Heartbeat,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        10 => Just(Fate::Deliver),
        2 => Just(Fate::Repeat),
        2 => Just(Fate::Swap),
        1 => Just(Fate::Lose),
        1 => Just(Fate::Break),
        6 => (1..5_u64).prop_map(Fate::Cut),
        1 => Just(Fate::Drop),
        2 => Just(Fate::Heartbeat),
    ]
}

/// A relay with one topic.
#[derive(Default)]
struct Relay {
    /// The ranges that it holds.
    ring: VecDeque<(u64, u64)>,
    head: u64,
    /// The subscription, and the next number that it gets.
    sub: Option<(u32, u64)>,
    /// What was gone when all that there was was last asked for.
    gone: u64,
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
            self.gone = oldest - 1;
            (oldest, 0)
        };
        self.sub = Some((sub, next));
        [vec![named(9), subscribed(sub, 9, next, self.head, missing)], self.news()].concat()
    }

    /// What the subscription has not been sent yet.
    fn news(&mut self) -> Vec<Vec<u8>> {
        let Some((sub, next)) = &mut self.sub else { return vec![] };
        let new = self.ring.iter().filter(|&&(_, to)| to >= *next);
        let said = new.map(|&(from, to)| batch(*sub + 10, from, to, &(from..=to).collect::<Vec<_>>())).collect();
        *next = self.head + 1;
        said
    }

    fn heartbeat(&self) -> Option<Vec<u8>> {
        let (sub, next) = self.sub?;
        Some(ServerMessage::Heartbeat { now_ns: 1_000 * S, sent: vec![(sub + 10, next - 1)] }.encode())
    }
}

struct Wire {
    relay: Relay,
    viewer: Viewer,
    under_way: VecDeque<Vec<u8>>,
    seen: BTreeSet<u64>,
}

impl Wire {
    fn new() -> Self {
        let mut viewer = Viewer::default();
        viewer.subscribe(topic(Filter::All), Start::History);
        let mut wire = Self { relay: Relay::default(), viewer, under_way: VecDeque::new(), seen: BTreeSet::new() };
        wire.connect();
        wire
    }

    fn connect(&mut self) {
        self.viewer.disconnected();
        self.relay.sub = None;
        self.under_way = VecDeque::from([hello(9)]);
        self.viewer.connected();
        self.converse();
    }

    fn converse(&mut self) {
        for message in asked(&mut self.viewer) {
            self.under_way.extend(self.relay.answer(&message));
        }
    }

    fn deliver(&mut self) {
        let Some(message) = self.under_way.pop_front() else { return };
        let seen = &mut self.seen;
        let once = |incoming: &Incoming<'_>| {
            let seq = incoming.update.seq;
            assert!(seen.insert(seq), "{seq} came twice");
            assert_eq!(incoming.update.histogram.max_ns, seq);
        };
        self.viewer.receive(&message, 0, once).unwrap();
        self.converse();
    }

    /// The wire does to batches what it likes; what answers a command travels in order.
    fn meet(&mut self, fate: Fate) {
        let batches = self.under_way.iter().take_while(|message| is_batch(message)).count();
        match fate {
            Fate::Deliver => self.deliver(),
            Fate::Repeat if batches > 0 => {
                self.under_way.push_back(self.under_way[0].clone());
                self.deliver();
            }
            Fate::Swap if batches > 1 => self.under_way.swap(0, 1),
            Fate::Lose if batches > 0 => drop(self.under_way.pop_front()),
            Fate::Repeat | Fate::Swap | Fate::Lose => {}
            Fate::Break => self.connect(),
            Fate::Cut(updates) => {
                let from = self.relay.head + 1;
                self.relay.head += updates;
                self.relay.ring.push_back((from, self.relay.head));
                self.under_way.extend(self.relay.news());
            }
            Fate::Drop => drop(self.relay.ring.pop_front()),
            Fate::Heartbeat => self.under_way.extend(self.relay.heartbeat()),
        }
    }

    /// From now on the wire is sound. A lost tail takes a heartbeat to be asked for, and another to be given up.
    fn settle(&mut self) {
        for _ in 0..3 {
            while !self.under_way.is_empty() {
                self.deliver();
            }
            self.under_way.extend(self.relay.heartbeat());
        }
    }
}

fn is_batch(message: &[u8]) -> bool {
    matches!(ServerMessage::decode(message), Ok(ServerMessage::Batch { .. }))
}

proptest! {
    #[test]
    fn nothing_is_counted_twice_or_missing_in_silence(fates in prop::collection::vec(fate(), 1..150)) {
        let mut wire = Wire::new();
        for fate in fates {
            wire.meet(fate);
        }
        wire.settle();
        let (seen, missing) = (wire.seen.len() as u64, wire.viewer.missing());
        // What was given up may come all the same when the wire repeats or swaps.
        prop_assert!(seen + missing + wire.relay.gone >= wire.relay.head, "{seen} seen, {missing} missing");
        let counted = wire.viewer.app_mut("app").map_or(0, |store| store.histogram(0).count());
        prop_assert_eq!(counted, u128::from(seen));
        prop_assert!(wire.viewer.is_caught_up());
        prop_assert_eq!(wire.viewer.malformed(), 0);
    }

    #[test]
    fn breaks_alone_lose_nothing(steps in prop::collection::vec((1..5_u64, 0..4_usize, any::<bool>()), 1..60)) {
        let mut wire = Wire::new();
        for (updates, delivered, is_broken) in steps {
            wire.meet(Fate::Cut(updates));
            (0..delivered).for_each(|_| wire.deliver());
            if is_broken {
                wire.meet(Fate::Break);
            }
        }
        wire.settle();
        prop_assert_eq!((wire.seen.len() as u64, wire.viewer.missing()), (wire.relay.head, 0));
    }
}
