//! Signatures as Standard Webhooks defines them: `v1,` and HMAC-SHA256 over `id.timestamp.body`, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// A signing key of 24 to 64 bytes.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

/// Why a text is no signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError(pub String);

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Never shows the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_` and base64; the prefix may be left out.
    pub fn parse(secret: &str) -> Result<SigningKey, SecretError> {
        let key = STANDARD
            .decode(secret.trim().strip_prefix("whsec_").unwrap_or(secret.trim()))
            .map_err(|_| {
                SecretError(
                    "a webhook secret is `whsec_` and base64; make one with: echo whsec_$(openssl rand -base64 32)"
                        .into(),
                )
            })?;
        if !(24..=64).contains(&key.len()) {
            return Err(SecretError(format!(
                "a webhook secret holds 24 to 64 bytes, and this one {}",
                key.len()
            )));
        }
        Ok(SigningKey(key))
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        // HMAC takes a key of any length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(_) => return String::new(),
        };
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answer of the specification's own libraries.
    #[test]
    fn signs_as_the_specification_does() {
        let key = SigningKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a key");
        let signature = key.sign(
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            br#"{"email":"test@example.com","username":"test_user"}"#,
        );
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn refuses_short_and_broken_keys() {
        assert!(
            SigningKey::parse("whsec_AAAA")
                .expect_err("short")
                .0
                .contains("24 to 64 bytes, and this one 3")
        );
        assert!(
            SigningKey::parse("whsec_!")
                .expect_err("not base64")
                .0
                .contains("base64")
        );
    }
}
