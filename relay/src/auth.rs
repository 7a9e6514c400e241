//! Which pages, producers and viewers may connect, and what they may read. Also holds the TLS certificate. All of this can change
//! while the relay runs.
//!
//! An [`AuthPolicy`] is built from a configuration and replaces the current one as a whole. Open connections are notified and
//! checked again. If a policy cannot be built, the current one stays in force.

pub mod claims;
pub mod jwks;
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
use self::jwks::KeySet;
use self::jwks::fetch;
use self::jwks::refresh::Refresh;
use self::origin::{OriginCheck, Origins};
use self::token::{Keys, TokenError};
use crate::config::{Config, Jwks, JwksSource};
use crate::metrics::CloseReason;
use crate::runtime::clock::wall_ns;

/// Holds the policy in force.
#[derive(Debug)]
pub struct Auth {
    policy: watch::Sender<Arc<AuthPolicy>>,
    refresh: Refresh,
}

/// Decides who may connect.
#[derive(Clone, Debug)]
pub struct AuthPolicy {
    origins: Origins,
    /// Networks that producers may connect from; `None` allows all.
    producers: Option<Vec<IpNet>>,
    /// Keys of viewers' tokens; `None` allows viewers without a token.
    keys: Option<Keys>,
    /// Where the identity provider's keys are, if there is one.
    jwks: Option<Jwks>,
    tls: Option<Arc<ServerConfig>>,
    insecure_open: bool,
}

impl Auth {
    /// Starts with the policy of `config`. The keys of an identity provider are not fetched yet.
    ///
    /// # Errors
    /// See [`AuthPolicy::new`].
    pub fn new(config: &Config) -> anyhow::Result<Arc<Self>> {
        let policy = watch::Sender::new(Arc::new(AuthPolicy::new(config)?));
        Ok(Arc::new(Self { policy, refresh: Refresh::default() }))
    }

    /// Replaces the policy by that of `config`. Reads the keys and the certificate again. If the configuration names another
    /// identity provider, its keys are fetched first.
    ///
    /// # Errors
    /// See [`AuthPolicy::new`], and if the keys of another identity provider cannot be fetched. The current policy then stays in
    /// force.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        let current = self.policy();
        let provider = match &config.jwks {
            Some(jwks) if current.jwks() == Some(jwks) && matches!(jwks.source, JwksSource::Url(_)) => {
                current.keys.as_ref().and_then(|keys| keys.provider().cloned()).unwrap_or_default()
            }
            Some(jwks) => Arc::new(fetch::fetch(jwks).await?.keys),
            None => Arc::default(),
        };
        self.policy.send_replace(Arc::new(AuthPolicy::with_provider(config, provider)?));
        self.refresh.request();
        Ok(())
    }

    /// The current policy.
    #[must_use]
    pub fn policy(&self) -> Arc<AuthPolicy> {
        self.policy.borrow().clone()
    }

    /// Watches the policy for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<AuthPolicy>> {
        self.policy.subscribe()
    }

    /// The state of fetching the keys of an identity provider.
    #[must_use]
    pub const fn refresh(&self) -> &Refresh {
        &self.refresh
    }

    /// Puts the keys of `jwks` into force, if it still is the configured one. Returns whether they differ from the current ones.
    fn replace_provider(&self, jwks: &Jwks, provider: KeySet) -> bool {
        self.policy.send_if_modified(|policy| {
            let Some(keys) = policy.keys.as_ref().filter(|_| policy.jwks() == Some(jwks)) else { return false };
            if keys.provider().is_some_and(|current| current.is_same(&provider)) {
                return false;
            }
            let keys = Some(keys.with_provider(Arc::new(provider)));
            *policy = Arc::new(AuthPolicy { keys, ..AuthPolicy::clone(policy) });
            true
        })
    }
}

