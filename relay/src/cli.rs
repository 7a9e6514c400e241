//! The command line, documented by `joey --help`.
//!
//! Exit codes: 0 success, 1 failure (with one line on standard error), 2 invalid usage, 3 unknown application or no data.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::auth::{self, Auth};
use crate::client::{self, Compare, Outcome, Pipe, Record, Replay, Stats, Tap, Top, Watch, parse_span};
use crate::config::{self, Config, DEFAULT_AUDIENCE, Options};
use crate::demo;
use crate::net::listener;
use crate::runtime::clock::wall_ns;
use crate::runtime::console;
use crate::server::Relay;

/// The default log filter. At `info` the NATS client would log each connection attempt.
const DEFAULT_LOG_FILTER: &str = "info,async_nats=warn";

/// Show live latency and throughput of stream processors in the browser.
///
/// A relay receives metrics on one port (5001, for Wallaroo's --metrics) and serves them to browsers on another
/// (http://127.0.0.1:4000). Flags override environment variables (JOEY_…), which override the TOML file (--config).
///
/// Exit codes: 0 success, 1 failure, 2 invalid usage, 3 unknown application or no data.
#[derive(Parser)]
#[command(name = "joey", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay
    Serve(Serve),
    /// Run the relay with simulated producers
    Demo(Demo),
    /// Print live updates, one per line
    Tap(Tap),
    /// Print a snapshot of an application's latency and throughput
    Stats(Stats),
    /// Compare the latencies of two recordings or live applications, what changed most first
    Compare(Compare),
    /// Write what a viewer receives to a file, which the page and joey stats --file open
    Record(Record),
    /// Send a recording to a relay again, as producers do
    Replay(Replay),
    /// Show applications and views live in the terminal
    Top(Top),
    /// Send the histograms that bpftrace or bcc prints, from standard input
    Pipe(Pipe),
    /// Tell when an objective for latency or throughput is missed and when it is met again
    Watch(Watch),
    /// Create a viewer token and print it
    Token(Token),
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    options: Options,
    /// Read options from this TOML file
    #[arg(long, env = "JOEY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the log in this format
    #[arg(long, env = "JOEY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Log at this level (error, warn, info, debug, trace) or with this filter in RUST_LOG syntax
    /// [default: RUST_LOG, or info]
    #[arg(long, env = "JOEY_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

/// The arguments of `joey demo`.
#[derive(Args)]
struct Demo {
    #[command(flatten)]
    serve: Serve,
    /// Deploy a slow release of the Web Shop this long after the start and after each rollback: 90s, 15m
    #[arg(long, default_value = "4m", value_name = "SPAN", value_parser = parse_span)]
    deploy_after: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// The arguments of `joey token`.
#[derive(Args)]
struct Token {
    /// Sign with this key: a file with a secret, or an Ed25519 private key in PEM
    #[arg(long, env = "JOEY_TOKEN_KEY", value_name = "FILE")]
    token_key: PathBuf,
    /// Allow these applications: exact names, or prefixes followed by * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    apps: Option<Vec<String>>,
    /// Allow these categories: exact names, or * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    categories: Option<Vec<String>>,
    /// Expire after this time: 90s, 15m, 12h, 30d
    #[arg(long, default_value = "15m", value_name = "SPAN", value_parser = parse_span)]
    ttl: Duration,
    /// Name the holder (claim `sub`), for the relay's log
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Set the audience (claim `aud`)
    #[arg(long, env = "JOEY_TOKEN_AUDIENCE", default_value = DEFAULT_AUDIENCE, value_name = "NAME")]
    audience: String,
}

/// The command line with its environment variables. An empty variable counts as not set.
fn command() -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without_empty = |argument: clap::Arg| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(clap::builder::Resettable::Reset),
        _ => argument,
    };
    let subcommand_without_empty = |subcommand: clap::Command| subcommand.mut_args(without_empty);
    let once = "Print the state of each objective once and exit: 0 met, 2 missed, 3 no data or undecided";
    let watch = |watch: clap::Command| watch.mut_arg("once", |argument| argument.help(once));
    Cli::command().mut_subcommand("watch", watch).mut_args(without_empty).mut_subcommands(subcommand_without_empty)
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    let _console = console::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => run_relay(serve, None).await.map(|()| Outcome::Done),
            Command::Demo(demo) => run_relay(demo.serve, Some(demo.deploy_after)).await.map(|()| Outcome::Done),
            Command::Tap(tap) => client::tap::run(tap).await,
            Command::Stats(stats) => client::stats::run(stats).await,
            Command::Compare(compare) => client::compare::run(compare).await,
            Command::Record(record) => client::record::run(record).await,
            Command::Replay(replay) => client::replay::run(replay).await,
            Command::Top(top) => client::top::run(top).await,
            Command::Pipe(pipe) => client::pipe::run(pipe).await,
            Command::Watch(watch) => client::watch::run(watch).await,
            Command::Token(token) => print_token(&token).map(|()| Outcome::Done),
        }
    });
    // A blocked read or write of a standard stream must not delay the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NoData(message)) => {
            console::line(format_args!("joey: {message}"));
            ExitCode::from(3)
        }
        Ok(Outcome::Missed(message)) => {
            console::line(format_args!("joey: {message}"));
            ExitCode::from(2)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    console::line(format_args!("joey: {error:#}"));
    ExitCode::FAILURE
}

