//! Why the relay closes or rejects a connection: one variant for each value of the label `reason` of
//! `joey_connections_closed_total`. Viewers receive the same text in the close frame.

use super::RejectReason;

/// Why a connection was closed or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The limit on producer connections is reached.
    ProducerLimit,
    /// The limit on producer connections from one address is reached.
    ProducerAddressLimit,
    /// No file descriptor is left for a producer connection.
    ProducerFdLimit,
    /// The producer's network is not in `--producers-allow`.
    ProducerForbiddenNetwork,
    /// The TLS handshake with a producer failed.
    ProducerTlsHandshake,
    /// The limit on OTLP connections is reached.
    OtlpLimit,
    /// The limit on OTLP connections from one address is reached.
    OtlpAddressLimit,
    /// No file descriptor is left for an OTLP connection.
    OtlpFdLimit,
    /// The producer speaks another version of Joey's protocol.
    UnsupportedVersion,
    /// The producer's token does not allow its application.
    ForbiddenApp,
    /// The producer did not read its replies in time.
    AckTimeout,
    /// A rejected frame makes the rest of a producer's connection unreadable.
    Frame(RejectReason),
    /// The limit on HTTP connections is reached.
    ConnectionLimit,
    /// The limit on HTTP connections from one address is reached.
    ConnectionAddressLimit,
    /// No file descriptor is left for an HTTP connection.
    ConnectionFdLimit,
    /// The TLS handshake with an HTTP client failed.
    TlsHandshake,
    /// The page's origin, or a program on another machine, is not allowed to connect.
    ForbiddenOrigin,
    /// Commands were posted to a stream that does not exist.
    UnknownStream,
    /// The commands for a stream did not arrive in time.
    CommandTimeout,
    /// The operating system provided no random bytes for a stream ID.
    NoRandomness,
    /// The limit on viewers is reached.
    ViewerLimit,
    /// The token of a viewer or a producer is invalid.
    InvalidToken,
    /// The viewer sent no token in time.
    NoToken,
    /// The viewer's token has expired.
    TokenExpired,
    /// A viewer's message is too long.
    TooBig,
    /// A viewer's message is not binary.
    NotBinary,
    /// A viewer's message cannot be decoded.
    Malformed,
    /// The viewer read nothing for too long while data was waiting.
    Stalled,
    /// The viewer did not answer pings.
    PingTimeout,
    /// The relay is stopping.
    Restart,
}

impl CloseReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProducerLimit => "producer_limit",
            Self::ProducerAddressLimit => "producer_address_limit",
            Self::ProducerFdLimit => "producer_fd_limit",
            Self::ProducerForbiddenNetwork => "producer_forbidden_network",
            Self::ProducerTlsHandshake => "producer_tls_handshake",
            Self::OtlpLimit => "otlp_limit",
            Self::OtlpAddressLimit => "otlp_address_limit",
            Self::OtlpFdLimit => "otlp_fd_limit",
            Self::UnsupportedVersion => "unsupported_version",
            Self::ForbiddenApp => "forbidden_app",
            Self::AckTimeout => "ack_timeout",
            Self::Frame(reason) => reason.as_str(),
            Self::ConnectionLimit => "connection_limit",
            Self::ConnectionAddressLimit => "connection_address_limit",
            Self::ConnectionFdLimit => "connection_fd_limit",
            Self::TlsHandshake => "tls_handshake",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::UnknownStream => "unknown_stream",
            Self::CommandTimeout => "command_timeout",
            Self::NoRandomness => "no_randomness",
            Self::ViewerLimit => "viewer_limit",
            Self::InvalidToken => "invalid_token",
            Self::NoToken => "no_token",
            Self::TokenExpired => "token_expired",
            Self::TooBig => "too_big",
            Self::NotBinary => "not_binary",
            Self::Malformed => "malformed",
            Self::Stalled => "stalled",
            Self::PingTimeout => "ping_timeout",
            Self::Restart => "restart",
        }
    }
}
