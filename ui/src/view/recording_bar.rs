//! The bar of an open recording: what it is, where it is, and how it plays.

use joey_shared::format;
use leptos::ev::Event;
use leptos::prelude::*;

use super::live_text::{LiveText, text_content};
use super::recordings::{OpenedRecording, open_chosen, toggle_playing};
use super::use_ui;
use crate::browser;

/// The speeds that can be chosen.
const SPEEDS: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 60.0];

/// The bar, the field for files behind every “Open a recording”, and what went wrong with a file.
#[component]
pub(super) fn RecordingBar() -> impl IntoView {
    let ui = use_ui();
    let problem = ui.recordings.problem;
    view! {
        <input
            id="open-recording"
            type="file"
            accept=".joey"
            aria-label="Open a recording"
            hidden
            on:change=move |event| open_chosen(ui, &event)
        />
        <div role="alert">
            <Show when=move || !problem.read().is_empty()>
                <p class="note stopped recording-problem" data-testid="recording-problem">
                    <LiveText text=problem/>
                    <button type="button" on:click=move |_| problem.set(String::new())>"Dismiss"</button>
                </p>
            </Show>
        </div>
        {move || ui.recordings.opened.get().map(|opened| view! { <Bar opened/> })}
        <p class="drop-here" aria-hidden="true">"Drop the recording to open it"</p>
    }
}

/// A button that lets the user choose a file.
#[component]
pub(super) fn OpenButton() -> impl IntoView {
    let choose = move |_| browser::query_all("#open-recording").into_iter().for_each(|input| input.click());
    view! { <button type="button" data-testid="open-recording" on:click=choose>"Open a recording"</button> }
}

#[component]
fn Bar(opened: OpenedRecording) -> impl IntoView {
    let ui = use_ui();
    let OpenedRecording { name, first_ns, last_ns, caveat, unread_bytes } = opened;
    let is_moving = last_ns > first_ns;
    let position_ns = Memo::new(move |_| ui.read_model().recording_position_ns().unwrap_or(first_ns));
    let is_playing = Memo::new(move |_| ui.read_model().recording_speed().is_some());
    let summary = Signal::derive(move || {
        let time = |ns| ui.utc_offset(ns).full(ns);
        let length = format::age(last_ns.saturating_sub(first_ns) / 1_000_000_000);
        if is_moving {
            format!("{} to {}, {length}", time(first_ns), ui.utc_offset(last_ns).time(last_ns))
        } else {
            time(first_ns)
        }
    });
    let apps = Signal::derive(move || {
        let model = ui.read_model();
        let names: Vec<&str> = model.catalogue().keys().map(String::as_str).collect();
        names.join(", ")
    });
    let torn = (unread_bytes > 0).then(|| {
        let bytes = format::count(unread_bytes as u128);
        let text = format!("The end of this file is incomplete or damaged: its last {bytes} bytes were left out.");
        view! { <p class="torn" data-testid="torn" use:text_content=text></p> }
    });
    let back = move || if ui.connections.relays.read().is_empty() { "Close" } else { "Back to live" };
    view! {
        <section class="recording" aria-label="Recording" data-testid="recording">
            <p class="what">
                <strong class="ellipsis" dir="auto" translate="no" title=name.clone()>{name.clone()}</strong>
                <LiveText class="ellipsis" text=apps/>
                <LiveText text=summary/>
            </p>
            <Show when=move || is_moving>
                <div class="play">
                    <button
                        type="button"
                        data-testid="play"
                        title="Play or hold (space)"
                        on:click=move |_| toggle_playing(ui)
                    >
                        {move || if is_playing.get() { "Hold" } else { "Play" }}
                    </button>
                    <Slider first_ns last_ns position_ns/>
                    <Speed/>
                </div>
            </Show>
            <Show when=move || !ui.connections.relays.read().is_empty()>
                <button
                    type="button"
                    data-testid="compare-live"
                    title="Keep what the recording shows as the baseline, and go back to live"
                    on:click=move |_| ui.compare_with_recording()
                >
                    "Compare live with it"
                </button>
            </Show>
            <button type="button" data-testid="back-to-live" on:click=move |_| ui.close_recording()>{back}</button>
            {torn}
            {(!caveat.is_empty()).then(|| view! { <p class="torn" data-testid="caveat">{caveat}</p> })}
        </section>
    }
}

/// The position, which can be moved. Its unit is a second.
#[component]
fn Slider(first_ns: u64, last_ns: u64, position_ns: Memo<u64>) -> impl IntoView {
    const SECOND: u64 = 1_000_000_000;
    let ui = use_ui();
    let seconds = last_ns.saturating_sub(first_ns).div_ceil(SECOND);
    let second = move || position_ns.get().saturating_sub(first_ns).div_ceil(SECOND);
    let time = Signal::derive(move || ui.utc_offset(position_ns.get()).time(position_ns.get()));
    let on_input = move |event: Event| {
        if let Ok(second) = event_target_value(&event).parse::<u64>() {
            ui.seek_recording(first_ns.saturating_add(second.saturating_mul(SECOND)));
        }
    };
    view! {
        <input
            type="range"
            data-testid="position"
            aria-label="Position in the recording"
            min="0"
            max=seconds.to_string()
            step="1"
            prop:value=move || second().to_string()
            aria-valuetext=move || time.get()
            on:input=on_input
        />
        <LiveText class="position" text=time/>
    }
}

#[component]
fn Speed() -> impl IntoView {
    let ui = use_ui();
    let on_change = move |event: Event| {
        if let Ok(speed) = event_target_value(&event).parse::<f64>() {
            ui.recording_speed.set(speed);
            if ui.model.read_value().recording_speed().is_some() {
                ui.play_recording(Some(speed));
            }
        }
    };
    let option = move |speed: f64| {
        let is_chosen = move || (ui.recording_speed.get() - speed).abs() < f64::EPSILON;
        view! { <option value=speed.to_string() selected=is_chosen>{format!("{speed}×")}</option> }
    };
    view! {
        <select aria-label="Speed" data-testid="speed" on:change=on_change>{SPEEDS.map(option).into_iter().collect_view()}</select>
    }
}
