//! Bodies of writes and calls: JSON, forms and CSV, as rows of named values that are converted once the column is known.
//!
//! JSON values are kept as they were written until then, so that a number never passes through a float.

use crate::media::Content;
use crate::{Limits, error, query_string, types};
use mainstay_model::{Error, Schema, Type, Value};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

const INVALID_JSON: &str = "Empty or invalid json";

/// A value as the body has it.
#[derive(Clone, Debug)]
pub(crate) enum Raw<'a> {
    /// JSON text.
    Json(&'a str),
    /// Text, as a form or CSV has it.
    Text(Cow<'a, str>),
    Null,
}

/// The members of a JSON object, in order.
#[derive(Debug, Default)]
pub(crate) struct Object<'a>(pub Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Object<'a> {
    /// A member; the last of several with one name.
    pub fn get(&self, name: &str) -> Option<&Raw<'a>> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn has_keys_of(&self, other: &Object<'_>) -> bool {
        let same_order = self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.0 == b.0);
        same_order
            || (self.0.iter().all(|(k, _)| other.get(k).is_some())
                && other.0.iter().all(|(k, _)| self.get(k).is_some()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                #[derive(Deserialize)]
                struct Key<'k>(#[serde(borrow)] Cow<'k, str>);
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, Raw::Json(value.get())));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Rows of named values.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    /// The names of the columns given.
    pub keys: Vec<Cow<'a, str>>,
    /// For each row, for each column: `None` where the row lacks it.
    pub rows: Vec<Vec<Option<Raw<'a>>>>,
}

/// Reads the rows of a write. `columns`: the columns to take, whatever else is there. Errors: PGRST102, 54000.
pub(crate) fn rows<'a>(
    body: &'a [u8],
    content: Content,
    columns: Option<Vec<Cow<'a, str>>>,
    limits: &Limits,
) -> Result<Payload<'a>, Error> {
    let objects = match content {
        Content::Json => json_objects(body)?,
        Content::Form => vec![form(body)?],
        Content::Csv => csv_objects(body)?,
        Content::Text | Content::Xml | Content::Bytes => {
            let media = match content {
                Content::Text => "text/plain",
                Content::Xml => "application/xml",
                _ => "application/octet-stream",
            };
            return Err(error::invalid_body(format!(
                "Content-Type not acceptable: {media}; a table takes JSON, a form or CSV"
            )));
        }
    };
    if objects.len() > limits.rows {
        return Err(error::too_much("too many rows in the body", limits.rows, "limits.rows"));
    }
    let keys = match columns {
        Some(columns) => columns,
        None => {
            let Some(first) = objects.first() else {
                return Ok(Payload {
                    keys: Vec::new(),
                    rows: Vec::new(),
                });
            };
            if !objects.iter().all(|object| object.has_keys_of(first)) {
                return Err(error::invalid_body("All object keys must match").hint(
                    "give every object the same keys, or name the columns with `columns=`; missing ones become NULL or, with \
                     `Prefer: missing=default`, their default",
                ));
            }
            let mut keys: Vec<Cow<'a, str>> = Vec::with_capacity(first.0.len());
            for (key, _) in &first.0 {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
            keys
        }
    };
    let rows = objects
        .into_iter()
        .map(|object| {
            let in_order =
                object.0.len() == keys.len() && object.0.iter().zip(&keys).all(|(member, key)| member.0 == *key);
            if in_order {
                object.0.into_iter().map(|(_, value)| Some(value)).collect()
            } else {
                keys.iter().map(|key| object.get(key).cloned()).collect()
            }
        })
        .collect();
    Ok(Payload { keys, rows })
}

