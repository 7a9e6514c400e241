//! What happens without being asked by a component: addresses, keys, and the page being looked at again.

use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{Event, EventTarget, HtmlElement, KeyboardEvent};

use super::Ctx;
use crate::browser;

/// Listens for the life of the page.
pub(super) fn listen(ctx: Ctx) {
    let Some(window) = web_sys::window() else { return };
    add(&window, "hashchange", move |_| ctx.moved());
    // The network is back, the page was thawed, or it comes out of the browser's cache of pages left.
    for event in ["online", "resume", "pageshow"] {
        add(&window, event, move |_| ctx.connection.retry());
    }
    add(&window, "resize", move |_| ctx.clock.wake());
    add(&window, "keydown", |event| {
        if let Some(event) = event.dyn_ref::<KeyboardEvent>() {
            pressed(event);
        }
    });
    // A press outside an open menu closes it.
    add(&window, "pointerdown", |event| {
        let inside = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if inside.and_then(|element| element.closest("details.menu").ok().flatten()).is_none() {
            close_menus();
        }
    });
    // Scrolling does not bubble, but it can be caught on its way down.
    add(&window, "scroll", move |_| ctx.clock.wake());
    add(&window, "visibilitychange", move |_| {
        if !browser::is_hidden() {
            ctx.connection.retry();
            ctx.clock.now();
        }
    });
    if let Ok(Some(dark)) = window.match_media("(prefers-color-scheme: dark)") {
        add(&dark, "change", move |_| ctx.clock.repaint());
    }
}

fn add(target: &EventTarget, event: &str, act: impl Fn(Event) + 'static) {
    let listener = Closure::<dyn Fn(Event)>::new(act);
    let _ = target.add_event_listener_with_callback_and_bool(event, listener.as_ref().unchecked_ref(), true);
    // The page listens as long as it lives.
    listener.forget();
}

fn pressed(event: &KeyboardEvent) {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return;
    }
    let focused = browser::focused();
    let typing =
        focused.as_ref().is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"));
    match event.key().as_str() {
        "/" if !typing => {
            if let Some(filter) = browser::all("#filter").first() {
                event.prevent_default();
                let _ = filter.focus();
            }
        }
        "Escape" => close_menus(),
        "ArrowDown" if !typing => walk(event, true),
        "ArrowUp" if !typing => walk(event, false),
        _ => {}
    }
}

/// Closes every open menu.
pub(super) fn close_menus() {
    for menu in browser::all("details.menu[open]") {
        let _ = menu.remove_attribute("open");
    }
}

/// Moves the keyboard to the next or the previous row. A chart or a menu that has the keyboard keeps it.
fn walk(event: &KeyboardEvent, down: bool) {
    let rows = browser::all("a.row-link");
    let focused = browser::focused().and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let at = focused.as_ref().and_then(|focused| rows.iter().position(|row| row == focused));
    let on_the_page = focused.is_none_or(|focused| matches!(focused.tag_name().as_str(), "BODY" | "MAIN"));
    let next = match (at, down) {
        (Some(at), true) => at + 1,
        (Some(at), false) => at.wrapping_sub(1),
        (None, true) if on_the_page => 0,
        _ => return,
    };
    if let Some(row) = rows.get(next) {
        event.prevent_default();
        let _ = row.focus();
    }
}
