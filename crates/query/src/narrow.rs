//! Which rows of a table can matter, as far as that can be proved from the conditions, joins and views around it.

use mainstay_model::{
    ColumnRef, Expr, ExprKind, FromItem, JoinKind, Operator, Result, Rewrite, Select, SourceId, Type, rewrite_expr,
};

/// For each row source of a FROM clause, conditions that its rows must satisfy to take part.
pub(crate) type Taking = Vec<(SourceId, Vec<Expr>)>;

/// What WHERE and ON say of each row source. `conditions` are those of WHERE.
pub(crate) fn taking_part(from: &[FromItem], conditions: &[Expr]) -> Taking {
    let mut out = Taking::new();
    let conditions = closure(conditions.iter());
    for item in from {
        place(item, &conditions, &mut out);
    }
    out
}

fn place(item: &FromItem, given: &[Expr], out: &mut Taking) {
    match item {
        FromItem::Relation { source, .. } => out.push((
            *source,
            given.iter().filter(|c| mentions(c, *source)).cloned().collect(),
        )),
        FromItem::Join { kind, left, right, on } => match kind {
            JoinKind::Inner | JoinKind::Cross => {
                let given = closure(given.iter().chain(on));
                place(left, &given, out);
                place(right, &given, out);
            }
            JoinKind::Left => {
                place(left, given, out);
                place_optional(right, on, given, out);
            }
            JoinKind::Right => {
                place_optional(left, on, given, out);
                place(right, given, out);
            }
            // A row that fails a condition may be what keeps NULLs from standing in its place.
            JoinKind::Full => {
                place(left, &[], out);
                place(right, &[], out);
            }
        },
        FromItem::Subquery { .. }
        | FromItem::CommonTable { .. }
        | FromItem::Function { .. }
        | FromItem::Series { .. } => {}
    }
}

/// The side of an outer join that may be absent: its rows matter when they match a row of the other side that matters. What WHERE
/// says of this side itself is no reason: a row that fails it still keeps NULLs from standing in its place.
fn place_optional(item: &FromItem, on: &Option<Expr>, given: &[Expr], out: &mut Taking) {
    let mut own = Vec::new();
    sources(item, &mut own);
    let of_others = given.iter().filter(|c| !own.iter().any(|source| mentions(c, *source)));
    place(item, &closure(of_others.chain(on)), out);
}

fn sources(item: &FromItem, out: &mut Vec<SourceId>) {
    match item {
        FromItem::Relation { source, .. }
        | FromItem::Subquery { source, .. }
        | FromItem::CommonTable { source, .. }
        | FromItem::Function { source, .. }
        | FromItem::Series { source, .. } => out.push(*source),
        FromItem::Join { left, right, .. } => {
            sources(left, out);
            sources(right, out);
        }
    }
}

/// Conditions one by one, with what equalities between columns carry from one to the other.
fn closure<'a>(conditions: impl Iterator<Item = &'a Expr>) -> Vec<Expr> {
    let mut parts = Vec::new();
    conditions.for_each(|condition| flatten(condition, &mut parts));
    let mut out: Vec<Expr> = parts.into_iter().cloned().collect();
    let pairs: Vec<(ColumnRef, ColumnRef, Type)> = out.iter().filter_map(equal_columns).collect();
    // Each round goes one join further.
    for _ in 0..pairs.len().min(JOINS_FOLLOWED) {
        for (a, b, ty) in &pairs {
            for (from, to) in [(a, b), (b, a)] {
                let mut moved = Moved(*from, Expr::new(ExprKind::Column(*to), ty.clone()));
                let carried: Vec<Expr> = out
                    .iter()
                    .filter(|condition| equates(condition, *from))
                    .filter_map(|condition| rewrite_expr(condition, &mut moved).ok())
                    .filter(|carried| !out.contains(carried))
                    .collect();
                out.extend(carried);
            }
        }
    }
    out
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
