//! Reads as they are sent: compiled once per plan and thread, and how their answers are encoded.

use crate::pace::Pace;
use crate::server::Server;
use crate::settings::search_path;
use crate::value;
use crate::wire::{Batch, Values, cells};
use mainstay_model::{
    Action, EmbedJoin, Encoder, Error, Expr, ExprKind, Item, QueryShape, RelationId, Representation, Result, Returns,
    Schema, Source, Type, Value, ValueRef,
};
use mainstay_sql::postgres::{self, Compiled, Counting, Options, Output, ROWS_OF_DOCUMENT, Slot};
use mainstay_store::{Explained, Read};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// Names of values that are asked for on behalf of later steps, and not shown; no column can be called so.
pub(crate) const KEPT: &str = "\u{1}kept ";

/// A statement with what goes in and how it comes back.
pub(crate) struct Prepared {
    id: u64,
    sql: String,
    slots: Vec<Slot>,
    binary: Vec<bool>,
    results: Vec<bool>,
}

/// A read, compiled.
pub(crate) struct Ready {
    pub main: Prepared,
    pub columns: Vec<Output>,
    pub form: Form,
    pub count: Option<Counts>,
    /// `search_path`, where it is not the connection's own.
    pub path: Option<Arc<str>>,
    /// Whether a function or an aggregate of the database's own is called, which may say something about the response.
    pub calls: bool,
    /// Whether it reads tables and nothing that runs code of the database's own, which might write: functions, views, policies.
    pub inert: bool,
    /// Its answer was larger than one is buffered: so many more times it is asked for where it may go on.
    pub large: AtomicU8,
    pub pace: Pace,
}

/// What an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Rows,
    /// What the database made of all rows, and how many they were.
    Document,
    /// A function's one value.
    Scalar,
    /// Nothing.
    Void,
}

/// The statements that count.
pub(crate) struct Counts {
    /// Up to so many rows an estimate is exact.
    up_to: u64,
    pub exact: Option<Prepared>,
    pub planned: Option<Prepared>,
}

/// Writes rows into an encoder.
pub(crate) struct Sink<'a> {
    pub encoder: &'a mut dyn Encoder,
    pub bytes_max: usize,
}

impl Prepared {
    pub fn new(server: &Server, role: &str, sql: String, slots: Vec<Slot>, results: Vec<bool>) -> Prepared {
        Prepared {
            id: server.text_for(role, &sql),
            binary: slots.iter().map(|slot| value::sends_binary(&slot.ty)).collect(),
            sql,
            slots,
            results,
        }
    }

    /// Adds it to a batch.
    pub fn write(&self, batch: &mut Batch<'_>, params: &[Value], action: Option<&Action>) -> Result<usize> {
        batch.statement(self.id, &self.sql, &self.binary, &self.results, |values| {
            self.values(values, params, action)
        })
    }

    fn values(&self, values: &mut Values<'_>, params: &[Value], action: Option<&Action>) -> Result<()> {
        for slot in &self.slots {
            let value = slot.resolve(params, action)?;
            if value.is_null() {
                values.null();
                continue;
            }
            let mut written = Ok(());
            values.with(|out| written = value::write(&value, &slot.ty, out))?;
            written?;
        }
        Ok(())
    }

    /// Adds it to a batch as two executions, one of its first row and one of the others, with something between them. Says which they are.
    pub fn write_parted<T>(
        &self,
        batch: &mut Batch<'_>,
        params: &[Value],
        between: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<(usize, T, usize)> {
        const PORTAL: &str = "rows";
        batch.bind(PORTAL, self.id, &self.sql, &self.binary, &self.results, |values| {
            self.values(values, params, None)
        })?;
        let first = batch.execute(PORTAL, 1);
        let between = between(batch)?;
        Ok((first, between, batch.execute(PORTAL, 0)))
    }

    /// The number that its text is known by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The same values for another text, whose columns come as text.
    pub fn as_explained(&self, server: &Server, role: &str, sql: String) -> Prepared {
        Prepared::new(server, role, sql, self.slots.clone(), Vec::new())
    }

    /// Its text.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Its text and what stands in its places, for people.
    pub fn shown(&self, params: &[Value], action: Option<&Action>) -> Result<Explained> {
        let text = |slot: &Slot| {
            let value = slot.resolve(params, action)?;
            Ok(if value.is_null() {
                "NULL".to_owned()
            } else {
                value.to_text(&slot.ty)
            })
        };
        Ok(Explained {
            sql: self.sql.clone(),
            params: self.slots.iter().map(text).collect::<Result<_>>()?,
        })
    }
}

impl Counts {
    pub fn new(server: &Server, role: &str, counting: Counting) -> Counts {
        let Counting {
            exact,
            planned,
            up_to,
            slots,
        } = counting;
        Counts {
            up_to,
            exact: exact.map(|sql| Prepared::new(server, role, sql, slots.clone(), vec![true])),
            planned: planned.map(|sql| Prepared::new(server, role, sql, slots.clone(), Vec::new())),
        }
    }

