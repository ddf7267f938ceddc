//! Rebuilding expressions and statements with some of their parts replaced: how authorisation adds security, how function
//! bodies are inlined, how parameters become values. One walk for all of them, so that no form is forgotten.

use crate::{
    Aggregate, CommonTable, Conflict, Delete, Expr, ExprKind, FromItem, Insert, OrderBy, Projected, RelationRef,
    Result, Select, SourceId, Statement, Update,
};

/// What is replaced. Every method has "nothing" as its default.
pub trait Rewrite {
    /// Replaces an expression before its parts are looked at; `None` goes on into its parts.
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let _ = expr;
        Ok(None)
    }

    /// Replaces a relation that rows are read from.
    fn relation(&mut self, relation: &RelationRef) -> Result<RelationRef> {
        Ok(relation.clone())
    }

    /// Replaces a row source; `None` goes on into its parts.
    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        let _ = item;
        Ok(None)
    }

    /// Renames a row source.
    fn source(&mut self, source: SourceId) -> SourceId {
        source
    }

    /// Renames a `WITH` member.
    fn common_table(&mut self, id: u32) -> u32 {
        id
    }

    /// Finishes an INSERT whose parts have been rewritten.
    fn insert(&mut self, insert: Insert) -> Result<Insert> {
        Ok(insert)
    }

    /// Finishes an UPDATE whose parts have been rewritten.
    fn update(&mut self, update: Update) -> Result<Update> {
        Ok(update)
    }

    /// Finishes a DELETE whose parts have been rewritten.
    fn delete(&mut self, delete: Delete) -> Result<Delete> {
        Ok(delete)
    }
}

/// Rewrites an expression.
pub fn rewrite_expr(expr: &Expr, with: &mut dyn Rewrite) -> Result<Expr> {
    if let Some(replaced) = with.expr(expr)? {
        return Ok(replaced);
    }
    let boxed = |e: &Expr, with: &mut dyn Rewrite| Ok::<_, crate::Error>(Box::new(rewrite_expr(e, with)?));
    let kind = match &expr.kind {
        ExprKind::Literal(_)
        | ExprKind::Param(_)
        | ExprKind::Claim(_)
        | ExprKind::Embedded(_)
        | ExprKind::Opaque { .. } => expr.kind.clone(),
        ExprKind::Column(column) => {
            let mut column = *column;
            column.source = with.source(column.source);
            ExprKind::Column(column)
        }
        ExprKind::WholeRow(source) => ExprKind::WholeRow(with.source(*source)),
        ExprKind::Not(inner) => ExprKind::Not(boxed(inner, with)?),
        ExprKind::Cast(inner) => ExprKind::Cast(boxed(inner, with)?),
        ExprKind::Represented(cast, inner) => ExprKind::Represented(cast.clone(), boxed(inner, with)?),
        ExprKind::EmbeddedColumn(n, inner) => ExprKind::EmbeddedColumn(*n, boxed(inner, with)?),
        ExprKind::And(list) => ExprKind::And(exprs(list, with)?),
        ExprKind::Or(list) => ExprKind::Or(exprs(list, with)?),
        ExprKind::Operator(operator, list) => ExprKind::Operator(*operator, exprs(list, with)?),
        ExprKind::Call(function, list) => ExprKind::Call(*function, exprs(list, with)?),
        ExprKind::UserCall(function, list) => ExprKind::UserCall(*function, exprs(list, with)?),
        ExprKind::Array(list) => ExprKind::Array(exprs(list, with)?),
        ExprKind::Is { operand, test, negated } => ExprKind::Is {
            operand: boxed(operand, with)?,
            test: *test,
            negated: *negated,
        },
        ExprKind::In { operand, list, negated } => ExprKind::In {
            operand: boxed(operand, with)?,
            list: exprs(list, with)?,
            negated: *negated,
        },
        ExprKind::Quantified {
            operator,
            all,
            operand,
            array,
        } => ExprKind::Quantified {
            operator: *operator,
            all: *all,
            operand: boxed(operand, with)?,
            array: boxed(array, with)?,
        },
        ExprKind::InSelect {
            operands,
            select,
            negated,
        } => ExprKind::InSelect {
            operands: exprs(operands, with)?,
            select: Box::new(rewrite_select(select, with)?),
            negated: *negated,
        },
        ExprKind::Exists(select) => ExprKind::Exists(Box::new(rewrite_select(select, with)?)),
        ExprKind::Scalar(select) => ExprKind::Scalar(Box::new(rewrite_select(select, with)?)),
        ExprKind::ArraySelect(select) => ExprKind::ArraySelect(Box::new(rewrite_select(select, with)?)),
        ExprKind::Case { whens, otherwise } => ExprKind::Case {
            whens: whens
                .iter()
                .map(|(when, then)| Ok((rewrite_expr(when, with)?, rewrite_expr(then, with)?)))
                .collect::<Result<_>>()?,
            otherwise: otherwise.as_ref().map(|e| boxed(e, with)).transpose()?,
        },
        ExprKind::Aggregate(aggregate) => ExprKind::Aggregate(Box::new(Aggregate {
            function: aggregate.function,
            args: exprs(&aggregate.args, with)?,
            distinct: aggregate.distinct,
            filter: aggregate.filter.as_ref().map(|e| rewrite_expr(e, with)).transpose()?,
            order: order(&aggregate.order, with)?,
        })),
    };
    Ok(Expr {
        kind,
        ty: expr.ty.clone(),
    })
}

