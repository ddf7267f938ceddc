//! SQLite's pre-update hook: for every row that a statement is about to change, both images, also where a foreign key's cascade or an
//! upsert changes it. rusqlite's own feature for it would need libclang at build time.
#![allow(unsafe_code)]

use crate::statement::{bytes, text};
use mainstay_model::ChangeKind;
use mainstay_sql::sqlite::Stored;
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

/// Told of every row of the main database that is about to change.
pub(crate) trait Observer {
    /// One row. `event` is valid during the call alone.
    fn changing(&self, event: &Event<'_>);
}

/// A row that is about to change.
pub(crate) struct Event<'a> {
    db: *mut ffi::sqlite3,
    /// The table, as the file names it.
    pub table: &'a str,
    /// What is about to happen.
    pub kind: ChangeKind,
    /// 0 for what the statement itself does, more for what its cascades do.
    pub depth: u32,
    /// The rowid: the new one, of a deletion the old one.
    pub rowid: i64,
}

impl Event<'_> {
    /// A column's value before; `None` if SQLite cannot tell.
    pub fn before(&self, column: usize) -> Option<Stored<'_>> {
        if self.kind == ChangeKind::Insert {
            return None;
        }
        let mut value = ptr::null_mut();
        // SAFETY: the operation has an old row.
        let code = unsafe { ffi::sqlite3_preupdate_old(self.db, column as c_int, &mut value) };
        (code == ffi::SQLITE_OK && !value.is_null()).then(|| unsafe { stored(value) })
    }

    /// A column's value after; `None` if SQLite cannot tell.
    pub fn after(&self, column: usize) -> Option<Stored<'_>> {
        if self.kind == ChangeKind::Delete {
            return None;
        }
        let mut value = ptr::null_mut();
        // SAFETY: the operation has a new row.
        let code = unsafe { ffi::sqlite3_preupdate_new(self.db, column as c_int, &mut value) };
        (code == ffi::SQLITE_OK && !value.is_null()).then(|| unsafe { stored(value) })
    }
}

/// # Safety
/// `value` must be a protected value that lives as long as `'a`.
unsafe fn stored<'a>(value: *mut ffi::sqlite3_value) -> Stored<'a> {
    // SAFETY: as the caller promises; text before its length, as SQLite asks.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => Stored::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => Stored::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => {
                let start = ffi::sqlite3_value_text(value);
                text(bytes(start, ffi::sqlite3_value_bytes(value)))
            }
            ffi::SQLITE_BLOB => {
                let start = ffi::sqlite3_value_blob(value).cast::<u8>();
                Stored::Blob(Cow::Borrowed(bytes(start, ffi::sqlite3_value_bytes(value))))
            }
            _ => Stored::Null,
        }
    }
}

/// An observer in its place; removed when dropped.
pub(crate) struct Hook<O: Observer + 'static> {
    conn: Rc<Connection>,
    observer: Rc<O>,
}

impl<O: Observer + 'static> Hook<O> {
    /// Puts an observer in its place. A connection has room for one.
    pub fn install(conn: &Rc<Connection>, observer: Rc<O>) -> Hook<O> {
        // SAFETY: `observer` lives as long as the hook, which takes it away when dropped.
        unsafe {
            ffi::sqlite3_preupdate_hook(
                conn.handle(),
                Some(callback::<O>),
                Rc::as_ptr(&observer).cast_mut().cast::<c_void>(),
            );
        }
        Hook {
            conn: conn.clone(),
            observer,
        }
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// The observer, held by who asks.
    pub fn shared(&self) -> Rc<O> {
        self.observer.clone()
    }
}

impl<O: Observer + 'static> Drop for Hook<O> {
    fn drop(&mut self) {
        // SAFETY: the connection is open as long as it is held.
        unsafe { ffi::sqlite3_preupdate_hook(self.conn.handle(), None, ptr::null_mut()) };
    }
}

unsafe extern "C" fn callback<O: Observer>(
    context: *mut c_void,
    db: *mut ffi::sqlite3,
    operation: c_int,
    database: *const c_char,
    table: *const c_char,
    old_rowid: i64,
    new_rowid: i64,
) {
    // A panic must not unwind through SQLite. What the observer missed then is found out by its own bookkeeping: see `Capture`.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: SQLite hands over two C strings and the pointer that was registered.
        let (database, table, observer) =
            unsafe { (CStr::from_ptr(database), CStr::from_ptr(table), &*context.cast::<O>()) };
        if database != c"main" {
            return;
        }
        let Ok(table) = table.to_str() else { return };
        let kind = match operation {
            ffi::SQLITE_INSERT => ChangeKind::Insert,
            ffi::SQLITE_UPDATE => ChangeKind::Update,
            _ => ChangeKind::Delete,
        };
        // SAFETY: called within the callback.
        let depth = unsafe { ffi::sqlite3_preupdate_depth(db) }.max(0) as u32;
        let rowid = if kind == ChangeKind::Delete {
            old_rowid
        } else {
            new_rowid
        };
        observer.changing(&Event {
            db,
            table,
            kind,
            depth,
            rowid,
        });
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Seen(RefCell<Vec<String>>);

    impl Observer for Seen {
        fn changing(&self, event: &Event<'_>) {
            let row = |get: &dyn Fn(usize) -> Option<String>| {
                (0..2)
                    .map(|i| get(i).unwrap_or("-".into()))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            let before = row(&|i| event.before(i).map(|v| format!("{v:?}")));
            let after = row(&|i| event.after(i).map(|v| format!("{v:?}")));
            self.0.borrow_mut().push(format!(
                "{:?} {} {} {}: {before} > {after}",
                event.kind, event.table, event.rowid, event.depth
            ));
        }
    }

    #[test]
    fn cascades_upserts_and_unconditional_deletes_are_seen() {
        let conn = Rc::new(Connection::open_in_memory().unwrap());
        conn.execute_batch(
            "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER) STRICT;
             CREATE TABLE c (p INTEGER REFERENCES p ON DELETE CASCADE) STRICT; CREATE TEMP TABLE scratch (x)",
        )
        .unwrap();
        let seen = Rc::new(Seen::default());
        let hook = Hook::install(&conn, seen.clone());
        conn.execute_batch(
            "INSERT INTO p VALUES (7, 1); INSERT INTO p VALUES (7, 2) ON CONFLICT DO UPDATE SET n = excluded.n;
             INSERT INTO c VALUES (7); INSERT INTO scratch VALUES (1); DELETE FROM p",
        )
        .unwrap();
        assert_eq!(
            *hook.observer().0.borrow(),
            [
                "Insert p 7 0: -,- > Integer(7),Integer(1)",
                "Update p 7 0: Integer(7),Integer(1) > Integer(7),Integer(2)",
                "Insert c 1 0: -,- > Integer(7),-",
                "Delete p 7 0: Integer(7),Integer(2) > -,-",
                "Delete c 1 1: Integer(7),- > -,-",
            ]
        );
        drop(hook);
        conn.execute_batch("INSERT INTO p VALUES (8, 1)").unwrap();
        assert_eq!(seen.0.borrow().len(), 5);
    }
}
