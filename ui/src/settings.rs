//! What a person may choose, and which relay the page talks to.
//!
//! Pure: where the choices are kept is decided in `browser.rs`.

use joey_shared::address::{is_whole, websocket};
use joey_shared::wire::RELAYS_MAX;

/// Lengths of a window on offer, in seconds, with their names.
pub const WINDOWS: [(u64, &str); 5] = [(10, "10 s"), (60, "1 m"), (300, "5 m"), (900, "15 m"), (3_600, "1 h")];

/// The window until somebody chooses: that of the original Metrics UI.
pub const WINDOW_DEFAULT: u64 = 300;

/// Which colours to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Those of the system.
    #[default]
    Auto,
    /// Dark ones.
    Dark,
    /// Light ones.
    Light,
}

impl Theme {
    /// The theme called `name`; the system's for any other word.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "dark" => Self::Dark,
            "light" => Self::Light,
            _ => Self::Auto,
        }
    }

    /// Its name, as kept and as written into the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// The one that comes next when somebody presses the button.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Auto => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::Auto,
        }
    }
}

/// The window of `seconds` if it is on offer.
#[must_use]
pub fn window_on_offer(seconds: u64) -> Option<u64> {
    WINDOWS.iter().map(|&(length, _)| length).find(|&length| length == seconds)
}

/// The value of every `relay=` in the address bar's query, decoded, in order and with a space before each.
#[must_use]
pub fn relays_in_query(query: &str) -> String {
    let mut relays = String::new();
    for pair in query.strip_prefix('?').unwrap_or(query).split('&') {
        if let Some(relay) =
            pair.strip_prefix("relay=").and_then(crate::route::decode).filter(|relay| !relay.is_empty())
        {
            relays.push(' ');
            relays.push_str(&relay);
        }
    }
    relays
}

/// What of the addresses of relays that were `written` is none.
pub fn not_addresses(written: &str) -> impl Iterator<Item = &str> {
    split(written).filter(|relay| websocket(relay, false).is_none())
}

fn split(written: &str) -> impl Iterator<Item = &str> {
    written.split(|c: char| c == ',' || c.is_whitespace()).filter(|relay| !relay.is_empty())
}

/// The addresses of the first of `sources` (address bar, saved, meta tag, own host) that has any, at most [`RELAYS_MAX`].
#[must_use]
pub fn relay_addresses<'a>(sources: impl IntoIterator<Item = &'a str>, is_encrypted: bool) -> Vec<String> {
    let parse = |source: &'a str| -> Vec<String> {
        split(source).filter_map(|relay| websocket(relay, is_encrypted)).take(RELAYS_MAX).collect()
    };
    sources.into_iter().map(parse).find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// Adds to `known` what a relay has `told`: whole addresses only, and on a page that came encrypted only encrypted ones, since
/// a browser opens no others there.
pub fn add_relays(known: &mut Vec<String>, told: &[String], is_encrypted: bool) {
    for relay in told.iter().filter(|relay| is_whole(relay)) {
        let address = websocket(relay, false).filter(|address| !is_encrypted || address.starts_with("wss"));
        if let Some(address) = address.filter(|address| !known.contains(address) && known.len() < RELAYS_MAX) {
            known.push(address);
        }
    }
}

/// The host name in `host:port`, for the line that a producer is started with.
#[must_use]
pub fn host_name(host: &str) -> &str {
    // The colons of a numeric address stand in brackets.
    let start = host.find(']').unwrap_or(0);
    let port = host.bytes().skip(start).position(|byte| byte == b':');
    port.and_then(|port| host.get(..start + port)).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_found() {
        assert_eq!(not_addresses("ftp://no, b:2  wss://a h:99999").collect::<Vec<_>>(), ["ftp://no", "h:99999"]);
    }

    #[test]
    fn the_address_bar_wins_and_nonsense_is_passed_over() {
        let addresses = |sources: &[&str]| relay_addresses(sources.iter().copied(), false);
        assert_eq!(addresses(&["", "saved:1", "meta:1", "own:1"]), ["ws://saved:1/ws"]);
        assert_eq!(addresses(&["ftp://no", "wss://a, b:2\n ftp://no c"]), ["wss://a/ws", "ws://b:2/ws", "ws://c/ws"]);
        assert_eq!(addresses(&[&"h ".repeat(20)]).len(), RELAYS_MAX);
        assert_eq!(addresses(&[]), [""; 0]);
        assert_eq!(relays_in_query("?x=1&relay=wss%3A%2F%2Fa&relay=b:2&relay="), " wss://a b:2");
    }

    #[test]
    fn what_a_relay_tells_comes_behind_what_is_known_and_never_undoes_encryption() {
        let told = |told: &[&str], is_encrypted| {
            let mut known = vec!["wss://a/ws".to_owned()];
            let told: Vec<String> = told.iter().map(|&relay| relay.to_owned()).collect();
            add_relays(&mut known, &told, is_encrypted);
            add_relays(&mut known, &told, is_encrypted);
            known
        };
        let relays = ["https://a", "ws://b", "http://c/x/ws", "wss://d", "e:1", "javascript://x", ""];
        assert_eq!(told(&relays, false), ["wss://a/ws", "ws://b/ws", "ws://c/x/ws", "wss://d/ws"]);
        assert_eq!(told(&relays, true), ["wss://a/ws", "wss://d/ws"]);
        let many: Vec<String> = (0..99).map(|at| format!("ws://h{at}")).collect();
        assert_eq!(told(&many.iter().map(String::as_str).collect::<Vec<_>>(), false).len(), RELAYS_MAX);
    }

    #[test]
    fn themes_go_round_and_survive_being_kept() {
        for theme in [Theme::Auto, Theme::Dark, Theme::Light] {
            assert_eq!(Theme::parse(theme.name()), theme);
            assert_eq!(theme.next().next().next(), theme);
        }
    }

    #[test]
    fn host_names_lose_their_port() {
        assert_eq!(["a:1", "a", "[::1]:2"].map(host_name), ["a", "a", "[::1]"]);
        assert_eq!((window_on_offer(60), window_on_offer(61)), (Some(60), None));
    }
}
