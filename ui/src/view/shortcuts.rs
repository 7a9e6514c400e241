//! Events of the whole window: address changes, keyboard shortcuts, printing, and the page becoming visible again.

use js_sys::Promise;
use leptos::prelude::{GetUntracked as _, Set, StoredValue};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Event, EventTarget, HtmlElement, KeyboardEvent};

use super::time_range_bar::{earlier, later};
use super::{UiState, compare_picker, favourite};
use crate::browser;
use crate::time_range::TimeRange;

/// Number of microtasks after which a change of a signal is in the document.
const RENDER_STEPS: usize = 16;

/// Listens until the current reactive owner is disposed.
pub(super) fn listen(ui: UiState) {
    let Some(window) = web_sys::window() else { return };
    listen_to(&window, "hashchange", move |_| ui.on_hash_change());
    // The network is back, or the page was restored after it was frozen or left.
    for event in ["online", "resume", "pageshow"] {
        listen_to(&window, event, move |_| ui.connection.retry());
    }
    listen_to(&window, "resize", move |_| ui.frame_loop.request_frame());
    // Scrolling of an element does not bubble; it can only be captured.
    listen_to(&window, "scroll", move |_| ui.frame_loop.request_frame());
    listen_to(&window, "keydown", move |event| on_keydown(ui, event.unchecked_ref()));
    listen_to(&window, "pointerdown", |event| close_menus_outside(&event));
    listen_to(&window, "visibilitychange", move |_| {
        if !browser::is_hidden() {
            ui.connection.retry();
            ui.frame_loop.tick_now();
        }
    });
    listen_to(&window, "beforeprint", move |_| start_printing(ui));
    listen_to(&window, "afterprint", move |_| stop_printing(ui));
    // Some browsers show a preview without these events.
    if let Ok(Some(print)) = window.match_media("print") {
        let media = print.clone();
        listen_to(&print, "change", move |_| if media.matches() { start_printing(ui) } else { stop_printing(ui) });
    }
    if let Ok(Some(dark)) = window.match_media("(prefers-color-scheme: dark)") {
        listen_to(&dark, "change", move |_| ui.frame_loop.repaint_all());
    }
}

/// Lays the page out about as wide as paper, and paints every chart at that size.
fn start_printing(ui: UiState) {
    set_printing(true);
    ui.is_printing.set(true);
    ui.frame_loop.start_printing();
    // Rows that are not in sight exist only now; their charts are painted before the browser goes on to print.
    spawn_local(async move {
        for _ in 0..RENDER_STEPS {
            let _ = JsFuture::from(Promise::resolve(&JsValue::NULL)).await;
        }
        ui.frame_loop.paint_for_print();
    });
}

fn stop_printing(ui: UiState) {
    set_printing(false);
    ui.is_printing.set(false);
    ui.frame_loop.stop_printing();
}

fn set_printing(is_printing: bool) {
    if let Some(root) = browser::document().and_then(|document| document.document_element()) {
        let _ = root.toggle_attribute_with_force("data-printing", is_printing);
    }
}

/// An event listener in the capture phase, removed when it is dropped.
struct Listener {
    target: EventTarget,
    event: &'static str,
    callback: Closure<dyn Fn(Event)>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self.target.remove_event_listener_with_callback_and_bool(self.event, callback, true);
    }
}

/// Listens for as long as the current reactive owner lives.
pub(super) fn listen_to(target: &EventTarget, event: &'static str, callback: impl Fn(Event) + 'static) {
    let callback = Closure::new(callback);
    let _ = target.add_event_listener_with_callback_and_bool(event, callback.as_ref().unchecked_ref(), true);
    StoredValue::new_local(Listener { target: target.clone(), event, callback });
}

fn on_keydown(ui: UiState, event: &KeyboardEvent) {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return;
    }
    let is_typing = browser::active_element()
        .is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"));
    match event.key().as_str() {
        "/" if !is_typing => {
            if let Some(filter) = browser::query_all("#filter").first() {
                event.prevent_default();
                let _ = filter.focus();
            }
        }
        "f" if !is_typing => {
            favourite::press_focused_star();
        }
        "b" if !is_typing => ui.on_baseline_key(),
        "c" if !is_typing => {
            event.prevent_default();
            compare_picker::open();
        }
        "Escape" => close_menus(),
        "p" if !is_typing && ui.paused_at_ns.get_untracked().is_none() => ui.pause(),
        "p" | "l" if !is_typing => ui.resume(),
        "[" if !is_typing => ui.change_range(earlier),
        "]" if !is_typing => ui.change_range(later),
        "+" | "=" if !is_typing => ui.change_range(TimeRange::zoomed_in),
        "-" if !is_typing => ui.change_range(TimeRange::zoomed_out),
        "ArrowDown" if !is_typing => focus_row(event, true),
        "ArrowUp" if !is_typing => focus_row(event, false),
        _ => {}
    }
}

/// Closes every open menu, unless `event` is inside one.
fn close_menus_outside(event: &Event) {
    let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
    if target.and_then(|element| element.closest("details.menu").ok().flatten()).is_none() {
        close_menus();
    }
}

/// Closes every open menu.
pub(super) fn close_menus() {
    for menu in browser::query_all("details.menu[open]") {
        let _ = menu.remove_attribute("open");
    }
}

/// Moves the focus to the next or previous row. A chart or a menu that has the focus keeps it.
fn focus_row(event: &KeyboardEvent, down: bool) {
    let rows = browser::query_all("a.row-link");
    let focused = browser::active_element().and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let index = focused.as_ref().and_then(|focused| rows.iter().position(|row| row == focused));
    let nothing_focused = focused.is_none_or(|focused| matches!(focused.tag_name().as_str(), "BODY" | "MAIN"));
    let next = match (index, down) {
        (Some(index), true) => index + 1,
        (Some(index), false) => index.wrapping_sub(1),
        (None, true) if nothing_focused => 0,
        _ => return,
    };
    if let Some(row) = rows.get(next) {
        event.prevent_default();
        let _ = row.focus();
    }
}
