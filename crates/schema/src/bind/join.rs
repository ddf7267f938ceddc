//! Joins: their order, their conditions, and the columns that USING and NATURAL merge.

use super::coerce::CastContext;
use super::from::Source;
use super::scope::{Clause, Item, ItemColumn, Scope};
use super::syntax::expressions;
use super::{At, Binder, Bound};
use crate::names::text;
use mainstay_model::{Builtin, Expr, ExprKind, FromItem, JoinKind};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Binder<'_> {
    /// A chain of joins, from the left. The parser lets a join without a condition reach over those behind it; they are put
    /// back in their order here.
    pub(super) fn joins(&mut self, join: &ast::JoinExpr) -> Bound<Source> {
        let mut steps = Vec::new();
        let first = chain(join, &mut steps);
        let Some(first) = first else {
            return Err(self.problem(At::of(join.syntax()), "the left side of the join is missing"));
        };
        let mut left = self.list_item(&first)?;
        for (join, right) in steps {
            left = self.join(left, &join, &right)?;
        }
        Ok(left)
    }

    pub(super) fn join(
        &mut self,
        (left, left_names): Source,
        join: &ast::Join,
        right: &ast::FromListItem,
    ) -> Bound<Source> {
        let at = At::of(join.syntax());
        let kind = match join.join_type() {
            Some(ast::JoinType::JoinLeft(_)) => JoinKind::Left,
            Some(ast::JoinType::JoinRight(_)) => JoinKind::Right,
            Some(ast::JoinType::JoinFull(_)) => JoinKind::Full,
            Some(ast::JoinType::JoinCross(_)) => JoinKind::Cross,
            _ => JoinKind::Inner,
        };
        // The right side may be LATERAL to the left one, where every row of the left one is kept or matched.
        let before = self.scopes.last().map_or(0, |s| s.items.len());
        if let (Some(scope), JoinKind::Inner | JoinKind::Left | JoinKind::Cross) = (self.scopes.last_mut(), kind) {
            scope.items.extend(left_names.iter().cloned());
        }
        let right = self.list_item(right);
        if let Some(scope) = self.scopes.last_mut() {
            scope.items.truncate(before);
        }
        let (right, right_names) = right?;
        for item in &right_names {
            if let Some(twice) = twice(&left_names, item) {
                return Err(self
                    .problem(at, format!("table name \"{twice}\" specified more than once"))
                    .help("give one of them an alias"));
            }
        }
        let natural = join.natural_token().is_some();
        let (on, names) = match join.join_condition() {
            Some(ast::JoinCondition::OnClause(on)) => {
                let mut names = left_names;
                names.extend(right_names);
                (Some(self.join_condition(&on, &mut names)?), names)
            }
            Some(ast::JoinCondition::JoinUsingClause(using)) => {
                if let Some(alias) = using.alias() {
                    return Err(self.refused(At::of(alias.syntax()), "an alias for USING"));
                }
                let columns = using.column_ref_list().into_iter().flat_map(|l| l.column_name_refs());
                let columns: Vec<_> = columns.map(|c| (text(&c), At::of(c.syntax()))).collect();
                self.merge(kind, left_names, right_names, &columns)?
            }
            None if natural => {
                let right_columns: Vec<_> = visible(&right_names).map(|c| c.name.clone()).collect();
                let shared = visible(&left_names)
                    .filter(|c| right_columns.contains(&c.name))
                    .map(|c| (c.name.clone(), at));
                let shared: Vec<_> = shared.collect();
                self.merge(kind, left_names, right_names, &shared)?
            }
            None if kind == JoinKind::Cross => {
                let mut names = left_names;
                names.extend(right_names);
                (None, names)
            }
            None => {
                return Err(self
                    .problem(at, "the join needs ON or USING")
                    .help("without a condition it is CROSS JOIN"));
            }
        };
        // NATURAL without a common column is a cross join; an outer one still keeps its rows.
        let on = match (on, kind) {
            (None, JoinKind::Left | JoinKind::Right | JoinKind::Full) => Some(Self::boolean(true)),
            (on, _) => on,
        };
        let kind = if on.is_none() { JoinKind::Cross } else { kind };
        Ok((
            FromItem::Join {
                kind,
                left: Box::new(left),
                right: Box::new(right),
                on,
            },
            names,
        ))
    }

    /// ON sees the two sides of its join only.
    pub(super) fn join_condition(&mut self, on: &ast::OnClause, names: &mut Vec<Item>) -> Bound<Expr> {
        let at = At::of(on.syntax());
        let Some(expr) = expressions(on.syntax()).into_iter().next() else {
            return Err(self.problem(at, "ON needs a condition"));
        };
        self.scopes.push(Scope::of(std::mem::take(names), Clause::Join));
        let bound = self.expr(&expr);
        if let Some(scope) = self.scopes.pop() {
            *names = scope.items;
        }
        self.condition(bound?, At::of(expr.syntax()), "JOIN/ON")
    }

    /// USING and NATURAL: the condition, and the names with the common columns once, in front.
    pub(super) fn merge(
        &mut self,
        kind: JoinKind,
        mut left: Vec<Item>,
        mut right: Vec<Item>,
        columns: &[(Arc<str>, At)],
    ) -> Bound<(Option<Expr>, Vec<Item>)> {
        let mut conditions = Vec::new();
        let mut merged = Vec::new();
        for (name, at) in columns {
            let a = self.common_column(&left, name, *at, "left")?;
            let b = self.common_column(&right, name, *at, "right")?;
            let (operator, l, r) = self.comparable("=", *at, (a.clone(), *at), (b.clone(), *at))?;
            conditions.push(Expr::compare(operator, l, r));
            let ty = self.common_type([(&a.ty, *at), (&b.ty, *at)], "JOIN/USING")?;
            let a = self.coerce(a, *at, &ty, CastContext::Implicit)?;
            let b = self.coerce(b, *at, &ty, CastContext::Implicit)?;
            let expr = match kind {
                JoinKind::Right => b,
                JoinKind::Full => Expr::new(ExprKind::Call(Builtin::Coalesce, vec![a, b]), ty),
                _ => a,
            };
            merged.push(ItemColumn {
                name: name.clone(),
                expr,
            });
        }
        let rest = |items: &[Item]| {
            let rest = visible(items)
                .filter(|c| !columns.iter().any(|(name, _)| *name == c.name))
                .cloned();
            rest.collect::<Vec<_>>()
        };
        merged.extend(rest(&left));
        merged.extend(rest(&right));
        for item in left.iter_mut().chain(&mut right) {
            item.by_column = false;
        }
        let mut names = vec![Item {
            name: None,
            namespace: None,
            columns: merged,
            source: None,
            relation: None,
            scalar: false,
            by_name: false,
            by_column: true,
        }];
        names.extend(left);
        names.extend(right);
        Ok(((!conditions.is_empty()).then(|| Expr::all(conditions)), names))
    }

    pub(super) fn common_column(&self, items: &[Item], name: &str, at: At, side: &str) -> Bound<Expr> {
        let mut matching = visible(items).filter(|c| &*c.name == name);
        match (matching.next(), matching.next()) {
            (Some(column), None) => Ok(column.expr.clone()),
            (Some(_), Some(_)) => Err(self.problem(
                at,
                format!("common column name \"{name}\" appears more than once in {side} table"),
            )),
            (None, _) => Err(self.problem(
                at,
                format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
            )),
        }
    }
}

