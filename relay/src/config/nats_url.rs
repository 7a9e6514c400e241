//! The address of a NATS server, which may hold a password or a token.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// A NATS server's address. What it holds besides, a password or a token, is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NatsUrl(ServerAddr);

impl FromStr for NatsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.trim().parse::<ServerAddr>().map_err(|error| error.to_string())?;
        match address.scheme() {
            "nats" | "tls" if !address.host().is_empty() => Ok(Self(address)),
            _ => Err("an address is nats://host:port or tls://host:port".to_owned()),
        }
    }
}

impl TryFrom<String> for NatsUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(out, "{}://{open}{host}{close}:{}", self.0.scheme(), self.0.port())
    }
}

impl NatsUrl {
    /// The address alone, and the user and password in it; a user alone is a token.
    pub(crate) fn split(&self) -> (ServerAddr, Option<(String, Option<String>)>) {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = self.0.username().map(|user| (decoded(user), self.0.password().map(decoded)));
        // What is in an address may end up in a log.
        (format!("{self:?}").parse().unwrap_or_else(|_| self.0.clone()), user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, shown: &str, user: Option<(&str, Option<&str>)>) {
        let url: NatsUrl = url.parse().unwrap();
        assert_eq!(format!("{url:?}"), shown);
        let (address, found) = url.split();
        let found = found.as_ref().map(|(user, password)| (user.as_str(), password.as_deref()));
        assert_eq!((address.has_user_pass(), found), (false, user));
    }

    #[test]
    fn an_address_may_hold_a_user_or_a_token_and_never_shows_it() {
        check("10.1.0.7", "nats://10.1.0.7:4222", None);
        check("nats://nats.example", "nats://nats.example:4222", None);
        check("tls://nats.example:4443", "tls://nats.example:4443", None);
        check("nats://joey:s3%40cret@[::1]:4222", "nats://[::1]:4222", Some(("joey", Some("s3@cret"))));
        check("nats://t0ken@nats.example", "nats://nats.example:4222", Some(("t0ken", None)));
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in ["", "http://nats.example", "ws://nats.example", "nats://"] {
            assert!(url.parse::<NatsUrl>().is_err(), "{url:?}");
        }
    }
}
