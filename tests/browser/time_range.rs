//! A selected range of time: by dragging, by keyboard, by address; and what arrives meanwhile.

use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, S, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, detail, now_s, relay, sample_data, send, wait_for_rows};

const ROWS: &str = "[data-testid=row]";
const BAR: &str = "[data-testid=time-range]";
const ARROW_LEFT: &str = "\u{e012}";
const ESCAPE: &str = "\u{e00c}";
const SHIFT: &str = "\u{e008}";
const ENTER: &str = "\u{e007}";

fn totals(id: &ViewId) -> bool {
    ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
}

/// What had been sent at the end of second `to`.
fn until(oracle: &Oracle, to: u64) -> Oracle {
    Oracle { frames: oracle.frames.iter().filter(|frame| frame.end_ns <= to * S).cloned().collect() }
}

/// The number of events of a computation in the periods that ended in these seconds.
fn events(oracle: &Oracle, name: &str, (from, to): (u64, u64)) -> usize {
    let is_inside = |frame: &&Frame| {
        let second = frame.end_ns.div_ceil(S);
        frame.name == name && frame.category == "computation" && (from..=to).contains(&second)
    };
    oracle.frames.iter().filter(is_inside).filter_map(|frame| frame.values.as_ref()).map(Vec::len).sum()
}

/// The range in the address.
pub(crate) fn selected(browser: &Browser) -> Option<(u64, u64)> {
    let hash = browser.evaluate_text("return location.hash", &[]);
    let value = |name: &str| hash.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.parse().ok());
    value("from=").zip(value("to="))
}

