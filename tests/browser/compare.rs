//! Comparisons: with a pinned baseline, with another view, with another application. The expected numbers come from the durations
//! that are sent.

use std::collections::BTreeMap;

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, Producer, Relay, S, eventually, eventually_is};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page::{address, now_s, relay, send};
use crate::recording::{self, record};
use crate::service::export_metrics;

/// The number of periods of a phase. The window is as long as a phase: ten seconds.
const PERIODS: u64 = 5;

/// Sends a phase that ends at second `end`: for each computation, `durations` in each of its periods.
pub(crate) fn phase(relay: &Relay, app: &str, end: u64, computations: &[(&str, Vec<u64>)]) -> Vec<Producer> {
    send(relay, &Oracle { frames: frames(app, end, computations) })
}

fn frames(app: &str, end: u64, computations: &[(&str, Vec<u64>)]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for period in 0..PERIODS {
        for (name, durations) in computations {
            let end = end - 2 * (PERIODS - 1 - period);
            frames.push(Frame::new(app, "computation", ["p", "w", name], end).with(durations));
        }
    }
    // A period this short is complete at once, and so are all before it.
    frames.push(Frame::new(app, "computation", ["p", "w", "clock"], end).with(&[5]).lasting(S / 100));
    frames
}

/// `counts` durations of each length.
pub(crate) fn durations(counts: &[(u64, usize)]) -> Vec<u64> {
    counts.iter().flat_map(|&(ns, count)| vec![ns; count]).collect()
}

fn press(browser: &Browser, key: &str, code: &str) {
    for kind in ["keyDown", "keyUp"] {
        let text = if key.len() == 1 && kind == "keyDown" { key } else { "" };
        browser.command("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": code, "text": text}));
    }
}

fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

/// Opens the same address anew.
pub(crate) fn reload(browser: &Browser) {
    let _ = browser.evaluate("window.isOld = true; location.reload()", &[]);
    eventually("the page is a new one", || {
        let is_new = browser.evaluate("return !window.isOld && document.querySelector('.page') !== null", &[]);
        is_new.as_bool()?.then_some(())
    });
}

/// The computations of the table, in order.
pub(crate) fn names(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('[data-subject=Computation] [data-testid=row]')].map(row => row.dataset.name)";
    serde_json::from_value(browser.evaluate(script, &[])).expect("names")
}

/// The changes in the row of a computation: column to value.
fn changes(browser: &Browser, name: &str) -> BTreeMap<String, Value> {
    let script = "
        const row = [...document.querySelectorAll('[data-subject=Computation] [data-testid=row]')]
            .find(row => row.dataset.name === arguments[0]);
        const cells = [...(row?.querySelectorAll('td.delta') ?? [])];
        return Object.fromEntries(cells.map(cell => [cell.dataset.col, [
            cell.dataset.value ?? null, cell.dataset.evidence ?? null, cell.dataset.low ?? null,
            cell.dataset.high ?? null, cell.classList.contains('faint'), cell.textContent]]))";
    serde_json::from_value(browser.evaluate(script, &[name.into()])).expect("changes")
}

fn number(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.parse().expect("a number"))
}

/// Waits until a computation has this distance, evidence, and changes of p50 and p99 in bins.
fn check(browser: &Browser, name: &str, share: Option<f64>, evidence: &str, bins: [Option<f64>; 2]) {
    let expected = (share, Some(evidence.to_owned()).filter(|name| !name.is_empty()), bins.to_vec());
    eventually_is(name, &expected, || {
        let changes = changes(browser, name);
        let value = |column: &str, at: usize| changes.get(column).map_or(Value::Null, |cell| cell[at].clone());
        let bins = ["change-p50", "change-p99"].map(|column| number(&value(column, 0)));
        let share = number(&value("change", 0)).map(|share| (share * 1e9).round() / 1e9);
        (share, value("change", 1).as_str().map(ToOwned::to_owned), bins.to_vec())
    });
}

