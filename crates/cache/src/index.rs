//! Which answers a change may touch, found without looking at them all.
//!
//! Answers are filed as [`crate::filing`] says; a change looks under the values of its images. What it finds are candidates;
//! whether one is touched its whole filter decides, and its columns.
//!
//! What is removed leaves its postings behind, until they are the larger part of their list: so a removal costs the same however
//! long the list is. A posting without an entry is passed over.

use crate::Key;
use crate::failpoint;
use crate::filing::Place;
use crate::footprint::{Footprint, TableReads, heap_bytes};
use crate::predicate::{Given, Truth, decide};
use crate::ranges::Ranges;
use ahash::RandomState;
use mainstay_model::{Change, ChangeKind, RelationId, Row, Value};
use smallvec::SmallVec;
use std::collections::btree_map::Entry as Ordered;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// One kept answer within the index. Never used twice.
pub(crate) type EntryId = u64;

/// An entry's part for one table.
type Posting = (EntryId, u32);

/// At most so many answers per table that every change of it has to be compared with. Beyond it the oldest goes: a change must
/// stay quick, whatever is asked.
pub(crate) const RESIDUAL_MAX: usize = 1024;

/// Where the parts of an answer are filed, worked out before any lock is taken.
pub(crate) struct Filing(Vec<(u32, Place)>);

impl Filing {
    /// The places of a footprint.
    pub fn of(footprint: &Footprint) -> Filing {
        let mut places = Vec::new();
        for (part, of) in footprint.read_set.parts().iter().enumerate() {
            places.extend(of.atoms.iter().map(|atom| (part as u32, atom.place(&footprint.values))));
        }
        Filing(places)
    }

    /// What filing costs in memory: postings, their lists and what remains behind for a while. Measured, see `tests/memory.rs`.
    pub fn bytes(&self) -> usize {
        let value = |v: &Option<Value>| v.as_ref().map_or(0, heap_bytes);
        self.0
            .iter()
            .map(|(_, place)| match place {
                Place::Equal(_, values) => values.len() * 144,
                Place::Range(_, low, high) => 416 + 2 * (value(low) + value(high)),
                Place::Residual | Place::Whole => 96,
            })
            .sum()
    }
}

/// The kept answers of one store, by what they depend on. What may grow large is in trees: a hash table that has to grow doubles
/// its memory at once, and lets the writer wait for it.
#[derive(Default)]
pub(crate) struct Index {
    entries: BTreeMap<EntryId, Filed>,
    tables: HashMap<RelationId, Table, RandomState>,
    hash: RandomState,
}

/// An entry and where it is filed.
struct Filed {
    key: Key,
    footprint: Footprint,
    places: Box<[(RelationId, Spot)]>,
}

/// Where a posting is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spot {
    Equal(u32, u64),
    Range(u32),
    Residual,
    Whole,
}

/// The postings of one table.
#[derive(Default)]
struct Table {
    /// By the hash of (column, value). A collision finds a candidate too many.
    equal: BTreeMap<u64, List>,
    /// How many postings each column has in `equal`: which columns of an image are worth hashing.
    equal_columns: HashMap<u32, usize, RandomState>,
    ranges: HashMap<u32, Ranges<Posting>, RandomState>,
    residual: List,
    whole: List,
}

/// Postings, oldest first.
#[derive(Default)]
struct List {
    postings: SmallVec<[Posting; 1]>,
    removed: u32,
}

impl List {
    /// Notes that one is gone; `true` if none is left.
    fn removed_one(&mut self, alive: &dyn Fn(Posting) -> bool) -> bool {
        self.removed += 1;
        if self.removed as usize * 2 > self.postings.len() {
            self.postings.retain(|posting| alive(*posting));
            self.postings.shrink_to_fit();
            self.removed = 0;
        }
        self.postings.is_empty()
    }

    fn len(&self) -> usize {
        self.postings.len() - self.removed as usize
    }
}

