//! Requests and answers of both servers, without sockets.

use std::io::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    exponential_histogram_data_point::Buckets, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};

use super::super::budget::BODY_BYTES_MAX;
use super::super::export::Export;
use super::*;
use crate::config::Config;
use crate::metrics::text_of;

const PROTOBUF: &str = "application/x-protobuf";
const S: u64 = 1_000_000_000;

/// Both routers of one relay.
struct Servers {
    hub: Arc<Hub>,
    service: Arc<Service>,
    http: Router,
    grpc: Router,
}

impl Servers {
    fn new(config: Config) -> Self {
        let auth = Auth::new(&config).unwrap();
        let hub = Arc::new(Hub::new(config, 7));
        let receiver = Arc::new(Receiver::new(hub.clone()));
        let service = Service::new(hub.clone(), auth, receiver);
        Self { hub, http: http::router(service.clone()), grpc: grpc::router(service.clone()), service }
    }

    /// Sends a request from `peer` with these headers, on a connection of its own.
    async fn send(
        &self,
        router: &Router,
        peer: [u8; 4],
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::post(path).body(body.into()).unwrap();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request.extensions_mut().insert(self.service.client((IpAddr::from(peer), 9).into()));
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let collected = http_body_util::BodyExt::collect(body).await.unwrap();
        let mut headers = parts.headers;
        headers.extend(collected.trailers().cloned().unwrap_or_default());
        (parts.status, headers, collected.to_bytes())
    }

    async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        self.send(&self.http, [127, 0, 0, 1], path, headers, body).await
    }

    /// Sends metrics in protobuf.
    async fn metrics(&self, body: impl Into<Body>) -> (StatusCode, HeaderMap, Bytes) {
        self.post("/v1/metrics", &[("content-type", PROTOBUF)], body).await
    }

    /// Sends a gRPC message. Returns the code and the message of the status, and the answer without its prefix.
    async fn call(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (String, String, Bytes) {
        let headers = [&[("content-type", "application/grpc")], headers].concat();
        let path = ExportMetricsServiceRequest::GRPC_PATH;
        let (status, headers, body) = self.send(&self.grpc, [127, 0, 0, 1], path, &headers, body).await;
        assert_eq!(status, StatusCode::OK);
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        (text("grpc-status"), text("grpc-message"), body.slice(body.len().min(5)..))
    }

    /// Number of requests refused for `reason`.
    fn refused(&self, reason: &str) -> u64 {
        let text = text_of(&self.hub.counters().otlp_requests_refused);
        let start = format!("family_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(0)
    }

    /// Number of accepted requests, accepted points, and updates.
    fn accepted(&self) -> (u64, u64, u64) {
        let counters = self.hub.counters();
        (counters.otlp_requests.get(), counters.otlp_points.get(), counters.frames_accepted.get())
    }
}

/// The resource of the service `name`.
fn resource(name: &str) -> Option<Resource> {
    let value = any_value::Value::StringValue(name.to_owned());
    let value = Some(AnyValue { value: Some(value) });
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() }];
    Some(Resource { attributes, ..Resource::default() })
}

