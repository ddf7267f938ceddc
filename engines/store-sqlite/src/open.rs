//! Opens a store: the lock, the file, its format, its tables, its first rows; all of it in one transaction, so that a store is either as
//! the schema says or as it was.

use crate::capture::Capture;
use crate::config::{Config, Seed};
use crate::connection;
use crate::context::SequenceState;
use crate::counter::Counter;
use crate::history;
use crate::open_error::{OpenError, OpenErrorKind};
use crate::reconcile::{Reconciled, reconcile};
use crate::seed;
use mainstay_embedded::create_private;
use mainstay_model::{Schema, Sequence};
use mainstay_sql::sqlite;
use rusqlite::{Connection, ErrorCode};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The format of the file that this version reads and writes.
const FORMAT: &str = "1";

/// The tables of our own, besides those that SQL relies on.
const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS _mainstay_outbox (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL, \
     key TEXT NOT NULL, time_us INTEGER NOT NULL, payload TEXT NOT NULL, traceparent TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS _mainstay_idempotency (scope BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, outcomes BLOB NOT NULL, \
     at_us INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS _mainstay_idempotency_at ON _mainstay_idempotency (at_us)",
    "CREATE TABLE IF NOT EXISTS _mainstay_consumed (consumer TEXT NOT NULL, event TEXT NOT NULL, at_us INTEGER NOT NULL, \
     PRIMARY KEY (consumer, event)) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS _mainstay_consumed_at ON _mainstay_consumed (at_us)",
];

/// An opened store, before its threads start.
pub(crate) struct Opened {
    /// The writing connection.
    pub conn: Connection,
    /// Held as long as the store is open.
    pub lock: File,
    /// How tables lie in the file.
    pub capture: Capture,
    /// Positions of transactions.
    pub positions: Counter,
    /// Sequence numbers of the outbox.
    pub sequence: Counter,
    /// The values that sequences go on with.
    pub sequences: HashMap<String, SequenceState>,
    /// SQLite's version.
    pub version: String,
}

/// Opens a store.
pub(crate) fn open(config: &Config, schema: &Schema, seeds: &[Seed]) -> Result<Opened, OpenError> {
    let path = &*config.path;
    let directory = path
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(OpenError::new(
            OpenErrorKind::MissingDirectory,
            path,
            format!("the directory {} does not exist", directory.display()),
            "Create it, or correct the store's url.",
        ));
    }
    let lock = lock(path)?;
    create_private(path);
    let conn = connection::open_writer(config).map_err(|error| explain(path, &error))?;
    conn.query_row("PRAGMA schema_version", [], |_| Ok(()))
        .map_err(|error| explain(path, &error))?;
    if conn.is_readonly("main").unwrap_or(false) {
        return Err(read_only(path));
    }
    let found = Found::look(&conn).map_err(|error| explain(path, &error))?;
    found.check(path)?;
    let mode = connection::set_up_writer(&conn, config).map_err(|error| explain(path, &error))?;
    if mode != "wal" {
        return Err(OpenError::new(
            OpenErrorKind::Io,
            path,
            format!("the file system cannot hold a write-ahead log (journal mode {mode})"),
            "Put the store on a local disk.",
        ));
    }
    let conn = Rc::new(conn);
    conn.execute_batch("BEGIN IMMEDIATE")
        .map_err(|error| explain(path, &error))?;
    let prepared = prepare(&conn, config, schema, seeds, found.is_new());
    let (positions, sequence, sequences) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = conn.execute_batch("ROLLBACK");
            return Err(error);
        }
    };
    conn.execute_batch("COMMIT").map_err(|error| explain(path, &error))?;
    let capture = Capture::new(&conn, schema, &config.name).map_err(|error| explain(path, &error))?;
    let version = conn
        .query_row("SELECT sqlite_version()", [], |row| row.get(0))
        .map_err(|error| explain(path, &error))?;
    let conn = Rc::try_unwrap(conn).map_err(|_| {
        OpenError::new(
            OpenErrorKind::Io,
            path,
            "a statement outlived the opening of the store",
            "",
        )
    })?;
    Ok(Opened {
        conn,
        lock,
        capture,
        positions,
        sequence,
        sequences,
        version,
    })
}

type Prepared = (Counter, Counter, HashMap<String, SequenceState>);

fn prepare(
    conn: &Rc<Connection>,
    config: &Config,
    schema: &Schema,
    seeds: &[Seed],
    is_new: bool,
) -> Result<Prepared, OpenError> {
    let path = &*config.path;
    let failed = |error: rusqlite::Error| explain(path, &error);
    own_tables(conn).map_err(failed)?;
    let Reconciled { ran, made } = reconcile(conn, schema, &config.name, path)?;
    if !is_new && !ran.is_empty() {
        history::record(conn, &ran, Duration::ZERO).map_err(failed)?;
    }
    seed::load(conn, schema, config, seeds, &made)?;
    let positions = Counter::open(conn, "position", 0).map_err(failed)?;
    let used: Option<i64> = conn
        .query_row("SELECT max(sequence) FROM _mainstay_outbox", [], |row| row.get(0))
        .map_err(failed)?;
    let sequence = Counter::open(conn, "sequence", used.unwrap_or(0).max(0) as u64).map_err(failed)?;
    Ok((positions, sequence, sequences(conn, schema).map_err(failed)?))
}

