//! `money` as the locale `C` has it: dollars and cents.

use super::invalid;
use super::kept::is_space;
use crate::{Error, Result};

/// Reads an amount and gives it as Postgres prints it, `-$1,234.50`.
pub(super) fn normalize(text: &str) -> Result<String> {
    let (cents, rest, leading_minus) = amount(text)?;
    let mut negative = leading_minus;
    for mark in rest.chars() {
        match mark {
            ')' | '+' | '$' => {}
            '-' => negative = true,
            blank if is_space(blank) => {}
            _ => return Err(invalid("money", text)),
        }
    }
    // Counted below zero, because the least amount has no positive counterpart.
    let cents = if negative { Some(cents) } else { cents.checked_neg() };
    Ok(write(cents.ok_or_else(|| out_of_range(text))?))
}

/// What follows blanks and a dollar sign, which may stand before the sign and after it.
fn currency(text: &str) -> &str {
    let text = text.trim_start_matches(is_space);
    text.strip_prefix('$').unwrap_or(text).trim_start_matches(is_space)
}

fn out_of_range(text: &str) -> Error {
    Error::new("22003", format!("value \"{text}\" is out of range for type money"))
}

/// The cents, negative whatever the sign; what follows the digits; and whether a sign before them said less than nothing.
fn amount(text: &str) -> Result<(i64, &str, bool)> {
    let mut rest = currency(text);
    let negative = rest.starts_with(['-', '(']);
    rest = currency(rest.strip_prefix(['-', '(', '+']).unwrap_or(rest));
    let (mut cents, mut decimals) = (0i64, None);
    let shift = |cents: i64, digit: i64| cents.checked_mul(10).and_then(|cents| cents.checked_sub(digit));
    while let Some(first) = rest.bytes().next() {
        match first {
            b'0'..=b'9' if decimals.is_none_or(|n| n < 2) => {
                cents = shift(cents, i64::from(first - b'0')).ok_or_else(|| out_of_range(text))?;
                decimals = decimals.map(|n| n + 1);
            }
            b'.' if decimals.is_none() => decimals = Some(0),
            b',' => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    if rest.starts_with(|digit: char| ('5'..='9').contains(&digit)) {
        cents = cents.checked_sub(1).ok_or_else(|| out_of_range(text))?;
    }
    for _ in decimals.unwrap_or(0)..2 {
        cents = shift(cents, 0).ok_or_else(|| out_of_range(text))?;
    }
    Ok((cents, rest.trim_start_matches(|c: char| c.is_ascii_digit()), negative))
}

fn write(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let (dollars, cents) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    let digits = dollars.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}${grouped}.{cents:02}")
}
