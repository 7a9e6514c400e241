//! Bytes that are cut short, turned over or dripped: each costs the frame or the connection it belongs to, and is counted.

use std::time::Duration;

use joey_tests::ledger::{Witness, check_books, numbered, send};
use joey_tests::producer::Answer;
use joey_tests::proxy::Proxy;
use joey_tests::{Producer, Relay, Viewer, eventually, eventually_is};

/// A relay with a producer that does nothing wrong, and a viewer of what it sends.
struct Neighbourhood {
    relay: Relay,
    neighbour: Producer,
    witness: Witness,
    sent: Vec<u64>,
}

impl Neighbourhood {
    fn new() -> Self {
        let relay = Relay::start();
        let mut neighbour = relay.producer("App", "w");
        send(&mut neighbour, "App", "w", [1]);
        relay.accepts(1);
        let witness = Witness::of("App", Viewer::connect(&relay));
        Self { relay, neighbour, witness, sent: vec![1] }
    }

    /// The neighbour sends one more.
    fn goes_on(&mut self) {
        let number = self.sent.len() as u64 + 1;
        self.neighbour.send(&numbered("App", "w", number));
        self.sent.push(number);
    }

    /// The neighbour's viewer has got everything, once, and the relay has taken `others` frames besides and refused `refused`.
    fn stays_exact(mut self, others: u64, refused: u64) {
        self.witness.reads_to(self.sent.len() as u64);
        self.witness.check(&self.sent);
        check_books(&self.relay, self.sent.len() as u64 + others, refused);
    }
}

#[test]
fn a_connection_that_is_reset_within_a_frame_is_counted_as_truncated() {
    let mut here = Neighbourhood::new();
    let bytes = numbered("Broken", "w", 1).encode();
    for at in 1..bytes.len() {
        let mut producer = Producer::connect(here.relay.ingest);
        producer.write(&bytes[..at]);
        producer.reset();
        if at % 10 == 0 {
            here.goes_on();
        }
    }
    let cuts = bytes.len() as u64 - 1;
    eventually_is("frames counted as truncated", &cuts, || here.relay.rejected("truncated"));
    here.stays_exact(0, cuts);
}

#[test]
fn any_bit_may_be_wrong_and_costs_no_more_than_its_frame() {
    let mut here = Neighbourhood::new();
    let bytes = numbered("Broken", "w", 1).encode();
    let mut producer = Producer::connect(here.relay.ingest);
    let mut sent = 0;
    // Behind the length; that has its own test.
    for bit in 4 * 8..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        producer.write(&wrong);
        sent += 1;
        if bit % 100 == 0 {
            here.goes_on();
        }
    }
    let own = here.sent.len() as u64;
    let refused = eventually("each was accepted or refused", || {
        let (accepted, refused) = here.relay.counted();
        (accepted + refused == own + sent).then_some(refused)
    });
    assert_eq!(producer.answer(Duration::from_millis(50)), Answer::Nothing, "its connection holds");
    assert!(refused > 0, "a wrong byte in a length, a type or a period is seen");
    here.stays_exact(sent - refused, refused);
}

#[test]
fn a_wrong_length_costs_its_connection_only() {
    let mut here = Neighbourhood::new();
    let wire = Proxy::to(here.relay.ingest);
    let bytes = numbered("Broken", "w", 1).encode();
    let mut refused = 0;
    for at in 0..4 {
        wire.flip(at);
        let mut producer = Producer::connect(wire.address);
        producer.write(&bytes);
        producer.finish();
        here.goes_on();
        // Longer than a frame may be; longer than it is; shorter, so that the next length is read out of its middle.
        let before = refused;
        refused = eventually("it was refused", || {
            let (_, refused) = here.relay.counted();
            (refused > before).then_some(refused)
        });
    }
    here.stays_exact(0, refused);
}

#[test]
fn a_hundred_producers_that_drip_are_cut_off_and_hold_up_nobody() {
    let mut here = Neighbourhood::new();
    let bytes = numbered("Slow", "w", 1).encode();
    let mut drips: Vec<Producer> = (0..100).map(|_| Producer::connect(here.relay.ingest)).collect();
    let mut at = 0;
    eventually("each drip was cut off", || {
        // A byte each, as long as they are taken; the frame would take two minutes.
        drips.retain_mut(|producer| producer.tries_to_write(&bytes[at..=at]));
        at += 1;
        here.goes_on();
        std::thread::sleep(Duration::from_millis(150));
        drips.is_empty().then_some(())
    });
    assert_eq!(here.relay.rejected("frame_timeout"), 100);
    here.stays_exact(0, 100);
}

#[test]
fn a_hundred_connections_of_garbage_are_cut_off_and_hold_up_nobody() {
    let mut here = Neighbourhood::new();
    let mut chance = fastrand::Rng::with_seed(12);
    for _ in 0..100 {
        let mut garbage: Vec<u8> = (0..100_000).map(|_| chance.u8(..)).collect();
        // Otherwise it might announce a frame, and the rest would be waited for.
        garbage[0] |= 0x80;
        let mut producer = Producer::connect(here.relay.ingest);
        let _ = producer.tries_to_write(&garbage);
        producer.is_cut_off();
        here.goes_on();
    }
    assert_eq!(here.relay.rejected("frame_too_long"), 100);
    here.stays_exact(0, 100);
}
