//! Insertions and upserts: one statement, run once for each row, and what policies say of each.

use crate::beforehand::{Checks, read_what_is_written};
use crate::bind::{Env, Prepared};
use crate::call::row_refused;
use crate::constraint::{Attempt, Inquiry};
use crate::kept::Weighed;
use crate::statement::deferred_violations;
use crate::step::{Rows, StepContext, Steps, column_types, value, without_returning};
use mainstay_model::{
    Cell, ChangeKind, Error, Expr, ExprKind, OnConflict, RelationRef, Result, Rewrite, Row, Schema, SourceId, Type,
    rewrite_expr,
};
use mainstay_sql::sqlite::{self, NoRow};
use rusqlite::Connection;
use std::rc::Rc;
use std::sync::Arc;

/// What an insertion was compiled from.
pub(crate) struct InsertKey {
    relation: RelationRef,
    columns: Vec<u32>,
    defaulted: Vec<bool>,
    conflict: Option<OnConflict>,
    check: Option<Arc<Expr>>,
    updated: Option<Arc<Expr>>,
}

impl Weighed for InsertKey {
    fn weight(&self) -> usize {
        8 * (self.columns.len() + self.defaulted.len())
    }
}

pub(crate) struct InsertRun {
    insert: Prepared,
    no_row: NoRow,
    check: Option<Prepared>,
    updated: Option<Prepared>,
}

/// What an insertion is compiled from, besides which cells are defaults.
#[derive(Clone, Copy)]
pub(crate) struct InsertParts<'a> {
    pub relation: &'a RelationRef,
    pub columns: &'a Vec<u32>,
    pub conflict: &'a Option<OnConflict>,
    pub check: &'a Option<Arc<Expr>>,
    pub updated: &'a Option<Arc<Expr>>,
}

impl InsertParts<'_> {
    fn same(&self, key: &InsertKey, defaulted: &[bool]) -> bool {
        key.columns == *self.columns
            && key.defaulted == defaulted
            && key.conflict == *self.conflict
            && key.relation == *self.relation
            && key.check == *self.check
            && key.updated == *self.updated
    }

    fn compile(&self, conn: &Rc<Connection>, schema: &Schema, defaulted: &[bool]) -> Result<(InsertKey, InsertRun)> {
        let plan = sqlite::compile_insert(
            schema,
            self.relation,
            self.columns,
            defaulted,
            self.conflict.as_ref(),
            self.check.as_deref(),
            self.updated.as_deref(),
        )?;
        let prepare =
            |rendered: &Option<sqlite::Rendered>| rendered.as_ref().map(|r| Prepared::new(conn, r)).transpose();
        let insert = without_returning(plan.insert, schema, self.relation.relation);
        let run = InsertRun {
            insert: Prepared::new(conn, &insert)?,
            no_row: plan.no_row,
            check: prepare(&plan.check)?,
            updated: prepare(&plan.updated)?,
        };
        let key = InsertKey {
            relation: self.relation.clone(),
            columns: self.columns.clone(),
            defaulted: defaulted.to_vec(),
            conflict: self.conflict.clone(),
            check: self.check.clone(),
            updated: self.updated.clone(),
        };
        Ok((key, run))
    }
}

/// Whether a condition looks at nothing of its row but columns that were given.
fn is_decided_by(check: &Expr, columns: &[u32], defaulted: &[bool]) -> bool {
    struct Given<'a> {
        columns: &'a [u32],
        defaulted: &'a [bool],
        all: bool,
    }
    impl Rewrite for Given<'_> {
        fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
            match &expr.kind {
                ExprKind::Column(column) if column.source == SourceId::SELF => {
                    let at = self.columns.iter().position(|c| *c == column.column);
                    self.all &= at.is_some_and(|at| !self.defaulted[at]);
                }
                ExprKind::WholeRow(_) | ExprKind::UserCall(..) | ExprKind::Opaque { .. } => self.all = false,
                _ => {}
            }
            Ok(None)
        }
    }
    let mut given = Given {
        columns,
        defaulted,
        all: true,
    };
    rewrite_expr(check, &mut given).is_ok() && given.all
}

impl Steps {
    /// Inserts rows.
    pub(crate) fn insert(
        &mut self,
        parts: InsertParts<'_>,
        rows: &[Vec<Cell>],
        env: &Env<'_>,
        context: &StepContext<'_>,
    ) -> Result<Rows> {
        let id = parts.relation.relation;
        let checks = Checks {
            new: parts.check.as_deref(),
            updated: parts.updated.as_deref(),
        };
        let all = [checks.new, checks.updated].into_iter().flatten();
        if !read_what_is_written(&self.schema, id, parts.conflict.is_some(), all) {
            return self.insert_rows(parts, rows, env, context, None);
        }
        let unasked = InsertParts {
            check: &None,
            updated: &None,
            ..parts
        };
        self.ask(id, checks, env, |steps, proposed| {
            steps.insert_rows(unasked, rows, env, context, Some(proposed)).map(drop)
        })?;
        self.insert_rows(unasked, rows, env, context, None)
    }

