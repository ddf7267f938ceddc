//! `POST /token?grant_type=refresh_token`: a refresh token for a new pair (RFC 9700 §4.14.2).
//!
//! - Each token is good for one use. Using it revokes it and brings its successor, in one transaction that only one of several
//!   simultaneous uses can win.
//! - **A revoked token that comes again ends the session**: either it or its successor is in wrong hands, and nobody can tell
//!   which. Every token of the session is revoked and the session is over, also for its access tokens at `/user`.
//! - **Ten seconds of grace**, for the client whose answer was lost or whose tabs refresh at the same time: the immediate
//!   predecessor of the session's current token gets *that very token* again, not another one. So the session never branches, and
//!   whoever stole a token within the grace shares it with its owner, and the second of them to use it ends the session.

use crate::account::{Inner, traceparent};
use crate::fault::{Fault, Result, answer};
use crate::records::{RefreshToken, Session, User, refresh_tokens, sessions};
use crate::request::Form;
use crate::session::micros;
use crate::tables::{Where, exactly_one, undone};
use crate::token::{Parent, Secret, salt};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response};
use mainstay_model::{Error, Transaction, Value, time};
use std::time::Duration;

/// How long the immediate predecessor may be used again. GoTrue's default.
const GRACE: Duration = Duration::from_secs(10);

/// Each attempt that loses to another use of the token looks again; the second look finds it revoked.
const ATTEMPTS: usize = 3;

