//! Conversions: casts, JSON of a value, ranges of integers, and errors raised by expressions.

use super::{Args, PURE, lenient, sql, strict};
use mainstay_model::{Error, Result, Type, Value};
use mainstay_sql::sqlite::{Form, Stored, decode, encode};
use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_cast", 3, |args| {
        let (from, to) = (args.type_code(1)?, args.type_code(2)?);
        let value = decode_arg(args, 0, &from.0, from.1)?;
        let value = match &value {
            // The labels of an enum are not known here; its texts pass.
            Value::Text(_) if matches!(from.0, Type::Enum(_) | Type::Other(_)) && !to.0.is_text() => {
                value.cast(&Type::Text, &to.0)?
            }
            _ => cast(value, &from.0, &to.0)?,
        };
        Ok(sql(encode(&value, &to.0, to.1)?))
    })?;
    // `null` for NULL, so that the result can be joined to a document.
    lenient(c, "mainstay_to_json", 2, PURE, |args| {
        if args.is_null(0) {
            return Ok(Sql::Text("null".to_owned()));
        }
        let code = args.type_code(1)?;
        let value = decode_arg(args, 0, &code.0, code.1)?;
        Ok(Sql::Text(value.to_json_text(&code.0)))
    })?;
    strict(c, "mainstay_fit", 2, |args| {
        let code = args.type_code(1)?;
        let value = Value::Text(args.text(0)?.to_owned()).fit(&code.0)?;
        Ok(sql(encode(&value, &code.0, Form::Plain)?))
    })?;
    for (name, ty, least, greatest) in [
        ("mainstay_int2", Type::Int2, i64::from(i16::MIN), i64::from(i16::MAX)),
        ("mainstay_int4", Type::Int4, i64::from(i32::MIN), i64::from(i32::MAX)),
        ("mainstay_int8", Type::Int8, i64::MIN, i64::MAX),
    ] {
        strict(c, name, 1, move |args| match args.raw(0) {
            ValueRef::Integer(v) if (least..=greatest).contains(&v) => Ok(Sql::Integer(v)),
            // SQLite goes on in REAL where 64 bits end.
            _ => Err(Error::new("22003", format!("{ty} out of range"))),
        })?;
    }
    strict(c, "mainstay_float4", 1, |args| {
        match Value::Float(args.real(0)?).cast(&Type::Float8, &Type::Float4)? {
            Value::Float(v) => Ok(Sql::Real(v)),
            _ => Err(Error::internal("a float is no float")),
        }
    })?;
    for (name, word, code, none) in [
        ("mainstay_limit", "LIMIT", "2201W", -1),
        ("mainstay_offset", "OFFSET", "2201X", 0),
    ] {
        lenient(c, name, 1, PURE, move |args| match args.raw(0) {
            ValueRef::Null => Ok(Sql::Integer(none)),
            ValueRef::Integer(rows) if rows < 0 => Err(Error::new(code, format!("{word} must not be negative"))),
            ValueRef::Integer(rows) => Ok(Sql::Integer(rows)),
            _ => Err(Error::internal("a number of rows is no integer")),
        })?;
    }
    lenient(c, "mainstay_raise", 2, PURE, |args| {
        Err(Error::new(args.text(0)?.to_owned(), args.text(1)?))
    })
}

/// A cast, arrays to and from text included.
pub(crate) fn cast(value: Value, from: &Type, to: &Type) -> Result<Value> {
    match (from, to) {
        (Type::Bytea, Type::Bytea) => Ok(value),
        (Type::Json | Type::Jsonb, Type::Json | Type::Jsonb) => value.cast(from, to),
        (Type::Json, to) if to.is_text() => Ok(value),
        _ => value.cast(from, to),
    }
}

/// An argument as a value of the model. A number may come as any class of number.
pub(super) fn decode_arg(args: &Args<'_, '_>, at: usize, ty: &Type, form: Form) -> Result<Value> {
    match (args.stored(at)?, ty) {
        // A JSON string where a scalar of another type is expected is its text.
        (Stored::Integer(v), ty) if ty.is_text() => Ok(Value::Text(v.to_string())),
        (Stored::Real(v), ty) if ty.is_text() => Ok(Value::Text(Value::Float(v).to_text(&Type::Float8))),
        (stored, ty) => decode(stored, ty, form),
    }
}
