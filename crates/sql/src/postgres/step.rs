//! A step of a transaction as one statement, its answer and what it says about itself included.
//!
//! Rows that are read back need the right to be read, so nothing is asked for that is not wanted: without an answer a write has no
//! RETURNING, with one it returns the columns that the answer uses. Where the answer has a row for each row touched, the command's tag
//! says how many; else the write stands in `WITH`, its counts beside the answer.

use super::count;
use super::document;
use super::name::quote_identifier;
use super::query::{self, Clauses, Rows, named, numbered, select_word};
use super::render::{Renderer, RowSource, qualified};
use super::{Compiled, Options, Output, Status};
use mainstay_model::{Action, Call, Count, Error, Item, QueryShape, RelationId, Result, Returns, Schema, Step, Type};
use std::rc::Rc;

pub(super) fn compile(schema: &Schema, step: &Step, options: Options) -> Result<Compiled> {
    let returning = step.returning.as_ref();
    match &step.action {
        Action::Read => {
            let shape = returning.ok_or_else(|| Error::internal("a read without a query"))?;
            query::compile(schema, shape, options)
        }
        Action::Call(call) => compile_call(schema, call, returning, options),
        Action::Insert { relation, .. } => compile_write(schema, relation.relation, step, options),
        Action::Update { relation, .. } | Action::Delete { relation, .. } => {
            compile_write(schema, relation.relation, step, options)
        }
    }
}

/// A call whose result is shaped by `shape`. It runs once: rows to be counted are kept.
fn compile_call(schema: &Schema, call: &Call, shape: Option<&QueryShape>, options: Options) -> Result<Compiled> {
    let mut r = Renderer::new(schema, options);
    let alias = r.alias();
    let (from, source) = r.function_rows(call.function, &call.args, &alias)?;
    let Some(shape) = shape.filter(|_| schema.function(call.function).returns != Returns::Void) else {
        return Ok(r.finish(
            format!("SELECT 1 FROM {from}"),
            vec![hidden("done", Type::Int4)],
            Status::default(),
        ));
    };
    if shape.count == Count::None {
        let rows = Rows {
            from,
            conditions: Vec::new(),
            source: Rc::new(source),
        };
        let selected = r.level(shape, rows, Clauses::ALL)?;
        let (sql, columns) = r.answer(shape, selected);
        return Ok(r.finish(sql, columns, Status::default()));
    }
    let inner = format!("WITH w AS MATERIALIZED (SELECT {alias}.* FROM {from})");
    let mut source = RowSource::new("w", source.columns);
    if let Returns::Row(relation) | Returns::SetOfRow(relation) = schema.function(call.function).returns {
        let relation = schema.relation(relation);
        source.row_type = Some(qualified(&relation.namespace, &relation.name));
    }
    let source = Rc::new(source);
    let total = count::over(&mut r, shape, "w", &source)?;
    let answer = Answer {
        shape,
        clauses: Clauses::ALL,
        counts: vec![(format!("({total})"), "total")],
    };
    let (sql, columns) = r.beside(&inner, &source, answer)?;
    let status = Status {
        total: Some(0),
        present: Some(1),
        ..Status::default()
    };
    Ok(r.finish(sql, columns, status))
}

/// An answer with counts beside it.
struct Answer<'a> {
    shape: &'a QueryShape,
    clauses: Clauses,
    counts: Vec<(String, &'static str)>,
}

/// What of a shape applies to rows that a write has touched: its filter and its page have chosen them already.
const TOUCHED: Clauses = Clauses {
    items: true,
    filter: false,
    order: true,
    page: false,
};

