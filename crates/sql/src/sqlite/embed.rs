//! Embeds within their parent's statement: what ties the related rows to the row they hang on, tests for any, and values of one.

use super::Bind;
use super::query::{LinkedRows, push_where};
use super::render::{Embeds, Renderer, RowSource, SourceColumn, Term};
use super::storage::Form;
use mainstay_model::{Embed, EmbedJoin, Error, Expr, Item, QueryShape, Result, SourceId, Type};
use std::rc::Rc;
use std::sync::Arc;

impl<'a> Renderer<'a> {
    /// What ties an embed's rows to the parent's row: a junction to read from (or nothing) and conditions.
    pub fn ties(
        &mut self,
        embed: &Embed,
        parent: &Rc<RowSource>,
        source: &Rc<RowSource>,
    ) -> Result<(String, Vec<String>)> {
        let mut conditions = Vec::new();
        let junction_sql = match &embed.join {
            EmbedJoin::Columns(pairs) => {
                for (outer, related) in pairs {
                    conditions.push(self.tie(parent, *outer, source, *related)?);
                }
                String::new()
            }
            EmbedJoin::Through {
                junction,
                outer,
                related,
            } => {
                let alias = self.alias();
                let mut security = Vec::new();
                let (sql, junction) = self.relation(junction, &alias, false, Some(&mut security))?;
                let junction = Rc::new(junction);
                for (own, other) in outer {
                    conditions.push(self.tie(parent, *own, &junction, *other)?);
                }
                for (own, other) in related {
                    conditions.push(self.tie(&junction, *own, source, *other)?);
                }
                conditions.append(&mut security);
                sql
            }
            EmbedJoin::Computed(_) => String::new(),
        };
        Ok((junction_sql, conditions))
    }

    /// Equality of a column of the outer row and one of the related row, without a function around the related one.
    fn tie(
        &mut self,
        outer: &Rc<RowSource>,
        outer_column: u32,
        related: &Rc<RowSource>,
        column: u32,
    ) -> Result<String> {
        let own = |rows: &Rc<RowSource>, at: u32| -> Result<SourceColumn> {
            rows.columns
                .get(at as usize)
                .cloned()
                .ok_or_else(|| Error::internal("a relationship names a column that is not there"))
        };
        let (left, right) = (own(outer, outer_column)?, own(related, column)?);
        let same = left.form == right.form && self.equal_key_is_itself(&left.ty) && self.equal_key_is_itself(&right.ty)
            || matches!((left.form, right.form), (Form::Scaled(a), Form::Scaled(b)) if a == b);
        let (l, r) = (self.column_of(outer, outer_column)?, self.column_of(related, column)?);
        if same {
            return Ok(format!("{} = {}", r.sql, l.sql));
        }
        let number = |term: Term, ty: &Type| {
            if ty.is_integer() {
                Term {
                    form: Form::Scaled(0),
                    digits: 19,
                    ..term
                }
            } else {
                term
            }
        };
        let (l, r) = self.equal_keys((number(l, &left.ty), &left.ty), (number(r, &right.ty), &right.ty))?;
        Ok(format!("{r} = {l}"))
    }

    /// Whether an embed has any row, as a condition on the parent's.
    pub fn embed_exists(&mut self, embed: &'a Embed, parent: &Rc<RowSource>) -> Result<String> {
        let (from, conditions) = self.embed_rows(embed, parent)?;
        let mut sql = format!("SELECT 1 FROM {from}");
        push_where(&mut sql, &conditions);
        Ok(format!("EXISTS ({sql})"))
    }

    /// The rows of an embed within the parent's own statement; leaves the scope as it was.
    fn embed_rows(&mut self, embed: &'a Embed, parent: &Rc<RowSource>) -> Result<(String, Vec<String>)> {
        self.in_embed(embed, parent, |_, _| Ok(()))
            .map(|(from, conditions, ())| (from, conditions))
    }

