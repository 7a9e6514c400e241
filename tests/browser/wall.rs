//! Wall mode: pages in turn, without controls, until somebody moves the pointer or leaves.

use joey_tests::browser::Browser;
use joey_tests::{eventually, eventually_is};
use serde_json::json;

use crate::page::{address, relay, sample_data, send};

const ESCAPE: &str = "\u{e00c}";

#[test]
fn a_wall_shows_its_pages_in_turn_and_stays_while_the_pointer_moves() {
    let relay = relay(&[]);
    let (a, b) = (sample_data("A"), sample_data("B"));
    let _open = (send(&relay, &a), send(&relay, &b));
    let browser = Browser::start();
    browser.resize(1920, 1080);
    let pages = "%2Fapplications%2FA%2Fworkers-dashboard,%2Fapplications%2FB%2Fworkers-dashboard";
    browser.open(&address(&relay, &format!("/?wall=3&pages={pages}")));
    let page = |app: &str| {
        let wanted = format!("#/applications/{app}/workers-dashboard?wall=3&pages={pages}");
        eventually_is("the page", &wanted, || browser.evaluate_text("return location.hash", &[]));
    };
    let entries = browser.evaluate("return history.length", &[]);
    page("A");
    page("B");
    page("A");
    assert_eq!(browser.evaluate("return history.length", &[]), entries, "the back button leaves the wall");
    // Large figures, no controls, no pointer.
    let style = "
        const size = one => parseFloat(getComputedStyle(one).fontSize) * one.currentCSSZoom;
        return [size(document.querySelector('[data-testid=worker] .n')) >= 22, getComputedStyle(document.body).cursor,
            [...document.querySelectorAll('.bar button, .bar .switcher, #filter')].filter(one => one.checkVisibility()).map(one => one.className)]";
    eventually("figures", || (browser.count("[data-testid=worker] .n") > 0).then_some(()));
    let style = browser.evaluate(style, &[]);
    assert_eq!((&style[0], &style[1]), (&json!(true), &json!("none")));
    assert!(style[2].as_array().is_some_and(|all| all.iter().all(|class| class == "time")), "{style}");
    browser.save_screenshot("wall-workers");
    // The pointer moves: the page stays, and there is a button.
    let moves = |x: u32| {
        let event = json!({"type": "mouseMoved", "x": x, "y": 500});
        browser.command("Input.dispatchMouseEvent", event);
    };
    moves(300);
    moves(400);
    eventually("held", || browser.text("[data-testid=wall]").contains("stays while the pointer moves").then_some(()));
    assert_eq!(browser.evaluate("return getComputedStyle(document.body).cursor", &[]), json!("auto"));
    // Leaving keeps the page.
    browser.press_focused(ESCAPE);
    eventually_is("left", &0, || browser.count("[data-testid=wall]"));
    assert!(!browser.evaluate_text("return location.hash", &[]).contains("wall="));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_long_page_is_shown_screen_by_screen() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.resize(1920, 1080);
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually("numbers", || (browser.count("[data-subject=Computation] td .n") > 0).then_some(()));
    browser.open(&address(&relay, "/applications/App/dashboard?wall=3"));
    eventually("the wall", || browser.text("[data-testid=wall]").contains("2 of 2").then_some(()));
    browser.save_screenshot("wall-dashboard");
    eventually("the next screen", || (browser.evaluate("return scrollY", &[]).as_f64() > Some(100.0)).then_some(()));
    assert!(browser.evaluate_text("return location.hash", &[]).contains("dashboard"));
    eventually("the next page", || browser.text("[data-testid=wall]").contains("1 of 2").then_some(()));
    assert_eq!(browser.evaluate("return scrollY", &[]), json!(0));
    browser.save_screenshot("wall-landing");
}
