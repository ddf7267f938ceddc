//! The steps of a transaction, each done in the transaction at hand: write, look whether policies allow what was written, answer.

use crate::bind::{Env, Prepared};
use crate::call::{Functions, Place, row_refused};
use crate::capture::{Capture, Touched};
use crate::constraint::{Attempt, Inquiry};
use crate::failure::plain;
use crate::kept::Kept;
use crate::level::{LevelPlan, Sink};
use crate::preupdate::Hook;
use crate::statement::{Failure, deferred_violations};
use bytes::Bytes;
use mainstay_model::{
    Action, Cell, ChangeKind, Count, Error, Expr, Identity, OnConflict, OrderBy, QueryShape, RelationId, RelationRef,
    Representation, Result, Row, Schema, Step, StepOutcome, Type, Value,
};
use mainstay_sql::sqlite::{self, NoRow, RowsFrom, Stored};
use rusqlite::Connection;
use std::rc::Rc;
use std::sync::Arc;

/// What an insertion was compiled from.
struct InsertKey {
    relation: RelationRef,
    columns: Vec<u32>,
    defaulted: Vec<bool>,
    conflict: Option<OnConflict>,
    check: Option<Arc<Expr>>,
    visible: Option<Arc<Expr>>,
}

struct InsertRun {
    insert: Prepared,
    no_row: NoRow,
    check: Option<Prepared>,
    visible: Option<Prepared>,
}

struct UpdateKey {
    relation: RelationRef,
    set: Vec<(u32, bool)>,
    filter: Option<Expr>,
    order: Vec<OrderBy>,
    limit: Option<u64>,
    offset: u64,
    check: Option<Arc<Expr>>,
}

struct UpdateRun {
    update: Prepared,
    check: Option<Prepared>,
}

struct DeleteKey {
    relation: RelationRef,
    filter: Option<Expr>,
    order: Vec<OrderBy>,
    limit: Option<u64>,
    offset: u64,
}

struct DeleteRun {
    select: Prepared,
    delete: Prepared,
    delete_row: Prepared,
}

/// A query over rows that were touched, or any query inside the transaction.
struct ReturningRun {
    root: LevelPlan,
    count: Option<Prepared>,
}

/// Which rows a returning query is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Over {
    Rowid,
    Rowids,
    Query,
}

/// Does steps on the writer's connection.
pub(crate) struct Steps {
    inserts: Kept<InsertKey, InsertRun>,
    updates: Kept<UpdateKey, UpdateRun>,
    deletes: Kept<DeleteKey, DeleteRun>,
    returning: Kept<(QueryShape, Over), ReturningRun>,
    functions: Functions,
    hook: Hook<Capture>,
    schema: Arc<Schema>,
    store: String,
    bytes_max: usize,
    conn: Rc<Connection>,
}

/// Of the transaction that a step belongs to.
pub(crate) struct StepContext<'a> {
    /// The caller.
    pub identity: &'a Identity,
    /// The transaction's time.
    pub now_us: i64,
    /// How the answer is encoded.
    pub representation: Option<&'a Arc<dyn Representation>>,
    /// The rows of earlier steps, for [`Cell::Earlier`].
    pub earlier: &'a [Vec<Row>],
    /// Whether a later step refers to rows of this one.
    pub keep_rows: bool,
}

/// The rows a step touched.
#[derive(Default)]
struct Rows {
    rowids: Vec<i64>,
    inserted: u64,
}

impl Steps {
    /// On the writer's connection; keeps at most `max` compiled statements of each kind.
    pub fn new(
        conn: &Rc<Connection>,
        schema: Arc<Schema>,
        store: &str,
        hook: Hook<Capture>,
        max: usize,
        bytes_max: usize,
    ) -> Steps {
        Steps {
            inserts: Kept::new(max),
            updates: Kept::new(max),
            deletes: Kept::new(max),
            returning: Kept::new(max),
            functions: Functions::new(max),
            hook,
            schema,
            store: store.to_owned(),
            bytes_max,
            conn: conn.clone(),
        }
    }

