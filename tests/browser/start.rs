//! The page before it runs, where it cannot run, and after other software has changed it.

use std::path::Path;

use joey_tests::browser::{Browser, page_arguments};
use joey_tests::{Frame, Relay, S, eventually, eventually_is, now_ns};
use serde_json::json;
use tempfile::TempDir;

use crate::page::{address, relay};

/// A copy of the built page in a temporary folder, and a relay that serves it.
fn copied() -> (TempDir, Relay) {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let built = page_arguments().pop().expect("the last word is the folder");
    for file in std::fs::read_dir(built).expect("there is a page").map_while(Result::ok) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("a temporary folder can be written");
    }
    let relay = Relay::start_with(&["--ui-dir", folder.path().to_str().expect("its name is text")]);
    (folder, relay)
}

/// Renames the program's file in `folder` that ends in `from`, so that it ends in `to`.
fn rename(folder: &Path, from: &str, to: &str) {
    let mut files = std::fs::read_dir(folder).expect("it is there").map_while(Result::ok);
    let is_wanted = |name: &str| name.starts_with("joey-ui-") && name.ends_with(from);
    let file = files.find(|file| is_wanted(&file.file_name().to_string_lossy())).expect("there is such a file");
    let name = file.file_name().to_string_lossy().replace(from, to);
    std::fs::rename(file.path(), folder.join(name)).expect("it belongs to this test");
}

#[test]
fn a_page_with_missing_files_reports_it_and_recovers_after_a_reload() {
    for kind in [".wasm", ".js"] {
        let (folder, relay) = copied();
        rename(folder.path(), kind, ".gone");
        let browser = Browser::start();
        browser.open(&address(&relay, "/"));
        eventually("the message", || {
            browser.text("#starting").contains("a file of this page is missing").then_some(())
        });
        browser.save_screenshot(&format!("cannot-start{}", kind.replace('.', "-")));
        rename(folder.path(), ".gone", kind);
        browser.click("#starting button");
        eventually_is("the page", &"connected".to_owned(), || browser.text("[data-testid=status]"));
        assert_eq!(browser.count("#starting"), 0);
    }
}

#[test]
fn a_browser_without_webassembly_shows_a_message() {
    let relay = relay(&[]);
    let browser = Browser::start();
    let source = json!({"source": "delete globalThis.WebAssembly"});
    browser.command("Page.addScriptToEvaluateOnNewDocument", source);
    browser.open(&address(&relay, "/"));
    eventually("the message", || browser.text("#starting").contains("does not run WebAssembly").then_some(()));
}

/// Does what a page translation does, and more: replaces every text by an element with other text, ignoring all
/// attributes.
const SWAP: &str = "
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
    while (walker.nextNode()) if (walker.currentNode.data.trim()) texts.push(walker.currentNode);
    for (const text of texts) {
        const outer = document.createElement('font'), inner = document.createElement('font');
        inner.textContent = '«' + text.data + '»';
        outer.append(inner);
        text.replaceWith(outer);
    }
    return [texts.length, document.querySelector('button.time').textContent];";

#[test]
fn a_page_whose_texts_were_replaced_keeps_updating() {
    let mut relay = relay(&[]);
    let mut producer = relay.producer("App", "w");
    let mut count = 0;
    let mut send = || {
        count += 1;
        let values = vec![1_000; 10 * count];
        producer.send(&Frame::new("App", "computation", ["p", "w", "n"], now_ns() / S).with(&values).lasting(S));
    };
    send();
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard?w=10"));
    eventually_is("rows", &1, || browser.count("[data-testid=row]"));
    let _ = browser.evaluate("window.errors = []; addEventListener('error', event => errors.push(event.message))", &[]);
    for _ in 0..3 {
        // The clock is read by the same script, before it changes again.
        let swapped = browser.evaluate(SWAP, &[]);
        assert!(
            swapped[0].as_u64() > Some(20) && swapped[1].as_str().is_some_and(|clock| clock.contains('«')),
            "{swapped}"
        );
        let before = (browser.text("button.time"), browser.text("main"));
        send();
        eventually("the clock and the numbers update", || {
            let now = (browser.text("button.time"), browser.text("main"));
            (now.0 != before.0 && !now.0.contains('«') && now.1 != before.1).then_some(())
        });
        // No text appears twice: the inserted elements are gone.
        assert_eq!(browser.count("button.time font"), 0);
    }
    relay.kill();
    eventually("the status updates", || browser.text("[data-testid=status]").contains("reconnecting").then_some(()));
    let errors = browser.evaluate("return errors", &[]);
    assert_eq!(errors, json!([]));
    assert_eq!(browser.attribute("[data-testid=row] [dir=auto]", "translate"), "no", "names are not to be translated");
}

#[test]
fn each_timestamp_is_shown_with_its_own_utc_offset() {
    // Berlin, 2026-10-25: at 01:00 UTC, 03:00 became 02:00. Both half an hour before and half an hour after, the time
    // was 02:30.
    const CHANGE_S: u64 = 1_792_890_000;
    let relay = relay(&[]);
    let frames: Vec<Frame> = (0..=360)
        .map(|at| {
            let end_s = CHANGE_S - 1_800 + 10 * at;
            Frame::new("App", "computation", ["p", "w", "n"], end_s).with(&[1_000]).lasting(10 * S)
        })
        .collect();
    relay.producer("App", "w").send_all(&frames);
    relay.wait_for_accepted(361);
    let browser = Browser::start();
    browser.command("Emulation.setTimezoneOverride", json!({"timezoneId": "Europe/Berlin"}));
    let source = "window.written = new Map(); const of = CanvasRenderingContext2D.prototype, fill = of.fillText;
        of.fillText = function (text, x) { if (/^\\d\\d:\\d\\d$/.test(text)) written.set(Math.round(x), text);
        return fill.apply(this, arguments); }";
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": source}));
    browser.open(&address(&relay, "/applications/App/computation/n?w=3600"));
    let labels = eventually("the axis has labels", || {
        let labels = browser.evaluate("return [...written].sort((a, b) => a[0] - b[0]).map(label => label[1])", &[]);
        labels.as_array().filter(|labels| labels.len() > 3).cloned()
    });
    let labels: Vec<&str> = labels.iter().filter_map(serde_json::Value::as_str).collect();
    assert!(labels[0].starts_with("02:3") || labels[0].starts_with("02:4"), "{labels:?}");
    assert!(labels.contains(&"02:00") && !labels.iter().any(|label| label.starts_with("01:")), "{labels:?}");
    assert!(!labels.iter().any(|label| label.starts_with("03:")), "{labels:?}");
}