    /// Renders `inside`, which is told the rowid of a table, where the embed's row is SELF, beside its FROM and WHERE.
    fn in_embed<T>(
        &mut self,
        embed: &'a Embed,
        parent: &Rc<RowSource>,
        inside: impl FnOnce(&mut Self, Option<String>) -> Result<T>,
    ) -> Result<(String, Vec<String>, T)> {
        let kept = std::mem::take(&mut self.scope);
        let result = self.deeper(|r| {
            let LinkedRows {
                from,
                mut conditions,
                source,
                rowid,
            } = r.linked_rows(&embed.query, Some((embed, parent)))?;
            r.scope.sources.insert(SourceId::SELF, source.clone());
            r.scope.embeds = Some(Embeds {
                shape: &embed.query,
                parent: source.clone(),
            });
            if let Some(filter) = &embed.query.filter {
                conditions.push(r.condition(filter)?);
            }
            for item in &embed.query.select {
                if let Item::Embed(inner) = item
                    && inner.inner
                {
                    conditions.push(r.embed_exists(inner, &source)?);
                }
            }
            let value = inside(r, rowid)?;
            Ok((from, conditions, value))
        });
        self.scope = kept;
        result
    }

    /// [`ExprKind::Embedded`]
    pub fn embedded(&mut self, index: u16) -> Result<String> {
        let embeds = self
            .scope
            .embeds
            .clone()
            .ok_or_else(|| Error::internal("a test of an embed outside a query"))?;
        self.embed_exists(nth_embed(embeds.shape, index)?, &embeds.parent)
    }

    /// [`ExprKind::EmbeddedColumn`]
    pub fn embedded_column(&mut self, index: u16, inner: &Expr) -> Result<Term> {
        let embeds = self
            .scope
            .embeds
            .clone()
            .ok_or_else(|| Error::internal("an order by an embed outside a query"))?;
        let embed = nth_embed(embeds.shape, index)?;
        let (from, conditions, term) = self.in_embed(embed, &embeds.parent, |r, _| r.expr(inner))?;
        let mut sql = format!("SELECT {} FROM {from}", term.sql);
        push_where(&mut sql, &conditions);
        Ok(Term {
            sql: format!("({sql} LIMIT 1)"),
            atom: false,
            null: false,
            ..term
        })
    }

    /// A to-many embed whose fields join the outer row: each as a JSON array of all its values.
    pub fn spread_many(&mut self, embed: &'a Embed, parent: &Rc<RowSource>) -> Result<Vec<(Arc<str>, String)>> {
        let mut out = Vec::new();
        for item in &embed.query.select {
            let Item::Field(field) = item else {
                return Err(Error::unsupported(format!(
                    "an embed inside the spread of {}, which is to many, is not supported",
                    embed.name
                )));
            };
            let limit = (embed.query.limit, embed.query.offset);
            let (from, conditions, (json, order)) = self.in_embed(embed, parent, |r, rowid| {
                let term = r.expr(&field.expr)?;
                let json = r.to_json(term, &field.expr.ty)?;
                // Each field is an array of its own: the rowid makes the n-th elements of all belong to the same row.
                let order = match (r.order_by(&embed.query.order)?, rowid) {
                    (order, None) => order,
                    (order, Some(rowid)) if order.is_empty() => format!(" ORDER BY {rowid}"),
                    (order, Some(rowid)) => format!("{order}, {rowid}"),
                };
                Ok((json, order))
            })?;
            let mut sql = format!("SELECT {json} AS x FROM {from}");
            push_where(&mut sql, &conditions);
            sql.push_str(&order);
            if limit.0.is_some() || limit.1.is_some() {
                let count = match limit.0 {
                    Some(param) => self.bind(Bind::Limit(param))?,
                    None => "-1".to_owned(),
                };
                sql.push_str(&format!(" LIMIT {count}"));
                if let Some(param) = limit.1 {
                    sql.push_str(&format!(" OFFSET {}", self.bind(Bind::Offset(param))?));
                }
            }
            out.push((
                field.name.clone(),
                format!("(SELECT coalesce(mainstay_array_agg(x), '[]') FROM ({sql}))"),
            ));
        }
        Ok(out)
    }
}

/// The n-th embed of a shape.
fn nth_embed(shape: &QueryShape, index: u16) -> Result<&Embed> {
    shape
        .select
        .iter()
        .filter_map(|item| match item {
            Item::Embed(embed) => Some(embed),
            Item::Field(_) => None,
        })
        .nth(usize::from(index))
        .ok_or_else(|| Error::internal(format!("the query has no embed {index}")))
}
