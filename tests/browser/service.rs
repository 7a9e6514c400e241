//! A service with OpenTelemetry: neutral words, marks, and percentiles at the source's own resolution.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use joey_tests::browser::Browser;
use joey_tests::oracle::by_id;
use joey_tests::{Frame, Oracle, S, eventually, eventually_is};
use serde_json::{Value, json};

use crate::page::{address, now_s, read, relay, send, wait_until_it_fits};

/// The seconds of data.
const SECONDS: u64 = 60;

/// Sends `body` in OTLP's JSON to `path`.
fn export(otlp: SocketAddr, path: &str, body: &Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(otlp).expect("the relay listens");
    let head = format!("POST {path} HTTP/1.1\r\nHost: {otlp}\r\nConnection: close\r\nContent-Type: application/json");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("the relay reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the relay answers");
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("rejected"), "{answer}");
}

/// A data point of an exponential histogram of scale 3 with these durations, in ns.
fn exponential(end_s: u64, route: &str, durations: &[u64]) -> Value {
    // Independent of the relay's code: bucket `i` is from 2^(i/8) s, exclusive, to 2^((i+1)/8) s.
    let index = |ns: u64| ((ns as f64 / 1e9).log2() * 8.0).ceil() as i64 - 1;
    let offset = durations.iter().map(|&ns| index(ns)).min().expect("there are durations");
    let last = durations.iter().map(|&ns| index(ns)).max().expect("there are durations");
    let count = |bucket| durations.iter().filter(|&&ns| index(ns) == bucket).count().to_string();
    json!({
        "attributes": attributes(&[("http.request.method", "GET"), ("http.route", route)]),
        "startTimeUnixNano": ((end_s - 1) * S).to_string(),
        "timeUnixNano": (end_s * S).to_string(),
        "count": durations.len().to_string(),
        "sum": durations.iter().sum::<u64>() as f64 / 1e9,
        "scale": 3,
        "positive": {"offset": offset, "bucketCounts": (offset..=last).map(count).collect::<Vec<String>>()},
    })
}

fn attributes(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

fn resource(instance: &str) -> Value {
    json!({"attributes": attributes(&[("service.name", "Shop"), ("service.instance.id", instance)])})
}

/// Sends a minute of metrics of one instance: an operation, a call with explicit buckets, and a counter. Adds the durations of
/// the operation to `raw`.
pub(crate) fn export_metrics(otlp: SocketAddr, instance: &str, end_s: u64, raw: &mut Vec<u64>) {
    let mut rng = fastrand::Rng::with_seed(end_s);
    let (mut served, mut called, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for second in end_s - SECONDS + 1..=end_s {
        let durations: Vec<u64> = (0..50).map(|_| (1_000_000.0 * (rng.f64() * 6.0).exp()) as u64).collect();
        served.push(exponential(second, "/items", &durations));
        raw.extend(durations);
        let times = [((second - 1) * S).to_string(), (second * S).to_string()];
        called.push(json!({
            "startTimeUnixNano": times[0], "timeUnixNano": times[1], "count": "3", "sum": 0.2,
            "explicitBounds": [0.05, 0.1], "bucketCounts": ["1", "2", "0"],
        }));
        hits.push(json!({"startTimeUnixNano": times[0], "timeUnixNano": times[1], "asInt": "7"}));
    }
    let metrics = json!([
        {"name": "http.server.request.duration", "unit": "s",
         "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": served}},
        {"name": "rpc.client.duration", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": called}},
        {"name": "cache.hits", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": hits}},
    ]);
    let body = json!({"resourceMetrics": [{"resource": resource(instance), "scopeMetrics": [{"metrics": metrics}]}]});
    export(otlp, "/v1/metrics", &body);
}

/// Sends a span of a sampled trace.
pub(crate) fn export_span(otlp: SocketAddr, end_s: u64) {
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "traceState": "ot=th:c",
        "name": "GET /items", "kind": 2,
        "startTimeUnixNano": (end_s * S - 20_000_000).to_string(), "endTimeUnixNano": (end_s * S - 1).to_string(),
    });
    let body = json!({"resourceSpans": [{"resource": resource("i-1"), "scopeSpans": [{"spans": [span]}]}]});
    export(otlp, "/v1/traces", &body);
}

/// The texts of all elements that match `selector`.
fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let script = "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)";
    serde_json::from_value(browser.evaluate(script, &[selector.into()])).expect("texts")
}

/// Whether the page is no wider than a phone, and no wider than a large screen. Leaves the large screen.
fn check_widths(browser: &Browser, name: &str) {
    for (width, height) in [(390, 844), (1440, 900)] {
        browser.resize(width, height);
        wait_until_it_fits(browser, width);
        browser.save_screenshot(&format!("service-{name}-{width}"));
    }
}

