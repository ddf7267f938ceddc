//! Under what an answer is filed, so that a change finds it without looking at them all.
//!
//! A filter is taken apart into alternatives (its disjunctive normal form, as far as that stays small), and each alternative is
//! filed under the one condition in it that selects most: an equality, else a range, else nothing. A row can satisfy the filter
//! only if it satisfies one alternative, and that only if it satisfies the condition under which the alternative is filed. So the
//! conditions must be understood here at least as loosely as [`crate::predicate`] understands them: both ask [`Kind`].
//!
//! The work is done twice: once per plan, when the values are not known yet ([`atoms`]), and once per answer ([`Atom::place`]).

use crate::predicate::{Given, Kind, Known, cast_keeps_value, value};
use mainstay_model::{Expr, ExprKind, IsTest, Operator, SourceId, Type, Value};
use std::collections::BTreeMap;

/// More alternatives than this are not taken apart.
const ALTERNATIVES_MAX: usize = 16;

/// An answer is filed under at most so many values of one `IN`.
const VALUES_MAX: usize = 1024;

/// The most selective condition of one alternative, its values still expressions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Atom {
    /// The column is one of these.
    Equal(u32, Vec<Expr>),
    /// The column is an element of this array.
    Element(u32, Expr),
    /// The column lies between these.
    Range(u32, Option<Expr>, Option<Expr>),
    /// Nothing that the index can look under.
    Residual,
    /// Every row of the table.
    Whole,
}

/// Where one alternative of one answer is filed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// Under each of these values of the column; under none if no row can match.
    Equal(u32, Vec<Value>),
    /// Between these, ends included.
    Range(u32, Option<Value>, Option<Value>),
    /// Where every change looks.
    Residual,
    /// Where every change looks, and need not think.
    Whole,
}

impl Atom {
    /// The place for the values of one request.
    pub fn place(&self, values: &[Option<Value>]) -> Place {
        let given = Given { row: &[], values };
        match self {
            Atom::Whole => Place::Whole,
            Atom::Residual => Place::Residual,
            Atom::Equal(column, exprs) => {
                let known: Option<Vec<Value>> = exprs.iter().map(|e| known(e, given)).collect();
                known.map_or(Place::Residual, |known| {
                    Place::Equal(*column, known.into_iter().filter(|v| !v.is_null()).collect())
                })
            }
            Atom::Element(column, array) => match value(array, given).as_ref().map(Known::as_value) {
                Some(Value::Array(items)) if items.len() <= VALUES_MAX && elements_fit(&array.ty, items) => {
                    Place::Equal(*column, items.iter().filter(|v| !v.is_null()).cloned().collect())
                }
                _ => Place::Residual,
            },
            Atom::Range(column, low, high) => {
                let end = |end: &Option<Expr>| match end {
                    None => Some(None),
                    Some(expr) => known(expr, given).map(Some),
                };
                match (end(low), end(high)) {
                    // No row lies beside NULL.
                    (Some(Some(Value::Null)), _) | (_, Some(Some(Value::Null))) => Place::Equal(*column, Vec::new()),
                    (Some(low), Some(high)) if low.is_some() || high.is_some() => Place::Range(*column, low, high),
                    (Some(Some(low)), None) => Place::Range(*column, Some(low), None),
                    (None, Some(Some(high))) => Place::Range(*column, None, Some(high)),
                    _ => Place::Residual,
                }
            }
        }
    }

    /// How little it selects: the least is taken.
    fn rank(&self) -> u8 {
        match self {
            Atom::Equal(_, exprs) if exprs.len() <= 1 => 0,
            Atom::Equal(..) => 1,
            Atom::Element(..) => 2,
            Atom::Range(_, Some(_), Some(_)) => 3,
            Atom::Range(..) => 4,
            Atom::Residual | Atom::Whole => 5,
        }
    }
}

/// A constant's value, if it is known and what its type says.
fn known(expr: &Expr, given: Given<'_>) -> Option<Value> {
    let known = value(expr, given)?;
    let fits = |value: &Value| value.is_null() || Kind::of(&expr.ty).is_some_and(|kind| kind.has(value));
    fits(known.as_value()).then(|| known.as_value().clone())
}

fn elements_fit(array: &Type, items: &[Value]) -> bool {
    let Type::Array(element) = array else { return false };
    Kind::of(element).is_some_and(|kind| items.iter().all(|v| v.is_null() || kind.has(v)))
}

