//! Who may come in, and what for: pages, producers, viewers' tokens and the certificate, all of which may change while the
//! relay runs.
//!
//! [`Rules`] are made whole from a configuration and put into force at once; whoever holds a connection is told that there
//! are new ones and looks again. Rules that cannot be made leave the old ones in force.

pub mod claims;
mod origin;
pub mod tls;
pub mod token;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::HeaderMap;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::sync::watch;

use self::claims::Claims;
use self::origin::Origins;
use self::token::{Keys, Unacceptable};
use crate::config::Config;
use crate::runtime::clock::wall_ns;

/// The rules in force.
#[derive(Debug)]
pub struct Access(watch::Sender<Arc<Rules>>);

/// Everything that decides who may come in.
#[derive(Debug)]
pub struct Rules {
    origins: Origins,
    /// Networks of producers; nothing lets all of them in.
    producers: Option<Vec<IpNet>>,
    /// Nothing lets viewers in without a token.
    keys: Option<Keys>,
    tls: Option<Arc<ServerConfig>>,
    insecure_open: bool,
}

impl Access {
    /// The rules of `config`.
    ///
    /// # Errors
    /// See [`Rules::new`].
    pub fn new(config: &Config) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self(watch::Sender::new(Arc::new(Rules::new(config)?)))))
    }

    /// Puts the rules of `config` into force, reading keys and certificate anew.
    ///
    /// # Errors
    /// See [`Rules::new`]; the old ones stay in force.
    pub fn renew(&self, config: &Config) -> anyhow::Result<()> {
        self.0.send_replace(Arc::new(Rules::new(config)?));
        Ok(())
    }

    /// The rules in force now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.0.borrow().clone()
    }

    /// The rules in force, and word of every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.subscribe()
    }
}

impl Rules {
    /// Makes the rules of `config`; reads the files that it names.
    ///
    /// # Errors
    /// When an origin or a network is none, or a file cannot be read or is not what it should be.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let networks = |networks: &Vec<String>| networks.iter().map(|network| network_of(network)).collect();
        Ok(Self {
            origins: Origins::new(&config.origins, config.http.ip())?,
            producers: config.producers_allow.as_ref().map(networks).transpose()?,
            keys: Keys::read(&config.token_keys, &config.token_audience)?,
            tls: config.tls.as_ref().map(tls::server).transpose()?,
            insecure_open: config.insecure_open,
        })
    }

    /// Why a page of the origin in `headers` may not connect, or a program that names none at `peer`, and what lets it in;
    /// nothing if it may.
    #[must_use]
    pub fn refusal(&self, headers: &HeaderMap, peer: IpAddr) -> Option<String> {
        match self.origins.refusal(headers) {
            Some(refusal) => refusal,
            // A program that is elsewhere has to show a token later, where there are tokens.
            None if self.insecure_open || self.needs_token() || is_this_machine(peer) => None,
            None => Some(
                "This relay lets in programs on other machines only where it is started with --token-key or --insecure-open."
                    .to_owned(),
            ),
        }
    }

    /// Whether `origin` is on the list.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.origins.lists(origin)
    }

    /// Whether producers at `peer` may send.
    #[must_use]
    pub fn admits_producer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.producers.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&peer)))
    }

    /// Whether viewers have to show a token.
    #[must_use]
    pub const fn needs_token(&self) -> bool {
        self.keys.is_some()
    }

    /// What `token` allows now; everything, where there are no keys.
    ///
    /// # Errors
    /// When it is not one of these keys, not for this relay, or not good now.
    pub fn claims(&self, token: &str) -> Result<Claims, Unacceptable> {
        self.keys.as_ref().map_or_else(|| Ok(Claims::everything()), |keys| keys.claims(token, wall_ns() as f64 / 1e9))
    }

    /// Whether `peer` may read figures: from this machine, where nobody else speaks through a proxy; with a token; or anybody,
    /// where no token is asked for.
    #[must_use]
    pub fn admits_reader(&self, headers: &HeaderMap, peer: IpAddr) -> bool {
        let is_proxied = ["forwarded", "x-forwarded-for"].into_iter().any(|name| headers.contains_key(name));
        !self.needs_token()
            || (is_this_machine(peer) && !is_proxied)
            || bearer(headers).is_some_and(|token| self.claims(token).is_ok())
    }

    /// The certificate and its key, where connections are to be encrypted.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }
}

/// The token that a request brings in its head.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (kind, token) = headers.get(axum::http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// A network as it was typed: `10.0.0.0/8`, or one address.
fn network_of(typed: &str) -> anyhow::Result<IpNet> {
    let typed = typed.trim();
    let network = typed.parse().or_else(|error| typed.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
    network.with_context(|| format!("{typed} is not a network such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: Config) -> Rules {
        Rules::new(&config).unwrap()
    }

    #[test]
    fn producers_come_from_the_networks_on_the_list() {
        let check = |list: &[&str], peer: &str, admitted| {
            let list = list.iter().map(|&network| network.to_owned()).collect();
            let rules = rules(Config { producers_allow: Some(list), ..Config::default() });
            assert_eq!(rules.admits_producer(peer.parse().unwrap()), admitted, "{peer}");
        };
        check(&["10.1.0.0/16", "fd00::/8"], "10.1.255.255", true);
        check(&["10.1.0.0/16", "fd00::/8"], "fd12::1", true);
        check(&["10.1.0.0/16"], "10.2.0.0", false);
        check(&["10.1.0.0/16"], "127.0.0.1", false);
        check(&["10.1.0.0/16"], "::ffff:10.1.2.3", true);
        check(&["192.0.2.7"], "192.0.2.7", true);
        check(&["192.0.2.7"], "192.0.2.8", false);
        check(&["0.0.0.0/0"], "192.0.2.8", true);
        check(&["0.0.0.0/0"], "2001:db8::1", false);
        check(&[], "127.0.0.1", false);
        assert!(rules(Config::default()).admits_producer([192, 0, 2, 8].into()));
        let wrong = Config { producers_allow: Some(vec!["10.0.0.0/33".to_owned()]), ..Config::default() };
        assert!(Rules::new(&wrong).unwrap_err().to_string().contains("10.0.0.0/33"));
    }
}
