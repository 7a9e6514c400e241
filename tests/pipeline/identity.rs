//! Tokens of an identity provider: a real OpenID Connect provider signs them, and the relay fetches its keys, keeps
//! them while it is down, and notices when they change.

use std::net::TcpListener;

use joey_emit::send::{SendConfig, Sender, SeriesName};
use joey_shared::close;
use joey_shared::histogram::{Grid, Histogram};
use joey_shared::series::Filter;
use joey_shared::wire::Start;
use joey_tests::oidc::{Provider, free_address};
use joey_tests::tls::CertificateAuthority;
use joey_tests::token::{self, SECRET, claims, hs256};
use joey_tests::{Received, Relay, S, TIMEOUT, Viewer, eventually, eventually_is, joey, now_ns};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::auth::{RELOADED, UNCHANGED, numbered, reload};

/// Arguments of a relay that accepts the tokens of `provider` and reads what they allow from its claims.
fn arguments(provider: &Provider) -> Vec<String> {
    let claim = |name: &str| format!("/resource_access/joey/{name}");
    [
        ("--jwks", provider.jwks()),
        ("--token-issuer", provider.issuer()),
        ("--token-apps-claim", claim("watch")),
        ("--token-send-claim", claim("send")),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect()
}

fn relay_of(provider: &Provider, more: &[&str]) -> Relay {
    let arguments = arguments(provider);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Relay::start_with(&arguments)
}

/// Waits until the relay has tried this often to fetch keys.
fn wait_for_fetches(relay: &Relay, fetches: u64) {
    eventually("the keys are fetched", || (relay.metric("joey_jwks_fetches_total") >= fetches).then_some(()));
}

/// How the relay answers a viewer with this token: with its greeting, or with a close code.
fn admission(relay: &Relay, token: &str) -> Option<u16> {
    match Viewer::connect_without_hello(relay, Some(token)).next_message() {
        Received::Closed(code) => Some(code),
        _ => None,
    }
}

/// Whether the application of a subscription exists for this token.
fn may_watch(relay: &Relay, token: &str, app: &str) -> bool {
    let mut viewer = Viewer::with_token(relay, token);
    let sub = viewer.request_subscription(app, Filter::All, Start::History);
    viewer.wait_for(|received| match received {
        Received::Subscribed(subscribed) if subscribed.sub == sub => Some(true),
        Received::Rejected(rejected, _) if *rejected == sub => Some(false),
        _ => None,
    })
}

/// The answer to an OTLP request that came through a proxy: its status, and what it says.
fn send_otlp(relay: &Relay, token: &str, app: &str) -> (u16, String) {
    let data = json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": app}}]},
        "scopeMetrics": [{"metrics": [{"name": "duration", "unit": "s", "histogram": {
            "aggregationTemporality": 1,
            "dataPoints": [{
                "startTimeUnixNano": (joey_tests::now_ns() - 1_000_000_000).to_string(),
                "timeUnixNano": joey_tests::now_ns().to_string(),
                "count": "1", "sum": 0.1, "bucketCounts": ["0", "1", "0"], "explicitBounds": [0.05, 0.2],
            }],
        }}]}],
    }]});
    let head = format!(
        "Content-Type: application/json\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    );
    joey_tests::stream::post_and_read(relay.otlp_http, "/v1/metrics", &head, data.to_string().as_bytes())
}

#[test]
fn tokens_of_a_real_provider_allow_what_their_claims_say() {
    let provider = Provider::start(&["r1", "e1", "o1"]);
    let relay = relay_of(&provider, &[]);
    for app in ["shop-api", "shop-web", "bank"] {
        relay.producer(app, "w").send(&numbered(app, "computation", 1));
    }
    relay.wait_for_accepted(3);
    // The relay fetches the keys in the background; the first viewer waits for them.
    for client in ["rs256", "es256", "eddsa"] {
        let token = provider.token(client);
        assert!(may_watch(&relay, &token, "shop-web"), "{client}");
        assert!(!may_watch(&relay, &token, "bank"), "{client}");
    }
    // It has the right audience and issuer. The claim is required because the relay was told its name.
    let nobody = provider.token("nobody");
    assert!(!may_watch(&relay, &nobody, "shop-web"));
    // Watching is one permission, sending another one.
    let token = provider.token("es256");
    let (status, answer) = send_otlp(&relay, &token, "shop-api");
    assert_eq!((status, answer.contains("does not allow")), (200, false), "{answer}");
    let (status, answer) = send_otlp(&relay, &token, "shop-web");
    assert_eq!((status, answer.contains("does not allow to send")), (200, true), "{answer}");
    assert_eq!(send_otlp(&relay, "x.y.z", "shop-api").0, 401);
    assert_eq!(relay.metric("joey_jwks_keys"), 3);
    relay.wait_for_log("r1 (RS256), e1 (ES256), o1 (EdDSA)");
    assert_eq!(relay.get("/readyz").2, "ok\n");
}

