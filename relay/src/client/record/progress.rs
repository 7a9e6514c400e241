//! The progress of a recording, drawn on a terminal by a task of its own. It shows how much of the requested time is over, or how
//! full the file is if only its size is limited. Lines of the console appear above it.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use joey_shared::format;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::size;
use crate::runtime::console;

/// Interval at which it is drawn again.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Length of the bar, in its own unit.
const WHOLE: u64 = 1_000;

/// What a recording has at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recorded {
    /// Length of the file.
    pub(super) bytes: u64,
    /// Number of messages since the start.
    pub(super) messages: u64,
    /// Number of applications.
    pub(super) apps: usize,
    /// Whether there is a connection to a relay.
    pub(super) is_connected: bool,
}

/// What a recording may have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// It ends after this time.
    pub(super) duration: Option<Duration>,
    /// A file is at most about this long.
    pub(super) bytes_max: Option<u64>,
}

/// The progress on a terminal. When dropped, it disappears.
pub(super) struct Progress {
    recorded: watch::Sender<Recorded>,
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    /// Draws the progress until it is dropped, if standard error is a terminal.
    pub(super) fn start(limits: Limits) -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let bar = bar(limits, console::allows_colors(), ProgressDrawTarget::stderr());
        if bar.is_hidden() {
            // The terminal cannot move its cursor.
            return None;
        }
        let (recorded, shown) = watch::channel(Recorded::default());
        let task = tokio::spawn(draw(bar.clone(), limits, shown, console::divert()));
        Some(Self { recorded, bar, task })
    }

    /// Shows this from now on.
    pub(super) fn update(&self, recorded: Recorded) {
        self.recorded.send_replace(recorded);
    }

    /// Removes it from the terminal, after the lines that wait.
    pub(super) async fn finish(mut self) {
        console::restore();
        // The task ends with the last line. It does not panic.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        console::restore();
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// Draws until nobody can divert lines any more.
async fn draw(
    bar: ProgressBar,
    limits: Limits,
    recorded: watch::Receiver<Recorded>,
    mut lines: mpsc::Receiver<String>,
) {
    let started = Instant::now();
    let mut ticks = interval(DRAW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let recorded = *recorded.borrow();
                show(&bar, limits, recorded, started.elapsed());
            }
            line = lines.recv() => match line {
                Some(line) => bar.println(line),
                None => return,
            },
        }
    }
}

/// An empty bar for a recording with these limits. Without a limit it only shows that it is alive.
fn bar(limits: Limits, has_colors: bool, target: ProgressDrawTarget) -> ProgressBar {
    let has_limit = limits.duration.is_some() || limits.bytes_max.is_some();
    let template = match (has_limit, has_colors) {
        (true, true) => "[{bar:20.cyan}] {percent:>3} %  {wide_msg}",
        (true, false) => "[{bar:20}] {percent:>3} %  {wide_msg}",
        (false, true) => "{spinner:.cyan} {wide_msg}",
        (false, false) => "{spinner} {wide_msg}",
    };
    let bar = ProgressBar::with_draw_target(has_limit.then_some(WHOLE), target);
    // The templates are valid: a test draws each of them.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
    bar
}

fn show(bar: &ProgressBar, limits: Limits, recorded: Recorded, elapsed: Duration) {
    let share = match limits {
        Limits { duration: Some(duration), .. } => Some((elapsed.as_millis(), duration.as_millis())),
        Limits { bytes_max: Some(bytes_max), .. } => Some((recorded.bytes.into(), bytes_max.into())),
        Limits { .. } => None,
    };
    bar.set_message(describe(limits, recorded, elapsed));
    match share {
        Some((done, all)) => {
            let position = (done * u128::from(WHOLE)).checked_div(all).unwrap_or_default();
            bar.set_position(u64::try_from(position).unwrap_or(WHOLE).min(WHOLE));
        }
        None => bar.tick(),
    }
}

/// `12 s of 60 s, 3.4 MB of 10.0 MB, 1 234 messages, 2 applications`.
fn describe(limits: Limits, recorded: Recorded, elapsed: Duration) -> String {
    let Recorded { bytes, messages, apps, is_connected } = recorded;
    let state = if is_connected { "" } else { "waiting for the relay, " };
    let time = |duration: Duration| match duration.as_secs() {
        0 => "0 s".to_owned(),
        seconds => format::age(seconds),
    };
    let total_time = limits.duration.map(|duration| format!(" of {}", time(duration))).unwrap_or_default();
    let size_now = match limits.bytes_max {
        Some(bytes_max) => format!("{} of {}", size(bytes), size(bytes_max)),
        None => size(bytes),
    };
    let messages = format::count(messages.into());
    let noun = if apps == 1 { "application" } else { "applications" };
    format!("{state}{}{total_time}, {size_now}, {messages} messages, {apps} {noun}", time(elapsed))
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    const RECORDED: Recorded = Recorded { bytes: 3_400_000, messages: 1_234, apps: 2, is_connected: true };

    /// What a terminal of 100 columns shows after 15 s.
    fn drawn(limits: Limits, recorded: Recorded) -> String {
        let terminal = InMemoryTerm::new(2, 100);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bar = bar(limits, true, target);
        show(&bar, limits, recorded, Duration::from_secs(15));
        terminal.contents()
    }

    #[test]
    fn the_bar_shows_the_share_of_the_time_or_of_the_size() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(
            drawn(Limits { duration: minute, bytes_max: None }, RECORDED),
            "[=====>              ]  25 %  15 s of 60 s, 3.4 MB, 1\u{202f}234 messages, 2 applications"
        );
        assert_eq!(
            drawn(Limits { duration: None, bytes_max: Some(10_000_000) }, RECORDED),
            "[======>             ]  34 %  15 s, 3.4 MB of 10.0 MB, 1\u{202f}234 messages, 2 applications"
        );
        assert_eq!(
            drawn(Limits { duration: minute, bytes_max: Some(1_000_000) }, RECORDED),
            "[=====>              ]  25 %  15 s of 60 s, 3.4 MB of 1.0 MB, 1\u{202f}234 messages, 2 applications"
        );
        let over = Limits { duration: Some(Duration::from_secs(10)), bytes_max: None };
        assert!(drawn(over, RECORDED).starts_with("[====================] 100 %"));
    }

    #[test]
    fn without_a_limit_there_is_no_bar() {
        let alone = Recorded { apps: 1, is_connected: false, ..RECORDED };
        let line = drawn(Limits::default(), alone);
        assert_eq!(&line[1..], " waiting for the relay, 15 s, 3.4 MB, 1\u{202f}234 messages, 1 application");
    }
}