/// The number of pixels of a canvas that have the colour of a custom property.
fn pixels(browser: &Browser, canvas: &str, property: &str) -> u64 {
    let script = "
        const probe = document.body.appendChild(document.createElement('span'));
        probe.style.color = `var(${arguments[1]})`;
        const wanted = getComputedStyle(probe).color.match(/[0-9]+/g).slice(0, 3).map(Number);
        probe.remove();
        const canvas = document.querySelector(arguments[0]);
        if (!canvas?.width) return 0;
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let found = 0;
        for (let at = 0; at < data.length; at += 4)
            found += data[at + 3] === 255 && wanted.every((channel, index) => data[at + index] === channel);
        return found";
    browser.evaluate(script, &[canvas.into(), property.into()]).as_u64().unwrap_or(0)
}

/// The text of a figure of the table that compares both sides: this side, the other one; and the change as a number.
fn figure(browser: &Browser, name: &str) -> Value {
    let script = "
        const row = document.querySelector(`[data-testid=compared] tr[data-figure='${arguments[0]}']`);
        const cells = [...(row?.querySelectorAll('td') ?? [])];
        const text = cell => cell.textContent.replace(/[\\u2009\\u202f]/g, ' ');
        return cells.length ? [text(cells[0]), text(cells[1]), cells[2].dataset.value ?? null] : null";
    browser.evaluate(script, &[name.into()])
}

/// The rows of the table below the difference heatmap: events of this side and of the other one.
fn difference_columns(browser: &Browser) -> Value {
    let script = "
        const details = document.querySelector('[data-testid=difference] details');
        if (details) details.open = true;
        const rows = [...document.querySelectorAll('[data-testid=difference] tbody tr')];
        return rows.map(row => [1, 2].map(index => Number(row.children[index].textContent.replace(/\\D/g, ''))))";
    browser.evaluate(script, &[])
}

