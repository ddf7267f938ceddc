//! `LIKE`, `ILIKE` and regular expressions. Patterns are kept compiled: per statement where they are constants, and in a small cache
//! per thread where they are not. The engine is linear-time, so no pattern can hang a query.

use super::{Args, PURE, lenient, strict, text};
use mainstay_model::{Error, Result};
use regex::{Regex, RegexBuilder};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use std::cell::RefCell;
use std::sync::Arc;

/// Patterns kept per thread.
const CACHED_MAX: usize = 64;
/// Bytes that a compiled pattern may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_like", 2, |args| {
        Ok(super::boolean(like(args.text(0)?, args.text(1)?)?))
    })?;
    strict(c, "mainstay_ilike", 2, |args| {
        Ok(super::boolean(like(
            &text::lower(args.text(0)?),
            &text::lower(args.text(1)?),
        )?))
    })?;
    strict(c, "mainstay_regex", 2, |args| {
        Ok(super::boolean(constant(args, 0, false)?.is_match(args.text(1)?)))
    })?;
    strict(c, "mainstay_iregex", 2, |args| {
        Ok(super::boolean(constant(args, 0, true)?.is_match(args.text(1)?)))
    })?;
    // regexp_replace(text, pattern, replacement, flags)
    strict(c, "mainstay_regexp_replace", 4, |args| {
        let mut options = String::new();
        let mut all = false;
        for flag in args.text(3)?.chars() {
            match flag {
                'g' => all = true,
                'i' | 'c' | 's' | 'n' | 'm' | 'x' => options.push(flag),
                other => {
                    return Err(Error::new(
                        "22023",
                        format!("invalid regular expression option: \"{other}\""),
                    ));
                }
            }
        }
        let regex = cached(args.text(1)?, &options)?;
        let replacement = replacement(args.text(2)?);
        let replaced = if all {
            regex.replace_all(args.text(0)?, &*replacement)
        } else {
            regex.replace(args.text(0)?, &*replacement)
        };
        Ok(Sql::Text(replaced.into_owned()))
    })?;
    // substring(text from pattern): the first group, or the match; NULL without one.
    lenient(c, "mainstay_substring_regex", 2, PURE, |args| {
        if args.is_null(0) || args.is_null(1) {
            return Ok(Sql::Null);
        }
        let regex = cached(args.text(1)?, "")?;
        Ok(match regex.captures(args.text(0)?) {
            Some(found) => match if regex.captures_len() > 1 {
                found.get(1)
            } else {
                found.get(0)
            } {
                Some(part) => Sql::Text(part.as_str().to_owned()),
                None => Sql::Null,
            },
            None => Sql::Null,
        })
    })
}

/// A pattern compiled once per statement when it is a constant.
fn constant(args: &Args<'_, '_>, at: usize, ignore_case: bool) -> Result<Arc<Regex>> {
    if let Ok(Some(regex)) = args.0.get_aux::<Arc<Regex>>(at as i32) {
        return Ok((*regex).clone());
    }
    let regex = cached(args.text(at)?, if ignore_case { "i" } else { "" })?;
    // SQLite forgets it where the argument is no constant.
    let _ = args.0.set_aux(at as i32, regex.clone());
    Ok(regex)
}

/// Compiled patterns by their text and options, the one used last at the end.
type Compiled = Vec<((String, String), Arc<Regex>)>;

thread_local! {
    static CACHE: RefCell<Compiled> = const { RefCell::new(Vec::new()) };
}

fn cached(pattern: &str, options: &str) -> Result<Arc<Regex>> {
    CACHE.with_borrow_mut(|cache| {
        if let Some(at) = cache.iter().position(|((p, o), _)| p == pattern && o == options) {
            let found = cache.remove(at);
            let regex = found.1.clone();
            cache.push(found);
            return Ok(regex);
        }
        let regex = Arc::new(compile(pattern, options)?);
        if cache.len() >= CACHED_MAX {
            cache.remove(0);
        }
        cache.push(((pattern.to_owned(), options.to_owned()), regex.clone()));
        Ok(regex)
    })
}

