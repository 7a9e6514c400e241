//! Every number on the page equals the oracle's, and therefore the output of `joey stats --json`.

use joey_tests::browser::Browser;
use joey_tests::frame::captured;
use joey_tests::oracle::{ViewId, by_id};
use joey_tests::{Frame, Oracle, S, eventually, eventually_is};

use crate::page::{address, detail, expected, read, relay, sample_data, send, wait_for_rows};

const APP: &str = "Market Spread: e2e";

#[test]
fn the_dashboard_and_every_detail_page_show_the_numbers_that_were_sent() {
    let relay = relay(&[]);
    let oracle = sample_data(APP);
    let _open = send(&relay, &oracle);
    let stats = eventually("the newest period is complete", || {
        let stats = relay.stats(APP);
        (stats["through_ns"].as_u64() == Some(oracle.clock_ns())).then_some(stats)
    });
    oracle.check(&stats);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/Market%20Spread%3A%20e2e/dashboard"));
    let kind = |kind: &'static str| move |id: &ViewId| id.0 == kind;
    let totals = ["start-to-end", "node-ingress-egress", "computation", "gc-pause"];
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, |id| totals.contains(&id.0.as_str()));
    for (id, view) in by_id(&stats) {
        browser.go_to(&detail(APP, &id));
        let mut shown = vec!["min", "median", "max", "count"];
        if id.0 != "pipeline-ingestion" {
            shown.extend(["p50", "p95", "p99", "p999", "p9999"]);
        }
        let wanted = expected(&view, None, &shown);
        eventually_is(&format!("{id:?}"), &Some(wanted), || {
            let page = "[data-testid=detail]";
            let (_, mut cells) =
                read(&browser, &format!("{page}[data-kind='{}'] .figures", id.0)).into_iter().next()?;
            cells.retain(|column, _| shown.contains(&column.as_str()));
            Some(cells)
        });
        // The tables with links to other pages.
        let [pipeline, worker, name] = id.1.clone();
        let check =
            |wanted: &dyn Fn(&ViewId) -> bool| wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, wanted);
        let part = |other: &ViewId| kind("computation-by-worker")(other);
        match id.0.as_str() {
            "start-to-end" => check(&|other| {
                (kind("start-to-end-by-worker")(other) && other.1[0] == pipeline) || kind("computation")(other)
            }),
            "node-ingress-egress" => {
                check(&|other| (kind("node-ingress-egress-by-pipeline")(other) || part(other)) && other.1[1] == worker)
            }
            "computation" => check(&|other| part(other) && other.1[2] == name),
            "start-to-end-by-worker" | "node-ingress-egress-by-pipeline" => {
                check(&|other| part(other) && other.1[0] == pipeline && other.1[1] == worker);
            }
            _ => assert_eq!(browser.count("[data-testid=row]"), 0, "{id:?}"),
        }
    }
    browser.go_to("/applications/Market%20Spread%3A%20e2e/workers-dashboard");
    check_worker_rows(&browser, &oracle);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

fn check_worker_rows(browser: &Browser, oracle: &Oracle) {
    eventually_is("workers", &2, || browser.count("[data-testid=worker] [data-connected=true]"));
    let views = oracle.expected(300, oracle.clock_ns());
    for (id, cells) in read(browser, "[data-testid=worker]") {
        let wanted = expected(&views[&id], None, &["p50", "p95", "p99", "min", "median", "max"]);
        let mut cells = cells;
        cells.retain(|column, _| wanted.contains_key(column));
        assert_eq!(cells, wanted, "{id:?}");
    }
}

#[test]
fn the_captured_frame_is_shown_in_readable_units() {
    let relay = relay(&[]);
    let later =
        Frame { end_ns: 1_544_101_822 * S, ..Frame::new("Alerts_windowed", "else", ["p", "w", "n"], 0).with(&[5]) };
    let oracle = Oracle::new(&[captured(), later]);
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    let id = ("computation".to_owned(), [None, None, Some("Decode Time in TCP Source".to_owned())]);
    browser.open(&address(&relay, &detail("Alerts_windowed", &id)));
    eventually_is("the 99.99th percentile", &"8.19–14.5µs".to_owned(), || {
        browser.text(".figures [data-col=p9999]").replace(|c: char| c.is_whitespace(), "")
    });
    let text =
        |column: &str| browser.text(&format!(".figures [data-col={column}]")).replace(|c: char| c.is_whitespace(), "");
    assert_eq!((text("p50").as_str(), text("p999").as_str(), text("max").as_str()), ("34–64ns", "64–128ns", "28.9k"));
    assert_eq!(text("count"), "57841");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
