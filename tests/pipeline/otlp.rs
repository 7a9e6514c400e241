//! OpenTelemetry: the exporter of the Rust SDK, unmodified, over each transport, and requests written by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use joey_tests::tls::CertificateAuthority;
use joey_tests::token::{self, SECRET};
use joey_tests::{Relay, S, TIMEOUT, eventually, eventually_is, joey, now_ns};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{
    MetricExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality};
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The quantiles of `joey stats --json`.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

/// How an exporter sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Protobuf,
    ProtobufGzip,
    Json,
    Grpc,
    GrpcGzip,
}

impl Transport {
    fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcGzip)
    }

    fn protocol(self) -> Protocol {
        if self == Self::Json { Protocol::HttpJson } else { Protocol::HttpBinary }
    }

    /// The URL of the relay for requests at `path`.
    fn url(self, relay: &Relay, path: &str) -> String {
        if self.is_grpc() { format!("http://{}", relay.otlp_grpc) } else { format!("http://{}{path}", relay.otlp_http) }
    }

    fn metric_exporter(self, relay: &Relay, temporality: Temporality) -> MetricExporter {
        let builder = MetricExporter::builder().with_temporality(temporality);
        let url = self.url(relay, "/v1/metrics");
        let built = match self {
            Self::Protobuf | Self::Json => {
                builder.with_http().with_protocol(self.protocol()).with_endpoint(url).build()
            }
            Self::ProtobufGzip => {
                builder.with_http().with_endpoint(url).with_compression(opentelemetry_otlp::Compression::Gzip).build()
            }
            Self::Grpc => builder.with_tonic().with_endpoint(url).build(),
            Self::GrpcGzip => {
                builder.with_tonic().with_endpoint(url).with_compression(opentelemetry_otlp::Compression::Gzip).build()
            }
        };
        built.expect("the exporter is configured correctly")
    }

    fn span_exporter(self, relay: &Relay) -> SpanExporter {
        let builder = SpanExporter::builder();
        let url = self.url(relay, "/v1/traces");
        let built = if self.is_grpc() {
            builder.with_tonic().with_endpoint(url).build()
        } else {
            builder.with_http().with_protocol(self.protocol()).with_endpoint(url).build()
        };
        built.expect("the exporter is configured correctly")
    }
}

fn resource(app: &'static str) -> Resource {
    let attributes = [KeyValue::new("service.namespace", "shop"), KeyValue::new("service.instance.id", "one")];
    Resource::builder_empty().with_service_name(app).with_attributes(attributes).build()
}

/// A meter provider that exports when it is told to. `http.server.request.duration` is exponential, as with
/// `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=base2_exponential_bucket_histogram`.
fn meter_provider(app: &'static str, exporter: MetricExporter) -> SdkMeterProvider {
    let exponential = |instrument: &Instrument| {
        let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
        let is_chosen = instrument.name() == "http.server.request.duration";
        is_chosen.then(|| Stream::builder().with_aggregation(aggregation).build().ok()).flatten()
    };
    let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3_600)).build();
    SdkMeterProvider::builder().with_resource(resource(app)).with_view(exponential).with_reader(reader).build()
}

/// Durations in seconds from 10 ms to 4 s.
fn durations() -> Vec<f64> {
    (100..=2_000).map(|number| f64::from(number) * f64::from(number) / 1e6).collect()
}

/// Waits until `joey stats` shows `count` durations of `name`. Returns their view.
fn shown(relay: &Relay, app: &str, name: &str, count: usize) -> Value {
    let address = relay.http.to_string();
    eventually(&format!("{app} shows {count} of {name}"), || {
        let done = joey(&["stats", app, "--json", "--once", "--relay", &address, "--window", "5m"]);
        let snapshot: Value = serde_json::from_str(&done.out).ok()?;
        let views = snapshot["views"].as_array()?;
        let view = views.iter().find(|view| view["name"] == name || view["pipeline"] == name)?;
        (view["count"] == count).then(|| view.clone())
    })
}

