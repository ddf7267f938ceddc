//! Names and literals in PostgreSQL's text: everything is quoted, whatever it is called.

use mainstay_model::Type;
use std::fmt::Write;

/// An identifier in double quotes.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A type as it is declared, with length and precision.
pub fn type_name(ty: &Type) -> String {
    match ty {
        // What has no schema is in `public`, which need not be where names are looked for.
        Type::Enum(name) | Type::Row(name) if !name.contains(['.', '"']) && **name != *"record" => {
            format!("\"public\".{}", named_type(name))
        }
        Type::Enum(name) | Type::Row(name) | Type::Other(name) => named_type(name),
        Type::Array(element) => format!("{}[]", type_name(element)),
        Type::Unknown => "text".to_owned(),
        ty => ty.to_string(),
    }
}

/// A type as a parameter has it: without length and precision, so that a value is neither cut nor rounded before it is assigned.
pub fn parameter_type(ty: &Type) -> Type {
    match ty {
        Type::Numeric(_) => Type::Numeric(None),
        Type::Varchar(_) => Type::Varchar(None),
        Type::Array(element) => Type::Array(Box::new(parameter_type(element))),
        ty => ty.clone(),
    }
}

/// [`parameter_type`], written.
pub(super) fn parameter_type_name(ty: &Type) -> String {
    match ty {
        // `character` alone is one character; the internal name is of any length.
        Type::Char(_) => "bpchar".to_owned(),
        Type::Array(element) => format!("{}[]", parameter_type_name(element)),
        ty => type_name(&parameter_type(ty)),
    }
}

/// Whether values of a type have a binary form that Rust reads and writes. An enum's is its label.
pub fn is_binary(ty: &Type) -> bool {
    match ty {
        Type::Array(element) => is_binary(element),
        Type::Enum(_) | Type::Row(_) | Type::Void | Type::Unknown | Type::Other(_) => false,
        _ => true,
    }
}

/// Names of more than one word, which cannot be quoted.
const WORDS: [&str; 5] = [
    "time with time zone",
    "bit varying",
    "double precision",
    "character varying",
    "timestamp with time zone",
];

/// A type by what `format_type` calls it (`mood`, `"My mood"`, `app.mood`, `bit varying(5)`), or by its bare name.
pub(super) fn named_type(name: &str) -> String {
    let (base, arrays) = match name.strip_suffix("[]") {
        Some(base) => (base, "[]"),
        None => (name, ""),
    };
    let (base, modifier) = match base.find('(') {
        Some(at) if is_modifier(&base[at..]) => base.split_at(at),
        _ => (base, ""),
    };
    if WORDS.contains(&base) {
        return format!("{base}{modifier}{arrays}");
    }
    let mut out = String::with_capacity(name.len() + 6);
    match identifiers(base) {
        Some(parts) => {
            for (at, part) in parts.iter().enumerate() {
                let dot = if at > 0 { "." } else { "" };
                let _ = write!(out, "{dot}{}", quote_identifier(part));
            }
            out.push_str(modifier);
            out.push_str(arrays);
        }
        // A name that nobody has quoted, perhaps with its schema.
        None => match name.split_once('.') {
            Some((schema, own)) if !schema.is_empty() && !own.is_empty() && !name.contains('"') => {
                let _ = write!(out, "{}.{}", quote_identifier(schema), quote_identifier(own));
            }
            _ => out = quote_identifier(name),
        },
    }
    out
}

/// `(n)` or `(n,m)`
fn is_modifier(text: &str) -> bool {
    text.strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .is_some_and(|inner| !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit() || b == b','))
}

/// `a`, `"A b"`, `a."B"` as their names; `None` when it is not so written.
fn identifiers(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (at, '"') => match chars.peek() {
                        Some((_, '"')) => {
                            chars.next();
                            name.push('"');
                        }
                        _ => break at + 1,
                    },
                    (_, c) => name.push(c),
                }
            };
            parts.push(name);
            rest = &quoted[end..];
        } else {
            let end = rest
                .find(|c: char| {
                    !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$' || !c.is_ascii())
                })
                .unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            parts.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if rest.is_empty() {
            return (parts.len() <= 2).then_some(parts);
        }
        rest = rest.strip_prefix('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_quoted_once() {
        for (name, want) in [
            ("mood", "\"mood\""),
            ("app.mood", "\"app\".\"mood\""),
            ("app.\"My mood\"", "\"app\".\"My mood\""),
            ("My mood", "\"My mood\""),
            ("app.My mood", "\"app\".\"My mood\""),
            ("\"a\"\"b\"", "\"a\"\"b\""),
            ("x; DROP TABLE y", "\"x; DROP TABLE y\""),
            ("a\"b", "\"a\"\"b\""),
            ("bit varying(5)", "bit varying(5)"),
            ("bit(3)", "\"bit\"(3)"),
            ("time with time zone", "time with time zone"),
            ("bit(3) x", "\"bit(3) x\""),
            ("int4range", "\"int4range\""),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(type_name(&Type::Other(name.into())), want, "{name}");
        }
        let array = Type::Array(Box::new(Type::Char(4)));
        assert_eq!(type_name(&array), "character(4)[]");
        assert_eq!(parameter_type_name(&array), "bpchar[]");
    }

    #[test]
    fn literals() {
        for (text, want) in [("a'b", "'a''b'"), ("a\\'b", " E'a\\\\''b'"), ("", "''")] {
            assert_eq!(quote_literal(text), want);
        }
    }
}
