//! Which rows of a table can matter, as far as that can be proved from the conditions, joins and views around it.

use mainstay_model::{
    ColumnRef, Expr, ExprKind, FromItem, JoinKind, Operator, Result, Rewrite, Select, SourceId, Type, rewrite_expr,
};

/// The row sources of a query that are joined so that a row which fails a condition takes no part, and those conditions. Of an outer
/// join that is not so: a row that fails may be what keeps NULLs from standing in its place.
#[derive(Default)]
pub(crate) struct Joined {
    /// Those joined.
    pub sources: Vec<SourceId>,
    /// What WHERE and ON say.
    pub conditions: Vec<Expr>,
}

impl Joined {
    /// `false` if there is an outer join.
    pub fn take(&mut self, item: &FromItem) -> bool {
        match item {
            FromItem::Relation { source, .. } => self.sources.push(*source),
            FromItem::Join { kind, left, right, on } => {
                self.conditions.extend(on.iter().cloned());
                return matches!(kind, JoinKind::Inner | JoinKind::Cross) && self.take(left) && self.take(right);
            }
            FromItem::Subquery { .. }
            | FromItem::CommonTable { .. }
            | FromItem::Function { .. }
            | FromItem::Series { .. } => {}
        }
        true
    }

    /// The conditions one by one, with what equalities between columns carry from one to the other.
    pub fn conjuncts(&self) -> Vec<Expr> {
        let mut parts = Vec::new();
        self.conditions
            .iter()
            .for_each(|condition| flatten(condition, &mut parts));
        let mut out: Vec<Expr> = parts.into_iter().cloned().collect();
        let pairs: Vec<(ColumnRef, ColumnRef, Type)> = out.iter().filter_map(equal_columns).collect();
        // Each round goes one join further.
        for _ in 0..pairs.len().min(JOINS_FOLLOWED) {
            for (a, b, ty) in &pairs {
                for (from, to) in [(a, b), (b, a)] {
                    let moved: Vec<Expr> = out
                        .iter()
                        .filter(|condition| equates(condition, *from))
                        .filter_map(|condition| {
                            rewrite_expr(
                                condition,
                                &mut Moved(*from, Expr::new(ExprKind::Column(*to), ty.clone())),
                            )
                            .ok()
                        })
                        .collect();
                    out.extend(moved.into_iter().filter(|new| !out.contains(new)).collect::<Vec<_>>());
                }
            }
        }
        out
    }
}

/// A constant is carried over at most so many joins.
const JOINS_FOLLOWED: usize = 4;

/// The columns that a condition says are equal, if they are of one type.
fn equal_columns(condition: &Expr) -> Option<(ColumnRef, ColumnRef, Type)> {
    let ExprKind::Operator(Operator::Eq, operands) = &condition.kind else {
        return None;
    };
    match &**operands {
        [a, b] if a.ty == b.ty => match (&a.kind, &b.kind) {
            (ExprKind::Column(left), ExprKind::Column(right)) if left != right => Some((*left, *right, a.ty.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a condition has a column of a row source in it, outside of subqueries.
pub(crate) fn mentions(condition: &Expr, source: SourceId) -> bool {
    let mut found = false;
    condition.walk(&mut |expr| found |= matches!(&expr.kind, ExprKind::Column(c) if c.source == source));
    found
}

/// A condition on a view's row as one on the rows of the one table behind it, where each row of the view is made of one of those
/// or of several that all satisfy it.
pub(crate) fn through_view(select: &Select, condition: &Expr) -> Option<Expr> {
    struct Through<'a>(&'a Select);
    impl Rewrite for Through<'_> {
        fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
            Ok(match &expr.kind {
                ExprKind::Column(ColumnRef { source, column }) if *source == SourceId::SELF => Some(
                    self.0
                        .projection
                        .get(*column as usize)
                        .map_or_else(|| unknowable(expr), |p| p.expr.clone()),
                ),
                ExprKind::WholeRow(_)
                | ExprKind::Exists(_)
                | ExprKind::Scalar(_)
                | ExprKind::ArraySelect(_)
                | ExprKind::InSelect { .. } => Some(unknowable(expr)),
                _ => None,
            })
        }
    }
    // Rows are cut off before the condition is looked at, or come of several rows.
    let cut = select.limit.is_some() || select.offset.is_some() || !select.distinct_on.is_empty();
    let grouped = !select.group_by.is_empty()
        || select.having.is_some()
        || select.projection.iter().any(|p| p.expr.has_aggregate());
    let is_key = |expr: &Expr| match &expr.kind {
        ExprKind::Column(c) if c.source == SourceId::SELF => select
            .projection
            .get(c.column as usize)
            .is_some_and(|p| select.group_by.contains(&p.expr)),
        ExprKind::Column(_) | ExprKind::WholeRow(_) => false,
        _ => true,
    };
    // Whole groups may be left out by what their rows have in common.
    let mut over_keys = true;
    condition.walk(&mut |expr| over_keys &= is_key(expr));
    if cut || grouped && (select.group_by.is_empty() || !over_keys) {
        return None;
    }
    rewrite_expr(condition, &mut Through(select)).ok()
}

/// The parts of an AND, at any depth.
pub(crate) fn flatten<'a>(condition: &'a Expr, into: &mut Vec<&'a Expr>) {
    match &condition.kind {
        ExprKind::And(all) => all.iter().for_each(|part| flatten(part, into)),
        _ => into.push(condition),
    }
}

/// Whether a condition says that a column is one of some constants.
pub(crate) fn equates(condition: &Expr, column: ColumnRef) -> bool {
    let is_column = |expr: &Expr| matches!(&expr.kind, ExprKind::Column(c) if *c == column);
    match &condition.kind {
        ExprKind::Operator(Operator::Eq, operands) => match &**operands {
            [a, b] => is_column(a) && is_constant(b) || is_column(b) && is_constant(a),
            _ => false,
        },
        ExprKind::In {
            operand,
            list,
            negated: false,
        } => is_column(operand) && list.iter().all(is_constant),
        ExprKind::Quantified {
            operator: Operator::Eq,
            all: false,
            operand,
            array,
        } => is_column(operand) && is_constant(array),
        _ => false,
    }
}

/// Whether it is the same for every row of a request.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Param(_) | ExprKind::Claim(_) => true,
        ExprKind::Cast(inner) => is_constant(inner),
        _ => false,
    }
}

/// A column becomes another.
pub(crate) struct Moved(pub ColumnRef, pub Expr);

impl Rewrite for Moved {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        Ok(match &expr.kind {
            ExprKind::Column(c) if *c == self.0 => Some(self.1.clone()),
            _ => None,
        })
    }
}

/// An expression of the same type whose value the index cannot know.
pub(crate) fn unknowable(expr: &Expr) -> Expr {
    Expr::new(
        ExprKind::Opaque {
            sql: "outer".into(),
            dependencies: Vec::new(),
        },
        expr.ty.clone(),
    )
}