#[test]
fn a_token_of_the_provider_for_somebody_else_is_refused() {
    let provider = Provider::start(&["r1", "e1"]);
    let token = provider.token("rs256");
    let jwks = provider.jwks();
    let refuses = |issuer: &str, audience: &str, token: &str| {
        let relay = Relay::start_with(&["--jwks", &jwks, "--token-issuer", issuer, "--token-audience", audience]);
        assert_eq!(admission(&relay, token), Some(close::INVALID_TOKEN), "{issuer} {audience}");
    };
    refuses("https://another.example", "joey", &token);
    refuses(&provider.issuer(), "another", &token);
    // Nothing that is public can be used as a secret.
    let public = provider.public_keys();
    let forged = |secret: &str| hs256(secret, &claims(json!({"iss": provider.issuer()})));
    refuses(&provider.issuer(), "joey", &forged(&public));
    let key: Value = serde_json::from_str(&public).expect("a key set is JSON");
    refuses(&provider.issuer(), "joey", &forged(key["keys"][0]["n"].as_str().expect("the first is an RSA key")));
    let another = Provider::start(&["r1", "e1"]);
    refuses(&provider.issuer(), "joey", &another.token("rs256"));
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_ends_with_its_viewers() {
    let provider = Provider::start(&["r1"]);
    let relay = relay_of(&provider, &[]);
    let old = provider.token("rs256");
    let mut viewer = Viewer::with_token(&relay, &old);
    let address = provider.address;
    drop(provider);
    let provider = Provider::start_at(address, &["r2"]);
    let new = provider.token("rs256");
    // The relay fetches at most every ten seconds, whatever tokens it is sent.
    eventually("the new key is accepted", || admission(&relay, &new).is_none().then_some(()));
    assert_eq!(viewer.wait_for_close(), close::INVALID_TOKEN);
    assert_eq!(admission(&relay, &old), Some(close::INVALID_TOKEN));
    let fetches = relay.metric("joey_jwks_fetches_total");
    for _ in 0..50 {
        assert_eq!(admission(&relay, &old), Some(close::INVALID_TOKEN));
    }
    assert!(relay.metric("joey_jwks_fetches_total") <= fetches + 1);
}

#[test]
fn a_viewer_renews_its_token_with_one_of_a_key_that_the_relay_does_not_know_yet() {
    let address = free_address();
    let issuer = format!("http://{address}");
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let jwks = format!("{issuer}/jwks");
    let relay = Relay::start_with(&["--jwks", &jwks, "--token-issuer", &issuer, "--token-key", &key]);
    wait_for_fetches(&relay, 1);
    let provider = Provider::start_at(address, &["e1"]);
    let (own, new) = (hs256(SECRET, &claims(json!({"iss": issuer}))), provider.token("es256"));
    eventually("the renewal is accepted", || {
        let mut viewer = Viewer::with_token(&relay, &own);
        viewer.send_token(&new);
        viewer.request_subscription("none", Filter::All, Start::Live);
        viewer.wait_for(|received| match received {
            Received::Rejected(..) => Some(Some(())),
            Received::Closed(code) => {
                assert_eq!(*code, close::INVALID_TOKEN);
                Some(None)
            }
            _ => None,
        })
    });
}

#[test]
fn a_producer_with_a_token_of_a_new_key_joins_as_soon_as_the_key_can_be_fetched() {
    let provider = Provider::start(&["r1"]);
    let relay = relay_of(&provider, &[]);
    wait_for_fetches(&relay, 1);
    let address = provider.address;
    drop(provider);
    let provider = Provider::start_at(address, &["r2"]);
    let (relays, token) = (vec![relay.ingest.to_string()], Some(provider.token("rs256")));
    let sender = Sender::start(SendConfig { relays, token, ..SendConfig::new("shop-api", "w") });
    let sender = sender.expect("a thread can be started");
    let mut histogram = Histogram::with_sum(Grid::FINEST);
    histogram.record(1);
    sender.send(S, now_ns(), [(SeriesName::exact("computation", "p", "n"), histogram)]);
    // Without its token, the relay would fetch the keys again after a quarter of an hour.
    assert!(sender.flush(2 * TIMEOUT), "{:?}", sender.stats());
    assert_eq!(sender.stats().acknowledged.durations, 1);
    assert_eq!(relay.metric("joey_jwks_fetches_total"), 2);
}

#[test]
fn while_the_provider_is_down_its_last_keys_stay_in_force() {
    let provider = Provider::start(&["r1"]);
    let relay = relay_of(&provider, &[]);
    let token = provider.token("rs256");
    assert_eq!(admission(&relay, &token), None);
    let address = provider.address;
    drop(provider);
    // A reload makes the relay fetch again.
    reload(&relay, RELOADED);
    eventually_is("failures are counted", &true, || relay.metric("joey_jwks_failures_total") > 0);
    assert_eq!(admission(&relay, &token), None);
    eventually("a warning", || {
        let (status, _, body) = relay.get("/readyz");
        (status == 200 && body.starts_with("ok\nwarning: the token keys")).then_some(())
    });
    relay.wait_for_log("the last 1 keys stay in force");
    assert_eq!(relay.metric("joey_jwks_keys"), 1);
    let _provider = Provider::start_at(address, &["r3"]);
    eventually_is("the provider is back", &"ok\n".to_owned(), || relay.get("/readyz").2);
}

#[test]
fn a_relay_starts_without_its_provider_and_accepts_tokens_once_it_is_there() {
    let address = free_address();
    let issuer = format!("http://{address}");
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let jwks = format!("{issuer}/jwks");
    let relay = Relay::start_with(&["--jwks", &jwks, "--token-issuer", &issuer, "--token-key", &key]);
    wait_for_fetches(&relay, 1);
    relay.wait_for_log("cannot fetch the key set");
    relay.wait_for_log("viewers with its tokens cannot connect");
    // Its own key works.
    assert_eq!(admission(&relay, &hs256(SECRET, &claims(json!({"iss": issuer})))), None);
    let provider = Provider::start_at(address, &["e1"]);
    let token = provider.token("es256");
    eventually("the tokens are accepted", || admission(&relay, &token).is_none().then_some(()));
}

#[test]
fn keys_come_over_tls_from_a_server_with_a_trusted_certificate_only() {
    let provider = Provider::start(&["e1"]);
    let folder = TempDir::new().expect("files can be written");
    std::fs::write(folder.path().join("jwks.json"), provider.public_keys()).expect("files can be written");
    std::fs::write(folder.path().join("index.html"), "").expect("files can be written");
    std::fs::write(folder.path().join("long.json"), " ".repeat(300_000)).expect("files can be written");
    let authority = CertificateAuthority::new();
    authority.issue_certificate();
    let (cert, key, ca) = (authority.path("cert.pem"), authority.path("key.pem"), authority.path("ca.pem"));
    let files = folder.path().display().to_string();
    // A relay is also a web server with TLS.
    let server = Relay::start_in(&[], &["--tls-cert", &cert, "--tls-key", &key, "--ui-dir", &files]);
    let url = |file: &str| format!("https://localhost:{}/{file}", server.http.port());
    let issuer = provider.issuer();
    let fetch = |file: &str, more: &[&str]| {
        let url = url(file);
        let relay = Relay::start_with(&[&["--jwks", &url, "--token-issuer", &issuer], more].concat());
        wait_for_fetches(&relay, 1);
        relay
    };
    let token = provider.token("es256");
    // Fetching is counted before the keys are in force.
    let trusted = fetch("jwks.json", &["--jwks-ca", &ca]);
    eventually("the token is accepted", || admission(&trusted, &token).is_none().then_some(()));
    let untrusted = fetch("jwks.json", &[]);
    assert_eq!(admission(&untrusted, &token), Some(close::INVALID_TOKEN));
    untrusted.wait_for_log("the TLS handshake failed");
    for (file, reason) in [("missing", "404 Not Found"), ("long.json", "262144 bytes"), ("index.html", "not a JSON")] {
        fetch(file, &["--jwks-ca", &ca]).wait_for_log(reason);
    }
}

#[test]
fn a_server_that_does_not_answer_delays_nobody_who_has_another_key() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let jwks = format!("http://{}/jwks", silent.local_addr().expect("it is bound"));
    let folder = TempDir::new().expect("a key can be written");
    let key = token::key_file(folder.path(), "key", SECRET);
    let relay = Relay::start_with(&["--jwks", &jwks, "--token-issuer", "me", "--token-key", &key]);
    assert_eq!(admission(&relay, &hs256(SECRET, &claims(json!({"iss": "me"})))), None);
    wait_for_fetches(&relay, 1);
    relay.wait_for_log("no answer within 5 s");
}

