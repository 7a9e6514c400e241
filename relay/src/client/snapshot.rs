//! The windows of one application at one moment, from a relay or from the end of a recording.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use joey_shared::recording::Playback;
use joey_shared::series::{Filter, Topic};
use joey_shared::store::WINDOW_SECONDS;
use joey_shared::viewer::{Viewer, Viewers};
use joey_shared::window::SLOT_NS;
use joey_shared::wire::Start;

use super::Outcome;
use super::args::Target;
use super::connection::Connection;
use super::output::printable;
use super::unknown_app::no_such_app;
use crate::runtime::console;

/// Maximum time for the history to arrive after the request.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(30);

/// Viewers that have received the windows of an application.
pub(super) struct Snapshot {
    pub(super) viewers: Viewers,
    /// The local time of the viewers.
    pub(super) now_ns: u64,
    pub(super) app: String,
}

/// Reads the end of a recording, with windows of `seconds`. The application can be left out if there is only one. The inner error
/// is that there is no such application.
///
/// # Errors
/// Fails if the file cannot be read or is not a recording.
pub(super) fn of_file(file: &Path, app: Option<&str>, seconds: u64) -> anyhow::Result<Result<Snapshot, Outcome>> {
    let mut playback = open(file, seconds)?;
    playback.advance_to_end();
    let now_ns = playback.position_ns();
    let viewers = playback.into_viewers();
    let apps: Vec<&String> = viewers.catalogue().keys().filter(|app| viewers.app(app).is_some()).collect();
    let app = match (app, apps.as_slice()) {
        (Some(app), _) => app.to_owned(),
        (None, [app]) => (*app).clone(),
        (None, apps) => {
            let names: Vec<_> = apps.iter().map(|app| printable(app)).collect();
            return Ok(Err(Outcome::NoData(format!("name one of its applications: {}", names.join(", ")))));
        }
    };
    Ok(Ok(Snapshot { viewers, now_ns, app }))
}

/// Requests the last `seconds` of an application from a relay. The inner error is that there is no such application.
///
/// # Errors
/// Fails if no relay is reachable and the client must not wait, or if the history does not arrive.
pub(super) async fn of_relay(target: &Target, app: &str, seconds: u64) -> anyhow::Result<Result<Snapshot, Outcome>> {
    let mut connection = Connection::new(target, Viewer::new(seconds));
    while !connection.viewer.has_catalogue() {
        connection.step(|_| {}).await?;
    }
    let unknown = |viewer: &Viewer| no_such_app(app, "this relay", viewer.catalogue().keys());
    if !connection.viewer.catalogue().contains_key(app) {
        return Ok(Err(unknown(&connection.viewer)));
    }
    let topic = Topic { app: app.to_owned(), filter: Filter::All };
    connection.viewer.subscribe(topic, Start::Recent { span_ns: seconds.max(WINDOW_SECONDS) * SLOT_NS });
    within_history_timeout(receive_history(&mut connection)).await?;
    if connection.viewer.is_waiting() {
        return Ok(Err(unknown(&connection.viewer)));
    }
    let now_ns = connection.now_ns();
    Ok(Ok(Snapshot { viewers: connection.viewer.into(), now_ns, app: app.to_owned() }))
}

/// Receives the history of all subscriptions. Ends early if the relay does not have an application.
///
/// # Errors
/// As for [`Connection::step`].
pub(super) async fn receive_history(connection: &mut Connection) -> anyhow::Result<()> {
    while connection.viewer.topics().next().is_some() && !connection.viewer.is_caught_up() {
        connection.step(|_| {}).await?;
        if connection.viewer.is_waiting() {
            break;
        }
    }
    Ok(())
}

/// Waits for `received`, as long as a history may take.
///
/// # Errors
/// Those of `received`, or that it took too long.
pub(super) async fn within_history_timeout(received: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let timeout = tokio::time::timeout(HISTORY_TIMEOUT, received);
    timeout.await.map_err(|_| anyhow::anyhow!("the relay does not send its history"))?
}

/// Opens a recording, with windows of `seconds`. Tells what is missing at its end.
///
/// # Errors
/// Fails if the file cannot be read or is not a recording.
pub(super) fn open(file: &Path, seconds: u64) -> anyhow::Result<Playback> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let playback = Playback::open(bytes, seconds).with_context(|| format!("cannot read {}", file.display()))?;
    let unread = playback.unread_bytes();
    if unread > 0 {
        console::line(format_args!("joey: the last {unread} bytes of {} are incomplete or damaged", file.display()));
    }
    Ok(playback)
}