fn compile_write(schema: &Schema, relation: RelationId, step: &Step, options: Options) -> Result<Compiled> {
    let mut r = Renderer::new(schema, options);
    let is_insert = matches!(step.action, Action::Insert { .. });
    let merges = matches!(&step.action, Action::Insert { conflict: Some(c), .. } if !c.ignore);
    let shape = step.returning.as_ref().filter(|s| !s.select.is_empty());
    // An empty selection asks for the key alone.
    let wants_key = is_insert && (options.key || step.returning.is_some() && shape.is_none());
    // A view has no xmax: there every row counts as new.
    let tells_new = merges && schema.relation(relation).table().is_some();
    let key = if wants_key { schema.key_of(relation) } else { Vec::new() };
    let simple = shape.is_some_and(|shape| {
        !tells_new && key.is_empty() && shape.order.is_empty() && is_row_by_row(shape) && !has_embeds(shape)
    });
    let (write, alias) = r.write(&step.action)?;
    if shape.is_none() && key.is_empty() && !tells_new {
        return Ok(r.finish(write, Vec::new(), Status::default()));
    }
    if let Some(shape) = shape.filter(|_| simple) {
        let source = Rc::new(r.table_source(relation, &alias));
        let (scope, _) = Renderer::level_scope(shape, &source);
        let values = r.scoped(scope, |r| r.values(shape))?;
        let (terms, columns) = r.outputs(values);
        return Ok(r.finish(
            format!("{write} RETURNING {}", terms.join(", ")),
            columns,
            Status::default(),
        ));
    }
    if shape.is_none() && !tells_new && is_one_row(&step.action) {
        // The one row says its key, the command's tag that there was one.
        let declared = &schema.relation(relation).columns;
        let mut status = Status::default();
        let (mut terms, mut columns) = (Vec::new(), Vec::new());
        for (n, at) in key.iter().enumerate() {
            let name = declared.get(*at as usize).map_or("", |c| &c.name);
            terms.push(format!("{alias}.{}::text", quote_identifier(name)));
            columns.push(hidden("key", Type::Text));
            status.key.push((*at, n));
        }
        return Ok(r.finish(format!("{write} RETURNING {}", terms.join(", ")), columns, status));
    }
    // The columns that are used are known when everything else has been written.
    let mut source = r.table_source(relation, "w");
    source.row_type = Some(r.table(relation));
    let source = Rc::new(source);
    let keys = key
        .iter()
        .map(|at| Ok(format!("{}::text", source.column(*at)?)))
        .collect::<Result<Vec<_>>>()?;
    // The rows of a partitioned table do not say whether they are new; those that were there have been counted.
    let partitioned = is_partitioned(schema, relation);
    let new = |over: &str| match partitioned {
        true => format!("greatest(count(*){over} - {MERGED}, 0)"),
        false => format!("count(*) FILTER (WHERE w.\"?new\"){over}"),
    };
    let returned = |source: &RowSource| -> Result<String> {
        let used: Vec<u32> = source.used.borrow().iter().copied().collect();
        let mut terms = Vec::new();
        for at in used {
            let name = quote_identifier(&source.columns[at as usize].0);
            terms.push(format!("{alias}.{name}"));
        }
        if tells_new && !partitioned {
            terms.push(format!("({alias}.xmax = 0) AS \"?new\""));
        }
        if terms.is_empty() {
            terms.push("1".to_owned());
        }
        Ok(format!("WITH w AS ({write} RETURNING {})", terms.join(", ")))
    };
    let mut status = Status::default();
    let Some(shape) = shape else {
        let mut terms = vec!["count(*)".to_owned()];
        let mut columns = vec![hidden("affected", Type::Int8)];
        status.affected = Some(0);
        if tells_new {
            status.inserted = Some(columns.len());
            terms.push(new(""));
            columns.push(hidden("inserted", Type::Int8));
        }
        for (at, sql) in key.iter().zip(&keys) {
            status.key.push((*at, columns.len()));
            terms.push(format!("(SELECT {sql} FROM w LIMIT 1)"));
            columns.push(hidden("key", Type::Text));
        }
        let sql = format!("{} SELECT {} FROM w", returned(&source)?, terms.join(", "));
        return Ok(r.finish(sql, columns, status));
    };
    if is_row_by_row(shape) {
        let rows = Rows {
            from: "w".to_owned(),
            conditions: Vec::new(),
            source: source.clone(),
        };
        let selected = r.level(shape, rows, TOUCHED)?;
        let (mut terms, mut columns) = r.outputs(selected.columns);
        if tells_new {
            status.inserted = Some(columns.len());
            terms.push(new(" OVER ()"));
            columns.push(hidden("inserted", Type::Int8));
        }
        for (at, sql) in key.iter().zip(keys) {
            status.key.push((*at, columns.len()));
            terms.push(sql);
            columns.push(hidden("key", Type::Text));
        }
        let sql = format!("{} SELECT {}{}", returned(&source)?, terms.join(", "), selected.tail);
        return Ok(r.finish(sql, columns, status));
    }
    let mut counts = vec![("count(*)".to_owned(), "affected")];
    status.affected = Some(0);
    if tells_new {
        status.inserted = Some(counts.len());
        counts.push((new(""), "inserted"));
    }
    for (at, sql) in key.iter().zip(keys) {
        status.key.push((*at, counts.len()));
        counts.push((format!("(SELECT {sql} FROM w LIMIT 1)"), "key"));
    }
    status.present = Some(counts.len());
    let answer = Answer {
        shape,
        clauses: TOUCHED,
        counts,
    };
    let (tail, columns) = r.beside("", &source, answer)?;
    Ok(r.finish(format!("{}{tail}", returned(&source)?), columns, status))
}

