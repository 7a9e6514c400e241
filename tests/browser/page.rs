//! Helpers that fill the page with data and read it.

use std::collections::BTreeMap;

use joey_tests::browser::{Browser, page_arguments};
use joey_tests::oracle::ViewId;
use joey_tests::{Frame, Oracle, Producer, Relay, S, eventually, eventually_is, now_ns};
use serde_json::{Value, json};

/// A relay that serves the page.
pub(crate) fn relay(arguments: &[&str]) -> Relay {
    let page = page_arguments();
    let all: Vec<&str> = page.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    Relay::start_with(&all)
}

/// Address of the page that `relay` serves; `hash` is the part after `#`.
pub(crate) fn address(relay: &Relay, hash: &str) -> String {
    format!("http://{}/#{hash}", relay.http)
}

/// Percent-encodes everything except ASCII letters, digits and `-._~`.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Address of the detail page of a view.
pub(crate) fn detail(app: &str, (kind, names): &ViewId) -> String {
    const KNOWN: [&str; 7] = [
        "start-to-end",
        "start-to-end-by-worker",
        "node-ingress-egress",
        "node-ingress-egress-by-pipeline",
        "computation",
        "computation-by-worker",
        "pipeline-ingestion",
    ];
    let kind = if KNOWN.contains(&kind.as_str()) { kind.clone() } else { format!("other/{}", escaped(kind)) };
    let names: String = names.iter().flatten().map(|name| format!("/{}", escaped(name))).collect();
    format!("/applications/{}/{kind}{names}", escaped(app))
}

/// The last even second that has ended.
pub(crate) fn now_s() -> u64 {
    now_ns() / S / 2 * 2
}

/// Five minutes of an application with all kinds of data that a page shows; its newest period is complete.
pub(crate) fn sample_data(app: &str) -> Oracle {
    let mut rng = fastrand::Rng::with_seed(0xca11);
    let mut frames = Vec::new();
    let end = now_s() - 2;
    for at in (0..148).rev() {
        let end_s = end - 2 * at;
        for (pipeline, worker) in [("Orders", "initializer"), ("Orders", "worker-2"), ("Market (data)", "worker-2")] {
            let mut durations = |most: usize, low: u32, high: u32| -> Vec<u64> {
                (0..rng.usize(0..most)).map(|_| (1 << rng.u32(low..high)) + rng.u64(..1 << low)).collect()
            };
            let mut add = |category: &str, name: &str, id: u16, values: &[u64]| {
                frames.push(Frame { id, ..Frame::new(app, category, [pipeline, worker, name], end_s).with(values) });
            };
            add(
                "pipeline-ingestion",
                &format!("{pipeline} source"),
                0,
                &durations(60, 1, 2).iter().map(|_| 0).collect::<Vec<_>>(),
            );
            add("computation", "Decode Time in TCP Source", 1, &durations(40, 8, 14));
            add("computation", "Check order", 2, &durations(40, 10, 24));
            add("start-to-end", pipeline, 0, &durations(50, 14, 28));
            add("node-ingress-egress", worker, 0, &durations(50, 12, 26));
            add("gc-pause", "young", 0, &durations(3, 20, 24));
        }
    }
    // A period this short is complete at once.
    frames.push(
        Frame::new(app, "computation", ["Orders", "initializer", "Check order"], end + 1).with(&[5]).lasting(S / 100),
    );
    Oracle { frames }
}

/// Sends all frames of the oracle, each worker's over its own connection; the connections stay open.
pub(crate) fn send(relay: &Relay, oracle: &Oracle) -> Vec<Producer> {
    let before = relay.metric("joey_frames_accepted_total");
    let mut workers: BTreeMap<&str, Vec<&Frame>> = BTreeMap::new();
    for frame in &oracle.frames {
        workers.entry(&frame.worker).or_default().push(frame);
    }
    let connect = |(worker, frames): (&str, Vec<&Frame>)| {
        let mut producer = relay.producer(&frames[0].app, worker);
        producer.send_all(frames);
        producer
    };
    let producers = workers.into_iter().map(connect).collect();
    relay.wait_for_accepted(before + oracle.frames.len() as u64);
    producers
}

/// Waits until the page is no wider than a screen of `width`. A chart gets its new width in the frame after a change.
pub(crate) fn wait_until_it_fits(browser: &Browser, width: u32) {
    eventually(&format!("it fits a screen of {width}"), || {
        let widest = browser.evaluate("return document.documentElement.scrollWidth", &[]).as_u64()?;
        (widest <= u64::from(width)).then_some(())
    });
}

