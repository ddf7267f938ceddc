//! Updates and deletions: one statement for all rows that match.

use crate::beforehand::Checks;
use crate::beforehand::read_what_is_written;
use crate::bind::{Env, Prepared};
use crate::call::row_refused;
use crate::constraint::{Attempt, Inquiry};
use crate::failure::plain;
use crate::kept::Weighed;
use crate::statement::Failure;
use crate::step::{Rows, StepContext, Steps, all_rowids, column_types, value, without_returning};
use bytes::Bytes;
use mainstay_model::{
    Action, Cell, Error, Expr, OrderBy, RelationId, RelationRef, Result, Row, Schema, Step, Type, Value,
};
use mainstay_sql::sqlite;

pub(crate) struct UpdateKey {
    relation: RelationRef,
    set: Vec<(u32, bool)>,
    filter: Option<Expr>,
    order: Vec<OrderBy>,
    limit: Option<u64>,
    offset: u64,
    check: Option<Expr>,
}

impl Weighed for UpdateKey {
    fn weight(&self) -> usize {
        8 * self.set.len() + weight(self.filter.as_ref(), &self.order)
    }
}

pub(crate) struct UpdateRun {
    update: Prepared,
    check: Option<Prepared>,
}

pub(crate) struct DeleteKey {
    relation: RelationRef,
    filter: Option<Expr>,
    order: Vec<OrderBy>,
    limit: Option<u64>,
    offset: u64,
}

impl Weighed for DeleteKey {
    fn weight(&self) -> usize {
        weight(self.filter.as_ref(), &self.order)
    }
}

fn weight(filter: Option<&Expr>, order: &[OrderBy]) -> usize {
    filter
        .into_iter()
        .chain(order.iter().map(|key| &key.expr))
        .map(Expr::weight)
        .sum()
}

pub(crate) struct DeleteRun {
    select: Prepared,
    delete: Prepared,
    delete_row: Prepared,
}

impl Steps {
    /// Updates the rows that match.
    pub(crate) fn update(&mut self, action: &Action, env: &Env<'_>, context: &StepContext<'_>) -> Result<Rows> {
        let Action::Update { relation, check, .. } = action else {
            return Err(Error::internal("not an update"));
        };
        let (id, check) = (relation.relation, check.as_deref());
        if !read_what_is_written(&self.schema, id, true, check) {
            return self.update_rows(action, check, env, context, None);
        }
        let checks = Checks {
            new: check,
            updated: check,
        };
        self.ask(id, checks, env, |steps, proposed| {
            steps.update_rows(action, None, env, context, Some(proposed)).map(drop)
        })?;
        self.update_rows(action, None, env, context, None)
    }

    /// Updates the rows that match, and asks `check` of each when they are written. One that a constraint stopped is `proposed`.
    fn update_rows(
        &mut self,
        action: &Action,
        check: Option<&Expr>,
        env: &Env<'_>,
        context: &StepContext<'_>,
        proposed: Option<&mut Vec<Row>>,
    ) -> Result<Rows> {
        let Action::Update {
            relation,
            set,
            filter,
            order,
            limit,
            offset,
            check: _,
        } = action
        else {
            return Err(Error::internal("not an update"));
        };
        let id = relation.relation;
        let schema = self.schema.clone();
        let types: Vec<&Type> = column_types(&schema, id, set.iter().map(|s| s.0))?;
        let values: Vec<Value> = set
            .iter()
            .zip(&types)
            .map(|((_, cell), ty)| value(cell, ty, context.earlier))
            .collect::<Result<_>>()?;
        let is_default = |cell: &Cell| matches!(cell, Cell::Default);
        let kinds: Vec<(u32, bool)> = set.iter().map(|(c, cell)| (*c, is_default(cell))).collect();
        let mark = self.capture().len();
        let Steps {
            updates,
            conn,
            hook,
            store,
            ..
        } = self;
        let run = updates.get_or_make(
            &(relation, &kinds, filter, (order, limit, offset), check),
            |key| {
                key.relation == *relation
                    && key.set == kinds
                    && key.filter == *filter
                    && key.order == *order
                    && (key.limit, key.offset) == (*limit, *offset)
                    && key.check.as_ref() == check
            },
            || {
                let plan =
                    sqlite::compile_update(&schema, relation, set, filter.as_ref(), order, *limit, *offset, check)?;
                let key = UpdateKey {
                    relation: relation.clone(),
                    set: kinds.clone(),
                    filter: filter.clone(),
                    order: order.clone(),
                    limit: *limit,
                    offset: *offset,
                    check: check.cloned(),
                };
                let update = Prepared::new(conn, &without_returning(plan.update, &schema, id))?;
                let check = plan.check.as_ref().map(|c| Prepared::new(conn, c)).transpose()?;
                Ok::<_, Error>((key, UpdateRun { update, check }))
            },
        )?;
        let env = env.with_cells(&values, &types);
        run.update.bind(&env, None)?;
        let rowids = match run.update.statement.run() {
            Ok(()) => hook.observer().rowids(mark, id),
            Err(failure) => {
                let given = set
                    .iter()
                    .zip(&values)
                    .filter(|((_, cell), _)| !is_default(cell))
                    .map(|((c, _), v)| (*c, v))
                    .collect();
                let inquiry = Inquiry {
                    conn,
                    schema: &schema,
                    store,
                    env: &env,
                };
                let touched = hook.observer().take(mark);
                let attempt = Attempt::Update {
                    relation,
                    given,
                    filter: filter.as_ref(),
                    order,
                    check,
                };
                let error = inquiry.error(&failure, &attempt, &touched);
                if let Some(proposed) = proposed
                    && error.code.starts_with("23")
                {
                    proposed.extend(inquiry.attempted_row(&attempt).map(Row::from));
                }
                return Err(error);
            }
        };
        if let Some(check) = &mut run.check {
            for rowid in &rowids {
                if !check.exists(&env.at_row(*rowid))? {
                    return Err(row_refused(&schema, Some(id)));
                }
            }
        }
        Ok(Rows { rowids, inserted: 0 })
    }

