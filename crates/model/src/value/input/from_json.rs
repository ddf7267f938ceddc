//! JSON values into columns, as `json_populate_record` puts them there.

use std::sync::Arc;

use super::json::{self, JsonKind, json_elements};
use crate::{Error, Result, Type, Value};

fn expected_array() -> Error {
    Error::new("22P02", "expected JSON array")
}

impl Value {
    /// A JSON value as `json_populate_record` puts it into a column of type `ty` (not yet fitted to its length): strings go through
    /// the input function, numbers and booleans by their text, arrays into array columns element by element, anything into JSON.
    /// Errors: those of [`Value::parse`].
    ///
    /// A [`serde_json::Value`] has already lost digits beyond a double's and the blanks of `json`; [`Value::from_json_text`] has not.
    pub fn from_json(json: &serde_json::Value, ty: &Type) -> Result<Value> {
        use serde_json::Value as Json;
        match (json, ty) {
            (Json::Null, _) => Ok(Value::Null),
            (Json::String(text), ty) if !ty.is_json() => Value::parse(text, ty),
            (Json::Array(items), Type::Array(element)) => {
                let items: Result<Vec<Value>> = items.iter().map(|item| nested(item, element)).collect();
                Ok(Value::Array(Arc::from(items?)))
            }
            (_, Type::Array(_)) => Err(expected_array()),
            (json, ty) => Value::parse(&json.to_string(), ty),
        }
    }

    /// As [`Value::from_json`], from the JSON text itself, so that numbers keep every digit and `json` every blank. Errors: those of
    /// [`Value::parse`], and 22P02 when it is not JSON.
    pub fn from_json_text(text: &str, ty: &Type) -> Result<Value> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        if ty.is_json() && text != "null" {
            return Value::parse(text, ty);
        }
        json::check(text)?;
        match (JsonKind::of(text), ty) {
            (JsonKind::Null, _) => Ok(Value::Null),
            (JsonKind::String, ty) => Value::parse(&json::unescape(text)?, ty),
            (JsonKind::Array, Type::Array(element)) => {
                let items: Result<Vec<Value>> = json_elements(text)?
                    .into_iter()
                    .map(|item| nested_text(item, element))
                    .collect();
                Ok(Value::Array(Arc::from(items?)))
            }
            (_, Type::Array(_)) => Err(expected_array()),
            _ => Value::parse(text, ty),
        }
    }
}

/// An element; an array inside an array is another dimension, unless the elements are JSON.
fn nested(item: &serde_json::Value, element: &Type) -> Result<Value> {
    if item.is_array() && !element.is_json() {
        return Value::from_json(item, &Type::Array(Box::new(element.clone())));
    }
    Value::from_json(item, element)
}

fn nested_text(item: &str, element: &Type) -> Result<Value> {
    if JsonKind::of(item) == JsonKind::Array && !element.is_json() {
        return Value::from_json_text(item, &Type::Array(Box::new(element.clone())));
    }
    Value::from_json_text(item, element)
}
