//! The page for everyone: every key of the sheet, the search, sizes of targets, zoom, names from right to left, and
//! what is announced.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, Relay, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, now_s, relay, sample_data, send};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const CONTROL: &str = "\u{e009}";
const DOWN: &str = "\u{e015}";

const DASHBOARD: &str = "/applications/App/dashboard";
const DETAIL: &str = "/applications/App/computation/Check%20order";

/// Presses keys while nothing has the focus.
fn press(browser: &Browser, keys: &str) {
    let _ = browser.evaluate("document.activeElement.blur()", &[]);
    browser.press_focused(keys);
}

fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

fn open_dashboard(browser: &Browser, relay: &Relay) {
    browser.open(&address(relay, DASHBOARD));
    eventually("numbers", || (browser.count("[data-subject=Computation] td .n") > 0).then_some(()));
}

/// Waits until a script returns something else than before the keys were pressed.
fn changes(browser: &Browser, keys: &str, script: &str) {
    let before = browser.evaluate(script, &[]);
    press(browser, keys);
    eventually(&format!("{keys:?} changes {script}"), || (browser.evaluate(script, &[]) != before).then_some(()));
}

/// Waits until a script returns `expected` after the keys were pressed.
fn gives(browser: &Browser, keys: &str, script: &str, expected: &Value) {
    press(browser, keys);
    eventually_is(&format!("{keys:?}: {script}"), expected, || browser.evaluate(script, &[]));
}