/// Asserts that `view` has these durations in seconds, at the finest resolution.
fn assert_exact(view: &Value, mut durations: Vec<f64>) {
    durations.sort_by(f64::total_cmp);
    assert_eq!((&view["count"], &view["scale"]), (&json!(durations.len()), &json!(3)), "{view}");
    assert_eq!(view.get("approximate"), None);
    for (name, q) in QUANTILES {
        let rank = (q * durations.len() as f64).ceil() as usize;
        let expected_ns = durations[rank - 1] * 1e9;
        let [low, high] = [0, 1].map(|at| view["quantiles"][name][at].as_f64().expect("it has quantiles"));
        assert!((low..=high).contains(&expected_ns), "p{name} = {expected_ns} is not in {low}..{high}");
        assert!(high / low < 1.0906, "{low}..{high} is wider than 9 %");
    }
}

#[test]
fn the_numbers_of_the_rust_exporter_are_shown_over_every_transport() {
    let relay = Relay::start();
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    let cases = [
        ("protobuf", Transport::Protobuf, Temporality::Cumulative),
        ("protobuf-gzip", Transport::ProtobufGzip, Temporality::Delta),
        ("json", Transport::Json, Temporality::Cumulative),
        ("grpc", Transport::Grpc, Temporality::Delta),
        ("grpc-gzip", Transport::GrpcGzip, Temporality::Cumulative),
    ];
    for (app, transport, temporality) in cases {
        // tonic needs a runtime; reqwest's blocking client starts its own.
        let guard = transport.is_grpc().then(|| runtime.enter());
        let metrics = meter_provider(app, transport.metric_exporter(&relay, temporality));
        let meter = metrics.meter("test");
        let exponential = meter.f64_histogram("http.server.request.duration").with_unit("s").build();
        let explicit = meter.f64_histogram("rpc.client.duration").with_unit("ms").build();
        let counter = meter.u64_counter("orders").build();
        let route = [KeyValue::new("http.request.method", "GET"), KeyValue::new("http.route", "/users/{id}")];
        for round in 1..=2 {
            for duration in durations() {
                exponential.record(duration, &route);
                explicit.record(duration * 1e3, &[KeyValue::new("rpc.method", "SayHello")]);
            }
            counter.add(7, &[]);
            metrics.force_flush().unwrap_or_else(|error| panic!("{transport:?}, round {round}: {error}"));
        }
        let spans = SdkTracerProvider::builder()
            .with_resource(resource(app))
            .with_batch_exporter(transport.span_exporter(&relay))
            .build();
        let end = SystemTime::now();
        for duration in durations().into_iter().step_by(10) {
            let builder = spans.tracer("test").span_builder("GET /users/{id}").with_kind(SpanKind::Server);
            let start = end - Duration::from_secs_f64(duration);
            spans.tracer("test").build(builder.with_start_time(start)).end_with_timestamp(end);
        }
        spans.force_flush().unwrap_or_else(|error| panic!("{transport:?}: {error}"));
        drop(guard);
        let app = format!("shop/{app}");
        let route = shown(&relay, &app, "GET /users/{id}", 2 * durations().len());
        assert_exact(&route, [durations(), durations()].concat());
        let spans: Vec<f64> = durations().into_iter().step_by(10).collect();
        assert_exact(&shown(&relay, &app, "GET /users/{id} (span)", spans.len()), spans);
        let explicit = shown(&relay, &app, "rpc.client.duration SayHello", 2 * durations().len());
        assert_eq!(explicit["approximate"], true);
        shown(&relay, &app, "orders", 14);
        assert_eq!(relay.stats(&app)["sources"], json!(["otlp-metrics", "otlp-traces"]), "{transport:?}");
    }
    assert_eq!(relay.frame_counts().1, 0, "{}", relay.metrics());
    assert!(!relay.metrics().contains("joey_otlp_requests_refused_total{"), "{}", relay.metrics());
    // Two exports of metrics and one of spans for each transport. Some providers export once more when they are dropped.
    assert!(relay.metric("joey_otlp_requests_total") >= 3 * 5);
    assert!(relay.metric("joey_otlp_points_total") >= (6 + durations().len().div_ceil(10) as u64) * 5);
}

