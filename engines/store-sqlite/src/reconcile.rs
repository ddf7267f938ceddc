//! The tables in the file against the tables in the schema: what is missing is added, anything else is refused with the difference.
//! What each table was made from is kept in `_mainstay_meta`, in words, so that the difference can be told precisely.

use crate::open_error::{OpenError, OpenErrorKind};
use mainstay_model::{Column, Index, ReferentialAction, RelationId, Schema, Type};
use mainstay_sql::sqlite::{self, quote_identifier, table_name};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;

/// Key prefix of tables in `_mainstay_meta`.
const PREFIX: &str = "table:";

/// A table in words: part → definition. Parts are `column x`, `primary key`, `unique x`, `foreign key x`, `check x`, `index x`.
type Description = BTreeMap<String, String>;

/// Creates and extends the tables of one store, in the open transaction.
pub(crate) fn reconcile(conn: &Connection, schema: &Schema, store: &str, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::new(OpenErrorKind::Io, path, error.to_string(), "");
    let mut there = stored(conn).map_err(failed)?;
    let mut differences = Vec::new();
    for (at, relation) in schema.relations.iter().enumerate() {
        if *relation.store != *store || relation.table().is_none() {
            continue;
        }
        let id = RelationId(at as u32);
        let name = table_name(schema, id);
        let wanted = describe(schema, id);
        let statements = match there.remove(&name) {
            None => sqlite::create_table(schema, id).map_err(|error| unsupported(path, &name, &error)),
            Some(had) => {
                additions(schema, id, &had, &wanted, &mut differences).map_err(|error| unsupported(path, &name, &error))
            }
        }?;
        for statement in statements {
            conn.execute_batch(&statement).map_err(|error| {
                OpenError::new(
                    OpenErrorKind::SchemaChanged,
                    path,
                    format!("table \"{name}\": {error}"),
                    format!("The statement was: {statement}"),
                )
            })?;
        }
        conn.execute(
            "INSERT INTO _mainstay_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [format!("{PREFIX}{name}"), write(&wanted)],
        )
        .map_err(failed)?;
    }
    differences.extend(
        there
            .keys()
            .map(|name| format!("table \"{name}\" is in the store and no longer in the schema")),
    );
    if differences.is_empty() {
        return Ok(());
    }
    Err(OpenError::new(
        OpenErrorKind::SchemaChanged,
        path,
        format!(
            "the schema was edited in ways that may lose data:\n  - {}",
            differences.join("\n  - ")
        ),
        "Undo the edit. `mainstay migrate`, which will do it, is not there yet: whoever can spare the data moves the file away and begins anew.",
    ))
}

fn unsupported(path: &Path, table: &str, error: &mainstay_model::Error) -> OpenError {
    let message = format!("table \"{table}\": {}", error.message);
    OpenError::new(
        OpenErrorKind::Unsupported,
        path,
        message,
        error.hint.clone().unwrap_or_default(),
    )
}

fn stored(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Description>> {
    let mut statement = conn.prepare("SELECT key, value FROM _mainstay_meta WHERE key LIKE 'table:%'")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(key, value)| (key[PREFIX.len()..].to_owned(), read(&value))))
        .collect()
}

/// The statements that turn what was there into what is wanted, where additions do; the rest goes to `differences`.
fn additions(
    schema: &Schema,
    id: RelationId,
    had: &Description,
    wanted: &Description,
    differences: &mut Vec<String>,
) -> mainstay_model::Result<Vec<String>> {
    let relation = schema.relation(id);
    let table = &relation.name;
    let mut statements = Vec::new();
    let in_file = |name: &str| match schema.namespaces.first() {
        Some(first) if *first != relation.namespace => format!("{}.{name}", relation.namespace),
        _ => name.to_owned(),
    };
    let index = |name: &str| {
        relation
            .table()
            .and_then(|t| t.indexes.iter().find(|i| *i.name == *name))
    };
    for (part, definition) in had {
        match (wanted.get(part), part.strip_prefix("index ")) {
            (Some(now), _) if now == definition => {}
            // An index holds nothing that the table does not.
            (_, Some(name)) => statements.push(format!("DROP INDEX IF EXISTS {}", quote_identifier(&in_file(name)))),
            (Some(now), None) => differences.push(format!("table \"{table}\", {part}: was {definition}, is {now}")),
            (None, None) => differences.push(format!("table \"{table}\", {part}: was {definition}, is gone")),
        }
    }
    // In the schema's order, so that columns are added in theirs.
    for (at, column) in relation.columns.iter().enumerate() {
        let part = format!("column {}", column.name);
        if had.contains_key(&part) {
            continue;
        }
        match sqlite::add_column(schema, id, at as u32) {
            Ok(statement) => statements.push(statement),
            Err(error) => differences.push(format!("table \"{table}\", {part}: is new, and {}", error.message)),
        }
    }
    for (part, definition) in wanted {
        if had.get(part) == Some(definition) || part.starts_with("column ") {
            continue;
        }
        if let Some(index) = part.strip_prefix("index ").and_then(index) {
            statements.extend(sqlite::create_index(schema, id, index)?);
        } else if had.contains_key(part) {
            continue;
        } else if let Some(unique) = part
            .strip_prefix("unique ")
            .and_then(|name| {
                relation
                    .table()
                    .and_then(|t| t.uniques.iter().find(|u| *u.name == *name))
            })
            .filter(|u| !u.nulls_not_distinct)
        {
            let columns: Vec<String> = unique
                .columns
                .iter()
                .map(|c| quote_identifier(&relation.columns[*c as usize].name))
                .collect();
            statements.push(format!(
                "CREATE UNIQUE INDEX {} ON {} ({})",
                quote_identifier(&in_file(&unique.name)),
                quote_identifier(&table_name(schema, id)),
                columns.join(", ")
            ));
        } else {
            differences.push(format!("table \"{table}\", {part}: is new, {definition}"));
        }
    }
    Ok(statements)
}

