//! Timestamps of producers: late, repeated, far ahead; and when a period counts as complete.

use joey_tests::{Frame, Oracle, Relay, S, Viewer, eventually, now_ns};
use serde_json::json;

const THEN_S: u64 = 1_700_000_000;

fn frame(worker: &str, end_s: u64, values: &[u64]) -> Frame {
    Frame::new("Time", "computation", ["p", worker, "n"], end_s).with(values)
}

#[test]
fn a_late_frame_is_placed_in_its_period_or_counted_as_late() {
    let relay = Relay::start();
    let mut producer = relay.producer("Time", "w");
    let frames = [
        frame("w", THEN_S, &[5]),
        frame("w", THEN_S + 4_700, &[6]),
        // An idle component flushes minutes later, inside the window and beyond it.
        frame("w", THEN_S + 4_698, &[7]),
        frame("w", THEN_S + 4_500, &[8]),
        frame("w", THEN_S + 1_101, &[9]),
        frame("w", THEN_S + 1_100, &[10]),
        frame("w", THEN_S + 10, &[11]),
        frame("late", THEN_S + 10, &[11]),
        frame("w", THEN_S + 4_702, &[12]),
    ];
    producer.send_all(&frames);
    relay.wait_for_accepted(9);
    let oracle = Oracle::new(&frames);
    assert_eq!(oracle.late(), 3);
    for window in ["10s", "5m", "15m", "1h"] {
        oracle.check(&relay.stats_over("Time", window));
    }
    // The relay's own counter refers to its five minutes of history.
    assert_eq!(relay.metric("joey_frames_late_total"), 4);
    let mut viewer = Viewer::connect(&relay);
    let late = eventually("the catalogue lists the application", || {
        viewer.next_message();
        viewer.catalogue.get("Time").map(|entry| entry.late)
    });
    assert_eq!(late, relay.metric("joey_frames_late_total"));
}

#[test]
fn a_clock_far_in_the_future_does_not_affect_the_window() {
    let relay = Relay::start();
    let now_s = now_ns() / S / 2 * 2;
    let sound: Vec<Frame> = (1..=20).rev().map(|at| frame("sound", now_s - 2 * at, &[at; 4])).collect();
    let ahead = [3_600, 10 * 365 * 86_400].map(|by| frame("ahead", now_s + by, &[1 << 30]));
    let mut extreme = frame("ahead", now_s, &[1 << 30]);
    extreme.end_ns = u64::MAX;
    let mut producer = relay.producer("Time", "sound");
    producer.send_all(&sound[..10]);
    relay.wait_for_accepted(10);
    relay.producer("Time", "ahead").send_all(ahead.iter().chain([&extreme]));
    relay.wait_for_accepted(13);
    producer.send_all(&sound[10..]);
    relay.wait_for_accepted(23);
    assert_eq!(relay.metric("joey_frames_clock_adjusted_total"), 3);
    let stats = relay.stats("Time");
    let views = stats["views"].as_array().unwrap();
    let of = |worker: &str| views.iter().find(|view| view["worker"] == worker).unwrap();
    let expected = Oracle::new(&sound).expected(300, 0);
    let expected = expected.values().find(|view| view["worker"] == "sound").unwrap();
    for field in ["count", "bins", "min_ns", "max_ns", "quantiles"] {
        assert_eq!(of("sound")[field], expected[field], "{field}");
    }
    // They count as well, moved back by the offset of their clock. The window ends now, not in ten years.
    assert_eq!(of("ahead")["count"], json!(3));
    assert!(stats["through_ns"].as_u64().unwrap() <= now_ns());
}

#[test]
fn the_newest_period_is_complete_two_periods_after_it_arrived() {
    let relay = Relay::start();
    let frames = [frame("w", THEN_S, &[5; 6])];
    relay.producer("Time", "w").send_all(&frames);
    relay.wait_for_accepted(1);
    let oracle = Oracle::new(&frames);
    let complete = eventually("the period is complete", || {
        let stats = relay.stats("Time");
        oracle.check(&stats);
        (stats["through_ns"] == json!(THEN_S * S)).then_some(stats)
    });
    for view in complete["views"].as_array().unwrap() {
        assert_eq!(view["throughput"], json!({"min": 3.0, "median": 3.0, "max": 3.0}));
    }
}

#[test]
fn idle_time_counts_as_zero_and_time_before_the_first_frame_does_not_count() {
    let relay = Relay::start();
    let frames =
        [frame("early", THEN_S, &[5; 4]), frame("other", THEN_S + 100, &[5; 2]), frame("other", THEN_S + 102, &[5; 2])];
    relay.producer("Time", "w").send_all(&frames);
    relay.wait_for_accepted(3);
    let stats = relay.stats("Time");
    Oracle::new(&frames).check(&stats);
    let views = stats["views"].as_array().unwrap();
    let of = |worker: &str| &views.iter().find(|view| view["worker"] == worker).unwrap()["throughput"];
    assert_eq!(of("early"), &json!({"min": 0.0, "median": 0.0, "max": 2.0}));
    assert_eq!(of("other"), &json!({"min": 1.0, "median": 1.0, "max": 1.0}));
}

#[test]
fn short_and_long_periods_keep_their_rates() {
    let relay = Relay::start();
    let mut frames = Vec::new();
    for at in 0..40 {
        frames.push(Frame { end_ns: THEN_S * S + at * S / 2, ..frame("half", 0, &[5; 3]).lasting(S / 2) });
    }
    for at in 0..3 {
        frames.push(frame("long", THEN_S + 8 * at, &[5; 16]).lasting(8 * S));
    }
    frames.push(frame("closing", THEN_S + 22, &[1]));
    relay.producer("Time", "w").send_all(&frames);
    relay.wait_for_accepted(44);
    let stats = relay.stats("Time");
    Oracle::new(&frames).check(&stats);
    let views = stats["views"].as_array().unwrap();
    let half = views.iter().find(|view| view["worker"] == "half").unwrap();
    assert_eq!(half["throughput"]["median"], json!(6.0));
}
