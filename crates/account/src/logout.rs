//! `POST /logout`: this session, the others, or all of them are over.

use crate::account::{Inner, traceparent};
use crate::fault::{Fault, Result, empty};
use crate::records::{refresh_tokens, sessions};
use crate::request::parameter;
use crate::tables::Where;
use bytes::Bytes;
use http::{Request, Response};
use mainstay_model::{Step, Transaction, Value};

/// Which sessions of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    All,
    Only(u128),
    AllBut(u128),
}

impl Inner {
    /// Logs somebody out. Access tokens that are out there stay valid elsewhere until they expire; here they are not.
    pub async fn logout(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        let caller = self.caller(request).await?;
        let scope = parameter(request.uri().query(), "scope").unwrap_or_default();
        let which = match (scope, caller.session) {
            ("" | "global", _) => Sessions::All,
            ("local", Some(session)) => Sessions::Only(session),
            ("others", Some(session)) => Sessions::AllBut(session),
            // A token made elsewhere belongs to no session.
            ("local" | "others", None) => Sessions::All,
            (scope, _) => {
                return Err(Fault::invalid(format!(
                    "Unsupported logout scope {scope:?}: global, local and others are known"
                )));
            }
        };
        let transaction = Transaction {
            steps: self.delete_sessions(caller.user.id, which),
            traceparent: traceparent(request),
            ..Transaction::default()
        };
        self.accounts.write(transaction).await?;
        Ok(empty(204))
    }

    /// The steps that delete sessions of a user with their tokens.
    pub fn delete_sessions(&self, user: u128, which: Sessions) -> Vec<Step> {
        let of_user = |column| Where::Is(column, Value::Uuid(user));
        let narrowed = |column| match which {
            Sessions::All => None,
            Sessions::Only(session) => Some(Where::Is(column, Value::Uuid(session))),
            Sessions::AllBut(session) => Some(Where::Not(column, Value::Uuid(session))),
        };
        let of_tokens = [of_user(refresh_tokens::USER_ID)]
            .into_iter()
            .chain(narrowed(refresh_tokens::SESSION_ID));
        let of_sessions = [of_user(sessions::USER_ID)].into_iter().chain(narrowed(sessions::ID));
        vec![
            self.tables.refresh_tokens.delete(of_tokens.collect()),
            self.tables.sessions.delete(of_sessions.collect()),
        ]
    }
}