/// Does what the sheet says about a key, and checks it. Returns false for a key that this test does not know.
fn check_key(browser: &Browser, keys: &str) -> bool {
    const DIALOGS: &str = "return [...document.querySelectorAll('dialog[open]')].map(one => one.className)";
    const WINDOW: &str = "return document.querySelector('.bar .segments [aria-pressed=true]').textContent";
    const PAUSED: &str = "return document.querySelector('[data-testid=pause]').getAttribute('aria-pressed')";
    const ROW: &str = "
        const all = [...document.querySelectorAll('.row-link')], rows = [...document.activeElement.closest('tbody')?.rows ?? []];
        return [all.indexOf(document.activeElement), rows.indexOf(document.activeElement.closest('tr')), rows.length]";
    const RANGE: &str = "return location.hash.match(/from=\\d+&to=\\d+/)?.[0] ?? ''";
    let dialog = |keys: &str, class: &str| {
        gives(browser, keys, DIALOGS, &json!([class]));
        browser.press_focused(ESCAPE);
        eventually_is("closed", &0, || browser.count("dialog"));
    };
    let goes = |from: &str, to: &str| {
        browser.go_to(from);
        gives(browser, &keys.replace(' ', ""), "return location.hash", &json!(format!("#{to}")));
        browser.go_to(DASHBOARD);
        eventually("the dashboard", || (browser.count("[data-subject=Computation] .row-link") > 0).then_some(()));
    };
    let focused_row = || browser.evaluate(ROW, &[]);
    match keys {
        "Ctrl+k" => dialog(&format!("{CONTROL}k"), "dialog palette"),
        "k" => dialog("k", "dialog palette"),
        "?" => dialog("?", "dialog shortcuts"),
        "," => {
            gives(browser, ",", "return document.querySelectorAll('dialog[open]').length", &json!(1));
            browser.press_focused(ESCAPE);
            eventually_is("closed", &0, || browser.count("dialog[open]"));
        }
        "g a" => goes(DASHBOARD, "/"),
        "g d" => goes(DETAIL, DASHBOARD),
        "g w" => goes(DASHBOARD, "/applications/App/workers-dashboard"),
        "u" => goes(DETAIL, DASHBOARD),
        "p" => {
            gives(browser, "p", PAUSED, &json!("true"));
            gives(browser, "p", PAUSED, &json!("false"));
        }
        "l" => {
            gives(browser, "p", PAUSED, &json!("true"));
            gives(browser, "l", PAUSED, &json!("false"));
        }
        "[" | "]" | "+" | "=" | "-" => {
            // A range in the middle of the data, from which all of them lead away.
            let end = now_s() - 60;
            browser.go_to(&format!("{DASHBOARD}?from={}&to={}", end - 59, end));
            eventually("the range", || (browser.evaluate_text(RANGE, &[]).contains(&end.to_string())).then_some(()));
            eventually("selected", || (browser.count("[data-testid=time-range]") > 0).then_some(()));
            changes(browser, keys, RANGE);
            gives(browser, "l", RANGE, &json!(""));
        }
        "1" => gives(browser, keys, WINDOW, &json!("10 s")),
        "2" => gives(browser, keys, WINDOW, &json!("1 m")),
        "4" => gives(browser, keys, WINDOW, &json!("15 m")),
        "5" => gives(browser, keys, WINDOW, &json!("1 h")),
        "3" => {
            press(browser, "2");
            gives(browser, keys, WINDOW, &json!("5 m"));
        }
        "/" => gives(browser, keys, "return document.activeElement.id", &json!("filter")),
        "%" => {
            let script = "return document.activeElement.closest('.percentiles') !== null";
            gives(browser, keys, script, &json!(true));
        }
        "ArrowDown" => {
            press(browser, DOWN);
            browser.press_focused(DOWN);
            assert_eq!(focused_row()[0], 1);
        }
        "ArrowUp" => {
            press(browser, DOWN);
            browser.press_focused(DOWN);
            browser.press_focused("\u{e013}");
            assert_eq!(focused_row()[0], 0);
        }
        "Home" | "End" => {
            let _ = browser.evaluate("document.querySelector('[data-subject=Computation] .row-link').focus()", &[]);
            browser.press_focused("\u{e010}");
            let last = focused_row();
            assert_eq!(last[1].as_u64().map(|at| at + 1), last[2].as_u64());
            browser.press_focused("\u{e011}");
            assert_eq!(focused_row()[1], 0);
        }
        "PageUp" | "PageDown" => {
            let _ = browser.evaluate("document.querySelector('[data-subject=Computation] .row-link').focus()", &[]);
            browser.press_focused("\u{e00f}");
            eventually("the last row", || (focused_row()[1].as_u64() > Some(0)).then_some(()));
            browser.press_focused("\u{e00e}");
            eventually("the first row", || (focused_row()[1] == json!(0)).then_some(()));
        }
        "t" => changes(browser, "t", "return document.documentElement.dataset.theme"),
        "z" => changes(browser, "z", "return document.querySelector('button.time').textContent.includes('UTC')"),
        "w" => {
            gives(browser, "w", "return document.documentElement.hasAttribute('data-wall')", &json!(true));
            gives(browser, "w", "return document.documentElement.hasAttribute('data-wall')", &json!(false));
        }
        "W" => {
            changes(browser, "W", "return document.querySelector('[data-testid=announcements]').textContent");
            changes(browser, "W", "return document.querySelector('[data-testid=announcements]').textContent");
        }
        "Escape" => {
            press(browser, "w");
            gives(browser, ESCAPE, "return document.documentElement.hasAttribute('data-wall')", &json!(false));
            browser.click("details.switcher summary");
            browser.press_focused(ESCAPE);
            eventually_is("menus", &0, || browser.count("details.menu[open]"));
        }
        "f" => {
            let script =
                "return document.querySelector('[data-subject=Computation] .star').getAttribute('aria-pressed')";
            let before = browser.evaluate(script, &[]);
            let _ = browser.evaluate("document.querySelector('[data-subject=Computation] .row-link').focus()", &[]);
            browser.press_focused("f");
            eventually("a favourite", || (browser.evaluate(script, &[]) != before).then_some(()));
        }
        "F" => {
            let script = "return document.querySelector('button.only').getAttribute('aria-pressed')";
            gives(browser, "F", script, &json!("true"));
            gives(browser, "F", script, &json!("false"));
        }
        "v" => {
            let script = "return document.querySelector('.layout [aria-pressed=true]').textContent";
            gives(browser, "v", script, &json!("Charts"));
            gives(browser, "v", script, &json!("Table"));
        }
        // Earlier keys may have loaded it; `hour.rs` checks the data.
        "h" => gives(browser, "h", "return document.querySelectorAll('.hour [title*=history]').length", &json!(0)),
        "c" => {
            browser.go_to(DETAIL);
            eventually("the picker", || (browser.count("details.picker") > 0).then_some(()));
            gives(browser, "c", "return document.querySelector('details.picker').open", &json!(true));
            browser.go_to(DASHBOARD);
        }
        "o" => gives(browser, "o", "return document.activeElement.id", &json!("objective")),
        "b" => {
            press(browser, "b");
            eventually("a baseline", || (browser.count(".compare-bar") > 0).then_some(()));
        }
        "R" => {
            let script = "return document.querySelector('[data-testid=record]').getAttribute('aria-pressed')";
            gives(browser, "R", script, &json!("true"));
            gives(browser, "R", script, &json!("false"));
        }
        // Checked where there is no relay.
        "r" => {}
        _ => return false,
    }
    true
}

