//! How a value of the model lies in SQLite, and back: the storage format's one implementation. Whoever binds, reads or computes
//! on stored values goes through here.

use crate::json_text;
use mainstay_model::{Decimal, Error, Result, Type, Value, time};
use std::borrow::Cow;
use std::sync::Arc;

/// How a value of a type is represented in an expression, a result column or a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The type's one representation.
    Plain,
    /// `numeric` as an INTEGER scaled by 10^s. Only for a value that has at most that scale.
    Scaled(u16),
    /// `numeric` as an order-preserving BLOB.
    Wide,
    /// For binds compared with a `Scaled` column by `<` or `>=`: the least integer not below the value.
    Ceiling(u16),
    /// For binds compared with a `Scaled` column by `<=` or `>`: the greatest integer not above the value.
    Floor(u16),
    /// For binds compared with a `Scaled` column by equality: the integer, or a REAL that no column equals.
    Exact(u16),
    /// For binds compared with a `Wide` column: the first of all encodings of the value.
    WideFirst,
    /// For binds compared with a `Wide` column: the last of all encodings of the value.
    WideLast,
}

/// A value as SQLite keeps it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the SQLite storage class of its name")]
pub enum Stored<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
}

/// The widest `numeric` that is kept as a scaled integer.
pub const SCALED_DIGITS_MAX: u16 = 18;

/// The form of a column of a type.
pub fn column_form(ty: &Type) -> Form {
    match ty {
        Type::Numeric(Some((precision, scale))) if *precision <= SCALED_DIGITS_MAX && *scale <= SCALED_DIGITS_MAX => {
            Form::Scaled(*scale)
        }
        Type::Numeric(_) => Form::Wide,
        _ => Form::Plain,
    }
}

/// A value of type `ty` in the given form. It must already have been fitted to a column that it is written to.
pub fn encode<'a>(value: &'a Value, ty: &Type, form: Form) -> Result<Stored<'a>> {
    Ok(match value {
        Value::Null => Stored::Null,
        Value::Numeric(number) => encode_numeric(number, form)?,
        Value::Int(number) => match (ty, form) {
            (Type::Numeric(_), form) => encode_numeric(&Decimal::from_i64(*number), form)?,
            (Type::Float4 | Type::Float8, _) => Stored::Real(*number as f64),
            (_, Form::Plain) => Stored::Integer(*number),
            (_, form) => encode_numeric(&Decimal::from_i64(*number), form)?,
        },
        Value::Bool(v) => Stored::Integer(i64::from(*v)),
        Value::Float(v) if v.is_nan() => {
            return Err(
                Error::unsupported("NaN as double precision or real is not supported by this engine")
                    .hint("Use numeric, which has NaN on every engine."),
            );
        }
        Value::Float(v) => Stored::Real(*v),
        Value::Text(text) => match ty {
            Type::Char(_) => Stored::Text(Cow::Borrowed(text.trim_end_matches(' '))),
            _ => Stored::Text(Cow::Borrowed(text)),
        },
        Value::Uuid(v) => Stored::Text(Cow::Owned(uuid_text(*v))),
        Value::Bytes(bytes) => Stored::Blob(Cow::Borrowed(bytes)),
        Value::Date(days) => Stored::Integer(i64::from(*days)),
        Value::Time(micros) | Value::Timestamp(micros) => Stored::Integer(*micros),
        Value::Interval(months, days, micros) => {
            let mut out = Vec::with_capacity(24);
            time::write_interval((*months, *days, *micros), &mut out);
            Stored::Text(Cow::Owned(
                String::from_utf8(out).map_err(|_| Error::internal("an interval is not text"))?,
            ))
        }
        Value::Array(_) => Stored::Text(Cow::Owned(value.to_json_text(ty))),
    })
}

