//! The handle on the percentile curve: by pointer and by keyboard.

use joey_shared::histogram::{Histogram, Quantile};
use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, detail, now_s, relay, send};

const HANDLE: &str = ".percentile-handle";
const ARROW_RIGHT: &str = "\u{e014}";
const PAGE_UP: &str = "\u{e00e}";
const ESCAPE: &str = "\u{e00c}";

fn page() -> String {
    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    detail("App", &id)
}

/// Durations of every size, so that each percentile is in another bin.
fn durations() -> Vec<u64> {
    (0..4_000).map(|at| 1_000 + at * at * 40).collect()
}

/// The range of a percentile of the raw durations.
fn expected(percentile: &str) -> Value {
    let millionths = (percentile.parse::<f64>().expect("a number") * 10_000.0).round() as u32;
    let mut histogram = Histogram::default();
    durations().into_iter().for_each(|ns| histogram.record(ns));
    let quantile = Quantile::from_millionths(millionths).expect("it is at most a million");
    histogram.quantile(quantile).map_or(Value::Null, |range| json!([range.low, range.high]))
}

/// The range of the figure of a typed percentile.
fn figure(browser: &Browser, percentile: &str) -> Value {
    let selector = format!(".figures [data-col='p{percentile}']");
    let value = |name: &str| browser.attribute(&selector, name).parse::<u64>().ok();
    value("data-low").zip(value("data-high")).map_or(Value::Null, |(low, high)| json!([low, high]))
}

/// The typed percentiles in the address.
fn chosen(browser: &Browser) -> Option<String> {
    let hash = browser.evaluate_text("return location.hash", &[]);
    hash.split(['?', '&']).find_map(|pair| pair.strip_prefix("p=").map(str::to_owned))
}

fn now(browser: &Browser) -> String {
    browser.attribute(HANDLE, "aria-valuenow")
}

/// Presses the mouse on the handle and moves it by `distance` pixels. The button stays pressed.
fn pull(browser: &Browser, distance: f64) -> [f64; 2] {
    let script = format!(
        "const handle = document.querySelector('{HANDLE}');
        handle.scrollIntoView({{block: 'center', behavior: 'instant'}});
        const box = handle.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]"
    );
    let at: Vec<f64> =
        browser.evaluate(&script, &[]).as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    browser.mouse("mousePressed", [at[0], at[1]], 1);
    browser.mouse("mouseMoved", [at[0] + distance / 2.0, at[1]], 1);
    browser.mouse("mouseMoved", [at[0] + distance, at[1]], 1);
    [at[0] + distance, at[1]]
}

#[test]
fn a_percentile_is_dragged_on_the_curve_or_moved_by_keyboard() {
    let relay = relay(&[]);
    let frame = Frame::new("App", "computation", ["Orders", "w", "Check order"], now_s()).with(&durations());
    let _open = send(&relay, &Oracle::new(&[frame]));
    let browser = Browser::start();
    browser.open(&address(&relay, &page()));
    eventually_is("one handle", &"90".to_owned(), || now(&browser));
    assert_eq!(chosen(&browser), None);

    // The page follows when the handle is released.
    let end = pull(&browser, 60.0);
    let dragged = eventually("dragged", || Some(now(&browser)).filter(|now| now != "90"));
    assert!((90.0..99.0).contains(&dragged.parse::<f64>().expect("a number")), "{dragged}");
    assert_eq!(chosen(&browser), None);
    browser.mouse("mouseReleased", end, 0);
    eventually_is("in the address", &Some(dragged.clone()), || chosen(&browser));
    eventually_is("a figure", &expected(&dragged), || figure(&browser, &dragged));
    assert!(browser.attribute(HANDLE, "aria-valuetext").starts_with(&format!("p{dragged} ")));

    // Escape cancels a drag.
    let end = pull(&browser, -80.0);
    eventually("moved", || (now(&browser) != dragged).then_some(()));
    browser.press_focused(ESCAPE);
    browser.mouse("mouseReleased", end, 0);
    eventually_is("as before", &dragged, || now(&browser));
    assert_eq!(chosen(&browser).as_ref(), Some(&dragged));

    // Keys move it, and it keeps the focus.
    browser.go_to(&format!("{}?p=95.1", page()));
    eventually_is("from the address", &"95.1".to_owned(), || now(&browser));
    let _ = browser.evaluate(&format!("document.querySelector('{HANDLE}').focus()"), &[]);
    browser.press_focused(ARROW_RIGHT);
    eventually_is("one step", &Some("95.2".to_owned()), || chosen(&browser));
    browser.press_focused(PAGE_UP);
    eventually_is("a nine", &Some("99.52".to_owned()), || chosen(&browser));
    eventually_is("its figure", &expected("99.52"), || figure(&browser, "99.52"));
    assert_eq!(
        browser.evaluate_text("return document.activeElement.className.split(' ')[0]", &[]),
        "percentile-handle"
    );
    // p99.99 has a figure already, so it is skipped.
    browser.go_to(&format!("{}?p=99.9899", page()));
    eventually_is("before p99.99", &"99.9899".to_owned(), || now(&browser));
    let _ = browser.evaluate(&format!("document.querySelector('{HANDLE}').focus()"), &[]);
    browser.press_focused(ARROW_RIGHT);
    eventually_is("after it", &Some("99.9901".to_owned()), || chosen(&browser));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
