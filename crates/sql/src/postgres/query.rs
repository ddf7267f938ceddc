//! A query's shape as one SELECT, its related rows inside it.

use super::count;
use super::document;
use super::name::{is_binary, quote_identifier};
use super::render::{Level, Renderer, RowSource, Scope, where_clause};
use super::{Compiled, Options, Output, SlotValue};
use mainstay_model::{Embed, EmbedJoin, Item, QueryShape, Result, Schema, Source, SourceId, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles a read over its own source.
pub(super) fn compile(schema: &Schema, shape: &QueryShape, options: Options) -> Result<Compiled> {
    let mut r = Renderer::new(schema, options);
    let rows = r.source_rows(&shape.from)?;
    let selected = r.level(shape, rows, Clauses::ALL)?;
    let (sql, columns) = r.answer(shape, selected);
    Ok(Compiled {
        sql,
        slots: r.slots,
        columns,
        status: None,
        count: count::compile(schema, shape, options)?,
    })
}

pub(super) fn select_word(shape: &QueryShape) -> &'static str {
    if shape.distinct { "SELECT DISTINCT" } else { "SELECT" }
}

/// FROM, conditions, and what the rows look like.
pub(super) struct Rows {
    pub from: String,
    pub conditions: Vec<String>,
    pub source: Rc<RowSource>,
}

/// A value of a level.
pub(super) struct Value {
    pub name: Arc<str>,
    pub sql: String,
    pub ty: Type,
    /// Among aggregates: whether it is a key of the groups. An embed is not, but what it hangs on is.
    pub is_key: bool,
}

/// A level, rendered.
pub(super) struct Selected {
    pub columns: Vec<Value>,
    /// FROM and everything behind it.
    pub tail: String,
}

/// Which parts of a shape count.
#[derive(Clone, Copy)]
pub(super) struct Clauses {
    pub items: bool,
    pub filter: bool,
    pub order: bool,
    pub page: bool,
}

impl Clauses {
    pub const ALL: Clauses = Clauses {
        items: true,
        filter: true,
        order: true,
        page: true,
    };
}

impl<'a> Renderer<'a> {
    /// The rows of a source that hangs on nothing.
    pub fn source_rows(&mut self, from: &'a Source) -> Result<Rows> {
        let alias = self.alias();
        match from {
            Source::Relation(relation) => {
                let source = Rc::new(self.table_source(relation.relation, &alias));
                let conditions = self.security(relation, &source)?.into_iter().collect();
                let from = format!("{} AS {alias}", self.table(relation.relation));
                Ok(Rows {
                    from,
                    conditions,
                    source,
                })
            }
            Source::Call(call) => {
                let (from, source) = self.function_rows(call.function, &call.args, &alias)?;
                Ok(Rows {
                    from,
                    conditions: Vec::new(),
                    source: Rc::new(source),
                })
            }
        }
    }

    /// A scope in which a level's row is the row at hand.
    pub fn level_scope(shape: &'a QueryShape, source: &Rc<RowSource>) -> (Scope<'a>, Rc<Level<'a>>) {
        let level = Rc::new(Level {
            shape,
            source: source.clone(),
            laterals: RefCell::default(),
            beside: RefCell::default(),
        });
        let scope = Scope {
            sources: HashMap::from([(SourceId::SELF, source.clone())]),
            common: HashMap::new(),
            level: Some(level.clone()),
        };
        (scope, level)
    }

    /// The SELECT of one level: its values, and FROM with all that follows.
    pub fn level(&mut self, shape: &'a QueryShape, rows: Rows, clauses: Clauses) -> Result<Selected> {
        let (scope, level) = Self::level_scope(shape, &rows.source);
        let selected = self.scoped(scope, |r| {
            r.deeper(|r| {
                let aggregate = shape.is_aggregate();
                let columns = if clauses.items { r.values(shape)? } else { Vec::new() };
                let mut conditions = rows.conditions;
                if let Some(filter) = shape.filter.as_ref().filter(|_| clauses.filter) {
                    conditions.push(r.expr(filter)?);
                }
                let mut tail = String::new();
                if aggregate && clauses.items {
                    tail.push_str(&r.group_by(shape, &columns)?);
                }
                if let Some(having) = shape.having.as_ref().filter(|_| clauses.items) {
                    tail.push_str(&format!(" HAVING {}", r.expr(having)?));
                }
                if clauses.order {
                    tail.push_str(&r.order_by(&shape.order)?);
                }
                if clauses.page {
                    tail.push_str(&r.page(shape)?);
                }
                let beside = r.joined(&level, &mut conditions)?;
                let from = rows.from;
                Ok(Selected {
                    columns,
                    tail: format!(" FROM {from}{beside}{}{tail}", where_clause(&conditions)),
                })
            })
        })?;
        Ok(selected)
    }

