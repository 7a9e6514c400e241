//! Clocks of producers that are off or jump, and the relay's own that is set: rates stay even, the windows of others do not move,
//! and no update is lost.

use std::time::Duration;

use joey_tests::ledger::{Witness, check_books};
use joey_tests::{Frame, Oracle, Producer, Relay, S, Viewer, eventually, eventually_is, now_ns};
use serde_json::{Value, json};

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
    // Those from the future are moved. What follows them, from the past, is late by either clock.
    assert!(relay.metric("joey_frames_clock_adjusted_total") >= 3 * 5);
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

/// Waits until the wall clock shows `at_ns`.
fn wait_until(at_ns: u64) {
    std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(now_ns())));
}

/// The next second that begins in a while, and some of it: when frames are sent.
fn next_second() -> u64 {
    now_ns() / S + 2
}

/// A worker that counts 100 events each second, by a clock that is `ahead` of the true time.
struct Even {
    app: &'static str,
    producer: Producer,
}

impl Even {
    fn new(relay: &Relay, app: &'static str) -> Self {
        Self { app, producer: relay.producer(app, "w") }
    }

    /// Sends the period that ended at second `end_s`, by a clock that is ahead by `ahead_s`.
    fn send(&mut self, end_s: u64, ahead_s: i64) {
        let frame = Frame::new(self.app, "computation", ["p", "w", "n"], end_s.saturating_add_signed(ahead_s));
        self.producer.send(&frame.lasting(S).with(&[5; 100]));
    }
}

/// What `joey stats` says of the only computation of `app`: its throughput and count.
fn rates(stats: &Value) -> (Value, Value) {
    let views = stats["views"].as_array().expect("there are views");
    let view = views.iter().find(|view| view["kind"] == "computation").expect("the computation has a view");
    (view["throughput"].clone(), view["count"].clone())
}

fn even(seconds: u64) -> (Value, Value) {
    (json!({"min": 100.0, "median": 100.0, "max": 100.0}), json!(100 * seconds))
}

/// Seconds by which the clock of worker `w` is said to need moving; none where it is not mentioned.
fn named_offset(stats: &Value) -> Option<i64> {
    let clock = stats["clocks"].as_array()?.iter().find(|clock| clock["worker"] == "w")?;
    Some(clock["offset_ns"].as_i64()? / 1_000_000_000)
}

#[test]
fn workers_whose_clocks_are_off_or_set_keep_their_even_rates() {
    const SECONDS: u64 = 14;
    const SET_AFTER: u64 = 6;
    let relay = Relay::start();
    // The name, how far the clock is ahead before and after it is set, and whether the worker stalls for a while.
    let cases: [(&str, i64, i64, bool); 8] = [
        ("right", 0, 0, false),
        ("ahead", 30, 30, false),
        ("behind", -30, -30, false),
        ("ahead, stalls", 30, 30, true),
        ("right, stalls", 0, 0, true),
        ("set back", 0, -600, false),
        ("set forward", 0, 600, false),
        ("an hour back", 3_600, 0, false),
    ];
    let mut workers = cases.map(|(app, ..)| Even::new(&relay, app));
    let begin = next_second();
    let mut held: Vec<Vec<u64>> = vec![Vec::new(); cases.len()];
    for second in 0..SECONDS {
        // Some tens of milliseconds before or after the period ends by the clock on the wall.
        wait_until((begin + second) * S + 500_000_000 + second * 37 % 80 * 1_000_000);
        for (at, &(_, before, after, stalls)) in cases.iter().enumerate() {
            if stalls && (4..9).contains(&second) {
                held[at].push(begin + second);
                continue;
            }
            for end_s in held[at].drain(..).chain([begin + second]) {
                workers[at].send(end_s, if second < SET_AFTER { before } else { after });
            }
        }
    }
    for (app, before, after, _) in cases {
        let stats = eventually("everything has its place", || {
            let stats = relay.stats_over(app, "1m");
            (rates(&stats) == even(SECONDS) && stats["late"] == 0).then_some(stats)
        });
        let expected = if before == after { before } else { after };
        assert_eq!(named_offset(&stats), Some(-expected).filter(|offset| *offset != 0), "{app}");
    }
}

#[test]
fn the_relays_own_wall_clock_may_be_set_either_way() {
    const SECONDS: u64 = 8;
    let library = std::env::var("FAKETIME_LIB")
        .unwrap_or_else(|_| format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH));
    assert!(std::path::Path::new(&library).is_file(), "libfaketime is installed; `cargo xtask setup` does that");
    let steps: [i64; 4] = [600, -600, 3 * 3_600, -3 * 3_600];
    let folder = tempfile::TempDir::new().expect("there is room for a file");
    let set = |step: i64, by: i64| {
        let file = folder.path().join(step.to_string());
        let next = folder.path().join(format!("{step}.next"));
        std::fs::write(&next, format!("{by:+}\n")).expect("the folder is ours");
        std::fs::rename(next, &file).expect("the folder is ours");
        file
    };
    let mut relays = steps.map(|step| {
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", set(step, 0).display());
        let preload = format!("LD_PRELOAD={library}");
        let wrapper = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
        let relay = Relay::start_in(&wrapper, &[]);
        let worker = Even::new(&relay, "App");
        (relay, worker)
    });
    let begin = next_second();
    for second in 0..SECONDS {
        wait_until((begin + second) * S + 300_000_000);
        for (step, (_, worker)) in steps.iter().zip(&mut relays) {
            if second == SECONDS / 2 {
                set(*step, *step);
            }
            worker.send(begin + second, 0);
        }
    }
    for (step, (relay, _)) in steps.iter().zip(&relays) {
        let stats = eventually("the relay has noticed", || {
            let stats = relay.stats_over("App", "1m");
            (stats["wall_clock_step_ns"] != 0 && rates(&stats) == even(SECONDS)).then_some(stats)
        });
        let step_ns = stats["wall_clock_step_ns"].as_i64().expect("it is a number");
        assert!((step_ns - step * 1_000_000_000).abs() < 1_000_000_000, "{step_ns} is not {step} s");
        assert_eq!((named_offset(&stats), &stats["late"]), (None, &json!(0)));
        assert_eq!(relay.metric("joey_wall_clock_steps_total"), 1);
        assert!(relay.log().contains("the wall clock was set"));
    }
}

#[test]
fn an_idle_component_that_flushes_late_does_not_move_its_worker() {
    let relay = Relay::start();
    let mut worker = Even::new(&relay, "App");
    let begin = next_second();
    for second in 0..6 {
        wait_until((begin + second) * S + 300_000_000);
        worker.send(begin + second, 0);
        if second == 3 {
            worker.send(begin, -180);
        }
    }
    let stats = eventually("the late period is placed", || {
        let stats = relay.stats_over("App", "5m");
        (rates(&stats).1 == json!(700)).then_some(stats)
    });
    assert_eq!(rates(&stats).0, json!({"min": 0.0, "median": 0.0, "max": 100.0}));
    assert_eq!(named_offset(&stats), None);
}
