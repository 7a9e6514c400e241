//! What was refused of a request, for its response and for the relay's metrics.

use crate::metrics::{Counters, RejectReason};

/// Maximum number of reasons in a message.
const REASONS_MAX: usize = 3;

/// Maximum number of characters of a name in a message.
const NAME_CHARS_MAX: usize = 64;

/// Result of a request, for the field `partial_success` of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of refused data points or spans.
    pub rejected: i64,
    /// Why, in words; empty if there is nothing to report. Without refused data points it is a warning.
    pub message: String,
}

/// Refusals of one request.
#[derive(Debug)]
pub(super) struct Refusals {
    /// What is refused: `data points` or `spans`.
    noun: &'static str,
    rejected: u64,
    /// Each reason, its count, the first name that it applies to, and whether it is reported to the producer.
    reasons: Vec<(RejectReason, u64, String, bool)>,
    /// Number of data points or spans in a series `other`.
    in_other: u64,
}

impl Refusals {
    pub(super) const fn new(noun: &'static str) -> Self {
        Self { noun, rejected: 0, reasons: Vec::new(), in_other: 0 }
    }

    /// Counts `count` refused data points or spans of `name`.
    pub(super) fn refuse(&mut self, reason: RejectReason, name: &str, count: u64) {
        // A retried data point that was counted before is a success for the producer.
        if reason == RejectReason::OtlpDuplicate {
            return self.ignore(reason, name, count);
        }
        self.rejected = self.rejected.saturating_add(count);
        self.add(reason, name, count, true);
    }

    /// Counts negative values that were left out of an accepted data point.
    pub(super) fn warn(&mut self, reason: RejectReason, name: &str) {
        self.add(reason, name, 1, true);
    }

    /// Counts data points that are not shown, and whose producer does nothing wrong.
    pub(super) fn ignore(&mut self, reason: RejectReason, name: &str, count: u64) {
        self.add(reason, name, count, false);
    }

    /// Counts a data point or span whose attributes exceed the limit.
    pub(super) const fn in_other(&mut self) {
        self.in_other += 1;
    }

    fn add(&mut self, reason: RejectReason, name: &str, count: u64, is_reported: bool) {
        match self.reasons.iter_mut().find(|(known, ..)| *known == reason) {
            Some((_, total, ..)) => *total = total.saturating_add(count),
            None if count > 0 => {
                let name = name.chars().take(NAME_CHARS_MAX).collect();
                self.reasons.push((reason, count, name, is_reported));
            }
            None => {}
        }
    }

    /// Counts everything in `counters` and returns the answer.
    pub(super) fn finish(self, counters: &Counters) -> Outcome {
        counters.otlp_attribute_sets_over_limit.inc_by(self.in_other);
        let mut reported = Vec::new();
        for (reason, count, name, is_reported) in &self.reasons {
            counters.reject_many(*reason, *count);
            if *is_reported && reported.len() < REASONS_MAX {
                reported.push(format!(
                    "{} ({}): {count} {}, first in {name:?}",
                    text(*reason),
                    reason.as_str(),
                    self.noun
                ));
            }
        }
        Outcome { rejected: i64::try_from(self.rejected).unwrap_or(i64::MAX), message: reported.join("; ") }
    }
}

/// The reason in words.
const fn text(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::BadTime => "a time is missing or before the start",
        RejectReason::AppLimit => "the relay's limit on applications is reached",
        RejectReason::SeriesLimit => "the relay's limit on series is reached",
        RejectReason::OtlpTemporality => "the aggregation temporality is neither delta nor cumulative",
        RejectReason::OtlpBadBuckets => "the buckets do not match the count or the bounds",
        RejectReason::OtlpBadValue => "a counter is negative or not a number",
        RejectReason::OtlpNegative => "negative values are no durations and were left out",
        RejectReason::OtlpOutOfOrder => "they are older than what was received before",
        RejectReason::OtlpOverlap => "too many processes send the same stream: set service.instance.id",
        _ => "refused",
    }
}