#[test]
fn each_key_of_the_sheet_does_what_the_sheet_says() {
    let mut relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    open_dashboard(&browser, &relay);
    press(&browser, "?");
    eventually("the sheet", || (browser.count("[data-testid=shortcut]") > 20).then_some(()));
    let script =
        "return [...document.querySelectorAll('[data-testid=shortcut]')].flatMap(row => row.dataset.keys.split('\\t'))";
    let listed = browser.evaluate(script, &[]);
    browser.press_focused(ESCAPE);
    eventually_is("closed", &0, || browser.count("dialog"));
    let mut unknown = Vec::new();
    for keys in listed.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !check_key(&browser, keys) {
            unknown.push(keys.to_owned());
        }
    }
    assert_eq!(unknown, [] as [String; 0], "keys of the sheet that nothing checks");
    // Letters in a text box are text.
    browser.type_into("#filter", "pw?");
    assert_eq!(
        (browser.count("dialog"), browser.attribute("[data-testid=pause]", "aria-pressed")),
        (0, "false".to_owned())
    );
    assert_eq!(browser.console_errors(), [] as [String; 0]);
    // Another attempt at once.
    relay.kill();
    let status = || browser.text("[data-testid=status]");
    eventually("a pause between attempts", || {
        let seconds: String = status().chars().filter(char::is_ascii_digit).collect();
        seconds.parse::<u32>().ok().filter(|seconds| *seconds >= 3)
    });
    let count = "
        window.attempts = 0;
        const fetched = window.fetch, Socket = window.WebSocket;
        window.fetch = (...all) => { window.attempts += 1; return fetched(...all); };
        window.WebSocket = function (...all) { window.attempts += 1; return new Socket(...all); };";
    let _ = browser.evaluate(count, &[]);
    press(&browser, "r");
    assert!(browser.evaluate("return window.attempts", &[]).as_u64() > Some(0));
}

