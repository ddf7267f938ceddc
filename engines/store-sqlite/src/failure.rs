//! SQLite's result codes as Postgres' SQLSTATEs. What needs to look at the rows involved (constraints) is in [`crate::constraint`].

use crate::statement::Failure;
use mainstay_model::{Error, Retry};
use rusqlite::ffi;

/// Message of a statement that was stopped.
pub(crate) fn timed_out() -> Error {
    Error::new("57014", "canceling statement due to statement timeout")
        .hint("Ask for less, add an index, or raise the store's statement timeout.")
}

/// The store has been closed.
pub(crate) fn closed() -> Error {
    Error::new("57P03", "the store is closed")
        .status(503)
        .retry(Retry::After(1))
}

/// The file is not where it was when it was opened: nothing that is written to it would be found again.
pub(crate) fn displaced() -> Error {
    Error::new("58030", "the database's file was deleted or replaced while it was open")
        .hint("Put it and its -wal file back; or restart, to serve the file that is there now. Until then nothing is read or written.")
        .status(503)
}

/// A queue is full.
pub(crate) fn queue_full(what: &str, limit: usize) -> Error {
    Error::new("53300", format!("too many {what} are waiting (limit {limit})"))
        .status(503)
        .retry(Retry::After(1))
}

/// A failure by its code alone.
pub(crate) fn plain(failure: &Failure) -> Error {
    let message = &failure.message;
    match failure.primary() {
        ffi::SQLITE_ERROR => user(message),
        ffi::SQLITE_FULL => Error::new("53100", "could not extend the database: no space left on device")
            .hint("Free some disk space.")
            .status(507)
            .retry(Retry::After(10)),
        ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => Error::new(
            "58030",
            format!(
                "could not read or write the database: {message} (SQLite code {})",
                failure.code
            ),
        ),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            Error::new("55P03", "could not obtain the database's write lock in time")
                .hint("Another program holds it, such as an open transaction in the sqlite3 shell.")
                .status(503)
                .retry(Retry::Safe)
        }
        ffi::SQLITE_INTERRUPT => timed_out(),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => {
            Error::new("XX001", format!("the database file is damaged: {message}")).hint("Restore it from a backup.")
        }
        ffi::SQLITE_READONLY => Error::new("25006", "cannot write in a read-only transaction"),
        ffi::SQLITE_NOMEM => Error::new("53200", "out of memory").retry(Retry::After(1)),
        ffi::SQLITE_TOOBIG => Error::new("54000", "a value or a statement is too large"),
        ffi::SQLITE_SCHEMA => Error::new("40001", "the tables changed while the statement ran").retry(Retry::Safe),
        ffi::SQLITE_CONSTRAINT => Error::new("23000", message.clone()),
        ffi::SQLITE_MISMATCH => Error::new("42804", message.clone()),
        _ => Error::internal(format!("SQLite: {message} (code {})", failure.code)),
    }
}

/// An error that one of our functions raised, or one of SQLite's own.
fn user(message: &str) -> Error {
    let mut parts = message.splitn(3, '|');
    if let (Some(code), Some(text)) = (parts.next(), parts.next())
        && code.len() == 5
        && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    {
        let error = Error::new(code.to_owned(), text);
        return match parts.next() {
            Some(detail) if !detail.is_empty() => error.detail(detail),
            _ => error,
        };
    }
    match message {
        "integer overflow" => Error::new("22003", "bigint out of range"),
        _ if message.starts_with("malformed JSON") => Error::new("22P02", "invalid input syntax for type json"),
        _ if message.contains("too complex")
            || message.contains("stack overflow")
            || message.starts_with("too many") =>
        {
            Error::new("54001", format!("the statement is too complex: {message}"))
        }
        _ => Error::internal(format!("SQLite: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_sqlstates() {
        for (code, message, sqlstate, text) in [
            (ffi::SQLITE_ERROR, "22012|division by zero", "22012", "division by zero"),
            (
                ffi::SQLITE_ERROR,
                "22003|numeric field overflow|a|b",
                "22003",
                "numeric field overflow",
            ),
            (ffi::SQLITE_ERROR, "integer overflow", "22003", "bigint out of range"),
            (
                ffi::SQLITE_ERROR,
                "no such table: x",
                "XX000",
                "SQLite: no such table: x",
            ),
            (
                ffi::SQLITE_FULL,
                "database or disk is full",
                "53100",
                "could not extend the database: no space left on device",
            ),
            (
                ffi::SQLITE_IOERR_FSYNC,
                "disk I/O error",
                "58030",
                "could not read or write the database: disk I/O error (SQLite code 1034)",
            ),
            (
                ffi::SQLITE_BUSY_SNAPSHOT,
                "database is locked",
                "55P03",
                "could not obtain the database's write lock in time",
            ),
            (
                ffi::SQLITE_INTERRUPT,
                "interrupted",
                "57014",
                "canceling statement due to statement timeout",
            ),
            (
                ffi::SQLITE_CORRUPT_INDEX,
                "malformed",
                "XX001",
                "the database file is damaged: malformed",
            ),
        ] {
            let error = plain(&Failure {
                code,
                message: message.to_owned(),
            });
            assert_eq!((&*error.code, &*error.message), (sqlstate, text));
        }
        let error = plain(&Failure {
            code: ffi::SQLITE_ERROR,
            message: "22003|numeric field overflow|a|b".to_owned(),
        });
        assert_eq!(error.details.as_deref(), Some("a|b"));
    }
}
