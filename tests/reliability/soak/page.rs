//! A page that stays open in Chromium all the time: its heap, its nodes, and the memory of the process that runs it.

use joey_tests::Relay;
use joey_tests::browser::Browser;
use serde_json::json;

/// An open page.
#[derive(Debug)]
pub(crate) struct Page {
    browser: Browser,
}

/// What a page takes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// JavaScript's heap in MB of 2^20 bytes. The program's own memory is not in it.
    pub(crate) heap_mb: f64,
    /// Nodes of the document, detached ones among them.
    pub(crate) nodes: f64,
    /// Resident memory of the process that runs the page in MB: the program's own memory, and Chromium's code.
    pub(crate) process_mb: f64,
}

impl Page {
    pub(crate) fn open(relay: &Relay, app: &str) -> Self {
        let browser = Browser::start();
        browser.command("Performance.enable", json!({}));
        browser.open(&format!("http://{}/#/applications/{app}/dashboard", relay.http));
        Self { browser }
    }

    pub(crate) fn weight(&self) -> Weight {
        let answer = self.browser.answer("Performance.getMetrics", json!({}));
        let figure = |name: &str| {
            let all = answer["metrics"].as_array().into_iter().flatten();
            let found = all.filter(|metric| metric["name"] == name).find_map(|metric| metric["value"].as_f64());
            found.unwrap_or(f64::NAN)
        };
        let heap_mb = figure("JSHeapUsedSize") / f64::from(1 << 20);
        Weight { heap_mb, nodes: figure("Nodes"), process_mb: self.process_mb() }
    }

    /// Whether it draws anything. Before the first frames it has nothing to draw.
    pub(crate) fn draws(&self) -> bool {
        self.browser.count("canvas") > 0
    }

    /// Errors on its console since the last time.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.browser.complaints()
    }

    /// What the largest of the processes that run pages has.
    fn process_mb(&self) -> f64 {
        let read = |process: u32, file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        let resident_mb = |process: u32| {
            let is_page = read(process, "cmdline").is_some_and(|words| words.contains("--type=renderer"));
            let status = read(process, "status").filter(|_| is_page)?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok().map(|kb| kb / 1024.0)
        };
        self.browser.processes().into_iter().filter_map(resident_mb).fold(0.0, f64::max)
    }
}
