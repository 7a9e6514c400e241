//! The overview: the landing page's lists and charts, tables as small charts, favourites, marks, and the choice in the address.

use joey_tests::browser::Browser;
use joey_tests::{Frame, Oracle, Producer, Relay, S, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, now_s, relay, send, wait_for_rows, wait_until_it_fits};

const COMPUTATIONS: &str = "[data-subject=Computation]";

fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let script = "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)";
    serde_json::from_value(browser.evaluate(script, &[selector.into()])).expect("texts")
}

/// The names of the rows of the table of computations, in order.
fn names(browser: &Browser) -> Vec<String> {
    texts(browser, &format!("{COMPUTATIONS} a.row-link"))
}

fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

fn press(browser: &Browser, key: &str) {
    for kind in ["rawKeyDown", "keyUp"] {
        browser.command("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": key}));
    }
}

/// Five minutes of an application whose newest period is complete. `durations` returns those of a name and an age in seconds.
fn five_minutes(app: &str, category: &str, names: &[&str], durations: impl Fn(usize, u64) -> Vec<u64>) -> Oracle {
    let end = now_s() - 2;
    let mut frames = Vec::new();
    for age in (0..149).map(|at| 2 * at).rev() {
        for (index, name) in names.iter().enumerate() {
            let pipeline = if category == "start-to-end" { name } else { "p" };
            let frame = Frame::new(app, category, [pipeline, "w", name], end - age);
            frames.push(frame.with(&durations(index, age)));
        }
    }
    // A period this short is complete at once.
    frames.push(Frame::new(app, category, [names[0], "w", names[0]], end + 1).with(&[]).lasting(S / 100));
    if category != "start-to-end" {
        frames.last_mut().expect("it was added").pipeline = "p".to_owned();
    }
    Oracle { frames }
}

/// Three computations of different latency, count and change: `slow` is the slowest, `busy` has most events, `moved` is 16 times
/// slower in the last minute.
fn computations(app: &str) -> Oracle {
    five_minutes(app, "computation", &["busy", "moved", "slow"], |index, age| match index {
        0 => vec![1_000; 40],
        1 => vec![if age < 60 { 160_000 } else { 10_000 }; 10],
        _ => vec![9_000_000; 5],
    })
}

