//! Which pages may connect. A browser lets any page open a WebSocket anywhere and says where the page came from; it is
//! the server that must look (RFC 6455 section 10.2).

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use crate::config::Config;

/// Whether a page of the origin in `headers` may connect: the relay's own, one on the list, or no page at all.
///
/// An origin is compared whole: scheme, host and port. `null`, which sandboxed frames and files have, is never the relay's own.
/// A relay on a loopback address is known by an address or as `localhost` only: any other name may be one that its owner
/// has pointed at this machine after serving a page under it.
pub(super) fn is_allowed(headers: &HeaderMap, config: &Config) -> bool {
    is_listed_or_own(headers, &config.origins, config.http.ip())
}

fn is_listed_or_own(headers: &HeaderMap, origins: &[String], own: IpAddr) -> bool {
    let mut sent = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = sent.next() else { return true };
    let Some(origin) = origin.to_str().ok().filter(|_| sent.next().is_none()) else { return false };
    if origins.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    origin_host.is_some()
        && origin_host.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
        && (!own.is_loopback() || host.is_some_and(is_this_machine))
}

/// Whether `host`, with or without a port, is an address or `localhost`.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
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
        assert_eq!(is_listed_or_own(&headers, &list, [10, 0, 0, 1].into()), allowed, "{origin:?}");
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
        assert!(!is_listed_or_own(&headers, &["https://ui.example".to_owned()], [10, 0, 0, 1].into()));
    }

    #[test]
    fn a_relay_on_loopback_is_not_known_by_names_that_others_can_point_at_it() {
        let check = |host: &str, allowed| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, format!("http://{host}").parse().unwrap());
            assert_eq!(is_listed_or_own(&headers, &[], [127, 0, 0, 1].into()), allowed, "{host}");
        };
        ["127.0.0.1:4000", "localhost:4000", "LOCALHOST", "[::1]:4000"].into_iter().for_each(|host| check(host, true));
        ["evil.example:4000", "localhost.evil.example", "127.0.0.1.evil.example"]
            .into_iter()
            .for_each(|host| check(host, false));
    }
}
