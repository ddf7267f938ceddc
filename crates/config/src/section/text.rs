//! Strings, written out or by reference: `"…"`, `{ env = "NAME" }`, `{ file = "path" }`.

use crate::document::{Node, Table, Value};
use crate::problem::Location;
use crate::section::Section;

/// The largest file that `{ file = "…" }` may name: a key or a token, never a data file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a text came from, which decides whether a message may quote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Written in the file itself, or given with `--set`.
    Literal,
    /// `{ env = "NAME" }`.
    Environment(String),
    /// `{ file = "path" }`.
    File(String),
}

/// A text with its place.
#[derive(Debug, Clone)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The place of the value in the file.
    pub at: Location,
    /// Where it came from.
    pub origin: Origin,
}

impl Text {
    /// The text for a message: quoted when it was written in the file, named by its reference when it came from elsewhere and
    /// so may be secret.
    pub fn quoted(&self) -> String {
        match &self.origin {
            Origin::Literal => format!("{:?}", self.text),
            Origin::Environment(name) => format!("the value of environment variable `{name}`"),
            Origin::File(path) => format!("the content of file `{path}`"),
        }
    }
}

impl Section<'_> {
    /// A text, written out or by reference (`{ env = "NAME" }`, `{ file = "path" }`), with its place and origin.
    pub fn text(&self, key: &str) -> Option<Text> {
        self.text_of(key, self.node(key)?)
    }

    /// A text without the rest.
    pub fn string(&self, key: &str) -> Option<String> {
        self.text(key).map(|text| text.text)
    }

    /// A list of texts; a single one may stand without brackets.
    pub fn texts(&self, key: &str) -> Option<Vec<Text>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.text_of(key, item)).collect()),
            _ => Some(self.text_of(key, node).into_iter().collect()),
        }
    }

    /// A list of texts without places.
    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        Some(self.texts(key)?.into_iter().map(|text| text.text).collect())
    }

    pub(super) fn text_of(&self, key: &str, node: &Node) -> Option<Text> {
        match &node.value {
            Value::String(text) => Some(Text {
                text: text.clone(),
                at: node.at.clone(),
                origin: Origin::Literal,
            }),
            Value::Table(table) => self.reference(key, node, table),
            other => {
                self.report_at(
                    &node.at,
                    key,
                    format!("expected a string, found {}", other.describe()),
                    None,
                );
                None
            }
        }
    }

    /// `{ env = "NAME" }` or `{ file = "path" }`.
    fn reference(&self, key: &str, node: &Node, table: &Table) -> Option<Text> {
        let single = if table.len() == 1 { table.iter().next() } else { None };
        let at = node.at.clone();
        match single.map(|(kind, entry)| (kind.as_str(), &entry.node.value)) {
            Some(("env", Value::String(name))) => match (self.document.environment)(name) {
                Some(text) => Some(Text {
                    text,
                    at,
                    origin: Origin::Environment(name.clone()),
                }),
                None => {
                    self.report_at(&at, key, format!("environment variable `{name}` is not set"), None);
                    None
                }
            },
            Some(("file", Value::String(name))) => match read_text(&self.document.directory.join(name)) {
                Ok(text) => Some(Text {
                    text,
                    at,
                    origin: Origin::File(name.clone()),
                }),
                Err(reason) => {
                    self.report_at(&at, key, format!("cannot read file `{name}`: {reason}"), None);
                    None
                }
            },
            _ => {
                let help = "write \"…\", { env = \"NAME\" } or { file = \"path\" }";
                self.report_at(&at, key, "expected a string, found a table", Some(help));
                None
            }
        }
    }
}

/// Whether a table is `{ env = … }` or `{ file = … }`, that is, a string by reference.
pub(super) fn is_reference(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

/// A small text file without its last line end, which editors add and no secret has.
fn read_text(path: &std::path::Path) -> Result<String, String> {
    let describe = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    };
    let metadata = std::fs::metadata(path).map_err(describe)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    let bytes = std::fs::read(path).map_err(describe)?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
