//! SQL text in small: quoting, what a quoted name consists of, and what went wrong with a place to go to.

use mainstay_model::Span;
use std::fmt;

/// A string literal.
pub(crate) fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A quoted identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The parts of a quoted, qualified name, unquoted: `public."Order Lines".id` → `public`, `Order Lines`, `id`. Stops at an argument
/// list.
pub(crate) fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                parts[last].push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            '(' if !quoted => break,
            c => parts[last].push(c),
        }
    }
    parts
}

/// The schema of a qualified name, unquoted.
pub(crate) fn schema_of(name: &str) -> String {
    parts(name).into_iter().next().unwrap_or_default()
}

/// Whether a text contains a name as a word of its own.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(name)) {
        let (start, end) = (from + at, from + at + name.len());
        let before = text[..start].chars().next_back().is_some_and(word);
        let after = text[end..].chars().next().is_some_and(word);
        if !before && !after {
            return true;
        }
        from = start + name.chars().next().map_or(1, char::len_utf8);
    }
    false
}

/// Why there is no plan, or why it could not be carried out.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What and why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where in the DDL, if it is there.
    pub place: Option<Span>,
    /// The database's SQLSTATE, if it was the database that refused.
    pub sqlstate: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            help: None,
            place: None,
            sqlstate: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at(mut self, place: Option<Span>) -> Failure {
        self.place = place;
        self
    }

    /// What went wrong with one statement of a file: the place moves to where the database points.
    pub(crate) fn of_statement(error: &tokio_postgres::Error, text: &str, span: &Span) -> Failure {
        let position = match error.as_db_error().and_then(|e| e.position()) {
            Some(tokio_postgres::error::ErrorPosition::Original(position)) => *position as usize,
            _ => 1,
        };
        let failure = Failure::from_error(error);
        failure.at(Some(within(text, span, position.saturating_sub(1))))
    }

    fn from_error(error: &tokio_postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(db) => {
                let mut message = db.message().to_owned();
                if let Some(detail) = db.detail() {
                    message.push_str(&format!(" ({detail})"));
                }
                Failure {
                    message,
                    help: db.hint().map(str::to_owned),
                    place: None,
                    sqlstate: Some(db.code().code().to_owned()),
                }
            }
            None => Failure::new(format!("the database does not answer: {error}")),
        }
    }

    /// Whether waiting a little may help: a lock was not to be had, or a deadlock chose us.
    pub(crate) fn is_lock(&self) -> bool {
        matches!(self.sqlstate.as_deref(), Some("55P03" | "40P01" | "40001"))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::from_error(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.file, place.line, place.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The place of a character of a statement that starts at `span`.
pub(crate) fn within(text: &str, span: &Span, characters: usize) -> Span {
    let before: String = text.chars().take(characters).collect();
    let lines = before.matches('\n').count() as u32;
    let column = match before.rfind('\n') {
        Some(at) => before[at + 1..].chars().count() as u32 + 1,
        None => span.column + before.chars().count() as u32,
    };
    Span {
        start: span.start + before.len() as u32,
        line: span.line + lines,
        column,
        ..span.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_their_parts() {
        assert_eq!(parts("public.orders"), ["public", "orders"]);
        assert_eq!(parts("\"a.b\".\"c\"\"d\".e"), ["a.b", "c\"d", "e"]);
        assert_eq!(parts("public.f(a.b, text)"), ["public", "f"]);
    }

    #[test]
    fn a_name_is_mentioned_as_a_word_only() {
        assert!(mentions("(price >= 0)", "price"));
        assert!(!mentions("(unit_price >= 0)", "price"));
        assert!(mentions("unit_price + price", "price"));
        assert!(!mentions("prices", "price"));
    }

    #[test]
    fn literals_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'"), "E'a\\\\b'''");
    }

    #[test]
    fn places_move_with_the_text() {
        let span = Span {
            file: "s.sql".into(),
            start: 100,
            end: 140,
            line: 7,
            column: 3,
        };
        let text = "CREATE TABLE a (\n  id inx\n)";
        let place = within(text, &span, 22);
        assert_eq!((place.line, place.column, place.start), (8, 6, 122));
        assert_eq!(within(text, &span, 2).column, 5);
    }
}
