//! `joey serve --watch`: the relay's own watcher, who is told of changes, and what viewers receive.

use std::path::{Path, PathBuf};

use joey_shared::series::{COMPUTATION, Filter};
use joey_shared::wire::{ClientMessage, ObjectiveEntry, ObjectiveState, Start};
use joey_tests::token::{SECRET, claims, hs256, key_file};
use joey_tests::viewer::Received;
use joey_tests::{Frame, Relay, S, TIMEOUT, Viewer, eventually, joey, now_ns};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::watch::http_sink;

const OBJECTIVE: &str = "computation/Check: p99 < 10ms over 3s";

/// Sends one second of 100 events of `app` up to now.
fn send(relay: &Relay, app: &str, duration_ns: u64) {
    let frame = Frame::new(app, "computation", ["p", "w", "Check"], now_ns() / S).with(&[duration_ns; 100]).lasting(S);
    relay.producer(app, "w").send_all(&[frame]);
}

fn objectives(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("objectives");
    std::fs::write(&file, text).expect("it can be written");
    file
}

fn watching(file: &Path, more: &[&str]) -> Relay {
    let file = file.display().to_string();
    Relay::start_with(&[["--watch", &file, "--watch-met-for", "1s"].as_slice(), more].concat())
}

/// Sends data of `app` until the viewer receives objectives for which `wanted` holds.
fn wait_for_objectives(
    viewer: &mut Viewer,
    mut send: impl FnMut(),
    wanted: impl Fn(&[ObjectiveEntry]) -> bool,
) -> Vec<ObjectiveEntry> {
    let mut sent_s = 0;
    viewer.wait_for(|received| {
        // Batches and heartbeats arrive while it waits.
        if now_ns() / S > sent_s {
            sent_s = now_ns() / S;
            send();
        }
        match received {
            Received::Objectives(_, objectives) if wanted(objectives) => Some(objectives.clone()),
            _ => None,
        }
    })
}

fn has_state(objectives: &[ObjectiveEntry], state: ObjectiveState) -> bool {
    objectives.iter().any(|entry| entry.views.iter().any(|view| view.state == state))
}

#[test]
fn a_miss_and_the_recovery_reach_webhook_command_metrics_and_viewers() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let (url, bodies) = http_sink();
    let log = folder.path().join("log");
    let command = format!("echo \"$JOEY_STATE $JOEY_APP $JOEY_VIEW\" >> {}", log.display());
    let file = objectives(&folder, &format!("# latencies\n{OBJECTIVE}\ncomputation/Other: p99 < 1s over 1m\n"));
    let relay = watching(&file, &["--watch-webhook", &url, "--watch-exec", &command]);
    send(&relay, "App", 1_000);
    relay.wait_for_accepted(1);
    let mut viewer = Viewer::connect(&relay);
    viewer.subscribe("App", Filter::Category(COMPUTATION.to_owned()), Start::Live);
    let missed = wait_for_objectives(
        &mut viewer,
        || send(&relay, "App", 100_000_000),
        |objectives| has_state(objectives, ObjectiveState::Missed),
    );
    // An objective without a view in the application is not sent.
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert_eq!((missed[0].objective.as_str(), missed[0].counts.missed), (OBJECTIVE, 1));
    let view = &missed[0].views[0];
    assert_eq!(view.view.name.as_deref(), Some("Check"));
    assert!(view.value.contains("ms") && view.since_ns.abs_diff(now_ns()) < 60 * S, "{view:?}");
    assert_eq!(relay.metric("joey_objectives{state=\"missed\"}"), 1);
    // A viewer that subscribes later gets the state with the answer.
    let mut late = Viewer::connect(&relay);
    late.subscribe("App", Filter::All, Start::Live);
    let first = late.wait_for(|received| match received {
        Received::Objectives(app, objectives) => Some((app.clone(), objectives.clone())),
        _ => None,
    });
    assert_eq!(first.0, "App");
    let met = wait_for_objectives(
        &mut viewer,
        || send(&relay, "App", 1_000),
        |objectives| has_state(objectives, ObjectiveState::Met),
    );
    assert_eq!((met[0].counts.met, met[0].counts.missed), (1, 0));
    let told = [(); 2].map(|()| bodies.recv_timeout(TIMEOUT).expect("the webhook is called again after an error"));
    assert_eq!((&told[0]["state"], &told[0]["objective"]), (&"missed".into(), &OBJECTIVE.into()), "{told:?}");
    assert_eq!((&told[1]["state"], &told[1]["since"]), (&"met".into(), &told[0]["since"]), "{told:?}");
    eventually("everyone is told", || (relay.metric("joey_objective_notifications_total") == 4).then_some(()));
    assert_eq!(relay.metric("joey_objectives{state=\"missed\"}"), 0);
    assert_eq!(relay.metric("joey_objective_notifications_failed_total"), 0);
    assert_eq!(relay.metric("joey_objective_updates_dropped_total"), 0);
    let told = std::fs::read_to_string(&log).expect("the command has run");
    assert_eq!(told, "missed App computation/Check\nmet App computation/Check\n");
}

