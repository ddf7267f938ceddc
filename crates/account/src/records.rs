//! What the tables hold, typed: users, sessions and refresh tokens, and how each is found.

use crate::fault::{Fault, Result};
use crate::rows::Fields;
use crate::tables::{Accounts, Table};
use mainstay_model::{QueryShape, Schema, Type, Value};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Columns of `auth.users`.
pub(crate) mod users {
    #![allow(missing_docs, reason = "each is the number of the column of its name")]
    pub(crate) const NAMES: [&str; 10] = [
        "id",
        "email",
        "encrypted_password",
        "email_confirmed_at",
        "last_sign_in_at",
        "raw_app_meta_data",
        "raw_user_meta_data",
        "role",
        "created_at",
        "updated_at",
    ];
    pub(crate) const ID: usize = 0;
    pub(crate) const EMAIL: usize = 1;
    pub(crate) const ENCRYPTED_PASSWORD: usize = 2;
    pub(crate) const EMAIL_CONFIRMED_AT: usize = 3;
    pub(crate) const LAST_SIGN_IN_AT: usize = 4;
    pub(crate) const RAW_APP_META_DATA: usize = 5;
    pub(crate) const RAW_USER_META_DATA: usize = 6;
    pub(crate) const ROLE: usize = 7;
    pub(crate) const CREATED_AT: usize = 8;
    pub(crate) const UPDATED_AT: usize = 9;
}

/// Columns of `auth.sessions`.
pub(crate) mod sessions {
    #![allow(missing_docs, reason = "each is the number of the column of its name")]
    pub(crate) const NAMES: [&str; 5] = ["id", "user_id", "created_at", "updated_at", "not_after"];
    pub(crate) const ID: usize = 0;
    pub(crate) const USER_ID: usize = 1;
    pub(crate) const CREATED_AT: usize = 2;
    pub(crate) const UPDATED_AT: usize = 3;
    pub(crate) const NOT_AFTER: usize = 4;
}

/// Columns of `auth.refresh_tokens`.
pub(crate) mod refresh_tokens {
    #![allow(missing_docs, reason = "each is the number of the column of its name")]
    pub(crate) const NAMES: [&str; 7] = [
        "token_hash",
        "user_id",
        "session_id",
        "parent",
        "revoked",
        "created_at",
        "updated_at",
    ];
    pub(crate) const TOKEN_HASH: usize = 0;
    pub(crate) const USER_ID: usize = 1;
    pub(crate) const SESSION_ID: usize = 2;
    pub(crate) const PARENT: usize = 3;
    pub(crate) const REVOKED: usize = 4;
    pub(crate) const CREATED_AT: usize = 5;
    pub(crate) const UPDATED_AT: usize = 6;
}

/// The longest metadata that a user may give itself: it travels in every access token. In bytes of JSON.
pub(crate) const METADATA_BYTES_MAX: usize = 4_096;

/// Somebody who may log in. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct User {
    pub id: u128,
    pub email: String,
    /// A PHC string.
    pub password: Option<String>,
    pub confirmed_us: Option<i64>,
    pub last_sign_in_us: Option<i64>,
    /// Written by the service only.
    pub app_metadata: Map<String, Json>,
    /// Written by the user.
    pub user_metadata: Map<String, Json>,
    pub role: String,
    pub created_us: i64,
    pub updated_us: i64,
}

/// One log-in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub id: u128,
    pub user_id: u128,
    pub created_us: i64,
    /// From then on it is over.
    pub not_after_us: Option<i64>,
}

/// What a session is prolonged with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RefreshToken {
    pub hash: String,
    pub session_id: u128,
    /// See [`crate::token::Parent`].
    pub parent: Option<String>,
    pub revoked: bool,
    /// For a revoked one, when that was.
    pub updated_us: i64,
}

impl Session {
    /// Whether it is over.
    pub fn ended(&self, now_us: i64) -> bool {
        self.not_after_us.is_some_and(|end| end <= now_us)
    }
}

