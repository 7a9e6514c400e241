//! Objectives: the threshold on the charts, what is under it, and how the page reports that an objective is missed.

use joey_shared::histogram::Histogram;
use joey_shared::objective::Under;
use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, Producer, Relay, eventually, eventually_is};
use serde_json::{Value, json};

use crate::accessibility::{axe, check};
use crate::page::{address, detail, now_s, relay, send};

const HEATMAP_HANDLE: &str = "[data-testid=time] .threshold-handle";
const CURVE_HANDLE: &str = "[data-testid=curve] .threshold-handle";
const DASHBOARD: &str = "/applications/App/dashboard";
const ARROW_UP: &str = "\u{e013}";
const DELETE: &str = "\u{e017}";
const ENTER: &str = "\u{e007}";

fn page(name: &str) -> String {
    let id: ViewId = ("computation".to_owned(), [None, None, Some(name.to_owned())]);
    detail("App", &id)
}

/// Durations from 1 µs to 640 ms.
fn slow() -> Vec<u64> {
    (0..4_000).map(|at| 1_000 + at * at * 40).collect()
}

fn fast() -> Vec<u64> {
    vec![200_000; 1_000]
}

/// Sends a second with a slow and a fast computation, which ended `ago` seconds ago.
fn send_both(relay: &Relay, ago: u64) -> Vec<Producer> {
    let frame = |name: &str| Frame::new("App", "computation", ["Orders", "w", name], now_s() - ago);
    send(relay, &Oracle::new(&[frame("Check order").with(&slow()), frame("Decode").with(&fast())]))
}

/// A browser with the detail page of the slow computation.
fn open_detail(relay: &Relay) -> Browser {
    let browser = Browser::start();
    browser.open(&address(relay, &page("Check order")));
    eventually_is("a handle on both charts", &2, || browser.count(".threshold-handle"));
    browser
}

fn threshold(browser: &Browser, handle: &str) -> u64 {
    browser.attribute(handle, "aria-valuenow").parse().unwrap_or(0)
}

/// The threshold in the address.
fn in_address(browser: &Browser, name: &str) -> Option<String> {
    let hash = browser.evaluate_text("return location.hash", &[]);
    hash.split(['?', '&']).find_map(|pair| pair.strip_prefix(name).map(str::to_owned))
}

/// Types a threshold.
fn set_threshold(browser: &Browser, text: &str) {
    let _ = browser.evaluate("document.querySelector('[name=threshold]').select()", &[]);
    browser.type_into("[name=threshold]", &format!("{text}\t"));
}

/// The events over the threshold in the window of `seconds`, as the table shows them.
fn over(browser: &Browser, seconds: u64) -> Value {
    let row = format!("[data-testid=shares] tr[data-window='{seconds}']");
    json!([browser.attribute(&row, "data-low"), browser.attribute(&row, "data-high")])
}

fn title(browser: &Browser) -> String {
    browser.evaluate_text("return document.title", &[])
}

