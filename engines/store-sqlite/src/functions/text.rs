//! Texts: characters are Unicode's, positions count from 1, and what SQLite's own functions do in ASCII is done in full.

use super::{PURE, json_strings, lenient, strict};
use mainstay_model::{Error, Result};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use std::borrow::Cow;

/// No text that a function makes grows beyond this many bytes (54000).
const TEXT_BYTES_MAX: usize = 64 << 20;

pub(super) fn too_long() -> Error {
    Error::new("54000", "requested length too large")
        .detail(format!("A text of at most {TEXT_BYTES_MAX} bytes can be made."))
}

fn text(value: impl Into<String>) -> Sql {
    Sql::Text(value.into())
}

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_lower", 1, |args| Ok(text(lower(args.text(0)?))))?;
    strict(c, "mainstay_upper", 1, |args| Ok(text(upper(args.text(0)?))))?;
    strict(c, "mainstay_initcap", 1, |args| {
        let mut inside = false;
        let mut out = String::new();
        for ch in args.text(0)?.chars() {
            let mapped = if inside { one_lower(ch) } else { one_upper(ch) };
            inside = ch.is_alphanumeric();
            out.push(mapped);
        }
        Ok(text(out))
    })?;
    strict(c, "mainstay_reverse", 1, |args| {
        Ok(text(args.text(0)?.chars().rev().collect::<String>()))
    })?;
    strict(c, "mainstay_left", 2, |args| {
        let value = args.text(0)?;
        let count = match args.int(1)? {
            n if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
            n => value.chars().count().saturating_sub(n.unsigned_abs() as usize),
        };
        Ok(text(value.chars().take(count).collect::<String>()))
    })?;
    strict(c, "mainstay_right", 2, |args| {
        let value = args.text(0)?;
        let length = value.chars().count();
        let skip = match args.int(1)? {
            n if n >= 0 => length.saturating_sub(usize::try_from(n).unwrap_or(usize::MAX)),
            n => usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX),
        };
        Ok(text(value.chars().skip(skip).collect::<String>()))
    })?;
    strict(c, "mainstay_repeat", 2, |args| {
        let (value, count) = (args.text(0)?, usize::try_from(args.int(1)?).unwrap_or(0));
        if value.len().saturating_mul(count) > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        Ok(text(value.repeat(count)))
    })?;
    for (name, left) in [("mainstay_lpad", true), ("mainstay_rpad", false)] {
        strict(c, name, 3, move |args| {
            pad(args.text(0)?, args.int(1)?, args.text(2)?, left).map(text)
        })?;
    }
    // substring(text, from, count); no count is to the end.
    lenient(c, "mainstay_substring", 3, PURE, |args| {
        if args.is_null(0) || args.is_null(1) {
            return Ok(Sql::Null);
        }
        let (value, from) = (args.text(0)?, args.int(1)?);
        let end = if args.is_null(2) {
            i64::MAX
        } else {
            match args.int(2)? {
                n if n < 0 => return Err(Error::new("22011", "negative substring length not allowed")),
                n => from.saturating_add(n),
            }
        };
        let skip = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
        let take = usize::try_from(end.saturating_sub(from.max(1))).unwrap_or(0);
        Ok(text(value.chars().skip(skip).take(take).collect::<String>()))
    })?;
    strict(c, "mainstay_translate", 3, |args| {
        let to: Vec<char> = args.text(2)?.chars().collect();
        let from: Vec<char> = args.text(1)?.chars().collect();
        let mapped = args
            .text(0)?
            .chars()
            .filter_map(|ch| match from.iter().position(|f| *f == ch) {
                Some(at) => to.get(at).copied(),
                None => Some(ch),
            });
        Ok(text(mapped.collect::<String>()))
    })?;
    strict(c, "mainstay_split_part", 3, |args| {
        let (value, separator, wanted) = (args.text(0)?, args.text(1)?, args.int(2)?);
        if wanted == 0 {
            return Err(Error::new("22023", "field position must not be zero"));
        }
        let parts: Vec<&str> = if separator.is_empty() {
            vec![value]
        } else {
            value.split(separator).collect()
        };
        let at = if wanted > 0 {
            wanted - 1
        } else {
            parts.len() as i64 + wanted
        };
        Ok(text(
            usize::try_from(at)
                .ok()
                .and_then(|at| parts.get(at))
                .copied()
                .unwrap_or(""),
        ))
    })?;
    strict(c, "mainstay_starts_with", 2, |args| {
        Ok(super::boolean(args.text(0)?.starts_with(args.text(1)?)))
    })?;
    strict(c, "mainstay_chr", 1, |args| match args.int(0)? {
        0 => Err(Error::new("54000", "null character not permitted")),
        code => u32::try_from(code)
            .ok()
            .and_then(char::from_u32)
            .map(text)
            .ok_or_else(|| Error::new("54000", format!("requested character not valid for encoding: {code}"))),
    })?;
    // string_to_array(text, separator, null text): a NULL separator splits into characters.
    lenient(c, "mainstay_string_to_array", 3, PURE, |args| {
        if args.is_null(0) {
            return Ok(Sql::Null);
        }
        let value = args.text(0)?;
        let null = if args.is_null(2) { None } else { Some(args.text(2)?) };
        let parts: Vec<Cow<'_, str>> = if value.is_empty() {
            Vec::new()
        } else if args.is_null(1) {
            value.chars().map(|ch| Cow::Owned(ch.to_string())).collect()
        } else if args.text(1)?.is_empty() {
            vec![Cow::Borrowed(value)]
        } else {
            value.split(args.text(1)?).map(Cow::Borrowed).collect()
        };
        Ok(Sql::Text(json_strings(
            parts.into_iter().map(|p| (null != Some(&*p)).then_some(p)),
        )))
    })?;
    Ok(())
}

/// Lower case, one character for one as Postgres maps them.
pub(super) fn lower(value: &str) -> String {
    if value.is_ascii() {
        value.to_ascii_lowercase()
    } else {
        value.chars().map(one_lower).collect()
    }
}

fn upper(value: &str) -> String {
    if value.is_ascii() {
        value.to_ascii_uppercase()
    } else {
        value.chars().map(one_upper).collect()
    }
}

/// A mapping to several characters (`ß` to `SS`) is none for Postgres.
fn one_lower(ch: char) -> char {
    let mut mapped = ch.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => ch,
    }
}

fn one_upper(ch: char) -> char {
    let mut mapped = ch.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => ch,
    }
}

fn pad(value: &str, length: i64, fill: &str, left: bool) -> Result<String> {
    let length = usize::try_from(length).unwrap_or(0);
    let present = value.chars().count();
    if present >= length || fill.is_empty() {
        return Ok(value.chars().take(length).collect());
    }
    if (length - present).saturating_mul(4) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    let padding: String = fill.chars().cycle().take(length - present).collect();
    Ok(if left {
        padding + value
    } else {
        value.to_owned() + &padding
    })
}
