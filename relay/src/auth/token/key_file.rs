//! Keys in the files of `--token-key`: a secret, or a key in PEM.

use std::path::Path;

use anyhow::Context as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;

use super::RSA_BITS;

/// Minimum length of a secret in bytes: the output length of HMAC-SHA-256 (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Maximum length of a key file in bytes. Real ones have less than a thousand.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A key read from a file.
pub(super) enum Key {
    Secret(Vec<u8>),
    Public(VerifyingKey),
    Private(SigningKey),
    Ec(p256::PublicKey),
    Rsa(RsaPublicKey),
}

impl Key {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read the key {}", file.display());
        anyhow::ensure!(
            std::fs::metadata(file).with_context(cannot_read)?.len() <= FILE_BYTES_MAX,
            "{}: the file is too long",
            cannot_read()
        );
        let bytes = std::fs::read(file).with_context(cannot_read)?;
        Self::parse(&bytes).with_context(|| format!("cannot use the key {}", file.display()))
    }

    /// A PEM file is never used as a secret.
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        if !text.contains("-----BEGIN") {
            let secret = bytes.trim_ascii_end();
            anyhow::ensure!(secret.len() >= SECRET_BYTES_MIN, "a secret has {SECRET_BYTES_MIN} bytes or more");
            return Ok(Self::Secret(secret.to_vec()));
        }
        if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
            return Ok(Self::Public(key));
        }
        if let Ok(key) = SigningKey::from_pkcs8_pem(text) {
            return Ok(Self::Private(key));
        }
        if let Ok(key) = p256::PublicKey::from_public_key_pem(text) {
            return Ok(Self::Ec(key));
        }
        let rsa = RsaPublicKey::from_public_key_pem(text).ok().or_else(|| RsaPublicKey::from_pkcs1_pem(text).ok());
        let key = rsa.context(
            "a PEM file must contain one key: Ed25519, public or private, or a public key of RSA or of the curve P-256",
        )?;
        let bits = key.n().bits();
        anyhow::ensure!(
            RSA_BITS.contains(&bits),
            "an RSA key has {} to {} bits, this one has {bits}",
            RSA_BITS.start(),
            RSA_BITS.end()
        );
        Ok(Self::Rsa(key))
    }

    /// The key that verifies its signatures, and their algorithm.
    pub(super) fn verifying(&self) -> (DecodingKey, Algorithm) {
        let of_public = |key: &VerifyingKey| (DecodingKey::from_ed_der(key.as_bytes()), Algorithm::EdDSA);
        match self {
            Self::Secret(secret) => (DecodingKey::from_secret(secret), Algorithm::HS256),
            Self::Public(key) => of_public(key),
            Self::Private(key) => of_public(&key.verifying_key()),
            Self::Ec(key) => (DecodingKey::from_ec_der(key.to_encoded_point(false).as_bytes()), Algorithm::ES256),
            Self::Rsa(key) => {
                let (n, e) = (key.n().to_bytes_be(), key.e().to_bytes_be());
                (DecodingKey::from_rsa_raw_components(&n, &e), Algorithm::RS256)
            }
        }
    }

    /// The key that signs, and the algorithm.
    ///
    /// # Errors
    /// Fails for a public key.
    pub(super) fn signing(&self) -> anyhow::Result<(EncodingKey, Algorithm)> {
        match self {
            Self::Secret(secret) => Ok((EncodingKey::from_secret(secret), Algorithm::HS256)),
            Self::Private(key) => Ok((EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()), Algorithm::EdDSA)),
            Self::Public(_) | Self::Ec(_) | Self::Rsa(_) => {
                anyhow::bail!("it is a public key; signing a token requires the private key")
            }
        }
    }
}
