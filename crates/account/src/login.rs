//! `POST /token?grant_type=password`: a password for a session. Whether the address is unknown or the password wrong makes no
//! difference, neither in the answer nor in the time it takes.

use crate::account::{Inner, traceparent};
use crate::email;
use crate::fault::{Fault, Result, answer};
use crate::password::PASSWORD_BYTES_MAX;
use crate::records::{User, users};
use crate::request::Form;
use crate::tables::{Where, exactly_one, undone};
use bytes::Bytes;
use http::{Request, Response};
use mainstay_model::{Transaction, Value, time};

impl Inner {
    /// Logs somebody in.
    pub async fn login(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        self.limit_address(&self.rules.address, request)?;
        self.signer()?;
        let form = Form::read(request.body())?;
        let (address, phone) = (form.text_or_empty("email")?, form.text_or_empty("phone")?);
        if !phone.is_empty() {
            return Err(Fault::new(422, "phone_provider_disabled", "Phone logins are disabled"));
        }
        if address.is_empty() {
            return Err(Fault::invalid("missing email or phone"));
        }
        let password = form.text_or_empty("password")?;
        let email = email::normalise(address).filter(|_| password.len() <= PASSWORD_BYTES_MAX);
        // Neither can belong to anybody.
        let email = email.ok_or_else(refused)?;
        self.limit_email(&email)?;

        let user = self.tables.user_by_email(&self.accounts, &email).await?;
        let phc = user.as_ref().and_then(|user| user.password.as_deref());
        let fits = self.hasher.verify(password, phc).await?;
        let user = user.filter(|_| fits).ok_or_else(refused)?;
        if user.confirmed_us.is_none() {
            return Err(Fault::new(400, "email_not_confirmed", "Email not confirmed"));
        }

        let now_us = time::now();
        let (session, steps) = self.begin_session(user.id, now_us)?;
        let mut transaction = Transaction {
            // Whoever was deleted, or changed the password, since we looked does not get in.
            steps: vec![exactly_one(self.tables.users.update(
                vec![(users::LAST_SIGN_IN_AT, Value::Timestamp(now_us))],
                vec![
                    Where::Is(users::ID, Value::Uuid(user.id)),
                    Where::Is(users::ENCRYPTED_PASSWORD, Value::Text(phc_of(&user).to_owned())),
                ],
            ))],
            traceparent: traceparent(request),
            ..Transaction::default()
        };
        transaction.steps.extend(steps);
        match self.accounts.write(transaction).await {
            Ok(_) => {}
            // 23503: deleted since.
            Err(error) if undone(&error) || error.code == "23503" => return Err(refused()),
            Err(error) => return Err(error.into()),
        }
        let user = User {
            last_sign_in_us: Some(now_us),
            ..user
        };
        Ok(answer(
            200,
            &self.session_json(&user, session.id, now_us, &session.token)?,
        ))
    }
}

fn phc_of(user: &User) -> &str {
    user.password.as_deref().unwrap_or_default()
}

fn refused() -> Fault {
    Fault::new(400, "invalid_credentials", "Invalid login credentials")
}
