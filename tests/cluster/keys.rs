//! Keys for NATS in place of passwords: a bare nkey, and the file of a JWT and its key that `nsc` writes.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use joey_tests::ledger::send;
use joey_tests::{Nats, Relay, eventually};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{begun, check, is_connected, witness};

/// What a relay may do at the server, and no more: `docs/operating.md` says so.
const ALLOWED: &str = "joey.>";

/// A file of its own for this text.
fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("there is room for a file");
    path.display().to_string()
}

fn with_creds(nats: &Nats, creds: &str) -> Relay {
    Relay::start_with(&["--log-level", "debug", "--nats", &nats.url(), "--nats-creds", creds])
}

/// Checks that relays with `creds` hear of each other and share, that no `secret` is in their logs, and that one with the
/// credentials of a `stranger` stays outside and serves its own.
fn checks_who_comes_in(nats: &Nats, creds: &str, secret: &str, stranger: &str) {
    let relays = [with_creds(nats, creds), with_creds(nats, creds)];
    for relay in &relays {
        is_connected(relay, true);
        relay.knows(2);
    }
    let (mut producer, epoch) = begun(&relays[0]);
    let mut remote = witness(&relays[1], epoch);
    send(&mut producer, "App", "w", 2..=500);
    check(&mut remote, 500);
    for relay in &relays {
        let log = relay.log();
        assert!(!log.contains(secret) && !log.to_lowercase().contains("permissions violation"), "{log}");
    }
    let stranger = with_creds(nats, stranger);
    eventually("it is refused", || stranger.log().to_lowercase().contains("authorization violation").then_some(()));
    is_connected(&stranger, false);
    assert_eq!(stranger.get("/readyz").0, 200, "its own viewers are served");
}

#[test]
fn a_relay_comes_in_with_a_bare_nkey() {
    let folder = TempDir::new().expect("there is room for files");
    let [user, stranger] = [KeyPair::new_user(), KeyPair::new_user()];
    let permissions = format!("{{ publish: \"{ALLOWED}\", subscribe: \"{ALLOWED}\" }}");
    let users = format!("[ {{ nkey: {}, permissions: {permissions} }} ]", user.public_key());
    let config = file(&folder, "nats.conf", &format!("authorization {{ users: {users} }}\n"));
    let nats = Nats::start_with(&["--config", &config]);
    let seeds = [&user, &stranger].map(|key| key.seed().expect("it has one"));
    let [own, other] = ["own.nk", "other.nk"].map(|name| folder.path().join(name));
    fs::write(&own, format!("{}\n", seeds[0])).expect("there is room for a file");
    fs::write(&other, &seeds[1]).expect("there is room for a file");
    let words = |path: &Path| path.display().to_string();
    checks_who_comes_in(&nats, &words(&own), &seeds[0], &words(&other));
}

#[test]
fn a_file_that_holds_no_key_is_said_to_hold_none() {
    let folder = TempDir::new().expect("there is room for files");
    let nats = Nats::start();
    for text in ["", "joey:s3cret", "-----BEGIN NATS USER JWT-----\nno end\n"] {
        let relay = with_creds(&nats, &file(&folder, "none", text));
        eventually("it says so", || relay.log().contains("cannot use NATS").then_some(()));
        assert!(relay.get("/readyz").0 == 200 && !relay.log().contains("s3cret"), "{text:?}");
        is_connected(&relay, false);
    }
}

/// A JWT as NATS has them, signed by `issuer` for `subject`.
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

/// What `nsc generate creds` writes.
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
fn a_relay_comes_in_with_the_credentials_of_an_operators_account() {
    let folder = TempDir::new().expect("there is room for files");
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let own = jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let account_jwt = jwt(&operator, &account, &json!({ "type": "account", "version": 2, "limits": limits }));
    let preload = format!("{{ {}: {account_jwt} }}", account.public_key());
    let config = format!("operator: {own}\nresolver: MEMORY\nresolver_preload: {preload}\n");
    let nats = Nats::start_with(&["--config", &file(&folder, "nats.conf", &config)]);
    // Signed by somebody whom the operator does not know.
    let stranger = creds(&KeyPair::new_account(), &KeyPair::new_user());
    let [own, other] = [("own.creds", creds(&account, &user)), ("other.creds", stranger)]
        .map(|(name, text)| file(&folder, name, &text));
    checks_who_comes_in(&nats, &own, &user.seed().expect("it has one"), &other);
}
