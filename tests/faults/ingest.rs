//! Bytes that are truncated, corrupted or sent slowly: each loses only its frame or connection, and is counted.

use std::time::Duration;

use joey_tests::delivery::{CheckedViewer, check_frame_counts, numbered, send};
use joey_tests::producer::Reply;
use joey_tests::proxy::Proxy;
use joey_tests::{Producer, Relay, Viewer, eventually, eventually_is};

/// A relay with a well-behaved producer and a viewer of what it sends.
struct HealthyClients {
    relay: Relay,
    neighbour: Producer,
    checked: CheckedViewer,
    sent: Vec<u64>,
}

impl HealthyClients {
    fn new() -> Self {
        let relay = Relay::start();
        let mut neighbour = relay.producer("App", "w");
        send(&mut neighbour, "App", "w", [1]);
        relay.wait_for_accepted(1);
        let checked = CheckedViewer::subscribe("App", Viewer::connect(&relay));
        Self { relay, neighbour, checked, sent: vec![1] }
    }

    /// Sends one more frame of the well-behaved producer.
    fn send_next(&mut self) {
        let number = self.sent.len() as u64 + 1;
        self.neighbour.send(&numbered("App", "w", number));
        self.sent.push(number);
    }

    /// Checks that the viewer received everything once, and that the relay accepted `others` more frames and rejected
    /// `rejected`.
    fn check_delivery(mut self, others: u64, rejected: u64) {
        self.checked.read_to(self.sent.len() as u64);
        self.checked.check(&self.sent);
        check_frame_counts(&self.relay, self.sent.len() as u64 + others, rejected);
    }
}

#[test]
fn a_connection_reset_within_a_frame_is_counted_as_truncated() {
    let mut clients = HealthyClients::new();
    let bytes = numbered("Broken", "w", 1).encode();
    for at in 1..bytes.len() {
        let mut producer = Producer::connect(clients.relay.ingest);
        producer.write(&bytes[..at]);
        producer.reset();
        if at % 10 == 0 {
            clients.send_next();
        }
    }
    let cuts = bytes.len() as u64 - 1;
    eventually_is("frames counted as truncated", &cuts, || clients.relay.rejected("truncated"));
    clients.check_delivery(0, cuts);
}

#[test]
fn any_wrong_bit_loses_at_most_its_frame() {
    let mut clients = HealthyClients::new();
    let bytes = numbered("Broken", "w", 1).encode();
    let mut producer = Producer::connect(clients.relay.ingest);
    let mut sent = 0;
    // After the length, which has its own test.
    for bit in 4 * 8..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        producer.write(&wrong);
        sent += 1;
        if bit % 100 == 0 {
            clients.send_next();
        }
    }
    let own = clients.sent.len() as u64;
    let rejected = eventually("each frame is accepted or rejected", || {
        let (accepted, rejected) = clients.relay.frame_counts();
        (accepted + rejected == own + sent).then_some(rejected)
    });
    assert_eq!(producer.read_reply(Duration::from_millis(50)), Reply::Nothing, "its connection stays open");
    assert!(rejected > 0, "a wrong byte in a length, a type or a period is detected");
    clients.check_delivery(sent - rejected, rejected);
}

#[test]
fn a_wrong_length_loses_only_its_connection() {
    let mut clients = HealthyClients::new();
    let proxy = Proxy::new(clients.relay.ingest);
    let bytes = numbered("Broken", "w", 1).encode();
    let mut rejected = 0;
    for at in 0..4 {
        proxy.flip_bit_at(at);
        let mut producer = Producer::connect(proxy.address);
        producer.write(&bytes);
        producer.finish();
        clients.send_next();
        // Longer than the maximum; longer than the frame; shorter, so that the next length is read from within the
        // frame.
        let before = rejected;
        rejected = eventually("the frame is rejected", || {
            let (_, rejected) = clients.relay.frame_counts();
            (rejected > before).then_some(rejected)
        });
    }
    clients.check_delivery(0, rejected);
}

#[test]
fn a_hundred_slow_producers_are_disconnected_without_affecting_others() {
    let mut clients = HealthyClients::new();
    let bytes = numbered("Slow", "w", 1).encode();
    let mut slow_producers: Vec<Producer> = (0..100).map(|_| Producer::connect(clients.relay.ingest)).collect();
    let mut at = 0;
    eventually("each slow producer is disconnected", || {
        // One byte each as long as the relay reads them; the frame would take two minutes.
        slow_producers.retain_mut(|producer| producer.try_write(&bytes[at..=at]));
        at += 1;
        clients.send_next();
        std::thread::sleep(Duration::from_millis(150));
        slow_producers.is_empty().then_some(())
    });
    assert_eq!(clients.relay.rejected("frame_timeout"), 100);
    clients.check_delivery(0, 100);
}

#[test]
fn a_hundred_connections_of_garbage_are_closed_without_affecting_others() {
    let mut clients = HealthyClients::new();
    let mut rng = fastrand::Rng::with_seed(12);
    for _ in 0..100 {
        let mut garbage: Vec<u8> = (0..100_000).map(|_| rng.u8(..)).collect();
        // Otherwise the bytes could announce a valid length, and the relay would wait for the rest.
        garbage[0] |= 0x80;
        let mut producer = Producer::connect(clients.relay.ingest);
        let _ = producer.try_write(&garbage);
        producer.wait_for_close();
        clients.send_next();
    }
    assert_eq!(clients.relay.rejected("frame_too_long"), 100);
    clients.check_delivery(0, 100);
}
