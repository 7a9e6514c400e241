//! Several relays in one page: their data is merged exactly, and each has its own state, token and gaps.

use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::token::{self, OTHER_SECRET, SECRET, claims, hs256};
use joey_tests::{Frame, Nats, Oracle, Producer, Relay, S, eventually, eventually_is};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{address, escaped, relay, sample_data, send, wait_for_rows};

const TOTALS: [&str; 4] = ["start-to-end", "node-ingress-egress", "computation", "gc-pause"];

/// What the Tab, Return and Escape keys send.
pub(crate) const TAB: &str = "\u{e004}";
const RETURN: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";

fn totals(id: &ViewId) -> bool {
    TOTALS.contains(&id.0.as_str())
}

fn wait_for_status(browser: &Browser, words: &str) {
    eventually_is("the status", &words.to_owned(), || browser.text("[data-testid=status]"));
}

/// A relay that accepts the page of `host`.
pub(crate) fn other_relay(host: &Relay, arguments: &[&str]) -> Relay {
    let page = format!("http://{}", host.http);
    Relay::start_with(&[&["--origin", &page], arguments].concat())
}

/// The WebSocket address of a relay.
fn socket(relay: &Relay) -> String {
    format!("ws://{}/ws", relay.http)
}

/// The `relays` parameter for these relays.
pub(crate) fn list(relays: &[&Relay]) -> String {
    relays.iter().map(|relay| escaped(&socket(relay))).collect::<Vec<_>>().join(",")
}

/// Opens the settings with their key.
pub(crate) fn open_settings(browser: &Browser) {
    browser.type_into("body", ",");
    eventually("the settings", || (browser.count("dialog[open].settings") == 1).then_some(()));
}

/// Closes the dialog with Escape.
pub(crate) fn close_dialog(browser: &Browser) {
    browser.press_focused(ESCAPE);
    eventually_is("open dialogs", &0, || browser.count("dialog"));
}

/// Adds a relay in the settings, with the keyboard.
fn add(browser: &Browser, address: &str) {
    browser.type_into("#new-relay", &format!("{address}{RETURN}"));
    let script =
        "return [...document.querySelectorAll('[data-testid=relay-entry]')].map(row => row.textContent).join()";
    eventually(address, || browser.evaluate_text(script, &[]).contains(address).then_some(()));
}

/// The facts about one relay, behind the status.
fn facts(browser: &Browser, relay: &Relay) -> String {
    browser.text(&format!("[data-testid=relay][data-relay='{}']", relay.http))
}

/// The frames of `all`, dealt out to `parts` oracles. `sample_data` has six categories in turn; each part gets all of them.
pub(crate) fn deal(all: &Oracle, parts: usize) -> Vec<Oracle> {
    let part = |part| all.frames.iter().enumerate().filter(move |(at, _)| (at + at / 6) % parts == part);
    (0..parts).map(|at| Oracle { frames: part(at).map(|(_, frame)| frame.clone()).collect() }).collect()
}

