//! The least JSON that SQL engines need: where values begin and end in a text, without building trees, so that `json` stays the
//! text it came as and a `numeric` inside it keeps its digits.

use std::borrow::Cow;

/// The index after the blanks from `at` on.
pub fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

/// The index after the JSON value that begins at `at`; `None` if the text ends inside it. The text is trusted to be JSON.
pub fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => skip_string(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at = skip_string(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let end = bytes[at..]
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b':'));
            let end = end.map_or(bytes.len(), |n| at + n);
            (end > at).then_some(end)
        }
    }
}

fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The elements of an array, each as its text; `None` if the text is no array.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let bytes = text.as_bytes();
    let mut at = skip_blanks(bytes, 0);
    if bytes.get(at) != Some(&b'[') {
        return None;
    }
    at = skip_blanks(bytes, at + 1);
    let mut out = Vec::new();
    if bytes.get(at) == Some(&b']') {
        return Some(out);
    }
    loop {
        let end = skip_value(bytes, at)?;
        out.push(text.get(at..end)?);
        at = skip_blanks(bytes, end);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b']' => return Some(out),
            _ => return None,
        }
    }
}

/// The members of an object, each as its key (unescaped) and its value's text, in order, duplicates kept; `None` if the text is no
/// object.
pub fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let bytes = text.as_bytes();
    let mut at = skip_blanks(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_blanks(bytes, at + 1);
    let mut out = Vec::new();
    if bytes.get(at) == Some(&b'}') {
        return Some(out);
    }
    loop {
        let end = skip_value(bytes, at)?;
        let key = unquote(text.get(at..end)?)?;
        at = skip_blanks(bytes, end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at = skip_blanks(bytes, at + 1);
        let end = skip_value(bytes, at)?;
        out.push((key, text.get(at..end)?));
        at = skip_blanks(bytes, end);
        match bytes.get(at)? {
            b',' => at = skip_blanks(bytes, at + 1),
            b'}' => return Some(out),
            _ => return None,
        }
    }
}

/// The string that a JSON string's text stands for; `None` if it is not a JSON string.
pub fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => {
                let mut code = hex4(&mut chars)?;
                if (0xD800..0xDC00).contains(&code) {
                    if chars.next()? != '\\' || chars.next()? != 'u' {
                        return None;
                    }
                    let low = hex4(&mut chars)?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return None;
                    }
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                out.push(char::from_u32(code)?);
            }
            c => out.push(c),
        }
    }
    Some(Cow::Owned(out))
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut code = 0;
    for _ in 0..4 {
        code = code * 16 + chars.next()?.to_digit(16)?;
    }
    Some(code)
}

/// A string as JSON text with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    mainstay_model::write_json_string(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_without_a_tree() {
        assert_eq!(
            elements(r#" [1, "a,]\"" ,{"b":[2]},null ] "#),
            Some(vec!["1", r#""a,]\"""#, r#"{"b":[2]}"#, "null"])
        );
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements("{}"), None);
        assert_eq!(elements("[1"), None);
        let found = members(r#"{"a\u00e9":1.50, "b":{"c":"}"}}"#).unwrap();
        assert_eq!(found[0], (Cow::Borrowed("aé"), "1.50"));
        assert_eq!(found[1].1, r#"{"c":"}"}"#);
        assert_eq!(unquote(r#""\ud83d\ude00\n""#).as_deref(), Some("😀\n"));
        assert_eq!(unquote(r#""\ud83d""#), None);
    }
}
