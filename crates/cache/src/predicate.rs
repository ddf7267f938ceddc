//! Whether a row satisfies a filter, without asking the database: exactly, or not at all.
//!
//! A condition is evaluated to the *set* of truth values that it may have. What cannot be reproduced exactly (collations,
//! regular expressions, JSON, arrays, subqueries) may have all three, and the sets of AND, OR and NOT follow from those of
//! their parts, so that `NULL AND f(x)` is known never to be true whatever `f` says.

use mainstay_model::{Decimal, Expr, ExprKind, IsTest, Operator, SourceId, Type, Value};
use std::cmp::Ordering;

/// What is known of a condition on a row. SQL's false and NULL are both `No`: the row is not in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    /// The row is certainly not selected.
    No,
    /// Nobody can tell.
    Maybe,
    /// The row is certainly selected.
    Yes,
}

/// What an expression is evaluated on.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    /// The row at hand.
    pub row: &'a [Value],
    /// What [`ExprKind::Param`] refers to; `None` where nobody can tell.
    pub values: &'a [Option<Value>],
}

/// Decides a filter on a row.
pub(crate) fn decide(filter: &Expr, given: Given<'_>) -> Truth {
    let possible = condition(filter, given);
    match (possible.0 & TRUE.0 != 0, possible.0 & !TRUE.0 != 0) {
        (false, _) => Truth::No,
        (true, true) => Truth::Maybe,
        (true, false) => Truth::Yes,
    }
}

/// A set of truth values.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Possible(u8);

const TRUE: Possible = Possible(1);
const FALSE: Possible = Possible(2);
const NULL: Possible = Possible(4);
const ANY: Possible = Possible(7);

impl Possible {
    fn of(truth: Option<bool>) -> Possible {
        match truth {
            Some(true) => TRUE,
            Some(false) => FALSE,
            None => NULL,
        }
    }

    fn has(self, other: Possible) -> bool {
        self.0 & other.0 != 0
    }

    fn not(self) -> Possible {
        Possible((self.0 & 1) << 1 | (self.0 & 2) >> 1 | self.0 & 4)
    }

    fn and(self, other: Possible) -> Possible {
        let mut out = 0;
        if self.has(TRUE) && other.has(TRUE) {
            out |= TRUE.0;
        }
        if self.has(FALSE) || other.has(FALSE) {
            out |= FALSE.0;
        }
        // NULL comes out when neither is false and one is NULL.
        let open = |p: Possible| p.has(TRUE) || p.has(NULL);
        if self.has(NULL) && open(other) || other.has(NULL) && open(self) {
            out |= NULL.0;
        }
        Possible(out)
    }

    fn or(self, other: Possible) -> Possible {
        self.not().and(other.not()).not()
    }
}

