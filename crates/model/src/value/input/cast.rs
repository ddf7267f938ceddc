//! Conversions: assignment to a column's type, and explicit SQL casts.

use std::sync::Arc;

use super::bits;
use super::json::{self, JsonKind};
use crate::value::{output::into_string, time};
use crate::{Decimal, Error, Result, Type, Value};

/// Whether a length may be cut (an explicit cast) or only blanks (an assignment).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Anything,
    Blanks,
}

impl Value {
    /// Assignment coercion to a column's type: lengths (22001; trailing blanks go silently), `char(n)` padding, `numeric(p,s)` rounding
    /// (22003), integer ranges (22003), rounding to `real`, and the conversions among numbers and among dates that assignment makes.
    /// A value of another family is returned as it is. A float that goes into `numeric` is taken for a `double precision`: for a `real`,
    /// [`Value::cast`] says what it was.
    pub fn fit(self, ty: &Type) -> Result<Value> {
        fit(self, ty, Cut::Blanks)
    }

    /// An explicit SQL cast. Errors: 42846 (there is no such cast), and those of [`Value::parse`] and [`Value::fit`]; but lengths
    /// are cut silently, as SQL demands of explicit casts.
    pub fn cast(self, from: &Type, to: &Type) -> Result<Value> {
        if self.is_null() {
            return Ok(Value::Null);
        }
        if from == to {
            return Ok(self);
        }
        let converted = convert(self, from, to)?;
        fit(converted, to, Cut::Anything)
    }
}

fn fit(value: Value, ty: &Type, cut: Cut) -> Result<Value> {
    Ok(match (ty, value) {
        (Type::Varchar(Some(length)), Value::Text(text)) => Value::Text(cut_text(text, *length, ty, cut)?),
        (Type::Char(length), Value::Text(text)) => {
            let mut text = cut_text(text, *length, ty, cut)?;
            let missing = (*length as usize).saturating_sub(text.chars().count());
            text.extend(std::iter::repeat_n(' ', missing));
            Value::Text(text)
        }
        (Type::Numeric(limits), value @ (Value::Int(_) | Value::Float(_) | Value::Numeric(_))) => {
            let number = match value {
                Value::Int(value) => Decimal::from_i64(value),
                Value::Float(value) => Decimal::from_float_cast(value, 15),
                Value::Numeric(value) => value,
                _ => Decimal::NAN,
            };
            Value::Numeric(match limits {
                Some((precision, scale)) => number.fit(*precision, *scale)?,
                None => number,
            })
        }
        (Type::Int2 | Type::Int4 | Type::Int8, Value::Int(value)) => Value::Int(int_in_range(Some(value), ty)?),
        (Type::Int2 | Type::Int4 | Type::Int8, Value::Numeric(value)) => Value::Int(numeric_to_int(&value, ty)?),
        (Type::Int2 | Type::Int4 | Type::Int8, Value::Float(value)) => Value::Int(float_to_int(value, ty)?),
        (Type::Float8, Value::Int(value)) => Value::Float(value as f64),
        (Type::Float8, Value::Numeric(value)) => Value::Float(numeric_to_float(&value, ty)?),
        (Type::Float4, Value::Int(value)) => Value::Float(f64::from(value as f32)),
        (Type::Float4, Value::Float(value)) => Value::Float(to_single(value)?),
        (Type::Float4, Value::Numeric(value)) => Value::Float(to_single(numeric_to_float(&value, ty)?)?),
        (Type::Date, Value::Timestamp(micros)) => Value::Date(time::timestamp_to_date(micros)),
        (Type::Timestamp | Type::TimestampTz, Value::Date(days)) => Value::Timestamp(time::date_to_timestamp(days)?),
        (Type::Other(_), Value::Text(text)) => Value::Text(match bits::kind(ty) {
            Some((Some(length), varies)) => bits::fit(text, length, varies, cut == Cut::Anything)?,
            _ => text,
        }),
        (Type::Array(element), Value::Array(items)) => {
            let items: Result<Vec<Value>> = items
                .iter()
                .map(|item| match item {
                    Value::Array(_) => fit(item.clone(), ty, cut),
                    _ => fit(item.clone(), element, cut),
                })
                .collect();
            Value::Array(Arc::from(items?))
        }
        (_, value) => value,
    })
}

fn cut_text(mut text: String, length: u32, ty: &Type, cut: Cut) -> Result<String> {
    let length = length as usize;
    if text.len() <= length {
        return Ok(text);
    }
    let Some((end, _)) = text.char_indices().nth(length) else {
        return Ok(text);
    };
    if cut == Cut::Blanks && text[end..].bytes().any(|byte| byte != b' ') {
        return Err(Error::new("22001", format!("value too long for type {ty}")));
    }
    text.truncate(end);
    Ok(text)
}

fn int_in_range(value: Option<i64>, ty: &Type) -> Result<i64> {
    let within = |value: &i64| match ty {
        Type::Int2 => i16::try_from(*value).is_ok(),
        Type::Int4 => i32::try_from(*value).is_ok(),
        _ => true,
    };
    value
        .filter(within)
        .ok_or_else(|| Error::new("22003", format!("{ty} out of range")))
}

