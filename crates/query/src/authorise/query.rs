//! A read as a dialect asks it: every column that it touches is paid for by a privilege, every table brings its policies.

use super::Authoriser;
use super::statement::own_columns;
use mainstay_model::{Embed, EmbedJoin, Item, OrderBy, QueryShape, Result, Source, rewrite_expr};
use std::collections::BTreeSet;

impl Authoriser<'_> {
    /// A read as a dialect asks it.
    pub fn shape(&mut self, shape: &QueryShape) -> Result<QueryShape> {
        self.shape_with(shape, &BTreeSet::new())
    }

    /// `extra`: columns that the query around this one reads of it.
    pub(super) fn shape_with(&mut self, shape: &QueryShape, extra: &BTreeSet<u32>) -> Result<QueryShape> {
        self.shape_over(shape, extra, None)
    }

    /// A shape over rows that a call has already made: the rows are the function's to give, and nothing else is.
    pub(super) fn over_rows(&mut self, shape: &QueryShape) -> Result<QueryShape> {
        self.shape_over(shape, &BTreeSet::new(), Some(shape.from.clone()))
    }

    /// Sort keys.
    pub(super) fn ordered(&mut self, order: &[OrderBy]) -> Result<Vec<OrderBy>> {
        let key = |key: &OrderBy| {
            Ok(OrderBy {
                expr: rewrite_expr(&key.expr, self)?,
                ..*key
            })
        };
        order.iter().map(key).collect()
    }

    /// `given`: where the rows come from, if that has been seen to.
    fn shape_over(&mut self, shape: &QueryShape, extra: &BTreeSet<u32>, given: Option<Source>) -> Result<QueryShape> {
        let mut own = extra.clone();
        let mut embedded: Vec<BTreeSet<u32>> = Vec::new();
        let embeds: Vec<&Embed> = shape
            .select
            .iter()
            .filter_map(|i| if let Item::Embed(e) = i { Some(e) } else { None })
            .collect();
        embedded.resize(embeds.len(), BTreeSet::new());
        let exprs = shape
            .select
            .iter()
            .filter_map(|item| {
                if let Item::Field(field) = item {
                    Some(&field.expr)
                } else {
                    None
                }
            })
            .chain(&shape.filter)
            .chain(shape.order.iter().map(|o| &o.expr))
            .chain(&shape.having);
        for expr in exprs {
            own_columns(expr, &mut own, &mut embedded)?;
        }
        for embed in &embeds {
            match &embed.join {
                EmbedJoin::Columns(pairs) | EmbedJoin::Through { outer: pairs, .. } => {
                    own.extend(pairs.iter().map(|p| p.0))
                }
                EmbedJoin::Computed(_) => {}
            }
            // A computed relationship is handed this row.
            if let (EmbedJoin::Computed(_), Source::Call(call)) = (&embed.join, &embed.query.from) {
                for arg in &call.args {
                    own_columns(arg, &mut own, &mut [])?;
                }
            }
        }
        let from = match (given, &shape.from) {
            (Some(given), _) => given,
            (None, Source::Relation(relation)) => Source::Relation(self.readable(relation, &own)?),
            (None, Source::Call(call)) => Source::Call(self.call(call)?),
        };
        let mut select = Vec::with_capacity(shape.select.len());
        let mut embed_index = 0;
        for item in &shape.select {
            select.push(match item {
                Item::Field(field) => Item::Field(mainstay_model::Projected {
                    expr: rewrite_expr(&field.expr, self)?,
                    name: field.name.clone(),
                }),
                Item::Embed(embed) => {
                    let inner = std::mem::take(&mut embedded[embed_index]);
                    embed_index += 1;
                    Item::Embed(self.embed(embed, inner)?)
                }
            });
        }
        if shape.document.is_some() {
            return Err(mainstay_model::Error::unsupported(
                "this store makes no documents of rows",
            ));
        }
        Ok(QueryShape {
            document: None,
            from,
            select,
            filter: shape.filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
            order: self.ordered(&shape.order)?,
            distinct: shape.distinct,
            having: shape.having.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
            limit: shape.limit,
            offset: shape.offset,
            count: shape.count,
        })
    }

    /// An embed; `columns` of it are read by the query around it.
    pub(super) fn embed(&mut self, embed: &Embed, mut columns: BTreeSet<u32>) -> Result<Embed> {
        let join = match &embed.join {
            EmbedJoin::Columns(pairs) => {
                columns.extend(pairs.iter().map(|p| p.1));
                EmbedJoin::Columns(pairs.clone())
            }
            EmbedJoin::Through {
                junction,
                outer,
                related,
            } => {
                columns.extend(related.iter().map(|p| p.1));
                let between = outer.iter().map(|p| p.1).chain(related.iter().map(|p| p.0)).collect();
                EmbedJoin::Through {
                    junction: self.readable(junction, &between)?,
                    outer: outer.clone(),
                    related: related.clone(),
                }
            }
            EmbedJoin::Computed(function) => EmbedJoin::Computed(*function),
        };
        Ok(Embed {
            name: embed.name.clone(),
            join,
            one: embed.one,
            inner: embed.inner,
            spread: embed.spread,
            hidden: embed.hidden,
            query: self.shape_with(&embed.query, &columns)?,
        })
    }
}
