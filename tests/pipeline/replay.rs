//! `joey replay`: a relay has the counts of the recording again, also after a way through a Wallaroo capture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use joey_tests::relay::program;
use joey_tests::{Frame, Relay, S, eventually, joey, now_ns};
use serde_json::Value;
use tempfile::TempDir;

/// Sends 20 s of two series of two workers, and records them.
fn recording(folder: &TempDir) -> (String, Counts) {
    let relay = Relay::start();
    let end_s = now_ns() / S;
    let mut sent = 0;
    for worker in ["w1", "w2"] {
        let frames: Vec<Frame> = (0..20)
            .rev()
            .flat_map(|back| {
                [("a", back), ("b", 20 - back)].map(|(name, bin)| {
                    Frame::new("App", "computation", ["p", worker, name], end_s - back).with(&[1 << bin, 7]).lasting(S)
                })
            })
            .collect();
        sent += frames.len() as u64;
        relay.producer("App", worker).send_all(&frames);
    }
    relay.wait_for_accepted(sent);
    let file = folder.path().join("a.joey").display().to_string();
    let done = joey(&["record", "-o", &file, "--for", "3s", "--relay", &relay.http.to_string()]);
    assert_eq!(done.code, 0, "{}", done.err);
    (file, counts(&relay, "App").expect("the relay has it"))
}

/// The bins of each view, by its names.
type Counts = BTreeMap<String, String>;

fn counts(relay: &Relay, app: &str) -> Option<Counts> {
    let done = joey(&["stats", app, "--json", "--relay", &relay.http.to_string()]);
    let all: Value = serde_json::from_str(&done.out).ok()?;
    let name = |view: &Value| format!("{} {} {} {}", view["kind"], view["pipeline"], view["worker"], view["name"]);
    let value = |view: &Value| format!("{} {} {}", view["bins"], view["min_ns"], view["max_ns"]);
    Some(all["views"].as_array()?.iter().map(|view| (name(view), value(view))).collect())
}

fn replay(relay: &Relay, file: &str, arguments: &[&str]) {
    let ingest = relay.ingest.to_string();
    let done = joey(&[["replay", file, "--relay", &ingest, "--speed", "20"].as_slice(), arguments].concat());
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_relay_has_the_counts_of_the_recording_again() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let (file, expected) = recording(&folder);
    let relay = Relay::start();
    replay(&relay, &file, &["--app", "Again"]);
    eventually("the counts are the same", || (counts(&relay, "Again")? == expected).then_some(()));

    // A part of the time has a part of the counts.
    let part = Relay::start();
    replay(&part, &file, &["App", "--from", "5s", "--to", "9s"]);
    let views = eventually("a part is there", || counts(&part, "App"));
    let stats = joey(&["stats", "App", "--json", "--relay", &part.http.to_string()]);
    let stats: Value = serde_json::from_str(&stats.out).expect("JSON");
    let of_worker = stats["views"].as_array().expect("views").iter().find(|view| view["kind"] == "computation");
    assert_eq!(of_worker.map(|view| view["count"].as_u64()), Some(Some(5 * 2 * 2)), "{views:?}");

    let ingest = relay.ingest.to_string();
    let none = joey(&["replay", &file, "Other", "--relay", &ingest]);
    assert!(none.code == 3 && none.err.contains("no updates"), "{} {}", none.code, none.err);
    let viewers = joey(&["replay", &file, "--once", "--relay", &relay.http.to_string()]);
    assert!(viewers.code == 1 && viewers.err.contains("name the port for producers"), "{}", viewers.err);
    let missing = joey(&["replay", "/no/such.joey"]);
    assert!(missing.code == 1 && missing.err.contains("cannot read /no/such.joey"), "{}", missing.err);
    assert_eq!(joey(&["replay", &file, "--speed", "0"]).code, 2);
}

/// Total count of the computations of an application.
fn total(relay: &Relay, app: &str) -> Option<u64> {
    let done = joey(&["stats", app, "--json", "--relay", &relay.http.to_string()]);
    let all: Value = serde_json::from_str(&done.out).ok()?;
    let computations = all["views"].as_array()?.iter().filter(|view| view["kind"] == "computation");
    computations.map(|view| view["count"].as_u64()).sum()
}

#[test]
fn a_loop_sends_the_recording_again_and_again_until_it_is_interrupted() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let (file, _) = recording(&folder);
    // Two workers send two histograms of two durations in each of 20 seconds.
    let histograms = 2 * 2 * 20;
    let relay = Relay::start();
    let replay = Command::new(program())
        .args(["replay", &file, "--loop", "--speed", "20", "--relay", &relay.ingest.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("joey runs");
    eventually("it is sent for the third time", || (relay.frame_counts().0 > 2 * histograms).then_some(()));
    let interrupted = Command::new("sh").arg("-c").arg(format!("kill -INT {}", replay.id())).status();
    assert!(interrupted.expect("there is a shell").success());
    let done = replay.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let &[sent, durations] = numbers.as_slice() else { panic!("{said}") };
    assert!(sent > 2 * histograms && durations == 2 * sent, "{said}");
    assert_eq!(relay.frame_counts(), (sent, 0));
    eventually("every duration that was sent is there", || (total(&relay, "App")? == durations).then_some(()));
}

#[test]
fn a_recording_becomes_a_wallaroo_capture_and_back() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let (file, expected) = recording(&folder);
    let capture = folder.path().join("capture.bin").display().to_string();
    let written = joey(&["replay", &file, "--write-capture", &capture]);
    assert!(written.code == 0 && written.err.contains("2 workers"), "{}", written.err);
    let again = joey(&["replay", &file, "--write-capture", &capture]);
    assert!(again.code == 1 && again.err.contains("exists and is never replaced"), "{}", again.err);

    let relay = Relay::start();
    replay(&relay, &capture, &["--wallaroo"]);
    eventually("the counts are the same", || (counts(&relay, "App")? == expected).then_some(()));

    // The last frame is incomplete.
    let bytes = std::fs::read(&capture).expect("the capture is there");
    std::fs::write(&capture, &bytes[..bytes.len() - 1]).expect("it can be written");
    let torn = joey(&["replay", &capture, "--wallaroo", "--speed", "100", "--relay", &relay.ingest.to_string()]);
    assert!(torn.code == 0 && torn.err.contains("incomplete"), "{}", torn.err);
    std::fs::write(Path::new(&capture), "something else entirely").expect("it can be written");
    let other = joey(&["replay", &capture, "--wallaroo"]);
    assert!(other.code == 1 && other.err.contains("not a capture"), "{}", other.err);
}