#[test]
fn a_threshold_is_dragged_moved_by_keyboard_or_typed() {
    let relay = relay(&[]);
    let _open = send_both(&relay, 2);
    let browser = open_detail(&relay);
    // Before it is used, it is at the 99th percentile and not in the address.
    let at_first = eventually("a threshold", || Some(threshold(&browser, HEATMAP_HANDLE)).filter(|&ns| ns > 1_000_000));
    assert_eq!((browser.count(".threshold-handle.unused"), in_address(&browser, "under=")), (2, None));

    let script = format!(
        "const handle = document.querySelector('{HEATMAP_HANDLE}');
        handle.scrollIntoView({{block: 'center', behavior: 'instant'}});
        const box = handle.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]"
    );
    let at = browser.evaluate(&script, &[]);
    let [x, y] = [0, 1].map(|index| at[index].as_f64().expect("a position"));
    browser.mouse("mousePressed", [x, y], 1);
    browser.mouse("mouseMoved", [x, y + 20.0], 1);
    browser.mouse("mouseMoved", [x, y + 40.0], 1);
    let dragged = eventually("dragged", || Some(threshold(&browser, HEATMAP_HANDLE)).filter(|&ns| ns < at_first));
    assert_eq!(in_address(&browser, "under="), None);
    browser.mouse("mouseReleased", [x, y + 40.0], 0);
    let text = eventually("in the address", || in_address(&browser, "under="));
    assert_eq!(threshold(&browser, CURVE_HANDLE), dragged, "both charts have the same threshold");
    // Dragging the handle selects no time.
    assert_eq!((in_address(&browser, "from="), browser.count(".threshold-handle.unused")), (None, 0));
    assert!(browser.attribute(HEATMAP_HANDLE, "aria-valuetext").starts_with(&text), "{text}");

    let _ = browser.evaluate(&format!("document.querySelector('{CURVE_HANDLE}').focus()"), &[]);
    browser.press_focused(ARROW_UP);
    eventually("a step up", || (threshold(&browser, HEATMAP_HANDLE) > dragged).then_some(()));
    browser.press_focused(DELETE);
    eventually_is("back at the percentile", &at_first, || threshold(&browser, HEATMAP_HANDLE));
    eventually_is("not in the address", &None, || in_address(&browser, "under="));

    set_threshold(&browser, "1.5ms");
    eventually_is("typed", &1_500_000, || threshold(&browser, CURVE_HANDLE));
    eventually_is("in the address", &Some("1.5ms".to_owned()), || in_address(&browser, "under="));
    set_threshold(&browser, "soon");
    eventually("a reason", || browser.text(".objective-form .problem").contains("threshold").then_some(()));
    assert_eq!(threshold(&browser, CURVE_HANDLE), 1_500_000);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_table_counts_what_is_over_the_threshold_in_every_window() {
    let relay = relay(&[]);
    let _open = send_both(&relay, 2);
    let browser = open_detail(&relay);
    let mut histogram = Histogram::default();
    slow().into_iter().for_each(|ns| histogram.record(ns));
    // Within a bin, and at the edge of one, where the number is exact.
    for (text, ns) in [("100ms", 100_000_000), ("1.048576ms", 1 << 20)] {
        set_threshold(&browser, text);
        let (low, high) = Under::of(&histogram, ns).over();
        for seconds in [10, 60, 300, 3_600] {
            eventually_is(text, &json!([low.to_string(), high.to_string()]), || over(&browser, seconds));
        }
        let real = slow().into_iter().filter(|&duration| duration >= ns).count() as u128;
        assert!((low..=high).contains(&real) && (ns != 1 << 20 || low == high), "{low} to {high}, really {real}");
    }
    assert_eq!(browser.text("[data-testid=shares] tr[data-window='60'] [data-col=verdict]"), "missed");

    // A selected range is the only window.
    browser.go_to(&format!("{}?from={}&to={}&under=100ms", page("Check order"), now_s() - 30, now_s()));
    eventually_is("one row", &1, || browser.count("[data-testid=shares] tbody tr"));
    eventually_is("of the range", &"selected".to_owned(), || browser.text("[data-testid=shares] tbody th"));
}