/// The number of events on a detail page.
pub(crate) fn shown_events(browser: &Browser) -> Option<usize> {
    let script = "
        const figure = [...document.querySelectorAll('.strip > div, dl > div')]
            .find(one => one.querySelector('dt')?.textContent.startsWith('events in window'));
        return figure?.querySelector('dd')?.textContent ?? ''";
    browser.evaluate_text(script, &[]).chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// Sends a mouse event at a share of the timeline's width, with more properties of the event.
fn mouse(browser: &Browser, kind: &str, share: f64, more: &Value) {
    let script = "
        const box = document.querySelector('canvas.timeline').getBoundingClientRect();
        return [box.x, box.y, box.width, box.height]";
    let canvas: Vec<f64> =
        browser.evaluate(script, &[]).as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let mut event = json!({"type": kind, "x": canvas[0] + share * canvas[2], "y": canvas[1] + canvas[3] / 2.0});
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    browser.command("Input.dispatchMouseEvent", event);
}

/// Moves the mouse over the timeline with the left button held, from one share of its width to another.
fn hold(browser: &Browser, from: f64, to: f64, modifiers: u8) {
    let held = json!({"button": "left", "buttons": 1, "clickCount": 1, "modifiers": modifiers});
    mouse(browser, "mousePressed", from, &held);
    mouse(browser, "mouseMoved", f64::midpoint(from, to), &held);
    mouse(browser, "mouseMoved", to, &held);
}

fn release(browser: &Browser, at: f64, modifiers: u8) {
    let released = json!({"button": "left", "buttons": 0, "clickCount": 1, "modifiers": modifiers});
    mouse(browser, "mouseReleased", at, &released);
}

fn drag(browser: &Browser, from: f64, to: f64, modifiers: u8) {
    hold(browser, from, to, modifiers);
    release(browser, to, modifiers);
}

/// Turns the wheel by a notch in the middle of the timeline.
fn wheel(browser: &Browser, modifiers: u8) {
    mouse(browser, "mouseWheel", 0.5, &json!({"deltaX": 0, "deltaY": -100, "modifiers": modifiers}));
}

/// Presses a key while nothing has the focus.
fn press(browser: &Browser, keys: &str) {
    let _ = browser.evaluate("document.activeElement.blur()", &[]);
    browser.press_focused(keys);
}

const CHECK_ORDER: [Option<&str>; 3] = [None, None, Some("Check order")];

fn check_order() -> String {
    detail("App", &("computation".to_owned(), CHECK_ORDER.map(|name| name.map(str::to_owned))))
}

#[test]
fn every_figure_speaks_of_the_range_in_the_address_until_the_page_is_live_again() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    // Periods are two seconds long and end with even seconds.
    let to = now_s() - 100;
    let (from, length) = (to - 59, 60);
    browser.open(&address(&relay, &format!("/applications/App/dashboard?from={from}&to={to}")));
    let part = until(&oracle, to);
    wait_for_rows(&browser, ROWS, &part, length, totals);
    // What arrives now is not shown, until the page is live again.
    let more = [Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], now_s() + 2).with(&[5; 900])];
    let more: Vec<Frame> = more.into_iter().map(|frame| frame.lasting(S / 100)).collect();
    let _more = send(&relay, &Oracle::new(&more));
    wait_for_rows(&browser, ROWS, &part, length, totals);
    // Another page of the application keeps the range.
    browser.go_to(&check_order());
    eventually_is("events", &Some(events(&oracle, "Check order", (from, to))), || shown_events(&browser));
    assert_eq!(selected(&browser), Some((from, to)));
    browser.go_to("/applications/App/dashboard");
    browser.click(&format!("{BAR} .live"));
    let all = Oracle { frames: [oracle.frames, more].concat() };
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    assert_eq!((selected(&browser), browser.count(BAR)), (None, 0));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_range_is_dragged_moved_and_zoomed() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, &check_order()));
    eventually("events", || shown_events(&browser).filter(|count| *count > 0));
    let check = |what: &str, before: Option<(u64, u64)>| -> (u64, u64) {
        let range = eventually(what, || selected(&browser).filter(|range| Some(*range) != before));
        eventually_is(what, &Some(events(&oracle, "Check order", range)), || shown_events(&browser));
        range
    };
    drag(&browser, 0.3, 0.6, 0);
    let dragged = check("dragged", None);
    let length = dragged.1 + 1 - dragged.0;
    assert!((60..140).contains(&length), "{dragged:?}");
    // A click and a cancelled drag change nothing.
    drag(&browser, 0.5, 0.5, 0);
    assert_eq!(selected(&browser), Some(dragged));
    // Shift moves the range, as if the chart were pulled to the right.
    drag(&browser, 0.3, 0.5, 8);
    let moved = check("moved", Some(dragged));
    assert!(moved.0 < dragged.0 && moved.1 + 1 - moved.0 == length, "{dragged:?} {moved:?}");
    press(&browser, "+");
    let zoomed = check("zoomed in", Some(moved));
    assert_eq!(zoomed.1 + 1 - zoomed.0, length / 2);
    press(&browser, "]");
    let later = check("later", Some(zoomed));
    assert!(later.0 > zoomed.0);
    press(&browser, "-");
    let before = check("zoomed out", Some(later));
    // The wheel scrolls the page; with Ctrl it zooms the range, and not the page.
    wheel(&browser, 0);
    assert_eq!(selected(&browser), Some(before));
    wheel(&browser, 2);
    let zoomed = check("zoomed in by the wheel", Some(before));
    assert_eq!(zoomed.1 + 1 - zoomed.0, (before.1 + 1 - before.0) / 2);
    assert_eq!(browser.evaluate("return devicePixelRatio", &[]), json!(1));
    // Escape cancels a drag.
    hold(&browser, 0.3, 0.6, 0);
    eventually_is("a selection", &1, || browser.count(".time-selection .selection"));
    browser.press_focused(ESCAPE);
    eventually_is("no selection", &0, || browser.count(".time-selection .selection"));
    release(&browser, 0.6, 0);
    assert_eq!(selected(&browser), Some(zoomed));
    press(&browser, "l");
    eventually_is("live", &(None, 0), || (selected(&browser), browser.count(BAR)));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_range_is_selected_by_keyboard_alone() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, &check_order()));
    eventually("events", || shown_events(&browser).filter(|count| *count > 0));
    let _ = browser.evaluate("document.querySelector('canvas.timeline').focus()", &[]);
    browser.press_focused(&ARROW_LEFT.repeat(40));
    browser.press_focused(&format!("{SHIFT}{}", ARROW_LEFT.repeat(19)));
    browser.press_focused(ENTER);
    let range = eventually("selected", || selected(&browser));
    assert_eq!(range.1 + 1 - range.0, 20);
    eventually_is("events", &Some(events(&oracle, "Check order", range)), || shown_events(&browser));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_range_before_the_window_is_loaded_from_the_history() {
    let relay = relay(&[]);
    // A step of ten seconds half an hour ago, and something now.
    let old_s = now_s() / 10 * 10 - 1_800;
    let frame =
        |end_s, durations: &[u64]| Frame::new("App", "computation", ["p", "w", "Check order"], end_s).with(durations);
    let oracle = Oracle::new(&[frame(old_s, &[1_000; 70]), frame(now_s(), &[5; 3])]);
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, &format!("{}?from={}&to={}", check_order(), old_s - 20, old_s)));
    eventually_is("events", &Some(70), || shown_events(&browser));
    assert!(browser.text(BAR).contains("30 min ago"), "{}", browser.text(BAR));
    // A paused page can be moved to earlier times too.
    browser.click(&format!("{BAR} .live"));
    eventually_is("live", &Some(3), || shown_events(&browser));
    press(&browser, "p");
    for _ in 0..40 {
        if shown_events(&browser) == Some(70) {
            break;
        }
        let before = selected(&browser);
        press(&browser, "[");
        eventually("moved", || selected(&browser).filter(|range| Some(*range) != before));
    }
    eventually_is("events", &Some(70), || shown_events(&browser));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
