//! Keys for NATS instead of passwords: a bare nkey, and a file with a JWT and its key as `nsc` writes it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use joey_tests::delivery::send;
use joey_tests::{Nats, Relay, eventually};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check, checked_viewer, start_producer, wait_for_connected};

/// The permissions that a relay needs at the server, as in `docs/operating.md`.
const ALLOWED: &str = "joey.>";

/// Writes `text` into a new file.
fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

fn with_creds(nats: &Nats, creds: &str) -> Relay {
    Relay::start_with(&["--log-level", "debug", "--nats", &nats.url(), "--nats-creds", creds])
}

/// Checks that relays with `creds` find each other and share logs and that their logs do not contain `secret`. Also
/// checks that a relay with the credentials of a `stranger` is rejected but still serves its own viewers.
fn check_authentication(nats: &Nats, creds: &str, secret: &str, stranger: &str) {
    let relays = [with_creds(nats, creds), with_creds(nats, creds)];
    for relay in &relays {
        wait_for_connected(relay, true);
        relay.wait_for_relays(2);
    }
    let (mut producer, epoch) = start_producer(&relays[0]);
    let mut remote = checked_viewer(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=500);
    check(&mut remote, 500);
    for relay in &relays {
        let log = relay.log();
        assert!(!log.contains(secret) && !log.to_lowercase().contains("permissions violation"), "{log}");
    }
    let stranger = with_creds(nats, stranger);
    eventually("the server rejects it", || {
        stranger.log().to_lowercase().contains("authorization violation").then_some(())
    });
    wait_for_connected(&stranger, false);
    assert_eq!(stranger.get("/readyz").0, 200, "its own viewers are served");
}

#[test]
fn a_relay_authenticates_with_a_bare_nkey() {
    let folder = TempDir::new().expect("files can be written");
    let [user, stranger] = [KeyPair::new_user(), KeyPair::new_user()];
    let permissions = format!("{{ publish: \"{ALLOWED}\", subscribe: \"{ALLOWED}\" }}");
    let users = format!("[ {{ nkey: {}, permissions: {permissions} }} ]", user.public_key());
    let config = file(&folder, "nats.conf", &format!("authorization {{ users: {users} }}\n"));
    let nats = Nats::start_with(&["--config", &config]);
    let seeds = [&user, &stranger].map(|key| key.seed().expect("it has one"));
    let [own, other] = ["own.nk", "other.nk"].map(|name| folder.path().join(name));
    fs::write(&own, format!("{}\n", seeds[0])).expect("a file can be written");
    fs::write(&other, &seeds[1]).expect("a file can be written");
    let arguments = |path: &Path| path.display().to_string();
    check_authentication(&nats, &arguments(&own), &seeds[0], &arguments(&other));
}

#[test]
fn a_credentials_file_without_a_key_is_reported() {
    let folder = TempDir::new().expect("files can be written");
    let nats = Nats::start();
    for text in ["", "joey:s3cret", "-----BEGIN NATS USER JWT-----\nno end\n"] {
        let relay = with_creds(&nats, &file(&folder, "none", text));
        eventually("the relay reports it", || relay.log().contains("cannot use NATS").then_some(()));
        assert!(relay.get("/readyz").0 == 200 && !relay.log().contains("s3cret"), "{text:?}");
        wait_for_connected(&relay, false);
    }
}

/// A NATS JWT that `issuer` signs for `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": subject.public_key(),
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": "joey",
        "nats": nats,
    }));
    let signed = format!("{head}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).expect("it can sign");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A file as `nsc generate creds` writes it.
fn creds(issuer: &KeyPair, user: &KeyPair) -> String {
    let all = json!({ "allow": [ALLOWED] });
    let claims = json!({ "type": "user", "version": 2, "pub": all, "sub": all, "subs": -1, "data": -1, "payload": -1 });
    let (jwt, seed) = (jwt(issuer, user, &claims), user.seed().expect("it has one"));
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         NKEY Seed printed below can be used to sign and prove identity.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[test]
fn a_relay_authenticates_with_credentials_of_an_operators_account() {
    let folder = TempDir::new().expect("files can be written");
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let own = jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let account_jwt = jwt(&operator, &account, &json!({ "type": "account", "version": 2, "limits": limits }));
    let preload = format!("{{ {}: {account_jwt} }}", account.public_key());
    let config = format!("operator: {own}\nresolver: MEMORY\nresolver_preload: {preload}\n");
    let nats = Nats::start_with(&["--config", &file(&folder, "nats.conf", &config)]);
    // Signed by an account that the operator has not signed.
    let stranger = creds(&KeyPair::new_account(), &KeyPair::new_user());
    let [own, other] = [("own.creds", creds(&account, &user)), ("other.creds", stranger)]
        .map(|(name, text)| file(&folder, name, &text));
    check_authentication(&nats, &own, &user.seed().expect("it has one"), &other);
}
