//! OpenTelemetry's SDKs and exporters for Python, Node and Rust, unmodified, in services that know nothing of Joey
//! (`examples/services/`). What the relay shows is compared with what the services print.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use joey_tests::relay::free_ports;
use joey_tests::{Relay, TIMEOUT, checkout, eventually, eventually_is, joey};
use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;

/// The variables that `docs/producers-services.md` asks for, besides the endpoint.
const VARIABLES: [(&str, &str); 2] = [
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
];

/// A service in the background, which ends with the test.
struct Service {
    child: Child,
    output: TempDir,
}

impl Service {
    /// Starts `command`, which sends to `endpoint` as the application `app`.
    fn start(mut command: Command, app: &str, endpoint: SocketAddr, more: &[(&str, &str)]) -> Self {
        let output = TempDir::new().expect("a temporary directory can be created");
        let file = |name| File::create(output.path().join(name)).expect("the directory is writable");
        // The environment of the test must not configure the service.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        let child = command
            .current_dir(checkout().join("examples/services"))
            .env("OTEL_SERVICE_NAME", app)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"))
            .envs(VARIABLES)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"));
        Self { child, output }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.output.path().join(name)).expect("services print UTF-8")
    }

    /// Waits until it ends. Returns the durations, in s, that it has printed, in ascending order.
    fn durations(&mut self) -> Vec<f64> {
        let status = eventually("the service ends", || self.child.try_wait().expect("it belongs to this test"));
        assert!(status.success(), "{}", self.read("err"));
        let lines = self.read("out");
        let mut durations: Vec<f64> = lines.lines().map(|line| line.parse().expect("it prints durations")).collect();
        durations.sort_by(f64::total_cmp);
        durations
    }

    /// Sends requests for `path` to a service at `address`, each when the previous one has been answered.
    fn request(&mut self, address: SocketAddr, path: &str, requests: usize) {
        eventually("the service listens", || {
            let status = self.child.try_wait().expect("it belongs to this test");
            assert!(status.is_none(), "the service ended with {status:?}: {}", self.read("err"));
            TcpStream::connect(address).ok()
        });
        for _ in 0..requests {
            let mut stream = TcpStream::connect(address).expect("the service listens");
            stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("the service reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the service answers in UTF-8");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of the service\n{}", self.read("err"));
        }
    }
}

/// The folder of an SDK that `cargo xtask setup` installs.
fn installed(variable: &str) -> PathBuf {
    let folder = std::env::var_os(variable);
    folder.unwrap_or_else(|| panic!("`cargo xtask setup` installs this SDK; set {variable} to its folder")).into()
}

/// `python3` with these arguments, instrumented.
fn python(arguments: &[&str]) -> Command {
    let packages = installed("OTEL_PYTHON");
    let mut command = Command::new("python3");
    command.arg(packages.join("bin/opentelemetry-instrument")).arg("python3").args(arguments);
    command.env("PYTHONPATH", packages);
    command
}

/// `node` with this script, instrumented by `node_telemetry.cjs`.
fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    // Node would look for packages beside the scripts.
    command
        .args(["--require", "./node_telemetry.cjs", script])
        .env("NODE_PATH", installed("OTEL_NODE").join("node_modules"));
    command
}

/// The view of all instances for `name` in `app`, if there is one.
fn find_view(relay: &Relay, app: &str, kind: &str, name: &str) -> Option<Value> {
    let address = relay.http.to_string();
    let done = joey(&["stats", app, "--json", "--once", "--relay", &address, "--window", "5m"]);
    // Fails until the first data arrives.
    let snapshot: Value = serde_json::from_str(&done.out).ok()?;
    let views = snapshot["views"].as_array()?;
    let is_named = |view: &&Value| view["kind"] == kind && (view["name"] == name || view["pipeline"] == name);
    views.iter().find(is_named).cloned()
}

