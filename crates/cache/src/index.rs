//! Which answers a change may touch, found without looking at them all.

use crate::failpoint;
use crate::footprint::{Footprint, TableFootprint};
use crate::predicate::{Truth, decide};
use mainstay_model::{Change, ChangeKind, RelationId, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// One kept answer within the index.
pub(crate) type EntryId = u64;

/// The kept answers of one store, by what they depend on.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<EntryId, Arc<Footprint>, ahash::RandomState>,
    tables: HashMap<RelationId, Vec<(EntryId, usize)>, ahash::RandomState>,
}

impl Index {
    pub fn insert(&mut self, id: EntryId, footprint: Arc<Footprint>) {
        for (i, table) in footprint.tables.iter().enumerate() {
            self.tables.entry(table.relation).or_default().push((id, i));
        }
        self.entries.insert(id, footprint);
    }

    pub fn remove(&mut self, id: EntryId) {
        let Some(footprint) = self.entries.remove(&id) else { return };
        for table in &footprint.tables {
            if let Some(postings) = self.tables.get_mut(&table.relation) {
                postings.retain(|(entry, _)| *entry != id);
            }
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.tables.clear();
    }

    /// Every entry that the change may touch.
    pub fn probe(&self, change: &Change, touched: &mut dyn FnMut(EntryId)) {
        for (id, part) in self.tables.get(&change.relation).into_iter().flatten() {
            if let Some(footprint) = self.entries.get(id)
                && may_touch(&footprint.tables[*part], change)
            {
                touched(*id);
            }
        }
    }

}

/// Whether a change may touch an answer with this footprint.
pub(crate) fn touches(footprint: &Footprint, change: &Change) -> bool {
    footprint.tables.iter().any(|table| table.relation == change.relation && may_touch(table, change))
}

fn may_touch(table: &TableFootprint, change: &Change) -> bool {
    let matches = |image: &Option<Arc<[Value]>>| match (image, &table.filter) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(row), Some(filter)) => decide(filter, row) != Truth::No,
    };
    let before = if failpoint::is_set("ignore-before-images") { &None } else { &change.before };
    match (change.kind, before, &change.after) {
        (ChangeKind::Truncate, ..) => true,
        (ChangeKind::Insert, _, after) => after.is_none() || matches(after),
        (ChangeKind::Delete, before, _) => before.is_none() && !failpoint::is_set("ignore-before-images") || matches(before),
        (ChangeKind::Update, Some(old), Some(new)) => {
            let moved = old.iter().zip(new.iter()).enumerate().any(|(i, (a, b))| a != b && table.columns.contains(i));
            moved && (matches(before) || matches(&change.after))
        }
        (ChangeKind::Update, None, after) if failpoint::is_set("ignore-before-images") => matches(after),
        (ChangeKind::Update, ..) => true,
    }
}
