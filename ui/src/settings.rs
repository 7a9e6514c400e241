//! What a person may choose, and which relay the page talks to.
//!
//! Pure: where the choices are kept is decided in `browser.rs`.

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

/// The value of every `relay=` in the address bar's query, decoded, in order.
#[must_use]
pub fn relays_in_query(query: &str) -> Vec<String> {
    let pairs = query.strip_prefix('?').unwrap_or(query).split('&');
    pairs
        .filter_map(|pair| pair.strip_prefix("relay="))
        .filter_map(crate::route::decode)
        .filter(|relay| !relay.is_empty())
        .collect()
}

/// The WebSocket address meant by `relay`, which may be a bare `host:port`, on a page whose own protocol is `page_protocol`
/// (`https:` or other). `None` where it is not an address.
///
/// ```
/// use joey_ui::settings::socket_address;
/// assert_eq!(socket_address("relay.example:4000", "http:").as_deref(), Some("ws://relay.example:4000/ws"));
/// assert_eq!(socket_address("https://relay.example/joey/ws", "http:").as_deref(), Some("wss://relay.example/joey/ws"));
/// ```
#[must_use]
pub fn socket_address(relay: &str, page_protocol: &str) -> Option<String> {
    let relay = relay.trim();
    let (scheme, rest) = match scheme_of(relay) {
        Some(("ws" | "http", rest)) => ("ws", rest),
        Some(("wss" | "https", rest)) => ("wss", rest),
        Some(_) => return None,
        None => (if page_protocol == "https:" { "wss" } else { "ws" }, relay),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty()
        || host.contains(|c: char| c.is_whitespace() || matches!(c, '?' | '#' | '@' | '"' | '\'' | '<' | '>'))
    {
        return None;
    }
    let path = if path.is_empty() { "ws" } else { path };
    Some(format!("{scheme}://{host}/{path}"))
}

/// The scheme of a whole address, and what follows `://`.
fn scheme_of(relay: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = relay.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// Where the relay at `address`, a WebSocket's, opens streams over HTTP.
///
/// ```
/// use joey_ui::settings::stream_address;
/// assert_eq!(stream_address("wss://relay.example/joey/ws"), "https://relay.example/joey/stream");
/// ```
#[must_use]
pub fn stream_address(address: &str) -> String {
    let folder = address.rfind('/').and_then(|at| address.get(..at)).unwrap_or(address);
    format!("http{}/stream", folder.strip_prefix("ws").unwrap_or(folder))
}

/// The addresses of the first of `sources` (address bar, saved, meta tag, own host) that has any, at most [`RELAYS_MAX`].
#[must_use]
pub fn relay_addresses<'a>(sources: impl IntoIterator<Item = &'a str>, page_protocol: &str) -> Vec<String> {
    let parse = |source: &'a str| -> Vec<String> {
        let typed = source.split(|c: char| c == ',' || c.is_whitespace());
        typed.filter_map(|relay| socket_address(relay, page_protocol)).take(RELAYS_MAX).collect()
    };
    sources.into_iter().map(parse).find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// Adds to `known` what a relay has `told`: whole addresses only, and on a page that came encrypted only encrypted ones, since
/// a browser opens no others there.
pub fn add_relays(known: &mut Vec<String>, told: &[String], is_encrypted: bool) {
    for relay in told.iter().filter(|relay| scheme_of(relay).is_some()) {
        let address = socket_address(relay, "").filter(|address| !is_encrypted || address.starts_with("wss"));
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
    fn a_relay_may_be_written_in_many_ways() {
        let cases = [
            ("ws://h:1/ws", Some("ws://h:1/ws")),
            ("wss://h", Some("wss://h/ws")),
            ("http://h:1/", Some("ws://h:1/ws")),
            ("h:1", Some("ws://h:1/ws")),
            ("[::1]:4000", Some("ws://[::1]:4000/ws")),
            (" h ", Some("ws://h/ws")),
            ("", None),
            ("javascript://x", None),
            ("ftp://h", None),
            ("a b", None),
            ("user@h", None),
        ];
        for (relay, expected) in cases {
            assert_eq!(socket_address(relay, "http:").as_deref(), expected, "{relay}");
        }
        assert_eq!(socket_address("h:1", "https:").as_deref(), Some("wss://h:1/ws"));
    }

    #[test]
    fn the_address_bar_wins_and_nonsense_is_passed_over() {
        let addresses = |sources: &[&str]| relay_addresses(sources.iter().copied(), "http:");
        assert_eq!(addresses(&["", "saved:1", "meta:1", "own:1"]), ["ws://saved:1/ws"]);
        assert_eq!(addresses(&["ftp://no", "wss://a, b:2\n ftp://no c"]), ["wss://a/ws", "ws://b:2/ws", "ws://c/ws"]);
        assert_eq!(addresses(&[&"h ".repeat(20)]).len(), RELAYS_MAX);
        assert_eq!(addresses(&[]), [""; 0]);
        assert_eq!(relays_in_query("?x=1&relay=wss%3A%2F%2Fa&relay=b:2&relay="), ["wss://a", "b:2"]);
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
