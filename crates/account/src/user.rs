//! `/user`: who asks, and what they change about themselves.

use crate::account::{Inner, traceparent};
use crate::fault::{Fault, Result, answer};
use crate::logout::Sessions;
use crate::records::{User, metadata, users};
use crate::request::Form;
use crate::tables::{Where, exactly_one, undone};
use crate::{email, password, wire};
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use mainstay_model::{Identity, Transaction, Value, time};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// So often a change is tried anew on a user that others change at the same time.
const ATTEMPTS: usize = 32;

/// Who asks.
pub(crate) struct Caller {
    pub user: User,
    /// The session that the token belongs to; none for a token made elsewhere.
    pub session: Option<u128>,
}

/// What a user wants changed.
struct Changes {
    password: Option<String>,
    data: Option<Map<String, Json>>,
}

impl Inner {
    /// The user of the request's token, whose session must still be there.
    pub async fn caller(&self, request: &Request<Bytes>) -> Result<Caller> {
        let identity = self.identity(request)?;
        let subject = identity
            .subject()
            .ok_or_else(|| Fault::new(403, "bad_jwt", "invalid claim: missing sub claim"))?;
        let id = uuid::Uuid::parse_str(subject)
            .map_err(|_| Fault::new(403, "bad_jwt", "invalid claim: sub claim must be a UUID"))?;
        let user = self.tables.user_by_id(&self.accounts, id.as_u128()).await?;
        let user =
            user.ok_or_else(|| Fault::new(403, "user_not_found", "User from sub claim in JWT does not exist"))?;
        let session = match identity.claims.get("session_id") {
            None | Some(Json::Null) => None,
            Some(claim) => {
                let id = claim.as_str().and_then(|text| uuid::Uuid::parse_str(text).ok());
                let id = id
                    .ok_or_else(|| Fault::new(403, "bad_jwt", "invalid claim: session_id claim must be a UUID"))?
                    .as_u128();
                let session = self.tables.session_by_id(&self.accounts, id).await?;
                let session = session.filter(|s| s.user_id == user.id && !s.ended(time::now()));
                session.ok_or_else(|| {
                    Fault::new(
                        403,
                        "session_not_found",
                        "Session from session_id claim in JWT does not exist",
                    )
                })?;
                Some(id)
            }
        };
        Ok(Caller { user, session })
    }

