//! Viewers that stop reading: they cost the others nothing, are let go after a while, and are told what they missed.

use std::time::Duration;

use joey_tests::ledger::{Witness, check_books, padded, send};
use joey_tests::viewer::{narrow, open_over};
use joey_tests::{Frame, Relay, Viewer, eventually_within};

#[test]
fn viewers_that_stop_reading_are_let_go_and_told_exactly_what_they_missed() {
    const STALLED: u64 = 10;
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.accepts(1);
    let stalled = |_| {
        let socket = open_over(narrow(relay.http, None), relay.http, &[]).expect("the relay takes viewers");
        Witness::of("App", Viewer::over(socket))
    };
    let mut stalled: Vec<Witness> = (0..STALLED).map(stalled).collect();
    let mut healthy = Witness::of("App", Viewer::connect(&relay));
    let mut last = 1;
    let mut goes_on = |healthy: &mut Witness| {
        let frames: Vec<Frame> = (last + 1..=last + 200).map(|number| padded("App", "w", number)).collect();
        producer.send_all(&frames);
        last += 200;
        healthy.reads_to(last);
        last
    };
    // More than the kernels and the ring hold.
    for _ in 0..25 {
        goes_on(&mut healthy);
    }
    let closed = || relay.metric("joey_connections_closed_total{reason=\"stalled\"}");
    // After half a minute in which nothing could be written.
    eventually_within(Duration::from_secs(60), "the stalled viewers are let go", || {
        goes_on(&mut healthy);
        (closed() == STALLED && relay.metric("joey_viewers") == 1).then_some(())
    });
    let last = goes_on(&mut healthy);
    let sent: Vec<u64> = (1..=last).collect();
    let mut missing = 0;
    for witness in &mut stalled {
        // What its kernel had taken is its own to read.
        witness.reads_to_the_end();
        witness.returns_to(relay.http);
        witness.reads_to(last);
        witness.check(&sent);
        let short = witness.ledger.missing(witness.epoch) + witness.ledger.added_up(witness.epoch);
        assert!(short > 0, "the ring went on without it");
        missing += witness.ledger.missing(witness.epoch);
    }
    healthy.check(&sent);
    assert_eq!(healthy.ledger.missing(healthy.epoch), 0, "who reads misses nothing");
    // What the relay told somebody who was no longer listening, it told again: it knows of at least as much.
    assert!(relay.metric("joey_gap_updates_total") >= missing);
    check_books(&relay, last, 0);
}
