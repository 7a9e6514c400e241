//! What leaves the page: percentiles in the address, files, images and print.

use std::collections::BTreeMap;

use joey_shared::histogram::{Histogram, Quantile};
use joey_tests::browser::Browser;
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, S, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{Cells, address, detail, read, relay, sample_data, send, wait_for_rows};

const ROWS: &str = "[data-testid=row]";

/// The quantile of each view of the dashboard, as cells.
fn expected(oracle: &Oracle, millionths: u32) -> BTreeMap<ViewId, Value> {
    let quantile = Quantile::from_millionths(millionths).expect("it is at most a million");
    let range = |view: &Value| {
        let bins = view["bins"].as_object().expect("a view has bins");
        let mut histogram = Histogram::default();
        for (bin, count) in bins {
            histogram.add(bin.parse().expect("a bin is a number"), count.as_u64().expect("a count"));
        }
        let bound = |name: &str| view[name].as_u64();
        histogram.min_ns = bound("min_ns").unwrap_or(u64::MAX);
        histogram.max_ns = bound("max_ns").unwrap_or(0);
        histogram.quantile(quantile).map_or(Value::Null, |range| json!([range.low, range.high]))
    };
    oracle
        .expected(300, oracle.clock_ns())
        .into_iter()
        .filter(|(id, _)| totals(id))
        .map(|(id, view)| (id, range(&view)))
        .collect()
}

fn totals(id: &ViewId) -> bool {
    ["start-to-end", "node-ingress-egress", "computation", "gc-pause"].contains(&id.0.as_str())
}

/// One column of all rows.
fn column(browser: &Browser, name: &str) -> BTreeMap<ViewId, Value> {
    let cells = |cells: &Cells| cells.get(name).cloned().unwrap_or_else(|| json!("no such column"));
    read(browser, ROWS).iter().map(|(id, row)| (id.clone(), cells(row))).collect()
}

/// The address after `#`.
fn hash(browser: &Browser) -> String {
    browser.evaluate_text("return location.hash", &[])
}

