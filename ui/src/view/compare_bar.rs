//! The button that pins a baseline, and the bar that says what a page is compared with.

use leptos::ev::Event;
use leptos::prelude::*;

use super::live_text::{LiveText, text_content};
use super::{AppName, UiState, use_ui};
use crate::reference::{BaselineRange, NAME_MAX, Reference};

/// The button in the toolbar. Pages without an application have none.
#[component]
pub(super) fn PinButton() -> impl IntoView {
    let ui = use_ui();
    let has_app = Memo::new(move |_| ui.page.read().app().is_some());
    let is_pinned = Memo::new(move |_| {
        let page = ui.page.read();
        page.app().is_some_and(|app| ui.read_model().baseline(app).is_some())
    });
    let tooltip = move || match is_pinned.get() {
        true => "Remove the baseline",
        false => "Keep the window that is shown as a baseline, and compare with it (b)",
    };
    let press = move |_| if is_pinned.get_untracked() { ui.unpin_baseline() } else { ui.pin_baseline() };
    view! {
        <Show when=move || has_app.get()>
            <button
                class="pin"
                type="button"
                data-testid="pin"
                aria-label="Baseline"
                aria-pressed=move || is_pinned.get().to_string()
                title=tooltip
                on:click=press
            >
                <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M5 1h6v1l-1 1v4l2 2v1H8.75v5h-1.5v-5H4V9l2-2V3L5 2z"></path></svg>
                <span>"Baseline"</span>
            </button>
        </Show>
    }
}

/// What the bar says.
#[derive(Clone, PartialEq)]
enum Bar {
    Baseline,
    /// The data of the baseline in the address has not arrived.
    Awaited(BaselineRange),
    /// Another application or view, and whether it has data.
    Other(String, bool),
}

/// What the pages of `app` are compared with, and how to end that.
#[component]
pub(super) fn CompareBar(app: AppName) -> impl IntoView {
    let ui = use_ui();
    let bar = Memo::new(move |_| bar_of(ui, &app.read_value()));
    let content = move || match bar.get()? {
        Bar::Baseline => Some(view! { <BaselineBar app/> }.into_any()),
        Bar::Awaited(range) => {
            let text = format!("Waiting for the data of the baseline, {}", range_text(ui, &range));
            let view = view! {
                <span use:text_content=text></span>
                <button type="button" on:click=move |_| ui.unpin_baseline()>"Remove"</button>
            };
            Some(view.into_any())
        }
        Bar::Other(name, has_data) => {
            let note = if has_data { "" } else { "It has no data yet." };
            let view = view! {
                <span class="key-other">"Compared with"</span>
                <strong class="ellipsis" dir="auto" translate="no" use:text_content=name></strong>
                <span class="tally">{note}</span>
                <button type="button" on:click=move |_| ui.compare_with(None)>"Stop comparing"</button>
            };
            Some(view.into_any())
        }
    };
    view! {
        <Show when=move || bar.read().is_some()>
            <div class="compare-bar" role="group" aria-label="Comparison" data-testid="comparison">{content}</div>
        </Show>
    }
}

fn bar_of(ui: UiState, app: &str) -> Option<Bar> {
    let model = ui.read_model();
    let Some(reference) = model.reference(app) else {
        return model.awaited_baseline(app).cloned().map(Bar::Awaited);
    };
    Some(match &reference {
        Reference::Baseline => Bar::Baseline,
        Reference::App(other) | Reference::View(other, _) => {
            let has_data = model.other_app(other).is_some_and(|store| !store.views().is_empty());
            Bar::Other(model.reference_name(app, &reference), has_data)
        }
    })
}

/// The seconds of a baseline: `12:01:00 to 12:06:00`.
fn range_text(ui: UiState, range: &BaselineRange) -> String {
    let time = |second: u64| {
        let ns = second.saturating_mul(1_000_000_000);
        ui.utc_offset(ns).time(ns)
    };
    format!("{} to {}", time(range.from.saturating_sub(1)), time(range.to))
}

/// The baseline's name, which can be changed, and its seconds.
#[component]
fn BaselineBar(app: AppName) -> impl IntoView {
    let ui = use_ui();
    let range = Memo::new(move |_| ui.read_model().baseline(&app.read_value()).cloned());
    let seconds = Signal::derive(move || range.read().as_ref().map(|range| range_text(ui, range)).unwrap_or_default());
    let name = Memo::new(move |_| range.read().as_ref().map(|range| range.name.clone()).unwrap_or_default());
    view! {
        <label class="key-other" for="baseline-name">"Compared with the baseline"</label>
        <input
            id="baseline-name"
            type="text"
            dir="auto"
            placeholder="before the deploy"
            autocomplete="off"
            spellcheck="false"
            size="18"
            maxlength=NAME_MAX.to_string()
            prop:value=move || name.get()
            on:change=move |event: Event| ui.name_baseline(&event_target_value(&event))
        />
        <LiveText class="tally" text=seconds/>
        <button type="button" title="Keep the window that is shown now instead" on:click=move |_| ui.pin_baseline()>
            "Pin again"
        </button>
        <button type="button" on:click=move |_| ui.unpin_baseline()>"Remove"</button>
    }
}
