//! Whether a row satisfies a filter, without asking the database: exactly, or not at all.
//!
//! A condition is evaluated to the *set* of truth values that it may have. What cannot be reproduced exactly (collations,
//! regular expressions, JSON, arrays, subqueries) may have all three, and the sets of AND, OR and NOT follow from those of
//! their parts, so that `NULL AND f(x)` is known never to be true whatever `f` says.

use mainstay_model::{Decimal, Expr, ExprKind, IsTest, Operator, SourceId, Type, Value};
use std::cmp::Ordering;

/// What is known of a condition on a row. SQL's false and NULL are both `No`: the row is not in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The row is certainly not selected.
    No,
    /// Nobody can tell.
    Maybe,
    /// The row is certainly selected.
    Yes,
}

/// Decides a filter on a row.
pub fn decide(filter: &Expr, row: &[Value]) -> Truth {
    let possible = condition(filter, row);
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

fn condition(expr: &Expr, row: &[Value]) -> Possible {
    match &expr.kind {
        ExprKind::And(all) => all.iter().fold(TRUE, |sum, e| sum.and(condition(e, row))),
        ExprKind::Or(any) => any.iter().fold(FALSE, |sum, e| sum.or(condition(e, row))),
        ExprKind::Not(inner) => condition(inner, row).not(),
        ExprKind::Operator(operator, operands) => match &**operands {
            [left, right] => binary(*operator, left, right, row),
            _ => ANY,
        },
        ExprKind::Is { operand, test, negated } => {
            let holds = match test {
                IsTest::Null => match value(operand, row) {
                    Some(value) => Possible::of(Some(value.as_value().is_null())),
                    None => Possible(TRUE.0 | FALSE.0),
                },
                IsTest::True | IsTest::False | IsTest::Unknown => {
                    let wanted = match test {
                        IsTest::True => TRUE,
                        IsTest::False => FALSE,
                        _ => NULL,
                    };
                    let operand = condition(operand, row);
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
                .fold(FALSE, |sum, item| sum.or(binary(Operator::Eq, operand, item, row)));
            if *negated { any.not() } else { any }
        }
        ExprKind::Quantified {
            operator,
            all,
            operand,
            array,
        } => {
            let Some(array_value) = value(array, row) else {
                return ANY;
            };
            let element = match &array.ty {
                Type::Array(element) => (**element).clone(),
                _ => return ANY,
            };
            match array_value.as_value() {
                Value::Null => NULL,
                Value::Array(items) => {
                    let each =
                        |item: &Value| binary(*operator, operand, &Expr::literal(item.clone(), element.clone()), row);
                    if *all {
                        items.iter().fold(TRUE, |sum, item| sum.and(each(item)))
                    } else {
                        items.iter().fold(FALSE, |sum, item| sum.or(each(item)))
                    }
                }
                _ => ANY,
            }
        }
        ExprKind::Literal(_) | ExprKind::Column(_) => match value(expr, row).as_ref().map(Known::as_value) {
            Some(Value::Bool(truth)) => Possible::of(Some(*truth)),
            Some(Value::Null) => NULL,
            _ => ANY,
        },
        _ => ANY,
    }
}

/// A value that is known: the row's own, or one made on the way.
enum Known<'a> {
    Borrowed(&'a Value),
    Owned(Value),
}

impl Known<'_> {
    fn as_value(&self) -> &Value {
        match self {
            Known::Borrowed(value) => value,
            Known::Owned(value) => value,
        }
    }
}

fn value<'a>(expr: &'a Expr, row: &'a [Value]) -> Option<Known<'a>> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(Known::Borrowed(value)),
        ExprKind::Column(column) if column.source == SourceId::SELF => {
            row.get(column.column as usize).map(Known::Borrowed)
        }
        // Widening changes the type and not the value; anything else is the database's business.
        ExprKind::Cast(inner) => {
            let known = value(inner, row)?;
            match (&inner.ty, &expr.ty) {
                _ if known.as_value().is_null() => Some(known),
                (Type::Int2 | Type::Int4, Type::Int4 | Type::Int8) | (Type::Int2, Type::Int2) => Some(known),
                (Type::Text | Type::Varchar(_), Type::Text | Type::Varchar(None)) => Some(known),
                (Type::Numeric(_), Type::Numeric(None)) => Some(known),
                (Type::Int2 | Type::Int4 | Type::Int8, Type::Numeric(None)) => match known.as_value() {
                    Value::Int(i) => Some(Known::Owned(Value::Numeric(Decimal::from_i64(*i)))),
                    _ => None,
                },
                (from, to) if from == to => Some(known),
                _ => None,
            }
        }
        _ => None,
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr, row: &[Value]) -> Possible {
    let (Some(a), Some(b)) = (value(left, row), value(right, row)) else {
        // NULL on a known side decides a strict operator whatever the other side is.
        let null = |e| value(e, row).is_some_and(|v| v.as_value().is_null());
        return if is_strict(operator) && (null(left) || null(right)) {
            NULL
        } else {
            ANY
        };
    };
    let (a, b) = (a.as_value(), b.as_value());
    match operator {
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            let equal = match (a.is_null(), b.is_null()) {
                (true, true) => Some(true),
                (true, false) | (false, true) => Some(false),
                (false, false) => order(a, &left.ty, b, &right.ty, true).map(|o| o == Ordering::Equal),
            };
            match equal {
                Some(equal) => Possible::of(Some(equal == (operator == Operator::IsNotDistinctFrom))),
                None => Possible(TRUE.0 | FALSE.0),
            }
        }
        _ if is_strict(operator) && (a.is_null() || b.is_null()) => NULL,
        Operator::Eq | Operator::Ne => match order(a, &left.ty, b, &right.ty, true) {
            Some(order) => Possible::of(Some((order == Ordering::Equal) == (operator == Operator::Eq))),
            None => Possible(TRUE.0 | FALSE.0),
        },
        Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => match order(a, &left.ty, b, &right.ty, false) {
            Some(order) => Possible::of(Some(match operator {
                Operator::Lt => order.is_lt(),
                Operator::Le => order.is_le(),
                Operator::Gt => order.is_gt(),
                _ => order.is_ge(),
            })),
            None => Possible(TRUE.0 | FALSE.0),
        },
        Operator::Like | Operator::NotLike => match (a, b) {
            (Value::Text(text), Value::Text(pattern)) if is_plain_text(&left.ty) => match like(text, pattern) {
                Some(matches) => Possible::of(Some(matches == (operator == Operator::Like))),
                None => ANY,
            },
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

fn is_plain_text(ty: &Type) -> bool {
    matches!(ty, Type::Text | Type::Varchar(_))
}

/// How the database orders two values that are not NULL; `None` where that is not exactly known. `equality`: only whether they
/// are equal is asked.
fn order(a: &Value, a_type: &Type, b: &Value, b_type: &Type, equality: bool) -> Option<Ordering> {
    let known = |ty: &Type| match ty {
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Float4
        | Type::Float8
        | Type::Numeric(_)
        | Type::Text
        | Type::Varchar(_)
        | Type::Uuid
        | Type::Bytea
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz => true,
        // Labels are ordered by their place in the type, which is not known here.
        Type::Enum(_) => equality,
        _ => false,
    };
    if !known(a_type) || !known(b_type) {
        return None;
    }
    match (a, b) {
        (Value::Int(i), Value::Numeric(n)) => Some(Decimal::from_i64(*i).cmp_value(n)),
        (Value::Numeric(n), Value::Int(i)) => Some(n.cmp_value(&Decimal::from_i64(*i))),
        (Value::Float(_), Value::Float(_)) if a_type != b_type => None,
        // Zero has two representations and one value.
        (Value::Float(x), Value::Float(y)) if *x == 0.0 && *y == 0.0 => Some(Ordering::Equal),
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
