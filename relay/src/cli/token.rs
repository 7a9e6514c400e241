//! `joey token`: signs tokens for viewers and producers, and explains why the relay would accept or refuse one.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use joey_shared::series::escape_name;
use serde_json::{Value, json};

use crate::auth;
use crate::auth::claims::{Claims, span, utc};
use crate::auth::token::Unverified;
use crate::config::{self, Config, DEFAULT_AUDIENCE, JwksSource, Options};
use crate::rule::parse_span;
use crate::runtime::clock::wall_ns;

/// Maximum length of a token on standard input, in bytes. The relay accepts shorter ones only.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Width of the names in the explanation, in columns.
const NAME_WIDTH: usize = 11;

/// The arguments of `joey token`.
#[derive(Args)]
pub(super) struct Token {
    /// Sign with this key: a file with a secret, or an Ed25519 private key in PEM; with --check, accept tokens signed with it
    #[arg(
        long = "token-key",
        env = "JOEY_TOKEN_KEY",
        value_name = "FILE",
        value_delimiter = ',',
        required_unless_present = "check"
    )]
    token_keys: Vec<PathBuf>,
    /// Allow watching these applications: exact names, or prefixes followed by * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    apps: Option<Vec<String>>,
    /// Allow watching these categories: exact names, or * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    categories: Option<Vec<String>>,
    /// Allow sending for these applications, or for none with an empty value [default: those of --apps]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    send: Option<Vec<String>>,
    /// Expire after this time: 90s, 15m, 12h, 30d
    #[arg(long, default_value = "15m", value_name = "SPAN", value_parser = parse_span)]
    ttl: Duration,
    /// Name the holder (claim `sub`), for the relay's log
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Set the audience (claim `aud`), or with --check require it [default: joey]
    #[arg(long, alias = "token-audience", env = "JOEY_TOKEN_AUDIENCE", value_name = "NAME")]
    audience: Option<String>,
    /// Set the issuer (claim `iss`), or with --check require it
    #[arg(long, alias = "token-issuer", env = "JOEY_TOKEN_ISSUER", value_name = "NAME")]
    issuer: Option<String>,
    /// Explain this token instead, or the one on standard input: what it allows, or why a relay with the same options or
    /// configuration file refuses it (exit code 1)
    #[arg(
        long,
        num_args = 0..=1,
        default_missing_value = "-",
        value_name = "TOKEN",
        conflicts_with_all = ["apps", "categories", "send", "subject"]
    )]
    check: Option<String>,
    #[command(flatten)]
    relay: RelayOptions,
}

/// Options of the relay that decide which tokens it accepts.
#[derive(Args)]
#[command(next_help_heading = "With --check, as for joey serve")]
struct RelayOptions {
    /// Read options of the relay from this TOML file
    #[arg(long, env = "JOEY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Accept tokens signed by a key of this JSON Web Key Set, a file or an https:// address
    #[arg(long, env = "JOEY_JWKS", value_name = "FILE|URL")]
    jwks: Option<JwksSource>,
    /// Also trust certificates from this authority for the address of --jwks, in PEM
    #[arg(long, env = "JOEY_JWKS_CA", value_name = "FILE")]
    jwks_ca: Option<PathBuf>,
    /// Accept tokens for this many seconds before and after their times
    #[arg(long, env = "JOEY_TOKEN_LEEWAY_SECS", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=300))]
    token_leeway_secs: Option<u64>,
    /// Read the applications that a token may watch from this claim
    #[arg(long, env = "JOEY_TOKEN_APPS_CLAIM", value_name = "CLAIM")]
    token_apps_claim: Option<String>,
    /// Read the categories that a token may watch from this claim
    #[arg(long, env = "JOEY_TOKEN_CATEGORIES_CLAIM", value_name = "CLAIM")]
    token_categories_claim: Option<String>,
    /// Read the applications that a token may send for from this claim
    #[arg(long, env = "JOEY_TOKEN_SEND_CLAIM", value_name = "CLAIM")]
    token_send_claim: Option<String>,
}

/// Runs `joey token`.
pub(super) async fn run(token: Token) -> anyhow::Result<()> {
    match &token.check {
        None => sign(&token),
        Some(text) => {
            let text = if text == "-" { read_token()? } else { text.clone() };
            check(token, text.trim()).await
        }
    }
}

