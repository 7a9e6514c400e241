//! Moves the keyboard focus through the rows of the tables.
//!
//! Of a long table only the rows near the viewport and near the focused one are in the document (`rendered_rows.rs`). A
//! row that is further away is scrolled to first; it gets the focus in the next frame, when it is there.

use leptos::prelude::request_animation_frame;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use super::UiState;
use crate::browser;

/// The link of a row.
const LINK: &str = "a.row-link";

/// Where to move the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Previous,
    First,
    Last,
    PageUp,
    PageDown,
}

/// Whether a row has the focus.
pub(super) fn is_row(_: UiState) -> bool {
    focused_link().is_some()
}

/// Whether a row has the focus, or nothing has it and there is a row. A chart or a menu keeps its arrow keys.
pub(super) fn is_free(ui: UiState) -> bool {
    let is_nothing = browser::active_element().is_none_or(|one| matches!(one.tag_name().as_str(), "BODY" | "MAIN"));
    is_row(ui) || (is_nothing && !browser::query_all(LINK).is_empty())
}

fn focused_link() -> Option<HtmlElement> {
    let focused = browser::active_element()?;
    if focused.matches(LINK).unwrap_or(false) { focused.dyn_into().ok() } else { None }
}

/// Moves the focus from the focused row.
pub(super) fn move_focus(step: Step) {
    let links = browser::query_all(LINK);
    let Some(focused) = focused_link() else {
        focus(links.first());
        return;
    };
    let at = links.iter().position(|link| *link == focused).unwrap_or(0);
    let table = focused.closest("tbody").ok().flatten();
    let in_table: Vec<&HtmlElement> =
        links.iter().filter(|link| table.as_ref().is_some_and(|table| table.contains(Some(link)))).collect();
    match step {
        Step::Next => focus(links.get(at + 1)),
        Step::Previous => focus(at.checked_sub(1).and_then(|at| links.get(at))),
        // The first and the last row of a table are always in the document.
        Step::First => focus(in_table.first().copied()),
        Step::Last => focus(in_table.last().copied()),
        Step::PageUp | Step::PageDown => move_by_screen(&focused, table.as_ref(), step == Step::PageDown),
    }
}

fn focus(link: Option<&HtmlElement>) {
    if let Some(link) = link {
        let _ = link.focus();
    }
}

/// Scrolls by most of a screen, and moves the focus to the row that is then where the focused one was.
fn move_by_screen(focused: &HtmlElement, table: Option<&Element>, is_down: bool) {
    let Some((y, height)) = browser::vertical_position(focused) else { return };
    let Some(table) = table.cloned() else { return };
    let distance = height * 0.8;
    let is_scrolled = browser::scroll_by(if is_down { distance } else { -distance });
    // At an end of the page, only the focus moves.
    let wanted = if is_scrolled { y } else { y + if is_down { distance } else { -distance } };
    // The first frame lays out the rows that are now in sight, the second one has them.
    request_animation_frame(move || {
        request_animation_frame(move || {
            let links = browser::query_all(LINK).into_iter().filter(|link| table.contains(Some(link)));
            let distance = |link: &HtmlElement| {
                browser::vertical_position(link).map_or(f64::INFINITY, |(y, _)| (y - wanted).abs())
            };
            focus(links.min_by(|a, b| distance(a).total_cmp(&distance(b))).as_ref());
        });
    });
}
