//! Chromium's own counters of a page, and what the operating system says of its processes.

use std::fs;
use std::time::Instant;

use joey_tests::Relay;
use joey_tests::browser::Browser;
use serde_json::{Value, json};

/// Clock ticks in a second, the same on every Linux of today.
const TICKS_PER_SEC: f64 = 100.0;
/// Bytes of a MB, as everywhere in the memory of programs.
const MB: f64 = 1_048_576.0;

/// How much of a page's time went where, up to one moment.
#[derive(Debug)]
pub(crate) struct Counters {
    metrics: Value,
    /// CPU of all the browser's processes in s.
    cpu_secs: f64,
    /// CPU of all that is not the browser, the relay or this program, in s.
    others_secs: f64,
    at: Instant,
}

impl Counters {
    /// Reads them; `Performance.enable` comes first.
    pub(crate) fn read(relay: &Relay, browser: &Browser) -> Self {
        let metrics = browser.command_result("Performance.getMetrics", json!({}));
        let browsers: f64 = browser.process_ids().into_iter().filter_map(cpu_secs).sum();
        let own: f64 = [relay.process_id(), std::process::id()].into_iter().filter_map(cpu_secs).sum();
        Self { metrics, cpu_secs: browsers, others_secs: busy_secs() - browsers - own, at: Instant::now() }
    }

    /// What the counter called `name` grew by since `before`, a time, in ms for each second.
    pub(crate) fn ms_per_sec(&self, before: &Self, name: &str) -> f64 {
        let grew = |name| self.value(name) - before.value(name);
        1e3 * grew(name) / grew("Timestamp")
    }

    /// CPU of all the browser's processes since `before`, in ms for each second.
    pub(crate) fn cpu_ms_per_sec(&self, before: &Self) -> f64 {
        1e3 * (self.cpu_secs - before.cpu_secs) / self.secs(before)
    }

    /// How many cores were busy with other things since `before`.
    pub(crate) fn noise(&self, before: &Self) -> f64 {
        (self.others_secs - before.others_secs).max(0.0) / self.secs(before)
    }

    fn secs(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64()
    }

    /// The counter called `name`.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let all = self.metrics["metrics"].as_array().into_iter().flatten();
        let found = all.filter(|metric| metric["name"] == name).find_map(|metric| metric["value"].as_f64());
        found.unwrap_or_else(|| panic!("Chromium counts no {name}"))
    }
}

/// What a page keeps beside the memory of WebAssembly, in MB, after everything was collected that nothing holds.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Objects of JavaScript.
    pub(crate) heap_mb: f64,
    /// Nodes and styles.
    pub(crate) document_mb: f64,
    /// The process that runs the page: its own pages, and its share of those that it shares (PSS).
    pub(crate) process_mb: f64,
}

impl Memory {
    /// Collects, and reads.
    pub(crate) fn read(browser: &Browser) -> Self {
        browser.command("HeapProfiler.collectGarbage", json!({}));
        let usage = browser.command_result("Runtime.getHeapUsage", json!({}));
        let mb = |name: &str| usage[name].as_f64().unwrap_or(f64::NAN) / MB;
        Self {
            heap_mb: mb("usedSize"),
            document_mb: mb("embedderHeapUsedSize"),
            process_mb: browser.process_ids().into_iter().filter_map(page_mb).fold(0.0, f64::max),
        }
    }
}

/// CPU that a process has used, its own and the kernel's for it, in s.
fn cpu_secs(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; user and system time are the 14th and 15th field.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
    Some((fields.next()? + fields.next()?) / TICKS_PER_SEC)
}

/// CPU that all processes of the machine have used, in s.
fn busy_secs() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("this is Linux");
    let ticks =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map_while(|field| field.parse().ok());
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
    let busy: f64 =
        ticks.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks): (_, f64)| ticks).sum();
    busy / TICKS_PER_SEC
}

/// Memory of a process in MB, if it runs a page.
fn page_mb(process: u32) -> Option<f64> {
    let words = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let kb = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().trim_end_matches(" kB").trim();
    words.contains("--type=renderer").then_some(kb.parse::<f64>().ok()? / 1024.0)
}
