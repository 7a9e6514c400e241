//! `joey replay`: sends what a recording contains to a relay again, as producers do, with periods that end now.
//!
//! Every series is sent by its own worker in Joey's own protocol, so bins, units and sums stay exact. A Wallaroo
//! capture, which is what a worker wrote to its connection, is sent as it is, except for the times (`capture`).

mod capture;
mod load;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use joey_emit::send::{Origin, SendConfig, Sender};
use joey_shared::format;
use tokio::signal::unix::{SignalKind, signal};

use self::load::{Piece, Updates};
use super::Outcome;
use super::args::Replay;
use super::sending::{Failures, failure};
use crate::runtime::clock::wall_ns;
use crate::runtime::console;

/// Shortest period that relays accept, in ns. Faster replays have longer periods than the recording, with the same counts.
const PERIOD_NS_MIN: u64 = 10_000_000;
/// Memory of a worker for what the relay has not acknowledged, in bytes. The replay waits before it is full.
const BUFFER_BYTES: usize = 8 << 20;
/// Maximum time to wait for acknowledgements at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of checks while it waits.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Shortest time between two lines with the progress, which are written if standard error is a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Sends the file, or writes it as a capture.
///
/// # Errors
/// Fails if the file cannot be read, or if the relay refuses the data or is not reachable.
pub(crate) async fn run(replay: Replay) -> anyhow::Result<Outcome> {
    if replay.wallaroo {
        return capture::send(&replay).await;
    }
    let mut updates = load::read(&replay.file, &replay.apps)?;
    updates.keep(replay.from.map(nanos), replay.to.map(nanos));
    if let Some(name) = &replay.rename {
        updates.rename(name);
    }
    if updates.pieces.is_empty() {
        return Ok(Outcome::NoData(format!("{} has no updates to replay", replay.file.display())));
    }
    if let Some(file) = &replay.write_capture {
        return capture::write(&updates, file);
    }
    let token = super::args::read_token(replay.token_file.as_deref())?;
    let mut session = Session {
        relays: replay.relay.clone(),
        token,
        senders: BTreeMap::new(),
        once: replay.once,
        failures: Failures::default(),
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        outcome = session.play(&updates, &replay) => outcome?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    session.finish().await
}

fn nanos(duration: Duration) -> u64 {
    crate::runtime::clock::nanos(duration)
}

/// When something of a recording is sent: its time divided by the speed, after the start.
#[derive(Clone, Copy)]
struct Pace {
    started: Instant,
    started_ns: u64,
    first_ns: u64,
    speed: f64,
}

impl Pace {
    /// The beginning of the recording, at `first_ns`, is now.
    fn new(first_ns: u64, speed: f64) -> Self {
        Self { started: Instant::now(), started_ns: wall_ns(), first_ns, speed }
    }

    /// How long after the start `ns` of the recording is, in ns.
    fn after(&self, ns: u64) -> u64 {
        self.shorten(ns.saturating_sub(self.first_ns))
    }

    /// A length of time in the recording, as long as it takes now.
    fn shorten(&self, ns: u64) -> u64 {
        (ns as f64 / self.speed) as u64
    }

    /// The time since the Unix epoch at which `ns` of the recording is now.
    fn shifted(&self, ns: u64) -> u64 {
        self.started_ns.saturating_add(self.after(ns))
    }

    /// Waits for `ns` of the recording.
    async fn wait(&self, ns: u64) {
        tokio::time::sleep_until((self.started + Duration::from_nanos(self.after(ns))).into()).await;
    }
}

/// The connections of all workers.
struct Session {
    relays: Vec<String>,
    token: Option<String>,
    /// By application and worker. As many as the recording has.
    senders: BTreeMap<(String, String), Sender>,
    once: bool,
    failures: Failures,
}

impl Session {
    /// Sends everything in its time, again and again with `--loop`.
    async fn play(&mut self, updates: &Updates, replay: &Replay) -> anyhow::Result<()> {
        let mut progress = Progress::new(updates.span());
        loop {
            let (first_ns, last_ns) = updates.span();
            let pace = Pace::new(first_ns, replay.speed);
            let same = |a: &Piece, b: &Piece| updates.is_same_message(a, b);
            for pieces in updates.pieces.chunk_by(same) {
                let Some(piece) = pieces.first() else { continue };
                pace.wait(piece.end_ns).await;
                let series = updates.series(piece);
                let sender = self.sender(&series.app, &series.worker)?;
                let period_ns = pace.shorten(piece.period_ns).max(PERIOD_NS_MIN);
                let histograms =
                    pieces.iter().map(|piece| (updates.series(piece).name.clone(), piece.histogram.clone()));
                sender.send(period_ns, pace.shifted(piece.end_ns), histograms);
                self.wait_for_room(&series.app, &series.worker).await?;
                progress.show(piece.end_ns);
            }
            if !replay.repeat {
                progress.finish(last_ns);
                return Ok(());
            }
        }
    }

    fn sender(&mut self, app: &str, worker: &str) -> anyhow::Result<&Sender> {
        let key = (app.to_owned(), worker.to_owned());
        if !self.senders.contains_key(&key) {
            let config = SendConfig {
                relays: self.relays.clone(),
                origin: Origin::Emit,
                token: self.token.clone(),
                buffer_bytes: BUFFER_BYTES,
                flush_timeout: Duration::ZERO,
                ..SendConfig::new(app, worker)
            };
            self.senders.insert(key.clone(), Sender::start(config).context("cannot start a thread")?);
        }
        self.senders.get(&key).context("the sender was added")
    }

    /// Waits until the buffer of a worker is less than half full, and until there is a connection if the replay must not wait
    /// for a relay.
    async fn wait_for_room(&mut self, app: &str, worker: &str) -> anyhow::Result<()> {
        let Some(sender) = self.senders.get(&(app.to_owned(), worker.to_owned())) else { return Ok(()) };
        loop {
            let stats = sender.stats();
            if let Some(reason) = stats.refused {
                anyhow::bail!("the relay refuses the connection: {reason}");
            }
            if let Some(reason) = failure(&stats).filter(|_| self.once) {
                anyhow::bail!(reason);
            }
            if !stats.is_connected || self.failures.is_told() {
                self.failures.tell(self.senders.values());
            }
            if stats.buffered_bytes < BUFFER_BYTES / 2 && (stats.is_connected || !self.once) {
                return Ok(());
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Waits until the relay has received everything, and reports what was lost.
    async fn finish(mut self) -> anyhow::Result<Outcome> {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while !self.senders.values().all(|sender| sender.flush(Duration::ZERO)) && Instant::now() < deadline {
            self.failures.tell(self.senders.values());
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        let (mut acknowledged, mut histograms, mut missing, mut rejected, mut error) =
            (0_u64, 0_u64, 0_u64, 0_u64, None);
        for sender in self.senders.values() {
            let stats = sender.stats();
            acknowledged = acknowledged.saturating_add(stats.acknowledged.durations);
            histograms = histograms.saturating_add(stats.acknowledged.histograms);
            missing = missing.saturating_add(stats.recorded.durations.saturating_sub(stats.acknowledged.durations));
            error = error.or(stats.refused).or(stats.last_error);
            for (reason, totals) in stats.rejected {
                console::line(format_args!("joey: the relay rejected {} durations: {reason}", totals.durations));
                rejected = rejected.saturating_add(totals.durations);
            }
        }
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        anyhow::ensure!(missing == 0, "{missing} durations did not reach the relay{error}");
        anyhow::ensure!(rejected == 0, "the relay has rejected a part of the data");
        console::line(format_args!("joey: replayed {histograms} histograms with {acknowledged} durations"));
        Ok(Outcome::Done)
    }
}

/// A line with the progress, if standard error is a terminal.
struct Progress {
    span: (u64, u64),
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    fn new(span: (u64, u64)) -> Self {
        Self { span, shown: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Shows that `ns` of the recording is reached.
    fn show(&mut self, ns: u64) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_INTERVAL) {
            self.shown = Some(Instant::now());
            // The line is replaced by the next one. If it cannot be written, nobody reads it.
            let _ = write!(io::stderr(), "\r{}", bar(self.span, ns));
        }
    }

    fn finish(&mut self, ns: u64) {
        self.shown = None;
        self.show(ns);
        if self.is_terminal {
            let _ = writeln!(io::stderr());
        }
    }
}

/// `replaying [=====     ] 50 %, 30 s of 60 s`.
fn bar((first_ns, last_ns): (u64, u64), ns: u64) -> String {
    const WIDTH: u64 = 30;
    let (done, all) = (ns.saturating_sub(first_ns), last_ns.saturating_sub(first_ns).max(1));
    let share = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(all)).unwrap_or(of).min(of);
    let filled = share(WIDTH) as usize;
    let bar = "=".repeat(filled) + &" ".repeat(WIDTH as usize - filled);
    let [done, all] = [done, all].map(|ns| format::age(ns / 1_000_000_000));
    format!("replaying [{bar}] {} %, {done} of {all}   ", share(100))
}

/// Parses a speed: `1`, `10`, `0.5`.
pub(super) fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.01..=1_000.0).contains(speed));
    speed.ok_or_else(|| "the speed must be from 0.01 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_is_a_bar_with_times() {
        let s = 1_000_000_000;
        assert_eq!(
            bar((0, 60 * s), 30 * s).trim_end(),
            "replaying [===============               ] 50 %, 30 s of 60 s"
        );
        assert!(bar((5, 5), 5).contains(" 0 %") && bar((0, s), 9 * s).contains(" 100 %"));
    }

    #[test]
    fn speeds_are_positive_numbers() {
        assert_eq!(["1", "0.5", "60"].map(parse_speed), [1.0, 0.5, 60.0].map(Ok));
        for invalid in ["", "0", "-1", "inf", "NaN", "fast"] {
            assert!(parse_speed(invalid).is_err(), "{invalid}");
        }
    }
}
