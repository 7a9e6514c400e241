//! StatsD over real sockets, from a client library and from hand-written packets, as shown by `joey stats --json`.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, StatsdClient, UnixMetricSink};
use joey_shared::histogram::{Grid, Histogram};
use joey_tests::frame::captured;
use joey_tests::{Frame, Relay, S, TIMEOUT, Tap, eventually, eventually_is};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A relay that receives StatsD over UDP, with more arguments.
fn relay(arguments: &[&str]) -> Relay {
    Relay::start_with(&[&["--statsd", "127.0.0.1:0"], arguments].concat())
}

/// A client that sends packets of several lines.
fn client(relay: &Relay, prefix: &str) -> StatsdClient {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let sink = BufferedUdpMetricSink::from(relay.statsd(), socket).expect("the address is valid");
    StatsdClient::builder(prefix, sink).with_tag("service", "shop").with_tag("host", "h1").build()
}

fn send(relay: &Relay, packet: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.send_to(packet.as_bytes(), relay.statsd()).expect("loopback accepts it");
}

/// Waits until the relay has counted this many values, and published the events that they stand for.
fn wait_for(relay: &Relay, app: &str, values: u64, events: u64) {
    eventually_is("values counted", &values, || relay.metric("joey_statsd_values_total"));
    eventually_is("applications", &1, || relay.metric("joey_apps"));
    eventually_is("events published", &events, || {
        let stats = relay.stats(app);
        let own = |view: &&Value| matches!(view["kind"].as_str(), Some("start-to-end-by-worker" | "throughput"));
        let views = stats["views"].as_array().into_iter().flatten().filter(own);
        views.filter_map(|view| view["count"].as_u64()).sum()
    });
}

/// The view of this kind whose pipeline or name is `operation`.
fn view(stats: &Value, kind: &str, operation: &str) -> Value {
    let mut views = stats["views"].as_array().into_iter().flatten();
    let found = views.find(|view| view["kind"] == kind && (view["pipeline"] == operation || view["name"] == operation));
    found.unwrap_or_else(|| panic!("no {kind} {operation} in {stats:#}")).clone()
}

/// The bins of these durations, as `joey stats --json` prints them.
fn bins(durations_ns: impl IntoIterator<Item = u64>) -> Value {
    let mut histogram = Histogram::new(Grid::FINEST);
    durations_ns.into_iter().for_each(|ns| histogram.record(ns));
    histogram.occupied().map(|(bin, count)| (bin.to_string(), json!(count))).collect()
}

#[test]
fn values_of_a_client_library_are_shown_exactly() {
    let relay = relay(&[]);
    let client = client(&relay, "web");
    for ms in 1..=1_000_u64 {
        client.time_with_tags("request", ms).with_tag("method", "GET").with_tag("route", "/cart").try_send().unwrap();
        client.count("hits", 2).unwrap();
    }
    client.time("job", vec![10_u64, 20, 30]).unwrap();
    client.distribution("size", 0.25).unwrap();
    client.histogram("size", Duration::from_millis(3)).unwrap_or_else(|_| panic!("a histogram of a duration"));
    client.gauge("queue", 7_u64).unwrap();
    client.set("users", 7).unwrap();
    client.flush().unwrap();
    wait_for(&relay, "shop", 2_005, 3_005);
    let stats = relay.stats("shop");
    let requests = view(&stats, "start-to-end", "web.request GET /cart");
    assert_eq!((&requests["count"], &requests["scale"], &requests["unit"]), (&json!(1_000), &json!(3), &json!("ns")));
    assert_eq!(requests["bins"], bins((1..=1_000).map(|ms| ms * 1_000_000)));
    assert_eq!((&requests["min_ns"], &requests["max_ns"]), (&json!(1_000_000), &json!(1_000_000_000)));
    assert_eq!(requests["mean_ns"], json!(500_500_000.0));
    let p99 = &requests["quantiles"]["0.99"];
    let (low, high) = (p99[0].as_u64().unwrap(), p99[1].as_u64().unwrap());
    assert!(low <= 990_000_000 && 990_000_000 < high && high as f64 / low as f64 <= 1.091, "{p99}");
    assert_eq!(view(&stats, "start-to-end", "web.job")["bins"], bins([10_000_000, 20_000_000, 30_000_000]));
    assert_eq!(view(&stats, "start-to-end-by-worker", "web.job")["worker"], "h1");
    let hits = view(&stats, "throughput", "web.hits");
    assert_eq!((&hits["count"], &hits["quantiles"]), (&json!(2_000), &Value::Null));
    assert_eq!(relay.rejected("statsd_unsupported"), 2);
}

