//! The star of a row: marks its view as a favourite.

use joey_shared::view::ViewKey;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::use_ui;
use crate::browser;

/// The star of the view `key`, which is called `name`. The key `f` presses it.
#[component]
pub(super) fn FavouriteStar(key: ViewKey, name: String) -> impl IntoView {
    let ui = use_ui();
    let key = StoredValue::new(key);
    let is_favourite = Memo::new(move |_| key.with_value(|key| ui.favourites.read().contains(key)));
    let label = format!("Favourite: {name}");
    let tooltip = move || if is_favourite.get() { "No favourite any more (f)" } else { "Make it a favourite (f)" };
    view! {
        <button
            class="star"
            type="button"
            tabindex="-1"
            data-testid="star"
            title=tooltip
            aria-label=label
            aria-pressed=move || is_favourite.get().to_string()
            on:click=move |_| key.with_value(|key| ui.toggle_favourite(key))
        >
            <svg viewBox="0 0 16 16" aria-hidden="true">
                <path d="M8 1.8l1.9 4 4.3.6-3.1 3 .8 4.4L8 11.7l-3.9 2.1.8-4.4-3.1-3 4.3-.6z"></path>
            </svg>
        </button>
    }
}

/// The star of the row that has the focus.
fn focused_star() -> Option<HtmlElement> {
    let row = browser::active_element()?.closest("[data-testid=row], .cell").ok()??;
    row.query_selector("[data-testid=star]").ok()??.dyn_into().ok()
}

/// Whether a row with a star has the focus.
pub(super) fn has_focused_star(_: super::UiState) -> bool {
    focused_star().is_some()
}

/// Presses the star of the row that has the focus.
pub(super) fn press_focused_star() {
    if let Some(star) = focused_star() {
        star.click();
    }
}
