//! Values on the wire: binary for the types whose binary form is known here, text for all others.

use bytes::{BufMut, BytesMut};
use mainstay_model::{Error, Result, Type, Value, ValueRef};
use postgres_protocol::types as wire;
use std::io::Write;
use std::sync::Arc;

/// Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Whether a parameter of this type is sent in binary.
pub(crate) fn sends_binary(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool
            | Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Float4
            | Type::Float8
            | Type::Uuid
            | Type::Bytea
            | Type::Date
            | Type::Time
            | Type::Timestamp
            | Type::TimestampTz
    )
}

/// Writes a parameter; NULL is not written here. Errors: what does not fit the type (22003 and the like).
pub(crate) fn write(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<()> {
    match (ty, value) {
        (Type::Bool, Value::Bool(v)) => out.put_u8(u8::from(*v)),
        (Type::Int8, Value::Int(v)) => out.put_i64(*v),
        (Type::Int4, Value::Int(v)) => match i32::try_from(*v) {
            Ok(v) => out.put_i32(v),
            Err(_) => return fitted(value, ty, out),
        },
        (Type::Int2, Value::Int(v)) => match i16::try_from(*v) {
            Ok(v) => out.put_i16(v),
            Err(_) => return fitted(value, ty, out),
        },
        (Type::Float8, Value::Float(v)) => out.put_f64(*v),
        (Type::Float4, Value::Float(v)) => out.put_f32(*v as f32),
        (Type::Uuid, Value::Uuid(v)) => out.put_u128(*v),
        (Type::Bytea, Value::Bytes(v)) => out.put_slice(v),
        (Type::Date, Value::Date(v)) => out.put_i32(match *v {
            i32::MAX | i32::MIN => *v,
            days => days - EPOCH_DAYS,
        }),
        (Type::Time, Value::Time(v)) => out.put_i64(*v),
        (Type::Timestamp | Type::TimestampTz, Value::Timestamp(v)) => out.put_i64(match *v {
            i64::MAX | i64::MIN => *v,
            micros => micros.saturating_sub(EPOCH_US),
        }),
        (_, Value::Text(text)) if !sends_binary(ty) => out.put_slice(text.as_bytes()),
        (ty, value) if sends_binary(ty) => return fitted(value, ty, out),
        (ty, value) => {
            let mut text = Vec::new();
            value.as_ref().write_text(ty, &mut text);
            out.put_slice(&text);
        }
    }
    Ok(())
}

/// A value of another type, brought to this one.
fn fitted(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<()> {
    let fitted = value.clone().fit(ty)?;
    if fitted == *value {
        return Err(Error::internal("a parameter's value is not of its type"));
    }
    write(&fitted, ty, out)
}

/// Whether a column of this type is asked for in binary. An enum's binary form is its label, which is its text too; an array of
/// them has to come apart.
pub(crate) fn reads_binary(ty: &Type) -> bool {
    match ty {
        Type::Array(element) => matches!(**element, Type::Enum(_)) || reads_binary(element),
        ty => mainstay_sql::postgres::is_binary(ty),
    }
}

/// Hands over a cell as a value of a type, where it lies. Errors: XX000 when it is none, which says that the schema has changed.
pub(crate) fn read<T>(cell: Option<&[u8]>, ty: &Type, take: impl FnOnce(ValueRef<'_>) -> T) -> Result<T> {
    let Some(cell) = cell else {
        return Ok(take(ValueRef::Null));
    };
    let value = match ty {
        Type::Int2 | Type::Int4 | Type::Int8 => ValueRef::Int(integer(cell).ok_or_else(|| strange(ty))?),
        Type::Bool => ValueRef::Bool(*one(cell, ty)? != 0),
        Type::Text | Type::Varchar(_) | Type::Char(_) | Type::Json | Type::Unknown => ValueRef::Text(text(cell)?),
        Type::Jsonb => ValueRef::Text(text(cell.strip_prefix(&[1]).ok_or_else(|| strange(ty))?)?),
        Type::Float8 => ValueRef::Float(f64::from_be_bytes(fixed(cell, ty)?)),
        Type::Float4 => ValueRef::Float(f64::from(f32::from_be_bytes(fixed(cell, ty)?))),
        Type::Uuid => ValueRef::Uuid(u128::from_be_bytes(fixed(cell, ty)?)),
        Type::Bytea => ValueRef::Bytes(cell),
        Type::Date => ValueRef::Date(match i32::from_be_bytes(fixed(cell, ty)?) {
            infinite @ (i32::MAX | i32::MIN) => infinite,
            days => days.checked_add(EPOCH_DAYS).ok_or_else(|| strange(ty))?,
        }),
        Type::Time => ValueRef::Time(i64::from_be_bytes(fixed(cell, ty)?)),
        Type::Timestamp | Type::TimestampTz => ValueRef::Timestamp(match i64::from_be_bytes(fixed(cell, ty)?) {
            infinite @ (i64::MAX | i64::MIN) => infinite,
            micros => micros.checked_add(EPOCH_US).ok_or_else(|| strange(ty))?,
        }),
        Type::Interval => {
            let [a, b, c, d, e, f, g, h, d0, d1, d2, d3, m0, m1, m2, m3] = fixed(cell, ty)?;
            ValueRef::Interval(
                i32::from_be_bytes([m0, m1, m2, m3]),
                i32::from_be_bytes([d0, d1, d2, d3]),
                i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            )
        }
        Type::Numeric(_) => return numeric(cell, ty, take),
        Type::Array(element) if reads_binary(ty) => {
            let value = array(cell, ty, element)?;
            return Ok(take(ValueRef::Owned(&value)));
        }
        Type::Void => ValueRef::Null,
        Type::Array(_) | Type::Enum(_) | Type::Row(_) | Type::Other(_) => ValueRef::Text(text(cell)?),
    };
    Ok(take(value))
}

/// A cell as a value of its own.
pub(crate) fn owned(cell: Option<&[u8]>, ty: &Type) -> Result<Value> {
    read(cell, ty, |value| value.to_owned())
}

/// A binary integer of any width.
pub(crate) fn integer(cell: &[u8]) -> Option<i64> {
    Some(match *cell {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    })
}

/// A cell's text.
pub(crate) fn text(cell: &[u8]) -> Result<&str> {
    std::str::from_utf8(cell).map_err(|_| Error::new("22021", "the database sent text that is not UTF-8"))
}

fn strange(ty: &Type) -> Error {
    Error::internal(format!("the database sent what is no {ty}; its schema has changed"))
}

fn fixed<const N: usize>(cell: &[u8], ty: &Type) -> Result<[u8; N]> {
    cell.try_into().map_err(|_| strange(ty))
}

fn one<'a>(cell: &'a [u8], ty: &Type) -> Result<&'a u8> {
    match cell {
        [byte] => Ok(byte),
        _ => Err(strange(ty)),
    }
}

/// `numeric`: digits of base 10000, from the most significant on.
fn numeric<T>(cell: &[u8], ty: &Type, take: impl FnOnce(ValueRef<'_>) -> T) -> Result<T> {
    let (head, digits) = cell.split_first_chunk::<8>().ok_or_else(|| strange(ty))?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (weight, sign, scale) = (i32::from(word(2) as i16), word(4), word(6));
    let digits = digits.chunks_exact(2).map(|d| u16::from_be_bytes([d[0], d[1]]));
    let negative = match sign {
        0 => false,
        0x4000 => true,
        0xC000 => return Ok(take(ValueRef::NumericText("NaN"))),
        0xD000 => return Ok(take(ValueRef::NumericText("Infinity"))),
        0xF000 => return Ok(take(ValueRef::NumericText("-Infinity"))),
        _ => return Err(strange(ty)),
    };
    if let Some(unscaled) = scaled(digits.clone(), weight, scale) {
        return Ok(take(ValueRef::Scaled(
            if negative { -unscaled } else { unscaled },
            scale,
        )));
    }
    // As numeric_out writes it.
    let mut out = Vec::with_capacity(digits.len() * 4 + 8);
    if negative {
        out.push(b'-');
    }
    let mut digits = digits.clone();
    if weight < 0 {
        out.push(b'0');
    }
    for at in 0..=weight {
        let digit = digits.next().unwrap_or(0);
        let _ = if at == 0 {
            write!(out, "{digit}")
        } else {
            write!(out, "{digit:04}")
        };
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + usize::from(scale);
        // Whole groups that are zero before the first digit.
        let mut missing = if weight < 0 { -weight - 1 } else { 0 };
        while out.len() < end {
            let digit = if missing > 0 {
                missing -= 1;
                0
            } else {
                digits.next().unwrap_or(0)
            };
            let _ = write!(out, "{digit:04}");
        }
        out.truncate(end);
    }
    Ok(take(ValueRef::NumericText(text(&out)?)))
}

/// The number as an integer of so many decimal places, if it fits.
fn scaled(digits: impl ExactSizeIterator<Item = u16>, weight: i32, scale: u16) -> Option<i64> {
    let count = digits.len() as i32;
    if count > 8 || scale > 30 {
        return None;
    }
    let mut value: i128 = 0;
    for digit in digits {
        value = value * 10_000 + i128::from(digit);
    }
    if value == 0 {
        return Some(0);
    }
    // The last digit stands for its multiple of 10000^(weight - count + 1).
    let shift = (weight - count + 1) * 4 + i32::from(scale);
    let value = if shift >= 0 {
        value.checked_mul(10i128.checked_pow(shift as u32)?)?
    } else {
        // What lies beyond the scale is zeros.
        value / 10i128.checked_pow(shift.unsigned_abs())?
    };
    i64::try_from(value).ok()
}

fn array(cell: &[u8], ty: &Type, element: &Type) -> Result<Value> {
    use wire::array_from_sql;
    let array = array_from_sql(cell).map_err(|_| strange(ty))?;
    let mut sizes = Vec::new();
    let mut dimensions = array.dimensions();
    while let Ok(Some(dimension)) = fallible(&mut dimensions) {
        sizes.push(usize::try_from(dimension.len).map_err(|_| strange(ty))?);
    }
    let mut values = Vec::new();
    let mut cells = array.values();
    while let Some(cell) = fallible(&mut cells).map_err(|_| strange(ty))? {
        values.push(owned(cell, element)?);
    }
    // Inner dimensions are arrays of their own.
    for size in sizes.iter().skip(1).rev() {
        if *size == 0 {
            return Err(strange(ty));
        }
        values = values.chunks(*size).map(|part| Value::Array(Arc::from(part))).collect();
    }
    Ok(Value::Array(values.into()))
}

fn fallible<I: postgres_protocol_iterator::FallibleIterator>(iterator: &mut I) -> Result<Option<I::Item>, I::Error> {
    iterator.next()
}

/// The iterator that the wire's crate gives out arrays with.
mod postgres_protocol_iterator {
    pub use tokio_postgres::fallible_iterator::FallibleIterator;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_text(digits: &[u16], weight: i16, sign: u16, scale: u16) -> String {
        let mut cell = Vec::new();
        cell.extend_from_slice(&(digits.len() as u16).to_be_bytes());
        cell.extend_from_slice(&weight.to_be_bytes());
        cell.extend_from_slice(&sign.to_be_bytes());
        cell.extend_from_slice(&scale.to_be_bytes());
        digits.iter().for_each(|d| cell.extend_from_slice(&d.to_be_bytes()));
        owned(Some(&cell), &Type::Numeric(None))
            .unwrap()
            .to_text(&Type::Numeric(None))
    }

    #[test]
    fn numerics_keep_their_digits() {
        for (digits, weight, sign, scale, expected) in [
            (&[1u16, 2345][..], 1, 0, 0, "12345"),
            (&[9, 9000], 0, 0, 2, "9.90"),
            (&[], 0, 0, 2, "0.00"),
            (&[5000], -1, 0x4000, 1, "-0.5"),
            (&[1], -2, 0, 8, "0.00000001"),
            (&[1], 3, 0, 0, "1000000000000"),
            (&[12, 3400], 0, 0, 2, "12.34"),
            (&[], 0, 0xC000, 0, "NaN"),
            (&[1, 2, 3, 4, 5, 6], 5, 0, 0, "100020003000400050006"),
            (
                &[1, 0, 0, 0, 0, 0, 0, 0, 0, 5000],
                8,
                0x4000,
                3,
                "-100000000000000000000000000000000.500",
            ),
            (&[1], -5, 0, 40, "0.0000000000000000000100000000000000000000"),
        ] {
            assert_eq!(numeric_text(digits, weight, sign, scale), expected);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (value, ty) in [
            (Value::Int(-7), Type::Int2),
            (Value::Int(1 << 20), Type::Int4),
            (Value::Int(i64::MIN), Type::Int8),
            (Value::Bool(true), Type::Bool),
            (Value::Float(1.5), Type::Float4),
            (Value::Float(-0.1), Type::Float8),
            (Value::Uuid(u128::MAX - 5), Type::Uuid),
            (Value::Bytes(vec![0, 255]), Type::Bytea),
            (Value::Date(0), Type::Date),
            (Value::Date(i32::MAX), Type::Date),
            (Value::Time(5), Type::Time),
            (Value::Timestamp(-1), Type::TimestampTz),
            (Value::Timestamp(i64::MIN), Type::Timestamp),
            (Value::Text("ü".to_owned()), Type::Text),
        ] {
            let mut out = BytesMut::new();
            write(&value, &ty, &mut out).unwrap();
            assert_eq!(owned(Some(&out), &ty).unwrap(), value, "{ty}");
        }
        let error = write(&Value::Int(40_000), &Type::Int2, &mut BytesMut::new()).unwrap_err();
        assert_eq!((&*error.code, &*error.message), ("22003", "smallint out of range"));
    }

    #[test]
    fn strange_bytes_are_an_error() {
        for ty in [
            Type::Int4,
            Type::Bool,
            Type::Uuid,
            Type::Numeric(None),
            Type::Date,
            Type::Interval,
            Type::Jsonb,
        ] {
            assert_eq!(owned(Some(&[2, 1, 1]), &ty).unwrap_err().code, "XX000", "{ty}");
        }
        assert_eq!(owned(None, &Type::Int4).unwrap(), Value::Null);
    }
}
