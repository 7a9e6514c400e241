//! Where the keys of tokens come from besides `--token-key`, and how their claims are read.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use serde::Deserialize;

/// Where a JSON Web Key Set (RFC 7517) is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At an `https://` address, or an `http://` address of this machine.
    Url(Uri),
}

impl FromStr for JwksSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a file or an https:// address is required".to_owned());
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url: Uri =
            text.parse().map_err(|error| format!("the address must be https://host[:port]/path: {error}"))?;
        let host = url.host().unwrap_or_default();
        match url.scheme_str() {
            _ if url.authority().is_none_or(|authority| authority.as_str().contains('@')) => {
                Err("the address must be https://host[:port]/path, without credentials".to_owned())
            }
            Some("https") if !host.is_empty() => Ok(Self::Url(url)),
            // Anyone on the way could replace the keys.
            Some("http") if is_this_machine(host) => Ok(Self::Url(url)),
            Some("http") => Err("http:// is accepted for this machine only; use https://, or a file".to_owned()),
            _ => Err("the address must begin with https://".to_owned()),
        }
    }
}

impl TryFrom<String> for JwksSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for JwksSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(out),
            Self::Url(url) => url.fmt(out),
        }
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A key set that an identity provider publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks {
    /// Where it is.
    pub source: JwksSource,
    /// A certificate authority to trust in addition to those of the machine, in PEM.
    pub ca: Option<PathBuf>,
}

/// What tokens must claim, and in which claims they say what they allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The required issuer (claim `iss`). Default: any.
    pub issuer: Option<String>,
    /// Allowed difference between the clocks of the issuer and the relay. Default: 5 s.
    pub leeway: Duration,
    /// The claim with the applications that a token allows to watch. Default: `apps`.
    pub apps: ClaimName,
    /// The claim with the categories that a token allows to watch. Default: `categories`.
    pub categories: ClaimName,
    /// The claim with the applications that a token allows to send for. Default: `send`, and without it those of `apps`.
    pub send: ClaimName,
}

impl Default for TokenRules {
    fn default() -> Self {
        let default = |name: &str| ClaimName { name: name.to_owned(), is_configured: false };
        Self {
            issuer: None,
            leeway: Duration::from_secs(5),
            apps: default("apps"),
            categories: default("categories"),
            send: default("send"),
        }
    }
}

/// The name of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    /// Its name, or a JSON pointer (RFC 6901) such as `/resource_access/joey/roles`.
    pub name: String,
    /// Whether the configuration names it. Then a token without it allows nothing, and its value may also be a string of names
    /// separated by spaces, as in the claim `scope`.
    pub is_configured: bool,
}

impl ClaimName {
    /// The claim `name`, or `default`.
    pub(super) fn resolve(name: Option<String>, default: Self) -> Self {
        name.map_or(default, |name| Self { name: name.trim().to_owned(), is_configured: true })
    }
}

/// Whether `host` of an address always is this machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_file_or_over_an_authenticated_connection() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<JwksSource>(), expected) {
            (Ok(source), Ok(shown)) => assert_eq!(source.to_string(), shown, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check(" /etc/joey/jwks.json ", Ok("/etc/joey/jwks.json"));
        check("jwks.json", Ok("jwks.json"));
        check("https://idp.example/jwks?tenant=a", Ok("https://idp.example/jwks?tenant=a"));
        check("http://127.0.0.1:8080/jwks", Ok("http://127.0.0.1:8080/jwks"));
        check("http://[::1]:8080/jwks", Ok("http://[::1]:8080/jwks"));
        check("http://localhost/jwks", Ok("http://localhost/jwks"));
        check("http://idp.example/jwks", Err("this machine only"));
        check("http://localhost.evil.example/jwks", Err("this machine only"));
        check("http://127.0.0.1@evil.example/", Err("without credentials"));
        check("https://user:pass@idp.example/", Err("without credentials"));
        check("ftp://idp.example/", Err("https://"));
        check("file:///etc/jwks.json", Err("https://"));
        check("https://", Err(""));
        check("", Err("required"));
    }
}
