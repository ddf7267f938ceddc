//! Who asks. The token is verified by whoever the composition root appoints; here is decided whether that is enough.

use crate::config::Auth;
use crate::refusal::Refusal;
use http::{HeaderMap, StatusCode};
use mainstay_model::Identity;
use std::sync::Arc;

/// Turns a request's headers into an identity.
pub trait Authenticate: Send + Sync + 'static {
    /// The caller that a valid token names, or the anonymous one where there is no token. A token that is there and not
    /// valid is an error, whatever the route would have allowed without one.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal>;

    /// Whether an identity given before still holds at `now`, in seconds since 1970: the same headers would give it again.
    fn holds(&self, _identity: &Identity, _now: u64) -> bool {
        false
    }

    /// Whether that identity is nobody in particular: without a token, or with the public key of an application, whose
    /// role is `anon`.
    fn is_anonymous(&self, identity: &Identity) -> bool {
        identity.claims.is_empty() || &*identity.role == "anon"
    }
}

/// Phase: the identity behind a request, if the route wants to know and lets it in.
pub(crate) fn identify(
    authenticate: Option<&dyn Authenticate>,
    auth: &Auth,
    headers: &HeaderMap,
) -> Result<Option<Arc<Identity>>, Refusal> {
    let Some(authenticate) = authenticate.filter(|_| *auth != Auth::None) else {
        return Ok(None);
    };
    let identity = authenticate.authenticate(headers)?;
    let wants_token = matches!(auth, Auth::Required | Auth::Roles(_));
    if wants_token && authenticate.is_anonymous(&identity) {
        return Err(Refusal::unauthorized("GW301", "A token is needed here").hint("Send `Authorization: Bearer …`"));
    }
    if let Auth::Roles(roles) = auth
        && !roles.iter().any(|r| **r == *identity.role)
    {
        return Err(
            Refusal::new(StatusCode::FORBIDDEN, "GW302", "This role may not do that").details(format!(
                "role {}; allowed: {}",
                identity.role,
                roles.join(", ")
            )),
        );
    }
    Ok(Some(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tokens;

    impl Authenticate for Tokens {
        fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
            match headers.get("authorization").map(|v| v.to_str().unwrap_or("")) {
                None => Ok(Arc::new(Identity::anon())),
                Some("Bearer bad") => Err(Refusal::unauthorized("PGRST301", "bad token")),
                Some(role) => {
                    let mut claims = serde_json::Map::new();
                    claims.insert("sub".into(), "u1".into());
                    Ok(Arc::new(Identity::new(
                        role.trim_start_matches("Bearer "),
                        Arc::new(claims),
                    )))
                }
            }
        }
    }

    #[test]
    fn each_rule_lets_in_whom_it_says() {
        let staff = Auth::Roles(vec!["staff".into()]);
        for (auth, token, wanted) in [
            (&Auth::None, Some("Bearer bad"), Ok(None)),
            (&Auth::Optional, None, Ok(Some("anon"))),
            (&Auth::Optional, Some("Bearer authenticated"), Ok(Some("authenticated"))),
            (&Auth::Optional, Some("Bearer bad"), Err("PGRST301")),
            (&Auth::Required, None, Err("GW301")),
            (&Auth::Required, Some("Bearer anon"), Err("GW301")),
            (&Auth::Required, Some("Bearer authenticated"), Ok(Some("authenticated"))),
            (&staff, None, Err("GW301")),
            (&staff, Some("Bearer authenticated"), Err("GW302")),
            (&staff, Some("Bearer staff"), Ok(Some("staff"))),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(token) = token {
                headers.insert("authorization", http::HeaderValue::from_static(token));
            }
            let got = identify(Some(&Tokens), auth, &headers);
            let got = got
                .map(|i| i.map(|i| i.role.to_string()))
                .map_err(|r| r.code.to_string());
            assert_eq!(
                got,
                wanted.map(|r| r.map(String::from)).map_err(String::from),
                "{auth:?} {token:?}"
            );
        }
    }
}