fn sign(token: &Token) -> anyhow::Result<()> {
    let [key] = token.token_keys.as_slice() else {
        anyhow::bail!("a token is signed with one key: name one --token-key")
    };
    let now_s = wall_ns() / 1_000_000_000;
    let mut claims = json!({
        "aud": token.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE),
        "iat": now_s,
        "exp": now_s.saturating_add(token.ttl.as_secs()),
    });
    let names = |names: &Vec<String>| json!(config::trimmed(names.clone()));
    // `--send=` is one empty name.
    let without_empty = |names: &Vec<String>| {
        json!(config::trimmed(names.clone()).into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>())
    };
    let text = |text: &String| json!(text);
    let optional = [
        ("iss", token.issuer.as_ref().map(text)),
        ("sub", token.subject.as_ref().map(text)),
        ("apps", token.apps.as_ref().map(names)),
        ("categories", token.categories.as_ref().map(names)),
        ("send", token.send.as_ref().map(without_empty)),
    ];
    for (claim, value) in optional {
        if let Some(value) = value {
            claims[claim] = value;
        }
    }
    writeln!(io::stdout(), "{}", auth::token::mint(key, &claims)?)?;
    Ok(())
}

fn read_token() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("cannot read a token from standard input")?;
    Ok(text)
}

async fn check(arguments: Token, token: &str) -> anyhow::Result<()> {
    let Token { token_keys, audience, issuer, relay, .. } = arguments;
    let file = relay.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
    let options = Options {
        token_keys: (!token_keys.is_empty()).then_some(token_keys),
        token_audience: audience,
        token_issuer: issuer,
        jwks: relay.jwks,
        jwks_ca: relay.jwks_ca,
        token_leeway_secs: relay.token_leeway_secs,
        token_apps_claim: relay.token_apps_claim,
        token_categories_claim: relay.token_categories_claim,
        token_send_claim: relay.token_send_claim,
        ..Options::default()
    };
    let config = Config::resolve(options, file, false)?;
    anyhow::ensure!(
        config.requires_token(),
        "there is no key to check the token with: name --token-key or --jwks, or a --config that does"
    );
    anyhow::ensure!(!token.is_empty(), "there is no token: pass it to --check or on standard input");
    let checked = auth::token::check(&config, token).await?;
    let mut out = String::new();
    if let Some(keys) = &checked.provider {
        let source = config.jwks.as_ref().map(|jwks| jwks.source.to_string()).unwrap_or_default();
        row(&mut out, "key set", &format!("{} from {source}", keys.describe()));
        for why in keys.skipped() {
            row(&mut out, "ignored", why);
        }
    }
    if let Some(unverified) = &checked.unverified {
        describe(&mut out, unverified, wall_ns() as f64 / 1e9);
    }
    match checked.verdict {
        Ok(claims) => {
            allowed(&mut out, &claims);
            writeln!(io::stdout(), "{out}the token is valid")?;
            Ok(())
        }
        Err(error) => {
            write!(io::stdout(), "{out}")?;
            anyhow::bail!("the relay refuses this token: {error}")
        }
    }
}

/// What the token says about itself.
fn describe(out: &mut String, token: &Unverified, now_s: f64) {
    row(out, "algorithm", &format!("{:?}", token.algorithm));
    if let Some(id) = &token.key_id {
        row(out, "key id", &escaped(id));
    }
    for (name, claim) in [("issuer", "iss"), ("audience", "aud"), ("subject", "sub")] {
        match token.claims.get(claim) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => row(out, name, &escaped(text)),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                let names: Vec<String> = list.iter().filter_map(Value::as_str).map(escaped).collect();
                row(out, name, &names.join(", "));
            }
            Some(other) => row(out, name, &escaped(&other.to_string())),
        }
    }
    for (name, claim) in [("issued", "iat"), ("valid from", "nbf"), ("expires", "exp")] {
        match token.claims.get(claim) {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_f64() {
                Some(at_s) => {
                    let distance = span(Duration::try_from_secs_f64((at_s - now_s).abs()).unwrap_or(Duration::MAX));
                    let relation = if at_s > now_s { format!("in {distance}") } else { format!("{distance} ago") };
                    row(out, name, &format!("{}, {relation}", utc(at_s)));
                }
                None => row(out, name, &format!("{}, which is not a time", escaped(&value.to_string()))),
            },
        }
    }
}

/// What an accepted token allows.
fn allowed(out: &mut String, claims: &Claims) {
    let list = |names: Option<&[String]>, all: &str| match names {
        None => all.to_owned(),
        Some([]) => "nothing".to_owned(),
        Some(names) => names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", "),
    };
    row(out, "may watch", &list(claims.apps(), "all applications"));
    if claims.categories().is_some() {
        row(out, "categories", &list(claims.categories(), "all"));
    }
    row(out, "may send", &list(claims.send(), "for what it may watch as a whole"));
}

fn row(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{name:<NAME_WIDTH$} {value}\n"));
}

/// `text` without characters that would change the terminal.
fn escaped(text: &str) -> String {
    escape_name(text.as_bytes())
}
