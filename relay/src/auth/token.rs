//! Tokens: signs them, and verifies them with the configured keys.
//!
//! The key determines the algorithm. The algorithm in a token's header must match it, so a public key cannot be mistaken for a
//! secret. The library verifies the signature. This module checks the claims, because it takes the time as an argument.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;

use super::claims::Claims;

/// Minimum length of a secret in bytes: the output length of HMAC-SHA-256 (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Maximum length of a key file in bytes. Real ones have about a hundred.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The token has no valid signature, is for another audience, or is expired or not yet valid. Clients do not learn which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken;

/// The keys that tokens may be signed with. During key rotation there are several.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<(DecodingKey, Validation)>,
    audience: String,
}

/// A key read from a file.
enum Key {
    Secret(Vec<u8>),
    Public(VerifyingKey),
    Private(SigningKey),
}

impl Keys {
    /// Reads the keys in `files`. Their tokens must be for `audience`. Returns `None` if there are no files.
    ///
    /// # Errors
    /// Fails if a file cannot be read or contains no key.
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
        // The library would use its own clock, and cannot check times if JSON numbers keep arbitrary precision.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        (key, validation)
    }

    /// Verifies `token` at `now_s` and returns its claims.
    pub(super) fn verify(&self, token: &str, now_s: f64) -> Result<Claims, InvalidToken> {
        install_provider();
        let read = |(key, validation): &(DecodingKey, Validation)| {
            Some(jsonwebtoken::decode::<Claims>(token, key, validation).ok()?.claims)
        };
        let claims = self.keys.iter().find_map(read);
        claims.filter(|claims| claims.are_valid(&self.audience, now_s)).ok_or(InvalidToken)
    }
}

/// Signs `claims` with the key in `file`.
///
/// # Errors
/// Fails if the file cannot be read, contains no key, or contains a public key.
pub fn mint(file: &Path, claims: &Value) -> anyhow::Result<String> {
    install_provider();
    let (algorithm, key) = match Key::read(file)? {
        Key::Secret(secret) => (Algorithm::HS256, EncodingKey::from_secret(&secret)),
        Key::Private(key) => (Algorithm::EdDSA, EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes())),
        Key::Public(_) => anyhow::bail!("{} is a public key; signing a token requires the private key", file.display()),
    };
    Ok(jsonwebtoken::encode(&Header::new(algorithm), claims, &key)?)
}

impl Key {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read the key {}", file.display());
        anyhow::ensure!(
            std::fs::metadata(file).with_context(cannot_read)?.len() <= FILE_BYTES_MAX,
            "{}: the file is too long",
            cannot_read()
        );
        let bytes = std::fs::read(file).with_context(cannot_read)?;
        Self::parse(&bytes).with_context(|| format!("cannot use the key {}", file.display()))
    }

    /// A PEM file must contain an Ed25519 key. It is never used as a secret.
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
        key.context("a PEM file must contain one Ed25519 key, public or private")
    }
}

/// Without this, jsonwebtoken selects a provider by its compiled features, and panics if another crate enables a second one.
fn install_provider() {
    // It fails if a provider is installed already.
    let _ = DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests;
