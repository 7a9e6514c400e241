//! Tokens: which keys count, and what a token that one of them signed says.
//!
//! The algorithm is a matter of the key. What a token says about its own is compared and never followed, so that a public key
//! cannot be taken for a secret. The library checks the signature; what is claimed is checked here, where time is an argument.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;

use super::claims::Claims;

/// Shortest secret in bytes: as long as what HMAC-SHA-256 gives (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Longest file of a key in bytes. Real ones have a hundred.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A token is not of these keys, not for this relay, or not good now. Why exactly is nobody's business but its issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacceptable;

/// The keys whose tokens count. There are several while one takes another's place.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<(DecodingKey, Validation)>,
    audience: String,
}

/// What a file holds.
enum Key {
    Secret(Vec<u8>),
    Public(VerifyingKey),
    Private(SigningKey),
}

impl Keys {
    /// Reads the keys in `files`, whose tokens are for `audience`; nothing where there are no files.
    ///
    /// # Errors
    /// When a file cannot be read or is no key.
    pub(super) fn read(files: &[PathBuf], audience: &str) -> anyhow::Result<Option<Self>> {
        let keys = files.iter().map(|file| Ok(Self::key(Key::read(file)?))).collect::<anyhow::Result<Vec<_>>>()?;
        Ok((!keys.is_empty()).then(|| Self { keys, audience: audience.to_owned() }))
    }

    fn key(key: Key) -> (DecodingKey, Validation) {
        let of_public = |key: VerifyingKey| (DecodingKey::from_ed_der(key.as_bytes()), Algorithm::EdDSA);
        let (key, algorithm) = match key {
            Key::Secret(secret) => (DecodingKey::from_secret(&secret), Algorithm::HS256),
            Key::Public(key) => of_public(key),
            Key::Private(key) => of_public(key.verifying_key()),
        };
        // It would read the claims with a clock of its own, and not at all where JSON numbers keep their precision.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        (key, validation)
    }

    /// What `token` allows at `now_s`.
    pub(super) fn claims(&self, token: &str, now_s: f64) -> Result<Claims, Unacceptable> {
        install_provider();
        let read = |(key, validation): &(DecodingKey, Validation)| {
            Some(jsonwebtoken::decode::<Claims>(token, key, validation).ok()?.claims)
        };
        let claims = self.keys.iter().find_map(read);
        claims.filter(|claims| claims.are_good(&self.audience, now_s)).ok_or(Unacceptable)
    }
}

/// Signs `claims` with the key in `file`.
///
/// # Errors
/// When it cannot be read, is no key, or is a public one.
pub fn mint(file: &Path, claims: &Value) -> anyhow::Result<String> {
    install_provider();
    let (algorithm, key) = match Key::read(file)? {
        Key::Secret(secret) => (Algorithm::HS256, EncodingKey::from_secret(&secret)),
        Key::Private(key) => (Algorithm::EdDSA, EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes())),
        Key::Public(_) => anyhow::bail!("{} is a public key; a token takes the private one", file.display()),
    };
    Ok(jsonwebtoken::encode(&Header::new(algorithm), claims, &key)?)
}

impl Key {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read the key {}", file.display());
        anyhow::ensure!(
            std::fs::metadata(file).with_context(cannot)?.len() <= FILE_BYTES_MAX,
            "{}: too long",
            cannot()
        );
        let bytes = std::fs::read(file).with_context(cannot)?;
        Self::parse(&bytes).with_context(|| format!("cannot use the key {}", file.display()))
    }

    /// A PEM file is one of Ed25519 or an error, and never a secret, whoever signs with its text.
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if !text.contains("-----BEGIN") {
            let secret = bytes.trim_ascii_end();
            anyhow::ensure!(secret.len() >= SECRET_BYTES_MIN, "a secret has {SECRET_BYTES_MIN} bytes or more");
            return Ok(Self::Secret(secret.to_vec()));
        }
        let public = VerifyingKey::from_public_key_pem(text.trim()).map(Self::Public);
        let private = || SigningKey::from_pkcs8_pem(text.trim()).map(Self::Private);
        let key = public.ok().or_else(|| private().ok());
        key.context("a PEM file must hold one Ed25519 key, public or private")
    }
}

/// Without this jsonwebtoken would choose by its compiled features, and panic should another crate ask for a second one.
fn install_provider() {
    // It fails when it is done already.
    let _ = DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests;
