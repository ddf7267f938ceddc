//! A query's shape as one SELECT per level of embedding.

use super::barrier::{Barrier, fence};
use super::from::temporary_columns;
use super::insertion_order;
use super::render::{Embeds, Renderer, RowSource, Scope};
use super::storage::Form;
use super::{Bind, CompiledQuery, Level, LevelItem, OutputColumn, Rendered, RowsFrom, rowid_name};
use mainstay_model::{
    Count, Embed, EmbedJoin, Error, Expr, Item, QueryShape, Result, Schema, Source, SourceId, Statement, Type,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles a read over its own source or over the rows given.
pub(super) fn compile(schema: &Schema, shape: &QueryShape, rows: Option<&RowsFrom>) -> Result<CompiledQuery> {
    let root = compile_level(schema, shape, None, rows)?.level;
    let count = match shape.count {
        Count::None => None,
        // SQLite keeps no statistics that would answer the estimate.
        Count::Exact | Count::Planned | Count::Estimated(_) => Some(compile_count(schema, shape, rows)?),
    };
    Ok(CompiledQuery { root, count })
}

/// A level, and what it wants of its parent's row: `Bind::Outer(n)` is the n-th.
struct CompiledLevel {
    level: Level,
    outer: Vec<(u32, Form)>,
}

/// How a level hangs on its parent.
struct Link<'a> {
    embed: &'a Embed,
    /// The parent's columns, as they are in its own statement.
    parent: Rc<RowSource>,
}

/// A level's FROM and which of its rows are asked for.
struct Rows {
    from: String,
    barrier: Barrier,
    source: Rc<RowSource>,
    /// The order in which the rows come by themselves, when it must be kept.
    natural_order: Option<String>,
    /// The rowid by which they come as they were inserted, when that costs nothing.
    insertion_order: Option<String>,
}

/// A source's rows, tied to the row they hang on.
pub(super) struct LinkedRows {
    pub from: String,
    pub barrier: Barrier,
    pub source: Rc<RowSource>,
    /// A table's rowid.
    pub rowid: Option<String>,
}