fn exprs(list: &[Expr], with: &mut dyn Rewrite) -> Result<Vec<Expr>> {
    list.iter().map(|e| rewrite_expr(e, with)).collect()
}

fn optional(expr: &Option<Expr>, with: &mut dyn Rewrite) -> Result<Option<Expr>> {
    expr.as_ref().map(|e| rewrite_expr(e, with)).transpose()
}

fn order(keys: &[OrderBy], with: &mut dyn Rewrite) -> Result<Vec<OrderBy>> {
    keys.iter()
        .map(|key| {
            Ok(OrderBy {
                expr: rewrite_expr(&key.expr, with)?,
                ..*key
            })
        })
        .collect()
}

fn projected(list: &[Projected], with: &mut dyn Rewrite) -> Result<Vec<Projected>> {
    list.iter()
        .map(|p| {
            Ok(Projected {
                expr: rewrite_expr(&p.expr, with)?,
                name: p.name.clone(),
            })
        })
        .collect()
}

fn common_tables(list: &[CommonTable], with: &mut dyn Rewrite) -> Result<Vec<CommonTable>> {
    list.iter()
        .map(|table| {
            Ok(CommonTable {
                id: with.common_table(table.id),
                name: table.name.clone(),
                columns: table.columns.clone(),
                statement: rewrite_statement(&table.statement, with)?,
                recursive: table.recursive,
            })
        })
        .collect()
}

fn set(list: &[(u32, Expr)], with: &mut dyn Rewrite) -> Result<Vec<(u32, Expr)>> {
    list.iter()
        .map(|(column, e)| Ok((*column, rewrite_expr(e, with)?)))
        .collect()
}

/// Rewrites a query.
pub fn rewrite_select(select: &Select, with: &mut dyn Rewrite) -> Result<Select> {
    Ok(Select {
        with: common_tables(&select.with, with)?,
        distinct: select.distinct,
        distinct_on: exprs(&select.distinct_on, with)?,
        projection: projected(&select.projection, with)?,
        from: select
            .from
            .iter()
            .map(|item| rewrite_from(item, with))
            .collect::<Result<_>>()?,
        filter: optional(&select.filter, with)?,
        group_by: exprs(&select.group_by, with)?,
        having: optional(&select.having, with)?,
        values: select
            .values
            .iter()
            .map(|row| exprs(row, with))
            .collect::<Result<_>>()?,
        set_operation: match &select.set_operation {
            Some((operation, right)) => Some((*operation, Box::new(rewrite_select(right, with)?))),
            None => None,
        },
        order: order(&select.order, with)?,
        limit: optional(&select.limit, with)?,
        offset: optional(&select.offset, with)?,
    })
}