/// Runs the relay, with the simulated producers if there is a time of their first deploy.
async fn run_relay(serve: Serve, deploy_after: Option<Duration>) -> anyhow::Result<()> {
    init_log(serve.log_format, serve.log_level)?;
    let file = serve.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
    let config = Config::resolve(serve.options.clone(), file, deploy_after.is_some())?;
    let is_exposed = |address: Option<SocketAddr>| address.is_some_and(|address| !address.ip().is_loopback());
    let is_otlp_exposed = [config.otlp_http, config.otlp_grpc].iter().any(|listen| is_exposed(listen.address()));
    if !config.token_keys.is_empty()
        && ((config.tls.is_none() && is_exposed(Some(config.http))) || (!config.ingest_tls && is_otlp_exposed))
    {
        tracing::warn!(
            "tokens are sent unencrypted: set --tls-cert and for OTLP --ingest-tls, or allow connections only from a proxy that \
             uses TLS"
        );
    }
    tracing::debug!(?config, "configuration");
    let open_files_max = listener::raise_descriptor_limit();
    let connections_max = config.viewers_max.saturating_add(config.producers_max) as u64;
    if open_files_max < connections_max {
        tracing::warn!(open_files_max, connections_max, "the limit on open files is lower than the connection limits");
    }
    let relay = Relay::bind(config.clone()).await?;
    let (ingest, http) = (relay.ingest_addr()?, relay.http_addr()?);
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    reload_on_signal(relay.auth().clone(), serve.options, serve.config, config)?;
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let (otlp_http, otlp_grpc) = (shown(relay.otlp_http_addr()), shown(relay.otlp_grpc_addr()));
    tracing::info!(release = env!("CARGO_PKG_VERSION"), %ingest, %http, %otlp_http, %otlp_grpc, "listening");
    if let Some(statsd) = relay.statsd_addr() {
        tracing::info!(%statsd, "listening for StatsD");
    }
    console::line(format_args!(
        "\n  Joey is at     {scheme}://{http}\n  Producers      --metrics {ingest}\n  OpenTelemetry  HTTP {otlp_http}, gRPC \
         {otlp_grpc}\n"
    ));
    let otlp = relay.otlp_http_addr();
    let demo = deploy_after.map(|after| tokio::spawn(demo::run(ingest, otlp, after, stop.clone())));
    relay.run(stop).await;
    if let Some(demo) = demo {
        demo.abort();
    }
    Ok(())
}

fn init_log(format: LogFormat, level: Option<String>) -> anyhow::Result<()> {
    let from_environment = || std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(level.or_else(from_environment).unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()))?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(console::writer());
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(is_terminal && console::allows_colors()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The first SIGTERM or SIGINT stops the relay gracefully, the second one at once.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stopping; send the signal again to stop at once");
            stop.cancel();
        }
    });
    Ok(())
}

/// SIGHUP reloads keys, certificate, origins and producers' networks. All other options keep their values.
fn reload_on_signal(auth: Arc<Auth>, options: Options, file: Option<PathBuf>, running: Config) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let reload = move || {
        let file = file.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
        let config = Config::resolve(options.clone(), file, running.demo)?;
        let Config { ingest, http, otlp_http, otlp_grpc, insecure_open, .. } = running;
        let config = Config { ingest, http, otlp_http, otlp_grpc, insecure_open, ..config };
        config::check_exposure(&config)?;
        auth.reload(&config)
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match reload() {
                Ok(()) => tracing::info!("reloaded keys, certificate, origins and producer networks"),
                Err(error) => tracing::error!("reload failed, the current configuration stays in force: {error:#}"),
            }
        }
    });
    Ok(())
}

fn print_token(token: &Token) -> anyhow::Result<()> {
    let now_s = wall_ns() / 1_000_000_000;
    let mut claims = json!({
        "aud": token.audience,
        "iat": now_s,
        "exp": now_s.saturating_add(token.ttl.as_secs()),
    });
    let names = |names: &Vec<String>| json!(config::trimmed(names.clone()));
    let subject = token.subject.as_ref().map(|subject| json!(subject));
    let optional = [
        ("sub", subject),
        ("apps", token.apps.as_ref().map(names)),
        ("categories", token.categories.as_ref().map(names)),
    ];
    for (claim, value) in optional {
        if let Some(value) = value {
            claims[claim] = value;
        }
    }
    writeln!(io::stdout(), "{}", auth::token::mint(&token.token_key, &claims)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_lifetimes_are_parsed() {
        let lifetimes = ["90s", "15m", "12h", "30d", "7"].map(|text| parse_span(text).map(|ttl| ttl.as_secs()));
        assert_eq!(lifetimes, [90, 900, 43_200, 2_592_000, 7].map(Ok));
        for invalid in ["", "0", "0s", "-1s", "1w", "m", "1.5h", "99999999999999999999s", "999999999999999999d"] {
            assert!(parse_span(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
