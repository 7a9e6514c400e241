//! The user's settings, and the addresses of relays.
//!
//! Nothing here depends on the browser; `local_storage.rs` stores the settings.

pub mod choices;
pub mod relay_list;
pub mod text;

use joey_shared::address::{has_scheme, websocket};
use joey_shared::wire::RELAYS_MAX;

/// The windows that the user can choose: seconds and label.
pub const WINDOWS: [(u64, &str); 5] = [(10, "10 s"), (60, "1 m"), (300, "5 m"), (900, "15 m"), (3_600, "1 h")];

/// The default window in seconds: that of the original Metrics UI.
pub const WINDOW_DEFAULT: u64 = 300;

/// The colour theme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// The system's theme.
    #[default]
    Auto,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

impl Theme {
    /// The theme with this name; `Auto` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "dark" => Self::Dark,
            "light" => Self::Light,
            _ => Self::Auto,
        }
    }

    /// Its name in local storage and in the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// The choices: value, word, label.
    pub const CHOICES: choices::Choices<Self, 3> =
        [(Self::Auto, "auto", "As the system"), (Self::Light, "light", "Light"), (Self::Dark, "dark", "Dark")];

    /// The theme after the next press of the button.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Auto => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::Auto,
        }
    }
}

/// `seconds` if it is one of [`WINDOWS`].
#[must_use]
pub fn offered_window(seconds: u64) -> Option<u64> {
    WINDOWS.iter().map(|&(length, _)| length).find(|&length| length == seconds)
}

/// The decoded values of all `relay=` parameters of `query`, separated by spaces.
#[must_use]
pub fn relays_in_query(query: &str) -> String {
    let pairs = query.strip_prefix('?').unwrap_or(query).split('&');
    let relays = pairs.filter_map(|pair| pair.strip_prefix("relay=")).filter_map(crate::route::decode);
    relays.filter(|relay| !relay.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The parts of `text`, a list of relay addresses, that are not valid addresses.
pub fn invalid_addresses(text: &str) -> impl Iterator<Item = &str> {
    split(text).filter(|relay| websocket(relay, false).is_none())
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|relay| !relay.is_empty())
}

/// The relay addresses from the first of `sources` that contains any, at most [`RELAYS_MAX`].
#[must_use]
pub fn relay_addresses<'a>(sources: impl IntoIterator<Item = &'a str>, is_encrypted: bool) -> Vec<String> {
    let parse = |source: &'a str| -> Vec<String> {
        split(source).filter_map(|relay| websocket(relay, is_encrypted)).take(RELAYS_MAX).collect()
    };
    sources.into_iter().map(parse).find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// Adds the addresses that a relay has `announced` to `known`: complete addresses only, and on an encrypted page only encrypted
/// ones, because a browser opens no others there.
pub fn add_relays(known: &mut Vec<String>, announced: &[String], is_encrypted: bool) {
    for relay in announced.iter().filter(|relay| has_scheme(relay)) {
        let address = websocket(relay, false).filter(|address| !is_encrypted || address.starts_with("wss"));
        if let Some(address) = address.filter(|address| !known.contains(address) && known.len() < RELAYS_MAX) {
            known.push(address);
        }
    }
}

/// The host name in `host:port`.
#[must_use]
pub fn host_name(host: &str) -> &str {
    // An IPv6 address contains colons, inside brackets.
    let start = host.find(']').unwrap_or(0);
    let port = host.bytes().skip(start).position(|byte| byte == b':');
    port.and_then(|port| host.get(..start + port)).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_addresses_are_found() {
        assert_eq!(invalid_addresses("ftp://no, b:2  wss://a h:99999").collect::<Vec<_>>(), ["ftp://no", "h:99999"]);
    }

    #[test]
    fn the_first_source_wins_and_invalid_addresses_are_skipped() {
        let addresses = |sources: &[&str]| relay_addresses(sources.iter().copied(), false);
        assert_eq!(addresses(&["", "saved:1", "meta:1", "own:1"]), ["ws://saved:1/ws"]);
        assert_eq!(addresses(&["ftp://no", "wss://a, b:2\n ftp://no c"]), ["wss://a/ws", "ws://b:2/ws", "ws://c/ws"]);
        assert_eq!(addresses(&[&"h ".repeat(20)]).len(), RELAYS_MAX);
        assert_eq!(addresses(&[]), [""; 0]);
        assert_eq!(relays_in_query("?x=1&relay=wss%3A%2F%2Fa&relay=b:2&relay="), "wss://a b:2");
    }

    #[test]
    fn announced_relays_are_added_last_and_never_undo_encryption() {
        let known_after = |announced: &[&str], is_encrypted| {
            let mut known = vec!["wss://a/ws".to_owned()];
            let announced: Vec<String> = announced.iter().map(|&relay| relay.to_owned()).collect();
            add_relays(&mut known, &announced, is_encrypted);
            add_relays(&mut known, &announced, is_encrypted);
            known
        };
        let relays = ["https://a", "ws://b", "http://c/x/ws", "wss://d", "e:1", "javascript://x", ""];
        assert_eq!(known_after(&relays, false), ["wss://a/ws", "ws://b/ws", "ws://c/x/ws", "wss://d/ws"]);
        assert_eq!(known_after(&relays, true), ["wss://a/ws", "wss://d/ws"]);
        let many: Vec<String> = (0..99).map(|at| format!("ws://h{at}")).collect();
        assert_eq!(known_after(&many.iter().map(String::as_str).collect::<Vec<_>>(), false).len(), RELAYS_MAX);
    }

    #[test]
    fn themes_form_a_cycle_and_can_be_stored() {
        for theme in [Theme::Auto, Theme::Dark, Theme::Light] {
            assert_eq!(Theme::parse(theme.name()), theme);
            assert_eq!(theme.next().next().next(), theme);
        }
    }

    #[test]
    fn host_names_lose_their_port() {
        assert_eq!(["a:1", "a", "[::1]:2"].map(host_name), ["a", "a", "[::1]"]);
        assert_eq!((offered_window(60), offered_window(61)), (Some(60), None));
    }
}
