//! Loads the rows that tables begin with, in the transaction that creates them.

use crate::bind::Prepared;
use crate::config::{Config, Seed};
use crate::constraint::{Attempt, Inquiry, no_operation};
use crate::context;
use crate::open;
use crate::open_error::{OpenError, OpenErrorKind};
use crate::statement::deferred_violations;
use mainstay_model::{
    Column, Error, Identity, IdentityColumn, Relation, RelationId, RelationRef, Result, Schema, Type, Value, time,
};
use mainstay_sql::sqlite::{self, quote_identifier, table_name};
use rusqlite::Connection;
use std::collections::HashSet;
use std::rc::Rc;

/// Loads the rows of the tables that were just made, and sets the sequences that begin with them.
pub(crate) fn load(
    conn: &Rc<Connection>,
    schema: &Schema,
    config: &Config,
    seeds: &[Seed],
    made: &[RelationId],
) -> Result<(), OpenError> {
    if made.is_empty() {
        return Ok(());
    }
    let failed = |message: String| {
        let help = "Correct the data; nothing was changed.";
        OpenError::new(OpenErrorKind::Seed, &config.path, message, help)
    };
    let said = |error: rusqlite::Error| failed(error.to_string());
    let counted = counted(conn).map_err(said)?;
    let wanted: Vec<&Seed> = seeds.iter().filter(|seed| made.contains(&seed.relation)).collect();
    if !wanted.is_empty() {
        context::begin_write(time::now());
        context::set_sequences(open::sequences(conn, schema).map_err(said)?);
        let loaded = rows(conn, schema, &config.name, &wanted);
        let saved = save_sequences(conn);
        context::take_emitted();
        loaded.map_err(failed)?;
        saved.map_err(said)?;
    }
    for id in made {
        advance_sequences(conn, schema, *id).map_err(said)?;
    }
    for (name, next) in &config.sequences {
        let begins = match owner(schema, name) {
            Some(id) => made.contains(&id),
            None => !counted.contains(name),
        };
        if begins {
            set_sequence(conn, schema, name, *next).map_err(said)?;
        }
    }
    Ok(())
}

/// The sequences that are counted in the file.
fn counted(conn: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut statement = conn.prepare("SELECT name FROM _mainstay_sequence")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The table whose column numbers itself by this sequence.
fn owner(schema: &Schema, name: &str) -> Option<RelationId> {
    let owns = |relation: &Relation| {
        let numbered = |c: &Column| sqlite::numbers_itself(c) && format!("{}_{}_seq", relation.name, c.name) == name;
        relation.columns.iter().any(numbered)
    };
    let at = schema.relations.iter().position(owns)?;
    Some(RelationId(at as u32))
}

/// Writes down where the sequences of this thread have got to.
pub(crate) fn save_sequences(conn: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO _mainstay_sequence (name, next) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET next = excluded.next";
    for (name, next) in context::changed_sequences() {
        conn.execute(sql, rusqlite::params![name, next])?;
    }
    Ok(())
}

/// Loads all seeds. Foreign keys are looked at when all rows are there, so their order does not matter.
fn rows(conn: &Rc<Connection>, schema: &Schema, store: &str, seeds: &[&Seed]) -> Result<(), String> {
    conn.execute_batch("PRAGMA defer_foreign_keys = ON")
        .map_err(|e| e.to_string())?;
    // Seeds carry the values of GENERATED ALWAYS columns too, as COPY does.
    let mut open_schema = schema.clone();
    for relation in &mut open_schema.relations {
        for column in &mut relation.columns {
            column.identity = column.identity.map(|_| IdentityColumn::ByDefault);
        }
    }
    for seed in seeds {
        table(conn, &open_schema, store, seed)?;
    }
    match deferred_violations(conn) {
        true => Err(dangling(conn, schema)),
        false => Ok(()),
    }
}

fn table(conn: &Rc<Connection>, schema: &Schema, store: &str, seed: &Seed) -> Result<(), String> {
    let relation = schema.relation(seed.relation);
    let place = |row: usize| format!("{}, row {} of table \"{}\"", seed.origin, row + 1, relation.name);
    if *relation.store != *store {
        return Err(format!(
            "{}: table \"{}\" is in another store",
            seed.origin, relation.name
        ));
    }
    let types: Vec<&Type> = seed.columns.iter().map(|c| &relation.columns[*c as usize].ty).collect();
    let target = RelationRef::new(seed.relation);
    let given = vec![false; seed.columns.len()];
    let plan = sqlite::compile_insert(schema, &target, &seed.columns, &given, None, None, None)
        .map_err(|error| format!("{}: table \"{}\": {}", seed.origin, relation.name, error.message))?;
    let mut insert = Prepared::new(conn, &plan.insert).map_err(|error| error.message.clone())?;
    let nobody = Identity::service();
    let base = no_operation(&nobody);
    for (at, texts) in seed.rows.iter().enumerate() {
        if texts.len() != seed.columns.len() {
            return Err(format!(
                "{}: {} values for {} columns",
                place(at),
                texts.len(),
                seed.columns.len()
            ));
        }
        let mut values = Vec::with_capacity(texts.len());
        for ((text, ty), column) in texts.iter().zip(&types).zip(&seed.columns) {
            let value = match text {
                None => Value::Null,
                Some(text) => Value::parse(text, ty).and_then(|v| v.fit(ty)).map_err(|error| {
                    format!(
                        "{}, column \"{}\": {}",
                        place(at),
                        relation.columns[*column as usize].name,
                        said(&error)
                    )
                })?,
            };
            values.push(value);
        }
        let env = base.with_cells(&values, &types);
        let run = insert.bind(&env, None).and_then(|()| {
            insert.statement.run().map_err(|failure| {
                let inquiry = Inquiry {
                    conn,
                    schema,
                    store,
                    env: &env,
                };
                let given = seed.columns.iter().copied().zip(&values).collect();
                inquiry.error(
                    &failure,
                    &Attempt::Insert {
                        relation: seed.relation,
                        given,
                        check: None,
                    },
                    &[],
                )
            })
        });
        run.map_err(|error| format!("{}: {}", place(at), said(&error)))?;
    }
    Ok(())
}

pub(crate) fn said(error: &Error) -> String {
    match &error.details {
        Some(details) => format!("{} ({details})", error.message),
        None => error.message.clone(),
    }
}

/// Names the rows whose foreign keys lead nowhere.
pub(crate) fn dangling(conn: &Connection, schema: &Schema) -> String {
    let mut lines = Vec::new();
    let mut look = || -> rusqlite::Result<()> {
        let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if lines.len() == 5 {
                lines.push("and more".to_owned());
                break;
            }
            let (table, rowid, target): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let row_text = rowid
                .and_then(|rowid| describe_row(conn, schema, &table, rowid))
                .unwrap_or_default();
            lines.push(format!(
                "table \"{table}\"{row_text} refers to a row of \"{target}\" that is not there"
            ));
        }
        Ok(())
    };
    match look() {
        Ok(()) => lines.join("; "),
        Err(error) => error.to_string(),
    }
}

