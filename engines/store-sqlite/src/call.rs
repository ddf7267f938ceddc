//! Runs a function: its statements in order, in the transaction at hand, the last one's rows being the result.

use crate::beforehand::{Checks, ask, read_what_is_written};
use crate::bind::{Env, Prepared};
use crate::capture::Capture;
use crate::constraint::{Attempt, Inquiry};
use crate::failure::plain;
use crate::kept::{Kept, Weighed};
use crate::level::{LevelPlan, Sink, with_value};
use crate::proposed;
use crate::row_argument;
use crate::statement::{Failure, Statement};
use mainstay_model::{
    Call, ChangeKind, Count, Error, Expr, ExprKind, FunctionId, Item, Projected, QueryShape, RelationId, Result,
    Returns, Schema, Select, Statement as Sql, Type, Value, ValueRef,
};
use mainstay_sql::sqlite::{self, OutputColumn, RowsFrom, decode};
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// Where a function runs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The connection.
    pub conn: &'a Rc<Connection>,
    /// The model.
    pub schema: &'a Schema,
    /// The store's name.
    pub store: &'a str,
    /// What has been changed; absent where nothing can be.
    pub capture: Option<&'a Capture>,
}

/// What a call yielded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallOutcome {
    /// Rows of the answer.
    pub rows: u64,
    /// Rows without limit and offset, when counted.
    pub total: Option<u64>,
}

/// One statement of a body.
struct Run {
    run: Prepared,
    /// Result column 0 is the rowid of a row touched.
    touches: bool,
    /// Asks the policies of a row that is written, where that is not too late.
    check: Option<Prepared>,
    /// The same of a row that an INSERT found there, and updates.
    updated: Option<Prepared>,
    /// Else what is asked before.
    beforehand: Option<Beforehand>,
    /// Finds a row that policies refuse, of those that would be written.
    refused: Option<Sql>,
    /// Some of them may be there, and are asked about all the same.
    leaves_out: bool,
    relation: Option<RelationId>,
    columns: Vec<OutputColumn>,
}

/// Policies that are asked before: of new rows, and of those that are updated.
type Beforehand = (Option<Arc<Expr>>, Option<Arc<Expr>>);

struct Arguments {
    prepared: Prepared,
    columns: Vec<OutputColumn>,
}

/// A query over a function's rows.
struct Over {
    root: LevelPlan,
    count: Option<Prepared>,
}

type BodyKey = (FunctionId, Arc<Vec<Sql>>);
type OverKey = (QueryShape, Vec<OutputColumn>);

impl Weighed for BodyKey {
    /// A body is the author's.
    fn weight(&self) -> usize {
        0
    }
}

impl Weighed for OverKey {
    fn weight(&self) -> usize {
        self.0.weight()
    }
}

impl Weighed for Vec<Expr> {
    fn weight(&self) -> usize {
        self.iter().map(Expr::weight).sum()
    }
}

/// The functions of a connection, prepared.
pub(crate) struct Functions {
    bodies: Kept<BodyKey, Vec<Run>>,
    arguments: Kept<Vec<Expr>, Arguments>,
    over: Kept<OverKey, Over>,
    /// By number of columns: puts a row into the temporary table for so many.
    inserts: HashMap<usize, Statement>,
}

/// What happens with each row of the result.
type OnRow<'r> = dyn FnMut(&Statement, usize, &[OutputColumn]) -> Result<()> + 'r;

impl Functions {
    /// None yet; at most `max` of each kind are kept.
    pub fn new(max: usize) -> Functions {
        Functions {
            bodies: Kept::new(max),
            arguments: Kept::new(max),
            over: Kept::new(max),
            inserts: HashMap::new(),
        }
    }

