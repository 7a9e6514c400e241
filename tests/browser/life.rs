//! The page over time: before there is data, while the relay is away, and after.

use joey_tests::browser::Browser;
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Oracle, eventually, eventually_is};
use serde_json::json;

use crate::page::{address, now_s, relay, rows_are, send, world};

fn state(browser: &Browser) -> String {
    browser.attribute("[data-testid=status]", "data-state")
}

/// What a browser says about a relay that is not there; all else is the page's own fault.
fn complaints_but_for_the_socket(browser: &Browser) -> Vec<String> {
    let complaints = browser.complaints().into_iter();
    // After a WebSocket that failed the page asks its relay why.
    let is_socket = |complaint: &String| complaint.contains("WebSocket connection to") || complaint.contains("/ws - ");
    complaints.filter(|complaint| !is_socket(complaint)).collect()
}

#[test]
fn without_data_the_page_says_what_to_do_next() {
    let relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    eventually_is("the line", &format!("--metrics 127.0.0.1:{}", relay.ingest.port()), || {
        browser.text("[data-testid=producer-line]")
    });
    assert_eq!(browser.count("[data-testid=empty]"), 1);
    // Then somebody does it.
    let oracle = world("App");
    let _open = send(&relay, &oracle);
    eventually_is("applications", &1, || browser.count("[data-testid=application][data-app=App]"));
    assert_eq!(browser.count("[data-testid=empty]"), 0);
    browser.open(&address(&relay, "/applications/Nobody/dashboard"));
    eventually_is("a word about an unknown application", &1, || browser.count("[data-testid=empty]"));
    browser.go("/no/such/page");
    eventually("a word about an unknown page", || browser.text("main").contains("no such page").then_some(()));
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[test]
fn the_page_outlives_its_relay_and_adds_what_comes_after() {
    let mut relay = relay(&[]);
    let before = world("App");
    let open = send(&relay, &before);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let totals = |id: &joey_tests::oracle::ViewId| {
        ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
    };
    rows_are(&browser, "[data-testid=row]", &before, 300, totals);
    relay.kill();
    drop(open);
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    eventually("how long until the next attempt", || {
        browser.text("[data-testid=status]").contains("reconnecting in").then_some(())
    });
    // What was there stays while nobody is.
    rows_are(&browser, "[data-testid=row]", &before, 300, totals);
    relay.restart_on_same_ports();
    // Workers come back with what happened meanwhile.
    let end = now_s();
    let mut after: Vec<Frame> = Vec::new();
    for (category, name) in
        [("computation", "Check order"), ("start-to-end", "Orders"), ("node-ingress-egress", "worker-2")]
    {
        after.push(Frame::new("App", category, ["Orders", "worker-2", name], end).with(&[1 << 20; 7]));
    }
    let closing = Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], end + 1).with(&[5]);
    after.push(closing.lasting(10_000_000));
    let _open = send(&relay, &Oracle::of(&after));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    let all = Oracle { frames: [before.frames, after].concat() };
    rows_are(&browser, "[data-testid=row]", &all, 300, totals);
    // What nobody kept is named, not passed over.
    eventually("what was missed", || browser.text(".notes").contains("The relay restarted").then_some(()));
    assert_eq!(complaints_but_for_the_socket(&browser), [] as [String; 0]);
}

