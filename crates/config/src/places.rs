//! Where each key of a file stands, kept after the file has been read: what only a later check can find wrong still gets its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Node, Table, Value};
use crate::problem::Location;

/// The place of every value, by the keys on the way to it; without the values, which may be secrets.
#[derive(Debug, Clone)]
pub struct Places {
    file: Arc<str>,
    by_path: BTreeMap<Vec<String>, Location>,
}

impl Places {
    pub(crate) fn of(file: &Arc<str>, root: &Table) -> Places {
        let mut places = Places {
            file: file.clone(),
            by_path: BTreeMap::new(),
        };
        for (key, entry) in root {
            places.note(vec![key.clone()], &entry.node);
        }
        places
    }

    fn note(&mut self, path: Vec<String>, node: &Node) {
        let below = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect();
        match &node.value {
            Value::Table(table) => {
                for (key, entry) in table {
                    self.note(below(key), &entry.node);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(below(&index.to_string()), item);
                }
            }
            _ => {}
        }
        self.by_path.insert(path, node.at.clone());
    }

    /// Where the value at `path` stands (a number selects an item of an array); the innermost table that exists on the way when the
    /// value does not.
    pub fn find(&self, path: &[&str]) -> Location {
        let mut path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        while !path.is_empty() {
            if let Some(at) = self.by_path.get(&path) {
                return at.clone();
            }
            path.pop();
        }
        Location::whole(self.file.clone())
    }

    /// Whether there is a value at `path`.
    pub fn has(&self, path: &[&str]) -> bool {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        self.by_path.contains_key(&path)
    }
}
