//! The programs in `examples/`, run against a relay as their headers describe.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
