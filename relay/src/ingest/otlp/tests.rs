//! Requests as exporters send them, and what the hub publishes. Times are in seconds.

use joey_shared::histogram::{Grid, Histogram, Unit};
use joey_shared::series::{COMPUTATION, Filter, Provenance, START_TO_END, SeriesKey, Source, THROUGHPUT, Topic};
use joey_shared::wire::{SeriesEntry, ServerMessage, Start, Update};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality::{Cumulative, Delta};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram as OtlpHistogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, Status};
use tokio::sync::Notify;

use super::*;
use crate::config::Config;
use crate::metrics::ReasonLabel;

const S: u64 = 1_000_000_000;
/// When the relay starts, and when all requests arrive.
const STARTED: u64 = 1_000;
const NOW: u64 = 1_010;

/// A relay that starts at [`STARTED`].
struct Relay {
    hub: Arc<Hub>,
    receiver: Receiver,
}

impl Relay {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let hub = Arc::new(Hub::new(Config { clock: || STARTED * S, ..config }, 7));
        Self { receiver: Receiver::new(hub.clone()), hub }
    }

    fn metrics(&self, metrics: Vec<Metric>) -> Outcome {
        self.metrics_of("shop", metrics)
    }

    fn metrics_of(&self, service: &str, metrics: Vec<Metric>) -> Outcome {
        let scope = Some(InstrumentationScope { name: "scope".to_owned(), ..Default::default() });
        let scope_metrics = vec![ScopeMetrics { scope, metrics, ..Default::default() }];
        let resource = Some(resource(service));
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }];
        self.receiver.metrics(ExportMetricsServiceRequest { resource_metrics }, NOW * S)
    }

    fn spans(&self, spans: Vec<Span>) -> Outcome {
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource("shop")), scope_spans, ..Default::default() }];
        self.receiver.traces(ExportTraceServiceRequest { resource_spans }, NOW * S)
    }

    /// Everything that the hub has published of the service `shop`, in the order of its log.
    fn published(&self) -> Vec<(SeriesKey, Provenance, Update)> {
        self.hub.cut_all(NOW * S);
        let Some(app) = self.hub.own_app("shop") else { return Vec::new() };
        let mut series: Vec<SeriesEntry> = Vec::new();
        for message in app.series_messages(&Filter::All) {
            match ServerMessage::decode(&message) {
                Ok(ServerMessage::Series { series: some, .. }) => series.extend(some),
                other => panic!("not a series message: {other:?}"),
            }
        }
        let viewer = self.hub.register_viewer(Arc::<Notify>::default()).unwrap();
        let topic = Topic { app: "shop".to_owned(), filter: Filter::All };
        let (mut subscription, _) = viewer.subscribe(1, &topic, None, Start::History, 0).unwrap();
        let mut published = Vec::new();
        for batch in subscription.read(usize::MAX, 0).batches {
            let Ok(ServerMessage::Batch { head, updates }) = ServerMessage::decode(&batch) else { panic!("no batch") };
            for update in head.read(updates).map(Result::unwrap) {
                let entry = series.iter().find(|entry| entry.number == update.series).unwrap();
                published.push((entry.key.clone(), entry.provenance, update));
            }
        }
        published
    }

    /// Published names, period starts and ends, and counts.
    fn counts(&self) -> Vec<(String, u64, u64, u128)> {
        let line = |(key, _, update): (SeriesKey, Provenance, Update)| {
            (key.name, (update.end_ns - update.period_ns) / S, update.end_ns / S, update.histogram.count())
        };
        self.published().into_iter().map(line).collect()
    }

    fn rejected(&self, reason: RejectReason) -> u64 {
        let label = ReasonLabel { reason: reason.as_str() };
        self.hub.counters().frames_rejected.get_or_create(&label).get()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn resource(service: &str) -> Resource {
    let attributes = vec![text("service.name", service), text("service.instance.id", "i-1")];
    Resource { attributes, ..Default::default() }
}

/// A data point with `counts` from index 0 on, at scale 3.
fn point((start, end): (u64, u64), route: &str, counts: &[u64]) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: vec![text("http.request.method", "GET"), text("http.route", route)],
        start_time_unix_nano: start * S,
        time_unix_nano: end * S,
        count: counts.iter().sum(),
        scale: 3,
        positive: Some(Buckets { offset: 0, bucket_counts: counts.to_vec() }),
        ..Default::default()
    }
}

fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Default::default() }
}

