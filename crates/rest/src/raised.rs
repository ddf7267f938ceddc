//! What the database itself says of the response: `response.status` and `response.headers`, and `RAISE SQLSTATE 'PGRST'`.

use crate::error;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use mainstay_model::{Error, ResponseSettings};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A response as the database wants it: its headers take the place of ours, and may come several times. Errors: PGRST111, PGRST112.
pub(crate) fn shaped(
    mut response: Response<Bytes>,
    settings: Option<Box<ResponseSettings>>,
) -> Result<Response<Bytes>, Error> {
    let Some(settings) = settings else { return Ok(response) };
    if let Some(status) = settings.status.as_deref().filter(|text| !text.is_empty()) {
        *response.status_mut() = status
            .trim()
            .parse()
            .ok()
            .and_then(|number| StatusCode::from_u16(number).ok())
            .filter(|status| *status >= StatusCode::OK)
            .ok_or_else(error::invalid_response_status)?;
    }
    if let Some(headers) = settings.headers.as_deref().filter(|text| !text.is_empty()) {
        let all: Vec<BTreeMap<String, String>> =
            serde_json::from_str(headers).map_err(|_| error::invalid_response_headers())?;
        let mut given = Vec::with_capacity(all.len());
        for one in all {
            let mut members = one.into_iter();
            let (Some((name, value)), None) = (members.next(), members.next()) else {
                return Err(error::invalid_response_headers());
            };
            given.push(header(&name, &value).ok_or_else(error::invalid_response_headers)?);
        }
        for (name, _) in &given {
            response.headers_mut().remove(name);
        }
        for (name, value) in given {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

/// A header that a response may have; how it is framed is not for the database to say.
fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&name) {
        return None;
    }
    Some((name, HeaderValue::try_from(value).ok()?))
}

#[derive(Deserialize)]
struct Message {
    code: String,
    message: String,
    details: Option<String>,
    hint: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    status: u16,
    headers: BTreeMap<String, String>,
}

/// What `RAISE SQLSTATE 'PGRST'` asks for: the error, its status and its headers. Error: PGRST121.
pub(crate) fn of_raise(raised: &Error) -> Result<(Error, HeaderMap), Error> {
    let message: Message = serde_json::from_str(&raised.message).map_err(|_| {
        error::invalid_raise(
            format!("Invalid JSON value for MESSAGE: '{}'", raised.message),
            "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'.",
        )
    })?;
    let invalid = |why: String| {
        error::invalid_raise(
            why,
            "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'.",
        )
    };
    let Some(text) = &raised.details else {
        return Err(invalid("DETAIL is missing in the RAISE statement".to_owned()));
    };
    let wrong = || invalid(format!("Invalid JSON value for DETAIL: '{text}'"));
    let detail: Detail = serde_json::from_str(text).map_err(|_| wrong())?;
    StatusCode::from_u16(detail.status).map_err(|_| wrong())?;
    let mut headers = HeaderMap::new();
    for (name, value) in &detail.headers {
        let (name, value) = header(name, value).ok_or_else(wrong)?;
        headers.append(name, value);
    }
    let mut error = Error::new(message.code, message.message).status(detail.status);
    if let Some(details) = message.details {
        error = error.detail(details);
    }
    if let Some(hint) = message.hint {
        error = error.hint(hint);
    }
    Ok((error, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(status: Option<&str>, headers: Option<&str>) -> Option<Box<ResponseSettings>> {
        Some(Box::new(ResponseSettings {
            status: status.map(str::to_owned),
            headers: headers.map(str::to_owned),
        }))
    }

    #[test]
    fn the_database_shapes_the_response() {
        let response = || {
            let mut response = Response::new(Bytes::new());
            response
                .headers_mut()
                .insert("cache-control", HeaderValue::from_static("private, no-cache"));
            response
        };
        let shaped = |status, headers| super::shaped(response(), settings(status, headers));
        let answer = shaped(
            Some("418"),
            Some(r#"[{"Set-Cookie":"a=1"},{"set-cookie":"b=2"},{"Cache-Control":"public"}]"#),
        )
        .unwrap();
        assert_eq!(answer.status().as_u16(), 418);
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(
            answer.headers().get_all("cache-control").iter().collect::<Vec<_>>(),
            ["public"]
        );
        for (status, headers, code) in [
            (Some("many"), None, "PGRST112"),
            (Some("99"), None, "PGRST112"),
            (None, Some("{}"), "PGRST111"),
            (None, Some(r#"[{"a":"1","b":"2"}]"#), "PGRST111"),
            (None, Some(r#"[{"a":1}]"#), "PGRST111"),
            (None, Some(r#"[{"Content-Length":"5"}]"#), "PGRST111"),
        ] {
            assert_eq!(
                shaped(status, headers).unwrap_err().code,
                code,
                "{status:?} {headers:?}"
            );
        }
        assert_eq!(super::shaped(response(), None).unwrap().status().as_u16(), 200);
    }

    #[test]
    fn an_error_raised_in_full() {
        let raise = |message: &str, detail: Option<&str>| {
            let mut error = Error::new("PGRST", message);
            if let Some(detail) = detail {
                error = error.detail(detail);
            }
            error::response(&error, false, None)
        };
        let answer = raise(
            r#"{"code":"123","message":"ABC","details":"DEF","hint":"XYZ"}"#,
            Some(r#"{"status":332,"headers":{"X-Header":"str"}}"#),
        );
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-header"]),
            (332, &HeaderValue::from_static("str"))
        );
        assert_eq!(
            answer.body(),
            r#"{"code":"123","message":"ABC","details":"DEF","hint":"XYZ"}"#
        );
        for (message, detail, details) in [
            ("INVALID", Some("{}"), "Invalid JSON value for MESSAGE: 'INVALID'"),
            (
                r#"{"code":"1","message":"a"}"#,
                None,
                "DETAIL is missing in the RAISE statement",
            ),
            (
                r#"{"code":"1","message":"a"}"#,
                Some("x"),
                "Invalid JSON value for DETAIL: 'x'",
            ),
        ] {
            let answer = raise(message, detail);
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(
                (answer.status().as_u16(), &body["code"], &body["details"]),
                (500, &"PGRST121".into(), &details.into())
            );
        }
    }
}
