//! Refusals in GoTrue's shapes. Which of three it is depends on who asks and where: clients that send `X-Supabase-Api-Version`
//! of 2024 or later get `{code, message}`, others `{code, error_code, msg}`, and OAuth's own errors are as RFC 6749 §5.2 has them.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mainstay_model::{Error, Outcome, Retry};
use serde_json::{Value as Json, json};

/// The version from which errors carry their code as text, and the header that asks for it and says so.
pub(crate) const API_VERSION: (HeaderName, &str) = (HeaderName::from_static("x-supabase-api-version"), "2024-01-01");

/// A result whose error can be answered with.
pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: u16,
    code: &'static str,
    message: String,
    /// What a password lacks, as auth-js names it.
    weak: Option<&'static [&'static str]>,
    oauth: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Fault {
    /// With an HTTP status, GoTrue's `error_code` and a sentence.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fault {
        Fault(Box::new(Parts {
            status,
            code,
            message: message.into(),
            weak: None,
            oauth: false,
            headers: Vec::new(),
        }))
    }

    /// 400 `validation_failed`: something in the request is not as it must be.
    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(400, "validation_failed", message)
    }

    /// RFC 6749 §5.2: `error` and `error_description`, always 400.
    pub fn oauth(error: &'static str, description: impl Into<String>) -> Fault {
        let mut fault = Fault::new(400, error, description);
        fault.0.oauth = true;
        fault
    }

    /// 422 `weak_password`, with its reasons (`length`).
    pub fn weak_password(message: impl Into<String>, reasons: &'static [&'static str]) -> Fault {
        let mut fault = Fault::new(422, "weak_password", message);
        fault.0.weak = Some(reasons);
        fault
    }

    /// GoTrue has it, this does not yet. Not 501: auth-js takes every status from 500 on for a broken network, tries again, and
    /// never shows the message.
    pub fn not_yet(what: &str) -> Fault {
        Fault::new(422, "feature_disabled", format!("{what} is not available yet"))
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Fault {
        self.0.headers.push((name, value));
        self
    }

    /// The code, to tell one refusal from another.
    #[cfg(test)]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The answer; `named` when the client wants the code as text.
    pub fn response(self, named: bool) -> Response<Bytes> {
        let parts = *self.0;
        let mut body = if parts.oauth {
            json!({"error": parts.code, "error_description": parts.message})
        } else if named {
            json!({"code": parts.code, "message": parts.message})
        } else {
            json!({"code": parts.status, "error_code": parts.code, "msg": parts.message})
        };
        if let Some(reasons) = parts.weak {
            body["weak_password"] = json!({"reasons": reasons});
        }
        let mut response = answer(parts.status, &body);
        let headers = response.headers_mut();
        if !parts.oauth {
            headers.insert("x-sb-error-code", HeaderValue::from_static(parts.code));
        }
        if named {
            headers.insert(API_VERSION.0, HeaderValue::from_static(API_VERSION.1));
        }
        headers.extend(parts.headers);
        response
    }
}

/// Whether the client understands errors whose code is text.
pub(crate) fn wants_named_codes(headers: &HeaderMap) -> bool {
    let asked = headers.get(API_VERSION.0).and_then(|value| value.to_str().ok());
    asked.is_some_and(|date| {
        let shaped = date.len() == 10
            && date.bytes().enumerate().all(|(i, b)| {
                if i == 4 || i == 7 {
                    b == b'-'
                } else {
                    b.is_ascii_digit()
                }
            });
        shaped && date >= API_VERSION.1
    })
}

/// A JSON answer that nobody may keep (RFC 6749 §5.1).
pub(crate) fn answer(status: u16, body: &Json) -> Response<Bytes> {
    let mut response = empty(status);
    *response.body_mut() = Bytes::from(body.to_string());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the store could not do. The client learns whether to try again; the log gets the error.
impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        mainstay_telemetry::error!("account", "the store answered {}: {}", error.code, error.message);
        if error.outcome == Outcome::Unknown {
            return Fault::new(
                500,
                "unexpected_failure",
                "It is not known whether this took effect; look before you try again",
            );
        }
        let busy = error.status == Some(503) || error.code.starts_with("53") || error.code.starts_with("57P");
        let wait = match error.retry {
            Retry::After(seconds) => Some(seconds),
            Retry::Safe => Some(1),
            Retry::Never => busy.then_some(1),
        };
        match wait {
            Some(seconds) => Fault::new(
                503,
                "unexpected_failure",
                "Accounts are not available right now; try again",
            )
            .header(RETRY_AFTER, HeaderValue::from(seconds)),
            None => Fault::new(
                500,
                "unexpected_failure",
                "Unexpected failure, please check server logs for more information",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fault: Fault, named: bool) -> (u16, Json) {
        let response = fault.response(named);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        (
            response.status().as_u16(),
            serde_json::from_slice(response.body()).expect("JSON"),
        )
    }

    #[test]
    fn each_client_gets_its_shape() {
        let fault = || Fault::new(400, "invalid_credentials", "Invalid login credentials");
        for (fault, named, expected) in [
            (
                fault(),
                false,
                (
                    400,
                    json!({"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}),
                ),
            ),
            (
                fault(),
                true,
                (
                    400,
                    json!({"code": "invalid_credentials", "message": "Invalid login credentials"}),
                ),
            ),
            (
                Fault::weak_password("short", &["length"]),
                true,
                (
                    422,
                    json!({"code": "weak_password", "message": "short", "weak_password": {"reasons": ["length"]}}),
                ),
            ),
            (
                Fault::oauth("invalid_request", "refresh_token required"),
                true,
                (
                    400,
                    json!({"error": "invalid_request", "error_description": "refresh_token required"}),
                ),
            ),
        ] {
            assert_eq!(body(fault, named), expected);
        }
    }

    #[test]
    fn only_a_date_of_2024_or_later_asks_for_named_codes() {
        for (date, named) in [
            (Some("2024-01-01"), true),
            (Some("2031-12-24"), true),
            (Some("2023-12-31"), false),
            (Some("zzzz-zz-zz"), false),
            (Some("3"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(date) = date {
                headers.insert(API_VERSION.0, HeaderValue::from_static(date));
            }
            assert_eq!(wants_named_codes(&headers), named, "{date:?}");
        }
    }

    #[test]
    fn a_failing_store_says_whether_to_try_again_and_nothing_else() {
        let error = |error: Error| {
            let (status, body) = body(error.into(), false);
            assert!(!body.to_string().contains("secret"), "{body}");
            status
        };
        assert_eq!(error(Error::internal("secret")), 500);
        assert_eq!(error(Error::new("40001", "secret").retry(Retry::Safe)), 503);
        assert_eq!(error(Error::new("57P03", "secret")), 503);
        assert_eq!(
            error(Error::new("40001", "secret").retry(Retry::Safe).outcome_unknown()),
            500
        );
    }
}
