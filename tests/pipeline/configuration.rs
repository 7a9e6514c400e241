//! `joey check-config`, `joey gen-config` and `joey --version`.

use std::path::Path;
use std::process::Command;

use joey_tests::token::{self, SECRET};
use joey_tests::{Finished, checkout, joey, joey_with_env};
use tempfile::TempDir;

/// The value and the source of an option.
fn option(done: &Finished, name: &str) -> String {
    let line = done.out.lines().find(|line| line.split(' ').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {}", done.out));
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_source_of_each_value_is_shown() {
    let folder = TempDir::new().expect("files can be written");
    let text = "ring_secs = 60\nbatch_ms = 10\norigins = ['https://a.example', 'https://b.example']\n";
    let file = token::key_file(folder.path(), "joey.toml", text);
    let done = joey_with_env(
        &["check-config", "--config", &file, "--batch-ms", "20", "--journal-sync"],
        &[("JOEY_RING_SECS", "90"), ("JOEY_NATS", "nats://user:hunter2@127.0.0.1"), ("JOEY_APPS", "")],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(option(&done, "batch_ms"), "20 (flag --batch-ms)");
    assert_eq!(option(&done, "ring_secs"), "90 (environment JOEY_RING_SECS)");
    assert_eq!(option(&done, "origins"), format!("https://a.example,https://b.example (file {file})"));
    assert_eq!(option(&done, "http"), "127.0.0.1:4000 (default)");
    assert_eq!(option(&done, "apps"), "1000 (default)");
    assert_eq!(option(&done, "nats"), "nats://127.0.0.1:4222 (environment JOEY_NATS)");
    assert!(!done.out.contains("hunter2"), "{}", done.out);
    let end = "note: journal_sync has no effect without journal\nthe configuration is valid\n";
    assert!(done.out.ends_with(end), "{}", done.out);
}

#[test]
fn a_configuration_that_a_relay_would_refuse_is_invalid() {
    let folder = TempDir::new().expect("files can be written");
    let check = |text: &str, arguments: &[&str], reason: &str| {
        let file = token::key_file(folder.path(), "joey.toml", text);
        let done = joey(&[&["check-config", "--config", &file], arguments].concat());
        assert_eq!(done.code, 2, "{text}: {}", done.out);
        assert!(done.err.contains(reason), "{text}: {}", done.err);
        assert!(!done.out.contains("is valid"), "{}", done.out);
    };
    let file = folder.path().join("joey.toml").display().to_string();
    check("ring_sec = 60", &[], "ring_sec");
    check("ring_secs = 0", &[], "ring_secs = 0 is not in 1..=86400");
    check("ring_secs = ", &[], "cannot use");
    check("", &["--http", "0.0.0.0:4000"], "--token-key");
    check("token_keys = ['/nowhere']", &[], "cannot read the key /nowhere");
    check("tls_cert = '/nowhere'\ntls_key = '/nowhere'", &[], "cannot use the certificate /nowhere");
    check("jwks = '/nowhere'\ntoken_issuer = 'me'", &[], "cannot use the key set /nowhere");
    check("jwks = 'http://idp.example/'\ntoken_issuer = 'me'", &[], "this machine only");
    check("origins = ['b.example']", &[], "b.example");
    check("nats_creds = '/nowhere'", &[], "cannot read /nowhere");
    check("ui_dir = '/nowhere'", &[], "index.html");
    check("journal = '/proc/x'", &[], "journal: cannot write /proc/x: ");
    check("", &["--journal", &format!("{file}/x")], "Not a directory");
    check("", &["--ring-secs", "x"], "--ring-secs");
    check("", &["--ring-bytes", "64MB"], "it must be a size such as 500k, 100M or 2G");
    check("", &["--frames-per-sec", "0"], "it must be at least 1");
    check("", &["--ingest", "localhost:5001"], "it must be an IP address and a port");
    check("http = ':4000'", &[], "it must be an IP address and a port");
    check("", &["--statsd-out", "nowhere"], "it must be HOST:PORT, such as 127.0.0.1:8125");
    check("statsd_out = 'nowhere'", &[], "--statsd-out nowhere: it must be HOST:PORT");
    check("tls_cert = '/nowhere'", &[], "--tls-cert and --tls-key must be set together");
    check("watch_exec = ['true']", &[], "--watch-exec and --watch-webhook need --watch");
    check("", &["--log-level", "=="], "invalid");
    assert_eq!(joey(&["check-config", "--config", "/nowhere"]).code, 2);
    // A directory that can be created is not created here, and one that exists stays empty.
    let journal = folder.path().join("a/journal").display().to_string();
    assert_eq!(joey(&["check-config", "--journal", &journal]).code, 0);
    let is_empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let existing = TempDir::new().expect("files can be written");
    assert_eq!(joey(&["check-config", "--journal", &existing.path().display().to_string()]).code, 0);
    assert!(is_empty(existing.path()) && !folder.path().join("a").exists());
}

#[test]
fn a_generated_file_is_a_valid_configuration_and_so_is_one_with_changes() {
    let folder = TempDir::new().expect("files can be written");
    let generated = joey(&["gen-config"]);
    assert_eq!((generated.code, generated.err.as_str()), (0, ""));
    let key = token::key_file(folder.path(), "key", SECRET);
    let changed = generated.out.replace("#ring_secs = 300", "ring_secs = 60");
    let changed = changed.replace("#token_keys = [\"/etc/joey/viewers.pem\"]", &format!("token_keys = [{key:?}]"));
    assert!(changed.contains("\nring_secs = 60\n") && changed.contains("\ntoken_keys = "), "{changed}");
    for (text, ring_secs) in [(&generated.out, "300 (default)"), (&changed, "60 (file")] {
        let file = token::key_file(folder.path(), "joey.toml", text);
        let done = joey(&["check-config", "--config", &file]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(option(&done, "ring_secs").starts_with(ring_secs), "{}", done.out);
    }
}

#[test]
fn the_version_names_the_commit() {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).current_dir(checkout()).output().ok();
        let done = done.filter(|done| done.status.success());
        done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let done = joey(&["--version"]);
    let version = done.out.trim().strip_prefix("joey ").expect("it begins with the name of the program").to_owned();
    let (release, commit) = version.split_once(' ').unwrap_or((&version, ""));
    assert_eq!(release, env!("CARGO_PKG_VERSION"));
    if git(&["rev-parse", "HEAD"]).is_some() {
        let commit = commit.strip_prefix('(').and_then(|commit| commit.strip_suffix(')')).expect("a commit");
        assert_eq!(git(&["cat-file", "-t", commit]).as_deref(), Some("commit"), "{version}");
    }
}
