//! Tests with valid, invalid and forged tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::test_keys::{RSA_PUBLIC_PEM, RSA_PUBLIC_PKCS1_PEM, p256, p256_jwk, p256_secret, rsa, rsa_jwk};
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
    let own = of.into_iter().map(|key| Keys::key(&key)).collect();
    Keys { own, provider: None, audience: "joey".into(), rules: Arc::default() }
}

/// Accepts the tokens that are signed by the keys of this key set.
fn provider(keys: &[Value]) -> Keys {
    let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    self::keys([]).with_provider(Arc::new(set))
}

/// A token with the header `header`.
fn with_header(header: Header, key: &EncodingKey, claims: &Value) -> String {
    install_provider();
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// A token whose header names a key.
fn named(algorithm: Algorithm, id: &str, key: &EncodingKey) -> String {
    with_header(Header { kid: Some(id.to_owned()), ..Header::new(algorithm) }, key, &valid_claims())
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

fn valid_claims() -> Value {
    json!({"exp": 1_700_000_060, "aud": "joey"})
}

/// A token with `claims` and without a signature, whose header names `algorithm`.
fn unsigned(algorithm: &str, claims: &Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({"typ": "JWT", "alg": algorithm, "cty": "none"})), part(claims.clone()))
}

#[test]
fn a_token_signed_by_a_configured_key_is_valid() {
    for (key, token) in [
        (secret(), hs256(&valid_claims())),
        (Key::Private(private()), eddsa(&private(), &valid_claims())),
        (Key::Public(private().verifying_key()), eddsa(&private(), &valid_claims())),
        (Key::parse(public_pem().as_bytes()).unwrap(), eddsa(&private(), &valid_claims())),
    ] {
        assert_eq!(keys([key]).verify(&token, NOW_S).unwrap().expires_ns(), Some(1_700_000_060_000_000_000));
    }
    // During key rotation both keys are valid.
    let both = keys([secret(), Key::Private(private())]);
    assert!(
        both.verify(&hs256(&valid_claims()), NOW_S).is_ok()
            && both.verify(&eddsa(&private(), &valid_claims()), NOW_S).is_ok()
    );
}

#[test]
fn audience_and_times_decide_whether_a_token_is_valid() {
    let check = |claims: Value, is_valid| {
        assert_eq!(keys([secret()]).verify(&hs256(&claims), NOW_S).is_ok(), is_valid, "{claims}");
    };
    let expires = 1_700_000_060;
    check(valid_claims(), true);
    check(json!({"exp": expires, "aud": ["other", "joey"]}), true);
    check(json!({"exp": 1_700_000_060.5, "aud": "joey"}), true);
    check(json!({"exp": expires, "aud": "joey", "iss": "any", "iat": 1, "jti": "x", "more": {"of": ["it"]}}), true);
    // Clocks may differ by up to 5 s.
    check(json!({"exp": 1_699_999_996, "aud": "joey"}), true);
    check(json!({"exp": expires, "aud": "joey", "nbf": 1_700_000_005}), true);
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
        json!({"exp": expires}),
        json!({"exp": expires, "aud": "Joey"}),
        json!({"exp": expires, "aud": "joey2"}),
        json!({"exp": expires, "aud": []}),
        json!({"exp": expires, "aud": ["other"]}),
        json!({"exp": expires, "aud": 7}),
        json!({"exp": expires, "aud": "jo\u{435}y"}),
        json!({"exp": expires, "aud": "joey", "nbf": 1_700_000_006}),
        json!({"exp": expires, "aud": "joey", "nbf": "now"}),
        json!({"exp": expires, "aud": "joey", "apps": "*"}),
        json!({"exp": expires, "aud": "joey", "apps": [1]}),
        json!({"exp": expires, "aud": "joey", "categories": {"*": true}}),
        json!({"exp": expires, "aud": "joey", "sub": 7}),
    ] {
        check(claims, false);
    }
}