fn resource_metrics(app: &str, data: Data) -> ResourceMetrics {
    let metric = Metric {
        name: "http.server.request.duration".to_owned(),
        unit: "s".to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ResourceMetrics { resource: resource(app), scope_metrics, ..ResourceMetrics::default() }
}

/// Metrics of these applications: one delta histogram with `counts` each.
fn metrics(apps: &[&str], counts: &[u64]) -> ExportMetricsServiceRequest {
    let resource_metrics = apps.iter().map(|app| {
        let end_ns = Config::default().now_ns();
        let point = ExponentialHistogramDataPoint {
            start_time_unix_nano: end_ns - S,
            time_unix_nano: end_ns,
            count: counts.iter().sum(),
            scale: 3,
            positive: Some(Buckets { offset: -30, bucket_counts: counts.to_vec() }),
            ..ExponentialHistogramDataPoint::default()
        };
        let histogram = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 };
        resource_metrics(app, Data::ExponentialHistogram(histogram))
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gRPC message.
fn framed(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[u8::from(is_compressed)][..], &length.to_be_bytes(), message].concat()
}

fn code_of(body: &Bytes) -> (i32, String) {
    let status = tonic_types::Status::decode(body.clone()).unwrap();
    (status.code, status.message)
}

#[tokio::test]
async fn an_accepted_request_has_an_empty_answer_in_its_own_encoding() {
    let servers = Servers::new(Config::default());
    let request = metrics(&["a"], &[1, 2, 3]);
    let (status, headers, body) = servers.metrics(request.encode_to_vec()).await;
    assert_eq!((status, &headers["content-type"], &body[..]), (StatusCode::OK, &PROTOBUF.parse().unwrap(), &[][..]));
    let json = serde_json::to_vec(&metrics(&["b"], &[1])).unwrap();
    let (status, headers, body) =
        servers.post("/v1/metrics", &[("content-type", "application/json; charset=utf-8")], json.clone()).await;
    assert_eq!(
        (status, &headers["content-type"], &body[..]),
        (StatusCode::OK, &"application/json".parse().unwrap(), &b"{}"[..])
    );
    for (content_type, body) in [(PROTOBUF, metrics(&["c"], &[1]).encode_to_vec()), ("application/json", json)] {
        let headers = [("content-type", content_type), ("content-encoding", "gzip")];
        assert_eq!(servers.post("/v1/metrics", &headers, gzip(&body)).await.0, StatusCode::OK);
    }
    // The second request in JSON is the same as the first.
    assert_eq!(servers.accepted(), (4, 4, 3));
    let end = Config::default().now_ns();
    let span = Span {
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: end - 5,
        end_time_unix_nano: end,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource("d"), scope_spans, ..ResourceSpans::default() }];
    let traces = ExportTraceServiceRequest { resource_spans };
    assert_eq!(
        servers.post("/v1/traces", &[("content-type", PROTOBUF)], traces.encode_to_vec()).await.0,
        StatusCode::OK
    );
    assert_eq!(servers.accepted(), (5, 5, 4));
}

#[tokio::test]
async fn a_partly_refused_request_tells_how_much_and_why() {
    let servers = Servers::new(Config::default());
    // With new times for each request, because one that is repeated is a success.
    let request = || {
        let mut request = metrics(&["a"], &[1]);
        let negative = NumberDataPoint::default();
        let histogram = ExponentialHistogramDataPoint { count: 7, ..ExponentialHistogramDataPoint::default() };
        let broken = ExponentialHistogram { data_points: vec![histogram; 2], aggregation_temporality: 1 };
        request.resource_metrics.push(resource_metrics("a", Data::ExponentialHistogram(broken)));
        request.resource_metrics.push(resource_metrics("a", Data::Gauge(Gauge { data_points: vec![negative] })));
        request
    };
    let (status, _, body) = servers.metrics(request().encode_to_vec()).await;
    let partial = ExportMetricsServiceResponse::decode(body).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_data_points), (StatusCode::OK, 2));
    assert!(!partial.error_message.is_empty());
    let json = serde_json::to_vec(&request()).unwrap();
    let (status, _, body) = servers.post("/v1/metrics", &[("content-type", "application/json")], json).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["partialSuccess"]["rejectedDataPoints"]), (StatusCode::OK, &json!("2")), "{answer}");
    let (code, _, body) = servers.call(&[], framed(false, &request().encode_to_vec())).await;
    let partial = ExportMetricsServiceResponse::decode(body).unwrap().partial_success.unwrap();
    assert_eq!((code.as_str(), partial.rejected_data_points), ("0", 2));
}

