//! Which pages may connect. A browser lets any page open a WebSocket anywhere and says where the page came from; it is
//! the server that must look (RFC 6455 section 10.2).

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// Origins besides the relay's own, each compared whole: scheme, host and port.
#[derive(Debug)]
pub(super) struct Origins {
    listed: Vec<Origin>,
    /// Where the relay listens.
    own: IpAddr,
}

/// One origin, as browsers write it: in small letters, and without the port that its scheme has anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origins {
    /// Those in `typed`, each `scheme://host[:port]`, where `*.` in front of a host stands for one more name before it.
    pub(super) fn new(typed: &[String], own: IpAddr) -> anyhow::Result<Self> {
        let origin = |typed: &String| {
            let origin = Origin::parse(typed.trim().trim_end_matches('/'));
            // Below a single name, `*` would let in whoever can buy one.
            let origin = origin.filter(|origin| match origin.host.strip_prefix("*.") {
                Some(rest) => rest.contains('.') && !rest.contains('*'),
                None => !origin.host.contains('*'),
            });
            origin.ok_or_else(|| {
                anyhow::anyhow!("{typed} is not an origin such as https://ui.example.com or https://*.example.com:8443")
            })
        };
        Ok(Self { listed: typed.iter().map(origin).collect::<anyhow::Result<_>>()?, own })
    }

    /// Why a page of the origin in `headers` may not connect, and what lets it in; inside nothing if it may: it is on the list,
    /// or the relay's own. Nothing where no page asks.
    ///
    /// `null`, which sandboxed frames and files have, is never the relay's own. A relay on a loopback address is known by an
    /// address or as `localhost` only: any other name may be one that its owner has pointed at this machine after serving a
    /// page under it.
    pub(super) fn refusal(&self, headers: &HeaderMap) -> Option<Option<String>> {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let first = sent.next()?;
        let sole = first.to_str().ok().filter(|_| sent.next().is_none());
        let Some(origin) = sole.and_then(Origin::parse) else {
            return Some(Some(
                "A page without an origin, such as a file or a sandboxed frame, may not connect.".to_owned(),
            ));
        };
        if self.lists_parsed(&origin) || self.is_own(&origin, headers) {
            return Some(None);
        }
        Some(Some(format!(
            "Pages of the origin {origin} may not connect to this relay. To let them in, start it with --origin {origin} \
             (or JOEY_ORIGIN)."
        )))
    }

    /// Whether `origin` is on the list.
    pub(super) fn lists(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.lists_parsed(&origin))
    }

    fn lists_parsed(&self, origin: &Origin) -> bool {
        self.listed.iter().any(|listed| listed.takes(origin))
    }

    /// Whether the page came from where it wants to connect to. A proxy in front may write the usual port or leave it out, and
    /// may be the one that encrypts.
    fn is_own(&self, origin: &Origin, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(Host::parse);
        host.is_some_and(|host| {
            host.name == origin.host
                && host.port.unwrap_or_else(|| origin.usual_port()) == origin.port
                && (!self.own.is_loopback() || host.is_this_machine())
        })
    }
}

/// What a request says of where it goes, in the form in which an [`Origin`] has it.
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        (!authority.as_str().contains('@')).then(|| Self { name: normal(authority.host()), port: authority.port_u16() })
    }

    /// Whether it is an address or `localhost`.
    fn is_this_machine(&self) -> bool {
        let name = self.name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    }
}

