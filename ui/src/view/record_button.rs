//! The button that records what the page receives, and saves it.

use leptos::prelude::*;

use super::live_text::LiveText;
use super::use_ui;
use crate::browser;
use crate::model::RECORDING_BYTES_MAX;

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
    let text = Signal::derive(move || match progress.get() {
        None => "Record".to_owned(),
        Some((_, tenths, true)) => format!("Full, {}", megabytes(tenths)),
        Some((seconds, tenths, false)) => format!("{}:{:02}, {}", seconds / 60, seconds % 60, megabytes(tenths)),
    });
    let tooltip = move || match progress.get() {
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
                disabled=move || !is_ready.get() && !is_recording.get()
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