/// Reads the arguments of a call. An empty body has none.
pub(crate) fn arguments<'a>(body: &'a [u8], content: Content) -> Result<Object<'a>, Error> {
    match content {
        Content::Json if body.iter().all(u8::is_ascii_whitespace) => Ok(Object::default()),
        // An array of anything else is no list of arguments, but may be the one argument of a function that takes JSON.
        Content::Json => match json_objects(body) {
            Err(error) if error.message != INVALID_JSON => Ok(Object::default()),
            objects => Ok(objects?.into_iter().next().unwrap_or_default()),
        },
        Content::Form => form(body),
        Content::Csv => Ok(csv_objects(body)?.into_iter().next().unwrap_or_default()),
        Content::Text | Content::Xml | Content::Bytes => Ok(Object::default()),
    }
}

/// PGRST102 with the place.
fn invalid_json(why: impl fmt::Display) -> Error {
    error::invalid_body(INVALID_JSON).detail(why.to_string())
}

fn json_objects(body: &[u8]) -> Result<Vec<Object<'_>>, Error> {
    let text = std::str::from_utf8(body)
        .map_err(|e| invalid_json(format!("the body is not UTF-8: byte {} is not", e.valid_up_to())))?;
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Ok(vec![serde_json::from_str(text).map_err(invalid_json)?]),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(invalid_json)?;
            let mut objects = Vec::with_capacity(items.len());
            for item in items {
                if !item.get().starts_with('{') {
                    return Err(error::invalid_body("All object keys must match"));
                }
                objects.push(serde_json::from_str(item.get()).map_err(invalid_json)?);
            }
            Ok(objects)
        }
        _ => {
            let _: &RawValue = serde_json::from_str(text).map_err(invalid_json)?;
            Err(error::invalid_body("The body must be an object or an array of objects"))
        }
    }
}

fn form(body: &[u8]) -> Result<Object<'_>, Error> {
    let text = std::str::from_utf8(body).map_err(|_| error::invalid_body("the form is not UTF-8"))?;
    if text.trim_start().starts_with(['{', '[']) {
        return Err(error::json_as_form());
    }
    let limits = Limits {
        parameters: usize::MAX,
        ..Limits::default()
    };
    let pairs = query_string::split(text, &limits)?;
    Ok(Object(
        pairs.into_iter().map(|(key, value)| (key, Raw::Text(value))).collect(),
    ))
}

fn csv_objects(body: &[u8]) -> Result<Vec<Object<'_>>, Error> {
    let text = std::str::from_utf8(body).map_err(|_| error::invalid_body("the CSV is not UTF-8"))?;
    let mut lines = csv_lines(text)?.into_iter();
    let Some(names) = lines.next() else {
        return Err(error::invalid_body("not enough input"));
    };
    lines
        // A line without anything is no row, unless a row is one cell.
        .filter(|cells| names.len() == 1 || cells.iter().any(|cell| !cell.is_empty()) || cells.len() > 1)
        .map(|cells| {
            if cells.len() != names.len() {
                return Err(error::invalid_body("All lines must have same number of fields"));
            }
            let value = |cell: Cow<'static, str>| if cell == "NULL" { Raw::Null } else { Raw::Text(cell) };
            Ok(Object(
                names.iter().cloned().zip(cells.into_iter().map(value)).collect(),
            ))
        })
        .collect()
}

fn csv_lines(text: &str) -> Result<Vec<Vec<Cow<'static, str>>>, Error> {
    let mut lines = Vec::new();
    let mut cells: Vec<Cow<'static, str>> = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            c if quoted => cell.push(c),
            '"' if cell.is_empty() => quoted = true,
            ',' => cells.push(std::mem::take(&mut cell).into()),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                cells.push(std::mem::take(&mut cell).into());
                lines.push(std::mem::take(&mut cells));
            }
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(error::invalid_body("a quoted CSV field has no end"));
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell.into());
        lines.push(cells);
    }
    Ok(lines)
}

/// A value for a column or an argument, as `json_populate_record` converts it.
pub(crate) fn value(raw: &Raw<'_>, ty: &Type, schema: &Schema) -> Result<Value, Error> {
    match raw {
        Raw::Null => Ok(Value::Null),
        Raw::Text(text) => types::parse(text, ty, schema),
        Raw::Json(json) => json_value(json.trim(), ty, schema),
    }
}

