//! How much memory queries hold, so that what is kept of them can be bounded in bytes: who asks chooses how long a query is.

use crate::{
    Aggregate, Call, Embed, EmbedJoin, Expr, ExprKind, FromItem, Item, OrderBy, QueryShape, RelationRef, Select,
    Source, Statement, Value,
};
use std::mem::size_of;

/// A shape that holds more is not worth keeping: nobody who asks for that much asks for it often, and making it anew costs less than
/// answering it.
const KEPT_BYTES_MAX: usize = 256 << 10;

impl QueryShape {
    /// Bytes it holds, about. What is compiled from it holds a few times as many.
    pub fn weight(&self) -> usize {
        let from = match &self.from {
            Source::Relation(relation) => of_relation(relation),
            Source::Call(call) => of_call(call),
        };
        let select: usize = self.select.iter().map(of_item).sum();
        let conditions = self.filter.iter().chain(&self.having).map(of_expr).sum::<usize>();
        size_of::<QueryShape>() + from + select + conditions + of_order(&self.order)
    }

    /// Whether it, and what is made of it, may be kept for the next time.
    pub fn is_worth_keeping(&self) -> bool {
        self.weight() <= KEPT_BYTES_MAX
    }
}

impl Expr {
    /// Bytes it holds, about.
    pub fn weight(&self) -> usize {
        of_expr(self)
    }
}

fn of_item(item: &Item) -> usize {
    size_of::<Item>()
        + match item {
            Item::Field(field) => field.name.len() + of_expr(&field.expr),
            Item::Embed(embed) => of_embed(embed),
        }
}

fn of_embed(embed: &Embed) -> usize {
    let junction = match &embed.join {
        EmbedJoin::Through { junction, .. } => of_relation(junction),
        EmbedJoin::Columns(_) | EmbedJoin::Computed(_) => 0,
    };
    embed.name.len() + junction + embed.query.weight()
}

fn of_call(call: &Call) -> usize {
    let body = call.body.iter().flat_map(|body| body.iter()).map(of_statement);
    call.args.iter().map(of_expr).sum::<usize>() + body.sum::<usize>()
}

fn of_relation(relation: &RelationRef) -> usize {
    relation.expansion.as_deref().map_or(0, of_select) + relation.security.as_deref().map_or(0, of_expr)
}

fn of_order(order: &[OrderBy]) -> usize {
    order.iter().map(|key| size_of::<OrderBy>() + of_expr(&key.expr)).sum()
}

fn of_expr(expr: &Expr) -> usize {
    let mut bytes = 0;
    expr.walk(&mut |e| {
        bytes += size_of::<Expr>()
            + match &e.kind {
                ExprKind::Literal(Value::Text(text)) => text.len(),
                ExprKind::Exists(select)
                | ExprKind::Scalar(select)
                | ExprKind::ArraySelect(select)
                | ExprKind::InSelect { select, .. } => of_select(select),
                ExprKind::Aggregate(_) => size_of::<Aggregate>(),
                _ => 0,
            };
    });
    bytes
}

fn of_select(select: &Select) -> usize {
    let Select {
        with,
        distinct: _,
        distinct_on,
        projection,
        from,
        filter,
        group_by,
        having,
        values,
        set_operation,
        order,
        limit,
        offset,
    } = select;
    let exprs = distinct_on.iter().chain(filter).chain(group_by).chain(having);
    let exprs = exprs.chain(values.iter().flatten()).chain(limit).chain(offset);
    size_of::<Select>()
        + with.iter().map(|member| of_statement(&member.statement)).sum::<usize>()
        + projection
            .iter()
            .map(|p| p.name.len() + of_expr(&p.expr))
            .sum::<usize>()
        + from.iter().map(of_from).sum::<usize>()
        + exprs.map(of_expr).sum::<usize>()
        + set_operation.as_ref().map_or(0, |(_, right)| of_select(right))
        + of_order(order)
}

fn of_from(item: &FromItem) -> usize {
    size_of::<FromItem>()
        + match item {
            FromItem::Relation { relation, .. } => of_relation(relation),
            FromItem::Subquery { select, .. } => of_select(select),
            FromItem::Function { args, .. } | FromItem::Series { args, .. } => args.iter().map(of_expr).sum(),
            FromItem::CommonTable { .. } => 0,
            FromItem::Join { left, right, on, .. } => of_from(left) + of_from(right) + on.as_ref().map_or(0, of_expr),
        }
}

/// What changes rows has the weight of its queries: bodies are the author's, and of a size that he chose.
fn of_statement(statement: &Statement) -> usize {
    size_of::<Statement>()
        + match statement {
            Statement::Select(select) => of_select(select),
            Statement::Insert(insert) => insert.source.as_ref().map_or(0, of_select),
            Statement::Update(update) => update.from.iter().map(of_from).sum(),
            Statement::Delete(delete) => delete.using.iter().map(of_from).sum(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Projected, RelationId};

    #[test]
    fn long_selections_weigh() {
        let item = |at: usize| {
            Item::Field(Projected {
                name: format!("a{at}").into(),
                expr: Expr::literal(Value::Int(1), crate::Type::Int8),
            })
        };
        let shape = |items: usize| QueryShape {
            select: (0..items).map(item).collect(),
            ..QueryShape::of(Source::Relation(RelationRef::new(RelationId(0))))
        };
        assert!(shape(100).is_worth_keeping());
        assert!(!shape(2000).is_worth_keeping());
        let nested = QueryShape {
            select: vec![Item::Embed(Embed {
                name: "inner".into(),
                join: EmbedJoin::Columns(Vec::new()),
                one: false,
                inner: false,
                spread: false,
                hidden: false,
                query: shape(50),
            })],
            ..shape(0)
        };
        assert!(nested.weight() > shape(50).weight());
    }
}