#[test]
fn a_service_is_shown_in_neutral_words_at_its_own_resolution() {
    let relay = relay(&[]);
    let otlp = relay.otlp_http;
    let end_s = now_s() - 2;
    let mut raw = Vec::new();
    for instance in ["i-1", "i-2"] {
        export_metrics(otlp, instance, end_s, &mut raw);
    }
    export_span(otlp, end_s);
    let _open = send(&relay, &Oracle::new(&[Frame::new("Alerts", "computation", ["p", "w", "n"], end_s).with(&[5])]));
    let stats = eventually("the newest period is complete", || {
        let stats = relay.stats("Shop");
        (stats["through_ns"].as_u64() == Some(end_s * S)).then_some(stats)
    });
    let operation = ("start-to-end".to_owned(), [Some("GET /items".to_owned()), None, None]);
    let view = &by_id(&stats)[&operation];
    raw.sort_unstable();
    let exact = raw[(raw.len() * 99).div_ceil(100) - 1];
    let p99 = view["quantiles"]["0.99"].clone();
    let (low, high) = (p99[0].as_u64().expect("a bound"), p99[1].as_u64().expect("a bound"));
    assert!(
        (low..=high).contains(&exact) && high as f64 / (low as f64) < 1.0906,
        "{exact} is not within {low}..{high}"
    );

    let browser = Browser::start();
    browser.open(&address(&relay, "/"));
    let row = "[data-app=Shop]";
    eventually_is("the origin", &"OpenTelemetry metrics, traces".to_owned(), || {
        browser.text(&format!("{row} [data-testid=origin]"))
    });
    let marks = || texts(&browser, &format!("{row} [data-testid=caveat]"));
    eventually("the marks", || {
        (marks().iter().map(|mark| mark.split(':').next().unwrap_or_default()).eq(["approximate", "sampled"]))
            .then_some(())
    });
    assert!(browser.attribute(&format!("{row} [data-testid=caveat]"), "title").contains("coarser"));

    check_widths(&browser, "landing");

    browser.go_to("/applications/Shop/dashboard");
    let titles = ["Operations", "Instances", "Internal and client operations", "Counters"].map(str::to_owned);
    eventually_is("the tables", &titles.to_vec(), || texts(&browser, "[data-testid=table] h2"));
    eventually_is("the percentiles of the operation", &Some(p99.clone()), || {
        let cells = read(&browser, "[data-testid=row][data-kind=start-to-end]").remove(&operation)?;
        cells.get("p99").cloned()
    });
    let marked = texts(&browser, "tr:has([data-testid=caveat]) .row-link");
    assert_eq!(marked, ["GET /items (span)", "i-1", "rpc.client.duration"]);
    let page = browser.text("main").to_lowercase();
    for word in ["pipeline", "worker", "computation", "end to end"] {
        assert!(!page.contains(word), "{word} is one of Wallaroo's words");
    }
    assert_eq!(browser.count("[data-subject=Counter] [data-col=p99]"), 0, "a counter has no latency");

    check_widths(&browser, "dashboard");

    browser.go_to("/applications/Shop/start-to-end/GET%20%2Fitems");
    eventually_is("the kind", &"Operation".to_owned(), || browser.text(".kind").trim().to_owned());
    let mean = view["mean_ns"].as_f64().expect("the source reports a sum");
    eventually_is("the mean", &mean.to_string(), || browser.attribute(".figures [data-col=mean]", "data-value"));
    let figures = read(&browser, "[data-testid=detail] .figures").into_values().next().expect("figures");
    assert_eq!(figures["p99"], p99);
    eventually_is("its instances", &vec!["i-1".to_owned(), "i-2".to_owned()], || texts(&browser, ".row-link"));

    check_widths(&browser, "operation");

    // The total over the spans of an instance has an address of its own.
    browser.go_to("/applications/Shop/node-ingress-egress/i-1/spans");
    eventually_is("the spans", &"1".to_owned(), || browser.attribute(".figures [data-col=count]", "data-value"));
    browser.go_to("/applications/Shop/workers-dashboard");
    eventually_is("the instances", &2, || browser.count("[data-testid=worker] [data-connected=true]"));
    eventually_is("the title", &"Shop: instances · Joey".to_owned(), || {
        browser.evaluate_text("return document.title", &[])
    });

    browser.go_to("/applications/Alerts/dashboard");
    let titles = ["Pipelines", "Workers", "Computations"].map(str::to_owned);
    eventually_is("Wallaroo's tables", &titles.to_vec(), || texts(&browser, "[data-testid=table] h2"));
    assert_eq!(browser.count("[data-testid=caveat]"), 0);
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}
