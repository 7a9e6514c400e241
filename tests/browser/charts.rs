//! What every chart has: units of the settings on its axes, files of what it shows, its values as text, selection by keyboard.

use joey_tests::browser::Browser;
use joey_tests::{eventually, eventually_is};
use serde_json::{Value, json};

use crate::compare::{durations, names, phase, reload};
use crate::hour::page;
use crate::page::{address, now_s, relay, sample_data, send};
use crate::relays::{close_dialog, open_settings};
use crate::settings::choose;
use crate::takeaway::{CATCH, download, image_facts, last_file};
use crate::time_range::selected;

const ARROW_LEFT: &str = "\u{e012}";
const SHIFT: &str = "\u{e008}";
const ENTER: &str = "\u{e007}";

fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

/// Collects the texts that charts draw, by the class of the chart.
const COLLECT: &str = "
    window.drawn = {};
    const fill = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
        (drawn[this.canvas.className] ??= new Set()).add(text);
        return fill.call(this, text, ...at);
    }";

/// The labels in units of time that a chart has drawn since `window.drawn` was emptied.
fn axis(browser: &Browser, chart: &str) -> Vec<String> {
    let script = "return [...(window.drawn[arguments[0]] ?? [])].filter(text => /\\u2009(ns|µs|ms|s)$/.test(text))";
    serde_json::from_value(browser.evaluate(script, &[chart.into()])).expect("texts")
}

