//! The keys that an identity provider publishes: a JSON Web Key Set (RFC 7517), from a file or from the provider.
//!
//! A key's type determines its algorithm. Secrets in a key set are ignored: whoever can read it could sign.

pub mod fetch;
pub mod refresh;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use p256::elliptic_curve::generic_array::GenericArray;
use p256::elliptic_curve::sec1::FromEncodedPoint as _;
use serde::Deserialize;
use serde_json::Value;

use super::token::{RSA_BITS, VerifyingKey};

/// Maximum number of keys of a set. Providers publish two to five. A token without a key id is checked with each of them.
const KEYS_MAX: usize = 32;
/// Length of a coordinate of P-256, and of an Ed25519 key, in bytes.
const COORDINATE_BYTES: usize = 32;
/// Maximum length of an RSA key's exponent, in bytes. Real ones have 3. A long one would be slow.
const EXPONENT_BYTES_MAX: usize = 4;

/// The usable keys of a key set.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// Why others were skipped.
    skipped: Vec<String>,
    /// The text, to find out whether another one is the same.
    text: Vec<u8>,
}

/// A set as it is published. Each key is decoded on its own, because a provider may publish keys of unknown types.
#[derive(Deserialize)]
struct PublishedSet {
    keys: Option<Vec<Value>>,
    /// The text is the description of a provider, which names the address of the key set.
    jwks_uri: Option<String>,
}

#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Parses a key set. Skips keys that cannot be used.
    ///
    /// # Errors
    /// Fails if it is not a key set, or none of its keys can be used.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let published: PublishedSet =
            serde_json::from_slice(text).map_err(|error| format!("it is not a JSON Web Key Set: {error}"))?;
        let Some(entries) = published.keys else {
            return Err(match published.jwks_uri {
                Some(address) => format!(
                    "it is the description of an identity provider: use its key set, {}",
                    joey_shared::series::escape_name(address.as_bytes())
                ),
                None => "it is not a JSON Web Key Set: it has no list of keys".to_owned(),
            });
        };
        if entries.len() > KEYS_MAX {
            return Err(format!("it has {} keys, and at most {KEYS_MAX} are supported", entries.len()));
        }
        let mut set = Self { text: text.to_vec(), ..Self::default() };
        for (at, entry) in entries.into_iter().enumerate() {
            let id = entry.get("kid").and_then(Value::as_str).map(|id| joey_shared::series::escape_name(id.as_bytes()));
            match serde_json::from_value::<PublishedKey>(entry) {
                Ok(key) => match key.verifying_key() {
                    Ok(key) => set.keys.push(key),
                    Err(why) => set.skipped.push(format!("key {}: {why}", id.unwrap_or_else(|| at.to_string()))),
                },
                Err(error) => set.skipped.push(format!("key {}: {error}", id.unwrap_or_else(|| at.to_string()))),
            }
        }
        if set.keys.is_empty() {
            let why = if set.skipped.is_empty() { "it is empty".to_owned() } else { set.skipped.join("; ") };
            return Err(format!("it has no key that can be used: {why}"));
        }
        Ok(set)
    }

    /// The keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &VerifyingKey> + Clone {
        self.keys.iter()
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no key, as before it has been fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether it has a key with this id.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Why some of the published keys were skipped.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Whether the published text is the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// One word for each key: its id and algorithm.
    #[must_use]
    pub fn describe(&self) -> String {
        let describe = |key: &VerifyingKey| {
            let id = key
                .id
                .as_deref()
                .map_or_else(|| "(without id)".to_owned(), |id| joey_shared::series::escape_name(id.as_bytes()));
            key.algorithm().map_or_else(|| id.clone(), |algorithm| format!("{id} ({algorithm:?})"))
        };
        self.keys.iter().map(describe).collect::<Vec<_>>().join(", ")
    }
}

impl PublishedKey {
    fn verifying_key(self) -> Result<VerifyingKey, String> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err("it is not for signatures".to_owned());
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("it is not for verifying signatures".to_owned());
        }
        let (key, algorithm) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => self.rsa()?,
            ("EC", Some("P-256")) => (self.ec()?, self.only(Algorithm::ES256, "ES256")?),
            ("OKP", Some("Ed25519")) => (self.ed25519()?, self.only(Algorithm::EdDSA, "EdDSA")?),
            ("oct", _) => return Err("it is a secret, which must not be published".to_owned()),
            (_, curve) => {
                let curve = curve.map(|curve| format!(" of the curve {curve}")).unwrap_or_default();
                return Err(format!("the type {}{curve} is not supported", self.kty));
            }
        };
        Ok(VerifyingKey::new(self.kid, key, algorithm))
    }

    fn rsa(&self) -> Result<(DecodingKey, Algorithm), String> {
        let algorithm = match self.alg.as_deref() {
            None | Some("RS256") => Algorithm::RS256,
            Some("RS384") => Algorithm::RS384,
            Some("RS512") => Algorithm::RS512,
            Some("PS256") => Algorithm::PS256,
            Some("PS384") => Algorithm::PS384,
            Some("PS512") => Algorithm::PS512,
            Some(other) => return Err(format!("an RSA key cannot be for {other}")),
        };
        let (n, e) = (bytes(self.n.as_ref(), "n")?, bytes(self.e.as_ref(), "e")?);
        let significant = n.iter().position(|byte| *byte != 0).and_then(|at| n.get(at..)).unwrap_or_default();
        let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = significant.len() * 8 - leading;
        if !RSA_BITS.contains(&bits) {
            return Err(format!("an RSA key has {} to {} bits, this one has {bits}", RSA_BITS.start(), RSA_BITS.end()));
        }
        if e.is_empty() || e.len() > EXPONENT_BYTES_MAX || e.last().is_some_and(|byte| byte % 2 == 0) || e == [1] {
            return Err("its exponent is not valid".to_owned());
        }
        Ok((DecodingKey::from_rsa_raw_components(significant, &e), algorithm))
    }

    fn ec(&self) -> Result<DecodingKey, String> {
        let (x, y) = (bytes(self.x.as_ref(), "x")?, bytes(self.y.as_ref(), "y")?);
        if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
            return Err("its coordinates are not valid".to_owned());
        }
        let (x, y) = (GenericArray::from_slice(&x), GenericArray::from_slice(&y));
        let point = p256::EncodedPoint::from_affine_coordinates(x, y, false);
        // The library would check each signature with a point that is not on the curve.
        if p256::PublicKey::from_encoded_point(&point).is_none().into() {
            return Err("it is not a point of the curve".to_owned());
        }
        Ok(DecodingKey::from_ec_der(point.as_bytes()))
    }

    fn ed25519(&self) -> Result<DecodingKey, String> {
        let x = bytes(self.x.as_ref(), "x")?;
        let key = <[u8; COORDINATE_BYTES]>::try_from(x.as_slice())
            .ok()
            .and_then(|x| ed25519_dalek::VerifyingKey::from_bytes(&x).ok())
            .filter(|key| !key.is_weak());
        key.map(|key| DecodingKey::from_ed_der(key.as_bytes())).ok_or_else(|| "it is not valid".to_owned())
    }

    /// The only algorithm of this type of key. If the key names one, it must be this.
    fn only(&self, algorithm: Algorithm, name: &str) -> Result<Algorithm, String> {
        match self.alg.as_deref() {
            Some(other) if other != name => Err(format!("a key of this type cannot be for {other}")),
            _ => Ok(algorithm),
        }
    }
}

fn bytes(text: Option<&String>, name: &str) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("it has no {name}"))?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("its {name} is not base64url"))
}

#[cfg(test)]
mod tests;
