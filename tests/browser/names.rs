//! Names are text: no part of them is executed, and every page can be opened whatever they contain.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, detail, escaped, now_s, relay, send, wait_for_rows};

const NAMES: [&str; 7] = [
    "<img src=x onerror=window.__xss=1>",
    "\"><script>window.__xss=1</script>",
    "'-window.__xss=1-'{{window.__xss=1}}",
    "a/b?c#d e%20f:g@h*i&j=k",
    "../dashboard",
    "Décodage · 解码 🚀 مرحبا",
    "javascript:window.__xss=1",
];

#[test]
fn a_name_stays_text_and_links_to_its_page() {
    let relay = relay(&[]);
    let browser = Browser::start();
    for (at, name) in NAMES.into_iter().enumerate() {
        let end = now_s() - 2;
        let frame =
            |category: &str, end_s| Frame::new(name, category, [name, name, name], end_s).with(&[1 << (10 + at); 3]);
        let categories = ["computation", "start-to-end", "node-ingress-egress", "pipeline-ingestion", name];
        let mut frames: Vec<Frame> = categories.map(|category| frame(category, end)).into();
        frames.push(frame("computation", end + 1).lasting(10_000_000));
        let oracle = Oracle { frames };
        let _open = send(&relay, &oracle);
        // Entered in the address bar.
        browser.open(&address(&relay, &format!("/applications/{}/dashboard", escaped(name))));
        let totals = ["computation", "start-to-end", "node-ingress-egress", name];
        wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, |id| totals.contains(&id.0.as_str()));
        assert_eq!(browser.text("h1"), name);
        // Open a row's link, reload, go back.
        for (kind, names) in oracle.expected(300, oracle.clock_ns()).into_keys() {
            if !totals.contains(&kind.as_str()) {
                continue;
            }
            let row = format!("[data-testid=row][data-kind={}] a.row-link", json!(kind));
            assert_eq!(browser.text(&row), name);
            browser.click(&row);
            let own = detail(name, &(kind.clone(), names));
            eventually_is("the address", &format!("#{own}"), || browser.evaluate_text("return location.hash", &[]));
            let heading = || browser.text("[data-testid=detail] h1");
            eventually_is("the heading", &name.to_owned(), heading);
            let _ = browser.evaluate("location.reload()", &[]);
            eventually_is("the heading after a reload", &name.to_owned(), heading);
            let _ = browser.evaluate("history.back()", &[]);
            eventually_is("the rows after going back", &4, || browser.count("[data-testid=row]"));
        }
        assert_eq!(browser.evaluate("return window.__xss ?? null", &[]), Value::Null, "{name}");
        assert_eq!(browser.count("img, script[src*=x], main script"), 0, "{name}");
    }
    // The list of all applications.
    browser.open(&address(&relay, "/"));
    eventually_is("applications", &(NAMES.len() as u64), || browser.count("[data-testid=application]"));
    browser.click("details.switcher summary");
    assert_eq!(browser.evaluate("return window.__xss ?? null", &[]), Value::Null);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
