//! `joey pipe`: the output of bpftrace and bcc appears with exact counts.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use joey_tests::relay::program;
use joey_tests::{Relay, joey_with_input};
use serde_json::Value;

const BPFTRACE: &str = "Attaching 2 probes...
@usecs:
[0]                    1 |@                                                   |
[2, 4)                 8 |@@@@                                                |
[1K, 2K)              91 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|

@usecs:
[2, 4)                 2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|

";

const BCC: &str = "
disk = 'sda'
     usecs               : count     distribution
       128 -> 255        : 4        |****************************************|
       256 -> 511        : 1        |**********                              |
";

fn run(relay: &Relay, arguments: &[&str], input: &str) -> (i32, String) {
    let ingest = relay.ingest.to_string();
    let done = joey_with_input(&[&["pipe", "--relay", &ingest], arguments].concat(), input);
    (done.code, done.err)
}

/// The computation with this name.
fn view(relay: &Relay, app: &str, name: &str) -> Value {
    let stats = relay.stats(app);
    let views = stats["views"].as_array().expect("there are views");
    let found = views.iter().find(|view| view["kind"] == "computation" && view["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {stats}")).clone()
}

#[test]
fn the_histograms_of_both_programs_arrive_with_their_bins() {
    let relay = Relay::start();
    assert_eq!(run(&relay, &["kernel", "--worker", "host-1"], BPFTRACE), (0, String::new()));
    let usecs = view(&relay, "kernel", "usecs");
    assert_eq!(
        (usecs["count"].as_u64(), usecs["unit"].as_str(), usecs["scale"].as_u64()),
        (Some(102), Some("us"), Some(0))
    );
    let counts: Vec<u64> = usecs["bins"].as_object().expect("bins").values().filter_map(Value::as_u64).collect();
    assert_eq!(counts.iter().sum::<u64>(), 102);
    // 91 of 102 durations are from 1,024 to 2,048 us.
    assert_eq!(usecs["quantiles"]["0.5"], serde_json::json!([1_024_000, 2_048_000]), "{usecs}");
    assert_eq!(run(&relay, &["disks", "--app", "kernel"], BCC), (0, String::new()));
    let disk = view(&relay, "kernel", "disk = sda");
    assert_eq!(disk["count"], 5);
    assert!(relay.stats("kernel").to_string().contains("host-1"));
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let relay = Relay::start();
    let (code, error) = run(&relay, &["kernel"], "Attaching 2 probes...\n");
    assert!(code == 3 && error.contains("no histogram"), "{code} {error}");
    let (code, error) = run(&relay, &["kernel"], "@x:\n[1]  3 |@|\n");
    assert!(code == 1 && error.contains("--unit"), "{code} {error}");
    assert_eq!(run(&relay, &["kernel", "--unit", "ms"], "@x:\n[1]  3 |@|\n"), (0, String::new()));
    assert_eq!(run(&relay, &["kernel", "--unit", "kbytes"], "").0, 2);
    let done = joey_with_input(&["pipe", "kernel", "--once", "--relay", "127.0.0.1:1"], BCC);
    assert!(done.code == 1 && done.err.contains("cannot connect to 127.0.0.1:1: "), "{done:?}");
    assert!(done.err.contains("start a relay with joey serve"), "{done:?}");
    let (code, error) = run(&relay, &["a\u{202e}b"], BCC);
    assert!(code == 1 && error.contains("invalid_name"), "{code} {error}");
}

#[test]
fn cumulative_output_counts_once() {
    let relay = Relay::start();
    let growing: String = (1..=8).map(|count| format!("@us:\n[1]  {count} |@|\n\n")).collect();
    assert_eq!(run(&relay, &["cumulative", "--cumulative"], &growing), (0, String::new()));
    assert_eq!(view(&relay, "cumulative", "us")["count"], 8);
    let (code, error) = run(&relay, &["cleared"], &growing);
    assert!(code == 0 && error.contains("--cumulative"), "{code} {error}");
    assert_eq!(view(&relay, "cleared", "us")["count"], 36);
}

#[test]
fn the_port_for_viewers_is_told_apart_from_a_relay_that_is_down() {
    let relay = Relay::start();
    let http = relay.http.to_string();
    let told = format!("joey: {http} does not speak Joey's ingest protocol");
    let done = joey_with_input(&["pipe", "kernel", "--once", "--relay", &http], BCC);
    assert!(done.code == 1 && done.err.starts_with(&told), "{done:?}");
    // It keeps trying, because the relay may be about to take the port, and says why.
    let mut pipe = Command::new(program())
        .args(["pipe", "kernel", "--relay", &http])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("joey runs");
    let mut line = String::new();
    BufReader::new(pipe.stderr.take().expect("it is a pipe")).read_line(&mut line).expect("it writes");
    assert!(line.starts_with(&told) && line.contains("--ingest") && line.ends_with("trying again\n"), "{line}");
    assert!(pipe.try_wait().expect("it belongs to this test").is_none());
    let _ = pipe.kill();
    let _ = pipe.wait();
}