#[test]
fn a_token_without_a_valid_signature_is_rejected() {
    let other = SigningKey::from_bytes(&[8; 32]);
    let (mine, theirs) = (eddsa(&private(), &valid_claims()), eddsa(&other, &valid_claims()));
    let signature = |token: &str| token.rsplit_once('.').map(|(_, signature)| signature.to_owned()).unwrap();
    let with_secret = |secret: &[u8]| signed(Algorithm::HS256, &EncodingKey::from_secret(secret), &valid_claims());
    let raw = private().verifying_key().to_bytes();
    let check = |keys: &Keys, token: &str| {
        let refused = keys.verify(token, NOW_S).unwrap_err();
        assert!(!matches!(refused, TokenError::Claims(_)), "{refused}: {}", &token[..token.len().min(200)]);
    };
    let ed = keys([Key::Public(private().verifying_key())]);
    let hs = keys([secret()]);
    for keys in [&ed, &hs] {
        for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256", "EdDSA", "RS256", "ES256"] {
            check(keys, &unsigned(algorithm, &valid_claims()));
            check(keys, unsigned(algorithm, &valid_claims()).trim_end_matches('.'));
            check(keys, &format!("{}{}", unsigned(algorithm, &valid_claims()), signature(&mine)));
        }
        for token in ["", ".", "..", "...", "a.b.c", "e30.e30.e30", " ", "\0.\0.\0", "ünï.cö.de"] {
            check(keys, token);
        }
        check(keys, &theirs);
        check(keys, &"a".repeat(1 << 20));
        check(keys, &format!("{}.{}.{}", "e".repeat(1 << 18), "3".repeat(1 << 18), "0".repeat(1 << 18)));
    }
    // A public key is never accepted as a secret, in any encoding.
    for secret in [public_pem().as_bytes(), public_pem().trim().as_bytes(), &raw, b"", b"secret"] {
        check(&ed, &with_secret(secret));
        check(&hs, &with_secret(secret));
    }
    check(&hs, &mine);
    check(&ed, &hs256(&valid_claims()));
    check(&hs, &signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &valid_claims()));
    check(&hs, &signed(Algorithm::HS384, &EncodingKey::from_secret(SECRET), &valid_claims()));
    // Every truncated token, and every token with one character changed.
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
    // Header and claims of one token with the signature of another.
    let body = |token: &str| token.rsplit_once('.').map(|(body, _)| body.to_owned()).unwrap();
    let more = eddsa(&other, &json!({"exp": 1_700_000_060, "aud": "joey", "apps": ["*"]}));
    check(&ed, &format!("{}.{}", body(&more), signature(&mine)));
}

#[test]
fn a_key_file_contains_one_strong_key_or_is_an_error() {
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
    let short = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDsvJYnvCFQ3Z03rOcnwKn3bxc5\n\
                 BIROBVS7fKKAWuzIha2yx/DgID3hbs1LSAbihi3fUYVvlLlrD/ZrJv89YH3kdmUQ\n\
                 LVDAljiHKvqgfejnpIdOWWm696N6Zj6fQyev3Jaw7jV8vYc/tvpkdEWzpmj43qPw\n\
                 juEFcNUyZfnjP0c8FwIDAQAB\n-----END PUBLIC KEY-----\n";
    check(short.as_bytes(), "this one has 1024");
}

#[test]
fn public_keys_of_rsa_and_p256_verify_their_own_algorithm() {
    let p256_pem = {
        use p256::pkcs8::EncodePublicKey as _;
        p256_secret().public_key().to_public_key_pem(Default::default()).unwrap()
    };
    let check = |pem: &str, algorithm: Algorithm, key: &EncodingKey| {
        let keys = keys([Key::parse(pem.as_bytes()).unwrap()]);
        assert!(keys.verify(&signed(algorithm, key, &valid_claims()), NOW_S).is_ok());
        // Nobody can sign with the text of the public key, nor with another algorithm of the same family.
        for secret in [pem, pem.trim()] {
            let forged = signed(Algorithm::HS256, &EncodingKey::from_secret(secret.as_bytes()), &valid_claims());
            assert_eq!(keys.verify(&forged, NOW_S), Err(TokenError::NoKey(Algorithm::HS256)));
        }
        assert_eq!(keys.verify(&eddsa(&private(), &valid_claims()), NOW_S), Err(TokenError::NoKey(Algorithm::EdDSA)));
    };
    check(RSA_PUBLIC_PEM, Algorithm::RS256, &rsa());
    check(RSA_PUBLIC_PKCS1_PEM, Algorithm::RS256, &rsa());
    check(&p256_pem, Algorithm::ES256, &p256());
    let rsa_keys = keys([Key::parse(RSA_PUBLIC_PEM.as_bytes()).unwrap()]);
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let token = signed(algorithm, &rsa(), &valid_claims());
        assert_eq!(rsa_keys.verify(&token, NOW_S), Err(TokenError::NoKey(algorithm)));
    }
}