impl AuthPolicy {
    /// Builds the policy of `config`. Reads the files that it names. The keys of an identity provider are not fetched.
    ///
    /// # Errors
    /// Fails if an origin or a network is invalid, or a key or certificate file cannot be read or used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let provider = match &config.jwks {
            Some(Jwks { source: JwksSource::File(path), .. }) => fetch::read_file(path)?,
            _ => KeySet::default(),
        };
        Self::with_provider(config, Arc::new(provider))
    }

    /// Builds the policy of `config` with the keys of its identity provider, if it has one.
    ///
    /// # Errors
    /// See [`AuthPolicy::new`].
    pub fn with_provider(config: &Config, provider: Arc<KeySet>) -> anyhow::Result<Self> {
        let networks = |networks: &Vec<String>| networks.iter().map(|network| parse_network(network)).collect();
        if let Some(ca) = config.jwks.as_ref().and_then(|jwks| jwks.ca.as_deref()) {
            tls::client_config(Some(ca))?;
        }
        Ok(Self {
            origins: Origins::new(&config.origins, config.http.ip())?,
            producers: config.producers_allow.as_ref().map(networks).transpose()?,
            keys: Keys::read(config, config.jwks.as_ref().map(|_| provider))?,
            jwks: config.jwks.clone(),
            tls: config.tls.as_ref().map(tls::server_config).transpose()?,
            insecure_open: config.insecure_open,
        })
    }

    /// Checks the page of the origin in `headers`, or the program without an origin at `peer`. Returns why it may not connect and
    /// which option would allow it, or `None` if it may connect.
    #[must_use]
    pub fn rejection(&self, headers: &HeaderMap, peer: IpAddr) -> Option<String> {
        match self.origins.check(headers) {
            OriginCheck::Allowed => None,
            OriginCheck::Rejected(reason) => Some(reason),
            // If tokens are required, a program on another machine has to send one later.
            OriginCheck::NoOrigin if self.insecure_open || self.requires_token() || is_this_machine(peer) => None,
            OriginCheck::NoOrigin => Some(
                "Programs on other machines may connect only if this relay is started with --token-key, --jwks or --insecure-open."
                    .to_owned(),
            ),
        }
    }

    /// Whether `origin` is one of the configured origins.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.contains(origin)
    }

    /// Whether producers at `peer` may connect.
    #[must_use]
    pub fn allows_producer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.producers.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&peer)))
    }

    /// What a producer at `peer` that sends requests with `headers` may send. On this machine, and if networks of producers are
    /// configured, it needs no token. A request that came through a proxy is not from this machine.
    ///
    /// # Errors
    /// Fails if it needs a token and sends none that is valid.
    pub fn producer_claims(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Claims, TokenError> {
        match self.needed_token(headers, peer) {
            None => Ok(Claims::unrestricted()),
            Some(None) => Err(TokenError::Missing),
            Some(Some(token)) => self.verify(token),
        }
    }

    /// The token that a producer at `peer` needs and sends. The outer `None` means that it needs none.
    pub(crate) fn needed_token<'a>(&self, headers: &'a HeaderMap, peer: IpAddr) -> Option<Option<&'a str>> {
        let needs_none = !self.requires_token() || self.producers.is_some() || is_from_this_machine(headers, peer);
        (!needs_none).then(|| bearer(headers))
    }

    /// Whether viewers need a token.
    #[must_use]
    pub const fn requires_token(&self) -> bool {
        self.keys.is_some()
    }

    /// Where the identity provider's keys are, if there is one.
    #[must_use]
    pub const fn jwks(&self) -> Option<&Jwks> {
        self.jwks.as_ref()
    }

    /// Number of the identity provider's keys in force.
    #[must_use]
    pub fn provider_keys(&self) -> usize {
        self.provider().map_or(0, |provider| provider.len())
    }

    /// The identity provider's keys, if there is one.
    #[must_use]
    pub fn provider(&self) -> Option<&Arc<KeySet>> {
        self.keys.as_ref().and_then(Keys::provider)
    }

    /// Whether `token` may be signed with a key that the identity provider has published since its keys were fetched.
    #[must_use]
    pub fn lacks_key_of(&self, token: &str) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.lacks_key_of(token))
    }

    /// Verifies `token` and returns its claims. Without keys, any token allows everything.
    ///
    /// # Errors
    /// Fails if none of the keys signed the token, or if it is for another audience, from another issuer, expired or
    /// not yet valid.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let Some(keys) = &self.keys else { return Ok(Claims::unrestricted()) };
        let claims = keys.verify(token, wall_ns() as f64 / 1e9);
        if let Err(error) = &claims {
            tracing::debug!("a token is refused: {error}");
        }
        claims
    }

    /// Checks the token that a producer of `app` has sent. Without keys, any token allows everything.
    ///
    /// # Errors
    /// [`CloseReason::InvalidToken`], or [`CloseReason::ForbiddenApp`] if the token does not allow to send for `app`.
    pub fn check_producer_token(&self, token: &str, app: &str) -> Result<(), CloseReason> {
        let claims = self.verify(token).map_err(|_| CloseReason::InvalidToken)?;
        if claims.allow_sending(app) { Ok(()) } else { Err(CloseReason::ForbiddenApp) }
    }

    /// Whether `peer` may read `/metrics`: any peer if no token is required, a peer on this machine unless the request
    /// came through a proxy, and any peer with a valid token.
    #[must_use]
    pub fn allows_metrics_reader(&self, headers: &HeaderMap, peer: IpAddr) -> bool {
        !self.requires_token()
            || is_from_this_machine(headers, peer)
            || bearer(headers).is_some_and(|token| self.verify(token).is_ok())
    }

    /// The TLS certificate and its key, or `None` if connections are not encrypted.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }
}

/// The bearer token in the header `Authorization`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(axum::http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether a request was sent by a program on this machine, without a proxy.
fn is_from_this_machine(headers: &HeaderMap, peer: IpAddr) -> bool {
    let is_proxied = ["forwarded", "x-forwarded-for"].into_iter().any(|name| headers.contains_key(name));
    is_this_machine(peer) && !is_proxied
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// Parses a network such as `10.0.0.0/8`, or a single address.
fn parse_network(text: &str) -> anyhow::Result<IpNet> {
    let network = text.parse().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
    network.with_context(|| format!("{text} is not a network such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(config: Config) -> AuthPolicy {
        AuthPolicy::new(&config).unwrap()
    }

    #[test]
    fn only_producers_in_allowed_networks_may_connect() {
        let check = |networks: &[&str], peer: &str, is_allowed| {
            let networks = networks.iter().map(|&network| network.to_owned()).collect();
            let policy = policy(Config { producers_allow: Some(networks), ..Config::default() });
            assert_eq!(policy.allows_producer(peer.parse().unwrap()), is_allowed, "{peer}");
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
        assert!(policy(Config::default()).allows_producer([192, 0, 2, 8].into()));
        let invalid = Config { producers_allow: Some(vec!["10.0.0.0/33".to_owned()]), ..Config::default() };
        assert!(AuthPolicy::new(&invalid).unwrap_err().to_string().contains("10.0.0.0/33"));
    }
}
