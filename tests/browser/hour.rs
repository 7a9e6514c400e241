//! The strip of the last hour: what it shows, and its brush by mouse, by wheel and by keyboard.

use joey_shared::histogram::Histogram;
use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, detail, now_s, relay, send};
use crate::time_range::{selected, shown_events};

const BRUSH: &str = "[data-testid=hour] .brush";
const START: &str = "[data-testid=hour] .edge.start";
const END: &str = "[data-testid=hour] .edge.end";
const LOAD: &str = "[data-testid=hour] > header > button[title*='history']";
const ARROW_LEFT: &str = "\u{e012}";
const ARROW_RIGHT: &str = "\u{e014}";
const PAGE_UP: &str = "\u{e00e}";
const HOME: &str = "\u{e011}";
const END_KEY: &str = "\u{e010}";
const ESCAPE: &str = "\u{e00c}";
const SHIFT: &str = "\u{e008}";

/// The margins of the strip, in pixels.
const MARGIN: f64 = 26.0;

pub(crate) fn page() -> String {
    detail("App", &("computation".to_owned(), [None, None, Some("Check order".to_owned())]))
}

/// 70 events of a millisecond half an hour ago, and three of 5 ns now. Returns the second in which the old ones ended,
/// the last of a step.
pub(crate) fn half_an_hour() -> (u64, Oracle) {
    let old_s = now_s() / 10 * 10 - 1_800;
    let frame =
        |end_s, durations: &[u64]| Frame::new("App", "computation", ["p", "w", "Check order"], end_s).with(durations);
    (old_s, Oracle::new(&[frame(old_s, &[1_000_000; 70]), frame(now_s(), &[5; 3])]))
}

fn number(browser: &Browser, selector: &str, name: &str) -> u64 {
    browser.attribute(selector, name).parse().unwrap_or(0)
}

/// The middle of an element in the viewport.
fn middle(browser: &Browser, selector: &str) -> [f64; 2] {
    let script = "
        const element = document.querySelector(arguments[0]);
        element.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]";
    let at = browser.evaluate(script, &[selector.into()]);
    let at: Vec<f64> = at.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    [at[0], at[1]]
}

/// Where `second` is on the strip.
pub(crate) fn place_of(browser: &Browser, second: u64) -> [f64; 2] {
    let script = "
        const frame = document.querySelector('.hour-frame');
        frame.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = frame.getBoundingClientRect();
        return [box.x, box.width, box.y]";
    let area = browser.evaluate(script, &[]);
    let area: Vec<f64> = area.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let (first, last) = (number(browser, BRUSH, "aria-valuemin"), number(browser, BRUSH, "aria-valuemax"));
    let share = (second - first) as f64 / (last - first) as f64;
    [area[0] + MARGIN + share * (area[1] - 2.0 * MARGIN), area[2] + 24.0]
}

fn hold(browser: &Browser, from: [f64; 2], to: [f64; 2]) {
    browser.mouse("mousePressed", from, 1);
    browser.mouse("mouseMoved", [f64::midpoint(from[0], to[0]), to[1]], 1);
    browser.mouse("mouseMoved", to, 1);
}

fn drag(browser: &Browser, from: [f64; 2], to: [f64; 2]) {
    hold(browser, from, to);
    browser.mouse("mouseReleased", to, 0);
}

fn focus(browser: &Browser, selector: &str) {
    eventually(selector, || (browser.count(selector) == 1).then_some(()));
    let _ = browser.evaluate("document.querySelector(arguments[0]).focus()", &[selector.into()]);
}

/// The rows of the strip's table, which is opened.
fn table(browser: &Browser) -> Vec<Vec<String>> {
    let script = "
        const twin = document.querySelector('[data-testid=hour] .twin');
        twin.open = true;
        return [...twin.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))";
    serde_json::from_value(browser.evaluate(script, &[])).expect("rows of texts")
}

/// The range in the address after it has changed from `before`.
fn changed(browser: &Browser, what: &str, before: (u64, u64)) -> (u64, u64) {
    eventually(what, || selected(browser).filter(|range| *range != before))
}