fn describe_row(conn: &Connection, schema: &Schema, table: &str, rowid: i64) -> Option<String> {
    let at = (0..schema.relations.len())
        .find(|at| schema.relations[*at].table().is_some() && table_name(schema, RelationId(*at as u32)) == table)?;
    let relation = &schema.relations[at];
    let key: Vec<String> = relation
        .primary_key()
        .iter()
        .map(|c| quote_identifier(&relation.columns[*c as usize].name))
        .collect();
    if key.is_empty() {
        return Some(format!(", row {rowid},"));
    }
    let sql = format!(
        "SELECT concat_ws(', ', {}) FROM {} WHERE {} = ?1",
        key.join(", "),
        quote_identifier(table),
        sqlite::rowid_name(relation)
    );
    let text: String = conn.query_row(&sql, [rowid], |row| row.get(0)).ok()?;
    Some(format!(", row ({text}),"))
}

/// Sets a sequence's next value: one of our own, or SQLite's behind the column that it belongs to.
pub(crate) fn set_sequence(conn: &Connection, schema: &Schema, name: &str, next: i64) -> rusqlite::Result<()> {
    for (at, relation) in schema.relations.iter().enumerate() {
        let Some(column) = sqlite::rowid_column(schema, RelationId(at as u32)) else {
            continue;
        };
        let column = &relation.columns[column as usize];
        if !sqlite::numbers_itself(column) || format!("{}_{}_seq", relation.name, column.name) != name {
            continue;
        }
        let table = table_name(schema, RelationId(at as u32));
        let changed = conn.execute(
            "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1",
            rusqlite::params![table, next - 1],
        )?;
        if changed == 0 {
            conn.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
                rusqlite::params![table, next - 1],
            )?;
        }
        return Ok(());
    }
    conn.execute(
        "INSERT INTO _mainstay_sequence (name, next) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET next = excluded.next",
        rusqlite::params![name, next],
    )?;
    Ok(())
}

/// A sequence behind a column goes on above the values that were loaded. SQLite sees to its own (INTEGER PRIMARY KEY).
pub(crate) fn advance_sequences(conn: &Connection, schema: &Schema, id: RelationId) -> rusqlite::Result<()> {
    let relation = schema.relation(id);
    for (at, column) in relation.columns.iter().enumerate() {
        let own = relation.primary_key() == [at as u32] && column.ty.is_integer();
        if !sqlite::numbers_itself(column) || own {
            continue;
        }
        let sql = format!(
            "INSERT INTO _mainstay_sequence (name, next) SELECT ?1, max({}) + 1 FROM {} HAVING count(*) > 0 \
             ON CONFLICT (name) DO UPDATE SET next = max(next, excluded.next)",
            quote_identifier(&column.name),
            quote_identifier(&table_name(schema, id))
        );
        conn.execute(&sql, [format!("{}_{}_seq", relation.name, column.name)])?;
    }
    Ok(())
}
