//! Who asks: a role and the claims of a verified token.

use crate::{Claim, Request, Result, Type, Value};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// A verified caller. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The role: `anon`, `authenticated`, `service_role` or one of the project's own.
    pub role: Arc<str>,
    /// The token's claims; empty without a token.
    pub claims: Arc<Map<String, Json>>,
    /// The request that asks, for engines whose functions and policies may look at it (`request.headers` and the like).
    pub request: Option<Arc<Request>>,
}

impl Identity {
    /// The caller without a token.
    pub fn anon() -> Identity {
        Identity::role("anon")
    }

    /// A caller with a role and claims.
    pub fn new(role: impl Into<Arc<str>>, claims: Arc<Map<String, Json>>) -> Identity {
        Identity {
            role: role.into(),
            claims,
            request: None,
        }
    }

    /// The same caller, by a request.
    pub fn asking(&self, request: Arc<Request>) -> Identity {
        Identity {
            request: Some(request),
            ..self.clone()
        }
    }

    /// A caller with a role and no claims.
    pub fn role(role: &str) -> Identity {
        Identity::new(role, Arc::default())
    }

    /// Passes every policy and privilege.
    pub fn service() -> Identity {
        Identity::role("service_role")
    }

    /// `sub`, if the token has one.
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Json::as_str)
    }

    /// Whether this role passes policies (Postgres' BYPASSRLS) and privileges.
    pub fn bypasses_policies(&self) -> bool {
        &*self.role == "service_role"
    }

    /// The value that a [`Claim`] has for this caller, as `ty`; NULL where the token does not say.
    pub fn claim(&self, claim: &Claim, ty: &Type) -> Result<Value> {
        let path = |path: &[Arc<str>]| {
            let (first, rest) = path.split_first()?;
            rest.iter()
                .try_fold(self.claims.get(&**first)?, |json, key| match json {
                    Json::Array(items) => items.get(key.parse::<usize>().ok()?),
                    json => json.get(&**key),
                })
        };
        Ok(match claim {
            Claim::Uid => match self.subject() {
                Some(subject) => Value::parse(subject, &Type::Uuid).unwrap_or(Value::Null),
                None => Value::Null,
            },
            Claim::Role => Value::Text(self.role.to_string()),
            Claim::All if self.claims.is_empty() => Value::Null,
            Claim::All => Value::parse(&serde_json::to_string(&*self.claims).unwrap_or_default(), ty)?,
            Claim::Json(keys) => match path(keys) {
                Some(json) => Value::parse(&json.to_string(), ty)?,
                None => Value::Null,
            },
            Claim::Text(keys) => match path(keys) {
                None | Some(Json::Null) => Value::Null,
                Some(Json::String(text)) => Value::parse(text, ty)?,
                Some(json) => Value::parse(&json.to_string(), ty)?,
            },
        })
    }

    /// The caller reduced to its role and the claims named: what a cached answer may depend on. Evaluating any other claim on
    /// the result yields NULL, and of the request nothing is left.
    pub fn reduced_to(&self, claims: &[Claim]) -> Identity {
        let mut kept = Map::new();
        for claim in claims {
            let root = match claim {
                Claim::Uid => "sub",
                Claim::Role => continue,
                Claim::All => return Identity::new(self.role.clone(), self.claims.clone()),
                Claim::Json(path) | Claim::Text(path) => match path.first() {
                    Some(first) => &**first,
                    None => return Identity::new(self.role.clone(), self.claims.clone()),
                },
            };
            if let Some(json) = self.claims.get(root) {
                kept.insert(root.to_owned(), json.clone());
            }
        }
        Identity::new(self.role.clone(), Arc::new(kept))
    }
}