fn describe(schema: &Schema, id: RelationId) -> Description {
    let relation = schema.relation(id);
    let mut parts = Description::new();
    let names = |id: RelationId, columns: &[u32]| {
        let columns: Vec<&str> = columns
            .iter()
            .map(|c| &*schema.relation(id).columns[*c as usize].name)
            .collect();
        format!("({})", columns.join(", "))
    };
    for column in &relation.columns {
        parts.insert(format!("column {}", column.name), describe_column(schema, column));
    }
    let Some(table) = relation.table() else { return parts };
    if !table.primary_key.is_empty() {
        parts.insert("primary key".to_owned(), names(id, &table.primary_key));
    }
    for unique in &table.uniques {
        let nulls = if unique.nulls_not_distinct {
            " nulls not distinct"
        } else {
            ""
        };
        parts.insert(format!("unique {}", unique.name), names(id, &unique.columns) + nulls);
    }
    for key in &table.foreign_keys {
        let mut text = format!(
            "{} references {}{}",
            names(id, &key.columns),
            table_name(schema, key.target),
            names(key.target, &key.target_columns)
        );
        for (when, action) in [("delete", key.on_delete), ("update", key.on_update)] {
            let action = match action {
                ReferentialAction::NoAction => continue,
                ReferentialAction::Restrict => "restrict",
                ReferentialAction::Cascade => "cascade",
                ReferentialAction::SetNull => "set null",
                ReferentialAction::SetDefault => "set default",
            };
            text.push_str(&format!(" on {when} {action}"));
        }
        if key.deferred {
            text.push_str(" deferred");
        }
        parts.insert(format!("foreign key {}", key.name), text);
    }
    for check in &table.checks {
        parts.insert(
            format!("check {}", check.name),
            format!("condition {}", digest(&format!("{:?}", check.expr))),
        );
    }
    for index in &table.indexes {
        parts.insert(format!("index {}", index.name), describe_index(schema, id, index));
    }
    // One line each, as they are kept.
    parts
        .values_mut()
        .for_each(|text| *text = text.replace(['\n', '\t'], " "));
    parts
}

fn describe_index(schema: &Schema, id: RelationId, index: &Index) -> String {
    // What cannot be created is refused when it is tried.
    match sqlite::create_index(schema, id, index) {
        Ok(Some(statement)) => statement,
        Ok(None) => format!("using {}, which has no counterpart here", index.method),
        Err(error) => error.message.clone(),
    }
}

fn describe_column(schema: &Schema, column: &Column) -> String {
    let mut text = column.ty.to_string();
    if let Type::Enum(name) = &column.ty
        && let Some(labels) = schema.enums.get(name)
    {
        let labels: Vec<&str> = labels.iter().map(|l| &**l).collect();
        text.push_str(&format!(" ('{}')", labels.join("', '")));
    }
    if column.not_null {
        text.push_str(" not null");
    }
    if column.identity.is_some() {
        text.push_str(" identity");
    }
    match (&column.default, &column.default_text) {
        (Some(_), Some(words)) => text.push_str(&format!(" default {words}")),
        (Some(expr), None) => text.push_str(&format!(" default {}", digest(&format!("{expr:?}")))),
        (None, _) => {}
    }
    if let Some(generated) = &column.generated {
        text.push_str(&format!(" generated {}", digest(&format!("{generated:?}"))));
    }
    text
}

/// FNV-1a: tells one definition from another, no more.
fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("#{hash:016x}")
}

fn write(description: &Description) -> String {
    description
        .iter()
        .map(|(part, definition)| format!("{part}\t{definition}\n"))
        .collect()
}

fn read(text: &str) -> Description {
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(part, definition)| (part.to_owned(), definition.to_owned()))
        .collect()
}
