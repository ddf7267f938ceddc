//! Which answers a change may touch, found without looking at them all.
//!
//! Each footprint's filter is taken apart into alternatives (its disjunctive normal form, as far as that stays small), and each
//! alternative is filed under the one condition in it that selects most: an equality, else a range, else the list of those
//! that have to be looked at each time. A change looks under the values of its images. What it finds are candidates; whether
//! one is touched its whole filter decides.

use crate::failpoint;
use crate::footprint::{Footprint, TableFootprint};
use crate::predicate::{Truth, decide};
use crate::ranges::Ranges;
use ahash::RandomState;
use mainstay_model::{Change, ChangeKind, Expr, ExprKind, Operator, RelationId, SourceId, Type, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// One kept answer within the index.
pub(crate) type EntryId = u64;

/// An entry's part for one table.
type Posting = (EntryId, u32);

/// More alternatives than this are not taken apart.
const ALTERNATIVES_MAX: usize = 16;

/// The kept answers of one store, by what they depend on.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<EntryId, Filed, RandomState>,
    tables: HashMap<RelationId, Table, RandomState>,
    hash: RandomState,
}

/// An entry and where it is filed.
struct Filed {
    footprint: Arc<Footprint>,
    places: Vec<(RelationId, Place)>,
}

/// Where a posting is filed.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Equal(u64),
    Range(u32),
    Residual,
}

/// The postings of one table.
#[derive(Default)]
struct Table {
    /// By the hash of (column, value). A collision finds a candidate too many.
    equal: HashMap<u64, Vec<Posting>, RandomState>,
    /// How many equality postings each column has: which columns of an image are worth hashing.
    equal_columns: HashMap<u32, usize, RandomState>,
    ranges: HashMap<u32, Ranges<Posting>, RandomState>,
    residual: Vec<Posting>,
}

/// The most selective condition of one alternative.
enum Atom {
    /// The column is one of these.
    Equal(u32, Vec<Value>),
    /// The column lies between these.
    Range(u32, Option<Value>, Option<Value>),
    /// Nothing that the index can look under.
    Residual,
    /// Never true: an equality with NULL.
    Never,
}

impl Index {
    /// Files an entry.
    pub fn insert(&mut self, id: EntryId, footprint: Arc<Footprint>) {
        let mut places = Vec::new();
        for (part, table) in footprint.tables.iter().enumerate() {
            let posting = (id, part as u32);
            let of = self.tables.entry(table.relation).or_default();
            for atom in atoms(table.filter.as_ref()) {
                match atom {
                    Atom::Never => {}
                    Atom::Equal(column, values) => {
                        for value in values {
                            let key = self.hash.hash_one((column, &value));
                            of.equal.entry(key).or_default().push(posting);
                            *of.equal_columns.entry(column).or_default() += 1;
                            places.push((table.relation, Place::Equal(key)));
                            places.push((table.relation, Place::Range(column)));
                        }
                    }
                    Atom::Range(column, low, high) => {
                        of.ranges.entry(column).or_default().insert(low, high, posting);
                        places.push((table.relation, Place::Range(column)));
                    }
                    Atom::Residual => {
                        of.residual.push(posting);
                        places.push((table.relation, Place::Residual));
                    }
                }
            }
        }
        self.entries.insert(id, Filed { footprint, places });
    }

