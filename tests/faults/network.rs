//! Wires that are cut, reset, frozen and slow: the books balance, and what the ring still holds is not missing.

use std::time::Duration;

use joey_tests::ledger::{Witness, check_books, numbered, padded, send};
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Producer, Relay, Viewer, eventually_is, eventually_within};

/// A relay that has number 1 of `App`, and the producer that sent it through `wire`.
fn begun(words: &[&str]) -> (Relay, Proxy, Producer) {
    let relay = Relay::start_with(words);
    let wire = Proxy::to(relay.ingest);
    let mut producer = Producer::joined(wire.address, "App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    (relay, wire, producer)
}

#[test]
fn a_viewer_that_is_cut_off_again_and_again_misses_nothing_and_gets_nothing_twice() {
    let (relay, _wire, mut producer) = begun(&[]);
    let wire = Proxy::to(relay.http);
    let mut witness = Witness::of("App", Viewer::connect_to(wire.address));
    let mut last = 1;
    for round in 0..12 {
        send(&mut producer, "App", "w", last + 1..=last + 500);
        // Sometimes in the middle of a batch, sometimes with something unread.
        witness.reads_to(last + 1 + round * 40);
        last += 500;
        if round % 2 == 0 {
            wire.cut()
        } else {
            wire.reset()
        }
        eventually_is("viewers", &0, || relay.metric("joey_viewers"));
        wire.mend();
        witness.returns_to(wire.address);
    }
    witness.reads_all(last);
    assert_eq!(witness.ledger.missing(witness.epoch), 0, "all of it was still in the ring");
    check_books(&relay, last, 0);
}

#[test]
fn a_wire_of_single_bytes_with_pauses_delays_everything_and_loses_nothing() {
    let (relay, towards, mut producer) = begun(&[]);
    let from = Proxy::to(relay.http);
    let mut witness = Witness::of("App", Viewer::connect_to(from.address));
    for wire in [&towards, &from] {
        wire.cut_into(1);
    }
    send(&mut producer, "App", "w", 2..=20);
    witness.reads_to(20);
    for wire in [&towards, &from] {
        wire.cut_into(1_000);
        wire.delay(Duration::from_millis(5));
    }
    for round in 0..10 {
        let next = 21 + round * 50;
        send(&mut producer, "App", "w", next..next + 50);
        // Nothing gets through for a fifth of a second, as when packets are lost and sent again.
        let frozen = if round % 2 == 0 { &towards } else { &from };
        frozen.freeze();
        std::thread::sleep(Duration::from_millis(200));
        frozen.thaw();
    }
    witness.reads_all(520);
    assert_eq!(witness.ledger.missing(witness.epoch), 0);
    check_books(&relay, 520, 0);
}

#[test]
fn a_viewer_that_has_vanished_is_given_up_and_goes_on_where_it_was() {
    let (relay, _wire, mut producer) = begun(&[]);
    let wire = Proxy::to(relay.http);
    let mut witness = Witness::of("App", Viewer::connect_to(wire.address));
    let mut neighbour = Witness::of("App", Viewer::connect(&relay));
    wire.freeze();
    send(&mut producer, "App", "w", 2..=100);
    neighbour.reads_to(100);
    // Two pings without an answer, 15 s apart, and as long again.
    eventually_within(Duration::from_secs(75), "the viewer is given up", || {
        neighbour.viewer.as_mut().expect("it is connected").answers_pings();
        (relay.metric("joey_viewers") == 1).then_some(())
    });
    assert_eq!(relay.metric("joey_connections_closed_total{reason=\"ping_timeout\"}"), 1);
    send(&mut producer, "App", "w", 101..=200);
    wire.thaw();
    witness.returns_to(wire.address);
    for mut witness in [witness, neighbour] {
        witness.reads_all(200);
        assert_eq!(witness.ledger.missing(witness.epoch), 0);
    }
    check_books(&relay, 200, 0);
}

#[test]
fn a_producer_that_has_vanished_for_a_while_is_late_and_nothing_else() {
    let (relay, wire, mut producer) = begun(&[]);
    let mut witness = Witness::of("App", Viewer::connect(&relay));
    wire.freeze();
    send(&mut producer, "App", "w", 2..=500);
    // Others go on meanwhile.
    relay.producer("Other", "w").send(&numbered("Other", "w", 1));
    relay.accepts(2);
    wire.thaw();
    witness.reads_all(500);
    check_books(&relay, 501, 0);
}

#[test]
fn a_viewer_on_a_slow_line_stays_and_is_told_what_it_missed() {
    let (relay, _wire, mut producer) = begun(&["--ring-bytes", "300000"]);
    let wire = Proxy::to(relay.http);
    let mut witness = Witness::of("App", Viewer::connect_to(wire.address));
    wire.limit(10_000);
    let mut neighbour = Witness::of("App", Viewer::connect(&relay));
    // Three megabytes, for a line that would take five minutes.
    for round in 0..50 {
        let frames: Vec<Frame> = (0..100).map(|at| padded("App", "w", 2 + round * 100 + at)).collect();
        producer.send_all(&frames);
        neighbour.reads_to(101 + round * 100);
    }
    assert_eq!(relay.metric("joey_viewers"), 2, "slowness is no reason to be sent away");
    wire.limit(0);
    for witness in [&mut witness, &mut neighbour] {
        witness.reads_all(5_001);
    }
    let (missing, added_up) = (witness.ledger.missing(witness.epoch), witness.ledger.added_up(witness.epoch));
    assert!(missing + added_up > 0, "it could not have taken everything");
    assert_eq!(neighbour.ledger.missing(neighbour.epoch) + neighbour.ledger.added_up(neighbour.epoch), 0);
    assert_eq!(relay.metric("joey_gap_updates_total"), missing);
    check_books(&relay, 5_001, 0);
}
