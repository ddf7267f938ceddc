//! Names as SQL writes them (quoted, qualified, folded), and the names that Postgres gives to what was left unnamed.

use squawk_syntax::ast::{self, AstNode, normalize_name_node};
use squawk_syntax::{SyntaxKind, SyntaxNode};
use std::fmt;
use std::sync::Arc;

/// A name with the schema that it was written with, if any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// What stands before the last dot; of more than one dot, the part next to it.
    pub(crate) namespace: Option<Arc<str>>,
    /// What stands after it.
    pub(crate) name: Arc<str>,
}

impl Name {
    /// A name that declares something.
    pub(crate) fn from_path(path: &ast::Path) -> Option<Name> {
        let namespace = path.qualifier().and_then(|q| q.segment()).map(|s| folded(s.syntax()));
        Some(Name {
            namespace,
            name: non_empty(folded(path.segment()?.syntax()))?,
        })
    }

    /// A name that refers to something.
    pub(crate) fn from_ref(path: &ast::PathRef) -> Option<Name> {
        let namespace = path.qualifier().and_then(|q| q.segment()).map(|s| folded(s.syntax()));
        Some(Name {
            namespace,
            name: non_empty(folded(path.segment()?.syntax()))?,
        })
    }

    /// The name in a node that holds a path, such as `TableName` or `TableNameRef`.
    pub(crate) fn of(node: &impl AstNode) -> Option<Name> {
        Name::in_node(node.syntax())
    }

    /// As [`Name::of`], for an untyped node.
    pub(crate) fn in_node(node: &SyntaxNode) -> Option<Name> {
        let mut children = node.children();
        children.find_map(|child| match child.kind() {
            SyntaxKind::PATH => Name::from_path(&ast::Path::cast(child)?),
            SyntaxKind::PATH_REF => Name::from_ref(&ast::PathRef::cast(child)?),
            _ => None,
        })
    }

    /// The name in a string literal, as `nextval('public.s'::regclass)` has it.
    pub(crate) fn parse(text: &str) -> Name {
        let mut parts: Vec<String> = vec![String::new()];
        let mut quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let last = parts.len() - 1;
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    parts[last].push('"');
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                c if quoted => parts[last].push(c),
                c => parts[last].push(c.to_ascii_lowercase()),
            }
        }
        let name = parts.pop().unwrap_or_default();
        Name {
            namespace: parts.pop().map(Arc::from),
            name: name.into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

fn non_empty(name: Arc<str>) -> Option<Arc<str>> {
    (!name.is_empty()).then_some(name)
}

/// The text of a node that is one name: case folded unless quoted, cut to the 63 bytes that Postgres keeps.
pub(crate) fn folded(node: &SyntaxNode) -> Arc<str> {
    let text = normalize_name_node(node);
    clip(&text, NAME_BYTES_MAX).into()
}

/// As [`folded`], for a typed node.
pub(crate) fn text(node: &impl AstNode) -> Arc<str> {
    folded(node.syntax())
}

pub(crate) use mainstay_model::type_key;

/// `NAMEDATALEN - 1`
pub(crate) const NAME_BYTES_MAX: usize = 63;

fn clip(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The name that Postgres makes for an unnamed constraint, index or sequence: `table_columns_label`, with the longer of the first
/// two shortened until the whole fits into 63 bytes, and a number behind the label while the name is taken.
pub(crate) fn generated_name(table: &str, columns: &str, label: &str, taken: &dyn Fn(&str) -> bool) -> Arc<str> {
    let mut pass = 0;
    loop {
        let label = if pass == 0 {
            label.to_owned()
        } else {
            format!("{label}{pass}")
        };
        let name = make_object_name(table, columns, &label);
        if !taken(&name) {
            return name.into();
        }
        pass += 1;
    }
}

fn make_object_name(first: &str, second: &str, label: &str) -> String {
    let overhead = label.len() + 1 + if second.is_empty() { 0 } else { 1 };
    let available = NAME_BYTES_MAX.saturating_sub(overhead);
    let (mut a, mut b) = (first.len(), second.len());
    while a + b > available {
        if a > b { a -= 1 } else { b -= 1 }
    }
    let (first, second) = (clip(first, a), clip(second, b));
    if second.is_empty() {
        format!("{first}_{label}")
    } else {
        format!("{first}_{second}_{label}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_those_of_postgres() {
        let long = "a_table_with_a_name_that_is_rather_long_for_any_human_being";
        for (table, columns, label, taken, expected) in [
            ("orders", "user_id", "fkey", &[][..], "orders_user_id_fkey"),
            ("users", "", "pkey", &[], "users_pkey"),
            ("t", "a_b", "key", &["t_a_b_key"], "t_a_b_key1"),
            ("t", "a", "check", &["t_a_check", "t_a_check1"], "t_a_check2"),
            (
                long,
                "",
                "pkey",
                &[],
                "a_table_with_a_name_that_is_rather_long_for_any_human_bein_pkey",
            ),
            (
                long,
                "customer_identifier",
                "fkey",
                &[],
                "a_table_with_a_name_that_is_rather_lon_customer_identifier_fkey",
            ),
        ] {
            let name = generated_name(table, columns, label, &|n| taken.contains(&n));
            assert_eq!(&*name, expected);
            assert!(name.len() <= NAME_BYTES_MAX);
        }
    }

    #[test]
    fn names_in_strings_are_folded_unless_quoted() {
        for (text, namespace, name) in [
            ("Public.S", Some("public"), "s"),
            ("\"A.b\"", None, "A.b"),
            ("s", None, "s"),
            ("x.\"a\"\"b\"", Some("x"), "a\"b"),
        ] {
            let parsed = Name::parse(text);
            assert_eq!((parsed.namespace.as_deref(), &*parsed.name), (namespace, name));
        }
    }
}