/// The three tables and the reads that are asked of them.
pub(crate) struct Tables {
    pub users: Table,
    pub sessions: Table,
    pub refresh_tokens: Table,
    user_by_email: Arc<QueryShape>,
    user_by_id: Arc<QueryShape>,
    session_by_id: Arc<QueryShape>,
    token_by_hash: Arc<QueryShape>,
    token_of_session: Arc<QueryShape>,
}

impl Tables {
    /// Finds everything in the schema. The error says what is missing.
    pub fn find(schema: &Schema, namespace: &str) -> Result<Tables, String> {
        let users = Table::find(schema, namespace, "users", &users::NAMES)?;
        let sessions = Table::find(schema, namespace, "sessions", &sessions::NAMES)?;
        let refresh_tokens = Table::find(schema, namespace, "refresh_tokens", &refresh_tokens::NAMES)?;
        Ok(Tables {
            user_by_email: users.by(&[users::EMAIL]),
            user_by_id: users.by(&[users::ID]),
            session_by_id: sessions.by(&[sessions::ID]),
            token_by_hash: refresh_tokens.by(&[refresh_tokens::TOKEN_HASH]),
            token_of_session: refresh_tokens.by(&[refresh_tokens::SESSION_ID, refresh_tokens::REVOKED]),
            users,
            sessions,
            refresh_tokens,
        })
    }

    /// The user with this (normalised) address.
    pub async fn user_by_email(&self, accounts: &Accounts, email: &str) -> Result<Option<User>> {
        let row = accounts
            .one(&self.user_by_email, vec![Value::Text(email.to_owned())])
            .await?;
        row.map(read_user).transpose()
    }

    /// The user with this id.
    pub async fn user_by_id(&self, accounts: &Accounts, id: u128) -> Result<Option<User>> {
        let row = accounts.one(&self.user_by_id, vec![Value::Uuid(id)]).await?;
        row.map(read_user).transpose()
    }

    /// The session with this id.
    pub async fn session_by_id(&self, accounts: &Accounts, id: u128) -> Result<Option<Session>> {
        let row = accounts.one(&self.session_by_id, vec![Value::Uuid(id)]).await?;
        row.map(read_session).transpose()
    }

    /// The refresh token with this hash.
    pub async fn token_by_hash(&self, accounts: &Accounts, hash: &str) -> Result<Option<RefreshToken>> {
        let row = accounts
            .one(&self.token_by_hash, vec![Value::Text(hash.to_owned())])
            .await?;
        row.map(read_token).transpose()
    }

    /// The one refresh token of a session that is still good.
    pub async fn current_token(&self, accounts: &Accounts, session: u128) -> Result<Option<RefreshToken>> {
        let params = vec![Value::Uuid(session), Value::Bool(false)];
        let row = accounts.one(&self.token_of_session, params).await?;
        row.map(read_token).transpose()
    }
}

/// A JSON object as a value of its column. Errors: 400, what `jsonb` cannot hold; 422, more than a token can carry.
pub(crate) fn metadata(object: &Map<String, Json>) -> Result<Value> {
    let text = Json::Object(object.clone()).to_string();
    if text.len() > METADATA_BYTES_MAX {
        return Err(Fault::new(
            422,
            "validation_failed",
            format!(
                "\"data\" has {} bytes as JSON and {METADATA_BYTES_MAX} is the limit: it travels in every access token",
                text.len()
            ),
        ));
    }
    Value::parse(&text, &Type::Jsonb).map_err(|e| Fault::invalid(format!("\"data\" cannot be stored: {}", e.message)))
}

/// Takes one row apart, column by column.
struct Reader {
    table: &'static str,
    names: &'static [&'static str],
    fields: Fields,
}

impl Reader {
    fn take(&mut self, column: usize) -> Value {
        self.fields
            .get_mut(column)
            .map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
    }

    fn wrong(&self, column: usize) -> Fault {
        let (table, name) = (self.table, self.names[column]);
        mainstay_telemetry::error!(
            "account",
            "auth.{table}.{name} holds a value of another type than declared"
        );
        Fault::new(
            500,
            "unexpected_failure",
            "Unexpected failure, please check server logs for more information",
        )
    }

