//! The arguments of the command-line clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use joey_shared::address;
use joey_shared::histogram::Unit;

use super::compare::{Condition, Percentile, Source, parse_condition, parse_one_percentile, parse_source};
use super::pipe::{parse_ingest, parse_unit};
use super::replay::parse_speed;
use crate::config::{ByteSize, WebhookFormat, WebhookUrl};
use crate::rule::{Burn, Rule, parse_burn, parse_rule, parse_span, parse_window};

/// The relay to connect to, and how.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// Connect to this relay: host:port, or a URL (with the path if a proxy serves it under one); repeatable for failover
    #[arg(
        long,
        env = "JOEY_RELAY",
        default_value = "ws://127.0.0.1:4000",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = parse_relay
    )]
    pub(crate) relay: Vec<String>,
    /// Fail if the relay is not reachable, instead of waiting for it
    #[arg(long)]
    pub(crate) once: bool,
    /// Read the token from this file, again when it changes [default: the token in JOEY_TOKEN]
    #[arg(long, env = "JOEY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Also trust relays with certificates from this authority, in PEM
    #[arg(long, env = "JOEY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Tap {
    /// Print only this application
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the retained history first
    #[arg(long)]
    pub(crate) history: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// Print the statistics of this application; of a file with one application, it can be left out
    #[arg(required_unless_present = "file")]
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Read this recording instead of connecting to a relay
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Evaluate a window of this length, up to 1h: 10s, 5m, 300
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = parse_window)]
    pub(crate) window: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Compare {
    /// The earlier side: FILE or APP@FILE for a recording, APP@URL for a relay, APP@ for that of --relay
    #[arg(value_parser = parse_source)]
    pub(crate) before: Source,
    /// Compare it with this, in the same form
    #[arg(value_parser = parse_source)]
    pub(crate) after: Source,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Compare windows of this length, up to 1h, at the end of each side: 10s, 5m, 300
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = parse_window)]
    pub(crate) window: u64,
    /// Compare only views whose path matches, such as 'start-to-end/*' or '*/Check'; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) view: Vec<String>,
    /// Print these percentiles
    #[arg(
        long,
        default_value = "p50,p95,p99",
        value_name = "P,…",
        value_delimiter = ',',
        value_parser = parse_one_percentile
    )]
    pub(crate) percentile: Vec<Percentile>,
    /// Exit with 1 if this holds for a view: 'p99 > +10%', 'throughput < -20%', 'start-to-end/*: p99.9 > +50%'; repeatable
    #[arg(long, value_name = "CONDITION", value_parser = parse_condition)]
    pub(crate) fail_if: Vec<Condition>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Watch {
    /// Watch only these applications
    pub(crate) apps: Vec<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Require this: 'start-to-end/*: p99 < 10ms over 1m' or 'start-to-end/*: throughput > 1000/s over 30s'; repeatable
    #[arg(long, value_name = "OBJECTIVE", value_parser = parse_rule, required_unless_present = "slo_file")]
    pub(crate) slo: Vec<Rule>,
    /// Require what this file contains, one objective on each line; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) slo_file: Vec<PathBuf>,
    /// Judge latencies by burn rate instead of by the objective's window: '14.4 over 1h and 5m' is missed if in both windows
    /// 14.4 times the allowed share of events is slow; repeatable
    #[arg(long, value_name = "RATE", value_parser = parse_burn)]
    pub(crate) burn: Vec<Burn>,
    /// Tell of a miss only after it has lasted this long [default: at once]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) missed_for: Option<Duration>,
    /// Tell of recovery only after it has lasted this long
    #[arg(long, default_value = "30s", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) met_for: Duration,
    /// Run this with sh for each change, with JOEY_STATE (missed, met), JOEY_APP, JOEY_VIEW, JOEY_OBJECTIVE, JOEY_VALUE and
    /// JOEY_COUNT, and the change as JSON on standard input; repeatable
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Vec<String>,
    /// Post each change to this address; repeatable
    #[arg(long, env = "JOEY_WEBHOOK", value_name = "URL", value_delimiter = ',', hide_env_values = true)]
    pub(crate) webhook: Vec<WebhookUrl>,
    /// Post in this format
    #[arg(long, value_enum, default_value = "json", value_name = "FORMAT")]
    pub(crate) webhook_format: WebhookFormat,
    /// Print one JSON object per change, or with --once one array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// Send this recording
    pub(crate) file: PathBuf,
    /// Send only these applications
    pub(crate) apps: Vec<String>,
    /// Send to this relay's port for producers; repeatable for failover
    #[arg(
        long,
        env = "JOEY_PIPE_RELAY",
        default_value = "127.0.0.1:5001",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = parse_ingest
    )]
    pub(crate) relay: Vec<String>,
    /// Send this many times as fast, from 0.01 to 1000; periods become shorter, counts stay
    #[arg(long, default_value = "1", value_name = "FACTOR", value_parser = parse_speed)]
    pub(crate) speed: f64,
    /// Begin this long after the first update: 90s, 10m
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) from: Option<Duration>,
    /// End this long after the first update
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) to: Option<Duration>,
    /// Begin again at the end, until Ctrl-C
    #[arg(long = "loop")]
    pub(crate) repeat: bool,
    /// Send everything as this application
    #[arg(long = "app", value_name = "NAME", conflicts_with = "wallaroo")]
    pub(crate) rename: Option<String>,
    /// The file is a Wallaroo capture: the bytes that workers wrote to their metrics connections
    #[arg(long, conflicts_with = "apps")]
    pub(crate) wallaroo: bool,
    /// Write the recording to this file as a Wallaroo capture instead, which must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "wallaroo")]
    pub(crate) write_capture: Option<PathBuf>,
    /// Fail if the relay is not reachable, instead of waiting for it
    #[arg(long)]
    pub(crate) once: bool,
    /// Send the token in this file [default: the token in JOEY_TOKEN, if any]
    #[arg(long, env = "JOEY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Record {
    /// Record only these applications
    pub(crate) apps: Vec<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Write to this file, which must not exist
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// End after this time: 90s, 10m, 12h
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) duration: Option<Duration>,
    /// Begin a new file when this one reaches this size, and keep the one before as NAME.1.joey: 500k, 100M, 2G [default: 1G]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_bytes: Option<ByteSize>,
}