#[test]
fn a_token_that_names_a_key_must_be_signed_by_this_key() {
    let keys = provider(&[rsa_jwk("r"), p256_jwk("e"), json!({"kty": "unknown"})]);
    let check = |token: &str, expected: Result<(), TokenError>| {
        assert_eq!(keys.verify(token, NOW_S).map(drop), expected);
    };
    check(&named(Algorithm::RS256, "r", &rsa()), Ok(()));
    check(&named(Algorithm::ES256, "e", &p256()), Ok(()));
    // Without a name, every key of the algorithm is tried.
    check(&signed(Algorithm::RS256, &rsa(), &valid_claims()), Ok(()));
    check(&named(Algorithm::RS256, "x", &rsa()), Err(TokenError::UnknownKey("x".to_owned())));
    let confused =
        TokenError::WrongAlgorithm { key: "e".to_owned(), token: Algorithm::RS256, required: Algorithm::ES256 };
    check(&named(Algorithm::RS256, "e", &rsa()), Err(confused));
    let secret = EncodingKey::from_secret(rsa_jwk("r").to_string().as_bytes());
    let confused =
        TokenError::WrongAlgorithm { key: "r".to_owned(), token: Algorithm::HS256, required: Algorithm::RS256 };
    check(&named(Algorithm::HS256, "r", &secret), Err(confused));
    let own_rsa = signed(Algorithm::RS512, &rsa(), &valid_claims());
    check(&own_rsa, Err(TokenError::NoKey(Algorithm::RS512)));
    let mut header = Header::new(Algorithm::RS256);
    header.crit = Some(vec!["exp".to_owned()]);
    assert!(matches!(keys.verify(&with_header(header, &rsa(), &valid_claims()), NOW_S), Err(TokenError::Malformed(_))));
}

#[test]
fn only_tokens_of_unknown_keys_are_a_reason_to_fetch_the_keys_again() {
    let keys = provider(&[rsa_jwk("r")]);
    let before = self::keys([secret()]).with_provider(Arc::default());
    assert!(keys.lacks_key_of(&named(Algorithm::RS256, "new", &rsa())));
    assert!(!keys.lacks_key_of(&named(Algorithm::RS256, "r", &rsa())));
    assert!(!keys.lacks_key_of(&signed(Algorithm::RS256, &rsa(), &valid_claims())));
    assert!(before.lacks_key_of(&signed(Algorithm::RS256, &rsa(), &valid_claims())));
    assert!(!before.lacks_key_of(&hs256(&valid_claims())));
    assert!(!keys.lacks_key_of("") && !keys.lacks_key_of("a.b.c"));
    assert!(!self::keys([secret()]).lacks_key_of(&named(Algorithm::RS256, "new", &rsa())));
}

#[test]
fn the_issuer_and_the_leeway_are_configurable() {
    let with = |rules: TokenRules| Keys { rules: Arc::new(rules), ..keys([secret()]) };
    let issuer = with(TokenRules { issuer: Some("https://idp.example".to_owned()), ..TokenRules::default() });
    let check = |keys: &Keys, claims: Value, error: Option<&str>| {
        let found = keys.verify(&hs256(&claims), NOW_S).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), error);
    };
    let from = |issuer: Value| json!({"exp": 1_700_000_060, "aud": "joey", "iss": issuer});
    check(&issuer, from(json!("https://idp.example")), None);
    let wanted = "the relay requires \"https://idp.example\"";
    check(&issuer, valid_claims(), Some(&format!("its issuer is missing; {wanted}")));
    let other = format!("its issuer is \"https://idp.example/\"; {wanted}");
    check(&issuer, from(json!("https://idp.example/")), Some(&other));
    check(&issuer, from(json!(["https://idp.example"])), Some("its claim \"iss\" is not a string"));
    let strict = with(TokenRules { leeway: std::time::Duration::ZERO, ..TokenRules::default() });
    let expired = "it expired at 2023-11-14T22:13:20Z, 0 s ago";
    check(&strict, json!({"exp": 1_700_000_000, "aud": "joey"}), Some(expired));
    check(&strict, json!({"exp": 1_700_000_001, "aud": "joey", "nbf": 1_700_000_000}), None);
    let lenient = with(TokenRules { leeway: std::time::Duration::from_secs(60), ..TokenRules::default() });
    check(&lenient, json!({"exp": 1_699_999_941, "aud": "joey"}), None);
}
