//! Keys for tests only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

/// An RSA key of 2,048 bits: the private key in PKCS #1.
const RSA_DER: &str = "\
    MIIEpAIBAAKCAQEAzXGwAxp939YQAiDGo9jYAhxXfv4oP/X0gPBn2ByC5GCjfJ+o3XErc7Zx3p1QDX8h4eAzIrDbYXiQvUrWQ2Ze\
    CZj5qUPVn4KSs56xeFJFsJXo6NZq5d3aMC4zCacBvb5OO4ql/gdFdIIXkFGJSajhGm2WIN57bMHz5OwBmMMxOLWb5Bqd0BdsfVe+\
    yHFaut+940Vd3AjANAa06PEwoKaJG5BZD5j606kYTTQ4V3OVs8TCTOG/sFZmfDA1I/a+WN33gHf0ueIzTqyFksUuhUpHerOyVTjG\
    PqhyKEAscVDdRHf1HlmcY09Krgp7H1yPYaLblJ83+hWkU6rbGVCzDYY2ZQIDAQABAoIBAA1SLDpAnxL4MjtdF4bbYi2IMRaDfCXM\
    43YdKx08w1zztNi5ZoLjRLtrmUhjYA6GpN0HQ0biJlC/N01a0KKip4F3o+U5Mt0Ko6CrbxubjrgTjvxSnjBPmVyV5kp02SdN3gyS\
    Ic9jS8+Gjui/7LG0FlJ3HWyorbfrKeQOTHqKBNibH2SUcsYbycJNVrS1g5ygaDoa96veFWxydiyVfZypzYkzZJ++6OusL4//3Po6\
    1VPQwIhWqCP2CcaiR1uDqJRp0kVFEX/W48MUO1Fewv218J1U+/ZfQtzysLG+PvDOldR16ZHWusfhgQK44Wx8iSEVvP9GNkh+pfs/\
    MP7gii7u4QECgYEA/2kSzDv5xkQbIYLb+U12FBLmT8VrmU2qoUPr2oxUa0pKBvwq8INwcAjhsUpR9YEcDczrX7w/whRVbDi4MDyL\
    CVdRYXtRnw3Fq9YhDYhMNhMMy7u4gMHLa6L2q4s2zHo4DBtPla4uSUie7tDh7prVqxXZBk5kix8mYFOJm6ZuywECgYEAzesWjplw\
    SU65CCk9oGS91mImJfrWFaxgjCtNyZO8a1c3KOqJmMJi8bPiA5gf6RBFK/o6+TIp5+c7OGHJpE0RI2aIlIuRV1L1zBINOiL3EfdB\
    saYvFYa65iI68EfuR8UCSMOQiGe/vmWP7Sf18dUAe1y1e6cBx/U8fS2dijA7H2UCgYEAla33NTeExnuNRtNQpMaPh24YCPHSf/Iz\
    J/UNGHQa2RGdVoCbjX4J+65IzcSXSYATd8b6vY0t9EhEU3rd/m7MsHm6mJ1TlRnWGUEQ98RDnYEGg7MMinCIDRlg4+FfCPArPnUW\
    68o7F/l2ItDJRzL4Ox4/pGF2rM1hiRwLzer4jQECgYB/QTpWc+KdmyXkMkBggAGFnHBA5mwpRrb/yL8wxLkbiPGQuqjAG9kzz9vs\
    JrYJvUFSNTj+yY52P0Msy9nmTK47t2DOlBYE5kL6k2lTNUqE8s3JcI8GeZXFJQBRf9J0zf5kY19NvPgVPQSeJiTrB5xdoGSTfxkt\
    rpNsNKV4Qeg3tQKBgQCWnaoPbQopbQpNwW3A0641JDUyaQvuOGukG5d2T0ut+S/bNBrRpAZ1KOwcU0PrUni0kIwGtlLnsQeO4NpK\
    hAccirE0ZE52jGrnVadSGr4+ZM3P9Pc+qf2ZAg8hhR/GlSY3tOakiVqBYJzbbwUXh9bhy/JDfFkLHaD6U/URQH7aBw==";
