//! What an answer depends on: a read set, which all answers of a plan share, and the values of one request.

use crate::filing::{Atom, atoms};
use mainstay_model::{Expr, RelationId, Value};
use std::sync::Arc;

/// Everything that the answers of one plan depend on, whatever the values.
#[derive(Debug)]
pub struct ReadSet {
    parts: Box<[Part]>,
}

/// One table's part, and for each alternative of its filter what it is filed under.
#[derive(Debug)]
pub(crate) struct Part {
    pub reads: TableReads,
    pub atoms: Box<[Atom]>,
}

/// Rows and columns of one table.
#[derive(Clone, Debug)]
pub struct TableReads {
    /// The table.
    pub relation: RelationId,
    /// An update that touches none of them changes nothing. Inserts and deletes always count.
    pub columns: Columns,
    /// Which rows, over the row at hand; [`mainstay_model::ExprKind::Param`] refers to [`Footprint::new`]'s values. What cannot be
    /// reproduced exactly counts as "maybe". `None` is every row.
    pub filter: Option<Expr>,
    /// Whether a row that satisfies the filter is certainly in the answer; else something besides decides, of which the row alone
    /// does not tell: a join, a page. Makes no difference to what is dropped, only to what is said of it.
    pub certain: bool,
}

impl ReadSet {
    /// One part per table and place in the query.
    pub fn new(tables: Vec<TableReads>) -> ReadSet {
        let part = |reads: TableReads| Part {
            atoms: atoms(reads.filter.as_ref()).into(),
            reads,
        };
        ReadSet {
            parts: tables.into_iter().map(part).collect(),
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// Everything that one answer depends on.
#[derive(Clone, Debug)]
pub struct Footprint {
    pub(crate) read_set: Arc<ReadSet>,
    pub(crate) values: Box<[Option<Value>]>,
}

impl Footprint {
    /// A read set with the values of one request; `None` for one that nobody can tell.
    pub fn new(read_set: Arc<ReadSet>, values: Vec<Option<Value>>) -> Footprint {
        Footprint {
            read_set,
            values: values.into(),
        }
    }

    /// What it costs in memory, without the read set, which is its plan's.
    pub(crate) fn bytes(&self) -> usize {
        self.values
            .iter()
            .map(|value| size_of::<Option<Value>>() + value.as_ref().map_or(0, heap_bytes))
            .sum()
    }
}

/// What a value costs in memory beside itself.
pub(crate) fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.capacity() + 16,
        Value::Bytes(bytes) => bytes.capacity() + 16,
        // A long one is on the heap, at some ten digits to four bytes.
        Value::Numeric(_) => 64,
        Value::Array(items) => 32 + items.iter().map(|v| size_of::<Value>() + heap_bytes(v)).sum::<usize>(),
        _ => 0,
    }
}

/// A set of a table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Every column.
    All,
    /// These: bit `n % 64` of word `n / 64`.
    Some(Box<[u64]>),
}

impl Columns {
    /// Whether the set has a column.
    pub fn contains(&self, column: usize) -> bool {
        match self {
            Columns::All => true,
            Columns::Some(words) => words
                .get(column / 64)
                .is_some_and(|word| word >> (column % 64) & 1 == 1),
        }
    }
}

impl FromIterator<u32> for Columns {
    fn from_iter<I: IntoIterator<Item = u32>>(columns: I) -> Columns {
        let mut words: Vec<u64> = Vec::new();
        for column in columns {
            let word = column as usize / 64;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (column % 64);
        }
        Columns::Some(words.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_a_set() {
        let columns: Columns = [0, 63, 64, 200].into_iter().collect();
        for column in 0..300 {
            assert_eq!(columns.contains(column), [0, 63, 64, 200].contains(&column), "{column}");
            assert!(Columns::All.contains(column));
        }
    }
}