fn exponential(temporality: AggregationTemporality, data_points: Vec<ExponentialHistogramDataPoint>) -> metric::Data {
    metric::Data::ExponentialHistogram(ExponentialHistogram {
        data_points,
        aggregation_temporality: temporality as i32,
    })
}

fn requests(temporality: AggregationTemporality, points: Vec<ExponentialHistogramDataPoint>) -> Vec<Metric> {
    vec![metric("http.server.request.duration", "s", exponential(temporality, points))]
}

#[test]
fn a_delta_histogram_is_published_with_its_extremes_and_sum() {
    let relay = Relay::new();
    let extremes = ExponentialHistogramDataPoint {
        sum: Some(3.2),
        min: Some(1.05),
        max: Some(1.11),
        ..point((1_008, 1_009), "/a", &[2, 1])
    };
    assert_eq!(relay.metrics(requests(Delta, vec![extremes])), Outcome::default());
    let published = relay.published();
    let [(key, provenance, update)] = published.as_slice() else { panic!("{published:?}") };
    let [category, pipeline, worker, name] = [START_TO_END, "GET /a", "i-1", "GET /a"].map(str::to_owned);
    assert_eq!(*key, SeriesKey { category, pipeline, worker, name });
    assert_eq!(*provenance, Provenance::exact(Source::OtlpMetrics));
    assert_eq!((update.period_ns, update.end_ns), (S, 1_009 * S));
    let grid = Grid::new(3, Unit::Seconds).unwrap();
    let expected = Histogram::from_counts(grid, grid.bin_of_index(0), [2, 1]);
    assert_eq!(update.histogram, expected.with_statistics(1_050_000_000, 1_110_000_000, Some(3_200_000_000)));
}

#[test]
fn the_extremes_of_a_cumulative_histogram_are_those_of_its_bins() {
    let relay = Relay::new();
    for (end, counts, sum) in [(1_009, [1, 0], 1.0), (1_010, [1, 4], 5.5)] {
        let (min, max) = (Some(1.0), Some(9.0));
        let point = ExponentialHistogramDataPoint { min, max, sum: Some(sum), ..point((1_001, end), "/a", &counts) };
        relay.metrics(requests(Cumulative, vec![point]));
    }
    let (_, provenance, update) = relay.published().pop().unwrap();
    assert!(!provenance.has_extremes && !provenance.is_approximate);
    let grid = update.histogram.grid();
    let bin = grid.bin_of_index(1);
    assert_eq!(update.histogram.extremes(), Some((grid.low(bin), u64::try_from(grid.high(bin)).unwrap())));
    assert_eq!((update.histogram.count(), update.histogram.sum_ns), (4, Some(4_500_000_000)));
}

#[test]
fn streams_that_differ_in_other_attributes_are_one_update() {
    let relay = Relay::new();
    let with_status = |status| {
        let mut point = point((1_008, 1_009), "/a", &[2]);
        point.attributes.push(text("http.response.status_code", status));
        point
    };
    relay.metrics(requests(Delta, vec![with_status("200"), with_status("500"), point((1_008, 1_009), "/b", &[1])]));
    let expected = [("GET /a", 4), ("GET /b", 1)].map(|(name, count)| (name.to_owned(), 1_008, 1_009, count));
    assert_eq!(relay.counts(), expected);
}

#[test]
fn the_order_of_attributes_does_not_matter() {
    let relay = Relay::new();
    let first = point((1_008, 1_009), "/a", &[2]);
    let mut second = first.clone();
    second.attributes.reverse();
    relay.metrics(requests(Delta, vec![first]));
    assert_eq!(relay.metrics(requests(Delta, vec![second])), Outcome::default(), "a retry is a success");
    assert_eq!(relay.rejected(RejectReason::OtlpDuplicate), 1);
    assert_eq!(relay.counts().len(), 1);
}

#[test]
fn streams_of_two_services_scopes_or_instruments_are_independent() {
    let relay = Relay::new();
    let points = || vec![point((1_001, 1_009), "/a", &[2])];
    let of = |name: &str| vec![metric(name, "s", exponential(Cumulative, points()))];
    for (service, name) in [("shop", "a.duration"), ("shop", "b.duration"), ("mall", "a.duration")] {
        assert_eq!(relay.metrics_of(service, of(name)), Outcome::default(), "{service} {name}");
    }
    let names: Vec<String> = relay.counts().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a.duration GET /a", "b.duration GET /a"]);
    assert!(relay.hub.own_app("mall").is_some());
}

