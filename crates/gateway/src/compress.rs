//! gzip for clients that accept it, where it pays.
//!
//! A compressed answer is another representation: `Vary` says on what it depends, and a strong `ETag` becomes weak,
//! because the bytes are no longer those it names (RFC 9110 §8.8.3).

use crate::body::{Body, Source};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, VARY,
};
use http::{Method, Response, StatusCode};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::io::{self, Write};
use std::task::{Context, Poll, ready};

/// Below this many bytes the head weighs more than what is saved.
const WORTH_BYTES: u64 = 1_024;
/// Fast, and within a few percent of the best that text gives.
const LEVEL: u32 = 4;
/// Most bytes that a worker remembers of compressed answers.
const MEMO_BYTES_MAX: usize = 4 << 20;

/// Whether the client takes gzip (RFC 9110 §12.5.3): named with a weight above 0, or covered by `*`.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut star = false;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for part in value.as_bytes().split(|b| *b == b',') {
            let mut fields = part.split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let coding = fields.next().unwrap_or_default();
            let zero = fields.any(|f| {
                let weight = f.strip_prefix(b"q=").or_else(|| f.strip_prefix(b"Q="));
                weight.is_some_and(|w| w.starts_with(b"0") && w.iter().all(|b| matches!(b, b'0' | b'.')))
            });
            if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
                return !zero;
            }
            star |= coding == b"*" && !zero;
        }
    }
    star
}

fn is_compressible(content_type: &[u8]) -> bool {
    let kind = content_type
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    // What the API answers with.
    if kind == b"application/json" {
        return true;
    }
    let Ok(kind) = std::str::from_utf8(kind) else {
        return false;
    };
    let kind = kind.to_ascii_lowercase();
    if kind == "text/event-stream" {
        return false;
    }
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/manifest+json"
        )
}

/// Answers that were served from a cache and are compressed already: by the address of their bytes, which the entry
/// itself keeps alive, so that the address cannot come to mean something else.
#[derive(Default)]
pub(crate) struct Memo {
    held: RefCell<(usize, Compressed)>,
}

/// By address and length: the bytes and their compressed form.
type Compressed = FxHashMap<(usize, usize), (Bytes, Bytes)>;

impl Memo {
    fn get(&self, bytes: &Bytes) -> Option<Bytes> {
        let held = self.held.borrow();
        held.1
            .get(&(bytes.as_ptr() as usize, bytes.len()))
            .map(|(_, compressed)| compressed.clone())
    }

    fn put(&self, bytes: &Bytes, compressed: &Bytes) {
        let mut held = self.held.borrow_mut();
        let size = bytes.len() + compressed.len();
        if held.0 + size > MEMO_BYTES_MAX {
            *held = Default::default();
        }
        if size <= MEMO_BYTES_MAX / 8 {
            held.0 += size;
            held.1.insert(
                (bytes.as_ptr() as usize, bytes.len()),
                (bytes.clone(), compressed.clone()),
            );
        }
    }
}

/// The whole of `bytes`, compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3 + 64), Compression::new(LEVEL));
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// Phase: compresses an answer if that is allowed, wished for and worth it.
pub(crate) fn apply(response: &mut Response<Body>, method: &Method, accepts: bool, memo: &Memo) {
    let status = response.status();
    let headers = response.headers();
    let length = match response.body() {
        Body::Full(bytes) => Some(bytes.len() as u64),
        Body::Stream(_) => headers
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|t| t.parse().ok()),
    };
    if status == StatusCode::NOT_MODIFIED {
        // It says what the answer would have said, whose length and type it does not tell (RFC 9110 §15.4.5).
        return vary(response.headers_mut());
    }
    // The length first: of most answers it says all.
    if (length.is_some_and(|l| l < WORTH_BYTES) && *method != Method::HEAD)
        || headers.contains_key(CONTENT_ENCODING)
        || status == StatusCode::NO_CONTENT
        || !headers.get(CONTENT_TYPE).is_some_and(|t| is_compressible(t.as_bytes()))
        || forbids(headers)
    {
        return;
    }
    vary(response.headers_mut());
    if status == StatusCode::PARTIAL_CONTENT {
        return;
    }
    if !accepts || *method == Method::HEAD {
        return;
    }
    let from_cache = response
        .headers()
        .get("cache-status")
        .is_some_and(|v| memchr::memmem::find(v.as_bytes(), b"hit").is_some());
    let body = std::mem::replace(response.body_mut(), Body::Full(Bytes::new()));
    *response.body_mut() = match body {
        Body::Full(bytes) => {
            let compressed = memo.get(&bytes).filter(|_| from_cache).unwrap_or_else(|| {
                let compressed = gzip(&bytes);
                if from_cache {
                    memo.put(&bytes, &compressed);
                }
                compressed
            });
            Body::Full(compressed)
        }
        Body::Stream(stream) => Body::stream(Source::Gzip(Box::new(Gzip::new(stream)))),
    };
    mark(response.headers_mut());
}

