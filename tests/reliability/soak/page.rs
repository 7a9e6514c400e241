//! A page that stays open in Chromium during the soak: its heap, its nodes, and the memory of its process.

use joey_tests::Relay;
use joey_tests::browser::Browser;
use joey_tests::process::memory_mb;
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
        let metrics = self.browser.performance_metrics();
        let metric = |name: &str| metrics.get(name).copied().unwrap_or(f64::NAN);
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
        let resident_mb = |process: u32| memory_mb(process, "status", "VmRSS:");
        self.browser.renderer_ids().into_iter().filter_map(resident_mb).fold(0.0, f64::max)
    }
}