#[test]
fn explicit_buckets_are_approximate() {
    let relay = Relay::new();
    let data_points = vec![HistogramDataPoint {
        start_time_unix_nano: 1_008 * S,
        time_unix_nano: 1_009 * S,
        count: 3,
        bucket_counts: vec![0, 3, 0],
        explicit_bounds: vec![5.0, 10.0],
        ..Default::default()
    }];
    let data = metric::Data::Histogram(OtlpHistogram { data_points, aggregation_temporality: Delta as i32 });
    relay.metrics(vec![metric("job.duration", "ms", data)]);
    let (key, provenance, update) = relay.published().pop().unwrap();
    assert_eq!((key.category.as_str(), key.pipeline.as_str(), key.name.as_str()), (COMPUTATION, "", "job.duration"));
    assert!(provenance.is_approximate && !provenance.has_extremes);
    assert_eq!(update.histogram.count_at(Grid::FINEST.bin_of(10_000_000)), 3);
}

#[test]
fn a_histogram_without_buckets_is_a_throughput() {
    let relay = Relay::new();
    let data_points = vec![HistogramDataPoint {
        start_time_unix_nano: 1_008 * S,
        time_unix_nano: 1_009 * S,
        count: 3,
        sum: Some(2.0),
        ..Default::default()
    }];
    let data = metric::Data::Histogram(OtlpHistogram { data_points, aggregation_temporality: Delta as i32 });
    relay.metrics(vec![metric("job.duration", "ms", data)]);
    let (key, _, update) = relay.published().pop().unwrap();
    assert_eq!((key.category.as_str(), key.name.as_str()), (THROUGHPUT, "job.duration"));
    assert_eq!(update.histogram.count_at(0), 3);
}

fn number(end: u64, value: number_data_point::Value) -> NumberDataPoint {
    let (start_time_unix_nano, time_unix_nano) = (1_001 * S, end * S);
    NumberDataPoint { start_time_unix_nano, time_unix_nano, value: Some(value), ..Default::default() }
}

fn sum(temporality: AggregationTemporality, is_monotonic: bool, data_points: Vec<NumberDataPoint>) -> metric::Data {
    metric::Data::Sum(Sum { data_points, aggregation_temporality: temporality as i32, is_monotonic })
}

#[test]
fn monotonic_sums_are_throughputs() {
    let relay = Relay::new();
    for (end, int, double) in [(1_008, 5, 0.75), (1_009, 9, 1.5), (1_010, 9, 2.25)] {
        let ints = vec![number(end, number_data_point::Value::AsInt(int))];
        let doubles = vec![number(end, number_data_point::Value::AsDouble(double))];
        let metrics = vec![
            metric("orders", "{order}", sum(Cumulative, true, ints)),
            metric("process.cpu.time", "s", sum(Cumulative, true, doubles)),
        ];
        assert_eq!(relay.metrics(metrics), Outcome::default());
    }
    let of = |(name, start, end, count): (&str, u64, u64, u128)| (name.to_owned(), start, end, count);
    assert_eq!(
        relay.counts(),
        [
            of(("orders", 1_001, 1_008, 5)),
            of(("orders", 1_008, 1_009, 4)),
            of(("process.cpu.time [s]", 1_008, 1_009, 1)),
            of(("process.cpu.time [s]", 1_009, 1_010, 1)),
        ]
    );
    assert!(relay.published().iter().all(|(key, _, update)| {
        key.category == THROUGHPUT && key.pipeline.is_empty() && update.histogram.count_at(0) > 0
    }));
}

#[test]
fn counters_that_are_negative_or_no_numbers_are_refused() {
    let relay = Relay::new();
    let values = [
        number_data_point::Value::AsInt(-1),
        number_data_point::Value::AsDouble(-0.5),
        number_data_point::Value::AsDouble(f64::NAN),
    ];
    let mut points: Vec<NumberDataPoint> = values.into_iter().map(|value| number(1_005, value)).collect();
    points.push(NumberDataPoint { value: None, ..points[0].clone() });
    let outcome = relay.metrics(vec![metric("orders", "", sum(Delta, true, points))]);
    assert_eq!((outcome.rejected, relay.rejected(RejectReason::OtlpBadValue)), (4, 4));
    assert!(
        outcome.message.contains("otlp_bad_value") && outcome.message.contains("\"orders\""),
        "{}",
        outcome.message
    );
}

