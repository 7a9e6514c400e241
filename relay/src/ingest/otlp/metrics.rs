//! Metrics: each data point of an instrument becomes the histogram, or the count, of one period.

use std::hash::{BuildHasher as _, Hash, Hasher};

use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::{Provenance, Source};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ScopeMetrics, metric, number_data_point,
};

use super::State;
use super::batch::{Batch, SeriesPeriod};
use super::explicit::Explicit;
use super::exponential::Exponential;
use super::outcome::Refusals;
use super::streams::{Interval, Key, Value};
use super::units::TimeUnit;
use crate::metrics::RejectReason;

/// Converts the metrics of one resource.
pub(super) struct Converter<'a> {
    pub(super) state: &'a mut State,
    pub(super) batch: &'a mut Batch,
    pub(super) refusals: &'a mut Refusals,
    pub(super) app: &'a str,
    pub(super) resource_key: Key,
    pub(super) now_ns: u64,
}

/// One instrument.
struct Instrument<'a> {
    metric: &'a Metric,
    key: Key,
    is_delta: bool,
}

/// The common fields of all kinds of data points.
#[derive(Clone, Copy)]
struct Head<'a> {
    attributes: &'a [KeyValue],
    start_ns: u64,
    end_ns: u64,
    flags: u32,
    min: Option<f64>,
    max: Option<f64>,
}

/// How a value of a data point is read.
enum Reading {
    Value(Value),
    /// A sum that may have a fraction.
    Double(f64),
}

impl Reading {
    /// What two different data points of the same interval differ in, almost always.
    fn fingerprint(&self) -> (u64, u64) {
        let bits = |sum: Option<f64>| sum.map_or(0, f64::to_bits);
        match self {
            Self::Value(Value::Exponential(value)) => (value.count(), bits(value.sum)),
            Self::Value(Value::Explicit(value)) => (value.count(), bits(value.sum)),
            Self::Value(Value::Number(number)) => (*number, 0),
            Self::Double(number) => (0, number.to_bits()),
        }
    }
}

