//! Tests with key sets as providers publish them, and with broken and hostile ones.

use serde_json::json;

use super::*;
use crate::auth::token::test_keys::{p256_jwk, rsa_jwk};

/// `key` with these members replaced; `null` removes one.
fn with(mut key: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        key[name] = value.clone();
        if value.is_null() {
            key.as_object_mut().unwrap().remove(name);
        }
    }
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, String> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn the_type_of_a_key_decides_its_algorithm() {
    let check = |key: Value, algorithm: Algorithm| {
        let set = parse(std::slice::from_ref(&key)).unwrap();
        assert_eq!(set.keys().next().unwrap().algorithm(), Some(algorithm), "{key}");
    };
    check(rsa_jwk("a"), Algorithm::RS256);
    check(with(rsa_jwk("a"), json!({"alg": null, "use": null, "kid": null})), Algorithm::RS256);
    check(with(rsa_jwk("a"), json!({"alg": "PS256", "key_ops": ["verify"]})), Algorithm::PS256);
    check(p256_jwk("a"), Algorithm::ES256);
    check(with(p256_jwk("a"), json!({"alg": "ES256"})), Algorithm::ES256);
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    check(ed25519.clone(), Algorithm::EdDSA);
    check(with(ed25519, json!({"alg": "EdDSA"})), Algorithm::EdDSA);
}

#[test]
fn keys_that_cannot_be_used_are_skipped_with_their_reason() {
    let check = |key: Value, reason: &str| {
        let set = parse(&[key.clone(), p256_jwk("good")]).unwrap();
        assert_eq!(set.len(), 1, "{key}");
        assert!(set.skipped()[0].contains(reason), "{key}: {:?}", set.skipped());
        assert!(parse(&[key]).unwrap_err().contains(reason));
    };
    let secret = json!({"kty": "oct", "kid": "s", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"});
    check(secret, "key s: it is a secret");
    check(with(rsa_jwk("a"), json!({"use": "enc"})), "key a: it is not for signatures");
    check(with(rsa_jwk("a"), json!({"key_ops": ["sign"]})), "not for verifying");
    for algorithm in ["HS256", "none", "ES256", "RSA-OAEP"] {
        check(with(rsa_jwk("a"), json!({"alg": algorithm})), "an RSA key cannot be for");
    }
    for algorithm in ["HS256", "none", "RS256", "ES384"] {
        check(with(p256_jwk("a"), json!({"alg": algorithm})), "a key of this type cannot be for");
    }
    check(with(rsa_jwk("a"), json!({"n": "AQAB"})), "this one has 17");
    check(with(rsa_jwk("a"), json!({"n": "A".repeat(400)})), "this one has 0");
    check(with(rsa_jwk("a"), json!({"n": "_".repeat(1_000)})), "this one has 6000");
    check(with(rsa_jwk("a"), json!({"n": "a b"})), "base64url");
    check(with(rsa_jwk("a"), json!({"n": null})), "it has no n");
    for exponent in ["", "AQ", "AA", "AQAA", "AQABAQAB"] {
        check(with(rsa_jwk("a"), json!({"e": exponent})), "exponent");
    }
    check(with(p256_jwk("a"), json!({"crv": "P-521"})), "the type EC of the curve P-521 is not supported");
    check(with(p256_jwk("a"), json!({"crv": "secp256k1"})), "not supported");
    check(with(p256_jwk("a"), json!({"x": "AAAA"})), "coordinates");
    check(with(p256_jwk("a"), json!({"x": p256_jwk("a")["y"]})), "not a point of the curve");
    check(json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}), "it is not valid");
    check(json!({"kty": "OKP", "crv": "X25519", "x": "A".repeat(43)}), "not supported");
    check(json!({"kid": "a"}), "kty");
    check(json!(7), "");
}

#[test]
fn what_is_not_a_key_set_is_an_error() {
    let check = |text: &str, reason: &str| {
        let error = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    };
    check("", "not a JSON Web Key Set");
    check("<html>", "not a JSON Web Key Set");
    check("{}", "no list of keys");
    check(r#"{"keys": {}}"#, "not a JSON Web Key Set");
    check(r#"{"keys": []}"#, "it is empty");
    let description = r#"{"issuer": "https://idp.example", "jwks_uri": "https://idp.example/jwks"}"#;
    check(description, "use its key set, https://idp.example/jwks");
    let many: Vec<Value> = (0..33).map(|number| p256_jwk(&number.to_string())).collect();
    assert!(parse(&many).unwrap_err().contains("33 keys"));
    assert_eq!(parse(&many[..32]).unwrap().len(), 32);
}