    /// Adds them to a batch; says how many there are.
    pub fn write(&self, batch: &mut Batch<'_>, params: &[Value], action: Option<&Action>) -> Result<usize> {
        let both = [&self.exact, &self.planned].into_iter().flatten();
        let mut count = 0;
        for statement in both {
            statement.write(batch, params, action)?;
            count += 1;
        }
        Ok(count)
    }

    /// The number that their rows say, in the order in which they were written.
    pub fn total<'r>(&self, mut rows: impl FnMut(usize) -> Option<&'r [u8]>) -> Result<Option<u64>> {
        let mut at = 0;
        let mut next = || {
            at += 1;
            rows(at - 1).and_then(|row| cells(row).next().flatten())
        };
        let exact = match &self.exact {
            Some(_) => next().and_then(value::integer).map(|n| n.max(0) as u64),
            None => None,
        };
        let planned = match &self.planned {
            Some(_) => next().and_then(planned_rows),
            None => None,
        };
        Ok(match (exact, planned) {
            // Of an estimate: counted up to a limit, planned beyond it, but never fewer than were counted.
            (Some(exact), Some(planned)) if exact > self.up_to => Some(planned.max(exact)),
            (Some(exact), _) => Some(exact),
            (None, planned) => planned,
        })
    }
}

/// `[0].Plan."Plan Rows"` of a plan.
fn planned_rows(plan: &[u8]) -> Option<u64> {
    let plan: serde_json::Value = serde_json::from_slice(plan).ok()?;
    plan.get(0)?.get("Plan")?.get("Plan Rows")?.as_f64().map(|n| n as u64)
}

/// How a representation wants what the database makes.
pub(crate) fn options(representation: Option<&dyn Representation>) -> Options {
    Options {
        texts: representation.is_some_and(|r| r.shows_text()),
        strips_nulls: representation.is_some_and(|r| r.strips_nulls()),
        key: false,
    }
}

/// What the answer of a shape is.
pub(crate) fn form(schema: &Schema, shape: Option<&QueryShape>) -> Form {
    match shape {
        Some(shape) if shape.document.is_some() => Form::Document,
        Some(QueryShape {
            from: Source::Call(call),
            ..
        }) => of_call(schema, call),
        _ => Form::Rows,
    }
}

/// What a call answers.
pub(crate) fn of_call(schema: &Schema, call: &mainstay_model::Call) -> Form {
    match &schema.function(call.function).returns {
        Returns::Void => Form::Void,
        Returns::Scalar(_) => Form::Scalar,
        _ => Form::Rows,
    }
}

/// Whether a shape reads tables without policies, and calls no function of the database's own.
fn is_inert(schema: &Schema, shape: &QueryShape) -> bool {
    let table = |id: RelationId| {
        schema
            .relation(id)
            .table()
            .is_some_and(|t| !t.row_security && !t.foreign)
    };
    let calls = |expr: &Expr| {
        let mut found = false;
        expr.walk(&mut |e| found |= matches!(e.kind, ExprKind::UserCall(..) | ExprKind::Opaque { .. }));
        found
    };
    let conditions = shape
        .filter
        .iter()
        .chain(&shape.having)
        .chain(shape.order.iter().map(|o| &o.expr));
    shape.document.is_none()
        && matches!(&shape.from, Source::Relation(relation) if table(relation.relation))
        && !conditions.into_iter().any(calls)
        && shape.select.iter().all(|item| match item {
            Item::Field(field) => !calls(&field.expr),
            Item::Embed(embed) => {
                let joined = match &embed.join {
                    EmbedJoin::Columns(_) => true,
                    EmbedJoin::Through { junction, .. } => table(junction.relation),
                    EmbedJoin::Computed(_) => false,
                };
                joined && is_inert(schema, &embed.query)
            }
        })
}

/// The schema whose names a shape uses first.
pub(crate) fn namespace<'s>(schema: &'s Schema, from: &Source) -> &'s Arc<str> {
    match from {
        Source::Relation(relation) => &schema.relation(relation.relation).namespace,
        Source::Call(call) => &schema.function(call.function).namespace,
    }
}

/// `search_path` for a namespace, where it is not what connections have anyway.
pub(crate) fn path(server: &Server, namespace: &str) -> Option<Arc<str>> {
    let path = search_path(namespace, &server.config.search_path);
    (server.is_pooled() || path != server.default_path).then(|| path.into())
}