fn condition(expr: &Expr, given: Given<'_>) -> Possible {
    match &expr.kind {
        ExprKind::And(all) => all.iter().fold(TRUE, |sum, e| sum.and(condition(e, given))),
        ExprKind::Or(any) => any.iter().fold(FALSE, |sum, e| sum.or(condition(e, given))),
        ExprKind::Not(inner) => condition(inner, given).not(),
        ExprKind::Operator(operator, operands) => match &**operands {
            [left, right] => binary(*operator, left, right, given),
            _ => ANY,
        },
        ExprKind::Is { operand, test, negated } => {
            let holds = match test {
                // A row is NULL when all its fields are.
                IsTest::Null if matches!(operand.ty, Type::Row(_)) => Possible(TRUE.0 | FALSE.0),
                IsTest::Null => match value(operand, given) {
                    Some(value) => Possible::of(Some(value.as_value().is_null())),
                    None => Possible(TRUE.0 | FALSE.0),
                },
                IsTest::True | IsTest::False | IsTest::Unknown => {
                    let wanted = match test {
                        IsTest::True => TRUE,
                        IsTest::False => FALSE,
                        _ => NULL,
                    };
                    let operand = condition(operand, given);
                    let yes = if operand.has(wanted) { TRUE.0 } else { 0 };
                    let no = if operand.0 & !wanted.0 != 0 { FALSE.0 } else { 0 };
                    Possible(yes | no)
                }
            };
            if *negated { holds.not() } else { holds }
        }
        ExprKind::In { operand, list, negated } => {
            let any = list
                .iter()
                .fold(FALSE, |sum, item| sum.or(binary(Operator::Eq, operand, item, given)));
            if *negated { any.not() } else { any }
        }
        ExprKind::Quantified {
            operator,
            all,
            operand,
            array,
        } => {
            let Some(array_value) = value(array, given) else {
                return ANY;
            };
            let element = match &array.ty {
                Type::Array(element) => &**element,
                _ => return ANY,
            };
            match array_value.as_value() {
                // Of a NULL in the place of an array engines make different things under a NOT.
                Value::Null => ANY,
                Value::Array(items) => {
                    let Some(left) = value(operand, given) else { return ANY };
                    let each = |item: &Value| compare(*operator, (left.as_value(), &operand.ty), (item, element));
                    if *all {
                        items.iter().fold(TRUE, |sum, item| sum.and(each(item)))
                    } else {
                        items.iter().fold(FALSE, |sum, item| sum.or(each(item)))
                    }
                }
                _ => ANY,
            }
        }
        ExprKind::Literal(_) | ExprKind::Param(_) | ExprKind::Column(_) => {
            match value(expr, given).as_ref().map(Known::as_value) {
                Some(Value::Bool(truth)) => Possible::of(Some(*truth)),
                Some(Value::Null) => NULL,
                _ => ANY,
            }
        }
        _ => ANY,
    }
}

/// A value that is known: one that lies somewhere, or one made on the way.
pub(crate) enum Known<'a> {
    Borrowed(&'a Value),
    Owned(Value),
}

impl Known<'_> {
    pub fn as_value(&self) -> &Value {
        match self {
            Known::Borrowed(value) => value,
            Known::Owned(value) => value,
        }
    }
}

