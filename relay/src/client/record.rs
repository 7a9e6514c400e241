//! `joey record`: writes what a viewer receives to a file, as the page does.
//!
//! Each message is in the file before the next one is read, so a recorder that is killed leaves a readable file. The relay
//! waits for nobody: if the disk is slow, this viewer falls behind like any other.

mod file;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use joey_shared::format;
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::Viewer;
use joey_shared::window::{SECONDS_MAX, SLOT_NS};
use joey_shared::wire::Start;
use tokio::signal::unix::{SignalKind, signal};

pub(super) use self::file::Recorder;
use self::file::RecordingFile;
use super::Outcome;
use super::args::Record;
use super::connection::Connection;
use crate::runtime::console;

/// Shortest time between two lines with the progress, which are written if standard error is a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Records until the time is over or a signal arrives.
///
/// # Errors
/// Fails if the file cannot be created or written, or if the connection is lost permanently.
pub(crate) async fn run(record: Record) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut connection = Connection::new(&record.target, Viewer::default());
    connection.recorder = Some(Recorder::new(RecordingFile::create(&record.output, record.max_bytes)?));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shows_progress = io::stderr().is_terminal();
    let mut progress_shown = started;
    let mut revision = 0;
    let outcome = loop {
        let left = record.duration.map(|duration| duration.saturating_sub(started.elapsed()));
        if left == Some(Duration::ZERO) {
            break Ok(());
        }
        let end = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = connection.step(|_| {}) => outcome?,
            () = end => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
        }
        if shows_progress && progress_shown.elapsed() >= PROGRESS_INTERVAL {
            progress_shown = Instant::now();
            let line = progress_line(&connection, started.elapsed());
            // The line is replaced by the next one. If it cannot be written, nobody reads it.
            let _ = write!(io::stderr(), "\r{line}");
        }
        if let Some(error) = connection.recorder.as_mut().and_then(Recorder::failure) {
            break Err(error);
        }
        connection.rotate_recording();
        if connection.viewer.has_catalogue() && connection.viewer.catalogue_revision() != revision {
            revision = connection.viewer.catalogue_revision();
            subscribe(&mut connection, &record.apps);
        }
    };
    if shows_progress {
        let _ = writeln!(io::stderr());
    }
    let bytes = connection.recorder.as_ref().map_or(0, Recorder::bytes);
    let file = record.output.display();
    if let Err(error) = outcome {
        anyhow::bail!("{error}; the recording ends here: {file} has everything before ({})", size(bytes));
    }
    if connection.viewer.topics().next().is_none() {
        return Ok(Outcome::NoData(format!("{file} has no data, because no application was there")));
    }
    console::line(format_args!("joey: {file}: {}", size(bytes)));
    Ok(Outcome::Done)
}

/// Subscribes to the applications to record as they appear.
fn subscribe(connection: &mut Connection, apps: &[String]) {
    let wanted = connection.viewer.catalogue().keys().filter(|app| apps.is_empty() || apps.contains(app));
    let wanted: Vec<String> = wanted.cloned().collect();
    for app in wanted {
        let topic = Topic { app, filter: Filter::All };
        connection.viewer.subscribe(topic, Start::Recent { span_ns: SECONDS_MAX * SLOT_NS });
    }
}

fn progress_line(connection: &Connection, elapsed: Duration) -> String {
    let bytes = connection.recorder.as_ref().map_or(0, Recorder::bytes);
    let apps = connection.viewer.topics().count();
    let state = if connection.is_connected() { "" } else { ", waiting for the relay" };
    let noun = if apps == 1 { "application" } else { "applications" };
    format!("recording {apps} {noun}: {}, {}{state}   ", format::age(elapsed.as_secs()), size(bytes))
}

/// A size in megabytes: `12.3 MB`.
fn size(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
