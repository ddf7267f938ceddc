//! The API as the gateway sees it: services of this process, and who asks.

use crate::current::Current;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use mainstay_account::Account;
use mainstay_auth::Verifier;
use mainstay_gateway::{Answer, Arrival, AtHand, Authenticate, Content, Refusal, Service, Standing};
use mainstay_model::{Error, Identity};
use mainstay_store::Rest;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Where Supabase's clients have the key that stands for no user.
const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// RFC 9209: which refusal it is, for whoever stands in between.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// `/rest/v1`
pub struct RestService(pub Arc<Current>);

impl Service for RestService {
    fn at_hand(&self, request: &Parts, identity: Option<&Arc<Identity>>, arrival: &Arrival) -> Option<AtHand> {
        let number = self.0.number();
        let rest = &self.0.at_once().rest;
        let (response, standing) = rest.at_hand(request, identity?, &arrival.trace.trace)?;
        let stands = |standing| -> Box<dyn Standing> {
            Box::new(Stands {
                current: self.0.clone(),
                number,
                standing,
            })
        };
        Some(AtHand {
            response,
            standing: standing.map(stands),
        })
    }

    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        let now = self.0.now();
        Box::pin(async move {
            // HTTP/1.0 has no chunks: its client could not tell what broke off from the whole.
            if request.version() == Version::HTTP_10 {
                return now.rest.handle(request).await.map(Content::Whole);
            }
            let uri = request.uri().clone();
            match now.rest.respond(with_trace(request)).await {
                (response, None) => response.map(Content::Whole),
                (response, Some(rest)) => response.map(|first| {
                    Content::Stream(Box::pin(Following {
                        first: Some(first),
                        rest,
                        path: uri.path().to_owned(),
                    }))
                }),
            }
        })
    }
}

/// An answer of one generation, as long as that is the present one and the cache has it.
struct Stands {
    current: Arc<Current>,
    number: u64,
    standing: mainstay_query::Standing,
}

impl Standing for Stands {
    fn age(&self, now: Instant) -> Option<u32> {
        let is_present = self.current.number() == self.number;
        self.standing.age(now).filter(|_| is_present)
    }
}

/// A body that goes on: the first part of an answer, and what follows as it is read.
struct Following {
    first: Option<Bytes>,
    rest: Rest,
    /// What was asked for, for the log.
    path: String,
}

impl Body for Following {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let next = std::task::ready!(self.rest.poll_next(cx));
        Poll::Ready(next.map(|part| match part {
            Ok(part) => Ok(Frame::data(part)),
            Err(error) => {
                // The status has been sent: the client is told by the connection that breaks off, and here is why.
                mainstay_telemetry::warn!("api", "the answer to {} broke off: {error}", self.path);
                Err(io::Error::other(error.message.to_string()))
            }
        }))
    }
}

/// `/auth/v1`
pub struct AccountService(pub Account);

impl Service for AccountService {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move { self.0.handle(with_trace(request)).await.map(Content::Whole) })
    }
}

/// The trace of a request, for whoever tells of it.
pub fn trace_of(extensions: &http::Extensions) -> Option<String> {
    extensions
        .get::<Arrival>()
        .map(|arrival| arrival.trace.trace.to_string())
}

/// The trace goes on under the gateway's span.
fn with_trace(mut request: Request<Bytes>) -> Request<Bytes> {
    if *request.method() != http::Method::GET
        && let Some(arrival) = request.extensions().get::<Arrival>()
        && let Ok(value) = HeaderValue::from_bytes(&arrival.trace.header())
    {
        request.headers_mut().insert("traceparent", value);
    }
    request
}

/// Tokens to identities: `Authorization: Bearer`, else `apikey` as Supabase's clients send it.
pub struct Tokens {
    verifier: Arc<Verifier>,
}

impl Tokens {
    pub fn new(verifier: Arc<Verifier>) -> Tokens {
        Tokens { verifier }
    }
}

impl Authenticate for Tokens {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
        let text = |value: &'_ HeaderValue| value.to_str().ok().map(str::to_owned);
        let token = match headers.get(AUTHORIZATION) {
            Some(value) => {
                let value = text(value).unwrap_or_default();
                match value.split_once(' ') {
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
                    None if value.eq_ignore_ascii_case("bearer") => String::new(),
                    _ => {
                        return Err(refusal(
                            &Error::new("PGRST301", "Authorization must be `Bearer` and a token").status(401),
                        ));
                    }
                }
            }
            None => match headers.get(APIKEY).and_then(text) {
                Some(key) if !key.is_empty() => key,
                _ => return Ok(self.verifier.anon().clone()),
            },
        };
        self.verifier.verify(&token).map_err(|e| refusal(&e))
    }

    fn holds(&self, identity: &Identity, now: u64) -> bool {
        self.verifier.holds(identity, now)
    }
}

fn refusal(error: &Error) -> Refusal {
    // RFC 6750 §3: which of the ways in which a token can be wrong it is.
    let words = error.message.replace(['"', '\\'], "'");
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{words}\"");
    let mut refusal = Refusal::new(StatusCode::UNAUTHORIZED, error.code.clone(), error.message.clone());
    for (name, value) in [
        (WWW_AUTHENTICATE, challenge),
        (PROXY_STATUS, format!("Mainstay; error={}", error.code)),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            refusal = refusal.header(name, value);
        }
    }
    if let Some(details) = &error.details {
        refusal = refusal.details(details.clone());
    }
    refusal
}

/// A JSON answer that nobody keeps; `body` shows itself as JSON.
pub fn json(status: StatusCode, body: &impl std::fmt::Display) -> Response<Content> {
    let mut response = Response::new(Content::Whole(body.to_string().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