/// A Postgres pattern as one of the `regex` crate's. Error: 2201B.
fn compile(pattern: &str, options: &str) -> Result<Regex> {
    let invalid = |why: &str| Error::new("2201B", format!("invalid regular expression: {why}"));
    // An embedded directive says what the pattern is written in.
    let (mut pattern, mut ignore_case, mut newline, mut extended) = (pattern, false, false, false);
    let mut literal = false;
    for option in options.chars() {
        match option {
            'i' => ignore_case = true,
            'c' => ignore_case = false,
            'n' | 'm' => newline = true,
            'x' => extended = true,
            _ => newline = false,
        }
    }
    if let Some(rest) = pattern.strip_prefix("***=") {
        (pattern, literal) = (rest, true);
    } else if let Some(rest) = pattern.strip_prefix("***:") {
        pattern = rest;
    }
    if !literal
        && let Some(rest) = pattern.strip_prefix("(?")
        && let Some((flags, rest)) = rest.split_once(')')
        && !flags.is_empty()
        && flags.bytes().all(|b| b.is_ascii_lowercase())
    {
        for flag in flags.chars() {
            match flag {
                'i' => ignore_case = true,
                'c' => ignore_case = false,
                'n' | 'm' => newline = true,
                'x' => extended = true,
                'q' => literal = true,
                's' | 't' | 'e' => {}
                _ => return Err(invalid("invalid embedded option")),
            }
        }
        pattern = rest;
    }
    let translated = if literal {
        regex::escape(pattern)
    } else {
        translate(pattern).map_err(|why| invalid(&why))?
    };
    RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(!newline)
        .multi_line(newline)
        .ignore_whitespace(extended)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                Error::new("2201B", "invalid regular expression: regular expression is too complex")
            }
            error => {
                let text = error.to_string();
                let why = text
                    .lines()
                    .last()
                    .unwrap_or("syntax error")
                    .trim_start_matches("error: ");
                // In Postgres' words, as far as it has them.
                invalid(match why {
                    "unclosed group" | "unopened group" => "parentheses () not balanced",
                    "unclosed character class" => "brackets [] not balanced",
                    "repetition operator missing expression" => "quantifier operand invalid",
                    why if why.starts_with("invalid repetition count") => "invalid repetition count(s)",
                    why if why.starts_with("invalid character class range") => "invalid character range",
                    why => why,
                })
            }
        })
}

/// Rewrites what Postgres spells differently.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    // After a quantifier: whether it may still be made lazy.
    let mut quantified: Option<bool> = None;
    while let Some(ch) = chars.next() {
        if !in_class {
            quantified = match (ch, quantified) {
                ('?', Some(true)) => Some(false),
                ('*' | '+' | '?' | '{', Some(_)) => return Err("quantifier operand invalid".to_owned()),
                ('*' | '+' | '?' | '}', None) => Some(true),
                _ => None,
            };
        }
        match ch {
            '\\' => match chars.next() {
                None => return Err("invalid escape \\ sequence".to_owned()),
                Some('m') => out.push_str(r"\b{start}"),
                Some('M') => out.push_str(r"\b{end}"),
                Some('y') => out.push_str(r"\b"),
                Some('Y') => out.push_str(r"\B"),
                Some('A') => out.push_str(r"\A"),
                Some('Z') => out.push_str(r"\z"),
                Some('e') => out.push_str(r"\x1B"),
                Some('b') => out.push_str(r"\x08"),
                Some('B') => out.push_str(r"\\"),
                Some(class @ ('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'n' | 'r' | 't' | 'f' | 'v' | 'a')) => {
                    out.push('\\');
                    out.push(class);
                }
                Some(kind @ ('u' | 'U' | 'x')) => {
                    let wanted = match kind {
                        'u' => 4,
                        'U' => 8,
                        _ => 255,
                    };
                    let mut digits = String::new();
                    while digits.len() < wanted && chars.peek().is_some_and(char::is_ascii_hexdigit) {
                        digits.extend(chars.next());
                    }
                    out.push_str(&format!("\\x{{{digits}}}"));
                }
                Some(digit @ '1'..='9') => {
                    return Err(format!("back reference \\{digit} is not supported by this engine"));
                }
                Some(other) if other.is_ascii_alphanumeric() => return Err("invalid escape \\ sequence".to_owned()),
                Some(other) => out.push_str(&regex::escape(&other.to_string())),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
                // A bracket that stands first is itself.
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str(r"\]");
                }
            }
            '[' => {
                if chars.peek() == Some(&':') {
                    out.push('[');
                } else if matches!(chars.peek(), Some('.' | '=')) {
                    return Err("collating elements are not supported by this engine".to_owned());
                } else {
                    out.push_str(r"\[");
                }
                // A named class ends with its own bracket.
                if chars.peek() == Some(&':') {
                    let mut closed = false;
                    let mut last = ' ';
                    for inner in chars.by_ref() {
                        out.push(inner);
                        if last == ':' && inner == ']' {
                            closed = true;
                            break;
                        }
                        last = inner;
                    }
                    if !closed {
                        return Err("brackets [] not balanced".to_owned());
                    }
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' | '-' if in_class && chars.peek() == Some(&ch) => {
                out.push('\\');
                out.push(ch);
            }
            '(' if !in_class && chars.peek() == Some(&'?') => {
                let mut ahead = chars.clone();
                ahead.next();
                match ahead.next() {
                    Some(':') => out.push('('),
                    Some('=' | '!' | '<') => return Err("look-around is not supported by this engine".to_owned()),
                    _ => return Err("quantifier operand invalid".to_owned()),
                }
            }
            other => out.push(other),
        }
    }
    if in_class {
        return Err("brackets [] not balanced".to_owned());
    }
    Ok(out)
}

