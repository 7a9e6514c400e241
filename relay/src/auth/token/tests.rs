//! Tokens of every kind: those that count, and those that only look like it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const NOW_S: f64 = 1_700_000_000.0;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn private() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn public_pem() -> String {
    use ed25519_dalek::pkcs8::EncodePublicKey as _;
    private().verifying_key().to_public_key_pem(Default::default()).unwrap()
}

fn keys(of: impl IntoIterator<Item = Key>) -> Keys {
    Keys { keys: of.into_iter().map(Keys::key).collect(), audience: "joey".to_owned() }
}

fn secret() -> Key {
    Key::Secret(SECRET.to_vec())
}

/// A token with these claims, signed as `algorithm` with `key`.
fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    install_provider();
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

fn eddsa(key: &SigningKey, claims: &Value) -> String {
    signed(Algorithm::EdDSA, &EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes()), claims)
}

fn good() -> Value {
    json!({"exp": 1_700_000_060, "aud": "joey"})
}

/// `claims` without signature, saying that its algorithm is `algorithm`.
fn unsigned(algorithm: &str, claims: &Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // A header that nobody has signed, in whatever order it is written.
    format!("{}.{}.", part(json!({"typ": "JWT", "alg": algorithm, "cty": "none"})), part(claims.clone()))
}

#[test]
fn what_a_key_has_signed_counts() {
    for (key, token) in [
        (secret(), hs256(&good())),
        (Key::Private(private()), eddsa(&private(), &good())),
        (Key::Public(private().verifying_key()), eddsa(&private(), &good())),
        (Key::parse(public_pem().as_bytes()).unwrap(), eddsa(&private(), &good())),
    ] {
        assert_eq!(keys([key]).claims(&token, NOW_S).unwrap().expires_ns(), Some(1_700_000_060_000_000_000));
    }
    // While one key takes another's place, both count.
    let both = keys([secret(), Key::Private(private())]);
    assert!(both.claims(&hs256(&good()), NOW_S).is_ok() && both.claims(&eddsa(&private(), &good()), NOW_S).is_ok());
}

#[test]
fn claims_decide_for_whom_and_when_a_token_counts() {
    let check = |claims: Value, counts| {
        assert_eq!(keys([secret()]).claims(&hs256(&claims), NOW_S).is_ok(), counts, "{claims}");
    };
    let end = 1_700_000_060;
    check(good(), true);
    check(json!({"exp": end, "aud": ["other", "joey"]}), true);
    check(json!({"exp": 1_700_000_060.5, "aud": "joey"}), true);
    check(json!({"exp": end, "aud": "joey", "iss": "any", "iat": 1, "jti": "x", "more": {"of": ["it"]}}), true);
    // Two clocks may differ a little.
    check(json!({"exp": 1_699_999_996, "aud": "joey"}), true);
    check(json!({"exp": end, "aud": "joey", "nbf": 1_700_000_005}), true);
    for claims in [
        json!({}),
        json!([]),
        json!("joey"),
        json!({"aud": "joey"}),
        json!({"exp": null, "aud": "joey"}),
        json!({"exp": "1700000060", "aud": "joey"}),
        json!({"exp": -1, "aud": "joey"}),
        json!({"exp": 0, "aud": "joey"}),
        json!({"exp": 1_699_999_995, "aud": "joey"}),
        json!({"exp": end}),
        json!({"exp": end, "aud": "Joey"}),
        json!({"exp": end, "aud": "joey2"}),
        json!({"exp": end, "aud": []}),
        json!({"exp": end, "aud": ["other"]}),
        json!({"exp": end, "aud": 7}),
        json!({"exp": end, "aud": "jo\u{435}y"}),
        json!({"exp": end, "aud": "joey", "nbf": 1_700_000_006}),
        json!({"exp": end, "aud": "joey", "nbf": "now"}),
        json!({"exp": end, "aud": "joey", "apps": "*"}),
        json!({"exp": end, "aud": "joey", "apps": [1]}),
        json!({"exp": end, "aud": "joey", "categories": {"*": true}}),
        json!({"exp": end, "aud": "joey", "sub": 7}),
    ] {
        check(claims, false);
    }
}

