//! How much memory a request takes once it is decoded, estimated from its bytes before they are decoded.
//!
//! An empty message has two bytes in a request and some hundred in memory. So a request of 16 MiB, which compresses to a thousandth,
//! could take gigabytes. The estimate makes it possible to refuse such a request instead.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Maximum depth of nested messages, as in prost.
const DEPTH_MAX: usize = 100;
/// Estimated memory of a JSON object in bytes: a node of the map that it is read into.
const JSON_OBJECT_BYTES: usize = 700;
/// Estimated memory of any other JSON value in bytes, including its share of a list.
const JSON_VALUE_BYTES: usize = 96;

/// What a field holds.
enum Content {
    /// A message or a string, with its size in memory and the fields that hold more.
    Message { size: usize, fields: &'static [(u32, &'static Self)] },
    /// Integers that have one byte or more in the request, and eight in memory.
    Integers,
}

const fn message(size: usize, fields: &'static [(u32, &'static Content)]) -> Content {
    Content::Message { size, fields }
}

pub(super) static METRICS: Root = Root(&[(1, &RESOURCE_METRICS)]);
pub(super) static TRACES: Root = Root(&[(1, &RESOURCE_SPANS)]);

/// The fields of a request. The numbers of all fields are those of the `.proto` files of OTLP 1.
pub(super) struct Root(&'static [(u32, &'static Content)]);

static STRING: Content = message(size_of::<String>(), &[]);
static ANY_VALUE: Content = message(size_of::<AnyValue>(), &[(5, &ARRAY), (6, &KEY_VALUES)]);
static ARRAY: Content = message(0, &[(1, &ANY_VALUE)]);
static KEY_VALUES: Content = message(0, &[(1, &KEY_VALUE)]);
static KEY_VALUE: Content = message(size_of::<KeyValue>(), &[(2, &ANY_VALUE)]);
static ENTITY: Content = message(size_of::<EntityRef>(), &[(3, &STRING), (4, &STRING)]);
static RESOURCE: Content = message(size_of::<Resource>(), &[(1, &KEY_VALUE), (3, &ENTITY)]);
static SCOPE: Content = message(0, &[(3, &KEY_VALUE)]);

