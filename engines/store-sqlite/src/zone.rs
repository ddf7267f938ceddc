//! The time zone that a request asks for: casts of its selection that would follow it are refused, because SQLite casts in UTC.

use mainstay_model::{Error, Expr, ExprKind, Item, QueryShape, Result, Type};

/// 0A000 for a cast of the selection, or of what is embedded in it, that another zone than UTC would decide.
pub(crate) fn check(shape: &QueryShape, zone: Option<&str>) -> Result<()> {
    match zone {
        Some(zone) if !zone.eq_ignore_ascii_case("utc") => selection(shape, zone),
        _ => Ok(()),
    }
}

fn selection(shape: &QueryShape, zone: &str) -> Result<()> {
    for item in &shape.select {
        match item {
            Item::Field(field) => value(&field.expr, zone)?,
            Item::Embed(embed) => selection(&embed.query, zone)?,
        }
    }
    Ok(())
}

fn value(expr: &Expr, zone: &str) -> Result<()> {
    match &expr.kind {
        ExprKind::Cast(inner) if follows(&inner.ty, &expr.ty) => Err(Error::unsupported(format!(
            "a cast from {} to {} in the time zone {zone} is not supported by SQLite",
            inner.ty, expr.ty
        ))
        .hint("Ask for the value itself, or leave the preference out: casts are in UTC.")),
        ExprKind::Cast(inner) => value(inner, zone),
        ExprKind::Aggregate(aggregate) => aggregate.args.iter().try_for_each(|arg| value(arg, zone)),
        _ => Ok(()),
    }
}

/// Whether a cast depends on the zone: it goes into or out of `timestamptz`.
fn follows(from: &Type, to: &Type) -> bool {
    let zoned = |ty: &Type| match ty {
        Type::Array(element) => **element == Type::TimestampTz,
        ty => *ty == Type::TimestampTz,
    };
    zoned(from) != zoned(to)
}
