//! Standard error and standard output that are closed, full or not read, and numeric options of any size.

use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use joey_tests::delivery::{check_frame_counts, numbered, send};
use joey_tests::relay::{free_ports, program};
use joey_tests::{Relay, eventually, joey, joey_with_env};

use super::start_producer;

/// A pipe whose reader is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    writer.into()
}

/// A pipe whose reader is open but never reads.
fn unread() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    (reader, writer.into())
}

/// A full disk.
fn full() -> Stdio {
    File::create("/dev/full").expect("it is on every Linux").into()
}

/// Checks that the relay serves its viewer, logs connections of every kind, and stops gracefully.
fn check_works(mut relay: Relay) {
    let (mut producer, mut checked) = start_producer(&relay);
    for number in 2..=500 {
        producer.send(&numbered("App", "w", number));
    }
    for app in 0..200 {
        // The relay logs each join and disconnect.
        send(&mut relay.producer(&format!("App {app}"), "w"), &format!("App {app}"), "w", [1]);
    }
    checked.read_and_check(500);
    relay.wait_for_accepted(700);
    check_frame_counts(&relay, 700, 0);
    assert_eq!(relay.metric("joey_task_panics_total"), 0);
    relay.signal("TERM");
    assert_eq!(checked.read_to_close(), 1012);
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_relay_that_cannot_write_its_log_continues_and_counts_dropped_lines() {
    for stderr in [closed(), full()] {
        let relay = Relay::start_with_stderr(&["--log-level", "trace"], stderr);
        eventually("lines are counted", || (relay.metric("joey_log_lines_dropped_total") > 0).then_some(()));
        check_works(relay);
    }
}

#[test]
fn a_relay_whose_log_is_not_read_continues() {
    let (reader, stderr) = unread();
    check_works(Relay::start_with_stderr(&["--log-level", "trace"], stderr));
    drop(reader);
}

#[test]
fn a_log_reader_that_closes_its_pipe_does_not_affect_the_relay() {
    let (mut reader, stderr) = unread();
    let relay = Relay::start_with_stderr(&["--log-level", "debug"], stderr);
    let mut some = [0; 64];
    reader.read_exact(&mut some).expect("there is a log");
    drop(reader);
    check_works(relay);
}

#[test]
fn a_relay_with_a_closed_standard_error_works() {
    // The relay's own tests cover panics in the tasks of producers and viewers; this test covers a panic report that
    // cannot be written.
    let relay = Relay::start_with_stderr(&[], closed());
    drop(TcpStream::connect(relay.ingest));
    check_works(relay);
}

#[test]
fn clients_exit_with_the_right_code_when_their_output_fails() {
    let run = |arguments: &[&str], out: Stdio, err: Stdio| {
        let status = Command::new(program()).args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).status();
        status.expect("the program runs").code()
    };
    let relay = Relay::start();
    let mut producer = relay.producer("App", "w");
    producer.send(&numbered("App", "w", 1));
    relay.wait_for_accepted(1);
    let address = relay.http.to_string();
    let unused = free_ports::<1>()[0].to_string();
    let folder = tempfile::tempdir().expect("a temporary folder can be written");
    let key = folder.path().join("key");
    std::fs::write(&key, "s".repeat(40)).expect("a temporary folder can be written");
    let key = key.to_str().expect("its name is text");
    for (arguments, code) in [
        (["tap", "--once", "--relay", &unused], 1),
        (["stats", "App", "--relay", &address], 0),
        (["stats", "Nobody", "--relay", &address], 3),
        (["token", "--token-key", key, "--ttl=1m"], 0),
        (["serve", "--http", "nonsense", "--demo"], 2),
    ] {
        assert_eq!(run(&arguments, Stdio::null(), closed()), Some(code), "{arguments:?}, standard error closed");
        assert_eq!(run(&arguments, Stdio::null(), full()), Some(code), "{arguments:?}, standard error full");
        let with_output = if code == 0 { 1 } else { code };
        assert_eq!(run(&arguments, full(), Stdio::null()), Some(with_output), "{arguments:?}, standard output full");
    }
    assert_eq!(run(&["tap", "App", "--history", "--relay", &address], closed(), closed()), Some(0));
}

/// The arguments in the help text of `subcommand` that follow `before`, up to one of `after`.
fn in_help(subcommand: &str, before: &str, after: &[char]) -> Vec<String> {
    let help = joey(&[subcommand, "--help"]).out;
    let arguments = help.split(before).skip(1).filter_map(|rest| rest.split(after).next());
    arguments.map(str::to_owned).collect()
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    let folder = tempfile::tempdir().expect("a temporary folder can be written");
    let key = folder.path().join("key");
    std::fs::write(&key, "s".repeat(40)).expect("a temporary folder can be written");
    let key = key.to_str().expect("its name is text");
    for (arguments, allowed) in [
        (&["stats", "no such application", "--once"][..], &[1, 3][..]),
        (&["token", "--token-key", key], &[0]),
        // The ports are set to addresses on which this machine cannot listen.
        (&["serve", "--ingest", "192.0.2.1:1", "--http", "192.0.2.1:2", "--insecure-open"], &[1]),
        (&["demo", "--ingest", "192.0.2.1:1", "--http", "192.0.2.1:2", "--insecure-open"], &[1]),
    ] {
        let names = in_help(arguments[0], "[env: ", &['=', ']']);
        assert!(names.len() > 1, "{names:?}");
        let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let done = joey_with_env(arguments, &empty);
        assert!(allowed.contains(&done.code), "{arguments:?}: {done:?}");
        assert!(!done.err.contains("invalid value"), "{arguments:?}: {done:?}");
    }
}

#[test]
fn a_numeric_option_of_any_size_works_or_is_an_error() {
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
            let ended = eventually("it listens or exits", || {
                let ended = child.try_wait().expect("it belongs to this test");
                (ended.is_some() || TcpStream::connect(http).is_ok()).then_some(ended)
            });
            if ended.is_none() {
                // Limits may be low and frames may be rejected, but nothing may break.
                if let Ok(mut stream) = TcpStream::connect(ingest) {
                    let _ = std::io::Write::write_all(&mut stream, &numbered("App", "w", 1).encode());
                }
                let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status();
                assert!(kill.expect("there is a shell").success());
            }
            let done = child.wait_with_output().expect("it belongs to this test");
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
    ["N", "BYTES"].iter().any(|name| done.err.contains(&format!("--{option} <{name}>")))
}