#[test]
fn axes_have_the_unit_of_the_settings() {
    let relay = relay(&[]);
    let _open = send(&relay, &sample_data("App"));
    let browser = Browser::start();
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": COLLECT}));
    browser.open(&address(&relay, &page()));
    eventually("labels", || axis(&browser, "timeline").iter().any(|label| label.ends_with("ms")).then_some(()));
    open_settings(&browser);
    choose(&browser, "units", "Microseconds");
    close_dialog(&browser);
    let _ = browser.evaluate("window.drawn = {}", &[]);
    for chart in ["timeline", "curve"] {
        let labels = eventually(chart, || Some(axis(&browser, chart)).filter(|labels| !labels.is_empty()));
        assert!(labels.iter().all(|label| label.ends_with("\u{2009}µs")), "{chart}: {labels:?}");
        assert!(labels.iter().any(|label| *label == "1\u{202f}000\u{2009}µs"), "{chart}: {labels:?}");
    }
    browser.go_to("/applications/App/dashboard?as=charts");
    let labels = eventually("small charts", || Some(axis(&browser, "band")).filter(|labels| !labels.is_empty()));
    assert!(labels.iter().all(|label| label.ends_with("\u{2009}µs")), "{labels:?}");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn an_order_by_change_is_part_of_the_address_and_the_difference_is_saved() {
    let relay = relay(&[]);
    let (before, now) = (now_s() - 40, now_s() - 20);
    let same = || durations(&[(700, 80)]);
    let mut open = phase(&relay, "App", before, &[("half", same()), ("slower", same())]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard?w=10"));
    eventually("the first phase", || (names(&browser).len() == 3).then_some(()));
    browser.press_focused("b");
    eventually("a baseline", || hash(&browser).contains("base=").then_some(()));
    let half = durations(&[(700, 40), (5_000, 40)]);
    open.extend(phase(&relay, "App", now, &[("half", half), ("slower", durations(&[(2_000, 80)]))]));
    eventually_is("what changed most", &"slower".to_owned(), || names(&browser)[0].clone());
    let press_head = "
        [...document.querySelectorAll('[data-subject=Computation] th.delta button')]
            .find(head => head.textContent === arguments[0]).click()";
    let _ = browser.evaluate(press_head, &["Δp99".into()]);
    eventually("by p99", || hash(&browser).contains("sort=-p99-change").then_some(()));
    eventually_is("the highest p99", &"half".to_owned(), || names(&browser)[0].clone());
    // The address brings it back, although the baseline arrives later.
    reload(&browser);
    eventually("the comparison", || (browser.count("[data-subject=Computation] th.delta") == 4).then_some(()));
    eventually_is("the highest p99", &"half".to_owned(), || names(&browser)[0].clone());
    assert!(hash(&browser).contains("sort=-p99-change"), "{}", hash(&browser));

    // The difference as files: in each column, the differences of the shares add up to zero.
    browser.go_to("/applications/App/computation/half");
    eventually("the difference", || (browser.count("[data-testid=difference] .download") == 1).then_some(()));
    let _ = browser.evaluate(CATCH, &[]);
    download(&browser, "[data-testid=difference]", "JSON");
    let (name, text) = last_file(&browser);
    assert!(name.starts_with("joey_App_half-Difference-over-time_10s_"), "{name}");
    let file: Value = serde_json::from_str(&text).expect("it is JSON");
    let rows = file["rows"].as_array().expect("rows");
    // The first period began before the window.
    assert!((4..=5).contains(&rows.len()), "{text}");
    for row in rows {
        assert_eq!((&row["events"], &row["distance"]), (&json!(80), &json!(0.5)), "{row}");
        let shares = row.as_object().expect("a row").iter().filter(|(name, _)| name.starts_with("share_difference_"));
        let shares: Vec<f64> = shares.filter_map(|(_, share)| share.as_f64()).collect();
        assert!(shares.len() == 2 && shares.iter().sum::<f64>().abs() < 1e-12, "{row}");
    }
    download(&browser, "[data-testid=difference]", "PNG");
    assert!(last_file(&browser).0.ends_with("Z.png"));
    assert_eq!(image_facts(&browser, "saved.at(-1).blob")[3], json!(true));
    download(&browser, "[data-testid=difference]", "Copy image");
    download(&browser, "[data-testid=compared]", "CSV");
    assert!(last_file(&browser).1.starts_with("figure,this,other_side,change\r\n"));
    download(&browser, "[data-testid=hour]", "PNG");
    assert!(last_file(&browser).0.contains("Last-hour"), "{}", last_file(&browser).0);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_charts_of_the_landing_page_are_selected_by_keyboard_and_have_text() {
    const CHART: &str = "[data-testid=application] td.spark:not(.latency) canvas";
    let relay = relay(&[]);
    let _open = send(&relay, &sample_data("App"));
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let label = || browser.attribute(CHART, "aria-label");
    eventually("a range of rates", || (label().contains(", between ") && label().contains(" s")).then_some(()));
    let _ = browser.evaluate("document.querySelector(arguments[0]).focus()", &[CHART.into()]);
    browser.press_focused(&ARROW_LEFT.repeat(40));
    let at_crosshair = "return /^\\d\\d:\\d\\d:\\d\\d: .* events per second/.test(arguments[0])";
    eventually("the second", || browser.evaluate(at_crosshair, &[label().into()]).as_bool()?.then_some(()));
    browser.press_focused(&format!("{SHIFT}{}", ARROW_LEFT.repeat(19)));
    browser.press_focused(ENTER);
    let range = eventually("selected", || selected(&browser));
    assert_eq!(range.1 + 1 - range.0, 20);

    // The latencies over time have a table and files.
    let _ = browser.evaluate("document.querySelector('[data-testid=operations] .twin').open = true", &[]);
    let cells = "return document.querySelectorAll('[data-testid=operations] .twin tbody td').length";
    eventually("rows", || (browser.evaluate(cells, &[]).as_u64() > Some(0)).then_some(()));
    let _ = browser.evaluate(CATCH, &[]);
    for panel in ["changed", "slowest", "busiest", "operations"] {
        download(&browser, &format!("[data-testid={panel}]"), "CSV");
        let csv = last_file(&browser).1;
        assert!(csv.starts_with("application,kind,pipeline,worker,name,"), "{panel}: {csv}");
        // Nothing need have changed.
        assert!(panel == "changed" || csv.contains("\r\nApp,start-to-end,"), "{panel}: {csv}");
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn keys_whose_effect_is_out_of_sight_are_confirmed() {
    const CONFIRMATION: &str = "[data-testid=confirmation]";
    let own = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&own, &oracle);
    let browser = Browser::start();
    browser.open(&address(&own, "/applications/App/dashboard"));
    let visible = |text: &str| {
        let script = "
            const one = document.querySelector(arguments[0]);
            return one.checkVisibility() && one.textContent";
        eventually(text, || browser.evaluate(script, &[CONFIRMATION.into()]).as_str()?.contains(text).then_some(()));
    };
    eventually("numbers", || (browser.count("[data-subject=Computation] td .n") > 0).then_some(()));
    browser.press_focused("W");
    visible("Wall mode shows this page only");
    browser.press_focused("W");
    visible("Wall mode shows all applications");
    eventually_is("gone", &json!(false), || {
        browser.evaluate("return document.querySelector(arguments[0]).checkVisibility()", &[CONFIRMATION.into()])
    });

    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
