//! The address of a port that the relay can do without.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

/// Whether and where an optional port listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// It does not listen.
    Off,
    /// At this address. The relay does not start without it.
    On(SocketAddr),
    /// At this address unless another process uses it: nobody has asked for this port.
    IfFree(SocketAddr),
}

impl Listen {
    /// The configured address, or `None` if the port is off.
    #[must_use]
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::On(address) | Self::IfFree(address) => Some(address),
        }
    }
}

/// The value of an option: an address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenOption(Option<SocketAddr>);

impl FromStr for ListenOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "off" | "none" => Ok(Self(None)),
            address => match address.parse() {
                Ok(address) => Ok(Self(Some(address))),
                Err(_) => Err("neither an address such as 127.0.0.1:4318 nor off".to_owned()),
            },
        }
    }
}

impl From<SocketAddr> for ListenOption {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address))
    }
}

impl TryFrom<String> for ListenOption {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ListenOption> for Listen {
    fn from(option: ListenOption) -> Self {
        option.0.map_or(Self::Off, Self::On)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_an_address_or_off() {
        let listen = |text: &str| text.parse().map(|option: ListenOption| Listen::from(option)).ok();
        assert_eq!(listen("127.0.0.1:4318"), Some(Listen::On(SocketAddr::from(([127, 0, 0, 1], 4318)))));
        assert_eq!([listen("off"), listen(" none ")], [Some(Listen::Off); 2]);
        assert_eq!([listen(""), listen("4318"), listen("OFF"), listen("localhost:1")], [None; 4]);
    }
}
