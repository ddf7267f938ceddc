//! One table of the file, read key by key. Whatever was not asked for when the section is dropped is an unknown key.
//!
//! Readers return `None` both when a key is absent and when its value is wrong; in the second case the problem has been
//! recorded in the document, which then never turns into a configuration. So a reader goes on with a default and finds the
//! next problem, and the user sees all of them at once.

mod text;
mod values;

use std::cell::RefCell;

pub use text::{Origin, Text};

use crate::document::{Document, Node, Table, Value};
use crate::problem::{Location, Problem, suggest};
use text::is_reference;

/// A table of the document, or the absence of one (every key of an absent section is absent).
pub struct Section<'d> {
    document: &'d Document<'d>,
    table: Option<&'d Table>,
    label: String,
    at: Location,
    asked: RefCell<Vec<String>>,
    /// Set once the keys are the user's own names and none can be unknown.
    open: bool,
}

impl<'d> Section<'d> {
    pub(crate) fn root(document: &'d Document<'d>) -> Section<'d> {
        let at = Location {
            file: document.file.clone(),
            line: 1,
            column: 1,
        };
        Section::new(document, Some(&document.root), String::new(), at)
    }

    fn new(document: &'d Document<'d>, table: Option<&'d Table>, label: String, at: Location) -> Section<'d> {
        Section {
            document,
            table,
            label,
            at,
            asked: RefCell::default(),
            open: false,
        }
    }

    // ----- The section itself

    /// Where the section begins.
    pub fn at(&self) -> Location {
        self.at.clone()
    }

    /// Whether the section is written at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether `key` is written.
    pub fn has(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    /// Where `key`'s value stands; the section's own place when it is absent.
    pub fn at_key(&self, key: &str) -> Location {
        self.node(key).map_or_else(|| self.at(), |node| node.at.clone())
    }

    /// `[cache] memory`, `[[on]] retry.attempts`: the key as messages name it.
    pub fn name_of(&self, key: &str) -> String {
        match self.label.as_str() {
            "" => key.to_string(),
            label if label.contains("]] ") => format!("{label}.{key}"),
            label => format!("{label} {key}"),
        }
    }

    /// Records a problem at `key` (or at the section when the key is absent), its message beginning with the key's name.
    pub fn report(&self, key: &str, message: impl AsRef<str>, help: Option<&str>) {
        self.report_at(&self.at_key(key), key, message, help);
    }

    /// Records a problem about `key` at some place inside its value.
    pub fn report_at(&self, at: &Location, key: &str, message: impl AsRef<str>, help: Option<&str>) {
        let mut problem = at.problem(format!("{}: {}", self.name_of(key), message.as_ref()));
        problem.help = help.map(str::to_string);
        self.document.report(problem);
    }

    /// Records a problem of the section as a whole.
    pub fn report_whole(&self, message: impl AsRef<str>, help: Option<&str>) {
        let mut problem = self.at.problem(format!("{}: {}", self.label, message.as_ref()));
        problem.help = help.map(str::to_string);
        self.document.report(problem);
    }

    /// Records a problem that lies outside the file.
    pub fn report_elsewhere(&self, problem: Problem) {
        self.document.report(problem);
    }

    /// Records a warning at `key`.
    pub fn warn(&self, key: &str, message: impl AsRef<str>, help: Option<&str>) {
        let mut problem = self
            .at_key(key)
            .problem(format!("{}: {}", self.name_of(key), message.as_ref()));
        problem.help = help.map(str::to_string);
        self.document.warn(problem);
    }

    /// Records that `key` must be there and is not.
    pub fn require(&self, key: &str, help: &str) {
        if !self.has(key) {
            let at = if self.label.is_empty() {
                "the top level".to_string()
            } else {
                self.label.clone()
            };
            self.document
                .report(self.at.problem(format!("{at} needs `{key}`")).help(help));
        }
    }

    /// Ends the reading of this section: unknown keys are reported. (Dropping the section does the same.)
    pub fn finish(self) {}

    // ----- Sections inside

    /// The section `key`; an absent one when it is not written.
    pub fn section(&self, key: &str) -> Section<'d> {
        self.optional_section(key)
            .unwrap_or_else(|| Section::new(self.document, None, self.child_label(key), self.at()))
    }

    /// The section `key`, if it is written.
    pub fn optional_section(&self, key: &str) -> Option<Section<'d>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Table(table) => Some(Section::new(
                self.document,
                Some(table),
                self.child_label(key),
                node.at.clone(),
            )),
            other => {
                let message = format!("expected a section, found {}", other.describe());
                let help = match self.label.starts_with("[[") {
                    true => format!("write {key} = {{ … }}"),
                    false => format!("write {}", self.child_label(key)),
                };
                self.report(key, message, Some(&help));
                None
            }
        }
    }

    /// The sections whose names the user chooses: `[store.main]`, `[store.users]`.
    pub fn named(&self, key: &str) -> Vec<(String, Section<'d>)> {
        let Some(mut group) = self.optional_section(key) else {
            return Vec::new();
        };
        group.open = true;
        let Some(table) = group.table else { return Vec::new() };
        table
            .keys()
            .filter_map(|name| Some((name.clone(), group.optional_section(name)?)))
            .collect()
    }

    /// The items of an array of tables: each `[[route]]`, or inline tables in an array. A single inline table is a list of one.
    pub fn list(&self, key: &str) -> Vec<Section<'d>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let label = match self.label.as_str() {
            "" => format!("[[{key}]]"),
            _ => self.child_label(key),
        };
        let item = |node: &'d Node| match &node.value {
            Value::Table(table) => Some(Section::new(self.document, Some(table), label.clone(), node.at.clone())),
            other => {
                self.report_at(
                    &node.at,
                    key,
                    format!("expected a table, found {}", other.describe()),
                    None,
                );
                None
            }
        };
        match &node.value {
            Value::Array(items) => items.iter().filter_map(item).collect(),
            Value::Table(table) if self.label.is_empty() && numbered(table) => {
                let first = table.keys().next().map_or("0", String::as_str);
                self.report(
                    key,
                    format!("there is no [[{key}]] {first}: the file has none"),
                    Some("write it into the file; an override changes what is there"),
                );
                Vec::new()
            }
            Value::Table(_) if self.label.is_empty() => {
                self.report(
                    key,
                    "expected an array of tables",
                    Some(&format!("write [[{key}]] with two brackets")),
                );
                Vec::new()
            }
            _ => item(node).into_iter().collect(),
        }
    }

    /// The keys of a table whose keys are the user's own (header names), each with its place.
    pub fn keys(&mut self) -> Vec<(String, Location)> {
        self.open = true;
        let table = self.table.into_iter().flatten();
        table.map(|(key, entry)| (key.clone(), entry.key_at.clone())).collect()
    }

    // ----- Inside

    /// The value of `key`, which counts as known from now on.
    fn node(&self, key: &str) -> Option<&'d Node> {
        let node = self.table.and_then(|table| table.get(key)).map(|entry| &entry.node);
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| known == key) {
            asked.push(key.to_string());
            self.document
                .asked
                .borrow_mut()
                .push((self.name_of(key), node.is_some()));
        }
        node
    }

    /// Whether `key` is written as a table or an array, for values that have a short and a long form.
    pub(crate) fn is_table(&self, key: &str) -> bool {
        matches!(self.node(key), Some(Node { value: Value::Table(table), .. }) if !is_reference(table))
    }

    /// Whether `key` is written as an array.
    pub(crate) fn is_array(&self, key: &str) -> bool {
        matches!(
            self.node(key),
            Some(Node {
                value: Value::Array(_),
                ..
            })
        )
    }

    /// Whether `key` is written as an array with nothing in it.
    pub(crate) fn is_empty_array(&self, key: &str) -> bool {
        matches!(self.node(key), Some(Node { value: Value::Array(items), .. }) if items.is_empty())
    }

    /// Whether `key` is the literal `false` (for "switch this off" beside a table or a text).
    pub(crate) fn is_false(&self, key: &str) -> bool {
        matches!(
            self.node(key),
            Some(Node {
                value: Value::Boolean(false),
                ..
            })
        )
    }

    pub(crate) fn is_boolean(&self, key: &str) -> bool {
        matches!(
            self.node(key),
            Some(Node {
                value: Value::Boolean(_),
                ..
            })
        )
    }

    fn child_label(&self, key: &str) -> String {
        match self.label.as_str() {
            "" => format!("[{key}]"),
            label if label.starts_with("[[") && label.ends_with("]]") => format!("{label} {key}"),
            label if label.starts_with("[[") => format!("{label}.{key}"),
            label => format!("{}.{key}]", label.trim_end_matches(']')),
        }
    }

    fn report_unknown(&self) {
        let (Some(table), false) = (self.table, self.open) else {
            return;
        };
        let asked = self.asked.borrow();
        for (key, entry) in table.iter().filter(|(key, _)| !asked.contains(key)) {
            let is_section = self.label.is_empty() && matches!(entry.node.value, Value::Table(_) | Value::Array(_));
            let message = match self.label.as_str() {
                "" if is_section => format!("unknown section [{key}]"),
                "" => format!("unknown key `{key}` at the top level"),
                label => format!("unknown key `{key}` in {label}"),
            };
            let show = |name: &str| {
                if is_section {
                    format!("[{name}]")
                } else {
                    format!("`{name}`")
                }
            };
            let help = match suggest(key, asked.iter().map(String::as_str)) {
                Some(close) => format!("did you mean {}?", show(close)),
                None => format!(
                    "known are {}",
                    asked.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ")
                ),
            };
            self.document.report(entry.key_at.problem(message).help(help));
        }
    }
}

/// Whether a table came of `--set route.0.timeout=…`, which counts items that are not there.
fn numbered(table: &Table) -> bool {
    !table.is_empty() && table.keys().all(|key| key.bytes().all(|b| b.is_ascii_digit()))
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.report_unknown();
    }
}
