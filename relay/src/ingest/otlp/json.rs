//! Decodes OTLP requests in JSON.
//!
//! The generated types know the mapping: identifiers in hex, 64-bit integers as numbers or strings, names in lower camel case.
//! [`Plain`] does the rest:
//!
//! - `serde_json`'s feature `arbitrary_precision` would hand numbers inside flattened fields to them as maps.
//! - A fraction may be a string, such as `"NaN"`.
//! - A field that is `null` has its default value.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Fields with fractions. Other fields of these names contain no strings.
const FRACTIONS: [&str; 9] =
    ["sum", "min", "max", "zeroThreshold", "asDouble", "doubleValue", "explicitBounds", "quantile", "value"];
/// The kinds of data of a metric.
const DATA: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

/// Decodes `bytes`. Also returns how many metrics have data, because the generated types silently drop invalid data.
///
/// # Errors
/// Fails if they are not JSON, or not a request.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), Error> {
    let value: Value = serde_json::from_slice(bytes)?;
    let metrics = elements(&value, "resourceMetrics").flat_map(|resource| elements(resource, "scopeMetrics"));
    let metrics = metrics.flat_map(|scope| elements(scope, "metrics"));
    let with_data =
        metrics.filter(|metric| DATA.iter().any(|kind| metric.get(kind).is_some_and(|data| !data.is_null())));
    let with_data = with_data.count();
    Ok((T::deserialize(Plain { value, is_fraction: false })?, with_data))
}

fn elements<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A value as the generated types expect it.
struct Plain {
    value: Value,
    /// Whether it is the value of a field with fractions.
    is_fraction: bool,
}

impl<'de> Deserializer<'de> for Plain {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { value, is_fraction } = self;
        match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(is_set) => visitor.visit_bool(is_set),
            Value::Number(number) => {
                if let Some(number) = number.as_u64() {
                    visitor.visit_u64(number)
                } else if let Some(number) = number.as_i64() {
                    visitor.visit_i64(number)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::String(text) => match text.parse() {
                Ok(number) if is_fraction => visitor.visit_f64(number),
                _ => visitor.visit_string(text),
            },
            Value::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(|value| Self { value, is_fraction })))
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
                visitor.visit_map(MapDeserializer::new(fields.map(|(name, value)| {
                    let is_fraction = FRACTIONS.contains(&name.as_str());
                    (name, Self { value, is_fraction })
                })))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Plain {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point;

    use super::*;

    /// The example of the OpenTelemetry project, `opentelemetry-proto/examples/metrics.json`, with more kinds of numbers.
    const METRICS: &str = r#"{"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}, {"key": "pid", "value":
            {"intValue": "12"}}, {"key": "new", "value": {"futureValue": [1.5, {}], "intValue": 13}}]},
        "scopeMetrics": [{
            "scope": {"name": "my.library", "version": "1.0.0", "attributes": []},
            "metrics": [{
                "name": "my.counter", "unit": "1", "description": "I am a Counter",
                "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [
                    {"asDouble": 5, "startTimeUnixNano": "1544712660300000000", "timeUnixNano": "1544712660300000000", "attributes": []},
                    {"asInt": "6", "startTimeUnixNano": 1544712660300000000, "timeUnixNano": 18446744073709551615},
                    {"asInt": 7, "exemplars": null, "unknown": {"deep": [1e3]}}]}
            }, {
                "name": "my.histogram", "unit": "1", "description": "I am a Histogram",
                "histogram": {"aggregationTemporality": 1, "dataPoints": [{
                    "startTimeUnixNano": "1544712660300000000", "timeUnixNano": "1544712660300000000",
                    "count": 2, "sum": 2.50, "bucketCounts": [1, "1"], "explicitBounds": [1], "min": 0, "max": 2e0}]}
            }, {
                "name": "my.exponential.histogram", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
                    "timeUnixNano": "1544712660300000000", "count": "3", "sum": 10.10, "scale": -1, "zeroCount": 1,
                    "positive": {"offset": -1, "bucketCounts": ["0", 2]}, "min": 0, "max": 5, "zeroThreshold": "NaN"}]}
            }]
        }]
    }], "unknownField": {"a": [1, 2.5, null]}}"#;

    const TRACES: &str = r#"{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "", "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000, "kind": 2, "flags": 257,
        "status": {"code": 2}, "events": [{"timeUnixNano": "1", "name": "e", "droppedAttributesCount": 3}]}]}]}]}"#;

    #[test]
    fn metrics_are_decoded_with_numbers_in_every_notation() {
        let (request, with_data): (ExportMetricsServiceRequest, _) = decode(METRICS.as_bytes()).unwrap();
        assert_eq!(with_data, 3);
        let resource = &request.resource_metrics[0];
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let value = |at: usize| attributes[at].value.clone().and_then(|value| value.value);
        assert_eq!(value(0), Some(any_value::Value::StringValue("my.service".to_owned())));
        assert_eq!([value(1), value(2)], [Some(any_value::Value::IntValue(12)), Some(any_value::Value::IntValue(13))]);
        let [counter, histogram, exponential] = &resource.scope_metrics[0].metrics[..] else { panic!("three metrics") };
        let Some(Data::Sum(sum)) = &counter.data else { panic!("{counter:?}") };
        let values: Vec<_> = sum.data_points.iter().map(|point| point.value).collect();
        let int = |value| Some(number_data_point::Value::AsInt(value));
        assert_eq!(values, [Some(number_data_point::Value::AsDouble(5.0)), int(6), int(7)]);
        let times: Vec<_> =
            sum.data_points.iter().map(|point| (point.start_time_unix_nano, point.time_unix_nano)).collect();
        let time = 1_544_712_660_300_000_000;
        assert_eq!(times, [(time, time), (time, u64::MAX), (0, 0)]);
        let Some(Data::Histogram(histogram)) = &histogram.data else { panic!("{histogram:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 1][..], &[1.0][..]));
        assert_eq!((point.count, point.sum, point.min, point.max), (2, Some(2.5), Some(0.0), Some(2.0)));
        let Some(Data::ExponentialHistogram(exponential)) = &exponential.data else { panic!("{exponential:?}") };
        let point = &exponential.data_points[0];
        let positive = point.positive.as_ref().unwrap();
        assert_eq!((point.scale, point.zero_count, positive.offset), (-1, 1, -1));
        assert_eq!((&positive.bucket_counts[..], point.sum), (&[0, 2][..], Some(10.1)));
        assert!(point.zero_threshold.is_nan());
    }

    #[test]
    fn traces_are_decoded_with_identifiers_in_hex() {
        let (request, _): (ExportTraceServiceRequest, _) = decode(TRACES.as_bytes()).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.trace_id[..3], [0x5b, 0x8e, 0xff]);
        assert_eq!((span.span_id.len(), span.parent_span_id.len(), span.kind, span.flags), (8, 0, 2, 257));
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_000_000_000);
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    }

    #[test]
    fn anything_else_is_an_error() {
        let decode = |text: &str| decode::<ExportMetricsServiceRequest>(text.as_bytes()).map(|(request, _)| request);
        assert!(decode("{}").unwrap().resource_metrics.is_empty());
        assert!(decode("{\"resourceMetrics\": null}").unwrap().resource_metrics.is_empty());
        for broken in
            ["", "{", "[", "nothing", "{\"resourceMetrics\": 5}", "{\"resourceMetrics\": [5]}", &"[".repeat(10_000)]
        {
            decode(broken).unwrap_err();
        }
    }
}
