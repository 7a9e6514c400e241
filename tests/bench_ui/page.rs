//! Measures what a page does in each animation frame and for each message, with a script that runs before the page.
//!
//! Chromium runs microtasks after each callback of a frame and after each event listener, so a callback before and one after the
//! page's own measure its whole work.

use std::thread::sleep;
use std::time::Duration;

use joey_tests::browser::Browser;
use joey_tests::{Relay, eventually};
use serde_json::{Value, json};

/// Time after which a page has finished its startup work.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// Adds up the script of each frame; records the intervals of frames, tasks longer than 50 ms, and the memories of WebAssembly,
/// for which Chromium has no counter. While `repeats` is set, the page receives each message twice.
const INSTRUMENTS: &str = r"
    const bench = window.bench =
        { script: 0, isBusy: false, frames: null, intervals: [], long: 0, first: 0, again: 0, repeats: false };
    let begun = 0;
    const begin = () => { begun = performance.now(); };
    const taken = () => {
        const ms = performance.now() - begun;
        bench.script += ms;
        bench.isBusy = true;
        return ms;
    };
    const frame = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = callback => {
        frame(begin);
        const id = frame(callback);
        frame(taken);
        return id;
    };
    const listen = WebSocket.prototype.addEventListener;
    WebSocket.prototype.addEventListener = function (kind, listener, ...options) {
        if (kind !== 'message') return listen.call(this, kind, listener, ...options);
        const again = event => { if (bench.repeats) listener.call(this, event); };
        for (const each of [begin, listener, () => { bench.first += taken(); begin(); }, again]) {
            listen.call(this, kind, each);
        }
        listen.call(this, kind, () => { if (bench.repeats) bench.again += taken(); });
    };
    bench.start = repeats => {
        Object.assign(bench, { script: 0, isBusy: false, intervals: [], long: 0, first: 0, again: 0, repeats });
        const frames = bench.frames = [];
        let last = null;
        const step = now => {
            if (bench.frames !== frames) return;
            if (last !== null) bench.intervals.push(now - last);
            last = now;
            if (bench.isBusy) frames.push(bench.script);
            bench.script = 0;
            bench.isBusy = false;
            frame(step);
        };
        frame(step);
    };
    bench.stop = () => {
        const { frames, intervals, long, first, again } = bench;
        bench.frames = null;
        bench.repeats = false;
        return { frames, intervals, long, first, again };
    };
    new PerformanceObserver(list => { bench.long += list.getEntries().length; }).observe({ type: 'longtask' });
    window.memories = new Set();
    const keep = started => {
        const found = Object.values((started.instance ?? started).exports);
        found.filter(item => item instanceof WebAssembly.Memory).forEach(item => memories.add(item));
        return started;
    };
    for (const name of ['instantiate', 'instantiateStreaming']) {
        const real = WebAssembly[name];
        WebAssembly[name] = (...words) => real.apply(WebAssembly, words).then(keep);
    }";
/// The size of these memories, in MB.
const MEMORIES: &str = "return [...memories].reduce((sum, memory) => sum + memory.buffer.byteLength / 1048576, 0)";
/// The result of [`rows`].
const ROWS: &str = "return [...document.querySelectorAll('table[aria-rowcount]')]
    .reduce((sum, table) => sum + Number(table.getAttribute('aria-rowcount')) - 1, 0);";

/// A frame that comes at least this long after the one before, in ms, is late: half a frame at 60 Hz.
const LATE_MS: f64 = 25.0;

/// What a page did for a while.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The script of each frame that had any, in ms, ascending.
    busy_ms: Vec<f64>,
    /// The time between frames, in ms, ascending.
    intervals_ms: Vec<f64>,
    /// Number of tasks longer than 50 ms.
    pub(crate) long_tasks: f64,
    /// The time for all messages, in ms.
    pub(crate) messages_ms: f64,
    /// The time for the same messages the second time, in ms; 0 without repetition.
    pub(crate) repeated_ms: f64,
}

impl Frames {
    /// The script of a frame at `quantile`, in ms, among those with any.
    pub(crate) fn script_ms(&self, quantile: f64) -> f64 {
        at(&self.busy_ms, quantile)
    }

    /// Number of frames with more than 16 ms of script.
    pub(crate) fn over_16_ms(&self) -> f64 {
        self.busy_ms.iter().filter(|&&ms| ms > 16.0).count() as f64
    }

    /// The share of late frames, in %.
    pub(crate) fn late_percent(&self) -> f64 {
        let late = self.intervals_ms.iter().filter(|&&ms| ms > LATE_MS).count();
        100.0 * late as f64 / self.intervals_ms.len() as f64
    }

    /// The longest time between two frames, in ms.
    pub(crate) fn longest_ms(&self) -> f64 {
        at(&self.intervals_ms, 1.0)
    }
}

/// The value at `quantile` of `sorted`.
fn at(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Starts a relay. It serves its own page, or the one in the folder `JOEY_DIST`.
pub(crate) fn relay(arguments: &[&str]) -> Relay {
    let folder = std::env::var("JOEY_DIST");
    let page = folder.as_ref().map_or_else(|_| Vec::new(), |folder| vec!["--ui-dir", folder.as_str()]);
    Relay::start_with(&[arguments, &page].concat())
}

/// Starts a browser whose pages are measured.
pub(crate) fn measured_browser() -> Browser {
    let browser = Browser::start();
    let source = format!("{{{INSTRUMENTS}}}");
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": source}));
    browser.command("Performance.enable", json!({}));
    browser
}

/// Opens a dashboard and waits until it has at least this number of rows.
pub(crate) fn open(relay: &Relay, app: &str, rows: usize) -> Browser {
    let browser = measured_browser();
    browser.open(&format!("http://{}/#/applications/{app}/dashboard", relay.http));
    eventually(&format!("{rows} rows"), || (self::rows(&browser) >= rows as u64).then_some(()));
    sleep(SETTLED);
    browser
}

/// Number of rows of all tables, in the document or not.
pub(crate) fn rows(browser: &Browser) -> u64 {
    browser.evaluate(ROWS, &[]).as_u64().unwrap_or(0)
}

/// Measures frames for `duration`. With `repeats`, the page receives each message twice; the second time it decodes the updates
/// and finds that it has them.
pub(crate) fn frames(browser: &Browser, duration: Duration, repeats: bool) -> Frames {
    let _ = browser.evaluate("bench.start(arguments[0])", &[repeats.into()]);
    sleep(duration);
    let result = browser.evaluate("return bench.stop()", &[]);
    Frames::read(&result)
}

impl Frames {
    /// Reads the result of `bench.stop()`.
    pub(crate) fn read(result: &Value) -> Self {
        let sorted = |name: &str| {
            let mut values: Vec<f64> =
                result[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
        Self {
            busy_ms: sorted("frames"),
            intervals_ms: sorted("intervals"),
            long_tasks: number("long"),
            messages_ms: number("first"),
            repeated_ms: number("again"),
        }
    }
}

/// The size of WebAssembly's memory, in MB. It never shrinks.
pub(crate) fn wasm_mb(browser: &Browser) -> f64 {
    browser.evaluate(MEMORIES, &[]).as_f64().unwrap_or(f64::NAN)
}
