//! Backup and restore of a SQLite file. A snapshot is `VACUUM INTO` of one read transaction on a connection of its own: whoever
//! writes meanwhile is not held up and not seen, and another process may have the store open.

use crate::config::Config;
use crate::connection;
use crate::open;
use crate::open_error::{OpenError, OpenErrorKind};
use mainstay_model::{Error, Result};
use mainstay_sql::sqlite::quote_identifier;
use mainstay_store::{BoxFuture, Recovery, Snapshot, TableDigest};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long somebody's exclusive lock is waited for; nobody who lets others read has one for long.
const BUSY: Duration = Duration::from_millis(500);

/// What SQLite leaves beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Backs up one SQLite file and brings it back.
#[derive(Clone, Debug)]
pub struct SqliteRecovery {
    name: String,
    path: PathBuf,
}

impl SqliteRecovery {
    /// Of the file behind the store `name`; it need not exist yet.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> SqliteRecovery {
        SqliteRecovery {
            name: name.to_owned(),
            path: path.into(),
        }
    }

    fn open(&self) -> Result<Connection> {
        open_file(&self.path)
    }

    fn take(&self, file: &Path) -> Result<Snapshot> {
        if !self.path.exists() {
            return Err(Error::new(
                "58P01",
                format!("{}: there is no such database yet", self.path.display()),
            )
            .hint("Serve the project once, or take the store out of mainstay.toml."));
        }
        let conn = self.open()?;
        let target = file
            .to_str()
            .ok_or_else(|| Error::new("58030", format!("{}: not UTF-8", file.display())))?;
        conn.execute("VACUUM INTO ?1", [target])
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::new(
                    "55006",
                    format!(
                        "{} is in use by a process that lets nobody else read it",
                        self.path.display()
                    ),
                ),
                _ => self.failed("cannot be copied", &error),
            })?;
        drop(conn);
        // What is described is the copy, so nothing can have come between.
        let copy = open_file(file)?;
        let version: String = one(&copy, "SELECT sqlite_version()")?;
        Ok(Snapshot {
            version: format!("SQLite {version}"),
            position: position(&copy).unwrap_or_default(),
            tables: digests(&copy)?,
            notes: Vec::new(),
        })
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        Error::new("58030", format!("{} {what}: {error}", self.path.display()))
    }

    fn look(&self) -> Result<Vec<TableDigest>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let conn = self.open()?;
        conn.execute_batch("BEGIN")
            .map_err(|e| self.failed("cannot be read", &e))?;
        digests(&conn)
    }

    fn why_occupied(&self) -> Result<Option<String>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let conn = self.open()?;
        let mut full = Vec::new();
        for table in table_names(&conn)? {
            // Bookkeeping that a store has from its first start.
            if ["_mainstay_meta", "_mainstay_sequence", "sqlite_sequence"].contains(&&*table) {
                continue;
            }
            let holds: bool = one(
                &conn,
                &format!("SELECT EXISTS (SELECT 1 FROM {})", quote_identifier(&table)),
            )?;
            if holds {
                full.push(table);
            }
        }
        Ok((!full.is_empty()).then(|| {
            let more = full.len().saturating_sub(3);
            full.truncate(3);
            let more = if more > 0 {
                format!(" and {more} more tables")
            } else {
                String::new()
            };
            format!("{} holds rows, in {}{more}", self.path.display(), full.join(", "))
        }))
    }

    fn put_back(&self, file: &Path, replace: bool) -> Result<()> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| self.failed(&what, &error)
        };
        if let Some(parent) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(io("cannot be made"))?;
        }
        // Held until the end: whoever serves has it, and nobody may begin to.
        let _lock = open::lock(&self.path).map_err(refused)?;
        if !replace && let Some(why) = self.why_occupied()? {
            return Err(Error::new("55006", why));
        }
        let fresh = with_suffix(&self.path, ".restoring");
        remove(&fresh).map_err(io("cannot be prepared"))?;
        copy_durably(file, &fresh).map_err(io("cannot be written"))?;
        let sound: String = {
            let conn = open_file(&fresh)?;
            one(&conn, "PRAGMA quick_check(1)")?
        };
        if sound != "ok" {
            let _ = remove(&fresh);
            return Err(Error::new(
                "XX001",
                format!("the snapshot of store \"{}\" is damaged: {sound}", self.name),
            ));
        }
        if self.path.exists() {
            // What was there stays beside, with the log that belongs to it.
            let old = with_suffix(&self.path, ".replaced");
            for suffix in BESIDE.iter().chain(&[""]) {
                let (from, to) = (with_suffix(&self.path, suffix), with_suffix(&old, suffix));
                remove(&to).map_err(io("cannot be moved aside"))?;
                if from.exists() {
                    std::fs::rename(&from, &to).map_err(io("cannot be moved aside"))?;
                }
            }
        }
        for suffix in BESIDE {
            remove(&with_suffix(&self.path, suffix)).map_err(io("cannot be replaced"))?;
            remove(&with_suffix(&fresh, suffix)).map_err(io("cannot be replaced"))?;
        }
        std::fs::rename(&fresh, &self.path).map_err(io("cannot be replaced"))?;
        sync_folder(&self.path).map_err(io("cannot be made durable"))
    }
}

