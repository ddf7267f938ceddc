//! Rows without an `order` come as they were inserted, where that costs nothing: readers expect it, pages of such a query then
//! agree with each other, and SQLite left alone would hand out the order of whichever index happens to be narrower.

use mainstay_model::{Expr, ExprKind, IsTest, Operator, Relation, SourceId};

/// Whether SQLite meets the rows that satisfy the conditions in the order of their rowids anyway, or scans the table for them: an
/// `ORDER BY rowid` then sorts nothing. A condition that an index may answer in another order (a range, a list, the first column of
/// several) says no, since sorting all that match would spoil what `LIMIT` saves.
pub(super) fn is_free<'e>(
    relation: &Relation,
    rowid: Option<u32>,
    conditions: impl IntoIterator<Item = &'e Expr>,
) -> bool {
    conditions
        .into_iter()
        .all(|condition| is_steady(relation, rowid, condition))
}

/// Whether a column that a related row is found by keeps the order.
pub(super) fn is_key_free(relation: &Relation, rowid: Option<u32>, column: u32) -> bool {
    rowid == Some(column) || !leads(relation, column).any(|width| width > 1)
}

fn is_steady(relation: &Relation, rowid: Option<u32>, condition: &Expr) -> bool {
    let column = |e: &Expr| match &e.kind {
        ExprKind::Column(c) if c.source == SourceId::SELF => Some(c.column),
        _ => None,
    };
    match &condition.kind {
        ExprKind::And(all) => return all.iter().all(|c| is_steady(relation, rowid, c)),
        ExprKind::Literal(_) => return true,
        ExprKind::Operator(Operator::Eq, sides) => {
            if let [left, right] = sides.as_slice()
                && let Some(key) = column(left).or_else(|| column(right))
            {
                return is_key_free(relation, rowid, key);
            }
        }
        ExprKind::Is {
            operand,
            test: IsTest::Null,
            negated: false,
        } => {
            if let Some(key) = column(operand) {
                return is_key_free(relation, rowid, key);
            }
        }
        // No index of SQLite's answers these.
        ExprKind::Operator(
            Operator::Ne
            | Operator::IsDistinctFrom
            | Operator::Like
            | Operator::NotLike
            | Operator::ILike
            | Operator::NotILike
            | Operator::Match
            | Operator::NotMatch
            | Operator::IMatch
            | Operator::NotIMatch,
            _,
        )
        | ExprKind::Quantified {
            operator: Operator::Ne | Operator::Like | Operator::ILike | Operator::Match | Operator::IMatch,
            ..
        }
        | ExprKind::Is { .. } => return true,
        ExprKind::Not(inner) if !matches!(inner.kind, ExprKind::And(_) | ExprKind::Or(_) | ExprKind::Not(_)) => {
            return !reads_elsewhere(inner);
        }
        _ => {}
    }
    let mut free = !reads_elsewhere(condition);
    condition.walk(&mut |e| {
        if let ExprKind::Column(c) = &e.kind
            && c.source == SourceId::SELF
        {
            free &= rowid == Some(c.column) || leads(relation, c.column).next().is_none();
        }
    });
    free
}

/// Whether a condition has a subquery, which SQLite may turn into a join.
fn reads_elsewhere(condition: &Expr) -> bool {
    let mut found = false;
    condition.walk(&mut |e| {
        found |= matches!(
            e.kind,
            ExprKind::InSelect { .. }
                | ExprKind::Exists(_)
                | ExprKind::Scalar(_)
                | ExprKind::ArraySelect(_)
                | ExprKind::Opaque { .. }
        );
    });
    found
}

/// The widths of the indexes that begin with a column, or with an expression over it.
fn leads(relation: &Relation, column: u32) -> impl Iterator<Item = usize> + '_ {
    let table = relation.table();
    let constraints = table
        .into_iter()
        .flat_map(|t| std::iter::once(&t.primary_key).chain(t.uniques.iter().map(|u| &u.columns)));
    let constraints = constraints
        .filter(move |keys| keys.first() == Some(&column))
        .map(Vec::len);
    let indexes = table.into_iter().flat_map(|t| &t.indexes).filter_map(move |index| {
        let first = &index.keys.first()?.expr;
        let mut named = false;
        first.walk(&mut |e| named |= matches!(&e.kind, ExprKind::Column(c) if c.column == column));
        // Under an expression, and under a condition of the index, nothing is known of the order.
        let plain = matches!(first.kind, ExprKind::Column(_)) && index.filter.is_none();
        named.then_some(if plain { index.keys.len() } else { usize::MAX })
    });
    constraints.chain(indexes)
}