static RESOURCE_METRICS: Content = message(size_of::<ResourceMetrics>(), &[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Content = message(size_of::<ScopeMetrics>(), &[(1, &SCOPE), (2, &METRIC)]);
static METRIC: Content = message(
    size_of::<Metric>(),
    &[(5, &NUMBERS), (7, &NUMBERS), (9, &HISTOGRAMS), (10, &EXPONENTIAL), (11, &SUMMARIES), (12, &KEY_VALUE)],
);
static NUMBERS: Content = message(0, &[(1, &NUMBER)]);
static NUMBER: Content = message(size_of::<NumberDataPoint>(), &[(5, &EXEMPLAR), (7, &KEY_VALUE)]);
static HISTOGRAMS: Content = message(0, &[(1, &HISTOGRAM)]);
static HISTOGRAM: Content = message(size_of::<HistogramDataPoint>(), &[(8, &EXEMPLAR), (9, &KEY_VALUE)]);
static EXPONENTIAL: Content = message(0, &[(1, &EXPONENTIAL_POINT)]);
static EXPONENTIAL_POINT: Content = message(
    size_of::<ExponentialHistogramDataPoint>(),
    &[(1, &KEY_VALUE), (8, &BUCKETS), (9, &BUCKETS), (11, &EXEMPLAR)],
);
static BUCKETS: Content = message(0, &[(2, &Content::Integers)]);
static SUMMARIES: Content = message(0, &[(1, &SUMMARY)]);
static SUMMARY: Content = message(size_of::<SummaryDataPoint>(), &[(6, &QUANTILE), (7, &KEY_VALUE)]);
static QUANTILE: Content = message(size_of::<ValueAtQuantile>(), &[]);
static EXEMPLAR: Content = message(size_of::<Exemplar>(), &[(7, &KEY_VALUE)]);

static RESOURCE_SPANS: Content = message(size_of::<ResourceSpans>(), &[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Content = message(size_of::<ScopeSpans>(), &[(1, &SCOPE), (2, &SPAN)]);
static SPAN: Content = message(size_of::<Span>(), &[(9, &KEY_VALUE), (11, &EVENT), (13, &LINK)]);
static EVENT: Content = message(size_of::<Event>(), &[(3, &KEY_VALUE)]);
static LINK: Content = message(size_of::<Link>(), &[(4, &KEY_VALUE)]);

/// The memory of the messages in a protobuf request, in bytes. `None` if it cannot be decoded.
pub(super) fn of_protobuf(root: &Root, bytes: &[u8]) -> Option<usize> {
    of_fields(root.0, bytes, DEPTH_MAX)
}

fn of_fields(fields: &[(u32, &'static Content)], mut bytes: &[u8], depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let mut weight = 0_usize;
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let content = fields.iter().find(|(other, _)| *other == number).map(|(_, content)| *content);
        match (content, wire_type) {
            (Some(content), WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (inner, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                weight += match content {
                    Content::Message { size, fields } => size + of_fields(fields, inner, depth)?,
                    Content::Integers => size_of::<u64>() * length,
                };
            }
            (content, _) => {
                skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
                // A list of integers may also have a field for each.
                weight += if content.is_some() { size_of::<u64>() } else { 0 };
            }
        }
    }
    Some(weight)
}

/// The memory of the values in a JSON request, in bytes. It also counts brackets and commas inside strings.
pub(super) fn of_json(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .map(|byte| match byte {
            b'{' => JSON_OBJECT_BYTES,
            b'[' | b',' => JSON_VALUE_BYTES,
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
    use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogram, metric::Data};
    use prost::Message as _;

    use super::*;

    fn metrics(data: Data) -> ExportMetricsServiceRequest {
        let metric = Metric { data: Some(data), ..Metric::default() };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }
    }

    #[test]
    fn a_request_of_empty_messages_weighs_what_it_takes_in_memory() {
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 1_000], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        assert!(bytes.len() < 2_100, "{}", bytes.len());
        let rest = size_of::<ScopeSpans>() + size_of::<ResourceSpans>();
        assert_eq!(of_protobuf(&TRACES, &bytes), Some(1_000 * size_of::<Span>() + rest));
    }

    #[test]
    fn buckets_and_attributes_are_counted_at_every_depth() {
        let buckets = Buckets { offset: 0, bucket_counts: vec![0; 5_000] };
        let point =
            ExponentialHistogramDataPoint { positive: Some(buckets), ..ExponentialHistogramDataPoint::default() };
        let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 };
        let request = metrics(Data::ExponentialHistogram(data));
        let weight = of_protobuf(&METRICS, &request.encode_to_vec()).unwrap();
        assert!((40_000..41_000).contains(&weight), "{weight}");
        let mut nested = AnyValue::default();
        for _ in 0..20 {
            let array = opentelemetry_proto::tonic::common::v1::ArrayValue { values: vec![nested] };
            nested =
                AnyValue { value: Some(opentelemetry_proto::tonic::common::v1::any_value::Value::ArrayValue(array)) };
        }
        let attributes = vec![KeyValue { value: Some(nested), ..KeyValue::default() }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let resource_metrics = vec![ResourceMetrics { resource, ..ResourceMetrics::default() }];
        let weight = of_protobuf(&METRICS, &ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()).unwrap();
        assert!(weight > 20 * size_of::<AnyValue>(), "{weight}");
    }

    #[test]
    fn broken_bytes_have_no_weight() {
        assert_eq!(of_protobuf(&METRICS, &[]), Some(0));
        for broken in [&[0x0a][..], &[0x0a, 5, 1], &[0xff; 12], &[0x0a, 2, 0x12, 9]] {
            assert_eq!(of_protobuf(&METRICS, broken), None, "{broken:?}");
        }
        // Each list contains one list.
        let deep = (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut array = vec![0x0a];
            prost::encoding::encode_varint(inner.len() as u64, &mut array);
            let mut value = vec![0x2a];
            prost::encoding::encode_varint((array.len() + inner.len()) as u64, &mut value);
            [value, array, inner].concat()
        });
        assert_eq!(of_fields(&[(5, &ARRAY)], &deep, DEPTH_MAX), None);
    }

    #[test]
    fn json_objects_weigh_more_than_their_bytes() {
        assert_eq!(of_json(b"[{},{},1]"), 2 * JSON_OBJECT_BYTES + 3 * JSON_VALUE_BYTES);
        assert_eq!(of_json(b""), 0);
    }
}
