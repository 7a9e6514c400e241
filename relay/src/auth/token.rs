//! Tokens: signs them, and verifies them with the configured keys and with those of an identity provider.
//!
//! The key determines the algorithm. The algorithm in a token's header must match it, so a public key cannot be mistaken for a
//! secret. The library verifies the signature. This module checks the claims, because it takes the time as an argument.

mod key_file;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use joey_shared::series::escape_name;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};

use self::key_file::Key;
use super::claims::{ClaimError, Claims};
use super::jwks::KeySet;
use crate::config::{Config, TokenRules};
use crate::runtime::clock::wall_ns;

/// Accepted sizes of RSA keys, in bits. NIST SP 800-131A disallows shorter ones, and the library longer ones.
pub(super) const RSA_BITS: RangeInclusive<usize> = 2_048..=4_096;

/// Why a token is refused. Clients do not learn it.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenError {
    /// A token is required.
    Missing,
    /// It is not a signed token, or names an algorithm or an extension that is not supported.
    Malformed(String),
    /// The identity provider's keys do not include the one with this id.
    UnknownKey(String),
    /// The key with this id is for another algorithm than the token's.
    WrongAlgorithm {
        /// The key's id.
        key: String,
        /// The token's algorithm.
        token: Algorithm,
        /// The key's algorithm.
        required: Algorithm,
    },
    /// No key is for this algorithm.
    NoKey(Algorithm),
    /// None of the keys that may have signed it did so.
    Signature(Algorithm),
    /// Its signature is valid, but its claims are not.
    Claims(ClaimError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => out.write_str("there is none"),
            Self::Malformed(why) => write!(out, "it is not a signed JWT: {why}"),
            Self::UnknownKey(id) => {
                write!(out, "the key set has no key with the id \"{}\"", escape_name(id.as_bytes()))
            }
            Self::WrongAlgorithm { key, token, required } => {
                let key = escape_name(key.as_bytes());
                write!(out, "it is signed as {token:?}, and the key with the id \"{key}\" is for {required:?}")
            }
            Self::NoKey(algorithm) => write!(out, "it is signed as {algorithm:?}, and no key is for {algorithm:?}"),
            Self::Signature(algorithm) => {
                write!(out, "its signature does not match: no configured {algorithm:?} key has signed it")
            }
            Self::Claims(error) => error.fmt(out),
        }
    }
}

/// A key that verifies signatures of one algorithm.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey {
    /// Its id in a key set.
    pub(super) id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

impl VerifyingKey {
    pub(super) fn new(id: Option<String>, key: DecodingKey, algorithm: Algorithm) -> Self {
        // The library would use its own clock, and cannot check times if JSON numbers keep arbitrary precision.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        Self { id, key, validation }
    }

    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.validation.algorithms.first().copied()
    }

    fn claims(&self, token: &str) -> Option<Map<String, Value>> {
        Some(jsonwebtoken::decode(token, &self.key, &self.validation).ok()?.claims)
    }
}

/// The keys that tokens may be signed with, and what tokens must claim.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Those of `--token-key`. During key rotation there are several.
    own: Arc<[VerifyingKey]>,
    /// Those of the identity provider, if there is one. Empty until they have been fetched.
    provider: Option<Arc<KeySet>>,
    audience: Arc<str>,
    rules: Arc<TokenRules>,
}

impl Keys {
    /// Reads the key files of `config`. Returns `None` if it requires no tokens.
    ///
    /// # Errors
    /// Fails if a file cannot be read or contains no key.
    pub(super) fn read(config: &Config, provider: Option<Arc<KeySet>>) -> anyhow::Result<Option<Self>> {
        let own = Self::own(&config.token_keys)?;
        Ok((!own.is_empty() || provider.is_some()).then(|| Self {
            own: own.into(),
            provider,
            audience: config.token_audience.as_str().into(),
            rules: Arc::new(config.token_rules.clone()),
        }))
    }

    fn own(files: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
        files.iter().map(|file| Ok(Self::key(&Key::read(file)?))).collect()
    }

    fn key(key: &Key) -> VerifyingKey {
        let (key, algorithm) = key.verifying();
        VerifyingKey::new(None, key, algorithm)
    }

    /// The same keys with another key set of the identity provider.
    pub(super) fn with_provider(&self, provider: Arc<KeySet>) -> Self {
        Self { provider: Some(provider), ..self.clone() }
    }

    /// The identity provider's keys.
    pub(super) fn provider(&self) -> Option<&Arc<KeySet>> {
        self.provider.as_ref()
    }