/// A replacement with `\1` and `\&` as the `regex` crate writes them.
fn replacement(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit @ '1'..='9') => out.push_str(&format!("${{{digit}}}")),
                Some('&') => out.push_str("${0}"),
                Some('\\') | None => out.push('\\'),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
            },
            other => out.push(other),
        }
    }
    out
}

/// `text LIKE pattern`, with `\` as the escape. Error: 22025 when the escape stands last.
fn like(pattern: &str, text: &str) -> Result<bool> {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `%` was, and how far the text had come: all there is to try again from.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'%') => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            None if t == text.len() => return Ok(true),
            None => None,
            Some(b'_') if t < text.len() => Some((1, character_length(text, t))),
            Some(b'_') => None,
            Some(b'\\') if t == text.len() => None,
            Some(b'\\') => match pattern.get(p + 1) {
                None => return Err(Error::new("22025", "LIKE pattern must not end with escape character")),
                Some(byte) => (text.get(t) == Some(byte)).then_some((2, 1)),
            },
            Some(byte) => (text.get(t) == Some(byte)).then_some((1, 1)),
        };
        match (step, retry) {
            (Some((pattern_step, text_step)), _) => {
                p += pattern_step;
                t += text_step;
            }
            (None, Some((after, from))) if from < text.len() => {
                let next = from + character_length(text, from);
                retry = Some((after, next));
                (p, t) = (after, next);
            }
            (None, _) => return Ok(false),
        }
    }
}

fn character_length(text: &[u8], at: usize) -> usize {
    match text[at] {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
    .min(text.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_as_postgres_does() {
        for (text, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "_b_", true),
            ("abc", "a_", false),
            ("aXbXc", "a%X%c", true),
            ("100%", r"100\%", true),
            ("100x", r"100\%", false),
            ("größe", "gr__e", true),
            ("", "%", true),
            ("", "_", false),
            ("ab", "%%%b", true),
            ("abcabd", "%ab_", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(like(pattern, text).unwrap(), expected, "{text} LIKE {pattern}");
        }
        assert_eq!(like(r"a\", "ab").unwrap_err().code, "22025");
        assert!(!like(r"a\", "a").unwrap());
    }

    #[test]
    fn patterns_are_those_of_postgres() {
        for (pattern, text, expected) in [
            (r"^\d+$", "123", true),
            (r"\mfoo\M", "a foo b", true),
            (r"\mfoo\M", "afoob", false),
            (r"a.c", "a\nc", true),
            (r"[[:digit:]]{2}", "x12", true),
            (r"[]a]", "]", true),
            (r"(?i)ABC", "abc", true),
            (r"***=a.c", "abc", false),
            (r"[a&&b]", "&", true),
            (r"\u00e9", "é", true),
        ] {
            assert_eq!(
                compile(pattern, "").unwrap().is_match(text),
                expected,
                "{text} ~ {pattern}"
            );
        }
        for pattern in ["(", "[a", r"\", r"(a)\1", "(?=a)", "a**", "[[.x.]]"] {
            assert_eq!(compile(pattern, "").map(|_| ()).unwrap_err().code, "2201B", "{pattern}");
        }
    }
}