fn encode_numeric(number: &Decimal, form: Form) -> Result<Stored<'static>> {
    let blob = |bytes: Vec<u8>| Stored::Blob(Cow::Owned(bytes));
    Ok(match form {
        Form::Wide => blob(number.to_ordered_bytes()),
        Form::WideFirst => blob(number.ordered_bounds().0),
        Form::WideLast => blob(number.ordered_bounds().1),
        Form::Scaled(_) if number.is_nan() => {
            return Err(Error::unsupported(
                "NaN in a numeric column of at most 18 digits is not supported by this engine",
            )
            .hint("Declare the column numeric, without a precision."));
        }
        Form::Scaled(scale) => match number.to_scaled_exact(scale) {
            Some(unscaled) => Stored::Integer(unscaled),
            None => {
                return Err(
                    Error::new("22003", "numeric field overflow").detail("The value was not fitted to its column.")
                );
            }
        },
        Form::Ceiling(scale) | Form::Floor(scale) | Form::Exact(scale) => bound(number, scale, form),
        Form::Plain => match number.to_i64() {
            Some(integer) => Stored::Integer(integer),
            None => return Err(Error::new("22003", "bigint out of range")),
        },
    })
}

/// A number to compare scaled integers with, although it may lie between two of them or beyond all.
fn bound(number: &Decimal, scale: u16, form: Form) -> Stored<'static> {
    let beyond = || {
        let negative = !number.is_nan() && number.cmp_value(&Decimal::ZERO).is_lt();
        Stored::Real(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
    };
    let Some(near) = number.to_scaled(scale) else {
        return beyond();
    };
    let order = Decimal::from_scaled(near, scale).cmp_value(number);
    match form {
        _ if order.is_eq() => Stored::Integer(near),
        Form::Ceiling(_) if order.is_lt() => near.checked_add(1).map_or_else(beyond, Stored::Integer),
        Form::Floor(_) if order.is_gt() => near.checked_sub(1).map_or_else(beyond, Stored::Integer),
        Form::Ceiling(_) | Form::Floor(_) => Stored::Integer(near),
        _ => Stored::Real(0.5),
    }
}

/// What SQLite gave, as a value of type `ty`. Errors: XX001 if it cannot be one, which only a foreign writer can cause.
pub fn decode(stored: Stored<'_>, ty: &Type, form: Form) -> Result<Value> {
    let damaged = |what: &str| {
        Error::new("XX001", format!("a stored value is not a valid {ty}: {what}"))
            .hint("Another program wrote it; correct it with the sqlite3 shell.")
    };
    Ok(match (stored, ty) {
        (Stored::Null, _) => Value::Null,
        (Stored::Integer(v), Type::Bool) => Value::Bool(v != 0),
        (Stored::Integer(v), Type::Int2 | Type::Int4 | Type::Int8) => Value::Int(v),
        (Stored::Integer(v), Type::Float4 | Type::Float8) => Value::Float(v as f64),
        (Stored::Real(v), Type::Float4 | Type::Float8) => Value::Float(v),
        (Stored::Integer(v), Type::Numeric(_)) => Value::Numeric(match form {
            Form::Scaled(scale) => Decimal::from_scaled(v, scale),
            _ => Decimal::from_i64(v),
        }),
        (Stored::Blob(bytes), Type::Numeric(_)) => {
            Value::Numeric(Decimal::from_ordered_bytes(&bytes).ok_or_else(|| damaged("not an encoded number"))?)
        }
        (Stored::Integer(v), Type::Date) => Value::Date(i32::try_from(v).map_err(|_| damaged("out of range"))?),
        (Stored::Integer(v), Type::Time) => Value::Time(v),
        (Stored::Integer(v), Type::Timestamp | Type::TimestampTz) => Value::Timestamp(v),
        (Stored::Text(text), Type::Uuid) => Value::Uuid(parse_uuid(&text).ok_or_else(|| damaged(&text))?),
        (Stored::Text(text), Type::Interval) => {
            let (months, days, micros) = time::parse_interval(&text).map_err(|_| damaged(&text))?;
            Value::Interval(months, days, micros)
        }
        (Stored::Text(text), Type::Array(element)) => decode_array(&text, element).ok_or_else(|| damaged(&text))?,
        (Stored::Text(text), Type::Char(length)) => Value::Text(padded(text.into_owned(), *length)),
        (Stored::Text(text), ty) if !ty.is_number() && !matches!(ty, Type::Bytea | Type::Bool) => {
            Value::Text(text.into_owned())
        }
        (Stored::Blob(bytes), Type::Bytea) => Value::Bytes(bytes.into_owned()),
        (stored, _) => return Err(damaged(&format!("stored as {}", stored.class()))),
    })
}