impl Index {
    /// Files an entry.
    pub fn insert(&mut self, id: EntryId, key: Key, footprint: Footprint, filing: Filing) {
        let Index { entries, tables, hash } = self;
        let mut places = Vec::with_capacity(filing.0.len());
        for (part, place) in filing.0 {
            let posting = (id, part);
            let relation = footprint.read_set.parts()[part as usize].reads.relation;
            let table = tables.entry(relation).or_default();
            match place {
                Place::Equal(column, values) => {
                    for value in values {
                        let at = hash.hash_one((column, &value));
                        table.equal.entry(at).or_default().postings.push(posting);
                        *table.equal_columns.entry(column).or_default() += 1;
                        places.push((relation, Spot::Equal(column, at)));
                    }
                }
                Place::Range(column, low, high) => {
                    let ranges = table.ranges.entry(column).or_default();
                    let alive = |(other, _): Posting| other == id || entries.contains_key(&other);
                    ranges.insert(low, high, posting, &alive);
                    places.push((relation, Spot::Range(column)));
                }
                Place::Residual => {
                    table.residual.postings.push(posting);
                    places.push((relation, Spot::Residual));
                }
                Place::Whole => {
                    table.whole.postings.push(posting);
                    places.push((relation, Spot::Whole));
                }
            }
        }
        let places = places.into();
        entries.insert(id, Filed { key, footprint, places });
    }

    /// Takes an entry out, and says under which key it was.
    pub fn remove(&mut self, id: EntryId) -> Option<Key> {
        let filed = self.entries.remove(&id)?;
        let entries = &self.entries;
        let alive = |(id, _): Posting| entries.contains_key(&id);
        for (relation, spot) in &filed.places {
            let Some(table) = self.tables.get_mut(relation) else {
                continue;
            };
            match spot {
                Spot::Equal(column, at) => {
                    if let Ordered::Occupied(mut list) = table.equal.entry(*at)
                        && list.get_mut().removed_one(&alive)
                    {
                        list.remove();
                    }
                    if let Entry::Occupied(mut count) = table.equal_columns.entry(*column) {
                        *count.get_mut() -= 1;
                        if *count.get() == 0 {
                            count.remove();
                        }
                    }
                }
                Spot::Range(column) => {
                    if let Entry::Occupied(mut ranges) = table.ranges.entry(*column) {
                        ranges.get_mut().remove(&alive);
                        if ranges.get().is_empty() {
                            ranges.remove();
                        }
                    }
                }
                Spot::Residual => drop(table.residual.removed_one(&alive)),
                Spot::Whole => drop(table.whole.removed_one(&alive)),
            }
        }
        Some(filed.key)
    }

    /// The oldest entries of tables that have too many which every change is compared with.
    pub fn crowded_out(&self) -> Vec<EntryId> {
        self.tables
            .values()
            .filter(|table| table.residual.len() > RESIDUAL_MAX)
            .flat_map(|table| {
                let alive = |(id, _): &&Posting| self.entries.contains_key(id);
                let too_many = table.residual.len() - RESIDUAL_MAX;
                table
                    .residual
                    .postings
                    .iter()
                    .filter(alive)
                    .take(too_many)
                    .map(|(id, _)| *id)
            })
            .collect()
    }

    /// Takes everything out, and says what was there.
    pub fn clear(&mut self) -> Vec<(EntryId, Key)> {
        self.tables = HashMap::default();
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().map(|(id, filed)| (id, filed.key)).collect()
    }