/// Which columns come in binary.
pub(crate) fn results(columns: &[Output]) -> Vec<bool> {
    columns.iter().map(|column| value::reads_binary(&column.ty)).collect()
}

/// The shapes of reads that a thread keeps weigh at most so many bytes; what is compiled from them, a few times as many.
const BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
struct Known {
    reads: FxHashMap<(u64, u64, u8), Arc<Ready>>,
    bytes: usize,
}

thread_local! {
    static READY: RefCell<Known> = RefCell::default();
}

impl Ready {
    /// The read with a plan's number, compiled unless this thread has it. `generation` tells schemas apart.
    pub fn of(server: &Server, schema: &Schema, generation: u64, read: &Read<'_>) -> Result<Arc<Ready>> {
        let options = options(Some(read.representation));
        let bits = u8::from(options.texts) | u8::from(options.strips_nulls) << 1;
        let key = (generation, read.plan, bits);
        if let Some(ready) = READY.with_borrow(|known| known.reads.get(&key).cloned()) {
            return Ok(ready);
        }
        let ready = Arc::new(Ready::compile(
            server,
            schema,
            &read.identity.role,
            read.shape,
            options,
        )?);
        if read.kept {
            let bytes = read.shape.weight();
            READY.with_borrow_mut(|known| {
                if known.reads.len() >= server.config.plans_max || known.bytes + bytes > BYTES_MAX {
                    *known = Known::default();
                }
                known.bytes += bytes;
                known.reads.insert(key, ready.clone());
            });
        }
        Ok(ready)
    }

    fn compile(server: &Server, schema: &Schema, role: &str, shape: &QueryShape, options: Options) -> Result<Ready> {
        let Compiled {
            sql,
            slots,
            columns,
            count,
            ..
        } = postgres::compile_query(schema, shape, options)?;
        Ok(Ready {
            main: Prepared::new(server, role, sql, slots, results(&columns)),
            form: form(schema, Some(shape)),
            count: count.map(|counting| Counts::new(server, role, counting)),
            path: path(server, namespace(schema, &shape.from)),
            calls: matches!(shape.from, Source::Call(_)) || shape.document.is_some(),
            inert: is_inert(schema, shape),
            columns,
            large: AtomicU8::new(0),
            pace: Pace::default(),
        })
    }
}

impl Sink<'_> {
    /// One row. Error: 54000 when the answer has grown too large.
    pub fn row(&mut self, columns: &[Output], row: &[u8]) -> Result<()> {
        self.encoder.begin_row();
        let mut cells = cells(row);
        for column in columns {
            let cell = cells.next().ok_or_else(short)?;
            if column.shown && !column.name.starts_with(KEPT) {
                value::read(cell, &column.ty, |value| {
                    self.encoder.field(&column.name, &column.ty, value);
                })?;
            }
        }
        self.encoder.end_row();
        if self.encoder.len() > self.bytes_max {
            return Err(crate::failure::too_large(self.bytes_max));
        }
        Ok(())
    }

    /// A function's one value, from its one row.
    pub fn scalar(&mut self, columns: &[Output], row: Option<&[u8]>) -> Result<()> {
        let Some((at, column)) = columns.iter().enumerate().find(|(_, column)| column.shown) else {
            self.encoder.scalar(&Type::Void, ValueRef::Null);
            return Ok(());
        };
        let cell = match row {
            Some(row) => cells(row).nth(at).ok_or_else(short)?,
            None => None,
        };
        value::read(cell, &column.ty, |value| self.encoder.scalar(&column.ty, value))
    }

    /// All rows of an answer; says how many.
    pub fn answer<'r>(
        &mut self,
        form: &Form,
        columns: &[Output],
        mut rows: impl Iterator<Item = &'r [u8]>,
    ) -> Result<u64> {
        match form {
            Form::Void => {
                self.encoder.scalar(&Type::Void, ValueRef::Null);
                Ok(1)
            }
            Form::Scalar => {
                self.scalar(columns, rows.next())?;
                Ok(1)
            }
            Form::Document => {
                let row = rows.next();
                self.scalar(columns, row)?;
                if self.encoder.len() > self.bytes_max {
                    return Err(crate::failure::too_large(self.bytes_max));
                }
                let at = columns.iter().position(|column| *column.name == *ROWS_OF_DOCUMENT);
                let count = at.and_then(|at| cells(row?).nth(at)?);
                Ok(count.and_then(value::integer).map_or(0, |n| n.max(0) as u64))
            }
            Form::Rows => {
                let mut count = 0;
                for row in rows {
                    self.row(columns, row)?;
                    count += 1;
                }
                Ok(count)
            }
        }
    }
}

fn short() -> Error {
    Error::internal("the database sent fewer columns than were asked for")
}
