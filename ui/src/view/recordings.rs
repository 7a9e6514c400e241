//! Opening, saving and closing recordings: the state of the page, and the files that are chosen or dropped on it.

use joey_shared::recording::{Detail, Playback};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DragEvent, Event, File, HtmlInputElement, KeyboardEvent};

use super::UiState;
use super::compression::decompress;
use super::shortcuts::listen_to;
use crate::browser;
use crate::export::file_part;
use crate::route::Page;
use crate::share_link;
use crate::time_format::UtcOffset;

/// Longest recording that the page opens, in bytes. A page has little more memory than a few times this; the command line reads
/// longer files.
const FILE_BYTES_MAX: f64 = 512.0 * 1024.0 * 1024.0;

/// What a link with sums lacks.
const SUM_CAVEAT: &str = "\
    This link has the rates of each second and the sum of the latencies, but not how the latencies changed. The heatmap shows \
    them all in the last second.";

/// The recording that is shown, and what went wrong with another. Copies share the state.
#[derive(Clone, Copy, Debug)]
pub struct Recordings {
    /// The recording that is shown.
    pub opened: RwSignal<Option<OpenedRecording>>,
    /// Why a file could not be opened; empty if none failed.
    pub problem: RwSignal<String>,
    /// The data in the address, while it is shown.
    link: StoredValue<Option<String>>,
    /// Increases whenever a recording is opened or closed. The views then have other positions in their store.
    pub generation: RwSignal<u32>,
    /// Whether the page has still to find out if the recording has its application.
    is_new: RwSignal<bool>,
}

/// What is known about an open recording.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedRecording {
    /// The name of the file, or what it is instead.
    pub name: String,
    /// The times of the first and the last record, in ns since the Unix epoch.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
    /// What it lacks, in words; empty if nothing.
    pub caveat: &'static str,
    /// Length of its torn or damaged end, in bytes.
    pub unread_bytes: usize,
}

impl OpenedRecording {
    fn new(name: String, playback: &Playback) -> Self {
        let (first_ns, last_ns) = playback.span_ns();
        Self { name, first_ns, last_ns, caveat: "", unread_bytes: playback.unread_bytes() }
    }
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            opened: RwSignal::new(None),
            problem: RwSignal::new(String::new()),
            link: StoredValue::new(None),
            generation: RwSignal::new(0),
            is_new: RwSignal::new(false),
        }
    }
}

impl UiState {
    /// Shows a recording. If it cannot be read, says why and changes nothing else. Returns whether it is shown.
    pub fn open_recording(self, name: String, file: Vec<u8>) -> bool {
        self.resume();
        let opened = {
            let mut model = self.model.write_value();
            model
                .open_recording(file)
                .map(|()| model.recording().map(|playback| OpenedRecording::new(name.clone(), playback)))
        };
        match opened {
            Ok(opened) => {
                self.recordings.problem.set(String::new());
                self.recordings.link.set_value(None);
                self.recordings.is_new.set(true);
                self.recordings.opened.set(opened);
                self.recordings.generation.update(|generation| *generation += 1);
            }
            Err(error) => self.recordings.problem.set(format!("{name}: {error}")),
        }
        self.frame_loop.tick_now();
        self.recordings.problem.read_untracked().is_empty()
    }

    /// Shows the data of a link, unless it is shown already. The address keeps it, so that it can be copied and reloaded.
    pub fn open_link(self, data: &str) {
        if self.recordings.link.with_value(|link| link.as_deref() == Some(data)) {
            return;
        }
        self.recordings.link.set_value(Some(data.to_owned()));
        let data = data.to_owned();
        spawn_local(async move {
            let name = "Data of a link".to_owned();
            let opened = match share_link::decode(&data) {
                Some((detail, compressed)) => {
                    decompress(&compressed, share_link::RECORDING_MAX).await.map(|file| (detail, file))
                }
                None => None,
            };
            match opened {
                Some((detail, file)) => {
                    if self.open_recording(name, file) {
                        self.recordings.link.set_value(Some(data));
                        if detail == Detail::Sum {
                            self.recordings.opened.update(|opened| {
                                opened.iter_mut().for_each(|opened| opened.caveat = SUM_CAVEAT);
                            });
                        }
                    }
                }
                None => {
                    let text = format!("{name}: it is incomplete or damaged. Programs that shorten links do that.");
                    self.recordings.problem.set(text);
                    self.recordings.link.set_value(None);
                }
            }
            self.write_address();
        });
    }

    /// The data that the address carries.
    pub(super) fn link_data(self) -> Option<String> {
        self.recordings.link.get_value()
    }

    /// Shows live data again.
    pub fn close_recording(self) {
        self.resume();
        self.model.write_value().close_recording();
        self.recordings.opened.set(None);
        self.recordings.link.set_value(None);
        self.write_address();
        self.recordings.generation.update(|generation| *generation += 1);
        self.frame_loop.tick_now();
    }

    /// Moves the open recording to `target_ns`, in ns since the Unix epoch.
    pub fn seek_recording(self, target_ns: u64) {
        self.model.write_value().seek_recording(target_ns);
        self.frame_loop.tick_now();
    }

