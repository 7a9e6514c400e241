//! Settings that survive a reload: most in the browser's local storage, the token in the tab's session storage.
//!
//! A private window may have no storage. Then a setting lasts until the page is closed.

use web_sys::Storage;

use crate::favourites::Favourites;
use crate::settings::{self, Theme};

const THEME: &str = "joey.theme";
const WINDOW: &str = "joey.window";
const RELAY: &str = "joey.relay";
const UTC: &str = "joey.utc";
/// Followed by the name of an application.
const FAVOURITES: &str = "joey.favourites.";
const TOKEN: &str = "joey.token";

fn local_storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

fn session_storage() -> Option<Storage> {
    web_sys::window()?.session_storage().ok().flatten()
}

fn load(key: &str) -> Option<String> {
    local_storage()?.get_item(key).ok().flatten()
}

/// Stores `value`; an empty value removes the entry.
fn store(key: &str, value: &str) {
    if let Some(storage) = local_storage() {
        let _ = if value.is_empty() { storage.remove_item(key) } else { storage.set_item(key, value) };
    }
}

/// The stored theme.
#[must_use]
pub fn theme() -> Theme {
    Theme::parse(&load(THEME).unwrap_or_default())
}

/// Stores the theme.
pub fn store_theme(theme: Theme) {
    store(THEME, theme.name());
}

/// The stored window in seconds, if it is one of [`settings::WINDOWS`].
#[must_use]
pub fn window_seconds() -> Option<u64> {
    load(WINDOW)?.parse().ok().and_then(settings::offered_window)
}

/// Stores the window in seconds.
pub fn store_window(seconds: u64) {
    store(WINDOW, &seconds.to_string());
}

/// Whether times are shown in UTC.
#[must_use]
pub fn utc() -> bool {
    load(UTC).is_some()
}

/// Stores whether times are shown in UTC.
pub fn store_utc(utc: bool) {
    store(UTC, if utc { "yes" } else { "" });
}

/// The stored relay address; empty if there is none.
#[must_use]
pub fn relay() -> String {
    load(RELAY).unwrap_or_default()
}

/// Stores the relay address; an empty one removes it.
pub fn store_relay(relay: &str) {
    store(RELAY, relay);
}

/// The favourites of `app`.
#[must_use]
pub fn favourites(app: &str) -> Favourites {
    Favourites::parse(&load(&format!("{FAVOURITES}{app}")).unwrap_or_default())
}

/// Stores the favourites of `app`.
pub fn store_favourites(app: &str, favourites: &Favourites) {
    store(&format!("{FAVOURITES}{app}"), &favourites.text());
}

/// The token of this tab; empty if there is none.
#[must_use]
pub fn token() -> String {
    session_storage().and_then(|storage| storage.get_item(TOKEN).ok().flatten()).unwrap_or_default()
}

/// Stores the token for as long as the tab is open, so that a reload does not lose it.
pub fn store_token(token: &str) {
    if let Some(storage) = session_storage() {
        let _ = storage.set_item(TOKEN, token);
    }
}