#[test]
fn the_search_finds_everything_and_works_by_keyboard_and_by_touch() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    open_dashboard(&browser, &relay);
    let search = |text: &str| {
        press(&browser, "k");
        eventually("the search", || (browser.count(".palette[open] [role=option]") > 0).then_some(()));
        browser.press_focused(text);
    };
    let first = || browser.text(".palette [role=option]");
    search("check w2");
    eventually("a view of a worker", || {
        (first().contains("Check order") && first().contains("worker-2")).then_some(())
    });
    // The text box keeps the focus and names the chosen option.
    let active = "
        const input = document.activeElement, option = document.getElementById(input.getAttribute('aria-activedescendant'));
        return [input.getAttribute('role'), option?.getAttribute('aria-selected')]";
    assert_eq!(browser.evaluate(active, &[]), json!(["combobox", "true"]));
    browser.press_focused(ENTER);
    eventually("the view", || hash(&browser).contains("/computation-by-worker/").then_some(()));
    eventually_is("closed", &0, || browser.count("dialog"));
    // An action, chosen with the arrow keys.
    search("window");
    let wanted = "return [...document.querySelectorAll('.palette [role=option]')].findIndex(one => one.textContent.includes('1 minute'))";
    let at = eventually("the windows", || browser.evaluate(wanted, &[]).as_u64());
    browser.press_focused(&DOWN.repeat(usize::try_from(at).unwrap()));
    browser.press_focused(ENTER);
    eventually("the window", || hash(&browser).contains("w=60").then_some(()));
    // A percentile.
    search("99.5");
    eventually("the percentile", || first().contains("p99.5").then_some(()));
    browser.press_focused(ENTER);
    eventually("the percentile", || hash(&browser).contains("p=99.5").then_some(()));
    // With a finger on a phone.
    browser.resize(390, 844);
    browser.click("button.search");
    eventually("the search", || (browser.count(".palette[open] [role=option]") > 0).then_some(()));
    browser.press_focused("workers of");
    eventually("the action", || first().contains("Workers of this application").then_some(()));
    browser.click(".palette [role=option]");
    eventually("the workers", || hash(&browser).contains("workers-dashboard").then_some(()));
    // The number of results is bounded, and nothing is an answer too.
    browser.click("button.search");
    eventually("the search", || (browser.count(".palette[open] [role=option]") > 0).then_some(()));
    assert!(browser.count(".palette [role=option]") <= 40);
    browser.press_focused("qqqqqq");
    eventually_is("no results", &"Nothing matches.".to_owned(), || browser.text(".palette-foot [role=status]"));
    browser.press_focused(ESCAPE);
    eventually_is("closed", &0, || browser.count("dialog"));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// What is smaller than 24 × 24 CSS pixels and nearer to another target than that, as in WCAG 2.5.8. A link in a