#[test]
fn what_has_no_distribution_in_time_is_ignored_and_counted() {
    let relay = Relay::new();
    let numbers = || vec![number(1_005, number_data_point::Value::AsInt(1))];
    let summary = Summary { data_points: vec![SummaryDataPoint::default(); 2] };
    let outcome = relay.metrics(vec![
        metric("memory", "By", metric::Data::Gauge(Gauge { data_points: numbers() })),
        metric("connections", "1", sum(Cumulative, false, numbers())),
        metric("summary", "s", metric::Data::Summary(summary)),
        metric("http.server.request.body.size", "By", exponential(Delta, vec![point((1_001, 1_002), "/", &[1])])),
        Metric { name: "empty".to_owned(), ..Default::default() },
    ]);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(relay.rejected(RejectReason::OtlpUnsupported), 4);
    assert_eq!(relay.rejected(RejectReason::OtlpNotADuration), 1);
    assert!(relay.hub.own_app("shop").is_none(), "nothing of it is shown");
}

#[test]
fn one_bad_data_point_costs_only_itself() {
    let relay = Relay::new();
    let good = point((1_008, 1_009), "/good", &[1]);
    let points = vec![
        ExponentialHistogramDataPoint { count: 7, ..good.clone() },
        ExponentialHistogramDataPoint { time_unix_nano: 0, ..good.clone() },
        ExponentialHistogramDataPoint { start_time_unix_nano: 1_010 * S, ..good.clone() },
        ExponentialHistogramDataPoint { start_time_unix_nano: 0, time_unix_nano: 1, ..point((0, 0), "/1970", &[1]) },
        ExponentialHistogramDataPoint { flags: 1, ..point((1_008, 1_009), "/skipped", &[]) },
        good,
    ];
    let mut metrics = requests(Delta, points.clone());
    metrics.push(metric("b.duration", "s", exponential(AggregationTemporality::Unspecified, points)));
    let outcome = relay.metrics(metrics);
    assert_eq!(outcome.rejected, 4 + 6);
    assert_eq!(
        [RejectReason::OtlpBadBuckets, RejectReason::BadTime, RejectReason::OtlpTemporality]
            .map(|it| relay.rejected(it)),
        [1, 3, 6]
    );
    assert_eq!(relay.counts(), [("GET /good".to_owned(), 1_008, 1_009, 1)]);
}

#[test]
fn negative_values_are_a_warning() {
    let relay = Relay::new();
    let negative = Some(Buckets { offset: 0, bucket_counts: vec![4] });
    let point = ExponentialHistogramDataPoint { negative, count: 6, ..point((1_008, 1_009), "/a", &[2]) };
    let outcome = relay.metrics(requests(Delta, vec![point]));
    assert_eq!((outcome.rejected, relay.rejected(RejectReason::OtlpNegative)), (0, 1));
    assert!(outcome.message.contains("left out"), "{}", outcome.message);
    assert_eq!(relay.counts(), [("GET /a".to_owned(), 1_008, 1_009, 2)]);
}

#[test]
fn an_idle_service_publishes_one_empty_histogram() {
    let relay = Relay::new();
    for end in 1_008..1_011 {
        let points = ["/a", "/b", "/c"].map(|route| point((1_001, end), route, &[2]));
        relay.metrics(requests(Cumulative, points.to_vec()));
    }
    let of = |name: &str, start, end, count| (name.to_owned(), start, end, count);
    assert_eq!(
        relay.counts(),
        [
            of("GET /a", 1_001, 1_008, 2),
            of("GET /b", 1_001, 1_008, 2),
            of("GET /c", 1_001, 1_008, 2),
            of("GET /a", 1_008, 1_009, 0),
            of("GET /a", 1_009, 1_010, 0),
        ]
    );
}

#[test]
fn exports_within_microseconds_and_after_hours_keep_their_counts() {
    let relay = Relay::new();
    let at =
        |time_ns, count| ExponentialHistogramDataPoint { time_unix_nano: time_ns, ..point((1_001, 0), "/a", &[count]) };
    for (time_ns, count) in [(1_002 * S, 1), (1_002 * S + 1, 3), (20_000 * S, 7)] {
        relay.metrics(requests(Cumulative, vec![at(time_ns, count)]));
    }
    let periods: Vec<(u64, u128)> =
        relay.published().into_iter().map(|(_, _, update)| (update.period_ns, update.histogram.count())).collect();
    assert_eq!(periods, [(S, 1), (10_000_000, 2), (3_600 * S, 4)]);
}