    fn identity(&self, request: &Request<Bytes>) -> Result<Arc<Identity>> {
        let none = || Fault::new(401, "no_authorization", "This endpoint requires a valid Bearer token");
        if let Some(identity) = request.extensions().get::<Arc<Identity>>() {
            // The caller without a token has no claims.
            return if identity.claims.is_empty() {
                Err(none())
            } else {
                Ok(identity.clone())
            };
        }
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|header| header.split_once(' ')).ok_or_else(none)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(none());
        }
        self.verifier.verify(token.trim()).map_err(|error| {
            Fault::new(
                403,
                "bad_jwt",
                format!("invalid JWT: unable to parse or verify signature, {}", error.message),
            )
        })
    }

    /// `GET /user`
    pub async fn user(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        let caller = self.caller(request).await?;
        Ok(answer(200, &wire::user(&caller.user, &self.config.audience)))
    }

    /// `PUT /user`: password and metadata. A new password ends every other session.
    pub async fn update_user(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        let caller = self.caller(request).await?;
        let form = Form::read(request.body())?;
        let changes = self.changes(&form, &caller.user)?;
        let phc = match &changes.password {
            Some(password) => Some(self.new_password(request, &form, &caller.user, password).await?),
            None => None,
        };
        if phc.is_none() && changes.data.is_none() {
            return Ok(answer(200, &wire::user(&caller.user, &self.config.audience)));
        }

        // Whoever changes the user meanwhile is not overwritten: what was read must still be there.
        let mut user = caller.user;
        for _ in 0..ATTEMPTS {
            let before_us = user.updated_us;
            let mut changed = user.clone();
            changed.updated_us = time::now().max(before_us + 1);
            let mut set = vec![(users::UPDATED_AT, Value::Timestamp(changed.updated_us))];
            if let Some(data) = &changes.data {
                merge(&mut changed.user_metadata, data);
                set.push((users::RAW_USER_META_DATA, metadata(&changed.user_metadata)?));
            }
            if let Some(phc) = &phc {
                set.push((users::ENCRYPTED_PASSWORD, Value::Text(phc.clone())));
            }
            let filter = vec![
                Where::Is(users::ID, Value::Uuid(user.id)),
                Where::Is(users::UPDATED_AT, Value::Timestamp(before_us)),
            ];
            let mut transaction = Transaction {
                steps: vec![exactly_one(self.tables.users.update(set, filter))],
                traceparent: traceparent(request),
                ..Transaction::default()
            };
            if phc.is_some() {
                let others = caller.session.map_or(Sessions::All, Sessions::AllBut);
                transaction.steps.extend(self.delete_sessions(user.id, others));
            }
            match self.accounts.write(transaction).await {
                Ok(_) => return Ok(answer(200, &wire::user(&changed, &self.config.audience))),
                Err(error) if undone(&error) => {}
                Err(error) => return Err(error.into()),
            }
            let again = self.tables.user_by_id(&self.accounts, user.id).await?;
            user =
                again.ok_or_else(|| Fault::new(403, "user_not_found", "User from sub claim in JWT does not exist"))?;
        }
        Err(
            Fault::new(503, "conflict", "Too many requests change this user at once; try again")
                .header(RETRY_AFTER, HeaderValue::from_static("1")),
        )
    }

    /// What the form asks for, as far as it can be done here.
    fn changes(&self, form: &Form, user: &User) -> Result<Changes> {
        if form.object("app_metadata")?.is_some() {
            return Err(Fault::new(
                403,
                "not_admin",
                "Updating app_metadata requires admin privileges",
            ));
        }
        if !form.text_or_empty("phone")?.is_empty() {
            return Err(Fault::new(400, "phone_provider_disabled", "Phone numbers are disabled"));
        }
        let address = form.text_or_empty("email")?;
        if !address.is_empty() {
            let email = email::normalise(address)
                .ok_or_else(|| Fault::invalid("Unable to validate email address: invalid format"))?;
            if email != user.email {
                // An address counts only once its owner has confirmed it.
                return Err(Fault::not_yet(
                    "Changing the email address, which needs a confirmation mail,",
                ));
            }
        }
        let password = match form.text("password")? {
            Some(password) => {
                password::check(password, self.config.password_min)?;
                Some(password.to_owned())
            }
            None => None,
        };
        Ok(Changes {
            password,
            data: form.object("data")?.cloned(),
        })
    }

    /// The hash of a new password that differs from the old one. When the form brings the old one, it must be right.
    async fn new_password(&self, request: &Request<Bytes>, form: &Form, user: &User, password: &str) -> Result<String> {
        self.limit_address(&self.rules.address, request)?;
        self.limit_email(&user.email)?;
        if let Some(phc) = user.password.as_deref() {
            let current = form.text_or_empty("current_password")?;
            if current.len() > password::PASSWORD_BYTES_MAX
                || (!current.is_empty() && !self.hasher.verify(current, Some(phc)).await?)
            {
                return Err(Fault::new(
                    400,
                    "current_password_invalid",
                    "The current password is not right",
                ));
            }
            if self.hasher.verify(password, Some(phc)).await? {
                return Err(Fault::new(
                    422,
                    "same_password",
                    "New password should be different from the old password.",
                ));
            }
        }
        self.hasher.hash(password).await
    }
}

/// GoTrue's merge: keys are replaced one by one, and null takes one out.
fn merge(metadata: &mut Map<String, Json>, changes: &Map<String, Json>) {
    for (key, value) in changes {
        if value.is_null() {
            metadata.shift_remove(key);
        } else {
            metadata.insert(key.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_merged_key_by_key() {
        let object = |json: Json| json.as_object().cloned().expect("an object");
        let mut metadata = object(json!({"name": "Ann", "age": 7, "deep": {"a": 1}}));
        merge(
            &mut metadata,
            &object(json!({"age": null, "deep": {"b": 2}, "new": true, "absent": null})),
        );
        assert_eq!(
            Json::Object(metadata),
            json!({"name": "Ann", "deep": {"b": 2}, "new": true})
        );
    }
}
