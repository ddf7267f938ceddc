//! Every way in which the gateway itself says no: one JSON body, one list of stable codes.
//!
//! | Code | Status | Meaning |
//! |---|---|---|
//! | GW100 | 400 | The request is not HTTP/1.x |
//! | GW101 | 400 | No `Host` |
//! | GW102 | 400 | More than one `Host` |
//! | GW103 | 400 | `Host` is not a host, or contradicts the request line |
//! | GW104 | 400 | `Content-Length` together with `Transfer-Encoding` |
//! | GW105 | 400 | `Content-Length` twice, or not a number |
//! | GW106 | 400 | `Transfer-Encoding` other than exactly `chunked` |
//! | GW107 | 400 | A line that ends in LF without CR |
//! | GW108 | 400 | The path climbs (`..`), has an empty segment, or decodes to what is not text |
//! | GW109 | 431 | The head is too large or has too many fields |
//! | GW110 | 414 | The request target is too long |
//! | GW111 | 408 | The head took too long |
//! | GW112 | 408 | The body took too long |
//! | GW113 | 413 | The body is too large |
//! | GW114 | 400 | The body broke off or its framing is broken |
//! | GW115 | 405 | CONNECT or TRACE |
//! | GW116 | 421 | This host is not served here |
//! | GW117 | 400 | The request has more than one Authorization |
//! | GW201 | 404 | No route |
//! | GW202 | 405 | A route, but not for this method |
//! | GW301 | 401 | The route wants a token |
//! | GW302 | 403 | The role may not use the route |
//! | GW401 | 429 | A rate limit; `details` names the rule |
//! | GW402 | 503 | The gateway, or this client's address, has as many connections as it may have |
//! | GW403 | 503 | Every server of the upstream has as many requests in flight as it may have |
//! | GW404 | 503 | The gateway has as many requests in flight as it may have |
//! | GW501 | 502 | No server of the upstream could be reached |
//! | GW502 | 502 | The server's answer broke off or was not HTTP |
//! | GW504 | 504 | The server did not answer in time |
//! | GW505 | 504 | The request took longer than any may (`request_timeout`) |
//! | GW601 | 500 | A service of this process failed in a way that it should not |
//! | GW701 | 404 | No such file |
//! | GW702 | 416 | The range is outside of the file |
//! | GW801 | 401 | The admin listener wants its token |
//! | GW802 | 403 | The admin listener does not answer for this `Host` |
//! | GW803 | 403 | The admin listener does not answer to this `Origin` |

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::borrow::Cow;

/// A request refused. One pointer wide, since every phase may return one and hardly any does.
#[derive(Clone, Debug)]
pub struct Refusal(Box<RefusalBody>);

/// The status, a stable code, and what the client is told.
#[derive(Clone, Debug)]
pub struct RefusalBody {
    /// The status answered.
    pub status: StatusCode,
    /// The stable code (`GW401`, `PGRST301`).
    pub code: Cow<'static, str>,
    /// What is wrong, in a sentence.
    pub message: Cow<'static, str>,
    /// More about this very request.
    pub details: Option<String>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
    /// Headers that belong to this answer, such as `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the connection has to end with this answer.
    pub close: bool,
}

impl std::ops::DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut RefusalBody {
        &mut self.0
    }
}

impl std::ops::Deref for Refusal {
    type Target = RefusalBody;

    fn deref(&self) -> &RefusalBody {
        &self.0
    }
}