#[test]
fn filter_order_and_layout_are_in_the_address() {
    let relay = relay(&[]);
    let _open = send(&relay, &computations("App"));
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually_is("rows", &3, || names(&browser).len());
    let choose = |order: &str| {
        let script = "const list = document.querySelector('#order');
            list.value = arguments[0];
            list.dispatchEvent(new Event('change', {bubbles: true}));";
        let _ = browser.evaluate(script, &[order.into()]);
    };
    for (order, expected) in [
        ("name", ["busy", "moved", "slow"]),
        ("-p99", ["slow", "moved", "busy"]),
        ("-median", ["busy", "moved", "slow"]),
        ("-events", ["busy", "moved", "slow"]),
        ("-last-minute", ["moved", "busy", "slow"]),
    ] {
        choose(order);
        eventually_is(order, &expected.map(str::to_owned).to_vec(), || names(&browser));
        eventually_is("the address", &format!("#/applications/App/dashboard?sort={order}"), || hash(&browser));
    }
    // The change is 100 %: all of the last minute is above all before.
    let change = format!("{COMPUTATIONS} [data-name=moved] [data-col=last-minute]");
    eventually_is("the change", &"slower100\u{2009}%".to_owned(), || browser.text(&change));
    assert_eq!(browser.attribute(&change, "data-value"), "1");
    // 10 events in each of 29 periods lately, and in each of 120 before; the one at 60 s is in the minute before.
    assert!(
        browser.attribute(&change, "title").contains("of the last 60 s"),
        "{}",
        browser.attribute(&change, "title")
    );
    choose("-events");
    let events = format!("{COMPUTATIONS} [data-name=moved] [data-col=count]");
    eventually_is("events", &"1490".to_owned(), || browser.attribute(&events, "data-value"));

    browser.type_into("#filter", "-busy &");
    eventually_is("the address", &"#/applications/App/dashboard?q=-busy%20%26&sort=-events".to_owned(), || {
        hash(&browser)
    });
    browser.type_into("#filter", "\u{8}\u{8}");
    eventually_is("filtered", &vec!["moved".to_owned(), "slow".to_owned()], || names(&browser));

    // A reload shows the same.
    let shared = hash(&browser);
    let _ = browser.evaluate("location.reload()", &[]);
    eventually_is("filtered", &vec!["moved".to_owned(), "slow".to_owned()], || names(&browser));
    assert_eq!(hash(&browser), shared);
    assert_eq!(browser.evaluate("return document.querySelector('#filter').value", &[]), json!("-busy"));
    assert_eq!(browser.evaluate("return document.querySelector('#order').value", &[]), json!("-events"));
    // Another page has its own tables.
    browser.go_to("/applications/App/computation/moved");
    eventually("the detail page", || (browser.count("[data-testid=detail] td .n") > 0).then_some(()));
    assert_eq!(hash(&browser), "#/applications/App/computation/moved");
    let _ = browser.evaluate("history.back()", &[]);
    eventually_is("filtered", &vec!["moved".to_owned(), "slow".to_owned()], || names(&browser));

    // What is not valid is ignored.
    browser.open("about:blank");
    browser.open(&address(&relay, "/applications/App/dashboard?sort=-nonsense&q=%&as=x&p=75"));
    eventually_is("all rows", &3, || names(&browser).len());
    eventually_is("the address", &"#/applications/App/dashboard?p=75".to_owned(), || hash(&browser));
    // Typed percentiles are among the others, in every place.
    let heads = texts(&browser, &format!("{COMPUTATIONS} th.wide"));
    assert_eq!(heads, ["p50", "p75", "p95", "p99"]);
    choose("-p75");
    eventually_is("sorted", &["slow", "moved", "busy"].map(str::to_owned).to_vec(), || names(&browser));
    browser.go_to("/applications/App/computation/moved?p=75,99.95");
    let figures = || texts(&browser, ".figures dd[data-col^=p]").len();
    eventually_is("figures", &7, figures);
    let labels = texts(&browser, ".figures .figure:has(dd[data-col^=p]) dt");
    assert_eq!(labels, ["p50", "p75", "p95", "p99", "p99.9", "p99.95", "p99.99"]);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn favourites_are_first_and_survive_a_reload() {
    let relay = relay(&[]);
    let _open = send(&relay, &computations("App"));
    let _other = send(&relay, &computations("Other"));
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let order = |expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|&name| name.to_owned()).collect();
        eventually_is("rows", &expected, || names(&browser));
    };
    order(&["busy", "moved", "slow"]);
    browser.click(&format!("{COMPUTATIONS} [data-name=slow] [data-testid=star]"));
    order(&["slow", "busy", "moved"]);
    assert_eq!(hash(&browser), "#/applications/App/dashboard", "the star does not open the row");
    // With the keyboard.
    let focus = "document.querySelector(arguments[0]).focus()";
    let _ = browser.evaluate(focus, &[format!("{COMPUTATIONS} [data-name=moved] a.row-link").into()]);
    press(&browser, "f");
    order(&["moved", "slow", "busy"]);
    assert_eq!(browser.evaluate_text("return document.activeElement.textContent", &[]), "moved");
    browser.click("[data-testid=only-favourites]");
    order(&["moved", "slow"]);
    eventually_is("the address", &"#/applications/App/dashboard?only=favourites".to_owned(), || hash(&browser));
    let _ = browser.evaluate("location.reload()", &[]);
    order(&["moved", "slow"]);
    let pressed = format!("{COMPUTATIONS} [data-testid=star][aria-pressed=true]");
    assert_eq!(browser.count(&pressed), 2);
    // Each application has its own.
    browser.go_to("/applications/Other/dashboard");
    order(&["busy", "moved", "slow"]);
    assert_eq!(browser.count(&pressed), 0);
    browser.go_to("/applications/App/dashboard");
    order(&["moved", "slow", "busy"]);
    press(&browser, "f");
    order(&["moved", "slow", "busy"]);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// The cells of the small charts: name, low and high ends of p50 and p99.
const CELLS: &str = "return [...document.querySelectorAll('[data-subject=Computation] .cell')].map(cell => [
    cell.querySelector('a.row-link').textContent,
    ...[...cell.querySelectorAll('[data-col]')].map(figure => [+figure.dataset.low, +figure.dataset.high])])";