    /// Calls a function and encodes its result as `shape` asks, into `sink` if an answer is wanted.
    pub fn call(
        &mut self,
        place: Place<'_>,
        call: &Call,
        shape: Option<&QueryShape>,
        env: &Env<'_>,
        sink: Option<&mut Sink<'_>>,
    ) -> Result<CallOutcome> {
        let function = place.schema.function(call.function);
        let Some(sink) = sink else {
            let rows = self.run(place, call, env, &mut |_, _, _| Ok(()))?;
            return Ok(CallOutcome { rows, total: None });
        };
        match &function.returns {
            Returns::Void => {
                self.run(place, call, env, &mut |_, _, _| Ok(()))?;
                sink.encoder.scalar(&Type::Void, ValueRef::Null);
                Ok(CallOutcome {
                    rows: 1,
                    total: Some(1),
                })
            }
            Returns::Scalar(ty) => {
                let mut found = false;
                self.run(place, call, env, &mut |row, offset, columns| {
                    let Some(column) = columns.first() else { return Ok(()) };
                    found = true;
                    with_value(row.value(offset), &column.ty, column.form, |value| {
                        sink.encoder.scalar(ty, value)
                    })
                })?;
                if !found {
                    sink.encoder.scalar(ty, ValueRef::Null);
                }
                Ok(CallOutcome {
                    rows: 1,
                    total: Some(1),
                })
            }
            _ => match shape.map(|shape| (shape, plain_fields(shape))) {
                None => self.direct(place, call, env, sink, None),
                Some((shape, Some(fields))) => {
                    let mut outcome = self.direct(place, call, env, sink, Some(&fields))?;
                    if shape.count == Count::None {
                        outcome.total = None;
                    }
                    Ok(outcome)
                }
                Some((shape, None)) => self.through_table(place, call, shape, env, sink),
            },
        }
    }