/// The cells of one view by column, in the format of `joey stats --json`.
pub(crate) type Cells = BTreeMap<String, Value>;

/// Columns of percentiles and the names of their quantiles.
const QUANTILES: [(&str, &str); 5] =
    [("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99"), ("p999", "0.999"), ("p9999", "0.9999")];

/// The cells that the page must show for a view, limited to the columns in `shown`.
pub(crate) fn expected(view: &Value, ingestion: Option<&Value>, shown: &[&str]) -> Cells {
    let mut cells = Cells::new();
    for (column, name) in QUANTILES {
        cells.insert(column.to_owned(), view["quantiles"].get(name).cloned().unwrap_or(Value::Null));
    }
    for column in ["min", "median", "max"] {
        cells.insert(column.to_owned(), rate(&view["throughput"][column]));
        cells.insert(format!("{column} in"), ingestion.map_or(Value::Null, |view| rate(&view["throughput"][column])));
    }
    cells.insert("count".to_owned(), view["count"].clone());
    cells.retain(|column, _| shown.contains(&column.as_str()));
    cells
}

/// A rate in a form in which whole numbers with and without a decimal point are equal.
fn rate(value: &Value) -> Value {
    value.as_f64().map_or(Value::Null, |rate| json!(rate.to_string()))
}

/// Reads the cells below each element that matches `selector`, keyed by its `data-kind` and names.
pub(crate) fn read(browser: &Browser, selector: &str) -> BTreeMap<ViewId, Cells> {
    let script = "
        return [...document.querySelectorAll(arguments[0])].map(row => ({
            id: [row.dataset.kind, row.dataset.pipeline ?? null, row.dataset.worker ?? null, row.dataset.name ?? null],
            cells: [...row.querySelectorAll('[data-col]')].map(cell =>
                [cell.dataset.col, cell.dataset.low ?? null, cell.dataset.high ?? null,
                 cell.dataset.value ?? null, cell.dataset.in ?? null]),
        }))";
    let rows = browser.evaluate(script, &[selector.into()]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |value: &Value| text(value).map_or(Value::Null, |text| serde_json::from_str(&text).expect("a number"));
    let mut read = BTreeMap::new();
    for row in rows.as_array().expect("rows") {
        let id = &row["id"];
        let id = (text(&id[0]).unwrap_or_default(), [text(&id[1]), text(&id[2]), text(&id[3])]);
        let mut cells = Cells::new();
        for cell in row["cells"].as_array().expect("cells") {
            let column = text(&cell[0]).expect("a column has a name");
            if column.starts_with('p') {
                let range = if cell[1].is_null() { Value::Null } else { json!([number(&cell[1]), number(&cell[2])]) };
                cells.insert(column, range);
            } else if column == "count" {
                cells.insert(column, number(&cell[3]));
            } else {
                cells.insert(format!("{column} in"), rate(&number(&cell[4])));
                cells.insert(column, rate(&number(&cell[3])));
            }
        }
        assert!(read.insert(id.clone(), cells).is_none(), "{id:?} twice in {selector}");
    }
    read
}

/// Columns of the rows of a table.
pub(crate) const ROW: [&str; 9] = ["p50", "p95", "p99", "min", "median", "max", "min in", "median in", "max in"];

/// Waits until the rows that match `selector` are exactly the views that `wanted` accepts, with the oracle's numbers.
pub(crate) fn wait_for_rows(
    browser: &Browser,
    selector: &str,
    oracle: &Oracle,
    window_s: u64,
    wanted: impl Fn(&ViewId) -> bool,
) {
    let views = oracle.expected(window_s, oracle.clock_ns());
    let ingestion = |(kind, names): &ViewId| {
        let source = |(other, others): &&ViewId| other == "pipeline-ingestion" && others[0] == names[0];
        let source = views.keys().find(source)?;
        (kind == "start-to-end").then(|| &views[source])
    };
    let expected: BTreeMap<ViewId, Cells> = views
        .iter()
        .filter(|(id, _)| wanted(id))
        .map(|(id, view)| (id.clone(), expected(view, ingestion(id), &ROW)))
        .collect();
    assert!(!expected.is_empty(), "there must be something to check");
    eventually_is(selector, &expected, || read(browser, selector));
}