    /// Whether `token` may be signed with a key that the identity provider has published since its keys were fetched.
    pub(super) fn lacks_key_of(&self, token: &str) -> bool {
        let Some(provider) = &self.provider else { return false };
        let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
        match &header.kid {
            Some(id) => !provider.contains(id),
            None => provider.is_empty() && header.alg != Algorithm::HS256,
        }
    }

    /// Verifies `token` at `now_s` and returns its claims.
    pub(super) fn verify(&self, token: &str, now_s: f64) -> Result<Claims, TokenError> {
        install_provider();
        let header = header(token)?;
        let provider = self.provider.iter().flat_map(|provider| provider.keys());
        // A key set names its keys. If the token names one too, it must be the same.
        let is_named = |key: &&VerifyingKey| match (&key.id, &header.kid) {
            (Some(id), Some(wanted)) => id == wanted,
            _ => true,
        };
        let is_candidate = |key: &&VerifyingKey| key.algorithm() == Some(header.alg);
        let mut candidates = self.own.iter().chain(provider.clone().filter(is_named)).filter(is_candidate).peekable();
        let has_candidates = candidates.peek().is_some();
        let Some(claims) = candidates.find_map(|key| key.claims(token)) else {
            return Err(self.no_signature(header, has_candidates));
        };
        Claims::check(claims, &self.audience, &self.rules, now_s).map_err(TokenError::Claims)
    }

    /// Why no key has signed a token with this header.
    fn no_signature(&self, header: Header, has_candidates: bool) -> TokenError {
        let algorithm = header.alg;
        let (Some(provider), Some(id)) = (&self.provider, header.kid) else {
            return if has_candidates { TokenError::Signature(algorithm) } else { TokenError::NoKey(algorithm) };
        };
        let required = |key: &VerifyingKey| key.algorithm().filter(|required| *required != algorithm);
        match provider.keys().find(|key| key.id.as_ref() == Some(&id)).map(required) {
            Some(Some(required)) => TokenError::WrongAlgorithm { key: id, token: algorithm, required },
            Some(None) => TokenError::Signature(algorithm),
            None => TokenError::UnknownKey(id),
        }
    }
}

/// The header of a token. Nothing has been verified yet.
fn header(token: &str) -> Result<Header, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| TokenError::Malformed(error.to_string()))?;
    // RFC 7515 section 4.1.11.
    match &header.crit {
        Some(_) => Err(TokenError::Malformed("it requires an extension (crit), and none is supported".to_owned())),
        None => Ok(header),
    }
}

/// What a token says, without a verified signature.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The algorithm in its header.
    pub algorithm: Algorithm,
    /// The id of the key in its header.
    pub key_id: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
}

/// The result of checking a token as a relay would.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The identity provider's keys, if the configuration names one.
    pub provider: Option<Arc<KeySet>>,
    /// What the token says, if it can be read.
    pub unverified: Option<Unverified>,
    /// What it allows, or why it is refused.
    pub verdict: Result<Claims, TokenError>,
}

/// Checks `token` as a relay with the configuration `config` does now. Fetches the keys of the identity provider.
///
/// # Errors
/// Fails if the keys cannot be read or fetched.
pub async fn check(config: &Config, token: &str) -> anyhow::Result<Checked> {
    let provider = match &config.jwks {
        Some(jwks) => Some(Arc::new(super::jwks::fetch::fetch(jwks).await?.keys)),
        None => None,
    };
    let keys = Keys::read(config, provider.clone())?.context("the configuration requires no tokens")?;
    let unverified = header(token).ok().and_then(|header| {
        let claims = jsonwebtoken::dangerous::insecure_decode(token).ok()?.claims;
        Some(Unverified { algorithm: header.alg, key_id: header.kid, claims })
    });
    Ok(Checked { provider, unverified, verdict: keys.verify(token, wall_ns() as f64 / 1e9) })
}

/// Signs `claims` with the key in `file`.
///
/// # Errors
/// Fails if the file cannot be read, contains no key, or contains a public key.
pub fn mint(file: &Path, claims: &Value) -> anyhow::Result<String> {
    install_provider();
    let (key, algorithm) =
        Key::read(file)?.signing().with_context(|| format!("cannot sign with {}", file.display()))?;
    Ok(jsonwebtoken::encode(&Header::new(algorithm), claims, &key)?)
}

/// Without this, jsonwebtoken selects a provider by its compiled features, and panics if another crate enables a second one.
fn install_provider() {
    // It fails if a provider is installed already.
    let _ = DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
pub(super) mod test_keys;
#[cfg(test)]
mod tests;
