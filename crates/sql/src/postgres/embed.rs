//! Related rows within their outer row's statement. Those that are shown as JSON are subqueries among the values, which the database
//! computes for the rows of the page only; those whose values are wanted one by one are joined beside.

use super::SlotValue;
use super::query::{Clauses, Rows, Value, named, numbered};
use super::render::{Lateral, Level, Renderer, RowSource, Scope, nth_embed, where_clause};
use mainstay_model::{Embed, EmbedJoin, Error, Expr, Item, Result, Schema, Source, SourceId, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

impl<'a> Renderer<'a> {
    /// The rows of an embed, tied to the row that they hang on.
    fn linked(&mut self, embed: &'a Embed, outer: &Rc<RowSource>) -> Result<Rows> {
        let beside = Scope {
            sources: HashMap::from([(SourceId::SELF, outer.clone())]),
            ..Scope::default()
        };
        let Rows {
            mut from,
            mut conditions,
            source,
        } = self.scoped(beside, |r| r.source_rows(&embed.query.from))?;
        let mut ties = Vec::new();
        match &embed.join {
            EmbedJoin::Columns(pairs) => {
                for (own, related) in pairs {
                    ties.push(format!("{} = {}", source.column(*related)?, outer.column(*own)?));
                }
            }
            EmbedJoin::Through {
                junction,
                outer: to_outer,
                related,
            } => {
                let alias = self.alias();
                let rows = Rc::new(self.table_source(junction.relation, &alias));
                let mut on = Vec::new();
                for (own, other) in related {
                    on.push(format!("{} = {}", source.column(*other)?, rows.column(*own)?));
                }
                for (own, other) in to_outer {
                    ties.push(format!("{} = {}", rows.column(*other)?, outer.column(*own)?));
                }
                ties.extend(self.security(junction, &rows)?);
                let table = self.table(junction.relation);
                from.push_str(&format!(" JOIN {table} AS {alias} ON {}", on.join(" AND ")));
            }
            EmbedJoin::Computed(_) => {}
        }
        ties.append(&mut conditions);
        Ok(Rows {
            from,
            conditions: ties,
            source,
        })
    }

    /// An embed as JSON: an object or NULL, or an array.
    pub fn embed(&mut self, embed: &'a Embed) -> Result<String> {
        let outer = self.source(SourceId::SELF)?.clone();
        let rows = self.linked(embed, &outer)?;
        let selected = self.level(&embed.query, rows, Clauses::ALL)?;
        let word = super::query::select_word(&embed.query);
        let inner = format!("{word} {}{}", named(&selected.columns), selected.tail);
        let alias = self.alias();
        let one = match embed.one && !is_unique(self.schema, embed) {
            true => " LIMIT 1",
            false => "",
        };
        let objects = format!("SELECT row_to_json({alias}.*) FROM ({inner}) AS {alias}{one}");
        Ok(if embed.one {
            format!("({objects})")
        } else {
            // Not json_agg: it puts blanks and line breaks between the elements.
            format!("array_to_json(ARRAY({objects}))")
        })
    }

    /// The page of a related row: where nothing else sees to it that there is one at most, no more than that.
    fn page_of_one(&mut self, embed: &Embed) -> Result<String> {
        let shape = &embed.query;
        if is_unique(self.schema, embed) {
            return self.page(shape);
        }
        let Some(limit) = shape.limit else {
            return Ok(format!("{} LIMIT 1", self.page(shape)?));
        };
        let limit = self.slot(SlotValue::Param(limit), &Type::Int8)?;
        let offset = match shape.offset {
            Some(offset) => format!(" OFFSET {}", self.slot(SlotValue::Param(offset), &Type::Int8)?),
            None => String::new(),
        };
        Ok(format!(" LIMIT least({limit}, 1){offset}"))
    }

    /// Whether an embed has any row.
    pub fn embed_exists(&mut self, embed: &'a Embed, outer: &Rc<RowSource>) -> Result<String> {
        let rows = self.linked(embed, outer)?;
        let clauses = Clauses {
            items: false,
            filter: true,
            order: false,
            page: false,
        };
        let selected = self.level(&embed.query, rows, clauses)?;
        Ok(format!("EXISTS (SELECT 1{})", selected.tail))
    }

    /// The one row of the n-th embed, joined beside the row at hand.
    fn lateral(&mut self, index: u16) -> Result<Rc<Lateral<'a>>> {
        let level = self.current_level()?;
        if let Some(found) = level.laterals.borrow().iter().find(|l| l.index == index) {
            return Ok(found.clone());
        }
        let embed = nth_embed(level.shape, index)?;
        let rows = self.linked(embed, &level.source)?;
        let (scope, inner) = Self::level_scope(&embed.query, &rows.source);
        let lateral = Rc::new(Lateral {
            index,
            embed,
            alias: self.alias(),
            from: rows.from,
            ties: rows.conditions,
            scope,
            level: inner,
            columns: RefCell::default(),
        });
        level.laterals.borrow_mut().push(lateral.clone());
        Ok(lateral)
    }

    fn current_level(&self) -> Result<Rc<Level<'a>>> {
        self.scope
            .level
            .clone()
            .ok_or_else(|| Error::internal("a related value outside a query"))
    }

    /// A value of the n-th embed's row: [`mainstay_model::ExprKind::EmbeddedColumn`].
    pub fn embedded_column(&mut self, index: u16, inner: &Expr) -> Result<String> {
        let lateral = self.lateral(index)?;
        let sql = self.scoped(lateral.scope.clone(), |r| r.expr(inner))?;
        Ok(lateral.yields(sql))
    }

    /// The values of the one row of a spread.
    pub fn spread_one(&mut self, index: u16, embed: &'a Embed) -> Result<Vec<Value>> {
        let lateral = self.lateral(index)?;
        let values = self.scoped(lateral.scope.clone(), |r| r.values(&embed.query))?;
        Ok(values
            .into_iter()
            .map(|value| Value {
                sql: lateral.yields(value.sql),
                is_key: true,
                ..value
            })
            .collect())
    }

    /// The values of a spread that is to many: each as a JSON array, the n-th elements of all from the same row.
    pub fn spread_many(&mut self, embed: &'a Embed) -> Result<Vec<Value>> {
        let level = self.current_level()?;
        let rows = self.linked(embed, &level.source)?;
        let selected = self.level(&embed.query, rows, Clauses::ALL)?;
        let (inner, alias) = (self.alias(), self.alias());
        let word = super::query::select_word(&embed.query);
        let arrays: Vec<String> = (0..selected.columns.len())
            .map(|at| format!("coalesce(array_to_json(array_agg(to_json({inner}.c{at}))), '[]')"))
            .collect();
        level.beside.borrow_mut().push(format!(
            " LEFT JOIN LATERAL (SELECT {} FROM ({word} {}{}) AS {inner}) AS {alias} ON true",
            numbered(&arrays),
            numbered(selected.columns.iter().map(|c| &c.sql)),
            selected.tail
        ));
        Ok(selected
            .columns
            .into_iter()
            .enumerate()
            .map(|(at, value)| Value {
                sql: format!("{alias}.c{at}"),
                ty: Type::Json,
                ..value
            })
            .collect())
    }

    /// What follows FROM for the sake of related rows, when all else of the level is written. Rows without one of an inner embed are
    /// left out: by the join, or by a condition.
    pub fn joined(&mut self, level: &Rc<Level<'a>>, conditions: &mut Vec<String>) -> Result<String> {
        let mut sql = level.beside.borrow().concat();
        let laterals = level.laterals.borrow().clone();
        for lateral in &laterals {
            let shape = &lateral.embed.query;
            let (mut ties, mut tail, mut beside) = (lateral.ties.clone(), String::new(), String::new());
            self.scoped(lateral.scope.clone(), |r| {
                if let Some(filter) = &shape.filter {
                    ties.push(r.expr(filter)?);
                }
                tail = r.order_by(&shape.order)?;
                tail.push_str(&r.page_of_one(lateral.embed)?);
                beside = r.joined(&lateral.level, &mut ties)?;
                Ok(())
            })?;
            let word = if lateral.embed.inner { "JOIN" } else { "LEFT JOIN" };
            let columns = numbered(lateral.columns.borrow().iter());
            sql.push_str(&format!(
                " {word} LATERAL (SELECT {columns} FROM {}{beside}{}{tail}) AS {} ON true",
                lateral.from,
                where_clause(&ties),
                lateral.alias
            ));
        }
        let mut index = 0;
        for item in &level.shape.select {
            let Item::Embed(embed) = item else { continue };
            if embed.inner && !laterals.iter().any(|l| l.index == index) {
                conditions.push(self.embed_exists(embed, &level.source)?);
            }
            index += 1;
        }
        Ok(sql)
    }
}

impl Lateral<'_> {
    /// A value of the row, as it is called outside.
    fn yields(&self, sql: String) -> String {
        let mut columns = self.columns.borrow_mut();
        let at = columns.iter().position(|c| *c == sql).unwrap_or_else(|| {
            columns.push(sql);
            columns.len() - 1
        });
        format!("{}.c{at}", self.alias)
    }
}

/// Whether the related columns hold a key of a table, so that there is at most one row.
fn is_unique(schema: &Schema, embed: &Embed) -> bool {
    let (EmbedJoin::Columns(pairs), Source::Relation(relation)) = (&embed.join, &embed.query.from) else {
        return false;
    };
    let tied = |key: &[u32]| !key.is_empty() && key.iter().all(|c| pairs.iter().any(|(_, related)| related == c));
    schema
        .relation(relation.relation)
        .table()
        .is_some_and(|table| tied(&table.primary_key) || table.uniques.iter().any(|u| tied(&u.columns)))
}
