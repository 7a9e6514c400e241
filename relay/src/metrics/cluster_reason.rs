//! Why the relay drops an outgoing cluster message or rejects an incoming one: one variant for each value of the label `reason`
//! of `joey_cluster_messages_dropped_total` and `joey_cluster_messages_rejected_total`.

/// Why a message was not sent to NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterDropReason {
    /// There is no connection to NATS.
    Disconnected,
    /// The queue to NATS is full.
    QueueFull,
    /// The message is too long to be split into parts that the NATS server accepts.
    TooLong,
}

impl ClusterDropReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::QueueFull => "queue_full",
            Self::TooLong => "too_long",
        }
    }
}

/// Why a message from NATS, or an entry of its list, was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterRejectReason {
    /// The subject is not one of ours.
    UnknownSubject,
    /// The message cannot be decoded.
    Malformed,
    /// A part of a split message is missing.
    MissingPart,
    /// The NATS client dropped messages because this relay read too slowly.
    SlowConsumer,
    /// The limit on peer relays is reached.
    RelayLimit,
    /// A log entry has an invalid name or exceeds the limit.
    LogEntry,
    /// A subscription entry has an invalid name or exceeds the limit.
    SubscriptionEntry,
    /// A replica entry has an invalid name or exceeds the limit.
    ReplicaEntry,
    /// The public addresses of a relay are invalid or too many.
    InvalidAddresses,
    /// A batch cannot be decoded or does not fit its log.
    InvalidBatch,
    /// A page of history cannot be decoded or does not fit its log.
    InvalidHistory,
}

impl ClusterRejectReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSubject => "unknown_subject",
            Self::Malformed => "malformed",
            Self::MissingPart => "missing_part",
            Self::SlowConsumer => "slow_consumer",
            Self::RelayLimit => "relay_limit",
            Self::LogEntry => "log_entry",
            Self::SubscriptionEntry => "subscription_entry",
            Self::ReplicaEntry => "replica_entry",
            Self::InvalidAddresses => "invalid_addresses",
            Self::InvalidBatch => "invalid_batch",
            Self::InvalidHistory => "invalid_history",
        }
    }
}
