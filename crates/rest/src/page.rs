//! The page of a level: `limit`, `offset`, and `after`, which begins it behind a row.

use crate::bind::{Binder, Bound};
use crate::error;
use crate::level::Level;
use crate::rows::Rows;
use mainstay_model::{Error, Expr, ExprKind, IsTest, Operator, OrderBy, QueryShape, Value};
use std::borrow::Cow;

impl<'s> Binder<'s> {
    /// That a row comes behind the one with these sort keys. Errors: PGRST100, PGRST109.
    pub fn after(&mut self, values: &[Option<Cow<'_, str>>], order: &[OrderBy], rows: &Rows<'s>) -> Bound<Expr> {
        if values.len() != order.len() {
            let message = format!("'after' has {} values for {} sort keys", values.len(), order.len());
            return Err(Error::new("PGRST100", message)
                .hint("give the values of the sort keys of the last row seen: order=price.desc,id&after=(9.5,7)"));
        }
        if !self.is_total(order, rows) {
            return Err(error::after_without_key());
        }
        let mut alternatives = Vec::new();
        let mut same: Vec<Expr> = Vec::new();
        for (value, key) in values.iter().zip(order) {
            if key.expr.has_aggregate() || matches!(key.expr.kind, ExprKind::EmbeddedColumn(..)) {
                return Err(error::not_implemented(
                    "'after' with an order by aggregates or by columns of related rows",
                ));
            }
            let left = || Box::new(key.expr.clone());
            let is_null = |negated| {
                Expr::condition(ExprKind::Is {
                    operand: left(),
                    test: IsTest::Null,
                    negated,
                })
            };
            let nullable = self.may_be_null(&key.expr, rows);
            let (behind, equal) = match value {
                None if key.nulls_first => (Some(is_null(true)), is_null(false)),
                None => (None, is_null(false)),
                Some(text) => {
                    let ty = key.expr.ty.clone();
                    let operator = if key.descending { Operator::Lt } else { Operator::Gt };
                    let behind = Expr::compare(operator, key.expr.clone(), self.comparand(text, &ty)?);
                    let equal = Expr::compare(Operator::Eq, key.expr.clone(), self.comparand(text, &ty)?);
                    match nullable && !key.nulls_first {
                        true => (Some(Expr::any(vec![behind, is_null(false)])), equal),
                        false => (Some(behind), equal),
                    }
                }
            };
            if let Some(behind) = behind {
                let mut all = same.clone();
                all.push(behind);
                alternatives.push(Expr::all(all));
            }
            same.push(equal);
        }
        Ok(Expr::any(alternatives))
    }

    fn may_be_null(&self, expr: &Expr, rows: &Rows<'s>) -> bool {
        match (&expr.kind, rows.relation) {
            (ExprKind::Column(column), Some(id)) => {
                let found = self.schema.relation(id).columns.get(column.column as usize);
                found.is_none_or(|column| !column.not_null)
            }
            _ => true,
        }
    }

    /// Whether no two rows of a table have the same sort keys. Of views and functions nobody knows.
    fn is_total(&self, order: &[OrderBy], rows: &Rows<'s>) -> bool {
        let Some(table) = rows.relation.and_then(|id| self.schema.relation(id).table()) else {
            return true;
        };
        let sorted = |column: &u32| {
            order
                .iter()
                .any(|key| matches!(&key.expr.kind, ExprKind::Column(own) if own.column == *column))
        };
        let uniques = table.uniques.iter().map(|unique| &unique.columns);
        std::iter::once(&table.primary_key)
            .chain(uniques)
            .any(|key| !key.is_empty() && key.iter().all(sorted))
    }

    pub fn page(&mut self, level: &Level<'_>, shape: &mut QueryShape) -> Bound<()> {
        let asked = match level.limit {
            Some(limit) => Some(
                u64::try_from(limit)
                    .map_err(|_| error::unsatisfiable_range("Limit should be greater than or equal to zero."))?,
            ),
            None => None,
        };
        let limit = match (asked, self.page_limit) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        if let Some(limit) = limit {
            shape.limit = Some(self.slot(Value::Int(limit.min(i64::MAX as u64) as i64))?);
        }
        if level.offset > 0 {
            shape.offset = Some(self.slot(Value::Int(level.offset))?);
        }
        Ok(())
    }
}