#[test]
fn an_exporter_repeats_what_a_restarted_relay_missed() {
    let mut relay = Relay::start();
    let policy = RetryPolicy::recommended().with_max_retries(1_000).with_max_delay(Duration::from_millis(100));
    let exporter = MetricExporter::builder()
        .with_temporality(Temporality::Delta)
        .with_http()
        .with_endpoint(Transport::Protobuf.url(&relay, "/v1/metrics"))
        .with_timeout(TIMEOUT)
        .with_retry_policy(policy)
        .build();
    let provider = meter_provider("restarted", exporter.expect("the exporter is configured correctly"));
    let histogram = provider.meter("test").f64_histogram("http.server.request.duration").with_unit("s").build();
    let record = |durations: Vec<f64>| durations.into_iter().for_each(|duration| histogram.record(duration, &[]));
    record(durations());
    provider.force_flush().expect("the relay accepts it");
    relay.wait_for_accepted(1);
    relay.kill();
    record(durations()[..100].to_vec());
    let flushing = std::thread::spawn({
        let provider = provider.clone();
        move || provider.force_flush()
    });
    relay.restart_on_same_ports();
    flushing.join().expect("it does not panic").expect("the relay accepts it after its restart");
    assert_exact(&shown(&relay, "shop/restarted", "http.server.request.duration", 100), durations()[..100].to_vec());
    // With its open connection, it does not keep the relay from stopping.
    relay.signal("TERM");
    assert_eq!(relay.wait().code(), Some(0));
}

/// Head and body of the response to a request on `stream`.
fn exchange(stream: &mut (impl Read + Write), head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let head = format!("POST {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("the relay reads");
    // The relay answers a request that is too long before its end.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the relay answers");
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    (status, head, bytes[at + 4..].to_vec())
}

/// Sends a request with more header lines to `address`. Returns the answer's status, head and body.
fn post(address: SocketAddr, lines: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the relay listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
    exchange(&mut stream, &format!("/v1/metrics HTTP/1.1\r\nHost: relay{lines}"), body)
}

/// A field of a protobuf message: bytes of known length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() as u8 & 0x7f | 0x80, (bytes.len() >> 7) as u8);
    assert!(high < 0x80, "short messages only");
    [&[number << 3 | 2, low, high], bytes].concat()
}