/// Waits until that view has exactly `count` durations.
fn view(relay: &Relay, app: &str, kind: &str, name: &str, count: usize) -> Value {
    let mut found = None;
    eventually_is(&format!("durations of {app}, {kind} {name}"), &json!(count), || {
        found = find_view(relay, app, kind, name);
        found.as_ref().map_or(Value::Null, |view| view["count"].clone())
    });
    let view = found.expect("it was found just now");
    assert_eq!((&view["scale"], &view["approximate"]), (&json!(3), &Value::Null), "{view}");
    view
}

/// Asserts that each shown quantile of ascending `durations`, in s, is in its range, give or take `tolerance_ns`, and
/// that no range is wider than a bin.
fn assert_quantiles(view: &Value, durations: &[f64], tolerance_ns: f64) {
    let quantiles = view["quantiles"].as_object().expect("the view has quantiles");
    assert!(["0.5", "0.99"].iter().all(|name| quantiles.contains_key(*name)), "{view}");
    for (name, range) in quantiles {
        let rank = name.parse::<f64>().expect("a quantile's name is a number") * durations.len() as f64;
        let expected_ns = durations[rank.ceil() as usize - 1] * 1e9;
        let [low, high] = [0, 1].map(|at| range[at].as_f64().expect("a range consists of two numbers"));
        let is_inside = low - tolerance_ns <= expected_ns && expected_ns <= high + tolerance_ns;
        assert!(is_inside, "p{name} = {expected_ns} ns is not in {low}..{high} of {view}");
        assert!(high / low < 1.0906, "{low}..{high} is wider than 9 %");
    }
}

/// Asserts that the bins of `view` have the counts of these durations in seconds, computed from the definition of the
/// exponential histogram.
fn assert_bins(view: &Value, durations: &[f64]) {
    assert_eq!(view["unit"], "s");
    // Both sides are counted from their first bin. The quantiles tell where that is.
    let mut expected = Vec::<(i64, u64)>::new();
    for duration in durations {
        let index = (duration.log2() * 8.0).ceil() as i64 - 1;
        match expected.last_mut() {
            Some((last, count)) if *last == index => *count += 1,
            _ => expected.push((index, 1)),
        }
    }
    let bins = view["bins"].as_object().expect("the view has bins").iter();
    let mut shown: Vec<(i64, u64)> = bins
        .map(|(bin, count)| (bin.parse().expect("a bin is a number"), count.as_u64().expect("a count is a number")))
        .collect();
    shown.sort_unstable();
    for bins in [&mut expected, &mut shown] {
        let first = bins.first().expect("there are durations").0;
        bins.iter_mut().for_each(|(bin, _)| *bin -= first);
    }
    assert_eq!(shown, expected);
}

/// Checks a service that records the durations that it prints as `checkout.duration`.
fn check_durations(relay: &Relay, app: &str, endpoint: SocketAddr, command: Command, more: &[(&str, &str)]) -> Value {
    let durations = Service::start(command, app, endpoint, more).durations();
    assert_eq!(durations.len(), 2_000);
    let view = view(relay, app, "computation", "checkout.duration", durations.len());
    assert_quantiles(&view, &durations, 1.0);
    assert_bins(&view, &durations);
    let mean_ns = durations.iter().sum::<f64>() / durations.len() as f64 * 1e9;
    let shown_ns = view["mean_ns"].as_f64().expect("the exporter sends a sum");
    // Each data point rounds its sum to whole nanoseconds.
    assert!((shown_ns - mean_ns).abs() < 1.0, "{shown_ns} ns instead of {mean_ns} ns");
    assert_eq!(relay.frame_counts().1, 0, "nothing was rejected");
    view
}

#[test]
fn the_python_sdk_sends_every_duration_over_grpc_by_default() {
    let relay = Relay::start();
    // It sends gRPC to any port that it is told.
    for (app, endpoint) in [("http-port", relay.otlp_http), ("grpc-port", relay.otlp_grpc)] {
        let view = check_durations(&relay, app, endpoint, python(&["durations.py"]), &[]);
        assert_eq!(view["max_ns"], Value::Null, "cumulative data points have no maximum");
    }
}

