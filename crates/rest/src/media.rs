//! Which form of answer the client accepts (RFC 9110 §12.5.1).

use crate::error;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use mainstay_model::{Error, Returns, Type};

/// A form of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Media {
    /// An array of objects.
    Json { strip_nulls: bool },
    /// One object.
    Object { strip_nulls: bool },
    /// Comma-separated values.
    Csv,
    /// The one value of a function as it is.
    Raw(RawKind),
}

/// A value that is a document of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RawKind {
    Text,
    Xml,
    Bytes,
}

impl RawKind {
    /// The form that a function's value has, if it is one.
    pub fn of(returns: &Returns) -> Option<RawKind> {
        match returns {
            Returns::Scalar(ty) if ty.is_text() => Some(RawKind::Text),
            Returns::Scalar(Type::Bytea) => Some(RawKind::Bytes),
            Returns::Scalar(Type::Other(name)) if **name == *"xml" => Some(RawKind::Xml),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            RawKind::Text => "text/plain",
            RawKind::Xml => "text/xml",
            RawKind::Bytes => "application/octet-stream",
        }
    }
}

impl Media {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Media::Json { strip_nulls: false } => "application/json; charset=utf-8",
            Media::Json { strip_nulls: true } => "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
            Media::Object { strip_nulls: false } => "application/vnd.pgrst.object+json; charset=utf-8",
            Media::Object { strip_nulls: true } => "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
            Media::Csv => "text/csv; charset=utf-8",
            Media::Raw(RawKind::Text) => "text/plain; charset=utf-8",
            Media::Raw(RawKind::Xml) => "text/xml; charset=utf-8",
            Media::Raw(RawKind::Bytes) => "application/octet-stream",
        }
    }

    /// Exactly one row is wanted.
    pub fn is_singular(self) -> bool {
        matches!(self, Media::Object { .. })
    }
}

/// Whether an answer of this `Content-Type` is text.
pub(crate) fn is_text(content_type: &HeaderValue) -> bool {
    let name = content_type.to_str().unwrap_or_default();
    name.starts_with("text/") || name.contains("json") || name.contains("xml")
}

/// What one member of `Accept` names.
enum Offer {
    Rows(Media),
    OpenApi,
    Other,
}

fn offer(range: &str) -> Offer {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let strip_nulls = parts.any(|p| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        key.trim().eq_ignore_ascii_case("nulls") && value.trim() == "stripped"
    });
    match &*name {
        "*/*" | "application/*" | "application/json" => Offer::Rows(Media::Json { strip_nulls: false }),
        "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => Offer::Rows(Media::Json { strip_nulls }),
        "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => {
            Offer::Rows(Media::Object { strip_nulls })
        }
        "text/csv" | "text/*" => Offer::Rows(Media::Csv),
        "application/openapi+json" => Offer::OpenApi,
        _ => Offer::Other,
    }
}

/// Members of `Accept`, the most wanted first, without those of quality 0.
pub(crate) fn ranges(accept: &str) -> Vec<&str> {
    let mut ranges: Vec<(&str, f32)> = accept
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .map(|range| {
            let quality = range
                .split(';')
                .skip(1)
                .find_map(|p| p.trim().strip_prefix("q=")?.trim().parse().ok());
            (range, quality.unwrap_or(1.0))
        })
        .filter(|(_, quality)| *quality > 0.0)
        .collect();
    ranges.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranges.into_iter().map(|(range, _)| range).collect()
}

pub(crate) fn accept_text(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
}

/// The member of `Accept` that is wanted most.
pub(crate) fn first(headers: &HeaderMap) -> Option<&str> {
    ranges(accept_text(headers)?).into_iter().next()
}

/// The form of what a function gives, which may be a document of its own. Errors: PGRST107.
pub(crate) fn negotiate_with(headers: &HeaderMap, raw: Option<RawKind>) -> Result<Media, Error> {
    let Some(accept) = accept_text(headers) else {
        return Ok(Media::Json { strip_nulls: false });
    };
    let found = ranges(accept).into_iter().find_map(|range| built_in(range, raw));
    found.ok_or_else(|| error::not_acceptable(accept))
}

/// The form that a member of `Accept` names without anybody's help.
pub(crate) fn built_in(range: &str, raw: Option<RawKind>) -> Option<Media> {
    match (offer(range), raw) {
        (Offer::Rows(media), _) => Some(media),
        (Offer::Other, Some(raw)) => {
            let name = range.split(';').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(raw.name()).then_some(Media::Raw(raw))
        }
        (Offer::OpenApi | Offer::Other, _) => None,
    }
}

/// The form that a member of `Accept` names, where it is one that nobody else may make.
pub(crate) fn of_dialect(range: &str) -> Option<Media> {
    const VENDOR: &str = "application/vnd.pgrst.";
    let is_ours = range
        .get(..VENDOR.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(VENDOR));
    match offer(range) {
        Offer::Rows(media) if is_ours => Some(media),
        _ => None,
    }
}

/// The form of the description of the API: the content type. Errors: PGRST107.
pub(crate) fn negotiate_description(headers: &HeaderMap) -> Result<&'static str, Error> {
    let Some(accept) = accept_text(headers) else {
        return Ok("application/openapi+json; charset=utf-8");
    };
    let found = ranges(accept).into_iter().find_map(|range| match offer(range) {
        Offer::OpenApi => Some("application/openapi+json; charset=utf-8"),
        Offer::Rows(Media::Json { strip_nulls: false }) if range.starts_with('*') => {
            Some("application/openapi+json; charset=utf-8")
        }
        Offer::Rows(Media::Json { strip_nulls: false }) => Some("application/json; charset=utf-8"),
        _ => None,
    });
    found.ok_or_else(|| error::not_acceptable(accept))
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Csv,
    Form,
    Text,
    Xml,
    Bytes,
}

/// Reads `Content-Type`; JSON when there is none. Errors: PGRST102.
pub(crate) fn content(headers: &HeaderMap) -> Result<Content, Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Content::Json);
    };
    let text = value.to_str().unwrap_or_default();
    let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match &*name {
        "" | "application/json" => Content::Json,
        name if name.starts_with("application/vnd.pgrst.") && name.ends_with("+json") => Content::Json,
        "text/csv" => Content::Csv,
        "application/x-www-form-urlencoded" => Content::Form,
        "text/plain" => Content::Text,
        "text/xml" | "application/xml" => Content::Xml,
        "application/octet-stream" => Content::Bytes,
        _ => return Err(error::invalid_body(format!("Content-Type not acceptable: {text}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_of_what_there_is() {
        let json = Media::Json { strip_nulls: false };
        for (accept, want) in [
            ("*/*", Some(json)),
            ("application/json", Some(json)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(json)),
            (
                "application/vnd.pgrst.object+json",
                Some(Media::Object { strip_nulls: false }),
            ),
            (
                "Application/vnd.PgRsT.object+json;nulls=stripped",
                Some(Media::Object { strip_nulls: true }),
            ),
            (
                "application/vnd.pgrst.array+json; nulls=stripped",
                Some(Media::Json { strip_nulls: true }),
            ),
            ("application/vnd.pgrst.array+json", Some(json)),
            ("application/json;q=0.5, text/csv", Some(Media::Csv)),
            ("application/json;q=0", None),
            ("image/png", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(negotiate_with(&headers, None).ok(), want, "{accept}");
        }
        assert_eq!(negotiate_with(&HeaderMap::new(), None).ok(), Some(json));
    }
}
