//! Chromium's counters of a page, and the operating system's counters of its processes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use joey_tests::Relay;
use joey_tests::browser::Browser;
use joey_tests::process::{TICKS_PER_SEC, cpu_secs, memory_mb};
use serde_json::json;

/// Bytes per MB of memory.
const MB: f64 = 1_048_576.0;

/// The counters of a page at one instant.
#[derive(Debug)]
pub(crate) struct Counters {
    metrics: BTreeMap<String, f64>,
    /// CPU time of all processes of the browser, in s.
    cpu_secs: f64,
    /// CPU time of all processes except the browser, the relay and this program, in s.
    others_secs: f64,
    at: Instant,
}

impl Counters {
    /// Reads the counters. Requires `Performance.enable`.
    pub(crate) fn read(relay: &Relay, browser: &Browser) -> Self {
        let metrics = browser.performance_metrics();
        let browsers: f64 = browser.process_ids().into_iter().filter_map(cpu_secs).sum();
        let own: f64 = [relay.process_id(), std::process::id()].into_iter().filter_map(cpu_secs).sum();
        Self { metrics, cpu_secs: browsers, others_secs: busy_secs() - browsers - own, at: Instant::now() }
    }

    /// The increase of the time counter `name` since `before`, in ms per second.
    pub(crate) fn ms_per_sec(&self, before: &Self, name: &str) -> f64 {
        let grew = |name| self.value(name) - before.value(name);
        1e3 * grew(name) / grew("Timestamp")
    }

    /// CPU time of all processes of the browser since `before`, in ms per second.
    pub(crate) fn cpu_ms_per_sec(&self, before: &Self) -> f64 {
        1e3 * (self.cpu_secs - before.cpu_secs) / self.secs(before)
    }

    /// Number of cores that other processes used since `before`.
    pub(crate) fn noise(&self, before: &Self) -> f64 {
        (self.others_secs - before.others_secs).max(0.0) / self.secs(before)
    }

    fn secs(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64()
    }

    /// The value of the counter `name`.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or_else(|| panic!("Chromium counts no {name}"))
    }
}

/// The memory of a page besides WebAssembly's, in MB, after a garbage collection.
#[derive(Debug)]
pub(crate) struct Memory {
    /// JavaScript objects.
    pub(crate) heap_mb: f64,
    /// DOM nodes and styles.
    pub(crate) document_mb: f64,
    /// The process that runs the page: its proportional set size (PSS).
    pub(crate) process_mb: f64,
}

impl Memory {
    /// Collects garbage and reads the values.
    pub(crate) fn read(browser: &Browser) -> Self {
        browser.command("HeapProfiler.collectGarbage", json!({}));
        let usage = browser.command_result("Runtime.getHeapUsage", json!({}));
        let mb = |name: &str| usage[name].as_f64().unwrap_or(f64::NAN) / MB;
        Self {
            heap_mb: mb("usedSize"),
            document_mb: mb("embedderHeapUsedSize"),
            process_mb: (browser.renderer_ids().into_iter())
                .filter_map(|process| memory_mb(process, "smaps_rollup", "Pss:"))
                .fold(0.0, f64::max),
        }
    }
}

/// CPU time of all processes of the machine, in s.
fn busy_secs() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("this is Linux");
    let ticks =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map_while(|field| field.parse().ok());
    // user, nice, system, idle, iowait, irq, softirq, steal; user includes the time of guests.
    let busy: f64 =
        ticks.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks): (_, f64)| ticks).sum();
    busy / TICKS_PER_SEC
}
