//! Array literals: `{a,"b c",NULL}`.

use std::sync::Arc;

use crate::{Error, Result, Type, Value};

/// Nested braces beyond this are refused, as in Postgres.
const DIMENSIONS_MAX: usize = 6;

/// Reads an array literal whose innermost elements are of type `element`.
pub(super) fn parse(text: &str, element: &Type) -> Result<Value> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    if reader.peek() != Some(b'{') {
        return Err(reader.malformed("Array value must start with \"{\" or dimension information."));
    }
    let value = reader.braces(1)?;
    reader.skip_blanks();
    if reader.at < text.len() {
        return Err(reader.malformed("Junk after closing right brace."));
    }
    typed(value, element)
}

/// Reads the items, once all of the literal has been found well-formed.
fn typed(value: Value, element: &Type) -> Result<Value> {
    match value {
        Value::Text(text) => Value::parse(&text, element),
        Value::Array(items) => {
            let items: Result<Vec<Value>> = items.iter().map(|item| typed(item.clone(), element)).collect();
            Ok(Value::Array(Arc::from(items?)))
        }
        other => Ok(other),
    }
}

/// Error: 54000 beyond six dimensions.
pub(super) fn check_dimensions(count: usize) -> Result<()> {
    if count > DIMENSIONS_MAX {
        let message = format!("number of array dimensions ({count}) exceeds the maximum allowed ({DIMENSIONS_MAX})");
        return Err(Error::new("54000", message));
    }
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn malformed(&self, detail: &str) -> Error {
        Error::new("22P02", format!("malformed array literal: \"{}\"", self.text)).detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> Error {
        match self.text[self.at..].chars().next() {
            Some(found) => self.malformed(&format!("Unexpected \"{found}\" character.")),
            None => self.malformed("Unexpected end of input."),
        }
    }

    /// From an opening brace to behind its closing one; the items as text.
    fn braces(&mut self, depth: usize) -> Result<Value> {
        if depth > DIMENSIONS_MAX {
            let message =
                format!("number of array dimensions ({depth}) exceeds the maximum allowed ({DIMENSIONS_MAX})");
            return Err(Error::new("54000", message));
        }
        self.at += 1;
        self.skip_blanks();
        let mut items = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Array(Arc::from(items)));
        }
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(b'{') if items.last().is_some_and(|last| !matches!(last, Value::Array(_))) => {
                    return Err(self.unexpected());
                }
                Some(b'{') => items.push(self.braces(depth + 1)?),
                Some(b',' | b'}') => return Err(self.unexpected()),
                Some(_) if matches!(items.last(), Some(Value::Array(_))) => {
                    return Err(self.malformed("Unexpected array element."));
                }
                Some(_) => items.push(self.item()?),
            }
            let mismatch = match (&items[0], &items[items.len() - 1]) {
                (Value::Array(first), Value::Array(last)) => first.len() != last.len(),
                _ => false,
            };
            if mismatch {
                return Err(self.malformed("Multidimensional arrays must have sub-arrays with matching dimensions."));
            }
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Array(Arc::from(items)));
                }
                Some(_) => return Err(self.malformed("Unexpected array element.")),
                None => return Err(self.malformed("Unexpected end of input.")),
            }
        }
    }

    fn item(&mut self) -> Result<Value> {
        if self.peek() == Some(b'"') {
            return self.quoted_item();
        }
        let mut content = String::new();
        // Blanks at the end are not part of it, unless they were escaped.
        let mut keep = 0;
        let mut escaped = false;
        while let Some(c) = self.text[self.at..].chars().next() {
            match c {
                ',' | '}' => break,
                '{' => return Err(self.unexpected()),
                '"' => return Err(self.malformed("Unexpected array element.")),
                '\\' => {
                    self.at += 1;
                    let next = self.text[self.at..]
                        .chars()
                        .next()
                        .ok_or_else(|| self.malformed("Unexpected end of input."))?;
                    self.at += next.len_utf8();
                    content.push(next);
                    keep = content.len();
                    escaped = true;
                }
                c => {
                    self.at += c.len_utf8();
                    content.push(c);
                    if !matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') {
                        keep = content.len();
                    }
                }
            }
        }
        content.truncate(keep);
        if !escaped && content.eq_ignore_ascii_case("null") {
            return Ok(Value::Null);
        }
        Ok(Value::Text(content))
    }

    fn quoted_item(&mut self) -> Result<Value> {
        self.at += 1;
        let mut content = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(['"', '\\'])
                .ok_or_else(|| self.malformed("Unexpected end of input."))?;
            content.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest.as_bytes()[plain] == b'"' {
                return Ok(Value::Text(content));
            }
            let next = self.text[self.at..]
                .chars()
                .next()
                .ok_or_else(|| self.malformed("Unexpected end of input."))?;
            content.push(next);
            self.at += next.len_utf8();
        }
    }
}
