//! What the model records, and the recording that it shows instead of live data.
//!
//! A recording begins with what the tab already has: the state of its viewer, at most an hour. While a recording is open,
//! the relays still send data.
//!
//! A recording is the log of one relay's messages. It can be started while the page has one relay.

use joey_shared::recording::{Detail, Entry, Playback, Record, RecordingError, excerpt, header};
use joey_shared::series::{Filter, Topic};
use joey_shared::store::{AppStore, AppStores};
use joey_shared::view::ViewKey;
use joey_shared::viewer::Viewers;
use joey_shared::window::SECONDS_MAX;
use joey_shared::wire::{AppEntry, WireError};
use std::collections::BTreeMap;

use super::subscriptions::SUBSCRIBED_APPS_MAX;
use super::{Model, catalogue_state};

/// Maximum size of a recording in the tab, in bytes. It is held in memory until it is saved. At 1,000 series a second this is
/// about an hour. When it is reached, the recording ends.
pub const RECORDING_BYTES_MAX: usize = 128 << 20;
/// Maximum size of the state at the beginning, in bytes. If an hour is longer, only the window that is shown is written.
const STATE_BYTES_MAX: usize = 64 << 20;
/// Size of a part of a recording, in bytes. A single buffer would be copied each time it grows.
const PART_BYTES: usize = 1 << 20;
/// How much of a file is read before the page draws the next frame, in bytes: about 10 ms of work.
const READ_BYTES: usize = 256 << 10;

/// A recording in progress.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The id of the relay.
    relay: u32,
    /// The applications to record, with all their series.
    apps: Vec<String>,
    parts: Vec<Vec<u8>>,
    bytes: usize,
    started_ns: u64,
    /// The time of the last record, in ns since the Unix epoch.
    last_ns: u64,
    is_full: bool,
}

/// The state of the recording in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingProgress {
    /// Size in bytes.
    pub bytes: usize,
    /// When it began, in local ns.
    pub started_ns: u64,
    /// Whether it has reached its limit and ended.
    pub is_full: bool,
}

impl Recorder {
    /// The topics that stay subscribed until the recording ends.
    pub(super) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.apps.iter().map(|app| Topic { app: app.clone(), filter: Filter::All })
    }

    fn write(&mut self, time_ns: u64, entry: Entry<'_>) {
        if self.is_full {
            return;
        }
        if self.parts.last().is_none_or(|part| part.len() >= PART_BYTES) {
            self.parts.push(Vec::new());
        }
        if let Some(part) = self.parts.last_mut() {
            let before = part.len();
            Record { time_ns, entry }.write(part);
            self.bytes += part.len() - before;
        }
        self.last_ns = time_ns;
        self.is_full = self.bytes >= RECORDING_BYTES_MAX;
    }
}

/// An open recording.
#[derive(Debug)]
pub(super) struct Opened {
    playback: Playback,
    /// Where to go, in ns since the Unix epoch.
    target_ns: u64,
    is_reading: bool,
    /// How many times faster than live it plays; `None` while it stands still.
    speed: Option<f64>,
    /// When it was last moved forward, in local ns.
    moved_ns: u64,
}

impl Opened {
    pub(super) const fn playback(&self) -> &Playback {
        &self.playback
    }

    pub(super) const fn playback_mut(&mut self) -> &mut Playback {
        &mut self.playback
    }
}

/// The stores that are shown.
pub(super) const fn shown<'a>(opened: &'a mut Option<Opened>, live: &'a mut Viewers) -> &'a mut AppStores {
    match opened {
        Some(opened) => opened.playback.viewer_mut().stores_mut(),
        None => live.stores_mut(),
    }
}

impl Model {
    /// The stores that are shown: of the open recording, or else the live ones.
    pub(super) fn shown_stores(&self) -> &AppStores {
        self.opened.as_ref().map_or_else(|| self.viewers.stores(), |opened| opened.playback.viewer().stores())
    }

