//! Producers' clocks that are wrong or jump, and a relay's own clock that is set: rates stay even, the windows of other
//! workers do not move, and no update is lost.

use std::time::Duration;

use joey_tests::delivery::{CheckedViewer, check_frame_counts};
use joey_tests::{Frame, Oracle, Producer, Relay, S, Viewer, eventually, eventually_is, now_ns};
use serde_json::{Value, json};

fn frame(worker: &str, end_s: u64, value: u64) -> Frame {
    Frame::new("App", "computation", ["p", worker, "n"], end_s).with(&[value; 3])
}

#[test]
fn a_jumping_clock_does_not_move_other_workers_windows() {
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
    check_frame_counts(&relay, sent as u64, 0);
    // A new viewer receives all of them, whatever their timestamps.
    let mut checked = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    checked.read_to(sent as u64);
    // The relay adjusts the clocks of frames from the future. The frames from the past that follow are late by either
    // clock.
    assert!(relay.metric("joey_frames_clock_adjusted_total") >= 3 * 5);
    let expected = Oracle::new(&sound).expected(300, 0);
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

/// A second that begins soon; the first period ends then.
fn next_second() -> u64 {
    now_ns() / S + 2
}

/// A worker that counts 100 events per second.
struct SteadyWorker {
    app: &'static str,
    producer: Producer,
}

impl SteadyWorker {
    fn new(relay: &Relay, app: &'static str) -> Self {
        Self { app, producer: relay.producer(app, "w") }
    }

    /// Sends the period that ended at second `end_s`, by a clock that is ahead by `ahead_s`.
    fn send(&mut self, end_s: u64, ahead_s: i64) {
        let frame = Frame::new(self.app, "computation", ["p", "w", "n"], end_s.saturating_add_signed(ahead_s));
        self.producer.send(&frame.lasting(S).with(&[5; 100]));
    }
}

/// Throughput and count that `joey stats` prints for the only computation of the application.
fn rates(stats: &Value) -> (Value, Value) {
    let views = stats["views"].as_array().expect("there are views");
    let view = views.iter().find(|view| view["kind"] == "computation").expect("the computation has a view");
    (view["throughput"].clone(), view["count"].clone())
}

fn even(seconds: u64) -> (Value, Value) {
    (json!({"min": 100.0, "median": 100.0, "max": 100.0}), json!(100 * seconds))
}

/// Offset that the relay reports for the clock of worker `w`, in seconds; `None` if it reports none.
fn named_offset(stats: &Value) -> Option<i64> {
    let clock = stats["clocks"].as_array()?.iter().find(|clock| clock["worker"] == "w")?;
    Some(clock["offset_ns"].as_i64()? / 1_000_000_000)
}

#[test]
fn workers_with_wrong_or_changing_clocks_keep_even_rates() {
    const SECONDS: u64 = 14;
    const SET_AFTER: u64 = 6;
    let relay = Relay::start();
    // Name, how far the clock is ahead before and after it is set, and whether the worker stalls for a while.
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
    let mut workers = cases.map(|(app, ..)| SteadyWorker::new(&relay, app));
    let begin = next_second();
    let mut held: Vec<Vec<u64>> = vec![Vec::new(); cases.len()];
    for second in 0..SECONDS {
        // Early in the second, so that a machine that stalls for some tenths of a second is still in it.
        wait_until((begin + second) * S + 150_000_000 + second * 37 % 80 * 1_000_000);
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
        let stats = eventually("every period is placed", || {
            let stats = relay.stats_over(app, "1m");
            (rates(&stats) == even(SECONDS) && stats["late"] == 0).then_some(stats)
        });
        let expected = if before == after { before } else { after };
        assert_eq!(named_offset(&stats), Some(-expected).filter(|offset| *offset != 0), "{app}");
    }
}

#[test]
fn setting_the_relays_wall_clock_forward_or_back_keeps_rates_even() {
    const SECONDS: u64 = 8;
    let library = std::env::var("FAKETIME_LIB")
        .unwrap_or_else(|_| format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH));
    assert!(std::path::Path::new(&library).is_file(), "libfaketime is installed; `cargo xtask setup` does that");
    let steps: [i64; 4] = [600, -600, 3 * 3_600, -3 * 3_600];
    let folder = tempfile::TempDir::new().expect("a file can be written");
    let set = |step: i64, by: i64| {
        let file = folder.path().join(step.to_string());
        let next = folder.path().join(format!("{step}.next"));
        std::fs::write(&next, format!("{by:+}\n")).expect("the folder belongs to this test");
        std::fs::rename(next, &file).expect("the folder belongs to this test");
        file
    };
    let mut relays = steps.map(|step| {
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", set(step, 0).display());
        let preload = format!("LD_PRELOAD={library}");
        let wrapper = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
        let relay = Relay::start_in(&wrapper, &[]);
        let worker = SteadyWorker::new(&relay, "App");
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
        let stats = eventually("the relay detects the step", || {
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
fn an_idle_series_that_is_flushed_late_does_not_move_its_worker() {
    let relay = Relay::start();
    let mut worker = SteadyWorker::new(&relay, "App");
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