/// The tables of our own.
pub(crate) fn own_tables(conn: &Connection) -> rusqlite::Result<()> {
    for statement in sqlite::meta_tables().iter().chain(TABLES).chain([&history::TABLE]) {
        conn.execute_batch(statement)?;
    }
    conn.execute(
        "INSERT OR IGNORE INTO _mainstay_meta (key, value) VALUES ('format', ?1)",
        [FORMAT],
    )
    .map(drop)
}

/// The values that sequences go on with.
pub(crate) fn sequences(conn: &Connection, schema: &Schema) -> rusqlite::Result<HashMap<String, SequenceState>> {
    let mut all: HashMap<String, SequenceState> = schema
        .sequences
        .iter()
        .map(|(name, definition)| (name.to_string(), SequenceState::new(*definition)))
        .collect();
    let mut statement = conn.prepare("SELECT name, next FROM _mainstay_sequence")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let next = row.get(1)?;
        all.entry(row.get(0)?)
            .and_modify(|s| s.next = next)
            .or_insert(SequenceState {
                next,
                ..SequenceState::new(Sequence::default())
            });
    }
    Ok(all)
}

/// What the file was before.
pub(crate) struct Found {
    /// Tables, views and indexes.
    objects: i64,
    /// `format` of `_mainstay_meta`; absent without one.
    format: Option<String>,
}

impl Found {
    pub(crate) fn look(conn: &Connection) -> rusqlite::Result<Found> {
        let objects = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let ours: bool = conn.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = '_mainstay_meta'",
            [],
            |row| row.get(0),
        )?;
        let format = if ours {
            conn.query_row(
                "SELECT (SELECT value FROM _mainstay_meta WHERE key = 'format')",
                [],
                |row| row.get(0),
            )?
        } else {
            None
        };
        Ok(Found { objects, format })
    }

    pub(crate) fn is_new(&self) -> bool {
        self.objects == 0
    }

    pub(crate) fn check(&self, path: &Path) -> Result<(), OpenError> {
        match self.format.as_deref() {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(OpenError::new(
                OpenErrorKind::Format,
                path,
                format!("the file has format {other}, this version of Mainstay reads format {FORMAT}"),
                "Open it with the version of Mainstay that wrote it.",
            )),
            None if self.is_new() => Ok(()),
            None => Err(OpenError::new(
                OpenErrorKind::Foreign,
                path,
                "the file is a SQLite database that Mainstay did not make",
                "Choose another file for the store, and bring the data in with `mainstay import`.",
            )),
        }
    }
}

/// Keeps a second process away.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = lock_path(path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => read_only(path),
            _ => OpenError::new(OpenErrorKind::Io, path, format!("{}: {error}", lock_path.display()), ""),
        })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let who = if holder.is_empty() {
                "another process".to_owned()
            } else {
                format!("process {holder}")
            };
            return Err(OpenError::new(
                OpenErrorKind::InUse,
                path,
                format!("{who} has it open, and an embedded store serves one process at a time"),
                "Stop that process, or give the store a server's url (postgres://…) that many processes can share.",
            ));
        }
        Err(TryLockError::Error(error)) => {
            return Err(OpenError::new(
                OpenErrorKind::Io,
                path,
                format!("{}: {error}", lock_path.display()),
                "",
            ));
        }
    }
    // Only for the message of whoever comes second.
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

/// `main.db` is locked by `main.db.lock`.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn read_only(path: &Path) -> OpenError {
    OpenError::new(
        OpenErrorKind::ReadOnly,
        path,
        "the file or its directory cannot be written",
        "Give the user that runs Mainstay the right to write both.",
    )
}

/// What SQLite said, for the person who started it.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let new = |kind, message: &str, hint: &str| OpenError::new(kind, path, message, hint);
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => new(
            OpenErrorKind::NotADatabase,
            "the file is not a SQLite database",
            "Choose another file for the store.",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => read_only(path),
        Some(ErrorCode::CannotOpen) if !path.exists() || path.metadata().is_ok_and(|m| m.permissions().readonly()) => {
            read_only(path)
        }
        Some(ErrorCode::CannotOpen) if path.is_dir() => new(
            OpenErrorKind::NotADatabase,
            "it is a directory",
            "Name a file inside it.",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => new(
            OpenErrorKind::InUse,
            "another program holds its lock",
            "Close it: an open transaction in the sqlite3 shell is enough.",
        ),
        Some(ErrorCode::DatabaseCorrupt) => new(
            OpenErrorKind::Damaged,
            &format!("the file is damaged: {error}"),
            "Restore it from a backup.",
        ),
        Some(ErrorCode::DiskFull) => new(
            OpenErrorKind::Io,
            "no space left on the device",
            "Free some disk space.",
        ),
        _ => new(OpenErrorKind::Io, &error.to_string(), ""),
    }
}
