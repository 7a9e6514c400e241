//! What the command line and `/metrics` print: for closed pipes, terminals, and scrapers of every format.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use joey_tests::proxy::Proxy;
use joey_tests::relay::program;
use joey_tests::token::now_s;
use joey_tests::{Frame, Relay, S, Tap, eventually, eventually_is, joey};
use serde_json::json;

fn frame(category: &str, name: &str, end_s: u64) -> Frame {
    Frame::new("App", category, ["p", "w", name], end_s).with(&[100])
}

/// `joey tap` with a pipe as standard output.
fn piped(arguments: &[&str]) -> Child {
    let mut tap = Command::new(program());
    let tap = tap.arg("tap").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    tap.spawn().expect("the program runs")
}

#[test]
fn a_tap_exits_when_its_pipe_closes_while_the_application_is_idle() {
    let relay = Relay::start();
    relay.producer("App", "w").send(&frame("computation", "n", 1_700_000_000));
    relay.wait_for_accepted(1);
    let address = relay.http.to_string();
    let mut tap = piped(&["App", "--history", "--relay", &address]);
    let mut lines = BufReader::new(tap.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it prints");
    assert!(line.contains("computation"), "{line}");
    drop(lines);
    let status = eventually("the tap exits", || tap.try_wait().expect("it belongs to this test"));
    assert_eq!(status.code(), Some(0));
    // Also while it is still connecting to a relay.
    let mut tap = piped(&["--relay", "127.0.0.1:1"]);
    drop(tap.stdout.take());
    let status = eventually("the tap exits", || tap.try_wait().expect("it belongs to this test"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_tap_that_starts_before_the_application_prints_its_first_update() {
    let relay = Relay::start();
    for round in 0..5 {
        let app = format!("App {round}");
        let proxy = Proxy::new(relay.http);
        // The tap has started and has not received the catalogue yet.
        proxy.freeze();
        let tap = Tap::start(&[&app, "--relay", &proxy.address.to_string()]);
        eventually_is("connections", &1, || proxy.connections());
        let frame = Frame::new(&app, "computation", ["p", "w", "n"], 1_700_000_000).with(&[7]);
        let mut producer = relay.producer(&app, "w");
        producer.send(&frame);
        relay.wait_for_accepted(round + 1);
        proxy.unfreeze();
        tap.wait_until_printed([7]);
    }
}

#[test]
fn a_tap_prints_no_latency_for_counts() {
    let relay = Relay::start();
    let address = relay.http.to_string();
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[frame("pipeline-ingestion", "", 1_700_000_000), frame("computation", "n", 1_700_000_000)]);
    relay.wait_for_accepted(2);
    let mut tap = piped(&["App", "--history", "--relay", &address]);
    let mut lines = BufReader::new(tap.stdout.take().expect("it is a pipe")).lines().map_while(Result::ok);
    let lines = [lines.next().expect("it prints"), lines.next().expect("it prints")];
    assert!(lines[0].contains("pipeline-ingestion") && !lines[0].contains("p50"), "{lines:?}");
    assert!(lines[1].contains("computation") && lines[1].contains("p50"), "{lines:?}");
    let _ = tap.kill();
    let _ = tap.wait();
    let tap = Tap::start(&["App", "--history", "--relay", &address]);
    eventually("both are printed", || (tap.lines().len() == 2).then_some(()));
    assert_eq!(
        tap.lines().iter().map(|line| (line["min_ns"].clone(), line["count"].clone())).collect::<Vec<_>>(),
        [(json!(null), json!(1)), (json!(100), json!(1))]
    );
}

#[test]
fn a_snapshot_contains_its_age() {
    let relay = Relay::start();
    let end_s = now_s() - 60;
    let mut producer = relay.producer("App", "w");
    producer.send_all(&[frame("computation", "n", end_s - 2), frame("computation", "n", end_s)]);
    relay.wait_for_accepted(2);
    let address = relay.http.to_string();
    let snapshot = relay.stats("App");
    assert_eq!(snapshot["end_ns"], json!(end_s * S));
    let age_s = snapshot["age_s"].as_f64().expect("it has an age");
    assert!(age_s >= 59.0, "{age_s}");
    assert_eq!(snapshot["stale"], json!(false));
    producer.send(&frame("computation", "n", end_s));
    relay.wait_for_accepted(3);
    let fresh = joey(&["stats", "App", "--relay", &address]);
    assert!(fresh.err.is_empty() && fresh.out.contains("Window ends at "), "{fresh:?}");
    // The age of the data starts when the relay last received any.
    let stale = eventually("the data becomes stale", || {
        let done = joey(&["stats", "App", "--relay", &address]);
        (!done.err.is_empty()).then_some(done)
    });
    assert!(stale.code == 0 && stale.err.contains("no data from App for"), "{stale:?}");
    assert_eq!(relay.stats("App")["stale"], json!(true));
}

#[test]
fn table_columns_align_on_a_terminal() {
    let relay = Relay::start();
    let frames = ["plain", "解码器", "cafe\u{301}", "क्\u{200d}ष"].map(|name| frame("computation", name, 1_700_000_000));
    relay.producer("App", "w").send_all(&frames);
    relay.wait_for_accepted(4);
    let table = joey(&["stats", "App", "--relay", &relay.http.to_string()]).out;
    // Widths on a terminal: wide characters take two columns, combining and joining characters take none.
    let columns = |text: &str| -> usize {
        text.chars()
            .map(|c| match c {
                '\u{301}' | '\u{200d}' | '\u{94d}' => 0,
                '解' | '码' | '器' => 2,
                _ => 1,
            })
            .sum()
    };
    let rows = table.lines().filter(|line| line.starts_with("computation"));
    let ends: std::collections::BTreeSet<usize> =
        rows.filter_map(|row| Some(columns(&row[..row.find(" 1 ")? + 2]))).collect();
    assert_eq!(ends.len(), 1, "{table}");
}

#[test]
fn every_scraper_gets_the_format_that_it_accepts() {
    let relay = Relay::start();
    relay.producer("App", "w").send(&frame("computation", "n", 1_700_000_000));
    relay.wait_for_accepted(1);
    for (accept, is_open) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: text/plain;version=0.0.4\r\n", false),
        ("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", false),
        ("Accept: application/openmetrics-text;version=1.0.0\r\n", true),
        ("Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n", true),
    ] {
        let (status, head, text) = relay.get_with_headers("/metrics", accept);
        let media = if is_open { "application/openmetrics-text; version=1.0.0" } else { "text/plain; version=0.0.4" };
        assert!(status == 200 && head.to_lowercase().contains(&format!("content-type: {media}")), "{accept}: {head}");
        let kind = if is_open { "joey_frames_accepted" } else { "joey_frames_accepted_total" };
        assert!(text.contains(&format!("\n# TYPE {kind} counter\njoey_frames_accepted_total 1\n")), "{accept}: {text}");
        assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        for sample in samples {
            let (_, value) = sample.rsplit_once(' ').expect("a sample has a value");
            assert!(value.parse::<f64>().is_ok(), "{sample}");
        }
    }
}

#[test]
fn frames_rejected_for_their_names_are_counted_and_listed() {
    let relay = Relay::start();
    let long = "step ".repeat(60);
    let names = ["پردازش\u{200c}ها", "क्\u{200d}ष", "👩\u{200d}💻 team", &long, "a\tb", "a\u{1b}[2Jb"];
    let mut producer = relay.producer("App", "w");
    producer.send_all(&names.map(|name| frame("computation", name, 1_700_000_000)));
    producer.send(&frame("computation", "a\tb", 1_700_000_002));
    relay.wait_for_accepted(3);
    let done = eventually("the newest rejection is listed", || {
        let done = joey(&["stats", "App", "--json", "--relay", &relay.http.to_string()]);
        done.err.contains("4 frames").then_some(done)
    });
    assert!(
        done.err.contains("“a\\tb”") && done.err.contains("“a\\u{1b}[2Jb”") && done.err.contains("step step"),
        "{done:?}"
    );
    let snapshot: serde_json::Value = serde_json::from_str(&done.out).expect("it prints JSON");
    assert_eq!(snapshot["refused"]["for_name"], json!(4));
    let rejected: Vec<(&str, &str)> = snapshot["refused"]["names"]
        .as_array()
        .expect("it has names")
        .iter()
        .filter_map(|name| Some((name["name"].as_str()?, name["why"].as_str()?)))
        .collect();
    assert!(
        rejected.len() == 3 && rejected[0].0.ends_with('…') && rejected[0].1 == "longer than 255 bytes",
        "{rejected:?}"
    );
    assert!(!done.err.contains('\t') && !done.err.contains('\u{1b}'));
    let views = snapshot["views"].as_array().expect("it has views");
    for name in &names[..3] {
        assert!(views.iter().any(|view| view["name"] == json!(name)), "{name}");
    }
    relay.wait_for_log("frames rejected for a name");
    // The log stays bounded, however many names there are and however they change.
    let many: Vec<Frame> = (0..2_000).map(|at| frame("computation", &format!("{at}\t"), 1_700_000_000)).collect();
    producer.send_all(&many);
    eventually("all are rejected", || (relay.rejected("invalid_name") == 2_003).then_some(()));
    let lines = relay.log().lines().filter(|line| line.contains("frames rejected for a name")).count();
    assert!(lines < 30, "{lines}");
    assert!(!relay.log().contains('\t'));
}
