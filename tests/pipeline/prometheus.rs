//! A real Prometheus scrapes views as native and as classic histograms, and its quantiles are within the bins of the
//! relay.

use std::net::UdpSocket;

use fastrand::Rng;
use joey_shared::histogram::Grid;
use joey_tests::prometheus::Prometheus;
use joey_tests::token::{SECRET, key_file};
use joey_tests::{Frame, Relay, eventually, eventually_is, now_ns};
use tempfile::TempDir;

const VIEWS: [&str; 2] = ["--metrics-views", "shop/start-to-end/*,Wallaroo/computation/*,shop/throughput/*"];
/// Durations in the test, in ns: 1 µs to 1 s.
const OCTAVES: u32 = 20;

#[test]
fn prometheus_answers_quantiles_within_the_bins_of_the_relay() {
    let relay = Relay::start_with(&[["--statsd", "127.0.0.1:0"], VIEWS].concat());
    let prometheus = Prometheus::start(relay.http);
    let mut rng = Rng::with_seed(11);
    let mut durations: Vec<u64> = (0..2_000).map(|_| rng.u64(1_000..2_000) << rng.u32(0..OCTAVES)).collect();
    // Scale 3, from StatsD.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for values in durations.chunks(100) {
        let values: Vec<String> = values.iter().map(|&ns| format!("{}", ns as f64 / 1e6)).collect();
        let packet =
            format!("request:{}|ms|#service:shop,route:/cart\nhits:{}|c|#service:shop", values.join(":"), values.len());
        socket.send_to(packet.as_bytes(), relay.statsd()).unwrap();
    }
    eventually_is("values counted", &2_020, || relay.metric("joey_statsd_values_total"));
    // Scale 0, from Wallaroo.
    let frame = Frame::new("Wallaroo", "computation", ["p", "w", "Check"], now_ns() / 1_000_000_000).with(&durations);
    relay.producer("Wallaroo", "w").send_all(&[frame]);
    let native = [
        (
            r#"joey_view_duration_nanoseconds{app="shop",kind="start-to-end",pipeline="request /cart",job="native"}"#,
            1.0,
        ),
        (r#"joey_view_duration_nanoseconds{app="Wallaroo",kind="computation",name="Check",job="native"}"#, 1.0),
    ];
    let classic = [
        (
            r#"joey_view_duration_seconds_bucket{app="shop",kind="start-to-end",pipeline="request /cart",job="classic"}"#,
            1e9,
        ),
        (r#"joey_view_duration_seconds_bucket{app="Wallaroo",kind="computation",name="Check",job="classic"}"#, 1e9),
    ];
    for (metric, _) in native {
        eventually("all counts are scraped", || {
            prometheus.query(&format!("histogram_count({metric})")).filter(|count| *count == 2_000.0)
        });
    }
    for (metric, _) in classic {
        let metric = metric.replace("_bucket", "_count");
        eventually("all counts are scraped", || prometheus.query(&metric).filter(|count| *count == 2_000.0));
    }
    durations.sort_unstable();
    for metrics in [native, classic] {
        for ((metric, to_ns), grid) in metrics.into_iter().zip([Grid::FINEST, Grid::WALLAROO]) {
            for (quantile, thousandths) in [("0.5", 500), ("0.9", 900), ("0.99", 990), ("0.999", 999)] {
                // A scrape that takes too long leaves a second without values.
                let query = format!("histogram_quantile({quantile}, {metric})");
                let answer = eventually("an answer", || prometheus.query(&query)) * to_ns;
                let bin = grid.bin_of(durations[2_000 * thousandths / 1_000 - 1]);
                // The last digits of an edge are rounded in both programs.
                let (low, high) = (grid.low(bin) as f64 * 0.999_999, grid.high(bin) as f64 * 1.000_001);
                assert!((low..=high).contains(&answer), "{metric} {quantile}: {answer} is not in {low}..{high}");
            }
        }
    }
    let sum = eventually("the sum", || prometheus.query(&format!("histogram_sum({})", native[0].0)));
    let exact = durations.iter().sum::<u64>() as f64;
    assert!((sum - exact).abs() <= exact * 1e-9, "{sum} is not {exact}");
    let hits = r#"joey_view_events_total{app="shop",name="hits",job="native"}"#;
    eventually_is("hits", &Some(2_000.0), || prometheus.query(hits));
}

#[test]
fn views_are_offered_only_if_asked_for_and_only_with_a_token() {
    let relay = Relay::start();
    assert_eq!(relay.get("/metrics/views").0, 404);
    let folder = TempDir::new().unwrap();
    let key = key_file(folder.path(), "key", SECRET);
    let relay = Relay::start_with(&[VIEWS.as_slice(), &["--token-key", &key]].concat());
    let views = |lines: &str| relay.get_with_headers("/metrics/views", lines);
    // Like `/metrics`, it needs a token unless the client is on this machine and not behind a proxy.
    assert_eq!(views("").0, 200);
    assert_eq!(views("X-Forwarded-For: 192.0.2.1\r\n").0, 401);
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let (status, head, _) = views(&format!("Accept: {protobuf}\r\n"));
    assert_eq!(status, 200);
    assert!(head.contains("application/vnd.google.protobuf"), "{head}");
    assert_eq!(relay.get("/metrics/views?format=native").0, 400);
}