fn numeric_to_int(value: &Decimal, ty: &Type) -> Result<i64> {
    if !value.is_finite() {
        let name = if value.is_nan() { "NaN" } else { "infinity" };
        return Err(Error::new("0A000", format!("cannot convert {name} to {ty}")));
    }
    int_in_range(value.to_i64(), ty)
}

fn float_to_int(value: f64, ty: &Type) -> Result<i64> {
    let rounded = value.round_ties_even();
    // The upper limit itself is 2^63, which does not fit.
    let inside = rounded >= i64::MIN as f64 && rounded < i64::MAX as f64;
    int_in_range(inside.then_some(rounded as i64), ty)
}

fn numeric_to_float(value: &Decimal, ty: &Type) -> Result<f64> {
    let float = value.to_f64();
    if (float.is_infinite() && value.is_finite()) || (float == 0.0 && !value.is_zero()) {
        return Err(Error::new(
            "22003",
            format!("\"{value}\" is out of range for type {ty}"),
        ));
    }
    Ok(float)
}

fn to_single(value: f64) -> Result<f64> {
    let single = f64::from(value as f32);
    if single.is_infinite() && value.is_finite() {
        return Err(Error::new("22003", "value out of range: overflow"));
    }
    if single == 0.0 && value != 0.0 {
        return Err(Error::new("22003", "value out of range: underflow"));
    }
    Ok(single)
}

fn no_cast(from: &Type, to: &Type) -> Error {
    Error::new(
        "42846",
        format!("cannot cast type {} to {}", unmodified(from), unmodified(to)),
    )
}

/// The type without its length or precision, as messages name it.
fn unmodified(ty: &Type) -> String {
    match ty {
        Type::Numeric(_) => "numeric".to_owned(),
        Type::Varchar(_) => "character varying".to_owned(),
        Type::Char(_) => "character".to_owned(),
        Type::Array(element) => format!("{}[]", unmodified(element)),
        ty => ty.to_string(),
    }
}

/// Between types, without regard to lengths and precisions.
fn convert(value: Value, from: &Type, to: &Type) -> Result<Value> {
    if to.is_text() {
        let mut out = Vec::new();
        value.as_ref().write_cast_text(from, &mut out);
        return Ok(Value::Text(into_string(out)));
    }
    if let (Value::Text(text), true) = (&value, from.is_text() || *from == Type::Unknown) {
        return Value::parse(text, to);
    }
    match (from, to, value) {
        (Type::Bool, Type::Int4, Value::Bool(value)) => Ok(Value::Int(i64::from(value))),
        (Type::Int4, Type::Bool, Value::Int(value)) => Ok(Value::Bool(value != 0)),
        (Type::Float4, Type::Numeric(_), Value::Float(value)) => Ok(Value::Numeric(Decimal::from_float_cast(value, 6))),
        (from, to, value) if from.is_number() && to.is_number() => Ok(value),
        (Type::Date | Type::Timestamp | Type::TimestampTz, Type::Date | Type::Timestamp | Type::TimestampTz, value) => {
            Ok(value)
        }
        (Type::Timestamp | Type::TimestampTz, Type::Time, Value::Timestamp(micros)) => Ok(match micros {
            i64::MAX | i64::MIN => Value::Null,
            _ => Value::Time(micros.rem_euclid(DAY)),
        }),
        (Type::Interval, Type::Time, Value::Interval(_, _, micros)) => Ok(Value::Time(micros.rem_euclid(DAY))),
        (Type::Time, Type::Interval, Value::Time(micros)) => Ok(Value::Interval(0, 0, micros)),
        (Type::Json, Type::Jsonb, Value::Text(text)) => Ok(Value::Text(json::normalize(&text)?)),
        (Type::Jsonb, Type::Json, value) => Ok(value),
        (Type::Jsonb, to, Value::Text(text)) => from_jsonb(&text, from, to),
        (Type::Array(from), Type::Array(to), Value::Array(items)) => {
            let items: Result<Vec<Value>> = items.iter().map(|item| convert_element(item, from, to)).collect();
            Ok(Value::Array(Arc::from(items?)))
        }
        (from, to, _) => Err(no_cast(from, to)),
    }
}

const DAY: i64 = 86_400_000_000;

fn convert_element(item: &Value, from: &Type, to: &Type) -> Result<Value> {
    match item {
        Value::Array(items) => {
            let items: Result<Vec<Value>> = items.iter().map(|item| convert_element(item, from, to)).collect();
            Ok(Value::Array(Arc::from(items?)))
        }
        _ => item.clone().cast(from, to),
    }
}

/// The scalar inside a `jsonb`.
fn from_jsonb(text: &str, from: &Type, to: &Type) -> Result<Value> {
    if *to != Type::Bool && !to.is_number() {
        return Err(no_cast(from, to));
    }
    let kind = match JsonKind::of(text) {
        JsonKind::Bool if *to == Type::Bool => return Ok(Value::Bool(text == "true")),
        JsonKind::Number if to.is_number() => return Value::parse(text, &Type::Numeric(None)),
        JsonKind::Null => "null",
        JsonKind::Bool => "boolean",
        JsonKind::Number => "numeric",
        JsonKind::String => "string",
        JsonKind::Array => "array",
        JsonKind::Object => "object",
    };
    let to = unmodified(to);
    Err(Error::new("22023", format!("cannot cast jsonb {kind} to type {to}")))
}
