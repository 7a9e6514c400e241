//! Where a relay is, as people write it, and which addresses it has there.
//!
//! The page, `joey tap` and `joey stats` read it the same way: `host:port`; an address with a scheme; or the directory under
//! which a proxy shows a relay, with the slash at its end or without.

use alloc::format;
use alloc::string::{String, ToString};

/// Longest address in bytes.
const BYTES_MAX: usize = 255;

/// The address of the WebSocket meant by `written`, whose scheme is `wss` where it says so itself, or says nothing and
/// `is_encrypted`. `None` where it is not the address of a relay.
///
/// A path that ends in `ws` is that of the WebSocket itself; any other is the directory that it is in.
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
        Some((scheme, rest)) => (is_known(scheme)?, rest),
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

/// Whether `written` names its scheme, so that it means the same wherever it is read.
#[must_use]
pub fn has_scheme(written: &str) -> bool {
    scheme_of(written).is_some()
}

/// The scheme of `written` and what follows `://`. Looking for a character instead of a text is a third of the code.
fn scheme_of(written: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = written.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// The address over HTTP of what is at `websocket`, an address of a WebSocket.
///
/// ```
/// assert_eq!(joey_shared::address::over_http("wss://relay.example/joey/ws"), "https://relay.example/joey/ws");
/// ```
#[must_use]
pub fn over_http(websocket: &str) -> String {
    websocket.strip_prefix("ws").map_or_else(|| websocket.to_string(), |rest| format!("http{rest}"))
}

/// Where the relay whose WebSocket is at `websocket` opens streams over HTTP.
///
/// ```
/// assert_eq!(joey_shared::address::stream("wss://relay.example/joey/ws"), "https://relay.example/joey/stream");
/// ```
#[must_use]
pub fn stream(websocket: &str) -> String {
    format!("{}/stream", over_http(directory(websocket)))
}

/// What of `path` is before its last slash.
#[must_use]
pub fn directory(path: &str) -> &str {
    before_last(path, b'/').map_or(path, |(before, _)| before)
}

/// `text` before and after the last `byte`, one of ASCII.
fn before_last(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|other| other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Whether `scheme` is that of an encrypted relay; `None` where it is not that of a relay.
fn is_known(scheme: &str) -> Option<bool> {
    let is_any = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is_any(["wss", "https"]) { Some(true) } else { is_any(["ws", "http"]).then_some(false) }
}

/// Whether `host` is a name or an address, with or without a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match before_last(host, b':') {
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
    fn a_relay_may_be_written_in_many_ways() {
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
    fn what_is_no_address_is_none() {
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