fn compile_level<'a>(
    schema: &'a Schema,
    shape: &'a QueryShape,
    link: Option<&Link<'a>>,
    rows: Option<&RowsFrom>,
) -> Result<CompiledLevel> {
    let mut r = Renderer::new(schema);
    let mut rows = r.level_rows(shape, link, rows)?;
    r.scope.embeds = Some(Embeds {
        shape,
        parent: rows.source.clone(),
    });
    let mut out = Output {
        terms: Vec::new(),
        columns: Vec::new(),
        shown: 0,
    };
    let mut items = Vec::new();
    let aggregate = shape.is_aggregate();
    let mut keys = Vec::new();
    for item in &shape.select {
        match item {
            Item::Field(field) => {
                let term = r.expr(&field.expr)?;
                if aggregate && !field.expr.has_aggregate() {
                    keys.push(r.equal_key(term.clone(), &field.expr.ty));
                }
                let form = term.form;
                let result = out.add(term.sql, field.name.clone(), field.expr.ty.clone(), form);
                items.push(LevelItem::Column {
                    result,
                    name: field.name.clone(),
                    ty: field.expr.ty.clone(),
                    form,
                });
            }
            Item::Embed(embed) if embed.spread && !embed.one && !embed.hidden => {
                for (name, sql) in r.spread_many(embed, &rows.source)? {
                    let result = out.add(sql, name.clone(), Type::Json, Form::Plain);
                    items.push(LevelItem::Column {
                        result,
                        name,
                        ty: Type::Json,
                        form: Form::Plain,
                    });
                }
            }
            Item::Embed(embed) if embed.hidden => {}
            Item::Embed(embed) => {
                let child = compile_level(
                    schema,
                    &embed.query,
                    Some(&Link {
                        embed,
                        parent: rows.source.clone(),
                    }),
                    None,
                )?;
                let mut level = child.level;
                let mut places = Vec::new();
                for (column, form) in child.outer {
                    let source = rows.source.columns.get(column as usize).cloned();
                    let source =
                        source.ok_or_else(|| Error::internal("an embed hangs on a column that is not there"))?;
                    let term = r.column_of(&rows.source, column)?;
                    if aggregate {
                        keys.push(r.equal_key(term.clone(), &source.ty));
                    }
                    let term = r.convert_typed(term, &source.ty, form)?;
                    places.push(out.add(term.sql, source.name, source.ty, form));
                }
                renumber(&mut level, &places);
                if embed.one {
                    let bare = embed.query.limit.is_none() && embed.query.offset.is_none();
                    level.select.sql.push_str(if bare { " LIMIT 1" } else { "" });
                }
                items.push(LevelItem::Embed {
                    name: embed.name.clone(),
                    one: embed.one,
                    spread: embed.spread,
                    level: Box::new(level),
                });
            }
        }
    }
    let by_rowid = rows.natural_order.is_some();
    let inner = r.inner_embeds(shape, &rows.source)?;
    if let Some(filter) = filter_of(shape, by_rowid) {
        rows.barrier.ask(r.parts(filter)?);
    }
    rows.barrier.ask(inner);
    let mut sql = format!(
        "SELECT {}{} FROM {}{}",
        if shape.distinct { "DISTINCT " } else { "" },
        if out.terms.is_empty() {
            "1".to_owned()
        } else {
            out.terms.join(", ")
        },
        rows.barrier.close(&rows.from),
        rows.barrier.filter()
    );
    if aggregate && !keys.is_empty() {
        sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
    }
    if let Some(having) = &shape.having {
        let having = rows.barrier.of_groups(r.watched(|r| r.condition(having))?);
        sql.push_str(&format!(" HAVING {having}"));
    }
    let order = r.order_by(&shape.order)?;
    match (rows.natural_order, rows.insertion_order) {
        (Some(natural), _) if order.is_empty() && !aggregate => sql.push_str(&natural),
        (None, Some(rowid)) if order.is_empty() && !aggregate && !shape.distinct => {
            sql.push_str(&format!(" ORDER BY {rowid}"));
        }
        _ => sql.push_str(&order),
    }
    // Rows given by rowid are those of the page already.
    let (limit, offset) = if by_rowid {
        (None, None)
    } else {
        (shape.limit, shape.offset)
    };
    let limit = match limit {
        Some(param) => format!(" LIMIT {}", r.bind(Bind::Limit(param))?),
        None if offset.is_some() => " LIMIT -1".to_owned(),
        None => String::new(),
    };
    sql.push_str(&limit);
    if let Some(param) = offset {
        sql.push_str(&format!(" OFFSET {}", r.bind(Bind::Offset(param))?));
    }
    Ok(CompiledLevel {
        level: Level {
            select: Rendered {
                sql,
                binds: r.binds,
                columns: out.columns,
            },
            items,
        },
        outer: r.outer,
    })
}

/// The filter that applies: rows given by rowid are what a write touched, and the shape's filter was the write's.
fn filter_of(shape: &QueryShape, by_rowid: bool) -> Option<&Expr> {
    if by_rowid { None } else { shape.filter.as_ref() }
}

/// The result columns of a level.
struct Output {
    terms: Vec<String>,
    columns: Vec<OutputColumn>,
    shown: u16,
}

impl Output {
    /// Adds a column, or finds the one that is the same.
    fn add(&mut self, sql: String, name: Arc<str>, ty: Type, form: Form) -> u16 {
        if let Some(at) = self.terms.iter().position(|t| *t == sql)
            && self.columns[at].form == form
            && self.columns[at].ty == ty
        {
            return at as u16;
        }
        self.terms.push(sql);
        self.columns.push(OutputColumn { name, ty, form });
        self.shown += 1;
        self.shown - 1
    }
}

/// Puts the parent's result columns where the child's statement has its own numbers for them.
fn renumber(level: &mut Level, places: &[u16]) {
    for bind in &mut level.select.binds {
        if let Bind::Outer(index) = bind
            && let Some(place) = places.get(usize::from(*index))
        {
            *bind = Bind::Outer(*place);
        }
    }
}

