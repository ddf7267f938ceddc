//! Values of catalog rows as they come in the simple protocol: text. What is not as the catalogs promise is an error, never a panic.

use mainstay_model::Error;
use std::sync::Arc;
use tokio_postgres::SimpleQueryRow;

/// A row read from left to right.
pub(super) struct Fields<'r> {
    row: &'r SimpleQueryRow,
    next: usize,
}

impl<'r> Fields<'r> {
    pub fn of(row: &'r SimpleQueryRow) -> Fields<'r> {
        Fields { row, next: 0 }
    }

    /// The next value, if it is not NULL.
    pub fn maybe(&mut self) -> Option<&'r str> {
        let at = self.next;
        self.next += 1;
        if at < self.row.len() { self.row.get(at) } else { None }
    }

    pub fn text(&mut self) -> Result<&'r str, Error> {
        let at = self.next;
        self.maybe().ok_or_else(|| unexpected(at, "NULL"))
    }

    pub fn shared(&mut self) -> Result<Arc<str>, Error> {
        Ok(Arc::from(self.text()?))
    }

    pub fn owned(&mut self) -> Option<String> {
        self.maybe().map(str::to_owned)
    }

    pub fn number<N: std::str::FromStr>(&mut self) -> Result<N, Error> {
        let at = self.next;
        let text = self.text()?;
        text.parse().map_err(|_| unexpected(at, text))
    }

    pub fn bool(&mut self) -> bool {
        self.maybe() == Some("t")
    }

    /// `"char"`: one letter.
    pub fn letter(&mut self) -> u8 {
        self.maybe().and_then(|t| t.bytes().next()).unwrap_or(b' ')
    }

    /// An array or a vector of numbers; empty for NULL.
    pub fn numbers<N: std::str::FromStr>(&mut self) -> Result<Vec<N>, Error> {
        let at = self.next;
        let Some(text) = self.maybe() else {
            return Ok(Vec::new());
        };
        let inner = text.trim_start_matches('{').trim_end_matches('}');
        inner
            .split([',', ' '])
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().map_err(|_| unexpected(at, text)))
            .collect()
    }

    /// An array of texts; empty for NULL.
    pub fn texts(&mut self) -> Vec<Option<String>> {
        self.maybe().map(array).unwrap_or_default()
    }
}

fn unexpected(column: usize, text: &str) -> Error {
    Error::internal(format!(
        "the catalogs hold `{text}` in column {column} of what was asked"
    ))
}

/// The elements of a one-dimensional array's text form; `None` is NULL.
pub(super) fn array(text: &str) -> Vec<Option<String>> {
    let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if inner.is_empty() {
        return out;
    }
    let mut element = String::new();
    let (mut quoted, mut inside) = (false, false);
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                inside = !inside;
                quoted = true;
            }
            '\\' => element.extend(chars.next()),
            ',' if !inside => out.push(finished(&mut element, &mut quoted)),
            c => element.push(c),
        }
    }
    out.push(finished(&mut element, &mut quoted));
    out
}

fn finished(element: &mut String, quoted: &mut bool) -> Option<String> {
    let was_quoted = std::mem::take(quoted);
    let text = std::mem::take(element);
    (was_quoted || text != "NULL").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays() {
        let cases: [(&str, &[Option<&str>]); 6] = [
            ("{}", &[]),
            ("{a,b}", &[Some("a"), Some("b")]),
            ("{\"a,b\",NULL,\"NULL\"}", &[Some("a,b"), None, Some("NULL")]),
            ("{\"a\\\"b\\\\\",\"\"}", &[Some("a\"b\\"), Some("")]),
            ("{\"{x}\"}", &[Some("{x}")]),
            ("no array", &[]),
        ];
        for (text, wanted) in cases {
            let found = array(text);
            assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), wanted, "{text}");
        }
    }
}