    /// Takes an entry out.
    pub fn remove(&mut self, id: EntryId) {
        let Some(filed) = self.entries.remove(&id) else { return };
        let mut equal_column = false;
        for (relation, place) in filed.places {
            let Some(table) = self.tables.get_mut(&relation) else {
                continue;
            };
            match place {
                Place::Equal(key) => {
                    if let Some(postings) = table.equal.get_mut(&key) {
                        postings.retain(|posting| posting.0 != id);
                        if postings.is_empty() {
                            table.equal.remove(&key);
                        }
                    }
                    equal_column = true;
                    continue;
                }
                // Behind an equality stands its column, for the count.
                Place::Range(column) if equal_column => {
                    if let Some(count) = table.equal_columns.get_mut(&column) {
                        *count -= 1;
                        if *count == 0 {
                            table.equal_columns.remove(&column);
                        }
                    }
                }
                Place::Range(column) => {
                    if let Some(ranges) = table.ranges.get_mut(&column) {
                        let entries = &self.entries;
                        ranges.remove(&|posting: Posting| entries.contains_key(&posting.0));
                        if ranges.is_empty() {
                            table.ranges.remove(&column);
                        }
                    }
                }
                Place::Residual => table.residual.retain(|posting| posting.0 != id),
            }
            equal_column = false;
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.tables.clear();
    }

    /// Every entry that the change may touch; one may be named more than once.
    pub fn probe(&self, change: &Change, touched: &mut dyn FnMut(EntryId)) {
        let Some(table) = self.tables.get(&change.relation) else {
            return;
        };
        let mut consider = |(id, part): Posting| {
            if let Some(filed) = self.entries.get(&id)
                && may_touch(&filed.footprint.tables[part as usize], change)
            {
                touched(id);
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
                for (part, _) in filed
                    .footprint
                    .tables
                    .iter()
                    .enumerate()
                    .filter(|(_, t)| t.relation == change.relation)
                {
                    consider((*id, part as u32));
                }
            }
            return;
        }
        table.residual.iter().copied().for_each(&mut consider);
        let before = if failpoint::is_set("ignore-before-images") {
            &None
        } else {
            &change.before
        };
        for (which, image) in [before, &change.after].into_iter().enumerate() {
            let Some(image) = image else { continue };
            let same_as_before = |column: usize| {
                which == 1
                    && before
                        .as_ref()
                        .is_some_and(|before| before.get(column) == image.get(column))
            };
            for &column in table.equal_columns.keys() {
                let Some(value) = image.get(column as usize).filter(|v| !v.is_null()) else {
                    continue;
                };
                if same_as_before(column as usize) {
                    continue;
                }
                if let Some(postings) = table.equal.get(&self.hash.hash_one((column, value))) {
                    postings.iter().copied().for_each(&mut consider);
                }
            }
            for (column, ranges) in &table.ranges {
                let Some(value) = image.get(*column as usize).filter(|v| !v.is_null()) else {
                    continue;
                };
                if !same_as_before(*column as usize) {
                    ranges.stab(value, &mut consider);
                }
            }
        }
    }
}

/// Whether a change may touch an answer with this footprint.
pub(crate) fn touches(footprint: &Footprint, change: &Change) -> bool {
    footprint
        .tables
        .iter()
        .any(|table| table.relation == change.relation && may_touch(table, change))
}

fn may_touch(table: &TableFootprint, change: &Change) -> bool {
    let matches = |image: &Option<Arc<[Value]>>| match (image, &table.filter) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(row), Some(filter)) => decide(filter, row) != Truth::No,
    };
    let blind = failpoint::is_set("ignore-before-images");
    let before = if blind { &None } else { &change.before };
    match (change.kind, before, &change.after) {
        (ChangeKind::Truncate, ..) => true,
        (ChangeKind::Insert, _, after) => after.is_none() || matches(after),
        (ChangeKind::Delete, None, _) => !blind,
        (ChangeKind::Delete, before, _) => matches(before),
        (ChangeKind::Update, Some(old), Some(new)) => {
            let moved = old
                .iter()
                .zip(new.iter())
                .enumerate()
                .any(|(i, (a, b))| a != b && table.columns.contains(i));
            moved && (matches(before) || matches(&change.after))
        }
        (ChangeKind::Update, None, after) if blind => matches(after),
        (ChangeKind::Update, ..) => true,
    }
}

/// For each alternative of a filter, what it is filed under.
fn atoms(filter: Option<&Expr>) -> Vec<Atom> {
    let Some(filter) = filter else {
        return vec![Atom::Residual];
    };
    match alternatives(filter) {
        Some(alternatives) => alternatives.iter().map(|conjunct| best(conjunct)).collect(),
        None => vec![Atom::Residual],
    }
}

