//! Tokens and their keys. They are signed here, not by the code under test.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{S, now_ns};

/// The published Ed25519 key of RFC 8410 section 10.3.
pub const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
/// Its public half.
pub const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
/// A secret of exactly the minimum length.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Another one.
pub const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// Writes a key into `folder`; returns its path for a command line.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn key_file(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).expect("a key can be written");
    path.display().to_string()
}

/// Current time in seconds since the Unix epoch.
#[must_use]
pub fn now_s() -> u64 {
    now_ns() / S
}

/// Claims that are valid for a quarter of an hour, plus `more`.
#[must_use]
pub fn claims(more: Value) -> Value {
    let mut claims = json!({"aud": "joey", "exp": now_s() + 900});
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

/// A token signed with `secret`.
///
/// # Panics
/// If it cannot be signed.
#[must_use]
pub fn hs256(secret: &str, claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()), claims)
}

/// A token signed with the Ed25519 key.
///
/// # Panics
/// If it cannot be signed.
#[must_use]
pub fn eddsa(claims: &Value) -> String {
    let base64: String = PRIVATE_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).expect("it is PEM");
    sign(Algorithm::EdDSA, &EncodingKey::from_ed_der(&der), claims)
}

/// A token whose header names `algorithm`, but without a signature.
#[must_use]
pub fn unsigned(algorithm: &str, claims: &Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({"typ": "JWT", "alg": algorithm})), part(claims.clone()))
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("it can be signed")
}