/// For each alternative of a filter, what it is filed under.
pub(crate) fn atoms(filter: Option<&Expr>) -> Vec<Atom> {
    let Some(filter) = filter else {
        return vec![Atom::Whole];
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
                let parts = alternatives(part).unwrap_or_else(|| vec![vec![part]]);
                if out.len() * parts.len() > ALTERNATIVES_MAX {
                    // One condition that nobody looks under.
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
    let mut ranges: BTreeMap<u32, (Option<Expr>, Option<Expr>)> = BTreeMap::new();
    let mut best = Atom::Residual;
    for condition in conjunct {
        match atom(condition) {
            Atom::Range(column, low, high) => {
                // Of several bounds on one side any is sound; the first is taken.
                let range = ranges.entry(column).or_default();
                range.0 = range.0.take().or(low);
                range.1 = range.1.take().or(high);
            }
            atom if atom.rank() < best.rank() => best = atom,
            _ => {}
        }
    }
    for (column, (low, high)) in ranges {
        let range = Atom::Range(column, low, high);
        if range.rank() < best.rank() {
            best = range;
        }
    }
    best
}

/// What one condition can be filed under.
fn atom(condition: &Expr) -> Atom {
    match &condition.kind {
        ExprKind::Operator(operator, operands) => {
            let [left, right] = &**operands else {
                return Atom::Residual;
            };
            match (column(left), column(right)) {
                (Some(column), None) if is_constant(right) => comparison(column, *operator, right),
                (None, Some(column)) if is_constant(left) => comparison(column, mirrored(*operator), left),
                _ => Atom::Residual,
            }
        }
        ExprKind::In {
            operand,
            list,
            negated: false,
        } => match column(operand) {
            Some((column, ty))
                if list.len() <= VALUES_MAX && list.iter().all(|e| is_constant(e) && same_identity(ty, &e.ty)) =>
            {
                Atom::Equal(column, list.clone())
            }
            _ => Atom::Residual,
        },
        ExprKind::Quantified {
            operator: Operator::Eq,
            all: false,
            operand,
            array,
        } => match (column(operand), &array.ty) {
            (Some((column, ty)), Type::Array(element)) if is_constant(array) && same_identity(ty, element) => {
                Atom::Element(column, (**array).clone())
            }
            _ => Atom::Residual,
        },
        // A flag, by itself.
        ExprKind::Column(_) if condition.ty == Type::Bool => flag(condition, true),
        ExprKind::Not(inner) if matches!(inner.kind, ExprKind::Column(_)) => flag(inner, false),
        ExprKind::Is {
            operand,
            test: test @ (IsTest::True | IsTest::False),
            negated: false,
        } => flag(operand, *test == IsTest::True),
        _ => Atom::Residual,
    }
}

fn flag(expr: &Expr, is: bool) -> Atom {
    match column(expr) {
        Some((column, Type::Bool)) => Atom::Equal(column, vec![Expr::literal(Value::Bool(is), Type::Bool)]),
        _ => Atom::Residual,
    }
}

fn comparison((column, ty): (u32, &Type), operator: Operator, with: &Expr) -> Atom {
    let ordered = Kind::of(ty).is_some_and(|kind| kind.is_ordered() && Kind::of(&with.ty) == Some(kind));
    match operator {
        Operator::Eq if same_identity(ty, &with.ty) => Atom::Equal(column, vec![with.clone()]),
        Operator::Eq if ordered => Atom::Range(column, Some(with.clone()), Some(with.clone())),
        Operator::Lt | Operator::Le if ordered => Atom::Range(column, None, Some(with.clone())),
        Operator::Gt | Operator::Ge if ordered => Atom::Range(column, Some(with.clone()), None),
        _ => Atom::Residual,
    }
}

/// Whether two types' values are equal exactly when they are the same [`Value`].
fn same_identity(a: &Type, b: &Type) -> bool {
    match (Kind::of(a), Kind::of(b)) {
        (Some(a), Some(b)) => a == b && a.is_identity(),
        _ => false,
    }
}

/// A column of the row at hand, also behind casts that leave its value alone.
fn column(expr: &Expr) -> Option<(u32, &Type)> {
    match &expr.kind {
        ExprKind::Column(column) if column.source == SourceId::SELF => Some((column.column, &expr.ty)),
        ExprKind::Cast(inner) if cast_keeps_value(&inner.ty, &expr.ty) => {
            column(inner).map(|(column, _)| (column, &expr.ty))
        }
        _ => None,
    }
}

/// Whether it has nothing of the row in it, and may be known when an answer is filed.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Param(_) => true,
        ExprKind::Cast(inner) => is_constant(inner),
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
        // Nothing to look under.
        _ => Operator::Ne,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(n: i64) -> Expr {
        Expr::literal(Value::Int(n), Type::Int4)
    }

    fn col(n: u32) -> Expr {
        Expr::column(n, Type::Int4)
    }

    fn eq(column: u32, n: i64) -> Expr {
        Expr::compare(Operator::Eq, col(column), int(n))
    }

    fn places(filter: &Expr, values: &[Option<Value>]) -> Vec<Place> {
        atoms(Some(filter)).iter().map(|atom| atom.place(values)).collect()
    }

    fn ints(ns: &[i64]) -> Vec<Value> {
        ns.iter().copied().map(Value::Int).collect()
    }

    #[test]
    fn each_alternative_is_filed_under_what_selects_most() {
        let less = |c, n| Expr::compare(Operator::Lt, col(c), int(n));
        let more = |c, n| Expr::compare(Operator::Gt, int(n), col(c));
        let array = Type::Array(Box::new(Type::Int4));
        let any = Expr::condition(ExprKind::Quantified {
            operator: Operator::Eq,
            all: false,
            operand: Box::new(col(2)),
            array: Box::new(Expr::param(0, array)),
        });
        let given = [Some(Value::Array(vec![Value::Int(7), Value::Null].into()))];
        for (filter, expected) in [
            (Expr::all(vec![]), vec![Place::Residual]),
            (Expr::any(vec![]), vec![]),
            (eq(1, 5), vec![Place::Equal(1, ints(&[5]))]),
            (Expr::all(vec![less(0, 9), eq(1, 5)]), vec![Place::Equal(1, ints(&[5]))]),
            (
                Expr::all(vec![less(0, 9), Expr::compare(Operator::Ge, col(0), int(3))]),
                vec![Place::Range(0, Some(Value::Int(3)), Some(Value::Int(9)))],
            ),
            (more(0, 4), vec![Place::Range(0, None, Some(Value::Int(4)))]),
            (
                Expr::all(vec![Expr::any(vec![eq(0, 1), eq(1, 2)]), less(2, 3)]),
                vec![Place::Equal(0, ints(&[1])), Place::Equal(1, ints(&[2]))],
            ),
            (any, vec![Place::Equal(2, ints(&[7]))]),
            (
                Expr::compare(Operator::Eq, col(0), Expr::literal(Value::Null, Type::Int4)),
                vec![Place::Equal(0, vec![])],
            ),
            (eq(1, 5).negate(), vec![Place::Residual]),
            (
                Expr::column(3, Type::Bool),
                vec![Place::Equal(3, vec![Value::Bool(true)])],
            ),
            (
                Expr::column(3, Type::Bool).negate(),
                vec![Place::Equal(3, vec![Value::Bool(false)])],
            ),
            // Too many alternatives for the normal form; the other condition is enough.
            (
                Expr::all(vec![Expr::any((0..40).map(|n| eq(0, n)).collect()), eq(1, 5)]),
                vec![Place::Equal(1, ints(&[5]))],
            ),
            (Expr::any((0..40).map(|n| eq(0, n)).collect()), vec![Place::Residual]),
            // Equal numbers may be different values, and blank-padded text is not compared byte by byte.
            (
                Expr::compare(
                    Operator::Eq,
                    Expr::column(0, Type::Text),
                    Expr::literal(Value::Text("a ".into()), Type::Char(2)),
                ),
                vec![Place::Residual],
            ),
            (
                Expr::compare(
                    Operator::Eq,
                    Expr::column(0, Type::Timestamp),
                    Expr::literal(Value::Timestamp(1), Type::TimestampTz),
                ),
                vec![Place::Residual],
            ),
        ] {
            assert_eq!(places(&filter, &given), expected, "{filter:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_looked_at_each_time() {
        let filter = Expr::compare(Operator::Eq, col(0), Expr::param(0, Type::Int4));
        assert_eq!(places(&filter, &[None]), [Place::Residual]);
        assert_eq!(places(&filter, &[]), [Place::Residual]);
        assert_eq!(places(&filter, &[Some(Value::Int(3))]), [Place::Equal(0, ints(&[3]))]);
        let range = Expr::all(vec![
            Expr::compare(Operator::Ge, col(0), Expr::param(0, Type::Int4)),
            Expr::compare(Operator::Le, col(0), int(9)),
        ]);
        assert_eq!(places(&range, &[None]), [Place::Range(0, None, Some(Value::Int(9)))]);
    }
}
