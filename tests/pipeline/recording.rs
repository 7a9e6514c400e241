//! `joey record` and `joey stats --file`: a recording has the numbers of the relay.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use joey_shared::recording::{Entry, HEADER_BYTES, Playback, Reader};
use joey_tests::relay::program;
use joey_tests::{Frame, Oracle, Relay, S, eventually, joey, now_ns};
use serde_json::Value;
use tempfile::TempDir;

use super::top::Terminal;

/// A minute of two computations; the newest period is complete.
fn sample() -> Oracle {
    let then_s = now_ns() / S / 2 * 2 - 70;
    let frame = |(second, name): (u64, &str)| {
        let durations: Vec<u64> = (0..20).map(|at| 1_000 << ((second + at) % 12)).collect();
        Frame::new("App", "computation", ["p", "w", name], then_s + 2 * second).with(&durations)
    };
    let mut frames: Vec<Frame> = (0..30).flat_map(|second| [(second, "a"), (second, "b")]).map(frame).collect();
    frames.push(Frame::new("App", "computation", ["p", "w", "a"], then_s + 59).with(&[5]).lasting(S / 100));
    Oracle { frames }
}

/// Starts `joey record`.
fn record(relay: &Relay, file: &Path, arguments: &[&str]) -> Child {
    let address = relay.http.to_string();
    Command::new(program())
        .args(["record", "--relay", &address, "-o"])
        .arg(file)
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .expect("joey runs")
}

/// The statistics of the recording.
fn stats_of(file: &Path) -> Option<Value> {
    let done = joey(&["stats", "--json", "--file", &file.display().to_string()]);
    (done.code == 0).then(|| serde_json::from_str(&done.out).expect("it prints JSON"))
}

/// Waits until the file has all of `oracle`.
fn wait_for(file: &Path, oracle: &Oracle) -> Value {
    let views = oracle.expected(300, oracle.clock_ns());
    eventually("everything is in the file", || {
        let stats = stats_of(file)?;
        let counted: u64 = stats["views"].as_array()?.iter().filter_map(|view| view["count"].as_u64()).sum();
        let is_complete = stats["through_ns"].as_u64() == Some(oracle.clock_ns());
        (is_complete && counted == views.values().filter_map(|view| view["count"].as_u64()).sum::<u64>())
            .then_some(stats)
    })
}

#[test]
fn a_killed_recorder_leaves_a_file_with_the_numbers_of_the_relay() {
    let relay = Relay::start();
    let oracle = sample();
    let _open = {
        let mut producer = relay.producer("App", "w");
        producer.send_all(&oracle.frames);
        producer
    };
    relay.wait_for_accepted(oracle.frames.len() as u64);
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("a.joey");
    let mut recorder = record(&relay, &file, &[]);
    wait_for(&file, &oracle);
    recorder.kill().expect("it runs");
    let _ = recorder.wait();
    oracle.check(&wait_for(&file, &oracle));

    // Whatever is missing at the end, the rest is read.
    let bytes = std::fs::read(&file).expect("the file is there");
    for length in [HEADER_BYTES + 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).expect("a temporary folder can be written");
        let done = joey(&["stats", "App", "--file", &file.display().to_string()]);
        assert!(done.err.contains("are incomplete or damaged") || done.code == 0, "{length}: {}", done.err);
        assert!(done.code == 0 || done.code == 3, "{length}: {} {}", done.code, done.err);
    }
}

#[test]
fn a_recording_ends_by_itself_rotates_and_never_replaces_a_file() {
    let relay = Relay::start();
    let oracle = sample();
    let mut producer = relay.producer("App", "w");
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("a.joey");
    let mut recorder = record(&relay, &file, &["App", "--max-bytes", "2k"]);
    for frames in oracle.frames.chunks(4) {
        producer.send_all(frames);
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
    wait_for(&file, &oracle);
    eventually("the file before", || folder.path().join("a.1.joey").is_file().then_some(()));
    // A file that is complete in itself: the state, then messages.
    let bytes = std::fs::read(&file).expect("the file is there");
    assert!(Reader::new(&bytes).expect("a recording").any(|record| matches!(record.entry, Entry::App(_))));
    recorder.kill().expect("it runs");
    let _ = recorder.wait();

    let address = relay.http.to_string();
    let path = file.display().to_string();
    let again = joey(&["record", "-o", &path, "--relay", &address]);
    assert!(again.code == 1 && again.err.contains("exists and is never replaced"), "{} {}", again.code, again.err);
    let other = folder.path().join("b.joey").display().to_string();
    let timed = joey(&["record", "-o", &other, "--for", "3s", "--relay", &address]);
    assert_eq!((timed.code, timed.out.as_str()), (0, ""), "{}", timed.err);
    oracle.check(&stats_of(Path::new(&other)).expect("a recording"));
}

#[test]
fn a_terminal_shows_the_progress_and_other_files_do_not() {
    let relay = Relay::start();
    relay.producer("App", "w").send_all(&sample().frames);
    let folder = TempDir::new().expect("a temporary folder can be written");
    for (name, environment, has_colors) in [("a.joey", "NO_COLOR=1", false), ("b.joey", "", true)] {
        let file = folder.path().join(name).display().to_string();
        let arguments = format!("record -o {file} --for 5s --relay {}", relay.http);
        let terminal = Terminal::start(environment, &arguments);
        terminal.wait_for("[=");
        // Before it is connected, the line says so instead.
        let shown = terminal.wait_for(" messages, 1 application");
        assert!(shown.contains(" % ") && shown.contains(" of 5 s, "), "{shown}");
        assert_eq!(terminal.has_colors(), has_colors, "{shown}");
        let end = terminal.wait_for(&format!("{name}: 0.1 MB"));
        assert!(!end.contains('%'), "only the result is left: {end}");
    }
    let file = folder.path().join("c.joey").display().to_string();
    let piped = joey(&["record", "-o", &file, "--for", "3s", "--relay", &relay.http.to_string()]);
    assert_eq!((piped.code, piped.err.as_str()), (0, format!("joey: {file}: 0.1 MB\n").as_str()));
}

#[test]
fn a_full_disk_ends_the_recording_with_a_clear_word() {
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send_all(&sample().frames);
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("a.joey").display().to_string();
    // The shell limits the size of files, in blocks of 512 bytes or 1 KiB.
    let script =
        format!("ulimit -f 1; trap '' XFSZ; exec {} record -o {file} --relay {}", program().display(), relay.http);
    let done = Command::new("sh").arg("-c").arg(script).output().expect("there is a shell");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && text.contains("the recording ends here"), "{text}");
    let bytes = std::fs::read(&file).expect("the file is there");
    let mut reader = Reader::new(&bytes).expect("a recording");
    assert!(reader.by_ref().count() > 0 && reader.unread_bytes() == 0);
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let folder = TempDir::new().expect("a temporary folder can be written");
    let file = folder.path().join("a.joey");
    std::fs::write(&file, "something else").expect("a temporary folder can be written");
    let done = joey(&["stats", "--file", &file.display().to_string()]);
    assert!(done.code == 1 && done.err.contains("not a recording of Joey"), "{} {}", done.code, done.err);
    let done = joey(&["stats", "--file", "/no/such/file"]);
    assert!(done.code == 1 && done.err.contains("cannot read /no/such/file"), "{} {}", done.code, done.err);
    assert_eq!(joey(&["stats"]).code, 2);
    assert!(Playback::open(Vec::new(), 300).is_err());
}
