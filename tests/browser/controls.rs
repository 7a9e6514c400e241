//! Window, pause, filter, order and colours.

use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, eventually, eventually_is};

use crate::page::{address, now_s, relay, sample_data, send, wait_for_rows};

const ROWS: &str = "[data-testid=row]";

fn totals(id: &ViewId) -> bool {
    ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
}

/// The names of all rows, in order.
fn names(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('[data-testid=row] a.row-link')].map(link => link.textContent)";
    let names = browser.evaluate(script, &[]);
    names.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Clicks the button with this text in the group.
fn click_text(browser: &Browser, group: &str, text: &str) {
    let script = "
        const found = [...document.querySelectorAll(arguments[0])].filter(one => one.textContent.trim() === arguments[1]);
        found[0].click();
        return found.length";
    assert_eq!(browser.evaluate(script, &[group.into(), text.into()]), 1, "{text}");
}

#[test]
fn window_filter_order_and_colours_can_be_changed() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);

    // A shorter window and back; the address contains it, and a reload restores it.
    click_text(&browser, "[aria-label=Window] button", "1 m");
    wait_for_rows(&browser, ROWS, &oracle, 60, totals);
    assert!(browser.evaluate_text("return location.hash", &[]).contains("w=60"));
    let _ = browser.evaluate("location.reload()", &[]);
    wait_for_rows(&browser, ROWS, &oracle, 60, totals);
    click_text(&browser, "[aria-label=Window] button", "5 m");
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);

    // The filter shows only the matching rows, with the right numbers.
    browser.type_into("#filter", "check ORDER");
    eventually_is("filtered rows", &vec!["Check order".to_owned()], || names(&browser));
    wait_for_rows(&browser, ROWS, &oracle, 300, |id| {
        id.0 == "computation" && id.1[2].as_deref() == Some("Check order")
    });
    browser.type_into("#filter", "\u{e00c}");
    eventually_is("all rows", &7, || browser.count(ROWS));

    // Clicking a column header sorts its table.
    let first = names(&browser);
    click_text(&browser, "[data-testid=table] thead th button", "Pipeline");
    eventually("sorted by name", || {
        (browser.count("[data-subject=Pipeline] th[aria-sort=ascending]") == 1).then_some(())
    });
    click_text(&browser, "[data-testid=table] thead th button", "Pipeline");
    eventually_is("sorted in reverse", &vec![first[1].clone(), first[0].clone()], || names(&browser)[..2].to_vec());

    // A changed colour scheme is stored.
    browser.set_color_scheme("light");
    let colour = || browser.evaluate_text("return getComputedStyle(document.body).color", &[]);
    let light = colour();
    browser.click("button.theme");
    eventually("dark colours", || (colour() != light).then_some(()));
    let dark = colour();
    let _ = browser.evaluate("location.reload()", &[]);
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
    assert_eq!(colour(), dark);
    browser.click("button.theme");
    eventually_is("light colours", &light, colour);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_paused_page_does_not_change_and_then_catches_up() {
    let relay = relay(&[]);
    let before = sample_data("App");
    let _open = send(&relay, &before);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &before, 300, totals);
    browser.click("[data-testid=pause]");
    eventually("a note about the pause", || {
        browser.text("[data-testid=time-range]").contains("Paused at").then_some(())
    });
    let end = now_s();
    let more = [
        Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], end).with(&[1 << 30; 90]),
        Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], end + 1).with(&[5]).lasting(10_000_000),
    ];
    let sent = relay.metric("joey_sent_messages_total");
    let _more = send(&relay, &Oracle::new(&more));
    eventually("the relay sends more to the page", || (relay.metric("joey_sent_messages_total") > sent).then_some(()));
    wait_for_rows(&browser, ROWS, &before, 300, totals);
    browser.click("[data-testid=pause]");
    let all = Oracle { frames: [before.frames, more.to_vec()].concat() };
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
