//! Which time the page shows while it is paused or a range is selected, and the buttons that change it.

use joey_shared::format;
use joey_shared::window::{SLOT_NS, second_of};
use leptos::prelude::*;

use super::live_text::LiveText;
use super::{UiState, use_ui};
use crate::browser;
use crate::time_range::TimeRange;

/// The bar. It is empty while the page is live.
#[component]
pub(super) fn TimeRangeBar() -> impl IntoView {
    let ui = use_ui();
    let is_shown = Memo::new(move |_| ui.paused_at_ns.get().is_some() || ui.pending_range.get().is_some());
    view! {
        <Show when=move || is_shown.get()>
            <RangeControls/>
        </Show>
    }
}

#[component]
fn RangeControls() -> impl IntoView {
    let ui = use_ui();
    let text = Signal::derive(move || description(ui));
    let button = |label: &'static str, title: &'static str, change: fn(TimeRange) -> TimeRange| {
        view! {
            <button type="button" title=title on:click=move |_| ui.change_range(change)>{label}</button>
        }
    };
    view! {
        <div class="time-range" role="group" aria-label="Range of time" data-testid="time-range">
            <LiveText class="range-text" text/>
            {button("Earlier", "Show the time before ([)", earlier)}
            {button("Later", "Show the time after (])", later)}
            {button("Zoom in", "Show the middle half (+)", TimeRange::zoomed_in)}
            {button("Zoom out", "Show twice the time (-)", TimeRange::zoomed_out)}
            <button class="live" type="button" title="Show live data again (l)" on:click=move |_| ui.resume()>
                "Back to live"
            </button>
        </div>
    }
}

/// Moves a range back by half of its length.
pub(super) fn earlier(range: TimeRange) -> TimeRange {
    range.moved(-half(range))
}

/// Moves a range forward by half of its length.
pub(super) fn later(range: TimeRange) -> TimeRange {
    range.moved(half(range))
}

fn half(range: TimeRange) -> i64 {
    i64::try_from(range.seconds() / 2).unwrap_or(0).max(1)
}

/// What the page shows, in words.
fn description(ui: UiState) -> String {
    ui.frame_loop.tick.track();
    let text = announcement(ui);
    let Some((at_ns, range)) = ui.paused_at_ns.get().zip(shown_range(ui)) else { return text };
    // The page is paused, but the range becomes older.
    let live_ns = ui.model.read_value().live_relay_ns(browser::now_ns()).unwrap_or(at_ns);
    let age = match second_of(live_ns).saturating_sub(range.to) {
        0 => "now".to_owned(),
        seconds => format!("{} ago", format::age(seconds)),
    };
    format!("{text}, until {age}. Data keeps coming in.")
}

/// The same without its age, which changes every second.
pub(super) fn announcement(ui: UiState) -> String {
    if ui.pending_range.get().is_some() {
        return "Loading the history of the last hour".to_owned();
    }
    let Some(at_ns) = ui.paused_at_ns.get() else { return String::new() };
    let Some(range) = shown_range(ui) else {
        return format!("Paused at {}. Data keeps coming in.", ui.utc_offset(at_ns).time(at_ns));
    };
    let [start_ns, end_ns] = [range.from - 1, range.to].map(|second| second * SLOT_NS);
    let zone = ui.utc_offset(end_ns);
    let (start, end) = (ui.utc_offset(start_ns).time(start_ns), zone.time(end_ns));
    format!("{start}–{end} {}, {}", zone.name(), format::age(range.seconds()))
}

/// The selected range, extended to whole steps as it is shown.
fn shown_range(ui: UiState) -> Option<TimeRange> {
    let range = ui.range.get()?;
    ui.shown_range().or(Some(range))
}
