//! The order of names, the filter, and tables with more rows than a screen.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, Producer, Relay, S, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, now_s, relay, send, wait_until_it_fits};

/// The number of computations of [`large`].
const LARGE: usize = 1_000;

const COMPUTATIONS: &str = "[data-subject=Computation] [data-testid=row]";

/// Sends one period of each of these computations.
fn computations(relay: &Relay, app: &str, names: &[String]) -> Vec<Producer> {
    let end = now_s() - 2;
    let frame = |(at, name): (usize, &String)| {
        Frame::new(app, "computation", ["p", "w", name], end).with(&vec![1_000 + at as u64; 1 + at % 50])
    };
    let mut frames: Vec<Frame> = names.iter().enumerate().map(frame).collect();
    frames.push(Frame::new(app, "computation", ["p", "w", &names[0]], end + 1).with(&[5]).lasting(S / 100));
    send(relay, &Oracle { frames })
}

/// An application whose table of computations has 1,000 rows, `number 0` to `number 999`.
fn large(relay: &Relay) -> Vec<Producer> {
    computations(relay, "Large", &(0..LARGE).map(|at| format!("number {at}")).collect::<Vec<String>>())
}

/// The names of the computations that are in the document, in order.
fn names(browser: &Browser) -> Vec<String> {
    texts(browser, &format!("{COMPUTATIONS} a.row-link"))
}

fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let script = "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)";
    serde_json::from_value(browser.evaluate(script, &[selector.into()])).expect("texts")
}

fn filter(browser: &Browser, text: &str) {
    browser.type_into("#filter", &format!("\u{e009}a\u{e000}\u{e003}{text}"));
}

fn press(browser: &Browser, key: &str) {
    for kind in ["rawKeyDown", "keyUp"] {
        browser.command("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": key}));
    }
}

