//! UNION, INTERSECT and EXCEPT, and the columns of what a query yields.

use super::coerce::CastContext;
use super::query::{is_sortable, with_clause};
use super::scope::column;
use super::{At, Binder, Bound};
use mainstay_model::{Expr, FromItem, Projected, Select, SetOperation, SourceId, Type};
use squawk_syntax::ast::{self, AstNode};

impl Binder<'_> {
    /// `left UNION|INTERSECT|EXCEPT right`
    pub(super) fn compound(&mut self, compound: &ast::CompoundSelect, at: At) -> Bound<Select> {
        let (Some(left), Some(right)) = (compound.lhs(), compound.rhs()) else {
            return Err(self.problem(at, "a set operation needs a query on each side"));
        };
        let (operation, name) = self.operation(compound, at)?;
        // The WITH in front of the first query belongs to all of them; it is bound already.
        let left_bound = match with_clause(&left) {
            Some(_) => self.deeper(at, |binder| binder.query_body(&left, false))?,
            None => self.raw_query(&left, false)?,
        };
        let right_bound = self.raw_query(&right, false)?;
        self.combine(
            operation,
            name,
            (left_bound, At::of(left.syntax())),
            (right_bound, At::of(right.syntax())),
        )
    }

    pub(super) fn operation(&self, compound: &ast::CompoundSelect, at: At) -> Bound<(SetOperation, &'static str)> {
        let all = |quantifier: Option<ast::AllOrDistinct>| matches!(quantifier, Some(ast::AllOrDistinct::All(_)));
        Ok(match compound.op() {
            Some(ast::CompoundOp::Union(op)) if all(op.all_or_distinct()) => (SetOperation::UnionAll, "UNION"),
            Some(ast::CompoundOp::Union(_)) => (SetOperation::Union, "UNION"),
            Some(ast::CompoundOp::Intersect(op)) if all(op.all_or_distinct()) => {
                (SetOperation::IntersectAll, "INTERSECT")
            }
            Some(ast::CompoundOp::Intersect(_)) => (SetOperation::Intersect, "INTERSECT"),
            Some(ast::CompoundOp::Except(op)) if all(op.all_or_distinct()) => (SetOperation::ExceptAll, "EXCEPT"),
            Some(ast::CompoundOp::Except(_)) => (SetOperation::Except, "EXCEPT"),
            None => return Err(self.problem(at, "UNION, INTERSECT or EXCEPT is expected here")),
        })
    }

    /// Two queries as one, their columns of common types. A chain is built of one associative operation only, and neither side
    /// has an order or a limit of its own, so that the operations written one after another mean the same.
    pub(super) fn combine(
        &mut self,
        operation: SetOperation,
        name: &str,
        (mut left, left_at): (Select, At),
        (mut right, right_at): (Select, At),
    ) -> Bound<Select> {
        let (columns, others) = (Self::output_columns(&left), Self::output_columns(&right));
        if columns.len() != others.len() {
            return Err(self.problem(
                right_at,
                format!("each {name} query must have the same number of columns"),
            ));
        }
        for (index, ((_, a), (_, b))) in columns.iter().zip(&others).enumerate() {
            if *a == Type::Unknown && *b == Type::Unknown && operation == SetOperation::UnionAll {
                continue;
            }
            let common = self.common_type([(a, left_at), (b, right_at)], name)?;
            if operation != SetOperation::UnionAll && !is_sortable(&common) {
                let message = format!("could not identify an equality operator for type {common}");
                return Err(self
                    .problem(right_at, message)
                    .help("use UNION ALL, or jsonb instead of json"));
            }
            self.coerce_output(&mut left, index, &common, left_at, CastContext::Implicit)?;
            self.coerce_output(&mut right, index, &common, right_at, CastContext::Implicit)?;
        }
        let associative = !matches!(operation, SetOperation::Except | SetOperation::ExceptAll);
        for side in [&mut left, &mut right] {
            let chained = side
                .set_operation
                .as_ref()
                .is_some_and(|(other, _)| !associative || *other != operation);
            if chained
                || !side.order.is_empty()
                || side.limit.is_some()
                || side.offset.is_some()
                || !side.with.is_empty()
            {
                let taken = std::mem::take(side);
                *side = self.wrap(taken)?.0;
                // A WITH inside a member of the set operation stays there.
                if !side.with.is_empty()
                    && let Some(FromItem::Subquery { select, .. }) = side.from.first_mut()
                {
                    select.with = std::mem::take(&mut side.with);
                }
            }
        }
        append(&mut left, operation, right);
        Ok(left)
    }

    /// `SELECT columns FROM (select)`
    pub(super) fn wrap(&mut self, mut select: Select) -> Bound<(Select, SourceId)> {
        self.settle_outputs(&mut select)?;
        let with = std::mem::take(&mut select.with);
        let columns = Self::output_columns(&select);
        let source = self.new_source();
        self.item(None, &columns, source, None);
        let projection = columns.into_iter().enumerate();
        let projection = projection.map(|(i, (name, ty))| Projected {
            expr: column(source, i as u32, ty),
            name,
        });
        let outer = Select {
            with,
            projection: projection.collect(),
            from: vec![FromItem::Subquery {
                select: Box::new(select),
                source,
                lateral: false,
            }],
            ..Select::default()
        };
        Ok((outer, source))
    }

    /// Literals that nothing has decided are text.
    pub(super) fn settle_outputs(&mut self, select: &mut Select) -> Bound<()> {
        let unknown: Vec<usize> = Self::output_columns(select)
            .iter()
            .enumerate()
            .filter(|(_, (_, ty))| *ty == Type::Unknown)
            .map(|(i, _)| i)
            .collect();
        let nowhere = At { start: 0, end: 0 };
        unknown
            .into_iter()
            .try_for_each(|i| self.coerce_output(select, i, &Type::Text, nowhere, CastContext::Implicit))
    }

    /// Casts one column of what a query yields.
    pub(super) fn coerce_output(
        &mut self,
        select: &mut Select,
        index: usize,
        ty: &Type,
        at: At,
        context: CastContext,
    ) -> Bound<()> {
        let mut cast = |expr: &mut Expr| -> Bound<()> {
            let taken = std::mem::replace(expr, super::null());
            *expr = match context {
                CastContext::Assignment => self.assign(taken, at, ty)?,
                context => self.coerce(taken, at, ty, context)?,
            };
            Ok(())
        };
        for row in &mut select.values {
            if let Some(expr) = row.get_mut(index) {
                cast(expr)?;
            }
        }
        if let Some(projected) = select.projection.get_mut(index) {
            let before = projected.expr.clone();
            cast(&mut projected.expr)?;
            // DISTINCT may be ordered by what it yields only.
            if select.distinct {
                select
                    .order
                    .iter_mut()
                    .filter(|key| key.expr == before)
                    .for_each(|key| key.expr = projected.expr.clone());
            }
        }
        match &mut select.set_operation {
            Some((_, right)) => self.coerce_output(right, index, ty, at, context),
            None => Ok(()),
        }
    }
}

/// Puts a query behind the last one of a chain.
pub(super) fn append(select: &mut Select, operation: SetOperation, right: Select) {
    match &mut select.set_operation {
        Some((_, next)) => append(next, operation, right),
        last => *last = Some((operation, Box::new(right))),
    }
}
