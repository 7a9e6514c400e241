//! Series, weights and limits of StatsD packets.

use std::sync::Arc;

use joey_shared::histogram::Quantile;
use joey_shared::wire::ServerMessage;

use super::*;

const S: u64 = 1_000_000_000;
const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

struct Test {
    hub: Arc<Hub>,
    presence: Presence,
    aggregator: Aggregator,
}

impl Test {
    fn new(set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        set(&mut config);
        let aggregator = Aggregator::new(&config);
        let hub = Arc::new(Hub::new(config, 7));
        Self { presence: Presence::new(hub.clone()), hub, aggregator }
    }

    fn receive(&mut self, packet: &str) {
        self.aggregator.receive(packet.as_bytes(), PEER, self.hub.counters());
    }

    fn rejected(&self, reason: &'static str) -> u64 {
        let family = &self.hub.counters().frames_rejected;
        family.get_or_create(&crate::metrics::ReasonLabel { reason }).get()
    }

    /// The series with values, as `app|worker|operation kind count`.
    fn series(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .aggregator
            .series
            .iter()
            .map(|(series, histogram)| {
                let Series { app, worker, operation, is_counter, is_sampled } = series;
                let kind = if *is_counter { "counter" } else { "timer" };
                let sampled = if *is_sampled { " sampled" } else { "" };
                format!("{app}|{worker}|{operation} {kind}{sampled} {}", histogram.count())
            })
            .collect();
        lines.sort();
        lines
    }
}

/// The series of one packet.
fn check(packet: &str, expected: &[&str]) {
    let mut test = Test::new(|_| {});
    test.receive(packet);
    assert_eq!(test.series(), expected, "{packet}");
}

#[test]
fn tags_select_application_worker_and_operation() {
    check("a:1|ms", &["statsd|192.0.2.7|a timer 1"]);
    check("a:1|ms|#service:shop,host:h1", &["shop|h1|a timer 1"]);
    check("a:1|ms|#env:prod,host:h1,instance:i1,service:shop", &["prod/shop|i1|a timer 1"]);
    check("a:1|h|#route:/x,method:GET,user:7", &["statsd|192.0.2.7|a GET /x timer 1"]);
    let mut test = Test::new(|config| config.statsd.tags = vec!["route".to_owned(), "*".to_owned()]);
    test.receive("a:1|h|#z:1,host:h,method:GET,route:/x");
    assert_eq!(test.series(), ["statsd|h|a /x method:GET z:1 timer 1"]);
    // In any order, and twice.
    check("a:1|d|#route:/x,method:GET\na:2|d|#method:GET,route:/x,route:/x", &["statsd|192.0.2.7|a GET /x timer 2"]);
}

#[test]
fn timers_counters_and_sampled_values_are_series_of_their_own() {
    check(
        "a:1|ms\na:2|h\na:3|c\na:4|ms|@0.5\na:5|c|@0.5",
        &[
            "statsd|192.0.2.7|a counter 3",
            "statsd|192.0.2.7|a counter sampled 10",
            "statsd|192.0.2.7|a timer 2",
            "statsd|192.0.2.7|a timer sampled 2",
        ],
    );
}

#[test]
fn values_are_recorded_exactly() {
    let mut test = Test::new(|config| config.statsd.unit = crate::config::StatsdUnit::S);
    test.receive("a:0.1:12.345:7|ms\na:0.25|d\na:0|h");
    let histogram = test.aggregator.series.values().next().unwrap();
    let expected = [100_000, 12_345_000, 7_000_000, 250_000_000, 0];
    assert_eq!((histogram.min_ns, histogram.max_ns), (0, 250_000_000));
    assert_eq!(histogram.sum_ns, Some(expected.iter().sum()));
    let mut same = Histogram::with_sum(Grid::FINEST);
    expected.iter().for_each(|&ns| same.record(ns));
    assert_eq!(*histogram, same);
    assert_eq!(histogram.quantile(Quantile::P9999).unwrap().high, 250_000_000);
}

#[test]
fn sample_rates_weight_values_without_bias() {
    let mut random = fastrand::Rng::with_seed(3);
    for (rate, whole) in [(0.1, 10), (0.01, 100), (0.001, 1_000), (0.5, 2), (1.0, 1), (1e-6, 1_000_000)] {
        assert_eq!(whole_events(1.0 / rate, &mut random), Ok(whole));
    }
    let mut sum = |events: f64| (0..10_000).map(|_| whole_events(events, &mut random).unwrap()).sum::<u64>();
    for events in [2.5, 1.0 / 0.3, 1.0 / 0.7, 0.25] {
        let (sum, expected) = (sum(events) as f64, events * 10_000.0);
        // Four standard deviations of 10,000 values that are off by one with probability 1/2.
        assert!((sum - expected).abs() < 200.0, "{sum} is not {expected}");
    }
    assert_eq!(whole_events(1e16, &mut random), Err(RejectReason::StatsdBadValue));
}