#[test]
fn a_saved_objective_marks_rows_and_the_title_and_survives() {
    let relay = relay(&[]);
    let _open = send_both(&relay, 2);
    let browser = open_detail(&relay);
    set_threshold(&browser, "100ms");
    browser.click(".objective-form button[type=submit]");
    eventually_is("missed", &"missed".to_owned(), || browser.attribute("[data-testid=saved]", "data-verdict"));
    let budget = browser.text("[data-testid=budget]");
    let mut histogram = Histogram::default();
    slow().into_iter().for_each(|ns| histogram.record(ns));
    let (low, high) = Under::of(&histogram, 100_000_000).over();
    let number = |count: u128| joey_shared::format::count(count);
    assert!(budget.contains(&format!("{}–{} of 40 allowed events", number(low), number(high))), "{budget}");
    eventually("a badge", || title(&browser).starts_with("(1) ").then_some(()));

    // On the dashboard: the row, and an objective for all computations.
    browser.go_to(DASHBOARD);
    eventually_is("the row", &"misses p99 < 100ms".to_owned(), || browser.text("tr.missed [data-mark=missed] > span"));
    assert_eq!(browser.attribute("tr.missed", "data-name"), "Check order");
    browser.type_into("#objective", &format!("computation/*: p50 < 1ms over 5m{ENTER}"));
    let tally = |name: &str| browser.attribute("[data-objective^='computation/*'] .tally-parts", name);
    eventually_is("both computations", &("1".to_owned(), "1".to_owned()), || (tally("data-missed"), tally("data-met")));
    eventually("both are counted", || title(&browser).starts_with("(2) ").then_some(()));
    browser.type_into("#objective", &format!("nonsense{ENTER}"));
    eventually("a reason", || browser.text(".objectives .problem").contains("write an objective as").then_some(()));

    // They are in this browser, and in a link for another one.
    let link = browser.evaluate_text("return location.href", &[]);
    browser.open("about:blank");
    browser.open(&address(&relay, DASHBOARD));
    eventually_is("after a reload", &2, || browser.count("[data-testid=objectives] [data-objective]"));
    let other = Browser::start();
    other.open(&link);
    eventually_is("from the link", &2, || other.count("[data-testid=objectives] [data-objective]"));
    eventually_is("evaluated there", &1, || other.count("tr.missed[data-kind=computation]"));

    for left in [1, 0] {
        browser.click("[data-testid=objectives] .remove");
        eventually_is("removed", &left, || browser.count("[data-testid=objectives] [data-objective]"));
    }
    eventually("no badge", || title(&browser).starts_with("App").then_some(()));
    eventually_is("no colour", &0, || browser.count("tr.missed"));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_landing_page_lists_the_worst_objectives_first() {
    let relay = relay(&[]);
    let _open = send_both(&relay, 2);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("no panel without objectives", &0, || browser.count("[data-testid=missed-objectives]:not([hidden])"));
    // The fast one has 1,000 times the share that may be over, the slow one less.
    let objectives = "computation/Check order: p99 < 100ms over 1m\ncomputation/Decode: p99.9 < 10us over 1m\n";
    let script = format!("localStorage.setItem('joey.objectives.App', {})", json!(objectives));
    let _ = browser.evaluate(&script, &[]);
    // Computations are not key figures of this application, so the page subscribes to them because of the objectives.
    browser.open("about:blank");
    browser.open(&address(&relay, "/"));
    let names = || {
        browser.evaluate_text(
            "return Array.from(document.querySelectorAll('[data-testid=missed]'), row => row.dataset.name).join()",
            &[],
        )
    };
    eventually_is("worst first", &"Decode,Check order".to_owned(), names);
    eventually("a badge", || title(&browser).starts_with("(2) ").then_some(()));
}

#[test]
fn a_notification_tells_when_an_objective_begins_to_be_missed() {
    let relay = relay(&[]);
    let frame = |name: &str, ago: u64| Frame::new("App", "computation", ["Orders", "w", name], now_s() - ago);
    let _open = send(&relay, &Oracle::new(&[frame("Decode", 4).with(&fast())]));
    let browser = Browser::start();
    browser.open(&address(&relay, DASHBOARD));
    eventually_is("a row", &1, || browser.count("tr[data-kind=computation]"));
    // In place of the system's notifications.
    let _ = browser.evaluate(
        "window.notified = [];
        window.Notification = class {
            static permission = 'default';
            static requestPermission() { Notification.permission = 'granted'; return Promise.resolve('granted'); }
            constructor(title, {body}) { notified.push(`${title}: ${body}`); }
        };",
        &[],
    );
    browser.click("[data-testid=notify]");
    eventually_is("allowed", &"true".to_owned(), || browser.attribute("[data-testid=notify]", "aria-pressed"));
    browser.type_into("#objective", &format!("computation/*: p99 < 1ms over 1m{ENTER}"));
    eventually_is("met", &"1".to_owned(), || browser.attribute(".tally-parts", "data-met"));
    let notified = || browser.evaluate("return window.notified", &[]);
    assert_eq!(notified(), json!([]));

    let _open = send(&relay, &Oracle::new(&[frame("Decode", 2).with(&slow())]));
    let expected = json!(["App: 1 view misses computation/*: p99 < 1ms over 1m"]);
    eventually_is("notified", &expected, notified);
}

#[test]
fn axe_finds_nothing_on_pages_with_objectives() {
    let (axe, relay) = (axe(), relay(&[]));
    let _open = send_both(&relay, 2);
    let browser = open_detail(&relay);
    set_threshold(&browser, "100ms");
    browser.click(".objective-form button[type=submit]");
    eventually_is("saved", &1, || browser.count("[data-testid=saved]"));
    let mut found = check(&browser, &axe, "objective");
    browser.go_to(DASHBOARD);
    eventually_is("a row", &1, || browser.count("tr.missed[data-kind=computation]"));
    found.extend(check(&browser, &axe, "objectives"));
    browser.go_to("/");
    eventually_is("the list", &1, || browser.count("[data-testid=missed]"));
    found.extend(check(&browser, &axe, "worst-objectives"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
