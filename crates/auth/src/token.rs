//! Signing: the tokens that a login hands out and `mainstay token` prints.

use crate::Key;
use jsonwebtoken::{EncodingKey, Header};
use mainstay_model::{Error, Result};
use serde_json::{Map, Value as Json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Signs with a shared secret.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
}

/// The claims of a token to be signed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `role`
    pub role: String,
    /// `sub`
    pub subject: Option<String>,
    /// How long it is good for, in seconds.
    pub ttl_s: u64,
    /// `iss`
    pub issuer: Option<String>,
    /// `aud`
    pub audience: Option<String>,
    /// Everything else.
    pub more: Map<String, Json>,
}

impl Signer {
    /// `None` for a key that can only verify.
    pub fn new(key: &Key) -> Option<Signer> {
        key.encoding.clone().map(|key| Signer { key })
    }

    /// A signed token (HS256) and the time it expires, in seconds since the Unix epoch.
    pub fn sign(&self, claims: &Claims) -> Result<(String, u64)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let expires = now + claims.ttl_s;
        let mut body = claims.more.clone();
        body.insert("role".into(), claims.role.clone().into());
        body.insert("iat".into(), now.into());
        body.insert("exp".into(), expires.into());
        for (name, value) in [
            ("sub", &claims.subject),
            ("iss", &claims.issuer),
            ("aud", &claims.audience),
        ] {
            if let Some(value) = value {
                body.insert(name.into(), value.clone().into());
            }
        }
        let token = jsonwebtoken::encode(&Header::default(), &body, &self.key)
            .map_err(|e| Error::internal(format!("a token could not be signed: {e}")))?;
        Ok((token, expires))
    }
}
