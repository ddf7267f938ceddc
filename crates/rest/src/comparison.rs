//! What is tested of a value: operators, lists and quantifiers, against values of the column's type, or of what its domain says that
//! they are written as.

use crate::bind::{Binder, Bound};
use crate::filter::{Condition, Quantifier, Test, Tree};
use crate::level::Level;
use crate::rows::Rows;
use crate::{error, types};
use mainstay_model::{DomainCast, Error, Expr, ExprKind, IsTest, Operator, Type, Value};
use std::borrow::Cow;

impl<'s> Binder<'s> {
    /// Conditions, and how they hang together.
    pub fn tree(&mut self, tree: &Tree<'_>, rows: &Rows<'s>, level: &Level<'_>) -> Bound<Expr> {
        match tree {
            Tree::Condition(condition) => self.condition(condition, rows, level),
            Tree::Group { negated, any, members } => {
                let members = members
                    .iter()
                    .map(|m| self.tree(m, rows, level))
                    .collect::<Bound<Vec<_>>>()?;
                let group = if *any { Expr::any(members) } else { Expr::all(members) };
                Ok(if *negated { group.negate() } else { group })
            }
        }
    }

    fn condition(&mut self, condition: &Condition<'_>, rows: &Rows<'s>, level: &Level<'_>) -> Bound<Expr> {
        let Condition {
            field, negated, test, ..
        } = condition;
        if field.path.is_empty()
            && let Some(index) = level.embed(&field.name)
        {
            match test {
                Test::Is(IsTest::Null, is_not) => {
                    let any = Expr::condition(ExprKind::Embedded(index as u16));
                    return Ok(if negated ^ is_not { any } else { any.negate() });
                }
                _ if rows.column(&field.name).is_none() => return Err(error::embed_operator(&field.name)),
                _ => {}
            }
        }
        let left = self.field(field, rows)?;
        let written = self.domain_cast(&left, rows, |domain| self.schema.representation("text", domain));
        match written {
            Some(cast) => self.written(left, condition, &cast),
            None => self.compared(left, condition),
        }
    }

    /// What is tested for a value of a domain that says how its values are written.
    fn written(&mut self, left: Expr, condition: &Condition<'_>, cast: &DomainCast) -> Bound<Expr> {
        let ty = left.ty.clone();
        let of_text = |text| {
            Expr::new(
                ExprKind::Represented(Box::new(cast.clone()), Box::new(text)),
                ty.clone(),
            )
        };
        match &condition.test {
            Test::In(values) => {
                let mut list = Vec::with_capacity(values.len());
                for value in values {
                    list.push(of_text(self.param(Value::Text(value.to_string()), Type::Text)?));
                }
                let operand = Box::new(left);
                let negated = condition.negated;
                Ok(Expr::condition(ExprKind::In { operand, list, negated }))
            }
            Test::Operator {
                operator,
                quantifier: None,
                value,
                ..
            } if !is_pattern(*operator) => {
                let right = of_text(self.comparand(value, &Type::Text)?);
                let compared = Expr::compare(*operator, left, right);
                Ok(if condition.negated { compared.negate() } else { compared })
            }
            _ => self.compared(left, condition),
        }
    }

    /// What is tested for a value.
    pub fn compared(&mut self, left: Expr, condition: &Condition<'_>) -> Bound<Expr> {
        let Condition { negated, test, .. } = condition;
        if let Test::Is(test, is_not) = test {
            if *test != IsTest::Null && left.ty != Type::Bool {
                let word = ["TRUE", "FALSE", "UNKNOWN"]
                    [(*test == IsTest::False) as usize + 2 * (*test == IsTest::Unknown) as usize];
                let message = format!("argument of IS {word} must be type boolean, not type {}", left.ty);
                return Err(Error::new("42804", message));
            }
            let operand = Box::new(left);
            return Ok(Expr::condition(ExprKind::Is {
                operand,
                test: *test,
                negated: negated ^ is_not,
            }));
        }
        let condition = self.test(left, test)?;
        Ok(if *negated { condition.negate() } else { condition })
    }

