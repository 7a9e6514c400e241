//! A relay with a journal: it is killed, its disk is full or hangs, and its files are damaged.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use joey_emit::send::{SendConfig, Sender, SeriesName, Totals};
use joey_shared::histogram::{Grid, Histogram};
use joey_tests::delivery::{CheckedViewer, padded, send};
use joey_tests::kills::kill_repeatedly;
use joey_tests::{Producer, Relay, S, TIMEOUT, Viewer, eventually, now_ns, stream};
use serde_json::json;
use tempfile::TempDir;

fn folder() -> TempDir {
    TempDir::new().expect("a journal can be written")
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().expect("it is UTF-8")
}

/// The segments of a journal, the oldest first.
fn segments(journal: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(journal).expect("the journal exists");
    let mut segments: Vec<PathBuf> = files.map(|file| file.expect("it can be read").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    segments.sort();
    segments
}

/// A producer that has sent number 1 of `App`, and a viewer of it.
fn start(relay: &Relay) -> (Producer, CheckedViewer) {
    super::start_producer(relay)
}

/// Sends large frames with these numbers.
fn send_padded(producer: &mut Producer, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| producer.send(&padded("App", "w", number)));
}

#[test]
fn a_relay_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder)]);
    let kills = kill_repeatedly(&mut relay, 10, 1);
    assert!(kills.arrived_once > 500 && kills.seen_before_and_after > 100, "{kills:?}");
}

#[test]
fn the_same_holds_if_each_write_is_synchronized() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder), "--journal-sync"]);
    let kills = kill_repeatedly(&mut relay, 3, 2);
    assert!(kills.arrived_once > 100, "{kills:?}");
}

#[test]
fn a_stopped_relay_continues_its_logs() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder)]);
    let (mut producer, mut checked) = start(&relay);
    send(&mut producer, "App", "w", 2..=500);
    relay.wait_for_accepted(500);
    relay.signal("TERM");
    assert!(relay.wait().success());
    assert_eq!(checked.read_to_close(), 1012);
    relay.restart_on_same_ports();
    let mut producer = relay.producer("App", "w");
    checked.reconnect_to(relay.http);
    send(&mut producer, "App", "w", 501..=600);
    checked.read_and_check(600);
    let mut late = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    late.read_and_check(600);
    assert_eq!(relay.stats("App")["views"][0]["count"], (1..=600_u64).filter(|n| n % 50 == 0).sum::<u64>());
}

#[test]
fn an_incomplete_record_at_the_end_is_cut_off() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder)]);
    let (mut producer, mut checked) = start(&relay);
    send(&mut producer, "App", "w", 2..=100);
    checked.read_and_check(100);
    relay.kill();
    let newest = segments(folder.path()).pop().expect("there is a segment");
    let mut bytes = fs::read(&newest).expect("it can be read");
    bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, 5]);
    fs::write(&newest, bytes).expect("it can be written");
    relay.restart_on_same_ports();
    assert!(relay.log().contains("incomplete last record was cut off"), "{}", relay.log());
    checked.read_to_close();
    checked.reconnect_to(relay.http);
    send(&mut relay.producer("App", "w"), "App", "w", 101..=200);
    checked.read_and_check(200);
}

#[test]
fn damage_in_the_middle_is_reported_as_missing() {
    let folder = folder();
    // Its segments have 128 KiB.
    let mut relay = Relay::start_with(&["--journal", path(&folder), "--journal-bytes", "1048576"]);
    let (mut producer, mut checked) = start(&relay);
    for round in 0..10 {
        send_padded(&mut producer, round * 100 + 2..=round * 100 + 101);
        checked.read_to(round * 100 + 101);
    }
    relay.kill();
    let all = segments(folder.path());
    assert!(all.len() >= 4, "{all:?}");
    let mut bytes = fs::read(&all[1]).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&all[1], bytes).expect("it can be written");
    relay.restart_on_same_ports();
    assert!(relay.log().contains("a part of the journal is damaged"), "{}", relay.log());
    let mut late = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    late.read_to(1_001);
    let missing = late.delivery.missing(late.epoch);
    assert!((1..400).contains(&missing), "{missing}");
    late.check(&(1..=1_001).collect::<Vec<_>>());
}

#[test]
fn the_journal_stays_within_its_bytes_and_keeps_the_newest() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder), "--journal-bytes", "1048576"]);
    let (mut producer, mut checked) = start(&relay);
    for round in 0..10 {
        send_padded(&mut producer, round * 1_000 + 2..=round * 1_000 + 1_001);
        checked.read_to(round * 1_000 + 1_001);
        let bytes: u64 =
            segments(folder.path()).iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
        // One batch has about 700 KB at most.
        assert!(bytes < 2 << 20, "{bytes}");
    }
    relay.kill();
    relay.restart_on_same_ports();
    let mut late = Viewer::connect(&relay);
    let (_, subscribed) = late.subscribe("App", joey_shared::series::Filter::All, joey_shared::wire::Start::History);
    assert!(subscribed.next > 5_000 && subscribed.head == 10_001, "{subscribed:?}");
    checked.read_to_close();
    checked.reconnect_to(relay.http);
    send(&mut relay.producer("App", "w"), "App", "w", [10_002]);
    checked.read_and_check(10_002);
}

