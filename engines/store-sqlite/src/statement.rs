//! Prepared statements that live beside their connection for as long as the connection does. rusqlite ties a statement to a borrow of
//! its connection, so a plan kept per thread could not hold one; this is the least that such a plan needs, and the only place besides
//! [`crate::preupdate`] that talks to SQLite's C interface.
#![allow(unsafe_code)]

use mainstay_sql::sqlite::Stored;
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::rc::Rc;

/// An error of SQLite: the extended result code and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The extended result code.
    pub code: i32,
    /// `sqlite3_errmsg`.
    pub message: String,
}

impl Failure {
    /// The primary result code.
    pub fn primary(&self) -> i32 {
        self.code & 0xff
    }

    fn of(conn: &Connection, code: c_int) -> Failure {
        // SAFETY: the handle is valid as long as the connection is; the message is copied before any other call.
        unsafe {
            let db = conn.handle();
            let extended = ffi::sqlite3_extended_errcode(db);
            let code = if extended & 0xff == code & 0xff { extended } else { code };
            let message = ffi::sqlite3_errmsg(db);
            let message = if message.is_null() {
                String::new()
            } else {
                CStr::from_ptr(message).to_string_lossy().into_owned()
            };
            Failure { code, message }
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        match error {
            rusqlite::Error::SqliteFailure(inner, message) => Failure {
                code: inner.extended_code,
                message: message.unwrap_or_else(|| inner.to_string()),
            },
            other => Failure {
                code: ffi::SQLITE_ERROR,
                message: other.to_string(),
            },
        }
    }
}

/// A prepared statement.
pub(crate) struct Statement {
    raw: *mut ffi::sqlite3_stmt,
    /// Whether it has been stepped since it was last reset.
    active: bool,
    /// Keeps the connection open until the statement is finalised.
    conn: Rc<Connection>,
}

impl Statement {
    /// Prepares one statement, to be kept.
    pub fn prepare(conn: &Rc<Connection>, sql: &str) -> Result<Statement, Failure> {
        let mut raw = ptr::null_mut();
        let length = c_int::try_from(sql.len()).map_err(|_| Failure {
            code: ffi::SQLITE_TOOBIG,
            message: "statement too long".into(),
        })?;
        // SAFETY: the text is given with its length, and SQLite copies what it keeps of it.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                conn.handle(),
                sql.as_ptr().cast::<c_char>(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT as _,
                &mut raw,
                ptr::null_mut(),
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(Failure::of(conn, code));
        }
        if raw.is_null() {
            return Err(Failure {
                code: ffi::SQLITE_ERROR,
                message: "an empty statement".into(),
            });
        }
        Ok(Statement {
            raw,
            active: false,
            conn: conn.clone(),
        })
    }

