//! Types as the wire names them, and values as the wire writes them.

use mainstay_model::{Error, Schema, Type, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// The type that a cast in `select` names. Errors: 42704.
pub(crate) fn named(name: &str, schema: &Schema) -> Result<Type, Error> {
    if let Some(element) = name.strip_prefix('_') {
        return Ok(Type::Array(Box::new(named(element, schema)?)));
    }
    let lower: Cow<'_, str> = if name.bytes().any(|b| b.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    };
    Ok(match &*lower {
        "bool" | "boolean" => Type::Bool,
        "int2" | "smallint" => Type::Int2,
        "int" | "int4" | "integer" => Type::Int4,
        "int8" | "bigint" => Type::Int8,
        "float4" | "real" => Type::Float4,
        "float8" | "float" | "double precision" => Type::Float8,
        "numeric" | "decimal" => Type::Numeric(None),
        "text" | "name" => Type::Text,
        "varchar" | "character varying" => Type::Varchar(None),
        "char" | "character" => Type::Char(1),
        // Of no length, so that nothing is cut.
        "bpchar" => Type::Other("bpchar".into()),
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" | "time without time zone" => Type::Time,
        "timestamp" | "timestamp without time zone" => Type::Timestamp,
        "timestamptz" | "timestamp with time zone" => Type::TimestampTz,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        _ => match schema.enums.get_key_value(name) {
            Some((name, _)) => Type::Enum(name.clone()),
            None => return Err(Error::new("42704", format!("type \"{name}\" does not exist"))),
        },
    })
}

/// A column's type without what only matters when a value is stored: a comparison neither rounds nor truncates.
pub(crate) fn comparable(ty: &Type) -> Type {
    match ty {
        Type::Varchar(_) => Type::Varchar(None),
        Type::Numeric(_) => Type::Numeric(None),
        Type::Array(element) => Type::Array(Box::new(comparable(element))),
        ty => ty.clone(),
    }
}

/// A value of a filter or an argument, and the type that its parameter has.
///
/// A number that a `numeric(p,s)` column can hold keeps the column's own type, so that it is compared, and looked up in an index,
/// in the form in which the column is stored.
pub(crate) fn operand(text: &str, ty: &Type, schema: &Schema) -> Result<(Value, Type), Error> {
    let comparable = comparable(ty);
    let value = parse(text, &comparable, schema)?;
    if let (Value::Numeric(number), Type::Numeric(Some((precision, scale)))) = (&value, ty)
        && let Ok(fitted) = number.fit(*precision, *scale)
        && fitted.cmp_value(number) == Ordering::Equal
    {
        return Ok((Value::Numeric(fitted), ty.clone()));
    }
    Ok((value, comparable))
}

/// Reads a value's text form, as its type's input function does.
pub(crate) fn parse(text: &str, ty: &Type, schema: &Schema) -> Result<Value, Error> {
    match ty {
        Type::Enum(name) => label(text, name, schema),
        // Trailing blanks mean nothing in char(n).
        Type::Char(_) => Ok(Value::Text(text.trim_end_matches(' ').to_owned())),
        Type::Array(element) => {
            let value = Value::parse(text, ty)?;
            if let (Type::Enum(name), Value::Array(items)) = (&**element, &value) {
                for item in items.iter() {
                    if let Value::Text(text) = item {
                        label(text, name, schema)?;
                    }
                }
            }
            Ok(value)
        }
        _ => Value::parse(text, ty),
    }
}

/// Whether a text names its moment by its distance from the present (`now`, `today`, …), so that it means something else each time
/// it is read.
pub(crate) fn is_momentary(text: &str, ty: &Type) -> bool {
    match ty {
        Type::Array(element) => is_momentary(text, element),
        Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => {
            let lower = text.to_ascii_lowercase();
            ["now", "today", "tomorrow", "yesterday"]
                .iter()
                .any(|word| lower.contains(word))
        }
        _ => false,
    }
}

fn label(text: &str, name: &Arc<str>, schema: &Schema) -> Result<Value, Error> {
    let known = schema
        .enums
        .get(name)
        .is_none_or(|labels| labels.iter().any(|l| **l == *text));
    if known {
        Ok(Value::Text(text.to_owned()))
    } else {
        Err(Error::new(
            "22P02",
            format!("invalid input value for enum {name}: \"{text}\""),
        ))
    }
}

/// Several values as one array.
pub(crate) fn list(texts: &[Cow<'_, str>], element: &Type, schema: &Schema) -> Result<(Value, Type), Error> {
    let element = comparable(element);
    let values = texts
        .iter()
        .map(|text| parse(text, &element, schema))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((Value::Array(values.into()), Type::Array(Box::new(element))))
}
