//! A key verifies its own algorithm and no other: RS256 with a public key, and the confusions that RFC 8725 §2.1 warns of.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mainstay_auth::{Config, Key, Verifier};
use serde_json::json;

/// Made for this test, of no other use.
const PRIVATE: &str = include_str!("keys/rs256.private.pem");
const PUBLIC: &str = include_str!("keys/rs256.public.pem");

fn token(algorithm: Algorithm, key: &EncodingKey) -> String {
    let claims = json!({"role": "authenticated", "sub": "7", "exp": 4_102_444_800u64});
    jsonwebtoken::encode(&Header::new(algorithm), &claims, key).expect("signs")
}

#[test]
fn a_public_key_verifies_rs256() {
    let verifier = Verifier::new(vec![Key::from_config(PUBLIC).expect("a key")], Config::default());
    let signed = token(
        Algorithm::RS256,
        &EncodingKey::from_rsa_pem(PRIVATE.as_bytes()).expect("a key"),
    );
    let identity = verifier.verify(&signed).expect("verifies");
    assert_eq!((&*identity.role, identity.subject()), ("authenticated", Some("7")));
    let (head, signature) = signed.rsplit_once('.').expect("three parts");
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    assert_eq!(verifier.verify(&forged).expect_err("forged").code, "PGRST301");
}

/// The public key is public: a token "signed" with it as an HMAC secret must not pass.
#[test]
fn a_public_key_is_no_shared_secret() {
    let verifier = Verifier::new(vec![Key::from_config(PUBLIC).expect("a key")], Config::default());
    let confused = token(Algorithm::HS256, &EncodingKey::from_secret(PUBLIC.as_bytes()));
    assert_eq!(verifier.verify(&confused).expect_err("confused").code, "PGRST301");
}

#[test]
fn a_shared_secret_verifies_no_rs256_and_a_private_key_is_refused() {
    let secret = Key::hs256(b"0123456789abcdef0123456789abcdef").expect("long enough");
    let verifier = Verifier::new(vec![secret], Config::default());
    let signed = token(
        Algorithm::RS256,
        &EncodingKey::from_rsa_pem(PRIVATE.as_bytes()).expect("a key"),
    );
    assert_eq!(verifier.verify(&signed).expect_err("no key for it").code, "PGRST301");
    assert!(
        Key::from_config(PRIVATE)
            .expect_err("private")
            .0
            .contains("private key")
    );
}
