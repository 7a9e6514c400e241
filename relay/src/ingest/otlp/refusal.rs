//! A request that is refused as a whole: the answers of OTLP over HTTP and over gRPC.
//!
//! The specification decides which answers an exporter repeats its request after: 429 and 503, and `UNAVAILABLE`. All others are final.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::metrics::OtlpRefusalReason;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: OtlpRefusalReason,
    /// What the sender can do about it.
    pub(super) message: String,
    /// When the sender should try again.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(reason: OtlpRefusalReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    pub(super) fn overloaded() -> Self {
        let message = "the relay is handling too many requests";
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::new(OtlpRefusalReason::Overloaded, message) }
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(OtlpRefusalReason::TooLarge, message)
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(OtlpRefusalReason::Malformed, message)
    }

    /// The status of the answer over HTTP.
    pub(super) const fn http_status(&self) -> StatusCode {
        match self.reason {
            OtlpRefusalReason::ForbiddenNetwork | OtlpRefusalReason::ForbiddenOrigin => StatusCode::FORBIDDEN,
            OtlpRefusalReason::InvalidToken => StatusCode::UNAUTHORIZED,
            OtlpRefusalReason::NotFound => StatusCode::NOT_FOUND,
            OtlpRefusalReason::Method => StatusCode::METHOD_NOT_ALLOWED,
            OtlpRefusalReason::ContentType | OtlpRefusalReason::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            OtlpRefusalReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            OtlpRefusalReason::Malformed => StatusCode::BAD_REQUEST,
            OtlpRefusalReason::Timeout => StatusCode::REQUEST_TIMEOUT,
            OtlpRefusalReason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            OtlpRefusalReason::RateLimit => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The code of the answer over gRPC, and in the body of the answer over HTTP.
    pub(super) const fn code(&self) -> Code {
        match self.reason {
            OtlpRefusalReason::ForbiddenNetwork | OtlpRefusalReason::ForbiddenOrigin => Code::PermissionDenied,
            OtlpRefusalReason::InvalidToken => Code::Unauthenticated,
            OtlpRefusalReason::NotFound | OtlpRefusalReason::Method | OtlpRefusalReason::ContentEncoding => {
                Code::Unimplemented
            }
            OtlpRefusalReason::ContentType | OtlpRefusalReason::Malformed => Code::InvalidArgument,
            // Not OUT_OF_RANGE, after which exporters would send the same request again.
            OtlpRefusalReason::TooLarge => Code::ResourceExhausted,
            OtlpRefusalReason::Timeout => Code::DeadlineExceeded,
            OtlpRefusalReason::Overloaded | OtlpRefusalReason::RateLimit => Code::Unavailable,
        }
    }

    /// The answer over gRPC.
    pub(super) fn grpc_status(&self) -> Status {
        let details = match self.retry_after {
            Some(delay) => ErrorDetails::with_retry_info(Some(delay)),
            None => return Status::new(self.code(), &self.message),
        };
        Status::with_error_details(self.code(), &self.message, details)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl Error for Refusal {}