#[test]
fn attribute_sets_beyond_the_limit_are_one_series_and_are_counted() {
    let relay = Relay::with(Config { otlp_attribute_sets_max: 2, ..Config::default() });
    let points = (0..5).map(|at| point((1_008, 1_009), &format!("/{at}"), &[1])).collect();
    assert_eq!(relay.metrics(requests(Delta, points)), Outcome::default());
    let mut counts = relay.counts();
    counts.sort();
    let of = |name: &str, count| (name.to_owned(), 1_008, 1_009, count);
    assert_eq!(counts, [of("GET /0", 1), of("GET /1", 1), of("http.server.request.duration other", 3)]);
    assert_eq!(relay.hub.counters().otlp_attribute_sets_over_limit.get(), 3);
}

#[test]
fn idle_streams_do_not_count_towards_the_limit_on_names() {
    let relay = Relay::with(Config { otlp_attribute_sets_max: 2, ..Config::default() });
    for (end, counts) in [(1_008, [1, 1, 1]), (1_009, [1, 1, 1]), (1_010, [1, 1, 2])] {
        let points = ["/a", "/b", "/c"].into_iter().zip(counts);
        let points = points.map(|(route, count)| point((900, end), route, &[count])).collect();
        relay.metrics(requests(Cumulative, points));
    }
    let of = |name: &str, start, end, count| (name.to_owned(), start, end, count);
    assert_eq!(relay.counts(), [of("GET /a", 1_008, 1_009, 0), of("GET /c", 1_009, 1_010, 1)]);
    assert_eq!(relay.hub.counters().otlp_attribute_sets_over_limit.get(), 0);
}

#[test]
fn limits_of_the_relay_refuse_data_points() {
    let relay = Relay::with(Config { apps_max: 1, series_max: 1, ..Config::default() });
    let points = || ["/a", "/b"].map(|route| point((1_008, 1_009), route, &[1])).to_vec();
    assert_eq!(relay.metrics(requests(Delta, points())).rejected, 1);
    let outcome = relay.metrics_of("mall", requests(Delta, points()));
    assert!(outcome.rejected == 2 && outcome.message.contains("limit on applications"), "{outcome:?}");
    assert_eq!((relay.rejected(RejectReason::SeriesLimit), relay.rejected(RejectReason::AppLimit)), (1, 2));
}

fn span(name: &str, kind: SpanKind, start_ns: u64, end_ns: u64) -> Span {
    let name = name.to_owned();
    Span { name, kind: kind as i32, start_time_unix_nano: start_ns, end_time_unix_nano: end_ns, ..Default::default() }
}

