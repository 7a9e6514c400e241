//! The cost of an open dashboard: script of each frame and for each update, CPU time by kind, late frames, long tasks.
//!
//! Counters and frames are measured one after the other, because requesting every frame costs CPU time.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use joey_tests::Relay;
use joey_tests::browser::Browser;
use serde_json::{Value, json};

use crate::counters::{Counters, Memory};
use crate::page::{self, Frames};
use crate::source::{self, Series, Source};
use crate::{Extent, Figure};

/// Duration of a profile.
const PROFILED: Duration = Duration::from_secs(15);

/// Chromium's time counters, and their names in the output.
const COUNTERS: [(&str, &str); 5] = [
    ("ScriptDuration", "script"),
    ("TaskDuration", "all tasks of the main thread"),
    ("LayoutDuration", "layout"),
    ("RecalcStyleDuration", "styles"),
    ("ThreadTime", "CPU of the main thread"),
];

/// The dashboard of the largest application of `joey demo`.
pub(crate) fn demo(extent: Extent) -> Vec<Figure> {
    // The arguments are those of `serve`.
    let relay = Relay::start_in(&["sh", "-c", "shift; exec \"$0\" demo \"$@\""], &[]);
    let browser = page::open(&relay, "Market%20Spread", 5);
    measure("demo", &relay, &browser, extent, None)
}

/// A dashboard of a number of series that all change every second.
pub(crate) fn series(extent: Extent, series: Series) -> Vec<Figure> {
    let relay = page::relay(&[]);
    let source = Source::start(&relay, series);
    let browser = page::open(&relay, source::APP, series.count);
    let figures = measure(&series.to_string(), &relay, &browser, extent, Some(series));
    drop(browser);
    drop(source);
    figures
}

fn measure(scene: &str, relay: &Relay, browser: &Browser, extent: Extent, series: Option<Series>) -> Vec<Figure> {
    let mut times = COUNTERS.map(|_| Vec::new());
    let [mut cpu, mut noise, mut median, mut p95, mut most, mut over, mut tasks, mut late, mut longest] =
        [const { Vec::new() }; 9];
    let [mut decoding, mut applying] = [const { Vec::new() }; 2];
    for round in 1..=extent.rounds {
        eprintln!("{scene}, round {round} of {}", extent.rounds);
        let before = Counters::read(relay, browser);
        sleep(extent.counted);
        let after = Counters::read(relay, browser);
        for ((counter, _), times) in COUNTERS.iter().zip(&mut times) {
            times.push(after.ms_per_sec(&before, counter));
        }
        cpu.push(after.cpu_ms_per_sec(&before));
        noise.push(after.noise(&before));
        let frames = page::frames(browser, extent.watched, false);
        let per_minute = 60.0 / extent.watched.as_secs_f64();
        median.push(frames.script_ms(0.5));
        p95.push(frames.script_ms(0.95));
        most.push(frames.script_ms(1.0));
        over.push(frames.over_16_ms() * per_minute);
        tasks.push(frames.long_tasks * per_minute);
        late.push(frames.late_percent());
        longest.push(frames.longest_ms());
        if let Some(series) = series {
            let Frames { messages_ms, repeated_ms, .. } = page::frames(browser, extent.watched, true);
            let updates = series.count as f64 * extent.watched.as_secs_f64();
            decoding.push(1e3 * repeated_ms / updates);
            applying.push(1e3 * (messages_ms - repeated_ms) / updates);
        }
    }
    let memory = Memory::read(browser);
    let named = |what: &str, unit, values| Figure::new(format!("{scene}: {what}"), unit, values);
    let times = COUNTERS.iter().zip(times).map(|((_, what), times)| named(what, "ms/s", times));
    let mut figures = vec![
        named("script of a frame, median", "ms", median),
        named("script of a frame, p95", "ms", p95),
        named("script of a frame, most", "ms", most),
        named("frames over 16 ms", "/min", over),
    ];
    if series.is_some() {
        figures.push(named("decoding an update", "µs", decoding));
        figures.push(named("applying an update", "µs", applying));
    }
    let others = [
        named("tasks over 50 ms", "/min", tasks),
        named("late frames", "%", late),
        named("longest frame", "ms", longest),
        named("CPU of all processes", "ms/s", cpu),
        named("JavaScript's heap", "MB", vec![memory.heap_mb]),
        named("WebAssembly's memory", "MB", vec![page::wasm_mb(browser)]),
        named("document", "MB", vec![memory.document_mb]),
        named("process of the page", "MB", vec![memory.process_mb]),
        named("nodes", "1", vec![Counters::read(relay, browser).value("Nodes")]),
        named("noise", "cores", noise),
    ];
    figures.extend(times);
    figures.extend(others);
    figures
}

/// Where the script time of a scene goes: the functions with the most time, of their own and with what they call, in
/// ms/s. The bundle in `JOEY_DIST` has their names if it was built with `CARGO_PROFILE_WASM_RELEASE_STRIP=none cargo
/// xtask ui`.
pub(crate) fn profile(series: Series) {
    let relay = page::relay(&[]);
    let source = Source::start(&relay, series);
    let browser = page::open(&relay, source::APP, series.count);
    browser.command("Profiler.enable", json!({}));
    browser.command("Profiler.start", json!({}));
    sleep(PROFILED);
    let answer = browser.command_result("Profiler.stop", json!({}));
    drop(browser);
    drop(source);
    let ms_per_sec = |profile_us: i64| profile_us as f64 / 1e3 / PROFILED.as_secs_f64();
    let times = FunctionTimes::of(&answer["profile"]);
    for (title, times) in [("own", times.own), ("total", times.total)] {
        let mut times: Vec<(&str, i64)> = times.into_iter().collect();
        times.sort_by_key(|&(_, us)| -us);
        times.iter().take(30).for_each(|&(name, us)| println!("{title} {:8.2} ms/s  {name}", ms_per_sec(us)));
    }
}

/// The time of each function of a profile of Chromium, in µs.
#[derive(Default)]
struct FunctionTimes<'a> {
    own: BTreeMap<&'a str, i64>,
    total: BTreeMap<&'a str, i64>,
}

impl<'a> FunctionTimes<'a> {
    fn of(profile: &'a Value) -> Self {
        let list = |value: &'a Value| value.as_array().map_or(&[][..], Vec::as_slice);
        let mut names = BTreeMap::new();
        let mut parents = BTreeMap::new();
        for node in list(&profile["nodes"]) {
            let id = node["id"].as_u64();
            names.insert(id, node["callFrame"]["functionName"].as_str().unwrap_or_default());
            parents.extend(list(&node["children"]).iter().map(|child| (child.as_u64(), id)));
        }
        let mut times = Self::default();
        for (sample, us) in list(&profile["samples"]).iter().zip(list(&profile["timeDeltas"])) {
            let (node, us) = (sample.as_u64(), us.as_i64().unwrap_or(0));
            let path = std::iter::successors(Some(node), |node| parents.get(node).copied());
            let path: BTreeSet<&str> = path.filter_map(|node| names.get(&node).copied()).collect();
            path.into_iter().for_each(|name| *times.total.entry(name).or_default() += us);
            *times.own.entry(names.get(&node).copied().unwrap_or_default()).or_default() += us;
        }
        times
    }
}
