//! The steps of a transaction, each done in the transaction at hand: write, look whether policies allow what was written, answer.

use crate::bind::{Env, Prepared};
use crate::call::{Functions, Place};
use crate::capture::{Capture, Touched};
use crate::constraint::Inquiry;
use crate::failure::plain;
use crate::insert::{InsertKey, InsertParts, InsertRun};
use crate::kept::{Kept, Weighed};
use crate::level::{LevelPlan, Sink};
use crate::modify::{DeleteKey, DeleteRun, UpdateKey, UpdateRun};
use crate::preupdate::Hook;
use crate::statement::{Failure, deferred_violations};
use bytes::Bytes;
use mainstay_model::{
    Action, Cell, Count, Error, Identity, QueryShape, RelationId, Representation, Result, Row, Schema, Step,
    StepOutcome, Type, Value, earlier_value,
};
use mainstay_sql::sqlite::{self, Rendered, RowsFrom, Stored};
use mainstay_store::Keeping;
use rusqlite::Connection;
use std::rc::Rc;
use std::sync::Arc;

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

impl Weighed for (QueryShape, Over) {
    fn weight(&self) -> usize {
        self.0.weight()
    }
}

/// Does steps on the writer's connection.
pub(crate) struct Steps {
    pub(crate) inserts: Kept<InsertKey, InsertRun>,
    pub(crate) updates: Kept<UpdateKey, UpdateRun>,
    pub(crate) deletes: Kept<DeleteKey, DeleteRun>,
    returning: Kept<(QueryShape, Over), ReturningRun>,
    pub(crate) functions: Functions,
    pub(crate) hook: Hook<Capture>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) store: String,
    pub(crate) bytes_max: usize,
    /// Whether foreign keys are deferred that are not declared so.
    pub(crate) deferring: bool,
    pub(crate) conn: Rc<Connection>,
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
pub(crate) struct Rows {
    /// Their rowids.
    pub rowids: Vec<i64>,
    /// Of them, new.
    pub inserted: u64,
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
            deferring: false,
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
        let params = step.filled(context.earlier)?;
        let env = Env::new(&params, context.identity, context.now_us);
        let mut answered = None;
        let rows = match &step.action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                check,
                updated,
            } => {
                let key = InsertParts {
                    relation,
                    columns,
                    conflict,
                    check,
                    updated,
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
                let outcome = self.answer_keeping(context, |steps, sink| {
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
                let (outcome, body, rows) = outcome;
                let outcome = StepOutcome {
                    affected: outcome.rows,
                    body,
                    rows: outcome.rows,
                    total: outcome.total,
                    ..StepOutcome::default()
                };
                limits(step, outcome.rows)?;
                return Ok((outcome, rows));
            }
            Action::Read => {
                let Some(shape) = &step.returning else {
                    return Ok((StepOutcome::default(), Vec::new()));
                };
                let ((rows, total), body, kept) = self.answer_keeping(context, |steps, sink| match sink {
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
                    kept,
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
        outcome.key = relation
            .filter(|_| step.key)
            .map(|id| self.key(id, mark))
            .unwrap_or_default();
        let kept = match relation {
            Some(id) if context.keep_rows => self.images(id, mark, &rows.rowids),
            _ => Vec::new(),
        };
        Ok((outcome, kept))
    }

    /// Encodes an answer, if the step has somebody to encode it.
    pub(crate) fn answer<T>(
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
            parts: None,
        };
        let value = run(self, Some(&mut sink))?;
        Ok((value, encoder.finish()))
    }

    /// As [`Steps::answer`]; also gives the rows, where a later step wants them.
    fn answer_keeping<T>(
        &mut self,
        context: &StepContext<'_>,
        run: impl FnOnce(&mut Steps, Option<&mut Sink<'_>>) -> Result<T>,
    ) -> Result<(T, Bytes, Vec<Row>)> {
        let Some(representation) = context.representation.filter(|_| context.keep_rows) else {
            let (value, body) = self.answer(context, run)?;
            return Ok((value, body, Vec::new()));
        };
        let mut keeping = Keeping::new(representation.encoder());
        let mut sink = Sink {
            encoder: &mut keeping,
            bytes_max: self.bytes_max,
            parts: None,
        };
        let value = run(self, Some(&mut sink))?;
        let (rows, body) = keeping.finish();
        Ok((value, body, rows))
    }

    pub(crate) fn over_rows(
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
        self.query(shape, Over::Rowids, &env.at_rows(&rowids), sink)
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

    /// Foreign keys that are not declared deferred are looked at after each statement again. What is violated now stays counted only
    /// if nothing is: call this when nothing is, or when everything has been rolled back.
    pub fn stop_deferring(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.deferring, false) {
            self.batch("PRAGMA defer_foreign_keys = OFF")?;
        }
        Ok(())
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.conn.execute_batch(sql).map_err(|error| plain(&error.into()))
    }
}

/// The types of columns.
pub(crate) fn column_types(schema: &Schema, id: RelationId, columns: impl Iterator<Item = u32>) -> Result<Vec<&Type>> {
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
pub(crate) fn value(cell: &Cell, ty: &Type, earlier: &[Vec<Row>]) -> Result<Value> {
    match cell {
        Cell::Value(value) => value.clone().fit(ty),
        Cell::Default => Ok(Value::Null),
        Cell::Earlier(step, row, column) => earlier_value(earlier, *step, *row, *column)?.clone().fit(ty),
    }
}

/// A write that does not tell the rowids of the rows it touched: the hook does, and RETURNING would open a temporary b-tree each time.
pub(crate) fn without_returning(mut rendered: Rendered, schema: &Schema, id: RelationId) -> Rendered {
    let returning = format!(" RETURNING {}", sqlite::rowid_name(schema.relation(id)));
    if let Some(length) = rendered.sql.strip_suffix(&returning).map(str::len) {
        rendered.sql.truncate(length);
    }
    rendered
}

/// Runs a statement to its end and collects the integers it yields.
pub(crate) fn all_rowids(prepared: &mut Prepared) -> Result<Vec<i64>, Failure> {
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