impl Converter<'_> {
    pub(super) fn convert(&mut self, scope_metrics: &ScopeMetrics) {
        let scope = scope_metrics.scope.clone().unwrap_or_default();
        let scope_attributes = attributes_key(self.state, &scope.attributes);
        for metric in &scope_metrics.metrics {
            let Some(data) = &metric.data else { continue };
            let (kind, temporality) = match data {
                metric::Data::Sum(sum) if sum.is_monotonic => (0, sum.aggregation_temporality),
                metric::Data::Histogram(histogram) => (1, histogram.aggregation_temporality),
                metric::Data::ExponentialHistogram(histogram) => (2, histogram.aggregation_temporality),
                metric::Data::Sum(_) | metric::Data::Gauge(_) | metric::Data::Summary(_) => {
                    self.refusals.ignore(RejectReason::OtlpUnsupported, &metric.name, count(metric));
                    continue;
                }
            };
            let is_delta = match AggregationTemporality::try_from(temporality) {
                Ok(AggregationTemporality::Delta) => true,
                Ok(AggregationTemporality::Cumulative) => false,
                Ok(AggregationTemporality::Unspecified) | Err(_) => {
                    self.refusals.refuse(RejectReason::OtlpTemporality, &metric.name, count(metric));
                    continue;
                }
            };
            let names = (&scope.name, &scope.version, scope_attributes, &metric.name, &metric.unit, kind, is_delta);
            let key = self.state.key(&(self.resource_key, names));
            self.data_points(&Instrument { metric, key, is_delta }, data);
        }
    }

    fn data_points(&mut self, instrument: &Instrument<'_>, data: &metric::Data) {
        let Metric { name, unit, .. } = instrument.metric;
        let time_unit = TimeUnit::of_instrument(unit, name);
        match (data, time_unit) {
            (metric::Data::Sum(sum), _) => {
                for point in &sum.data_points {
                    self.data_point(instrument, None, head_of_number(point), || number(point));
                }
            }
            (metric::Data::Histogram(histogram), Some(unit)) => {
                for point in &histogram.data_points {
                    let read = || Explicit::read(point).map(|value| Reading::Value(Value::Explicit(value)));
                    self.data_point(instrument, Some(unit), head_of_explicit(point), read);
                }
            }
            (metric::Data::ExponentialHistogram(histogram), Some(unit)) => {
                for point in &histogram.data_points {
                    let read = || Exponential::read(point, unit).map(|value| Reading::Value(Value::Exponential(value)));
                    self.data_point(instrument, Some(unit), head_of_exponential(point), read);
                }
            }
            (metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_), None) => {
                self.refusals.ignore(RejectReason::OtlpNotADuration, name, count(instrument.metric));
            }
            (metric::Data::Gauge(_) | metric::Data::Summary(_), _) => {}
        }
    }

    fn data_point(
        &mut self,
        instrument: &Instrument<'_>,
        unit: Option<TimeUnit>,
        head: Head<'_>,
        read: impl FnOnce() -> Result<Reading, RejectReason>,
    ) {
        if head.flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            return;
        }
        if let Err(reason) = self.add(instrument, unit, head, read) {
            self.refusals.refuse(reason, &instrument.metric.name, 1);
        }
    }

    fn add(
        &mut self,
        instrument: &Instrument<'_>,
        unit: Option<TimeUnit>,
        head: Head<'_>,
        read: impl FnOnce() -> Result<Reading, RejectReason>,
    ) -> Result<(), RejectReason> {
        let Head { attributes, start_ns, end_ns, .. } = head;
        if end_ns == 0 || start_ns > end_ns {
            return Err(RejectReason::BadTime);
        }
        let reading = read()?;
        let key = self.state.key(&(instrument.key, attributes_key(self.state, attributes)));
        // Processes without names of their own are told apart by their start times.
        let instrument_key = self.state.key(&(instrument.key, start_ns));
        let State { streams, hashers: [hasher, _], .. } = &mut *self.state;
        let (interval, value) = match (instrument.is_delta, reading) {
            (true, reading) => {
                let fingerprint = hasher.hash_one((start_ns, end_ns, reading.fingerprint()));
                let interval = streams.delta(key, Interval { start_ns, end_ns }, fingerprint, self.now_ns)?;
                let value = match reading {
                    Reading::Value(value) => value,
                    Reading::Double(number) => Value::Number(streams.whole(key, number)),
                };
                (interval, value)
            }
            (false, reading) => {
                let value = match reading {
                    Reading::Value(value) => value,
                    // The difference of two numbers that were rounded down is right over time.
                    Reading::Double(number) => Value::Number(number as u64),
                };
                let keys = [key, instrument_key];
                match streams.cumulative(keys, Interval { start_ns, end_ns }, value, self.now_ns)? {
                    Some(added) => added,
                    None => {
                        self.batch.add_base();
                        return Ok(());
                    }
                }
            }
        };
        let negatives = match &value {
            Value::Exponential(value) => value.negatives,
            Value::Explicit(value) => value.negatives(),
            Value::Number(_) => 0,
        };
        if negatives > 0 {
            self.refusals.warn(RejectReason::OtlpNegative, &instrument.metric.name);
        }
        self.publish(instrument, unit, head, interval, &value)
    }

    fn publish(
        &mut self,
        instrument: &Instrument<'_>,
        unit: Option<TimeUnit>,
        head: Head<'_>,
        interval: Interval,
        value: &Value,
    ) -> Result<(), RejectReason> {
        // The extremes of a cumulative data point are those since its start.
        let extremes = head.min.zip(head.max).filter(|_| instrument.is_delta);
        let max = extremes.map(|(_, max)| max);
        let (histogram, provenance) = match (value, unit) {
            (Value::Exponential(value), Some(unit)) => {
                let (histogram, is_approximate) = value.histogram(unit, max);
                complete(histogram, is_approximate, extremes, value.sum, unit)
            }
            (Value::Explicit(value), Some(unit)) if !value.is_count() => {
                complete(value.histogram(unit, max), true, extremes, value.sum, unit)
            }
            (Value::Exponential(value), None) => counted(value.count()),
            (Value::Explicit(value), _) => counted(value.count()),
            (Value::Number(count), _) => counted(*count),
        };
        if histogram.is_empty() && !self.batch.is_empty() {
            // An idle stream needs no name, so it does not count towards the limit on names.
            return Ok(());
        }
        let is_duration = unit.is_some() && !matches!(value, Value::Explicit(value) if value.is_count());
        let Metric { name, unit, .. } = instrument.metric;
        let namer = &mut self.state.namer;
        let (names, is_other) = if is_duration {
            namer.duration(self.app, name, head.attributes, self.now_ns)
        } else {
            // The unit of a histogram is that of its values. Here, only their number counts.
            let unit = if matches!(value, Value::Number(_)) { unit.as_str() } else { "" };
            namer.counter(self.app, (name, unit), head.attributes, self.now_ns)
        };
        self.batch.add(SeriesPeriod::new(names, provenance, interval)?, &histogram);
        if is_other {
            self.refusals.in_other();
        }
        Ok(())
    }
}

