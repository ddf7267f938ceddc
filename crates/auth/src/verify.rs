//! Verification. A token that was verified is remembered until it expires, so that a client's every request does not pay for
//! its signature again.

use crate::{Key, claims};
use base64::Engine as _;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use mainstay_model::{Error, Identity, Result};
use serde_json::{Map, Value as Json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A token longer than this is refused unread, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// So many verified tokens are remembered per thread.
const REMEMBERED_MAX: usize = 4096;

/// What a token must satisfy beyond its signature.
#[derive(Clone, Debug)]
pub struct Config {
    /// `aud` must be, or contain, one of these; empty: it is not looked at.
    pub audience: Vec<String>,
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// Clocks may differ by so many seconds.
    pub leeway_s: u64,
    /// The role without a token, or of a token without `role`.
    pub anon: Arc<str>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            audience: Vec::new(),
            issuer: None,
            leeway_s: 30,
            anon: "anon".into(),
        }
    }
}

/// Turns tokens into identities.
pub struct Verifier {
    /// Tells the memories of several verifiers on one thread apart.
    id: u64,
    keys: Vec<(Key, Validation)>,
    config: Config,
    anon: Arc<Identity>,
}

/// By verifier, then by token: the identity and when it expires.
type Remembered = HashMap<u64, HashMap<Box<str>, (Arc<Identity>, u64), ahash::RandomState>, ahash::RandomState>;

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

impl Verifier {
    /// With the keys in the order in which they are tried; each verifies its own algorithm only.
    pub fn new(keys: Vec<Key>, config: Config) -> Verifier {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let keys = keys
            .into_iter()
            .map(|key| {
                // The signature and nothing else: what the claims must be, `claims` says, claim by claim.
                let mut validation = Validation::new(key.algorithm);
                validation.validate_exp = false;
                validation.validate_aud = false;
                validation.required_spec_claims.clear();
                (key, validation)
            })
            .collect();
        let anon = Arc::new(Identity::new(config.anon.clone(), Arc::default()));
        Verifier {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            keys,
            config,
            anon,
        }
    }

    /// The caller without a token.
    pub fn anon(&self) -> &Arc<Identity> {
        &self.anon
    }

    /// The caller that a token names. Errors: PGRST301 (not a token of ours), PGRST303 (its claims do not hold), both 401.
    pub fn verify(&self, token: &str) -> Result<Arc<Identity>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused(
                "PGRST301",
                format!("the token has {} bytes, more than {TOKEN_BYTES_MAX}", token.len()),
            ));
        }
        let remembered = REMEMBERED.with_borrow(|memory| memory.get(&self.id)?.get(token).cloned());
        if let Some((identity, expires)) = remembered
            && now < expires
        {
            return Ok(identity);
        }
        let claims = self.decode(token)?;
        claims::check(&claims, &self.config, now)?;
        let expires = self.expires(&claims);
        let role = match claims.get("role") {
            Some(Json::String(role)) if !role.is_empty() => Arc::from(role.as_str()),
            None | Some(Json::Null) => self.config.anon.clone(),
            Some(_) => return Err(refused("PGRST303", "the token's \"role\" is not a string".to_owned())),
        };
        let identity = Arc::new(Identity::new(role, Arc::new(claims)));
        REMEMBERED.with_borrow_mut(|memory| {
            let memory = memory.entry(self.id).or_default();
            if memory.len() >= REMEMBERED_MAX {
                memory.retain(|_, (_, expires)| *expires > now);
                if memory.len() >= REMEMBERED_MAX {
                    memory.clear();
                }
            }
            memory.insert(token.into(), (identity.clone(), expires));
        });
        Ok(identity)
    }

    /// Whether a caller that [`Verifier::verify`] has named is still that one. `now`: seconds since 1970.
    pub fn holds(&self, identity: &Identity, now: u64) -> bool {
        identity.claims.is_empty() || now < self.expires(&identity.claims)
    }

    /// From when on a token is not believed unread.
    fn expires(&self, claims: &Map<String, Json>) -> u64 {
        claims
            .get("exp")
            .and_then(Json::as_f64)
            .map_or(0, |e| (e as u64).saturating_add(self.config.leeway_s))
    }

    fn decode(&self, token: &str) -> Result<Map<String, Json>> {
        if token.is_empty() {
            return Err(refused(
                "PGRST301",
                "Empty JWT is sent in Authorization header".to_owned(),
            ));
        }
        let parts = token.split('.').count();
        if parts != 3 {
            return Err(refused("PGRST301", format!("Expected 3 parts in JWT; got {parts}")));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            // An algorithm that is none of those that there are.
            ErrorKind::Json(why) => {
                let error = refused("PGRST301", "Wrong or unsupported encoding algorithm".to_owned());
                match why.to_string().contains("`none`") {
                    true => error.detail("JWT is unsecured but expected 'alg' was not 'none'"),
                    false => error,
                }
            }
            _ => refused("PGRST301", "JWT cryptographic operation failed".to_owned()),
        })?;
        if has_critical_extensions(token) {
            return Err(refused(
                "PGRST301",
                "The JWT names critical extensions, and none is known here".to_owned(),
            ));
        }
        let mut last = None;
        for (key, validation) in &self.keys {
            if key.algorithm != header.alg {
                continue;
            }
            match jsonwebtoken::decode::<Map<String, Json>>(token, &key.decoding, validation) {
                Ok(data) => return Ok(data.claims),
                Err(e) => last = Some(e),
            }
        }
        let Some(error) = last else {
            return Err(refused("PGRST301", format!("no key here verifies {:?}", header.alg)));
        };
        Err(match error.kind() {
            ErrorKind::InvalidSignature => refused("PGRST301", "No suitable key or wrong key type".to_owned())
                .detail("None of the keys was able to decode the JWT"),
            _ => refused("PGRST301", "JWT could not be decoded".to_owned()),
        })
    }
}

