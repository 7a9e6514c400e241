//! The few things that the page asks of the browser: where it is, what is kept, what time it is.
//!
//! Every answer may be refused (private windows have no storage, old browsers no clipboard); then a setting is simply not kept.

use joey_shared::address;
use wasm_bindgen::JsCast;
use web_sys::{Document, Element, HtmlElement, Storage};

use crate::settings::{self, Theme};
use crate::time_format::Zone;

const THEME: &str = "joey.theme";
const WINDOW: &str = "joey.window";
const RELAY: &str = "joey.relay";
const UTC: &str = "joey.utc";
const TOKEN: &str = "joey.token";

/// Time on a clock that only moves forward, in ns.
#[must_use]
pub fn now_ns() -> u64 {
    let ms = web_sys::window().and_then(|window| window.performance()).map_or(0.0, |performance| performance.now());
    (ms * 1e6) as u64
}

/// The zone of this browser at instant `ns` since the Unix epoch.
#[must_use]
pub fn zone_at(ns: u64) -> Zone {
    let date = js_sys::Date::new(&((ns / 1_000_000) as f64).into());
    Zone(-(date.get_timezone_offset() * 60.0) as i64)
}

/// A uniformly random number.
#[must_use]
pub fn chance() -> u32 {
    (js_sys::Math::random() * f64::from(u32::MAX)) as u32
}

/// `value` in full, by the browser's own shortest form that reads back as the same number.
#[must_use]
pub fn number(value: f64) -> String {
    js_sys::Number::from(value).to_string_with_radix(10).map(String::from).unwrap_or_default()
}

/// The document.
#[must_use]
pub fn document() -> Option<Document> {
    web_sys::window()?.document()
}

/// Whether nobody can see the page.
#[must_use]
pub fn is_hidden() -> bool {
    document().is_some_and(|document| document.hidden())
}

/// What stands in the address bar from `#` on.
#[must_use]
pub fn hash() -> String {
    web_sys::window().and_then(|window| window.location().hash().ok()).unwrap_or_default()
}

/// Goes to the page at `address`, which begins with `#`.
pub fn go(address: &str) {
    if let Some(window) = web_sys::window() {
        let _ = window.location().set_hash(address);
    }
}

/// Writes `address` into the address bar without going anywhere.
pub fn rewrite(address: &str) {
    if let Some(history) = web_sys::window().and_then(|window| window.history().ok()) {
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(address));
    }
}

/// Names the page in the browser's tab.
pub fn set_title(title: &str) {
    if let Some(document) = document() {
        document.set_title(title);
    }
}

/// Puts `theme` into force.
pub fn apply_theme(theme: Theme) {
    if let Some(root) = document().and_then(|document| document.document_element()) {
        let _ = root.set_attribute("data-theme", theme.name());
    }
}

fn storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

fn kept(key: &str) -> Option<String> {
    storage()?.get_item(key).ok().flatten()
}

fn keep(key: &str, value: &str) {
    if let Some(storage) = storage() {
        let _ = if value.is_empty() { storage.remove_item(key) } else { storage.set_item(key, value) };
    }
}

/// The theme that was kept.
#[must_use]
pub fn kept_theme() -> Theme {
    Theme::parse(&kept(THEME).unwrap_or_default())
}

/// Keeps the theme.
pub fn keep_theme(theme: Theme) {
    keep(THEME, theme.name());
}

/// The window that was kept, in seconds.
#[must_use]
pub fn kept_window() -> Option<u64> {
    kept(WINDOW)?.parse().ok().and_then(settings::window_on_offer)
}

/// Keeps the window.
pub fn keep_window(seconds: u64) {
    keep(WINDOW, &seconds.to_string());
}

/// Whether times are shown in UTC.
#[must_use]
pub fn kept_utc() -> bool {
    kept(UTC).is_some()
}

/// Keeps whether times are shown in UTC.
pub fn keep_utc(utc: bool) {
    keep(UTC, if utc { "yes" } else { "" });
}

/// The relay that was kept; empty when none was.
#[must_use]
pub fn kept_relay() -> String {
    kept(RELAY).unwrap_or_default()
}

/// Keeps a relay, or with an empty text forgets it, and starts over with it.
pub fn keep_relay(relay: &str) {
    keep(RELAY, relay);
    if let Some(window) = web_sys::window() {
        let _ = window.location().reload();
    }
}

fn tab_storage() -> Option<Storage> {
    web_sys::window()?.session_storage().ok().flatten()
}

/// The token that this tab was given; empty when it was given none.
#[must_use]
pub fn kept_token() -> String {
    tab_storage().and_then(|storage| storage.get_item(TOKEN).ok().flatten()).unwrap_or_default()
}

/// Keeps a token as long as this tab is open, so that it can be loaded anew.
pub fn keep_token(token: &str) {
    if let Some(storage) = tab_storage() {
        let _ = storage.set_item(TOKEN, token);
    }
}

/// Host and port that the page came from.
#[must_use]
pub fn host() -> String {
    web_sys::window().and_then(|window| window.location().host().ok()).unwrap_or_default()
}

/// The directory that the page came from, with its host: where the relay is that serves it, whatever proxy is in front.
fn own_directory() -> String {
    let path = web_sys::window().and_then(|window| window.location().pathname().ok()).unwrap_or_default();
    format!("{}{}/", host(), address::directory(&path))
}

/// The WebSocket addresses of the relays: from the address bar, the kept setting, the meta tag, or where the page came from.
#[must_use]
pub fn relay_addresses() -> Vec<String> {
    let meta = document().and_then(|document| document.query_selector("meta[name=joey-relay]").ok().flatten());
    let meta = meta.and_then(|meta| meta.get_attribute("content")).unwrap_or_default();
    let sources = [chosen_relays(), kept_relay(), meta, own_directory()];
    settings::relay_addresses(sources.iter().map(String::as_str), is_encrypted())
}

/// What stands in the address bar as the address of a relay, or else was kept as one.
#[must_use]
pub fn chosen_relays() -> String {
    let query = web_sys::window().and_then(|window| window.location().search().ok()).unwrap_or_default();
    let relays = settings::relays_in_query(&query);
    if relays.is_empty() { kept_relay() } else { relays }
}

/// Whether the page came encrypted.
#[must_use]
pub fn is_encrypted() -> bool {
    web_sys::window().and_then(|window| window.location().protocol().ok()).is_some_and(|protocol| protocol == "https:")
}

/// Puts `text` on the clipboard.
pub fn copy(text: &str) {
    if let Some(window) = web_sys::window()
        && window.is_secure_context()
    {
        // Whether it worked cannot be helped; the text stays selectable.
        drop(window.navigator().clipboard().write_text(text));
    }
}

/// The elements that match `selector`, in document order.
#[must_use]
pub fn all(selector: &str) -> Vec<HtmlElement> {
    let Some(list) = document().and_then(|document| document.query_selector_all(selector).ok()) else {
        return Vec::new();
    };
    (0..list.length()).filter_map(|at| list.get(at)).filter_map(|node| node.dyn_into().ok()).collect()
}

/// The element that has the keyboard.
#[must_use]
pub fn focused() -> Option<Element> {
    document()?.active_element()
}

/// Whether `element` is in sight.
#[must_use]
pub fn is_in_sight(element: &Element) -> bool {
    let Some(height) =
        web_sys::window().and_then(|window| window.inner_height().ok()).and_then(|height| height.as_f64())
    else {
        return true;
    };
    let rect = element.get_bounding_client_rect();
    rect.width() > 0.0 && rect.bottom() > 0.0 && rect.top() < height
}
