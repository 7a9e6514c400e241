//! Wall mode: large figures without controls, one page after the other.
//!
//! A page that is longer than the screen is shown screen by screen. Somebody who moves the pointer sees the controls,
//! and the page stays. Nothing moves in between: the bar that shows how long the page stays grows once a second.

use core::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::MouseEvent;

use super::shortcuts::listen_to;
use super::{UiState, update, use_ui};
use crate::browser;
use crate::natural_order;
use crate::route::{Page, Route};
use crate::wall::{self, SECONDS_DEFAULT, Wall};

/// How long the page stays after the pointer has moved, in ns.
const HOLD_NS: u64 = 5_000_000_000;

/// How much of a screen the page is scrolled by: a row that is cut at the bottom is whole on the next screen.
const SCREEN: f64 = 0.85;

impl UiState {
    /// Turns wall mode on, with the pages that were chosen.
    pub(super) fn start_wall(self) {
        let pages = self.wall_pages.get_untracked();
        self.wall.set(Some(Wall { seconds: SECONDS_DEFAULT, pages }));
        self.write_address();
    }

    /// Turns wall mode off.
    pub(super) fn stop_wall(self) {
        self.wall.set(None);
        self.write_address();
    }

    /// Chooses this page for wall mode, or no longer.
    pub(super) fn toggle_wall_page(self) {
        let mut wall = Wall { seconds: SECONDS_DEFAULT, pages: self.wall_pages.get_untracked() };
        let is_chosen = wall.toggle(&self.page.read_untracked());
        let count = wall.pages.len();
        self.wall_pages.set(wall.pages.clone());
        if let Some(seconds) = self.wall.get_untracked().map(|wall| wall.seconds) {
            self.wall.set(Some(Wall { seconds, ..wall }));
            self.write_address();
        }
        self.confirm(match (is_chosen, count) {
            (true, 1) => "Wall mode shows this page only. Press W on more pages to add them.".to_owned(),
            (true, count) => format!("Wall mode shows {count} chosen pages, this one too."),
            (false, 0) => "Wall mode shows all applications.".to_owned(),
            (false, count) => format!("Wall mode shows {count} chosen pages, not this one."),
        });
    }

    /// Shows `page` without an entry in the browser's history.
    fn replace_page(self, page: Page) {
        browser::replace_address(&Route::to(page).address());
        self.on_hash_change();
    }

    /// The pages of wall mode.
    fn pages_on_wall(self, wall: &Wall) -> Vec<Page> {
        let model = self.model.read_value();
        wall.shown(natural_order::sorted(model.catalogue().keys()).into_iter().map(String::as_str))
    }
}

/// What wall mode adds to the page, while it is on.
#[component]
pub(super) fn WallMode() -> impl IntoView {
    let ui = use_ui();
    let is_on = Memo::new(move |_| ui.wall.read().is_some());
    view! { <Show when=move || is_on.get()><Cycle/></Show> }
}