#[test]
fn rejected_lines_and_values_are_counted_and_others_are_not_affected() {
    let mut test = Test::new(|_| {});
    test.receive("a:1|ms\ng:1|g\nu:x|s\n_e{1,1}:t|x\n_sc|n|0\na:-1:nan:2|ms\nbad\na:1e300|ms\nc:1e300|c\na:1|ms|@2");
    assert_eq!(test.series(), ["statsd|192.0.2.7|a timer 2", "statsd|192.0.2.7|c counter 0"]);
    let reasons = ["statsd_unsupported", "statsd_event", "statsd_bad_value", "statsd_bad_line"];
    assert_eq!(reasons.map(|reason| test.rejected(reason)), [2, 2, 5, 1]);
    assert_eq!(test.hub.counters().statsd_values.get(), 2);
}

#[test]
fn sets_of_tags_beyond_the_limit_are_counted_as_other() {
    let mut test = Test::new(|_| {});
    for route in 0..300 {
        test.receive(&format!("a:1:2|ms|#route:/{route}"));
    }
    let series = test.series();
    assert_eq!(series.len(), 101);
    assert!(series.contains(&"statsd|192.0.2.7|a other timer 400".to_owned()));
    assert_eq!(test.hub.counters().statsd_values_other.get(), 400);
}

#[test]
fn the_number_of_series_in_a_period_is_limited() {
    let mut test = Test::new(|config| config.series_per_app_max = 2);
    test.receive("a:1|ms\nb:1|ms\nc:1|ms\na:1|ms");
    assert_eq!(test.series(), ["statsd|192.0.2.7|a timer 2", "statsd|192.0.2.7|b timer 1"]);
    assert_eq!(test.rejected("series_limit"), 1);
}

#[test]
fn each_peer_has_a_rate_limit() {
    let mut test = Test::new(|config| config.frames_per_sec_max = at_least_one(1));
    test.receive("a:1:2:3:4:5:6:7:8|ms\na:1:2:3|ms");
    assert_eq!((test.series(), test.rejected("rate_limit")), (vec!["statsd|192.0.2.7|a timer 8".to_owned()], 1));
    test.aggregator.receive(b"a:1|ms", None, test.hub.counters());
    assert_eq!(test.series().len(), 2, "the Unix socket has its own limit");
    for peer in 0..2 * PEERS_MAX as u32 {
        test.aggregator.receive(b"a:1|c", Some(std::net::Ipv4Addr::from(peer).into()), test.hub.counters());
    }
    assert_eq!(test.aggregator.limits.peers.len(), PEERS_MAX);
    assert!(test.rejected("rate_limit") > 900, "the others share one limit");
}

#[test]
fn a_flush_publishes_each_series_once() {
    let mut test = Test::new(|_| {});
    test.receive("a:1:2:3|ms\nc:5|c\nb:1|ms|#service:shop,instance:i");
    let end_ns = test.hub.config().now_ns() / S * S;
    test.aggregator.flush(&test.hub, &test.presence, end_ns);
    assert_eq!(test.hub.counters().frames_accepted.get(), 3);
    test.aggregator.flush(&test.hub, &test.presence, end_ns + S);
    assert_eq!(test.hub.counters().frames_accepted.get(), 3, "nothing arrived in this second");
    let app = test.hub.own_app("statsd").unwrap();
    let (messages, _) = app.series_messages_since(0, |_| true);
    let series: Vec<_> = messages
        .iter()
        .flat_map(|message| match ServerMessage::decode(message).unwrap() {
            ServerMessage::Series { series, .. } => series,
            _ => Vec::new(),
        })
        .map(|entry| (entry.key.category, entry.key.pipeline, entry.key.name, entry.provenance.source))
        .collect();
    let owned = |[category, pipeline, name]: [&str; 3]| {
        (category.to_owned(), pipeline.to_owned(), name.to_owned(), Source::Statsd)
    };
    assert_eq!(series, [["start-to-end", "a", "a"], ["throughput", "", "c"]].map(owned));
    assert!(test.hub.own_app("shop").is_some());
}
