//! A page whose relay requires tokens: it takes one from its address, removes it from there, and reports a missing or
//! invalid one.

use joey_tests::browser::Browser;
use joey_tests::token::{self, OTHER_SECRET, SECRET, claims, hs256};
use joey_tests::{eventually, eventually_is};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{address, relay, sample_data, send};

fn state(browser: &Browser) -> String {
    browser.attribute("[data-testid=status]", "data-state")
}

fn wait_until_connected(browser: &Browser) {
    eventually_is("the state", &"connected".to_owned(), || state(browser));
}

fn shows_text(browser: &Browser, text: &str) {
    eventually(text, || browser.text("body").contains(text).then_some(()));
}

#[test]
fn a_token_in_the_address_authenticates_the_page_and_is_removed_at_once() {
    let folder = TempDir::new().expect("a key can be written");
    let relay = relay(&["--token-key", &token::key_file(folder.path(), "key", SECRET)]);
    let _open = [send(&relay, &sample_data("App")), send(&relay, &sample_data("Other"))];
    let token = |apps: &[&str]| hs256(SECRET, &claims(json!({"apps": apps})));
    let browser = Browser::start();
    let apps = || browser.count("[data-testid=application]");
    let address_bar = || browser.evaluate_text("return location.href", &[]);
    let check_token_removed = |token: &str| {
        let signature = token.rsplit('.').next().expect("it is signed");
        let seen = browser.evaluate_text("return location.href + document.documentElement.outerHTML", &[]);
        assert!(!seen.contains(signature) && !seen.contains("token="), "{}", address_bar());
    };

    browser.open(&address(&relay, "/"));
    shows_text(&browser, "asks for a token, and this page has none");
    assert_eq!((state(&browser), apps()), ("stopped".to_owned(), 0));

    // A token is entered while the page is open.
    let first = token(&["App"]);
    browser.go_to(&format!("token={first}"));
    wait_until_connected(&browser);
    eventually_is("applications", &1, apps);
    check_token_removed(&first);
    // A reloaded page still has it, but the browser's history does not contain it.
    let _ = browser.evaluate("location.reload()", &[]);
    wait_until_connected(&browser);
    eventually_is("applications", &1, apps);
    check_token_removed(&first);

    // A newer token replaces it without a reconnect, on any page.
    browser.go_to("/applications/App/dashboard");
    eventually("rows", || (browser.count("[data-testid=row]") > 0).then_some(()));
    let second = token(&["App", "Other"]);
    let before = relay.metric("joey_subscriptions_total");
    browser.go_to(&format!("token={second}"));
    eventually_is("the address", &address(&relay, "/applications/App/dashboard"), address_bar);
    check_token_removed(&second);
    assert_eq!(relay.metric("joey_subscriptions_total"), before);
    browser.go_to("/");
    eventually_is("applications", &2, apps);

    // The page reports an invalid token, and a valid one replaces it.
    browser.go_to(&format!("token={}", hs256(OTHER_SECRET, &claims(json!({})))));
    shows_text(&browser, "has expired, or this relay does not accept it");
    assert_eq!(state(&browser), "stopped");
    browser.go_to(&format!("/applications/Other/dashboard?w=60&token={second}"));
    wait_until_connected(&browser);
    eventually("rows", || (browser.count("[data-testid=row]") > 0).then_some(()));
    eventually_is("the address", &address(&relay, "/applications/Other/dashboard?w=60"), address_bar);

    // A link with a token works at once, in a separate tab.
    let other = Browser::start();
    other.open(&address(&relay, &format!("/applications/App/dashboard?token={first}")));
    eventually("rows", || (other.count("[data-testid=row]") > 0).then_some(()));
    assert_eq!(other.evaluate_text("return location.href", &[]), address(&relay, "/applications/App/dashboard"));
    assert_eq!(other.console_errors(), [] as [String; 0]);
}