#[test]
fn a_viewer_gets_objectives_only_of_applications_that_its_token_allows_wholly() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let key = key_file(folder.path(), "key", SECRET);
    let relay = watching(&objectives(&folder, OBJECTIVE), &["--token-key", &key]);
    for app in ["App", "Secret"] {
        send(&relay, app, 1_000);
    }
    relay.wait_for_accepted(2);
    let token = |more: Value| hs256(SECRET, &claims(more));
    let mut all = Viewer::with_token(&relay, &token(json!({})));
    let mut of_one = Viewer::with_token(&relay, &token(json!({"apps": ["App"]})));
    let narrow = token(json!({"categories": [COMPUTATION]}));
    let mut of_category = Viewer::with_token(&relay, &narrow);
    for (viewer, apps) in
        [(&mut all, ["App", "Secret"].as_slice()), (&mut of_one, &["App"]), (&mut of_category, &["App"])]
    {
        for app in apps {
            viewer.subscribe(app, Filter::Category(COMPUTATION.to_owned()), Start::Live);
        }
    }
    of_one.send(&ClientMessage::Subscribe {
        sub: 99,
        topic: joey_shared::series::Topic { app: "Secret".to_owned(), filter: Filter::All },
        start: Start::Live,
    });
    let mut apps = Vec::new();
    all.wait_for(|received| {
        if let Received::Objectives(app, _) = received {
            apps.push(app.clone());
        }
        (apps.contains(&"App".to_owned()) && apps.contains(&"Secret".to_owned())).then_some(())
    });
    let app = of_one.wait_for(|received| match received {
        Received::Objectives(app, _) => Some(app.clone()),
        _ => None,
    });
    assert_eq!(app, "App");
    // All that follows until the next heartbeat but one concerns the allowed application, or nothing.
    for viewer in [&mut of_one, &mut of_category] {
        let mut heartbeats = 0;
        viewer.wait_for(|received| {
            assert!(!matches!(received, Received::Objectives(app, _) if app == "Secret"), "{received:?}");
            heartbeats += usize::from(matches!(received, Received::Heartbeat(_)));
            (heartbeats == 2).then_some(())
        });
    }
    let mut sent = false;
    let token = token(json!({}));
    of_category.send_token(&token);
    // With a token for everything, it gets what it did not get before.
    of_category.wait_for(|received| {
        sent |= matches!(received, Received::Objectives(app, _) if app == "App");
        sent.then_some(())
    });
    // With the narrow token again, and without a subscription, what it has is no longer current.
    of_category.send_token(&narrow);
    let (mut late, state) = (Viewer::with_token(&relay, &token), |received: &Received| match received {
        Received::Objectives(app, objectives) if app == "App" => Some(objectives.len()),
        _ => None,
    });
    let (sub, _) = late.subscribe("App", Filter::All, Start::Live);
    assert_eq!(late.wait_for(state), 1);
    late.send(&ClientMessage::Unsubscribe { sub });
    for viewer in [&mut of_category, &mut late] {
        viewer.wait_for(|received| state(received).filter(|&objectives| objectives == 0));
    }
}

#[test]
fn the_objectives_are_read_again_on_sighup_and_a_broken_file_changes_nothing() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = objectives(&folder, OBJECTIVE);
    let relay = watching(&file, &[]);
    send(&relay, "App", 1_000);
    relay.wait_for_accepted(1);
    let mut viewer = Viewer::connect(&relay);
    viewer.subscribe("App", Filter::All, Start::Live);
    let texts = |objectives: &[ObjectiveEntry]| -> Vec<String> {
        objectives.iter().map(|entry| entry.objective.clone()).collect()
    };
    wait_for_objectives(&mut viewer, || {}, |objectives| texts(objectives) == [OBJECTIVE]);
    std::fs::write(&file, "nothing\n").expect("it can be written");
    relay.signal("HUP");
    relay.wait_for_log("line 1");
    let other = "computation/Check: throughput > 1/s over 30s";
    std::fs::write(&file, format!("{OBJECTIVE}\n{other}\n")).expect("it can be written");
    relay.signal("HUP");
    let both = wait_for_objectives(&mut viewer, || {}, |objectives| objectives.len() == 2);
    assert_eq!(texts(&both), [OBJECTIVE, other]);
    // The view exists because its history was read again.
    assert_eq!(both[1].views.len(), 1, "{both:?}");
}

#[test]
fn a_file_with_an_error_is_named_with_its_line() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = objectives(&folder, "# latencies\n\ncomputation/*: p99 < soon over 1m\n").display().to_string();
    let ports = ["--ingest", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let started = joey(&[["serve", "--watch", &file].as_slice(), &ports].concat());
    assert!(started.code == 2 && started.err.contains("line 3: the threshold"), "{} {}", started.code, started.err);
    let checked = joey(&["check-config", "--watch", &file]);
    assert!(checked.code == 2 && checked.err.contains("line 3: the threshold"), "{} {}", checked.code, checked.err);
    let checked = joey(&["check-config", "--watch-webhook", "http://127.0.0.1:1/s3cret"]);
    assert!(checked.code == 2 && checked.err.contains("need --watch"), "{} {}", checked.code, checked.err);
    assert!(!checked.out.contains("s3cret"), "{}", checked.out);
    std::fs::write(&file, OBJECTIVE).expect("it can be written");
    let checked = joey(&["check-config", "--watch", &file]);
    assert!(checked.code == 0 && checked.out.contains("1 objectives"), "{} {}", checked.code, checked.out);
}
