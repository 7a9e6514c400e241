//! axe-core finds nothing on any page, in either theme, on a desktop and on a phone.
//!
//! `AXE_CORE` names its script, which `cargo xtask test` installs.

use std::path::PathBuf;

use joey_tests::browser::Browser;
use joey_tests::{Relay, eventually, eventually_is};
use serde_json::Value;

use crate::page::{address, now_s, relay, sample_data, send};
use crate::recording::CATCH;
use crate::service::{export_metrics, export_span};

const SIZES: [(u32, u32); 2] = [(1440, 900), (390, 844)];

/// Runs all rules, and stores a line for each element that breaks one.
const RUN: &str = "
    window.axeFound = null;
    const line = (rule, node) => `${rule.id}: ${node.html} (${node.any.concat(node.all, node.none).map(one => one.message)})`;
    axe.run(document, {resultTypes: ['violations']}).then(
        ({violations}) => { window.axeFound = violations.flatMap(rule => rule.nodes.map(node => line(rule, node))); },
        error => { window.axeFound = [String(error)]; });";

/// The script of axe-core.
pub(crate) fn axe() -> String {
    let script = std::env::var_os("AXE_CORE").map(PathBuf::from);
    let script = script.expect("`cargo xtask setup` installs axe-core; set AXE_CORE to its axe.min.js");
    std::fs::read_to_string(script).expect("AXE_CORE names a script")
}

/// Applies all rules to the page that is shown, in all sizes and themes. Returns what breaks them.
pub(crate) fn check(browser: &Browser, axe: &str, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    let _ = browser.evaluate(axe, &[]);
    for (width, height) in SIZES {
        browser.resize(width, height);
        for theme in ["light", "dark"] {
            browser.set_color_scheme(theme);
            let _ = browser.evaluate(RUN, &[]);
            let found = eventually("axe has run", || {
                let found = browser.evaluate("return window.axeFound", &[]);
                found.is_array().then_some(found)
            });
            let found = found.as_array().into_iter().flatten().filter_map(Value::as_str);
            all.extend(found.map(|line| format!("{name}, {theme}, {width} pixels: {line}")));
        }
    }
    browser.save_screenshot(&format!("accessibility-{name}"));
    all
}

/// Sends a minute of a service with OpenTelemetry.
fn service(relay: &Relay) {
    for instance in ["i-1", "i-2"] {
        export_metrics(relay.otlp_http, instance, now_s() - 2, &mut Vec::new());
    }
    export_span(relay.otlp_http, now_s() - 2);
}

#[test]
fn axe_finds_nothing_on_any_page() {
    let axe = axe();
    let empty = relay(&[]);
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    service(&relay);
    let browser = Browser::start();

    browser.open(&address(&empty, "/"));
    eventually_is("the welcome page", &1, || browser.count("[data-testid=empty]"));
    let mut found = check(&browser, &axe, "welcome");

    browser.open(&address(&relay, "/"));
    eventually_is("applications", &2, || browser.count("[data-testid=application]"));
    for (name, hash, wanted) in [
        ("landing", "/", "[data-testid=application] .n"),
        ("dashboard", "/applications/App/dashboard", "[data-subject=Computation] td .n"),
        ("workers", "/applications/App/workers-dashboard", "[data-testid=worker] .n"),
        ("detail", "/applications/App/start-to-end/Orders", "[data-testid=detail] td .n"),
        ("ingestion", "/applications/App/pipeline-ingestion/Orders/Orders%20source", "[data-testid=detail] .n"),
        ("service", "/applications/Shop/dashboard", "[data-subject=Operation] td .n"),
        ("operation", "/applications/Shop/start-to-end/GET%20%2Fitems", "[data-testid=detail] td .n"),
        ("unknown-application", "/applications/Nothing/dashboard", "[data-testid=empty] h1"),
        ("unknown-page", "/no/such/page", "main .notice h1"),
    ] {
        browser.go_to(hash);
        eventually(name, || (browser.count(wanted) > 0).then_some(()));
        found.extend(check(&browser, &axe, name));
    }

    // Menus and tables of charts are open too.
    browser.go_to("/applications/App/start-to-end/Orders");
    eventually("the detail page", || (browser.count("[data-testid=detail] td .n") > 0).then_some(()));
    let _ = browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })", &[]);
    found.extend(check(&browser, &axe, "menus"));

    // A comparison, with its menus and tables too.
    let _ = browser.evaluate("document.querySelector('[data-testid=pin]').click()", &[]);
    eventually("both sides", || (browser.count("[data-testid=compared] td") > 0).then_some(()));
    let _ = browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })", &[]);
    found.extend(check(&browser, &axe, "comparison"));

    // Dialogs and wall mode.
    for (name, keys) in [("search", "k"), ("shortcuts", "?")] {
        let _ = browser.evaluate("document.activeElement.blur()", &[]);
        browser.press_focused(keys);
        eventually(name, || (browser.count("dialog[open]") > 0).then_some(()));
        found.extend(check(&browser, &axe, name));
        browser.press_focused("\u{e00c}");
        eventually_is("closed", &0, || browser.count("dialog"));
    }
    browser.go_to("/applications/App/dashboard?wall=3600");
    eventually("the wall", || (browser.count("[data-testid=wall]") > 0).then_some(()));
    found.extend(check(&browser, &axe, "wall"));
    let _ = browser.evaluate("document.querySelector('[data-testid=wall] button').click()", &[]);

    // By now, the measurements are old.
    browser.go_to("/applications/App/dashboard");
    eventually("old measurements", || (browser.count(".page.stale td.delta .n") > 0).then_some(()));
    found.extend(check(&browser, &axe, "stale"));

    // A recording of them.
    let _ = browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false; })", &[]);
    let _ = browser.evaluate(CATCH, &[]);
    browser.resize(1440, 900);
    browser.click("[data-testid=record]");
    eventually_is("it records", &"true".to_owned(), || browser.attribute("[data-testid=record]", "aria-pressed"));
    browser.click("[data-testid=record]");
    let drop_it = "
        const data = new DataTransfer();
        data.items.add(new File([saved.at(-1).blob], 'a.joey'));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))";
    let _ = browser.evaluate(drop_it, &[]);
    eventually_is("the bar of the recording", &1, || browser.count("[data-testid=recording]"));
    browser.click("[data-testid=share]");
    found.extend(check(&browser, &axe, "recording"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