#[test]
fn a_page_that_was_cut_off_too_long_says_how_many_updates_it_missed() {
    // A ring of a few batches.
    let relay = relay(&["--ring-bytes", "1000"]);
    let wire = Proxy::to(relay.http);
    let browser = Browser::start();
    browser.open(&format!("http://{}/#/applications/App/dashboard", wire.address));
    let numbered = |number: u64| Frame::new("App", "computation", ["p", "w", "n"], now_s()).with(&[number]);
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered(1));
    eventually("a first row", || (browser.count("[data-testid=row]") > 0).then_some(()));
    wire.cut();
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    eventually_is("viewers", &0, || relay.metric("joey_viewers"));
    for number in 2..=30 {
        producer.send(&numbered(number));
        // Each in a batch of its own, or nearly so.
        eventually("the next batch", || (relay.metric("joey_batches_total") >= number).then_some(()));
    }
    wire.mend();
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    let missed =
        eventually("the relay notices", || Some(relay.metric("joey_gap_updates_total")).filter(|&gap| gap > 0));
    eventually_is("what was missed", &format!("missed {missed} updates"), || {
        browser.text("[data-testid=status] [role=status]")
    });
    eventually("the note", || browser.text(".notes").contains(&format!("Missed {missed} updates")).then_some(()));
    // What came and what is named as missing is everything.
    browser.press("[data-testid=row] a.row-link");
    eventually_is("the count", &(30 - missed).to_string(), || {
        browser.attribute(".figures [data-col=count]", "data-value")
    });
    assert_eq!(complaints_but_for_the_socket(&browser), [] as [String; 0]);
}

/// The page is away for ten seconds in which updates come, and back: nothing is missing, and nothing counts twice.
fn check_absence(leave: impl FnOnce(&Browser), come_back: impl FnOnce(&Browser)) {
    let relay = relay(&[]);
    let mut all = world("App");
    let _open = send(&relay, &all);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let totals = |id: &joey_tests::oracle::ViewId| {
        ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
    };
    rows_are(&browser, "[data-testid=row]", &all, 300, totals);
    leave(&browser);
    let mut producer = relay.producer("App", "worker-2");
    for _ in 0..5 {
        // Time is what passes here: whatever the browser gives up after a while, it is to give up.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let end = now_s();
        let names = ["Orders", "worker-2", "Check order"];
        let closing = Frame::new("App", "computation", names, end + 1).with(&[5]).lasting(10_000_000);
        let frames = [Frame::new("App", "computation", names, end).with(&[1 << 20; 7]), closing];
        producer.send_all(&frames);
        all.frames.extend(frames);
    }
    relay.accepts(all.frames.len() as u64);
    come_back(&browser);
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    rows_are(&browser, "[data-testid=row]", &all, 300, totals);
    assert_eq!(relay.metric("joey_gap_updates_total"), 0);
    all.check(&relay.stats("App"));
}

#[test]
fn a_page_that_was_offline_is_whole_again_afterwards() {
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
fn a_page_that_was_frozen_is_whole_again_afterwards() {
    let become_ =
        |browser: &Browser, state: &str| browser.command("Page.setWebLifecycleState", json!({"state": state}));
    check_absence(
        // A page is frozen behind others only, and comes to the front when somebody returns to it.
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
fn a_browser_that_slept_is_whole_again_afterwards() {
    check_absence(|browser| browser.signal("STOP"), |browser| browser.signal("CONT"));
}

#[test]
fn a_page_behind_another_tab_is_whole_again_afterwards() {
    // A window in front of it would do the same; a tab needs no screen.
    check_absence(|browser| browser.hide(), Browser::show);
}

#[test]
fn a_page_that_is_opened_before_its_relay_waits_for_it() {
    let mut relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    relay.kill();
    eventually_is("the state", &"reconnecting".to_owned(), || state(&browser));
    browser.press("button.retry");
    relay.restart_on_same_ports();
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    assert_eq!(complaints_but_for_the_socket(&browser), [] as [String; 0]);
}

#[test]
fn the_page_inside_the_program_works_as_well() {
    let relay = joey_tests::Relay::start();
    let page = relay.get("/").2;
    if page.contains("built without its page") {
        // A plain `cargo build` leaves it out, and says what to do; the program that is released must have it.
        assert!(page.contains("cargo xtask run") && std::env::var_os("JOEY_BIN").is_none(), "{page}");
        return;
    }
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    eventually_is("the empty page", &1, || browser.count("[data-testid=empty]"));
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[test]
fn a_relay_that_hangs_is_noticed_by_its_silence() {
    let relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
    relay.signal("STOP");
    // Its kernel still answers for it; only the heartbeat is missing.
    eventually_is("whether the page has noticed", &false, || state(&browser) == "connected");
    relay.signal("CONT");
    eventually_is("the state", &"connected".to_owned(), || state(&browser));
}
