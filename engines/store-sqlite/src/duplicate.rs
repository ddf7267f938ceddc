//! Rows that a new unique key does not let stand beside one another, for whoever declared it.

use mainstay_model::{ExprKind, Relation, RelationId, Schema};
use mainstay_sql::sqlite::{self, Stored, column_form, decode, quote_identifier, table_name};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::borrow::Cow;

/// Why a statement that makes a unique index failed: the key that the first row shares with another. `None` where it is none, or
/// where no such rows are found.
pub(crate) fn found(conn: &Connection, schema: &Schema, id: RelationId, statement: &str) -> Option<String> {
    if !statement.starts_with("CREATE UNIQUE INDEX ") {
        return None;
    }
    let relation = schema.relation(id);
    let is_of = |name: &str| statement.starts_with(&format!("CREATE UNIQUE INDEX {} ", quote_identifier(name)));
    let (name, columns) = key(schema, relation, &is_of)?;
    let quoted: Vec<String> = columns
        .iter()
        .map(|c| quote_identifier(&relation.columns[*c as usize].name))
        .collect();
    let filter = match statement.rsplit_once(") WHERE ") {
        Some((_, filter)) => format!(" AND ({filter})"),
        None => String::new(),
    };
    let sql = format!(
        "SELECT {0} FROM {1} WHERE {2} IS NOT NULL{filter} GROUP BY {0} HAVING count(*) > 1 ORDER BY min({3}) LIMIT 1",
        quoted.join(", "),
        quote_identifier(&table_name(schema, id)),
        quoted.join(" IS NOT NULL AND "),
        sqlite::rowid_name(relation),
    );
    let values = conn
        .query_row(&sql, [], |row| Ok(texts(row, relation, &columns)))
        .ok()?;
    let names: Vec<&str> = columns.iter().map(|c| &*relation.columns[*c as usize].name).collect();
    Some(format!(
        "\"{name}\" cannot be unique: key ({})=({}) is there more than once",
        names.join(", "),
        values?.join(", ")
    ))
}

/// The name and columns of the key that is meant, unless it has expressions.
fn key(schema: &Schema, relation: &Relation, is_of: &dyn Fn(&str) -> bool) -> Option<(String, Vec<u32>)> {
    let table = relation.table()?;
    if let Some(index) = table
        .indexes
        .iter()
        .find(|index| is_of(&sqlite::index_name(schema, relation, index)))
    {
        let column = |key: &mainstay_model::OrderBy| match &key.expr.kind {
            ExprKind::Column(column) => Some(column.column),
            _ => None,
        };
        return Some((
            index.name.to_string(),
            index.keys.iter().map(column).collect::<Option<_>>()?,
        ));
    }
    let in_file = |name: &str| match schema.namespaces.first() {
        Some(first) if *first != relation.namespace => format!("{}.{name}", relation.namespace),
        _ => name.to_owned(),
    };
    let unique = table.uniques.iter().find(|unique| is_of(&in_file(&unique.name)))?;
    Some((unique.name.to_string(), unique.columns.clone()))
}

/// A row's values as PostgreSQL writes them.
fn texts(row: &Row<'_>, relation: &Relation, columns: &[u32]) -> Option<Vec<String>> {
    let text = |(at, column): (usize, &u32)| {
        let ty = &relation.columns[*column as usize].ty;
        let stored = match row.get_ref(at).ok()? {
            ValueRef::Null => Stored::Null,
            ValueRef::Integer(value) => Stored::Integer(value),
            ValueRef::Real(value) => Stored::Real(value),
            ValueRef::Text(text) => Stored::Text(Cow::Owned(String::from_utf8_lossy(text).into_owned())),
            ValueRef::Blob(bytes) => Stored::Blob(Cow::Owned(bytes.to_vec())),
        };
        Some(decode(stored, ty, column_form(ty)).ok()?.to_text(ty))
    };
    columns.iter().enumerate().map(text).collect()
}
