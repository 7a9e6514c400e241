//! Why the relay rejects a producer's frame: one variant for each value of the label `reason` of `joey_frames_rejected_total`.

use joey_shared::series::NameError;

/// Why a frame was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The frame is shorter or longer than its fields require.
    BadLength,
    /// The first byte is none of the three frame types.
    UnknownType,
    /// The topic does not begin with `metrics:`, or names no application.
    BadTopic,
    /// The payload has an event other than `metrics`.
    UnknownEvent,
    /// A name is longer than 255 bytes.
    NameTooLong,
    /// A name is not UTF-8, or contains control characters or characters that change the text direction.
    InvalidName,
    /// The period is shorter than 10 ms or longer than 1 h.
    BadPeriod,
    /// The period begins before the Unix epoch.
    BadTime,
    /// The limit on applications is reached.
    AppLimit,
    /// A limit on series is reached.
    SeriesLimit,
    /// The producer exceeds its frame rate limit.
    RateLimit,
    /// The connection ended in the middle of a frame.
    Truncated,
    /// The frame did not arrive completely in time.
    FrameTimeout,
    /// The announced length exceeds the limit. The connection is closed, because the start of the next frame is unknown.
    FrameTooLong,
    /// An OTLP data point or span of an application that the request's token does not allow.
    OtlpForbiddenApp,
    /// An OTLP gauge, summary or sum that may decrease. It has no rate and no distribution, so it is not shown.
    OtlpUnsupported,
    /// An OTLP histogram whose unit is no time.
    OtlpNotADuration,
    /// An OTLP metric without aggregation temporality.
    OtlpTemporality,
    /// An OTLP data point whose buckets do not match its count or its bounds.
    OtlpBadBuckets,
    /// An OTLP sum that is negative, not a number, or missing.
    OtlpBadValue,
    /// An OTLP histogram with negative values. The other values of the data point are accepted.
    OtlpNegative,
    /// An OTLP data point or span that was received before.
    OtlpDuplicate,
    /// A cumulative OTLP data point that is older than the newest one of its stream.
    OtlpOutOfOrder,
    /// A cumulative OTLP data point of a stream that too many processes send.
    OtlpOverlap,
    /// A message of Joey's own protocol, or a histogram in it, cannot be decoded.
    BadMessage,
    /// The series of a histogram was not announced on this connection.
    UnknownSeries,
    /// A line of StatsD has no name, value or type.
    StatsdBadLine,
    /// A value or sample rate of StatsD is not a number in the allowed range.
    StatsdBadValue,
    /// A metric of StatsD has a type that carries neither durations nor counts of events, such as a gauge.
    StatsdUnsupported,
    /// An event or service check of DogStatsD.
    StatsdEvent,
    /// A packet came from a network that producers may not use.
    ForbiddenNetwork,
}

impl RejectReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadLength => "bad_length",
            Self::UnknownType => "unknown_type",
            Self::BadTopic => "bad_topic",
            Self::UnknownEvent => "unknown_event",
            Self::NameTooLong => "name_too_long",
            Self::InvalidName => "invalid_name",
            Self::BadPeriod => "bad_period",
            Self::BadTime => "bad_time",
            Self::AppLimit => "app_limit",
            Self::SeriesLimit => "series_limit",
            Self::RateLimit => "rate_limit",
            Self::Truncated => "truncated",
            Self::FrameTimeout => "frame_timeout",
            Self::FrameTooLong => "frame_too_long",
            Self::OtlpForbiddenApp => "otlp_forbidden_app",
            Self::OtlpUnsupported => "otlp_unsupported",
            Self::OtlpNotADuration => "otlp_not_a_duration",
            Self::OtlpTemporality => "otlp_temporality",
            Self::OtlpBadBuckets => "otlp_bad_buckets",
            Self::OtlpBadValue => "otlp_bad_value",
            Self::OtlpNegative => "otlp_negative",
            Self::OtlpDuplicate => "otlp_duplicate",
            Self::OtlpOutOfOrder => "otlp_out_of_order",
            Self::OtlpOverlap => "otlp_overlap",
            Self::BadMessage => "bad_message",
            Self::UnknownSeries => "unknown_series",
            Self::StatsdBadLine => "statsd_bad_line",
            Self::StatsdBadValue => "statsd_bad_value",
            Self::StatsdUnsupported => "statsd_unsupported",
            Self::StatsdEvent => "statsd_event",
            Self::ForbiddenNetwork => "forbidden_network",
        }
    }
}

impl From<NameError> for RejectReason {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong => Self::NameTooLong,
            NameError::NotUtf8 | NameError::Unprintable => Self::InvalidName,
        }
    }
}
