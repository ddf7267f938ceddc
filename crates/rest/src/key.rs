//! Keys: the columns by which rows are told apart, in paths, in the filters of a PUT, in upserts and in `Location`.

use crate::bind::Binder;
use crate::filter::{Condition, Test, Tree};
use crate::level::Level;
use crate::prefer::Resolution;
use crate::{PREFIX, error, types};
use http::HeaderValue;
use mainstay_model::{Error, Expr, ExprKind, Operator, RelationId, Schema, StepOutcome, Value};
use std::borrow::Cow;

/// The condition that a row has the key in the path. Errors: MS404 for relations without such keys, 22P02 for what is none.
pub(crate) fn key_equals(
    binder: &mut Binder<'_>,
    schema: &Schema,
    relation: RelationId,
    id: &str,
) -> Result<Expr, Error> {
    let table = schema.relation(relation);
    let column = single_key(schema, relation)?;
    let ty = &table.columns[column as usize].ty;
    binder.equals(column, ty, id)
}

/// The one column that addresses a row: the primary key's; of a view, that of the table whose key it shows.
pub(crate) fn single_key(schema: &Schema, relation: RelationId) -> Result<u32, Error> {
    let table = schema.relation(relation);
    let found: Option<u32> = match table.view() {
        None => match table.primary_key() {
            [only] => Some(*only),
            [] => None,
            _ => return Err(error::no_item_path(&table.name, "its primary key has several columns")),
        },
        Some(view) => view
            .origins
            .iter()
            .position(|origin| {
                let base = view.updatable.or(origin.map(|(id, _)| id));
                origin.is_some_and(|(id, column)| Some(id) == base && *schema.relation(id).primary_key() == [column])
            })
            .map(|i| i as u32),
    };
    found.ok_or_else(|| error::no_item_path(&table.name, "it has no primary key"))
}

/// The columns that decide whether a row exists: `on_conflict`, else the primary key. Errors: 42703, 42P10.
pub(crate) fn conflict_target(
    schema: &Schema,
    relation: RelationId,
    asked: Option<Vec<Cow<'_, str>>>,
    resolution: Option<Resolution>,
) -> Result<Option<Vec<u32>>, Error> {
    let table = schema.relation(relation);
    let Some(asked) = asked else {
        return Ok(Some(schema.key_of(relation)).filter(|key| !key.is_empty()));
    };
    let column = |name: &Cow<'_, str>| {
        table
            .column(name)
            .ok_or_else(|| error::unknown_column(&table.name, name))
    };
    let target = asked.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    if resolution.is_some() && !is_unique(schema, relation, &target) {
        return Err(Error::new(
            "42P10",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ));
    }
    Ok(Some(target))
}

/// The primary key that the filters of a PUT spell out, all of it and nothing else. Errors: PGRST105.
pub(crate) fn of_filters(schema: &Schema, relation: RelationId, root: &Level<'_>) -> Result<Vec<(u32, Value)>, Error> {
    let table = schema.relation(relation);
    let mut found: Vec<(u32, Value)> = Vec::new();
    for tree in &root.filters {
        let Tree::Condition(Condition {
            field,
            aggregate: None,
            negated: false,
            test:
                Test::Operator {
                    operator: Operator::Eq,
                    quantifier: None,
                    value,
                    ..
                },
        }) = tree
        else {
            return Err(error::put_filters());
        };
        let column = table
            .column(&field.name)
            .filter(|_| field.path.is_empty())
            .ok_or_else(error::put_filters)?;
        if found.iter().any(|(other, _)| *other == column) {
            return Err(error::put_filters());
        }
        found.push((
            column,
            types::operand(value, &table.columns[column as usize].ty, schema)?.0,
        ));
    }
    let key = schema.key_of(relation);
    if key.is_empty() || found.len() != key.len() || !found.iter().all(|(column, _)| key.contains(column)) {
        return Err(error::put_filters());
    }
    Ok(found)
}

/// Whether two values of a key are the same.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    a == b || a.sql_cmp(b) == Some(std::cmp::Ordering::Equal)
}

/// Whether the table keeps rows apart by these columns. A view is left to the engine.
fn is_unique(schema: &Schema, relation: RelationId, target: &[u32]) -> bool {
    let Some(table) = schema.relation(relation).table() else {
        return true;
    };
    let same = |columns: &[u32]| columns.len() == target.len() && columns.iter().all(|c| target.contains(c));
    let plain = |keys: &[mainstay_model::OrderBy]| -> Vec<u32> {
        keys.iter()
            .map(|key| match &key.expr.kind {
                ExprKind::Column(column) => column.column,
                _ => u32::MAX,
            })
            .collect()
    };
    same(&table.primary_key)
        || table.uniques.iter().any(|unique| same(&unique.columns))
        || table
            .indexes
            .iter()
            .any(|index| index.unique && index.filter.is_none() && same(&plain(&index.keys)))
}

/// The address of the one row that was written, as a filter on its key.
pub(crate) fn location(schema: &Schema, relation: RelationId, outcome: &StepOutcome) -> Option<HeaderValue> {
    if outcome.affected != 1 || outcome.key.is_empty() {
        return None;
    }
    let table = schema.relation(relation);
    let mut url = format!("{PREFIX}/{}", encode_component(&table.name));
    for (i, column) in schema.key_of(relation).into_iter().enumerate() {
        let name = &table.columns.get(column as usize)?.name;
        url.push(if i == 0 { '?' } else { '&' });
        url.push_str(&encode_component(name));
        // A view may have no row of one of its tables.
        match outcome.key.iter().find(|(known, _)| *known == column) {
            Some((_, text)) => url.push_str(&format!("=eq.{}", encode_component(text))),
            None => url.push_str("=is.null"),
        }
    }
    HeaderValue::try_from(url).ok()
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn encode_component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