/// sentence is exempt, and a label is part of the target of its text box.
const SMALL: &str = "
    const all = [...document.querySelectorAll('a[href], button, input, select, summary, [role=option], canvas[tabindex]')]
        .filter(one => one.getClientRects().length && !one.closest('.skip, .visually-hidden') && one.checkVisibility({visibilityProperty: true}));
    const boxes = all.map(one => one.getBoundingClientRect());
    const apart = (a, b) => {
        const [x, y] = [a.left + a.width / 2, a.top + a.height / 2];
        return Math.hypot(Math.max(b.left - x, 0, x - b.right), Math.max(b.top - y, 0, y - b.bottom)) >= 12;
    };
    const small = at => {
        const box = boxes[at];
        if (box.width >= 24 && box.height >= 24 || all[at].closest('p, h1')) return false;
        return boxes.some((other, index) => index !== at && !all[index].contains(all[at]) && !all[at].contains(all[index]) && !apart(box, other));
    };
    return all.filter((one, at) => small(at)).map(one => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 30)}`)";

const PAGES: [&str; 5] = ["/", DASHBOARD, "/applications/App/workers-dashboard", DETAIL, "/no/such/page"];

#[test]
fn targets_are_large_enough_and_nothing_is_cut_off_at_twice_the_size() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let mut found = Vec::new();
    // 720 is half of 1440: the page at 200 %. 2560 is a wall.
    for (width, height) in [(1440, 900), (720, 450), (390, 844), (2560, 1440)] {
        browser.resize(width, height);
        for page in PAGES {
            browser.go_to(page);
            if page != "/no/such/page" {
                eventually("numbers", || (browser.count("main .n") > 0).then_some(()));
            }
            let small = browser.evaluate(SMALL, &[]);
            found.extend(small.as_array().into_iter().flatten().map(|one| format!("{page} at {width}: {one}")));
            let widest = browser.evaluate("return document.documentElement.scrollWidth", &[]).as_u64();
            assert!(widest <= Some(u64::from(width)), "{page} is {widest:?} wide on a screen of {width}");
            browser.save_screenshot(&format!("everyone-{width}-{}", page.rsplit('/').next().unwrap_or_default()));
        }
    }
    assert!(found.is_empty(), "too small:\n{}", found.join("\n"));
}

#[test]
fn names_from_right_to_left_stay_in_one_piece() {
    const NAMES: [&str; 3] = ["طلبات 12 (b)", "הזמנות-3/4", "مرحبا worker-7"];
    let relay = relay(&[]);
    let frames: Vec<Frame> = NAMES
        .iter()
        .flat_map(|name| {
            ["computation", "start-to-end", "node-ingress-egress"]
                .map(|category| Frame::new(NAMES[0], category, [name, name, name], now_s() - 2).with(&[1 << 20; 9]))
        })
        .collect();
    let _open = send(&relay, &Oracle::new(&frames));
    let browser = Browser::start();
    // A text with such a name is isolated from what is around it, and begins on its own side.
    let script = "
        const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const node = walker.currentNode;
            if (!/[\\u0590-\\u06ff]/.test(node.data) || node.parentElement.closest('script, .visually-hidden')) continue;
            if (!node.parentElement.closest('bdi, [dir=auto]')) found.push(node.parentElement.outerHTML.slice(0, 120));
        }
        return found";
    browser.open(&address(&relay, "/"));
    eventually_is("applications", &1, || browser.count("[data-testid=application]"));
    let app = crate::page::escaped(NAMES[0]);
    for rest in ["", "/dashboard", "/workers-dashboard", "/computation/"] {
        let name = if rest.ends_with('/') { crate::page::escaped(NAMES[1]) } else { String::new() };
        let page = if rest.is_empty() { "/".to_owned() } else { format!("/applications/{app}{rest}{name}") };
        browser.go_to(&page);
        eventually("numbers", || (browser.count("main .n") > 0).then_some(()));
        assert_eq!(browser.evaluate(script, &[]), json!([]), "{page}");
        press(&browser, "k");
        eventually("the search", || (browser.count(".palette[open] [role=option]") > 0).then_some(()));
        browser.press_focused("12 (b");
        eventually("the name", || browser.text(".palette [role=option]").contains(NAMES[0]).then_some(()));
        assert_eq!(browser.evaluate(script, &[]), json!([]), "the search on {page}");
        browser.save_screenshot(&format!("everyone-rtl{}", rest.replace('/', "-")));
        browser.press_focused(ESCAPE);
        eventually_is("closed", &0, || browser.count("dialog"));
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn only_news_is_announced() {
    let mut relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    open_dashboard(&browser, &relay);
    let watch = "
        window.said = [];
        const all = [...document.querySelectorAll('[role=status], [role=alert], [aria-live]')];
        for (const one of all) {
            new MutationObserver(() => window.said.push(one.textContent)).observe(one, {childList: true, characterData: true, subtree: true});
        }
        return all.length";
    assert!(browser.evaluate(watch, &[]).as_u64() > Some(0));
    let said = || browser.evaluate("return window.said", &[]);
    // Three ticks of the clock say nothing.
    for _ in 0..3 {
        let before = browser.text("button.time");
        eventually("a second", || (browser.text("button.time") != before).then_some(()));
    }
    assert_eq!(said(), json!([]));
    press(&browser, "p");
    eventually("paused", || {
        said()[0].as_str().is_some_and(|text| text.contains("Paused") || text.contains("UTC")).then_some(())
    });
    press(&browser, "l");
    eventually_is("live", &json!("Live"), || said()[1].clone());
    let other = Frame::new("Other", "computation", ["p", "w", "n"], now_s()).with(&[5]);
    let _other = send(&relay, &Oracle::new(&[other]));
    eventually_is("a new application", &json!("New application: Other"), || said()[2].clone());
    relay.kill();
    eventually("lost", || said()[3].as_str().is_some_and(|text| text.contains("Not connected")).then_some(()));
    let status = browser.text("[data-testid=status]");
    eventually("the countdown", || (browser.text("[data-testid=status]") != status).then_some(()));
    assert_eq!(said().as_array().map(Vec::len), Some(4), "{}", said());
}