#[test]
fn relays_that_are_added_with_the_keyboard_are_merged_exactly_and_stay() {
    let own = relay(&[]);
    let others = [other_relay(&own, &[]), other_relay(&own, &[])];
    let oracle = sample_data("App");
    let parts = deal(&oracle, 3);
    let _open: Vec<Producer> =
        [&own, &others[0], &others[1]].iter().zip(&parts).flat_map(|(relay, part)| send(relay, part)).collect();

    let browser = Browser::start();
    browser.open(&address(&own, "/applications/App/dashboard"));
    wait_for_status(&browser, "connected");
    wait_for_rows(&browser, "[data-testid=row]", &parts[0], 300, totals);
    open_settings(&browser);
    for relay in &others {
        add(&browser, &relay.http.to_string());
    }
    browser.save_screenshot("settings");
    close_dialog(&browser);
    wait_for_status(&browser, "3 of 3 relays");
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, totals);
    let in_address = || browser.evaluate_text("return location.hash", &[]);
    let shown = format!("#/applications/App/dashboard?relays={}", list(&[&own, &others[0], &others[1]]));
    assert_eq!(in_address(), shown);
    browser.click("[data-testid=status]");
    for relay in &others {
        eventually("round trip", || facts(&browser, relay).contains("Round trip").then_some(()));
        assert!(facts(&browser, relay).contains(&socket(relay)), "{}", facts(&browser, relay));
        assert!(facts(&browser, relay).contains("0 updates since"), "{}", facts(&browser, relay));
    }
    browser.save_screenshot("three-relays");

    // The settings and the address both bring them back.
    for hash in [shown.trim_start_matches('#'), "/applications/App/dashboard"] {
        browser.open("about:blank");
        browser.open(&address(&own, hash));
        wait_for_status(&browser, "3 of 3 relays");
        wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, totals);
        assert_eq!(in_address(), shown);
    }

    // A relay that is not used any more takes its data along. One that is removed is forgotten.
    open_settings(&browser);
    browser.click(&format!("[data-relay='{}'] input[type=checkbox]", socket(&others[0])));
    let of_two = Oracle { frames: [&parts[0].frames[..], &parts[2].frames].concat() };
    wait_for_rows(&browser, "[data-testid=row]", &of_two, 300, totals);
    browser.click(&format!("[data-relay='{}'] [aria-label^=Remove]", socket(&others[1])));
    eventually_is("relays in the list", &2, || browser.count("[data-testid=relay-entry]"));
    wait_for_rows(&browser, "[data-testid=row]", &parts[0], 300, totals);
    close_dialog(&browser);
    wait_for_status(&browser, "connected");
    assert_eq!(in_address(), "#/applications/App/dashboard");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_relay_that_dies_and_returns_affects_no_other_and_what_is_missing_is_said() {
    let own = relay(&[]);
    let mut other = other_relay(&own, &[]);
    let oracle = sample_data("App");
    let parts = deal(&oracle, 3);
    let _open = [send(&own, &parts[0]), send(&other, &parts[1])];
    let browser = Browser::start();
    browser.open(&address(&own, "/applications/App/dashboard"));
    open_settings(&browser);
    add(&browser, &other.http.to_string());
    close_dialog(&browser);
    wait_for_status(&browser, "2 of 2 relays");
    let mut so_far = Oracle { frames: [&parts[0].frames[..], &parts[1].frames].concat() };
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 300, totals);

    let viewers = own.metric("joey_subscriptions_total");
    other.kill();
    wait_for_status(&browser, "1 of 2 relays");
    assert_eq!(browser.attribute("[data-testid=status]", "data-state"), "reconnecting");
    let _open_too = send(&own, &parts[2]);
    so_far.frames.extend(parts[2].frames.iter().cloned());
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 300, totals);

    other.restart_on_same_ports();
    wait_for_status(&browser, "2 of 2 relays");
    let end_s = oracle.clock_ns() / S;
    let late = Frame::new("App", "computation", ["Orders", "initializer", "Check order"], end_s).with(&[7, 7, 7]);
    let _open_still = send(&other, &Oracle::new(std::slice::from_ref(&late)));
    so_far.frames.push(late);
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 300, totals);
    let lost = format!("{} restarted; what it alone held", other.http);
    eventually("the gap", || browser.text(".notes").contains(&lost).then_some(()));
    browser.click("[data-testid=status]");
    eventually("a lost connection", || facts(&browser, &other).contains("1 connections").then_some(()));
    assert!(facts(&browser, &own).contains("0 connections"), "{}", facts(&browser, &own));
    assert_eq!(own.metric("joey_subscriptions_total"), viewers, "the other connection stays");
}

#[test]
fn the_same_log_through_two_relays_of_a_cluster_counts_once() {
    let nats = Nats::start();
    let own = relay(&["--nats", &nats.url()]);
    let mut other = other_relay(&own, &["--nats", &nats.url()]);
    for relay in [&own, &other] {
        relay.wait_for_relays(2);
    }
    let all = sample_data("App");
    let parts = deal(&all, 3);
    let _open = [send(&own, &parts[0]), send(&other, &parts[1])];
    let browser = Browser::start();
    browser.open(&address(&own, "/applications/App/dashboard?w=3600"));
    open_settings(&browser);
    add(&browser, &other.http.to_string());
    close_dialog(&browser);
    wait_for_status(&browser, "2 of 2 relays");
    let mut so_far = Oracle { frames: [&parts[0].frames[..], &parts[1].frames].concat() };
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 3_600, totals);
    let (first, last) = parts[2].frames.split_at(parts[2].frames.len() / 2);
    let _open_too = send(&other, &Oracle { frames: first.to_vec() });
    so_far.frames.extend(first.iter().cloned());
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 3_600, totals);
    assert_eq!(browser.count(".note.lost"), 0, "{}", browser.text(".notes"));
    // One relay of the two is enough.
    other.kill();
    wait_for_status(&browser, "1 of 2 relays");
    let _open_still = send(&own, &Oracle { frames: last.to_vec() });
    wait_for_rows(&browser, "[data-testid=row]", &all, 3_600, totals);
}

