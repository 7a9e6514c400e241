//! What the user does with the settings and the relays, and which relays a link brings.

use leptos::prelude::{GetUntracked, ReadUntracked, Set, Update};

use super::UiState;
use crate::settings::Theme;
use crate::settings::choices::Zone;
use crate::settings::relay_list::{PAGE_RELAYS_MAX, RelayEntry, key, linked_relays, relays_to_use};
use crate::settings::text::Settings;
use crate::{browser, local_storage, units};

impl UiState {
    /// Connects to the relays of the link, or else to those of the settings. The first gets the token of the link.
    pub(super) fn start_relays(self, link: &[String], token: Option<&str>) {
        let link = linked_relays(link, browser::is_encrypted());
        let own = browser::own_relay_addresses();
        let relays = relays_to_use(&self.settings.read_untracked().relays, &own, &link);
        if let (Some(token), Some(first)) = (token, link.first().or_else(|| relays.known.first())) {
            local_storage::store_token(&key(first), token);
        }
        self.unknown_relays.set(relays.unknown);
        self.connections.set(&relays.known);
    }

    /// Uses the relays of a link that the user has followed, and asks about those that this browser does not know.
    pub(super) fn follow_relays(self, link: &[String]) {
        let link = linked_relays(link, browser::is_encrypted());
        if link.is_empty() || link == self.shown_relays() {
            return;
        }
        let relays = relays_to_use(&self.settings.read_untracked().relays, &browser::own_relay_addresses(), &link);
        self.unknown_relays.set(relays.unknown);
        self.connections.set(&relays.known);
    }

    /// Uses the token of a link: for its first relay, or for the one that asks for a token.
    pub(super) fn follow_token(self, link: &[String], token: &str) {
        let first = linked_relays(link, browser::is_encrypted()).into_iter().next();
        if let Some(addresses) = first.or_else(|| self.connections.token_relay()) {
            self.connections.set_token(&addresses, token);
        }
    }

    /// The relays in the address bar: none if the page uses only its own.
    pub(super) fn relays_in_address(self) -> Vec<String> {
        let shown = self.shown_relays();
        let is_own = shown.len() == 1 && shown[0] == browser::own_relay_addresses();
        if is_own { Vec::new() } else { shown.iter().map(|addresses| key(addresses)).collect() }
    }

    /// The relays in use, and those that the user is asked about.
    fn shown_relays(self) -> Vec<Vec<String>> {
        let mut relays = self.used_relays();
        relays.extend(self.unknown_relays.get_untracked());
        relays
    }

    fn used_relays(self) -> Vec<Vec<String>> {
        self.connections.relays.read_untracked().iter().map(|relay| relay.addresses.clone()).collect()
    }

    /// Connects to `relays`, in the order of the settings.
    fn use_relays(self, mut relays: Vec<Vec<String>>) {
        let settings = self.settings.get_untracked();
        relays.sort_by_key(|relay| settings.relays.iter().position(|entry| addresses_of(entry) == *relay));
        self.connections.set(&relays);
        self.write_address();
    }

    /// Connects to the relays that the user was asked about and remembers them, or forgets them.
    pub(super) fn answer_relay_question(self, accepts: bool) {
        let unknown = self.unknown_relays.get_untracked();
        self.unknown_relays.set(Vec::new());
        if accepts {
            let mut relays = self.used_relays();
            relays.extend(unknown.iter().cloned());
            self.change_settings(|settings| {
                for addresses in unknown {
                    settings.relays.push(RelayEntry { addresses, is_enabled: true });
                }
                // The oldest make room; the page's own stays.
                while settings.relays.len() > PAGE_RELAYS_MAX {
                    let Some(oldest) = settings.relays.iter().position(|entry| !entry.is_own()) else { break };
                    settings.relays.remove(oldest);
                }
            });
            self.use_relays(relays);
        } else if self.connections.relays.read_untracked().is_empty() {
            // The link named nothing else. The page goes on with the relays of the settings.
            self.use_enabled_relays();
        } else {
            self.write_address();
        }
    }