    /// Deletes the rows that match; what is to be returned of them is looked at before.
    #[allow(clippy::type_complexity, reason = "an answer, as `answer` gives it")]
    pub(crate) fn delete(
        &mut self,
        step: &Step,
        env: &Env<'_>,
        context: &StepContext<'_>,
    ) -> Result<(Rows, Option<((u64, Option<u64>), Bytes)>)> {
        let Action::Delete {
            relation,
            filter,
            order,
            limit,
            offset,
        } = &step.action
        else {
            return Err(Error::internal("not a deletion"));
        };
        let mark = self.capture().len();
        let schema = self.schema.clone();
        let mut answered = None;
        let rowids = match &step.returning {
            None => {
                let run = self.deletion(&schema, relation, filter, order, *limit, *offset)?;
                run.delete.bind(env, None)?;
                match run.delete.statement.run() {
                    Ok(()) => self.capture().rowids(mark, relation.relation),
                    Err(failure) => return Err(self.deletion_failed(&failure, relation.relation, mark, env)),
                }
            }
            Some(shape) => {
                let run = self.deletion(&schema, relation, filter, order, *limit, *offset)?;
                run.select.bind(env, None)?;
                let rowids = all_rowids(&mut run.select).map_err(|failure| plain(&failure))?;
                answered = Some(self.answer(context, |steps, sink| match sink {
                    Some(sink) => steps.over_rows(shape, &rowids, env, sink),
                    None => Ok((0, None)),
                })?);
                let run = self.deletion(&schema, relation, filter, order, *limit, *offset)?;
                // As one statement, because the rows may refer to each other; a lone row by its number, which is faster.
                let result = match &*rowids {
                    [] => Ok(0),
                    [rowid] => {
                        run.delete_row.bind(&env.at_row(*rowid), None)?;
                        run.delete_row.statement.run().map(|()| 1)
                    }
                    _ => {
                        run.delete.bind(env, None)?;
                        run.delete
                            .statement
                            .run()
                            .map(|()| self.capture().rowids(mark, relation.relation).len())
                    }
                };
                match result {
                    Ok(deleted) if deleted == rowids.len() => {}
                    Ok(_) => {
                        return Err(Error::unsupported(
                            "a filter that changes while it is used cannot return the rows deleted",
                        ));
                    }
                    Err(failure) => return Err(self.deletion_failed(&failure, relation.relation, mark, env)),
                }
                rowids
            }
        };
        Ok((Rows { rowids, inserted: 0 }, answered))
    }

    fn deletion(
        &mut self,
        schema: &Schema,
        relation: &RelationRef,
        filter: &Option<Expr>,
        order: &[OrderBy],
        limit: Option<u64>,
        offset: u64,
    ) -> Result<&mut DeleteRun> {
        let conn = &self.conn;
        self.deletes.get_or_make(
            &(relation, filter, order, limit, offset),
            |key| {
                key.relation == *relation
                    && key.filter == *filter
                    && key.order == order
                    && (key.limit, key.offset) == (limit, offset)
            },
            || {
                let plan = sqlite::compile_delete(schema, relation, filter.as_ref(), order, limit, offset)?;
                let key = DeleteKey {
                    relation: relation.clone(),
                    filter: filter.clone(),
                    order: order.to_vec(),
                    limit,
                    offset,
                };
                let run = DeleteRun {
                    select: Prepared::new(conn, &plan.select)?,
                    delete: Prepared::new(conn, &without_returning(plan.delete, schema, relation.relation))?,
                    delete_row: Prepared::new(conn, &plan.delete_row)?,
                };
                Ok((key, run))
            },
        )
    }

    fn deletion_failed(&self, failure: &Failure, relation: RelationId, mark: usize, env: &Env<'_>) -> Error {
        let inquiry = Inquiry {
            conn: &self.conn,
            schema: &self.schema,
            store: &self.store,
            env,
        };
        let touched = self.capture().take(mark);
        inquiry.error(
            failure,
            &Attempt::Other {
                relation: Some(relation),
            },
            &touched,
        )
    }
}