#[test]
fn any_percentile_is_a_column_a_figure_and_part_of_the_address() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);

    browser.type_into("#percentile", "100\n");
    eventually("a reason", || browser.text("#percentile-problem").contains("between 0 and 100").then_some(()));
    browser.type_into("#percentile", "\u{8}\u{8}\u{8}99\n");
    eventually_is("99 has a column", &"Already shown".to_owned(), || browser.text("#percentile-problem"));
    browser.type_into("#percentile", "\u{8}\u{8}99.95\n");
    eventually_is("a column", &expected(&oracle, 999_500), || column(&browser, "p99.95"));
    browser.type_into("#percentile", "12.5\n");
    eventually_is("another one", &expected(&oracle, 125_000), || column(&browser, "p12.5"));
    assert!(hash(&browser).ends_with("?p=12.5,99.95"), "{}", hash(&browser));
    assert_eq!(browser.text("#percentile-problem"), "");
    // 2,000 events are needed, and the rare pauses have fewer.
    eventually("a grey cell", || {
        (browser
            .count("[data-kind=other] td.faint[data-col='p99.95'], [data-kind=gc-pause] td.faint[data-col='p99.95']")
            == 1)
            .then_some(())
    });

    // It sorts like the others. Without the column, the order is the table's own.
    let heads = "[...document.querySelectorAll('[data-subject=Computation] thead button')]";
    let press = format!("{heads}.find(head => head.textContent === 'p99.95').click()");
    let _ = browser.evaluate(&press, &[]);
    eventually_is("sorted", &1, || browser.count("[data-subject=Computation] th[aria-sort=descending]"));
    let highs = "return [...document.querySelectorAll('[data-subject=Computation] [data-col=\"p99.95\"]')].map(c => +c.dataset.high)";
    let highs = browser.evaluate(highs, &[]);
    let highs: Vec<u64> = highs.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    assert!(highs.len() == 2 && highs.is_sorted_by(|a, b| a >= b), "{highs:?}");

    // The address is enough, after a reload and in the detail page, which has a figure.
    let _ = browser.evaluate("location.reload()", &[]);
    eventually_is("after a reload", &expected(&oracle, 999_500), || column(&browser, "p99.95"));
    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    browser.go_to(&detail("App", &id));
    let wanted = expected(&oracle, 999_500)[&id].clone();
    eventually_is("a figure", &wanted, || {
        let figure = |name: &str| browser.attribute(".figures [data-col='p99.95']", name).parse::<u64>().unwrap_or(0);
        json!([figure("data-low"), figure("data-high")])
    });
    eventually("the address of the detail page", || hash(&browser).ends_with("?p=12.5,99.95").then_some(()));

    // Removed by keyboard.
    let _ = browser.evaluate("document.querySelector('[aria-label=\"Remove p99.95\"]').focus()", &[]);
    browser.type_into("[aria-label='Remove p99.95']", "\n");
    eventually_is("no figure", &0, || browser.count(".figures [data-col='p99.95']"));
    assert!(hash(&browser).ends_with("?p=12.5"), "{}", hash(&browser));
    assert_eq!(browser.evaluate_text("return document.activeElement.id", &[]), "percentile");
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// Replaces the browser's downloads and clipboard by lists: `saved` and `copied`.
pub(crate) const CATCH: &str = "
    window.saved = [];
    window.copied = [];
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => { saved.push({blob}); return make.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { saved.at(-1).name = this.download; };
    navigator.clipboard.writeText = text => { copied.push(text); return Promise.resolve(); };
    navigator.clipboard.write = async items => { copied.push(await items[0].getType('image/png')); };";

/// Opens the menu of the panel that matches `selector` with the keyboard, and presses the button with this text.
pub(crate) fn download(browser: &Browser, selector: &str, action: &str) {
    let before = saved(browser);
    browser.type_into(&format!("{selector} .download summary"), "\n");
    let script = "
        const items = [...document.querySelectorAll(arguments[0] + ' .download[open] button')];
        const item = items.find(item => item.textContent === arguments[1]);
        item?.focus();
        return item !== undefined && item.checkVisibility()";
    eventually(action, || browser.evaluate(script, &[selector.into(), action.into()]).as_bool()?.then_some(()));
    browser.press_focused("\n");
    eventually("it is saved or copied", || (saved(browser) > before).then_some(()));
    assert_eq!(browser.count(".download[open]"), 0);
    assert_eq!(browser.evaluate_text("return document.activeElement.tagName", &[]), "SUMMARY");
}

/// The number of files and copies so far.
fn saved(browser: &Browser) -> u64 {
    browser.evaluate("return saved.filter(file => file.name).length + copied.length", &[]).as_u64().unwrap_or(0)
}

/// The name and the text of the last file.
pub(crate) fn last_file(browser: &Browser) -> (String, String) {
    let text = browser.evaluate_text("return saved.at(-1).blob.text()", &[]);
    (browser.evaluate_text("return saved.at(-1).name", &[]), text)
}

/// Size of an image, and how many colours it has. `image` is an expression for a Blob.
pub(crate) fn image_facts(browser: &Browser, image: &str) -> Value {
    let script = format!(
        "const bitmap = await createImageBitmap({image});
         const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
         const context = canvas.getContext('2d');
         context.drawImage(bitmap, 0, 0);
         const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
         const opaque = pixels.every(pixel => pixel >>> 24 === 255);
         return [bitmap.width, bitmap.height, new Set(pixels).size > 20, opaque]"
    );
    browser.evaluate(&format!("return (async () => {{ {script} }})()"), &[])
}

#[test]
fn tables_and_charts_are_saved_as_files_and_copied() {
    let relay = relay(&[]);
    let mut oracle = sample_data("Shop, \"EU\"");
    let end = oracle.frames[oracle.frames.len() - 2].end_ns / S;
    let hostile = ["Orders", "worker-2", "+1,\"two\""];
    oracle.frames.push(Frame::new(&oracle.frames[0].app, "computation", hostile, end).with(&[5; 3]));
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&address(&relay, "/applications/Shop%2C%20%22EU%22/dashboard?p=99.95"));
    eventually_is("all rows", &expected(&oracle, 999_500), || column(&browser, "p99.95"));
    let _ = browser.evaluate(CATCH, &[]);
    let computations = "[data-testid=table][data-subject=Computation]";

    download(&browser, computations, "JSON");
    let (name, text) = last_file(&browser);
    assert!(name.starts_with("joey_Shop-EU_Computations_300s_20") && name.ends_with("Z.json"), "{name}");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!((&json["app"], &json["window_s"]), (&json!("Shop, \"EU\""), &json!(300)));
    let views = oracle.expected(300, oracle.clock_ns());
    let typed = expected(&oracle, 999_500);
    let rows = json["rows"].as_array().expect("there are rows");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let metric = row["metric"].as_str().expect("a name");
        assert_eq!(row["name"], metric);
        let id: ViewId = ("computation".to_owned(), [None, None, Some(metric.to_owned())]);
        let view = &views[&id];
        assert_eq!(row["events"], view["count"]);
        let shown = format!("[data-kind=computation][data-name={}] [data-col=median]", json!(metric));
        assert_eq!(row["median_per_s"].as_f64(), browser.attribute(&shown, "data-value").parse().ok());
        for (column, range) in
            [("p50", &view["quantiles"]["0.5"]), ("p99", &view["quantiles"]["0.99"]), ("p99.95", &typed[&id])]
        {
            assert_eq!(&json!([row[format!("{column}_low_ns")], row[format!("{column}_high_ns")]]), range, "{metric}");
        }
    }

    download(&browser, computations, "CSV");
    let (name, csv) = last_file(&browser);
    assert!(name.ends_with("Z.csv"), "{name}");
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 5, "a head, three rows, and the end: {csv}");
    assert!(lines[0].starts_with("name,qualifier,kind,pipeline,worker,metric,events,mean_ns,p50_low_ns,p50_high_ns,"));
    let escaped = "\"'+1,\"\"two\"\"\"";
    assert!(lines.iter().any(|line| line.starts_with(&format!("{escaped},,computation,,,{escaped},3,,"))), "{csv}");

    // What is shown: the filter applies.
    browser.type_into("#filter", "check");
    eventually_is("one row", &1, || browser.count(ROWS));
    download(&browser, computations, "Copy table");
    let copied = browser.evaluate_text("return copied.at(-1)", &[]);
    assert_eq!(copied.lines().count(), 2, "{copied}");
    assert!(copied.lines().last().is_some_and(|line| line.starts_with("Check order\t\tcomputation\t")), "{copied}");
    eventually_is("an announcement", &"Copied".to_owned(), || browser.text(&format!("{computations} [role=status]")));

    let id: ViewId = ("computation".to_owned(), [None, None, Some("Check order".to_owned())]);
    browser.go_to(&detail("Shop, \"EU\"", &id));
    eventually("the charts", || (browser.count("[data-testid=bars] .download") == 1).then_some(()));
    download(&browser, "[data-testid=bars]", "JSON");
    let bars: Value = serde_json::from_str(&last_file(&browser).1).expect("it is JSON");
    let sum = |table: &Value| {
        table["rows"].as_array().into_iter().flatten().filter_map(|row| row["events"].as_u64()).sum::<u64>()
    };
    assert_eq!(json!(sum(&bars)), views[&id]["count"]);
    download(&browser, "[data-testid=time]", "JSON");
    let timeline: Value = serde_json::from_str(&last_file(&browser).1).expect("it is JSON");
    assert_eq!(json!(sum(&timeline)), views[&id]["count"]);
    download(&browser, "[data-testid=curve]", "CSV");
    let curve = last_file(&browser).1;
    let range = typed[&id].as_array().expect("a range");
    assert!(curve.contains(&format!("\r\n99.95,{},{},", range[0], range[1])), "{curve}");

    for panel in ["time", "curve", "bars"] {
        let selector = format!("[data-testid={panel}]");
        download(&browser, &selector, "PNG");
        let (name, _) = last_file(&browser);
        assert!(name.starts_with("joey_Shop-EU_Check-order-") && name.ends_with("Z.png"), "{name}");
        let size = "const canvas = document.querySelector(arguments[0] + ' canvas');
            return [2 * (canvas.clientWidth + 24), 2 * (canvas.clientHeight + 48), true, true]";
        assert_eq!(image_facts(&browser, "saved.at(-1).blob"), browser.evaluate(size, &[selector.as_str().into()]));
        download(&browser, &selector, "Copy image");
        assert_eq!(image_facts(&browser, "copied.at(-1)"), browser.evaluate(size, &[selector.as_str().into()]));
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

/// How many canvases are on the page, how many of them are painted, and how many rates have the blue of the light
/// theme.
const CANVASES: &str = "
    const canvases = [...document.querySelectorAll('canvas')];
    const pixels = canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const some = (canvas, test) => {
        const data = pixels(canvas);
        for (let at = 0; at < data.length; at += 4) if (test(data[at], data[at + 1], data[at + 2], data[at + 3])) return true;
        return false;
    };
    const painted = canvases.filter(canvas => some(canvas, (r, g, b, a) => a > 0)).length;
    const light = canvases.filter(canvas => some(canvas, (r, g, b, a) => a > 220 && r < 30 && g > 100 && g < 130 && b > 160)).length;
    return [canvases.length, painted, light]";

#[test]
fn charts_out_of_sight_are_painted() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.resize(1000, 200);
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
    // Seven rows with two charts each, the one of the application, and the last hour.
    eventually_is("the dashboard", &json!([16, 16]), || {
        json!(browser.evaluate(CANVASES, &[]).as_array().expect("three")[..2])
    });
    browser.go_to(&detail("App", &("computation".to_owned(), [None, None, Some("Check order".to_owned())])));
    eventually_is("a detail page", &json!([10, 10]), || {
        json!(browser.evaluate(CANVASES, &[]).as_array().expect("three")[..2])
    });
    assert_eq!(browser.evaluate("return scrollY", &[]), 0);
}