    /// Every entry that the change may touch, and whether it certainly does; one may be named more than once.
    pub fn probe(&self, change: &Change, touched: &mut dyn FnMut(EntryId, Truth)) {
        let Some(table) = self.tables.get(&change.relation) else {
            return;
        };
        let mut consider = |(id, part): Posting| {
            if let Some(filed) = self.entries.get(&id)
                && let Some(part) = filed.footprint.read_set.parts().get(part as usize)
            {
                match may_touch(&part.reads, &filed.footprint.values, change) {
                    Truth::No => {}
                    truth => touched(id, truth),
                }
            }
        };
        let unknown = match change.kind {
            ChangeKind::Truncate => true,
            ChangeKind::Insert => change.after.is_none(),
            ChangeKind::Update => change.before.is_none() || change.after.is_none(),
            ChangeKind::Delete => change.before.is_none(),
        };
        if unknown {
            // Without an image there is nothing to look under.
            for (id, filed) in &self.entries {
                for (part, of) in filed.footprint.read_set.parts().iter().enumerate() {
                    if of.reads.relation == change.relation {
                        consider((*id, part as u32));
                    }
                }
            }
            return;
        }
        table.whole.postings.iter().copied().for_each(&mut consider);
        table.residual.postings.iter().copied().for_each(&mut consider);
        let before = before_image(change);
        for (which, image) in [before, change.after.as_ref()].into_iter().enumerate() {
            let Some(image) = image else { continue };
            // NULL satisfies no equality and lies in no range; what did not change has been looked under.
            let worth_a_look = |column: u32| {
                let value = image.get(column as usize).filter(|v| !v.is_null())?;
                let seen = which == 1 && before.is_some_and(|row| row.get(column as usize) == Some(value));
                (!seen).then_some(value)
            };
            for &column in table.equal_columns.keys() {
                if let Some(value) = worth_a_look(column)
                    && let Some(list) = table.equal.get(&self.hash.hash_one((column, value)))
                {
                    list.postings.iter().copied().for_each(&mut consider);
                }
            }
            for (&column, ranges) in &table.ranges {
                if let Some(value) = worth_a_look(column) {
                    ranges.stab(value, &mut consider);
                }
            }
        }
    }
}

fn before_image(change: &Change) -> Option<&Row> {
    match failpoint::is_set("ignore-before-images") {
        true => None,
        false => change.before.as_ref(),
    }
}

/// Whether a change may touch an answer with this footprint.
pub(crate) fn touches(footprint: &Footprint, change: &Change) -> bool {
    footprint.read_set.parts().iter().any(|part| {
        part.reads.relation == change.relation && may_touch(&part.reads, &footprint.values, change) != Truth::No
    })
}

