//! Types that are kept as the text Postgres prints for them: which they are, and how each is read.

use super::{bits, invalid, money, network, range, tsvector, without_zero};
use crate::value::time;
use crate::{Error, Result, Type};

/// The blanks of C's `isspace`.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Reads `text` as the type `name`, and gives the text Postgres prints for it. A type that is not known keeps its text.
pub(super) fn normalize(text: &str, name: &str) -> Result<String> {
    without_zero(text)?;
    match name.split('(').next().unwrap_or(name) {
        "int4range" => range::normalize(text, &Type::Int4),
        "int8range" => range::normalize(text, &Type::Int8),
        "numrange" => range::normalize(text, &Type::Numeric(None)),
        "daterange" => range::normalize(text, &Type::Date),
        "tsrange" => range::normalize(text, &Type::Timestamp),
        "tstzrange" => range::normalize(text, &Type::TimestampTz),
        "tsvector" => tsvector::normalize(text),
        "inet" => network::inet(text),
        "cidr" => network::cidr(text),
        "macaddr" => network::macaddr(text),
        "macaddr8" => network::macaddr8(text),
        "bit" | "bit varying" => bits::normalize(text),
        "money" => money::normalize(text),
        "oid" => oid(text),
        "pg_lsn" => pg_lsn(text),
        "time with time zone" => time_with_zone(text),
        _ => Ok(text.to_owned()),
    }
}

/// 32 bits without a sign; a negative number is the one of the same bits, as for `strtoul`.
fn oid(text: &str) -> Result<String> {
    let trimmed = text.trim_start_matches(is_space);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    if end == 0 || !digits[end..].chars().all(is_space) {
        return Err(invalid("oid", text));
    }
    let number: Option<i128> = digits[..end].parse().ok().filter(|n| *n <= i128::from(u64::MAX));
    let signed = number.map(|n| if trimmed.starts_with('-') { -n } else { n });
    let within = signed.filter(|n| (i128::from(i32::MIN)..=i128::from(u32::MAX)).contains(n));
    match within {
        Some(number) => Ok((number as u32).to_string()),
        None => {
            let message = format!("value \"{text}\" is out of range for type oid");
            Err(Error::new("22003", message))
        }
    }
}

/// A place in the log: two hexadecimal numbers.
fn pg_lsn(text: &str) -> Result<String> {
    let half = |digits: &str| {
        let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let halves = text.split_once('/').and_then(|(high, low)| half(high).zip(half(low)));
    let (high, low) = halves.ok_or_else(|| invalid("pg_lsn", text))?;
    Ok(format!("{high:X}/{low:X}"))
}

fn time_with_zone(text: &str) -> Result<String> {
    let (micros, offset) = time::parse_timetz(text)?;
    let mut out = Vec::new();
    time::write_timetz(micros, offset, &mut out);
    Ok(crate::value::output::into_string(out))
}
