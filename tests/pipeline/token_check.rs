//! `joey token --check`, with keys in files and a provider's key set.

use joey_tests::oidc::Provider;
use joey_tests::token::{self, OTHER_SECRET, PUBLIC_PEM, SECRET, claims, eddsa, hs256, now_s};
use joey_tests::{Finished, joey, joey_with_env, joey_with_input};
use serde_json::json;
use tempfile::TempDir;

/// The value of a line of the explanation.
fn line<'a>(done: &'a Finished, name: &str) -> &'a str {
    let value = done.out.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name}: {} {}", done.out, done.err)).trim()
}

#[test]
fn an_accepted_token_is_explained_and_a_refused_one_says_why() {
    let folder = TempDir::new().expect("keys can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let check = |token: &str, more: &[&str]| joey(&[&["token", "--token-key", &key, "--check", token], more].concat());
    let good = hs256(SECRET, &claims(json!({"sub": "ops", "apps": ["shop-*"], "send": [], "iat": now_s() - 90})));
    let done = check(&good, &[]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!((line(&done, "algorithm"), line(&done, "subject"), line(&done, "audience")), ("HS256", "ops", "joey"));
    assert_eq!((line(&done, "may watch"), line(&done, "may send")), ("shop-*", "nothing"));
    // 90 seconds ago, and what the program took to start.
    let is_issued = ["1 min 3", "1 min 4", "1 min 5"].iter().any(|age| line(&done, "issued").contains(age));
    assert!(is_issued && line(&done, "expires").contains("in 1"), "{}", done.out);
    assert!(done.out.ends_with("the token is valid\n"), "{}", done.out);
    // Standard input keeps a token out of the list of processes.
    let done = joey_with_input(&["token", "--token-key", &key, "--check"], &format!("{good}\n"));
    assert_eq!((done.code, line(&done, "subject")), (0, "ops"), "{}", done.err);
    let refused = |token: &str, more: &[&str], reason: &str| {
        let done = check(token, more);
        assert_eq!(done.code, 1, "{}", done.out);
        let start = "joey: the relay refuses this token: ";
        assert!(done.err.starts_with(start) && done.err.lines().count() == 1, "{}", done.err);
        assert!(done.err.contains(reason), "{}", done.err);
        assert!(!done.out.contains("valid\n") && !done.out.contains("may watch"), "{}", done.out);
    };
    let with = |more| hs256(SECRET, &claims(more));
    refused(&with(json!({"exp": 1_700_000_000})), &[], "it expired at 2023-11-14T22:13:20Z, ");
    refused(&with(json!({"nbf": now_s() + 3_600})), &[], "compare the clocks");
    refused(&with(json!({"aud": ["a", "b"]})), &[], "its audience is \"a\", \"b\"; the relay requires \"joey\"");
    refused(&good, &["--audience", "ops"], "its audience is \"joey\"; the relay requires \"ops\"");
    refused(&good, &["--issuer", "me"], "its issuer is missing; the relay requires \"me\"");
    refused(&hs256(OTHER_SECRET, &claims(json!({}))), &[], "no configured HS256 key has signed it");
    refused(&eddsa(&claims(json!({}))), &[], "no key is for EdDSA");
    refused(&with(json!({"apps": "*"})), &[], "its claim \"apps\" is not a list of names");
    refused("nonsense", &[], "it is not a signed JWT");
    refused(&token::unsigned("none", &claims(json!({}))), &[], "it is not a signed JWT");
    // Nothing in a token can change the terminal.
    let done = check(&with(json!({"sub": "a\u{1b}[2J", "aud": "\u{7}"})), &[]);
    assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{7}'), "{:?}", done);
}

#[test]
fn a_token_is_checked_with_the_options_of_the_relay() {
    let folder = TempDir::new().expect("files can be written");
    let key = token::key_file(folder.path(), "key", PUBLIC_PEM);
    let text = format!("token_keys = [{key:?}]\ntoken_audience = 'ops'\ntoken_apps_claim = 'groups'\n");
    let config = token::key_file(folder.path(), "joey.toml", &text);
    let good = eddsa(&claims(json!({"aud": "ops", "groups": "shop bank"})));
    let done = joey(&["token", "--config", &config, "--check", &good]);
    assert_eq!((done.code, line(&done, "may watch")), (0, "shop, bank"), "{}", done.err);
    let done = joey_with_env(
        &["token", "--check", &good],
        &[("JOEY_TOKEN_KEY", &key), ("JOEY_TOKEN_AUDIENCE", "ops"), ("JOEY_TOKEN_APPS_CLAIM", "missing")],
    );
    assert_eq!((done.code, line(&done, "may watch")), (0, "nothing"), "{}", done.err);
    let done = joey(&["token", "--check", &good]);
    assert!(done.code == 1 && done.err.contains("there is no key to check the token with"), "{}", done.err);
    assert_eq!(joey(&["token"]).code, 2);
    assert_eq!(joey(&["token", "--check", &good, "--apps", "a"]).code, 2);
}

#[test]
fn a_token_of_a_provider_is_checked_with_the_keys_that_it_publishes_now() {
    let (provider, other) = (Provider::start(&["e1", "r1"]), Provider::start(&["e2"]));
    let (jwks, issuer) = (provider.jwks(), provider.issuer());
    let check = |token: &str| joey(&["token", "--jwks", &jwks, "--issuer", &issuer, "--check", token]);
    let done = check(&provider.token("es256"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!((line(&done, "algorithm"), line(&done, "key id")), ("ES256", "e1"));
    assert!(line(&done, "key set").starts_with("e1 (ES256), r1 (RS256) from http://127.0.0.1:"), "{}", done.out);
    let done = check(&other.token("es256"));
    assert!(done.code == 1 && done.err.contains("the key set has no key with the id \"e2\""), "{}", done.err);
    drop(provider);
    let done = check("x.y.z");
    assert!(done.code == 1 && done.err.contains("cannot fetch the key set"), "{}", done.err);
}

#[test]
fn a_created_token_says_who_may_send() {
    let folder = TempDir::new().expect("keys can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let created = |more: &[&str]| {
        let token = joey(&[&["token", "--token-key", &key], more].concat()).out;
        let done = joey(&["token", "--token-key", &key, "--check", token.trim()]);
        assert_eq!(done.code, 0, "{}", done.err);
        (line(&done, "may watch").to_owned(), line(&done, "may send").to_owned())
    };
    let whole = "for what it may watch as a whole";
    assert_eq!(created(&[]), ("all applications".to_owned(), whole.to_owned()));
    assert_eq!(created(&["--apps", "a,b*", "--send="]), ("a, b*".to_owned(), "nothing".to_owned()));
    assert_eq!(created(&["--apps=", "--send", "a"]).1, "a");
}