#[tokio::test]
async fn a_refused_request_has_a_status_and_a_reason_over_http() {
    let servers = Servers::new(Config::default());
    let valid = metrics(&["a"], &[1]).encode_to_vec();
    let truncated = valid[..valid.len() - 1].to_vec();
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let empty_messages = [0x0a, 0].repeat(4 << 20);
    let (proto, json) = (("content-type", PROTOBUF), ("content-type", "application/json"));
    let zipped = ("content-encoding", "gzip");
    let cases: [(&[_], Vec<u8>, _, _, _); 12] = [
        (&[proto], truncated, StatusCode::BAD_REQUEST, 3, "malformed"),
        (&[proto], vec![0xff; 100], StatusCode::BAD_REQUEST, 3, "malformed"),
        (&[proto, zipped], valid.clone(), StatusCode::BAD_REQUEST, 3, "malformed"),
        (&[proto, zipped], bomb, StatusCode::PAYLOAD_TOO_LARGE, 8, "too_large"),
        (&[proto, zipped], gzip(&empty_messages), StatusCode::PAYLOAD_TOO_LARGE, 8, "too_large"),
        (&[proto], vec![0; BODY_BYTES_MAX + 6], StatusCode::PAYLOAD_TOO_LARGE, 8, "too_large"),
        (
            &[proto, ("content-encoding", "br")],
            valid.clone(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            12,
            "content_encoding",
        ),
        (&[json], b"{".to_vec(), StatusCode::BAD_REQUEST, 3, "malformed"),
        (
            &[json],
            b"{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"sum\":5}]}]}]}".to_vec(),
            StatusCode::BAD_REQUEST,
            3,
            "malformed",
        ),
        (&[json], "{},".repeat(1 << 20).into_bytes(), StatusCode::PAYLOAD_TOO_LARGE, 8, "too_large"),
        (&[("content-type", "text/plain")], valid.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, 0, "content_type"),
        (&[], valid.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, 0, "content_type"),
    ];
    for (headers, body, expected, expected_code, reason) in cases {
        let before = servers.refused(reason);
        let (status, answer_headers, body) = servers.post("/v1/metrics", headers, body).await;
        assert_eq!((status, servers.refused(reason)), (expected, before + 1), "{headers:?}");
        match headers.first() {
            Some(&first) if first == json => {
                let answer: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(answer["code"], expected_code, "{answer}");
            }
            Some(&first) if first == proto => assert_eq!(code_of(&body).0, expected_code),
            _ => assert_eq!(answer_headers["content-type"], "text/plain; charset=utf-8"),
        }
    }
    let (status, _, body) = servers.post("/v1/logs", &[proto], valid.clone()).await;
    assert_eq!((status, code_of(&body).0, servers.refused("not_found")), (StatusCode::NOT_FOUND, 12, 1));
    let mut get = Request::get("/v1/metrics").body(Body::empty()).unwrap();
    get.extensions_mut().insert(servers.service.client(([127, 0, 0, 1], 9).into()));
    let answer = servers.http.clone().oneshot(get).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    assert_eq!(servers.accepted(), (0, 0, 0));
    // Everything that they used of the budget has been returned.
    assert_eq!(servers.metrics(valid).await.0, StatusCode::OK);
    assert_eq!(servers.service.budget_available(), 128 << 20);
}

#[tokio::test]
async fn a_refused_request_has_a_status_over_grpc() {
    let servers = Servers::new(Config::default());
    let valid = metrics(&["a"], &[1]).encode_to_vec();
    let zipped = [("grpc-encoding", "gzip")];
    let bomb = gzip(&vec![0; 64 << 20]);
    let cases: [(&[_], Vec<u8>, _, _); 8] = [
        (&[], framed(false, &valid[..valid.len() - 1]), "3", "malformed"),
        (&[], framed(false, &valid)[..20].to_vec(), "13", "malformed"),
        (&[], vec![], "13", "malformed"),
        (&zipped, framed(true, &valid), "13", "malformed"),
        (&zipped, framed(true, &bomb), "8", "too_large"),
        (&[], framed(false, &[0x0a, 0].repeat(2 << 20)), "8", "too_large"),
        (&[], [&[0][..], &u32::MAX.to_be_bytes()].concat(), "8", "too_large"),
        (&[("grpc-encoding", "zstd")], framed(true, &valid), "12", "content_encoding"),
    ];
    for (at, (headers, body, expected, reason)) in cases.into_iter().enumerate() {
        let before = servers.refused(reason);
        let (code, message, _) = servers.call(headers, body).await;
        let expected_code = if expected == "13" { "3" } else { expected };
        assert_eq!((code.as_str(), servers.refused(reason)), (expected_code, before + 1), "case {at}: {message}");
    }
    for (path, content_type, expected) in [
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "application/grpc", Some("12")),
        (ExportMetricsServiceRequest::GRPC_PATH, "application/json", None),
    ] {
        let (status, headers, _) = servers
            .send(&servers.grpc, [127, 0, 0, 1], path, &[("content-type", content_type)], framed(false, &valid))
            .await;
        assert_eq!(headers.get("grpc-status").and_then(|code| code.to_str().ok()), expected, "{status}");
    }
    assert_eq!((servers.refused("not_found"), servers.refused("content_type")), (1, 1));
    let ok = ("0".to_owned(), String::new(), Bytes::new());
    // The first one is old by now, so the relay would hold it until it knows the offset of its clock.
    let valid = metrics(&["a"], &[1]).encode_to_vec();
    assert_eq!(servers.call(&[], framed(false, &valid)).await, ok);
    assert_eq!(servers.call(&zipped, framed(true, &gzip(&metrics(&["b"], &[1]).encode_to_vec()))).await, ok);
    assert_eq!(servers.accepted(), (2, 2, 2));
    assert_eq!(servers.service.budget_available(), 128 << 20);
}

