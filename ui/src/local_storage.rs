//! What survives a reload: the settings in the browser's local storage, and tokens in the tab's session storage.
//!
//! A private window may have no storage. Then a setting lasts until the page is closed.

use joey_shared::objective::Objective;
use web_sys::Storage;

use crate::favourites::Favourites;
use crate::objectives;
use crate::settings::choices::Zone;
use crate::settings::relay_list::{RelayEntry, parse_addresses};
use crate::settings::text::Settings;
use crate::settings::{Theme, offered_window};

/// All settings as text.
const SETTINGS: &str = "joey.settings";
/// The keys of settings before there was one text of all.
const OLD_KEYS: [&str; 4] = ["joey.theme", "joey.window", "joey.utc", "joey.relay"];
/// Followed by the name of an application.
const FAVOURITES: &str = "joey.favourites.";
/// Followed by the name of an application.
const OBJECTIVES: &str = "joey.objectives.";
/// Whether missed objectives are notified about.
const NOTIFIES: &str = "joey.notify";
/// Prefix of the tokens. The rest is the key of the relay.
const TOKEN: &str = "joey.token ";

fn local_storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

fn session_storage() -> Option<Storage> {
    web_sys::window()?.session_storage().ok().flatten()
}

fn load(key: &str) -> Option<String> {
    local_storage()?.get_item(key).ok().flatten()
}

/// The stored settings, or the defaults.
#[must_use]
pub fn settings() -> Settings {
    match load(SETTINGS) {
        Some(text) => Settings::parse(&text).unwrap_or_default(),
        None => old_settings(),
    }
}

/// Stores the settings.
pub fn store_settings(settings: &Settings) {
    if let Some(storage) = local_storage() {
        let _ = storage.set_item(SETTINGS, &settings.text());
        for key in OLD_KEYS {
            let _ = storage.remove_item(key);
        }
    }
}

/// The settings that were stored before there was one text of all.
fn old_settings() -> Settings {
    let [theme, window, utc, relay] = OLD_KEYS.map(load);
    let mut settings = Settings { theme: Theme::parse(&theme.unwrap_or_default()), ..Settings::default() };
    if let Some(seconds) = window.and_then(|seconds| seconds.parse().ok()).and_then(offered_window) {
        settings.window_seconds = seconds;
    }
    if utc.is_some() {
        settings.zone = Zone::Utc;
    }
    // It replaced the relay that the page uses without settings.
    if let Some(addresses) = relay.and_then(|relay| parse_addresses(&relay, crate::browser::is_encrypted()).ok()) {
        settings.relays =
            vec![RelayEntry { addresses, is_enabled: true }, RelayEntry { is_enabled: false, ..RelayEntry::own() }];
    }
    settings
}

/// The token of this tab for the relay with this key; empty if there is none.
#[must_use]
pub fn token(relay_key: &str) -> String {
    let token = session_storage().and_then(|storage| storage.get_item(&format!("{TOKEN}{relay_key}")).ok().flatten());
    token.unwrap_or_default()
}

/// The favourites of `app`.
#[must_use]
pub fn favourites(app: &str) -> Favourites {
    Favourites::parse(&load(&format!("{FAVOURITES}{app}")).unwrap_or_default())
}

/// Stores the favourites of `app`.
pub fn store_favourites(app: &str, favourites: &Favourites) {
    if let Some(storage) = local_storage() {
        let _ = storage.set_item(&format!("{FAVOURITES}{app}"), &favourites.text());
    }
}

/// The saved objectives of all applications.
#[must_use]
pub fn all_objectives() -> Vec<(String, Vec<Objective>)> {
    let Some(storage) = local_storage() else { return Vec::new() };
    let keys = (0..storage.length().unwrap_or(0)).filter_map(|at| storage.key(at).ok().flatten());
    let apps = keys.filter_map(|key| key.strip_prefix(OBJECTIVES).map(str::to_owned));
    apps.map(|app| {
        let list = objectives_of(&app);
        (app, list)
    })
    .collect()
}

/// The saved objectives of `app`.
#[must_use]
pub fn objectives_of(app: &str) -> Vec<Objective> {
    objectives::parse_saved(&load(&format!("{OBJECTIVES}{app}")).unwrap_or_default())
}

/// Stores the objectives of `app`.
pub fn store_objectives(app: &str, list: &[Objective]) {
    if let Some(storage) = local_storage() {
        let key = format!("{OBJECTIVES}{app}");
        let _ = if list.is_empty() {
            storage.remove_item(&key)
        } else {
            storage.set_item(&key, &objectives::saved_text(list))
        };
    }
}

/// Whether missed objectives are notified about.
#[must_use]
pub fn notifies() -> bool {
    load(NOTIFIES).is_some()
}

/// Stores whether missed objectives are notified about.
pub fn store_notifies(notifies: bool) {
    if let Some(storage) = local_storage() {
        let _ = if notifies { storage.set_item(NOTIFIES, "1") } else { storage.remove_item(NOTIFIES) };
    }
}

/// Stores the token for as long as the tab is open, so that a reload does not lose it. An empty one removes it.
pub fn store_token(relay_key: &str, token: &str) {
    if let Some(storage) = session_storage() {
        let key = format!("{TOKEN}{relay_key}");
        let _ = if token.is_empty() { storage.remove_item(&key) } else { storage.set_item(&key, token) };
    }
}