#[test]
fn rows_are_small_charts_on_one_axis() {
    let relay = relay(&[]);
    let oracle = computations("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, &format!("{COMPUTATIONS} [data-testid=row]"), &oracle, 300, |id| id.0 == "computation");
    let _ = browser.evaluate(
        "[...document.querySelectorAll('.layout button')].find(button => button.textContent === 'Charts').click()",
        &[],
    );
    let views = oracle.expected(300, oracle.clock_ns());
    let cell = |name: &str| {
        let view = &views[&("computation".to_owned(), [None, None, Some(name.to_owned())])];
        json!([name, view["quantiles"]["0.5"], view["quantiles"]["0.99"]])
    };
    let expected = json!([cell("busy"), cell("moved"), cell("slow")]);
    eventually_is("cells", &expected, || browser.evaluate(CELLS, &[]));
    eventually_is("the address", &"#/applications/App/dashboard?as=charts".to_owned(), || hash(&browser));
    // Each chart has the orange of p99. On one axis, that of the slowest is highest, and `moved` has it at two heights.
    let heights = "return [...document.querySelectorAll('[data-subject=Computation] .cell canvas')].map(canvas => {
        const {width, height} = canvas;
        if (!width) return [];
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        const found = new Set();
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
            const at = 4 * (y * width + x);
            if (data[at] > 180 && data[at + 1] < 90 && data[at + 2] < 20 && data[at + 3] > 250) found.add(y);
        }
        return [Math.min(...found), Math.max(...found)];
    })";
    eventually("painted charts", || {
        let heights: Vec<Vec<f64>> = serde_json::from_value(browser.evaluate(heights, &[])).ok()?;
        let [busy, moved, slow] = heights.as_slice() else { return None };
        let is_painted = [busy, moved, slow].iter().all(|heights| heights.len() == 2);
        (is_painted && slow[0] < moved[0] && moved[0] + 15.0 < moved[1] && moved[1] < busy[1]).then_some(())
    });
    browser.save_screenshot("overview-charts");
    // The arrows move between the charts, and Enter opens one.
    let _ = browser.evaluate("document.querySelector('.cell a.row-link').focus()", &[]);
    press(&browser, "ArrowDown");
    let focused = || browser.evaluate_text("return document.activeElement.textContent", &[]);
    eventually_is("the focus", &"moved".to_owned(), focused);
    press(&browser, "f");
    let first = || names(&browser).first().cloned();
    eventually_is("a favourite", &Some("moved".to_owned()), first);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// One period of this many computations, `number 0` and so on.
fn many(relay: &Relay, count: usize) -> Vec<Producer> {
    let end = now_s() - 2;
    let name = |at: usize| format!("number {at}");
    let frame =
        |at: usize| Frame::new("Large", "computation", ["p", "w", &name(at)], end).with(&vec![1_000; 1 + at % 9]);
    let mut frames: Vec<Frame> = (0..count).map(frame).collect();
    frames.push(Frame::new("Large", "computation", ["p", "w", &name(0)], end + 1).with(&[5]).lasting(S / 100));
    send(relay, &Oracle { frames })
}

