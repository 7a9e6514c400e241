//! The command line, documented by `joey --help`.
//!
//! Exit codes: 0 success, 1 failure (with one line on standard error), 2 invalid usage or configuration, 3 unknown
//! application or no data.

mod configuration;
mod generate;
mod token;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use self::configuration::CheckConfig;
use self::token::Token;
use crate::auth::Auth;
use crate::client::{self, Compare, Outcome, Pipe, Record, Replay, Stats, Tap, Top, Watch};
use crate::config::{self, Config, Options};
use crate::demo;
use crate::http;
use crate::net::{inherited, listener};
use crate::rule::{parse_span, read_rules};
use crate::runtime::{console, service_manager};
use crate::server::Relay;

/// The default log filter. At `info` the NATS client would log each connection attempt.
const DEFAULT_LOG_FILTER: &str = "info,async_nats=warn";

/// Show live latency and throughput of services and stream processors in the browser.
///
/// A relay receives measurements from OpenTelemetry (port 4317 for gRPC, 4318 for HTTP), from Rust programs, joey pipe and
/// Wallaroo (port 5001), and from StatsD (--statsd). It shows them on the page at http://127.0.0.1:4000. Start with joey demo
/// for simulated services, or joey serve for your own.
///
/// Flags override environment variables (JOEY_…), which override the TOML file (--config).
///
/// Exit codes: 0 success, 1 failure, 2 invalid usage or configuration, 3 unknown application or no data.
#[derive(Parser)]
#[command(name = "joey", version = env!("JOEY_VERSION"), arg_required_else_help = true)]
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
    /// Create a viewer token and print it, or explain one
    Token(Token),
    /// Check flags, environment and configuration file, and print where each value comes from
    CheckConfig(CheckConfig),
    /// Print a configuration file with all options, their meaning and their defaults
    GenConfig,
    /// Print the completions of a shell: `joey completions bash >/etc/bash_completion.d/joey`
    Completions(generate::Completions),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(generate::Man),
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

