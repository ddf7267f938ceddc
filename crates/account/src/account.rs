//! The whole surface in one place: every path under `/auth/v1`, who may ask it, and what answers.

use crate::PREFIX;
use crate::config::{Config, PeerAddress};
use crate::fault::{Fault, Result, answer, empty, wants_named_codes};
use crate::hasher::Hasher;
use crate::limit::{Limiter, Rule, subject};
use crate::records::Tables;
use crate::request::parameter;
use crate::tables::Accounts;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, Response};
use mainstay_auth::{Signer, Verifier};
use mainstay_query::Engine;
use serde_json::{Value as Json, json};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Answers everything under [`PREFIX`]. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Account {
    inner: Arc<Inner>,
}

/// Why accounts cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError(pub String);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupError {}

/// What every path works with.
pub(crate) struct Inner {
    pub config: Config,
    pub accounts: Accounts,
    pub tables: Tables,
    pub signer: Option<Signer>,
    pub verifier: Arc<Verifier>,
    pub hasher: Hasher,
    pub limiter: Limiter,
    pub rules: Rules,
    peer: PeerAddress,
}

/// Who is counted how.
pub(crate) struct Rules {
    pub address: Rule,
    pub email: Rule,
    pub refresh: Rule,
}

/// What GoTrue has and this does not have yet, as the beginnings of paths, with what to call it.
const LATER: [(&str, &str); 16] = [
    ("/verify", "Confirming an address"),
    ("/recover", "Password recovery"),
    ("/magiclink", "Logging in by mail"),
    ("/otp", "Logging in by mail or phone"),
    ("/resend", "Sending a mail again"),
    ("/invite", "Inviting users"),
    ("/reauthenticate", "Reauthentication"),
    ("/authorize", "Logging in with another provider"),
    ("/callback", "Logging in with another provider"),
    ("/oauth", "The OAuth server"),
    ("/sso", "Single sign-on"),
    ("/saml", "Single sign-on"),
    ("/factors", "Multi-factor authentication"),
    ("/passkeys", "Passkeys"),
    ("/user/identities", "Linking identities"),
    ("/admin", "The admin API"),
];

impl Account {
    /// Over an engine whose schema has `users`, `sessions` and `refresh_tokens` in [`Config::namespace`]. Without a signer nobody can log
    /// in, and tokens made elsewhere are still understood. `peer` finds the client's address, for the limits; whoever has none is
    /// counted together. Errors: a table or column is missing, or no thread could be started.
    pub fn new(
        engine: Engine,
        signer: Option<Signer>,
        verifier: Arc<Verifier>,
        peer: PeerAddress,
        config: Config,
    ) -> Result<Account, SetupError> {
        let tables = Tables::find(engine.schema(), &config.namespace)
            .map_err(|why| SetupError(format!("accounts cannot be served: {why}")))?;
        let hasher = Hasher::new(config.hashes, config.hash_queue)
            .map_err(|e| SetupError(format!("accounts cannot be served: no thread to hash passwords: {e}")))?;
        Ok(Account {
            inner: Arc::new(Inner {
                rules: Rules {
                    address: Rule::new("auth by address", config.limit),
                    email: Rule::new("auth by account", config.account_limit),
                    refresh: Rule::new("refresh by address", config.refresh_limit),
                },
                accounts: Accounts::new(engine, &config.role),
                config,
                tables,
                signer,
                verifier,
                hasher,
                limiter: Limiter::new(),
                peer,
            }),
        })
    }

    /// Answers one request. A caller is taken from `Arc<Identity>` among its extensions, else from its `Authorization` header.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let named = wants_named_codes(request.headers());
        let mut response = match self.inner.route(&request).await {
            Ok(response) => response,
            Err(fault) => fault.response(named),
        };
        if request.method() == Method::HEAD {
            // RFC 9110 §9.3.2: what GET would say of its content, and none of it.
            let length = HeaderValue::from(response.body().len());
            response.headers_mut().entry(CONTENT_LENGTH).or_insert(length);
            *response.body_mut() = Bytes::new();
        }
        response
    }
}

impl Inner {
    async fn route(&self, request: &Request<Bytes>) -> Result<Response<Bytes>> {
        let path = request.uri().path();
        let path = path.strip_prefix(PREFIX).unwrap_or(path);
        let method = match request.method().as_str() {
            "HEAD" => "GET",
            other => other,
        };
        match (path, method) {
            ("/health", "GET") => Ok(answer(200, &health())),
            ("/settings", "GET") => Ok(answer(200, &self.settings())),
            ("/.well-known/jwks.json", "GET") => Ok(answer(200, &json!({"keys": []}))),
            ("/signup", "POST") => self.signup(request).await,
            ("/token", "POST") => match parameter(request.uri().query(), "grant_type") {
                Some("password") => self.login(request).await,
                Some("refresh_token") => self.refresh(request).await,
                _ => Err(Fault::new(
                    400,
                    "invalid_credentials",
                    "unsupported_grant_type: password and refresh_token are known",
                )),
            },
            ("/user", "GET") => self.user(request).await,
            ("/user", "PUT") => self.update_user(request).await,
            ("/logout", "POST") => self.logout(request).await,
            ("/health" | "/settings" | "/.well-known/jwks.json", _) => {
                refuse_method(request.method(), "GET, HEAD, OPTIONS")
            }
            ("/signup" | "/token" | "/logout", _) => refuse_method(request.method(), "POST, OPTIONS"),
            ("/user", _) => refuse_method(request.method(), "GET, HEAD, PUT, OPTIONS"),
            _ => {
                let begins = |start: &str| {
                    path.strip_prefix(start)
                        .is_some_and(|r| r.is_empty() || r.starts_with('/'))
                };
                Err(match LATER.iter().find(|(start, _)| begins(start)) {
                    Some((_, what)) => Fault::not_yet(what),
                    None => Fault::new(404, "not_found", format!("There is nothing at {PREFIX}{path}")),
                })
            }
        }
    }

    fn settings(&self) -> Json {
        json!({
            "external": {"email": self.signer.is_some(), "phone": false, "anonymous_users": false},
            "disable_signup": !self.config.signup || self.signer.is_none(),
            "mailer_autoconfirm": !self.config.confirm,
            "phone_autoconfirm": false,
            "sms_provider": "",
            "saml_enabled": false,
            "passkeys_enabled": false,
        })
    }

    /// Counts a try by the request's address, before anything is spent on it.
    pub fn limit_address(&self, rule: &Rule, request: &Request<Bytes>) -> Result<()> {
        let peer: IpAddr = subject((self.peer)(request.extensions()));
        self.limiter.take(rule, peer)
    }

    /// Counts a try on one account, before its password is looked at.
    pub fn limit_email(&self, email: &str) -> Result<()> {
        self.limiter.take(&self.rules.email, email)
    }
}

fn health() -> Json {
    json!({
        "name": "Mainstay",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Accounts on the GoTrue wire",
    })
}

fn refuse_method(method: &Method, allow: &'static str) -> Result<Response<Bytes>> {
    let allow = (ALLOW, HeaderValue::from_static(allow));
    if method == Method::OPTIONS {
        let mut response = empty(204);
        response.headers_mut().extend([allow]);
        return Ok(response);
    }
    Err(Fault::new(405, "method_not_allowed", format!("{method} is not answered here")).header(allow.0, allow.1))
}

/// The trace of a request, for the events that it causes.
pub(crate) fn traceparent(request: &Request<Bytes>) -> Option<String> {
    let value = request.headers().get("traceparent")?.to_str().ok()?;
    Some(value.to_owned())
}