fn compile_count<'a>(schema: &'a Schema, shape: &'a QueryShape, rows: Option<&RowsFrom>) -> Result<Rendered> {
    let mut r = Renderer::new(schema);
    let aggregate = shape.is_aggregate();
    let mut level = r.level_rows(shape, None, rows)?;
    r.scope.embeds = Some(Embeds {
        shape,
        parent: level.source.clone(),
    });
    if let Some(filter) = filter_of(shape, level.natural_order.is_some()) {
        level.barrier.ask(r.parts(filter)?);
    }
    let inner = r.inner_embeds(shape, &level.source)?;
    level.barrier.ask(inner);
    let rows = format!("{}{}", level.barrier.close(&level.from), level.barrier.filter());
    let mut sql;
    if aggregate || shape.distinct {
        let (mut terms, mut keys) = (vec!["1".to_owned()], Vec::new());
        for item in &shape.select {
            if let Item::Field(field) = item {
                let term = r.expr(&field.expr)?;
                let key = r.equal_key(term, &field.expr.ty);
                if aggregate && !field.expr.has_aggregate() {
                    keys.push(key.clone());
                }
                terms.push(key);
            }
        }
        sql = format!(
            "SELECT {}{} FROM {rows}",
            if shape.distinct { "DISTINCT " } else { "" },
            terms.join(", "),
        );
        if !keys.is_empty() {
            sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        if let Some(having) = &shape.having {
            let having = level.barrier.of_groups(r.watched(|r| r.condition(having))?);
            sql.push_str(&format!(" HAVING {having}"));
        }
        sql = format!("SELECT count(*) FROM ({sql})");
    } else {
        sql = format!("SELECT count(*) FROM {rows}");
    }
    let columns = vec![OutputColumn {
        name: "count".into(),
        ty: Type::Int8,
        form: Form::Plain,
    }];
    Ok(Rendered {
        sql,
        binds: r.binds,
        columns,
    })
}

impl<'a> Renderer<'a> {
    /// The rows of a level: its source, linked to its parent, secured. The source comes into scope as SELF.
    fn level_rows(&mut self, shape: &QueryShape, link: Option<&Link<'a>>, rows: Option<&RowsFrom>) -> Result<Rows> {
        if let Some(rows) = rows {
            return self.given_rows(shape, rows);
        }
        let parent = link.map(|link| {
            // The parent's row is not in this statement: its columns become binds.
            Rc::new(RowSource {
                columns: link.parent.columns.clone(),
                nullable: false,
                outer: true,
            })
        });
        let embed = link.zip(parent.as_ref()).map(|(link, parent)| (link.embed, parent));
        let LinkedRows {
            from,
            barrier,
            source,
            rowid,
        } = self.linked_rows(shape, embed)?;
        self.scope.sources.insert(SourceId::SELF, source.clone());
        Ok(Rows {
            from,
            barrier,
            source,
            natural_order: None,
            insertion_order: rowid.filter(|_| self.insertion_is_free(shape, link.map(|link| link.embed))),
        })
    }

    /// Whether the order of insertion costs nothing ([`insertion_order`]).
    fn insertion_is_free(&self, shape: &QueryShape, embed: Option<&Embed>) -> bool {
        let Source::Relation(relation) = &shape.from else {
            return false;
        };
        let rowid = super::write::rowid_column(self.schema, relation.relation);
        let definition = self.schema.relation(relation.relation);
        let keys = match embed.map(|embed| &embed.join) {
            None => true,
            Some(EmbedJoin::Columns(pairs)) => pairs
                .iter()
                .all(|(_, key)| insertion_order::is_key_free(definition, rowid, *key)),
            Some(_) => false,
        };
        let conditions = shape.filter.iter().chain(relation.security.as_deref());
        keys && insertion_order::is_free(definition, rowid, conditions)
    }