#[test]
fn a_disk_that_fails_is_counted_and_delays_nobody() {
    let folder = folder();
    // Files may have 64 KiB. The relay gets an error, not a signal, as on a full disk. Its log fits.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\""];
    let mut relay = Relay::start_in(&limited, &["--journal", path(&folder)]);
    let (mut producer, mut checked) = start(&relay);
    let sender = Sender::start(SendConfig { relays: vec![relay.ingest.to_string()], ..SendConfig::new("Native", "w") });
    let sender = sender.expect("a thread can be started");
    for number in 2..=1_000 {
        send_padded(&mut producer, [number]);
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        histogram.record(number);
        sender.send(S, now_ns(), [(SeriesName::exact("computation", "p", "n"), histogram)]);
    }
    checked.read_and_check(1_000);
    assert!(sender.flush(TIMEOUT), "{:?}", sender.stats());
    assert_eq!(sender.stats().acknowledged, Totals { histograms: 999, durations: 999 });
    assert!(relay.metric("joey_journal_errors_total") > 0 && relay.metric("joey_journal_updates_lost_total") > 0);
    assert!(relay.log().contains("cannot write the journal"), "{}", relay.log());
    // Viewers have seen numbers that are lost, so the log does not continue.
    relay.kill();
    checked.read_to_close();
    relay.restart_on_same_ports();
    let before = checked.epoch;
    checked.reconnect_to(relay.http);
    assert_ne!(checked.epoch, before);
    let known = checked.delivery.last_seq(checked.epoch);
    send(&mut relay.producer("App", "w"), "App", "w", [1_001]);
    checked.read_to(known + 1);
    let new: Vec<u64> = checked.delivery.numbers(checked.epoch).into_values().collect();
    assert_eq!(new, [1_001], "nothing that the viewer has arrives again");
    let mut late = CheckedViewer::subscribe("App", Viewer::connect(&relay));
    late.read_to(known + 1);
    assert!(late.delivery.numbers(late.epoch).len() > 1, "the rest of the history is there");
}

#[test]
fn a_disk_that_hangs_delays_nobody_for_long() {
    let folder = folder();
    let relay = Relay::start_with(&["--journal", path(&folder), "--journal-bytes", "1048576"]);
    // Opening a pipe hangs until somebody reads from it.
    let pipe = folder.path().join(format!("{:020}.segment", 2));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    let (mut producer, mut checked) = start(&relay);
    let sender = Sender::start(SendConfig { relays: vec![relay.ingest.to_string()], ..SendConfig::new("Native", "w") });
    let sender = sender.expect("a thread can be started");
    send_padded(&mut producer, 2..=400);
    checked.read_and_check(400);
    eventually("the disk hangs", || {
        let mut histogram = Histogram::with_sum(Grid::FINEST);
        histogram.record(1);
        sender.send(S, now_ns(), [(SeriesName::exact("computation", "p", "n"), histogram)]);
        (relay.metric("joey_journal_stalls_total") == 1).then_some(())
    });
    send_padded(&mut producer, 401..=800);
    checked.read_and_check(800);
    assert!(sender.flush(TIMEOUT), "{:?}", sender.stats());
    assert_eq!(export(&relay, "Otlp", 1), 200);
    let state = || fs::read_to_string(folder.path().join("state")).expect("it can be read");
    eventually("the state is noted", || state().contains("incomplete").then_some(()));
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        fs::File::open(pipe).and_then(|mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes.len())
    });
    relay.wait_for_log("responds again");
    eventually("the state is noted", || state().contains("open").then_some(()));
    assert_eq!(relay.metric("joey_journal_updates_lost_total"), 0);
    drop(relay);
    assert!(read.join().expect("it does not panic").expect("the pipe can be read") > 10_000);
}

/// Exports `count` durations of 100 ms over OTLP. Returns the status of the answer.
fn export(relay: &Relay, app: &str, count: u64) -> u16 {
    let data = json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": app}}]},
        "scopeMetrics": [{"metrics": [{"name": "duration", "unit": "s", "histogram": {
            "aggregationTemporality": 1,
            "dataPoints": [{
                "startTimeUnixNano": (now_ns() - S).to_string(), "timeUnixNano": now_ns().to_string(),
                "count": count.to_string(), "sum": 0.1 * count as f64,
                "bucketCounts": ["0", count.to_string(), "0"], "explicitBounds": [0.05, 0.2],
            }],
        }}]}],
    }]});
    let head = "Content-Type: application/json\r\nConnection: close\r\n";
    stream::post_and_read(relay.otlp_http, "/v1/metrics", head, data.to_string().as_bytes()).0
}

#[test]
fn what_an_answered_otlp_request_has_survives_a_kill() {
    let folder = folder();
    let mut relay = Relay::start_with(&["--journal", path(&folder)]);
    let mut expected = 0;
    for round in 1..=5 {
        // Several requests, because the first update after a pause is shown at once.
        for _ in 0..3 {
            assert_eq!(export(&relay, "Otlp", round), 200);
            expected += round;
        }
        relay.kill();
        relay.restart_on_same_ports();
        let stats = relay.stats("Otlp");
        let views = stats["views"].as_array().expect("views are a list");
        let of_service = views.iter().filter(|view| view["kind"] == "computation");
        let counted: u64 = of_service.filter_map(|view| view["count"].as_u64()).sum();
        assert_eq!(counted, expected, "after kill {round}: {stats}");
    }
}

#[test]
fn a_journal_that_cannot_be_used_is_an_error() {
    let folder = folder();
    let relay = Relay::start_with(&["--journal", path(&folder)]);
    let serve = |journal: &str| {
        let ports = ["--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off"];
        joey_tests::joey(&[&["serve", "--journal", journal][..], &ports].concat())
    };
    let busy = serve(path(&folder));
    assert_eq!(busy.code, 1);
    assert!(busy.err.contains("another relay uses it"), "{}", busy.err);
    drop(relay);
    let file = folder.path().join("state");
    let taken = serve(file.to_str().expect("it is UTF-8"));
    assert_eq!(taken.code, 1);
    assert!(taken.err.contains("cannot use the journal"), "{}", taken.err);
}
