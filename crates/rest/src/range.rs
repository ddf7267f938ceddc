//! Pages: `limit` and `offset`, the `Range` header, and `Content-Range` in the answer.

use crate::error;
use crate::level::Level;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mainstay_model::Error;
use smallvec::SmallVec;

/// Narrows the top level's page by the `Range` header. Returns the first row's offset. Errors: PGRST103.
pub(crate) fn narrow(root: &mut Level<'_>, method: &Method, headers: &HeaderMap) -> Result<u64, Error> {
    if root.limit.is_some_and(|limit| limit < 0) {
        return Err(error::unsatisfiable_range(
            "Limit should be greater than or equal to zero.",
        ));
    }
    // A range means something for GET alone (RFC 9110 §14.2); one that cannot be read means nothing.
    let header = if *method == Method::GET {
        headers.get(RANGE).and_then(parse)
    } else {
        None
    };
    if let Some((first, last)) = header {
        if last.is_some_and(|last| last < first) {
            return Err(error::unsatisfiable_range(
                "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
            ));
        }
        // `limit=0` asks for no row, whatever the header says.
        if root.limit != Some(0) {
            let asked_last = root.limit.map(|limit| root.offset.saturating_add(limit - 1));
            let last = match (last, asked_last) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let first = first.max(root.offset);
            if last.is_some_and(|last| last < first) {
                return Err(error::unsatisfiable_range(
                    "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
                ));
            }
            root.offset = first;
            root.limit = last.map(|last| last - first + 1);
        }
    }
    Ok(root.offset as u64)
}

/// `0-9`, `10-`
fn parse(value: &HeaderValue) -> Option<(i64, Option<i64>)> {
    let text = value.to_str().ok()?;
    let text = text
        .strip_prefix("items=")
        .or(text.strip_prefix("rows="))
        .unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
    };
    let last = if last.is_empty() { None } else { Some(number(last)?) };
    Some((number(first)?, last))
}

/// Status of an answer whose rows begin at `offset`. Errors: PGRST103 when they would begin after the last.
pub(crate) fn status(offset: u64, rows: u64, total: Option<u64>) -> Result<StatusCode, Error> {
    match total {
        Some(total) if offset > total => Err(error::unsatisfiable_range(format!(
            "An offset of {offset} was requested, but there are only {total} rows."
        ))
        .total(total)),
        Some(total) if rows < total => Ok(StatusCode::PARTIAL_CONTENT),
        _ => Ok(StatusCode::OK),
    }
}

/// As [`status`], of an answer beside which something has happened: a page behind the last row is empty then, and no error.
pub(crate) fn status_of_done(rows: u64, total: Option<u64>) -> StatusCode {
    match total {
        Some(total) if rows < total => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    }
}

/// `0-9/100`, `*/0`, `0-9/*`
pub(crate) fn content_range(offset: u64, rows: u64, total: Option<u64>) -> HeaderValue {
    let mut text = SmallVec::<[u8; 64]>::new();
    let mut number = itoa::Buffer::new();
    if rows > 0 && total != Some(0) {
        text.extend_from_slice(number.format(offset).as_bytes());
        text.push(b'-');
        text.extend_from_slice(number.format(offset + rows - 1).as_bytes());
    } else {
        text.push(b'*');
    }
    text.push(b'/');
    match total {
        Some(total) => text.extend_from_slice(number.format(total).as_bytes()),
        None => text.push(b'*'),
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("*/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (offset, rows, total, range, code) in [
            (0, 10, Some(100), "0-9/100", 206),
            (0, 0, Some(0), "*/0", 200),
            (0, 10, None, "0-9/*", 200),
            (5, 5, Some(10), "5-9/10", 206),
            (0, 10, Some(10), "0-9/10", 200),
            (0, 0, None, "*/*", 200),
            (10, 0, Some(10), "*/10", 206),
        ] {
            assert_eq!(content_range(offset, rows, total), range);
            assert_eq!(status(offset, rows, total).unwrap(), code, "{range}");
        }
        assert_eq!(status(11, 0, Some(10)).unwrap_err().code, "PGRST103");
    }

    #[test]
    fn the_header_narrows_the_page() {
        for (limit, offset, header, want) in [
            (None, 0, "0-9", Ok((Some(10), 0))),
            (None, 0, "10-", Ok((None, 10))),
            (Some(5), 0, "0-9", Ok((Some(5), 0))),
            (Some(50), 5, "0-9", Ok((Some(5), 5))),
            (Some(0), 0, "0-9", Ok((Some(0), 0))),
            (None, 0, "9-0", Err(())),
            (None, 0, "abc", Ok((None, 0))),
            (None, 0, "-5", Ok((None, 0))),
            (Some(-1), 0, "", Err(())),
        ] {
            let mut root = Level::root("t", Vec::new());
            (root.limit, root.offset) = (limit, offset);
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, header.parse().unwrap());
            let got = narrow(&mut root, &Method::GET, &headers)
                .map(|_| (root.limit, root.offset))
                .map_err(|_| ());
            assert_eq!(got, want, "{header}");
        }
    }
}