    /// Rows as they come, each field being a column of the result.
    fn direct(
        &mut self,
        place: Place<'_>,
        call: &Call,
        env: &Env<'_>,
        sink: &mut Sink<'_>,
        fields: Option<&[(usize, Arc<str>)]>,
    ) -> Result<CallOutcome> {
        let rows = self.run(place, call, env, &mut |row, offset, columns| {
            sink.encoder.begin_row();
            let mut show = |at: usize, name: &str| {
                let column = columns
                    .get(at)
                    .ok_or_else(|| Error::internal("a function yields fewer columns than it declares"))?;
                with_value(row.value(offset + at), &column.ty, column.form, |value| {
                    sink.encoder.field(name, &column.ty, value)
                })
            };
            match fields {
                Some(fields) => fields.iter().try_for_each(|(at, name)| show(*at, name))?,
                None => columns
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, column)| show(at, &column.name))?,
            }
            sink.encoder.end_row();
            sink.check()
        })?;
        if rows == 0 && !place.schema.function(call.function).returns.is_set() {
            return self.row_of_nulls(place, call, sink, fields);
        }
        Ok(CallOutcome {
            rows,
            total: Some(rows),
        })
    }

    /// What a function that returns one row gives when it finds none.
    fn row_of_nulls(
        &mut self,
        place: Place<'_>,
        call: &Call,
        sink: &mut Sink<'_>,
        fields: Option<&[(usize, Arc<str>)]>,
    ) -> Result<CallOutcome> {
        let columns = match self.body(place, call)?.last() {
            Some(last) => last.columns.as_slice(),
            None => &[],
        };
        sink.encoder.begin_row();
        let mut null = |name: &str, ty: &Type| sink.encoder.field(name, ty, ValueRef::Null);
        match fields {
            Some(fields) => fields
                .iter()
                .filter_map(|(at, name)| Some((name, columns.get(*at)?)))
                .for_each(|(name, column)| null(name, &column.ty)),
            None => columns.iter().for_each(|column| null(&column.name, &column.ty)),
        }
        sink.encoder.end_row();
        sink.check()?;
        Ok(CallOutcome {
            rows: 1,
            total: Some(1),
        })
    }

    /// Rows into a temporary table, and a query over it.
    fn through_table(
        &mut self,
        place: Place<'_>,
        call: &Call,
        shape: &QueryShape,
        env: &Env<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<CallOutcome> {
        let columns = self
            .body(place, call)?
            .last()
            .map(|r| r.columns.clone())
            .unwrap_or_default();
        let table = format!("_mainstay_rows_{}", columns.len());
        let names: Vec<String> = (0..columns.len().max(1)).map(|i| format!("c{i}")).collect();
        let failed = |failure: Failure| plain(&failure);
        place
            .conn
            .execute_batch(&format!(
                "CREATE TEMP TABLE IF NOT EXISTS {table} ({}); DELETE FROM temp.{table}",
                names.join(", ")
            ))
            .map_err(|error| failed(error.into()))?;
        let mut insert = match self.inserts.remove(&columns.len()) {
            Some(insert) => insert,
            None => {
                let slots: Vec<String> = (1..=names.len()).map(|i| format!("?{i}")).collect();
                let sql = format!("INSERT INTO temp.{table} VALUES ({})", slots.join(", "));
                Statement::prepare(place.conn, &sql).map_err(failed)?
            }
        };
        let filled = self.run(place, call, env, &mut |row, offset, columns| {
            for at in 0..columns.len() {
                insert.bind_column(at + 1, row, offset + at).map_err(failed)?;
            }
            insert.run().map_err(failed)
        });
        insert.reset();
        self.inserts.insert(columns.len(), insert);
        if filled? == 0 && !place.schema.function(call.function).returns.is_set() {
            let row_of_nulls = format!("INSERT INTO temp.{table} DEFAULT VALUES");
            place
                .conn
                .execute_batch(&row_of_nulls)
                .map_err(|error| failed(error.into()))?;
        }
        let over = self.over.get_or_make(
            &shape,
            |(kept, from)| kept == shape && *from == columns,
            || {
                let query =
                    sqlite::compile_query_over(place.schema, shape, &RowsFrom::TempTable(table, columns.clone()))?;
                let root = LevelPlan::new(place.conn, &query.root)?;
                let count = query.count.as_ref().map(|c| Prepared::new(place.conn, c)).transpose()?;
                Ok::<_, Error>(((shape.clone(), columns.clone()), Over { root, count }))
            },
        )?;
        let rows = over.root.rows(env, None, sink, u64::MAX)?;
        let total = match &mut over.count {
            Some(count) => count.integer(env)?.map(|n| n.max(0) as u64),
            None => None,
        };
        Ok(CallOutcome { rows, total })
    }

    fn body(&mut self, place: Place<'_>, call: &Call) -> Result<&mut Vec<Run>> {
        let body = call
            .body
            .as_ref()
            .ok_or_else(|| Error::internal("a call reached the store before it was authorised"))?;
        self.bodies.get_or_make(
            &(call.function, body),
            |(function, kept)| *function == call.function && kept == body,
            || {
                let runs = body
                    .iter()
                    .map(|statement| Run::new(place, statement))
                    .collect::<Result<Vec<_>>>()?;
                Ok(((call.function, body.clone()), runs))
            },
        )
    }

    /// Runs every statement; hands over the last one's rows, of which a function that returns one row has one. Says how many.
    fn run(&mut self, place: Place<'_>, call: &Call, env: &Env<'_>, on_row: &mut OnRow<'_>) -> Result<u64> {
        let function = place.schema.function(call.function);
        let values = self.arguments(place, call, env)?.into_iter().zip(&function.args);
        let values = values
            .map(|(value, argument)| row_argument::read(value, &argument.ty, place.schema))
            .collect::<Result<Vec<Value>>>()?;
        if function.strict && values.iter().any(Value::is_null) {
            return Ok(0);
        }
        let rows_max = if function.returns.is_set() { u64::MAX } else { 1 };
        let env = Env::new(&values, env.identity, env.now_us);
        let runs = self.body(place, call)?;
        let Some((last, before)) = runs.split_last_mut() else {
            return Ok(0);
        };
        for run in before {
            run.run(place, &env, 0, &mut |_, _, _| Ok(()))?;
        }
        last.run(place, &env, rows_max, on_row)
    }

    fn arguments(&mut self, place: Place<'_>, call: &Call, env: &Env<'_>) -> Result<Vec<Value>> {
        let known: Option<Vec<Value>> = call
            .args
            .iter()
            .map(|arg| match &arg.kind {
                ExprKind::Literal(value) => Some(value.clone()),
                ExprKind::Param(index) => env.params.get(*index as usize).cloned(),
                _ => None,
            })
            .collect();
        if let Some(known) = known {
            return Ok(known);
        }
        let arguments = self.arguments.get_or_make(
            &call.args,
            |kept| *kept == call.args,
            || {
                let projection = call.args.iter().enumerate();
                let projection = projection
                    .map(|(i, e)| Projected {
                        expr: e.clone(),
                        name: format!("a{i}").into(),
                    })
                    .collect();
                let select = Sql::Select(Box::new(Select {
                    projection,
                    ..Select::default()
                }));
                let plan = sqlite::compile_statement(place.schema, &select)?;
                let prepared = Prepared::new(place.conn, &plan.run)?;
                Ok::<_, Error>((
                    call.args.clone(),
                    Arguments {
                        prepared,
                        columns: plan.run.columns,
                    },
                ))
            },
        )?;
        let Arguments { prepared, columns } = arguments;
        prepared.bind(env, None)?;
        let found = prepared.statement.step().map_err(|failure| plain(&failure))?;
        let values = columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                if found {
                    decode(prepared.statement.value(i), &column.ty, column.form)
                } else {
                    Ok(Value::Null)
                }
            })
            .collect();
        prepared.statement.reset();
        values
    }
}

