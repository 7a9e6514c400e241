//! What monitors a relay: `/metrics`, the alert rules and the dashboard, checked by Prometheus' own tool.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use joey_tests::{Frame, Relay, Tap, checkout, eventually, eventually_is};
use serde_json::Value;

/// Runs `promtool`, which is installed with Prometheus, with `input`. Panics with its output if it finds anything.
fn promtool(arguments: &[&str], input: &str) {
    let prometheus = std::env::var_os("PROMETHEUS").map_or_else(|| PathBuf::from("prometheus"), PathBuf::from);
    let program = prometheus.with_file_name("promtool");
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", program.display()));
    child.stdin.take().expect("it is a pipe").write_all(input.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stdout}{stderr}");
}

/// The names of our metrics in `text`.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("joey_")).collect()
}

#[test]
fn the_metrics_follow_the_naming_rules_of_prometheus() {
    let relay = Relay::start_with(&["--statsd", "127.0.0.1:0"]);
    let mut producer = relay.producer("App", "w");
    producer.send(&Frame::new("App", "computation", ["p", "w", "n"], 1_700_000_000).with(&[7]));
    relay.wait_for_accepted(1);
    promtool(&["check", "metrics"], &relay.metrics());
}

#[test]
fn the_alert_rules_and_the_dashboard_use_documented_metrics() {
    let read =
        |path: &str| std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rules = checkout().join("docs/monitoring/alerts.yml").display().to_string();
    promtool(&["check", "rules", &rules], "");
    let dashboard = read("docs/monitoring/grafana-dashboard.json");
    let parsed: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 5));
    let operating = read("docs/operating.md");
    let documented = metric_names(&operating);
    for text in [read("docs/monitoring/alerts.yml"), dashboard] {
        let names = metric_names(&text);
        assert!(names.len() > 5, "{names:?}");
        let unknown: Vec<&&str> = names.difference(&documented).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn a_relay_shows_how_long_its_own_work_takes() {
    let relay = Relay::start_with(&["--self"]);
    let mut producer = relay.producer("App", "w");
    let tap = Tap::start(&["App", "--relay", &relay.http.to_string()]);
    tap.wait_until_subscribed(&relay, 1);
    for second in 0..50 {
        producer.send(&Frame::new("App", "computation", ["p", "w", "n"], 1_700_000_000 + second).with(&[7]));
    }
    // Its own measurements are counted too.
    eventually("frames accepted", || (relay.metric("joey_frames_accepted_total") >= 50).then_some(()));
    let count = |stats: &Value, kind: &str, name: &str| {
        let views = stats["views"].as_array().into_iter().flatten();
        let mut found = views.filter(|view| view["kind"] == kind && (view["name"] == name || view["pipeline"] == name));
        found.next().and_then(|view| view["count"].as_u64()).unwrap_or_default()
    };
    eventually_is("applications", &2, || relay.metric("joey_apps"));
    eventually("measurements of each step", || {
        let stats = relay.stats("Joey relay");
        let steps = ["Ingest", "Wait for the batch", "Broadcast"];
        let is_measured = |step: &&str| count(&stats, "computation", step) > 0;
        let frames = count(&stats, "throughput", "Frames accepted");
        (steps.iter().all(is_measured) && count(&stats, "start-to-end", "Updates") > 0 && frames >= 50).then_some(())
    });
    // The measurements are histograms of durations of at most a minute, and exact.
    let stats = relay.stats("Joey relay");
    for view in stats["views"].as_array().into_iter().flatten() {
        assert!(view["max_ns"].as_u64().is_none_or(|ns| ns < 60_000_000_000), "{view:#}");
        assert!(view.get("approximate").is_none(), "{view:#}");
    }
    assert!(relay.metrics().contains("joey_batch_updates_bucket"));
}

#[test]
fn a_relay_does_not_measure_itself_without_being_asked() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send(&Frame::new("App", "computation", ["p", "w", "n"], 1_700_000_000).with(&[7]));
    relay.wait_for_accepted(1);
    assert_eq!(relay.metric("joey_apps"), 1);
}