/// Rewrites a row source.
pub fn rewrite_from(item: &FromItem, with: &mut dyn Rewrite) -> Result<FromItem> {
    if let Some(replaced) = with.from_item(item)? {
        return Ok(replaced);
    }
    Ok(match item {
        FromItem::Relation { relation, source } => FromItem::Relation {
            relation: with.relation(relation)?,
            source: with.source(*source),
        },
        FromItem::Subquery {
            select,
            source,
            lateral,
        } => FromItem::Subquery {
            select: Box::new(rewrite_select(select, with)?),
            source: with.source(*source),
            lateral: *lateral,
        },
        FromItem::CommonTable { id, source } => FromItem::CommonTable {
            id: with.common_table(*id),
            source: with.source(*source),
        },
        FromItem::Function { function, args, source } => FromItem::Function {
            function: *function,
            args: exprs(args, with)?,
            source: with.source(*source),
        },
        FromItem::Series {
            series,
            args,
            columns,
            source,
        } => FromItem::Series {
            series: *series,
            args: exprs(args, with)?,
            columns: columns.clone(),
            source: with.source(*source),
        },
        FromItem::Join { kind, left, right, on } => FromItem::Join {
            kind: *kind,
            left: Box::new(rewrite_from(left, with)?),
            right: Box::new(rewrite_from(right, with)?),
            on: optional(on, with)?,
        },
    })
}

/// Rewrites a statement. A written relation is handed to the finishing methods, not to [`Rewrite::relation`].
pub fn rewrite_statement(statement: &Statement, with: &mut dyn Rewrite) -> Result<Statement> {
    Ok(match statement {
        Statement::Select(select) => Statement::Select(Box::new(rewrite_select(select, with)?)),
        Statement::Insert(insert) => {
            let rewritten = Insert {
                with: common_tables(&insert.with, with)?,
                relation: insert.relation.clone(),
                columns: insert.columns.clone(),
                source: insert.source.as_ref().map(|s| rewrite_select(s, with)).transpose()?,
                conflict: match &insert.conflict {
                    Some(conflict) => Some(Conflict {
                        target: conflict.target.clone(),
                        set: set(&conflict.set, with)?,
                        filter: optional(&conflict.filter, with)?,
                    }),
                    None => None,
                },
                check: insert.check.clone(),
                updated: insert.updated.clone(),
                returning: projected(&insert.returning, with)?,
            };
            Statement::Insert(Box::new(with.insert(rewritten)?))
        }
        Statement::Update(update) => {
            let rewritten = Update {
                with: common_tables(&update.with, with)?,
                relation: update.relation.clone(),
                set: set(&update.set, with)?,
                from: update
                    .from
                    .iter()
                    .map(|item| rewrite_from(item, with))
                    .collect::<Result<_>>()?,
                filter: optional(&update.filter, with)?,
                check: update.check.clone(),
                returning: projected(&update.returning, with)?,
            };
            Statement::Update(Box::new(with.update(rewritten)?))
        }
        Statement::Delete(delete) => {
            let rewritten = Delete {
                with: common_tables(&delete.with, with)?,
                relation: delete.relation.clone(),
                using: delete
                    .using
                    .iter()
                    .map(|item| rewrite_from(item, with))
                    .collect::<Result<_>>()?,
                filter: optional(&delete.filter, with)?,
                returning: projected(&delete.returning, with)?,
            };
            Statement::Delete(Box::new(with.delete(rewritten)?))
        }
    })
}
