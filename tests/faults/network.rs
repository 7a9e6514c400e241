//! Connections that are closed, reset, frozen or slow: delivery is complete, and updates still in the ring are not
//! missing.

use std::time::Duration;

use joey_tests::delivery::{CheckedViewer, check_frame_counts, numbered, padded, send};
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Producer, Relay, Viewer, eventually_is, eventually_within};

/// A relay that has number 1 of `App`, and the producer that sent it through a proxy.
fn start_producer(arguments: &[&str]) -> (Relay, Proxy, Producer) {
    let relay = Relay::start_with(arguments);
    let proxy = Proxy::new(relay.ingest);
    let mut producer = Producer::connect_and_join(proxy.address, "App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    (relay, proxy, producer)
}

#[test]
fn a_viewer_that_is_disconnected_repeatedly_receives_everything_once() {
    let (relay, _proxy, mut producer) = start_producer(&[]);
    let proxy = Proxy::new(relay.http);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect_to(proxy.address));
    let mut last = 1;
    for round in 0..12 {
        send(&mut producer, "App", "w", last + 1..=last + 500);
        // At times in the middle of a batch, at times with unread data.
        checked.read_to(last + 1 + round * 40);
        last += 500;
        if round % 2 == 0 {
            proxy.disconnect()
        } else {
            proxy.reset()
        }
        eventually_is("viewers", &0, || relay.metric("joey_viewers"));
        proxy.restore();
        checked.reconnect_to(proxy.address);
    }
    checked.read_and_check(last);
    assert_eq!(checked.delivery.missing(checked.epoch), 0, "all updates were still in the ring");
    check_frame_counts(&relay, last, 0);
}

#[test]
fn single_byte_chunks_and_pauses_delay_everything_and_lose_nothing() {
    let (relay, towards, mut producer) = start_producer(&[]);
    let from = Proxy::new(relay.http);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect_to(from.address));
    for proxy in [&towards, &from] {
        proxy.limit_chunks(1);
    }
    send(&mut producer, "App", "w", 2..=20);
    checked.read_to(20);
    for proxy in [&towards, &from] {
        proxy.limit_chunks(1_000);
        proxy.delay(Duration::from_millis(5));
    }
    for round in 0..10 {
        let next = 21 + round * 50;
        send(&mut producer, "App", "w", next..next + 50);
        // Nothing is forwarded for a fifth of a second, as when packets are lost and retransmitted.
        let frozen = if round % 2 == 0 { &towards } else { &from };
        frozen.freeze();
        std::thread::sleep(Duration::from_millis(200));
        frozen.unfreeze();
    }
    checked.read_and_check(520);
    assert_eq!(checked.delivery.missing(checked.epoch), 0);
    check_frame_counts(&relay, 520, 0);
}

#[test]
fn a_vanished_viewer_is_disconnected_and_resumes_where_it_was() {
    let (relay, _proxy, mut producer) = start_producer(&[]);
    let proxy = Proxy::new(relay.http);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect_to(proxy.address));
    let mut neighbour = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    proxy.freeze();
    send(&mut producer, "App", "w", 2..=100);
    neighbour.read_to(100);
    // Two pings without an answer, 15 s apart, and the same time again.
    eventually_within(Duration::from_secs(75), "the viewer is disconnected", || {
        neighbour.viewer.as_mut().expect("it is connected").answer_pings();
        (relay.metric("joey_viewers") == 1).then_some(())
    });
    assert_eq!(relay.metric("joey_connections_closed_total{reason=\"ping_timeout\"}"), 1);
    send(&mut producer, "App", "w", 101..=200);
    proxy.unfreeze();
    checked.reconnect_to(proxy.address);
    for mut checked in [checked, neighbour] {
        checked.read_and_check(200);
        assert_eq!(checked.delivery.missing(checked.epoch), 0);
    }
    check_frame_counts(&relay, 200, 0);
}

#[test]
fn a_producer_that_vanishes_for_a_while_is_only_late() {
    let (relay, proxy, mut producer) = start_producer(&[]);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    proxy.freeze();
    send(&mut producer, "App", "w", 2..=500);
    // Other producers continue meanwhile.
    relay.producer("Other", "w").send(&numbered("Other", "w", 1));
    relay.wait_for_accepted(2);
    proxy.unfreeze();
    checked.read_and_check(500);
    check_frame_counts(&relay, 501, 0);
}

#[test]
fn a_slow_viewer_stays_connected_and_learns_what_it_missed() {
    let (relay, _proxy, mut producer) = start_producer(&["--ring-bytes", "300000"]);
    let proxy = Proxy::new(relay.http);
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect_to(proxy.address));
    proxy.limit_rate(10_000);
    let mut neighbour = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    // Three megabytes, which would take five minutes at this rate.
    for round in 0..50 {
        let frames: Vec<Frame> = (0..100).map(|at| padded("App", "w", 2 + round * 100 + at)).collect();
        producer.send_all(&frames);
        neighbour.read_to(101 + round * 100);
    }
    assert_eq!(relay.metric("joey_viewers"), 2, "a slow viewer stays connected");
    proxy.limit_rate(0);
    for checked in [&mut checked, &mut neighbour] {
        checked.read_and_check(5_001);
    }
    let (missing, rolled_up) = (checked.delivery.missing(checked.epoch), checked.delivery.rolled_up(checked.epoch));
    assert!(missing + rolled_up > 0, "the rate is too low for everything");
    assert_eq!(neighbour.delivery.missing(neighbour.epoch) + neighbour.delivery.rolled_up(neighbour.epoch), 0);
    assert_eq!(relay.metric("joey_gap_updates_total"), missing);
    check_frame_counts(&relay, 5_001, 0);
}
