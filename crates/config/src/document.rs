//! A parsed file: a tree whose every key and value knows its place, with the overrides of the command line laid over it.
//!
//! The tree is ours and not the TOML crate's, because an override has a place of its own (`--set cache.memory`) and because
//! owning it keeps the readers free of lifetimes into the text.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::places::Places;
use crate::problem::{Location, Problem};
use crate::section::Section;

/// A key's or an array's value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub at: Location,
}

/// The TOML kinds, owned.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A table's entries, by key.
pub(crate) type Table = BTreeMap<String, Entry>;

/// One `key = value`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key_at: Location,
    pub node: Node,
}

impl Value {
    /// The kind with its article, for "found …".
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::String(text) => format!("the string {text:?}"),
            Value::Integer(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Boolean(value) => format!("the boolean {value}"),
            Value::Datetime(text) => format!("the date {text}"),
            Value::Array(_) => "an array".to_string(),
            Value::Table(_) => "a table".to_string(),
        }
    }
}

/// A file being read: the tree, and the problems found so far. Start with [`Document::root`], end with [`Document::finish`].
pub struct Document<'e> {
    pub(crate) root: Table,
    pub(crate) file: Arc<str>,
    pub(crate) directory: PathBuf,
    pub(crate) environment: &'e dyn Fn(&str) -> Option<String>,
    pub(crate) problems: RefCell<Vec<Problem>>,
    pub(crate) warnings: RefCell<Vec<Problem>>,
    /// Every key that was asked for, as `[section] key`, and whether it was there: lets a test prove that the reference file
    /// has them all.
    pub(crate) asked: RefCell<Vec<(String, bool)>>,
}

impl<'e> Document<'e> {
    /// Parses `text` and lays `overrides` (`section.key=value`) over it.
    ///
    /// `file` is the name for messages; `directory` is what relative paths start from; `environment` looks up the variables
    /// of `{ env = "NAME" }`. Fails with every syntax error, in the file and in the overrides.
    pub fn parse(
        file: &str,
        text: &str,
        overrides: &[String],
        directory: &Path,
        environment: &'e dyn Fn(&str) -> Option<String>,
    ) -> Result<Document<'e>, Vec<Problem>> {
        let source = Source::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| {
                source
                    .at(error.span().unwrap_or(0..0))
                    .problem(format!("not valid TOML: {}", error.message()))
            })
            .collect();
        let mut root = if problems.is_empty() {
            source.table(table.get_ref(), &mut problems)
        } else {
            Table::new()
        };
        let syntax_is_sound = problems.is_empty();
        for assignment in overrides {
            match parse_override(assignment, &mut problems) {
                Some((path, node)) if syntax_is_sound => {
                    if let Err(problem) = lay_over(&mut root, &path, node) {
                        problems.push(problem);
                    }
                }
                _ => {}
            }
        }
        if !problems.is_empty() {
            return Err(in_order(problems));
        }
        Ok(Document {
            root,
            file: source.file,
            directory: directory.to_path_buf(),
            environment,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            asked: RefCell::default(),
        })
    }

    /// The top level of the file.
    pub fn root(&self) -> Section<'_> {
        Section::root(self)
    }

    /// Where each key stands.
    pub fn places(&self) -> Places {
        Places::of(&self.file, &self.root)
    }

    /// Records a problem.
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Records something that works but is likely not meant.
    pub fn warn(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Whether a problem has been recorded so far.
    pub fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// All problems, top to bottom; or, when there are none, the warnings.
    pub fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let problems = self.problems.into_inner();
        if problems.is_empty() {
            Ok(in_order(self.warnings.into_inner()))
        } else {
            Err(in_order(problems))
        }
    }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| a.order().cmp(&b.order()));
    problems
}

/// Turns byte ranges of one text into places.
struct Source<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    /// Set for an override, whose values all stand at the one place `--set KEY`.
    whole: bool,
}