#[test]
fn the_hour_is_reached_by_dragging_the_brush() {
    let relay = relay(&[]);
    let (old_s, oracle) = half_an_hour();
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, &page()));
    eventually_is("live", &Some(3), || shown_events(&browser));
    assert_eq!(browser.count(LOAD), 1);
    assert!(table(&browser).len() < 31, "only the window has been sent");

    // Pressing beside the brush brings it there. The page follows when it is released, and loads the hour first.
    let there = place_of(&browser, old_s);
    hold(&browser, there, there);
    eventually("at the pointer", || number(&browser, BRUSH, "aria-valuenow").checked_sub(old_s).filter(|it| *it < 170));
    assert_eq!(selected(&browser), None);
    browser.mouse("mouseReleased", there, 0);
    eventually_is("events", &Some(70), || shown_events(&browser));
    let there = selected(&browser).expect("the address has the range");
    assert!(there.1 + 1 - there.0 == 300 && there.0 < old_s && old_s < there.1, "{there:?}");
    assert_eq!(browser.count(LOAD), 0);

    // The strip still shows the whole hour, and its table what the chart shows: 70 events in the two seconds since the first.
    let mut expected = Histogram::default();
    expected.record_many(1_000_000, 70);
    let rows = eventually("rows", || Some(table(&browser)).filter(|rows| rows.len() > 150));
    let old: Vec<&Vec<String>> = rows.iter().filter(|row| row[1] == "35/s").collect();
    assert_eq!(old.len(), 1, "{rows:?}");
    assert!(old[0][2].ends_with("ms"), "{old:?}");
    assert_eq!(rows.iter().filter(|row| row[2] != "–").count(), 2, "{rows:?}");

    // Drag it, and its edges.
    drag(&browser, middle(&browser, BRUSH), place_of(&browser, old_s - 300));
    let earlier = changed(&browser, "dragged", there);
    assert!(earlier.1 < old_s && earlier.1 - earlier.0 == 299, "{earlier:?}");
    eventually_is("no events", &Some(0), || shown_events(&browser));
    let end = middle(&browser, END);
    drag(&browser, end, [end[0] + place_of(&browser, old_s)[0] - place_of(&browser, old_s - 300)[0], end[1]]);
    let longer = changed(&browser, "the end", earlier);
    assert!(longer.0 == earlier.0 && longer.1 > old_s, "{longer:?}");
    eventually_is("events", &Some(70), || shown_events(&browser));
    let start = middle(&browser, START);
    drag(&browser, start, [1_430.0, start[1]]);
    let shortest = changed(&browser, "the start", longer);
    assert_eq!(shortest, (longer.1 - 4, longer.1));

    // Escape cancels a drag.
    let at = middle(&browser, BRUSH);
    hold(&browser, at, [at[0] - 90.0, at[1]]);
    eventually("moved", || (number(&browser, BRUSH, "aria-valuenow") < shortest.1).then_some(()));
    browser.press_focused(ESCAPE);
    eventually_is("as before", &shortest.1, || number(&browser, BRUSH, "aria-valuenow"));
    browser.mouse("mouseReleased", [at[0] - 90.0, at[1]], 0);
    assert_eq!(selected(&browser), Some(shortest));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_brush_is_moved_by_keys_and_by_the_wheel() {
    let relay = relay(&[]);
    let (old_s, oracle) = half_an_hour();
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    let from = old_s - 400;
    browser.open(&address(&relay, &format!("{}?from={from}&to={}", page(), from + 99)));
    eventually_is("before the events", &Some(0), || shown_events(&browser));
    let check = |what: &str, selector: &str, keys: &str, before: (u64, u64), expected: (i64, i64)| {
        focus(&browser, selector);
        browser.press_focused(keys);
        let now = changed(&browser, what, before);
        let moved = |now: u64, before: u64| now.cast_signed() - before.cast_signed();
        assert_eq!((moved(now.0, before.0), moved(now.1, before.1)), expected, "{what}");
        now
    };
    let now = check("later", BRUSH, ARROW_RIGHT, (from, from + 99), (10, 10));
    let now = check("half of it", BRUSH, PAGE_UP, now, (50, 50));
    let now = check("a second", BRUSH, &format!("{SHIFT}{ARROW_LEFT}"), now, (-1, -1));
    let now = check("the end", END, ARROW_RIGHT, now, (0, 10));
    let now = check("the start", START, ARROW_LEFT, now, (-10, 0));
    let text = browser.attribute(BRUSH, "aria-valuetext");
    assert!(text.contains('–') && text.ends_with(", 2 min"), "{text}");
    // The ends of the strip.
    focus(&browser, BRUSH);
    browser.press_focused(END_KEY);
    let newest = changed(&browser, "the newest second", now);
    assert_eq!(newest.1, number(&browser, BRUSH, "aria-valuemax"));
    focus(&browser, BRUSH);
    browser.press_focused(HOME);
    let oldest = changed(&browser, "the oldest second", newest);
    assert_eq!(oldest.0, number(&browser, BRUSH, "aria-valuemin") + 1);

    // The wheel scrolls the page; sideways or with Shift it moves the brush, with Ctrl it zooms.
    let wheel = |deltas: (i32, i32), modifiers: u8| {
        let [x, y] = place_of(&browser, old_s);
        let (x_delta, y_delta) = deltas;
        let event = json!({
            "type": "mouseWheel", "x": x, "y": y, "deltaX": x_delta, "deltaY": y_delta, "modifiers": modifiers
        });
        browser.command("Input.dispatchMouseEvent", event);
    };
    wheel((100, 0), 0);
    let later = changed(&browser, "sideways", oldest);
    assert_eq!(later.0 - oldest.0, 60);
    wheel((0, 100), 8);
    let again = changed(&browser, "with Shift", later);
    assert_eq!(again.0 - later.0, 60);
    wheel((0, -100), 2);
    let zoomed = changed(&browser, "with Ctrl", again);
    assert_eq!(zoomed.1 + 1 - zoomed.0, 60);
    let scrolled = || browser.evaluate("return scrollY", &[]).as_f64().unwrap_or(0.0);
    let before = scrolled();
    wheel((0, 100), 0);
    eventually("scrolled", || (scrolled() > before + 50.0).then_some(()));
    assert_eq!(selected(&browser), Some(zoomed));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_dashboard_has_the_rate_of_the_hour() {
    let relay = relay(&[]);
    let old_s = now_s() / 10 * 10 - 1_800;
    let frame =
        |end_s, count: usize| Frame::new("App", "start-to-end", ["p", "w", "p"], end_s).with(&vec![1_000; count]);
    let _open = send(&relay, &Oracle::new(&[frame(old_s, 70), frame(now_s(), 3)]));
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually("the strip", || (browser.count(BRUSH) > 0).then_some(()));
    assert_eq!(browser.count(LOAD), 1);
    // The key does the same as the button.
    browser.press_focused("h");
    let rows = eventually("the hour", || Some(table(&browser)).filter(|rows| rows.len() > 150));
    assert_eq!(browser.count(LOAD), 0);
    assert_eq!(rows.iter().filter(|row| row[1] == "35/s").count(), 1, "{rows:?}");
    // The page is still live: nothing was selected.
    assert_eq!((selected(&browser), browser.count("[data-testid=time-range]")), (None, 0));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