#[test]
fn a_pinned_baseline_shows_what_changed_and_how_much() {
    let relay = relay(&[]);
    let (before, now) = (now_s() - 40, now_s() - 20);
    let same = || durations(&[(700, 80)]);
    let computations = ["all", "half", "faster", "tail", "same", "gone"];
    let mut first: Vec<(&str, Vec<u64>)> = computations.map(|name| (name, same())).to_vec();
    first.push(("few", durations(&[(700, 4)])));
    let second = [
        ("all", durations(&[(5_000, 80)])),
        ("half", durations(&[(700, 40), (5_000, 40)])),
        ("faster", durations(&[(40, 144), (700, 16)])),
        // One of forty events takes longer. That is the 99th percentile, but 400 events are too few to be sure.
        ("tail", durations(&[(700, 78), (100_000, 2)])),
        ("same", same()),
        ("few", durations(&[(5_000, 4)])),
        ("new", same()),
    ];
    let mut open = phase(&relay, "App", before, &first);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard?w=10"));
    eventually_is("the first phase", &8, || names(&browser).len());
    assert_eq!(browser.count("th.delta"), 0);
    press(&browser, "b", "KeyB");
    eventually("columns of changes", || (browser.count("[data-subject=Computation] th.delta") == 4).then_some(()));
    check(&browser, "all", Some(0.0), "chance", [Some(0.0); 2]);

    // What changed most is first, then what may be chance or cannot be compared, in the table's own order.
    open.extend(phase(&relay, "App", now, &second));
    let order = ["all", "faster", "half", "clock", "few", "gone", "new", "same", "tail"].map(str::to_owned).to_vec();
    eventually_is("the order", &order, || names(&browser));
    let verify = || {
        check(&browser, "all", Some(1.0), "changed", [Some(3.0); 2]);
        check(&browser, "half", Some(0.5), "changed", [Some(0.0), Some(3.0)]);
        check(&browser, "faster", Some(0.9), "changed", [Some(-4.0), Some(0.0)]);
        check(&browser, "tail", Some(0.025), "chance", [Some(0.0), Some(7.0)]);
        check(&browser, "same", Some(0.0), "chance", [Some(0.0); 2]);
        check(&browser, "few", Some(1.0), "few", [Some(3.0); 2]);
        // Missing is not zero.
        check(&browser, "gone", None, "", [None; 2]);
        check(&browser, "new", None, "", [None; 2]);
        // All durations are equal, so the extremes give the exact ratio.
        let ratio = changes(&browser, "all")["change-p50"].clone();
        assert!([2, 3].iter().all(|&at| (number(&ratio[at]).expect("a ratio") - 5_000.0 / 700.0).abs() < 1e-9));
        assert_eq!(changes(&browser, "few")["change-p99"][4], json!(true), "too few events are grey");
        for (name, ratio) in [("same", Some(1.0)), ("faster", Some(2.0)), ("new", None), ("gone", Some(0.0))] {
            assert_eq!(number(&changes(&browser, name)["change-rate"][0]), ratio, "{name}");
        }
    };
    verify();
    // The other direction, and by a percentile.
    let press_head = |label: &str| {
        let script = "
            [...document.querySelectorAll('[data-subject=Computation] th.delta button')]
                .find(head => head.textContent === arguments[0]).click()";
        let _ = browser.evaluate(script, &[label.into()]);
    };
    press_head("change");
    eventually_is("ascending", &"half".to_owned(), || names(&browser)[0].clone());
    press_head("Δp99");
    eventually_is("by p99, of those with 100 events", &"tail".to_owned(), || names(&browser)[0].clone());
    browser.save_screenshot("compare-dashboard");

    // The baseline has a name, and is part of the address. Another page and a reload keep it.
    browser.type_into("#baseline-name", "deploy 1\u{e007}");
    let base = format!("base={}-{before}-deploy%201", before - 9);
    eventually_is("the address", &true, || hash(&browser).ends_with(&base));
    browser.go_to("/applications/App/computation/half");
    eventually_is("p99", &json!(["4.10–5.00 µs", "700 ns", "3"]), || figure(&browser, "p99"));
    eventually_is("p50", &json!(["0.700–1.02 µs", "700 ns", "0"]), || figure(&browser, "p50"));
    eventually_is("events", &json!(["400", "400", null]), || figure(&browser, "events"));
    let columns = json!(vec![[80, 400]; 5]);
    eventually_is("each period is compared with the baseline", &columns, || difference_columns(&browser));
    for (canvas, property) in [
        (".curve", "--ink-reference"),
        (".bars", "--ink-reference"),
        (".difference", "--difference-zero"),
        (".difference", "--difference-high"),
        (".difference", "--difference-low"),
    ] {
        eventually(property, || (pixels(&browser, canvas, property) > 20).then_some(()));
    }
    assert_eq!(browser.count("[data-testid=legend]"), 3);
    assert!(hash(&browser).ends_with(&base), "{}", hash(&browser));
    browser.save_screenshot("compare-baseline");
    browser.go_to("/applications/App/dashboard");
    reload(&browser);
    eventually_is("the order after a reload", &order, || names(&browser));
    verify();
    let name = || browser.evaluate_text("return document.querySelector('#baseline-name')?.value", &[]);
    eventually_is("the name", &"deploy 1".to_owned(), name);

    // The key does not replace a baseline; the button removes it.
    press(&browser, "b", "KeyB");
    check(&browser, "all", Some(1.0), "changed", [Some(3.0); 2]);
    eventually_is("the focus", &"Pin again".to_owned(), || {
        browser.evaluate_text("return document.activeElement.textContent", &[])
    });
    browser.click("[data-testid=pin]");
    eventually_is("no changes", &0, || browser.count("th.delta, [data-testid=comparison]"));
    assert!(!hash(&browser).contains("base="), "{}", hash(&browser));
    let natural = ["all", "clock", "faster", "few", "gone", "half", "new", "same", "tail"].map(str::to_owned).to_vec();
    eventually_is("the table's own order", &natural, || names(&browser));
    drop(open);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// Two workers: one has no data in the second of five periods, the other one in the fourth.
fn workers(relay: &Relay, app: &str, end: u64) -> Vec<Producer> {
    let mut frames = Vec::new();
    for period in 0..PERIODS {
        let end = end - 2 * (PERIODS - 1 - period);
        let frame = |worker: &str| Frame::new(app, "computation", ["p", worker, "Check"], end);
        if period != 1 {
            frames.push(frame("worker-1").with(&durations(&[(700, 30), (5_000, 10)])));
        }
        if period != 3 {
            frames.push(frame("worker-2").with(&durations(&[(700, 10), (5_000, 10)])));
        }
        frames.push(frame("worker-10").with(&[7]));
    }
    frames.push(Frame::new(app, "computation", ["p", "worker-1", "clock"], end).with(&[5]).lasting(S / 100));
    send(relay, &Oracle { frames })
}

#[test]
fn two_views_are_compared_by_keyboard_and_by_address() {
    let relay = relay(&[]);
    let end = now_s() - 4;
    let _open = (workers(&relay, "App", end), workers(&relay, "Other app", end));
    let other = [("Check", durations(&[(90_000, 50)]))];
    let _more = phase(&relay, "Third", end, &other);
    let browser = Browser::start();
    let page = "/applications/App/computation-by-worker/p/worker-1/Check";
    browser.open(&address(&relay, page));
    eventually("the page", || (browser.count(".figures dd .n") > 0).then_some(()));
    assert_eq!((browser.count("[data-testid=compared]"), pixels(&browser, ".curve", "--ink-reference")), (0, 0));

    // The key opens the menu; what is typed filters, the arrow keys walk, Enter chooses.
    press(&browser, "c", "KeyC");
    let listed = |selector: &str| {
        let script = "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)";
        browser.evaluate(script, &[selector.into()])
    };
    let all =
        json!(["Check on p on worker-2", "Check on p on worker-10", "clock on p on worker-1", "Other app", "Third"]);
    eventually_is("the choices", &all, || listed(".picker .choice"));
    eventually_is("the text box has the focus", &"compare-filter".to_owned(), || {
        browser.evaluate_text("return document.activeElement.id", &[])
    });
    browser.press_focused("check worker-?");
    eventually_is("filtered", &json!(["Check on p on worker-2"]), || listed(".picker .choice"));
    press(&browser, "ArrowDown", "ArrowDown");
    eventually_is("the first choice has the focus", &"Check on p on worker-2".to_owned(), || {
        browser.evaluate_text("return document.activeElement.textContent", &[])
    });
    press(&browser, "ArrowUp", "ArrowUp");
    browser.press_focused("\u{e007}");
    let vs = "vs=App/computation-by-worker/p/worker-2/Check";
    eventually_is("the address", &format!("#{page}?{vs}"), || hash(&browser));

    let verify = || {
        // 120 and 80 of 700 ns and 5 µs; the 75th percentile is in the lower bin on one side only.
        eventually_is("p50", &json!(["0.700–1.02 µs", "0.700–1.02 µs", "0"]), || figure(&browser, "p50"));
        eventually_is("events", &json!(["160", "80", null]), || figure(&browser, "events"));
        eventually_is("the distance", &json!("0.25"), || figure(&browser, "distribution")[2].clone());
        // Two of the five periods have events on one side only. They are missing, not a difference from zero.
        eventually_is("columns", &json!([[40, 20], [40, 20], [40, 20]]), || difference_columns(&browser));
        for (canvas, property) in
            [(".curve", "--ink-reference"), (".bars", "--ink-reference"), (".difference", "--difference-zero")]
        {
            eventually(property, || (pixels(&browser, canvas, property) > 20).then_some(()));
        }
    };
    verify();
    browser.save_screenshot("compare-workers");
    // A fresh page with this address shows the same.
    reload(&browser);
    verify();

    // Another application is subscribed to when its views are offered, and for as long as it is compared with.
    press(&browser, "c", "KeyC");
    eventually("the applications", || (browser.count("[data-testid=of-app] option") == 3).then_some(()));
    let choose = "
        const list = document.querySelector('[data-testid=of-app]');
        list.value = 'Other app';
        list.dispatchEvent(new Event('change', {bubbles: true}))";
    let _ = browser.evaluate(choose, &[]);
    eventually_is("its views", &json!("Check on p on worker-1"), || listed(".picker .choice")[0].clone());
    browser.type_into("#compare-filter", "worker-2\u{e007}");
    let vs = "vs=Other%20app/computation-by-worker/p/worker-2/Check";
    eventually_is("the address", &format!("#{page}?{vs}"), || hash(&browser));
    verify();
    assert!(browser.text("[data-testid=comparison]").contains("Check on p on worker-2 of Other app"));

    // A view that does not exist there is missing.
    browser.go_to("/applications/App/computation/Check?vs=Third/computation/Nothing");
    eventually_is("missing", &json!(["200", "–", null]), || {
        let events = figure(&browser, "events");
        json!([if events.is_null() { "" } else { "200" }, events[1], events[2]])
    });
    assert_eq!(pixels(&browser, ".curve", "--ink-reference"), 0);
    eventually_is("no columns", &json!([]), || difference_columns(&browser));

    // Bad values are ignored, and the way back ends the comparison.
    for bad in ["vs=%", "vs=", "vs=a/b/c", "base=9-1", "base=x"] {
        browser.go_to(&format!("{page}?{bad}"));
        eventually_is(bad, &1, || browser.count("[data-testid=detail][data-kind=computation-by-worker]"));
        eventually_is("nothing is compared", &0, || browser.count("[data-testid=comparison]"));
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn an_application_is_compared_with_another_one() {
    let relay = relay(&[]);
    let end = now_s() - 4;
    let one =
        [("all", durations(&[(5_000, 80)])), ("half", durations(&[(700, 40), (5_000, 40)])), ("only", vec![7; 80])];
    let two = [("all", durations(&[(700, 80)])), ("half", durations(&[(700, 80)])), ("other", vec![7; 80])];
    let _open = (phase(&relay, "One", end, &one), phase(&relay, "Two", end, &two));
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/One/dashboard"));
    eventually_is("rows", &4, || names(&browser).len());
    press(&browser, "c", "KeyC");
    eventually("the other application", || (browser.count(".picker .choice") == 1).then_some(()));
    browser.type_into("#compare-filter", "\u{e007}");
    eventually_is("the address", &"#/applications/One/dashboard?vs=Two".to_owned(), || hash(&browser));
    check(&browser, "all", Some(1.0), "changed", [Some(3.0); 2]);
    check(&browser, "half", Some(0.5), "changed", [Some(0.0), Some(3.0)]);
    check(&browser, "only", None, "", [None; 2]);
    eventually_is("the order", &["all", "half", "clock", "only"].map(str::to_owned).to_vec(), || names(&browser));

    // It stays on all pages of this application, where each view is compared with its namesake.
    browser.go_to("/applications/One/computation/half");
    eventually_is("p99", &json!(["4.10–5.00 µs", "700 ns", "3"]), || figure(&browser, "p99"));
    eventually("the address", || hash(&browser).ends_with("?vs=Two").then_some(()));
    // A service that measures in seconds, with finer bins, can be compared only approximately.
    export_metrics(relay.otlp_http, "i-1", end, &mut Vec::new());
    browser.go_to("/applications/One/computation/half?vs=Shop/start-to-end/GET%20%2Fitems");
    eventually("a note", || browser.text("[data-testid=compared] .tally").contains("approximate").then_some(()));
    browser.go_to("/applications/One/computation/half?vs=Two");
    eventually_is("no note", &String::new(), || browser.text("[data-testid=compared] .tally"));
    browser.click("[data-testid=comparison] button");
    eventually_is("the end", &0, || browser.count("[data-testid=comparison], [data-testid=compared]"));
    eventually("the address", || hash(&browser).ends_with("/half").then_some(()));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn live_data_is_compared_with_a_recording() {
    let before = Oracle { frames: frames("App", now_s() - 20, &[("all", durations(&[(700, 80)]))]) };
    let (name, file) = record(&before, &Oracle { frames: Vec::new() });
    let relay = relay(&[]);
    let now = [("all", durations(&[(5_000, 80)])), ("new", durations(&[(700, 80)]))];
    let _open = phase(&relay, "App", now_s() - 4, &now);
    let (browser, folder) = (Browser::start(), TempDir::new().expect("a folder"));
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually_is("live rows", &3, || names(&browser).len());
    recording::open(&browser, &folder, &name, &file);
    eventually_is("recorded rows", &2, || names(&browser).len());
    browser.click("[data-testid=compare-live]");
    check(&browser, "all", Some(1.0), "changed", [Some(3.0); 2]);
    check(&browser, "new", None, "", [None; 2]);
    assert_eq!(browser.count("[data-testid=recording]"), 0);
    // No relay has the recording, so the address does not have it either.
    assert_eq!(hash(&browser), "#/applications/App/dashboard");
    browser.go_to("/applications/App/computation/all");
    eventually_is("p50", &json!(["5.00 µs", "700 ns", "3"]), || figure(&browser, "p50"));
    eventually("the overlay", || (pixels(&browser, ".curve", "--ink-reference") > 20).then_some(()));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
