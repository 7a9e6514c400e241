//! Getting to a relay: over HTTP where no WebSocket gets through, and to another relay when one is gone.

use joey_tests::browser::Browser;
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Oracle, Relay, eventually, eventually_is};

use crate::page::{now_s, relay, rows_are, send, world};

const TOTALS: [&str; 4] = ["start-to-end", "node-ingress-egress", "computation", "gc-pause"];

fn status_is(browser: &Browser, words: &str) {
    eventually_is("the status", &words.to_owned(), || browser.text("[data-testid=status]"));
}

#[test]
fn where_no_websocket_gets_through_the_page_falls_back_to_http_and_says_so() {
    let relay = relay(&[]);
    let oracle = world("App");
    let _open = send(&relay, &oracle);
    let stats = eventually("the newest period is complete", || {
        let stats = relay.stats("App");
        (stats["through_ns"].as_u64() == Some(oracle.clock_ns())).then_some(stats)
    });
    oracle.check(&stats);
    let wire = Proxy::to(relay.http);
    wire.refuse_upgrades();
    let browser = Browser::start();
    browser.open(&format!("http://{}/#/", wire.address));
    status_is(&browser, "connected over HTTP");
    eventually_is("applications", &1, || browser.count("[data-testid=application]"));
    // What another page needs is asked for while the answer goes on.
    browser.go("/applications/App/dashboard");
    let rows = || rows_are(&browser, "[data-testid=row]", &oracle, 300, |id| TOTALS.contains(&id.0.as_str()));
    rows();
    wire.cut();
    eventually_is("viewers", &0, || relay.metric("joey_viewers"));
    wire.mend();
    status_is(&browser, "connected over HTTP");
    rows();
    assert_eq!(relay.metric("joey_gaps_total"), 0);
}

#[test]
fn when_a_relay_dies_the_page_goes_on_at_the_other_and_names_the_hole() {
    let host = relay(&[]);
    let page = format!("http://{}", host.http);
    let other = Relay::start_with(&["--origin", &page]);
    let mut first = Relay::start_with(&["--origin", &page, "--advertise", &format!("ws://{}", other.http)]);
    let oracle = world("App");
    let _open = send(&first, &oracle);
    let browser = Browser::start();
    browser.open(&format!("{page}/?relay={}#/applications/App/dashboard", first.http));
    status_is(&browser, "connected");
    rows_are(&browser, "[data-testid=row]", &oracle, 300, |id| TOTALS.contains(&id.0.as_str()));
    let elsewhere = Frame::new("App", "computation", ["Orders", "initializer", "Elsewhere"], now_s()).with(&[5]);
    let _open_too = send(&other, &Oracle::of(&[elsewhere]));
    first.kill();
    eventually_is("rows of the other relay", &1, || browser.count("[data-testid=row][data-name=Elsewhere]"));
    status_is(&browser, "connected");
    eventually("the hole is named", || browser.text(".notes").contains("what it alone held").then_some(()));
    browser.press("[data-testid=status]");
    let address = other.http.to_string();
    eventually("the address is said", || browser.text(".facts").contains(&address).then_some(()));
}