impl Recovery for SqliteRecovery {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }

    fn snapshot<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, Result<Snapshot>> {
        let (this, file) = (self.clone(), file.to_owned());
        Box::pin(blocking(move || this.take(&file)))
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableDigest>>> {
        let this = self.clone();
        Box::pin(blocking(move || this.look()))
    }

    fn occupied(&self) -> BoxFuture<'_, Result<Option<String>>> {
        let this = self.clone();
        Box::pin(blocking(move || this.why_occupied()))
    }

    fn restore<'a>(&'a self, file: &'a Path, _: &'a Snapshot, replace: bool) -> BoxFuture<'a, Result<()>> {
        let (this, file) = (self.clone(), file.to_owned());
        Box::pin(blocking(move || this.put_back(&file, replace)))
    }

    fn scratch<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Box<dyn Recovery>>> {
        let path = folder.join(format!("{}.db", self.name));
        let scratch = SqliteRecovery::new(&self.name, path);
        Box::pin(async move { Ok(Box::new(scratch) as Box<dyn Recovery>) })
    }

    fn discard(&self) -> BoxFuture<'_, Result<()>> {
        let this = self.clone();
        Box::pin(blocking(move || {
            for suffix in BESIDE.iter().chain(&["", ".lock"]) {
                remove(&with_suffix(&this.path, suffix)).map_err(|e| this.failed("cannot be removed", &e))?;
            }
            Ok(())
        }))
    }
}

/// Off the thread that serves: a copy takes as long as the disk does.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("the copying thread ended")))
}

fn open_file(path: &Path) -> Result<Connection> {
    // With the functions that indexes and generated columns may call.
    let config = Config {
        busy_timeout: BUSY,
        ..Config::new(path)
    };
    connection::open_reader(&config).map_err(|error| refused(open::explain(path, &error)))
}

fn refused(error: OpenError) -> Error {
    let code = if error.kind == OpenErrorKind::InUse {
        "55006"
    } else {
        "58030"
    };
    Error::new(code, error.to_string())
}

fn one<T: rusqlite::types::FromSql>(conn: &Connection, sql: &str) -> Result<T> {
    conn.query_row(sql, [], |row| row.get(0)).map_err(unreadable)
}

fn unreadable(error: rusqlite::Error) -> Error {
    Error::new("XX001", format!("the database cannot be read: {error}"))
}

fn position(conn: &Connection) -> Option<String> {
    conn.query_row("SELECT value FROM _mainstay_meta WHERE key = 'position'", [], |row| {
        row.get(0)
    })
    .ok()
}

/// Every table; SQLite's own only where it holds the state of sequences.
fn table_names(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND (name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
               OR name = 'sqlite_sequence') ORDER BY name";
    let mut statement = conn.prepare(sql).map_err(unreadable)?;
    let names = statement.query_map([], |row| row.get(0)).map_err(unreadable)?;
    names.collect::<rusqlite::Result<Vec<String>>>().map_err(unreadable)
}

fn digests(conn: &Connection) -> Result<Vec<TableDigest>> {
    table_names(conn)?
        .into_iter()
        .map(|name| {
            let (rows, digest) = digest(conn, &name).map_err(unreadable)?;
            Ok(TableDigest { name, rows, digest })
        })
        .collect()
}

