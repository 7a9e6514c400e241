//! Where a relay is, as people write it, and which addresses it has there.
//!
//! The page, `joey tap` and `joey stats` read it the same way: `host:port`; an address with a scheme; or the directory under
//! which a proxy shows a relay, with the slash at its end or without.

use alloc::string::{String, ToString};
use alloc::{format, vec::Vec};

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
    let (is_encrypted, rest) = match written.split_once("://") {
        None => (is_encrypted, written),
        Some((scheme, rest)) => (is_scheme(scheme)?, rest),
    };
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "?#@\"'<>\\^`{|}".contains(c);
    if written.len() > BYTES_MAX || rest.contains(is_odd) {
        return None;
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_host(host) {
        return None;
    }
    let folder = match path.rsplit_once('/') {
        Some((folder, "ws" | "")) => folder,
        None if path == "ws" => "",
        _ => path,
    };
    let mut segments: Vec<&str> = folder.split('/').filter(|segment| !segment.is_empty()).collect();
    segments.insert(0, host);
    segments.push("ws");
    Some(format!("{}://{}", if is_encrypted { "wss" } else { "ws" }, segments.join("/")))
}

/// Whether `written` names its scheme, so that it means the same wherever it is read.
#[must_use]
pub fn is_whole(written: &str) -> bool {
    written.contains("://")
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
    let folder = websocket.rsplit_once('/').map_or(websocket, |(folder, _)| folder);
    format!("{}/stream", over_http(folder))
}

/// Whether `scheme` is that of an encrypted relay; `None` where it is not that of a relay.
fn is_scheme(scheme: &str) -> Option<bool> {
    let is_any = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is_any(["wss", "https"]) { Some(true) } else { is_any(["ws", "http"]).then_some(false) }
}

/// Whether `host` is a name or an address, with or without a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else { return false };
            if address.parse::<core::net::Ipv6Addr>().is_err() {
                return false;
            }
            match after.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if after.is_empty() => (address, None),
                None => return false,
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    !name.is_empty() && !name.contains(['[', ']', ',', ';', '*']) && port.is_none_or(is_port)
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
            ("h/joey/ws/", "ws://h/joey/ws/ws"),
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