/// How many rows of a partitioned table were there already, of all that this transaction has merged into.
pub(super) const MERGED: &str = "coalesce(nullif(pg_catalog.current_setting('mainstay.merged', true), ''), '0')::int8";

/// Whether a relation's rows lie in partitions.
pub(super) fn is_partitioned(schema: &Schema, relation: RelationId) -> bool {
    let table = schema.relation(relation).table();
    table.is_some_and(|table| table.partition.is_some())
}

/// Whether the answer has just one row for each row touched.
fn is_row_by_row(shape: &QueryShape) -> bool {
    let inner = |item: &Item| matches!(item, Item::Embed(embed) if embed.inner);
    !shape.is_aggregate() && !shape.distinct && shape.document.is_none() && !shape.select.iter().any(inner)
}

fn is_one_row(action: &Action) -> bool {
    matches!(action, Action::Insert { rows, .. } if rows.len() == 1)
}

fn has_embeds(shape: &QueryShape) -> bool {
    shape.select.iter().any(|item| matches!(item, Item::Embed(_)))
}

fn hidden(name: &str, ty: Type) -> Output {
    Output {
        name: name.into(),
        ty,
        shown: false,
    }
}

impl<'a> Renderer<'a> {
    /// `SELECT counts, present, answer` over the member `w`: a row at least, whatever the answer has.
    fn beside(&mut self, with: &str, source: &Rc<RowSource>, answer: Answer<'a>) -> Result<(String, Vec<Output>)> {
        let rows = Rows {
            from: "w".to_owned(),
            conditions: Vec::new(),
            source: source.clone(),
        };
        let selected = self.level(answer.shape, rows, answer.clauses)?;
        let made = answer.shape.document.as_deref();
        let (terms, shown, tail) = match made {
            None => {
                let (terms, shown) = self.outputs(selected.columns);
                (terms, shown, selected.tail)
            }
            Some(document) => {
                let (terms, shown) = document::terms(self.schema, document);
                let (word, list) = (select_word(answer.shape), named(&selected.columns));
                let rows = format!("{word} {list}{}", selected.tail);
                (terms, shown, format!(" FROM ({rows}) AS {}", document::ROWS))
            }
        };
        let is_total = answer.counts.iter().all(|(_, name)| *name == "total");
        let mut columns = Vec::new();
        let mut counts = Vec::new();
        for (sql, name) in &answer.counts {
            counts.push(sql.clone());
            columns.push(match *name {
                "key" => hidden(name, Type::Text),
                name => hidden(name, Type::Int8),
            });
        }
        columns.push(hidden("present", Type::Bool));
        columns.extend(shown);
        let counted = format!("SELECT {}{}", numbered(&counts), if is_total { "" } else { " FROM w" });
        let list = numbered(&terms);
        let comma = if list.is_empty() { "" } else { ", " };
        let wanted: Vec<String> = (0..counts.len())
            .map(|at| format!("s.c{at}"))
            .chain(["r.present".to_owned()])
            .chain((0..terms.len()).map(|at| format!("r.c{at}")))
            .collect();
        // DISTINCT stands before the mark, which is the same in all rows.
        let word = if made.is_some() {
            "SELECT"
        } else {
            select_word(answer.shape)
        };
        let sql = format!(
            "{with} SELECT {} FROM ({counted}) AS s LEFT JOIN ({word} true AS present{comma}{list}{}) AS r ON true",
            wanted.join(", "),
            tail
        );
        Ok((sql, columns))
    }

    fn finish(self, sql: String, columns: Vec<Output>, status: Status) -> Compiled {
        Compiled {
            sql,
            slots: self.slots,
            columns,
            status: Some(status),
            count: None,
        }
    }
}