    /// Inserts rows one by one; each is asked about when it is there. Those that came to nothing are `proposed`.
    fn insert_rows(
        &mut self,
        parts: InsertParts<'_>,
        rows: &[Vec<Cell>],
        env: &Env<'_>,
        context: &StepContext<'_>,
        mut proposed: Option<&mut Vec<Row>>,
    ) -> Result<Rows> {
        let id = parts.relation.relation;
        let schema = self.schema.clone();
        let relation = schema.relation(id);
        let types: Vec<&Type> = column_types(&schema, id, parts.columns.iter().copied())?;
        // Rows of one statement may refer to each other in any order.
        let to_itself = rows.len() > 1
            && relation
                .table()
                .is_some_and(|t| t.foreign_keys.iter().any(|k| k.target == id && !k.deferred));
        let start = self.capture().len();
        if to_itself {
            self.deferring = true;
            self.batch("PRAGMA defer_foreign_keys = ON")?;
        }
        let mut out = Rows::default();
        let mut defaulted = vec![false; parts.columns.len()];
        let mut values = Vec::with_capacity(parts.columns.len());
        for row in rows {
            values.clear();
            if row.len() != parts.columns.len() {
                return Err(Error::internal("a row has another number of values than columns"));
            }
            for (at, cell) in row.iter().enumerate() {
                defaulted[at] = matches!(cell, Cell::Default);
                values.push(value(cell, types[at], context.earlier)?);
            }
            let mark = self.capture().len();
            let Steps {
                inserts,
                conn,
                hook,
                store,
                ..
            } = self;
            let run = inserts.get_or_make(
                &(parts.relation, parts.columns, &defaulted, parts.check, parts.updated),
                |key| parts.same(key, &defaulted),
                || parts.compile(conn, &schema, &defaulted),
            )?;
            let env = env.with_cells(&values, &types);
            run.insert.bind(&env, None)?;
            let given = || {
                let given = parts.columns.iter().zip(&values).zip(&defaulted);
                given.filter(|(_, d)| !**d).map(|((c, v), _)| (*c, v)).collect()
            };
            let attempt = || Attempt::Insert {
                relation: id,
                given: given(),
                check: parts.check.as_deref(),
            };
            let inquiry = Inquiry {
                conn,
                schema: &schema,
                store,
                env: &env,
            };
            let written = match run.insert.statement.run() {
                Ok(()) => hook.observer().since(mark, |touched| {
                    let own = touched.iter().find(|t| t.depth == 0 && t.change.relation == id);
                    own.map(|t| (t.rowid, t.change.kind == ChangeKind::Insert))
                }),
                Err(failure) => {
                    let touched = hook.observer().take(mark);
                    let error = inquiry.error(&failure, &attempt(), &touched);
                    if let Some(proposed) = proposed
                        && error.code.starts_with("23")
                    {
                        proposed.extend(inquiry.attempted_row(&attempt()).map(Row::from));
                    }
                    return Err(error);
                }
            };
            let Some((rowid, is_new)) = written else {
                match run.no_row {
                    // Postgres looks at every row that is proposed: else whoever may insert none learned which are there.
                    NoRow::Ignored => match &parts.check {
                        None => {
                            if let Some(proposed) = &mut proposed {
                                proposed.extend(inquiry.attempted_row(&attempt()).map(Row::from));
                            }
                            continue;
                        }
                        Some(check) if !inquiry.passes(check, &attempt()) => {
                            return Err(row_refused(&schema, Some(id)));
                        }
                        _ => continue,
                    },
                    // A row that may not be inserted either is refused in the words for that: which keys there are is not told.
                    NoRow::Denied
                        if parts
                            .check
                            .as_ref()
                            .is_some_and(|check| !inquiry.passes(check, &attempt())) =>
                    {
                        return Err(row_refused(&schema, Some(id)));
                    }
                    NoRow::Denied => {
                        return Err(Error::denied(format!(
                            "new row violates row-level security policy (USING expression) for table \"{}\"",
                            relation.name
                        )));
                    }
                    NoRow::Never => return Err(Error::internal("an insertion yielded no row")),
                }
            };
            let at_row = env.at_row(rowid);
            if !is_new {
                // What was given must be allowed to be new, too: asked of the row that is there now, where what was given decides.
                let allowed = match (&parts.check, &mut run.check, &mut proposed) {
                    (Some(check), Some(prepared), _) if is_decided_by(check, parts.columns, &defaulted) => {
                        prepared.exists(&at_row)?
                    }
                    (Some(check), ..) => inquiry.passes(check, &attempt()),
                    (None, _, Some(proposed)) => {
                        proposed.extend(inquiry.attempted_row(&attempt()).map(Row::from));
                        true
                    }
                    _ => true,
                };
                if !allowed {
                    return Err(row_refused(&schema, Some(id)));
                }
            }
            let check = if is_new { &mut run.check } else { &mut run.updated };
            if let Some(check) = check
                && !check.exists(&at_row)?
            {
                return Err(row_refused(&schema, Some(id)));
            }
            if parts.conflict.is_some() && !is_new && out.rowids.contains(&rowid) {
                return Err(Error::new("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")
                    .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values."));
            }
            out.rowids.push(rowid);
            out.inserted += u64::from(is_new);
        }
        if to_itself {
            if deferred_violations(&self.conn) {
                let inquiry = Inquiry {
                    conn: &self.conn,
                    schema: &self.schema,
                    store: &self.store,
                    env,
                };
                let error = self.capture().since(start, |touched| inquiry.foreign_key_now(touched));
                if let Some(error) = error {
                    return Err(error);
                }
            } else {
                self.stop_deferring()?;
            }
        }
        Ok(out)
    }
}