/// The value of an expression, if it is known without asking the database.
pub(crate) fn value<'a>(expr: &'a Expr, given: Given<'a>) -> Option<Known<'a>> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(Known::Borrowed(value)),
        ExprKind::Param(index) => given.values.get(usize::from(*index))?.as_ref().map(Known::Borrowed),
        ExprKind::Column(column) if column.source == SourceId::SELF => {
            given.row.get(column.column as usize).map(Known::Borrowed)
        }
        ExprKind::Cast(inner) => {
            let known = value(inner, given)?;
            if known.as_value().is_null() || cast_keeps_value(&inner.ty, &expr.ty) {
                return Some(known);
            }
            match (&inner.ty, &expr.ty, known.as_value()) {
                (Type::Int2 | Type::Int4 | Type::Int8, Type::Numeric(None), Value::Int(i)) => {
                    Some(Known::Owned(Value::Numeric(Decimal::from_i64(*i))))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a cast changes the type and not the value. Any other is the database's business.
pub(crate) fn cast_keeps_value(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Int2, Type::Int2 | Type::Int4 | Type::Int8)
        | (Type::Int4, Type::Int4 | Type::Int8)
        | (Type::Int8, Type::Int8)
        | (Type::Text | Type::Varchar(_), Type::Text | Type::Varchar(None))
        | (Type::Numeric(_), Type::Numeric(None)) => true,
        _ => from == to,
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr, given: Given<'_>) -> Possible {
    let (a, b) = (value(left, given), value(right, given));
    let (a, b) = (a.as_ref().map(Known::as_value), b.as_ref().map(Known::as_value));
    let (Some(a), Some(b)) = (a, b) else {
        // NULL on a known side decides a strict operator whatever the other side is.
        let null = a.or(b).is_some_and(Value::is_null);
        return if is_strict(operator) && null { NULL } else { ANY };
    };
    compare(operator, (a, &left.ty), (b, &right.ty))
}

fn compare(operator: Operator, (a, a_type): (&Value, &Type), (b, b_type): (&Value, &Type)) -> Possible {
    if is_strict(operator) && (a.is_null() || b.is_null()) {
        return NULL;
    }
    let either = Possible(TRUE.0 | FALSE.0);
    match operator {
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            let equal = match (a.is_null(), b.is_null()) {
                (true, true) => Some(true),
                (true, false) | (false, true) => Some(false),
                (false, false) => order(a, a_type, b, b_type, true).map(Ordering::is_eq),
            };
            equal.map_or(either, |equal| {
                Possible::of(Some(equal == (operator == Operator::IsNotDistinctFrom)))
            })
        }
        Operator::Eq | Operator::Ne => order(a, a_type, b, b_type, true).map_or(either, |order| {
            Possible::of(Some(order.is_eq() == (operator == Operator::Eq)))
        }),
        Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => {
            order(a, a_type, b, b_type, false).map_or(either, |order| {
                Possible::of(Some(match operator {
                    Operator::Lt => order.is_lt(),
                    Operator::Le => order.is_le(),
                    Operator::Gt => order.is_gt(),
                    _ => order.is_ge(),
                }))
            })
        }
        Operator::Like | Operator::NotLike => match (a, b) {
            (Value::Text(text), Value::Text(pattern))
                if Kind::of(a_type) == Some(Kind::Text) && Kind::of(b_type) == Some(Kind::Text) =>
            {
                like(text, pattern).map_or(ANY, |matches| {
                    Possible::of(Some(matches == (operator == Operator::Like)))
                })
            }
            _ => ANY,
        },
        _ => ANY,
    }
}

/// Operators that yield NULL as soon as one side is NULL.
fn is_strict(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::Ne
            | Operator::Lt
            | Operator::Le
            | Operator::Gt
            | Operator::Ge
            | Operator::Like
            | Operator::NotLike
            | Operator::ILike
            | Operator::NotILike
            | Operator::Match
            | Operator::NotMatch
            | Operator::IMatch
            | Operator::NotIMatch
    )
}

/// Types whose values compare as [`Value::sql_cmp`] says, by what they compare with. What is missing here the database decides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Bool,
    Int,
    Float4,
    Float8,
    Numeric,
    Text,
    Uuid,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    /// Only for equality: labels are ordered by their place in the type, which is not known here.
    Enum(&'a str),
}

impl<'a> Kind<'a> {
    pub fn of(ty: &'a Type) -> Option<Kind<'a>> {
        Some(match ty {
            Type::Bool => Kind::Bool,
            Type::Int2 | Type::Int4 | Type::Int8 => Kind::Int,
            Type::Float4 => Kind::Float4,
            Type::Float8 => Kind::Float8,
            Type::Numeric(_) => Kind::Numeric,
            Type::Text | Type::Varchar(_) => Kind::Text,
            Type::Uuid => Kind::Uuid,
            Type::Bytea => Kind::Bytes,
            Type::Date => Kind::Date,
            Type::Time => Kind::Time,
            Type::Timestamp => Kind::Timestamp,
            Type::TimestampTz => Kind::TimestampTz,
            Type::Enum(name) => Kind::Enum(name),
            _ => return None,
        })
    }

    /// Whether a value is one of this kind's.
    pub fn has(self, value: &Value) -> bool {
        match self {
            Kind::Bool => matches!(value, Value::Bool(_)),
            Kind::Int => matches!(value, Value::Int(_)),
            Kind::Float4 | Kind::Float8 => matches!(value, Value::Float(_)),
            Kind::Numeric => matches!(value, Value::Numeric(_)),
            Kind::Text | Kind::Enum(_) => matches!(value, Value::Text(_)),
            Kind::Uuid => matches!(value, Value::Uuid(_)),
            Kind::Bytes => matches!(value, Value::Bytes(_)),
            Kind::Date => matches!(value, Value::Date(_)),
            Kind::Time => matches!(value, Value::Time(_)),
            Kind::Timestamp | Kind::TimestampTz => matches!(value, Value::Timestamp(_)),
        }
    }

    /// Whether values that are equal are the same [`Value`]. A decimal's scale may differ where its value does not, and zero has
    /// two floats.
    pub fn is_identity(self) -> bool {
        !matches!(self, Kind::Float4 | Kind::Float8 | Kind::Numeric)
    }

    /// Whether `<` is [`Value::sql_cmp`]'s. Of floats NaN is not certain.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Kind::Float4 | Kind::Float8 | Kind::Enum(_))
    }
}