/// `char(n)` as it is shown: it is kept without the padding.
fn padded(mut text: String, length: u32) -> String {
    let missing = (length as usize).saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

impl Stored<'_> {
    fn class(&self) -> &'static str {
        match self {
            Stored::Null => "NULL",
            Stored::Integer(_) => "INTEGER",
            Stored::Real(_) => "REAL",
            Stored::Text(_) => "TEXT",
            Stored::Blob(_) => "BLOB",
        }
    }
}

/// An array from its JSON text.
fn decode_array(text: &str, element: &Type) -> Option<Value> {
    let items = json_text::elements(text)?;
    let mut out = Vec::with_capacity(items.len());
    for raw in items {
        out.push(decode_json(raw, element)?);
    }
    Some(Value::Array(Arc::from(out)))
}

/// A value from the JSON text that `to_json` gives for it.
pub fn decode_json(raw: &str, ty: &Type) -> Option<Value> {
    if raw == "null" {
        return Some(Value::Null);
    }
    Some(match ty {
        Type::Array(element) => decode_array(raw, element)?,
        // A nested array: the type of an array of arrays is that of its innermost elements.
        _ if raw.starts_with('[') && !ty.is_json() => decode_array(raw, ty)?,
        ty if ty.is_json() => Value::Text(raw.to_owned()),
        _ if raw.starts_with('"') => Value::parse(&json_text::unquote(raw)?, ty).ok()?,
        _ => Value::parse(raw, ty).ok()?,
    })
}

/// The 36 characters of a UUID, lower case.
pub fn uuid_text(value: u128) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(36);
    for (i, byte) in value.to_be_bytes().into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(HEX[usize::from(byte >> 4)] as char);
        out.push(HEX[usize::from(byte & 15)] as char);
    }
    out
}

/// The UUID that 36 characters stand for.
pub fn parse_uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value = 0u128;
    for (i, byte) in bytes.iter().enumerate() {
        let digit = match byte {
            b'-' if matches!(i, 8 | 13 | 18 | 23) => continue,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value)
}

/// A type and a form as a short text: what functions of ours take to know what their argument is.
pub fn type_code(ty: &Type, form: Form) -> String {
    let mut code = match ty {
        Type::Bool => "bool".to_owned(),
        Type::Int2 => "int2".to_owned(),
        Type::Int4 => "int4".to_owned(),
        Type::Int8 => "int8".to_owned(),
        Type::Float4 => "float4".to_owned(),
        Type::Float8 => "float8".to_owned(),
        Type::Numeric(None) => "numeric".to_owned(),
        Type::Numeric(Some((p, s))) => format!("numeric({p},{s})"),
        Type::Text => "text".to_owned(),
        Type::Varchar(None) => "varchar".to_owned(),
        Type::Varchar(Some(n)) => format!("varchar({n})"),
        Type::Char(n) => format!("char({n})"),
        Type::Uuid => "uuid".to_owned(),
        Type::Bytea => "bytea".to_owned(),
        Type::Date => "date".to_owned(),
        Type::Time => "time".to_owned(),
        Type::Timestamp => "timestamp".to_owned(),
        Type::TimestampTz => "timestamptz".to_owned(),
        Type::Interval => "interval".to_owned(),
        Type::Json => "json".to_owned(),
        Type::Jsonb => "jsonb".to_owned(),
        Type::Enum(name) => format!("enum:{name}"),
        Type::Row(_) => "json".to_owned(),
        Type::Void => "void".to_owned(),
        Type::Unknown => "text".to_owned(),
        Type::Other(name) => format!("other:{name}"),
        Type::Array(element) => format!("{}[]", type_code(element, Form::Plain)),
    };
    match form {
        Form::Scaled(scale) => code.push_str(&format!("@{scale}")),
        Form::Wide => code.push_str("@w"),
        _ => {}
    }
    code
}

