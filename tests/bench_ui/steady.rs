//! The cost of an open dashboard: CPU time by kind, late frames, long tasks, memory.
//!
//! Counters and frames are measured one after the other, because requesting every frame costs CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use joey_tests::browser::Browser;
use joey_tests::{Frame, Producer, Relay, S, eventually, now_ns};
use serde_json::json;

use crate::Figure;
use crate::counters::{Counters, Memory};

/// Number of repetitions.
const ROUNDS: usize = 3;
/// Duration of the measurement of counters in each repetition.
const COUNTED: Duration = Duration::from_secs(20);
/// Duration of the measurement of frames in each repetition.
const WATCHED: Duration = Duration::from_secs(10);
/// Time after which a page has finished its startup work.
const SETTLED: Duration = Duration::from_secs(10);

/// Chromium's time counters, and their names in the output.
const COUNTERS: [(&str, &str); 5] = [
    ("ScriptDuration", "script"),
    ("TaskDuration", "all tasks of the main thread"),
    ("LayoutDuration", "layout"),
    ("RecalcStyleDuration", "styles"),
    ("ThreadTime", "CPU of the main thread"),
];

/// Records tasks longer than 50 ms, and the memories of WebAssembly, for which Chromium has no counter.
const KEEP: &str = "window.longTasks = [];
    new PerformanceObserver(list => longTasks.push(...list.getEntries().map(task => task.duration)))
        .observe({ type: 'longtask' });
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
/// Starts recording the intervals between frames, in ms.
const FRAMES: &str = "const frames = window.frameTimes = [];
    let last = null;
    const step = now => {
        if (last !== null) frames.push(now - last);
        last = now;
        if (window.frameTimes === frames) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);";
/// Ends the recording. Returns the share of frames that were late by at least half a frame at 60 Hz, in %, and the longest in ms.
const FRAMES_END: &str = "const frames = window.frameTimes;
    window.frameTimes = null;
    return [100 * frames.filter(ms => ms > 25).length / frames.length, Math.max(...frames)];";
/// The number of rows of all tables, in the document or not.
const ROWS: &str = "return [...document.querySelectorAll('table[aria-rowcount]')]
    .reduce((sum, table) => sum + Number(table.getAttribute('aria-rowcount')) - 1, 0);";

/// The dashboard of the largest application of `joey demo`.
pub(crate) fn demo() -> Vec<Figure> {
    // The arguments are those of `serve`.
    let relay = Relay::start_in(&["sh", "-c", "shift; exec \"$0\" demo \"$@\""], &[]);
    let browser = open(&relay, "Market%20Spread", 5);
    measure("demo", &relay, &browser)
}

/// A dashboard of 1,000 rows that all change every second.
pub(crate) fn thousand() -> Vec<Figure> {
    let relay = Relay::start();
    let source = Source::start(&relay);
    let browser = open(&relay, "Thousand", WORKERS * SERIES);
    let figures = measure("1,000 rows", &relay, &browser);
    drop(browser);
    source.stop();
    figures
}

/// Opens a dashboard and waits until it has at least this number of rows.
fn open(relay: &Relay, app: &str, rows: usize) -> Browser {
    let browser = Browser::start();
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": format!("{{{KEEP}}}")}));
    browser.command("Performance.enable", json!({}));
    browser.open(&format!("http://{}/#/applications/{app}/dashboard", relay.http));
    eventually(&format!("{rows} rows"), || (browser.evaluate(ROWS, &[]).as_u64()? >= rows as u64).then_some(()));
    sleep(SETTLED);
    browser
}

