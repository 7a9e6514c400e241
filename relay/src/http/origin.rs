//! Which pages may connect. A browser lets any page open a WebSocket anywhere and says where the page came from; it is
//! the server that must look (RFC 6455 section 10.2).

use axum::http::{HeaderMap, header};

/// Whether a page of the origin in `headers` may connect: the relay's own, one on the list, or no page at all.
///
/// An origin is compared whole: scheme, host and port. `null`, which sandboxed frames and files have, is never the relay's own.
pub(super) fn is_allowed(headers: &HeaderMap, origins: &[String]) -> bool {
    let mut sent = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = sent.next() else { return true };
    let Some(origin) = origin.to_str().ok().filter(|_| sent.next().is_none()) else { return false };
    if origins.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    origin_host.is_some() && origin_host.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, allowed: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "relay.example:4000".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let list = ["https://ui.example".to_owned()];
        assert_eq!(is_allowed(&headers, &list), allowed, "{origin:?}");
    }

    #[test]
    fn only_the_same_host_the_list_and_programs_may_connect() {
        check(None, true);
        for origin in
            ["http://relay.example:4000", "https://relay.example:4000", "https://ui.example", "https://UI.example"]
        {
            check(Some(origin), true);
        }
        let others = [
            "null",
            "",
            "http://relay.example",
            "http://relay.example:4001",
            "http://relay.example:4000.evil.net",
            "https://ui.example.evil.net",
            "http://ui.example",
            "https://ui.example:444",
            "https://evil.net/https://ui.example",
            "ftp://relay.example:4000",
            "relay.example:4000",
        ];
        others.into_iter().for_each(|origin| check(Some(origin), false));
    }

    #[test]
    fn two_origins_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, "https://ui.example".parse().unwrap());
        headers.append(header::ORIGIN, "https://evil.net".parse().unwrap());
        assert!(!is_allowed(&headers, &["https://ui.example".to_owned()]));
    }
}
