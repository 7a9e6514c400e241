//! `joey stats --json` prints exactly what was sent: bins, counts, extremes, quantiles and throughput of every view.

use fastrand::Rng;
use joey_tests::frame::{captured, malformed};
use joey_tests::{Chunking, Frame, Oracle, Producer, Relay, S, frame};
use serde_json::json;

/// A second in 2023, far from the current time: recorded data must be counted as well.
const THEN_S: u64 = 1_700_000_000;

/// Names that have broken monitoring tools: separators of the original hub, of URLs and of HTML; other scripts; empty.
const NAMES: [&str; 14] = [
    "Check",
    "a:b@c*d",
    "*:@",
    "pipeline||key",
    "a/b?c#d e%20f",
    "../../etc/passwd",
    "<img src=x onerror=alert(1)>",
    "\"><script>alert(1)</script>",
    "Décodage · 解码 🚀",
    "مرحبا",
    " leading and trailing ",
    "",
    "NaN",
    "__proto__",
];

const CATEGORIES: [&str; 7] = [
    "computation",
    "start-to-end",
    "node-ingress-egress",
    "pipeline-ingestion",
    "source-sink",
    "gc:pause @ <worker>",
    "computation-by-worker",
];

/// A duration of any magnitude; edges of bins are more frequent than in a uniform distribution.
fn duration(rng: &mut Rng) -> u64 {
    let power = 1_u64 << rng.u32(0..64);
    match rng.u8(0..8) {
        0 => 0,
        1 => power,
        2 => power - 1,
        3 => power.saturating_add(1),
        _ => rng.u64(..) >> rng.u32(0..64),
    }
}

/// Random frames of one worker: periods in any order, many of them repeated.
fn random_frames(rng: &mut Rng, app: &str, worker: &str, count: usize) -> Vec<Frame> {
    let one = |_| {
        let category = CATEGORIES[rng.usize(..CATEGORIES.len())];
        let [pipeline, name] = [0; 2].map(|_| NAMES[rng.usize(..NAMES.len())]);
        let mut values: Vec<u64> = (0..rng.usize(..12)).map(|_| duration(rng)).collect();
        if category == "pipeline-ingestion" {
            values.fill(0);
        }
        // Half of them within the last seconds, so that even the shortest window contains many frames.
        let end_s = THEN_S - if rng.bool() { rng.u64(0..12) } else { rng.u64(0..880) };
        let mut frame = Frame::new(app, category, [pipeline, worker, name], end_s).with(&values);
        frame.id = rng.u16(0..3);
        // Lengths whose shares are exact in binary, aligned or not.
        frame.period_ns = [S / 2, S, 2 * S, 2 * S, 2 * S, 4 * S, 8 * S][rng.usize(..7)];
        frame.end_ns -= [0, 0, 0, S / 4, S / 2][rng.usize(..5)];
        frame
    };
    (0..count).map(one).collect()
}

/// The last frame of a test: its period is later than all others, so that all earlier periods are complete.
fn closing(app: &str) -> Frame {
    Frame::new(app, "computation", ["closing", "closing", "closing"], THEN_S + 2).with(&[1])
}

#[test]
fn the_captured_frame_and_a_later_one_give_the_documented_numbers() {
    let relay = Relay::start();
    let mut producer = relay.producer("Alerts_windowed", "initializer");
    let later =
        Frame::new("Alerts_windowed", "start-to-end", ["Alerts (windowed)", "initializer", "Alerts (windowed)"], 0);
    let later = Frame { end_ns: 1_544_101_822 * S, ..later.with(&[5_000]) };
    let frames = [captured(), later];
    producer.send_all(&frames);
    relay.wait_for_accepted(2);
    let stats = relay.stats("Alerts_windowed");
    Oracle::new(&frames).check(&stats);
    assert_eq!((&stats["app"], &stats["window_s"]), (&json!("Alerts_windowed"), &json!(300)));
    let views = stats["views"].as_array().unwrap();
    let view = views.iter().find(|view| view["kind"] == "computation-by-worker").unwrap();
    let documented = json!({
        "kind": "computation-by-worker",
        "pipeline": "Alerts (windowed)", "worker": "initializer", "name": "Decode Time in TCP Source",
        "count": 57841, "bins": {"6": 57306, "7": 505, "8": 4, "9": 7, "12": 2, "14": 17}, "scale": 0, "unit": "ns",
        "min_ns": 34, "max_ns": 14509, "mean_ns": null,
        "quantiles": {"0.5": [34, 64], "0.9": [34, 64], "0.95": [34, 64], "0.99": [34, 64], "0.999": [64, 128],
                      "0.9999": [8192, 14509]},
        "throughput": {"min": 28920.5, "median": 28920.5, "max": 28920.5}
    });
    if stats["through_ns"] == json!(1_544_101_820_000_000_000_u64) {
        assert_eq!(*view, documented);
    } else {
        // This machine took more than two periods to get here. The later period is complete, and this view has no data
        // in it.
        let zero_filled = json!({"min": 0.0, "median": 14460.25, "max": 28920.5});
        assert_eq!((&view["bins"], &view["throughput"]), (&documented["bins"], &zero_filled));
    }
}

