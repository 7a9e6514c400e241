//! What Prometheus receives: cumulative counts, exact edges, and native buckets.

use joey_shared::histogram::Grid;
use joey_shared::series::{Provenance, START_TO_END, Source, THROUGHPUT};

use super::*;
use crate::config::Config;
use crate::data_point::DataPoint;

const S: u64 = 1_000_000_000;

struct Test {
    hub: Arc<Hub>,
    views: ViewHistograms,
}

impl Test {
    fn new(patterns: &[&str]) -> Self {
        let metrics_views = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let hub = Arc::new(Hub::new(Config { metrics_views, ..Config::default() }, 7));
        Self { views: ViewHistograms::new(hub.clone()), hub }
    }

    fn publish(&self, app: &str, [category, worker, name]: [&str; 3], histogram: Histogram) {
        let end_ns = self.hub.config().now_ns() / S * S;
        let provenance = Provenance::exact(Source::Emit);
        let pipeline = name;
        let point =
            DataPoint { app, name, category, worker, pipeline, id: 0, provenance, histogram, period_ns: S, end_ns };
        self.hub.publish(&self.hub.app(app).unwrap(), &point, self.hub.config().now_ns()).unwrap();
        self.hub.cut_all(self.hub.config().now_ns());
    }

    fn text(&self) -> String {
        String::from_utf8(self.views.render(PrometheusFormat::Classic(Format::Text))).unwrap()
    }

    fn native(&self) -> Vec<Row> {
        self.views.catch_up();
        let state = self.views.state.lock();
        let rows = state.views.iter().flat_map(|(view, exported)| {
            exported.totals.iter().map(|(&unit, total)| Row { view: view.clone(), unit, total: total.clone() })
        });
        rows.collect()
    }
}

fn histogram(grid: Grid, durations_ns: &[u64]) -> Histogram {
    let mut histogram = Histogram::with_sum(grid);
    durations_ns.iter().for_each(|&ns| histogram.record(ns));
    histogram
}

/// The value of a line of the text format.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

#[test]
fn counts_only_go_up_and_include_what_arrived_before_a_scrape() {
    let test = Test::new(&["shop/start-to-end/*"]);
    let labels = r#"{app="shop",kind="start-to-end",pipeline="GET /"}"#;
    for round in 1..=3 {
        test.publish("shop", [START_TO_END, "w1", "GET /"], histogram(Grid::FINEST, &[1_000_000, 2_000_000]));
        test.publish("shop", [START_TO_END, "w2", "GET /"], histogram(Grid::FINEST, &[0]));
        let text = test.text();
        let count = format!("joey_view_duration_seconds_count{labels}");
        assert_eq!(value(&text, &count), Some(format!("{}", 3 * round).as_str()), "{text}");
        let sum: f64 = value(&text, &format!("joey_view_duration_seconds_sum{labels}")).unwrap().parse().unwrap();
        assert!((sum - 0.003 * f64::from(round)).abs() < 1e-12, "{sum}");
    }
    assert!(!test.text().contains("start-to-end-by-worker"), "only the chosen views are exported");
}

#[test]
fn classic_buckets_are_cumulative_and_their_edges_are_those_of_the_bins() {
    let test = Test::new(&["*/start-to-end/*"]);
    let durations = [0, 1_000, 1_024, 1_025, 5_000, 1_000_000];
    test.publish("a", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &durations));
    test.publish("b", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &[50_000_000]));
    let text = test.text();
    assert!(text.contains("# TYPE joey_view_duration_seconds histogram"), "{text}");
    let buckets = |app: &str| -> Vec<(String, u64)> {
        let prefix = "joey_view_duration_seconds_bucket{le=\"";
        let all = text.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once('"'));
        let own = all.filter(|(_, rest)| rest.contains(&format!("app=\"{app}\"")));
        own.map(|(edge, rest)| (edge.to_owned(), rest.rsplit_once(' ').unwrap().1.parse().unwrap())).collect()
    };
    let (a, b) = (buckets("a"), buckets("b"));
    let edges = |buckets: &[(String, u64)]| buckets.iter().map(|(edge, _)| edge.clone()).collect::<Vec<_>>();
    assert_eq!(edges(&a), edges(&b), "views can be added up");
    for (edge, count) in &a {
        let edge: f64 = edge.parse().unwrap();
        let below = durations.iter().filter(|&&ns| (ns as f64) < edge * 1e9 || (ns == 0 && edge == 0.0)).count();
        assert_eq!(*count, below as u64, "le {edge}");
    }
    assert_eq!((a[0].0.as_str(), a.last().unwrap().0.as_str()), ("0.0", "+Inf"));
    assert!(a.iter().any(|(edge, _)| edge == "0.000001024"), "{a:?}");
}

