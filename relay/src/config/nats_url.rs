//! The address of a NATS server, which may contain credentials.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// The address of a NATS server. A password or token in it is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NatsUrl(ServerAddr);

impl FromStr for NatsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.trim().parse::<ServerAddr>().map_err(|error| error.to_string())?;
        match address.scheme() {
            "nats" | "tls" if !address.host().is_empty() => Ok(Self(address)),
            _ => Err("the address must be nats://host:port or tls://host:port".to_owned()),
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
    /// Splits the address from its credentials: user and password, or a token without a password.
    pub(crate) fn split(&self) -> (ServerAddr, Option<(String, Option<String>)>) {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = self.0.username().map(|user| (decoded(user), self.0.password().map(decoded)));
        // The library may log an address, so it must not contain credentials.
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
    fn credentials_in_an_address_are_never_printed() {
        check("10.1.0.7", "nats://10.1.0.7:4222", None);
        check("nats://nats.example", "nats://nats.example:4222", None);
        check("tls://nats.example:4443", "tls://nats.example:4443", None);
        check("nats://joey:s3%40cret@[::1]:4222", "nats://[::1]:4222", Some(("joey", Some("s3@cret"))));
        check("nats://t0ken@nats.example", "nats://nats.example:4222", Some(("t0ken", None)));
    }

    #[test]
    fn other_addresses_are_rejected() {
        for url in ["", "http://nats.example", "ws://nats.example", "nats://"] {
            assert!(url.parse::<NatsUrl>().is_err(), "{url:?}");
        }
    }
}
