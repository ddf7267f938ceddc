//! The tables in the file against the tables in the schema: what is missing is added when a store is opened, anything else is refused
//! there with the difference, and done by [`crate::migrate`].

use crate::description::{self, Description};
use crate::duplicate;
use crate::open_error::{OpenError, OpenErrorKind};
use mainstay_model::{Relation, RelationId, Schema, Span};
use mainstay_sql::sqlite::{self, quote_identifier, table_name};
use rusqlite::Connection;
use std::path::Path;

/// A table that is not as it is meant to be.
pub(crate) struct Difference {
    /// Its name in the file.
    pub name: String,
    /// What it was made from; absent for one that is not there.
    pub had: Option<Description>,
    /// What becomes of it.
    pub change: Change,
}

/// What takes a table to what it is meant to be.
pub(crate) enum Change {
    /// Statements that touch no row, and none where only what is kept of it differs.
    InPlace {
        id: RelationId,
        wanted: Description,
        statements: Vec<String>,
    },
    /// More than that, part by part.
    Rebuild {
        id: RelationId,
        wanted: Description,
        differences: Vec<String>,
    },
    /// The schema has it no longer.
    Drop,
}

/// Every table of one store that is not as it is meant to be, in the schema's order, and before them those that are too many.
pub(crate) fn compare(
    conn: &Connection,
    schema: &Schema,
    store: &str,
    path: &Path,
) -> Result<Vec<Difference>, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::new(OpenErrorKind::Io, path, error.to_string(), "");
    let mut there = description::stored(conn).map_err(failed)?;
    let mut found = Vec::new();
    for (at, relation) in schema.relations.iter().enumerate() {
        if *relation.store != *store || relation.table().is_none() {
            continue;
        }
        let id = RelationId(at as u32);
        let name = table_name(schema, id);
        let wanted = description::describe(schema, id);
        let mut had = there.remove(&name);
        if let Some(had) = &mut had {
            description::recognise(had, schema, id);
        }
        if had.as_ref() == Some(&wanted) {
            continue;
        }
        let mut differences = Vec::new();
        let statements = match &had {
            None => sqlite::create_table(schema, id),
            Some(had) => additions(schema, id, had, &wanted, &mut differences),
        };
        let statements = statements.map_err(|error| unsupported(path, schema.relation(id), &error))?;
        let change = match differences.is_empty() {
            true => Change::InPlace { id, wanted, statements },
            false => Change::Rebuild {
                id,
                wanted,
                differences,
            },
        };
        found.push(Difference { name, had, change });
    }
    let dropped = there.into_iter().map(|(name, had)| Difference {
        name,
        had: Some(had),
        change: Change::Drop,
    });
    // First what goes: it may have the name of what comes, but for upper and lower case.
    Ok(dropped.chain(found).collect())
}

/// What was done to the tables of a store.
pub(crate) struct Reconciled {
    /// Every statement.
    pub ran: Vec<String>,
    /// The tables that were not there.
    pub made: Vec<RelationId>,
}

/// Creates and extends the tables of one store, in the open transaction.
pub(crate) fn reconcile(conn: &Connection, schema: &Schema, store: &str, path: &Path) -> Result<Reconciled, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::new(OpenErrorKind::Io, path, error.to_string(), "");
    let differences = compare(conn, schema, store, path)?;
    refuse(&differences, path)?;
    let mut ran = Vec::new();
    let mut made = Vec::new();
    for Difference { name, had, change } in differences {
        let Change::InPlace { id, wanted, statements } = change else {
            continue;
        };
        made.extend(had.is_none().then_some(id));
        for statement in statements {
            conn.execute_batch(&statement).map_err(|error| {
                let (message, hint) = match duplicate::found(conn, schema, id, &statement) {
                    Some(duplicate) => (duplicate, "Correct the rows, or undo the edit.".to_owned()),
                    None => (error.to_string(), format!("The statement was: {statement}")),
                };
                let message = format!("table \"{name}\": {message}");
                OpenError::new(OpenErrorKind::SchemaChanged, path, message, hint)
            })?;
            ran.push(statement);
        }
        description::store(conn, &name, &wanted).map_err(failed)?;
    }
    keep_words(conn, schema, store).map_err(failed)?;
    Ok(Reconciled { ran, made })
}

/// What an earlier version said in other words is kept in this one's.
fn keep_words(conn: &Connection, schema: &Schema, store: &str) -> rusqlite::Result<()> {
    let there = description::stored(conn)?;
    for (at, relation) in schema.relations.iter().enumerate() {
        if *relation.store != *store || relation.table().is_none() {
            continue;
        }
        let id = RelationId(at as u32);
        let (name, wanted) = (table_name(schema, id), description::describe(schema, id));
        if there.get(&name).is_some_and(|had| *had != wanted) {
            description::store(conn, &name, &wanted)?;
        }
    }
    Ok(())
}

/// Refuses what takes more than additions, with every difference.
fn refuse(differences: &[Difference], path: &Path) -> Result<(), OpenError> {
    let mut refused = Vec::new();
    for Difference { name, change, .. } in differences {
        match change {
            Change::InPlace { .. } => {}
            Change::Rebuild { differences, .. } => {
                refused.extend(
                    differences
                        .iter()
                        .map(|difference| format!("table \"{name}\", {difference}")),
                );
            }
            Change::Drop => refused.push(format!("table \"{name}\" is in the store and no longer in the schema")),
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(OpenError::new(
        OpenErrorKind::SchemaChanged,
        path,
        format!(
            "the schema was edited in ways that need tables to be made anew or dropped:\n  - {}",
            refused.join("\n  - ")
        ),
        "`mainstay migrate plan` shows what it takes, `mainstay migrate apply` does it; or undo the edit.",
    ))
}

fn unsupported(path: &Path, table: &Relation, error: &mainstay_model::Error) -> OpenError {
    let Span { file, line, column, .. } = &table.span;
    let place = match file.is_empty() {
        true => String::new(),
        false => format!("{file}:{line}:{column}: "),
    };
    let message = format!("{place}table \"{}\": {}", table.name, error.message);
    OpenError::new(
        OpenErrorKind::Unsupported,
        path,
        message,
        error.hint.clone().unwrap_or_default(),
    )
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
            (Some(now), None) => differences.push(format!("{part}: was {definition}, is {now}")),
            (None, None) => differences.push(format!("{part}: was {definition}, is gone")),
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
            Err(error) => differences.push(format!("{part}: is new, and {}", error.message)),
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
            differences.push(format!("{part}: is new, {definition}"));
        }
    }
    Ok(statements)
}