impl Run {
    fn new(place: Place<'_>, statement: &Sql) -> Result<Run> {
        let plan = sqlite::compile_statement(place.schema, statement)?;
        let relation = match statement {
            Sql::Select(_) => None,
            Sql::Insert(insert) => Some(insert.relation.relation),
            Sql::Update(update) => Some(update.relation.relation),
            Sql::Delete(delete) => Some(delete.relation.relation),
        };
        let (new, updated, updates) = match statement {
            Sql::Insert(insert) => (insert.check.clone(), insert.updated.clone(), insert.conflict.is_some()),
            Sql::Update(update) => (None, update.check.clone(), true),
            Sql::Select(_) | Sql::Delete(_) => (None, None, false),
        };
        let all = || [&new, &updated].into_iter().flatten().map(|check| &**check);
        let asked = relation.is_some_and(|id| read_what_is_written(place.schema, id, updates, all()));
        let beforehand = asked.then_some((new, updated));
        let unless_asked = |check: &Option<sqlite::Rendered>| match check {
            Some(check) if beforehand.is_none() => Prepared::new(place.conn, check).map(Some),
            _ => Ok(None),
        };
        Ok(Run {
            run: Prepared::new(place.conn, &plan.run)?,
            touches: plan.touches,
            check: unless_asked(&plan.check)?,
            updated: unless_asked(&plan.updated)?,
            beforehand,
            refused: proposed::refused(place.schema, statement),
            leaves_out: match statement {
                Sql::Insert(insert) => insert.conflict.is_some(),
                _ => false,
            },
            relation,
            columns: plan.run.columns,
        })
    }

    /// Runs it to its end, hands over at most `rows_max` rows and says how many it handed over.
    fn run(&mut self, place: Place<'_>, env: &Env<'_>, rows_max: u64, on_row: &mut OnRow<'_>) -> Result<u64> {
        if self.leaves_out {
            self.ask_proposed(place, env)?;
        }
        let result = self.run_asked(place, env, rows_max, on_row);
        match &result {
            // Which constraint is violated is told to those who may write the row.
            Err(error) if error.code.starts_with("23") => self.ask_proposed(place, env).and(result),
            _ => result,
        }
    }

    /// Asks the policies of the rows that would be written.
    fn ask_proposed(&self, place: Place<'_>, env: &Env<'_>) -> Result<()> {
        let Some(refused) = &self.refused else {
            return Ok(());
        };
        let found = sqlite::compile_statement(place.schema, refused)
            .and_then(|plan| Prepared::new(place.conn, &plan.run)?.exists(env));
        // What cannot be found out is refused: the safe side.
        match found {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(row_refused(place.schema, self.relation)),
        }
    }