    fn use_enabled_relays(self) {
        let own = browser::own_relay_addresses();
        self.use_relays(relays_to_use(&self.settings.read_untracked().relays, &own, &[]).known);
    }

    /// Adds a relay and connects to it.
    ///
    /// # Errors
    /// Returns why not, in words.
    pub(super) fn add_relay(self, addresses: Vec<String>) -> Result<(), &'static str> {
        let settings = self.settings.get_untracked();
        if settings.relays.iter().any(|entry| addresses_of(entry) == addresses) {
            return Err("This relay is in the list already.");
        }
        if settings.relays.len() >= PAGE_RELAYS_MAX {
            return Err("There are eight relays, which is the most that one page uses.");
        }
        let mut relays = self.used_relays();
        if !relays.contains(&addresses) {
            relays.push(addresses.clone());
        }
        self.change_settings(|settings| settings.relays.push(RelayEntry { addresses, is_enabled: true }));
        self.use_relays(relays);
        Ok(())
    }

    /// Removes a relay from the list, with its token.
    pub(super) fn remove_relay(self, entry: &RelayEntry) {
        let addresses = addresses_of(entry);
        local_storage::store_token(&key(&addresses), "");
        self.change_settings(|settings| settings.relays.retain(|other| other.addresses != entry.addresses));
        self.disconnect(&addresses);
    }

    /// Connects to a relay of the list, or disconnects from it.
    pub(super) fn enable_relay(self, entry: &RelayEntry, is_enabled: bool) {
        let addresses = addresses_of(entry);
        self.change_settings(|settings| {
            let same = settings.relays.iter_mut().filter(|other| other.addresses == entry.addresses);
            same.for_each(|other| other.is_enabled = is_enabled);
        });
        if !is_enabled {
            self.disconnect(&addresses);
        } else if !self.used_relays().contains(&addresses) && !addresses.is_empty() {
            let mut relays = self.used_relays();
            relays.push(addresses);
            self.use_relays(relays);
        }
    }

    fn disconnect(self, addresses: &[String]) {
        let mut relays = self.used_relays();
        relays.retain(|other| other != addresses);
        self.use_relays(relays);
    }

    /// Moves a relay of the list one place up or down.
    pub(super) fn move_relay(self, entry: &RelayEntry, is_up: bool) {
        self.change_settings(|settings| {
            let Some(from) = settings.relays.iter().position(|other| other.addresses == entry.addresses) else {
                return;
            };
            let to = if is_up { from.wrapping_sub(1) } else { from + 1 };
            if to < settings.relays.len() {
                settings.relays.swap(from, to);
            }
        });
        self.use_relays(self.used_relays());
    }

    /// Changes the settings, stores them and shows what depends on them.
    pub(super) fn change_settings(self, change: impl FnOnce(&mut Settings)) {
        let before = self.settings.get_untracked();
        self.settings.update(change);
        let settings = self.settings.get_untracked();
        if settings == before {
            return;
        }
        local_storage::store_settings(&settings);
        units::set(settings.units, settings.bins);
        browser::apply_density(settings.density);
        if settings.theme != before.theme {
            browser::apply_theme(settings.theme);
        }
        if settings.window_seconds != before.window_seconds {
            self.set_window(settings.window_seconds);
            self.write_address();
        }
        self.frame_loop.repaint_all();
        self.frame_loop.tick_now();
    }

    /// Replaces all settings.
    pub(super) fn replace_settings(self, new: Settings) {
        self.change_settings(|settings| *settings = new);
        self.unknown_relays.set(Vec::new());
        self.use_enabled_relays();
    }

    /// Changes the theme.
    pub(super) fn set_theme(self, theme: Theme) {
        self.change_settings(|settings| settings.theme = theme);
    }

    /// Changes the time zone.
    pub(super) fn set_zone(self, zone: Zone) {
        self.change_settings(|settings| settings.zone = zone);
    }
}

/// The addresses of a relay of the list.
pub(super) fn addresses_of(entry: &RelayEntry) -> Vec<String> {
    if entry.is_own() { browser::own_relay_addresses() } else { entry.addresses.clone() }
}
