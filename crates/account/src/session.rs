//! A session's beginning: the rows that make it, and the tokens that are handed out for it.

use crate::account::Inner;
use crate::fault::{Fault, Result};
use crate::records::{User, refresh_tokens, sessions};
use crate::tables::Where;
use crate::token::Secret;
use crate::wire;
use mainstay_auth::{Claims, Signer};
use mainstay_model::{Step, Value};
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// Sessions that ended are kept so long for whoever looks into what happened.
const ENDED_KEPT: Duration = Duration::from_secs(86_400);

/// A session that is about to be stored.
pub(crate) struct NewSession {
    pub id: u128,
    pub token: Secret,
}

/// Microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

impl Inner {
    /// Who signs tokens here. Errors: 422 when the configured key can only verify.
    pub fn signer(&self) -> Result<&Signer> {
        self.signer.as_ref().ok_or_else(|| {
            Fault::new(
                422,
                "email_provider_disabled",
                "Email logins are disabled: the key in [auth] only verifies tokens, so none can be issued here",
            )
        })
    }

    /// The steps that begin a session for a user, after those that make sure of the user.
    pub fn begin_session(&self, user: u128, now_us: i64) -> Result<(NewSession, Vec<Step>)> {
        let session = NewSession {
            id: uuid::Uuid::new_v4().as_u128(),
            token: Secret::random()?,
        };
        let end = now_us.saturating_add(micros(self.config.refresh_ttl));
        let steps = vec![
            self.tables.sessions.delete(vec![
                Where::Is(sessions::USER_ID, Value::Uuid(user)),
                Where::Before(sessions::NOT_AFTER, Value::Timestamp(now_us - micros(ENDED_KEPT))),
            ]),
            self.tables.sessions.insert(vec![
                (sessions::ID, Value::Uuid(session.id)),
                (sessions::USER_ID, Value::Uuid(user)),
                (sessions::CREATED_AT, Value::Timestamp(now_us)),
                (sessions::UPDATED_AT, Value::Timestamp(now_us)),
                (sessions::NOT_AFTER, Value::Timestamp(end)),
            ]),
            self.insert_token(&session.token, None, user, session.id, now_us),
        ];
        Ok((session, steps))
    }

    /// The step that stores a refresh token.
    pub fn insert_token(&self, token: &Secret, parent: Option<String>, user: u128, session: u128, now_us: i64) -> Step {
        self.tables.refresh_tokens.insert(vec![
            (refresh_tokens::TOKEN_HASH, Value::Text(token.hash())),
            (refresh_tokens::USER_ID, Value::Uuid(user)),
            (refresh_tokens::SESSION_ID, Value::Uuid(session)),
            (refresh_tokens::PARENT, parent.map_or(Value::Null, Value::Text)),
            (refresh_tokens::REVOKED, Value::Bool(false)),
            (refresh_tokens::CREATED_AT, Value::Timestamp(now_us)),
            (refresh_tokens::UPDATED_AT, Value::Timestamp(now_us)),
        ])
    }

    /// What the client gets for a session: GoTrue's token response.
    pub fn session_json(&self, user: &User, session: u128, began_us: i64, token: &Secret) -> Result<Json> {
        let mut more = Map::new();
        more.insert("email".into(), user.email.clone().into());
        more.insert("phone".into(), "".into());
        more.insert("app_metadata".into(), user.app_metadata.clone().into());
        more.insert("user_metadata".into(), user.user_metadata.clone().into());
        more.insert("aal".into(), "aal1".into());
        more.insert(
            "amr".into(),
            json!([{"method": "password", "timestamp": began_us / 1_000_000}]),
        );
        more.insert("session_id".into(), wire::uuid(session).into());
        more.insert("is_anonymous".into(), false.into());
        let ttl_s = self.config.access_ttl.as_secs().max(1);
        let (access_token, expires_at) = self.signer()?.sign(&Claims {
            role: user.role.clone(),
            subject: Some(wire::uuid(user.id)),
            ttl_s,
            issuer: self.config.issuer.clone(),
            audience: Some(self.config.audience.clone()),
            more,
        })?;
        Ok(json!({
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": ttl_s,
            "expires_at": expires_at,
            "refresh_token": token.expose(),
            "user": wire::user(user, &self.config.audience),
        }))
    }
}