#[test]
fn the_python_sdk_sends_every_duration_as_protobuf() {
    let relay = Relay::start();
    let protobuf = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    check_durations(&relay, "cumulative", relay.otlp_http, python(&["durations.py"]), &[protobuf]);
    let delta = [
        protobuf,
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ];
    let view = check_durations(&relay, "delta", relay.otlp_http, python(&["durations.py"]), &delta);
    assert!(view["max_ns"].is_u64(), "delta data points have a maximum: {view}");
}

#[test]
fn the_node_sdk_sends_every_duration() {
    let relay = Relay::start();
    check_durations(&relay, "default", relay.otlp_http, node("durations.cjs"), &[]);
    for (app, protocol) in [("json", "http/json"), ("grpc", "grpc")] {
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        check_durations(&relay, app, relay.otlp_http, node("durations.cjs"), &[protocol]);
    }
}

#[test]
fn the_rust_sdk_sends_every_duration() {
    let relay = Relay::start();
    let command = || Command::new(env!("CARGO_BIN_EXE_durations"));
    check_durations(&relay, "default", relay.otlp_http, command(), &[]);
    let protobuf = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    check_durations(&relay, "protobuf", relay.otlp_http, command(), &protobuf);
}

/// The JSON documents in the output of Python's console exporters.
fn documents(output: &str) -> Vec<Value> {
    // The last one may be incomplete.
    Deserializer::from_str(output).into_iter().map_while(Result::ok).collect()
}

/// The durations, in s and ascending, of the spans called `name` in the output of Python's console exporter. It prints
/// times in microseconds.
fn python_spans(output: &str, name: &str) -> Vec<f64> {
    // "2026-11-28T10:10:34.649447Z", of one day or two adjacent ones.
    let seconds = |time: &Value| {
        let clock = time.as_str().and_then(|time| time.split_once('T')).expect("a time is RFC 3339").1;
        let parts = clock.trim_end_matches('Z').split(':').map(|part| part.parse::<f64>().expect("a number"));
        parts.fold(0.0, |sum, part| sum * 60.0 + part)
    };
    let spans = documents(output).into_iter().filter(|document| document["name"] == name);
    let mut durations: Vec<f64> =
        spans.map(|span| (seconds(&span["end_time"]) - seconds(&span["start_time"])).rem_euclid(86_400.0)).collect();
    durations.sort_by(f64::total_cmp);
    durations
}

/// Count, sum and maximum of `instrument` for `route` according to Python's console exporter.
fn python_histogram(output: &str, instrument: &str, route: &str) -> Option<(u64, f64, f64)> {
    let documents = documents(output);
    let last = documents.iter().rfind(|document| document.get("resource_metrics").is_some())?;
    let metrics = last["resource_metrics"][0]["scope_metrics"].as_array()?;
    let mut metrics = metrics.iter().filter_map(|scope| scope["metrics"].as_array()).flatten();
    let points = metrics.find(|metric| metric["name"] == instrument)?["data"]["data_points"].as_array()?;
    let is_of_route =
        |point: &&Value| ["http.target", "http.route"].iter().any(|key| point["attributes"][key] == route);
    let point = points.iter().find(is_of_route)?;
    Some((point["count"].as_u64()?, point["sum"].as_f64()?, point["max"].as_f64()?))
}

