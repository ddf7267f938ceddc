//! Rows in bulk: what `import` brings, at the speed of the engine's own way in, all of them or none.

use mainstay_model::{Error, RelationId, Result};
use std::ops::Range;

/// What is to be loaded. It runs as `service_role`: privileges and policies are not asked, everything else (types, constraints,
/// triggers, captured changes) is as for any other write. Sequences behind columns go on above the values loaded.
pub struct Load {
    /// The table.
    pub relation: RelationId,
    /// The columns that each row gives; the others take their defaults. As with `COPY`, values of `GENERATED ALWAYS` identity
    /// columns are taken as given.
    pub columns: Vec<u32>,
    /// The rows.
    pub rows: Box<dyn Rows>,
    /// Load nothing if the table held a row before the transaction; [`Loaded::skipped`] then says so.
    pub only_into_empty: bool,
}

/// Rows, one after the other, each value as the text that its type's input function reads.
pub trait Rows: Send {
    /// Fills in the next row; `false` when there is none. An error ends the load, and nothing of it stays.
    fn next(&mut self, row: &mut TextRow) -> Result<bool>;
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows.
    pub rows: u64,
    /// The table held rows already, and was to be filled only if it did not.
    pub skipped: bool,
}

/// Why nothing was loaded.
#[derive(Clone, Debug)]
pub struct LoadFailure {
    /// What is wrong.
    pub error: Error,
    /// Which of the loads, counted from 0.
    pub load: usize,
    /// With which row, counted from 0, where that is known.
    pub row: Option<u64>,
    /// With which column, where it is one column's value.
    pub column: Option<u32>,
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> LoadFailure {
        LoadFailure {
            error,
            load: 0,
            row: None,
            column: None,
        }
    }
}

/// One row's values as text, in one buffer that is used again and again.
#[derive(Clone, Debug, Default)]
pub struct TextRow {
    text: String,
    values: Vec<Option<Range<usize>>>,
}

impl TextRow {
    /// Forgets the values.
    pub fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
    }

    /// Adds NULL.
    pub fn push_null(&mut self) {
        self.values.push(None);
    }

    /// Adds a value.
    pub fn push(&mut self, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        self.values.push(Some(start..self.text.len()));
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values in order, NULL as `None`.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        self.values.iter().map(|range| range.clone().map(|r| &self.text[r]))
    }

    /// One value; `None` for NULL and for one that is not there.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.values.get(index)?.clone().map(|r| &self.text[r])
    }
}

/// Rows that are in memory already: what `schema.sql` and `data/` bring.
pub struct RowsInMemory {
    rows: std::vec::IntoIter<Vec<Option<String>>>,
}

impl RowsInMemory {
    /// Of each row the text of each column, NULL as `None`.
    pub fn new(rows: Vec<Vec<Option<String>>>) -> RowsInMemory {
        RowsInMemory { rows: rows.into_iter() }
    }
}

impl Rows for RowsInMemory {
    fn next(&mut self, row: &mut TextRow) -> Result<bool> {
        row.clear();
        let Some(values) = self.rows.next() else {
            return Ok(false);
        };
        for value in values {
            match value {
                Some(text) => row.push(&text),
                None => row.push_null(),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_was_pushed() {
        let mut rows = RowsInMemory::new(vec![vec![Some("a".to_owned()), None, Some(String::new())], Vec::new()]);
        let mut row = TextRow::default();
        assert!(rows.next(&mut row).unwrap());
        assert_eq!(row.iter().collect::<Vec<_>>(), [Some("a"), None, Some("")]);
        assert_eq!(
            (row.len(), row.get(0), row.get(1), row.get(9)),
            (3, Some("a"), None, None)
        );
        assert!(rows.next(&mut row).unwrap() && row.is_empty());
        assert!(!rows.next(&mut row).unwrap());
    }
}
