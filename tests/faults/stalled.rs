//! Viewers that stop reading: they do not affect other viewers, are disconnected after a while, and learn what they
//! missed.

use std::time::Duration;

use joey_tests::delivery::{CheckedViewer, check_frame_counts, padded, send};
use joey_tests::viewer::{connect_with_small_buffer, open_over};
use joey_tests::{Frame, Relay, Viewer, eventually_within};

#[test]
fn viewers_that_stop_reading_are_disconnected_and_learn_exactly_what_they_missed() {
    const STALLED: u64 = 10;
    let relay = Relay::start_with(&["--ring-bytes", "300000"]);
    let mut producer = relay.producer("App", "w");
    send(&mut producer, "App", "w", [1]);
    relay.wait_for_accepted(1);
    let stalled = |_| {
        let socket =
            open_over(connect_with_small_buffer(relay.http, None), relay.http, &[]).expect("the relay accepts viewers");
        CheckedViewer::subscribe("App", Viewer::over(socket))
    };
    let mut stalled: Vec<CheckedViewer> = (0..STALLED).map(stalled).collect();
    let mut healthy = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    let mut last = 1;
    let mut send_more = |healthy: &mut CheckedViewer| {
        let frames: Vec<Frame> = (last + 1..=last + 200).map(|number| padded("App", "w", number)).collect();
        producer.send_all(&frames);
        last += 200;
        healthy.read_to(last);
        last
    };
    // More than the kernels' buffers and the ring hold.
    for _ in 0..25 {
        send_more(&mut healthy);
    }
    let closed = || relay.metric("joey_connections_closed_total{reason=\"stalled\"}");
    // After half a minute in which the relay could not write anything.
    eventually_within(Duration::from_secs(60), "the stalled viewers are disconnected", || {
        send_more(&mut healthy);
        (closed() == STALLED && relay.metric("joey_viewers") == 1).then_some(())
    });
    let last = send_more(&mut healthy);
    let sent: Vec<u64> = (1..=last).collect();
    let mut missing = 0;
    for checked in &mut stalled {
        // Read first what its kernel had received.
        checked.read_to_close();
        checked.reconnect_to(relay.http);
        checked.read_to(last);
        checked.check(&sent);
        let short = checked.delivery.missing(checked.epoch) + checked.delivery.rolled_up(checked.epoch);
        assert!(short > 0, "the ring has moved past it");
        missing += checked.delivery.missing(checked.epoch);
    }
    healthy.check(&sent);
    assert_eq!(healthy.delivery.missing(healthy.epoch), 0, "a viewer that reads misses nothing");
    // The relay repeats gap messages that a disconnected viewer never received, so it counts at least as many updates.
    assert!(relay.metric("joey_gap_updates_total") >= missing);
    check_frame_counts(&relay, last, 0);
}
