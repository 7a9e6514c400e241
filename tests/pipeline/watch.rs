//! `joey watch`: exit codes of `--once`, and who is told of a miss and of recovery.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use joey_tests::alertmanager::Alertmanager;
use joey_tests::relay::program;
use joey_tests::{Frame, Relay, S, TIMEOUT, eventually, joey, joey_with_env, now_ns};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Sends `seconds` of 100 events each, half of them with each duration, up to now.
fn send(relay: &Relay, seconds: u64, [one, other]: [u64; 2]) {
    let durations = [[one; 50], [other; 50]].concat();
    let end_s = now_ns() / S;
    let frame =
        |back: u64| Frame::new("App", "computation", ["p", "w", "Check"], end_s - back).with(&durations).lasting(S);
    let frames: Vec<Frame> = (0..seconds).rev().map(frame).collect();
    relay.producer("App", "w").send_all(&frames);
}

/// A watcher that ends with the test.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Accepts one request after the other and returns their bodies.
pub(super) fn http_sink() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    let (sender, bodies) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            // The first attempt fails, so the second one has to follow.
            let status = if at == 0 { "503 Service Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
            if at > 0 && sender.send(serde_json::from_slice(&body).expect("JSON")).is_err() {
                return;
            }
        }
    });
    (address, bodies)
}

#[test]
fn once_exits_with_0_if_met_2_if_missed_and_3_without_data() {
    let relay = Relay::start();
    let address = relay.http.to_string();
    send(&relay, 60, [600_000, 1_000_000]);
    relay.wait_for_accepted(60);
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("slo").display().to_string();
    std::fs::write(&file, "# latencies\ncomputation/*: p99 < 10ms over 1m\n").expect("it can be written");
    let once = |arguments: &[&str]| joey(&[["watch", "--once", "--relay", &address].as_slice(), arguments].concat());
    let check = |arguments: &[&str], code: i32, word: &str| {
        let done = once(arguments);
        assert!(done.code == code && done.out.contains(word), "{arguments:?}: {} {} {}", done.code, done.out, done.err);
    };
    check(&["--slo", "computation/*: p99 < 10ms over 1m"], 0, "met ");
    check(&["--slo-file", &file], 0, "met ");
    check(&["--slo", "computation/*: p99 < 10us over 1m"], 2, "missed");
    // Both durations are in one bin, and the threshold is between them.
    check(&["--slo", "computation/*: p99 < 800us over 1m"], 3, "undecided");
    check(&["--slo", "no/such: p99 < 1ms over 1m"], 3, "");
    check(&["Other", "--slo", "computation/*: p99 < 10ms over 1m"], 3, "");
    check(&["--slo", "computation/*: throughput > 50/s over 30s"], 0, "100/s");
    check(&["--slo", "computation/*: throughput > 5000/s over 30s"], 2, "missed");
    check(&["--slo", "computation/Check: p99 < 10us over 1m", "--burn", "14.4 over 1m and 10s"], 2, "burn rate 100.0");
    check(&["--slo", "computation/Check: p99 < 10us over 1m", "--burn", "101 over 1m and 10s"], 0, "met");
    let json: Value = serde_json::from_str(&once(&["--json", "--slo-file", &file]).out).expect("JSON");
    assert_eq!((&json[0]["state"], &json[0]["view"]), (&"met".into(), &"computation/Check".into()));
    assert_eq!(once(&[]).code, 2);
    assert_eq!(once(&["--slo", "fast, please"]).code, 2);
    std::fs::write(&file, "fast, please\n").expect("it can be written");
    let broken = once(&["--slo-file", &file]);
    assert!(broken.code == 1 && broken.err.contains("line 1"), "{}", broken.err);
}

