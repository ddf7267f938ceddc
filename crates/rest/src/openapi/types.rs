//! Types as JSON Schema (2020-12), which OpenAPI 3.1 uses.

use mainstay_model::{Column, Schema, Type};
use serde_json::{Value as Json, json};

/// A type's values as JSON has them.
pub(super) fn schema_of(schema: &Schema, ty: &Type) -> Json {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int2 => json!({ "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX }),
        Type::Int4 => json!({ "type": "integer", "format": "int32" }),
        Type::Int8 => json!({ "type": "integer", "format": "int64" }),
        Type::Float4 => json!({ "type": "number", "format": "float" }),
        Type::Float8 => json!({ "type": "number", "format": "double" }),
        Type::Numeric(None) => json!({ "type": "number" }),
        Type::Numeric(Some((precision, scale))) => {
            json!({ "type": "number", "description": format!("At most {precision} digits, {scale} of them after the point.") })
        }
        Type::Text => json!({ "type": "string" }),
        Type::Varchar(None) => json!({ "type": "string" }),
        Type::Varchar(Some(length)) | Type::Char(length) => json!({ "type": "string", "maxLength": length }),
        Type::Uuid => json!({ "type": "string", "format": "uuid" }),
        Type::Bytea => json!({ "type": "string", "description": "Bytes in hexadecimal, after `\\x`." }),
        Type::Date => json!({ "type": "string", "format": "date" }),
        Type::Time => json!({ "type": "string", "format": "time" }),
        Type::Timestamp => json!({ "type": "string", "description": "Date and time without a zone." }),
        Type::TimestampTz => json!({ "type": "string", "format": "date-time" }),
        Type::Interval => json!({ "type": "string", "description": "A span of time, such as `1 day 02:00:00`." }),
        Type::Json | Type::Jsonb => json!({ "description": "Any JSON." }),
        Type::Enum(name) => match schema.enums.get(name) {
            Some(labels) => json!({ "type": "string", "enum": labels.iter().map(|l| &**l).collect::<Vec<_>>() }),
            None => json!({ "type": "string" }),
        },
        Type::Array(element) => json!({ "type": "array", "items": schema_of(schema, element) }),
        Type::Row(_) => json!({ "type": "object" }),
        Type::Other(name) => {
            json!({ "type": "string", "description": format!("Postgres' `{name}` in its text form.") })
        }
        Type::Void | Type::Unknown => json!({}),
    }
}

/// The same, or null.
pub(super) fn nullable(mut described: Json) -> Json {
    if let Some(Json::String(name)) = described.get("type").cloned() {
        described["type"] = json!([name, "null"]);
    }
    if let Some(Json::Array(labels)) = described.get_mut("enum") {
        labels.push(Json::Null);
    }
    described
}

/// A column's values.
pub(super) fn schema_of_column(schema: &Schema, column: &Column) -> Json {
    let described = schema_of(schema, &column.ty);
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
