//! Whether SQLite takes what a schema asks of it, found out on a database in memory before any file is opened: the same statements on
//! the same functions as a store's.

use crate::connection;
use crate::open::own_tables;
use mainstay_model::{Error, QueryShape, RelationId, RelationRef, Result, Schema, Statement};
use mainstay_sql::sqlite;
use rusqlite::Connection;

/// A database in memory that a schema is tried on.
pub struct Trial {
    conn: Connection,
    /// A table is missing, so that statements can be translated and not planned.
    incomplete: bool,
}

impl Trial {
    /// An empty one.
    pub fn new() -> Result<Trial> {
        let conn = connection::in_memory().and_then(|conn| own_tables(&conn).map(|()| conn));
        let conn = conn.map_err(|error| Error::internal(format!("no database in memory: {error}")))?;
        Ok(Trial {
            conn,
            incomplete: false,
        })
    }

    /// Makes a table with its constraints and indexes. All are to be made before anything else is tried.
    pub fn create(&mut self, schema: &Schema, id: RelationId) -> Result<()> {
        let made = sqlite::create_table(schema, id).and_then(|statements| {
            let run = |sql: &String| self.conn.execute_batch(sql).map_err(|error| not_taken(&error));
            statements.iter().try_for_each(run)
        });
        self.incomplete |= made.is_err();
        made
    }

    /// Plans the insertion of a row that has every column's default.
    pub fn defaults(&self, schema: &Schema, id: RelationId) -> Result<()> {
        let plan = sqlite::compile_insert(schema, &RelationRef::new(id), &[], &[], None, None, None)?;
        self.plan(&plan.insert.sql)
    }

    /// Plans a read.
    pub fn query(&self, schema: &Schema, shape: &QueryShape) -> Result<()> {
        self.plan(&sqlite::compile_query(schema, shape)?.root.select.sql)
    }

    /// Plans a statement of a function's body.
    pub fn statement(&self, schema: &Schema, statement: &Statement) -> Result<()> {
        self.plan(&sqlite::compile_statement(schema, statement)?.run.sql)
    }

    fn plan(&self, sql: &str) -> Result<()> {
        if self.incomplete {
            return Ok(());
        }
        self.conn.prepare(sql).map(drop).map_err(|error| not_taken(&error))
    }
}

fn not_taken(error: &rusqlite::Error) -> Error {
    let said = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    Error::unsupported(format!("SQLite does not take it: {said}"))
}