/// A value as JSON, as it was written; text is a string.
pub(crate) fn json(raw: &Raw<'_>, schema: &Schema) -> Result<Value, Error> {
    match raw {
        Raw::Text(text) => Ok(Value::Text(serde_json::Value::from(text.as_ref()).to_string())),
        raw => value(raw, &Type::Json, schema),
    }
}

fn json_value(json: &str, ty: &Type, schema: &Schema) -> Result<Value, Error> {
    match (json.as_bytes().first(), ty) {
        (Some(b'n'), _) => Ok(Value::Null),
        (_, Type::Json | Type::Jsonb) => Value::parse(json, ty),
        (Some(b'"'), _) => types::parse(&unescape(json)?, ty, schema),
        (Some(b'['), Type::Array(element)) => {
            let dimensions = dimensions(json, element)?;
            let read = array(json, element, schema, &dimensions, 0)?;
            // Without an element there are no dimensions either.
            match dimensions.contains(&0) {
                true => Ok(Value::Array(Vec::new().into())),
                false => Ok(read),
            }
        }
        _ => types::parse(json, ty, schema),
    }
}

/// An array; how deep it is, its first elements say, as for Postgres. `depth` dimensions are around this one.
fn array(json: &str, element: &Type, schema: &Schema, dimensions: &[usize], depth: usize) -> Result<Value, Error> {
    let items = items(json)?;
    if items.len() != dimensions[depth] {
        return Err(Error::new("22P02", "malformed JSON array")
            .detail("Multidimensional arrays must have sub-arrays with matching dimensions."));
    }
    let is_last = depth + 1 == dimensions.len();
    let values = items.iter().enumerate().map(|(at, item)| match is_last {
        true => json_value(item.get(), element, schema),
        false if item.get().starts_with('[') => array(item.get(), element, schema, dimensions, depth + 1),
        false => Err(Error::new("22P02", "expected JSON array").hint(format!("See the array element [{at}]."))),
    });
    Ok(Value::Array(values.collect::<Result<Vec<_>, _>>()?.into()))
}

/// The length of each dimension. Of JSON, an array within the array is a value like any other. Errors: 54000 for too many.
fn dimensions(json: &str, element: &Type) -> Result<Vec<usize>, Error> {
    let mut lengths = Vec::new();
    let mut rest = json;
    while rest.starts_with('[') && (lengths.is_empty() || !element.is_json()) {
        if lengths.len() == DIMENSIONS_MAX {
            return Err(Error::new(
                "54000",
                format!("number of array dimensions exceeds the maximum allowed ({DIMENSIONS_MAX})"),
            ));
        }
        let items = items(rest)?;
        lengths.push(items.len());
        rest = items.first().map_or("", |item| item.get());
    }
    Ok(lengths)
}

fn items(json: &str) -> Result<Vec<&RawValue>, Error> {
    serde_json::from_str(json).map_err(|_| error::invalid_body(INVALID_JSON))
}

