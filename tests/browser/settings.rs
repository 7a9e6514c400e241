//! The settings dialog: what it changes is shown at once, stays after a reload, and can be exported, imported and reset.

use joey_tests::browser::Browser;
use joey_tests::{Relay, eventually, eventually_is};
use serde_json::Value;

use crate::accessibility::{axe, check};
use crate::page::{address, relay, sample_data, send};
use crate::relays::{TAB, close_dialog, open_settings};

const DETAIL: &str = "/applications/App/computation/Check%20order";

fn page() -> (Relay, Vec<joey_tests::Producer>, Browser) {
    let relay = relay(&[]);
    let open = send(&relay, &sample_data("App"));
    let browser = Browser::start();
    browser.open(&address(&relay, DETAIL));
    eventually("the page", || (browser.count("[data-testid=bars]") > 0).then_some(()));
    (relay, open, browser)
}

/// Chooses an option as a user does with the keyboard: by its first letters.
pub(crate) fn choose(browser: &Browser, setting: &str, label: &str) {
    browser.type_into(&format!("#setting-{setting}"), label);
}

/// The labels of the bars, from the table below the chart.
fn bar_labels(browser: &Browser) -> Vec<String> {
    let script = "
        const open = document.querySelector('[data-testid=bars] details:not([open]):not(.menu) > summary');
        open?.click();
        return [...document.querySelectorAll('[data-testid=bars] .twin tbody tr')].map(row => row.cells[0].textContent);";
    let labels = browser.evaluate(script, &[]);
    labels.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn settings_apply_at_once_and_stay() {
    let (relay, _open, browser) = page();
    let label = |text: &str| eventually(text, || bar_labels(&browser).iter().any(|label| label == text).then_some(()));
    let clock = || browser.text(".time");
    let root = |name: &str| browser.attribute("html", name);
    label("< 4.19\u{2009}ms");
    open_settings(&browser);
    choose(&browser, "bins", "Ranges");
    label("2.10–4.19\u{2009}ms");
    choose(&browser, "units", "Microseconds");
    label("2\u{202f}097–4\u{202f}194\u{2009}µs");
    choose(&browser, "bins", "As in Wallaroo");
    label("<= 4\u{202f}194\u{2009}µs");
    choose(&browser, "theme", "Dark");
    choose(&browser, "density", "Compact");
    eventually_is("the theme", &("dark".to_owned(), "compact".to_owned()), || {
        (root("data-theme"), root("data-density"))
    });
    choose(&browser, "zone", "Another zone");
    eventually("the name", || (browser.count("#setting-zone-name") == 1).then_some(()));
    browser.type_into("#setting-zone-name", "Mars/Olympus\t");
    eventually("the problem", || browser.text("#zone-error").contains("does not know").then_some(()));
    let _ = browser.evaluate("document.querySelector('#setting-zone-name').value = ''", &[]);
    browser.type_into("#setting-zone-name", "Asia/Kathmandu\t");
    eventually("the zone", || clock().ends_with("Asia/Kathmandu").then_some(()));
    // An independent oracle: the same instant by the browser's own formatter.
    let agrees = "
        const shown = document.querySelector('.time').textContent.slice(0, 8);
        const near = [-2, -1, 0, 1].map(s => new Date(Date.now() + s * 1000).toLocaleTimeString('en-GB', {timeZone: 'Asia/Kathmandu'}));
        return near.includes(shown);";
    eventually("the time", || browser.evaluate(agrees, &[]).as_bool().filter(|agrees| *agrees));
    choose(&browser, "window", "1 m");
    eventually("the window", || browser.evaluate_text("return location.hash", &[]).contains("w=60").then_some(()));
    browser.save_screenshot("settings-dark");
    close_dialog(&browser);

    // A new page has the same.
    browser.open("about:blank");
    browser.open(&address(&relay, DETAIL));
    eventually("the page", || (browser.count("[data-testid=bars]") > 0).then_some(()));
    label("<= 4\u{202f}194\u{2009}µs");
    assert_eq!((root("data-theme"), root("data-density")), ("dark".to_owned(), "compact".to_owned()));
    assert!(clock().ends_with("Asia/Kathmandu"));
    assert_eq!(browser.text(".segments [aria-pressed=true]"), "1 m");

    // As text they can be taken along. The defaults return at once.
    open_settings(&browser);
    let text = || browser.evaluate_text("return document.querySelector('[data-testid=settings-text]').value", &[]);
    let saved = text();
    for line in ["relay: own", "zone: Asia/Kathmandu", "units: us", "bins: wallaroo", "density: compact", "window: 60"]
    {
        assert!(saved.lines().any(|written| written == line), "{line} in {saved}");
    }
    browser.click("[data-testid=reset-settings]");
    label("< 4.19\u{2009}ms");
    eventually_is("the text", &true, || text().contains("zone: local"));
    let _ =
        browser.evaluate("document.querySelector('[data-testid=settings-text]').value = arguments[0]", &["no".into()]);
    browser.click("[data-testid=apply-settings]");
    eventually("the refusal", || browser.text("dialog").contains("not the text of settings").then_some(()));
    let _ =
        browser.evaluate("document.querySelector('[data-testid=settings-text]').value = arguments[0]", &[saved.into()]);
    browser.click("[data-testid=apply-settings]");
    label("<= 4\u{202f}194\u{2009}µs");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_keyboard_stays_in_the_dialog_and_axe_finds_nothing() {
    let (_relay, _open, browser) = page();
    let _ = browser.evaluate("document.querySelector('[data-testid=pause]').focus()", &[]);
    browser.press_focused(",");
    eventually("the settings", || (browser.count("dialog[open].settings") == 1).then_some(()));
    // More Tab presses than there are controls: the focus never reaches the page behind. The browser's own controls come
    // between the last and the first.
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let script = "
            const focused = document.activeElement;
            if (focused === document.body) { document.querySelector('dialog').focus(); return ''; }
            return focused.closest('dialog') ? (focused.id || focused.getAttribute('aria-label') || focused.textContent) : 'outside';";
        let focused = browser.evaluate_text(script, &[]);
        assert_ne!(focused, "outside");
        reached.insert(focused);
        browser.press_focused(TAB);
    }
    for control in ["setting-zone", "setting-units", "setting-window", "new-relay", "Close", "Apply"] {
        assert!(reached.contains(control), "{control} in {reached:?}");
    }
    let axe = axe();
    let found = check(&browser, &axe, "settings");
    assert!(found.is_empty(), "{}", found.join("\n"));
    close_dialog(&browser);
    let focused = || browser.evaluate_text("return document.activeElement.dataset.testid ?? ''", &[]);
    assert_eq!(focused(), "pause", "the focus returns");
    browser.click("[data-testid=status]");
    eventually("facts", || (browser.count(".facts [data-testid=relay]") == 1).then_some(()));
    let found = check(&browser, &axe, "facts");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