    fn run_asked(&mut self, place: Place<'_>, env: &Env<'_>, rows_max: u64, on_row: &mut OnRow<'_>) -> Result<u64> {
        let (Some((new, updated)), Some(id)) = (self.beforehand.clone(), self.relation) else {
            return self.run_to_end(place, env, rows_max, on_row);
        };
        let capture = place
            .capture
            .ok_or_else(|| Error::internal("a statement that writes without being watched"))?;
        let inquiry = Inquiry {
            conn: place.conn,
            schema: place.schema,
            store: place.store,
            env,
        };
        let checks = Checks {
            new: new.as_deref(),
            updated: updated.as_deref(),
        };
        ask(&inquiry, capture, id, checks, |_| {
            self.run_to_end(place, env, 0, on_row).map(drop)
        })?;
        self.run_to_end(place, env, rows_max, on_row)
    }

    fn run_to_end(&mut self, place: Place<'_>, env: &Env<'_>, rows_max: u64, on_row: &mut OnRow<'_>) -> Result<u64> {
        let result = self.run_inner(place, env, rows_max, on_row);
        self.run.statement.reset();
        result
    }

    fn run_inner(&mut self, place: Place<'_>, env: &Env<'_>, rows_max: u64, on_row: &mut OnRow<'_>) -> Result<u64> {
        let mark = place.capture.map_or(0, Capture::len);
        self.run.bind(env, None)?;
        let offset = usize::from(self.touches);
        let mut touched = Vec::new();
        let mut rows = 0;
        loop {
            match self.run.statement.step() {
                Ok(false) => break,
                Ok(true) => {}
                Err(failure) => {
                    let inquiry = Inquiry {
                        conn: place.conn,
                        schema: place.schema,
                        store: place.store,
                        env,
                    };
                    let attempt = Attempt::Other {
                        relation: self.relation,
                    };
                    let changed = place.capture.map(|c| c.take(mark)).unwrap_or_default();
                    return Err(inquiry.error(&failure, &attempt, &changed));
                }
            }
            if (self.check.is_some() || self.updated.is_some())
                && let sqlite::Stored::Integer(rowid) = self.run.statement.value(0)
            {
                touched.push(rowid);
            }
            if rows < rows_max && !self.columns.is_empty() {
                on_row(&self.run.statement, offset, &self.columns)?;
                rows += 1;
            }
        }
        if touched.is_empty() {
            return Ok(rows);
        }
        // Rows that were there are asked about as what they became.
        let there: HashSet<i64> = match (place.capture, self.leaves_out) {
            (Some(capture), true) => capture.since(mark, |changes| {
                let updated = changes
                    .iter()
                    .filter(|t| t.depth == 0 && t.change.kind == ChangeKind::Update);
                updated.map(|t| t.rowid).collect()
            }),
            _ => HashSet::new(),
        };
        for rowid in touched {
            let check = match there.contains(&rowid) {
                true => &mut self.updated,
                false => &mut self.check,
            };
            if let Some(check) = check
                && !check.exists(&env.at_row(rowid))?
            {
                return Err(row_refused(place.schema, self.relation));
            }
        }
        Ok(rows)
    }
}

/// A new row that the policies do not allow.
pub(crate) fn row_refused(schema: &Schema, relation: Option<RelationId>) -> Error {
    let name = relation.map_or("", |id| &schema.relation(id).name);
    Error::denied(format!(
        "new row violates row-level security policy for table \"{name}\""
    ))
}

/// The columns of the result that a shape shows, if it does nothing else with the rows.
fn plain_fields(shape: &QueryShape) -> Option<Vec<(usize, Arc<str>)>> {
    let plain = shape.filter.is_none()
        && shape.order.is_empty()
        && !shape.distinct
        && shape.having.is_none()
        && shape.limit.is_none()
        && shape.offset.is_none();
    if !plain {
        return None;
    }
    shape
        .select
        .iter()
        .map(|item| match item {
            Item::Field(Projected {
                expr:
                    Expr {
                        kind: ExprKind::Column(column),
                        ..
                    },
                name,
            }) if column.source == mainstay_model::SourceId::SELF => Some((column.column as usize, name.clone())),
            _ => None,
        })
        .collect()
}