#[test]
fn what_no_key_has_signed_does_not_count() {
    let other = SigningKey::from_bytes(&[8; 32]);
    let (mine, theirs) = (eddsa(&private(), &good()), eddsa(&other, &good()));
    let signature = |token: &str| token.rsplit_once('.').map(|(_, signature)| signature.to_owned()).unwrap();
    let with_secret = |secret: &[u8]| signed(Algorithm::HS256, &EncodingKey::from_secret(secret), &good());
    let raw = private().verifying_key().to_bytes();
    let check = |keys: &Keys, token: &str| {
        assert_eq!(keys.claims(token, NOW_S), Err(Unacceptable), "{}", &token[..token.len().min(200)]);
    };
    let ed = keys([Key::Public(private().verifying_key())]);
    let hs = keys([secret()]);
    for keys in [&ed, &hs] {
        for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256", "EdDSA", "RS256", "ES256"] {
            check(keys, &unsigned(algorithm, &good()));
            check(keys, unsigned(algorithm, &good()).trim_end_matches('.'));
            check(keys, &format!("{}{}", unsigned(algorithm, &good()), signature(&mine)));
        }
        for token in ["", ".", "..", "...", "a.b.c", "e30.e30.e30", " ", "\0.\0.\0", "ünï.cö.de"] {
            check(keys, token);
        }
        check(keys, &theirs);
        check(keys, &"a".repeat(1 << 20));
        check(keys, &format!("{}.{}.{}", "e".repeat(1 << 18), "3".repeat(1 << 18), "0".repeat(1 << 18)));
    }
    // A public key is not a secret, whatever form its text has.
    for secret in [public_pem().as_bytes(), public_pem().trim().as_bytes(), &raw, b"", b"secret"] {
        check(&ed, &with_secret(secret));
        check(&hs, &with_secret(secret));
    }
    check(&hs, &mine);
    check(&ed, &hs256(&good()));
    check(&hs, &signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &good()));
    check(&hs, &signed(Algorithm::HS384, &EncodingKey::from_secret(SECRET), &good()));
    // Every shorter beginning, and every token with one letter changed.
    for at in 0..mine.len() {
        check(&ed, &mine[..at]);
        let mut changed = mine.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        check(&ed, &String::from_utf8(changed).unwrap());
    }
    for token in
        [format!("{mine}A"), format!("{mine}."), format!(" {mine}"), format!("{mine}\n"), format!("bearer.{mine}")]
    {
        check(&ed, &token);
    }
    // One's head and body under the other's signature.
    let body = |token: &str| token.rsplit_once('.').map(|(body, _)| body.to_owned()).unwrap();
    let more = eddsa(&other, &json!({"exp": 1_700_000_060, "aud": "joey", "apps": ["*"]}));
    check(&ed, &format!("{}.{}", body(&more), signature(&mine)));
}

#[test]
fn a_file_holds_one_key_that_is_good_enough_or_an_error() {
    let check = |bytes: &[u8], message: &str| {
        let error = Key::parse(bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(message), "{error:?}");
    };
    let private_pem = private().to_pkcs8_pem(Default::default()).unwrap();
    assert!(matches!(Key::parse(private_pem.as_bytes()), Ok(Key::Private(key)) if key == private()));
    assert!(matches!(Key::parse(public_pem().as_bytes()), Ok(Key::Public(key)) if key == private().verifying_key()));
    assert!(matches!(Key::parse(&[SECRET, b"\r\n"].concat()), Ok(Key::Secret(secret)) if secret == SECRET));
    assert!(matches!(Key::parse(&[0xff; 32]), Ok(Key::Secret(_))));
    check(b"", "32 bytes");
    check(b"0123456789abcdef0123456789abcde", "32 bytes");
    check(b"0123456789abcdef               \n\n\n\n\n", "32 bytes");
    check(b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n", "Ed25519");
    check(b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "Ed25519");
    check(b"-----BEGIN CERTIFICATE-----", "Ed25519");
}
