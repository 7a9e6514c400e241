//! Names are text: nothing in them is run, and every page can be reached whatever they hold.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, detail, escaped, now_s, relay, rows_are, send};

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
fn a_name_stays_text_and_leads_to_its_page() {
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
        // Typed into the address bar.
        browser.open(&address(&relay, &format!("/applications/{}/dashboard", escaped(name))));
        let totals = ["computation", "start-to-end", "node-ingress-egress", name];
        rows_are(&browser, "[data-testid=row]", &oracle, 300, |id| totals.contains(&id.0.as_str()));
        assert_eq!(browser.text("h1"), name);
        // Followed from a row, then reloaded, then back.
        for (kind, names) in oracle.expected(300, oracle.clock_ns()).into_keys() {
            if !totals.contains(&kind.as_str()) {
                continue;
            }
            let row = format!("[data-testid=row][data-kind={}] a.row-link", json!(kind));
            assert_eq!(browser.text(&row), name);
            browser.press(&row);
            let own = detail(name, &(kind.clone(), names));
            eventually_is("the address", &format!("#{own}"), || browser.ask_text("return location.hash", &[]));
            let heading = || browser.text("[data-testid=detail] h1");
            eventually_is("the heading", &name.to_owned(), heading);
            let _ = browser.ask("location.reload()", &[]);
            eventually_is("the heading after a reload", &name.to_owned(), heading);
            let _ = browser.ask("history.back()", &[]);
            eventually_is("the rows after going back", &4, || browser.count("[data-testid=row]"));
        }
        assert_eq!(browser.ask("return window.__xss ?? null", &[]), Value::Null, "{name}");
        assert_eq!(browser.count("img, script[src*=x], main script"), 0, "{name}");
    }
    // The list of all of them.
    browser.open(&address(&relay, "/"));
    eventually_is("applications", &(NAMES.len() as u64), || browser.count("[data-testid=application]"));
    browser.press("details.switcher summary");
    assert_eq!(browser.ask("return window.__xss ?? null", &[]), Value::Null);
    assert_eq!(browser.complaints(), [] as [String; 0]);
}
