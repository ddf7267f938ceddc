//! What every answer of the API carries.

use crate::condition;
use crate::range;
use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, VARY as VARY_NAME,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mainstay_query::{CacheVerdict, Phases, Reply};
use smallvec::SmallVec;

/// Everything in a request that decides what it is answered.
pub(crate) const VARY: &str = "Authorization, apikey, Accept, Accept-Profile, Prefer, Range";

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer is that of the same request before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

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

/// The headers of the answers to one read, made before there is an answer.
pub(crate) struct Head {
    /// Those that do not depend on the answer.
    fixed: HeaderMap,
    /// The same, and room for those of an answer of the store, which only have to be written in: the most frequent answers should not
    /// grow a map.
    told: HeaderMap,
    /// The same for an answer out of the cache.
    hit: HeaderMap,
}

impl Head {
    /// `located`: the answer will say where it is found ([`locate`]).
    pub fn new(fixed: HeaderMap, located: bool) -> Head {
        let with_room = |names: &[HeaderName]| {
            let mut headers = fixed.clone();
            for name in names {
                headers.insert(name, HeaderValue::from_static(""));
            }
            headers
        };
        let location: &[HeaderName] = if located { &[CONTENT_LOCATION] } else { &[] };
        let told = with_room(&[&[ETAG, CACHE_STATUS, CONTENT_RANGE], location].concat());
        let mut hit = with_room(&[&[ETAG, AGE, CONTENT_RANGE], location].concat());
        hit.insert(CACHE_STATUS, cache_status(&CacheVerdict::Hit));
        // A clone is as large as what is in it.
        Head {
            told: told.clone(),
            hit: hit.clone(),
            fixed,
        }
    }

    /// Those that do not depend on the answer.
    pub fn fixed(&self) -> &HeaderMap {
        &self.fixed
    }

    /// How many they may be.
    pub fn len(&self) -> usize {
        self.fixed.len() + self.told.len() + self.hit.len()
    }

    /// Those of an answer.
    fn of(&self, reply: &Reply, tag: HeaderValue, content_range: Option<HeaderValue>) -> HeaderMap {
        let is_hit = matches!(reply.cache, CacheVerdict::Hit);
        let mut headers = if is_hit { self.hit.clone() } else { self.told.clone() };
        let mut write = |name, value| {
            if let Some(place) = headers.get_mut(name) {
                *place = value;
            }
        };
        write(ETAG, tag);
        match is_hit {
            true => write(AGE, HeaderValue::from(reply.age_s)),
            false => write(CACHE_STATUS, cache_status(&reply.cache)),
        }
        match content_range {
            Some(range) => write(CONTENT_RANGE, range),
            None => {
                headers.remove(CONTENT_RANGE);
            }
        }
        headers
    }
}

/// The answer to a read that succeeded: `304` when the client has it already, else the body, which HEAD leaves out.
pub(crate) fn of_reply(
    status: StatusCode,
    head: &Head,
    offset: Option<u64>,
    reply: Reply,
    request: &HeaderMap,
    is_head: bool,
) -> Response<Bytes> {
    let tag = condition::tag(reply.tag, reply.total);
    let not_modified = condition::client_has(request, &tag);
    let content_range = offset
        .filter(|_| !not_modified)
        .map(|offset| range::content_range(offset, reply.rows, reply.total));
    let mut headers = head.of(&reply, tag, content_range);
    if not_modified {
        headers.remove(CONTENT_TYPE);
        return empty(StatusCode::NOT_MODIFIED, headers);
    }
    with_body(status, headers, if is_head { Bytes::new() } else { reply.body })
}

/// Says in `Content-Location` where a relation's rows are found, with the parameters in the order of their names: one address for what
/// is asked in several ways. What the database has set stays.
pub(crate) fn locate(response: &mut Response<Bytes>, uri: &http::Uri) {
    let said = response.headers().get(CONTENT_LOCATION);
    if said.is_some_and(|said| !said.is_empty()) {
        return;
    }
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let mut pairs: SmallVec<[&str; 8]> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_by_key(|pair| pair.split_once('=').map_or(*pair, |(name, _)| name));
    // One allocation: it is written for every read.
    let mut address = Vec::with_capacity(path.len() + 1 + query.len());
    address.extend_from_slice(path.as_bytes());
    for (at, pair) in pairs.into_iter().enumerate() {
        address.push(if at == 0 { b'?' } else { b'&' });
        address.extend_from_slice(pair.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(address)) {
        response.headers_mut().insert(CONTENT_LOCATION, value);
    }
}

/// The answer to a read of which only the first part is there: what is said of all of its rows, and of its bytes, is not known yet.
pub(crate) fn of_part(head: &Head, reply: Reply, is_head: bool) -> Response<Bytes> {
    let mut headers = head.fixed.clone();
    headers.insert(CACHE_STATUS, cache_status(&reply.cache));
    with_body(StatusCode::OK, headers, if is_head { Bytes::new() } else { reply.body })
}

fn cache_status(verdict: &CacheVerdict) -> HeaderValue {
    match verdict {
        CacheVerdict::Hit => HeaderValue::from_static("mainstay; hit"),
        CacheVerdict::Stored => HeaderValue::from_static("mainstay; fwd=miss; stored"),
        CacheVerdict::Collapsed => HeaderValue::from_static("mainstay; fwd=miss; collapsed"),
        // Of every answer where there is no cache.
        CacheVerdict::Bypass("off") => HeaderValue::from_static("mainstay; fwd=bypass; detail=\"off\""),
        other => HeaderValue::try_from(other.header()).unwrap_or(HeaderValue::from_static("mainstay; fwd=bypass")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_for_what_is_asked_in_several_ways() {
        for (asked, want) in [
            ("/rest/v1/items", "/rest/v1/items"),
            ("/rest/v1/items?", "/rest/v1/items"),
            ("/rest/v1/items?b=eq.1", "/rest/v1/items?b=eq.1"),
            (
                "/rest/v1/items?b=eq.1&a=eq.1&&b=eq.0",
                "/rest/v1/items?a=eq.1&b=eq.1&b=eq.0",
            ),
            (
                "/rest/v1/items?or=(a.eq.1,b.eq.2)&limit=5",
                "/rest/v1/items?limit=5&or=(a.eq.1,b.eq.2)",
            ),
        ] {
            let mut response = Response::new(Bytes::new());
            locate(&mut response, &asked.parse().expect("a URI"));
            assert_eq!(response.headers()[CONTENT_LOCATION], want, "{asked}");
        }
    }
}
