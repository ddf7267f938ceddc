//! JSON values into columns, as `json_populate_record` puts them there.

use std::sync::Arc;

use super::array;
use super::json::{self, JsonKind, json_elements};
use crate::value::output::{into_string, write_json_string};
use crate::{Error, Result, Type, Value};

impl Value {
    /// A JSON value as `json_populate_record` puts it into a column of type `ty` (not yet fitted to its length): strings go through
    /// the input function, numbers and booleans by their text, arrays into array columns element by element, anything into JSON.
    /// Errors: those of [`Value::parse`].
    ///
    /// A [`serde_json::Value`] has already lost digits beyond a double's and the blanks of `json`; [`Value::from_json_text`] has not.
    pub fn from_json(json: &serde_json::Value, ty: &Type) -> Result<Value> {
        from_tree(json, ty, 1)
    }

    /// As [`Value::from_json`], from the JSON text itself, so that numbers keep every digit and `json` every blank. Errors: those of
    /// [`Value::parse`], and 22P02 when it is not JSON.
    pub fn from_json_text(text: &str, ty: &Type) -> Result<Value> {
        from_text(text, ty, 1)
    }
}

fn from_tree(json: &serde_json::Value, ty: &Type, dimension: usize) -> Result<Value> {
    use serde_json::Value as Json;
    match (json, ty) {
        (Json::Null, _) => Ok(Value::Null),
        (Json::String(text), ty) if !ty.is_json() => Value::parse(text, ty),
        (Json::Array(parts), Type::Array(element)) => array_of(
            parts,
            Json::is_array,
            |part, ty| from_tree(part, ty, dimension + 1),
            element,
            dimension,
        ),
        (_, Type::Array(_)) => Err(expected_array()),
        (json, ty) => Value::parse(&json.to_string(), ty),
    }
}

fn from_text(text: &str, ty: &Type, dimension: usize) -> Result<Value> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if ty.is_json() && text != "null" && !text.starts_with('"') {
        return Value::parse(text, ty);
    }
    json::check(text)?;
    match (JsonKind::of(text), ty) {
        (JsonKind::Null, _) => Ok(Value::Null),
        (JsonKind::String, ty) if ty.is_json() => {
            let mut escaped = Vec::with_capacity(text.len());
            write_json_string(&json::unescape(text)?, &mut escaped);
            Ok(Value::Text(into_string(escaped)))
        }
        (JsonKind::String, ty) => Value::parse(&json::unescape(text)?, ty),
        (JsonKind::Array, Type::Array(element)) => {
            let is_array = |part: &&str| JsonKind::of(part) == JsonKind::Array;
            let read = |part: &&str, ty: &Type| from_text(part, ty, dimension + 1);
            array_of(&json_elements(text)?, is_array, read, element, dimension)
        }
        (_, Type::Array(_)) => Err(expected_array()),
        _ => Value::parse(text, ty),
    }
}

fn expected_array() -> Error {
    Error::new("22P02", "expected JSON array")
}

/// The items of an array column. As in Postgres the first item decides: if it is an array, so must be all, each of them one more
/// dimension; otherwise an array further on is an item like any other.
fn array_of<T>(
    parts: &[T],
    is_array: impl Fn(&T) -> bool,
    read: impl Fn(&T, &Type) -> Result<Value>,
    element: &Type,
    dimension: usize,
) -> Result<Value> {
    array::check_dimensions(dimension)?;
    let nested = parts.first().is_some_and(&is_array);
    let inner = if nested {
        Type::Array(Box::new(element.clone()))
    } else {
        element.clone()
    };
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        if nested && !is_array(part) {
            return Err(expected_array());
        }
        values.push(read(part, &inner)?);
    }
    let length = |value: &Value| {
        if let Value::Array(items) = value {
            items.len()
        } else {
            0
        }
    };
    if nested && values.iter().any(|value| length(value) != length(&values[0])) {
        let detail = "Multidimensional arrays must have sub-arrays with matching dimensions.";
        return Err(Error::new("22P02", "malformed JSON array").detail(detail));
    }
    Ok(Value::Array(Arc::from(values)))
}