    /// What has been changed.
    pub fn capture(&self) -> &Capture {
        self.hook.observer()
    }

    /// Does a step. Also gives its rows when a later step wants them.
    pub fn run(&mut self, step: &Step, context: &StepContext<'_>) -> Result<(StepOutcome, Vec<Row>)> {
        let mark = self.capture().len();
        let env = Env::new(&step.params, context.identity, context.now_us);
        let mut answered = None;
        let rows = match &step.action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                check,
                visible,
            } => {
                let key = InsertParts {
                    relation,
                    columns,
                    conflict,
                    check,
                    visible,
                };
                self.insert(key, rows, &env, context)?
            }
            Action::Update { .. } => self.update(&step.action, &env, context)?,
            Action::Delete { .. } => {
                let (rows, answer) = self.delete(step, &env, context)?;
                answered = answer;
                rows
            }
            Action::Call(call) => {
                let outcome = self.answer(context, |steps, sink| {
                    let place = Place {
                        conn: &steps.conn,
                        schema: &steps.schema,
                        store: &steps.store,
                        capture: Some(steps.hook.observer()),
                    };
                    let shape = step.returning.as_ref();
                    let sink = if shape.is_some() { sink } else { None };
                    steps.functions.call(place, call, shape, &env, sink)
                })?;
                let (outcome, body) = outcome;
                let outcome = StepOutcome {
                    affected: outcome.rows,
                    body,
                    rows: outcome.rows,
                    total: outcome.total,
                    ..StepOutcome::default()
                };
                limits(step, outcome.rows)?;
                return Ok((outcome, Vec::new()));
            }
            Action::Read => {
                let Some(shape) = &step.returning else {
                    return Ok((StepOutcome::default(), Vec::new()));
                };
                let ((rows, total), body) = self.answer(context, |steps, sink| match sink {
                    Some(sink) => steps.query(shape, Over::Query, &env, sink),
                    None => Ok((0, None)),
                })?;
                limits(step, rows)?;
                return Ok((
                    StepOutcome {
                        affected: rows,
                        body,
                        rows,
                        total,
                        ..StepOutcome::default()
                    },
                    Vec::new(),
                ));
            }
        };
        let affected = rows.rowids.len() as u64;
        limits(step, affected)?;
        let mut outcome = StepOutcome {
            affected,
            inserted: rows.inserted,
            ..StepOutcome::default()
        };
        if let Some(shape) = &step.returning {
            let ((count, _), body) = match answered {
                Some(answered) => answered,
                None => self.answer(context, |steps, sink| match sink {
                    Some(sink) => steps.over_rows(shape, &rows.rowids, &env, sink),
                    None => Ok((0, None)),
                })?,
            };
            outcome.rows = count;
            outcome.body = body;
            if shape.count != Count::None {
                outcome.total = Some(affected);
            }
        }
        let relation = step.relation();
        outcome.key = relation.map(|id| self.key(id, mark)).unwrap_or_default();
        let kept = match relation {
            Some(id) if context.keep_rows => self.images(id, mark, &rows.rowids),
            _ => Vec::new(),
        };
        Ok((outcome, kept))
    }

    /// Encodes an answer, if the step has somebody to encode it.
    fn answer<T>(
        &mut self,
        context: &StepContext<'_>,
        run: impl FnOnce(&mut Steps, Option<&mut Sink<'_>>) -> Result<T>,
    ) -> Result<(T, Bytes)> {
        let Some(representation) = context.representation else {
            return Ok((run(self, None)?, Bytes::new()));
        };
        let mut encoder = representation.encoder();
        let mut sink = Sink {
            encoder: &mut *encoder,
            bytes_max: self.bytes_max,
        };
        let value = run(self, Some(&mut sink))?;
        Ok((value, encoder.finish()))
    }

    fn over_rows(
        &mut self,
        shape: &QueryShape,
        rowids: &[i64],
        env: &Env<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(u64, Option<u64>)> {
        if let [rowid] = rowids {
            return self.query(shape, Over::Rowid, &env.at_row(*rowid), sink);
        }
        let texts: Vec<String> = rowids.iter().map(i64::to_string).collect();
        let rowids = format!("[{}]", texts.join(","));
        self.query(
            shape,
            Over::Rowids,
            &Env {
                rowids: &rowids,
                ..*env
            },
            sink,
        )
    }

    fn query(
        &mut self,
        shape: &QueryShape,
        over: Over,
        env: &Env<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(u64, Option<u64>)> {
        let (conn, schema) = (&self.conn, &self.schema);
        let run = self.returning.get_or_make(
            &(shape, over),
            |(kept, kept_over)| *kept_over == over && kept == shape,
            || {
                let query = match over {
                    Over::Rowid => sqlite::compile_query_over(schema, shape, &RowsFrom::Rowid)?,
                    Over::Rowids => sqlite::compile_query_over(schema, shape, &RowsFrom::Rowids)?,
                    Over::Query => sqlite::compile_query(schema, shape)?,
                };
                let root = LevelPlan::new(conn, &query.root)?;
                // Of touched rows the number is known.
                let count = query
                    .count
                    .as_ref()
                    .filter(|_| over == Over::Query)
                    .map(|c| Prepared::new(conn, c))
                    .transpose()?;
                Ok::<_, Error>(((shape.clone(), over), ReturningRun { root, count }))
            },
        )?;
        let rows = run.root.rows(env, None, sink, u64::MAX)?;
        let total = match &mut run.count {
            Some(count) => count.integer(env)?.map(|n| n.max(0) as u64),
            None => None,
        };
        Ok((rows, total))
    }

    fn insert(
        &mut self,
        parts: InsertParts<'_>,
        rows: &[Vec<Cell>],
        env: &Env<'_>,
        context: &StepContext<'_>,
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
                &(parts.relation, parts.columns, &defaulted, parts.check, parts.visible),
                |key| parts.same(key, &defaulted),
                || parts.compile(conn, &schema, &defaulted),
            )?;
            let env = Env {
                cells: &values,
                cell_types: &types,
                ..*env
            };
            run.insert.bind(&env, None)?;
            let rowid = match one_rowid(&mut run.insert) {
                Ok(rowid) => rowid,
                Err(failure) => {
                    let given = parts
                        .columns
                        .iter()
                        .zip(&values)
                        .zip(&defaulted)
                        .filter(|(_, d)| !**d)
                        .map(|((c, v), _)| (*c, v))
                        .collect();
                    let inquiry = Inquiry {
                        conn,
                        schema: &schema,
                        store,
                        env: &env,
                    };
                    let touched = hook.observer().take(mark);
                    return Err(inquiry.error(&failure, &Attempt::Insert { relation: id, given }, &touched));
                }
            };
            let Some(rowid) = rowid else {
                match run.no_row {
                    NoRow::Ignored => continue,
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
            for check in [&mut run.check, &mut run.visible].into_iter().flatten() {
                if !check.exists(&at_row)? {
                    return Err(row_refused(&schema, Some(id)));
                }
            }
            let is_new = hook.observer().since(mark, |touched| {
                touched
                    .iter()
                    .any(|t| t.depth == 0 && t.change.relation == id && t.change.kind == ChangeKind::Insert)
            });
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
                    schema: &schema,
                    store: &self.store,
                    env,
                };
                let error = self.capture().since(start, |touched| inquiry.foreign_key_now(touched));
                if let Some(error) = error {
                    return Err(error);
                }
            }
            self.batch("PRAGMA defer_foreign_keys = OFF")?;
        }
        Ok(out)
    }

    fn update(&mut self, action: &Action, env: &Env<'_>, context: &StepContext<'_>) -> Result<Rows> {
        let Action::Update {
            relation,
            set,
            filter,
            order,
            limit,
            offset,
            check,
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
                    && key.check == *check
            },
            || {
                let plan = sqlite::compile_update(
                    &schema,
                    relation,
                    set,
                    filter.as_ref(),
                    order,
                    *limit,
                    *offset,
                    check.as_deref(),
                )?;
                let key = UpdateKey {
                    relation: relation.clone(),
                    set: kinds.clone(),
                    filter: filter.clone(),
                    order: order.clone(),
                    limit: *limit,
                    offset: *offset,
                    check: check.clone(),
                };
                let update = Prepared::new(conn, &plan.update)?;
                let check = plan.check.as_ref().map(|c| Prepared::new(conn, c)).transpose()?;
                Ok::<_, Error>((key, UpdateRun { update, check }))
            },
        )?;
        let env = Env {
            cells: &values,
            cell_types: &types,
            ..*env
        };
        run.update.bind(&env, None)?;
        let rowids = match rowids(&mut run.update) {
            Ok(rowids) => rowids,
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
                };
                return Err(inquiry.error(&failure, &attempt, &touched));
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

    #[allow(clippy::type_complexity, reason = "an answer, as `answer` gives it")]
    fn delete(
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
                match rowids(&mut run.delete) {
                    Ok(rowids) => rowids,
                    Err(failure) => return Err(self.deletion_failed(&failure, relation.relation, mark, env)),
                }
            }
            Some(shape) => {
                let run = self.deletion(&schema, relation, filter, order, *limit, *offset)?;
                run.select.bind(env, None)?;
                let rowids = rowids(&mut run.select).map_err(|failure| plain(&failure))?;
                answered = Some(self.answer(context, |steps, sink| match sink {
                    Some(sink) => steps.over_rows(shape, &rowids, env, sink),
                    None => Ok((0, None)),
                })?);
                let run = self.deletion(&schema, relation, filter, order, *limit, *offset)?;
                for rowid in &rowids {
                    run.delete_row.bind(&env.at_row(*rowid), None)?;
                    if let Err(failure) = run.delete_row.statement.run() {
                        return Err(self.deletion_failed(&failure, relation.relation, mark, env));
                    }
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
                    delete: Prepared::new(conn, &plan.delete)?,
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

    /// Why the transaction cannot be committed as it stands, if a deferred foreign key is violated.
    pub fn deferred_violation(&self, mark: usize, identity: &Identity, now_us: i64) -> Option<Error> {
        if !deferred_violations(&self.conn) {
            return None;
        }
        let env = Env::new(&[], identity, now_us);
        let inquiry = Inquiry {
            conn: &self.conn,
            schema: &self.schema,
            store: &self.store,
            env: &env,
        };
        let found = self.capture().since(mark, |touched| inquiry.foreign_key(touched, true));
        Some(found.unwrap_or_else(|| Error::new("23503", "a deferred foreign key constraint is violated")))
    }

    /// The primary key of the first row touched.
    fn key(&self, id: RelationId, mark: usize) -> Vec<(u32, String)> {
        let relation = self.schema.relation(id);
        self.capture().since(mark, |touched| {
            let first = touched.iter().find(|t| t.depth == 0 && t.change.relation == id);
            let Some(row) = first.and_then(|t| t.change.after.as_ref().or(t.change.before.as_ref())) else {
                return Vec::new();
            };
            relation
                .primary_key()
                .iter()
                .map(|c| (*c, row[*c as usize].to_text(&relation.columns[*c as usize].ty)))
                .collect()
        })
    }

    /// The rows touched, as they are now, or were when they went.
    fn images(&self, id: RelationId, mark: usize, rowids: &[i64]) -> Vec<Row> {
        self.capture().since(mark, |touched| {
            let image = |rowid: &i64| {
                let last = touched
                    .iter()
                    .rev()
                    .find(|t: &&Touched| t.change.relation == id && t.rowid == *rowid)?;
                last.change.after.clone().or_else(|| last.change.before.clone())
            };
            rowids.iter().filter_map(image).collect()
        })
    }

    fn batch(&self, sql: &str) -> Result<()> {
        self.conn.execute_batch(sql).map_err(|error| plain(&error.into()))
    }
}

/// What an insertion is compiled from, besides which cells are defaults.
#[derive(Clone, Copy)]
struct InsertParts<'a> {
    relation: &'a RelationRef,
    columns: &'a Vec<u32>,
    conflict: &'a Option<OnConflict>,
    check: &'a Option<Arc<Expr>>,
    visible: &'a Option<Arc<Expr>>,
}

impl InsertParts<'_> {
    fn same(&self, key: &InsertKey, defaulted: &[bool]) -> bool {
        key.columns == *self.columns
            && key.defaulted == defaulted
            && key.conflict == *self.conflict
            && key.relation == *self.relation
            && key.check == *self.check
            && key.visible == *self.visible
    }

    fn compile(&self, conn: &Rc<Connection>, schema: &Schema, defaulted: &[bool]) -> Result<(InsertKey, InsertRun)> {
        let plan = sqlite::compile_insert(
            schema,
            self.relation,
            self.columns,
            defaulted,
            self.conflict.as_ref(),
            self.check.as_deref(),
            self.visible.as_deref(),
        )?;
        let prepare =
            |rendered: &Option<sqlite::Rendered>| rendered.as_ref().map(|r| Prepared::new(conn, r)).transpose();
        let run = InsertRun {
            insert: Prepared::new(conn, &plan.insert)?,
            no_row: plan.no_row,
            check: prepare(&plan.check)?,
            visible: prepare(&plan.visible)?,
        };
        let key = InsertKey {
            relation: self.relation.clone(),
            columns: self.columns.clone(),
            defaulted: defaulted.to_vec(),
            conflict: self.conflict.clone(),
            check: self.check.clone(),
            visible: self.visible.clone(),
        };
        Ok((key, run))
    }
}

