//! OTLP over gRPC: the methods `Export` of the services for metrics and traces.
//!
//! tonic decodes the framing and decompresses messages, both within a limit. hyper serves the connections.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use prost::bytes::Buf as _;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use super::budget::{BODY_BYTES_MAX, Charge, limited};
use super::export::Export;
use super::refusal::Refusal;
use super::service::{Client, Payload, Service};
use crate::auth::claims::Claims;
use crate::metrics::OtlpRefusalReason;

/// All methods. Requests carry their [`Client`] as an extension.
pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(ExportMetricsServiceRequest::GRPC_PATH, post(export::<ExportMetricsServiceRequest>))
        .route(ExportTraceServiceRequest::GRPC_PATH, post(export::<ExportTraceServiceRequest>))
        .fallback(unimplemented)
        .method_not_allowed_fallback(unimplemented)
        .with_state(service)
}

async fn export<T: Export>(
    State(service): State<Arc<Service>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Response {
    let is_grpc = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|value| matches!(value, "application/grpc" | "application/grpc+proto"))
    };
    let (parts, body) = request.into_parts();
    if !parts.headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        let refusal = Refusal::new(OtlpRefusalReason::ContentType, "the content type must be application/grpc");
        count(&service, refusal.reason);
        return (refusal.http_status(), format!("{refusal}\n")).into_response();
    }
    let claims = match service.admit(&client, &parts.headers).await {
        Ok(claims) => claims,
        Err(refusal) => return refuse(&service, &refusal),
    };
    let charge = service.charge();
    let body = Body::from_stream(limited(body, charge.clone()).map_err(|refusal| refusal.grpc_status()));
    let is_decoded = Arc::new(AtomicBool::new(false));
    let unary = Unary::<T> {
        service: service.clone(),
        client,
        claims,
        charge,
        is_decoded: is_decoded.clone(),
        of: PhantomData,
    };
    let mut grpc = Grpc::new(RawCodec::<T::Response>(PhantomData))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(BODY_BYTES_MAX);
    let response = grpc.unary(unary, Request::from_parts(parts, body)).await;
    if is_decoded.load(Ordering::Relaxed) {
        return response.map(Body::new);
    }
    // tonic or the body's limits refused the message.
    let status = Status::from_header_map(response.headers()).unwrap_or_else(|| Status::internal("no message"));
    let reason = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => OtlpRefusalReason::TooLarge,
        Code::Unimplemented => OtlpRefusalReason::ContentEncoding,
        Code::DeadlineExceeded => OtlpRefusalReason::Timeout,
        Code::Unavailable => {
            count(&service, OtlpRefusalReason::Overloaded);
            // With its details, which tell the exporter when to try again.
            return response.map(Body::new);
        }
        _ => OtlpRefusalReason::Malformed,
    };
    refuse(&service, &Refusal::new(reason, status.message()))
}

async fn unimplemented(State(service): State<Arc<Service>>) -> Response {
    let message = "Joey accepts metrics and traces only";
    refuse(&service, &Refusal::new(OtlpRefusalReason::NotFound, message))
}

fn refuse(service: &Service, refusal: &Refusal) -> Response {
    count(service, refusal.reason);
    refusal.grpc_status().into_http()
}

fn count(service: &Service, reason: OtlpRefusalReason) {
    service.hub().counters().refuse_otlp(reason);
    tracing::debug!(reason = reason.as_str(), "OTLP request refused");
}

/// Handles the message of one request.
struct Unary<T> {
    service: Arc<Service>,
    client: Client,
    claims: Claims,
    charge: Charge,
    is_decoded: Arc<AtomicBool>,
    of: PhantomData<fn(T)>,
}

impl<T: Export> UnaryService<Bytes> for Unary<T> {
    type Response = T::Response;
    type Future = BoxFuture<'static, Result<tonic::Response<T::Response>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        self.is_decoded.store(true, Ordering::Relaxed);
        let (service, client, claims) = (self.service.clone(), self.client.clone(), self.claims.clone());
        let (bytes, charge) = (request.into_inner(), self.charge.clone());
        Box::pin(async move {
            // The body may have been compressed.
            let charged = charge.add(bytes.len());
            let payload = Payload { bytes, is_gzip: false, is_json: false, charge };
            let exported = match charged {
                Ok(()) => service.export::<T>(&client, claims, payload).await,
                Err(refusal) => Err(refusal),
            };
            exported.map(|outcome| tonic::Response::new(T::response(outcome))).map_err(|refusal| {
                count(&service, refusal.reason);
                refusal.grpc_status()
            })
        })
    }
}

/// Receives messages as bytes, so that their size in memory can be checked before they are decoded. Sends `R`.
struct RawCodec<R>(PhantomData<fn(R)>);

impl<R: Message + 'static> Codec for RawCodec<R> {
    type Encode = R;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<R: Message + 'static> Encoder for RawCodec<R> {
    type Item = R;
    type Error = Status;

    fn encode(&mut self, item: R, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<R: Message + 'static> Decoder for RawCodec<R> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