#[test]
fn a_miss_and_the_recovery_are_told_to_the_command_and_to_the_webhook() {
    let relay = Relay::start();
    let folder = TempDir::new().expect("a temporary folder can be written");
    let log = folder.path().join("log");
    let (url, bodies) = http_sink();
    let output = File::create(folder.path().join("out")).expect("it can be written");
    let _watch = Watch(
        Command::new(program())
            .args(["watch", "App", "--slo", "computation/Check: p99 < 10ms over 3s", "--met-for", "1s"])
            .args(["--relay", &relay.http.to_string(), "--webhook", &url, "--webhook-format", "alertmanager"])
            .arg("--exec")
            .arg(format!(
                "echo \"$JOEY_STATE $JOEY_APP $JOEY_VIEW\" >> {}; cat >> {}.json",
                log.display(),
                log.display()
            ))
            .stdout(output)
            .spawn()
            .expect("joey runs"),
    );
    let has = |line: &str| std::fs::read_to_string(&log).is_ok_and(|text| text.lines().any(|printed| printed == line));
    eventually("the miss is told", || {
        send(&relay, 1, [100_000_000; 2]);
        has("missed App computation/Check").then_some(())
    });
    eventually("the recovery is told", || {
        send(&relay, 1, [1_000; 2]);
        has("met App computation/Check").then_some(())
    });
    let missed = bodies.recv_timeout(TIMEOUT).expect("the webhook is called again after an error");
    let labels = &missed[0]["labels"];
    assert_eq!((&labels["app"], &labels["view"]), (&"App".into(), &"computation/Check".into()), "{missed}");
    assert!(missed[0]["endsAt"].as_str() > missed[0]["startsAt"].as_str(), "{missed}");
    let met = bodies.recv_timeout(TIMEOUT).expect("the recovery is sent");
    assert_eq!((&met[0]["labels"], &met[0]["startsAt"]), (labels, &missed[0]["startsAt"]), "{met}");
    let printed = std::fs::read_to_string(folder.path().join("out")).expect("the output");
    let states: Vec<&str> = printed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(states, ["missed", "met"], "{printed}");
    let json = std::fs::read_to_string(log.with_extension("json")).expect("the standard input");
    let first: Value = serde_json::from_str(json.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(first["state"], "missed");
}

#[test]
fn alertmanager_has_an_alert_while_the_objective_is_missed() {
    let relay = Relay::start();
    let (url, told) = http_sink();
    let alertmanager = Alertmanager::start(&url);
    let _watch = Watch(
        Command::new(program())
            .args(["watch", "App", "--slo", "computation/Check: p99 < 10ms over 3s", "--met-for", "1s"])
            .args(["--relay", &relay.http.to_string(), "--webhook", &alertmanager.url()])
            .args(["--webhook-format", "alertmanager"])
            .stdout(Stdio::null())
            .spawn()
            .expect("joey runs"),
    );
    let alert = eventually("the miss is an alert", || {
        send(&relay, 1, [100_000_000; 2]);
        alertmanager.alerts()?.pop()
    });
    let labels = json!({
        "alertname": "JoeyObjectiveMissed",
        "app": "App",
        "view": "computation/Check",
        "objective": alert["labels"]["objective"],
    });
    assert_eq!((&alert["labels"], &alert["status"]["state"]), (&labels, &"active".into()), "{alert}");
    assert!(alert["annotations"]["summary"].as_str().is_some_and(|text| text.contains("p99 < 10ms")), "{alert}");
    eventually("the recovery resolves it", || {
        send(&relay, 1, [1_000; 2]);
        alertmanager.alerts()?.is_empty().then_some(())
    });
    // Alertmanager tells others the same.
    let told: Vec<Value> =
        ["firing", "resolved"].map(|_| told.recv_timeout(2 * TIMEOUT).expect("it calls the webhook")).into();
    let states: Vec<_> = told.iter().map(|told| (&told["alerts"][0]["labels"], &told["status"])).collect();
    assert_eq!(states, [(&labels, &"firing".into()), (&labels, &"resolved".into())]);
}

#[test]
fn the_help_does_not_show_the_address_of_a_webhook() {
    let done = joey_with_env(&["watch", "--help"], &[("JOEY_WEBHOOK", "https://hooks.example/s3cret")]);
    assert!(done.out.contains("JOEY_WEBHOOK") && !done.out.contains("s3cret"), "{}", done.out);
}