fn column_types(schema: &Schema, id: RelationId, columns: impl Iterator<Item = u32>) -> Result<Vec<&Type>> {
    let relation = schema.relation(id);
    columns
        .map(|c| {
            relation
                .columns
                .get(c as usize)
                .map(|c| &c.ty)
                .ok_or_else(|| Error::internal("a step names a column that its table lacks"))
        })
        .collect()
}

/// A cell's value, fitted to its column.
fn value(cell: &Cell, ty: &Type, earlier: &[Vec<Row>]) -> Result<Value> {
    match cell {
        Cell::Value(value) => value.clone().fit(ty),
        Cell::Default => Ok(Value::Null),
        Cell::Earlier(step, row, column) => {
            let rows = earlier.get(*step as usize).ok_or_else(|| {
                Error::new(
                    "22023",
                    format!("step {step} does not come before the step that refers to it"),
                )
            })?;
            let found = rows
                .get(*row as usize)
                .and_then(|row| row.get(*column as usize))
                .ok_or_else(|| {
                    Error::new(
                        "22023",
                        format!("step {step} has no row {row}, which a later step refers to"),
                    )
                    .detail(format!("It touched {} rows.", rows.len()))
                })?;
            found.clone().fit(ty)
        }
    }
}

/// Runs a statement to its end; the integer of its first row, if it had one.
fn one_rowid(prepared: &mut Prepared) -> Result<Option<i64>, Failure> {
    Ok(rowids(prepared)?.first().copied())
}

/// Runs a statement to its end and collects the integers it yields.
fn rowids(prepared: &mut Prepared) -> Result<Vec<i64>, Failure> {
    let mut rowids = Vec::new();
    while prepared.statement.step()? {
        if let Stored::Integer(rowid) = prepared.statement.value(0) {
            rowids.push(rowid);
        }
    }
    Ok(rowids)
}

/// PGRST124 and PGRST116.
fn limits(step: &Step, rows: u64) -> Result<()> {
    if let Some(max) = step.max_affected
        && rows > max
    {
        return Err(
            Error::new("PGRST124", "Query result exceeds max-affected preference constraint")
                .detail(format!("The query affects {rows} rows"))
                .status(400),
        );
    }
    if step.singular && rows != 1 {
        return Err(
            Error::new("PGRST116", "Cannot coerce the result to a single JSON object")
                .detail(format!("The result contains {rows} rows"))
                .status(406),
        );
    }
    Ok(())
}
