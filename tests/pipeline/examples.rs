//! The programs in `examples/`, run against a relay as their headers describe.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use joey_tests::relay::program;
use joey_tests::{Frame, Relay, S, checkout, eventually, now_ns};
use tempfile::TempDir;

/// An example in the background, which ends with the test.
struct Example {
    child: Child,
    output: TempDir,
}

impl Example {
    fn start(program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let output = TempDir::new().expect("a temporary directory can be created");
        let file = File::create(output.path().join("out")).expect("the directory is writable");
        let program = program.as_ref();
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(file).spawn();
        let child = child.unwrap_or_else(|error| panic!("this test needs {}: {error}", program.display()));
        Self { child, output }
    }

    fn has_printed(&self, line: &str) -> bool {
        let text = std::fs::read_to_string(self.output.path().join("out")).expect("examples print UTF-8");
        text.lines().any(|printed| printed == line)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_relay_accepts_the_frames_of_the_python_producer() {
    let relay = Relay::start();
    let script = checkout().join("examples/producer.py");
    let (host, port) = (relay.ingest.ip().to_string(), relay.ingest.port().to_string());
    let _producer = Example::start("python3", &[script.to_str().expect("the path is UTF-8"), "Example", &host, &port]);
    eventually("the relay accepts a frame", || (relay.frame_counts().0 > 0).then_some(()));
    assert_eq!(relay.frame_counts().1, 0, "no frame is rejected");
    let stats = relay.stats("Example");
    let views = stats["views"].as_array().expect("there are views");
    let view = views.iter().find(|view| view["kind"] == "computation").expect("there is a computation");
    assert_eq!((view["name"].as_str(), view["count"].as_u64().map(|count| count % 1000)), (Some("parse"), Some(0)));
}

#[test]
fn the_python_client_of_the_ingest_protocol_loses_nothing_while_the_relay_restarts() {
    let mut relay = Relay::start();
    let script = checkout().join("examples/emit.py");
    let (host, port) = (relay.ingest.ip().to_string(), relay.ingest.port().to_string());
    let _producer = Example::start("python3", &[script.to_str().expect("the path is UTF-8"), "Example", &host, &port]);
    let accepted = |relay: &Relay, least: u64| {
        eventually("the relay accepts data", || (relay.frame_counts().0 >= least).then_some(()));
        assert_eq!(relay.frame_counts().1, 0, "no histogram is rejected");
    };
    accepted(&relay, 1);
    relay.signal("TERM");
    assert!(relay.wait().success());
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    relay.restart_on_same_ports();
    // At least one period that ended in between, and the current one.
    accepted(&relay, 2);
    let stats = relay.stats("Example");
    let views = stats["views"].as_array().expect("there are views");
    let view = views.iter().find(|view| view["kind"] == "start-to-end").expect("there is an operation");
    assert_eq!((view["pipeline"].as_str(), view["scale"].as_u64()), (Some("GET /"), Some(3)));
    assert_eq!(view["count"].as_u64().map(|count| count % 1000), Some(0));
}

#[test]
fn the_viewer_prints_the_p99_of_each_view() {
    let relay = Relay::start();
    let now_s = now_ns() / S;
    // The p99 of 101 values is the 100th: 5 ns, in the bin from 4 to 8 ns, of which the recorded minimum cuts off the start.
    let frame = Frame::new("App", "computation", ["pipeline", "worker", "parse"], now_s);
    relay.producer("App", "worker").send(&frame.with(&[vec![5; 100], vec![700]].concat()));
    let viewer = Example::start(env!("CARGO_BIN_EXE_viewer"), &["App", &format!("ws://{}/ws", relay.http)]);
    for line in ["computation parse: p99 5–8 ns", "computation-by-worker pipeline | worker | parse: p99 5–8 ns"] {
        eventually(line, || viewer.has_printed(line).then_some(()));
    }
}

/// Where `scale.sh` keeps its number, and where its command, which stands for what starts workers, writes what it is asked for.
struct Scaling {
    folder: TempDir,
}

impl Scaling {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary directory can be created") }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Sets the variables of the script for `command`. A command of workers that fails writes nothing.
    fn configure<'a>(&self, command: &'a mut Command, workers_command: &str) -> &'a mut Command {
        let script = self.file("fake");
        let text = format!("#!/bin/sh\n{workers_command} && echo \"$1 $2\" >> {}\n", self.file("asked"));
        std::fs::write(&script, text).expect("the directory is writable");
        command
            .env("WORKERS_FILE", self.file("workers"))
            .env("WORKERS_MAX", "3")
            .env("WORKERS_COMMAND", format!("sh {script} replicas"))
    }

    fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn workers_are_added_and_removed_within_the_limits() {
    let scaling = Scaling::new();
    let told = |state: &str, objective: &str, workers_command: &str| {
        let mut script = Command::new("sh");
        script.arg(checkout().join("examples/scale.sh"));
        script.env("JOEY_STATE", state).env("JOEY_OBJECTIVE", format!("start-to-end/*: {objective} over 30s"));
        script.env("JOEY_APP", "Orders").env("JOEY_VIEW", "start-to-end/Orders").env("JOEY_VALUE", "6000/s");
        let done = scaling.configure(&mut script, workers_command).output().expect("there is a shell");
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (busy, idle) = ("throughput < 5000/s", "throughput > 500/s");
    assert_eq!(told("missed", busy, "true"), (true, "Orders: 2 workers (start-to-end/Orders: 6000/s)\n".to_owned()));
    assert_eq!(told("met", busy, "true"), (true, String::new()));
    assert!(!told("missed", busy, "false").0, "joey watch reports that the command has failed");
    assert!(told("missed", busy, "true").0);
    assert_eq!(told("missed", busy, "true"), (true, String::new()), "3 are the maximum");
    assert!(told("missed", idle, "true").0 && told("missed", idle, "true").0);
    assert_eq!(told("missed", idle, "true"), (true, String::new()), "1 is the minimum");
    assert_eq!(scaling.asked(), ["replicas 2", "replicas 3", "replicas 2", "replicas 1"]);
}

#[test]
fn a_busy_pipeline_gets_a_worker_and_an_idle_one_loses_it() {
    let relay = Relay::start();
    let scaling = Scaling::new();
    let mut watch = Command::new(program());
    watch.args(["watch", "Orders", "--relay", &relay.http.to_string(), "--missed-for", "1s", "--met-for", "1s"]);
    watch.args(["--slo", "computation/Check: throughput < 50/s over 3s"]);
    watch.args(["--slo", "computation/Check: throughput > 10/s over 3s"]);
    watch.arg("--exec").arg(format!("sh {}", checkout().join("examples/scale.sh").display()));
    scaling.configure(&mut watch, "true").stdout(Stdio::null()).stdin(Stdio::null());
    let child = watch.spawn().expect("joey runs");
    let _watch = Example { child, output: TempDir::new().expect("a temporary directory can be created") };
    let mut producer = relay.producer("Orders", "w");
    let mut sent_s = 0;
    // One frame in each second, until the workers are as expected.
    let mut until_asked = |events: usize, expected: &[&str]| {
        eventually(&format!("{expected:?}"), || {
            let now_s = now_ns() / S;
            if now_s > sent_s {
                sent_s = now_s;
                let frame = Frame::new("Orders", "computation", ["p", "w", "Check"], now_s);
                producer.send(&frame.with(&vec![1_000; events]).lasting(S));
            }
            (scaling.asked() == expected).then_some(())
        });
    };
    until_asked(100, &["replicas 2"]);
    until_asked(2, &["replicas 2", "replicas 1"]);
}
