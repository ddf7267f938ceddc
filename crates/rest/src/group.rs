//! Rows that are groups: `having`, and orders by aggregates.

use crate::bind::{Binder, Bound};
use crate::cursor::Field;
use crate::error;
use crate::filter::Tree;
use crate::level::Level;
use crate::rows::Rows;
use crate::select::SelectedField;
use mainstay_model::{AggregateFunction, Expr, ExprKind, Item, QueryShape};

impl<'s> Binder<'s> {
    /// Of groups only aggregates and what they are grouped by can be ordered by. Error: 42803.
    pub fn check_grouped_order(&self, shape: &QueryShape, level: &Level<'_>, rows: &Rows<'s>) -> Bound<()> {
        let key = |expr: &Expr| {
            expr.has_aggregate()
                || shape
                    .select
                    .iter()
                    .any(|item| matches!(item, Item::Field(field) if field.expr == *expr))
        };
        for (order, term) in shape.order.iter().zip(&level.order) {
            let embedded = matches!(order.expr.kind, ExprKind::EmbeddedColumn(..));
            if !embedded && !key(&order.expr) {
                let name = term.field.as_ref().map_or("", |field| &*field.name);
                return Err(error::not_grouped(rows.name, name));
            }
        }
        Ok(())
    }

    /// A condition on groups: what it names is an aggregate, or a value of the selection by its alias or its column.
    pub fn grouped(&mut self, tree: &Tree<'_>, rows: &Rows<'s>, level: &Level<'_>) -> Bound<Expr> {
        match tree {
            Tree::Condition(condition) => {
                let field = Some(&condition.field).filter(|field| !field.name.is_empty());
                let left = self.group_value(field, condition.aggregate, rows, level)?;
                let is_value = left.has_aggregate()
                    || level.fields.iter().flatten().any(|selected| {
                        selected.aggregate.is_none()
                            && selected
                                .field
                                .as_ref()
                                .is_some_and(|own| own.name == condition.field.name)
                    });
                if !is_value {
                    return Err(error::not_grouped(rows.name, &condition.field.name));
                }
                self.compared(left, condition)
            }
            Tree::Group { negated, any, members } => {
                let members = members
                    .iter()
                    .map(|m| self.grouped(m, rows, level))
                    .collect::<Bound<Vec<_>>>()?;
                let group = if *any { Expr::any(members) } else { Expr::all(members) };
                Ok(if *negated { group.negate() } else { group })
            }
        }
    }

    /// An aggregate; or the one that the selection calls so; or a column.
    pub fn group_value(
        &mut self,
        field: Option<&Field<'_>>,
        aggregate: Option<AggregateFunction>,
        rows: &Rows<'s>,
        level: &Level<'_>,
    ) -> Bound<Expr> {
        if let (Some(field), None) = (field, aggregate)
            && field.path.is_empty()
        {
            // In the answer it has this name, and no column has.
            let named = level.fields.iter().flatten().find(|selected| {
                let aliased = selected.alias.as_deref() == Some(&*field.name);
                selected.aggregate.is_some() && aliased && rows.column(&field.name).is_none()
            });
            if let Some(selected) = named {
                return Ok(self.selected(selected, rows)?.expr);
            }
        }
        let selected = SelectedField {
            alias: None,
            field: field.cloned(),
            cast: None,
            aggregate,
            aggregate_cast: None,
        };
        match (field, aggregate) {
            (Some(field), None) => self.field(field, rows),
            _ => Ok(self.selected(&selected, rows)?.expr),
        }
    }
}
