//! Which pages may connect. A browser lets any page open a WebSocket to any server and sends the page's origin. The server must
//! check it (RFC 6455 section 10.2).

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// The allowed origins. An origin is compared by scheme, host and port.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    /// The configured origins, in addition to the relay's own.
    configured: Vec<Origin>,
    /// The address that the relay listens on.
    listen: IpAddr,
}

/// The result of checking the header `Origin` of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OriginCheck {
    /// The request has no origin, so it comes from a program and not from a page.
    NoOrigin,
    /// The page's origin is configured or is the relay's own.
    Allowed,
    /// The page may not connect, for this reason.
    Rejected(String),
}

/// An origin as browsers write it: in lower case, and with the scheme's default port filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origins {
    /// Parses `configured`. Each entry is `scheme://host[:port]`; `*.` before a host stands for exactly one more label.
    pub(super) fn new(configured: &[String], listen: IpAddr) -> anyhow::Result<Self> {
        let parse = |text: &String| {
            let origin = Origin::parse(text.trim_end_matches('/'));
            // `*.com` would allow anyone who registers a domain there.
            let origin = origin.filter(|origin| match origin.host.strip_prefix("*.") {
                Some(rest) => rest.contains('.') && !rest.contains('*'),
                None => !origin.host.contains('*'),
            });
            origin.ok_or_else(|| {
                anyhow::anyhow!("{text} is not an origin such as https://ui.example.com or https://*.example.com:8443")
            })
        };
        Ok(Self { configured: configured.iter().map(parse).collect::<anyhow::Result<_>>()?, listen })
    }

    /// Checks the origin in `headers`. It is allowed if it is configured, or if it is the relay's own.
    ///
    /// `null`, the origin of sandboxed frames and files, is never the relay's own. If the relay listens on a loopback address,
    /// its own origin must have an IP address or `localhost` as host. This prevents DNS rebinding: an attacker could serve a page
    /// under any other name and then point that name at this machine.
    pub(super) fn check(&self, headers: &HeaderMap) -> OriginCheck {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let Some(first) = sent.next() else { return OriginCheck::NoOrigin };
        let sole = first.to_str().ok().filter(|_| sent.next().is_none());
        let Some(origin) = sole.and_then(Origin::parse) else {
            return OriginCheck::Rejected(
                "A page without an origin, such as a file or a sandboxed frame, may not connect.".to_owned(),
            );
        };
        if self.is_configured(&origin) || self.is_own(&origin, headers) {
            return OriginCheck::Allowed;
        }
        OriginCheck::Rejected(format!(
            "Pages of the origin {origin} may not connect to this relay. To allow them, start it with --origin {origin} \
             (or JOEY_ORIGIN)."
        ))
    }

    /// Whether `origin` is configured.
    pub(super) fn contains(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.is_configured(&origin))
    }

    fn is_configured(&self, origin: &Origin) -> bool {
        self.configured.iter().any(|configured| configured.matches(origin))
    }

    /// Whether the page was loaded from the host that it connects to. A proxy may add or omit the default port, and may terminate
    /// TLS.
    fn is_own(&self, origin: &Origin, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(Host::parse);
        host.is_some_and(|host| {
            host.name == origin.host
                && host.port.unwrap_or_else(|| origin.default_port()) == origin.port
                && (!self.listen.is_loopback() || host.is_this_machine())
        })
    }
}

/// The header `Host` of a request, normalized like an [`Origin`].
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        (!authority.as_str().contains('@'))
            .then(|| Self { name: normalized(authority.host()), port: authority.port_u16() })
    }

    /// Whether it is an address or `localhost`.
    fn is_this_machine(&self) -> bool {
        let name = self.name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    }
}

/// A host as browsers write it: in lower case, with an IPv6 address in its shortest form.
fn normalized(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).and_then(|host| host.parse::<Ipv6Addr>().ok())
    {
        Some(address) => format!("[{address}]"),
        None => host,
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default = default_port(&scheme)?;
        let authority: Authority = rest.parse().ok()?;
        // An origin consists of host and port only, without user or path.
        let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16());
        let written = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        (!host.is_empty() && written == rest.to_ascii_lowercase()).then(|| Self {
            scheme,
            host: normalized(&host),
            port: port.unwrap_or(default),
        })
    }

    fn default_port(&self) -> u16 {
        default_port(&self.scheme).unwrap_or_default()
    }

    /// Whether `other` matches this origin, which may begin with `*.`.
    fn matches(&self, other: &Self) -> bool {
        let is_host = match self.host.strip_prefix("*.") {
            Some(parent) => other.host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => self.host == other.host,
        };
        is_host && (&self.scheme, self.port) == (&other.scheme, other.port)
    }
}

impl Display for Origin {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(out, "{scheme}://{host}")?;
        if *port == self.default_port() { Ok(()) } else { write!(out, ":{port}") }
    }
}