#[test]
fn spans_are_recorded_in_the_second_in_which_they_end() {
    let relay = Relay::new();
    let at = |start_ms: u64, end_ms: u64| span("GET /a", SpanKind::Server, start_ms * 1_000_000, end_ms * 1_000_000);
    let outcome = relay.spans(vec![at(1_002_100, 1_002_130), at(1_001_900, 1_002_000), at(1_001_000, 1_001_999)]);
    assert_eq!(outcome, Outcome::default());
    let published = relay.published();
    let [(key, provenance, first), (_, _, second)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(
        (key.category.as_str(), key.name.as_str(), key.pipeline.as_str()),
        (START_TO_END, "GET /a (span)", "GET /a (span)")
    );
    assert_eq!(*provenance, Provenance::exact(Source::OtlpTraces));
    assert_eq!((first.end_ns / S, first.histogram.count()), (1_002, 1));
    let mut expected = Histogram::with_sum(Grid::FINEST);
    [30_000_000, 100_000_000].into_iter().for_each(|ns| expected.record(ns));
    assert_eq!((second.end_ns / S, second.period_ns, &second.histogram), (1_003, S, &expected));
}

#[test]
fn errors_kinds_and_sampled_traces_are_separate_series() {
    let relay = Relay::new();
    let base = span("work", SpanKind::Internal, 1_001 * S, 1_002 * S);
    let failed = Some(Status { code: StatusCode::Error as i32, ..Default::default() });
    relay.spans(vec![
        base.clone(),
        Span { status: failed, ..base.clone() },
        Span { kind: SpanKind::Server as i32, ..base.clone() },
        Span { trace_state: "ot=th:8".to_owned(), ..base.clone() },
        Span { kind: 99, ..base },
    ]);
    let mut series: Vec<(String, String, bool, u128)> = relay
        .published()
        .into_iter()
        .map(|(key, provenance, update)| (key.category, key.name, provenance.is_sampled, update.histogram.count()))
        .collect();
    series.sort();
    let of = |category: &str, name: &str, is_sampled, count| (category.to_owned(), name.to_owned(), is_sampled, count);
    assert_eq!(
        series,
        [
            of(COMPUTATION, "work (span)", false, 2),
            of(COMPUTATION, "work (span)", true, 1),
            of(COMPUTATION, "work (span, error)", false, 1),
            of(START_TO_END, "work (span)", false, 1),
        ]
    );
}

#[test]
fn spans_without_valid_times_are_refused() {
    let relay = Relay::new();
    let times = [(0, 1_002 * S), (1_002 * S, 0), (1_003 * S, 1_002 * S), (0, 0), (1, 2)];
    let spans = times.map(|(start_ns, end_ns)| span("work", SpanKind::Client, start_ns, end_ns));
    let outcome = relay.spans(spans.to_vec());
    assert_eq!((outcome.rejected, relay.rejected(RejectReason::BadTime)), (4, 4));
    assert!(outcome.message.contains("4 spans, first in \"work\""), "{}", outcome.message);
}

#[test]
fn spans_of_many_operations_share_one_series_beyond_the_limit() {
    let relay = Relay::with(Config { otlp_attribute_sets_max: 1, ..Config::default() });
    relay.spans((0..4).map(|at| span(&format!("work {at}"), SpanKind::Client, 1_001 * S, 1_002 * S)).collect());
    let mut counts = relay.counts();
    counts.sort();
    let of = |name: &str, count| (name.to_owned(), 1_002, 1_003, count);
    assert_eq!(counts, [of("client other (span)", 3), of("work 0 (span)", 1)]);
}

#[test]
fn a_repeated_request_counts_once() {
    let relay = Relay::new();
    for times in 1..=2 {
        let spans = [1_001, 1_002].map(|end| span("work", SpanKind::Client, 1_000 * S, end * S)).to_vec();
        let points = (1_001..1_010).map(|end| point((end - 1, end), "/a", &[1])).collect();
        assert_eq!((relay.spans(spans), relay.metrics(requests(Delta, points))), Default::default());
        assert_eq!(relay.rejected(RejectReason::OtlpDuplicate), 11 * (times - 1));
    }
    assert_eq!(relay.counts().iter().map(|(.., count)| count).sum::<u128>(), 11);
}

#[test]
fn a_repeated_request_has_the_same_answer() {
    let relay = Relay::new();
    let refused = || vec![span("work", SpanKind::Client, 0, 1), span("work", SpanKind::Client, S, 1_001 * S)];
    let first = relay.spans(refused());
    assert_eq!((first.rejected, relay.spans(refused())), (1, first));
    assert_eq!(relay.rejected(RejectReason::BadTime), 1);
}

#[test]
fn processes_without_names_are_added_up() {
    let relay = Relay::new();
    for (start, end, count) in [(1_001, 1_008, 5), (1_002, 1_008, 7), (1_001, 1_009, 6), (1_002, 1_009, 9)] {
        assert_eq!(relay.metrics(requests(Cumulative, vec![point((start, end), "/a", &[count])])), Outcome::default());
    }
    let counts: Vec<u128> = relay.counts().into_iter().map(|(.., count)| count).collect();
    assert_eq!(counts, [5, 7, 1, 2]);
}

#[test]
fn an_instance_is_connected_while_it_sends() {
    let relay = Relay::new();
    let connected = |relay: &Relay| {
        let (_, apps, _) = relay.hub.catalogue_since(0);
        apps.into_iter().flat_map(|app| app.workers).map(|worker| (worker.worker, worker.connected)).collect::<Vec<_>>()
    };
    // A base has no counts, but shows that the instance is there.
    relay.metrics(requests(Cumulative, vec![point((900, 1_009), "/a", &[1])]));
    assert_eq!(connected(&relay), [("i-1".to_owned(), true)]);
    relay.receiver.sweep((NOW + 30) * S);
    assert_eq!(connected(&relay), [("i-1".to_owned(), true)]);
    relay.receiver.sweep((NOW + 31) * S);
    assert_eq!(connected(&relay), [("i-1".to_owned(), false)]);
}

#[test]
fn an_empty_request_is_a_success() {
    let relay = Relay::new();
    assert_eq!(relay.receiver.metrics(ExportMetricsServiceRequest::default(), NOW * S), Outcome::default());
    assert_eq!(relay.receiver.traces(ExportTraceServiceRequest::default(), NOW * S), Outcome::default());
    assert_eq!(relay.metrics(Vec::new()), Outcome::default());
}