#[test]
fn a_key_set_in_a_file_is_read_again_on_sighup() {
    let (first, second) = (Provider::start(&["r1"]), Provider::start(&["r2"]));
    let folder = TempDir::new().expect("files can be written");
    let file = folder.path().join("jwks.json");
    let write = |text: &str| std::fs::write(&file, text).expect("files can be written");
    write(&first.public_keys());
    let (path, issuer) = (file.display().to_string(), first.issuer());
    let relay = Relay::start_with(&["--jwks", &path, "--token-issuer", &issuer]);
    let token = first.token("rs256");
    let mut viewer = Viewer::with_token(&relay, &token);
    write("{");
    reload(&relay, UNCHANGED);
    assert_eq!(admission(&relay, &token), None);
    write(&second.public_keys());
    reload(&relay, RELOADED);
    assert_eq!(viewer.wait_for_close(), close::INVALID_TOKEN);
    assert_eq!(admission(&relay, &token), Some(close::INVALID_TOKEN));
    // At the start, a file that cannot be used is an error.
    write("{}");
    let refused = joey(&["serve", "--jwks", &path, "--token-issuer", &issuer, "--http", "127.0.0.1:0"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("it has no list of keys"), "{}", refused.err);
    let refused = joey(&["serve", "--jwks", &path, "--http", "127.0.0.1:0"]);
    assert!(refused.code == 2 && refused.err.contains("--jwks needs --token-issuer"), "{}", refused.err);
}
