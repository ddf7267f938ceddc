//! Requests seen before are not read again: their target and the headers that matter lead straight to what they mean.

use crate::read::Prepared;
use http::header::{ACCEPT, RANGE};
use http::{HeaderMap, HeaderName, Method};
use mainstay_model::QueryShape;
use quick_cache::{Equivalent, Weighter, sync::Cache};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

/// Longer keys are read each time: who sends them does not send them twice.
const KEY_MAX: usize = 2048;
/// Shapes that are shared hold at most so many bytes, about; beyond it all are forgotten and made anew.
const SHAPES_BYTES_MAX: usize = 32 << 20;

/// Everything that decides what a read means, borrowed from the request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen<'a>([&'a [u8]; 6]);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");

impl<'a> Seen<'a> {
    /// `target`: the skeleton of the request's. `None` for what is not worth remembering.
    pub fn of(method: &Method, anonymous: bool, target: &'a [u8], headers: &'a HeaderMap) -> Option<Seen<'a>> {
        let one = |name: HeaderName| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        let mut prefer = headers.get_all(PREFER).iter();
        let first = prefer.next().map_or(&b""[..], |value| value.as_bytes());
        // Several `Prefer` lines are rare and would need joining.
        if prefer.next().is_some() {
            return None;
        }
        let method: &[u8] = match (*method == Method::HEAD, anonymous) {
            (false, false) => b"g",
            (false, true) => b"G",
            (true, false) => b"h",
            (true, true) => b"H",
        };
        let seen = Seen([target, method, one(ACCEPT), first, one(RANGE), one(ACCEPT_PROFILE)]);
        (seen.len() <= KEY_MAX).then_some(seen)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn owned(&self) -> SeenOwned {
        let mut bytes = Vec::with_capacity(self.len());
        let mut ends = [0; 6];
        for (part, end) in self.0.iter().zip(&mut ends) {
            bytes.extend_from_slice(part);
            *end = bytes.len() as u32;
        }
        SeenOwned {
            bytes: bytes.into(),
            ends,
        }
    }
}

impl Hash for Seen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.0 {
            state.write(part);
            state.write_u8(0xff);
        }
    }
}

/// The same, kept.
pub(crate) struct SeenOwned {
    bytes: Box<[u8]>,
    ends: [u32; 6],
}

impl SeenOwned {
    fn borrowed(&self) -> Seen<'_> {
        let mut begin = 0;
        Seen(self.ends.map(|end| {
            let part = &self.bytes[begin..end as usize];
            begin = end as usize;
            part
        }))
    }
}

impl Hash for SeenOwned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl PartialEq for SeenOwned {
    fn eq(&self, other: &SeenOwned) -> bool {
        self.ends == other.ends && self.bytes == other.bytes
    }
}

impl Eq for SeenOwned {}

impl Equivalent<SeenOwned> for Seen<'_> {
    fn equivalent(&self, key: &SeenOwned) -> bool {
        let mut begin = 0;
        let mut pairs = self.0.iter().zip(key.ends);
        // Most parts are empty, and comparing nothing with nothing is slow where it is done by reading at addresses of nothing.
        pairs.all(|(part, end)| {
            let known = &key.bytes[begin..end as usize];
            begin = end as usize;
            part.len() == known.len() && (known.is_empty() || *part == known)
        })
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<SeenOwned, Arc<Prepared>> for ByBytes {
    fn weight(&self, key: &SeenOwned, prepared: &Arc<Prepared>) -> u64 {
        key.bytes.len() as u64 + prepared.weight()
    }
}

/// What requests mean, by what they look like. Bounded in bytes.
pub(crate) struct Memo {
    seen: Cache<SeenOwned, Arc<Prepared>, ByBytes, ahash::RandomState>,
    shapes: Mutex<Shapes>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
struct Shapes {
    known: HashSet<Shape, ahash::RandomState>,
    bytes: usize,
}

/// A shape, hashed once: it is large.
#[derive(PartialEq, Eq)]
struct Shape {
    hash: u64,
    shape: Arc<QueryShape>,
}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Memo {
    pub fn new(bytes: u64) -> Memo {
        let expected = (bytes / 2048).max(16) as usize;
        Memo {
            seen: Cache::with(
                expected,
                bytes,
                ByBytes,
                ahash::RandomState::new(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            shapes: Mutex::default(),
            hasher: ahash::RandomState::new(),
        }
    }

    /// What a request like this meant, under the same schema.
    pub fn get(&self, seen: &Seen<'_>, digest: u64) -> Option<Arc<Prepared>> {
        self.seen.get(seen).filter(|prepared| prepared.digest == digest)
    }

    pub fn put(&self, seen: &Seen<'_>, prepared: Arc<Prepared>) {
        self.seen.insert(seen.owned(), prepared);
    }

    /// One `Arc` for all requests of a shape: what is known of a shape elsewhere is found by its address. Of one that is too large to keep
    /// nothing is known elsewhere.
    pub fn share(&self, shape: QueryShape) -> Arc<QueryShape> {
        if !shape.is_worth_keeping() {
            return Arc::new(shape);
        }
        let bytes = shape.weight();
        let new = Shape {
            hash: self.hasher.hash_one(&shape),
            shape: Arc::new(shape),
        };
        let mut shapes = self.shapes.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = shapes.known.get(&new) {
            return known.shape.clone();
        }
        if shapes.bytes + bytes > SHAPES_BYTES_MAX {
            *shapes = Shapes::default();
        }
        let shape = new.shape.clone();
        shapes.bytes += bytes;
        shapes.known.insert(new);
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_what_is_borrowed() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "text/csv".parse().unwrap());
        let seen = Seen::of(&Method::GET, false, b"/rest/v1/t?a=eq.1", &headers).unwrap();
        let owned = seen.owned();
        let hasher = ahash::RandomState::new();
        assert_eq!(hasher.hash_one(seen), hasher.hash_one(&owned));
        assert!(seen.equivalent(&owned));
        for (method, anonymous, target, accept) in [
            (Method::HEAD, false, &b"/rest/v1/t?a=eq.1"[..], "text/csv"),
            (Method::GET, true, b"/rest/v1/t?a=eq.1", "text/csv"),
            (Method::GET, false, b"/rest/v1/t?a=eq.2", "text/csv"),
            (Method::GET, false, b"/rest/v1/t?a=eq.1t", "ext/csv"),
        ] {
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert!(
                !Seen::of(&method, anonymous, target, &headers)
                    .unwrap()
                    .equivalent(&owned),
                "{method} {accept}"
            );
        }
        headers.append("prefer", "a".parse().unwrap());
        headers.append("prefer", "b".parse().unwrap());
        assert!(Seen::of(&Method::GET, false, b"/", &headers).is_none());
        assert!(Seen::of(&Method::GET, false, &[b'x'; KEY_MAX + 1], &HeaderMap::new()).is_none());
    }
}
