//! The page by touch: a finger that moves sideways selects, one that moves up or down scrolls.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, eventually, eventually_is};
use serde_json::{Value, json};

use crate::hour::{half_an_hour, page, place_of};
use crate::page::{address, now_s, relay, send};
use crate::time_range::{selected, shown_events};

/// A page as wide as a phone.
fn phone() -> Browser {
    let browser = Browser::start();
    browser.resize(390, 844);
    browser.command("Emulation.setTouchEmulationEnabled", json!({"enabled": true}));
    browser
}

/// A point inside of an element, as shares of its size, after it has been scrolled into view.
fn inside(browser: &Browser, selector: &str, [x, y]: [f64; 2]) -> [f64; 2] {
    let script = "
        const element = document.querySelector(arguments[0]);
        element.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = element.getBoundingClientRect();
        return [box.x + box.width * arguments[1], box.y + box.height * arguments[2]]";
    let at = browser.evaluate(script, &[selector.into(), x.into(), y.into()]);
    let at: Vec<f64> = at.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    [at[0], at[1]]
}

fn scrolled(browser: &Browser) -> f64 {
    browser.evaluate("return scrollY", &[]).as_f64().unwrap_or(0.0)
}

/// Where the top of an element is in the viewport. What appears above it does not move it.
fn top(browser: &Browser, selector: &str) -> f64 {
    let script = "return document.querySelector(arguments[0]).getBoundingClientRect().y";
    browser.evaluate(script, &[selector.into()]).as_f64().unwrap_or(0.0)
}

/// The middle between two points.
fn middle(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [f64::midpoint(a[0], b[0]), f64::midpoint(a[1], b[1])]
}

#[test]
fn a_finger_selects_sideways_and_scrolls_up_and_down() {
    const TIMELINE: &str = "canvas.timeline";
    let relay = relay(&[]);
    let (_, oracle) = half_an_hour();
    let _open = send(&relay, &oracle);
    let browser = phone();
    browser.open(&address(&relay, &page()));
    eventually_is("live", &Some(3), || shown_events(&browser));
    // A tap reads a second, which stays when the finger is lifted.
    let read_second = || {
        let script = "
            const time = document.querySelector('[data-testid=time] .readout dd').textContent;
            return time.split(':').reduce((sum, part) => 60 * sum + Number(part), 0)";
        browser.evaluate(script, &[]).as_i64().unwrap_or(0)
    };
    let newest = read_second();
    browser.swipe(&[inside(&browser, TIMELINE, [0.5, 0.8])]);
    let is_before = |second: &i64| (60..250).contains(&(newest - second).rem_euclid(86_400));
    let tapped = eventually("a second", || Some(read_second()).filter(is_before));
    assert_eq!((selected(&browser), read_second()), (None, tapped));
    // Up and down.
    let (low, high) = (inside(&browser, TIMELINE, [0.4, 0.8]), inside(&browser, TIMELINE, [0.4, 0.2]));
    let before = scrolled(&browser);
    browser.swipe(&[low, middle(low, high), high]);
    eventually("scrolled", || (scrolled(&browser) > before + 50.0).then_some(()));
    assert_eq!((selected(&browser), browser.count(".selection")), (None, 0));
    // Sideways.
    let (left, right) = (inside(&browser, TIMELINE, [0.5, 0.5]), inside(&browser, TIMELINE, [0.8, 0.5]));
    let before = top(&browser, TIMELINE);
    browser.swipe(&[left, middle(left, right), right]);
    let range = eventually("selected", || selected(&browser));
    assert!((60..200).contains(&(range.1 - range.0)), "{range:?}");
    assert!((top(&browser, TIMELINE) - before).abs() < 2.0);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_finger_moves_the_brush_and_its_edges() {
    let relay = relay(&[]);
    let (old_s, oracle) = half_an_hour();
    let _open = send(&relay, &oracle);
    let browser = phone();
    browser.open(&address(&relay, &page()));
    eventually_is("live", &Some(3), || shown_events(&browser));
    let now = place_of(&browser, now_s() - 150);
    let there = place_of(&browser, old_s);
    browser.swipe(&[now, middle(now, there), there]);
    eventually_is("half an hour ago", &Some(70), || shown_events(&browser));
    let range = selected(&browser).expect("the address has the range");
    assert_eq!(range.1 - range.0, 299);
    // On a phone, five minutes are narrower than the targets, which are beside each other.
    for (edge, by) in [(".edge.start", -40.0), (".edge.end", 40.0)] {
        let before = selected(&browser).expect("a range");
        let at = inside(&browser, edge, [0.5, 0.5]);
        browser.swipe(&[at, [at[0] + by / 2.0, at[1]], [at[0] + by, at[1]]]);
        let after = eventually(edge, || selected(&browser).filter(|range| *range != before));
        let moved = if by < 0.0 { before.0 - after.0 } else { after.1 - before.1 };
        assert!((300..700).contains(&moved), "{edge} moved by {moved}");
        assert_eq!(after.1 - after.0, before.1 - before.0 + moved);
    }
    let sizes = "
        return ['.brush', '.edge.start', '.edge.end'].map(one => {
            const element = document.querySelector('.hour-frame ' + one);
            const own = element.getBoundingClientRect(), before = getComputedStyle(element, '::before');
            return Math.max(own.width, parseFloat(before.width)) >= 24 && own.height >= 24;
        })";
    assert_eq!(browser.evaluate(sizes, &[]), json!([true, true, true]));
    // A finger that moves up or down on the strip scrolls the page.
    let before = (selected(&browser), scrolled(&browser));
    let at = place_of(&browser, old_s);
    let start = scrolled(&browser);
    browser.swipe(&[at, [at[0], at[1] - 80.0], [at[0], at[1] - 160.0]]);
    eventually("scrolled", || (scrolled(&browser) > start + 50.0).then_some(()));
    assert_eq!(selected(&browser), before.0);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_finger_drags_a_percentile() {
    const HANDLE: &str = ".percentile-handle";
    let relay = relay(&[]);
    let durations: Vec<u64> = (0..4_000).map(|at| 1_000 + at * at * 40).collect();
    let frame = Frame::new("App", "computation", ["Orders", "w", "Check order"], now_s()).with(&durations);
    let _open = send(&relay, &Oracle::new(&[frame]));
    let browser = phone();
    browser.open(&address(&relay, &page()));
    let now = || browser.attribute(HANDLE, "aria-valuenow");
    eventually_is("one handle", &"90".to_owned(), now);
    let at = inside(&browser, HANDLE, [0.5, 0.5]);
    let before = top(&browser, HANDLE);
    browser.swipe(&[at, [at[0] + 20.0, at[1] - 30.0], [at[0] + 40.0, at[1] - 60.0]]);
    let dragged = eventually("dragged", || Some(now()).filter(|now| now != "90"));
    eventually("in the address", || {
        browser.evaluate_text("return location.hash", &[]).contains(&format!("p={dragged}")).then_some(())
    });
    // The handle keeps the finger, wherever it moves.
    assert!((top(&browser, HANDLE) - before).abs() < 2.0);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