#[derive(Args)]
pub(crate) struct Top {
    /// Open this application
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Start with a window of this length, up to 1h: 10s, 5m, 300
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = parse_window)]
    pub(crate) window: u64,
}

#[derive(Args)]
pub(crate) struct Pipe {
    /// Name the application, and histograms that have no name of their own
    pub(crate) name: String,
    /// Send to this application instead [default: NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Send as this worker [default: the name of this machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) worker: Option<String>,
    /// Send to this relay's port for producers; repeatable for failover
    #[arg(
        long,
        env = "JOEY_PIPE_RELAY",
        default_value = "127.0.0.1:5001",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = parse_ingest
    )]
    pub(crate) relay: Vec<String>,
    /// Assume this unit (ns, us, ms, s) [default: that of the header, or of the name of bpftrace's map]
    #[arg(long, value_name = "UNIT", value_parser = parse_unit)]
    pub(crate) unit: Option<Unit>,
    /// Count only what was added since the previous print, for a program that does not clear its histograms
    #[arg(long)]
    pub(crate) cumulative: bool,
    /// Fail if the relay is not reachable at the start, instead of waiting for it
    #[arg(long)]
    pub(crate) once: bool,
    /// Send the token in this file [default: the token in JOEY_TOKEN, if any]
    #[arg(long, env = "JOEY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Reads the token in `file`, or in the environment variable `JOEY_TOKEN`. `None` if it is empty.
///
/// # Errors
/// Fails if the file cannot be read.
pub(super) fn read_token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let token = match file {
        Some(file) => {
            let token = std::fs::read_to_string(file);
            Some(token.with_context(|| format!("cannot read the token in {}", file.display()))?)
        }
        None => std::env::var("JOEY_TOKEN").ok(),
    };
    Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// Parses the address of a relay's WebSocket.
pub(super) fn parse_relay(text: &str) -> Result<String, String> {
    // Only browsers convert an internationalized domain name to its ASCII form.
    let address = address::websocket(text, false).filter(|address| address.is_ascii());
    address.ok_or_else(|| "the address must be like relay.example:4000 or wss://relay.example/joey/".to_owned())
}

/// Parses the size of a file, which is not empty.
fn parse_bytes(text: &str) -> Result<ByteSize, String> {
    match text.parse()? {
        ByteSize(0) => Err("a file has at least one byte".to_owned()),
        size => Ok(size),
    }
}