fn may_touch(reads: &TableReads, values: &[Option<Value>], change: &Change) -> Truth {
    let most = if reads.certain { Truth::Yes } else { Truth::Maybe };
    let matches = |row: &Row| match &reads.filter {
        None => most,
        Some(filter) => decide(filter, Given { row, values }).min(most),
    };
    let blind = failpoint::is_set("ignore-before-images");
    match (change.kind, before_image(change), &change.after) {
        (ChangeKind::Truncate, ..) => Truth::Yes,
        (ChangeKind::Insert, _, Some(after)) => matches(after),
        (ChangeKind::Delete, Some(before), _) => matches(before),
        (ChangeKind::Delete, None, _) if blind => Truth::No,
        (ChangeKind::Update, Some(old), Some(new)) => {
            // Rows of different widths are of different schemas: nothing is known of them.
            let moved = old.len() != new.len() || (0..old.len()).any(|i| old[i] != new[i] && reads.columns.contains(i));
            match moved {
                true => matches(old).max(matches(new)),
                false => Truth::No,
            }
        }
        (ChangeKind::Update, None, Some(new)) if blind => matches(new),
        // No image, no knowledge.
        _ => Truth::Maybe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::{Columns, ReadSet};
    use mainstay_model::{Expr, Identity, Operator, Type};
    use proptest::prelude::*;
    use std::sync::Arc;

    const TABLE: RelationId = RelationId(7);

    fn footprint(filter: Option<Expr>) -> Footprint {
        let reads = TableReads {
            relation: TABLE,
            columns: Columns::All,
            filter,
            certain: true,
        };
        Footprint::new(Arc::new(ReadSet::new(vec![reads])), Vec::new())
    }

    fn row(values: &[Option<i64>]) -> Row {
        values.iter().map(|v| v.map_or(Value::Null, Value::Int)).collect()
    }

    fn condition() -> impl Strategy<Value = Expr> {
        let operator = proptest::sample::select(vec![
            Operator::Eq,
            Operator::Eq,
            Operator::Ne,
            Operator::Lt,
            Operator::Le,
            Operator::Gt,
            Operator::Ge,
            Operator::IsDistinctFrom,
        ]);
        let value = proptest::option::weighted(0.9, -4i64..4);
        let leaf = (operator, 0u32..3, value, any::<bool>()).prop_map(|(operator, column, value, swap)| {
            let column = Expr::column(column, Type::Int8);
            let value = Expr::literal(value.map_or(Value::Null, Value::Int), Type::Int8);
            let (left, right) = if swap { (value, column) } else { (column, value) };
            Expr::compare(operator, left, right)
        });
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Expr::all),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Expr::any),
                inner.prop_map(Expr::negate),
            ]
        })
    }

    proptest! {
        /// What the index finds is what looking at every entry finds, before and after removals.
        #[test]
        fn a_probe_finds_what_a_scan_finds(
            filters in proptest::collection::vec(proptest::option::weighted(0.95, condition()), 1..40),
            gone in proptest::collection::vec(any::<bool>(), 40),
            changes in proptest::collection::vec(
                (0u8..3, [proptest::option::of(-5i64..5), proptest::option::of(-5i64..5), proptest::option::of(-5i64..5)],
                 [proptest::option::of(-5i64..5), proptest::option::of(-5i64..5), proptest::option::of(-5i64..5)]), 1..20),
        ) {
            let mut index = Index::default();
            let key = Key::new(1, 1, &[], &Identity::anon(), &[], "");
            let footprints: Vec<Footprint> = filters.into_iter().map(footprint).collect();
            for (id, footprint) in footprints.iter().enumerate() {
                index.insert(id as u64, key, footprint.clone(), Filing::of(footprint));
            }
            for round in 0..2 {
                for (kind, before, after) in &changes {
                    let (kind, before, after) = match kind {
                        0 => (ChangeKind::Insert, None, Some(row(after))),
                        1 => (ChangeKind::Update, Some(row(before)), Some(row(after))),
                        _ => (ChangeKind::Delete, Some(row(before)), None),
                    };
                    let change = Change { relation: TABLE, kind, before, after };
                    let mut found = Vec::new();
                    index.probe(&change, &mut |id, _| found.push(id));
                    found.sort_unstable();
                    found.dedup();
                    let expected: Vec<u64> = footprints.iter().enumerate()
                        .filter(|(id, footprint)| (round == 0 || !gone[*id]) && touches(footprint, &change))
                        .map(|(id, _)| id as u64).collect();
                    prop_assert_eq!(found, expected);
                }
                for (id, _) in footprints.iter().enumerate().filter(|(id, _)| gone[*id]) {
                    index.remove(id as u64);
                }
            }
            for (id, _) in footprints.iter().enumerate() {
                index.remove(id as u64);
            }
            let table = index.tables.get(&TABLE);
            prop_assert!(table.is_none_or(|t| t.equal.is_empty() && t.equal_columns.is_empty()
                && t.residual.postings.is_empty() && t.whole.postings.is_empty()));
        }
    }

    #[test]
    fn those_that_every_change_is_compared_with_are_bounded() {
        let mut index = Index::default();
        let key = Key::new(1, 1, &[], &Identity::anon(), &[], "");
        let unequal = |n| {
            Expr::compare(
                Operator::Ne,
                Expr::column(0, Type::Int8),
                Expr::literal(Value::Int(n), Type::Int8),
            )
        };
        for id in 0..3 * RESIDUAL_MAX as u64 {
            let footprint = footprint(Some(unequal(id as i64)));
            let filing = Filing::of(&footprint);
            index.insert(id, key, footprint, filing);
            let out = index.crowded_out();
            let expected: Vec<u64> = id.checked_sub(RESIDUAL_MAX as u64).into_iter().collect();
            assert_eq!(out, expected);
            for id in out {
                index.remove(id);
            }
        }
        assert!(index.tables[&TABLE].residual.postings.len() <= 2 * RESIDUAL_MAX + 2);
    }
}
