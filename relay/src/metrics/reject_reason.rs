//! Why the relay rejects a producer's frame: one variant for each value of the label `reason` in `/metrics`.

use joey_shared::series::NameError;

/// Why a frame was refused. The variants are the values of the label `reason` in `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The frame ends before what it announces, or goes on after it.
    BadLength,
    /// The first byte is none of the three types.
    UnknownType,
    /// The topic does not begin with `metrics:`, or names no application.
    BadTopic,
    /// A payload of another event than `metrics`.
    OtherEvent,
    /// A name is longer than 255 bytes.
    LongName,
    /// A name is not UTF-8, or holds control or direction-changing characters.
    BadName,
    /// The period is not between 10 ms and 1 h.
    BadPeriod,
    /// The period ends before it begins.
    BadTime,
    /// There are as many applications as there may be.
    LimitApps,
    /// There are as many series as there may be.
    LimitSeries,
    /// The producer sends more frames than it may.
    Rate,
}

impl RejectReason {
    /// The reason as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadLength => "bad_length",
            Self::UnknownType => "unknown_type",
            Self::BadTopic => "bad_topic",
            Self::OtherEvent => "other_event",
            Self::LongName => "long_name",
            Self::BadName => "bad_name",
            Self::BadPeriod => "bad_period",
            Self::BadTime => "bad_time",
            Self::LimitApps => "limit_apps",
            Self::LimitSeries => "limit_series",
            Self::Rate => "rate",
        }
    }
}

impl From<NameError> for RejectReason {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong => Self::LongName,
            NameError::NotUtf8 | NameError::Unprintable => Self::BadName,
        }
    }
}