/// Postgres' `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// The text of a JSON string. Errors: 22P05 for NUL, which Postgres' text cannot hold.
fn unescape(json: &str) -> Result<Cow<'_, str>, Error> {
    #[derive(Deserialize)]
    struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
    let Text(text) = serde_json::from_str(json).map_err(|_| error::invalid_body(INVALID_JSON))?;
    if text.contains('\0') {
        return Err(
            Error::new("22P05", "unsupported Unicode escape sequence").detail("\\u0000 cannot be converted to text.")
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(body: &str, content: Content, columns: Option<&str>) -> Result<String, String> {
        let columns = columns.map(|c| c.split(',').map(Cow::from).collect());
        let payload = rows(body.as_bytes(), content, columns, &Limits::default())
            .map_err(|e| format!("{}: {}", e.code, e.message))?;
        let cell = |raw: &Option<Raw<'_>>| match raw {
            None => "-".to_owned(),
            Some(Raw::Null) => "NULL".to_owned(),
            Some(Raw::Json(json)) => (*json).to_owned(),
            Some(Raw::Text(text)) => format!("[{text}]"),
        };
        let rows: Vec<String> = payload
            .rows
            .iter()
            .map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" "))
            .collect();
        Ok(format!("{} | {}", payload.keys.join(","), rows.join(" / ")))
    }

    #[test]
    fn arrays_have_as_many_dimensions_as_their_first_elements() {
        let int = Type::Array(Box::new(Type::Int4));
        let text = Type::Array(Box::new(Type::Text));
        let json = Type::Array(Box::new(Type::Jsonb));
        for (given, ty, want) in [
            ("[]", &int, "{}"),
            ("[1,null]", &int, "{1,NULL}"),
            ("[[1,2],[3,4]]", &int, "{{1,2},{3,4}}"),
            ("[[[1]],[[2]]]", &int, "{{{1}},{{2}}}"),
            ("[[],[]]", &int, "{}"),
            (r#"[["a"],["b"]]"#, &text, "{{a},{b}}"),
            (r#"["a",["b"]]"#, &text, r#"{a,"[\"b\"]"}"#),
            ("[[1]]", &json, "{[1]}"),
            ("[[1,2],[3]]", &int, "22P02: malformed JSON array"),
            ("[[],[1]]", &int, "22P02: malformed JSON array"),
            ("[[1,2],3]", &int, "22P02: expected JSON array"),
            (
                "[[[[[[[1]]]]]]]",
                &int,
                "54000: number of array dimensions exceeds the maximum allowed (6)",
            ),
        ] {
            let read = json_value(given, ty, &Schema::default());
            let read = read.map(|value| value.to_text(ty).to_string());
            assert_eq!(
                read.unwrap_or_else(|e| format!("{}: {}", e.code, e.message)),
                want,
                "{given}"
            );
        }
    }

    #[test]
    fn bodies() {
        use Content::{Csv, Form, Json};
        for (body, content, columns, want) in [
            (r#"{"a":1,"b":"x"}"#, Json, None, r#"a,b | 1 "x""#),
            (r#"[{"a":1,"b":2},{"b":3,"a":4}]"#, Json, None, "a,b | 1 2 / 4 3"),
            (r#"[{"a":1},{"b":2}]"#, Json, Some("a,b"), "a,b | 1 - / - 2"),
            (
                r#"{"a":12345678901234567890.123456789012345678901}"#,
                Json,
                None,
                "a | 12345678901234567890.123456789012345678901",
            ),
            (r#"{"a":1,"a":2}"#, Json, None, "a | 2"),
            ("{}", Json, None, " | "),
            ("[]", Json, None, " | "),
            ("a=1&b=x+y", Form, None, "a,b | [1] [x y]"),
            (
                "a,b\n1,\"x,\"\"y\"\r\nNULL,\n",
                Csv,
                None,
                "a,b | [1] [x,\"y] / NULL []",
            ),
        ] {
            assert_eq!(show(body, content, columns).as_deref(), Ok(want), "{body}");
        }
        for (body, content, want) in [
            ("", Json, "PGRST102: Empty or invalid json"),
            ("{", Json, "PGRST102: Empty or invalid json"),
            ("5", Json, "PGRST102: The body must be an object or an array of objects"),
            (r#"[{"a":1},{"b":1}]"#, Json, "PGRST102: All object keys must match"),
            (r#"[{"a":1},5]"#, Json, "PGRST102: All object keys must match"),
            (
                "a,b\n1,2\n\n3",
                Csv,
                "PGRST102: All lines must have same number of fields",
            ),
            (
                r#"{"a":"b=c"}"#,
                Form,
                "PGRST102: The body looks like JSON and was sent as application/x-www-form-urlencoded",
            ),
            ("a,b\n1", Csv, "PGRST102: All lines must have same number of fields"),
        ] {
            assert_eq!(show(body, content, None), Err(want.to_owned()), "{body}");
        }
    }
}
