//! `format()`, as Postgres has it: `%s`, `%I`, `%L`, positions and widths.

use super::{PURE, lenient};
use mainstay_model::{Error, Result};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

/// The widest field.
const WIDTH_MAX: i64 = 10_000;

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    lenient(c, "mainstay_format", -1, PURE, |args| {
        if args.len() == 0 || args.is_null(0) {
            return Ok(Sql::Null);
        }
        let mut values = Vec::new();
        for at in 1..args.len() {
            values.push(if args.is_null(at) { None } else { Some(args.text(at)?) });
        }
        Ok(Sql::Text(format(args.text(0)?, &values)?))
    })
}

fn too_few() -> Error {
    Error::new("22023", "too few arguments for format()")
}

fn format(pattern: &str, values: &[Option<&str>]) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut next = 0usize;
    while let Some(ch) = chars.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut position = None;
        let mut left = false;
        let mut width = 0i64;
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number: Option<i64> = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(i64::from(digit)));
                chars.next();
            }
            number
        };
        let mut taken = |wanted: Option<usize>| {
            let at = match wanted {
                Some(wanted) => wanted.checked_sub(1).ok_or_else(|| {
                    Error::new(
                        "22023",
                        "format specifies argument 0, but arguments are numbered from 1",
                    )
                })?,
                None => next,
            };
            next = at + 1;
            values.get(at).copied().ok_or_else(too_few)
        };
        if let Some(first) = number(&mut chars) {
            if chars.peek() == Some(&'$') {
                chars.next();
                position = Some(usize::try_from(first).unwrap_or(usize::MAX));
            } else {
                width = first;
            }
        }
        while chars.peek() == Some(&'-') {
            chars.next();
            left = true;
        }
        if chars.peek() == Some(&'*') {
            chars.next();
            let wanted = number(&mut chars).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            if wanted.is_some() && chars.next() != Some('$') {
                return Err(Error::new("22023", "width argument position must be ended by \"$\""));
            }
            width = taken(wanted)?.and_then(|w| w.parse().ok()).unwrap_or(0);
            if width < 0 {
                left = true;
                width = -width;
            }
        } else if let Some(given) = number(&mut chars) {
            width = given;
        }
        let kind = chars.next().ok_or_else(|| {
            Error::new("22023", "unterminated format() type specifier").hint("For a single \"%\" use \"%%\".")
        })?;
        let value = match kind {
            's' => taken(position)?.unwrap_or("").to_owned(),
            'I' => match taken(position)? {
                Some(name) => identifier(name),
                None => {
                    return Err(Error::new(
                        "22004",
                        "null values cannot be formatted as an SQL identifier",
                    ));
                }
            },
            'L' => taken(position)?.map_or_else(|| "NULL".to_owned(), literal),
            other => {
                return Err(
                    Error::new("22023", format!("unrecognized format() type specifier \"{other}\""))
                        .hint("For a single \"%\" use \"%%\"."),
                );
            }
        };
        let padding = width.min(WIDTH_MAX).saturating_sub(value.chars().count() as i64).max(0) as usize;
        if !left {
            out.extend(std::iter::repeat_n(' ', padding));
        }
        out.push_str(&value);
        if left {
            out.extend(std::iter::repeat_n(' ', padding));
        }
    }
    Ok(out)
}

/// An identifier, quoted where it must be.
fn identifier(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // Words of SQL that cannot be names.
    const RESERVED: [&str; 20] = [
        "all", "and", "any", "array", "as", "case", "check", "column", "default", "end", "from", "group", "in", "not",
        "null", "or", "order", "select", "table", "user",
    ];
    if plain && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A text constant.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_postgres_does() {
        let values = [Some("a b"), None, Some("it's")];
        for (pattern, expected) in [
            ("%s|%s|%s", "a b||it's"),
            ("%I %2$L %L", "\"a b\" NULL 'it''s'"),
            ("%3$s %1$s", "it's a b"),
            ("[%5s][%-5s]", "[  a b][     ]"),
            ("100%%", "100%"),
        ] {
            assert_eq!(format(pattern, &values).unwrap(), expected, "{pattern}");
        }
        assert_eq!(
            format("%s %s %s %s", &values).unwrap_err().message,
            "too few arguments for format()"
        );
        assert_eq!(format("%x", &values).unwrap_err().code, "22023");
        assert_eq!(format("%", &values).unwrap_err().code, "22023");
    }
}
