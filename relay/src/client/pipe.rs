//! `joey pipe`: reads the histograms that another program prints from standard input, and sends them to a relay.
//!
//! Each histogram counts for the time since the previous one was sent, because neither bpftrace nor bcc print the length of their
//! interval. What is printed together is sent together.

mod convert;
mod parse;

use std::io::{self, BufRead as _, Read as _};
use std::pin::pin;
use std::time::Duration;

use joey_emit::send::{Origin, SendConfig, Sender, SeriesName, Stats};
use joey_shared::histogram::{Histogram, Unit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use self::convert::{Converter, Unusable};
use self::parse::{Parser, Printed};
use super::Outcome;
use super::args::Pipe;
use super::sending::{Failures, failure};
use crate::config::parse_host_port;
use crate::runtime::clock::wall_ns;
use crate::runtime::{console, host_name};

/// Histograms that are printed within this time belong together.
const QUIET: Duration = Duration::from_millis(100);
/// Maximum time from the first histogram until what was printed so far is sent, if the program never pauses.
const BATCH_MAX: Duration = Duration::from_secs(1);
/// Maximum length of a line in bytes. A line of JSON contains all keys of a map. A longer line is an error.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Lines that wait to be parsed.
const LINES_QUEUED: usize = 64;
/// Accepted periods in ns, as at the relay.
const PERIOD_NS_MIN: u64 = 10_000_000;
const PERIOD_NS_MAX: u64 = 3_600_000_000_000;
/// Maximum time to wait for acknowledgements at the end of the input.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of checks during that time.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Sends histograms until the end of the input.
pub(crate) async fn run(pipe: Pipe) -> anyhow::Result<Outcome> {
    let mut lines = read_lines();
    let mut session = Session::start(&pipe)?;
    if pipe.once {
        session.wait_for_connection().await?;
    }
    let mut parser = Parser::default();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut has_interrupt = false;
    loop {
        let line = tokio::select! {
            line = timeout(QUIET, lines.recv()) => line,
            // The program before the pipe receives the signal as well, and may print its last histograms.
            _ = interrupts.recv() => {
                if has_interrupt {
                    break;
                }
                has_interrupt = true;
                continue;
            }
        };
        match line {
            Ok(Some(line)) => {
                for printed in parser.line(&line?) {
                    session.add(printed)?;
                }
                if session.is_due() {
                    session.send();
                }
            }
            Ok(None) => break,
            Err(_) => {
                if let Some(printed) = parser.pause() {
                    session.add(printed)?;
                }
                session.send();
                session.check_refused()?;
                session.failures.tell([&session.sender]);
            }
        }
    }
    if let Some(printed) = parser.pause() {
        session.add(printed)?;
    }
    session.send();
    session.finish().await
}

/// What was read so far, and where it goes.
struct Session {
    sender: Sender,
    converter: Converter,
    /// What was printed together.
    batch: Vec<(SeriesName, Histogram)>,
    batch_since: Instant,
    /// The end of the last period, in ns since the Unix epoch.
    last_end_ns: u64,
    has_histograms: bool,
    has_warned: bool,
    has_too_many: bool,
    failures: Failures,
}

impl Session {
    fn start(pipe: &Pipe) -> anyhow::Result<Self> {
        let app = pipe.app.as_ref().unwrap_or(&pipe.name).clone();
        let worker = pipe.worker.clone().unwrap_or_else(host_name);
        let token = super::args::read_token(pipe.token_file.as_deref())?;
        let (relays, origin) = (pipe.relay.clone(), Origin::Pipe);
        // `finish` waits instead.
        let flush_timeout = Duration::ZERO;
        let config = SendConfig { relays, origin, token, flush_timeout, ..SendConfig::new(app, worker) };
        Ok(Self {
            sender: Sender::start(config)?,
            converter: Converter::new(pipe.name.clone(), pipe.unit, pipe.cumulative),
            batch: Vec::new(),
            batch_since: Instant::now(),
            last_end_ns: wall_ns(),
            has_histograms: false,
            has_warned: false,
            has_too_many: false,
            failures: Failures::default(),
        })
    }

    fn add(&mut self, printed: Printed) -> anyhow::Result<()> {
        let (series, histogram) = match self.converter.convert(printed) {
            Ok(converted) => converted,
            Err(Unusable::NoUnit(name)) => {
                anyhow::bail!("the unit of {name:?} is unknown: add --unit ns, us, ms or s")
            }
            Err(Unusable::TooMany) => {
                if !std::mem::replace(&mut self.has_too_many, true) {
                    console::line(format_args!("joey: there are too many histograms; further ones are ignored"));
                }
                return Ok(());
            }
        };
        self.has_histograms = true;
        if let Some(name) = self.converter.suspect.as_ref().filter(|_| !self.has_warned) {
            self.has_warned = true;
            console::line(format_args!(
                "joey: {name:?} only grows: if its program does not clear it after printing, counts repeat; add --cumulative"
            ));
        }
        // The same histogram again begins the next interval.
        if self.batch.iter().any(|(known, _)| *known == series) {
            self.send();
        }
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        self.batch.push((series, histogram));
        Ok(())
    }

    fn is_due(&self) -> bool {
        !self.batch.is_empty() && self.batch_since.elapsed() > BATCH_MAX
    }

    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let end_ns = wall_ns();
        let period_ns = end_ns.saturating_sub(self.last_end_ns).clamp(PERIOD_NS_MIN, PERIOD_NS_MAX);
        self.last_end_ns = end_ns;
        self.sender.send(period_ns, end_ns, self.batch.drain(..));
    }

    /// Fails if the relay has refused the connection. Another attempt would not help.
    fn check_refused(&self) -> anyhow::Result<Stats> {
        let stats = self.sender.stats();
        match stats.refused {
            Some(reason) => anyhow::bail!("the relay refuses the connection: {reason}"),
            None => Ok(stats),
        }
    }

    async fn wait_for_connection(&self) -> anyhow::Result<()> {
        loop {
            let stats = self.check_refused()?;
            if stats.is_connected {
                return Ok(());
            }
            if let Some(reason) = failure(&stats) {
                anyhow::bail!(reason);
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Waits until the relay has received everything, and reports what was lost.
    async fn finish(mut self) -> anyhow::Result<Outcome> {
        if !self.has_histograms {
            return Ok(Outcome::NoData("the input contains no histogram of bpftrace or bcc".to_owned()));
        }
        let received = async {
            while !self.sender.flush(Duration::ZERO) {
                self.check_refused()?;
                self.failures.tell([&self.sender]);
                sleep(CHECK_INTERVAL).await;
            }
            anyhow::Ok(())
        };
        let in_time = timeout(FLUSH_TIMEOUT, pin!(received)).await;
        let stats = self.sender.stats();
        if self.converter.negative > 0 {
            console::line(format_args!("joey: {} negative durations were ignored", self.converter.negative));
        }
        for (reason, totals) in &stats.rejected {
            console::line(format_args!("joey: the relay rejected {} durations: {reason}", totals.durations));
        }
        if let Ok(outcome) = in_time {
            outcome?;
        }
        let missing = stats.recorded.durations.saturating_sub(stats.acknowledged.durations);
        let error = stats.last_error.map(|error| format!(": {error}")).unwrap_or_default();
        anyhow::ensure!(missing == 0, "{missing} durations did not reach the relay{error}");
        anyhow::ensure!(stats.rejected.is_empty(), "the relay has rejected a part of the data");
        Ok(Outcome::Done)
    }
}

/// Reads standard input in a thread, because a read cannot be cancelled.
fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(LINES_QUEUED);
    tokio::task::spawn_blocking(move || {
        let mut input = io::stdin().lock();
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let line = match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(length) if length as u64 == LINE_BYTES_MAX => {
                    Err(io::Error::other("a line of the input is longer than 4 MiB"))
                }
                Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => Err(error),
            };
            let is_error = line.is_err();
            if sender.blocking_send(line).is_err() || is_error {
                return;
            }
        }
    });
    lines
}

/// Parses the value of `--unit`.
pub(super) fn parse_unit(text: &str) -> Result<Unit, String> {
    parse::unit_of(text).ok_or_else(|| "the unit must be ns, us, ms or s".to_owned())
}

/// Parses the address of a relay's port for producers.
pub(super) fn parse_ingest(text: &str) -> Result<String, String> {
    parse_host_port(text).map_err(|_| "the address must be like relay.example:5001".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_units_are_parsed() {
        assert_eq!(parse_ingest(" relay.example:5001"), Ok("relay.example:5001".to_owned()));
        assert_eq!(parse_ingest("[::1]:5001"), Ok("[::1]:5001".to_owned()));
        for invalid in ["", "relay", ":5001", "relay:", "relay:0", "relay:99999", "ws://relay:5001"] {
            assert!(parse_ingest(invalid).is_err(), "{invalid}");
        }
        assert_eq!(parse_unit("us"), Ok(Unit::Microseconds));
        assert!(parse_unit("kbytes").is_err());
    }
}