/// The columns that a bare name can mean.
pub(super) fn visible(items: &[Item]) -> impl Iterator<Item = &ItemColumn> {
    items.iter().filter(|i| i.by_column).flat_map(|i| &i.columns)
}

/// The name that two sources of one query share.
pub(super) fn twice(items: &[Item], new: &Item) -> Option<Arc<str>> {
    let name = new.name.as_ref().filter(|_| new.by_name)?;
    let same = |i: &&Item| {
        let namespaces = (&i.namespace, &new.namespace);
        i.by_name && i.name.as_ref() == Some(name) && !matches!(namespaces, (Some(a), Some(b)) if a != b)
    };
    items.iter().find(same).map(|_| name.clone())
}

/// Lays a tree of joins flat: the first source, and each join with its right side.
pub(super) fn chain(
    join: &ast::JoinExpr,
    steps: &mut Vec<(ast::Join, ast::FromListItem)>,
) -> Option<ast::FromListItem> {
    let first = match join.from_list_item()? {
        ast::FromListItem::JoinExpr(left) => chain(&left, steps)?,
        item => item,
    };
    if let Some(step) = join.join() {
        let unconditional =
            step.natural_token().is_some() || matches!(step.join_type(), Some(ast::JoinType::JoinCross(_)));
        match step.from_list_item() {
            Some(ast::FromListItem::JoinExpr(reached)) if unconditional => {
                let mut rest = Vec::new();
                let right = chain(&reached, &mut rest)?;
                steps.push((step, right));
                steps.extend(rest);
            }
            Some(right) => steps.push((step, right)),
            None => {}
        }
    }
    Some(first)
}