#[component]
fn Cycle() -> impl IntoView {
    let ui = use_ui();
    set_mark("data-wall", true);
    let lock = StoredValue::new_local(WakeLock::default());
    request_wake_lock(lock);
    let shown_for = RwSignal::new(0_u32);
    let pointer = RwSignal::new(None::<(i32, i32)>);
    let held_until_ns = RwSignal::new(0_u64);
    let is_held = RwSignal::new(false);
    let hold = move |is_held_now: bool| {
        if is_held.get_untracked() != is_held_now {
            is_held.set(is_held_now);
            set_mark("data-wall-held", is_held_now);
        }
    };
    if let Some(window) = web_sys::window() {
        listen_to(&window, "pointermove", move |event| {
            let Some(event) = event.dyn_ref::<MouseEvent>() else { return };
            // A new page below a resting pointer is an event too.
            let at = Some((event.screen_x(), event.screen_y()));
            let before = pointer.get_untracked();
            pointer.set(at);
            if before.is_some() && before != at {
                held_until_ns.set(browser::now_ns() + HOLD_NS);
                hold(true);
            }
        });
        listen_to(&window, "visibilitychange", move |_| request_wake_lock(lock));
    }
    let on_second = move || {
        let is_hovered = browser::now_ns() < held_until_ns.get_untracked();
        hold(is_hovered);
        let has_dialog = !browser::query_all("dialog[open]").is_empty();
        if is_hovered || has_dialog || browser::is_hidden() {
            return;
        }
        let seconds = ui.wall.read_untracked().as_ref().map_or(SECONDS_DEFAULT, |wall| wall.seconds);
        shown_for.update(|shown| *shown += 1);
        if shown_for.get_untracked() >= seconds {
            shown_for.set(0);
            turn(ui);
        }
    };
    let interval = set_interval_with_handle(on_second, Duration::from_secs(1)).ok();
    on_cleanup(move || {
        if let Some(interval) = interval {
            interval.clear();
        }
        lock.with_value(WakeLock::release);
        set_mark("data-wall", false);
        set_mark("data-wall-held", false);
    });
    let position = Memo::new(move |_| {
        let wall = ui.wall.get()?;
        let page = ui.page.get();
        ui.frame_loop.tick.track();
        let pages = ui.pages_on_wall(&wall);
        let at = pages.iter().position(|other| *other == page)?;
        Some((at + 1, pages.len()))
    });
    let text = move || match (position.get(), is_held.get()) {
        (_, true) => "The page stays while the pointer moves".to_owned(),
        (Some((at, count)), false) => format!("{at} of {count}"),
        (None, false) => String::new(),
    };
    let width = move || {
        let seconds = ui.wall.read().as_ref().map_or(SECONDS_DEFAULT, |wall| wall.seconds);
        format!("{}%", 100.0 * f64::from(shown_for.get().min(seconds)) / f64::from(seconds))
    };
    view! {
        <section class="wall-foot" aria-label="Wall mode" data-testid="wall">
            <span class="wall-progress" aria-hidden="true"><span style:width=width></span></span>
            <span class="wall-page">{text}</span>
            <button type="button" on:click=move |_| ui.stop_wall()>"Leave wall mode"</button>
        </section>
    }
}

/// Shows the next screen of the page, or the next page.
fn turn(ui: UiState) {
    if ui.is_outdated.get_untracked() && update::is_calm(ui) {
        browser::reload();
        return;
    }
    let height = web_sys::window().and_then(|window| window.inner_height().ok()?.as_f64()).unwrap_or(0.0);
    if browser::scroll_by(height * SCREEN) {
        return;
    }
    let Some(wall) = ui.wall.get_untracked() else { return };
    let pages = ui.pages_on_wall(&wall);
    let next = pages.get(wall::next(&pages, &ui.page.read_untracked())).cloned();
    match next {
        Some(page) if page != *ui.page.read_untracked() => ui.replace_page(page),
        _ => browser::scroll_to_top(),
    }
}

fn set_mark(name: &str, is_set: bool) {
    if let Some(root) = browser::document().and_then(|document| document.document_element()) {
        let _ = root.toggle_attribute_with_force(name, is_set);
    }
}

/// Keeps the screen on. The browser drops it when the page is hidden.
#[derive(Default)]
struct WakeLock(Option<JsValue>);

impl WakeLock {
    fn release(&self) {
        if let Some(lock) = &self.0 {
            let release = js_sys::Reflect::get(lock, &"release".into()).and_then(|release| release.dyn_into());
            let _ = release.and_then(|release: js_sys::Function| release.call0(lock));
        }
    }
}

/// Asks the browser to keep the screen on. Without the API (or without HTTPS), the system's settings decide.
fn request_wake_lock(lock: StoredValue<WakeLock, LocalStorage>) {
    if browser::is_hidden() {
        return;
    }
    let request = || {
        let navigator = web_sys::window()?.navigator();
        let api = js_sys::Reflect::get(&navigator, &"wakeLock".into()).ok().filter(JsValue::is_object)?;
        let request: js_sys::Function = js_sys::Reflect::get(&api, &"request".into()).ok()?.dyn_into().ok()?;
        request.call1(&api, &"screen".into()).ok()?.dyn_into::<js_sys::Promise>().ok()
    };
    let Some(promise) = request() else { return };
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(sentinel) = wasm_bindgen_futures::JsFuture::from(promise).await {
            let sentinel = WakeLock(Some(sentinel));
            // Wall mode may have ended meanwhile.
            if browser::query_all(".wall-foot").is_empty() {
                sentinel.release();
            } else {
                let _ = lock.try_set_value(sentinel);
            }
        }
    });
}