impl<'t> Source<'t> {
    fn new(file: &str, text: &'t str) -> Source<'t> {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Source {
            file: file.into(),
            text,
            line_starts,
            whole: false,
        }
    }

    fn at(&self, span: Range<usize>) -> Location {
        if self.whole {
            return Location::whole(self.file.clone());
        }
        let offset = span.start.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let column = self
            .text
            .get(self.line_starts[line - 1]..offset)
            .map_or(0, |before| before.chars().count())
            + 1;
        Location {
            file: self.file.clone(),
            line: line as u32,
            column: column as u32,
        }
    }

    fn table(&self, table: &DeTable<'_>, problems: &mut Vec<Problem>) -> Table {
        let mut entries = Table::new();
        for (key, value) in table {
            let key_at = self.at(key.span());
            let node = Node {
                at: self.at(value.span()),
                value: self.value(value.get_ref(), value.span(), problems),
            };
            entries.insert(key.get_ref().to_string(), Entry { key_at, node });
        }
        entries
    }

    fn value(&self, value: &DeValue<'_>, span: Range<usize>, problems: &mut Vec<Problem>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    problems.push(
                        self.at(span)
                            .problem(format!("the integer {integer} does not fit into 64 bits")),
                    );
                    Value::Integer(0)
                }
            },
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .map(|item| Node {
                        at: self.at(item.span()),
                        value: self.value(item.get_ref(), item.span(), problems),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, problems)),
        }
    }
}

/// `section.key=value` as its path and value. The value is TOML when it reads as TOML, else a bare string, so that
/// `--set gateway.listen=0.0.0.0:80` needs no quotes inside quotes.
fn parse_override(assignment: &str, problems: &mut Vec<Problem>) -> Option<(Vec<String>, Node)> {
    let Some((key, text)) = assignment.split_once('=') else {
        let problem = Location::whole(format!("--set {assignment}")).problem("an override is KEY=VALUE");
        problems.push(problem.help("for example --set cache.memory=64MiB"));
        return None;
    };
    let (key, text) = (key.trim(), text.trim());
    let at = Location::whole(format!("--set {key}"));
    let Some(path) = parse_key(key) else {
        problems.push(
            at.problem(format!("`{key}` is not a key"))
                .help("write for example gateway.listen=127.0.0.1:8080"),
        );
        return None;
    };
    let mut source = Source::new(&at.file, text);
    source.whole = true;
    let value = match DeValue::parse(text) {
        Ok(value) => source.value(value.get_ref(), value.span(), problems),
        // A text that begins like TOML was meant as TOML; silently taking `[1, 2` for a string helps nobody.
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            problems.push(at.problem(format!("not valid TOML: {}", error.message())));
            return None;
        }
        Err(_) => Value::String(text.to_string()),
    };
    Some((path, Node { value, at }))
}

/// A dotted TOML key (`cache.table."my table".ttl`) as its parts.
fn parse_key(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let parsed = DeTable::parse(&text).ok()?;
    let mut path = Vec::new();
    let mut table = parsed.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// Sets `path` in `root`, making the tables on the way. A number selects an item of an array (`route.0.timeout`).
fn lay_over(root: &mut Table, path: &[String], node: Node) -> Result<(), Problem> {
    let at = node.at.clone();
    let (first, rest) = match path.split_first() {
        Some(split) => split,
        None => return Ok(()),
    };
    let entry = root.entry(first.clone()).or_insert_with(|| Entry {
        key_at: at.clone(),
        node: Node {
            value: Value::Table(Table::new()),
            at: at.clone(),
        },
    });
    if rest.is_empty() {
        *entry = Entry { key_at: at, node };
        return Ok(());
    }
    lay_into(&mut entry.node, first, rest, node)
}

fn lay_into(target: &mut Node, walked: &str, rest: &[String], node: Node) -> Result<(), Problem> {
    match &mut target.value {
        Value::Table(table) => lay_over(table, rest, node),
        Value::Array(items) => {
            let count = items.len();
            let item = rest[0].parse::<usize>().ok().and_then(|index| items.get_mut(index));
            match (item, rest.len()) {
                (Some(item), 1) => {
                    *item = node;
                    Ok(())
                }
                (Some(item), _) => lay_into(item, &rest[0], &rest[1..], node),
                (None, _) => Err(node
                    .at
                    .problem(format!(
                        "`{walked}` is a list of {count}, and it has no item `{}`",
                        rest[0]
                    ))
                    .help("items are counted from 0")),
            }
        }
        // `{ env = "X" }` in the file is a table and may be replaced as a whole only; a plain value likewise.
        // Its content stays out of the message: it may be a secret.
        _ => Err(node.at.problem(format!("`{walked}` is a value, not a section"))),
    }
}
