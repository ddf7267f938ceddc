//! The values of refresh tokens: opaque to clients, random, kept by the store as hashes only.
//!
//! A successor is computed from its predecessor and a random salt, and only the salt is stored (beside the predecessor's hash,
//! until the successor is itself used up). So the very same successor can be given again to a client that lost the answer to
//! its refresh, by any instance, while the store still holds nothing that anybody could log in with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use mainstay_model::{Error, Result};
use sha2::{Digest, Sha256};
use std::fmt;

/// A longer text is none of our tokens, in bytes.
const TOKEN_BYTES_MAX: usize = 128;

/// Keeps these hashes apart from any others made with the same key.
const PURPOSE: &[u8] = b"mainstay refresh token successor";

/// A refresh token as the client holds it. Never shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The first of a session.
    pub fn random() -> Result<Secret> {
        Ok(Secret(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }

    /// What a client sent; `None` when it is too long to be one.
    pub fn received(text: &str) -> Option<Secret> {
        (!text.is_empty() && text.len() <= TOKEN_BYTES_MAX).then(|| Secret(text.to_owned()))
    }

    /// What the client gets.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps: SHA-256 in hexadecimal. The token is random, so nothing slower is needed.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

    /// The token that follows this one, given the salt that was drawn for it.
    pub fn successor(&self, salt: &str) -> Result<Secret> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .map_err(|e| Error::internal(format!("a refresh token could not be derived: {e}")))?;
        mac.update(PURPOSE);
        mac.update(salt.as_bytes());
        Ok(Secret(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
    }
}

/// The column `parent`: the predecessor's hash and, as long as the token itself is good, the salt that it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent<'a> {
    pub hash: &'a str,
    pub salt: Option<&'a str>,
}

impl<'a> Parent<'a> {
    /// As it is stored.
    pub fn read(text: &'a str) -> Parent<'a> {
        match text.split_once('.') {
            Some((hash, salt)) => Parent { hash, salt: Some(salt) },
            None => Parent { hash: text, salt: None },
        }
    }
}

/// A salt for a successor.
pub(crate) fn salt() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("no random numbers: {e}")))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_as_sha_256() {
        let token = Secret::received("abc").expect("short");
        assert_eq!(
            token.hash(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(format!("{token:?}"), "Secret(…)");
        assert_eq!(Secret::received(""), None);
        assert_eq!(Secret::received(&"x".repeat(129)), None);
    }

    #[test]
    fn a_successor_follows_from_token_and_salt_together() {
        let (token, other) = (Secret::random().expect("random"), Secret::random().expect("random"));
        let (salt, pepper) = (salt().expect("random"), super::salt().expect("random"));
        let successor = token.successor(&salt).expect("derived");
        assert_eq!(successor, token.successor(&salt).expect("derived"), "always the same");
        assert_ne!(successor, token.successor(&pepper).expect("derived"));
        assert_ne!(successor, other.successor(&salt).expect("derived"));
        assert_eq!(successor.expose().len(), 43, "256 bits in base64url");
        assert_eq!(Secret::received(successor.expose()), Some(successor));
    }

    #[test]
    fn a_parent_has_its_salt_only_while_its_child_is_good() {
        assert_eq!(
            Parent::read("ab.cd"),
            Parent {
                hash: "ab",
                salt: Some("cd")
            }
        );
        assert_eq!(Parent::read("ab"), Parent { hash: "ab", salt: None });
    }
}