#[test]
fn a_thousand_small_charts_are_rendered_near_the_viewport() {
    let relay = relay(&[]);
    let _open = many(&relay, 1_000);
    let browser = Browser::start();
    for (width, height, columns) in [(1440, 900, 4), (390, 844, 1)] {
        browser.resize(width, height);
        browser.open(&address(&relay, "/applications/Large/dashboard?as=charts"));
        let _ = browser.evaluate("location.reload()", &[]);
        let few = || (1..=120).contains(&browser.count(".cell")).then_some(());
        eventually("few charts", few);
        eventually_is("columns", &columns.to_string(), || {
            browser.attribute(&format!("{COMPUTATIONS} .multiples"), "data-columns")
        });
        let end = "window.scrollTo(0, document.documentElement.scrollHeight)";
        eventually("the last chart", || {
            let _ = browser.evaluate(end, &[]);
            (names(&browser).last().map(String::as_str) == Some("number 999")).then_some(())
        });
        eventually("few charts", few);
        let heights = "const grid = document.querySelector('[data-subject=Computation] .multiples').getBoundingClientRect().height;
            return grid / document.querySelector('.cell').getBoundingClientRect().height";
        let lines = browser.evaluate(heights, &[]).as_f64().expect("a number");
        let expected = 1_000.0 / f64::from(columns);
        assert!((lines / expected - 1.0).abs() < 0.05, "{lines} lines of {expected}");
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn all_rows_of_a_long_table_are_printed() {
    let relay = relay(&[]);
    let _open = many(&relay, 300);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/Large/dashboard"));
    let rows = format!("{COMPUTATIONS} [data-testid=row]");
    let few = || (1..100).contains(&browser.count(&rows)).then_some(());
    eventually("few rows are in the document", few);
    let watch = "window.most = 0; window.unpainted = null;
        const count = () => document.querySelectorAll(arguments[0]).length;
        const selector = arguments[0];
        new MutationObserver(() => { window.most = Math.max(window.most, document.querySelectorAll(selector).length); })
            .observe(document.body, {childList: true, subtree: true});
        addEventListener('afterprint', () => {
            const canvases = [...document.querySelectorAll(selector + ' canvas')];
            window.unpainted = [canvases.length, canvases.filter(canvas => canvas.width <= 300 && canvas.height === 150).length];
        }, {capture: true});";
    let _ = browser.evaluate(watch, &[rows.as_str().into()]);
    let pdf = browser.command_result("Page.printToPDF", json!({"printBackground": true}));
    assert!(pdf["data"].as_str().is_some_and(|data| data.len() > 100_000));
    assert_eq!(browser.evaluate("return window.most", &[]), json!(300));
    eventually("few rows are in the document", few);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_landing_page_ranks_the_operations_of_all_applications() {
    let relay = relay(&[]);
    let orders = five_minutes("Shop", "start-to-end", &["Orders", "Rare"], |index, age| match (index, age) {
        (0, ..60) => vec![1 << 24; 10],
        (0, _) => vec![1 << 20; 10],
        (_, 100) => vec![1 << 30; 3],
        _ => Vec::new(),
    });
    let steady = five_minutes("Steady", "start-to-end", &["Flow"], |_, _| vec![1 << 22; 40]);
    let (_shop, _steady) = (send(&relay, &orders), send(&relay, &steady));
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let ranked = |panel: &str| {
        let script =
            "return [...document.querySelectorAll(`[data-testid=${arguments[0]}] [data-testid=ranked]`)].map(row => {
            const {low, high, value} = row.querySelector('.value').dataset;
            return [row.dataset.app, row.dataset.name, value ? +value : [+low, +high]];
        })";
        browser.evaluate(script, &[panel.into()])
    };
    let p99 = |oracle: &Oracle, pipeline: &str| {
        let id = ("start-to-end".to_owned(), [Some(pipeline.to_owned()), None, None]);
        oracle.expected(300, oracle.clock_ns())[&id]["quantiles"]["0.99"].clone()
    };
    // `Rare` has too few events for its p99.
    let slowest = json!([["Shop", "Orders", p99(&orders, "Orders")], ["Steady", "Flow", p99(&steady, "Flow")]]);
    eventually_is("the slowest", &slowest, || ranked("slowest"));
    eventually_is("what changed", &json!([["Shop", "Orders", 1]]), || ranked("changed"));
    let moved = browser.text("[data-testid=changed] .value");
    assert!(moved.contains('→') && moved.contains("slower100"), "{moved}");
    // 40 and 10 events in each period of 2 s, less the part of the last ten seconds that is the short period.
    eventually("the busiest", || {
        let busiest = ranked("busiest");
        let rate = |at: usize| busiest[at][2].as_f64().unwrap_or_default();
        let names: Vec<&str> = (0..3).filter_map(|at| busiest[at][1].as_str()).collect();
        (names == ["Flow", "Orders", "Rare"] && rate(0) > 3.9 * rate(1) && rate(0) > 15.0 && rate(0) <= 20.0)
            .then_some(())
    });
    eventually_is("charts", &vec!["Orders".to_owned(), "Rare".to_owned(), "Flow".to_owned()], || {
        texts(&browser, "[data-testid=operation] a.row-link")
    });
    // Every small chart is painted: two of each application, and one of each operation.
    let painted = "return [...document.querySelectorAll('main canvas')].filter(canvas => canvas.width &&
        new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 3).length";
    eventually_is("painted", &json!(7), || browser.evaluate(painted, &[]));
    for (width, height) in [(2560, 1440), (1440, 900), (390, 844)] {
        browser.resize(width, height);
        wait_until_it_fits(&browser, width);
        browser.save_screenshot(&format!("overview-{width}"));
    }
    browser.resize(1440, 900);
    browser.click("[data-testid=slowest] a.row-link");
    eventually("its page", || (browser.count("[data-testid=detail] .n") > 0).then_some(()));
    assert!(hash(&browser).starts_with("#/applications/Shop/start-to-end/Orders"), "{}", hash(&browser));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// Saved files are collected instead of written.
const CATCH: &str = "window.saved = [];
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => { saved.push({blob}); return make.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { saved.at(-1).name = this.download; };";

#[test]
fn the_landing_page_and_the_workers_are_saved_as_files() {
    let relay = relay(&[]);
    let oracle = computations("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let _ = browser.evaluate(CATCH, &[]);
    let save = |panel: &str| -> (String, Value) {
        let _ = browser.evaluate("window.saved.length = 0", &[]);
        let press = "[...document.querySelectorAll(arguments[0] + ' .download button')].find(one => one.textContent === 'JSON').click()";
        eventually("the menu", || (browser.count(&format!("{panel} .download button")) > 0).then_some(()));
        let _ = browser.evaluate(press, &[panel.into()]);
        eventually("a file", || (browser.evaluate("return saved.length", &[]) == json!(1)).then_some(()));
        let text = browser.evaluate_text("return saved[0].blob.text()", &[]);
        let name = browser.evaluate_text("return saved[0].name", &[]);
        (name, serde_json::from_str(&text).expect("it is JSON"))
    };
    eventually_is("the application", &1, || browser.count("[data-testid=application]"));
    let (name, apps) = save("[data-testid=applications]");
    assert!(name.starts_with("joey_all_Applications_300s_"), "{name}");
    let row = &apps["rows"][0];
    assert_eq!((&row["application"], &row["workers"], &row["series"]), (&json!("App"), &json!(1), &json!(3)));
    browser.go_to("/applications/App/workers-dashboard");
    eventually_is("the worker", &1, || browser.count("[data-testid=worker]"));
    let (name, workers) = save("[data-testid=workers]");
    assert!(name.starts_with("joey_App_Workers_300s_"), "{name}");
    assert_eq!((&workers["rows"][0]["worker"], &workers["rows"][0]["connected"]), (&json!("w"), &json!(true)));
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn rows_say_what_is_stale_restarted_and_refused() {
    let relay = relay(&["--series", "4"]);
    let end = now_s() - 2;
    let frame = |name: &str, end_s: u64| Frame::new("App", "computation", ["p", "w", name], end_s).with(&[5; 9]);
    let worker = |end_s: u64| Frame::new("App", "node-ingress-egress", ["p", "w", "w"], end_s).with(&[5; 9]);
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[frame("old", end - 40), frame("new", end - 40), worker(end - 40)]);
    relay.wait_for_accepted(3);
    producer.finish();
    // The worker comes back. One row gets updates, the other does not, and two series are too many.
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[frame("new", end), worker(end), frame("a", end), frame("b", end), frame("c", end)]);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    let mark = |name: &str| format!("{COMPUTATIONS} [data-name='{name}'] [data-mark]");
    eventually("no events", || {
        let old = mark("old");
        (browser.text(&old).contains("no events since") && !browser.attribute(&old, "title").is_empty()).then_some(())
    });
    assert_eq!(browser.count(&mark("new")), 0);
    let restarted = "[data-subject=Worker] [data-mark=restarted]";
    eventually("a restarted worker", || browser.text(restarted).contains("restarted").then_some(()));
    assert!(
        browser.attribute(restarted, "title").contains("come back once"),
        "{}",
        browser.attribute(restarted, "title")
    );
    browser.open(&address(&relay, "/"));
    let refused = "[data-testid=application] [data-mark=refused]";
    eventually("refused frames", || browser.text(refused).starts_with("2 refused").then_some(()));
    // After some seconds without updates while others have them, a row is stale.
    let mut beat = now_s();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    eventually("a stale row", || {
        if now_s() > beat {
            beat = now_s();
            producer.send(&frame("new", beat));
        }
        let stale = format!("{COMPUTATIONS} [data-name=old] [data-mark=stale]");
        browser.text(&stale).contains("stale since").then_some(())
    });
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn the_demo_deploys_a_slow_release_and_says_so() {
    let page = joey_tests::browser::page_arguments();
    let page: Vec<&str> = page.iter().map(String::as_str).collect();
    let relay = Relay::start_in(&["sh", "-c", "shift; exec \"$0\" demo --deploy-after 4s \"$@\""], &page);
    let said = |text: &str| relay.log().contains(text);
    eventually("the log says what is coming", || said("demo: Web Shop deploys a slow release").then_some(()));
    eventually("the log says what happens", || said("which makes GET /cart slower").then_some(()));
    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    eventually("what changed most", || {
        let cart = "[data-testid=changed] [data-name='GET /cart'][data-app='Web Shop']";
        browser.text(cart).contains("slower").then_some(())
    });
    browser.save_screenshot("overview-demo");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