    /// The applications of the open recording, or else of all relays.
    pub(super) fn shown_catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.opened.as_ref().map_or_else(|| self.live_catalogue(), |opened| opened.playback.viewer().catalogue())
    }

    /// The time of relay `id` at local time `now_ns`, in ns since the Unix epoch; 0 before its hello.
    fn time_of(&self, id: u32, now_ns: u64) -> u64 {
        self.viewers.relay(id).and_then(|relay| relay.relay_ns(now_ns)).unwrap_or(0)
    }

    /// Merges a message of relay `id` that arrived at local time `now_ns`.
    ///
    /// # Errors
    /// Fails if it is malformed. The relay counts that.
    pub fn receive(&mut self, id: u32, bytes: &[u8], now_ns: u64) -> Result<(), WireError> {
        let before = self.viewers.relay(id).map_or((0, 0), catalogue_state);
        let outcome = self.viewers.receive(id, bytes, now_ns, |_| {});
        let time_ns = self.time_of(id, now_ns);
        if let Some(recorder) = self.recorder.as_mut().filter(|recorder| recorder.relay == id) {
            recorder.write(time_ns, Entry::Message(bytes));
        }
        let after = self.viewers.relay(id).map_or((0, 0), catalogue_state);
        if after.0 != before.0 {
            self.merge_catalogues();
        }
        if after.1 != before.1 {
            self.update_subscriptions(now_ns);
        }
        outcome
    }

    /// The commands to send to relay `id` at local time `now_ns`.
    pub fn outgoing(&mut self, id: u32, now_ns: u64) -> Vec<Vec<u8>> {
        let time_ns = self.time_of(id, now_ns);
        let commands = self.relay_mut(id).map(|relay| relay.outgoing()).unwrap_or_default();
        if let Some(recorder) = self.recorder.as_mut().filter(|recorder| recorder.relay == id) {
            // The format itself leaves out tokens.
            commands.iter().for_each(|command| recorder.write(time_ns, Entry::Command(command)));
        }
        commands
    }

    /// Removes the windows of an application and requests it again.
    pub(super) fn forget(&mut self, app: &str) {
        if let Some(recorder) = &mut self.recorder {
            recorder.write(recorder.last_ns, Entry::Forget(app));
        }
        self.viewers.forget(app);
    }

    /// Whether a recording can be started: the page has exactly one relay, which has answered.
    #[must_use]
    pub fn can_record(&self) -> bool {
        self.viewers.relays().count() == 1 && self.viewers.relays().all(|relay| relay.relay().is_some())
    }

    /// Starts to record the application of the page, or on the landing page all applications, at local time `now_ns`.
    /// Does nothing if the page [cannot record](Self::can_record).
    pub fn start_recording(&mut self, now_ns: u64) {
        let Some(relay) = self.viewers.relays().next().map(|relay| relay.id()).filter(|_| self.can_record()) else {
            return;
        };
        let of_page = self.page.app().map(|app| vec![app.to_owned()]);
        let all = || self.live_catalogue().keys().take(SUBSCRIBED_APPS_MAX).cloned().collect();
        let mut state = header().to_vec();
        self.viewers.write_state(relay, now_ns, SECONDS_MAX, &mut state);
        if state.len() > STATE_BYTES_MAX {
            state = header().to_vec();
            self.viewers.write_state(relay, now_ns, self.viewers.seconds(), &mut state);
        }
        self.recorder = Some(Recorder {
            relay,
            apps: of_page.unwrap_or_else(all),
            bytes: state.len(),
            is_full: state.len() >= RECORDING_BYTES_MAX,
            parts: vec![state],
            started_ns: now_ns,
            last_ns: self.time_of(relay, now_ns),
        });
        self.update_subscriptions(now_ns);
    }

    /// The recording in progress.
    #[must_use]
    pub fn recording_progress(&self) -> Option<RecordingProgress> {
        let recorder = self.recorder.as_ref()?;
        let Recorder { bytes, started_ns, is_full, .. } = *recorder;
        Some(RecordingProgress { bytes, started_ns, is_full })
    }

    /// The applications that are recorded.
    #[must_use]
    pub fn recorded_apps(&self) -> &[String] {
        self.recorder.as_ref().map_or(&[], |recorder| &recorder.apps)
    }

    /// Ends the recording at local time `now_ns` and returns the parts of the file.
    pub fn stop_recording(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        let parts = self.recorder.take().map(|recorder| recorder.parts).unwrap_or_default();
        self.update_subscriptions(now_ns);
        parts
    }

    /// Shows a recording, at its end, until [`close_recording`](Self::close_recording). It is read in parts by
    /// [`advance_recording`](Self::advance_recording).
    ///
    /// # Errors
    /// Fails if the bytes are no recording. Nothing is changed then.
    pub fn open_recording(&mut self, file: Vec<u8>) -> Result<(), RecordingError> {
        let playback = Playback::open(file, self.viewers.seconds())?;
        let target_ns = playback.span_ns().1;
        self.resume();
        self.opened = Some(Opened { playback, target_ns, is_reading: true, speed: None, moved_ns: 0 });
        Ok(())
    }

    /// Shows live data again.
    pub fn close_recording(&mut self) {
        self.resume();
        self.opened = None;
    }

    /// A recording of the window that is shown of those views of `app` that `keep` selects, at local time `now_ns`.
    #[must_use]
    pub fn excerpt(&self, app: &str, now_ns: u64, detail: Detail, keep: impl Fn(&ViewKey) -> bool) -> Option<Vec<u8>> {
        let (entry, store) = (self.catalogue().get(app)?, self.app(app)?);
        // A range of time is shown as it was.
        let now_ns = if self.range().is_some() { store.clock_ns() } else { self.relay_ns(now_ns)? };
        Some(excerpt(entry, store, now_ns, detail, keep))
    }

    /// The open recording.
    #[must_use]
    pub fn recording(&self) -> Option<&Playback> {
        self.opened.as_ref().map(|opened| &opened.playback)
    }

    /// The applications of the open recording at its position, as stores.
    pub fn recording_apps(&self) -> impl Iterator<Item = (&str, &AppStore)> {
        let viewer = self.recording().map(Playback::viewer);
        viewer
            .into_iter()
            .flat_map(|viewer| viewer.catalogue().keys().filter_map(|app| Some((app.as_str(), viewer.app(app)?))))
    }

    /// Whether a part of the file has still to be read until the recording is where it should be.
    #[must_use]
    pub fn is_reading_recording(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.is_reading)
    }

    /// Moves the open recording to `target_ns`, in ns since the Unix epoch.
    pub fn seek_recording(&mut self, target_ns: u64) {
        if let Some(opened) = &mut self.opened {
            let (first_ns, last_ns) = opened.playback.span_ns();
            opened.target_ns = target_ns.clamp(first_ns, last_ns);
            opened.is_reading = true;
            self.forget_statistics();
        }
    }

    /// Plays the open recording this many times faster than live from local time `now_ns` on, or holds it. At its end, it
    /// starts from the beginning.
    pub fn play_recording(&mut self, speed: Option<f64>, now_ns: u64) {
        if let Some(opened) = &mut self.opened {
            (opened.speed, opened.moved_ns) = (speed, now_ns);
            let (first_ns, last_ns) = opened.playback.span_ns();
            if speed.is_some() && opened.target_ns >= last_ns {
                self.seek_recording(first_ns);
            }
        }
    }

    /// Where the open recording is, or where it is moving to, in ns since the Unix epoch.
    #[must_use]
    pub fn recording_position_ns(&self) -> Option<u64> {
        self.opened.as_ref().map(|opened| opened.target_ns)
    }

    /// The speed at which the open recording plays; `None` while it stands still.
    #[must_use]
    pub fn recording_speed(&self) -> Option<f64> {
        self.opened.as_ref().and_then(|opened| opened.speed)
    }

    /// Reads the next part of the open recording at local time `now_ns`, if it plays or moves.
    pub fn advance_recording(&mut self, now_ns: u64) {
        let Some(opened) = &mut self.opened else { return };
        if let Some(speed) = opened.speed.filter(|_| !opened.is_reading) {
            let played_ns = now_ns.saturating_sub(opened.moved_ns) as f64 * speed;
            let (_, last_ns) = opened.playback.span_ns();
            opened.target_ns = opened.target_ns.saturating_add(played_ns as u64).min(last_ns);
            opened.is_reading = true;
            if opened.target_ns == last_ns {
                opened.speed = None;
            }
        }
        opened.moved_ns = now_ns;
        if opened.is_reading {
            opened.is_reading = !opened.playback.advance_to(opened.target_ns, READ_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use joey_shared::window::SLOT_NS as S;

    fn count(model: &mut Model) -> Option<u128> {
        let store = model.app_mut("app")?;
        let at = store.find(&ViewKey::computation("n"))?;
        Some(store.histogram(at).count())
    }

    fn file(model: &mut Model) -> Vec<u8> {
        model.stop_recording(0).concat()
    }

    #[test]
    fn a_recording_shows_what_the_tab_had_and_received() {
        let mut model = testing::live_model(3);
        model.start_recording(0);
        testing::receive_second(&mut model, 4);
        let expected = count(&mut model);
        let file = file(&mut model);
        testing::receive_second(&mut model, 5);
        assert_ne!(count(&mut model), expected);

        model.open_recording(file).expect("it is a recording");
        while model.is_reading_recording() {
            model.advance_recording(0);
        }
        assert_eq!(count(&mut model), expected);
        assert_eq!(model.recording_apps().map(|(app, _)| app).collect::<Vec<_>>(), ["app"]);
        model.close_recording();
        assert_ne!(count(&mut model), expected);
    }

    #[test]
    fn a_recording_plays_at_its_speed_and_stops_at_its_end() {
        let mut model = testing::live_model(1);
        model.start_recording(0);
        (2..=60).for_each(|second| testing::receive_second(&mut model, second));
        let file = file(&mut model);
        model.open_recording(file).expect("it is a recording");
        let advance = |model: &mut Model, now_ns| {
            model.advance_recording(now_ns);
            while model.is_reading_recording() {
                model.advance_recording(now_ns);
            }
        };
        advance(&mut model, 0);
        let (first_ns, last_ns) = model.recording().expect("it is open").span_ns();
        model.play_recording(Some(10.0), 0);
        advance(&mut model, 0);
        let before = model.recording().expect("it is open").position_ns();
        assert_eq!(before, first_ns);
        advance(&mut model, 2 * S);
        assert_eq!(model.recording().expect("it is open").position_ns(), first_ns + 20 * S);
        advance(&mut model, 200 * S);
        assert_eq!(model.recording().expect("it is open").position_ns(), last_ns);
        assert_eq!(model.recording_speed(), None);
    }

    #[test]
    fn what_is_recorded_stays_subscribed_on_other_pages() {
        let mut model = testing::live_model(1);
        model.start_recording(0);
        model.show(&crate::route::Page::Unknown(String::new()), 0);
        assert_eq!(model.relays().flat_map(|relay| relay.topics()).count(), 1);
        model.stop_recording(0);
        assert_eq!(model.relays().flat_map(|relay| relay.topics()).count(), 0);
    }

    #[test]
    fn a_bad_file_changes_nothing() {
        let mut model = testing::live_model(2);
        let before = count(&mut model);
        assert_eq!(model.open_recording(b"something else".to_vec()), Err(RecordingError::NotARecording));
        assert!(model.recording().is_none());
        assert_eq!(count(&mut model), before);
    }
}
