//! Every page at two sizes in two colour schemes: screenshots are saved for review, and no page is wider than the
//! screen.

use joey_tests::browser::Browser;
use joey_tests::{eventually, eventually_is};
use serde_json::json;

use crate::page::{address, relay, sample_data, send};

const SIZES: [(u32, u32); 2] = [(1440, 900), (390, 844)];

fn pages(app: &str) -> Vec<(&'static str, String)> {
    let of = |rest: &str| format!("/applications/{app}/{rest}");
    vec![
        ("landing", "/".to_owned()),
        ("dashboard", of("dashboard")),
        ("workers", of("workers-dashboard")),
        ("pipeline", of("start-to-end/Orders")),
        ("pipeline-by-worker", of("start-to-end-by-worker/Orders/worker-2")),
        ("worker", of("node-ingress-egress/worker-2")),
        ("worker-by-pipeline", of("node-ingress-egress-by-pipeline/Orders/worker-2")),
        ("computation", of("computation/Check%20order")),
        ("computation-by-worker", of("computation-by-worker/Orders/worker-2/Check%20order")),
        ("ingestion", of("pipeline-ingestion/Orders/Orders%20source")),
        ("other", of("other/gc-pause/young")),
        ("unknown", "/no/such/page".to_owned()),
    ]
}

#[test]
fn every_page_fits_its_screen_in_both_colour_schemes() {
    let empty = relay(&[]);
    let relay = relay(&[]);
    let oracle = sample_data("Market-Spread");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    let check = |name: &str| {
        for (width, height) in SIZES {
            browser.resize(width, height);
            for colours in ["light", "dark"] {
                browser.set_color_scheme(colours);
                settle(&browser);
                let widest = browser.evaluate("return document.documentElement.scrollWidth", &[]);
                assert!(widest.as_u64().unwrap() <= u64::from(width), "{name} is {widest} wide on a screen of {width}");
                browser.save_screenshot(&format!("{name}-{width}-{colours}"));
                let truncated = browser.evaluate(SQUEEZED, &[]);
                assert_eq!(truncated, json!([]), "{name}: buttons whose text does not fit on a screen of {width}");
            }
        }
    };
    browser.open(&address(&empty, "/"));
    eventually_is("the empty page", &1, || browser.count("[data-testid=empty]"));
    check("empty");
    browser.open(&address(&relay, "/"));
    eventually_is("applications", &1, || browser.count("[data-testid=application]"));
    for (name, hash) in pages("Market-Spread") {
        browser.go_to(&hash);
        if name != "unknown" {
            eventually("numbers", || (browser.count(".n") > 0).then_some(()));
            eventually("every table", || (!browser.text("main").contains("None yet.")).then_some(()));
        }
        check(name);
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn every_chart_has_a_name_and_draws_something() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    // Only visible charts are drawn; a screen of this height shows all of them.
    browser.resize(1440, 4000);
    browser.open(&address(&relay, "/applications/App/computation/Check%20order"));
    let script = "
        return [...document.querySelectorAll('canvas')].map(canvas => {
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.getAttribute('aria-label') ?? '', pixels.some(byte => byte !== 0)];
        })";
    let charts = eventually("charts", || {
        let charts = browser.evaluate(script, &[]);
        let charts = charts.as_array().unwrap().clone();
        (charts.len() >= 3 && charts.iter().all(|chart| chart[1] == json!(true))).then_some(charts)
    });
    for chart in charts {
        assert!(!chart[0].as_str().unwrap().is_empty(), "a chart without a name");
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// The visible buttons of the toolbar that are narrower than their text.
const SQUEEZED: &str = "
    const cut = one => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1;
    const bar = [...document.querySelectorAll('header.bar button, header.bar summary, header.bar [role=group]')];
    return bar.filter(cut).map(one => one.textContent.trim())";

/// Waits until the page has been laid out and rendered twice.
fn settle(browser: &Browser) {
    let script = "
        window.__painted = false;
        requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => { window.__painted = true; }, 120)));";
    let _ = browser.evaluate(script, &[]);
    eventually("the page is rendered", || {
        (browser.evaluate("return window.__painted", &[]) == json!(true)).then_some(())
    });
}

#[test]
fn the_headers_of_the_lists_fit_with_their_notes_on_one_line() {
    let relay = relay(&[]);
    let _open = send(&relay, &sample_data("App"));
    let browser = Browser::start();
    let cut = "
        return Array.from(document.querySelectorAll('.ranked > header')).filter(header => {
            const note = header.querySelector('.tally');
            const is_broken = note && note.offsetHeight > 1.9 * parseFloat(getComputedStyle(note).fontSize);
            return header.scrollWidth > header.clientWidth || is_broken;
        }).map(header => header.textContent).join()";
    for width in [400, 1400, 2560] {
        browser.resize(width, 1200);
        browser.open(&address(&relay, "/"));
        eventually("the lists", || (browser.count(".ranked > header") == 4).then_some(()));
        eventually("a note", || browser.text("[data-testid=slowest] .tally").contains("p99").then_some(()));
        assert_eq!(browser.evaluate_text(cut, &[]), "", "at {width} px");
    }
}

#[test]
fn small_type_grows_on_wall_displays_and_the_threshold_stays_readable() {
    let relay = relay(&[]);
    let _open = send(&relay, &sample_data("App"));
    let browser = Browser::start();
    let cut = "
        const handle = document.querySelector('.threshold-handle');
        return handle && handle.textContent !== '' ? String(handle.scrollWidth > handle.clientWidth) : 'none'";
    for (width, size) in [(1400, "12px"), (2560, "17px")] {
        browser.resize(width, 1200);
        browser.open(&address(&relay, "/applications/App/computation/Check%20order?under=480ms"));
        eventually("the threshold", || (browser.evaluate_text(cut, &[]) != "none").then_some(()));
        assert_eq!(browser.evaluate_text(cut, &[]), "false", "at {width} px");
        let small = "return getComputedStyle(document.querySelector('.download > summary')).fontSize";
        assert_eq!(browser.evaluate_text(small, &[]), size);
    }
}
