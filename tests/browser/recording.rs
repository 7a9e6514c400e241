//! Recordings: what was recorded in one tab is shown in another one without a relay, with the same numbers.

use std::collections::BTreeMap;

use joey_tests::browser::{Browser, page_arguments};
use joey_tests::nginx::Nginx;
use joey_tests::oracle::{ViewId, by_id};
use joey_tests::{Frame, Oracle, S, eventually, eventually_is, joey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page::{address, detail, now_s, read, relay, sample_data, send, wait_for_rows};
use crate::relays::{deal, list, other_relay};

const ROWS: &str = "[data-testid=row]";
const DASHBOARD: &str = "/applications/App/dashboard";

/// A server of the page's files. It has no relay.
pub(crate) fn static_host() -> Nginx {
    let dist = page_arguments().pop().expect("the page is built");
    let types = "types { text/html html; text/css css; text/javascript js; application/wasm wasm; }";
    Nginx::start(&format!("location / {{ root {dist}; {types} }}"))
}

/// The number of events of each view.
fn counts(views: &BTreeMap<ViewId, Value>) -> BTreeMap<ViewId, Value> {
    views.iter().map(|(id, view)| (id.clone(), view["count"].clone())).collect()
}

fn totals(id: &ViewId) -> bool {
    ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
}

/// Keeps the files that the page saves in `saved` instead of downloading them.
pub(crate) const CATCH: &str = "
    window.saved = [];
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => { saved.push({blob}); return make.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { saved.at(-1).name = this.download; };";

/// The name and the bytes of the last saved file.
fn saved(browser: &Browser) -> (String, Vec<u8>) {
    let start = "
        window.bytes = null;
        if (saved.length) saved.at(-1).blob.arrayBuffer().then(buffer => { window.bytes = [...new Uint8Array(buffer)]; });
        return saved.at(-1)?.name ?? ''";
    let name =
        eventually("a file is saved", || Some(browser.evaluate_text(start, &[])).filter(|name| !name.is_empty()));
    let bytes = eventually("its bytes", || {
        browser
            .evaluate("return window.bytes", &[])
            .as_array()
            .map(|bytes| bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect::<Vec<u8>>())
    });
    (name, bytes)
}

/// Records the dashboard of `App` while `more` is sent, and returns the file.
pub(crate) fn record(first: &Oracle, more: &Oracle) -> (String, Vec<u8>) {
    let relay = relay(&[]);
    let _open = send(&relay, first);
    let browser = Browser::start();
    browser.open(&address(&relay, DASHBOARD));
    wait_for_rows(&browser, ROWS, first, 300, totals);
    let _ = browser.evaluate(CATCH, &[]);
    browser.click("[data-testid=record]");
    eventually_is("it records", &"true".to_owned(), || browser.attribute("[data-testid=record]", "aria-pressed"));
    let _open = send(&relay, more);
    let all = Oracle { frames: [first.frames.clone(), more.frames.clone()].concat() };
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    // Leaving the page does not end the recording.
    browser.go_to("/");
    eventually("time and size", || browser.text("[data-testid=record]").ends_with(" MB").then_some(()));
    browser.click("[data-testid=record]");
    let file = saved(&browser);
    eventually_is("it is over", &"Record".to_owned(), || browser.text("[data-testid=record]"));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
    file
}

/// Five minutes, and the frames after them.
pub(crate) fn sample() -> (Oracle, Oracle) {
    let first = sample_data("App");
    let end_s = first.clock_ns() / S;
    let durations: Vec<u64> = (0..50).map(|at| 40_000 << (at % 7)).collect();
    let frame = |end_s| Frame::new("App", "computation", ["Orders", "worker-2", "Check order"], end_s).with(&durations);
    let last = frame(end_s + 1).lasting(S / 100);
    (first, Oracle { frames: vec![frame(end_s), frame(end_s + 1).lasting(S), last] })
}

pub(crate) fn open(browser: &Browser, folder: &TempDir, name: &str, bytes: &[u8]) {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a temporary folder can be written");
    browser.type_into("#open-recording", &path.display().to_string());
}

/// The sums of the counts of two reports.
fn added(mut counts: BTreeMap<ViewId, Value>, other: BTreeMap<ViewId, Value>) -> BTreeMap<ViewId, Value> {
    for (id, count) in other {
        let sum = count.as_u64().unwrap_or(0) + counts.get(&id).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(id, sum.into());
    }
    counts
}

/// What `joey stats App --json` prints with these arguments.
fn stats_of(arguments: &[&str]) -> BTreeMap<ViewId, Value> {
    let stats = joey(&[&["stats", "App", "--json"], arguments].concat());
    assert_eq!(stats.code, 0, "{}", stats.err);
    counts(&by_id(&serde_json::from_str(&stats.out).expect("it prints JSON")))
}

#[test]
fn a_recording_of_two_relays_has_their_sums_on_a_page_without_a_relay() {
    let (first, more) = sample();
    let parts = deal(&first, 2);
    let own = relay(&[]);
    let other = other_relay(&own, &[]);
    let _open = [send(&own, &parts[0]), send(&other, &parts[1])];
    let (folder, browser) = (TempDir::new().expect("a folder"), Browser::start());
    browser.open(&address(&own, &format!("{DASHBOARD}?relays={}", list(&[&own, &other]))));
    eventually("the question", || (browser.count("[data-testid=accept-relays]") == 1).then_some(()));
    browser.click("[data-testid=accept-relays]");
    wait_for_rows(&browser, ROWS, &first, 300, totals);
    let _ = browser.evaluate(CATCH, &[]);
    // By keyboard.
    browser.press_focused("R");
    eventually_is("it records", &"true".to_owned(), || browser.attribute("[data-testid=record]", "aria-pressed"));
    let _open_too = [send(&own, &more), send(&other, &more)];
    let all = Oracle { frames: [&first.frames[..], &more.frames, &more.frames].concat() };
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    // A heartbeat of each relay tells that the last periods are complete.
    let recorded_s = || browser.text("[data-testid=record]").strip_prefix("0:")?.get(..2)?.parse::<u32>().ok();
    eventually("heartbeats", || recorded_s().filter(|&seconds| seconds >= 8));
    browser.press_focused("R");
    let (name, file) = saved(&browser);
    assert_eq!(browser.console_errors(), [] as [String; 0]);

    // The command line reads it too, and adds the relays up exactly.
    let live = [&own, &other].map(|relay| stats_of(&["--relay", &relay.http.to_string(), "--window", "3600"]));
    let [of_own, of_other] = live;
    let expected = added(of_own, of_other);
    let path = folder.path().join("two.joey");
    std::fs::write(&path, &file).expect("a temporary folder can be written");
    let path = path.display().to_string();
    assert_eq!(stats_of(&["--file", &path, "--window", "3600"]), expected);
    assert_eq!(expected, counts(&all.expected(3_600, all.clock_ns())));
    let compared = joey(&["compare", &path, &path, "--json", "--window", "3600"]);
    let compared = by_id(&serde_json::from_str(&compared.out).expect("it prints JSON"));
    let of_before = compared.into_iter().map(|(id, view)| (id, view["before"]["count"].clone()));
    assert_eq!(of_before.collect::<BTreeMap<_, _>>(), expected);
    // Updates that are sent again are those that arrived while it recorded, from both relays.
    let target = relay(&[]);
    let replayed = joey(&["replay", &path, "--relay", &target.ingest.to_string(), "--speed", "20"]);
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    let twice = Oracle { frames: [&more.frames[..], &more.frames].concat() };
    let of_target = || stats_of(&["--relay", &target.http.to_string(), "--window", "3600"]);
    eventually_is("sent again", &counts(&twice.expected(3_600, twice.clock_ns())), of_target);

    drop((own, other));
    let (host, browser) = (static_host(), Browser::start());
    browser.open(&format!("http://{}/", host.address));
    eventually_is("a way to open one", &1, || browser.count("main [data-testid=open-recording]"));
    open(&browser, &folder, &name, &file);
    eventually_is("its application", &1, || browser.count("[data-testid=application][data-app=App]"));
    browser.go_to(DASHBOARD);
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    // At the beginning, the frames of the recording were not sent yet.
    let _ = browser.evaluate("document.querySelector('[data-testid=position]').focus()", &[]);
    browser.press_focused("\u{e011}");
    wait_for_rows(&browser, ROWS, &first, 300, totals);
}

fn problem(browser: &Browser) -> String {
    browser.text("[data-testid=recording-problem] span")
}

#[test]
fn a_recording_has_the_same_numbers_on_a_page_without_a_relay() {
    let (first, more) = sample();
    let (name, file) = record(&first, &more);
    assert!(name.starts_with("joey-App-") && name.ends_with("Z.joey"), "{name}");
    let all = Oracle { frames: [first.frames.clone(), more.frames].concat() };

    let (host, folder, browser) = (static_host(), TempDir::new().expect("a folder"), Browser::start());
    // The command line reads it too.
    let path = folder.path().join("page.joey");
    std::fs::write(&path, &file).expect("a temporary folder can be written");
    let stats = joey(&["stats", "App", "--json", "--file", &path.display().to_string()]);
    assert_eq!(stats.code, 0, "{}", stats.err);
    let stats: Value = serde_json::from_str(&stats.out).expect("it prints JSON");
    assert_eq!(counts(&by_id(&stats)), counts(&all.expected(300, all.clock_ns())));

    browser.open(&format!("http://{}/", host.address));
    eventually_is("a way to open one", &1, || browser.count("main [data-testid=open-recording]"));
    open(&browser, &folder, &name, &file);
    eventually_is("its application", &1, || browser.count("[data-testid=application][data-app=App]"));
    eventually_is("its name", &name, || browser.text("[data-testid=recording] strong"));
    browser.go_to(DASHBOARD);
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    assert_eq!(browser.attribute("[data-testid=status]", "data-state"), "replay");

    // Every view works: a detail page, the workers, another window, the filter.
    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    browser.go_to(&detail("App", &id));
    let count = || browser.attribute("[data-testid=detail] .figures [data-col=count]", "data-value");
    let expected = |window_s| all.expected(window_s, all.clock_ns())[&id]["count"].to_string();
    eventually_is("all events", &expected(300), count);
    let _ = browser.evaluate(
        "[...document.querySelectorAll('.segments button')].find(b => b.textContent === '10 s').click()",
        &[],
    );
    eventually_is("those of ten seconds", &expected(10), count);
    browser.go_to("/applications/App/workers-dashboard");
    eventually_is("the workers", &2, || browser.count("tbody tr"));
    browser.go_to(DASHBOARD);
    wait_for_rows(&browser, ROWS, &all, 10, totals);
    browser.type_into("#filter", "check");
    eventually_is("one row", &1, || browser.count(ROWS));
    browser.type_into("#filter", "\u{e00c}");

    // By keyboard to the beginning, when the last frames were not sent yet, and back.
    let _ = browser.evaluate("document.querySelector('[data-testid=position]').focus()", &[]);
    browser.press_focused("\u{e011}");
    wait_for_rows(&browser, ROWS, &first, 10, totals);
    browser.press_focused("\u{e010}");
    wait_for_rows(&browser, ROWS, &all, 10, totals);
    browser.save_screenshot("recording");

    // Played at the highest speed, it ends where it ended.
    let _ = browser.evaluate(
        "const speed = document.querySelector('[data-testid=speed]');
         speed.value = '60';
         speed.dispatchEvent(new Event('change'))",
        &[],
    );
    browser.click("[data-testid=play]");
    eventually_is("it has played", &"Play".to_owned(), || browser.text("[data-testid=play]"));
    wait_for_rows(&browser, ROWS, &all, 10, totals);

    browser.click("[data-testid=back-to-live]");
    eventually_is("nothing is shown", &0, || browser.count("[data-testid=recording]"));
    assert_eq!(browser.count(ROWS), 0);
}

#[test]
fn a_recording_is_opened_by_drag_and_drop_and_closed_for_live_data() {
    let (first, more) = sample();
    let (name, file) = record(&first, &more);
    let all = Oracle { frames: [first.frames, more.frames].concat() };
    let relay = relay(&[]);
    let live = Oracle {
        frames: vec![
            Frame::new("App", "computation", ["p", "w", "n"], now_s() - 2).with(&[900]),
            Frame::new("App", "computation", ["p", "w", "n"], now_s() - 1).with(&[5]).lasting(S / 100),
        ],
    };
    let _open = send(&relay, &live);
    let browser = Browser::start();
    browser.open(&address(&relay, DASHBOARD));
    wait_for_rows(&browser, ROWS, &live, 300, totals);
    let drop_file = "
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(arguments[0])], arguments[1]));
        const event = name => new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true});
        document.body.dispatchEvent(event('dragover'));
        const shown = document.querySelector('.drop-here').checkVisibility();
        document.body.dispatchEvent(event('drop'));
        return [shown, document.querySelector('.drop-here').checkVisibility()]";
    assert_eq!(browser.evaluate(drop_file, &[json!(file), json!(name)]), json!([true, false]));
    wait_for_rows(&browser, ROWS, &all, 300, totals);
    browser.click("[data-testid=back-to-live]");
    wait_for_rows(&browser, ROWS, &live, 300, totals);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_torn_file_is_read_as_far_as_possible_and_another_file_changes_nothing() {
    let (first, more) = sample();
    let (name, file) = record(&first, &more);
    let (host, folder, browser) = (static_host(), TempDir::new().expect("a folder"), Browser::start());
    browser.open(&format!("http://{}/", host.address));
    eventually_is("the page", &1, || browser.count("main [data-testid=open-recording]"));
    open(&browser, &folder, "picture.joey", b"\x89PNG\r\n\x1a\n and more");
    eventually("a reason", || problem(&browser).contains("picture.joey: This is not a recording").then_some(()));
    assert_eq!(browser.count("[data-testid=recording]"), 0);

    // The state at the beginning is whole, and the record after it is not.
    open(&browser, &folder, &name, &file[..file.len() - 5]);
    eventually("what is missing", || {
        browser.text("[data-testid=torn]").contains("incomplete or damaged").then_some(())
    });
    assert_eq!(browser.count("[data-testid=recording-problem]"), 0);
    browser.go_to(DASHBOARD);
    eventually("rows", || (browser.count(ROWS) > 3).then_some(()));
    let before = read(&browser, ROWS);
    open(&browser, &folder, "empty.joey", b"");
    eventually("a reason", || problem(&browser).contains("empty.joey").then_some(()));
    let mut newer = file;
    newer[8] = 9;
    open(&browser, &folder, "newer.joey", &newer);
    eventually("another", || problem(&browser).contains("version 9").then_some(()));
    assert_eq!(read(&browser, ROWS), before);
    eventually_is("the first one stays", &name, || browser.text("[data-testid=recording] strong"));
    browser.click("[data-testid=recording-problem] button");
    eventually_is("it is dismissed", &Value::from(0), || browser.count("[data-testid=recording-problem]").into());
}