    fn given_rows(&mut self, shape: &QueryShape, rows: &RowsFrom) -> Result<Rows> {
        let alias = self.alias();
        let mut barrier = Barrier::default();
        let (from, source, natural_order) = match rows {
            RowsFrom::TempTable(name, columns) => {
                let source = temporary_columns(columns, &alias);
                (
                    format!("temp.{} AS {alias}", super::quote_identifier(name)),
                    source,
                    None,
                )
            }
            RowsFrom::Rowid | RowsFrom::Rowids => {
                let Source::Relation(relation) = &shape.from else {
                    return Err(Error::internal("rows by rowid of what is no table"));
                };
                let definition = self.schema.relation(relation.relation);
                if definition.table().is_none() {
                    return Err(Error::unsupported(format!(
                        "view {} has no rows of its own",
                        definition.name
                    )));
                }
                let rowid = format!("{alias}.{}", rowid_name(definition));
                let (sql, source) = self.relation(relation, &alias, false, true, &mut barrier)?;
                if *rows == RowsFrom::Rowid {
                    let bind = self.bind(Bind::Rowid)?;
                    barrier.tie(format!("{rowid} = {bind}"));
                    (sql, source, Some(String::new()))
                } else {
                    let bind = self.bind(Bind::Rowids)?;
                    let each = self.alias();
                    // CROSS JOIN keeps SQLite from changing the order of the loops.
                    let from = format!("json_each({bind}) AS {each} CROSS JOIN {sql}");
                    barrier.tie(format!("{rowid} = {each}.value"));
                    (from, source, Some(format!(" ORDER BY {each}.key")))
                }
            }
        };
        let source = Rc::new(source);
        self.scope.sources.insert(SourceId::SELF, source.clone());
        Ok(Rows {
            from,
            barrier,
            source,
            natural_order,
            insertion_order: None,
        })
    }

    /// A shape's source with the condition that ties it to its parent's row.
    pub(super) fn linked_rows(
        &mut self,
        shape: &QueryShape,
        link: Option<(&Embed, &Rc<RowSource>)>,
    ) -> Result<LinkedRows> {
        let mut barrier = Barrier::default();
        let alias = self.alias();
        let mut rowid = None;
        let (mut from, source) = match &shape.from {
            Source::Relation(relation) => {
                let (sql, source) = self.relation(relation, &alias, false, true, &mut barrier)?;
                let definition = self.schema.relation(relation.relation);
                if relation.expansion.is_none() && definition.table().is_some() {
                    rowid = Some(format!("{alias}.{}", rowid_name(definition)));
                }
                let source = Rc::new(source);
                if let Some((embed, parent)) = link {
                    let junction = self.ties(embed, parent, &source, &mut barrier)?;
                    (
                        if junction.is_empty() {
                            sql
                        } else {
                            format!("{junction} JOIN {sql}")
                        },
                        source,
                    )
                } else {
                    (sql, source)
                }
            }
            Source::Call(call) => {
                let body = match &call.body {
                    Some(body) => body.as_slice(),
                    None => &self.schema.function(call.function).body,
                };
                let scope = Scope {
                    // The arguments of a computed relationship name the parent's row.
                    sources: link
                        .map(|(_, parent)| HashMap::from([(SourceId::SELF, parent.clone())]))
                        .unwrap_or_default(),
                    ..Scope::default()
                };
                let secured = self.secured;
                let kept = std::mem::replace(&mut self.scope, scope);
                let rendered = self.body_rows(call.function, body, &call.args);
                self.scope = kept;
                let rendered = rendered?;
                let source = self.derived_source(&rendered.columns, &alias, false);
                let mut sql = format!("({})", rendered.sql);
                if self.secured != secured || self.schema.function(call.function).security_definer {
                    barrier.hide();
                    sql = fence(&sql);
                }
                (format!("{sql} AS {alias}"), Rc::new(source))
            }
        };
        if from.is_empty() {
            from = "(SELECT 1)".to_owned();
        }
        Ok(LinkedRows {
            from,
            barrier,
            source,
            rowid,
        })
    }
}

/// Whether a function's result can be computed inside the query that reads it: one SELECT that changes nothing.
pub(super) fn is_one_select(schema: &Schema, call: &mainstay_model::Call) -> bool {
    let function = schema.function(call.function);
    let body = match &call.body {
        Some(body) => body.as_slice(),
        None => &function.body,
    };
    !function.writes && matches!(body, [Statement::Select(_)])
}
