//! Embeds within their parent's statement: what ties the related rows to the row they hang on, tests for any, and values of one.

use super::Bind;
use super::barrier::Barrier;
use super::query::LinkedRows;
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
        barrier: &mut Barrier,
    ) -> Result<String> {
        let junction_sql = match &embed.join {
            EmbedJoin::Columns(pairs) => {
                for (outer, related) in pairs {
                    barrier.tie(self.tie(parent, *outer, source, *related)?);
                }
                String::new()
            }
            EmbedJoin::Through {
                junction,
                outer,
                related,
            } => {
                let alias = self.alias();
                let (sql, junction) = self.relation(junction, &alias, false, true, barrier)?;
                let junction = Rc::new(junction);
                for (own, other) in outer {
                    barrier.tie(self.tie(parent, *own, &junction, *other)?);
                }
                for (own, other) in related {
                    barrier.tie(self.tie(&junction, *own, source, *other)?);
                }
                sql
            }
            EmbedJoin::Computed(_) => String::new(),
        };
        Ok(junction_sql)
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
        let (rows, ()) = self.in_embed(embed, parent, |_, _| Ok(()))?;
        Ok(format!("EXISTS (SELECT 1 FROM {rows})"))
    }

    /// The inner embeds of a shape, as conditions on its rows, each with whether it can fail.
    pub fn inner_embeds(&mut self, shape: &'a QueryShape, source: &Rc<RowSource>) -> Result<Vec<(String, bool)>> {
        let embeds = shape.select.iter().filter_map(|item| match item {
            Item::Embed(embed) if embed.inner => Some(embed),
            _ => None,
        });
        embeds
            .map(|embed| self.watched(|r| r.embed_exists(embed, source)))
            .collect()
    }

    /// Renders `inside`, which is told the rowid of a table, where the embed's row is SELF, beside its FROM with WHERE; leaves the scope
    /// as it was.
    fn in_embed<T>(
        &mut self,
        embed: &'a Embed,
        parent: &Rc<RowSource>,
        inside: impl FnOnce(&mut Self, Option<String>) -> Result<T>,
    ) -> Result<(String, T)> {
        let kept = std::mem::take(&mut self.scope);
        let result = self.deeper(|r| {
            let LinkedRows {
                from,
                mut barrier,
                source,
                rowid,
            } = r.linked_rows(&embed.query, Some((embed, parent)))?;
            r.scope.sources.insert(SourceId::SELF, source.clone());
            r.scope.embeds = Some(Embeds {
                shape: &embed.query,
                parent: source.clone(),
            });
            if let Some(filter) = &embed.query.filter {
                barrier.ask(r.parts(filter)?);
            }
            barrier.ask(r.inner_embeds(&embed.query, &source)?);
            let value = inside(r, rowid)?;
            Ok((format!("{}{}", barrier.close(&from), barrier.filter()), value))
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
        let (rows, term) = self.in_embed(embed, &embeds.parent, |r, _| r.expr(inner))?;
        Ok(Term {
            sql: format!("(SELECT {} FROM {rows} LIMIT 1)", term.sql),
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
            let (rows, (json, order)) = self.in_embed(embed, parent, |r, rowid| {
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
            let mut sql = format!("SELECT {json} AS x FROM {rows}{order}");
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
