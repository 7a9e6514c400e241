//! The options as they are given: by flags, environment variables and the TOML file. None of them is set by default.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{ByteSize, JwksSource, ListenOption, NatsUrl, Span, StatsdUnit, WebhookFormat, WebhookUrl};
use crate::rule::Burn;

/// The options. Each can be set by a flag, an environment variable or the TOML file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Listen for producers on this address (Wallaroo's `--metrics`) [default: 127.0.0.1:5001]
    #[arg(long, env = "JOEY_INGEST", help_heading = "Addresses", value_name = "ADDR", value_parser = parse_address)]
    #[serde(deserialize_with = "address")]
    pub ingest: Option<SocketAddr>,
    /// Listen for browsers and other viewers on this address [default: 127.0.0.1:4000]
    #[arg(long, env = "JOEY_HTTP", help_heading = "Addresses", value_name = "ADDR", value_parser = parse_address)]
    #[serde(deserialize_with = "address")]
    pub http: Option<SocketAddr>,
    /// Listen for OpenTelemetry over HTTP (OTLP/HTTP) on this address, or `off` [default: 127.0.0.1:4318, if it is free]
    #[arg(long, env = "JOEY_OTLP_HTTP", help_heading = "Addresses", value_name = "ADDR")]
    pub otlp_http: Option<ListenOption>,
    /// Listen for OpenTelemetry over gRPC (OTLP/gRPC) on this address, or `off` [default: 127.0.0.1:4317, if it is free]
    #[arg(long, env = "JOEY_OTLP_GRPC", help_heading = "Addresses", value_name = "ADDR")]
    pub otlp_grpc: Option<ListenOption>,
    /// Serve the page from this directory instead of the built-in one
    #[arg(long, env = "JOEY_UI_DIR", help_heading = "Addresses", value_name = "DIR")]
    pub ui_dir: Option<PathBuf>,
    /// Allow pages from this origin to connect, e.g. `https://ui.example.com` or `https://*.example.com`; repeatable
    #[arg(
        long = "origin",
        env = "JOEY_ORIGIN",
        help_heading = "Access control",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub origins: Option<Vec<String>>,
    /// Announce this relay address to viewers as a fallback, e.g. wss://relay.example; repeat it for each relay,
    /// including this one
    #[arg(long, env = "JOEY_ADVERTISE", help_heading = "Cluster", value_name = "URL", value_delimiter = ',')]
    pub advertise: Option<Vec<String>>,
    /// Require viewers to present a token signed by this key: a secret of at least 32 bytes (HS256), or a key in PEM: Ed25519
    /// (EdDSA), RSA (RS256) or P-256 (ES256); repeatable for key rotation
    #[arg(long = "token-key", env = "JOEY_TOKEN_KEY", help_heading = "Access control", value_name = "FILE", value_delimiter = ',', value_parser = trimmed_path)]
    pub token_keys: Option<Vec<PathBuf>>,
    /// Require this audience in tokens (claim `aud`) [default: joey]
    #[arg(long, env = "JOEY_TOKEN_AUDIENCE", help_heading = "Access control", value_name = "NAME")]
    pub token_audience: Option<String>,
    /// Require viewers to present a token signed by a key of this JSON Web Key Set: a file, or the https:// address at which an
    /// identity provider publishes it (RS256, ES256 and others)
    #[arg(long, env = "JOEY_JWKS", help_heading = "Access control", value_name = "FILE|URL")]
    pub jwks: Option<JwksSource>,
    /// Also trust certificates from this authority for the address of --jwks, in PEM
    #[arg(long, env = "JOEY_JWKS_CA", help_heading = "Access control", value_name = "FILE")]
    pub jwks_ca: Option<PathBuf>,
    /// Require this issuer in tokens (claim `iss`) [default: any; --jwks needs one]
    #[arg(long, env = "JOEY_TOKEN_ISSUER", help_heading = "Access control", value_name = "NAME")]
    pub token_issuer: Option<String>,
    /// Accept tokens for this many seconds before and after their times, because clocks differ [default: 5]
    #[arg(long, env = "JOEY_TOKEN_LEEWAY_SECS", help_heading = "Access control", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=300))]
    pub token_leeway_secs: Option<u64>,
    /// Read the applications that a token may watch from this claim, or from this JSON pointer; a token without it
    /// allows none [default: apps, and a token without it allows all]
    #[arg(long, env = "JOEY_TOKEN_APPS_CLAIM", help_heading = "Access control", value_name = "CLAIM")]
    pub token_apps_claim: Option<String>,
    /// Read the categories that a token may watch from this claim or JSON pointer; a token without it allows none
    /// [default: categories, and a token without it allows all]
    #[arg(long, env = "JOEY_TOKEN_CATEGORIES_CLAIM", help_heading = "Access control", value_name = "CLAIM")]
    pub token_categories_claim: Option<String>,
    /// Read the applications that a token may send for from this claim or JSON pointer; a token without it allows none
    /// [default: send, and a token without it may send for what it may watch]
    #[arg(long, env = "JOEY_TOKEN_SEND_CLAIM", help_heading = "Access control", value_name = "CLAIM")]
    pub token_send_claim: Option<String>,
    /// Accept producers from these networks only, e.g. 10.0.0.0/8,192.0.2.7
    #[arg(
        long,
        env = "JOEY_PRODUCERS_ALLOW",
        help_heading = "Access control",
        value_name = "CIDR,…",
        value_delimiter = ','
    )]
    pub producers_allow: Option<Vec<String>>,
    /// Serve viewers over TLS with this certificate chain, in PEM
    #[arg(long, env = "JOEY_TLS_CERT", help_heading = "Access control", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Use this private key for the certificate, in PEM
    #[arg(long, env = "JOEY_TLS_KEY", help_heading = "Access control", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Accept producers over TLS only (Wallaroo workers need a TLS tunnel for this)
    #[arg(long, env = "JOEY_INGEST_TLS", help_heading = "Access control", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub ingest_tls: Option<bool>,
    /// Allow listening beyond loopback without access control; any client that reaches the ports can send and watch
    #[arg(long, env = "JOEY_INSECURE_OPEN", help_heading = "Access control", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure_open: Option<bool>,
    /// Share data with other relays through this NATS server, e.g. nats://10.1.0.7, tls://user:pass@host:4222 or
    /// nats://token@host; repeatable for the servers of a NATS cluster
    #[arg(
        long,
        env = "JOEY_NATS",
        help_heading = "Cluster",
        value_name = "URL,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub nats: Option<Vec<NatsUrl>>,
    /// Authenticate to NATS with this credentials file (written by `nsc`) or nkey seed
    #[arg(long, env = "JOEY_NATS_CREDS", help_heading = "Cluster", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Trust only NATS servers with certificates from this authority, in PEM
    #[arg(long, env = "JOEY_NATS_CA", help_heading = "Cluster", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// Use this prefix for NATS subjects; relays with different prefixes do not share data [default: joey]
    #[arg(long, env = "JOEY_NATS_PREFIX", help_heading = "Cluster", value_name = "NAME")]
    pub nats_prefix: Option<String>,
    /// Retain single updates for this many seconds; older history is kept as 10-second rollups (--sum-secs) [default: 300]
    #[arg(long, env = "JOEY_RING_SECS", help_heading = "History", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub ring_secs: Option<u64>,
    /// Retain 10-second rollups for this many seconds, for long windows and slow viewers; 0 disables them [default: 3600]
    #[arg(long, env = "JOEY_SUM_SECS", help_heading = "History", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub sum_secs: Option<u64>,
    /// Limit the history of all applications to this many bytes, such as 64M [default: 67108864]
    #[arg(long, env = "JOEY_RING_BYTES", help_heading = "History", value_name = "BYTES")]
    pub ring_bytes: Option<ByteSize>,
    /// Delay updates by up to this many ms to send them in batches; the delay is shorter with few viewers or after a
    /// pause [default: 50]
    #[arg(long, env = "JOEY_BATCH_MS", help_heading = "History", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub batch_ms: Option<u64>,
    /// Limit producer frames to this many bytes, such as 16k, up to 1048576 [default: 16384]
    #[arg(long, env = "JOEY_FRAME_BYTES", help_heading = "Limits", value_name = "BYTES")]
    pub frame_bytes: Option<ByteSize>,
    /// Limit the number of applications [default: 1000]
    #[arg(long, env = "JOEY_APPS", help_heading = "Limits", value_name = "N")]
    pub apps: Option<usize>,
    /// Limit the number of series in one application [default: 10000]
    #[arg(long, env = "JOEY_SERIES_PER_APP", help_heading = "Limits", value_name = "N")]
    pub series_per_app: Option<usize>,
    /// Limit the total number of series [default: 50000]
    #[arg(long, env = "JOEY_SERIES", help_heading = "Limits", value_name = "N")]
    pub series: Option<usize>,
    /// Limit the number of connected viewers [default: 10000]
    #[arg(long, env = "JOEY_VIEWERS", help_heading = "Limits", value_name = "N")]
    pub viewers: Option<usize>,
    /// Limit the number of producer connections [default: 1000]
    #[arg(long, env = "JOEY_PRODUCERS", help_heading = "Limits", value_name = "N")]
    pub producers: Option<usize>,
    /// Limit the connections from one address, separately for producers and viewers; 0 means unlimited [default: 256]
    #[arg(long, env = "JOEY_PER_ADDRESS", help_heading = "Limits", value_name = "N")]
    pub per_address: Option<usize>,
    /// Limit the frames per second from one producer, with bursts of ten times as many [default: 20000]
    #[arg(long, env = "JOEY_FRAMES_PER_SEC", help_heading = "Limits", value_name = "N", value_parser = parse_positive)]
    pub frames_per_sec: Option<NonZeroU32>,
    /// Name OpenTelemetry series by the values of these attributes, instead of by those of the semantic conventions such as
    /// http.request.method,http.route; an empty value names them by instrument or span only
    #[arg(
        long,
        env = "JOEY_OTLP_ATTRIBUTES",
        help_heading = "OpenTelemetry",
        value_name = "NAME,…",
        value_delimiter = ','
    )]
    pub otlp_attributes: Option<Vec<String>>,
    /// Limit the names that attributes add to one OpenTelemetry instrument of one application; the rest are one series,
    /// `other` [default: 200]
    #[arg(long, env = "JOEY_OTLP_ATTRIBUTE_SETS", help_heading = "OpenTelemetry", value_name = "N")]
    pub otlp_attribute_sets: Option<usize>,
    /// Keep the history in this directory too, so that it survives a restart of the relay [default: off]
    #[arg(long, env = "JOEY_JOURNAL", help_heading = "History", value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Limit the journal to this many bytes, such as 500M or 2G [default: 268435456]
    #[arg(long, env = "JOEY_JOURNAL_BYTES", help_heading = "History", value_name = "BYTES")]
    pub journal_bytes: Option<ByteSize>,
    /// Synchronize each write of the journal with the disk, so that it also survives a power failure
    #[arg(long, env = "JOEY_JOURNAL_SYNC", help_heading = "History", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub journal_sync: Option<bool>,
    /// Forget an application after this many seconds without producers and viewers [default: 3600]
    #[arg(long, env = "JOEY_FORGET_SECS", help_heading = "History", value_name = "N")]
    pub forget_secs: Option<u64>,
    /// Receive StatsD over UDP on this address, e.g. 127.0.0.1:8125 [default: off]
    #[arg(long, env = "JOEY_STATSD", help_heading = "StatsD", value_name = "ADDR", value_parser = parse_address)]
    #[serde(deserialize_with = "address")]
    pub statsd: Option<SocketAddr>,
    /// Receive StatsD on a Unix datagram socket at this path [default: off]
    #[arg(long, env = "JOEY_STATSD_SOCKET", help_heading = "StatsD", value_name = "PATH")]
    pub statsd_socket: Option<PathBuf>,
    /// Use this application for StatsD metrics without the tag `service` [default: statsd]
    #[arg(long, env = "JOEY_STATSD_APP", help_heading = "StatsD", value_name = "NAME")]
    pub statsd_app: Option<String>,
    /// Read the values of the StatsD types `h` and `d` as durations in this unit [default: ms]
    #[arg(long, env = "JOEY_STATSD_UNIT", help_heading = "StatsD", value_name = "UNIT")]
    pub statsd_unit: Option<StatsdUnit>,
    /// Distinguish operations by these StatsD tags, or by all with `*` [default: route, method, endpoint and similar ones]
    #[arg(long, env = "JOEY_STATSD_TAGS", help_heading = "StatsD", value_name = "TAG,…", value_delimiter = ',')]
    pub statsd_tags: Option<Vec<String>>,
    /// Send percentiles and throughput to this StatsD server over UDP once per second, e.g. 127.0.0.1:8125 [default: off]
    #[arg(long, env = "JOEY_STATSD_OUT", help_heading = "StatsD", value_name = "HOST:PORT", value_parser = parse_host_port)]
    pub statsd_out: Option<String>,
    /// Prefix the names of what is sent to the StatsD server [default: monhub]
    #[arg(long, env = "JOEY_STATSD_OUT_PREFIX", help_heading = "StatsD", value_name = "NAME")]
    pub statsd_out_prefix: Option<String>,
    /// Offer these views to Prometheus at /metrics/views, e.g. `shop/start-to-end/*`; `*` matches any characters, and a view
    /// is written `application/kind/names` [default: none]
    #[arg(long, env = "JOEY_METRICS_VIEWS", help_heading = "Prometheus", value_name = "GLOB,…", value_delimiter = ',')]
    pub metrics_views: Option<Vec<String>>,
    /// Watch the objectives in this file, one on each line as for joey watch, and show their state on the page; repeatable
    /// [default: none]
    #[arg(long, env = "JOEY_WATCH", help_heading = "Objectives", value_name = "FILE", value_delimiter = ',', value_parser = trimmed_path)]
    pub watch: Option<Vec<PathBuf>>,
    /// Judge latencies by burn rate instead of by the objective's window: '14.4 over 1h and 5m' is missed if in both windows
    /// 14.4 times the allowed share of events is slow; repeatable [default: none]
    #[arg(long, env = "JOEY_WATCH_BURN", help_heading = "Objectives", value_name = "RATE", value_delimiter = ',')]
    pub watch_burn: Option<Vec<Burn>>,
    /// Tell of a miss only after it has lasted this long [default: at once]
    #[arg(long, env = "JOEY_WATCH_MISSED_FOR", help_heading = "Objectives", value_name = "SPAN")]
    pub watch_missed_for: Option<Span>,
    /// Tell of recovery only after it has lasted this long [default: 30s]
    #[arg(long, env = "JOEY_WATCH_MET_FOR", help_heading = "Objectives", value_name = "SPAN")]
    pub watch_met_for: Option<Span>,
    /// Run this with sh for each change, with JOEY_STATE (missed, met), JOEY_APP, JOEY_VIEW, JOEY_OBJECTIVE, JOEY_VALUE and
    /// JOEY_COUNT, and the change as JSON on standard input; repeatable
    #[arg(long, env = "JOEY_WATCH_EXEC", help_heading = "Objectives", value_name = "COMMAND")]
    pub watch_exec: Option<Vec<String>>,
    /// Post each change to this address; repeatable
    #[arg(
        long,
        env = "JOEY_WATCH_WEBHOOK",
        help_heading = "Objectives",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub watch_webhook: Option<Vec<WebhookUrl>>,
    /// Post in this format [default: json]
    #[arg(long, env = "JOEY_WATCH_WEBHOOK_FORMAT", help_heading = "Objectives", value_enum, value_name = "FORMAT")]
    pub watch_webhook_format: Option<WebhookFormat>,
    /// Also trust certificates from this authority for webhooks, in PEM
    #[arg(long, env = "JOEY_WATCH_CA", help_heading = "Objectives", value_name = "FILE")]
    pub watch_ca: Option<PathBuf>,
    /// Show how long the relay's own work takes, as the application `Joey relay`
    #[arg(id = "self", long = "self", env = "JOEY_SELF", help_heading = "Self-monitoring", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(rename = "self")]
    pub self_metrics: Option<bool>,
}

/// Reads the TOML file at `path`.
///
/// # Errors
/// Fails if the file cannot be read, or contains an unknown option.
pub fn read_file(path: &Path) -> anyhow::Result<Options> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// Parses an address to listen on.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let error = "it must be an IP address and a port, such as 127.0.0.1:4000, or 0.0.0.0:4000 for all addresses";
    text.trim().parse().map_err(|_| error.to_owned())
}

/// Reads an address to listen on from TOML.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    parse_address(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// Parses the address of a server.
pub(crate) fn parse_host_port(text: &str) -> Result<String, String> {
    let port = text.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    let is_valid = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_valid { Ok(text.trim().to_owned()) } else { Err("it must be HOST:PORT, such as 127.0.0.1:8125".to_owned()) }
}

fn parse_positive(text: &str) -> Result<NonZeroU32, String> {
    match text.parse::<u32>() {
        Ok(number) => NonZeroU32::new(number).ok_or_else(|| "it must be at least 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses an entry of a list of files.
fn trimmed_path(entry: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(entry.trim()))
}