/// The disjunctive normal form; `None` when it would grow too large. NOT is left as it stands.
fn alternatives(expr: &Expr) -> Option<Vec<Vec<&Expr>>> {
    match &expr.kind {
        ExprKind::Or(any) => {
            let mut out = Vec::new();
            for part in any {
                out.extend(alternatives(part)?);
                if out.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            Some(out)
        }
        ExprKind::And(all) => {
            let mut out: Vec<Vec<&Expr>> = vec![Vec::new()];
            for part in all {
                // An alternative too many inside an AND is one condition that nobody looks under.
                let parts = alternatives(part).unwrap_or_else(|| vec![vec![part]]);
                if out.len() * parts.len() > ALTERNATIVES_MAX {
                    out.iter_mut().for_each(|conjunct| conjunct.push(part));
                    continue;
                }
                out = out
                    .iter()
                    .flat_map(|left| {
                        parts
                            .iter()
                            .map(move |right| left.iter().chain(right).copied().collect())
                    })
                    .collect();
            }
            Some(out)
        }
        _ => Some(vec![vec![expr]]),
    }
}

/// The condition of a conjunct that selects most.
fn best(conjunct: &[&Expr]) -> Atom {
    let mut equal: Option<Atom> = None;
    let mut ranges: HashMap<u32, (Option<Value>, Option<Value>)> = HashMap::new();
    for condition in conjunct {
        match atom(condition) {
            Atom::Never => return Atom::Never,
            Atom::Equal(column, values) => {
                let fewer = match &equal {
                    Some(Atom::Equal(_, known)) => values.len() < known.len(),
                    _ => true,
                };
                if fewer {
                    equal = Some(Atom::Equal(column, values));
                }
            }
            Atom::Range(column, low, high) => {
                // Either bound of several is sound; the first is taken.
                let range = ranges.entry(column).or_default();
                range.0 = range.0.take().or(low);
                range.1 = range.1.take().or(high);
            }
            Atom::Residual => {}
        }
    }
    if let Some(equal) = equal {
        return equal;
    }
    let closed = |range: &(Option<Value>, Option<Value>)| range.0.is_some() && range.1.is_some();
    match ranges.into_iter().max_by_key(|(_, range)| closed(range)) {
        Some((column, (low, high))) => Atom::Range(column, low, high),
        None => Atom::Residual,
    }
}

/// What one condition can be filed under.
fn atom(condition: &Expr) -> Atom {
    match &condition.kind {
        ExprKind::Operator(operator, operands) => {
            let [left, right] = &**operands else {
                return Atom::Residual;
            };
            let (column, operator, value) = match (column(left), literal(right), column(right), literal(left)) {
                (Some(column), Some(value), ..) => (column, *operator, value),
                (_, _, Some(column), Some(value)) => (column, mirrored(*operator), value),
                _ => return Atom::Residual,
            };
            let (column, ty) = column;
            if value.is_null() {
                return match operator {
                    Operator::Eq | Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => Atom::Never,
                    _ => Atom::Residual,
                };
            }
            match operator {
                Operator::Eq if hashable(ty) => Atom::Equal(column, vec![value.clone()]),
                Operator::Eq if orderable(ty, value) => Atom::Range(column, Some(value.clone()), Some(value.clone())),
                Operator::Lt | Operator::Le if orderable(ty, value) => Atom::Range(column, None, Some(value.clone())),
                Operator::Gt | Operator::Ge if orderable(ty, value) => Atom::Range(column, Some(value.clone()), None),
                _ => Atom::Residual,
            }
        }
        ExprKind::In {
            operand,
            list,
            negated: false,
        } => {
            let Some((column, ty)) = column(operand) else {
                return Atom::Residual;
            };
            let values: Option<Vec<&Value>> = list.iter().map(literal).collect();
            match values {
                Some(values) if hashable(ty) && values.len() <= 64 => {
                    Atom::Equal(column, values.into_iter().filter(|v| !v.is_null()).cloned().collect())
                }
                _ => Atom::Residual,
            }
        }
        _ => Atom::Residual,
    }
}

fn column(expr: &Expr) -> Option<(u32, &Type)> {
    match &expr.kind {
        ExprKind::Column(column) if column.source == SourceId::SELF => Some((column.column, &expr.ty)),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(value),
        _ => None,
    }
}

/// Whether equal values of the type are the same [`Value`]. A decimal's scale may differ where its value does not.
fn hashable(ty: &Type) -> bool {
    ty.equal_bytes_are_equal() && !matches!(ty, Type::Numeric(_))
}

/// Whether the type's order is the values' own, and the value is one of the type's.
fn orderable(ty: &Type, value: &Value) -> bool {
    match ty {
        Type::Int2 | Type::Int4 | Type::Int8 => matches!(value, Value::Int(_)),
        Type::Numeric(_) => matches!(value, Value::Numeric(_)),
        Type::Text | Type::Varchar(_) => matches!(value, Value::Text(_)),
        Type::Uuid => matches!(value, Value::Uuid(_)),
        Type::Date => matches!(value, Value::Date(_)),
        Type::Time => matches!(value, Value::Time(_)),
        Type::Timestamp | Type::TimestampTz => matches!(value, Value::Timestamp(_)),
        _ => false,
    }
}

fn mirrored(operator: Operator) -> Operator {
    match operator {
        Operator::Lt => Operator::Gt,
        Operator::Le => Operator::Ge,
        Operator::Gt => Operator::Lt,
        Operator::Ge => Operator::Le,
        Operator::Eq => Operator::Eq,
        other
            if matches!(
                other,
                Operator::Ne | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
            ) =>
        {
            other
        }
        // Not symmetric, and nothing to look under.
        _ => Operator::Match,
    }
}