impl Refusal {
    /// A refusal with a status, a code and a sentence.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        Refusal(Box::new(RefusalBody {
            status,
            code: code.into(),
            message: message.into(),
            details: None,
            hint: None,
            headers: Vec::new(),
            close: false,
        }))
    }

    /// Adds what is special about this request.
    pub fn details(mut self, details: impl Into<String>) -> Refusal {
        self.0.details = Some(details.into());
        self
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Refusal {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.0.headers.push((name, value));
        self
    }

    /// A 401 with the challenge that RFC 9110 §11.6.1 asks for.
    pub fn unauthorized(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, code, message)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(crate) fn closing(mut self) -> Refusal {
        self.0.close = true;
        self
    }

    /// The JSON body.
    pub fn body(&self) -> Bytes {
        let body = serde_json::json!({
            "code": self.code, "message": self.message, "details": self.details, "hint": self.hint,
        });
        Bytes::from(body.to_string())
    }

    /// The answer.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        if self.close {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Where a refusal has to be written by hand because no request exists yet: a whole answer that ends the connection.
pub(crate) fn raw(refusal: &Refusal) -> Vec<u8> {
    let (status, body) = (refusal.status, refusal.body());
    let mut out = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json; charset=utf-8\r\ncache-control: no-store\r\n\
         date: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or(""),
        httpdate::fmt_http_date(std::time::SystemTime::now()),
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(&body);
    out
}

/// The ways a request's bytes can be wrong before it is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    LengthAndEncoding,
    Length,
    Encoding,
    BareLineFeed,
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Refusal {
        let (code, message) = match malformed {
            Malformed::LengthAndEncoding => ("GW104", "Content-Length and Transfer-Encoding contradict each other"),
            Malformed::Length => ("GW105", "Content-Length must be given once, as a number"),
            Malformed::Encoding => ("GW106", "Transfer-Encoding must be exactly `chunked`"),
            Malformed::BareLineFeed => ("GW107", "A line of the head ends in LF without CR"),
        };
        Refusal::new(StatusCode::BAD_REQUEST, code, message).closing()
    }
}

pub(crate) fn no_route(method: &http::Method, path: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "GW201", "Nothing is served here")
        .details(format!("no route matches {method} {path}"))
}

pub(crate) fn wrong_method(method: &http::Method, allow: String) -> Refusal {
    let hint = format!("Allowed here: {allow}");
    let value = HeaderValue::try_from(allow).unwrap_or_else(|_| HeaderValue::from_static(""));
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "GW202",
        "This method is not allowed here",
    )
    .details(format!("{method} was asked for"))
    .hint(hint)
    .header(http::header::ALLOW, value)
}

pub(crate) fn body_too_large(limit: u64) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "GW113",
        "The request's body is too large",
    )
    .details(format!(
        "at most {limit} bytes are taken here (max_body, or gateway.limits.body)"
    ))
    .closing()
}

pub(crate) fn body_too_slow() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "GW112",
        "The request's body took too long to arrive",
    )
    .closing()
}

pub(crate) fn body_broken() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "GW114",
        "The request's body broke off or is framed wrongly",
    )
    .closing()
}

pub(crate) fn upstream_unreachable(name: &str, why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, "GW501", "No server could be reached")
        .details(format!("upstream {name}: {why}"))
}

pub(crate) fn upstream_broken(name: &str, why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, "GW502", "The server's answer was broken")
        .details(format!("upstream {name}: {why}"))
}

pub(crate) fn upstream_timeout(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        "GW504",
        "The server did not answer in time",
    )
    .details(format!("upstream {name}"))
}

pub(crate) fn upstream_full(name: &str, limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "GW403",
        "The server has as much to do as it may have",
    )
    .details(format!(
        "upstream {name}: {limit} requests in flight to each server (connections)"
    ))
    .header(http::header::RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(crate) fn gateway_full(limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "GW404",
        "The gateway has as much to do as it may have",
    )
    .details(format!("{limit} requests in flight (gateway.limits.in_flight)"))
    .header(http::header::RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(crate) fn took_too_long(limit: std::time::Duration) -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        "GW505",
        "The request took longer than any may",
    )
    .details(format!("gateway.limits.request_timeout is {limit:?}"))
    .closing()
}

pub(crate) fn panicked() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "GW601",
        "The service failed; the log says more",
    )
    .closing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_json_object_with_four_members() {
        let refusal = wrong_method(&http::Method::DELETE, "GET, HEAD".into());
        let response = refusal.response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        let members: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(members, ["code", "message", "details", "hint"]);
        assert_eq!(body["code"], "GW202");
    }

    #[test]
    fn the_raw_form_says_how_long_it_is() {
        let raw = String::from_utf8(raw(&Refusal::new(StatusCode::REQUEST_TIMEOUT, "GW111", "slow"))).expect("text");
        let (head, body) = raw.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