fn measure(scene: &str, relay: &Relay, browser: &Browser) -> Vec<Figure> {
    let mut times = COUNTERS.map(|_| Vec::new());
    let [mut cpu, mut noise, mut tasks, mut late, mut longest] = [const { Vec::new() }; 5];
    for round in 1..=ROUNDS {
        eprintln!("{scene}, round {round} of {ROUNDS}");
        let _ = browser.evaluate("longTasks.length = 0", &[]);
        let before = Counters::read(relay, browser);
        sleep(COUNTED);
        let after = Counters::read(relay, browser);
        for ((counter, _), times) in COUNTERS.iter().zip(&mut times) {
            times.push(after.ms_per_sec(&before, counter));
        }
        cpu.push(after.cpu_ms_per_sec(&before));
        noise.push(after.noise(&before));
        let count = browser.evaluate("return longTasks.length", &[]).as_f64().unwrap_or(f64::NAN);
        tasks.push(count * 60.0 / COUNTED.as_secs_f64());
        let _ = browser.evaluate(FRAMES, &[]);
        sleep(WATCHED);
        let frames = browser.evaluate(FRAMES_END, &[]);
        late.push(frames[0].as_f64().unwrap_or(f64::NAN));
        longest.push(frames[1].as_f64().unwrap_or(f64::NAN));
    }
    let memory = Memory::read(browser);
    let named = |what: &str, unit, values| Figure::new(format!("{scene}: {what}"), unit, values);
    let times = COUNTERS.iter().zip(times).map(|((_, what), times)| named(what, "ms/s", times));
    let others = [
        named("CPU of all processes", "ms/s", cpu),
        named("tasks over 50 ms", "/min", tasks),
        named("late frames", "%", late),
        named("longest frame", "ms", longest),
        named("JavaScript's heap", "MB", vec![memory.heap_mb]),
        named("WebAssembly's memory", "MB", vec![browser.evaluate(MEMORIES, &[]).as_f64().unwrap_or(f64::NAN)]),
        named("document", "MB", vec![memory.document_mb]),
        named("process of the page", "MB", vec![memory.process_mb]),
        named("nodes", "1", vec![Counters::read(relay, browser).value("Nodes")]),
        named("noise", "cores", noise),
    ];
    times.chain(others).collect()
}

/// Number of connections that send the 1,000 series.
const WORKERS: usize = 10;
/// Number of series of each connection.
const SERIES: usize = 100;
/// Number of periods of one second that are sent before the page opens: five minutes, with a margin at the edge of the window.
const PAST: u64 = 296;
/// Number of periods that are sent at once. The frames are below the rate limit of a producer.
const AT_ONCE: u64 = 100;

/// A thread that sends 1,000 histograms per second.
struct Source {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Source {
    /// Sends the history, then continues in real time.
    fn start(relay: &Relay) -> Self {
        let worker = |number: usize| (number, relay.producer("Thousand", &format!("worker-{number}")));
        let mut workers: Vec<(usize, Producer)> = (0..WORKERS).map(worker).collect();
        let mut sent_s = now_ns() / S - PAST;
        let first_s = sent_s;
        let is_over = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::clone(&is_over);
        let mut send = move |until_s: u64| {
            for (number, producer) in &mut workers {
                let frames: Vec<Frame> = (sent_s..until_s).flat_map(|end_s| period(*number, end_s)).collect();
                producer.send_all(&frames);
            }
            sent_s = until_s;
        };
        for until_s in (first_s + AT_ONCE..first_s + PAST).step_by(AT_ONCE as usize) {
            send(until_s);
            sleep(Duration::from_secs(1));
        }
        let past_s = now_ns() / S;
        send(past_s);
        relay.wait_for_accepted((past_s - first_s) * (WORKERS * SERIES) as u64);
        let thread = thread::spawn(move || {
            while !is_asked.load(Ordering::Relaxed) {
                send(now_ns() / S);
                sleep(Duration::from_nanos(S - now_ns() % S));
            }
        });
        Self { is_over, thread }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the relay reads on");
    }
}

/// The frames of one worker for the second that ends at `end_s`. They differ in each second.
fn period(worker: usize, end_s: u64) -> impl Iterator<Item = Frame> {
    (0..SERIES).map(move |series| {
        let (name, number) = (format!("Step {:04}", worker * SERIES + series), series as u64);
        let (bin, fast, slow) = (14 + series % 5, 400 + (7 * number + 13 * end_s) % 200, 1 + (number + end_s) % 9);
        let bins = [(bin, fast), (bin + 6, slow)];
        let end = Frame::new("Thousand", "computation", ["Orders", &format!("worker-{worker}"), &name], end_s);
        end.with_bins(&bins, 1 << (bin - 1), (1 << (bin + 6)) - 1).lasting(S)
    })
}
