//! What an answer depends on.

use mainstay_model::{Expr, RelationId};

/// Everything that an answer depends on.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// One part per table and place in the query.
    pub tables: Vec<TableFootprint>,
}

/// Rows and columns of one table.
#[derive(Clone, Debug)]
pub struct TableFootprint {
    /// The table.
    pub relation: RelationId,
    /// An update that touches none of them changes nothing. Inserts and deletes always count.
    pub columns: Columns,
    /// Which rows, over the row at hand, with values in the place of parameters and claims; what cannot be reproduced exactly
    /// counts as "maybe". `None` is every row.
    pub filter: Option<Expr>,
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
