//! Clocks of producers that jump: the windows of others do not, and no update is lost for it.

use joey_tests::ledger::{Witness, check_books};
use joey_tests::{Frame, Oracle, Relay, S, Viewer, eventually_is, now_ns};

fn frame(worker: &str, end_s: u64, value: u64) -> Frame {
    Frame::new("App", "computation", ["p", worker, "n"], end_s).with(&[value; 3])
}

#[test]
fn a_clock_that_jumps_about_moves_nobody_elses_window() {
    let relay = Relay::start();
    let now_s = now_ns() / S / 2 * 2;
    let sound: Vec<Frame> = (1..=40).rev().map(|at| frame("sound", now_s - 2 * at, 1 << 20)).collect();
    let jumps = [10 * 365 * 86_400, -86_400, 0, 3_600, -40, 86_400 * 300];
    let jumping: Vec<Frame> =
        jumps.into_iter().map(|by| frame("jumping", now_s.saturating_add_signed(by), 1 << 30)).collect();
    let mut worker = relay.producer("App", "sound");
    let mut other = relay.producer("App", "jumping");
    for (at, frame) in sound.iter().enumerate() {
        worker.send(frame);
        if let Some(jump) = jumping.get(at / 5) {
            other.send(jump);
        }
    }
    let sent = sound.len() + 6 * 5;
    check_books(&relay, sent as u64, 0);
    // All of them are given to who asks, whatever they say of the time.
    let mut witness = Witness::of("App", Viewer::connect(&relay));
    witness.reads_to(sent as u64);
    assert_eq!(relay.metric("joey_frames_skewed_total"), 3 * 5);
    let expected = Oracle::of(&sound).expected(300, 0);
    let expected = expected.values().find(|view| view["worker"] == "sound").expect("the worker has a view");
    let numbers = ["count", "bins", "min_ns", "max_ns", "quantiles"];
    eventually_is("the other worker's numbers", &numbers.map(|field| expected[field].clone()), || {
        let stats = relay.stats("App");
        let views = stats["views"].as_array().expect("there are views");
        let view = views.iter().find(|view| view["worker"] == "sound").expect("the worker has a view");
        numbers.map(|field| view[field].clone())
    });
}