#[test]
fn native_buckets_are_spans_of_deltas_in_the_unit_of_the_bins() {
    let check = |grid: Grid, durations: &[u64], expected: (&[(i32, u32)], &[i64])| {
        let (spans, deltas) = native_buckets(&histogram(grid, durations));
        assert_eq!((spans.as_slice(), deltas.as_slice()), expected, "{durations:?}");
    };
    let ns = |scale| Grid::new(scale, Unit::Nanoseconds).unwrap();
    // [1, 2) is bucket 1 of schema 0, (1, 2].
    check(ns(0), &[1], (&[(1, 1)], &[1]));
    check(ns(0), &[0, 1, 1, 1, 2, 16, 17], (&[(1, 2), (2, 1)], &[3, -2, 1]));
    check(ns(3), &[1_025], (&[(81, 1)], &[1]));
    check(ns(0), &[0], (&[(0, 0)], &[]));
    let seconds = Grid::new(0, Unit::Seconds).unwrap();
    // (1/4 s, 1/2 s], (1 s, 2 s].
    check(seconds, &[S * 3 / 8, S * 3 / 2], (&[(-1, 1), (1, 1)], &[1, 0]));
}

#[test]
fn a_view_is_exported_in_each_unit_of_its_sources() {
    let test = Test::new(&["*/start-to-end/*"]);
    let seconds = Grid::new(2, Unit::Seconds).unwrap();
    test.publish("a", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &[1_000]));
    test.publish("a", [START_TO_END, "v", "p"], histogram(seconds, &[1_000, 2_000]));
    let rows: Vec<_> = test.native().iter().map(|row| (row.unit, row.total.histogram.grid(), row.count())).collect();
    assert_eq!(rows, [(Unit::Nanoseconds, Grid::FINEST, 1), (Unit::Seconds, seconds, 2)]);
    let text = test.text();
    let count = r#"joey_view_duration_seconds_count{app="a",kind="start-to-end",pipeline="p"}"#;
    assert_eq!(value(&text, count), Some("3"), "{text}");
    let bytes = test.views.render(PrometheusFormat::Native);
    for name in ["joey_view_duration_nanoseconds", "joey_view_duration_seconds"] {
        assert!(bytes.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
}

#[test]
fn counts_without_durations_are_counters_and_a_missing_sum_is_not_zero() {
    let test = Test::new(&["*"]);
    let mut counts = Histogram::default();
    counts.add(0, 5);
    test.publish("a", [THROUGHPUT, "w", "n"], counts);
    let mut without_sum = Histogram::new(Grid::WALLAROO);
    without_sum.record(7);
    test.publish("b\"\\\n", [START_TO_END, "w", "p"], without_sum);
    let text = test.text();
    assert_eq!(value(&text, r#"joey_view_events_total{app="a",kind="throughput",name="n"}"#), Some("5"), "{text}");
    let labels = r#"{app="b\"\\\n",kind="start-to-end",pipeline="p"}"#;
    assert_eq!(value(&text, &format!("joey_view_duration_seconds_sum{labels}")), Some("NaN"), "{text}");
}

#[test]
fn the_number_of_views_is_limited() {
    let test = Test::new(&["*/start-to-end/*"]);
    for number in 0..VIEWS_MAX + 5 {
        test.publish("a", [START_TO_END, "w", &number.to_string()], histogram(Grid::FINEST, &[1]));
    }
    test.views.catch_up();
    assert_eq!(test.views.state.lock().views.len(), VIEWS_MAX);
    assert_eq!(test.hub.counters().view_updates_dropped.get(), 5);
}

#[test]
fn an_application_is_forgotten_although_it_is_exported() {
    let test = Test::new(&["*"]);
    test.publish("a", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &[1]));
    let now_ns = test.hub.config().now_ns();
    let read = |at_ns: u64| {
        let State { follower, .. } = &mut *test.views.state.lock();
        let mut updates = 0;
        follower.get_or_insert_with(|| Follower::new(&test.hub).unwrap()).read(
            at_ns,
            |_, _, _| Vec::new(),
            |_, _| updates += 1,
        );
        updates
    };
    assert_eq!(read(now_ns), 1);
    test.hub.evict_old(now_ns + 10_000 * S);
    assert!(test.hub.own_app("a").is_some(), "it is followed");
    read(now_ns + 100 * S);
    // A log that has data again is followed from where it was.
    test.publish("a", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &[2]));
    test.hub.evict_old(now_ns + 101 * S);
    assert_eq!(read(now_ns + 101 * S), 1);
    read(now_ns + 200 * S);
    test.hub.evict_old(now_ns + 10_000 * S);
    assert!(test.hub.own_app("a").is_none());
    test.publish("a", [START_TO_END, "w", "p"], histogram(Grid::FINEST, &[3]));
    assert_eq!(read(now_ns + 10_001 * S), 1, "its new log is followed");
}

#[test]
fn the_format_is_negotiated() {
    let check = |accept: &[&str], expected: PrometheusFormat| {
        assert_eq!(PrometheusFormat::preferred(accept), expected, "{accept:?}");
    };
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let text = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    check(&[&format!("{protobuf},{text}")], PrometheusFormat::Native);
    check(&[&format!("{protobuf};q=0.3,{text}")], PrometheusFormat::Classic(Format::OpenMetrics));
    check(&[&format!("{protobuf};q=0")], PrometheusFormat::Classic(Format::Text));
    check(&["application/vnd.google.protobuf;encoding=text"], PrometheusFormat::Classic(Format::Text));
    check(&["text/plain", "application/vnd.google.protobuf;q=1"], PrometheusFormat::Native);
    check(&[text], PrometheusFormat::Classic(Format::OpenMetrics));
    check(&[], PrometheusFormat::Classic(Format::Text));
}
