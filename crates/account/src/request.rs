//! What a client sent, field by field, each complaint naming the field.

use crate::fault::{Fault, Result};
use bytes::Bytes;
use serde_json::{Map, Value as Json};

/// A longer body is refused unread, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body's fields.
pub(crate) struct Form(Map<String, Json>);

impl Form {
    /// Reads a JSON object; no body at all is an empty one.
    pub fn read(body: &Bytes) -> Result<Form> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Fault::new(
                413,
                "request_entity_too_large",
                format!("The body has {} bytes and {BODY_BYTES_MAX} is the limit", body.len()),
            ));
        }
        if body.is_empty() {
            return Ok(Form(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Json::Object(fields)) => Ok(Form(fields)),
            Ok(_) => Err(Fault::new(
                400,
                "bad_json",
                "Could not parse request body as JSON: an object is expected",
            )),
            Err(error) => Err(Fault::new(
                400,
                "bad_json",
                format!("Could not parse request body as JSON: {error}"),
            )),
        }
    }

    /// A text; `None` when it is absent or null.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", other)),
        }
    }

    /// A text that is empty when absent, as GoTrue reads it.
    pub fn text_or_empty(&self, name: &str) -> Result<&str> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// An object; `None` when it is absent or null.
    pub fn object(&self, name: &str) -> Result<Option<&Map<String, Json>>> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(other) => Err(wrong(name, "an object", other)),
        }
    }
}

fn wrong(name: &str, expected: &str, found: &Json) -> Fault {
    let found = match found {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    Fault::invalid(format!("\"{name}\" must be {expected} and is {found}"))
}

/// The first value of a parameter of the query string. Only words without escapes are looked for.
pub(crate) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_of_bounded_size() {
        for (body, code) in [
            ("".to_owned(), None),
            (r#"{"email":"a@b.c"}"#.to_owned(), None),
            ("[]".to_owned(), Some("bad_json")),
            ("{".to_owned(), Some("bad_json")),
            ("\u{feff}{}".to_owned(), Some("bad_json")),
            ("[".repeat(10_000), Some("bad_json")),
            (
                format!("\"{}\"", "x".repeat(BODY_BYTES_MAX)),
                Some("request_entity_too_large"),
            ),
        ] {
            let result = Form::read(&Bytes::from(body.clone()));
            assert_eq!(result.err().map(|f| f.code()), code, "{body:.40}");
        }
    }

    #[test]
    fn fields_are_of_their_type_or_absent() {
        let form = Form::read(&Bytes::from_static(
            br#"{"email":"a","password":null,"phone":7,"data":{"a":1},"more":"x"}"#,
        ))
        .expect("an object");
        assert_eq!(form.text("email").expect("a text"), Some("a"));
        assert_eq!(form.text("password").expect("null"), None);
        assert_eq!(form.text_or_empty("absent").expect("absent"), "");
        assert!(form.object("data").expect("an object").is_some());
        for fault in [
            form.text("phone").expect_err("a number"),
            form.object("more").expect_err("a string"),
        ] {
            assert_eq!(fault.code(), "validation_failed");
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        let query = Some("redirect_to=x&scope=local&scope=global&flag");
        assert_eq!(parameter(query, "scope"), Some("local"));
        assert_eq!(parameter(query, "flag"), Some(""));
        assert_eq!(parameter(query, "sco"), None);
        assert_eq!(parameter(None, "scope"), None);
    }
}