/// A host as browsers write it: in small letters, and a numeric address in its shortest form.
fn normal(host: &str) -> String {
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
        let usual = usual_port(&scheme)?;
        let authority: Authority = rest.parse().ok()?;
        // A host and a port are all of it: nobody's name, no path.
        let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16());
        let written = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        (!host.is_empty() && written == rest.to_ascii_lowercase()).then(|| Self {
            scheme,
            host: normal(&host),
            port: port.unwrap_or(usual),
        })
    }

    fn usual_port(&self) -> u16 {
        usual_port(&self.scheme).unwrap_or_default()
    }

    /// Whether this one, which may begin with `*.`, stands for `other`.
    fn takes(&self, other: &Self) -> bool {
        let is_host = match self.host.strip_prefix("*.") {
            Some(rest) => other.host.split_once('.').is_some_and(|(name, below)| !name.is_empty() && below == rest),
            None => self.host == other.host,
        };
        is_host && (&self.scheme, self.port) == (&other.scheme, other.port)
    }
}

impl Display for Origin {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(out, "{scheme}://{host}")?;
        if *port == self.usual_port() { Ok(()) } else { write!(out, ":{port}") }
    }
}

/// The port that `scheme` has where none is written; nothing where pages have no such scheme.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(typed: &[&str], own: [u8; 4]) -> anyhow::Result<Origins> {
        let typed: Vec<String> = typed.iter().map(|&origin| origin.to_owned()).collect();
        Origins::new(&typed, own.into())
    }

    fn headers(host: &str, sent: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for origin in sent {
            headers.append(header::ORIGIN, header::HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        headers
    }

    fn check(sent: &[&str], admitted: Option<bool>) {
        let list =
            ["https://ui.example", "http://plain.example:8080/", "https://*.wild.example", "https://*.w.example:444"];
        let origins = origins(&list, [10, 0, 0, 1]).unwrap();
        let refusal = origins.refusal(&headers("relay.example:4000", sent));
        assert_eq!(refusal.map(|refusal| refusal.is_none()), admitted, "{sent:?}");
    }

    #[test]
    fn only_the_same_host_and_the_list_may_connect() {
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
    fn two_origins_are_none() {
        check(&["https://ui.example", "https://evil.net"], Some(false));
        check(&["https://ui.example", "https://ui.example"], Some(false));
    }

    #[test]
    fn a_relay_on_loopback_is_not_known_by_names_that_others_can_point_at_it() {
        let check = |host: &str, admitted| {
            let origins = origins(&[], [127, 0, 0, 1]).unwrap();
            let refusal = origins.refusal(&headers(host, &[&format!("http://{host}")]));
            assert_eq!(refusal.map(|refusal| refusal.is_none()), Some(admitted), "{host}");
        };
        ["127.0.0.1:4000", "localhost:4000", "LOCALHOST", "[::1]:4000"].into_iter().for_each(|host| check(host, true));
        ["evil.example:4000", "localhost.evil.example", "127.0.0.1.evil.example"]
            .into_iter()
            .for_each(|host| check(host, false));
    }

    #[test]
    fn the_usual_port_may_be_written_or_left_out() {
        let check = |own, host: &str, origin: &str, admitted| {
            let refusal = origins(&[], own).unwrap().refusal(&headers(host, &[origin]));
            assert_eq!(refusal.map(|refusal| refusal.is_none()), Some(admitted), "{host} {origin}");
        };
        for own in [[10, 0, 0, 1], [127, 0, 0, 1]] {
            for (host, origin, admitted) in [
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
                check(own, host, origin, admitted);
            }
        }
    }

    #[test]
    fn who_is_turned_away_is_told_what_lets_it_in() {
        let refusal = |sent: &str| {
            let refusal = origins(&[], [127, 0, 0, 1]).unwrap().refusal(&headers("joey.localhost:4000", &[sent]));
            refusal.flatten().unwrap()
        };
        assert!(refusal("http://joey.localhost:4000").contains("start it with --origin http://joey.localhost:4000 "));
        assert!(refusal("HTTPS://A.example:443").contains("--origin https://a.example "));
        assert!(refusal("null").contains("without an origin"));
    }

    #[test]
    fn what_is_no_origin_is_said_at_once() {
        for typed in [
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
            let error = origins(&[typed], [127, 0, 0, 1]).unwrap_err();
            assert!(error.to_string().contains(typed), "{typed}");
        }
    }
}