#[test]
fn a_unix_socket_receives_what_udp_receives() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("statsd");
    let relay = Relay::start_with(&["--statsd-socket", path.to_str().unwrap(), "--statsd-app", "batch"]);
    let sink = UnixMetricSink::from(&path, UnixDatagram::unbound().unwrap());
    StatsdClient::from_sink("p", sink).time("step", 5_u64).unwrap();
    wait_for(&relay, "batch", 1, 1);
    let step = view(&relay.stats("batch"), "start-to-end-by-worker", "p.step");
    assert_eq!((&step["worker"], &step["bins"]), (&json!("local"), &bins([5_000_000])));
}

#[test]
fn sampled_values_count_for_all_events_and_are_marked() {
    let relay = relay(&["--statsd-unit", "us"]);
    send(&relay, "a:7:8|d|@0.1|T1656581400|c:1234\nb:3|c|@0.5");
    wait_for(&relay, "statsd", 3, 26);
    let stats = relay.stats("statsd");
    let a = view(&stats, "start-to-end-by-worker", "a");
    assert_eq!((&a["count"], &a["sampled"], &a["worker"]), (&json!(20), &json!(true), &json!("127.0.0.1")));
    assert_eq!(a["bins"], bins([[7_000; 10], [8_000; 10]].concat()));
    assert_eq!(view(&stats, "throughput", "b")["count"], 6);
}

#[test]
fn rejected_lines_are_counted_by_reason_and_do_not_affect_others() {
    let relay = relay(&[]);
    send(&relay, "good:1|ms\nbad\nbad:-1|ms\nbad:x|c\nbad:1|g\n_e{1,1}:a|b\n_sc|a|0\ngood:2|ms|@1|#service");
    wait_for(&relay, "statsd", 2, 2);
    let reasons = ["statsd_bad_line", "statsd_bad_value", "statsd_unsupported", "statsd_event"];
    assert_eq!(reasons.map(|reason| relay.rejected(reason)), [1, 2, 1, 2]);
    assert_eq!(view(&relay.stats("statsd"), "start-to-end", "good")["count"], 2);
}

#[test]
fn packets_from_other_networks_are_rejected() {
    let relay = relay(&["--producers-allow", "192.0.2.0/24"]);
    send(&relay, "a:1|ms");
    eventually_is("rejected packets", &1, || relay.rejected("forbidden_network"));
    assert_eq!(relay.metric("joey_statsd_values_total"), 0);
}

#[test]
fn values_that_arrive_just_before_the_relay_stops_reach_its_viewers() {
    let mut relay = relay(&[]);
    send(&relay, "a:1|ms");
    relay.wait_for_accepted(1);
    let tap = Tap::start(&["statsd", "--relay", &relay.http.to_string()]);
    tap.wait_until_subscribed(&relay, 1);
    send(&relay, "last:2|ms");
    relay.signal("TERM");
    assert!(relay.wait().success());
    eventually("the last value was published", || {
        tap.lines().into_iter().find(|line| line["name"] == "last" && line["count"] == 1)
    });
}

#[test]
fn percentiles_and_throughput_are_sent_as_the_original_hub_sent_them() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let relay = Relay::start_with(&["--statsd-out", &address]);
    let mut producer = relay.producer("Alerts_windowed", "initializer");
    let later = Frame { end_ns: captured().end_ns + 10 * S, ..captured().with(&[]) };
    producer.send_all(&[captured(), later]);
    let (mut gauges, mut events) = (BTreeMap::new(), 0);
    let prefix = "monhub.Alerts_windowed.Decode_Time_in_TCP_Source.";
    let mut packet = [0; 65_536];
    while events < 57_841 {
        let length = server.recv(&mut packet).unwrap();
        assert!(length <= 1_432);
        for line in str::from_utf8(&packet[..length]).unwrap().lines() {
            let (name, rest) = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).split_once(':').unwrap();
            match rest.split_once('|').unwrap() {
                (value, "c") if name == "throughput" => events += value.parse::<u64>().unwrap(),
                (value, "g") => _ = gauges.insert(name.to_owned(), value.parse::<u64>().unwrap()),
                _ => panic!("{line}"),
            }
        }
    }
    assert_eq!(events, 57_841);
    // Golden values of the original hub for this frame.
    let expected = [("50", 64), ("95", 64), ("99", 64), ("999", 128), ("9999", 16_384)];
    let expected = expected.map(|(percentile, ns)| (format!("latency.percentile{percentile}"), ns));
    assert_eq!(gauges, BTreeMap::from(expected));
}
