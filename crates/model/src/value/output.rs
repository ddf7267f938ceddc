//! Postgres' output functions: value to text and to JSON. Every row goes through here, so nothing allocates.

use crate::value::decimal::write_digits;
use crate::value::time;
use crate::{Decimal, Type, Value, ValueRef};

/// What a byte becomes inside a JSON string: 0 as it is, 1 `\u00XX`, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = 1;
        control += 1;
    }
    table[0x08] = b'b';
    table[0x0c] = b'f';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many leading bytes need no escape, eight at a time.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A set high bit marks a zero byte; borrows can only add false marks above a true one, and the table decides in the end.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        if (control | quote | backslash) & HIGHS != 0 {
            break;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| ESCAPES[usize::from(**byte)] == 0)
        .count()
}

/// Appends `text` as a JSON string with its quotes, escaped as Postgres' `escape_json` does.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else {
            break;
        };
        match ESCAPES[usize::from(*byte)] {
            1 => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// Appends a float as Postgres prints it since version 12: the shortest digits that read back, with an exponent below 1e-4 and from
/// 1e15 (`real`: 1e6) on.
pub(super) fn write_float(value: f64, single: bool, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(match value {
            f64::INFINITY => b"Infinity".as_slice(),
            f64::NEG_INFINITY => b"-Infinity",
            _ => b"NaN",
        });
    }
    let exponent_limit = if single { 6 } else { 15 };
    let integer_limit = if single { 1e6 } else { 1e15 };
    if value.abs() < integer_limit && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = if single {
        buffer.format_finite(value as f32)
    } else {
        buffer.format_finite(value)
    };
    let negative = value.is_sign_negative();
    let mut shown = Digits::of(shortest);
    if value.abs() >= EXACT_INTEGERS[usize::from(single)] {
        shown.keep_off_midpoint(value.abs(), single);
    }
    let (digits, exponent) = (&shown.digits[..shown.count], shown.exponent);
    if digits.is_empty() {
        return out.extend_from_slice(if negative { b"-0" } else { b"0" });
    }
    if !(-4..exponent_limit).contains(&exponent) {
        if negative {
            out.push(b'-');
        }
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    } else {
        let scale = digits.len() as i32 - 1 - exponent;
        if scale >= 0 {
            write_digits(negative, digits, scale as usize, out);
        } else {
            write_digits(negative, digits, 0, out);
            out.resize(out.len() + scale.unsigned_abs() as usize, b'0');
        }
    }
}

/// Where integers begin to be rounded: `double precision` and `real`.
const EXACT_INTEGERS: [f64; 2] = [(1u64 << 53) as f64, (1u64 << 24) as f64];

/// A float's decimal digits: the first one stands for its multiple of `10^exponent`.
struct Digits {
    digits: [u8; 40],
    count: usize,
    exponent: i32,
}

impl Digits {
    /// From a positional or scientific notation.
    fn of(text: &str) -> Digits {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
            None => (text, 0),
        };
        let mut shown = Digits {
            digits: [0; 40],
            count: 0,
            exponent: exponent - 1,
        };
        let mut fraction = false;
        for byte in mantissa.bytes() {
            match byte {
                b'.' => fraction = true,
                b'0'..=b'9' if shown.count > 0 || byte != b'0' => {
                    if shown.count < shown.digits.len() {
                        shown.digits[shown.count] = byte;
                        shown.count += 1;
                    }
                    shown.exponent += i32::from(!fraction);
                }
                b'0' if fraction => shown.exponent -= 1,
                _ => {}
            }
        }
        while shown.count > 0 && shown.digits[shown.count - 1] == b'0' {
            shown.count -= 1;
        }
        shown
    }

    /// Postgres never prints digits that lie exactly between two floats, though they would read back: it looks for the shortest ones
    /// strictly nearer to `value`. Such midpoints need a power of five in 54 bits (25 for `real`), so none has more than 27 digits.
    fn keep_off_midpoint(&mut self, value: f64, single: bool) {
        if value >= 1e27 || self.exponent > 27 {
            return;
        }
        let exact = value as u128;
        let (above, below) = if single {
            let single = value as f32;
            (
                f64::from(single.next_up()) as u128,
                f64::from(single.next_down()) as u128,
            )
        } else {
            (value.next_up() as u128, value.next_down() as u128)
        };
        let (half_up, half_down) = ((above - exact) / 2, (exact - below) / 2);
        let shown = self.digits[..self.count]
            .iter()
            .fold(0u128, |n, digit| n * 10 + u128::from(digit - b'0'))
            * 10u128.pow((self.exponent + 1 - self.count as i32).max(0) as u32);
        let inside = |candidate: u128| {
            if candidate >= exact {
                candidate - exact < half_up
            } else {
                exact - candidate < half_down
            }
        };
        if inside(shown) {
            return;
        }
        let length = exact.ilog10() + 1;
        for dropped in (0..length).rev() {
            let unit = 10u128.pow(dropped);
            let floor = exact / unit * unit;
            let nearest = [floor, floor + unit].into_iter().filter(|candidate| inside(*candidate));
            if let Some(best) = nearest.min_by_key(|candidate| candidate.abs_diff(exact)) {
                let mut buffer = itoa::Buffer::new();
                *self = Digits::of(buffer.format(best));
                return;
            }
        }
    }
}

