//! What every answer of the API carries.

use crate::condition;
use crate::range;
use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, VARY as VARY_NAME};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mainstay_query::{CacheVerdict, Phases, Reply};

/// Everything in a request that decides what it is answered.
pub(crate) const VARY: &str = "Authorization, apikey, Accept, Accept-Profile, Prefer, Range";

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a request did inside, for the access log: an extension of the response.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where the answer came from; `None` for a write.
    pub cache: Option<CacheVerdict>,
    /// How long each stage took.
    pub phases: Phases,
    /// Rows in the answer.
    pub rows: u64,
}

/// The headers that all answers to one kind of request share.
pub(crate) fn template(
    content_type: Option<&'static str>,
    profile: Option<&str>,
    applied: Option<String>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY_NAME, HeaderValue::from_static(VARY));
    let text = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(profile) = profile.and_then(text) {
        headers.insert(CONTENT_PROFILE, profile);
    }
    if let Some(applied) = applied.as_deref().and_then(text) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    headers
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode, headers: HeaderMap) -> Response<Bytes> {
    with_body(status, headers, Bytes::new())
}

/// An answer with a body.
pub(crate) fn with_body(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer to a read that succeeded: `304` when the client has it already, else the body, which HEAD leaves out.
pub(crate) fn of_reply(
    status: StatusCode,
    mut headers: HeaderMap,
    offset: Option<u64>,
    reply: Reply,
    request: &HeaderMap,
    head: bool,
) -> Response<Bytes> {
    let tag = condition::tag(reply.tag, reply.total);
    let not_modified = condition::client_has(request, &tag);
    headers.insert(ETAG, tag);
    headers.insert(CACHE_STATUS, cache_status(&reply.cache));
    if matches!(reply.cache, CacheVerdict::Hit) {
        headers.insert(AGE, HeaderValue::from(reply.age_s));
    }
    if not_modified {
        headers.remove(CONTENT_TYPE);
        return empty(StatusCode::NOT_MODIFIED, headers);
    }
    if let Some(offset) = offset {
        headers.insert(CONTENT_RANGE, range::content_range(offset, reply.rows, reply.total));
    }
    with_body(status, headers, if head { Bytes::new() } else { reply.body })
}

fn cache_status(verdict: &CacheVerdict) -> HeaderValue {
    match verdict {
        CacheVerdict::Hit => HeaderValue::from_static("mainstay; hit"),
        CacheVerdict::Stored => HeaderValue::from_static("mainstay; fwd=miss; stored"),
        CacheVerdict::Collapsed => HeaderValue::from_static("mainstay; fwd=miss; collapsed"),
        other => HeaderValue::try_from(other.header()).unwrap_or(HeaderValue::from_static("mainstay; fwd=bypass")),
    }
}