    fn uuid(&mut self, column: usize) -> Result<u128> {
        match self.take(column) {
            Value::Uuid(id) => Ok(id),
            _ => Err(self.wrong(column)),
        }
    }

    fn text(&mut self, column: usize) -> Result<Option<String>> {
        match self.take(column) {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(self.wrong(column)),
        }
    }

    fn time(&mut self, column: usize) -> Result<Option<i64>> {
        match self.take(column) {
            Value::Timestamp(micros) => Ok(Some(micros)),
            Value::Null => Ok(None),
            _ => Err(self.wrong(column)),
        }
    }

    fn object(&mut self, column: usize) -> Result<Map<String, Json>> {
        match self.take(column) {
            Value::Text(text) => match serde_json::from_str(&text) {
                Ok(Json::Object(object)) => Ok(object),
                // Written by hand; an account must not be lost over it.
                _ => Ok(Map::new()),
            },
            Value::Null => Ok(Map::new()),
            _ => Err(self.wrong(column)),
        }
    }
}

fn read_user(fields: Fields) -> Result<User> {
    let mut row = Reader {
        table: "users",
        names: &users::NAMES,
        fields,
    };
    Ok(User {
        id: row.uuid(users::ID)?,
        email: row.text(users::EMAIL)?.unwrap_or_default(),
        password: row.text(users::ENCRYPTED_PASSWORD)?.filter(|phc| !phc.is_empty()),
        confirmed_us: row.time(users::EMAIL_CONFIRMED_AT)?,
        last_sign_in_us: row.time(users::LAST_SIGN_IN_AT)?,
        app_metadata: row.object(users::RAW_APP_META_DATA)?,
        user_metadata: row.object(users::RAW_USER_META_DATA)?,
        role: row.text(users::ROLE)?.unwrap_or_default(),
        created_us: row.time(users::CREATED_AT)?.unwrap_or_default(),
        updated_us: row.time(users::UPDATED_AT)?.unwrap_or_default(),
    })
}

fn read_session(fields: Fields) -> Result<Session> {
    let mut row = Reader {
        table: "sessions",
        names: &sessions::NAMES,
        fields,
    };
    Ok(Session {
        id: row.uuid(sessions::ID)?,
        user_id: row.uuid(sessions::USER_ID)?,
        created_us: row.time(sessions::CREATED_AT)?.unwrap_or_default(),
        not_after_us: row.time(sessions::NOT_AFTER)?,
    })
}

fn read_token(fields: Fields) -> Result<RefreshToken> {
    let mut row = Reader {
        table: "refresh_tokens",
        names: &refresh_tokens::NAMES,
        fields,
    };
    Ok(RefreshToken {
        hash: row.text(refresh_tokens::TOKEN_HASH)?.unwrap_or_default(),
        session_id: row.uuid(refresh_tokens::SESSION_ID)?,
        parent: row.text(refresh_tokens::PARENT)?,
        revoked: row.take(refresh_tokens::REVOKED) != Value::Bool(false),
        updated_us: row.time(refresh_tokens::UPDATED_AT)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_type_is_an_error_and_no_panic() {
        for fields in [vec![], vec![Value::Int(7)], vec![Value::Uuid(7), Value::Int(7)]] {
            assert_eq!(read_user(fields).expect_err("not a user").code(), "unexpected_failure");
        }
        let user = read_user(vec![Value::Uuid(7)]).expect("every other column may be NULL");
        assert_eq!((user.id, user.password, user.role), (7, None, String::new()));
    }

    #[test]
    fn metadata_is_bounded_and_must_fit_jsonb() {
        let object = |text: &str| serde_json::from_str(text).expect("an object");
        assert!(metadata(&object(r#"{"name":"Ann","tags":[1,2.5,null]}"#)).is_ok());
        let nul = metadata(&object(r#"{"name":"a\u0000"}"#)).expect_err("jsonb has no NUL");
        assert_eq!(nul.code(), "validation_failed");
        let long = Map::from_iter([("a".to_owned(), Json::from("x".repeat(METADATA_BYTES_MAX)))]);
        assert_eq!(metadata(&long).expect_err("too long").code(), "validation_failed");
    }
}
