//! Writes: each step with its privileges, the rows it may see, and the check that new rows must pass.

use super::statement::own_columns;
use super::{Authoriser, Rights};
use mainstay_model::{
    Action, Cell, Error, Expr, ExprKind, Identity, PolicyCommand, Privilege, QueryShape, RelationId, RelationRef,
    Result, Schema, Source, Step, Transaction, rewrite_expr,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A whole transaction, and the one store that it goes to.
pub(crate) fn transaction(
    schema: &Schema,
    transaction: Transaction,
    identity: &Identity,
) -> Result<(Transaction, Arc<str>)> {
    let mut authoriser = Authoriser::new(schema, &identity.role);
    let steps = transaction
        .steps
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let step = authoriser.step(s).map_err(|error| error.at_step(i))?;
            authoriser
                .references(&transaction, i)
                .map_err(|error| error.at_step(i))?;
            Ok(step)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut stores = authoriser.facts.stores.into_iter();
    let store = stores.next().unwrap_or_else(|| "main".into());
    if let Some(other) = stores.next() {
        return Err(Error::unsupported(format!(
            "one transaction cannot span the stores \"{store}\" and \"{other}\""
        ))
        .hint("let an event carry the change to the other store"));
    }
    Ok((Transaction { steps, ..transaction }, store))
}

impl Authoriser<'_> {
    /// One step of a transaction.
    pub fn step(&mut self, step: &Step) -> Result<Step> {
        let returning = step.returning.as_ref();
        let key = step.key && step.relation().is_some_and(|id| self.may_read_key(id));
        let action = match &step.action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                ..
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Insert, columns.iter().copied())?;
                let mut given = columns.clone();
                for row in rows {
                    let defaulted = |at: usize| matches!(row.get(at), Some(Cell::Default));
                    given.retain(|column| !columns.iter().position(|c| c == column).is_some_and(defaulted));
                }
                self.defaults(id, &given)?;
                let mut out = RelationRef::new(id);
                self.facts.stores.insert(self.schema.relation(id).store.clone());
                let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Insert, true)?.into_iter().collect();
                let mut updated = Vec::new();
                // Whoever names the key reads it, so that the row must be one that he may see.
                let names_key = conflict.as_ref().is_some_and(|c| !c.target.is_empty());
                let select = match returning.is_some() || key || names_key {
                    true => self.policy(id, PolicyCommand::Select, false)?,
                    false => None,
                };
                if let Some(conflict) = conflict {
                    self.privileges(id, Privilege::Select, conflict.target.iter().copied())?;
                    if !conflict.ignore {
                        self.privileges(id, Privilege::Update, columns.iter().copied())?;
                        out = self.expanded(id, &[PolicyCommand::Update, PolicyCommand::Select])?;
                        updated.extend(self.policy(id, PolicyCommand::Update, true)?);
                        updated.extend(select.clone());
                    }
                }
                checks.extend(select);
                let all = |checks: Vec<Expr>| (!checks.is_empty()).then(|| Arc::new(Expr::all(checks)));
                Action::Insert {
                    relation: out,
                    columns: columns.clone(),
                    rows: rows.clone(),
                    conflict: conflict.clone(),
                    check: all(checks),
                    updated: all(updated),
                }
            }
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                ..
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Update, set.iter().map(|s| s.0))?;
                let reads = self.reads(id, filter.as_ref(), order, returning)?;
                let commands: &[PolicyCommand] = if reads {
                    &[PolicyCommand::Update, PolicyCommand::Select]
                } else {
                    &[PolicyCommand::Update]
                };
                let out = self.expanded(id, commands)?;
                let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Update, true)?.into_iter().collect();
                if reads {
                    checks.extend(self.policy(id, PolicyCommand::Select, false)?);
                }
                Action::Update {
                    relation: out,
                    set: set.clone(),
                    filter: filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
                    order: self.ordered(order)?,
                    limit: *limit,
                    offset: *offset,
                    check: (!checks.is_empty()).then(|| Arc::new(Expr::all(checks))),
                }
            }
            Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Delete, std::iter::empty())?;
                let reads = self.reads(id, filter.as_ref(), order, returning)?;
                let commands: &[PolicyCommand] = if reads {
                    &[PolicyCommand::Delete, PolicyCommand::Select]
                } else {
                    &[PolicyCommand::Delete]
                };
                Action::Delete {
                    relation: self.expanded(id, commands)?,
                    filter: filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
                    order: self.ordered(order)?,
                    limit: *limit,
                    offset: *offset,
                }
            }
            Action::Call(call) => Action::Call(self.call(call)?),
            Action::Read => Action::Read,
        };
        let returning = match returning {
            None => None,
            Some(shape) => {
                let mut authorised = match (&step.action, &shape.from) {
                    // The call stands in the action; its privilege and body have been seen to.
                    (Action::Call(_), Source::Call(_)) => self.over_rows(shape)?,
                    _ => self.shape(shape)?,
                };
                if step.relation().is_some()
                    && let Source::Relation(relation) = &mut authorised.from
                {
                    // Which rows are returned the action has decided; `check` and `updated` have looked at each.
                    relation.security = None;
                }
                Some(authorised)
            }
        };
        Ok(Step {
            action,
            params: step.params.clone(),
            earlier: step.earlier.clone(),
            returning,
            key,
            max_affected: step.max_affected,
            singular: step.singular,
        })
    }

    /// Whether a row's key may be told: without the privilege it is left out.
    fn may_read_key(&self, id: RelationId) -> bool {
        let key = self.schema.key_of(id);
        !key.is_empty() && self.privileges(id, Privilege::Select, key.into_iter()).is_ok()
    }

    /// Refuses what the defaults of columns that are not given do and the current user may not. The store makes defaults by itself, so that
    /// one which policies would have to narrow cannot be had.
    pub(super) fn defaults(&mut self, id: RelationId, given: &[u32]) -> Result<()> {
        if matches!(self.user, Rights::Owner) {
            return Ok(());
        }
        let schema = self.schema;
        for (at, column) in schema.relation(id).columns.iter().enumerate() {
            let Some(default) = column.default.as_ref().filter(|_| !given.contains(&(at as u32))) else {
                continue;
            };
            let mut calls = false;
            default.walk(&mut |expr| calls |= matches!(expr.kind, ExprKind::UserCall(..)));
            if !calls {
                continue;
            }
            let policed = std::mem::take(&mut self.facts.policed);
            self.within(self.user.clone(), |inner| {
                inner.collect_in_expr(default)?;
                rewrite_expr(default, inner)
            })?;
            if std::mem::replace(&mut self.facts.policed, policed) {
                return Err(Error::unsupported(format!(
                    "the default of column \"{}\" reads a table with row security on behalf of its caller",
                    column.name
                ))
                .hint("let its function be a SECURITY DEFINER, or give the column a value"));
            }
        }
        Ok(())
    }

    /// Whoever takes a column from a row that an earlier step wrote reads it, and must be allowed to.
    fn references(&self, transaction: &Transaction, index: usize) -> Result<()> {
        for (of, _, column) in transaction.steps[index].references() {
            let of = usize::from(of);
            let Some(step) = transaction.steps.get(of).filter(|_| of < index) else {
                return Err(Error::new(
                    "22023",
                    format!("step {of} does not come before step {index}, which refers to it"),
                ));
            };
            if step.returning.is_none() {
                // Only of what is returned the policies on reading are looked at.
                return Err(Error::internal("a step is referred to that returns nothing"));
            }
            if let Some(relation) = step.relation() {
                self.privileges(relation, Privilege::Select, std::iter::once(column))?;
            }
        }
        Ok(())
    }

    /// Whether an update or delete reads the table's columns, having checked that it may.
    pub(super) fn reads(
        &mut self,
        id: RelationId,
        filter: Option<&Expr>,
        order: &[mainstay_model::OrderBy],
        returning: Option<&QueryShape>,
    ) -> Result<bool> {
        let mut columns = BTreeSet::new();
        for expr in filter.into_iter().chain(order.iter().map(|o| &o.expr)) {
            own_columns(expr, &mut columns, &mut [])?;
        }
        let reads = !columns.is_empty() || returning.is_some();
        if !columns.is_empty() {
            self.privileges(id, Privilege::Select, columns.into_iter())?;
        }
        Ok(reads)
    }
}
