//! A page that stays open in Chromium during the soak: its heap, its nodes, and the memory of its process.

use joey_tests::Relay;
use joey_tests::browser::Browser;
use serde_json::json;

/// An open page.
#[derive(Debug)]
pub(crate) struct Page {
    browser: Browser,
}

/// Resource use of a page at one point in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// JavaScript heap in MB of 2^20 bytes, without the memory of the WebAssembly program.
    pub(crate) heap_mb: f64,
    /// Nodes of the document, including detached ones.
    pub(crate) nodes: f64,
    /// Resident memory of the page's process in MB, including the program's memory and Chromium's code.
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
        let answer = self.browser.command_result("Performance.getMetrics", json!({}));
        let metric = |name: &str| {
            let all = answer["metrics"].as_array().into_iter().flatten();
            let found = all.filter(|metric| metric["name"] == name).find_map(|metric| metric["value"].as_f64());
            found.unwrap_or(f64::NAN)
        };
        let heap_mb = metric("JSHeapUsedSize") / f64::from(1 << 20);
        Weight { heap_mb, nodes: metric("Nodes"), process_mb: self.process_mb() }
    }

    /// Whether it draws a chart. Before the first frames there is none to draw.
    pub(crate) fn draws(&self) -> bool {
        self.browser.count("canvas") > 0
    }

    /// Errors on its console since the last call.
    pub(crate) fn console_errors(&self) -> Vec<String> {
        self.browser.console_errors()
    }

    /// Memory of the largest renderer process.
    fn process_mb(&self) -> f64 {
        let read = |process: u32, file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        let resident_mb = |process: u32| {
            let is_page = read(process, "cmdline").is_some_and(|words| words.contains("--type=renderer"));
            let status = read(process, "status").filter(|_| is_page)?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok().map(|kb| kb / 1024.0)
        };
        self.browser.process_ids().into_iter().filter_map(resident_mb).fold(0.0, f64::max)
    }
}