impl Inner {
    /// Prolongs a session.
    pub async fn refresh(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        self.limit_address(&self.rules.refresh, request)?;
        self.signer()?;
        let form = Form::read(request.body())?;
        let text = form.text_or_empty("refresh_token")?;
        if text.is_empty() {
            return Err(Fault::oauth("invalid_request", "refresh_token required"));
        }
        let token = Secret::received(text).ok_or_else(not_found)?;
        for _ in 0..ATTEMPTS {
            let (row, session, user) = self.look_up(&token).await?;
            let now_us = time::now();
            let successor = if row.revoked {
                self.again(&token, &row, &session, now_us).await?
            } else if session.ended(now_us) {
                return Err(expired());
            } else {
                match self.rotate(&token, &row, &session, now_us, traceparent(request)).await {
                    Ok(successor) => successor,
                    // 23503: the session is gone, and its tokens with it.
                    Err(error) if undone(&error) || error.code == "23503" => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let body = self.session_json(&user, session.id, session.created_us, &successor)?;
            return Ok(answer(200, &body));
        }
        Err(Fault::new(
            503,
            "conflict",
            "This token is being used by too many requests at once; try again",
        )
        .header(RETRY_AFTER, HeaderValue::from_static("1")))
    }

    async fn look_up(&self, token: &Secret) -> Result<(RefreshToken, Session, User)> {
        let row = self.tables.token_by_hash(&self.accounts, &token.hash()).await?;
        let row = row.ok_or_else(not_found)?;
        let session = self.tables.session_by_id(&self.accounts, row.session_id).await?;
        let session = session.ok_or_else(|| {
            Fault::new(
                400,
                "session_not_found",
                "Invalid Refresh Token: No Valid Session Found",
            )
        })?;
        let user = self.tables.user_by_id(&self.accounts, session.user_id).await?;
        Ok((row, session, user.ok_or_else(not_found)?))
    }

    /// The token for its successor. An error that is [`undone`]: somebody else used it, or ended the session, just now.
    async fn rotate(
        &self,
        token: &Secret,
        row: &RefreshToken,
        session: &Session,
        now_us: i64,
        traceparent: Option<String>,
    ) -> Result<Secret, Error> {
        let salt = salt()?;
        let successor = token.successor(&salt)?;
        // Without its salt the token can no longer be computed from its own predecessor.
        let parent = row
            .parent
            .as_deref()
            .map_or(Value::Null, |parent| Value::Text(Parent::read(parent).hash.to_owned()));
        let (tables, ttl_us) = (&self.tables, micros(self.config.refresh_ttl));
        let steps = vec![
            exactly_one(tables.refresh_tokens.update(
                vec![
                    (refresh_tokens::REVOKED, Value::Bool(true)),
                    (refresh_tokens::PARENT, parent),
                    (refresh_tokens::UPDATED_AT, Value::Timestamp(now_us)),
                ],
                vec![
                    Where::Is(refresh_tokens::TOKEN_HASH, Value::Text(row.hash.clone())),
                    Where::Is(refresh_tokens::REVOKED, Value::Bool(false)),
                ],
            )),
            exactly_one(tables.sessions.update(
                vec![
                    (sessions::UPDATED_AT, Value::Timestamp(now_us)),
                    (sessions::NOT_AFTER, Value::Timestamp(now_us.saturating_add(ttl_us))),
                ],
                vec![
                    Where::Is(sessions::ID, Value::Uuid(session.id)),
                    Where::AfterOrNull(sessions::NOT_AFTER, Value::Timestamp(now_us)),
                ],
            )),
            self.insert_token(
                &successor,
                Some(format!("{}.{salt}", row.hash)),
                session.user_id,
                session.id,
                now_us,
            ),
            // Those that would have expired by themselves need not be recognised any longer.
            tables.refresh_tokens.delete(vec![
                Where::Is(refresh_tokens::SESSION_ID, Value::Uuid(session.id)),
                Where::Is(refresh_tokens::REVOKED, Value::Bool(true)),
                Where::Before(refresh_tokens::UPDATED_AT, Value::Timestamp(now_us - ttl_us)),
            ]),
        ];
        let transaction = Transaction {
            steps,
            traceparent,
            ..Transaction::default()
        };
        self.accounts.write(transaction).await?;
        Ok(successor)
    }

    /// A token that was used before: the session's current token if that was just now and it is the next one, else the end of
    /// the session.
    async fn again(&self, token: &Secret, row: &RefreshToken, session: &Session, now_us: i64) -> Result<Secret> {
        if !session.ended(now_us) && now_us.saturating_sub(row.updated_us) <= micros(GRACE) {
            let current = self.tables.current_token(&self.accounts, session.id).await?;
            if let Some(successor) = current
                .map(|current| next_of(token, row, &current))
                .transpose()?
                .flatten()
            {
                return Ok(successor);
            }
        }
        if !session.ended(now_us) {
            self.end(session, now_us).await?;
            mainstay_telemetry::warn!(
                "account",
                "a refresh token was used twice: session {} of user {} is over",
                crate::wire::uuid(session.id),
                crate::wire::uuid(session.user_id)
            );
        }
        Err(Fault::new(
            400,
            "refresh_token_already_used",
            "Invalid Refresh Token: Already Used",
        ))
    }

    /// Revokes every token of a session and ends it.
    async fn end(&self, session: &Session, now_us: i64) -> Result<()> {
        let steps = vec![
            self.tables.refresh_tokens.update(
                vec![
                    (refresh_tokens::REVOKED, Value::Bool(true)),
                    (refresh_tokens::UPDATED_AT, Value::Timestamp(now_us)),
                ],
                vec![
                    Where::Is(refresh_tokens::SESSION_ID, Value::Uuid(session.id)),
                    Where::Is(refresh_tokens::REVOKED, Value::Bool(false)),
                ],
            ),
            self.tables.sessions.update(
                vec![
                    (sessions::UPDATED_AT, Value::Timestamp(now_us)),
                    (sessions::NOT_AFTER, Value::Timestamp(now_us)),
                ],
                vec![
                    Where::Is(sessions::ID, Value::Uuid(session.id)),
                    Where::AfterOrNull(sessions::NOT_AFTER, Value::Timestamp(now_us)),
                ],
            ),
        ];
        self.accounts
            .write(Transaction {
                steps,
                ..Transaction::default()
            })
            .await?;
        Ok(())
    }
}

/// The current token, if it is the immediate successor of this one.
fn next_of(token: &Secret, row: &RefreshToken, current: &RefreshToken) -> Result<Option<Secret>, Error> {
    let Some(Parent { hash, salt: Some(salt) }) = current.parent.as_deref().map(Parent::read) else {
        return Ok(None);
    };
    if hash != row.hash {
        return Ok(None);
    }
    let successor = token.successor(salt)?;
    Ok((successor.hash() == current.hash).then_some(successor))
}

fn not_found() -> Fault {
    Fault::new(
        400,
        "refresh_token_not_found",
        "Invalid Refresh Token: Refresh Token Not Found",
    )
}

fn expired() -> Fault {
    Fault::new(400, "session_expired", "Invalid Refresh Token: Session Expired")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(token: &Secret, parent: Option<String>) -> RefreshToken {
        RefreshToken {
            hash: token.hash(),
            session_id: 1,
            parent,
            revoked: false,
            updated_us: 0,
        }
    }

    #[test]
    fn only_the_immediate_predecessor_is_given_the_current_token_again() {
        let first = Secret::random().expect("random");
        let (salt_2, salt_3) = (salt().expect("random"), salt().expect("random"));
        let second = first.successor(&salt_2).expect("derived");
        let third = second.successor(&salt_3).expect("derived");
        let row_1 = row(&first, None);
        let row_2 = row(&second, Some(format!("{}.{salt_2}", first.hash())));
        let row_3 = row(&third, Some(format!("{}.{salt_3}", second.hash())));
        let used_up = row(&second, Some(first.hash()));
        let next = |token, row, current| next_of(token, row, current).expect("derived");
        assert_eq!(next(&first, &row_1, &row_2), Some(second.clone()));
        assert_eq!(next(&second, &row_2, &row_3), Some(third));
        assert_eq!(next(&first, &row_1, &row_3), None, "a grandparent");
        assert_eq!(next(&first, &row_1, &used_up), None, "its salt is gone");
        assert_eq!(next(&first, &row_1, &row_1), None, "itself");
        let forged = row(&Secret::random().expect("random"), row_2.parent.clone());
        assert_eq!(next(&first, &row_1, &forged), None, "not computed from it");
    }
}