#[test]
fn thousands_of_random_frames_mixed_with_malformed_ones_give_exact_numbers_over_every_window() {
    let relay = Relay::start();
    let (mut frames, mut rejected) = (Vec::new(), 0);
    let app = "Random: a/b <app> @ 解码";
    let mut rng = Rng::with_seed(0x1057);
    for worker in ["initializer", "worker@2:*", "<b>w3</b>", "工人 4"] {
        let mut producer = relay.producer(app, worker);
        let own = random_frames(&mut rng, app, worker, 1_000);
        let mut bytes = Vec::new();
        for (at, frame) in own.iter().enumerate() {
            bytes.extend(frame.encode());
            if at % 50 == 0 {
                for (_, broken) in malformed(frame) {
                    bytes.extend(broken);
                    rejected += 1;
                }
            }
        }
        producer.write_in_chunks(&bytes, Chunking::Random(2_000));
        frames.extend(own);
        relay.wait_for_accepted(frames.len() as u64);
    }
    frames.push(closing(app));
    relay.producer(app, "closing").send(&frames[frames.len() - 1]);
    relay.wait_for_accepted(frames.len() as u64);
    let oracle = Oracle::new(&frames);
    for window in ["1s", "10s", "5m", "15m"] {
        oracle.check(&relay.stats_over(app, window));
    }
    let reasons: Vec<&str> = malformed(&captured()).into_iter().map(|(reason, _)| reason).collect();
    let counted: u64 = {
        let mut reasons = reasons.clone();
        reasons.dedup();
        reasons.into_iter().map(|reason| relay.rejected(reason)).sum()
    };
    assert_eq!(counted, rejected);
    assert_eq!(relay.metric("joey_connections_closed_total{reason=\"truncated\"}"), 0);
}

#[test]
fn parallel_connections_and_arbitrary_chunks_do_not_change_the_numbers() {
    let relay = Relay::start();
    let workers = ["a", "b", "c", "d"];
    let cuts = [Chunking::SingleBytes, Chunking::Random(7), Chunking::Random(700), Chunking::Whole];
    let mut frames = Vec::new();
    std::thread::scope(|scope| {
        for (worker, cut) in workers.into_iter().zip(cuts) {
            let count = if matches!(cut, Chunking::SingleBytes) { 60 } else { 400 };
            let own = random_frames(&mut Rng::with_seed(u64::from(worker.as_bytes()[0])), "Cut", worker, count);
            let bytes: Vec<u8> = own.iter().flat_map(Frame::encode).collect();
            frames.extend(own);
            let relay = &relay;
            scope.spawn(move || relay.producer("Cut", worker).write_in_chunks(&bytes, cut));
        }
    });
    relay.wait_for_accepted(frames.len() as u64);
    frames.push(closing("Cut"));
    relay.producer("Cut", "closing").send(&frames[frames.len() - 1]);
    relay.wait_for_accepted(frames.len() as u64);
    for window in ["10s", "5m", "15m"] {
        Oracle::new(&frames).check(&relay.stats_over("Cut", window));
    }
}

#[test]
fn two_producers_with_the_same_series_and_period_are_summed() {
    let relay = Relay::start();
    let names = ["p", "w", "n"];
    let one = Frame::new("Sum", "computation", names, THEN_S).with(&[5, 900]);
    let other = Frame::new("Sum", "computation", names, THEN_S).with(&[5, 7_000, 0]);
    let frames = [one.clone(), one, other, closing("Sum")];
    for frame in &frames {
        relay.producer("Sum", "w").send(frame);
    }
    relay.wait_for_accepted(4);
    let stats = relay.stats("Sum");
    // The relay may read four connections in any order; nothing here depends on it.
    Oracle::new(&frames).check(&stats);
    let view = stats["views"].as_array().unwrap().iter().find(|view| view["name"] == "n").unwrap();
    assert_eq!((&view["count"], &view["min_ns"], &view["max_ns"]), (&json!(7), &json!(0), &json!(7_000)));
}

