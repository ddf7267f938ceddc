//! What was done to the tables of a file, when and by which version: the counterpart of `mainstay.migrations` on PostgreSQL.

use mainstay_model::time;
use rusqlite::Connection;
use std::time::Duration;

/// The table.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS _mainstay_migrations (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, \
    version TEXT NOT NULL, statements TEXT NOT NULL, duration_ms INTEGER NOT NULL) STRICT";

/// Adds an entry, in the transaction that it tells of.
pub(crate) fn record(conn: &Connection, statements: &[String], took: Duration) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO _mainstay_migrations (at_us, version, statements, duration_ms) VALUES (?1, ?2, ?3, ?4)",
        rusqlite::params![
            time::now(),
            env!("CARGO_PKG_VERSION"),
            statements.join(";\n"),
            took.as_millis() as i64
        ],
    )
    .map(drop)
}