    /// Plays the open recording this many times faster than live, or holds it.
    pub fn play_recording(self, speed: Option<f64>) {
        self.model.write_value().play_recording(speed, browser::now_ns());
        self.frame_loop.tick_now();
    }

    /// Starts to record.
    pub fn start_recording(self) {
        self.model.write_value().start_recording(browser::now_ns());
        self.connections.send();
        self.frame_loop.tick_now();
    }

    /// Ends the recording and saves it as a file.
    pub fn save_recording(self) {
        let now_ns = browser::now_ns();
        let (name, parts) = {
            let mut model = self.model.write_value();
            let end_ns = model.recording_ns(now_ns).unwrap_or(0);
            let name = recording_name(model.recorded_apps(), end_ns);
            (name, model.stop_recording(now_ns))
        };
        self.connections.send();
        browser::save_bytes(&name, &parts);
        self.frame_loop.tick_now();
    }
}

/// A name for a recording of `apps` that ends at `ns` since the Unix epoch: `joey-Alerts-2026-11-28T10-44-32Z.joey`.
pub(super) fn recording_name(apps: &[String], ns: u64) -> String {
    let apps = match apps {
        [app] => file_part(app),
        _ => "all".to_owned(),
    };
    format!("joey-{apps}-{}.joey", file_part(&UtcOffset::iso(ns)))
}

/// Opens files that are dropped anywhere on the page, and plays or holds the open recording with the space bar.
pub(super) fn listen(ui: UiState) {
    let Some(window) = web_sys::window() else { return };
    for event in ["dragenter", "dragover"] {
        listen_to(&window, event, |event| {
            if has_files(event.unchecked_ref()) {
                // Without this, the browser opens the file itself.
                event.prevent_default();
                set_dropping(true);
            }
        });
    }
    listen_to(&window, "dragleave", |event| {
        // The pointer is over another element, unless it has left the page.
        if event.unchecked_ref::<DragEvent>().related_target().is_none() {
            set_dropping(false);
        }
    });
    listen_to(&window, "drop", move |event| {
        set_dropping(false);
        let event: &DragEvent = event.unchecked_ref();
        if has_files(event) {
            event.prevent_default();
            let file = event.data_transfer().and_then(|data| data.files()?.get(0));
            file.into_iter().for_each(|file| open_file(ui, file));
        }
    });
    listen_to(&window, "keydown", move |event| on_keydown(ui, event.unchecked_ref()));
    listen_to(&window, "beforeunload", move |event| {
        // The browser asks whether to leave, because the recording would be lost.
        if ui.model.try_read_value().is_some_and(|model| model.recording_progress().is_some()) {
            event.prevent_default();
        }
    });
    // The application of the page may not be in the recording.
    Effect::new(move || {
        let model = ui.read_model();
        if !ui.recordings.is_new.get() || model.is_reading_recording() {
            return;
        }
        ui.recordings.is_new.set(false);
        let page = ui.page.get_untracked();
        let is_known = page.app().is_none_or(|app| model.catalogue().contains_key(app));
        drop(model);
        if !is_known {
            browser::navigate(&super::page_address(Page::Landing));
        }
    });
}

fn on_keydown(ui: UiState, event: &KeyboardEvent) {
    let is_free =
        browser::active_element().is_none_or(|focused| matches!(focused.tag_name().as_str(), "BODY" | "MAIN"));
    if event.key() == " " && is_free && ui.recordings.opened.read_untracked().is_some() {
        event.prevent_default();
        toggle_playing(ui);
    }
}

/// Plays the open recording at the chosen speed, or holds it.
pub(super) fn toggle_playing(ui: UiState) {
    let is_playing = ui.model.read_value().recording_speed().is_some();
    ui.play_recording((!is_playing).then(|| ui.recording_speed.get_untracked()));
}

fn has_files(event: &DragEvent) -> bool {
    event.data_transfer().is_some_and(|data| data.types().includes(&"Files".into(), 0))
}

fn set_dropping(is_dropping: bool) {
    if let Some(root) = browser::document().and_then(|document| document.document_element()) {
        let _ = root.toggle_attribute_with_force("data-dropping", is_dropping);
    }
}

/// Opens the file that was chosen in a file input.
pub(super) fn open_chosen(ui: UiState, event: &Event) {
    let Some(input) = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok()) else { return };
    if let Some(file) = input.files().and_then(|files| files.get(0)) {
        open_file(ui, file);
    }
    // The same file can be chosen again.
    input.set_value("");
}

fn open_file(ui: UiState, file: File) {
    let name = file.name();
    if file.size() > FILE_BYTES_MAX {
        let text = format!("{name} is longer than 512 MB. `joey stats --file` reads files of any length.");
        return ui.recordings.problem.set(text);
    }
    spawn_local(async move {
        match JsFuture::from(file.array_buffer()).await {
            Ok(buffer) => {
                ui.open_recording(name, js_sys::Uint8Array::new(&buffer).to_vec());
            }
            Err(_) => ui.recordings.problem.set(format!("{name}: the browser cannot read this file.")),
        }
    });
}
