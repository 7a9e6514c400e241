//! What leaves the page: percentiles in the address, files, images and print.

use std::collections::BTreeMap;

use joey_shared::histogram::{Histogram, Quantile};
use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Oracle, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{Cells, address, detail, read, relay, sample_data, send, wait_for_rows};

const ROWS: &str = "[data-testid=row]";

/// The quantile of each view of the dashboard, as cells.
fn expected(oracle: &Oracle, millionths: u32) -> BTreeMap<ViewId, Value> {
    let quantile = Quantile::from_millionths(millionths).expect("it is at most a million");
    let range = |view: &Value| {
        let bins = view["bins"].as_object().expect("a view has bins");
        let mut histogram = Histogram::default();
        for (bin, count) in bins {
            histogram.add(bin.parse().expect("a bin is a number"), count.as_u64().expect("a count"));
        }
        let bound = |name: &str| view[name].as_u64();
        histogram.min_ns = bound("min_ns").unwrap_or(u64::MAX);
        histogram.max_ns = bound("max_ns").unwrap_or(0);
        histogram.quantile(quantile).map_or(Value::Null, |range| json!([range.low, range.high]))
    };
    oracle
        .expected(300, oracle.clock_ns())
        .into_iter()
        .filter(|(id, _)| totals(id))
        .map(|(id, view)| (id, range(&view)))
        .collect()
}

fn totals(id: &ViewId) -> bool {
    ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
}

/// One column of all rows.
fn column(browser: &Browser, name: &str) -> BTreeMap<ViewId, Value> {
    let cells = |cells: &Cells| cells.get(name).cloned().unwrap_or_else(|| json!("no such column"));
    read(browser, ROWS).iter().map(|(id, row)| (id.clone(), cells(row))).collect()
}

/// The address after `#`.
fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

#[test]
fn any_percentile_is_a_column_a_figure_and_part_of_the_address() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);

    browser.type_into("#percentile", "100\n");
    eventually("a reason", || browser.text("#percentile-problem").contains("between 0 and 100").then_some(()));
    browser.type_into("#percentile", "\u{8}\u{8}\u{8}99\n");
    eventually_is("99 has a column", &"Already shown".to_owned(), || browser.text("#percentile-problem"));
    browser.type_into("#percentile", "\u{8}\u{8}99.95\n");
    eventually_is("a column", &expected(&oracle, 999_500), || column(&browser, "p99.95"));
    browser.type_into("#percentile", "12.5\n");
    eventually_is("another one", &expected(&oracle, 125_000), || column(&browser, "p12.5"));
    assert!(hash(&browser).ends_with("?p=12.5,99.95"), "{}", hash(&browser));
    assert_eq!(browser.text("#percentile-problem"), "");
    // 2,000 events are needed, and the rare pauses have fewer.
    eventually("a grey cell", || {
        (browser
            .count("[data-kind=other] td.faint[data-col='p99.95'], [data-kind=gc-pause] td.faint[data-col='p99.95']")
            == 1)
            .then_some(())
    });

    // It sorts like the others. Without the column, the order is the table's own.
    let heads = "[...document.querySelectorAll('[data-subject=Computation] thead button')]";
    let press = format!("{heads}.find(head => head.textContent === 'p99.95').click()");
    let _ = browser.evaluate(&press, &[]);
    eventually_is("sorted", &1, || browser.count("[data-subject=Computation] th[aria-sort=descending]"));
    let highs = "return [...document.querySelectorAll('[data-subject=Computation] [data-col=\"p99.95\"]')].map(c => +c.dataset.high)";
    let highs = browser.evaluate(highs, &[]);
    let highs: Vec<u64> = highs.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    assert!(highs.len() == 2 && highs.is_sorted_by(|a, b| a >= b), "{highs:?}");

    // The address is enough, after a reload and in the detail page, which has a figure.
    let _ = browser.evaluate("location.reload()", &[]);
    eventually_is("after a reload", &expected(&oracle, 999_500), || column(&browser, "p99.95"));
    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    browser.go_to(&detail("App", &id));
    let wanted = expected(&oracle, 999_500)[&id].clone();
    eventually_is("a figure", &wanted, || {
        let figure = |name: &str| browser.attribute(".figures [data-col='p99.95']", name).parse::<u64>().unwrap_or(0);
        json!([figure("data-low"), figure("data-high")])
    });
    eventually("the address of the detail page", || hash(&browser).ends_with("?p=12.5,99.95").then_some(()));

    // Removed by keyboard.
    let _ = browser.evaluate("document.querySelector('[aria-label=\"Remove p99.95\"]').focus()", &[]);
    browser.type_into("[aria-label='Remove p99.95']", "\n");
    eventually_is("no figure", &0, || browser.count(".figures [data-col='p99.95']"));
    assert!(hash(&browser).ends_with("?p=12.5"), "{}", hash(&browser));
    assert_eq!(browser.evaluate_text("return document.activeElement.id", &[]), "percentile");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
