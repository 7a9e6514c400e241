//! The page over time: before there is data, while the relay is down, and afterwards.

use joey_tests::browser::Browser;
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Oracle, eventually, eventually_is};
use serde_json::json;

use crate::page::{address, now_s, relay, sample_data, send, wait_for_rows};

fn state(browser: &Browser) -> String {
    browser.attribute("[data-testid=status]", "data-state")
}

/// Console errors other than the browser's own messages about an unreachable relay, which are expected.
fn unexpected_console_errors(browser: &Browser) -> Vec<String> {
    let errors = browser.console_errors().into_iter();
    // After a failed WebSocket the page requests the reason from its relay.
    let is_socket = |error: &String| error.contains("WebSocket connection to") || error.contains("/ws - ");
    errors.filter(|error| !is_socket(error)).collect()
}

#[test]
fn without_data_the_page_shows_what_to_do_next() {
    let relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    eventually_is("the line", &format!("--metrics 127.0.0.1:{}", relay.ingest.port()), || {
        browser.text("[data-testid=producer-line]")
    });
    assert_eq!(browser.count("[data-testid=empty]"), 1);
    // Then a producer connects.
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    eventually_is("applications", &1, || browser.count("[data-testid=application][data-app=App]"));
    assert_eq!(browser.count("[data-testid=empty]"), 0);
    browser.open(&address(&relay, "/applications/Nobody/dashboard"));
    eventually_is("a message about an unknown application", &1, || browser.count("[data-testid=empty]"));
    browser.go_to("/no/such/page");
    eventually("a message about an unknown page", || browser.text("main").contains("no such page").then_some(()));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_page_survives_a_relay_restart_and_adds_new_data() {
    let mut relay = relay(&[]);
    let before = sample_data("App");
    let open = send(&relay, &before);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let totals = |id: &joey_tests::oracle::ViewId| {
        ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
    };
    wait_for_rows(&browser, "[data-testid=row]", &before, 300, totals);
    relay.kill();
    drop(open);
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    eventually("the time until the next attempt", || {
        browser.text("[data-testid=status]").contains("reconnecting in").then_some(())
    });
    // The data stays visible while disconnected.
    wait_for_rows(&browser, "[data-testid=row]", &before, 300, totals);
    relay.restart_on_same_ports();
    // Workers reconnect and send what happened meanwhile.
    let end = now_s();
    let mut after: Vec<Frame> = Vec::new();
    for (category, name) in
        [("computation", "Check order"), ("start-to-end", "Orders"), ("node-ingress-egress", "worker-2")]
    {
        after.push(Frame::new("App", category, ["Orders", "worker-2", name], end).with(&[1 << 20; 7]));
    }
    let closing = Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], end + 1).with(&[5]);
    after.push(closing.lasting(10_000_000));
    let _open = send(&relay, &Oracle::new(&after));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    let all = Oracle { frames: [before.frames, after].concat() };
    wait_for_rows(&browser, "[data-testid=row]", &all, 300, totals);
    // Data that the relay lost is reported.
    eventually("the restart notice", || browser.text(".notes").contains("The relay restarted").then_some(()));
    assert_eq!(unexpected_console_errors(&browser), [] as [String; 0]);
}

#[test]
fn a_page_that_was_disconnected_too_long_shows_how_many_updates_it_missed() {
    // A ring of a few batches.
    let relay = relay(&["--ring-bytes", "1000"]);
    let proxy = Proxy::new(relay.http);
    let browser = Browser::start();
    browser.open(&format!("http://{}/#/applications/App/dashboard", proxy.address));
    let numbered = |number: u64| Frame::new("App", "computation", ["p", "w", "n"], now_s()).with(&[number]);
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered(1));
    eventually("a first row", || (browser.count("[data-testid=row]") > 0).then_some(()));
    proxy.disconnect();
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    eventually_is("viewers", &0, || relay.metric("joey_viewers"));
    for number in 2..=30 {
        producer.send(&numbered(number));
        // Each in its own batch, or nearly so.
        eventually("the next batch", || (relay.metric("joey_batches_total") >= number).then_some(()));
    }
    proxy.restore();
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    let missed =
        eventually("the relay counts the gap", || Some(relay.metric("joey_gap_updates_total")).filter(|&gap| gap > 0));
    eventually_is("the number of missed updates", &format!("missed {missed} updates"), || {
        browser.text("[data-testid=status] .dot + span")
    });
    eventually("the notice", || browser.text(".notes").contains(&format!("Missed {missed} updates")).then_some(()));
    // The updates that arrived and those reported missing add up to all.
    browser.click("[data-testid=row] a.row-link");
    eventually_is("the count", &(30 - missed).to_string(), || {
        browser.attribute(".figures [data-col=count]", "data-value")
    });
    assert_eq!(unexpected_console_errors(&browser), [] as [String; 0]);
}