/// The inverse of [`type_code`].
pub fn parse_type_code(code: &str) -> Option<(Type, Form)> {
    let (name, form) = match code.rsplit_once('@') {
        Some((name, "w")) => (name, Form::Wide),
        Some((name, scale)) if scale.bytes().all(|b| b.is_ascii_digit()) => (name, Form::Scaled(scale.parse().ok()?)),
        _ => (code, Form::Plain),
    };
    Some((parse_type_name(name)?, form))
}

fn parse_type_name(name: &str) -> Option<Type> {
    if let Some(element) = name.strip_suffix("[]") {
        return Some(Type::Array(Box::new(parse_type_name(element)?)));
    }
    if let Some(name) = name.strip_prefix("enum:") {
        return Some(Type::Enum(name.into()));
    }
    if let Some(name) = name.strip_prefix("other:") {
        return Some(Type::Other(name.into()));
    }
    if let Some((base, arguments)) = name.strip_suffix(')').and_then(|n| n.split_once('(')) {
        return Some(match base {
            "numeric" => {
                let (precision, scale) = arguments.split_once(',')?;
                Type::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?)))
            }
            "varchar" => Type::Varchar(Some(arguments.parse().ok()?)),
            "char" => Type::Char(arguments.parse().ok()?),
            _ => return None,
        });
    }
    Some(match name {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "text" => Type::Text,
        "varchar" => Type::Varchar(None),
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "timestamptz" => Type::TimestampTz,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "void" => Type::Void,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_codes_come_back() {
        let types = [
            Type::Bool,
            Type::Numeric(None),
            Type::Numeric(Some((10, 2))),
            Type::Varchar(Some(5)),
            Type::Char(3),
            Type::Array(Box::new(Type::Numeric(Some((4, 1))))),
            Type::Enum("mood@x".into()),
            Type::Array(Box::new(Type::Enum("a b".into()))),
            Type::Other("int4range".into()),
            Type::TimestampTz,
        ];
        for ty in types {
            assert_eq!(
                parse_type_code(&type_code(&ty, Form::Plain)),
                Some((ty.clone(), Form::Plain)),
                "{ty}"
            );
            assert_eq!(
                parse_type_code(&type_code(&ty, Form::Scaled(2))),
                Some((ty.clone(), Form::Scaled(2))),
                "{ty}"
            );
            assert_eq!(
                parse_type_code(&type_code(&ty, Form::Wide)),
                Some((ty.clone(), Form::Wide)),
                "{ty}"
            );
        }
    }

    #[test]
    fn numbers_between_two_scaled_integers_keep_their_order() {
        let number = Decimal::parse("9.995").unwrap();
        assert_eq!(bound(&number, 2, Form::Ceiling(2)), Stored::Integer(1000));
        assert_eq!(bound(&number, 2, Form::Floor(2)), Stored::Integer(999));
        assert_eq!(bound(&number, 2, Form::Exact(2)), Stored::Real(0.5));
        assert_eq!(bound(&number, 3, Form::Exact(3)), Stored::Integer(9995));
        let negative = Decimal::parse("-9.995").unwrap();
        assert_eq!(bound(&negative, 2, Form::Ceiling(2)), Stored::Integer(-999));
        assert_eq!(bound(&negative, 2, Form::Floor(2)), Stored::Integer(-1000));
        let huge = Decimal::parse("-1e30").unwrap();
        assert_eq!(bound(&huge, 2, Form::Ceiling(2)), Stored::Real(f64::NEG_INFINITY));
        assert_eq!(bound(&Decimal::NAN, 2, Form::Exact(2)), Stored::Real(f64::INFINITY));
    }

    #[test]
    fn uuids_come_back() {
        let text = "550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(uuid_text(parse_uuid(text).unwrap()), text);
        assert_eq!(parse_uuid("550e8400"), None);
    }
}
