//! Spans: the duration of each one is recorded in the series of its operation, in periods of one second.
//!
//! A span belongs to the second in which it ended. Exporters send spans up to ten seconds later.

use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{Provenance, Source};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::batch::{Batch, SeriesPeriod};
use super::mapping::Namer;
use super::outcome::Refusals;
use super::streams::Interval;
use crate::metrics::RejectReason;

/// Length of a period: 1 s.
const PERIOD_NS: u64 = 1_000_000_000;

/// Adds one span of `app` to the batch.
pub(super) fn add(namer: &mut Namer, batch: &mut Batch, refusals: &mut Refusals, app: &str, span: &Span, now_ns: u64) {
    let (start_ns, end_ns) = (span.start_time_unix_nano, span.end_time_unix_nano);
    let Some(duration_ns) = end_ns.checked_sub(start_ns).filter(|_| start_ns > 0) else {
        return refusals.refuse(RejectReason::BadTime, &span.name, 1);
    };
    let kind = SpanKind::try_from(span.kind).unwrap_or(SpanKind::Unspecified);
    let is_error = matches!(&span.status, Some(Status { code, .. }) if *code == StatusCode::Error as i32);
    let (names, is_other) = namer.span(app, (&span.name, kind, is_error), &span.attributes, now_ns);
    let is_sampled = is_sampled(&span.trace_state);
    let provenance = Provenance { is_sampled, ..Provenance::exact(Source::OtlpTraces) };
    let second_ns = end_ns - end_ns % PERIOD_NS;
    let second = Interval { start_ns: second_ns, end_ns: second_ns.saturating_add(PERIOD_NS) };
    match SeriesPeriod::new(names, provenance, second) {
        Ok(series) => batch.sum(series, || Histogram::with_sum(Grid::FINEST)).record(duration_ns),
        Err(reason) => return refusals.refuse(reason, &span.name, 1),
    }
    if is_other {
        refusals.in_other();
    }
}

/// Whether the trace state says that other traces were dropped. Without such a statement nothing is known: most
/// samplers make none.
///
/// The entry `ot` contains the rejection threshold `th`, which is 0 if every trace is kept. Before, it contained `p`,
/// the negative logarithm of the probability.
fn is_sampled(trace_state: &str) -> bool {
    let entries = trace_state.split(',').filter_map(|entry| entry.trim().strip_prefix("ot="));
    entries.flat_map(|list| list.split(';')).any(|member| match member.split_once(':') {
        Some(("th" | "p", value)) => value.bytes().any(|digit| digit != b'0'),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_threshold_in_the_trace_state_means_that_traces_are_sampled() {
        for (state, expected) in [
            ("", false),
            ("ot=th:0", false),
            ("ot=th:8", true),
            ("vendor=th:8, ot=rv:abc;th:c", true),
            ("ot=rv:80000000000000", false),
            ("ot=p:0;r:62", false),
            ("ot=p:8;r:62", true),
            ("ot=", false),
            ("ot", false),
            (",;:=,ot=th", false),
        ] {
            assert_eq!(is_sampled(state), expected, "{state}");
        }
    }
}
