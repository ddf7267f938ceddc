//! How each connection is opened: WAL, every commit synced, foreign keys on, our functions registered.

use crate::config::Config;
use crate::functions;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

/// The one connection that writes.
pub(crate) fn open_writer(config: &Config) -> rusqlite::Result<Connection> {
    let conn = open(
        config,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )?;
    conn.busy_timeout(config.busy_timeout)?;
    Ok(conn)
}

/// Makes the writer's connection what a writer's is; not inside a transaction. Says the journal mode that the file then has.
pub(crate) fn set_up_writer(conn: &Connection, config: &Config) -> rusqlite::Result<String> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    conn.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{};",
        config.writer_cache_kib
    ))?;
    // Both answer with a row, which a batch refuses to drop silently in some builds.
    conn.query_row("PRAGMA journal_size_limit = 67108864", [], |_| Ok(()))?;
    conn.query_row("PRAGMA analysis_limit = 400", [], |_| Ok(()))?;
    conn.query_row("PRAGMA wal_autocheckpoint = 1000", [], |_| Ok(()))?;
    Ok(mode)
}

/// A connection that reads.
pub(crate) fn open_reader(config: &Config) -> rusqlite::Result<Connection> {
    let conn = open(config, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(config.busy_timeout)?;
    conn.execute_batch(&format!(
        "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{};",
        config.reader_cache_kib
    ))?;
    if config.vfs.is_none() {
        conn.execute_batch(&format!("PRAGMA mmap_size = {}", config.mmap_bytes))?;
    }
    Ok(conn)
}

fn open(config: &Config, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = match &config.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(&config.path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(&config.path, flags)?,
    };
    prepared(conn)
}

/// A database of its own that goes with the connection.
pub(crate) fn in_memory() -> rusqlite::Result<Connection> {
    prepared(Connection::open_in_memory()?)
}

fn prepared(conn: Connection) -> rusqlite::Result<Connection> {
    // A misspelt column must not turn into a string.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    functions::register(&conn)?;
    Ok(conn)
}