/// Checks the FastAPI service, which measures its requests as `instrument` in units of `unit_ns`, and whose series have
/// names with this `prefix`.
fn check_fastapi(more: &[(&str, &str)], instrument: &str, unit_ns: f64, prefix: &str) {
    let relay = Relay::start();
    // The console exporters print what the service itself has measured.
    let console = [("OTEL_TRACES_EXPORTER", "otlp,console"), ("OTEL_METRICS_EXPORTER", "otlp,console")];
    let variables = [&console, more].concat();
    let [address] = free_ports();
    let port = address.port().to_string();
    let command = python(&["-m", "uvicorn", "fastapi_app:app", "--no-access-log", "--port", &port]);
    let mut service = Service::start(command, "shop", relay.otlp_http, &variables);
    for (route, path, requests) in [("/users/{user}", "/users/7", 30), ("/search", "/search", 20)] {
        service.request(address, path, requests);

        let shown = view(&relay, "shop", "start-to-end", &format!("{prefix}GET {route}"), requests);
        let (sum, max) = eventually("the service prints its metrics", || {
            let (count, sum, max) = python_histogram(&service.read("out"), instrument, route)?;
            (count == requests as u64).then_some((sum, max))
        });
        let mean_ns = shown["mean_ns"].as_f64().expect("the exporter sends a sum");
        let expected_ns = sum * unit_ns / requests as f64;
        assert!((mean_ns - expected_ns).abs() < 1.0, "{mean_ns} ns instead of {expected_ns} ns");
        // Of so few requests, this quantile is the slowest.
        let [low, high] = [0, 1].map(|at| shown["quantiles"]["0.9999"][at].as_f64().expect("a quantile is a range"));
        assert!(low - 1.0 <= max * unit_ns && max * unit_ns <= high + 1.0, "{max} is not in {low}..{high} ns");
        assert!(high / low < 1.0906, "{low}..{high} is wider than 9 %");

        let name = format!("GET {route}");
        let shown = view(&relay, "shop", "start-to-end", &format!("{name} (span)"), requests);
        let spans = eventually("the service prints its spans", || {
            let spans = python_spans(&service.read("out"), &name);
            (spans.len() == requests).then_some(spans)
        });
        // It prints start and end in whole microseconds.
        assert_quantiles(&shown, &spans, 1_100.0);
        // Head and body of each response.
        view(&relay, "shop", "computation", &format!("{name} http send (span)"), 2 * requests);
    }
    assert_eq!(relay.rejected("otlp_duplicate") + relay.rejected("otlp_out_of_order"), 0);
}

#[test]
fn an_instrumented_fastapi_service_shows_its_requests_and_spans() {
    // By default, it measures whole milliseconds.
    check_fastapi(&[], "http.server.duration", 1e6, "http.server.duration ");
}

#[test]
fn a_fastapi_service_with_the_newest_conventions_shows_its_requests_and_spans() {
    let newest = ("OTEL_SEMCONV_STABILITY_OPT_IN", "http");
    check_fastapi(&[newest], "http.server.request.duration", 1e9, "");
}

#[test]
fn an_instrumented_node_service_shows_its_requests_and_spans() {
    let relay = Relay::start();
    let [address] = free_ports();
    let port = address.port().to_string();
    let variables =
        [("PORT", port.as_str()), ("OTEL_TRACES_EXPORTER", "otlp,console"), ("OTEL_SEMCONV_STABILITY_OPT_IN", "http")];
    let mut service = Service::start(node("node_service.cjs"), "shop", relay.otlp_http, &variables);
    let requests = 50;
    service.request(address, "/search?q=joey", requests);
    view(&relay, "shop", "start-to-end", "GET", requests);
    let shown = view(&relay, "shop", "start-to-end", "GET (span)", requests);
    let mut spans = eventually("the service prints its spans", || {
        let output = service.read("out");
        let durations = output.lines().filter_map(|line| line.strip_prefix("  duration: ")?.strip_suffix(','));
        // In microseconds.
        let spans: Vec<f64> = durations.map(|text| text.parse::<f64>().expect("a number") / 1e6).collect();
        (spans.len() == requests).then_some(spans)
    });
    spans.sort_by(f64::total_cmp);
    assert_quantiles(&shown, &spans, 1.0);
}
