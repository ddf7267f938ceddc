//! Postgres' input functions: text to value, with its SQLSTATEs and messages.

use crate::value::decimal::{Decimal, ParseFailure, overflow, trim};
use crate::value::time;
use crate::{Error, Result, Type, Value};

mod array;
mod bits;
mod cast;
mod from_json;
pub(super) mod json;
mod kept;
mod money;
mod network;
mod range;
mod tsvector;

impl Value {
    /// Reads `text` as `ty`'s input function does, without regard to its length, precision or padding ([`Value::fit`] does those),
    /// so that the value can also be compared with what a column holds. Enum labels are the schema's to check.
    ///
    /// Errors: 22P02 (not of that type), 22003 (out of range), 22007, 22008, 22009, 22015 and 22023 (not a date, time or interval),
    /// 22P05 and 22021 (a zero byte), each with Postgres' message.
    pub fn parse(text: &str, ty: &Type) -> Result<Value> {
        Ok(match ty {
            Type::Bool => Value::Bool(parse_bool(text)?),
            Type::Int2 => Value::Int(parse_int(text, ty, i64::from(i16::MIN), i64::from(i16::MAX))?),
            Type::Int4 => Value::Int(parse_int(text, ty, i64::from(i32::MIN), i64::from(i32::MAX))?),
            Type::Int8 => Value::Int(parse_int(text, ty, i64::MIN, i64::MAX)?),
            Type::Float4 | Type::Float8 => Value::Float(parse_float(text, ty)?),
            Type::Numeric(_) => Value::Numeric(parse_numeric(text)?),
            Type::Text | Type::Varchar(_) | Type::Char(_) | Type::Enum(_) | Type::Row(_) | Type::Unknown => {
                Value::Text(without_zero(text)?.to_owned())
            }
            Type::Uuid => Value::Uuid(parse_uuid(text)?),
            Type::Bytea => Value::Bytes(parse_bytea(text)?),
            Type::Date => Value::Date(time::parse_date(text)?),
            Type::Time => Value::Time(time::parse_time(text)?),
            Type::Timestamp => Value::Timestamp(time::parse_timestamp(text)?),
            Type::TimestampTz => Value::Timestamp(time::parse_timestamptz(text)?),
            Type::Interval => {
                let (months, days, micros) = time::parse_interval(text)?;
                Value::Interval(months, days, micros)
            }
            Type::Json => {
                json::check(without_zero(text)?)?;
                Value::Text(text.to_owned())
            }
            Type::Jsonb => Value::Text(json::normalize(text)?),
            Type::Array(element) => array::parse(text, element)?,
            Type::Void => Value::Null,
            Type::Other(name) => Value::Text(kept::normalize(text, name)?),
        })
    }
}

fn invalid(name: impl std::fmt::Display, text: &str) -> Error {
    Error::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
}

/// Postgres' text cannot hold U+0000.
fn without_zero(text: &str) -> Result<&str> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(Error::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    Ok(text)
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match () {
        () if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" => Ok(true),
        () if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" => Ok(false),
        () => Err(invalid("boolean", text)),
    }
}

fn parse_int(text: &str, ty: &Type, min: i64, max: i64) -> Result<i64> {
    let trimmed = trim(text);
    let (negative, digits) = match trimmed.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut value = 0i64;
    for (index, byte) in digits.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => i64::from(byte - b'0'),
            _ => return Err(invalid(ty, text)),
        };
        // Negative all the way, because the least integer has no positive counterpart.
        let next = value.checked_mul(10).and_then(|value| value.checked_sub(digit));
        let within = next.filter(|next| if negative { *next >= min } else { *next >= -max });
        match within {
            Some(next) => value = next,
            None if digits[index..].iter().all(u8::is_ascii_digit) || index > 0 => {
                return Err(Error::new(
                    "22003",
                    format!("value \"{text}\" is out of range for type {ty}"),
                ));
            }
            None => return Err(invalid(ty, text)),
        }
    }
    if digits.is_empty() {
        return Err(invalid(ty, text));
    }
    Ok(if negative { value } else { -value })
}

fn parse_float(text: &str, ty: &Type) -> Result<f64> {
    let trimmed = trim(text);
    let parsed = match ty {
        Type::Float4 => trimmed.parse::<f32>().map(f64::from),
        _ => trimmed.parse::<f64>(),
    };
    let value = parsed.map_err(|_| invalid(ty, text))?;
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or("");
    let names_infinity = trimmed.contains(['n', 'N']);
    let vanished = value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if vanished || (value.is_infinite() && !names_infinity) {
        return Err(Error::new(
            "22003",
            format!("\"{trimmed}\" is out of range for type {ty}"),
        ));
    }
    Ok(value)
}

fn parse_numeric(text: &str) -> Result<Decimal> {
    Decimal::parse_strict(text).map_err(|failure| match failure {
        ParseFailure::Syntax => invalid("numeric", text),
        ParseFailure::Overflow => overflow(),
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// 32 hexadecimal digits, with a hyphen after any group of four, in braces or not.
fn parse_uuid(text: &str) -> Result<u128> {
    let refused = || invalid("uuid", text);
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(refused)?,
        None => text,
    };
    let (mut value, mut count) = (0u128, 0);
    let mut after_hyphen = true;
    for byte in inner.bytes() {
        if byte == b'-' {
            if after_hyphen || count % 4 != 0 || count == 32 {
                return Err(refused());
            }
            after_hyphen = true;
            continue;
        }
        let digit = hex_digit(byte).filter(|_| count < 32).ok_or_else(refused)?;
        value = value << 4 | u128::from(digit);
        count += 1;
        after_hyphen = false;
    }
    if count == 32 { Ok(value) } else { Err(refused()) }
}

fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escaped_bytes(text.as_bytes()),
    }
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    let digit = |c: char| {
        c.to_digit(16)
            .ok_or_else(|| Error::new("22023", format!("invalid hexadecimal digit: \"{c}\"")))
    };
    while let Some(high) = chars.next() {
        if matches!(high, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(high)?;
        let low = chars
            .next()
            .ok_or_else(|| Error::new("22023", "invalid hexadecimal data: odd number of digits"))?;
        bytes.push((high << 4 | digit(low)?) as u8);
    }
    Ok(bytes)
}

fn parse_escaped_bytes(text: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        match rest {
            [] => return Ok(bytes),
            [b'\\', b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            [b'\\', ..] => return Err(Error::new("22P02", "invalid input syntax for type bytea")),
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests;