#[tokio::test]
async fn a_rate_beyond_the_limit_is_answered_with_the_time_to_wait() {
    let servers = Servers::new(Config { frames_per_sec_max: NonZeroU32::MIN, ..Config::default() });
    let client = servers.service.client(([127, 0, 0, 1], 9).into());
    let send = async |router: &Router, content_type: &str, path: &str, body: Vec<u8>| {
        let mut request = Request::post(path).header("content-type", content_type).body(Body::from(body)).unwrap();
        request.extensions_mut().insert(client.clone());
        router.clone().oneshot(request).await.unwrap()
    };
    let of = |apps: &[&str]| metrics(apps, &[1]).encode_to_vec();
    // A connection may send the points of ten seconds at once.
    let first = send(&servers.http, PROTOBUF, "/v1/metrics", of(&["a", "b", "c", "d", "e", "f", "g", "h"])).await;
    assert_eq!(first.status(), StatusCode::OK);
    let second = send(&servers.http, PROTOBUF, "/v1/metrics", of(&["a", "b", "c", "d"])).await;
    assert_eq!((second.status(), servers.refused("rate_limit")), (StatusCode::TOO_MANY_REQUESTS, 1));
    let wait: u64 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(code_of(&to_bytes(second.into_body(), 1_000).await.unwrap()).0, 14);
    assert!(text_of(&servers.hub.counters().frames_rejected).contains("{reason=\"rate_limit\"} 4"));
    let body = framed(false, &of(&["a", "b", "c", "d"]));
    let third = send(&servers.grpc, "application/grpc", ExportMetricsServiceRequest::GRPC_PATH, body).await;
    assert_eq!(third.headers()["grpc-status"], "14");
    assert!(third.headers().contains_key("grpc-status-details-bin"), "{third:?}");
    // Another connection has its own limit.
    assert_eq!(servers.metrics(of(&["a"; 20])).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_memory_a_request_is_to_be_repeated() {
    let servers = Servers::new(Config::default());
    let body = metrics(&["a"], &[1]).encode_to_vec();
    let others = servers.service.charge();
    others.add(128 << 20).unwrap();
    let (status, headers, answer) = servers.metrics(body.clone()).await;
    assert_eq!((status, &headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    assert_eq!(code_of(&answer).0, 14);
    let path = ExportMetricsServiceRequest::GRPC_PATH;
    let grpc = [("content-type", "application/grpc")];
    let (_, headers, _) = servers.send(&servers.grpc, [127, 0, 0, 1], path, &grpc, framed(false, &body)).await;
    assert_eq!(headers["grpc-status"], "14");
    assert!(headers.contains_key("grpc-status-details-bin"), "{headers:?}");
    assert_eq!((servers.refused("overloaded"), servers.accepted()), (2, (0, 0, 0)));
    drop(others);
    assert_eq!(servers.metrics(body).await.0, StatusCode::OK);
}

#[tokio::test]
async fn beyond_loopback_a_token_decides_which_applications_may_be_sent() {
    let folder = std::env::temp_dir().join(format!("joey-otlp-{}", std::process::id()));
    std::fs::write(&folder, "0123456789abcdef0123456789abcdef").unwrap();
    let token = |claims: Value| crate::auth::token::mint(&folder, &claims).unwrap();
    let expiry = crate::runtime::clock::wall_ns() / S + 100;
    let config = Config { token_keys: vec![folder.clone()], ..Config::default() };
    let servers = Servers::new(config.clone());
    let bearer = |token: String| format!("Bearer {token}");
    let valid = bearer(token(json!({"aud": "joey", "exp": expiry, "apps": ["a*"]})));
    let partial = bearer(token(json!({"aud": "joey", "exp": expiry, "apps": ["a"], "categories": ["x"]})));
    let expired = bearer(token(json!({"aud": "joey", "exp": expiry - 200})));
    let body = || metrics(&["ab", "b", "ac"], &[1]).encode_to_vec();
    let proto = ("content-type", PROTOBUF);
    let send = async |servers: &Servers, peer: [u8; 4], headers: &[(&str, &str)]| {
        servers.send(&servers.http, peer, "/v1/metrics", &[&[proto], headers].concat(), body()).await
    };
    let here = [127, 0, 0, 1];
    let away = [192, 0, 2, 1];
    for headers in [
        &[][..],
        &[("authorization", expired.as_str())],
        &[("authorization", "Bearer x")],
        &[("authorization", "Basic x")],
    ] {
        let (status, answer, body) = send(&servers, away, headers).await;
        assert_eq!((status, &answer["www-authenticate"]), (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap()));
        assert_eq!(code_of(&body).0, 16);
    }
    assert_eq!(servers.refused("invalid_token"), 4);
    let rejected = |body: Bytes| ExportMetricsServiceResponse::decode(body).unwrap().partial_success;
    let (status, _, body) = send(&servers, away, &[("authorization", &valid)]).await;
    let partial_success = rejected(body).unwrap();
    assert_eq!((status, partial_success.rejected_data_points), (StatusCode::OK, 1));
    assert!(partial_success.error_message.contains("otlp_forbidden_app"), "{}", partial_success.error_message);
    assert_eq!(servers.accepted(), (1, 2, 2));
    // A token for some categories does not allow to send.
    let (_, _, body) = send(&servers, away, &[("authorization", &partial)]).await;
    assert_eq!(rejected(body).unwrap().rejected_data_points, 3);
    // This machine needs no token, but a proxy on this machine does.
    assert_eq!(servers.metrics(metrics(&["x"], &[1]).encode_to_vec()).await.2, Bytes::new());
    assert_eq!(send(&servers, here, &[("x-forwarded-for", "192.0.2.1")]).await.0, StatusCode::UNAUTHORIZED);
    let (_, headers, _) = servers
        .send(
            &servers.grpc,
            away,
            ExportMetricsServiceRequest::GRPC_PATH,
            &[("content-type", "application/grpc")],
            vec![],
        )
        .await;
    assert_eq!(headers["grpc-status"], "16");
    // With networks, the address decides instead.
    let networks = Servers::new(Config { producers_allow: Some(vec!["192.0.2.0/24".to_owned()]), ..config });
    assert_eq!(send(&networks, away, &[]).await.0, StatusCode::OK);
    assert_eq!(send(&networks, [192, 0, 3, 1], &[("authorization", &valid)]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(networks.refused("forbidden_network"), 1);
    std::fs::remove_file(&folder).unwrap();
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_send() {
    let origins = vec!["https://shop.example".to_owned()];
    let servers = Servers::new(Config { origins, ..Config::default() });
    let body = || metrics(&["a"], &[1]).encode_to_vec();
    let proto = ("content-type", PROTOBUF);
    let (status, headers, _) = servers.post("/v1/metrics", &[proto, ("origin", "https://shop.example")], body()).await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"]),
        (StatusCode::OK, &"https://shop.example".parse().unwrap())
    );
    for origin in ["https://evil.example", "null", "http://127.0.0.1:4318"] {
        let headers = [proto, ("origin", origin), ("host", "127.0.0.1:4318")];
        let (status, headers, _) = servers.post("/v1/metrics", &headers, body()).await;
        assert_eq!((status, headers.get("access-control-allow-origin")), (StatusCode::FORBIDDEN, None), "{origin}");
    }
    let preflight = async |origin: &str| {
        let request = Request::options("/v1/traces")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization")
            .body(Body::empty());
        let answer = servers.http.clone().oneshot(request.unwrap()).await.unwrap();
        answer.headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(preflight("https://shop.example").await, Some("https://shop.example".parse().unwrap()));
    assert_eq!(preflight("https://evil.example").await, None);
    assert_eq!(servers.refused("forbidden_origin"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_after_its_last_answer() {
    let activity = Arc::new(Mutex::new(Activity { requests: 0, answered: 0, last: Instant::now() }));
    let start = Instant::now();
    idle(&activity).await;
    assert!((10..13).contains(&start.elapsed().as_secs()), "without a request: {:?}", start.elapsed());
    activity.lock().requests += 1;
    let request = InProgress(activity.clone());
    assert!(tokio::time::timeout(Duration::from_secs(600), idle(&activity)).await.is_err(), "a request is in progress");
    drop(request);
    let start = Instant::now();
    idle(&activity).await;
    assert!((130..133).contains(&start.elapsed().as_secs()), "after an answer: {:?}", start.elapsed());
}