#[test]
fn a_printed_page_has_light_colours_all_charts_and_no_controls() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.resize(1000, 200);
    browser.set_color_scheme("dark");
    browser.open(&address(&relay, "/applications/App/dashboard"));
    wait_for_rows(&browser, ROWS, &oracle, 300, totals);
    let facts = || browser.evaluate(CANVASES, &[]);
    eventually_is("dark charts", &json!([16, 16, 0]), facts);
    let _ = browser
        .evaluate(&format!("addEventListener('beforeprint', () => window.printed = (() => {{ {CANVASES} }})())"), &[]);
    let pdf = browser.command_result("Page.printToPDF", json!({"printBackground": true}));
    assert!(pdf["data"].as_str().is_some_and(|data| data.len() > 10_000));
    let printed = browser.evaluate("return window.printed", &[]);
    assert_eq!(
        printed.as_array().map(|facts| (facts[0] == facts[1], facts[2] != json!(0))),
        Some((true, true)),
        "{printed}"
    );
    eventually_is("dark charts again", &json!([16, 16, 0]), facts);

    // The style of print, without the events.
    browser.command("Emulation.setEmulatedMedia", json!({"media": "print"}));
    let controls = "
        const controls = [...document.querySelectorAll('.filter, .percentiles, .download, .pause, .theme, .switcher')];
        return [controls.length > 5, controls.some(control => control.checkVisibility()),
                getComputedStyle(document.body).backgroundColor, document.querySelector('tbody tr').checkVisibility()]";
    eventually_is("no controls", &json!([true, false, "rgb(255, 255, 255)", true]), || browser.evaluate(controls, &[]));
    eventually("light charts", || (facts().as_array()?[2] != json!(0)).then_some(()));
    browser.command(
        "Emulation.setEmulatedMedia",
        json!({"media": "screen", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    );
    eventually_is("dark charts on the screen", &json!([16, 16, 0]), facts);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
