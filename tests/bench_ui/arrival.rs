//! The time from the navigation to the first row, and to the first row with the right numbers, with cold caches.
//!
//! The relay has five minutes of 50 series. The oldest period has the most events and the longest durations, and the
//! second newest has the fewest events. A row is therefore right only after its whole history has arrived. The newest
//! period is never complete.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use joey_tests::browser::Browser;
use joey_tests::{Frame, Relay, S, eventually, now_ns};
use serde_json::{Value, json};

use crate::{Extent, Figure};

/// Number of series, the same as in the measurements of the original Monitoring Hub.
const SERIES: usize = 50;
/// Number of periods of two seconds: five minutes, with a margin at the edge of the window.
const PERIODS: u64 = 148;
/// The expected text of a row without spaces: p50, p95, p99, and the minimum, median and maximum rate. They follow from
/// [`frames`].
const RIGHT: [&str; 6] = ["100–131µs", "100–131µs", "4.19–5.00ms", "50", "250", "1.00k"];
/// 10 Mbit/s, in bytes per second.
const BYTES_PER_SEC: u64 = 1_250_000;
/// Latency from a request to the headers of the response, in ms.
const ROUND_TRIP_MS: u64 = 40;
/// Time after which a new browser has finished its own startup work.
const SETTLED: Duration = Duration::from_secs(1);

/// Checks all rows after each change of the document, until one is right.
const WATCH: &str = r"
    const right = RIGHT, plain = text => text.replace(/\s/g, ''), at = window.rowAt = [];
    const isRight = texts => right.every((text, place) => texts.at(place - right.length) === text);
    const observer = new MutationObserver(() => {
        const rows = [...document.querySelectorAll('tbody tr')];
        const texts = rows.map(row => [...row.cells].map(cell => plain(cell.textContent)));
        const ours = texts.filter(texts => texts[0]?.startsWith('Step'));
        if (ours.length > 0) at[0] ??= performance.now();
        if (ours.some(isRight)) at[1] = performance.now();
        if (at[1]) observer.disconnect();
    });
    observer.observe(document, { childList: true, subtree: true, characterData: true });";

pub(crate) fn figures(extent: Extent) -> Vec<Figure> {
    let relay = crate::page::relay(&[]);
    let mut producer = relay.producer("Arrival", "worker");
    producer.send_all(&frames());
    relay.wait_for_accepted(PERIODS * SERIES as u64);
    let mut files = Vec::new();
    let mut waits = [const { Vec::new() }; 4];
    for visit in 1..=extent.visits {
        eprintln!("visit {visit} of {}, with and without a slow network", extent.visits);
        for (is_slow, waits) in [true, false].into_iter().zip(waits.chunks_mut(2)) {
            let visit = visit_once(&relay, is_slow);
            waits.iter_mut().zip(visit.row_ms).for_each(|(waits, ms)| waits.push(ms));
            files = visit.files;
        }
    }
    let names = [
        "first row, 10 Mbit/s and 40 ms",
        "first right row, 10 Mbit/s and 40 ms",
        "first row, loopback",
        "first right row, loopback",
    ];
    let mut figures: Vec<Figure> =
        names.into_iter().zip(waits).map(|(name, waits)| Figure::new(name, "ms", waits)).collect();
    for encoding in ["gzip", "br"] {
        figures.extend(weights(&relay, &files, encoding));
    }
    figures
}

/// The result of one visit.
struct Visit {
    /// Times from the navigation to the first row, and to the first right row.
    row_ms: [f64; 2],
    /// Paths of the files that the page fetched.
    files: Vec<String>,
}

/// Opens the page in a new browser, so that no files, compiled code or connections are cached.
fn visit_once(relay: &Relay, is_slow: bool) -> Visit {
    let browser = Browser::start();
    let right = serde_json::to_string(&RIGHT).expect("texts are JSON");
    let watch = format!("{{{}}}", WATCH.replace("RIGHT", &right));
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": watch}));
    if is_slow {
        browser.command("Network.enable", json!({}));
        let conditions = json!({"offline": false, "latency": ROUND_TRIP_MS, "downloadThroughput": BYTES_PER_SEC,
            "uploadThroughput": BYTES_PER_SEC});
        browser.command("Network.emulateNetworkConditions", conditions);
    }
    sleep(SETTLED);
    browser.open(&format!("http://{}/#/applications/Arrival/dashboard", relay.http));
    let row_ms = eventually("a row with the right numbers", || {
        let at = browser.evaluate("return window.rowAt", &[]);
        Some([at[0].as_f64()?, at[1].as_f64()?])
    });
    let fetched = "return performance.getEntriesByType('resource').map(file => new URL(file.name))
        .filter(file => file.host === location.host && file.protocol === location.protocol).map(file => file.pathname)";
    let fetched = browser.evaluate(fetched, &[]);
    let fetched = fetched.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Visit { row_ms, files: std::iter::once("/".to_owned()).chain(fetched).collect() }
}

/// The sizes of the files with this `encoding`, as the relay sends them, by kind.
fn weights(relay: &Relay, files: &[String], encoding: &str) -> Vec<Figure> {
    let mut kinds = BTreeMap::new();
    for file in files {
        let (status, head, _) = relay.get_with_headers(file, &format!("Accept-Encoding: {encoding}\r\n"));
        assert_eq!(status, 200, "{file}");
        let field = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<f64>().ok();
        let bytes = head.lines().find_map(field).expect("an answer has a length");
        let kind = if file == "/" { "html" } else { file.rsplit_once('.').map_or("others", |(_, kind)| kind) };
        *kinds.entry(kind).or_insert(0.0) += bytes / 1e3;
    }
    let all = kinds.values().sum();
    let each = kinds.into_iter().chain([("together", all)]);
    each.map(|(kind, kb)| Figure::new(format!("{encoding}, {kind}"), "KB", vec![kb])).collect()
}

/// The frames of five minutes of all series.
fn frames() -> Vec<Frame> {
    let newest_s = now_ns() / S / 2 * 2 - 2;
    let of_period = |ago: u64| {
        let (bin, events, ns) = match ago {
            1 => (17, 100, 100_000),
            oldest if oldest == PERIODS - 1 => (23, 2_000, 5_000_000),
            _ => (17, 500, 100_000),
        };
        (0..SERIES).map(move |series| {
            let names = ["Orders", "worker", &format!("Step {series:02}")];
            Frame::new("Arrival", "computation", names, newest_s - 2 * ago).with_bins(&[(bin, events)], ns, ns)
        })
    };
    (0..PERIODS).rev().flat_map(of_period).collect()
}
