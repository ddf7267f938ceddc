//! Strings of bits: `bit(n)` and `bit varying(n)`, as zeros and ones.

use crate::{Error, Result, Type};

/// The type's length and whether it varies; `None` for another type.
pub(super) fn kind(ty: &Type) -> Option<(Option<usize>, bool)> {
    let Type::Other(name) = ty else { return None };
    let (base, length) = match name.split_once('(') {
        Some((base, length)) => (base, Some(length.strip_suffix(')')?.parse().ok()?)),
        None => (&**name, None),
    };
    match base {
        "bit" => Some((length, false)),
        "bit varying" => Some((length, true)),
        _ => None,
    }
}

/// Reads binary digits, with or without `b` before them, or hexadecimal ones after `x`. Length is [`fit`]'s matter.
pub(super) fn normalize(text: &str) -> Result<String> {
    if let Some(hex) = text.strip_prefix(['x', 'X']) {
        let mut out = String::with_capacity(hex.len() * 4);
        for digit in hex.chars() {
            let value = digit.to_digit(16).ok_or_else(|| no_digit(digit, "hexadecimal"))?;
            out.push_str(&format!("{value:04b}"));
        }
        return Ok(out);
    }
    let digits = text.strip_prefix(['b', 'B']).unwrap_or(text);
    match digits.chars().find(|digit| !matches!(digit, '0' | '1')) {
        Some(digit) => Err(no_digit(digit, "binary")),
        None => Ok(digits.to_owned()),
    }
}

fn no_digit(digit: char, base: &str) -> Error {
    Error::new("22P02", format!("\"{digit}\" is not a valid {base} digit"))
}

/// To the type's length: an explicit cast cuts, and fills with zeros, on the right; an assignment refuses.
pub(super) fn fit(mut bits: String, length: usize, varies: bool, explicit: bool) -> Result<String> {
    let given = bits.len();
    match (explicit, varies) {
        (_, true) if given <= length => {}
        (_, false) if given == length => {}
        (true, _) => {
            bits.truncate(length);
            bits.extend(std::iter::repeat_n('0', length.saturating_sub(given)));
        }
        (false, true) => {
            let message = format!("bit string too long for type bit varying({length})");
            return Err(Error::new("22001", message));
        }
        (false, false) => {
            let message = format!("bit string length {given} does not match type bit({length})");
            return Err(Error::new("22026", message));
        }
    }
    Ok(bits)
}
