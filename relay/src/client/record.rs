//! `joey record`: writes what a viewer receives to a file, as the page does.
//!
//! Each message is in the file before the next one is read, so a recorder that is killed leaves a readable file. The relay
//! waits for nobody: if the disk is slow, this viewer falls behind like any other.

mod file;
mod progress;

use std::time::{Duration, Instant};

use joey_shared::recording::Entry;
use joey_shared::series::{Filter, Topic};
use joey_shared::viewer::Viewer;
use joey_shared::window::{SECONDS_MAX, SLOT_NS};
use joey_shared::wire::Start;
use tokio::signal::unix::{SignalKind, signal};

use self::file::RecordingFile;
pub(super) use self::file::{Recorder, create_new};
use self::progress::{Limits, Progress, Recorded};
use super::Outcome;
use super::args::Record;
use super::connection::Connection;
use crate::config::ByteSize;
use crate::runtime::console;

/// Default of `--max-bytes`.
const FILE_BYTES_MAX: u64 = 1_000_000_000;

/// Records until the time is over or a signal arrives.
///
/// # Errors
/// Fails if the file cannot be created or written, or if the connection is lost permanently.
pub(crate) async fn run(record: Record) -> anyhow::Result<Outcome> {
    let mut connection = Connection::new(&record.target, Viewer::default());
    let bytes_max = record.max_bytes.map(|ByteSize(bytes)| bytes);
    let file = RecordingFile::create(&record.output, bytes_max.unwrap_or(FILE_BYTES_MAX))?;
    connection.recorder = Some(Recorder::new(file));
    let progress = Progress::start(Limits { duration: record.duration, bytes_max });
    let outcome = receive(&record, &mut connection, progress.as_ref()).await?;
    let end_ns = connection.viewer.relay_ns(connection.now_ns());
    if let (Some(recorder), Some(end_ns)) = (&mut connection.recorder, end_ns) {
        recorder.write(end_ns, Entry::End);
    }
    if let Some(progress) = progress {
        progress.finish().await;
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

/// Receives until the time is over or a signal arrives. Returns why the recording had to end earlier, if it had.
///
/// # Errors
/// Fails if the connection is lost permanently.
async fn receive(
    record: &Record,
    connection: &mut Connection,
    progress: Option<&Progress>,
) -> anyhow::Result<Result<(), anyhow::Error>> {
    let started = Instant::now();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut revision = 0;
    loop {
        let left = record.duration.map(|duration| duration.saturating_sub(started.elapsed()));
        if left == Some(Duration::ZERO) {
            return Ok(Ok(()));
        }
        let end = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = connection.step(|_| {}) => outcome?,
            () = end => return Ok(Ok(())),
            _ = interrupt.recv() => return Ok(Ok(())),
            _ = terminate.recv() => return Ok(Ok(())),
        }
        if let Some(progress) = progress {
            progress.update(recorded(connection));
        }
        if let Some(error) = connection.recorder.as_mut().and_then(Recorder::failure) {
            return Ok(Err(error));
        }
        connection.rotate_recording();
        if connection.viewer.has_catalogue() && connection.viewer.catalogue_revision() != revision {
            revision = connection.viewer.catalogue_revision();
            subscribe(connection, &record.apps);
        }
    }
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

fn recorded(connection: &Connection) -> Recorded {
    let (bytes, messages) =
        connection.recorder.as_ref().map_or((0, 0), |recorder| (recorder.bytes(), recorder.messages()));
    let apps = connection.viewer.topics().count();
    Recorded { bytes, messages, apps, is_connected: connection.is_connected() }
}

/// A size in megabytes: `12.3 MB`.
fn size(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