#[test]
fn an_empty_histogram_has_a_view_without_quantiles() {
    let relay = Relay::start();
    let quiet = |category: &str| Frame::new("Quiet", category, ["p", "w", "n"], THEN_S);
    let frames: Vec<Frame> =
        ["computation", "start-to-end", "node-ingress-egress", "pipeline-ingestion", "else"].map(quiet).into();
    relay.producer("Quiet", "w").send_all(&frames);
    relay.wait_for_accepted(5);
    let stats = relay.stats("Quiet");
    Oracle::new(&frames).check(&stats);
    for view in stats["views"].as_array().unwrap() {
        assert!(view["quantiles"].is_null() && view["min_ns"].is_null() && view["max_ns"].is_null(), "{view}");
        assert_eq!((&view["count"], &view["bins"]), (&json!(0), &json!({})));
    }
}

#[test]
fn counters_saturate_and_totals_do_not_wrap() {
    let relay = Relay::start();
    let full: Vec<(usize, u64)> = (0..65).map(|bin| (bin, u64::MAX)).collect();
    let one = Frame::new("Full", "computation", ["p", "w", "n"], THEN_S).with_bins(&full, 0, u64::MAX);
    let beyond =
        Frame::new("Full", "computation", ["p", "w", "n"], THEN_S - 2).with_bins(&[(64, 1), (3, 9)], 4, u64::MAX);
    let frames = [one.clone(), one, beyond, closing("Full")];
    relay.producer("Full", "w").send_all(&frames);
    relay.wait_for_accepted(4);
    for window in ["1s", "10s", "5m"] {
        Oracle::new(&frames).check(&relay.stats_over("Full", window));
    }
}

#[test]
fn an_extreme_outside_its_bin_does_not_invert_a_range() {
    let relay = Relay::start();
    let names = |name: &'static str| ["p", "w", name];
    let frames = [
        Frame::new("Odd", "computation", names("swapped"), THEN_S).with_bins(&[(6, 10)], 900, 3),
        Frame::new("Odd", "computation", names("far"), THEN_S).with_bins(&[(6, 10), (20, 1)], 1, 1 << 40),
        Frame::new("Odd", "computation", names("none"), THEN_S).with_bins(&[(6, 10)], u64::MAX, 0),
        closing("Odd"),
    ];
    relay.producer("Odd", "w").send_all(&frames);
    relay.wait_for_accepted(4);
    Oracle::new(&frames).check(&relay.stats("Odd"));
}

#[test]
fn an_uneven_period_is_spread_by_overlap() {
    let relay = Relay::start();
    // Three and a half seconds that begin in the middle of a second: seven events, two in each whole second.
    let mut odd = Frame::new("Odd", "computation", ["p", "w", "n"], THEN_S).with(&[5; 7]).lasting(7 * S / 2);
    odd.end_ns += S / 2;
    relay.producer("Odd", "w").send_all(&[odd, closing("Odd")]);
    relay.wait_for_accepted(2);
    let stats = relay.stats("Odd");
    let view = stats["views"].as_array().unwrap().iter().find(|view| view["name"] == "n").unwrap();
    if stats["through_ns"] == json!(THEN_S * S) {
        assert_eq!(view["throughput"], json!({"min": 2.0, "median": 2.0, "max": 2.0}));
    } else {
        assert_eq!(view["throughput"]["max"], json!(2.0));
    }
}

#[test]
fn connect_may_be_missing_or_repeated_and_join_may_lack_its_worker() {
    let relay = Relay::start();
    let frame = |at: u64| Frame::new("Polite", "computation", ["p", "w", "n"], THEN_S - 100 + 2 * at).with(&[at; 3]);
    let frames: Vec<Frame> = (1..=6).map(frame).collect();
    let cases: [Vec<Vec<u8>>; 6] = [
        vec![frame::connect(), frame::join("Polite", Some("w")), frames[0].encode()],
        vec![frame::join("Polite", Some("w")), frames[1].encode()],
        vec![
            frame::connect(),
            frame::connect(),
            frame::join("Polite", Some("w")),
            frame::connect(),
            frames[2].encode(),
        ],
        vec![frame::connect(), frame::join("Polite", None), frames[3].encode()],
        vec![frames[4].encode(), frame::connect(), frame::join("Polite", Some("w"))],
        vec![frame::join("Polite", Some("w")), frame::join("Polite", Some("w")), frames[5].encode()],
    ];
    for (at, messages) in cases.iter().enumerate() {
        let mut producer = Producer::connect(relay.ingest);
        messages.iter().for_each(|bytes| producer.write(bytes));
        relay.wait_for_accepted(at as u64 + 1);
    }
    Oracle::new(&frames).check(&relay.stats("Polite"));
    assert!(!relay.metrics().contains("joey_frames_rejected_total{"));
}