/// Its modulus.
const RSA_N: &str = "\
    zXGwAxp939YQAiDGo9jYAhxXfv4oP_X0gPBn2ByC5GCjfJ-o3XErc7Zx3p1QDX8h4eAzIrDbYXiQvUrWQ2ZeCZj5qUPVn4KSs56x\
    eFJFsJXo6NZq5d3aMC4zCacBvb5OO4ql_gdFdIIXkFGJSajhGm2WIN57bMHz5OwBmMMxOLWb5Bqd0BdsfVe-yHFaut-940Vd3AjA\
    NAa06PEwoKaJG5BZD5j606kYTTQ4V3OVs8TCTOG_sFZmfDA1I_a-WN33gHf0ueIzTqyFksUuhUpHerOyVTjGPqhyKEAscVDdRHf1\
    HlmcY09Krgp7H1yPYaLblJ83-hWkU6rbGVCzDYY2ZQ";

/// Its public half in PEM.
pub(in crate::auth) const RSA_PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAzXGwAxp939YQAiDGo9jY
AhxXfv4oP/X0gPBn2ByC5GCjfJ+o3XErc7Zx3p1QDX8h4eAzIrDbYXiQvUrWQ2Ze
CZj5qUPVn4KSs56xeFJFsJXo6NZq5d3aMC4zCacBvb5OO4ql/gdFdIIXkFGJSajh
Gm2WIN57bMHz5OwBmMMxOLWb5Bqd0BdsfVe+yHFaut+940Vd3AjANAa06PEwoKaJ
G5BZD5j606kYTTQ4V3OVs8TCTOG/sFZmfDA1I/a+WN33gHf0ueIzTqyFksUuhUpH
erOyVTjGPqhyKEAscVDdRHf1HlmcY09Krgp7H1yPYaLblJ83+hWkU6rbGVCzDYY2
ZQIDAQAB
-----END PUBLIC KEY-----
";
/// The same in PKCS #1.
pub(in crate::auth) const RSA_PUBLIC_PKCS1_PEM: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAzXGwAxp939YQAiDGo9jYAhxXfv4oP/X0gPBn2ByC5GCjfJ+o3XEr
c7Zx3p1QDX8h4eAzIrDbYXiQvUrWQ2ZeCZj5qUPVn4KSs56xeFJFsJXo6NZq5d3a
MC4zCacBvb5OO4ql/gdFdIIXkFGJSajhGm2WIN57bMHz5OwBmMMxOLWb5Bqd0Bds
fVe+yHFaut+940Vd3AjANAa06PEwoKaJG5BZD5j606kYTTQ4V3OVs8TCTOG/sFZm
fDA1I/a+WN33gHf0ueIzTqyFksUuhUpHerOyVTjGPqhyKEAscVDdRHf1HlmcY09K
rgp7H1yPYaLblJ83+hWkU6rbGVCzDYY2ZQIDAQAB
-----END RSA PUBLIC KEY-----
";

/// Signs as RS256.
pub(in crate::auth) fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_der(&STANDARD.decode(RSA_DER).unwrap())
}

/// The public half of the RSA key, as a key set has it.
pub(in crate::auth) fn rsa_jwk(id: &str) -> Value {
    json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": RSA_N, "e": "AQAB"})
}

pub(in crate::auth) fn p256_secret() -> p256::SecretKey {
    p256::SecretKey::from_slice(&[7; 32]).unwrap()
}

/// Signs as ES256.
pub(in crate::auth) fn p256() -> EncodingKey {
    EncodingKey::from_ec_der(p256_secret().to_pkcs8_der().unwrap().as_bytes())
}

/// The public half of the P-256 key, as a key set has it.
pub(in crate::auth) fn p256_jwk(id: &str) -> Value {
    let point = p256_secret().public_key().to_encoded_point(false);
    let (x, y) = (URL_SAFE_NO_PAD.encode(point.x().unwrap()), URL_SAFE_NO_PAD.encode(point.y().unwrap()));
    json!({"kty": "EC", "kid": id, "crv": "P-256", "x": x, "y": y})
}