/// A field of a protobuf message: a number of 64 bits.
fn fixed(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

/// A request with one delta histogram of `http.server.request.duration`, byte by byte: `counts` in buckets of scale 0
/// from 1 s on.
fn request(app: &str, end_ns: u64, counts: &[u8]) -> Vec<u8> {
    let name = field(2, &field(1, app.as_bytes()));
    let resource = field(1, &field(1, &[field(1, b"service.name"), name].concat()));
    let count = counts.iter().map(|count| u64::from(*count)).sum();
    let buckets = field(8, &field(2, counts));
    let point = [fixed(2, end_ns - S), fixed(3, end_ns), fixed(4, count), buckets].concat();
    let histogram = [field(1, &point), vec![2 << 3, 1]].concat();
    let metric = [field(1, b"http.server.request.duration"), field(3, b"s"), field(10, &histogram)].concat();
    field(1, &[resource, field(2, &field(2, &metric))].concat())
}

const PROTOBUF: &str = "\r\nContent-Type: application/x-protobuf";

#[test]
fn a_request_written_by_hand_gives_the_documented_bins() {
    let relay = Relay::start();
    let (status, head, body) = post(relay.otlp_http, PROTOBUF, &request("by-hand", now_ns(), &[3, 0, 1]));
    assert_eq!((status, &body[..]), (200, &[][..]), "{head}");
    let view = shown(&relay, "by-hand", "http.server.request.duration", 4);
    assert_eq!((&view["scale"], &view["unit"]), (&json!(0), &json!("s")), "{view}");
    // Of (1 s, 2 s] and (4 s, 8 s].
    assert_eq!(view["quantiles"]["0.5"], json!([1_000_000_000_u64, 2_000_000_000_u64]));
    assert_eq!(view["quantiles"]["0.99"], json!([4_000_000_000_u64, 8_000_000_000_u64]));
}

#[test]
fn a_bad_request_gets_an_error_and_nobody_else_notices() {
    let relay = Relay::start();
    let now = now_ns();
    let valid = request("bad", now, &[1]);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 100 << 20]).expect("memory can be written");
    let bomb = bomb.finish().expect("memory can be written");
    let zipped = format!("{PROTOBUF}\r\nContent-Encoding: gzip");
    let cases: [(&str, &[u8], u16, &str); 7] = [
        (PROTOBUF, &valid[..valid.len() - 1], 400, "malformed"),
        (&zipped, &valid, 400, "malformed"),
        (&zipped, &bomb, 413, "too_large"),
        (PROTOBUF, &vec![0; 32 << 20], 413, "too_large"),
        ("\r\nContent-Type: text/html", &valid, 415, "content_type"),
        (&format!("{PROTOBUF}\r\nContent-Encoding: br"), &valid, 415, "content_encoding"),
        (&format!("{PROTOBUF}\r\nOrigin: https://evil.example"), &valid, 403, "forbidden_origin"),
    ];
    let refused = |reason| relay.metric(&format!("joey_otlp_requests_refused_total{{reason=\"{reason}\"}}"));
    for (round, (lines, body, expected, reason)) in (1..).zip(cases) {
        let before = refused(reason);
        let (status, head, _) = post(relay.otlp_http, lines, body);
        assert_eq!((status, refused(reason)), (expected, before + 1), "{head}");
        let healthy = request("healthy", now - 100 * S + round as u64 * 2 * S, &[1]);
        assert_eq!(post(relay.otlp_http, PROTOBUF, &healthy).0, 200);
        shown(&relay, "healthy", "http.server.request.duration", round);
    }
    assert_eq!(joey(&["stats", "bad", "--once", "--relay", &relay.http.to_string()]).code, 3, "nothing was accepted");
    // Bytes that are no HTTP close their own connection.
    for address in [relay.otlp_http, relay.otlp_grpc] {
        let mut stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("the socket is open");
        stream.write_all(&[0xff; 1_000]).expect("the relay reads");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
    assert_eq!(post(relay.otlp_http, PROTOBUF, &request("healthy", now, &[1])).0, 200);
}

#[test]
fn tokens_and_tls_protect_both_ports() {
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let (cert, tls_key) = (authority.path("cert.pem"), authority.path("key.pem"));
    let tls = ["--tls-cert", &cert, "--tls-key", &tls_key, "--ingest-tls"];
    let all = ["--otlp-http", "0.0.0.0:0", "--otlp-grpc", "127.0.0.1:0", "--token-key", &key];
    let relay = Relay::start_with(&[&tls[..], &all].concat());
    let http = SocketAddr::from(([127, 0, 0, 1], relay.otlp_http.port()));
    let send = |lines: &str| {
        let mut stream = authority.connect_with_protocols(http, &["http/1.1"]);
        let head = format!("/v1/metrics HTTP/1.1\r\nHost: relay{PROTOBUF}\r\nX-Forwarded-For: 192.0.2.1{lines}");
        exchange(&mut stream, &head, &request("shop", now_ns(), &[1])).0
    };
    assert_eq!(send(""), 401);
    assert_eq!(send("\r\nAuthorization: Bearer x.y.z"), 401);
    let allowed = token::hs256(SECRET, &token::claims(json!({"apps": ["shop"]})));
    assert_eq!(send(&format!("\r\nAuthorization: Bearer {allowed}")), 200);
    let has = |line: &str| authority.get(relay.http, "/metrics").lines().any(|other| other == line);
    assert!(has("joey_otlp_requests_refused_total{reason=\"invalid_token\"} 2"));
    let grpc = authority.connect_with_protocols(relay.otlp_grpc, &["h2"]);
    assert_eq!(grpc.conn.alpn_protocol(), Some(&b"h2"[..]));
    // Without TLS there is no answer.
    let mut plain = TcpStream::connect(http).expect("the relay listens");
    plain.write_all(b"POST /v1/metrics HTTP/1.1\r\n\r\n").expect("the socket is open");
    eventually_is("a failed handshake", &true, || {
        has("joey_connections_closed_total{reason=\"producer_tls_handshake\"} 1")
    });
}