/// Fields whose value would be another one's.
static DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Whether nobody may change the content: it says so (RFC 9111 §5.2.2.6), or it carries its digest (RFC 9530).
fn forbids(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = directives.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    directives.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        || DIGESTS.iter().any(|name| headers.contains_key(name))
}

/// Says that an answer is compressed.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    weaken(headers);
}

/// The tag of an answer that is compressed, or would be.
pub(crate) fn weaken(headers: &mut HeaderMap) {
    if let Some(tag) = headers.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
}

/// Says that the answer depends on what the client accepts, unless that is said already.
pub(crate) fn vary(headers: &mut HeaderMap) {
    let said = headers.get_all(VARY).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .any(|f| f == b"*" || f.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !said {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The tags of an `If-Match` as they were before [`mark`] made them weak; `None` if none is weak.
///
/// Strongly compared, a weak tag equals nothing (RFC 9110 §8.8.3.2), so a client that was given a compressed answer could
/// never write under a condition. What it means is the resource's state, which is the same in every coding. A tag that its
/// own server made weak still equals nothing there.
pub(crate) fn strengthened(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    if !text.contains("W/\"") {
        return None;
    }
    HeaderValue::try_from(text.replace("W/\"", "\"")).ok()
}

/// A stream, compressed as it passes. What arrives is passed on at once and not kept back for a better ratio.
pub(crate) struct Gzip {
    from: Box<crate::body::Stream>,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn new(from: Box<crate::body::Stream>) -> Gzip {
        Gzip {
            from,
            encoder: Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL))),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let Some(encoder) = self.encoder.as_mut() else {
                return Poll::Ready(None);
            };
            match ready!(self.from.source.poll(cx)) {
                Some(Ok(bytes)) => {
                    encoder.write_all(&bytes)?;
                    encoder.flush()?;
                    let out = std::mem::take(encoder.get_mut());
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(out.into())));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let Some(encoder) = self.encoder.take() else {
                        return Poll::Ready(None);
                    };
                    return Poll::Ready(Some(encoder.finish().map(Bytes::from)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip");
        out
    }

    fn answer(fields: &[(&'static str, &'static str)], size: usize) -> Response<Body> {
        let mut response = Response::new(Body::Full(Bytes::from(vec![b'x'; size])));
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn clients_are_taken_by_their_word() {
        for (value, wanted) in [
            ("gzip", true),
            ("GZIP, br", true),
            ("br;q=1, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("*", true),
            ("*;q=0", false),
            ("br", false),
            ("", false),
            ("*, gzip;q=0", false),
            ("gzip;q=0.001", true),
            ("notgzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), wanted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_compressed_answer_says_so_in_every_way() {
        let mut response = answer(
            &[
                ("content-type", "application/json; charset=utf-8"),
                ("etag", "\"a\""),
                ("vary", "Prefer"),
                ("content-length", "5000"),
            ],
            5_000,
        );
        apply(&mut response, &Method::GET, true, &Memo::default());
        let headers = response.headers();
        assert_eq!(
            (headers[CONTENT_ENCODING].as_bytes(), headers[ETAG].as_bytes()),
            (&b"gzip"[..], &b"W/\"a\""[..])
        );
        assert!(!headers.contains_key(CONTENT_LENGTH));
        assert_eq!(
            headers.get_all(VARY).iter().collect::<Vec<_>>(),
            ["Prefer", "Accept-Encoding"]
        );
        let Body::Full(bytes) = response.body() else {
            panic!("a whole body")
        };
        assert_eq!(plain(bytes), vec![b'x'; 5_000]);
    }

    #[test]
    fn what_was_not_sent_says_what_it_depends_on() {
        let json = ("content-type", "application/json");
        let varies = |response: &Response<Body>| response.headers().contains_key(VARY);
        // A page of rows says in Content-Range which they are.
        let mut page = answer(&[json, ("content-range", "0-9/*")], 5_000);
        apply(&mut page, &Method::GET, true, &Memo::default());
        assert!(varies(&page) && page.headers()[CONTENT_ENCODING] == "gzip");
        let mut part = answer(&[json, ("content-range", "bytes 0-4999/9999")], 5_000);
        *part.status_mut() = StatusCode::PARTIAL_CONTENT;
        apply(&mut part, &Method::GET, true, &Memo::default());
        assert!(varies(&part) && !part.headers().contains_key(CONTENT_ENCODING));
        let mut head = answer(&[json], 0);
        apply(&mut head, &Method::HEAD, true, &Memo::default());
        assert!(varies(&head));
        let mut unchanged = answer(&[], 0);
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        apply(&mut unchanged, &Method::GET, true, &Memo::default());
        assert!(varies(&unchanged));
    }

    #[test]
    fn what_must_not_or_need_not_be_compressed_is_left_alone() {
        let json = ("content-type", "application/json");
        for (fields, size, varies) in [
            (vec![json], 1_023, false),
            (vec![("content-type", "image/png")], 5_000, false),
            (vec![("content-type", "text/event-stream")], 5_000, false),
            (vec![json, ("content-encoding", "br")], 5_000, false),
            (vec![json, ("cache-control", "public, no-transform")], 5_000, false),
            (vec![json, ("cache-control", "No-Transform")], 5_000, false),
            (vec![json, ("content-digest", "sha-256=:AA==:")], 5_000, false),
            (vec![], 5_000, false),
        ] {
            let mut response = answer(&fields, size);
            apply(&mut response, &Method::GET, true, &Memo::default());
            assert_eq!(
                response.headers().get_all(VARY).iter().count() > 0,
                varies,
                "{fields:?}"
            );
            assert!(
                matches!(response.body(), Body::Full(b) if b.len() == size),
                "{fields:?}"
            );
        }
        let mut unwished = answer(&[json, ("etag", "\"a\"")], 5_000);
        apply(&mut unwished, &Method::GET, false, &Memo::default());
        assert_eq!(
            (&unwished.headers()[VARY], &unwished.headers()[ETAG]),
            (
                &HeaderValue::from_static("Accept-Encoding"),
                &HeaderValue::from_static("\"a\"")
            )
        );
    }

    #[test]
    fn tags_come_back_as_they_were() {
        let back = |text| strengthened(&HeaderValue::from_static(text)).map(|v| v.to_str().unwrap_or("").to_owned());
        assert_eq!(back("W/\"a\", \"b\", W/\"c\"").as_deref(), Some("\"a\", \"b\", \"c\""));
        assert_eq!((back("\"a\""), back("*")), (None, None));
    }

    #[test]
    fn cached_answers_are_compressed_once() {
        let memo = Memo::default();
        let bytes = Bytes::from(vec![b'y'; 4_000]);
        let once = || {
            let mut response = Response::new(Body::Full(bytes.clone()));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
                .headers_mut()
                .insert("cache-status", HeaderValue::from_static("mainstay; hit"));
            apply(&mut response, &Method::GET, true, &memo);
            match response.into_body() {
                Body::Full(bytes) => bytes,
                Body::Stream(_) => panic!("a whole body"),
            }
        };
        let (first, second) = (once(), once());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(plain(&second), bytes);
    }
}
