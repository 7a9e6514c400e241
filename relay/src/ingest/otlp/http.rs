//! OTLP over HTTP: `POST /v1/metrics` and `POST /v1/traces`, in protobuf or JSON.
//!
//! An answer has the encoding of its request. Refusals carry a `google.rpc.Status`, as the specification requires.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use futures_util::TryStreamExt as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Outcome;
use super::budget::limited;
use super::export::Export;
use super::refusal::Refusal;
use super::service::{Client, Payload, Service};
use crate::metrics::OtlpRefusalReason;

/// The encoding of a request and its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The encoding that the header `Content-Type` names.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
        let encodings = [Self::Protobuf, Self::Json];
        encodings.into_iter().find(|encoding| media_type.eq_ignore_ascii_case(encoding.media_type()))
    }
}

/// All routes. Requests carry their [`Client`] as an extension.
pub(super) fn router(service: Arc<Service>) -> Router {
    let auth = service.auth().clone();
    let is_allowed =
        move |origin: &HeaderValue, _: &_| origin.to_str().is_ok_and(|origin| auth.policy().allows_origin(origin));
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_ENCODING])
        .expose_headers([header::RETRY_AFTER]);
    Router::new()
        .route(ExportMetricsServiceRequest::HTTP_PATH, post(export::<ExportMetricsServiceRequest>))
        .route(ExportTraceServiceRequest::HTTP_PATH, post(export::<ExportTraceServiceRequest>))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors)
        .with_state(service)
}

async fn export<T: Export>(
    State(service): State<Arc<Service>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let encoding = Encoding::of(&headers);
    match accept::<T>(&service, &client, encoding, &headers, body).await {
        Ok(outcome) => success::<T>(encoding.unwrap_or(Encoding::Protobuf), outcome),
        Err(refusal) => refuse(&service, encoding, &refusal),
    }
}

async fn accept<T: Export>(
    service: &Arc<Service>,
    client: &Client,
    encoding: Option<Encoding>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Outcome, Refusal> {
    let claims = service.admit(client, headers).await?;
    let Some(encoding) = encoding else {
        let message = "the content type must be application/x-protobuf or application/json";
        return Err(Refusal::new(OtlpRefusalReason::ContentType, message));
    };
    let is_gzip = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            return Err(Refusal::new(OtlpRefusalReason::ContentEncoding, "the only supported compression is gzip"));
        }
    };
    let charge = service.charge();
    let parts: Vec<_> = limited(body, charge.clone()).try_collect().await?;
    // Most bodies arrive in one part, which need not be copied.
    let bytes = match <[_; 1]>::try_from(parts) {
        Ok([bytes]) => bytes,
        Err(parts) => parts.concat().into(),
    };
    let payload = Payload { bytes, is_gzip, is_json: encoding == Encoding::Json, charge };
    service.export::<T>(client, claims, payload).await
}

fn success<T: Export>(encoding: Encoding, outcome: Outcome) -> Response {
    let body = match encoding {
        Encoding::Protobuf => T::response(outcome).encode_to_vec(),
        Encoding::Json => in_json::<T>(&outcome).to_string().into_bytes(),
    };
    ([(header::CONTENT_TYPE, encoding.media_type())], body).into_response()
}

/// The answer in JSON, whose 64-bit integers are strings. Fields with default values are left out.
fn in_json<T: Export>(Outcome { rejected, message }: &Outcome) -> Value {
    let mut partial = json!({});
    if *rejected != 0 {
        partial[T::REJECTED] = json!(rejected.to_string());
    }
    if !message.is_empty() {
        partial["errorMessage"] = json!(message);
    }
    if partial == json!({}) { partial } else { json!({"partialSuccess": partial}) }
}

/// Counts and answers a request that is refused.
fn refuse(service: &Service, encoding: Option<Encoding>, refusal: &Refusal) -> Response {
    service.hub().counters().refuse_otlp(refusal.reason);
    tracing::debug!(reason = refusal.reason.as_str(), "OTLP request refused");
    let code = i32::from(refusal.code());
    let (media_type, body) = match encoding {
        Some(Encoding::Protobuf) => {
            let status = tonic_types::Status { code, message: refusal.message.clone(), details: Vec::new() };
            (Encoding::Protobuf.media_type(), status.encode_to_vec())
        }
        Some(Encoding::Json) => {
            (Encoding::Json.media_type(), json!({"code": code, "message": refusal.message}).to_string().into_bytes())
        }
        None => ("text/plain; charset=utf-8", format!("{}\n", refusal.message).into_bytes()),
    };
    let mut response = (refusal.http_status(), [(header::CONTENT_TYPE, media_type)], body).into_response();
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(delay) = refusal.retry_after {
        insert(header::RETRY_AFTER, &(delay.as_millis().div_ceil(1_000)).to_string());
    }
    match refusal.http_status() {
        StatusCode::UNAUTHORIZED => insert(header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::METHOD_NOT_ALLOWED => insert(header::ALLOW, "POST"),
        // An unread body would have to be read before the next request of the connection.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => insert(header::CONNECTION, "close"),
        _ => {}
    }
    response
}

async fn not_found(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let message = "Joey accepts metrics at /v1/metrics and traces at /v1/traces";
    refuse(&service, Encoding::of(&headers), &Refusal::new(OtlpRefusalReason::NotFound, message))
}

async fn method_not_allowed(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    refuse(&service, Encoding::of(&headers), &Refusal::new(OtlpRefusalReason::Method, "the only method is POST"))
}
