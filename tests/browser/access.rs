//! A page whose relay asks for tokens: it takes one from its address, keeps it to itself, and says what it lacks.

use joey_tests::browser::Browser;
use joey_tests::token::{self, OTHER_SECRET, SECRET, claims, hs256};
use joey_tests::{eventually, eventually_is};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{address, relay, send, world};

fn state(browser: &Browser) -> String {
    browser.attribute("[data-testid=status]", "data-state")
}

fn is_connected(browser: &Browser) {
    eventually_is("the state", &"connected".to_owned(), || state(browser));
}

fn says(browser: &Browser, words: &str) {
    eventually(words, || browser.text("body").contains(words).then_some(()));
}

#[test]
fn a_token_in_the_address_lets_the_page_in_and_is_gone_from_it_at_once() {
    let folder = TempDir::new().expect("there is room for a key");
    let relay = relay(&["--token-key", &token::key_file(folder.path(), "key", SECRET)]);
    let _open = [send(&relay, &world("App")), send(&relay, &world("Other"))];
    let token = |apps: &[&str]| hs256(SECRET, &claims(json!({"apps": apps})));
    let browser = Browser::start();
    let apps = || browser.count("[data-testid=application]");
    let bar = || browser.ask_text("return location.href", &[]);
    let nowhere = |token: &str| {
        let signature = token.rsplit('.').next().expect("it is signed");
        let seen = browser.ask_text("return location.href + document.documentElement.outerHTML", &[]);
        assert!(!seen.contains(signature) && !seen.contains("token="), "{}", bar());
    };

    browser.open(&address(&relay, "/"));
    says(&browser, "asks for a token, and this page has none");
    assert_eq!((state(&browser), apps()), ("stopped".to_owned(), 0));

    // Given while the page is open.
    let first = token(&["App"]);
    browser.go(&format!("token={first}"));
    is_connected(&browser);
    eventually_is("applications", &1, apps);
    nowhere(&first);
    // A page that is loaded anew still has it; its history has it not.
    let _ = browser.ask("location.reload()", &[]);
    is_connected(&browser);
    eventually_is("applications", &1, apps);
    nowhere(&first);

    // A newer one takes its place without a break, wherever the page is.
    browser.go("/applications/App/dashboard");
    eventually("rows", || (browser.count("[data-testid=row]") > 0).then_some(()));
    let second = token(&["App", "Other"]);
    let before = relay.metric("joey_subscriptions_total");
    browser.go(&format!("token={second}"));
    eventually_is("the address", &address(&relay, "/applications/App/dashboard"), bar);
    nowhere(&second);
    assert_eq!(relay.metric("joey_subscriptions_total"), before);
    browser.go("/");
    eventually_is("applications", &2, apps);

    // One that is not good is said to be so, and a good one mends it.
    browser.go(&format!("token={}", hs256(OTHER_SECRET, &claims(json!({})))));
    says(&browser, "has expired, or this relay does not accept it");
    assert_eq!(state(&browser), "stopped");
    browser.go(&format!("/applications/Other/dashboard?w=60&token={second}"));
    is_connected(&browser);
    eventually("rows", || (browser.count("[data-testid=row]") > 0).then_some(()));
    eventually_is("the address", &address(&relay, "/applications/Other/dashboard?w=60"), bar);

    // A link that brings one works at once, in a tab of its own.
    let other = Browser::start();
    other.open(&address(&relay, &format!("/applications/App/dashboard?token={first}")));
    eventually("rows", || (other.count("[data-testid=row]") > 0).then_some(()));
    assert_eq!(other.ask_text("return location.href", &[]), address(&relay, "/applications/App/dashboard"));
    assert_eq!(other.complaints(), [] as [String; 0]);
}