/// The default port of `scheme`, or `None` if pages cannot have this scheme.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(configured: &[&str], listen: [u8; 4]) -> anyhow::Result<Origins> {
        let configured: Vec<String> = configured.iter().map(|&origin| origin.to_owned()).collect();
        Origins::new(&configured, listen.into())
    }

    fn headers(host: &str, sent: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for origin in sent {
            headers.append(header::ORIGIN, header::HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        headers
    }

    /// Whether a request is allowed, or `None` if it has no origin.
    fn is_allowed(origins: &Origins, headers: &HeaderMap) -> Option<bool> {
        match origins.check(headers) {
            OriginCheck::NoOrigin => None,
            OriginCheck::Allowed => Some(true),
            OriginCheck::Rejected(_) => Some(false),
        }
    }

    fn check(sent: &[&str], expected: Option<bool>) {
        let configured =
            ["https://ui.example", "http://plain.example:8080/", "https://*.wild.example", "https://*.w.example:444"];
        let origins = origins(&configured, [10, 0, 0, 1]).unwrap();
        assert_eq!(is_allowed(&origins, &headers("relay.example:4000", sent)), expected, "{sent:?}");
    }

    #[test]
    fn only_the_same_host_and_configured_origins_may_connect() {
        check(&[], None);
        for origin in [
            "http://relay.example:4000",
            "https://relay.example:4000",
            "https://ui.example",
            "https://UI.example",
            "HTTPS://ui.example",
            "https://ui.example:443",
            "http://plain.example:8080",
            "https://a.wild.example",
            "https://a-b.WILD.example",
            "https://a.w.example:444",
        ] {
            check(&[origin], Some(true));
        }
        for origin in [
            "null",
            "",
            "*",
            "https://",
            "http://relay.example",
            "http://relay.example:4001",
            "http://relay.example:4000.evil.net",
            "https://ui.example.evil.net",
            "https://ui.example.",
            "https://ui.exampl",
            "https://xui.example",
            "https://sub.ui.example",
            "http://ui.example",
            "https://ui.example:444",
            "https://ui.example:",
            "https://ui.example/",
            "https://ui.example/x",
            "https://ui.example#x",
            "https://ui.example@evil.net",
            "https://evil.net@ui.example",
            "https://evil.net/https://ui.example",
            "https://ui.example https://evil.net",
            "https://u\u{456}.example",
            "https://xn--u-iia.example",
            "http://plain.example",
            "https://plain.example:8080",
            "https://wild.example",
            "https://a.b.wild.example",
            "https://.wild.example",
            "https://awild.example",
            "https://*.wild.example.evil.net",
            "http://a.wild.example",
            "https://a.wild.example:444",
            "https://a.w.example",
            "ftp://relay.example:4000",
            "relay.example:4000",
        ] {
            check(&[origin], Some(false));
        }
    }

    #[test]
    fn a_request_with_two_origins_is_rejected() {
        check(&["https://ui.example", "https://evil.net"], Some(false));
        check(&["https://ui.example", "https://ui.example"], Some(false));
    }

    #[test]
    fn a_relay_on_loopback_rejects_rebound_dns_names() {
        let check = |host: &str, expected| {
            let origins = origins(&[], [127, 0, 0, 1]).unwrap();
            let headers = headers(host, &[&format!("http://{host}")]);
            assert_eq!(is_allowed(&origins, &headers), Some(expected), "{host}");
        };
        ["127.0.0.1:4000", "localhost:4000", "LOCALHOST", "[::1]:4000"].into_iter().for_each(|host| check(host, true));
        ["evil.example:4000", "localhost.evil.example", "127.0.0.1.evil.example"]
            .into_iter()
            .for_each(|host| check(host, false));
    }

    #[test]
    fn the_default_port_is_optional() {
        let check = |listen, host: &str, origin: &str, expected| {
            let origins = origins(&[], listen).unwrap();
            assert_eq!(is_allowed(&origins, &headers(host, &[origin])), Some(expected), "{host} {origin}");
        };
        for listen in [[10, 0, 0, 1], [127, 0, 0, 1]] {
            for (host, origin, expected) in [
                ("127.0.0.1:80", "http://127.0.0.1", true),
                ("127.0.0.1", "http://127.0.0.1:80", true),
                ("127.0.0.1:443", "https://127.0.0.1", true),
                ("127.0.0.1", "https://127.0.0.1", true),
                ("[0:0::1]:443", "https://[::1]", true),
                ("LOCALHOST:80", "http://localhost", true),
                ("127.0.0.1:443", "http://127.0.0.1", false),
                ("127.0.0.1:80", "https://127.0.0.1", false),
                ("127.0.0.1:4000", "http://127.0.0.1", false),
                ("127.0.0.1", "http://127.0.0.1:4000", false),
                ("x@127.0.0.1", "http://127.0.0.1", false),
                ("127.0.0.1:80:80", "http://127.0.0.1", false),
            ] {
                check(listen, host, origin, expected);
            }
        }
    }

    #[test]
    fn a_rejection_names_the_option_that_allows_the_origin() {
        let rejection =
            |sent: &str| match origins(&[], [127, 0, 0, 1]).unwrap().check(&headers("joey.localhost:4000", &[sent])) {
                OriginCheck::Rejected(reason) => reason,
                other => panic!("{other:?}"),
            };
        assert!(rejection("http://joey.localhost:4000").contains("start it with --origin http://joey.localhost:4000 "));
        assert!(rejection("HTTPS://A.example:443").contains("--origin https://a.example "));
        assert!(rejection("null").contains("without an origin"));
    }

    #[test]
    fn an_invalid_origin_is_an_error() {
        for text in [
            "*",
            "null",
            "ui.example",
            "https://ui.example/page",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://a*.example.com",
            "ftp://ui.example",
        ] {
            let error = origins(&[text], [127, 0, 0, 1]).unwrap_err();
            assert!(error.to_string().contains(text), "{text}");
        }
    }
}