/// How the database orders two values that are not NULL; `None` where that is not exactly known. `equality`: only whether they
/// are equal is asked.
fn order(a: &Value, a_type: &Type, b: &Value, b_type: &Type, equality: bool) -> Option<Ordering> {
    let (a_kind, b_kind) = (Kind::of(a_type)?, Kind::of(b_type)?);
    if !equality && matches!(a_kind, Kind::Enum(_)) {
        return None;
    }
    match (a, b) {
        (Value::Int(i), Value::Numeric(n)) if (a_kind, b_kind) == (Kind::Int, Kind::Numeric) => {
            Some(Decimal::from_i64(*i).cmp_value(n))
        }
        (Value::Numeric(n), Value::Int(i)) if (a_kind, b_kind) == (Kind::Numeric, Kind::Int) => {
            Some(n.cmp_value(&Decimal::from_i64(*i)))
        }
        _ if a_kind != b_kind => None,
        // What engines make of NaN differs.
        (Value::Float(x), Value::Float(y)) => x.partial_cmp(y),
        _ => a.sql_cmp(b),
    }
}

/// `LIKE` with `\` as its escape, by code points. `None` for a pattern that ends in its escape: the database refuses it.
fn like(text: &str, pattern: &str) -> Option<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        One,
        Many,
        Char(char),
    }
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Part::Many,
            '_' => Part::One,
            '\\' => Part::Char(chars.next()?),
            c => Part::Char(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // Greedy with one point of return: the last `%` seen.
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Many) => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(Part::One) => (t, p) = (t + 1, p + 1),
            Some(Part::Char(c)) if *c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    (t, p) = (from + 1, after);
                }
                None => return Some(false),
            },
        }
    }
    Some(parts[p..].iter().all(|part| *part == Part::Many))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_the_databases() {
        for (text, pattern, expected) in [
            ("abc", "abc", Some(true)),
            ("abc", "a%", Some(true)),
            ("abc", "%c", Some(true)),
            ("abc", "_b_", Some(true)),
            ("abc", "_b", Some(false)),
            ("", "%", Some(true)),
            ("", "_", Some(false)),
            ("a%c", "a\\%c", Some(true)),
            ("abc", "a\\%c", Some(false)),
            ("aXbXc", "a%X_", Some(true)),
            ("mississippi", "m%iss%pi", Some(true)),
            ("ä", "_", Some(true)),
            ("abc", "abc\\", None),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn sets_of_truth_follow_kleene() {
        let single = [TRUE, FALSE, NULL];
        let name = |p: Possible| [Some(true), Some(false), None][p.0.trailing_zeros() as usize];
        for a in single {
            for b in single {
                let and = match (name(a), name(b)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                assert!(a.and(b) == Possible::of(and));
                // A set's result is the union of its members' results.
                assert!(ANY.and(b).0 == single.iter().fold(0, |sum, x| sum | x.and(b).0));
                assert!(ANY.or(b).0 == single.iter().fold(0, |sum, x| sum | x.or(b).0));
            }
        }
    }
}
