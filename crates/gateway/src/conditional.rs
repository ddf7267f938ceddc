//! Conditional and range requests (RFC 9110 §13 and §14), and the dates they are about.

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use std::time::SystemTime;

/// What the conditions of a GET or HEAD lead to instead of the content, in the order of §13.2.2.
pub(crate) fn evaluate(headers: &HeaderMap, etag: &HeaderValue, modified: SystemTime) -> Option<StatusCode> {
    let date = |name| headers.get(&name).and_then(|v| parse_http_date(v.as_bytes()));
    if headers.contains_key(IF_MATCH) {
        if !matches(headers, IF_MATCH, etag, true) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
    } else if date(IF_UNMODIFIED_SINCE).is_some_and(|at| seconds(modified) > at) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if matches(headers, IF_NONE_MATCH, etag, false) {
            return Some(StatusCode::NOT_MODIFIED);
        }
    } else if date(IF_MODIFIED_SINCE).is_some_and(|at| seconds(modified) <= at) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    None
}

/// Whether a list of tags holds ours. Strongly compared, a weak tag equals nothing (§8.8.3.2).
fn matches(headers: &HeaderMap, name: http::HeaderName, etag: &HeaderValue, strong: bool) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let ours = opaque(etag.as_bytes());
    headers
        .get_all(name)
        .iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| {
            tag == b"*"
                || (opaque(tag) == ours && !(strong && (tag.starts_with(b"W/") || etag.as_bytes().starts_with(b"W/"))))
        })
}

/// Whether `If-Range` lets a `Range` be answered (§13.1.5): only if what it names is exactly what is there.
pub(crate) fn range_applies(headers: &HeaderMap, etag: &HeaderValue, last_modified: &HeaderValue) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|condition| condition == etag || condition == last_modified)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// From the first byte to the last, both inclusive.
    Of(u64, u64),
    Unsatisfiable,
    /// Another unit, several ranges or nonsense: the whole is sent (§14.2 allows that).
    Ignore,
}

/// Reads a single byte range of something `length` bytes long.
pub(crate) fn span(header: &[u8], length: u64) -> Span {
    let Some((from, to)) = std::str::from_utf8(header)
        .ok()
        .and_then(|t| t.trim().split_once('='))
        .filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"))
        .and_then(|(_, r)| r.trim().split_once('-'))
    else {
        return Span::Ignore;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // What is larger than any number of ours is behind the end of every file.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (from, to) {
        ("", suffix) => match number(suffix) {
            Some(0) => Span::Unsatisfiable,
            Some(_) if length == 0 => Span::Unsatisfiable,
            Some(n) => Span::Of(length.saturating_sub(n), length - 1),
            None => Span::Ignore,
        },
        (from, "") => match number(from) {
            Some(from) if from < length => Span::Of(from, length - 1),
            Some(_) => Span::Unsatisfiable,
            None => Span::Ignore,
        },
        (from, to) => match (number(from), number(to)) {
            (Some(from), Some(to)) if from > to => Span::Ignore,
            (Some(from), Some(to)) if from < length => Span::Of(from, to.min(length - 1)),
            (Some(_), Some(_)) => Span::Unsatisfiable,
            _ => Span::Ignore,
        },
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (§5.6.7).
pub(crate) fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// Seconds since 1970 of a date in any of the three forms (§5.6.7).
fn parse_http_date(text: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?.trim()).ok()?;
    Some(seconds(date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_go_there_and_back() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
            assert_eq!(parse_http_date(text.as_bytes()), Some(seconds));
        }
        for obsolete in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_http_date(obsolete.as_bytes()), Some(784_111_777), "{obsolete}");
        }
        for bad in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn conditions_are_evaluated_in_their_order() {
        let etag = HeaderValue::from_static("\"a\"");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        let (at, before) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
        for (fields, wanted) in [
            (vec![], None),
            (vec![(IF_NONE_MATCH, "\"a\"")], Some(304)),
            (vec![(IF_NONE_MATCH, "W/\"a\"")], Some(304)),
            (vec![(IF_NONE_MATCH, "\"b\", \"a\"")], Some(304)),
            (vec![(IF_NONE_MATCH, "*")], Some(304)),
            (vec![(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, at)], None),
            (vec![(IF_MODIFIED_SINCE, at)], Some(304)),
            (vec![(IF_MODIFIED_SINCE, before)], None),
            (vec![(IF_MODIFIED_SINCE, "nonsense")], None),
            (vec![(IF_MATCH, "\"a\"")], None),
            (vec![(IF_MATCH, "W/\"a\"")], Some(412)),
            (vec![(IF_MATCH, "\"b\"")], Some(412)),
            (vec![(IF_UNMODIFIED_SINCE, before)], Some(412)),
            (vec![(IF_UNMODIFIED_SINCE, at), (IF_NONE_MATCH, "\"a\"")], Some(304)),
        ] {
            let headers: HeaderMap = fields
                .iter()
                .map(|(n, v)| (n.clone(), HeaderValue::from_static(v)))
                .collect();
            assert_eq!(
                evaluate(&headers, &etag, modified).map(|s| s.as_u16()),
                wanted,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn one_range_of_bytes_is_understood() {
        for (header, wanted) in [
            ("bytes=0-4", Span::Of(0, 4)),
            ("bytes=5-", Span::Of(5, 9)),
            ("bytes=-3", Span::Of(7, 9)),
            ("bytes=-30", Span::Of(0, 9)),
            ("bytes=8-99", Span::Of(8, 9)),
            ("bytes=10-", Span::Unsatisfiable),
            ("bytes=-0", Span::Unsatisfiable),
            ("bytes=4-2", Span::Ignore),
            ("bytes=0-1,3-4", Span::Ignore),
            ("lines=0-1", Span::Ignore),
            ("bytes=a-b", Span::Ignore),
            ("bytes=-", Span::Ignore),
            ("bytes=99999999999999999999-", Span::Unsatisfiable),
            ("Bytes=0-4", Span::Of(0, 4)),
        ] {
            assert_eq!(span(header.as_bytes(), 10), wanted, "{header}");
        }
        assert_eq!(span(b"bytes=-1", 0), Span::Unsatisfiable);
    }
}
