//! Events of the whole window: address changes, keyboard shortcuts, printing, and the page becoming visible again.

use std::cell::RefCell;

use js_sys::Promise;
use leptos::prelude::{Set, StoredValue};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Event, EventTarget, KeyboardEvent};

use super::actions::{ACTIONS, Action};
use super::{UiState, menus};
use crate::browser;
use crate::key_sequence::{Typed, key_text};

/// Number of microtasks after which a change of a signal is in the document.
const RENDER_STEPS: usize = 16;

/// Listens until the current reactive owner is disposed.
pub(super) fn listen(ui: UiState) {
    let Some(window) = web_sys::window() else { return };
    listen_to(&window, "hashchange", move |_| ui.on_hash_change());
    // The network is back, or the page was restored after it was frozen or left.
    for event in ["online", "resume", "pageshow"] {
        listen_to(&window, event, move |_| ui.connections.retry());
    }
    listen_to(&window, "resize", move |_| ui.frame_loop.request_frame());
    // Scrolling of an element does not bubble; it can only be captured.
    listen_to(&window, "scroll", move |_| ui.frame_loop.request_frame());
    let typed = RefCell::new(Typed::default());
    listen_to(&window, "keydown", move |event| on_keydown(ui, &mut typed.borrow_mut(), event.unchecked_ref()));
    listen_to(&window, "pointerdown", |event| menus::close_outside(&event));
    listen_to(&window, "visibilitychange", move |_| {
        if !browser::is_hidden() {
            ui.connections.retry();
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

/// Does what the action with this key does. Letters that are typed into a text box, and keys in a dialog, are not for the page.
fn on_keydown(ui: UiState, typed: &mut Typed, event: &KeyboardEvent) {
    let has_dialog = !browser::query_all("dialog[open]").is_empty();
    let has_control = event.ctrl_key() || event.meta_key();
    let Some(key) = key_text(&event.key(), has_control, event.alt_key()).filter(|_| !has_dialog) else { return };
    let is_typing = browser::active_element()
        .is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"));
    if is_typing && !has_control && key != "Escape" {
        return;
    }
    let keys = || ACTIONS.iter().flat_map(|action| action.keys.iter().copied());
    let is_prefix = |key: &str| keys().any(|keys| keys.split_once(' ').is_some_and(|(first, _)| first == key));
    let complete = typed.press(&key, browser::now_ns(), |key| keys().any(|other| other == key), is_prefix);
    let Some(complete) = complete else { return };
    let has_key = |action: &&Action| action.keys.contains(&complete.as_str());
    if let Some(action) = ACTIONS.iter().filter(has_key).find(|action| (action.is_available)(ui)) {
        event.prevent_default();
        (action.run)(ui);
    }
}
