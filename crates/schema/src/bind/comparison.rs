//! Comparisons and tests: of values and of rows.

use super::syntax::{Operand, Tree, expressions};
use super::{At, Binder, Bound};
use crate::names::text;
use mainstay_model::{Expr, ExprKind, IsTest, Operator, Value};
use squawk_syntax::ast::{self, AstNode, LitKind};

impl Binder<'_> {
    /// `IS [NOT] NULL|TRUE|FALSE|UNKNOWN`
    pub(super) fn is(&mut self, left: &Operand, right: &Operand, negated: bool) -> Bound<Expr> {
        let test = match &right.tree {
            Tree::Atom(ast::Expr::Literal(literal)) => match literal.kind() {
                Some(LitKind::Null(_)) => return self.is_null(left, negated),
                Some(LitKind::True(_)) => IsTest::True,
                Some(LitKind::False(_)) => IsTest::False,
                _ => return Err(self.problem(right.at, "IS takes NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")),
            },
            Tree::Atom(ast::Expr::NameRef(name)) if &*text(name) == "unknown" => IsTest::Unknown,
            Tree::Atom(ast::Expr::NameRef(name)) => {
                return Err(self.refused(right.at, format!("IS {}", text(name).to_uppercase())));
            }
            _ => return Err(self.problem(right.at, "IS takes NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")),
        };
        let bound = self.tree(left)?;
        let operand = Box::new(self.condition(bound, left.at, "IS")?);
        Ok(Expr::condition(ExprKind::Is { operand, test, negated }))
    }

    pub(super) fn is_null(&mut self, operand: &Operand, negated: bool) -> Bound<Expr> {
        let test = |operand| {
            Expr::condition(ExprKind::Is {
                operand: Box::new(operand),
                test: IsTest::Null,
                negated,
            })
        };
        // A row is null when every column is, and not null when none is.
        if let Some(row) = self.row(operand)? {
            return Ok(Expr::all(row.into_iter().map(|(e, _)| test(e)).collect()));
        }
        let bound = self.tree(operand)?;
        if let ExprKind::WholeRow(source) = &bound.kind
            && let Some(names) = self.names.get(source)
        {
            return Ok(Expr::all(
                names.columns(*source).into_iter().map(|p| test(p.expr)).collect(),
            ));
        }
        Ok(test(self.settle(bound)))
    }

    pub(super) fn distinct(&mut self, left: &Operand, right: &Operand, negated: bool, at: At) -> Bound<Expr> {
        let operator = if negated {
            Operator::IsNotDistinctFrom
        } else {
            Operator::IsDistinctFrom
        };
        if let Some((left, right)) = self.rows(left, right)? {
            let mut parts = Vec::new();
            for (left, right) in left.into_iter().zip(right) {
                let (_, left, right) = self.comparable("=", at, left, right)?;
                parts.push(Expr::compare(operator, left, right));
            }
            return Ok(if negated { Expr::all(parts) } else { Expr::any(parts) });
        }
        let (left, right) = (self.placed(left)?, self.placed(right)?);
        let (_, left, right) = self.comparable("=", at, left, right)?;
        Ok(Expr::compare(operator, left, right))
    }

    /// The expressions of `(a, b)` or `ROW(a, b)`.
    pub(super) fn row(&mut self, operand: &Operand) -> Bound<Option<Vec<(Expr, At)>>> {
        let Some(tuple) = tuple_of(operand) else {
            return Ok(None);
        };
        let mut row = Vec::new();
        for expr in expressions(tuple.syntax()) {
            let part = self.operand(&expr)?;
            if let Tree::Atom(ast::Expr::FieldExpr(field)) = &part.tree
                && field.star_token().is_some()
            {
                row.extend(self.star_of(field)?.into_iter().map(|p| (p.expr, part.at)));
                continue;
            }
            row.push(self.placed(&part)?);
        }
        Ok(Some(row))
    }

    /// Both sides as rows of one length, if they are rows.
    #[allow(clippy::type_complexity)]
    pub(super) fn rows(
        &mut self,
        left: &Operand,
        right: &Operand,
    ) -> Bound<Option<(Vec<(Expr, At)>, Vec<(Expr, At)>)>> {
        match (self.row(left)?, self.row(right)?) {
            (None, _) | (_, None) => Ok(None),
            (Some(l), Some(r)) if l.len() == r.len() && !l.is_empty() => Ok(Some((l, r))),
            _ => Err(self.problem(left.at.to(right.at), "unequal number of entries in row expressions")),
        }
    }

    pub(super) fn comparison_or_operator(
        &mut self,
        symbol: &str,
        at: At,
        left: &Operand,
        right: &Operand,
    ) -> Bound<Expr> {
        if let Tree::Atom(ast::Expr::CallExpr(call)) = &right.tree
            && let Some(quantified) = super::forms::Quantifier::of(call)
        {
            return self.quantified(symbol, at, left, quantified);
        }
        if tuple_of(left).is_some()
            && let Some((left, right)) = self.rows(left, right)?
        {
            return self.row_comparison(symbol, at, left, right);
        }
        let (left, right) = (self.placed(left)?, self.placed(right)?);
        self.binary(symbol, at, left, right)
    }

    /// `(a, b) < (c, d)`: from the left, the first pair that differs decides.
    pub(super) fn row_comparison(
        &mut self,
        symbol: &str,
        at: At,
        left: Vec<(Expr, At)>,
        right: Vec<(Expr, At)>,
    ) -> Bound<Expr> {
        let pairs: Vec<_> = left.into_iter().zip(right).collect();
        if !matches!(symbol, "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") {
            return Err(self.refused(at, format!("the operator {symbol} on rows")));
        }
        if matches!(symbol, "=" | "<>" | "!=") {
            let mut parts = Vec::new();
            for (left, right) in pairs {
                parts.push(self.binary(symbol, at, left, right)?);
            }
            return Ok(if symbol == "=" {
                Expr::all(parts)
            } else {
                Expr::any(parts)
            });
        }
        let strict = &symbol[..1];
        let last = pairs.len() - 1;
        let mut result = None;
        for (index, (left, right)) in pairs.into_iter().enumerate().rev() {
            let here = self.binary(
                if index == last { symbol } else { strict },
                at,
                left.clone(),
                right.clone(),
            )?;
            result = Some(match result {
                None => here,
                Some(rest) => Expr::any(vec![here, Expr::all(vec![self.binary("=", at, left, right)?, rest])]),
            });
        }
        result.ok_or_else(|| self.problem(at, "an empty row cannot be compared"))
    }

    pub(super) fn like(
        &mut self,
        symbol: &str,
        left: &Operand,
        pattern: &Operand,
        escape: Option<&Operand>,
        at: At,
    ) -> Bound<Expr> {
        if let Some(escape) = escape {
            let bound = self.tree(escape)?;
            if !matches!(&bound.kind, ExprKind::Literal(Value::Text(text)) if text == "\\") {
                let problem = self.refused(escape.at, "an ESCAPE other than '\\'");
                return Err(problem.help("a backslash escapes % and _ by itself, without ESCAPE"));
            }
        }
        let place = pattern.at;
        if let Tree::Atom(ast::Expr::CallExpr(call)) = &pattern.tree
            && let Some(quantified) = super::forms::Quantifier::of(call)
        {
            return self.quantified(symbol, place, left, quantified);
        }
        let (left, pattern) = (self.placed(left)?, self.placed(pattern)?);
        self.binary(symbol, at, left, pattern)
    }

    pub(super) fn between(
        &mut self,
        operand: &Operand,
        (low, high): (&Operand, &Operand),
        symmetric: bool,
        negated: bool,
        at: At,
    ) -> Bound<Expr> {
        let (value, low, high) = (self.placed(operand)?, self.placed(low)?, self.placed(high)?);
        let within = |binder: &mut Self, low: &(Expr, At), high: &(Expr, At)| {
            let from = binder.binary(">=", at, value.clone(), low.clone())?;
            let to = binder.binary("<=", at, value.clone(), high.clone())?;
            Ok(Expr::all(vec![from, to]))
        };
        let mut result = within(self, &low, &high)?;
        if symmetric {
            result = Expr::any(vec![result, within(self, &high, &low)?]);
        }
        Ok(if negated { result.negate() } else { result })
    }
}

/// `(a, b)` and `ROW(a, b)`
pub(super) fn tuple_of(operand: &Operand) -> Option<ast::TupleExpr> {
    match &operand.tree {
        Tree::Atom(ast::Expr::TupleExpr(tuple)) => Some(tuple.clone()),
        Tree::Atom(ast::Expr::ParenExpr(paren)) => {
            let inner = expressions(paren.syntax());
            match inner.as_slice() {
                [ast::Expr::TupleExpr(tuple)] => Some(tuple.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}