/// Makes the page absent for ten seconds while updates arrive: afterwards nothing is missing, and nothing counts twice.
fn check_absence(leave: impl FnOnce(&Browser), come_back: impl FnOnce(&Browser)) {
    let relay = relay(&[]);
    let mut all = sample_data("App");
    let _open = send(&relay, &all);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let totals = |id: &joey_tests::oracle::ViewId| {
        ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
    };
    wait_for_rows(&browser, "[data-testid=row]", &all, 300, totals);
    leave(&browser);
    let mut producer = relay.producer("App", "worker-2");
    for _ in 0..5 {
        // The real time must pass here, so that the browser's own timeouts expire.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let end = now_s();
        let names = ["Orders", "worker-2", "Check order"];
        let closing = Frame::new("App", "computation", names, end + 1).with(&[5]).lasting(10_000_000);
        let frames = [Frame::new("App", "computation", names, end).with(&[1 << 20; 7]), closing];
        producer.send_all(&frames);
        all.frames.extend(frames);
    }
    relay.wait_for_accepted(all.frames.len() as u64);
    come_back(&browser);
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    wait_for_rows(&browser, "[data-testid=row]", &all, 300, totals);
    assert_eq!(relay.metric("joey_gap_updates_total"), 0);
    all.check(&relay.stats("App"));
}

#[test]
fn a_page_that_was_offline_has_all_data_afterwards() {
    let network = |offline: bool| {
        move |browser: &Browser| {
            browser.command("Network.enable", json!({}));
            let unlimited = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
            browser.command("Network.emulateNetworkConditions", unlimited);
        }
    };
    check_absence(network(true), network(false));
}

#[test]
fn a_page_that_was_frozen_has_all_data_afterwards() {
    let become_ =
        |browser: &Browser, state: &str| browser.command("Page.setWebLifecycleState", json!({"state": state}));
    check_absence(
        // A page is frozen only in the background, and is shown again when the user returns to it.
        |browser| {
            become_(browser, "frozen");
            browser.hide();
        },
        |browser| {
            browser.show();
            become_(browser, "active");
        },
    );
}

#[test]
fn a_browser_that_was_suspended_has_all_data_afterwards() {
    check_absence(|browser| browser.signal("STOP"), |browser| browser.signal("CONT"));
}

#[test]
fn a_page_behind_another_tab_has_all_data_afterwards() {
    // A window in front of it would have the same effect; a tab needs no screen.
    check_absence(|browser| browser.hide(), Browser::show);
}

#[test]
fn a_page_opened_before_its_relay_waits_for_it() {
    let mut relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    relay.kill();
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    browser.click("button.retry");
    relay.restart_on_same_ports();
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    assert_eq!(unexpected_console_errors(&browser), [] as [String; 0]);
}

#[test]
fn the_page_embedded_in_the_program_works() {
    let relay = joey_tests::Relay::start();
    let page = relay.get("/").2;
    if page.contains("built without its page") {
        // A plain `cargo build` omits the page and shows how to build it; a released program must contain it.
        assert!(page.contains("cargo xtask run") && std::env::var_os("JOEY_BIN").is_none(), "{page}");
        return;
    }
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    eventually_is("the empty page", &1, || browser.count("[data-testid=empty]"));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_relay_that_hangs_is_detected_by_its_missing_heartbeat() {
    let relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    relay.signal("STOP");
    // Its kernel still acknowledges data; only the heartbeat is missing.
    eventually_is("whether the page is still connected", &false, || state(&browser) == "connected");
    relay.signal("CONT");
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
}