    fn test(&mut self, left: Expr, test: &Test<'_>) -> Bound<Expr> {
        match test {
            Test::In(values) => {
                refuse_operator(Operator::Eq, "=", &left.ty)?;
                let (list, ty) = types::list(values, &left.ty, self.schema)?;
                self.momentary |= values.iter().any(|text| types::is_momentary(text, &left.ty));
                let array = Box::new(self.param(list, ty)?);
                let operand = Box::new(left);
                Ok(Expr::condition(ExprKind::Quantified {
                    operator: Operator::Eq,
                    all: false,
                    operand,
                    array,
                }))
            }
            Test::Operator {
                operator,
                symbol,
                quantifier,
                pattern,
                value,
            } => {
                refuse_operator(*operator, symbol, &left.ty)?;
                let value: Cow<'_, str> = if *pattern && value.contains('*') {
                    value.replace('*', "%").into()
                } else {
                    Cow::Borrowed(value)
                };
                // A pattern is text, whatever kind of text it is matched against; the database knows what other types are matched with.
                let ty = match &left.ty {
                    Type::Other(_) if is_pattern(*operator) && quantifier.is_none() => Type::Unknown,
                    _ if is_pattern(*operator) => Type::Text,
                    ty => ty.clone(),
                };
                match quantifier {
                    Some(quantifier) => {
                        let ty = Type::Array(Box::new(ty));
                        self.momentary |= types::is_momentary(&value, &ty);
                        let (value, ty) = types::operand(&value, &ty, self.schema)?;
                        let array = Box::new(self.param(value, ty)?);
                        let (operator, all) = (*operator, *quantifier == Quantifier::All);
                        Ok(Expr::condition(ExprKind::Quantified {
                            operator,
                            all,
                            operand: Box::new(left),
                            array,
                        }))
                    }
                    None => {
                        let right = self.comparand(&value, &ty)?;
                        Ok(Expr::compare(*operator, left, right))
                    }
                }
            }
            Test::Search {
                operator,
                language,
                value,
            } => {
                let mut operands = vec![left, self.param(Value::Text(value.to_string()), Type::Text)?];
                if let Some(language) = language {
                    operands.push(Expr::literal(Value::Text(language.to_string()), Type::Text));
                }
                Ok(Expr::condition(ExprKind::Operator(*operator, operands)))
            }
            Test::Is(..) => Err(Error::internal("IS is bound with its negation")),
        }
    }

    /// A column as its domain has its values shown, if it says how.
    pub fn shown(&self, value: Expr, rows: &Rows<'s>) -> Expr {
        match self.domain_cast(&value, rows, |domain| self.schema.representation(domain, "json")) {
            Some(cast) => Expr::new(ExprKind::Represented(cast, Box::new(value)), Type::Json),
            None => value,
        }
    }

    fn domain_cast(
        &self,
        value: &Expr,
        rows: &Rows<'s>,
        find: impl FnOnce(&str) -> Option<&'s DomainCast>,
    ) -> Option<Box<DomainCast>> {
        if self.schema.representations.is_empty() {
            return None;
        }
        let ExprKind::Column(column) = &value.kind else {
            return None;
        };
        find(rows.domain(column.column)?).cloned().map(Box::new)
    }
}

fn is_pattern(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Like | Operator::ILike | Operator::Match | Operator::IMatch
    )
}

/// 42883 for an operator that Postgres does not have for the type.
fn refuse_operator(operator: Operator, symbol: &str, ty: &Type) -> Bound<()> {
    // What is kept in its text form only: the engine says what it can do with it.
    if matches!(ty, Type::Other(_)) {
        return Ok(());
    }
    let exists = match operator {
        Operator::Like | Operator::ILike | Operator::Match | Operator::IMatch => ty.is_text(),
        Operator::Contains | Operator::ContainedBy => matches!(ty, Type::Array(_) | Type::Jsonb),
        Operator::Overlaps => matches!(ty, Type::Array(_)),
        Operator::StrictlyLeft
        | Operator::StrictlyRight
        | Operator::NotExtendsLeft
        | Operator::NotExtendsRight
        | Operator::Adjacent => false,
        _ => !matches!(ty, Type::Json | Type::Row(_)),
    };
    if exists {
        Ok(())
    } else {
        Err(error::no_operator(ty, symbol))
    }
}