/// Number of data points of a metric.
pub(super) fn count(metric: &Metric) -> u64 {
    let count = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    count as u64
}

/// Adds minimum, maximum and sum to the counts of a data point.
fn complete(
    mut histogram: Histogram,
    is_approximate: bool,
    extremes: Option<(f64, f64)>,
    sum: Option<f64>,
    unit: TimeUnit,
) -> (Histogram, Provenance) {
    let extremes = extremes.and_then(|(min, max)| unit.duration_ns(min).zip(unit.duration_ns(max)));
    let extremes = extremes.filter(|(min_ns, max_ns)| min_ns <= max_ns);
    match extremes {
        Some((min_ns, max_ns)) if !histogram.is_empty() => (histogram.min_ns, histogram.max_ns) = (min_ns, max_ns),
        _ => histogram.set_bounds(),
    }
    histogram.sum_ns = sum.and_then(|sum| unit.sum_ns(sum));
    let has_extremes = extremes.is_some();
    (histogram, Provenance { is_approximate, has_extremes, ..Provenance::exact(Source::OtlpMetrics) })
}

/// The histogram of `count` events without durations.
fn counted(count: u64) -> (Histogram, Provenance) {
    let mut histogram = Histogram::new(Grid::WALLAROO);
    histogram.record_many(0, count);
    (histogram, Provenance::exact(Source::OtlpMetrics))
}

fn number(point: &NumberDataPoint) -> Result<Reading, RejectReason> {
    match point.value {
        Some(number_data_point::Value::AsInt(number)) => {
            u64::try_from(number).map(|number| Reading::Value(Value::Number(number))).ok()
        }
        Some(number_data_point::Value::AsDouble(number)) => {
            (number.is_finite() && number >= 0.0).then_some(Reading::Double(number))
        }
        None => None,
    }
    .ok_or(RejectReason::OtlpBadValue)
}

fn head_of_number(point: &NumberDataPoint) -> Head<'_> {
    Head {
        attributes: &point.attributes,
        start_ns: point.start_time_unix_nano,
        end_ns: point.time_unix_nano,
        flags: point.flags,
        min: None,
        max: None,
    }
}

fn head_of_explicit(point: &HistogramDataPoint) -> Head<'_> {
    Head {
        attributes: &point.attributes,
        start_ns: point.start_time_unix_nano,
        end_ns: point.time_unix_nano,
        flags: point.flags,
        min: point.min,
        max: point.max,
    }
}

fn head_of_exponential(point: &ExponentialHistogramDataPoint) -> Head<'_> {
    Head {
        attributes: &point.attributes,
        start_ns: point.start_time_unix_nano,
        end_ns: point.time_unix_nano,
        flags: point.flags,
        min: point.min,
        max: point.max,
    }
}

/// Identifies a set of attributes, whatever their order.
pub(super) fn attributes_key(state: &State, attributes: &[KeyValue]) -> Key {
    attributes.iter().fold([0; 2], |[a, b], attribute| {
        let [c, d] = state.key(&(&attribute.key, attribute.value.as_ref().map(HashedValue)));
        [a.wrapping_add(c), b.wrapping_add(d)]
    })
}

/// An attribute's value, with the hash of its contents.
struct HashedValue<'a>(&'a AnyValue);

impl Hash for HashedValue<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Some(value) = &self.0.value else { return 0_u8.hash(hasher) };
        std::mem::discriminant(value).hash(hasher);
        match value {
            any_value::Value::StringValue(text) => text.hash(hasher),
            any_value::Value::BoolValue(is_set) => is_set.hash(hasher),
            any_value::Value::IntValue(number) => number.hash(hasher),
            any_value::Value::DoubleValue(number) => number.to_bits().hash(hasher),
            any_value::Value::ArrayValue(array) => array.values.iter().for_each(|value| Self(value).hash(hasher)),
            any_value::Value::KvlistValue(list) => {
                for KeyValue { key, value, .. } in &list.values {
                    (key, value.as_ref().map(HashedValue)).hash(hasher);
                }
            }
            any_value::Value::BytesValue(bytes) => bytes.hash(hasher),
            any_value::Value::StringValueStrindex(index) => index.hash(hasher),
        }
    }
}