#[test]
fn names_are_in_natural_order() {
    let relay = relay(&[]);
    let numbered = |prefix: &str| [10, 2, 1, 100].map(|at| format!("{prefix}{at}"));
    let in_order = |prefix: &str| [1, 2, 10, 100].map(|at| format!("{prefix}{at}")).to_vec();
    let mut open = Vec::new();
    for app in numbered("App ") {
        open.extend(computations(&relay, &app, &numbered("number ")));
    }
    let end = now_s() - 2;
    let workers = numbered("worker-")
        .map(|worker| Frame::new("App 1", "node-ingress-egress", ["p", &worker, &worker], end).with(&[5]));
    open.extend(send(&relay, &Oracle::new(&workers)));

    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let landing = || texts(&browser, "[data-testid=application] a.row-link");
    eventually_is("applications", &in_order("App "), landing);
    browser.click("details.switcher summary");
    eventually_is("the menu", &in_order("App "), || texts(&browser, ".switcher section:first-of-type li a"));

    browser.go_to("/applications/App%201/dashboard");
    eventually_is("computations", &in_order("number "), || names(&browser));
    let listed = || texts(&browser, "[data-subject=Worker] a.row-link");
    eventually_is("workers", &in_order("worker-"), listed);
    let script = "document.querySelector('[data-subject=Computation] thead button').click()";
    for expected in [in_order("number "), in_order("number ").into_iter().rev().collect()] {
        let _ = browser.evaluate(script, &[]);
        eventually_is("sorted by name", &expected, || names(&browser));
    }
    browser.go_to("/applications/App%201/workers-dashboard");
    let connected = || texts(&browser, "[data-testid=worker] a.row-link");
    eventually_is("workers", &[vec!["w".to_owned()], in_order("worker-")].concat(), connected);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_filter_has_globs_and_exclusions() {
    let relay = relay(&[]);
    let all = ["GET /users", "GET /users/7", "GET /users/12", "POST /users/7", "health"].map(str::to_owned);
    let _open = computations(&relay, "App", &all);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually_is("all rows", &5, || names(&browser).len());
    for (text, expected) in [
        ("GET /users/*", ["GET /users/7", "GET /users/12"].as_slice()),
        ("/users/?", &["GET /users/7", "POST /users/7"]),
        ("users get -12", &["GET /users", "GET /users/7"]),
        ("!users", &["health"]),
        ("ALTH", &["health"]),
        ("-", &["GET /users", "GET /users/7", "GET /users/12", "POST /users/7", "health"]),
    ] {
        filter(&browser, text);
        eventually_is(text, &expected.iter().map(|&name| name.to_owned()).collect(), || names(&browser));
    }
    let help = browser.attribute("#filter", "title");
    for word in ["*", "?", "-", "!", "GET /users/*"] {
        assert!(help.contains(word), "{help}");
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// The row number and the name of the computation in the middle of the screen.
const MIDDLE: &str = "
    const row = document.elementFromPoint(innerWidth / 4, innerHeight / 2)?.closest('[data-testid=row]');
    return row && row.dataset.name ? [Number(row.getAttribute('aria-rowindex')), row.dataset.name] : null";

/// The row that has the focus, and whether it is in sight.
const FOCUSED: &str = "
    const row = document.activeElement?.closest('[data-testid=row]');
    const {top, bottom} = row ? row.getBoundingClientRect() : {};
    return row ? [Number(row.getAttribute('aria-rowindex')), top >= 40 && bottom <= innerHeight] : null";

#[test]
fn a_large_table_shows_all_rows_and_renders_few() {
    let relay = relay(&[]);
    let _open = large(&relay);
    let browser = Browser::start();
    for (width, height) in [(1440, 900), (390, 844)] {
        browser.resize(width, height);
        browser.open(&address(&relay, "/applications/Large/dashboard"));
        let table = "[data-subject=Computation] table";
        eventually_is("the number of rows", &(LARGE + 1).to_string(), || browser.attribute(table, "aria-rowcount"));
        eventually_is("the tally", &LARGE.to_string(), || browser.text("[data-subject=Computation] .tally"));
        let is_small = || (1..=80).contains(&browser.count(COMPUTATIONS)).then_some(());
        eventually("few rows are in the document", is_small);

        // Every part of the table is where the scroll bar says, filled, and with the right numbers.
        for percent in [10, 50, 93] {
            let script = "
                const box = document.querySelector('[data-subject=Computation] tbody').getBoundingClientRect();
                window.scrollTo(0, scrollY + box.top + box.height * arguments[0] / 100);";
            let _ = browser.evaluate(script, &[percent.into()]);
            eventually("rows in sight", || {
                let middle = browser.evaluate(MIDDLE, &[]);
                let number = middle[0].as_u64()?;
                assert_eq!(middle[1], json!(format!("number {}", number - 2)));
                let wanted = LARGE as u64 * percent / 100;
                (wanted.saturating_sub(5)..wanted + 40).contains(&number).then_some(())
            });
            eventually("few rows are in the document", is_small);
            browser.save_screenshot(&format!("tables-{width}-{percent}"));
        }

        // The end of the page is the end of the table.
        let _ = browser.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)", &[]);
        eventually("the last rows", || {
            let names = names(&browser);
            names.ends_with(&["number 998".to_owned(), "number 999".to_owned()]).then_some(())
        });
        wait_until_it_fits(&browser, width);
        let _ = browser.evaluate("window.scrollTo(0, 0)", &[]);
    }

    // A filter and an order apply to all rows.
    browser.resize(1440, 900);
    filter(&browser, "number 99?");
    let expected: Vec<String> = (990..1_000).map(|at| format!("number {at}")).collect();
    eventually_is("filtered rows", &expected, || names(&browser));
    eventually_is("the filtered number of rows", &"11".to_owned(), || {
        browser.attribute("[data-subject=Computation] table", "aria-rowcount")
    });
    filter(&browser, "\u{e003}");
    let script = "document.querySelector('[data-subject=Computation] thead button').click()";
    for first in ["number 0", "number 999"] {
        let _ = browser.evaluate(script, &[]);
        eventually_is("the first row", &Some(first.to_owned()), || names(&browser).into_iter().next());
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_keyboard_reaches_every_row_of_a_large_table() {
    let relay = relay(&[]);
    let _open = large(&relay);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/Large/dashboard"));
    eventually("rows", || (browser.count(COMPUTATIONS) >= 10).then_some(()));
    let focused = || browser.evaluate(FOCUSED, &[]);
    let start = format!("{COMPUTATIONS}[aria-rowindex='2'] a.row-link");
    let _ = browser.evaluate("document.querySelector(arguments[0]).focus({preventScroll: true})", &[start.into()]);
    for row in 3..=80 {
        press(&browser, "ArrowDown");
        eventually_is("the focus moves down, and is in sight", &json!([row, true]), focused);
    }
    // Out of sight, the row still has the focus.
    let _ = browser.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)", &[]);
    eventually("the last rows", || names(&browser).contains(&"number 995".to_owned()).then_some(()));
    eventually_is("the focus stays", &json!(80), || focused()[0].clone());
    for row in (70..80).rev() {
        press(&browser, "ArrowUp");
        eventually_is("the focus moves up, and is in sight", &json!([row, true]), focused);
    }
    let tab = json!({"type": "rawKeyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
    browser.command("Input.dispatchKeyEvent", tab);
    eventually_is("the Tab key moves to the next row", &json!([71, true]), focused);
    press(&browser, "ArrowDown");
    eventually_is("the next row", &json!(72), || focused()[0].clone());
    let link = browser.evaluate("return document.activeElement.getAttribute('href')", &[]);
    assert_eq!(link, Value::from("#/applications/Large/computation/number%2070"));
    // The row moves to the other end of the table.
    let script = "document.querySelector('[data-subject=Computation] thead button').click()";
    for row in [72, 931] {
        let _ = browser.evaluate(script, &[]);
        eventually_is("the focus stays on its row", &json!(row), || focused()[0].clone());
    }
    assert_eq!(browser.evaluate("return document.activeElement.getAttribute('href')", &[]), link);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
