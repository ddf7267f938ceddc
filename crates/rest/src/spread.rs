//! Spreads that hold aggregates: `select=id,...other(count())` groups the outer rows.

use crate::error;
use mainstay_model::{Aggregate, Embed, Error, Expr, ExprKind, Item, Projected, Type, Value};

/// Whether a spread in a row that is a group can show values of the group: then it is those that the rows are grouped by, and not
/// the key that they come from.
pub(crate) fn can_be_lifted(embed: &Embed) -> bool {
    let shows_values = |item: &Item| match item {
        Item::Field(_) => true,
        Item::Embed(inner) => inner.hidden || (inner.spread && inner.one && inner.query.select.iter().all(is_value)),
    };
    embed.one && !embed.hidden && embed.query.having.is_none() && embed.query.select.iter().all(shows_values)
}

fn is_value(item: &Item) -> bool {
    matches!(item, Item::Field(_))
}

/// Makes the values of a spread with aggregates the outer level's own, so that the aggregates are over its groups: the embed, its
/// `index`-th, stays for what it reads, and shows nothing. Error: PGRST127, of a spread that is to many.
pub(crate) fn lift(embed: &mut Embed, index: u16, outer: &mut Vec<Item>) -> Result<(), Error> {
    if !embed.one {
        return Err(error::not_implemented(
            "Aggregates are not implemented for one-to-many or many-to-many spreads.",
        ));
    }
    if embed.query.having.is_some() {
        return Err(error::not_implemented("'having' is not implemented inside a spread."));
    }
    let seen_from_outside = |expr: Expr| {
        let ty = expr.ty.clone();
        Expr::new(ExprKind::EmbeddedColumn(index, Box::new(expr)), ty)
    };
    let mut fields = Vec::new();
    let mut kept = Vec::new();
    let mut embeds = 0;
    for item in std::mem::take(&mut embed.query.select) {
        match item {
            Item::Field(field) => fields.push(field),
            Item::Embed(mut inner) => {
                if !inner.hidden {
                    if !(inner.spread && inner.one) {
                        return Err(error::not_implemented(
                            "Embedded rows are not implemented inside a spread with aggregates.",
                        ));
                    }
                    inner.hidden = true;
                    for item in &inner.query.select {
                        let Item::Field(field) = item else { continue };
                        let ty = field.expr.ty.clone();
                        let expr = Expr::new(ExprKind::EmbeddedColumn(embeds, Box::new(field.expr.clone())), ty);
                        fields.push(Projected {
                            expr,
                            name: field.name.clone(),
                        });
                    }
                }
                embeds += 1;
                kept.push(Item::Embed(inner));
            }
        }
    }
    for Projected { mut expr, name } in fields {
        let read = match aggregate_in(&mut expr) {
            Some(call) => {
                if call.args.is_empty() {
                    // Of rows, not of values: those are counted that there are.
                    call.args.push(Expr::literal(Value::Bool(true), Type::Bool));
                }
                let args = call.args.clone();
                call.args = args.iter().cloned().map(seen_from_outside).collect();
                args
            }
            None => {
                let value = expr.clone();
                expr = seen_from_outside(expr);
                vec![value]
            }
        };
        // What is read stays among the embed's own values: privileges and the cache go by them.
        kept.extend(read.into_iter().map(|expr| {
            Item::Field(Projected {
                expr,
                name: name.clone(),
            })
        }));
        outer.push(Item::Field(Projected { expr, name }));
    }
    embed.query.select = kept;
    embed.hidden = true;
    Ok(())
}

/// The aggregate that a selected value is, perhaps cast.
fn aggregate_in(expr: &mut Expr) -> Option<&mut Aggregate> {
    match &mut expr.kind {
        ExprKind::Aggregate(call) => Some(call),
        ExprKind::Cast(inner) => aggregate_in(inner),
        _ => None,
    }
}
