//! The relays of a page. Each has its own data, and one or several addresses that lead to the same data.
//!
//! A relay is known by all its addresses together, its *key*. A token is stored under this key, so that an address that
//! somebody adds in a link can never receive the token of another relay.

use joey_shared::address::websocket;
use joey_shared::wire::RELAYS_MAX;

use super::split;

/// Maximum number of relays in one page. The others of a list are ignored.
pub const PAGE_RELAYS_MAX: usize = 8;

/// A relay in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEntry {
    /// The WebSocket addresses, at most [`RELAYS_MAX`]. Empty for the relay that the page uses without settings.
    pub addresses: Vec<String>,
    /// Whether the page connects to it.
    pub is_enabled: bool,
}

impl RelayEntry {
    /// The relay that the page uses without settings: that of its address, its meta tag, or its own server.
    #[must_use]
    pub const fn own() -> Self {
        Self { addresses: Vec::new(), is_enabled: true }
    }

    /// Whether it is the relay that the page uses without settings.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The addresses, separated by spaces.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.addresses)
    }
}

/// The key of the relay at `addresses`.
#[must_use]
pub fn key(addresses: &[String]) -> String {
    addresses.join(" ")
}

/// The addresses of one relay in `text`, separated by spaces or commas.
///
/// # Errors
/// Returns the first part that is not an address of a relay; empty if there is no address at all.
pub fn parse_addresses(text: &str, is_encrypted: bool) -> Result<Vec<String>, String> {
    let mut addresses = Vec::new();
    for part in split(text).take(RELAYS_MAX) {
        let address = websocket(part, is_encrypted).ok_or_else(|| part.to_owned())?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(String::new()) } else { Ok(addresses) }
}

/// The relays in the decoded list of a link. What is not an address is ignored.
#[must_use]
pub fn linked_relays(list: &[String], is_encrypted: bool) -> Vec<Vec<String>> {
    let mut relays: Vec<Vec<String>> = Vec::new();
    for relay in list {
        if let Ok(addresses) = parse_addresses(relay, is_encrypted)
            && !relays.contains(&addresses)
            && relays.len() < PAGE_RELAYS_MAX
        {
            relays.push(addresses);
        }
    }
    relays
}

/// The relays that a page uses and those that it has to ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaysToUse {
    /// The addresses of the relays to use.
    pub known: Vec<Vec<String>>,
    /// The addresses of relays that only the link names.
    pub unknown: Vec<Vec<String>>,
}

/// Which relays to use: those of the link, or else those that are enabled in the settings. `own` are the addresses of the
/// relay that the page uses without settings.
#[must_use]
pub fn relays_to_use(settings: &[RelayEntry], own: &[String], link: &[Vec<String>]) -> RelaysToUse {
    let addresses = |entry: &RelayEntry| if entry.is_own() { own.to_vec() } else { entry.addresses.clone() };
    if link.is_empty() {
        let enabled = settings.iter().filter(|entry| entry.is_enabled).map(addresses);
        let mut known: Vec<Vec<String>> = Vec::new();
        for relay in enabled.filter(|relay| !relay.is_empty()) {
            if !known.contains(&relay) {
                known.push(relay);
            }
        }
        return RelaysToUse { known, unknown: Vec::new() };
    }
    let all: Vec<Vec<String>> = settings.iter().map(addresses).collect();
    let (known, unknown) = link.iter().cloned().partition(|relay| all.contains(relay) || own == &relay[..]);
    RelaysToUse { known, unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        parse_addresses(text, false).unwrap()
    }

    fn entry(text: &str, is_enabled: bool) -> RelayEntry {
        RelayEntry { addresses: addresses(text), is_enabled }
    }

    #[test]
    fn a_relay_has_one_or_several_addresses() {
        assert_eq!(addresses("a:1, wss://b/x a:1"), ["ws://a:1/ws", "wss://b/x/ws"]);
        assert_eq!(parse_addresses("a:1 ftp://b", false), Err("ftp://b".to_owned()));
        assert_eq!(parse_addresses(" , ", false), Err(String::new()));
        assert_eq!(parse_addresses("a", true), Ok(vec!["wss://a/ws".to_owned()]));
    }

    #[test]
    fn a_list_in_a_link_is_bounded_and_without_repetition() {
        let list: Vec<String> =
            (0..20).flat_map(|at| [format!("h{at}"), "h1".to_owned(), "ftp://x".to_owned()]).collect();
        let relays = linked_relays(&list, false);
        assert_eq!(relays.len(), PAGE_RELAYS_MAX);
        assert_eq!(relays[..3], [addresses("h0"), addresses("h1"), addresses("h2")]);
    }

    #[test]
    fn without_a_link_the_enabled_relays_are_used() {
        let settings = [entry("b", true), RelayEntry::own(), entry("c", false), entry("own", true)];
        let used = relays_to_use(&settings, &addresses("own"), &[]);
        assert_eq!(used, RelaysToUse { known: vec![addresses("b"), addresses("own")], unknown: vec![] });
        assert_eq!(relays_to_use(&[RelayEntry::own()], &[], &[]), RelaysToUse::default());
    }

    #[test]
    fn a_link_decides_but_only_about_known_relays() {
        let settings = [RelayEntry::own(), entry("b", false), entry("c", true)];
        let link = ["b", "own", "evil", "b evil"].map(addresses);
        let used = relays_to_use(&settings, &addresses("own"), &link);
        assert_eq!(used.known, ["b", "own"].map(addresses));
        assert_eq!(used.unknown, ["evil", "b evil"].map(addresses));
    }

    #[test]
    fn another_address_makes_another_key() {
        assert_ne!(key(&addresses("a")), key(&addresses("a evil")));
    }
}