/// The command line with its environment variables. An empty variable counts as not set.
fn command() -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without_empty = |argument: clap::Arg| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(clap::builder::Resettable::Reset),
        _ => argument,
    };
    let subcommand_without_empty = |subcommand: clap::Command| subcommand.mut_args(without_empty);
    let once = "Print the state of each objective once and exit: 0 met, 2 missed, 3 no data or undecided";
    let ca = "Also trust relays and webhooks with certificates from this authority, in PEM";
    let watch = |watch: clap::Command| {
        watch.mut_arg("once", |argument| argument.help(once)).mut_arg("ca", |argument| argument.help(ca))
    };
    Cli::command().mut_subcommand("watch", watch).mut_args(without_empty).mut_subcommands(subcommand_without_empty)
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Before the first thread is started.
    let inherited = inherited::Environment::take();
    let _console = console::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => run_relay(serve, inherited, None).await,
            Command::Demo(demo) => run_relay(demo.serve, inherited, Some(demo.deploy_after)).await,
            Command::Tap(tap) => client::tap::run(tap).await,
            Command::Stats(stats) => client::stats::run(stats).await,
            Command::Compare(compare) => client::compare::run(compare).await,
            Command::Record(record) => client::record::run(record).await,
            Command::Replay(replay) => client::replay::run(replay).await,
            Command::Top(top) => client::top::run(top).await,
            Command::Pipe(pipe) => client::pipe::run(pipe).await,
            Command::Watch(watch) => client::watch::run(watch).await,
            Command::Token(token) => token::run(token).await.map(|()| Outcome::Done),
            Command::CheckConfig(check) => check.run(matches.subcommand_matches("check-config")),
            Command::GenConfig => configuration::generate().map(|()| Outcome::Done),
            Command::Completions(shell) => generate::completions(&shell, Cli::command()).map(|()| Outcome::Done),
            Command::Man(directory) => generate::man(&directory, Cli::command()).map(|()| Outcome::Done),
        }
    });
    // A blocked read or write of a standard stream must not delay the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Invalid(message)) => {
            console::line(format_args!("joey: {message}"));
            ExitCode::from(2)
        }
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
async fn run_relay(
    mut serve: Serve,
    inherited: inherited::Environment,
    deploy_after: Option<Duration>,
) -> anyhow::Result<Outcome> {
    let inherited = inherited.sockets()?;
    inherited.apply_to(&mut serve.options)?;
    let configured = init_log(serve.log_format, serve.log_level.clone());
    let config = match configured.and_then(|()| configuration::read(&serve, deploy_after.is_some())) {
        Ok((config, _)) => config,
        Err(error) => return Ok(Outcome::Invalid(format!("{error:#}"))),
    };
    let is_exposed = |address: Option<SocketAddr>| address.is_some_and(|address| !address.ip().is_loopback());
    let is_otlp_exposed = [config.otlp_http, config.otlp_grpc].iter().any(|listen| is_exposed(listen.address()));
    if config.requires_token()
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
    let has_page = http::HAS_PAGE || config.ui_dir.is_some();
    if !has_page {
        tracing::warn!(
            "this program was built without the page (feature embed-ui): use joey top, joey stats, a page elsewhere, or --ui-dir"
        );
    }
    // Whoever can connect can also stop the relay gracefully and let it reload its configuration.
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let hangup = signal(SignalKind::hangup())?;
    let Some(relay) = stop.run_until_cancelled(Relay::bind_except(config.clone(), inherited)).await else {
        return Ok(Outcome::Done);
    };
    let relay = relay?;
    let (ingest, http) = (relay.ingest_addr()?, relay.http_addr()?);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    reload_on_signal(&relay, hangup, serve.options, serve.config, config);
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let (otlp_http, otlp_grpc) = (shown(relay.otlp_http_addr()), shown(relay.otlp_grpc_addr()));
    tracing::info!(release = env!("JOEY_VERSION"), %ingest, %http, %otlp_http, %otlp_grpc, "listening");
    if let Some(statsd) = relay.statsd_addr() {
        tracing::info!(%statsd, "listening for StatsD");
    }
    let page = if has_page { "Joey is at     " } else { "Viewers at     " };
    console::line(format_args!(
        "\n  {page}{scheme}://{http}\n  Producers      {ingest} (joey-emit, joey pipe, Wallaroo's --metrics)\n  OpenTelemetry  HTTP \
         {otlp_http}, gRPC {otlp_grpc}\n"
    ));
    let otlp = relay.otlp_http_addr();
    let demo = deploy_after.map(|after| tokio::spawn(demo::run(ingest, otlp, after, stop.clone())));
    service_manager::ready();
    let stopping = async {
        stop.cancelled().await;
        service_manager::stopping();
    };
    tokio::join!(relay.run(stop.clone()), stopping);
    if let Some(demo) = demo {
        demo.abort();
    }
    Ok(Outcome::Done)
}

/// What is logged: `level`, the variable `RUST_LOG`, or the default.
fn log_filter(level: Option<String>) -> anyhow::Result<EnvFilter> {
    let from_environment = || std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    Ok(EnvFilter::try_new(level.or_else(from_environment).unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()))?)
}

fn init_log(format: LogFormat, level: Option<String>) -> anyhow::Result<()> {
    let filter = log_filter(level)?;
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

/// SIGHUP reloads keys, certificate, origins, producers' networks and objectives. All other options keep their values.
fn reload_on_signal(relay: &Relay, mut hangup: Signal, options: Options, file: Option<PathBuf>, running: Config) {
    let (auth, watch_rules) = (relay.auth().clone(), relay.watch_rules().cloned());
    let reload = async move |auth: &Auth| {
        let file = file.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
        let config = Config::resolve(options.clone(), file, running.demo)?;
        let Config { ingest, http, otlp_http, otlp_grpc, insecure_open, .. } = running;
        let config = Config { ingest, http, otlp_http, otlp_grpc, insecure_open, ..config };
        config::check_exposure(&config)?;
        // Nothing changes if the objectives or the policy are invalid.
        let rules = config.watch.as_ref().map(|watch| read_rules(&watch.files)).transpose()?;
        auth.reload(&config).await?;
        if let (Some(watched), Some(rules)) = (&watch_rules, rules) {
            watched.replace(rules);
        }
        anyhow::Ok(())
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match reload(&auth).await {
                Ok(()) => tracing::info!("reloaded keys, certificate, origins, producer networks and objectives"),
                Err(error) => tracing::error!("reload failed, the current configuration stays in force: {error:#}"),
            }
        }
    });
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