fn digest(conn: &Connection, table: &str) -> rusqlite::Result<(u64, String)> {
    let mut statement = conn.prepare(&format!("SELECT * FROM {}", quote_identifier(table)))?;
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    let (mut count, mut sum) = (0, 0u128);
    while let Some(row) = rows.next()? {
        let mut hash = Sha256::new();
        for at in 0..width {
            // The kind, then the length: no two rows are written alike.
            let mut part = |kind: u8, bytes: &[u8]| {
                hash.update([kind]);
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            };
            match row.get_ref(at)? {
                ValueRef::Null => part(0, &[]),
                ValueRef::Integer(v) => part(1, &v.to_le_bytes()),
                ValueRef::Real(v) => part(2, &v.to_bits().to_le_bytes()),
                ValueRef::Text(v) => part(3, v),
                ValueRef::Blob(v) => part(4, v),
            }
        }
        let hash = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        sum = sum.wrapping_add(u128::from_le_bytes(first));
        count += 1;
    }
    Ok((count, format!("{sum:032x}")))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A copy that is its owner's alone and survives a power cut.
fn copy_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut target = options.open(to)?;
    std::io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was() {
        let folder = std::env::temp_dir().join(format!("mainstay-recovery-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("main.db");
        let live = Connection::open(&path).unwrap();
        live.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x);
             INSERT INTO t (x) VALUES (NULL), (1), (1.5), ('a'), (x'00ff'), ('')",
        )
        .unwrap();
        let of = SqliteRecovery::new("main", &path);
        let file = folder.join("snapshot");
        // Beside an open write transaction of somebody else.
        live.execute_batch("BEGIN IMMEDIATE; INSERT INTO t (x) VALUES ('not yet')")
            .unwrap();
        let snapshot = runtime().block_on(of.snapshot(&file)).unwrap();
        live.execute_batch("COMMIT").unwrap();
        let rows = |tables: &[TableDigest]| tables.iter().find(|t| t.name == "t").unwrap().clone();
        assert_eq!(rows(&snapshot.tables).rows, 6);
        assert_ne!(runtime().block_on(of.tables()).unwrap(), snapshot.tables);
        drop(live);
        let occupied = runtime().block_on(of.occupied()).unwrap();
        assert!(occupied.is_some_and(|why| why.contains("holds rows, in t")));
        assert_eq!(
            runtime()
                .block_on(of.restore(&file, &snapshot, false))
                .unwrap_err()
                .code,
            "55006"
        );
        runtime().block_on(of.restore(&file, &snapshot, true)).unwrap();
        assert_eq!(runtime().block_on(of.tables()).unwrap(), snapshot.tables);
        // What was there is beside it.
        let beside = SqliteRecovery::new("main", folder.join("main.db.replaced"));
        assert_eq!(rows(&runtime().block_on(beside.tables()).unwrap()).rows, 7);
        let scratch = runtime().block_on(of.scratch(&folder.join("none"))).unwrap();
        assert_eq!(runtime().block_on(scratch.occupied()).unwrap(), None);
        runtime().block_on(scratch.restore(&file, &snapshot, false)).unwrap();
        assert_eq!(runtime().block_on(scratch.tables()).unwrap(), snapshot.tables);
        runtime().block_on(scratch.discard()).unwrap();
        // A file that is none.
        std::fs::write(&file, "no database at all").unwrap();
        assert!(runtime().block_on(scratch.restore(&file, &snapshot, false)).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_digest_tells_contents_apart_and_not_orders() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE a (x, y); CREATE TABLE b (x, y); INSERT INTO a VALUES (1, 'a'), (2, NULL); INSERT INTO b VALUES (2, NULL), (1, 'a')",
        )
        .unwrap();
        assert_eq!(digest(&conn, "a").unwrap(), digest(&conn, "b").unwrap());
        for change in [
            "UPDATE b SET y = '' WHERE x = 2",
            "UPDATE b SET x = '2', y = NULL WHERE x = 2",
            "DELETE FROM b WHERE x = 1",
        ] {
            conn.execute_batch(change).unwrap();
            assert_ne!(digest(&conn, "a").unwrap(), digest(&conn, "b").unwrap(), "{change}");
        }
    }
}
