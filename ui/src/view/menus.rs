//! The menus of the page: `<details class="menu">`. All close on Escape and when something outside is pressed.

use wasm_bindgen::JsCast;
use web_sys::{Element, Event};

use super::UiState;
use crate::browser;

/// Whether a menu is open.
pub(super) fn is_any_open(_: UiState) -> bool {
    !browser::query_all("details.menu[open]").is_empty()
}

/// Closes every open menu. The focus goes from a closed menu to what opened it.
pub(super) fn close() {
    for menu in browser::query_all("details.menu[open]") {
        let has_focus = browser::active_element().is_some_and(|focused| menu.contains(Some(&focused)));
        let _ = menu.remove_attribute("open");
        if has_focus {
            browser::focus_summary(&menu);
        }
    }
}

/// Closes every open menu, unless `event` is inside one.
pub(super) fn close_outside(event: &Event) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    if target.and_then(|element| element.closest("details.menu").ok().flatten()).is_none() {
        close();
    }
}
