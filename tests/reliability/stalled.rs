//! Twenty viewers that stop reading beside five healthy ones: the delay of those five without, with, and again without
//! stalled viewers.

use std::time::{Duration, Instant};

use joey_shared::series::Filter;
use joey_shared::wire::Start;
use joey_tests::viewer::{connect_with_small_buffer, open_over};
use joey_tests::{Relay, Viewer, eventually};

use crate::Measurement;
use crate::fleet::Fleet;
use crate::load::{Load, app};
use crate::usage::{Usage, quantile_ms};

const FRAMES_PER_SEC: u64 = 10_000;
const APPS: usize = 5;
const STALLED: usize = 20;
const PHASE: Duration = Duration::from_secs(15);

pub(crate) fn measurements() -> Vec<Measurement> {
    // A ring that is full before the measurement, so that its growth is not attributed to the viewers.
    let relay = Relay::start_with(&["--ring-bytes", "2000000"]);
    let load = Load::start(&relay, APPS, FRAMES_PER_SEC);
    eventually("every application exists", || (relay.metric("joey_apps") == APPS as u64).then_some(()));
    let fleet = Fleet::start(relay.http, APPS, APPS, &load.clock);
    eventually("the ring is full", || (relay.metric("joey_batches_evicted_total") > 0).then_some(()));
    std::thread::sleep(PHASE);
    let alone = (Instant::now(), Usage::of(&relay));
    std::thread::sleep(PHASE);
    let before = Usage::of(&relay);
    let stalled: Vec<Viewer> = (0..STALLED)
        .map(|at| {
            let socket = open_over(connect_with_small_buffer(relay.http, None), relay.http, &[])
                .expect("the relay accepts viewers");
            let mut viewer = Viewer::over(socket);
            viewer.subscribe(&app(at % APPS), Filter::All, Start::History);
            viewer
        })
        .collect();
    let with = Instant::now();
    std::thread::sleep(PHASE);
    let during = Usage::of(&relay);
    drop(stalled);
    let without = Instant::now();
    std::thread::sleep(PHASE);
    let end = Instant::now();
    let (sent, panics) = (load.finish(), relay.metric("joey_task_panics_total"));
    std::thread::sleep(Duration::from_secs(1));
    let seen = fleet.finish();
    let p99_ms = |from: Instant, to: Instant| {
        let delays = seen.iter().flat_map(|seen| &seen.delays).filter(|(at, _)| (from..to).contains(at));
        quantile_ms(&mut delays.map(|(_, delay)| *delay).collect::<Vec<_>>(), 0.99)
    };
    let (first, second, third) = (p99_ms(alone.0, with), p99_ms(with, without), p99_ms(without, end));
    let base = (first + third) / 2.0;
    let is_exact = |(at, seen): (usize, &crate::fleet::Seen)| {
        let numbers = seen.numbers.values().next().map_or(&[][..], Vec::as_slice);
        seen.twice == 0 && seen.missing == 0 && numbers.iter().copied().eq(sent[at][0].clone())
    };
    let exact = seen.iter().enumerate().filter(|&seen| is_exact(seen)).count();
    vec![
        Measurement::info("p99 of five healthy viewers without stalled ones", format!("{first:.1} ms")),
        Measurement::at_most("with twenty stalled viewers", second, (1.25 * base).max(base + 5.0), "ms"),
        Measurement::info("without them again", format!("{third:.1} ms")),
        Measurement::holds("healthy viewers that received every number once", exact, exact == APPS),
        Measurement::at_most("memory per stalled viewer", (during.rss_mb - before.rss_mb) / STALLED as f64, 0.7, "MB"),
        Measurement::info("share of a core, without and with them", {
            format!("{:.2} / {:.2}", before.cores_since(&alone.1), during.cores_since(&before))
        }),
        Measurement::holds("panics", panics, panics == 0),
    ]
}