fn write_uuid(value: u128, out: &mut Vec<u8>) {
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn write_scaled(unscaled: i64, scale: u16, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    write_digits(
        unscaled < 0,
        buffer.format(unscaled.unsigned_abs()).as_bytes(),
        usize::from(scale),
        out,
    );
}

/// Appends what `write` appends, between quotes.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Appends a number, quoted if it is none (`NaN`, `Infinity`).
fn bare_number(out: &mut Vec<u8>, finite: bool, write: impl FnOnce(&mut Vec<u8>)) {
    if finite { write(out) } else { quoted(out, write) }
}

fn element_type(ty: &Type) -> &Type {
    match ty {
        Type::Array(element) => element,
        other => other,
    }
}

impl Value {
    /// Borrows it.
    #[allow(clippy::should_implement_trait, reason = "the result is no reference")]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(v) => ValueRef::Bool(*v),
            Value::Int(v) => ValueRef::Int(*v),
            Value::Float(v) => ValueRef::Float(*v),
            Value::Text(v) => ValueRef::Text(v),
            Value::Uuid(v) => ValueRef::Uuid(*v),
            Value::Bytes(v) => ValueRef::Bytes(v),
            Value::Date(v) => ValueRef::Date(*v),
            Value::Time(v) => ValueRef::Time(*v),
            Value::Timestamp(v) => ValueRef::Timestamp(*v),
            Value::Interval(months, days, micros) => ValueRef::Interval(*months, *days, *micros),
            Value::Numeric(_) | Value::Array(_) => ValueRef::Owned(self),
        }
    }

    /// Its text as the output function of `ty` writes it; NULL gives the empty string.
    pub fn to_text(&self, ty: &Type) -> String {
        let mut out = Vec::new();
        self.as_ref().write_text(ty, &mut out);
        into_string(out)
    }

    /// Its text as a cast to `text` gives it; NULL gives the empty string.
    pub fn to_cast_text(&self, ty: &Type) -> String {
        let mut out = Vec::new();
        self.as_ref().write_cast_text(ty, &mut out);
        into_string(out)
    }

    /// Its JSON as `to_json` writes it.
    pub fn to_json_text(&self, ty: &Type) -> String {
        let mut out = Vec::new();
        self.as_ref().write_json(ty, &mut out);
        into_string(out)
    }
}

