//! What the model records, and the recording that it shows instead of live data.
//!
//! A recording begins with what the tab already has: the state of its viewer, at most an hour. While a recording is open,
//! the relays still send data.
//!
//! A recording is the log of the messages of all relays. Relays that are added or removed while it goes on are in it too.

use joey_shared::recording::{Detail, Entry, Playback, Record, RecordingError, excerpt, header, header_of_several};
use joey_shared::series::{Filter, Topic};
use joey_shared::store::{AppStore, AppStores};
use joey_shared::view::ViewKey;
use joey_shared::viewer::{Subscriber, Viewers};
use joey_shared::window::SECONDS_MAX;
use joey_shared::wire::{AppEntry, WireError};
use std::collections::BTreeMap;

use super::Model;
use super::subscriptions::SUBSCRIBED_APPS_MAX;

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
    /// The ids of the relays by their numbers in the file; `None` for a number that is free again.
    relays: Vec<Option<u32>>,
    /// The number that the file has named last; `None` if the next entry has to.
    current: Option<u32>,
    /// The relay whose clock is that of the file.
    clock_relay: u32,
    /// The time of the file, in ns since the Unix epoch, and the local time of the same instant, in ns. It goes on
    /// without its relay.
    clock: (u64, u64),
    /// The applications to record, with all their series.
    apps: Vec<String>,
    parts: Vec<Vec<u8>>,
    bytes: usize,
    started_ns: u64,
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

    /// The number of relay `id` in the file.
    fn number(&mut self, id: u32) -> u32 {
        let known = self.relays.iter().position(|known| *known == Some(id));
        let number = known.or_else(|| self.relays.iter().position(Option::is_none)).unwrap_or(self.relays.len());
        match self.relays.get_mut(number) {
            Some(slot) => *slot = Some(id),
            None => self.relays.push(Some(id)),
        }
        // A page has a few relays.
        number as u32
    }

    /// Writes an entry of relay `id` at local time `now_ns`.
    fn write_of(&mut self, id: u32, now_ns: u64, entry: Entry<'_>) {
        let number = self.number(id);
        if self.current != Some(number) {
            self.current = Some(number);
            self.write(now_ns, Entry::Relay(number));
        }
        self.write(now_ns, entry);
    }

    /// The time of the file at local time `now_ns`, in ns since the Unix epoch.
    const fn time_ns(&self, now_ns: u64) -> u64 {
        let (clock_ns, local_ns) = self.clock;
        clock_ns.saturating_add(now_ns.saturating_sub(local_ns))
    }

    /// Writes an entry at local time `now_ns`.
    fn write(&mut self, now_ns: u64, entry: Entry<'_>) {
        if self.is_full {
            return;
        }
        let time_ns = self.time_ns(now_ns);
        if matches!(entry, Entry::Relay(_) | Entry::Removed(_))
            && let Some(start) = self.parts.first_mut().and_then(|part| part.first_chunk_mut())
        {
            *start = header_of_several();
        }
        if self.parts.last().is_none_or(|part| part.len() >= PART_BYTES) {
            self.parts.push(Vec::new());
        }
        if let Some(part) = self.parts.last_mut() {
            let before = part.len();
            Record { time_ns, entry }.write(part);
            self.bytes += part.len() - before;
        }
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
        Some(opened) => opened.playback.viewers_mut().stores_mut(),
        None => live.stores_mut(),
    }
}

impl Model {
    /// The stores that are shown: of the open recording, or else the live ones.
    pub(super) fn shown_stores(&self) -> &AppStores {
        self.opened.as_ref().map_or_else(|| self.viewers.stores(), |opened| opened.playback.viewers().stores())
    }

    /// The applications of the open recording, or else of all relays.
    pub(super) fn shown_catalogue(&self) -> &BTreeMap<String, AppEntry> {
        self.opened.as_ref().map_or_else(|| self.live_catalogue(), |opened| opened.playback.viewers().catalogue())
    }

    /// The recording in progress, with its clock at local time `now_ns`.
    fn recorder(&mut self, now_ns: u64) -> Option<&mut Recorder> {
        let recorder = self.recorder.as_mut()?;
        let relay = self.viewers.relay(recorder.clock_relay);
        if let Some(relay_ns) = relay.and_then(|relay| relay.relay_ns(now_ns)) {
            recorder.clock = (relay_ns, now_ns);
        }
        Some(recorder)
    }

    /// Records that relay `id` was removed at local time `now_ns`.
    pub(super) fn record_removal(&mut self, id: u32, now_ns: u64) {
        if let Some(recorder) = self.recorder(now_ns)
            && let Some(number) = recorder.relays.iter().position(|known| *known == Some(id))
        {
            recorder.write(now_ns, Entry::Removed(number as u32));
            recorder.relays[number] = None;
            recorder.current = None;
        }
    }

    /// Merges a message of relay `id` that arrived at local time `now_ns`.
    ///
    /// # Errors
    /// Fails if it is malformed. The relay counts that.
    pub fn receive(&mut self, id: u32, bytes: &[u8], now_ns: u64) -> Result<(), WireError> {
        let state = |relay: &Subscriber| (relay.catalogue().len(), relay.catalogue_revision());
        let before = self.viewers.relay(id).map_or((0, 0), state);
        let outcome = self.viewers.receive(id, bytes, now_ns, |_| {});
        if let Some(recorder) = self.recorder(now_ns) {
            recorder.write_of(id, now_ns, Entry::Message(bytes));
        }
        let after = self.viewers.relay(id).map_or((0, 0), state);
        if after.0 != before.0 || (after != before && self.depends_on_series_counts()) {
            self.update_subscriptions(now_ns);
        }
        outcome
    }

