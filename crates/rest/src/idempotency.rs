//! `Idempotency-Key`: the same request twice has one effect and one answer.

use crate::error;
use http::{HeaderMap, Request};
use mainstay_model::{Error, Idempotency, Identity};
use sha2::{Digest, Sha256};

const HEADER: &str = "idempotency-key";
/// Headers that decide what a write does or answers.
pub(crate) const DECISIVE: [&str; 6] = [
    "content-type",
    "content-profile",
    "accept",
    "prefer",
    "if-match",
    "if-none-match",
];

/// What identifies the request, if it has a key; of a call that is made later, what identified it when it came. A key is a string
/// of RFC 9651 (`"a b"`) or the same without quotes. Errors: MS400 for a key that is none.
pub(crate) fn of<B: AsRef<[u8]>>(request: &Request<B>, identity: &Identity) -> Result<Option<Idempotency>, Error> {
    if let Some(known) = request.extensions().get::<Idempotency>() {
        return Ok(Some(known.clone()));
    }
    let headers = request.headers();
    let Some(key) = headers.get(HEADER) else {
        return Ok(None);
    };
    let Some(key) = value_of(key.as_bytes()).filter(|_| headers.get_all(HEADER).iter().count() == 1) else {
        return Err(error::bad_header(
            "Idempotency-Key",
            "one value of 1 to 255 visible ASCII characters, or such a string in quotes",
        ));
    };
    let uri = request.uri();
    let scope = digest([
        identity.role.as_bytes(),
        identity.subject().unwrap_or_default().as_bytes(),
        request.method().as_str().as_bytes(),
        uri.path().as_bytes(),
        &key,
    ]);
    let query = uri.query().unwrap_or_default().as_bytes();
    let decisive = DECISIVE.map(|name| all(headers, name));
    let parts = [query, request.body().as_ref()]
        .into_iter()
        .chain(decisive.iter().map(Vec::as_slice));
    Ok(Some(Idempotency {
        scope,
        fingerprint: digest(parts),
    }))
}

/// The key that a header's value stands for.
fn value_of(text: &[u8]) -> Option<Vec<u8>> {
    let key = match text {
        [b'"', inner @ .., b'"'] => {
            let mut key = Vec::with_capacity(inner.len());
            let mut bytes = inner.iter();
            while let Some(byte) = bytes.next() {
                key.push(match byte {
                    b'\\' => *bytes.next().filter(|next| matches!(next, b'"' | b'\\'))?,
                    b' '..=b'~' if *byte != b'"' => *byte,
                    _ => return None,
                });
            }
            key
        }
        [b'"', ..] => return None,
        _ if text.iter().all(u8::is_ascii_graphic) => text.to_vec(),
        _ => return None,
    };
    (1..=255).contains(&key.len()).then_some(key)
}

fn all(headers: &HeaderMap, name: &str) -> Vec<u8> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect::<Vec<_>>()
        .join(&b","[..])
}

/// Each part with its length before it, so that no two lists of parts run together.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, path: &str, body: &str, prefer: &str) -> Request<Vec<u8>> {
        let builder = Request::post(path).header(HEADER, key).header("prefer", prefer);
        builder.body(body.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn scope_and_fingerprint() {
        let anon = Identity::anon();
        let of = |r: &Request<Vec<u8>>, i: &Identity| of(r, i).unwrap().unwrap();
        let first = of(&request("k", "/rest/v1/t", "{}", ""), &anon);
        assert_eq!(first, of(&request("k", "/rest/v1/t", "{}", ""), &anon));
        for (other, scope, fingerprint) in [
            (of(&request("k", "/rest/v1/t", "{ }", ""), &anon), true, false),
            (of(&request("k", "/rest/v1/t?a=eq.1", "{}", ""), &anon), true, false),
            (
                of(&request("k", "/rest/v1/t", "{}", "return=minimal"), &anon),
                true,
                false,
            ),
            (of(&request("k2", "/rest/v1/t", "{}", ""), &anon), false, true),
            (of(&request("k", "/rest/v1/u", "{}", ""), &anon), false, true),
            (
                of(&request("k", "/rest/v1/t", "{}", ""), &Identity::role("authenticated")),
                false,
                true,
            ),
        ] {
            assert_eq!(
                (other.scope == first.scope, other.fingerprint == first.fingerprint),
                (scope, fingerprint)
            );
        }
    }

    #[test]
    fn quotes_are_not_of_the_key() {
        for (text, key) in [
            ("k", "k"),
            ("\"k\"", "k"),
            ("\"a b\"", "a b"),
            (r#""a\"\\b""#, "a\"\\b"),
            ("a\"b", "a\"b"),
        ] {
            assert_eq!(value_of(text.as_bytes()).as_deref(), Some(key.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for key in [
            "",
            "with space",
            &"x".repeat(256),
            "\"",
            "\"\"",
            "\"a\"b\"",
            "\"a\\b\"",
            "\"a\\\"",
        ] {
            assert_eq!(
                super::of(&request(key, "/", "", ""), &Identity::anon())
                    .unwrap_err()
                    .code,
                "MS400",
                "{key}"
            );
        }
        assert!(
            super::of(&Request::post("/").body(Vec::new()).unwrap(), &Identity::anon())
                .unwrap()
                .is_none()
        );
    }
}
