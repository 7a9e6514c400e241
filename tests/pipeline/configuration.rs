//! `joey check-config`, `joey gen-config` and `joey --version`.

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
        &["check-config", "--config", &file, "--batch-ms", "20"],
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
    assert!(done.out.ends_with("the configuration is valid\n"), "{}", done.out);
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
    check("", &["--ring-secs", "x"], "--ring-secs");
    check("", &["--log-level", "=="], "invalid");
    assert_eq!(joey(&["check-config", "--config", "/nowhere"]).code, 2);
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
    let done = joey(&["--version"]);
    let (release, commit) = done
        .out
        .trim()
        .strip_prefix("joey ")
        .and_then(|text| text.split_once(' '))
        .unwrap_or_else(|| panic!("no commit: {}", done.out));
    assert!(release.split('.').count() == 3 && commit.starts_with('(') && commit.ends_with(')'), "{}", done.out);
    let commit = commit.trim_matches(['(', ')']);
    let known = Command::new("git").args(["cat-file", "-t", commit]).current_dir(checkout()).output().expect("git");
    assert_eq!(String::from_utf8_lossy(&known.stdout).trim(), "commit", "{commit}");
}