/// Makes a link with data on the page that is shown.
fn link(browser: &Browser) -> String {
    browser.click("[data-testid=share]");
    browser.click("[data-testid=copy-link]");
    eventually("a link", || {
        let link = browser.evaluate_text("return document.querySelector('[data-testid=link]')?.value ?? ''", &[]);
        (!link.is_empty()).then_some(link)
    })
}

#[test]
fn a_link_with_data_shows_the_same_figures_in_another_browser_without_a_relay() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let host = static_host();
    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    let (whole, part) = {
        let browser = Browser::start();
        let script = "navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve(); }";
        browser.open(&address(&relay, DASHBOARD));
        wait_for_rows(&browser, ROWS, &oracle, 300, totals);
        let _ = browser.evaluate(script, &[]);
        let whole = link(&browser);
        assert_eq!(browser.evaluate_text("return window.copied", &[]), whole);
        assert!(browser.text("[data-testid=share-outcome]").starts_with("Copied a link of "));
        browser.save_screenshot("share");
        browser.go_to(&detail("App", &id));
        eventually_is("the detail page", &1, || browser.count("[data-testid=detail] .figures"));
        let part = link(&browser);
        assert_eq!(browser.console_errors(), [] as [String; 0]);
        (whole, part)
    };
    drop(relay);
    let elsewhere = |link: &str| {
        let (_, hash) = link.split_once('#').expect("a link has a fragment");
        assert!(link.len() < 65_000 && !link.contains("token"), "{} characters", link.len());
        format!("http://{}/#{hash}", host.address)
    };

    let browser = Browser::start();
    browser.open(&elsewhere(&whole));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
    // The address keeps the data, so it survives a reload and can be passed on.
    let _ = browser.evaluate("location.reload()", &[]);
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
    browser.save_screenshot("link");

    // A detail page has its tables with it.
    browser.open("about:blank");
    browser.open(&elsewhere(&part));
    let count = || browser.attribute("[data-testid=detail] .figures [data-col=count]", "data-value");
    eventually_is("all events", &oracle.expected(300, oracle.clock_ns())[&id]["count"].to_string(), count);
    wait_for_rows(&browser, ROWS, &oracle, 300, |other| other.0 == "computation-by-worker" && other.1[2] == id.1[2]);

    // A link that was cut on its way.
    browser.open("about:blank");
    browser.open(&elsewhere(&part[..part.len() - 100]));
    eventually("a reason", || problem(&browser).contains("incomplete or damaged").then_some(()));
    assert_eq!(browser.count("[data-testid=recording]"), 0);
}