#[test]
fn each_relay_gets_its_own_token_and_no_other() {
    let folder = TempDir::new().expect("a key can be written");
    let [key, other_key] =
        [("key", SECRET), ("other", OTHER_SECRET)].map(|(name, secret)| token::key_file(folder.path(), name, secret));
    let own = relay(&["--token-key", &key]);
    let other = other_relay(&own, &["--token-key", &other_key]);
    let oracle = sample_data("App");
    let parts = deal(&oracle, 2);
    let _open = [send(&own, &parts[0]), send(&other, &parts[1])];
    let tokens = [SECRET, OTHER_SECRET].map(|secret| hs256(secret, &claims(json!({}))));
    let browser = Browser::start();
    browser.open(&address(&own, &format!("/applications/App/dashboard?token={}", tokens[0])));
    wait_for_status(&browser, "connected");
    open_settings(&browser);
    add(&browser, &other.http.to_string());
    // It gets no token, not even a wrong one.
    wait_for_status(&browser, "1 of 2 relays; no token");
    let row = format!("[data-relay='{}']", socket(&other));
    browser.type_into(&format!("{row} [type=password]"), &format!("{}{RETURN}", tokens[1]));
    wait_for_status(&browser, "2 of 2 relays");
    browser.click(&format!("{row} [aria-label^=Test]"));
    eventually("the test", || browser.text(&format!("{row} .result")).contains("It works: release").then_some(()));
    close_dialog(&browser);
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, totals);
    let seen = browser.evaluate_text("return location.href + JSON.stringify(localStorage)", &[]);
    assert!(tokens.iter().all(|token| !seen.contains(token.as_str())), "{seen}");
    let _ = browser.evaluate("location.reload()", &[]);
    wait_for_status(&browser, "2 of 2 relays");
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, totals);

    // A link that adds an address to a relay makes another relay, which gets no stored token.
    let thief = other_relay(&own, &["--token-key", &key]);
    let both = escaped(&format!("{} {}", socket(&thief), socket(&own)));
    browser.open("about:blank");
    browser.open(&address(&own, &format!("/?relays={}", both)));
    browser.click("[data-testid=accept-relays]");
    wait_for_status(&browser, "no token");
    assert_eq!(thief.closed("invalid_token"), 0);
}

#[test]
fn a_link_with_an_unknown_relay_asks_first() {
    let own = relay(&[]);
    let other = other_relay(&own, &[]);
    let oracle = sample_data("App");
    let parts = deal(&oracle, 2);
    let _open = [send(&own, &parts[0]), send(&other, &parts[1])];
    let hash = format!("/applications/App/dashboard?relays={}", list(&[&own, &other]));
    let browser = Browser::start();
    let in_address = || browser.evaluate_text("return location.hash", &[]);
    browser.open(&address(&own, &hash));
    eventually_is("the question", &1, || browser.count("dialog[open].ask"));
    assert!(browser.text("dialog.ask").contains(&socket(&other)));
    assert!(!browser.text("dialog.ask").contains(&socket(&own)), "the page's own relay is known");
    browser.save_screenshot("relay-question");
    // The known relay is used already.
    wait_for_rows(&browser, "[data-testid=row]", &parts[0], 300, totals);
    assert_eq!((other.metric("joey_viewers"), other.metric("joey_subscriptions_total")), (0, 0));
    browser.press_focused(ESCAPE);
    eventually_is("the question", &0, || browser.count("dialog"));
    assert_eq!(in_address(), "#/applications/App/dashboard");
    assert_eq!(other.metric("joey_subscriptions_total"), 0);

    // The same link again, in the open page. This time the answer is yes: Tab goes to the other button.
    browser.go_to(&hash);
    eventually_is("the question", &1, || browser.count("dialog[open].ask"));
    browser.press_focused(TAB);
    browser.press_focused(RETURN);
    wait_for_status(&browser, "2 of 2 relays");
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, totals);
    assert_eq!(in_address(), format!("#{hash}"));
    // From now on it is known.
    let _ = browser.evaluate("location.reload()", &[]);
    wait_for_status(&browser, "2 of 2 relays");
    assert_eq!(browser.count("dialog"), 0);
}
