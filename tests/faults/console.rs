//! Standard error and standard output that are closed, full, or read by nobody, and options of any size.

use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use joey_tests::ledger::{check_books, numbered, send};
use joey_tests::relay::{free_ports, program};
use joey_tests::{Relay, eventually, joey, joey_in};

use super::begun;

/// A pipe with nobody at its other end.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    writer.into()
}

/// A pipe whose other end is open, and that nobody reads.
fn unread() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    (reader, writer.into())
}

/// A disk without room.
fn full() -> Stdio {
    File::create("/dev/full").expect("it is on every Linux").into()
}

/// The relay serves its viewer, notices connections of every kind that it logs, and stops in order.
fn works(mut relay: Relay) {
    let (mut producer, mut witness) = begun(&relay);
    for number in 2..=500 {
        producer.send(&numbered("App", "w", number));
    }
    for app in 0..200 {
        // Who joins and leaves is logged.
        send(&mut relay.producer(&format!("App {app}"), "w"), &format!("App {app}"), "w", [1]);
    }
    witness.reads_all(500);
    relay.accepts(700);
    check_books(&relay, 700, 0);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
    relay.signal("TERM");
    assert_eq!(witness.reads_to_the_end(), 1012);
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_relay_whose_log_nobody_can_take_goes_on_and_counts_the_lines() {
    for stderr in [closed(), full()] {
        let relay = Relay::start_with_stderr(&["--log-level", "trace"], stderr);
        eventually("lines are counted", || (relay.metric("joey_log_lines_dropped_total") > 0).then_some(()));
        works(relay);
    }
}

#[test]
fn a_relay_whose_log_nobody_reads_goes_on() {
    let (reader, stderr) = unread();
    works(Relay::start_with_stderr(&["--log-level", "trace"], stderr));
    drop(reader);
}

#[test]
fn a_reader_of_the_log_that_leaves_changes_nothing() {
    let (mut reader, stderr) = unread();
    let relay = Relay::start_with_stderr(&["--log-level", "debug"], stderr);
    let mut some = [0; 64];
    reader.read_exact(&mut some).expect("there is a log");
    drop(reader);
    works(relay);
}

#[test]
fn a_panic_under_a_closed_console_is_contained_like_any_other() {
    // What panics in a producer's task or a viewer's is tried in the relay's own tests; here it is that the report cannot be written.
    let relay = Relay::start_with_stderr(&[], closed());
    drop(TcpStream::connect(relay.ingest));
    works(relay);
}

#[test]
fn clients_end_as_they_should_whatever_becomes_of_their_output() {
    let run = |words: &[&str], out: Stdio, err: Stdio| {
        let status = Command::new(program()).args(words).stdin(Stdio::null()).stdout(out).stderr(err).status();
        status.expect("the program runs").code()
    };
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("App", "w", 1));
    relay.accepts(1);
    let here = relay.http.to_string();
    let nowhere = free_ports()[0].to_string();
    let folder = tempfile::tempdir().expect("there is room");
    let key = folder.path().join("key");
    std::fs::write(&key, "s".repeat(40)).expect("there is room");
    let key = key.to_str().expect("its name is text");
    for (words, code) in [
        (["tap", "--once", "--relay", &nowhere], 1),
        (["stats", "App", "--relay", &here], 0),
        (["stats", "Nobody", "--relay", &here], 3),
        (["token", "--token-key", key, "--ttl=1m"], 0),
        (["serve", "--http", "nonsense", "--demo"], 2),
    ] {
        assert_eq!(run(&words, Stdio::null(), closed()), Some(code), "{words:?}, standard error closed");
        assert_eq!(run(&words, Stdio::null(), full()), Some(code), "{words:?}, standard error full");
        let with_output = if code == 0 { 1 } else { code };
        assert_eq!(run(&words, full(), Stdio::null()), Some(with_output), "{words:?}, standard output full");
    }
    assert_eq!(run(&["tap", "App", "--history", "--relay", &here], closed(), closed()), Some(0));
}

/// The words in the help of `subcommand` that follow `before`, up to one of `after`.
fn in_help(subcommand: &str, before: &str, after: &[char]) -> Vec<String> {
    let help = joey(&[subcommand, "--help"]).out;
    let words = help.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    words.map(str::to_owned).collect()
}

#[test]
fn a_variable_that_is_set_and_empty_is_not_set() {
    let folder = tempfile::tempdir().expect("there is room");
    let key = folder.path().join("key");
    std::fs::write(&key, "s".repeat(40)).expect("there is room");
    let key = key.to_str().expect("its name is text");
    for (words, allowed) in [
        (&["stats", "no such application", "--once"][..], &[1, 3][..]),
        (&["token", "--token-key", key], &[0]),
        // Its ports are set, and nobody may listen there.
        (&["serve", "--ingest", "192.0.2.1:1", "--http", "192.0.2.1:2", "--insecure-open"], &[1]),
        (&["demo", "--ingest", "192.0.2.1:1", "--http", "192.0.2.1:2", "--insecure-open"], &[1]),
    ] {
        let names = in_help(words[0], "[env: ", &['=', ']']);
        assert!(names.len() > 1, "{names:?}");
        let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let done = joey_in(words, &empty);
        assert!(allowed.contains(&done.code), "{words:?}: {done:?}");
        assert!(!done.err.contains("invalid value"), "{words:?}: {done:?}");
    }
}

#[test]
fn a_number_of_any_size_is_an_error_or_works() {
    let numeric: Vec<String> =
        in_help("serve", "--", &[' ']).into_iter().filter(|option| is_number("serve", option)).collect();
    assert!(numeric.len() >= 12, "{numeric:?}");
    for option in numeric {
        for number in ["0", "1", "4294967295", "9223372036854775807", "18446744073709551615"] {
            let what = format!("--{option} {number}");
            let [ingest, http] = free_ports();
            let mut child = Command::new(program())
                .args(["serve", "--ingest", &ingest.to_string(), "--http", &http.to_string()])
                .arg(format!("--{option}={number}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
            let ended = eventually("it listens or ends", || {
                let ended = child.try_wait().expect("it is ours");
                (ended.is_some() || TcpStream::connect(http).is_ok()).then_some(ended)
            });
            if ended.is_none() {
                // Places may be few; what is sent may be refused. It only must not break anything.
                if let Ok(mut stream) = TcpStream::connect(ingest) {
                    let _ = std::io::Write::write_all(&mut stream, &numbered("App", "w", 1).encode());
                }
                let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status();
                assert!(kill.expect("there is a shell").success());
            }
            let done = child.wait_with_output().expect("it is ours");
            let err = String::from_utf8_lossy(&done.stderr);
            assert!(!err.contains("panic"), "{what}: {err}");
            let codes: &[i32] = if ended.is_some() { &[1, 2] } else { &[0] };
            assert!(done.status.code().is_some_and(|code| codes.contains(&code)), "{what}: {}: {err}", done.status);
        }
    }
}

/// Whether an option of `subcommand` takes a number.
fn is_number(subcommand: &str, option: &str) -> bool {
    let done = joey(&[subcommand, &format!("--{option}=x"), "--http=127.0.0.1:x"]);
    done.err.contains(&format!("--{option} <N>"))
}