#[test]
fn a_short_link_that_expands_to_very_much_is_refused() {
    let (host, browser) = (static_host(), Browser::start());
    browser.open(&format!("http://{}/", host.address));
    eventually_is("the page", &1, || browser.count("main [data-testid=open-recording]"));
    let make = "
        const zeros = new Blob([new Uint8Array(64 << 20)]).stream().pipeThrough(new CompressionStream('deflate-raw'));
        new Response(zeros).arrayBuffer().then(buffer => {
            const text = [...new Uint8Array(buffer)].map(byte => String.fromCharCode(byte)).join('');
            location.hash = '/?data=1' + btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
        })";
    let _ = browser.evaluate(make, &[]);
    eventually("a reason", || problem(&browser).contains("incomplete or damaged").then_some(()));
    assert_eq!(browser.count("[data-testid=recording]"), 0);
    assert!(!browser.evaluate_text("return location.hash", &[]).contains("data="));
}

#[test]
fn a_recording_of_the_command_line_opens_in_the_page() {
    let oracle = sample_data("App");
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("line.joey");
    {
        let relay = relay(&[]);
        let _open = send(&relay, &oracle);
        let (path, address) = (path.display().to_string(), relay.http.to_string());
        let done = joey(&["record", "App", "-o", &path, "--for", "3s", "--relay", &address]);
        assert_eq!(done.code, 0, "{}", done.err);
    }
    let (host, browser) = (static_host(), Browser::start());
    browser.open(&format!("http://{}/", host.address));
    eventually_is("the page", &1, || browser.count("main [data-testid=open-recording]"));
    let file = std::fs::read(&path).expect("the file is there");
    open(&browser, &folder, "line.joey", &file);
    eventually_is("its application", &1, || browser.count("[data-testid=application][data-app=App]"));
    browser.go_to(DASHBOARD);
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
}
