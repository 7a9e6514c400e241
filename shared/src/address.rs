//! Parses the address of a relay, and derives the addresses of its endpoints.
//!
//! The page, `joey tap` and `joey stats` accept the same forms: `host:port`, a URL, or the directory under which a proxy serves a
//! relay, with or without a trailing slash.

use alloc::format;
use alloc::string::{String, ToString};

/// Maximum length of an address, in bytes.
const BYTES_MAX: usize = 255;

/// Returns the URL of the WebSocket at the address `written`, or `None` if it is not the address of a relay. Without a
/// scheme, the address is encrypted (`wss`) if `is_encrypted`.
///
/// A path that ends with `ws` is the path of the WebSocket. Any other path is its directory.
///
/// ```
/// use joey_shared::address::websocket;
/// assert_eq!(websocket("relay.example:4000", false).as_deref(), Some("ws://relay.example:4000/ws"));
/// assert_eq!(websocket("HTTPS://relay.example/joey/", false).as_deref(), Some("wss://relay.example/joey/ws"));
/// assert_eq!(websocket("relay.example:port", false), None);
/// ```
#[must_use]
pub fn websocket(written: &str, is_encrypted: bool) -> Option<String> {
    let written = written.trim();
    let (is_encrypted, rest) = match scheme_of(written) {
        None => (is_encrypted, written),
        Some((scheme, rest)) => (is_encrypted_scheme(scheme)?, rest),
    };
    let is_plain = |byte: u8| byte > b' ' && byte != 0x7f && !b"?#@\"'<>\\^`{|},;*".contains(&byte);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if written.len() > BYTES_MAX || !rest.bytes().all(is_plain) || !is_host(host) {
        return None;
    }
    let mut address = String::from(if is_encrypted { "wss://" } else { "ws://" });
    address.push_str(host);
    let mut last = "";
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        address.push('/');
        address.push_str(segment);
        last = segment;
    }
    if last != "ws" {
        address.push_str("/ws");
    }
    Some(address)
}

/// Whether `written` has a scheme, so that it does not depend on the page that uses it.
#[must_use]
pub fn has_scheme(written: &str) -> bool {
    scheme_of(written).is_some()
}

/// The scheme of `written`, and the rest after `://`.
fn scheme_of(written: &str) -> Option<(&str, &str)> {
    written.split_once("://")
}

/// The URL for HTTP requests to the WebSocket at `websocket`.
///
/// ```
/// assert_eq!(joey_shared::address::over_http("wss://relay.example/joey/ws"), "https://relay.example/joey/ws");
/// ```
#[must_use]
pub fn over_http(websocket: &str) -> String {
    websocket.strip_prefix("ws").map_or_else(|| websocket.to_string(), |rest| format!("http{rest}"))
}

/// The URL at which the relay of the WebSocket at `websocket` opens streams over HTTP.
///
/// ```
/// assert_eq!(joey_shared::address::stream("wss://relay.example/joey/ws"), "https://relay.example/joey/stream");
/// ```
#[must_use]
pub fn stream(websocket: &str) -> String {
    format!("{}/stream", over_http(directory(websocket)))
}

/// The part of `path` before its last slash.
#[must_use]
pub fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(directory, _)| directory)
}

/// Whether `scheme` is encrypted, or `None` if it is not a scheme of a relay.
fn is_encrypted_scheme(scheme: &str) -> Option<bool> {
    let is_any = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is_any(["wss", "https"]) { Some(true) } else { is_any(["ws", "http"]).then_some(false) }
}

/// Whether `host` is a host name or an IP address, with or without a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let is_name = match name.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']').unwrap_or_default();
            !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => !name.is_empty() && !name.bytes().any(|byte| b":[]".contains(&byte)),
    };
    is_name && !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_many_forms() {
        for (written, expected) in [
            ("ws://h:1/ws", "ws://h:1/ws"),
            ("wss://h", "wss://h/ws"),
            ("http://h:1/", "ws://h:1/ws"),
            ("h:1", "ws://h:1/ws"),
            ("[::1]:4000", "ws://[::1]:4000/ws"),
            ("[::1]", "ws://[::1]/ws"),
            (" h ", "ws://h/ws"),
            ("WS://h", "ws://h/ws"),
            ("Https://h", "wss://h/ws"),
            ("h/joey/", "ws://h/joey/ws"),
            ("h/joey", "ws://h/joey/ws"),
            ("h/joey/ws", "ws://h/joey/ws"),
            ("h/joey/ws/", "ws://h/joey/ws"),
            ("h/a/b/", "ws://h/a/b/ws"),
            ("h//a//", "ws://h/a/ws"),
        ] {
            assert_eq!(websocket(written, false).as_deref(), Some(expected), "{written}");
        }
        assert_eq!(websocket("h:1", true).as_deref(), Some("wss://h:1/ws"));
        assert_eq!(websocket("ws://h:1", true).as_deref(), Some("ws://h:1/ws"));
    }

    #[test]
    fn invalid_addresses_are_none() {
        for written in [
            "",
            " ",
            "/",
            "ws://",
            "wss:///ws",
            "ws:/h",
            "javascript://x",
            "ftp://h",
            "a b",
            "user@h",
            "h:",
            "h:x",
            "h:0",
            "h:65536",
            "h:+1",
            "::1",
            "[::1",
            "[x]:1",
            "[::1]x",
            "h?x",
            "h#x",
            "a,b",
            "h/\u{7f}",
            "*",
        ] {
            assert_eq!(websocket(written, false), None, "{written}");
        }
        assert_eq!(websocket(&"h".repeat(BYTES_MAX + 1), false), None);
    }
}