/// Whether the header has `crit`, which says what must be understood or the token refused (RFC 7515 §4.1.11).
fn has_critical_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let header = header.ok().and_then(|json| serde_json::from_slice::<Json>(&json).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}

pub(crate) fn refused(code: &'static str, message: String) -> Error {
    Error::new(code, message).status(401)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Claims, Signer};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn verifier(config: Config) -> Verifier {
        Verifier::new(vec![Key::hs256(SECRET).expect("long enough")], config)
    }

    fn sign(claims: &Claims) -> String {
        Signer::new(&Key::hs256(SECRET).expect("long enough"))
            .expect("can sign")
            .sign(claims)
            .expect("signs")
            .0
    }

    fn claims() -> Claims {
        Claims {
            role: "authenticated".into(),
            subject: Some("7".into()),
            ttl_s: 60,
            ..Claims::default()
        }
    }

    #[test]
    fn a_signed_token_names_its_caller_and_is_remembered() {
        let verifier = verifier(Config::default());
        let token = sign(&claims());
        let first = verifier.verify(&token).expect("verifies");
        assert_eq!((&*first.role, first.subject()), ("authenticated", Some("7")));
        assert!(Arc::ptr_eq(&first, &verifier.verify(&token).expect("verifies again")));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let ours = sign(&claims());
        let (head, signature) = ours.rsplit_once('.').expect("three parts");
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        let expired = {
            let mut more = Map::new();
            more.insert("exp".into(), 1.into());
            let key = EncodingKeyOf(SECRET);
            key.sign(more)
        };
        let immortal = EncodingKeyOf(SECRET).sign(Map::from_iter([("role".to_owned(), Json::from("authenticated"))]));
        let other = EncodingKeyOf(b"another secret of thirty-two bytes!!")
            .sign(Map::from_iter([("exp".to_owned(), Json::from(9_999_999_999u64))]));
        for (token, code, message) in [
            ("", "PGRST301", "Empty JWT"),
            ("a", "PGRST301", "got 1"),
            ("a.b.c", "PGRST301", "cryptographic operation"),
            ("a.b", "PGRST301", "got 2"),
            (
                &*format!("{head}.{}", signature.chars().rev().collect::<String>()),
                "PGRST301",
                "",
            ),
            (none, "PGRST301", "unsupported encoding algorithm"),
            (&*expired, "PGRST303", "JWT expired"),
            (&*immortal, "PGRST303", "no \"exp\""),
            (&*other, "PGRST301", "No suitable key"),
        ] {
            let error = verifier(Config::default()).verify(token).expect_err(token);
            assert_eq!(error.code, code, "{token}: {error}");
            assert!(error.message.contains(message), "{token}: {error}");
            assert_eq!(error.status, Some(401));
        }
    }

    struct EncodingKeyOf<'a>(&'a [u8]);

    impl EncodingKeyOf<'_> {
        fn sign(&self, claims: Map<String, Json>) -> String {
            let key = jsonwebtoken::EncodingKey::from_secret(self.0);
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("signs")
        }
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        let verifier = verifier(Config::default());
        let token = sign(&claims());
        let (_, rest) = token.split_once('.').expect("three parts");
        let (payload, _) = rest.split_once('.').expect("three parts");
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        for (header, good) in [
            (r#"{"alg":"HS256"}"#, true),
            (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, false),
            (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, false),
            (r#"{"alg":"HS256","crit":[]}"#, false),
        ] {
            let message = format!("{}.{payload}", base64.encode(header));
            let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
            let token = format!("{message}.{}", signature.expect("signs"));
            assert_eq!(verifier.verify(&token).is_ok(), good, "{header}");
        }
    }

    #[test]
    fn audience_and_issuer_are_required_when_configured() {
        let config = Config {
            audience: vec!["shop".into()],
            issuer: Some("us".into()),
            ..Config::default()
        };
        let verifier = verifier(config);
        assert_eq!(verifier.verify(&sign(&claims())).expect_err("no aud").code, "PGRST303");
        let full = Claims {
            audience: Some("shop".into()),
            issuer: Some("us".into()),
            ..claims()
        };
        verifier.verify(&sign(&full)).expect("both");
        let wrong = Claims {
            audience: Some("bank".into()),
            ..full
        };
        assert_eq!(
            verifier.verify(&sign(&wrong)).expect_err("other aud").message,
            "JWT not in audience"
        );
    }
}
