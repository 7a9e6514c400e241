//! The objectives that the relay watches itself (`joey serve --watch`), on every page that shows them.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, Relay, eventually, eventually_is};
use tempfile::TempDir;

use crate::accessibility::{axe, check};
use crate::page::{address, detail, now_s, relay, send};

const DASHBOARD: &str = "/applications/App/dashboard";
const PANEL: &str = "[data-testid=relay-objectives]:not([hidden])";

/// A relay that watches `text`, and the folder of its file.
fn watching(text: &str) -> (Relay, TempDir) {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("objectives");
    std::fs::write(&file, text).expect("it can be written");
    let file = file.display().to_string();
    (relay(&["--watch", &file, "--watch-met-for", "1s"]), folder)
}

fn frame(name: &str, duration_ns: u64) -> Frame {
    Frame::new("App", "computation", ["Orders", "w", name], now_s()).with(&[duration_ns; 100])
}

fn title(browser: &Browser) -> String {
    browser.evaluate_text("return document.title", &[])
}

fn verdict(browser: &Browser, name: &str) -> String {
    let view = format!("{PANEL} [data-testid=relay-view][data-name='{name}']");
    if browser.count(&view) == 0 { String::new() } else { browser.attribute(&view, "data-verdict") }
}

#[test]
fn the_page_shows_the_objectives_of_the_relay_as_they_change() {
    let (axe, (relay, _folder)) = (axe(), watching("computation/*: p99 < 10ms over 10s\n"));
    let _open = send(&relay, &Oracle::new(&[frame("Check", 100_000_000), frame("Decode", 1_000)]));
    let browser = Browser::start();
    browser.open(&address(&relay, DASHBOARD));
    eventually_is("missed", &"missed".to_owned(), || verdict(&browser, "Check"));
    assert_eq!(verdict(&browser, "Decode"), "met");
    let item = browser.text(&format!("{PANEL} [data-testid=relay-objective]"));
    for part in ["1 missed", "1 met", "computation/*: p99 < 10ms over 10s", "since ", "ms"] {
        assert!(item.contains(part), "{part:?} in {item}");
    }
    assert!(browser.text(PANEL).contains("Of the relay"), "it is clear whose they are");
    // Nobody can remove them here, and they are not saved in the browser.
    assert_eq!((browser.count(&format!("{PANEL} .remove")), browser.count("[data-testid=objective]")), (0, 0));
    eventually("a badge", || title(&browser).starts_with("(1) ").then_some(()));
    let mut found = check(&browser, &axe, "relay-objectives");

    browser.go_to("/");
    eventually_is("on the landing page", &"missed".to_owned(), || verdict(&browser, "Check"));
    let tally = browser.text(&format!("{PANEL} .tally"));
    assert_eq!(tally, "1 missed, 1 met");
    eventually("a badge", || title(&browser).starts_with("(1) ").then_some(()));
    found.extend(check(&browser, &axe, "relay-objectives-landing"));

    // The name links to the view, whose page shows what concerns it.
    browser.click(&format!("{PANEL} [data-testid=relay-view][data-name=Check] a"));
    let detail = detail("App", &("computation".to_owned(), [None, None, Some("Check".to_owned())]));
    eventually("its page", || browser.evaluate_text("return location.hash", &[]).contains(&detail).then_some(()));
    let of_view = format!("{PANEL} [data-testid=relay-view]");
    eventually_is("one objective", &1, || browser.count(&of_view));
    assert_eq!(browser.attribute(&of_view, "data-verdict"), "missed");
    found.extend(check(&browser, &axe, "relay-objectives-view"));
    assert!(found.is_empty(), "{}", found.join("\n"));

    eventually("met again", || {
        let _open = send(&relay, &Oracle::new(&[frame("Check", 1_000)]));
        (browser.count(&of_view) == 1 && browser.attribute(&of_view, "data-verdict") == "met").then_some(())
    });
    browser.go_to(DASHBOARD);
    eventually_is("on the dashboard", &"met".to_owned(), || verdict(&browser, "Check"));
    eventually("no badge", || title(&browser).starts_with("App").then_some(()));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_relay_without_objectives_has_no_panel() {
    let relay = relay(&[]);
    let _open = send(&relay, &Oracle::new(&[frame("Check", 100_000_000)]));
    let browser = Browser::start();
    browser.open(&address(&relay, DASHBOARD));
    eventually_is("a row", &1, || browser.count("tr[data-kind=computation]"));
    assert_eq!(browser.count(PANEL), 0);
}
