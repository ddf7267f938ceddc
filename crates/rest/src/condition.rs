//! Conditional requests (RFC 9110 §13): entity tags, `If-None-Match`, `If-Match`.

use crate::error;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use mainstay_model::Error;

/// The tag of an answer: the body's hash and, where rows were counted, their number, because `Content-Range` says it.
pub(crate) fn tag(body: u64, total: Option<u64>) -> HeaderValue {
    let mixed = match total {
        Some(total) => body ^ (total.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        None => body,
    };
    let mut text = [b'"'; 18];
    for (i, byte) in text[1..17].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(mixed >> (60 - 4 * i)) as usize & 15];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A hash of a body that the engine did not hash: FNV-1a.
pub(crate) fn hash(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether `If-None-Match` names the tag, weakly compared: the client has this answer already.
pub(crate) fn client_has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    lists(headers, IF_NONE_MATCH, tag, true)
}

/// Whether `If-Match` holds for the tag, strongly compared; it does when it is absent.
pub(crate) fn if_match_holds(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    !headers.contains_key(IF_MATCH) || lists(headers, IF_MATCH, tag, false)
}

fn lists(headers: &HeaderMap, name: HeaderName, tag: &HeaderValue, weak: bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value.split(',').map(str::trim).any(|one| {
                let one = if weak {
                    one.strip_prefix("W/").unwrap_or(one)
                } else {
                    one
                };
                one == "*" || one.as_bytes() == tag.as_bytes()
            })
        })
}

/// What a write of one row may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing.
    None,
    /// `If-Match`: the row is there, as the client last saw it.
    Matches,
    /// `If-None-Match: *`: the row is not there.
    Absent,
}

/// The precondition of a write. Errors: MS400 for both at once.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Precondition, Error> {
    let absent = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == b"*");
    match (headers.contains_key(IF_MATCH), absent) {
        (true, true) => Err(error::bad_header("If-None-Match", "absent when If-Match is given")),
        (true, false) => Ok(Precondition::Matches),
        (false, true) => Ok(Precondition::Absent),
        (false, false) => Ok(Precondition::None),
    }
}

/// Refuses a precondition where no one row is meant whose tag could be compared.
pub(crate) fn refuse(headers: &HeaderMap, relation: &str) -> Result<(), Error> {
    let header = match of_write(headers)? {
        Precondition::None => return Ok(()),
        Precondition::Matches => "If-Match",
        Precondition::Absent => "If-None-Match",
    };
    Err(error::bad_header(
        header,
        &format!("absent, or for one row by its key: /{relation}/{{id}}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_compare_as_they_must() {
        let tag = tag(0x0123_4567_89ab_cdef, None);
        assert_eq!(tag, "\"0123456789abcdef\"");
        assert_ne!(super::tag(1, Some(1)), super::tag(1, Some(2)));
        for (value, weak, strong) in [
            ("\"0123456789abcdef\"", true, true),
            ("W/\"0123456789abcdef\"", true, false),
            ("\"other\", \"0123456789abcdef\"", true, true),
            ("*", true, true),
            ("\"other\"", false, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, value.parse().unwrap());
            headers.insert(IF_MATCH, value.parse().unwrap());
            assert_eq!(client_has(&headers, &tag), weak, "{value}");
            assert_eq!(if_match_holds(&headers, &tag), strong, "{value}");
        }
        assert!(!client_has(&HeaderMap::new(), &tag));
        assert!(if_match_holds(&HeaderMap::new(), &tag));
    }
}
