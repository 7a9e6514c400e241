//! Why the relay refuses a whole OTLP request: one variant for each value of the label `reason` of
//! `joey_otlp_requests_refused_total`.

/// Why an OTLP request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtlpRefusalReason {
    /// The client's network is not in `--producers-allow`.
    ForbiddenNetwork,
    /// The request comes from a web page whose origin is not in `--origin`.
    ForbiddenOrigin,
    /// The request requires a valid token and has none.
    InvalidToken,
    /// The relay accepts metrics and traces only.
    NotFound,
    /// The HTTP method is not POST.
    Method,
    /// The body is neither protobuf nor JSON, or is not gRPC.
    ContentType,
    /// The body is compressed, but not with gzip.
    ContentEncoding,
    /// The body is too large, compressed or decompressed, or it contains too many messages.
    TooLarge,
    /// The body cannot be decoded, or the connection was closed before its end.
    Malformed,
    /// The body did not arrive in time.
    Timeout,
    /// Too many requests are in progress.
    Overloaded,
    /// The connection exceeds its limit on data points per second.
    RateLimit,
}

impl OtlpRefusalReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForbiddenNetwork => "forbidden_network",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::InvalidToken => "invalid_token",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::RateLimit => "rate_limit",
        }
    }
}
