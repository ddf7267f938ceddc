//! Types as JSON Schema (2020-12), which OpenAPI 3.1 uses.

use mainstay_model::{Column, Schema, Type};
use serde_json::{Value as Json, json};

/// A type's values as answers have them.
pub(super) fn schema_of(schema: &Schema, ty: &Type) -> Json {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int2 => json!({ "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX }),
        Type::Int4 => json!({ "type": "integer", "format": "int32" }),
        Type::Int8 => json!({ "type": "integer", "format": "int64" }),
        Type::Float4 => or_words(json!({ "type": "number", "format": "float" })),
        Type::Float8 => or_words(json!({ "type": "number", "format": "double" })),
        Type::Numeric(None) => or_words(json!({ "type": "number" })),
        Type::Numeric(Some((precision, scale))) => {
            json!({ "type": "number", "description": format!("At most {precision} digits, {scale} of them after the point.") })
        }
        Type::Text => json!({ "type": "string" }),
        Type::Varchar(None) => json!({ "type": "string" }),
        Type::Varchar(Some(length)) | Type::Char(length) => json!({ "type": "string", "maxLength": length }),
        Type::Uuid => json!({ "type": "string", "format": "uuid" }),
        Type::Bytea => json!({ "type": "string", "description": "Bytes in hexadecimal, after `\\x`." }),
        Type::Date => moment("date"),
        Type::Time => json!({ "type": "string", "description": "Time of day without a zone.", "example": "12:34:56" }),
        Type::Timestamp => {
            json!({ "type": "string", "description": "Date and time without a zone.", "example": "2024-02-29T12:34:56" })
        }
        Type::TimestampTz => moment("date-time"),
        Type::Interval => json!({ "type": "string", "description": "A span of time, such as `1 day 02:00:00`." }),
        Type::Json | Type::Jsonb => json!({ "description": "Any JSON." }),
        Type::Enum(name) => match schema.enums.get(name) {
            Some(labels) => json!({ "type": "string", "enum": labels.iter().map(|l| &**l).collect::<Vec<_>>() }),
            None => json!({ "type": "string" }),
        },
        Type::Array(element) => json!({ "type": "array", "items": nullable(schema_of(schema, element)) }),
        Type::Row(_) => json!({ "type": "object" }),
        // Those that have a cast to JSON of their own.
        Type::Other(name) if matches!(&**name, "hstore" | "geometry" | "geography") => {
            json!({ "description": format!("The JSON that Postgres makes of `{name}`.") })
        }
        Type::Other(name) => {
            json!({ "type": "string", "description": format!("Postgres' `{name}` in its text form.") })
        }
        Type::Void | Type::Unknown => json!({}),
    }
}

/// What is taken for a value of a type in a body: the value as answers have it, or its text form; a text takes any JSON, as its text.
pub(super) fn input_of(schema: &Schema, ty: &Type) -> Json {
    let described = schema_of(schema, ty);
    match ty {
        Type::Bool => {
            json!({ "type": ["boolean", "string", "integer"], "description": "A text or number counts as its text form does: `t`, `off`, `1`." })
        }
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Float4 | Type::Float8 | Type::Numeric(_) => {
            let mut described = described;
            if let Some(Json::Array(any)) = described.get_mut("anyOf").map(Json::take)
                && let Some(number) = any.into_iter().next()
            {
                described = number;
            }
            described["type"] = json!([described["type"], "string"]);
            described
        }
        Type::Date | Type::Timestamp | Type::TimestampTz => {
            let format = if *ty == Type::Date { "date" } else { "date-time" };
            json!({ "type": "string", "anyOf": [{ "format": format }, { "description": "Any other form that Postgres reads." }] })
        }
        Type::Uuid | Type::Enum(_) => described,
        Type::Time | Type::Interval => json!({ "type": ["string", "number"], "description": described["description"] }),
        Type::Array(element) => {
            json!({ "type": ["array", "string"], "items": nullable(input_of(schema, element)), "description": "Or its text form: `{1,2}`." })
        }
        Type::Row(_) => {
            json!({ "type": ["object", "string"], "description": "An object of its fields, or its text form: `(1,b)`." })
        }
        Type::Text | Type::Varchar(_) | Type::Char(_) | Type::Bytea => {
            json!({ "anyOf": [described, { "description": "Other JSON is taken as its text." }] })
        }
        Type::Other(_) => json!({ "anyOf": [described, { "description": "Other JSON is taken as its text." }] }),
        Type::Json | Type::Jsonb | Type::Void | Type::Unknown => described,
    }
}

/// What is taken for a value of a type in a query string or path: its text form.
pub(super) fn text_of(schema: &Schema, ty: &Type) -> Json {
    let text = |description: String| json!({ "type": "string", "description": description });
    match ty {
        Type::Array(_) => text("An array in its text form: `{1,2}`.".to_owned()),
        Type::Row(_) => text("A row in its text form: `(1,b)`.".to_owned()),
        Type::Json | Type::Jsonb => text("JSON.".to_owned()),
        Type::Other(name) => text(format!("Postgres' `{name}` in its text form.")),
        Type::Float4 | Type::Float8 | Type::Numeric(_) => json!({ "type": "number" }),
        Type::Text | Type::Varchar(_) | Type::Char(_) | Type::Bytea => json!({ "type": "string" }),
        Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz | Type::Interval => input_of(schema, ty),
        // The words for true and false are many, and a text: `t`, `off`, `1`.
        Type::Bool => json!({ "type": ["boolean", "string"] }),
        ty => schema_of(schema, ty),
    }
}

/// A number that may be none.
fn or_words(number: Json) -> Json {
    json!({ "anyOf": [number, { "type": "string", "enum": ["NaN", "Infinity", "-Infinity"] }] })
}

/// A date that may lie outside of what the format can say.
fn moment(format: &str) -> Json {
    json!({ "type": "string", "anyOf": [{ "format": format }, { "pattern": "infinity$| BC$|^[0-9]{5,}-" }] })
}

/// The same, or null.
pub(super) fn nullable(mut described: Json) -> Json {
    match described.get_mut("type") {
        Some(Json::Array(names)) => names.push("null".into()),
        Some(name @ Json::String(_)) => *name = json!([name.take(), "null"]),
        _ => {}
    }
    if let Some(Json::Array(any)) = described.get_mut("anyOf") {
        any.push(json!({ "type": "null" }));
    }
    if let Some(Json::Array(labels)) = described.get_mut("enum") {
        labels.push(Json::Null);
    }
    described
}

/// A column's values; `given`: as a body has them.
pub(super) fn schema_of_column(schema: &Schema, column: &Column, given: bool) -> Json {
    let described = match given {
        true => input_of(schema, &column.ty),
        false => schema_of(schema, &column.ty),
    };
    if column.not_null {
        described
    } else {
        nullable(described)
    }
}

/// A name as the key of a component, which may hold letters, digits, `.`, `-` and `_` only.
pub(super) fn component(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                c
            } else {
                '_'
            }
        })
        .collect()
}
