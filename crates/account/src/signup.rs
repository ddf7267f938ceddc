//! `POST /signup`: a new user, the event that tells of it, and where no confirmation is asked for the first session, all in one
//! transaction.

use crate::account::{Inner, traceparent};
use crate::fault::{Fault, Result, answer};
use crate::records::{User, metadata, users};
use crate::request::Form;
use crate::{email, password, wire};
use bytes::Bytes;
use http::{Request, Response};
use mainstay_model::{OutboxRecord, Transaction, Value, time};
use serde_json::json;

/// The event of a new user.
/// The topic of the event that a sign-up emits.
pub const REGISTERED: &str = "user.registered";

impl Inner {
    /// Registers somebody.
    pub async fn signup(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        if !self.config.signup {
            return Err(Fault::new(
                422,
                "signup_disabled",
                "Signups not allowed for this instance",
            ));
        }
        self.limit_address(&self.rules.address, request)?;
        self.signer()?;
        let form = Form::read(request.body())?;
        let (user, password) = self.new_user(&form)?;
        self.limit_email(&user.email)?;
        let user = User {
            password: Some(self.hasher.hash(&password).await?),
            ..user
        };

        let mut transaction = Transaction {
            steps: vec![self.tables.users.insert(columns(&user)?)],
            emit: vec![registered(&user)],
            traceparent: traceparent(request),
            ..Transaction::default()
        };
        transaction.emit[0].traceparent = transaction.traceparent.clone();
        let mut session = None;
        if user.confirmed_us.is_some() {
            let (new, steps) = self.begin_session(user.id, user.created_us)?;
            transaction.steps.extend(steps);
            session = Some(new);
        }
        match self.accounts.write(transaction).await {
            Ok(_) => {}
            Err(error) if error.code == "23505" && user.confirmed_us.is_some() => {
                return Err(Fault::new(422, "user_already_exists", "User already registered"));
            }
            // Nobody but the owner of the mailbox may learn that there is an account.
            Err(error) if error.code == "23505" => {}
            Err(error) => return Err(error.into()),
        }
        Ok(answer(
            200,
            &match session {
                Some(new) => self.session_json(&user, new.id, user.created_us, &new.token)?,
                None => wire::pending_user(&user, &self.config.audience),
            },
        ))
    }

    /// The user that a form describes, without its hash, and its password.
    fn new_user(&self, form: &Form) -> Result<(User, String)> {
        let (address, phone) = (form.text_or_empty("email")?, form.text_or_empty("phone")?);
        let password = form.text_or_empty("password")?;
        if address.is_empty() && phone.is_empty() && password.is_empty() {
            return Err(Fault::new(
                422,
                "anonymous_provider_disabled",
                "Anonymous sign-ins are disabled",
            ));
        }
        if !phone.is_empty() {
            return Err(Fault::new(400, "phone_provider_disabled", "Phone signups are disabled"));
        }
        if password.is_empty() {
            return Err(Fault::invalid("Signup requires a valid password"));
        }
        password::check(password, self.config.password_min)?;
        if address.is_empty() {
            return Err(Fault::invalid("Signup requires an email address"));
        }
        let email = email::normalise(address)
            .ok_or_else(|| Fault::invalid("Unable to validate email address: invalid format"))?;
        let now_us = time::now();
        let confirmed = (!self.config.confirm).then_some(now_us);
        let user = User {
            id: uuid::Uuid::new_v4().as_u128(),
            email,
            password: None,
            confirmed_us: confirmed,
            last_sign_in_us: confirmed,
            app_metadata: wire::email_provider(),
            user_metadata: form.object("data")?.cloned().unwrap_or_default(),
            role: "authenticated".to_owned(),
            created_us: now_us,
            updated_us: now_us,
        };
        // Refused before anything is spent on it.
        metadata(&user.user_metadata)?;
        Ok((user, password.to_owned()))
    }
}

fn columns(user: &User) -> Result<Vec<(usize, Value)>> {
    let time = |micros: Option<i64>| micros.map_or(Value::Null, Value::Timestamp);
    Ok(vec![
        (users::ID, Value::Uuid(user.id)),
        (users::EMAIL, Value::Text(user.email.clone())),
        (
            users::ENCRYPTED_PASSWORD,
            user.password.clone().map_or(Value::Null, Value::Text),
        ),
        (users::EMAIL_CONFIRMED_AT, time(user.confirmed_us)),
        (users::LAST_SIGN_IN_AT, time(user.last_sign_in_us)),
        (users::RAW_APP_META_DATA, metadata(&user.app_metadata)?),
        (users::RAW_USER_META_DATA, metadata(&user.user_metadata)?),
        (users::ROLE, Value::Text(user.role.clone())),
        (users::CREATED_AT, Value::Timestamp(user.created_us)),
        (users::UPDATED_AT, Value::Timestamp(user.updated_us)),
    ])
}

/// The event; the store numbers it.
fn registered(user: &User) -> OutboxRecord {
    let id = wire::uuid(user.id);
    let payload = json!({"id": id, "email": user.email, "created_at": wire::timestamp(user.created_us)});
    OutboxRecord {
        sequence: 0,
        id: uuid::Uuid::new_v4().to_string(),
        topic: REGISTERED.to_owned(),
        key: id,
        time_us: user.created_us,
        payload: payload.to_string(),
        traceparent: None,
    }
}
