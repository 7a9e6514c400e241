//! `joey compare`: recordings and live applications, the order of the views, and the exit codes of `--fail-if`.

use std::path::{Path, PathBuf};

use joey_tests::{Finished, Frame, Relay, S, joey, now_ns};
use serde_json::Value;
use tempfile::TempDir;

/// A relay in which computation `slow` takes `slow_ns` and `same` always the same.
fn relay(slow_ns: u64) -> Relay {
    let relay = Relay::start();
    let then_s = now_ns() / S / 2 * 2 - 70;
    let frame = |(second, name, ns): (u64, &str, u64)| {
        Frame::new("App", "computation", ["p", "w", name], then_s + 2 * second).with(&vec![ns; 50])
    };
    let frames: Vec<Frame> =
        (0..30).flat_map(|second| [(second, "slow", slow_ns), (second, "same", 3_000)]).map(frame).collect();
    relay.producer("App", "w").send_all(&frames);
    relay.wait_for_accepted(frames.len() as u64);
    relay
}

fn record(relay: &Relay, folder: &TempDir, name: &str) -> PathBuf {
    let file = folder.path().join(name);
    let done = joey(&["record", "-o", &text(&file), "--for", "3s", "--relay", &relay.http.to_string()]);
    assert_eq!(done.code, 0, "{}", done.err);
    file
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn what_changed_most_is_first_and_conditions_decide_the_exit_code() {
    let (before, after) = (relay(1_000_000), relay(4_000_000));
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = text(&record(&before, &folder, "before.joey"));
    let live = format!("App@ws://{}", after.http);
    let compare = |arguments: &[&str]| -> Finished {
        joey(&[["compare", &file, &live, "--once"].as_slice(), arguments].concat())
    };

    let done = compare(&["--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let all: Value = serde_json::from_str(&done.out).expect("it prints JSON");
    let first = &all["views"][0];
    assert!(first["path"].as_str().is_some_and(|path| path.ends_with("slow") || path.contains("/p/w/")), "{first}");
    assert_eq!(first["change"]["evidence"], "changed");
    assert_eq!((&first["before"]["count"], &first["after"]["count"]), (&1_500.into(), &1_500.into()));
    assert_eq!(
        (&first["change"]["distance"]["share"], &first["change"]["distance"]["slower"]),
        (&1.0.into(), &true.into())
    );
    assert_eq!(first["percentiles"]["p99"]["nominal"], 4.0);
    let same = all["views"].as_array().expect("views").iter().find(|view| view["path"] == "computation/same");
    assert_eq!(same.map(|view| view["change"]["evidence"].clone()), Some("chance".into()));

    let table = compare(&["--view", "computation/*", "--percentile", "99.9"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("P99.9") && !lines[0].contains("P50"), "{table}");
    assert!(lines[1].contains("slow") && lines[1].contains("slower 100.0 %") && lines[1].contains(" → "), "{table}");
    assert!(lines[2].contains("same") && lines[2].contains("chance"), "{table}");

    let violated = compare(&["--fail-if", "p99 > +10%"]);
    assert!(violated.code == 1 && violated.err.contains("p99 > +10%: computation"), "{}", violated.err);
    assert!(violated.out.contains("slower"), "the table is printed nevertheless");
    for kept in ["p99 > +310%", "p99 < -10%", "throughput < -50%", "computation/same: p99 > +10%"] {
        assert_eq!(compare(&["--fail-if", kept]).code, 0, "{kept}");
    }
    assert_eq!(compare(&["--fail-if", "throughput < -50%", "--fail-if", "p50 > +10%"]).code, 1);
    assert_eq!(compare(&["--view", "no/such", "--fail-if", "p99 > +10%"]).code, 3);
    assert_eq!(compare(&["--fail-if", "start-to-end/*: p99 > +10%"]).code, 3);
    assert_eq!(compare(&["--fail-if", "p99 is bad"]).code, 2);
}

#[test]
fn a_side_that_is_not_there_is_named() {
    let relay = relay(1_000);
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = text(&record(&relay, &folder, "a.joey"));
    let missing = joey(&["compare", &file, "/no/such.joey"]);
    assert!(missing.code == 1 && missing.err.contains("cannot read /no/such.joey"), "{}", missing.err);
    let other = joey(&["compare", &file, &format!("Other@{file}")]);
    assert!(other.code == 3 && other.err.contains("no such application"), "{} {}", other.code, other.err);
    let address = relay.http.to_string();
    let same = joey(&["compare", &file, "App@", "--relay", &address, "--fail-if", "p99 > +0%"]);
    assert_eq!(same.code, 0, "{}", same.err);
}