    /// How many parameters it has: those that the text numbered last may have gone with a part of it that is constant.
    pub fn parameters(&self) -> usize {
        // SAFETY: the statement is open as long as this value lives.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.raw) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Gives parameter `index` (from 1) a value. The statement must not be running.
    pub fn bind(&mut self, index: usize, value: &Stored<'_>) -> Result<(), Failure> {
        let at = index as c_int;
        // SAFETY: text and blobs are copied by SQLite (SQLITE_TRANSIENT) before the call returns.
        let code = unsafe {
            match value {
                Stored::Null => ffi::sqlite3_bind_null(self.raw, at),
                Stored::Integer(v) => ffi::sqlite3_bind_int64(self.raw, at, *v),
                Stored::Real(v) => ffi::sqlite3_bind_double(self.raw, at, *v),
                Stored::Text(v) => ffi::sqlite3_bind_text64(
                    self.raw,
                    at,
                    v.as_ptr().cast::<c_char>(),
                    v.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as _,
                ),
                // A null pointer would bind NULL, and an empty slice's pointer may be anything.
                Stored::Blob(v) if v.is_empty() => ffi::sqlite3_bind_zeroblob(self.raw, at, 0),
                Stored::Blob(v) => {
                    ffi::sqlite3_bind_blob64(self.raw, at, v.as_ptr().cast(), v.len() as u64, ffi::SQLITE_TRANSIENT())
                }
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(Failure::of(&self.conn, code))
        }
    }

    /// Gives parameter `index` (from 1) the value of another statement's current row as it is.
    pub fn bind_column(&mut self, index: usize, from: &Statement, column: usize) -> Result<(), Failure> {
        // SAFETY: the value is copied before the call returns; `from` has a row (or gives NULL).
        let code = unsafe {
            let value = ffi::sqlite3_column_value(from.raw, column as c_int);
            ffi::sqlite3_bind_value(self.raw, index as c_int, value)
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(Failure::of(&self.conn, code))
        }
    }

    /// Goes on to the next row; `false` when there is none, and then the statement has been reset.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.active = true;
        // SAFETY: the statement is valid until dropped.
        match unsafe { ffi::sqlite3_step(self.raw) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => {
                self.reset();
                Ok(false)
            }
            code => {
                let failure = Failure::of(&self.conn, code);
                self.reset();
                Err(failure)
            }
        }
    }

    /// Runs it to its end, whatever rows it yields.
    pub fn run(&mut self) -> Result<(), Failure> {
        while self.step()? {}
        Ok(())
    }

    /// Whether it yields a row.
    pub fn exists(&mut self) -> Result<bool, Failure> {
        let found = self.step()?;
        self.reset();
        Ok(found)
    }

    /// The first row's first value as an integer, NULL and no row as `None`.
    pub fn integer(&mut self) -> Result<Option<i64>, Failure> {
        let found = self.step()?;
        let value = match self.value(0) {
            Stored::Integer(value) if found => Some(value),
            _ => None,
        };
        self.reset();
        Ok(value)
    }

    /// Makes it ready to run again.
    pub fn reset(&mut self) {
        if self.active {
            self.active = false;
            // SAFETY: the statement is valid; the code repeats the last step's error, which was reported then.
            unsafe { ffi::sqlite3_reset(self.raw) };
        }
    }

    /// A value of the current row, NULL without a row. Text that is no UTF-8 comes as a blob.
    pub fn value(&self, column: usize) -> Stored<'_> {
        let at = column as c_int;
        // SAFETY: pointers that SQLite hands out stay valid until the next step, reset or drop, all of which need `&mut self`.
        unsafe {
            match ffi::sqlite3_column_type(self.raw, at) {
                ffi::SQLITE_INTEGER => Stored::Integer(ffi::sqlite3_column_int64(self.raw, at)),
                ffi::SQLITE_FLOAT => Stored::Real(ffi::sqlite3_column_double(self.raw, at)),
                ffi::SQLITE_TEXT => {
                    let start = ffi::sqlite3_column_text(self.raw, at);
                    text(bytes(start, ffi::sqlite3_column_bytes(self.raw, at)))
                }
                ffi::SQLITE_BLOB => {
                    let start = ffi::sqlite3_column_blob(self.raw, at).cast::<u8>();
                    Stored::Blob(Cow::Borrowed(bytes(start, ffi::sqlite3_column_bytes(self.raw, at))))
                }
                _ => Stored::Null,
            }
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: finalised once, while `conn` still holds the connection open.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

/// The bytes that SQLite points to.
///
/// # Safety
/// `start` must point to `length` bytes that live as long as `'a`, or be null.
pub(crate) unsafe fn bytes<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    if start.is_null() || length <= 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start, length as usize) }
}

/// Text as it is stored; only a foreign writer can have stored text that is no UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Stored<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Stored::Text(Cow::Borrowed(text)),
        Err(_) => Stored::Blob(Cow::Borrowed(bytes)),
    }
}

/// How many deferred foreign keys the open transaction violates: 0 is none.
pub(crate) fn deferred_violations(conn: &Connection) -> bool {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is valid, both pointers are to live integers.
    unsafe {
        ffi::sqlite3_db_status(
            conn.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &mut current,
            &mut highest,
            0,
        )
    };
    current != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Rc<Connection> {
        Rc::new(Connection::open_in_memory().unwrap())
    }

    #[test]
    fn every_storage_class_goes_in_and_comes_back() {
        let conn = open();
        let mut statement = Statement::prepare(&conn, "SELECT ?1").unwrap();
        let long = "é".repeat(5000);
        for value in [
            Stored::Null,
            Stored::Integer(i64::MIN),
            Stored::Real(-0.5),
            Stored::Text("".into()),
            Stored::Text(long.as_str().into()),
            Stored::Blob(Cow::Borrowed(b"")),
            Stored::Blob(Cow::Borrowed(b"\0\xff")),
        ] {
            statement.bind(1, &value).unwrap();
            assert!(statement.step().unwrap());
            assert_eq!(statement.value(0), value);
            assert!(!statement.step().unwrap());
        }
    }

    #[test]
    fn a_failure_carries_the_extended_code() {
        let conn = open();
        conn.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL); INSERT INTO t VALUES (1, 'x')")
            .unwrap();
        let mut insert = Statement::prepare(&conn, "INSERT INTO t VALUES (?1, ?2)").unwrap();
        insert.bind(1, &Stored::Integer(1)).unwrap();
        insert.bind(2, &Stored::Text("y".into())).unwrap();
        assert_eq!(insert.run().unwrap_err().code, ffi::SQLITE_CONSTRAINT_PRIMARYKEY);
        insert.bind(2, &Stored::Null).unwrap();
        assert_eq!(insert.run().unwrap_err().code, ffi::SQLITE_CONSTRAINT_NOTNULL);
        assert!(Statement::prepare(&conn, "SELEC").is_err());
        assert!(Statement::prepare(&conn, " ").is_err());
    }

    #[test]
    fn deferred_violations_are_seen_before_the_commit() {
        let conn = open();
        conn.execute_batch(
            "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
             CREATE TABLE c (p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED);
             BEGIN; SAVEPOINT a; INSERT INTO c VALUES (1)",
        )
        .unwrap();
        assert!(deferred_violations(&conn));
        conn.execute_batch("ROLLBACK TO a").unwrap();
        assert!(!deferred_violations(&conn));
    }
}