    /// A level as the SELECT of an answer, its rows or what the database makes of them.
    pub fn answer(&self, shape: &QueryShape, selected: Selected) -> (String, Vec<Output>) {
        let word = select_word(shape);
        let Some(document) = &shape.document else {
            let (terms, columns) = self.outputs(selected.columns);
            return (format!("{word} {}{}", terms.join(", "), selected.tail), columns);
        };
        let (terms, columns) = document::terms(self.schema, document);
        let rows = format!("{word} {}{}", named(&selected.columns), selected.tail);
        let sql = format!("SELECT {} FROM ({rows}) AS {}", terms.join(", "), document::ROWS);
        (sql, columns)
    }

    /// ` LIMIT …`, ` OFFSET …`; NULL is none.
    pub fn page(&mut self, shape: &QueryShape) -> Result<String> {
        let mut sql = String::new();
        if let Some(limit) = shape.limit {
            sql.push_str(&format!(" LIMIT {}", self.slot(SlotValue::Param(limit), &Type::Int8)?));
        }
        if let Some(offset) = shape.offset {
            sql.push_str(&format!(
                " OFFSET {}",
                self.slot(SlotValue::Param(offset), &Type::Int8)?
            ));
        }
        Ok(sql)
    }

    /// What the rows at hand show, in order.
    pub fn values(&mut self, shape: &'a QueryShape) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        let mut index = 0;
        for item in &shape.select {
            match item {
                Item::Field(field) => values.push(Value {
                    name: field.name.clone(),
                    sql: self.expr(&field.expr)?,
                    ty: field.expr.ty.clone(),
                    is_key: !field.expr.has_aggregate(),
                }),
                Item::Embed(embed) => {
                    index += 1;
                    match embed {
                        embed if embed.hidden => {}
                        embed if embed.spread && embed.one => values.extend(self.spread_one(index - 1, embed)?),
                        embed if embed.spread => values.extend(self.spread_many(embed)?),
                        embed => values.push(Value {
                            name: embed.name.clone(),
                            sql: self.embed(embed)?,
                            ty: Type::Json,
                            is_key: false,
                        }),
                    }
                }
            }
        }
        Ok(values)
    }

    /// ` GROUP BY …`: every value that is no aggregate, and what embeds hang on.
    fn group_by(&mut self, shape: &QueryShape, columns: &[Value]) -> Result<String> {
        let mut keys: Vec<String> = Vec::new();
        let mut add = |key: String| {
            if !keys.contains(&key) {
                keys.push(key);
            }
        };
        for column in columns.iter().filter(|column| column.is_key) {
            add(column.sql.clone());
        }
        let source = self.source(SourceId::SELF)?.clone();
        for item in &shape.select {
            let Item::Embed(Embed {
                join, hidden: false, ..
            }) = item
            else {
                continue;
            };
            let outer = match join {
                EmbedJoin::Columns(pairs) => pairs,
                EmbedJoin::Through { outer, .. } => outer,
                EmbedJoin::Computed(_) => continue,
            };
            for (own, _) in outer {
                add(source.column(*own)?);
            }
        }
        Ok(if keys.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {}", keys.join(", "))
        })
    }

    /// Values as the columns of a result: what has no binary form becomes JSON or text.
    pub fn outputs(&self, values: Vec<Value>) -> (Vec<String>, Vec<Output>) {
        values
            .into_iter()
            .map(|Value { name, sql, ty, .. }| {
                let (sql, ty) = self.output(sql, ty);
                (sql, Output { name, ty, shown: true })
            })
            .unzip()
    }

    fn output(&self, sql: String, ty: Type) -> (String, Type) {
        let json = |sql: String| {
            if self.options.strips_nulls {
                format!("json_strip_nulls({sql})")
            } else {
                sql
            }
        };
        match ty {
            Type::Json => (json(sql), Type::Json),
            Type::Jsonb if self.options.strips_nulls => (format!("jsonb_strip_nulls({sql})"), Type::Jsonb),
            ty if is_decodable(&ty) => (sql, ty),
            _ if self.options.texts => (format!("({sql})::text"), Type::Text),
            Type::Unknown => (format!("({sql})::text"), Type::Text),
            _ => (json(format!("to_json({sql})")), Type::Json),
        }
    }
}

/// Whether a result of a type can be read: an enum's binary form is its label.
fn is_decodable(ty: &Type) -> bool {
    match ty {
        Type::Enum(_) => true,
        Type::Array(element) => is_decodable(element),
        ty => is_binary(ty),
    }
}

/// Values under their names.
pub(super) fn named(values: &[Value]) -> String {
    values
        .iter()
        .map(|v| format!("{} AS {}", v.sql, quote_identifier(&v.name)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Values under `c0`, `c1` ….
pub(super) fn numbered<'v>(terms: impl IntoIterator<Item = &'v String>) -> String {
    terms
        .into_iter()
        .enumerate()
        .map(|(at, sql)| format!("{sql} AS c{at}"))
        .collect::<Vec<_>>()
        .join(", ")
}