/// All writers here append ASCII or whole strings, so nothing is ever replaced.
pub(super) fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl ValueRef<'_> {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, ValueRef::Null | ValueRef::Owned(Value::Null))
    }

    /// Copies it.
    #[allow(
        clippy::should_implement_trait,
        reason = "the owned form is another type than ToOwned's"
    )]
    pub fn to_owned(&self) -> Value {
        match *self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(v) => Value::Bool(v),
            ValueRef::Int(v) => Value::Int(v),
            ValueRef::Float(v) => Value::Float(v),
            ValueRef::Scaled(unscaled, scale) => Value::Numeric(Decimal::from_scaled(unscaled, scale)),
            ValueRef::NumericText(text) => Value::Numeric(Decimal::parse(text).unwrap_or(Decimal::NAN)),
            ValueRef::Text(v) => Value::Text(v.to_owned()),
            ValueRef::Uuid(v) => Value::Uuid(v),
            ValueRef::Bytes(v) => Value::Bytes(v.to_owned()),
            ValueRef::Date(v) => Value::Date(v),
            ValueRef::Time(v) => Value::Time(v),
            ValueRef::Timestamp(v) => Value::Timestamp(v),
            ValueRef::Interval(months, days, micros) => Value::Interval(months, days, micros),
            ValueRef::Owned(v) => v.clone(),
        }
    }

    /// Appends what `to_json` gives for it; NULL is `null`.
    pub fn write_json(&self, ty: &Type, out: &mut Vec<u8>) {
        match *self {
            ValueRef::Null => out.extend_from_slice(b"null"),
            ValueRef::Bool(true) => out.extend_from_slice(b"true"),
            ValueRef::Bool(false) => out.extend_from_slice(b"false"),
            ValueRef::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            ValueRef::Float(value) => bare_number(out, value.is_finite(), |out| {
                write_float(value, *ty == Type::Float4, out)
            }),
            ValueRef::Scaled(unscaled, scale) => write_scaled(unscaled, scale, out),
            ValueRef::NumericText(text) => {
                let finite = text.ends_with(|c: char| c.is_ascii_digit());
                bare_number(out, finite, |out| out.extend_from_slice(text.as_bytes()));
            }
            ValueRef::Text(text) if ty.is_json() => out.extend_from_slice(text.as_bytes()),
            ValueRef::Text(text) => write_json_string(text, out),
            ValueRef::Bytes(bytes) => quoted(out, |out| {
                out.extend_from_slice(b"\\\\x");
                write_hex(bytes, out);
            }),
            ValueRef::Timestamp(micros) if *ty == Type::TimestampTz => {
                quoted(out, |out| time::write_timestamptz_json(micros, out));
            }
            ValueRef::Timestamp(micros) => quoted(out, |out| time::write_timestamp_json(micros, out)),
            ValueRef::Uuid(_) | ValueRef::Date(_) | ValueRef::Time(_) | ValueRef::Interval(..) => {
                quoted(out, |out| self.write_text(ty, out));
            }
            ValueRef::Owned(Value::Numeric(decimal)) => bare_number(out, decimal.is_finite(), |out| decimal.write(out)),
            ValueRef::Owned(Value::Array(items)) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.as_ref().write_json(element_type(ty), out);
                }
                out.push(b']');
            }
            ValueRef::Owned(value) => value.as_ref().write_json(ty, out),
        }
    }

    /// Appends what the type's output function gives (booleans `t` and `f`); nothing for NULL.
    pub fn write_text(&self, ty: &Type, out: &mut Vec<u8>) {
        match *self {
            ValueRef::Null => {}
            ValueRef::Bool(value) => out.push(if value { b't' } else { b'f' }),
            ValueRef::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            ValueRef::Float(value) => write_float(value, *ty == Type::Float4, out),
            ValueRef::Scaled(unscaled, scale) => write_scaled(unscaled, scale, out),
            ValueRef::NumericText(text) | ValueRef::Text(text) => out.extend_from_slice(text.as_bytes()),
            ValueRef::Uuid(value) => write_uuid(value, out),
            ValueRef::Bytes(bytes) => {
                out.extend_from_slice(b"\\x");
                write_hex(bytes, out);
            }
            ValueRef::Date(days) => time::write_date(days, out),
            ValueRef::Time(micros) => time::write_time(micros, out),
            ValueRef::Timestamp(micros) if *ty == Type::TimestampTz => time::write_timestamptz(micros, out),
            ValueRef::Timestamp(micros) => time::write_timestamp(micros, out),
            ValueRef::Interval(months, days, micros) => time::write_interval((months, days, micros), out),
            ValueRef::Owned(Value::Numeric(decimal)) => decimal.write(out),
            ValueRef::Owned(Value::Array(items)) => write_array(items, element_type(ty), out),
            ValueRef::Owned(value) => value.as_ref().write_text(ty, out),
        }
    }

    /// Appends what a cast to `text` gives (booleans `true` and `false`, `char(n)` without its padding, `inet` with its
    /// prefix); nothing for NULL.
    pub fn write_cast_text(&self, ty: &Type, out: &mut Vec<u8>) {
        match *self {
            ValueRef::Bool(true) => out.extend_from_slice(b"true"),
            ValueRef::Bool(false) => out.extend_from_slice(b"false"),
            ValueRef::Text(text) if matches!(ty, Type::Char(_)) => {
                out.extend_from_slice(text.trim_end_matches(' ').as_bytes());
            }
            ValueRef::Text(text) if matches!(ty, Type::Other(name) if **name == *"inet") => {
                out.extend_from_slice(text.as_bytes());
                if !text.contains('/') {
                    out.extend_from_slice(if text.contains(':') { b"/128" } else { b"/32" });
                }
            }
            ValueRef::Owned(Value::Bool(_) | Value::Text(_)) => self.to_owned().as_ref().write_cast_text(ty, out),
            _ => self.write_text(ty, out),
        }
    }
}

/// Appends an array as `array_out` writes it, quoting elements that would read back as something else.
fn write_array(items: &[Value], element: &Type, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut scratch = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match item {
            Value::Null => out.extend_from_slice(b"NULL"),
            Value::Array(_) => item.as_ref().write_text(element, out),
            _ => {
                scratch.clear();
                item.as_ref().write_text(element, &mut scratch);
                write_array_element(&scratch, out);
            }
        }
    }
    out.push(b'}');
}

fn write_array_element(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| {
        matches!(
            byte,
            b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c
        )
    };
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        return out.extend_from_slice(text);
    }
    quoted(out, |out| {
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    });
}

#[cfg(test)]
mod tests;
