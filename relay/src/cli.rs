//! The command line. `joey --help` is its documentation.
//!
//! Exit codes: 0 done, 1 failed (one clear line on standard error), 2 wrong usage, 3 no such app or no data.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::auth::{self, Access};
use crate::client::{self, Outcome, Stats, Tap};
use crate::config::{self, AUDIENCE, Config, Options};
use crate::demo;
use crate::net::listener;
use crate::runtime::clock::wall_ns;
use crate::runtime::console;
use crate::server::Relay;

/// How much is logged by itself. The client of NATS would tell each of its attempts to connect.
const QUIET: &str = "info,async_nats=warn";

/// Live latency and throughput of stream processors, straight into the browser.
///
/// A relay takes metric streams on one port (5001, the one that Wallaroo's --metrics names) and shows them on another
/// (http://127.0.0.1:4000). Flags come before environment variables (JOEY_…), which come before the TOML file (--config).
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such app or no data.
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
    /// Run the relay with made-up producers, to look around
    Demo(Serve),
    /// Follow the live updates of a relay, one line each
    Tap(Tap),
    /// Print one snapshot of every view of an application
    Stats(Stats),
    /// Mint a token for a viewer and print it
    Token(Token),
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    options: Options,
    /// Read options from this TOML file
    #[arg(long, env = "JOEY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to write the log
    #[arg(long, env = "JOEY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// How much to log: error, warn, info, debug, trace, or a filter as RUST_LOG takes
    /// [default: RUST_LOG, else info]
    #[arg(long, env = "JOEY_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// A token's words. It goes to standard output: a file, or a program that hands it on.
#[derive(Args)]
struct Token {
    /// The key: a file with a secret, or an Ed25519 private key in PEM
    #[arg(long, env = "JOEY_TOKEN_KEY", value_name = "FILE")]
    token_key: PathBuf,
    /// Applications that it covers: exact names, beginnings that end in *, or * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    apps: Option<Vec<String>>,
    /// Categories that it covers: exact names, or * [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    categories: Option<Vec<String>>,
    /// How long it counts: 90s, 15m, 12h, 30d
    #[arg(long, default_value = "15m", value_name = "SPAN", value_parser = parse_life)]
    ttl: Duration,
    /// Whose it is, for the relay's log
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Whom it is for
    #[arg(long, env = "JOEY_TOKEN_AUDIENCE", default_value = AUDIENCE, value_name = "NAME")]
    audience: String,
}

/// How long a token counts: `90s`, `15m`, `12h`, `30d`, or plain seconds.
fn parse_life(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("", 1)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(seconds).filter(|&seconds| seconds > 0)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "a life is a span such as 90s, 15m, 12h or 30d".to_owned())
}

/// The command line, with all that it reads from the environment. A variable that is set and empty counts as not set.
fn command() -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without_empty = |argument: clap::Arg| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(clap::builder::Resettable::Reset),
        _ => argument,
    };
    let of_subcommand = |subcommand: clap::Command| subcommand.mut_args(without_empty);
    Cli::command().mut_args(without_empty).mut_subcommands(of_subcommand)
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
            Command::Serve(serve) => relay(serve, false).await.map(|()| Outcome::Done),
            Command::Demo(serve) => relay(serve, true).await.map(|()| Outcome::Done),
            Command::Tap(tap) => client::tap::run(tap).await,
            Command::Stats(stats) => client::stats::run(stats).await,
            Command::Token(token) => mint(&token).map(|()| Outcome::Done),
        }
    });
    // A blocked read or write of standard streams must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NoData(what)) => {
            console::line(format_args!("joey: {what}"));
            ExitCode::from(3)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    console::line(format_args!("joey: {error:#}"));
    ExitCode::FAILURE
}

async fn relay(serve: Serve, with_demo: bool) -> anyhow::Result<()> {
    start_log(serve.log_format, serve.log_level)?;
    let file = serve.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
    let config = Config::settle(serve.options.clone(), file, with_demo)?;
    if config.tls.is_none() && !config.token_keys.is_empty() && !config.http.ip().is_loopback() {
        tracing::warn!(
            "tokens cross the network unencrypted: set --tls-cert, or let only a proxy with TLS reach this port"
        );
    }
    tracing::debug!(?config, "configuration");
    let descriptors = listener::raise_descriptor_limit();
    let wanted = config.viewers_max.saturating_add(config.producers_max) as u64;
    if descriptors < wanted {
        tracing::warn!(descriptors, wanted, "fewer open files are allowed than there may be connections");
    }
    let relay = Relay::bind(config.clone()).await?;
    let (ingest, http) = (relay.ingest_addr()?, relay.http_addr()?);
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    renew_on_signal(relay.access().clone(), serve.options, serve.config, config)?;
    tracing::info!(release = env!("CARGO_PKG_VERSION"), %ingest, %http, "listening");
    console::line(format_args!("\n  Joey is at   {scheme}://{http}\n  Producers    --metrics {ingest}\n"));
    let demo = with_demo.then(|| tokio::spawn(demo::run(ingest, stop.clone())));
    relay.run(stop).await;
    if let Some(demo) = demo {
        demo.abort();
    }
    Ok(())
}

fn start_log(format: LogFormat, level: Option<String>) -> anyhow::Result<()> {
    let from_environment = || std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(level.or_else(from_environment).unwrap_or_else(|| QUIET.to_owned()))?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(console::writer());
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(is_terminal && !no_color).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The first signal to end stops in order, the second at once.
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
            tracing::info!("stopping; once more stops at once");
            stop.cancel();
        }
    });
    Ok(())
}

/// SIGHUP has keys, certificate, origins and producers' networks read again. Everything else stays as it was at the start.
fn renew_on_signal(
    access: Arc<Access>,
    options: Options,
    file: Option<PathBuf>,
    running: Config,
) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let renew = move || {
        let file = file.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
        let config = Config::settle(options.clone(), file, running.demo)?;
        let Config { ingest, http, insecure_open, .. } = running;
        let config = Config { ingest, http, insecure_open, ..config };
        config::check_exposure(&config)?;
        access.renew(&config)
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match renew() {
                Ok(()) => tracing::info!("read again: keys, certificate, origins, networks of producers"),
                Err(error) => tracing::error!("nothing changes: {error:#}"),
            }
        }
    });
    Ok(())
}

fn mint(token: &Token) -> anyhow::Result<()> {
    let now_s = wall_ns() / 1_000_000_000;
    let mut claims = json!({
        "aud": token.audience,
        "iat": now_s,
        "exp": now_s.saturating_add(token.ttl.as_secs()),
    });
    let names = |names: &Vec<String>| json!(config::trimmed(names.clone()));
    let subject = token.subject.as_ref().map(|subject| json!(subject));
    let rest = [
        ("sub", subject),
        ("apps", token.apps.as_ref().map(names)),
        ("categories", token.categories.as_ref().map(names)),
    ];
    for (claim, value) in rest {
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
    fn lives() {
        let lives = ["90s", "15m", "12h", "30d", "7"].map(|life| parse_life(life).map(|life| life.as_secs()));
        assert_eq!(lives, [90, 900, 43_200, 2_592_000, 7].map(Ok));
        for wrong in ["", "0", "0s", "-1s", "1w", "m", "1.5h", "99999999999999999999s", "999999999999999999d"] {
            assert!(parse_life(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
