//! The button that records what the page receives, and saves it.

use leptos::prelude::*;

use super::live_text::LiveText;
use super::{UiState, use_ui};
use crate::browser;
use crate::model::RECORDING_BYTES_MAX;

/// Why nothing can be recorded while the page uses several relays.
const SEVERAL_RELAYS: &str = "A recording has one relay: switch the others off in the settings (,)";

impl UiState {
    /// Shows why nothing can be recorded.
    pub(super) fn explain_recording(self) {
        self.confirm(SEVERAL_RELAYS.to_owned());
    }
}

/// The button. While it records, it shows for how long and how much.
#[component]
pub(super) fn RecordButton() -> impl IntoView {
    let ui = use_ui();
    let progress = Memo::new(move |_| {
        let progress = ui.read_model().recording_progress()?;
        let seconds = browser::now_ns().saturating_sub(progress.started_ns) / 1_000_000_000;
        // A tenth of a megabyte is enough.
        Some((seconds, progress.bytes / 100_000, progress.is_full))
    });
    let is_recording = Memo::new(move |_| progress.read().is_some());
    let is_ready = Memo::new(move |_| ui.read_model().can_record());
    let has_several = Memo::new(move |_| ui.connections.relays.read().len() > 1);
    let text = Signal::derive(move || match progress.get() {
        // A recording is the log of one relay's messages.
        None if has_several.get() => "Record: one relay only".to_owned(),
        None => "Record".to_owned(),
        Some((_, tenths, true)) => format!("Full, {}", megabytes(tenths)),
        Some((seconds, tenths, false)) => format!("{}:{:02}, {}", seconds / 60, seconds % 60, megabytes(tenths)),
    });
    let tooltip = move || match progress.get() {
        None if has_several.get() => SEVERAL_RELAYS.to_owned(),
        None => format!(
            "Record what this page receives, and what it already shows of the last hour. Ends at {} MB.",
            RECORDING_BYTES_MAX >> 20
        ),
        Some((.., true)) => "The recording has reached its limit and ended. Save it".to_owned(),
        Some(_) => "Stop recording and save the file".to_owned(),
    };
    let on_click = move |_| {
        if is_recording.get_untracked() {
            ui.save_recording();
        } else if has_several.get_untracked() {
            ui.explain_recording();
        } else {
            ui.start_recording();
        }
    };
    let is_shown = move || is_recording.get() || ui.recordings.opened.read().is_none();
    view! {
        <Show when=is_shown>
            <button
                class="record"
                type="button"
                data-testid="record"
                aria-pressed=move || is_recording.get().to_string()
                // With several relays, it can be pressed and then says why it does nothing.
                disabled=move || !is_ready.get() && !has_several.get()
                aria-disabled=move || (!is_ready.get()).to_string()
                title=tooltip
                on:click=on_click
            >
                <span class="dot" aria-hidden="true"></span>
                <LiveText text/>
            </button>
        </Show>
    }
}

fn megabytes(tenths: usize) -> String {
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