    /// The commands to send to relay `id` at local time `now_ns`.
    pub fn outgoing(&mut self, id: u32, now_ns: u64) -> Vec<Vec<u8>> {
        let commands = self.relay_mut(id).map(|relay| relay.outgoing()).unwrap_or_default();
        if let Some(recorder) = self.recorder(now_ns) {
            // The format itself leaves out tokens.
            commands.iter().for_each(|command| recorder.write_of(id, now_ns, Entry::Command(command)));
        }
        commands
    }

    /// Removes the windows of an application and requests it again, at local time `now_ns`.
    pub(super) fn forget(&mut self, app: &str, now_ns: u64) {
        if let Some(recorder) = self.recorder(now_ns) {
            recorder.write(now_ns, Entry::Forget(app));
        }
        self.viewers.forget(app);
    }

    /// Whether a recording can be started: a relay has answered.
    #[must_use]
    pub fn can_record(&self) -> bool {
        self.viewers.relays().any(|relay| relay.relay().is_some())
    }

    /// Starts to record the application of the page, or on the landing page all applications, at local time `now_ns`.
    /// Does nothing if the page [cannot record](Self::can_record).
    pub fn start_recording(&mut self, now_ns: u64) {
        // The clock of the file is that of the first relay that has answered.
        let mut relays: Vec<&Subscriber> = self.viewers.relays().collect();
        relays.sort_by_key(|relay| relay.relay().is_none());
        let first = relays.first().and_then(|relay| Some((relay.id(), relay.relay_ns(now_ns)?)));
        let Some((clock_relay, clock_ns)) = first else { return };
        let ids: Vec<u32> = relays.iter().map(|relay| relay.id()).collect();
        let header = || if ids.len() > 1 { header_of_several() } else { header() }.to_vec();
        let of_page = self.page.app().map(|app| vec![app.to_owned()]);
        let all = || self.live_catalogue().keys().take(SUBSCRIBED_APPS_MAX).cloned().collect();
        let mut state = header();
        self.viewers.write_state(&ids, now_ns, SECONDS_MAX, &mut state);
        if state.len() > STATE_BYTES_MAX {
            state = header();
            self.viewers.write_state(&ids, now_ns, self.viewers.seconds(), &mut state);
        }
        self.recorder = Some(Recorder {
            current: (ids.len() == 1).then_some(0),
            relays: ids.into_iter().map(Some).collect(),
            clock_relay,
            clock: (clock_ns, now_ns),
            apps: of_page.unwrap_or_else(all),
            bytes: state.len(),
            is_full: state.len() >= RECORDING_BYTES_MAX,
            parts: vec![state],
            started_ns: now_ns,
        });
        self.update_subscriptions(now_ns);
    }

    /// The time of the recording in progress at local time `now_ns`, in ns since the Unix epoch.
    pub fn recording_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.recorder(now_ns).map(|recorder| recorder.time_ns(now_ns))
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
        if let Some(recorder) = self.recorder(now_ns) {
            recorder.write(now_ns, Entry::End);
        }
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
        let viewers = self.recording().map(Playback::viewers);
        viewers
            .into_iter()
            .flat_map(|viewers| viewers.catalogue().keys().filter_map(|app| Some((app.as_str(), viewers.app(app)?))))
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
    fn a_recording_has_all_relays_also_those_that_come_and_go() {
        let mut model = testing::live_model(3);
        testing::connect(&mut model, 2, 2);
        testing::receive_second_of(&mut model, 2, 1);
        model.start_recording(0);
        testing::receive_second(&mut model, 4);
        testing::receive_second_of(&mut model, 2, 2);
        let of_two = (count(&mut model), model.catalogue().clone());
        testing::connect(&mut model, 3, 3);
        testing::receive_second_of(&mut model, 3, 1);
        let of_three = count(&mut model);
        // The others would send theirs again, and a new relay gets the free number.
        model.remove_relay(2, 0);
        testing::connect(&mut model, 4, 4);
        (1..=9).for_each(|second| testing::receive_second_of(&mut model, 4, second));
        let last = count(&mut model);
        let file = file(&mut model);
        let numbers: Vec<u32> = joey_shared::recording::Reader::new(&file)
            .expect("it is a recording")
            .filter_map(|record| if let Entry::Relay(number) = record.entry { Some(number) } else { None })
            .collect();
        assert_eq!(numbers.iter().max(), Some(&2));
        assert_eq!(file[..12], header_of_several());

        model.open_recording(file).expect("it is a recording");
        while model.is_reading_recording() {
            model.advance_recording(0);
        }
        assert_eq!(count(&mut model), last);
        assert_eq!((of_two.0, of_three, last), (Some(12), Some(14), Some(18)));
        assert_eq!(model.catalogue(), &of_two.1);
    }

    #[test]
    fn a_recording_ends_when_it_was_stopped_and_its_newest_period_is_complete_then() {
        for (stopped_ns, is_complete) in [(0, false), (100 * S, true)] {
            let mut model = testing::live_model(3);
            model.start_recording(0);
            let file = model.stop_recording(stopped_ns).concat();
            model.open_recording(file).expect("it is a recording");
            while model.is_reading_recording() {
                model.advance_recording(0);
            }
            let (first_ns, last_ns) = model.recording().expect("it is open").span_ns();
            assert_eq!(last_ns - first_ns, stopped_ns);
            let store = model.app("app").expect("it is in the recording");
            assert_eq!(store.through_ns() == store.clock_ns(), is_complete, "stopped at {stopped_ns}");
        }
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
