//! The SQL functions that SQLite lacks, as `mainstay-sql` names them: Postgres' meaning of numbers, texts, patterns, JSON, arrays
//! and dates on the storage format. Registered on every connection.
//!
//! An error leaves as `SQLSTATE|message|detail` and is taken apart where statements fail. Each function gives NULL for a NULL argument
//! unless it says otherwise.

mod aggregate;
mod array;
mod binary;
pub(crate) mod convert;
mod format;
mod json;
mod moment;
mod number;
mod number_to_char;
mod pattern;
mod series;
mod text;
mod to_char;
mod transcendental;

use mainstay_model::{Error, Result, Type};
use mainstay_sql::sqlite::{Form, Stored, parse_type_code};
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value as Sql, ValueRef};
use std::borrow::Cow;
use std::sync::Arc;

/// Registers every function on a connection.
pub fn register(connection: &Connection) -> rusqlite::Result<()> {
    convert::register(connection)?;
    number::register(connection)?;
    text::register(connection)?;
    pattern::register(connection)?;
    format::register(connection)?;
    binary::register(connection)?;
    json::register(connection)?;
    array::register(connection)?;
    moment::register(connection)?;
    series::register(connection)?;
    aggregate::register(connection)
}

/// A function whose result depends on its arguments alone.
const PURE: FunctionFlags = FunctionFlags::SQLITE_UTF8
    .union(FunctionFlags::SQLITE_DETERMINISTIC)
    .union(FunctionFlags::SQLITE_INNOCUOUS);
/// A function that may give another result each time.
const IMPURE: FunctionFlags = FunctionFlags::SQLITE_UTF8;

/// The arguments of one call.
struct Args<'c, 's>(&'c Context<'s>);

impl<'c> Args<'c, '_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn raw(&self, at: usize) -> ValueRef<'c> {
        self.0.get_raw(at)
    }

    fn is_null(&self, at: usize) -> bool {
        matches!(self.raw(at), ValueRef::Null)
    }

    /// A text. A number is refused: the SQL room writes a cast where one is due.
    fn text(&self, at: usize) -> Result<&'c str> {
        match self.raw(at) {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| Error::new("22021", "invalid byte sequence for encoding \"UTF8\"")),
            other => Err(unexpected(at, "text", other)),
        }
    }

    fn int(&self, at: usize) -> Result<i64> {
        match self.raw(at) {
            ValueRef::Integer(v) => Ok(v),
            other => Err(unexpected(at, "an integer", other)),
        }
    }

    fn real(&self, at: usize) -> Result<f64> {
        match self.raw(at) {
            ValueRef::Real(v) => Ok(v),
            ValueRef::Integer(v) => Ok(v as f64),
            other => Err(unexpected(at, "a number", other)),
        }
    }

    fn blob(&self, at: usize) -> Result<&'c [u8]> {
        match self.raw(at) {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
            other => Err(unexpected(at, "bytes", other)),
        }
    }

    fn stored(&self, at: usize) -> Result<Stored<'c>> {
        Ok(match self.raw(at) {
            ValueRef::Null => Stored::Null,
            ValueRef::Integer(v) => Stored::Integer(v),
            ValueRef::Real(v) => Stored::Real(v),
            ValueRef::Text(_) => Stored::Text(Cow::Borrowed(self.text(at)?)),
            ValueRef::Blob(bytes) => Stored::Blob(Cow::Borrowed(bytes)),
        })
    }

    /// A type that stands as a constant, read once per statement.
    fn type_code(&self, at: usize) -> Result<Arc<(Type, Form)>> {
        self.0
            .get_or_create_aux(at as i32, |raw| match raw {
                ValueRef::Text(code) => std::str::from_utf8(code)
                    .ok()
                    .and_then(parse_type_code)
                    .ok_or_else(|| Box::<dyn std::error::Error + Send + Sync>::from("unknown type code")),
                _ => Err("unknown type code".into()),
            })
            .map_err(|_| Error::internal("a function of ours got an unknown type code"))
    }
}

fn unexpected(at: usize, wanted: &str, got: ValueRef<'_>) -> Error {
    Error::internal(format!(
        "a function of ours wants {wanted} as argument {} and got {:?}",
        at + 1,
        got.data_type()
    ))
}

/// An error as SQLite carries it.
fn raise(error: Error) -> rusqlite::Error {
    let detail = error.details.as_deref().unwrap_or("");
    rusqlite::Error::UserFunctionError(
        format!("{}|{}|{detail}", error.code, error.message.replace('|', "\u{2502}")).into(),
    )
}

/// Registers a function that gives NULL for any NULL argument. `arity` -1 is any number.
fn strict(
    connection: &Connection,
    name: &str,
    arity: i32,
    function: impl Fn(&Args<'_, '_>) -> Result<Sql> + Send + 'static,
) -> rusqlite::Result<()> {
    connection.create_scalar_function(name, arity, PURE, move |context| {
        let args = Args(context);
        if (0..args.len()).any(|at| args.is_null(at)) {
            return Ok(Sql::Null);
        }
        function(&args).map_err(raise)
    })
}

/// Registers a function that looks at NULL itself.
fn lenient(
    connection: &Connection,
    name: &str,
    arity: i32,
    flags: FunctionFlags,
    function: impl Fn(&Args<'_, '_>) -> Result<Sql> + Send + 'static,
) -> rusqlite::Result<()> {
    connection.create_scalar_function(name, arity, flags, move |context| {
        function(&Args(context)).map_err(raise)
    })
}

fn sql(stored: Stored<'_>) -> Sql {
    match stored {
        Stored::Null => Sql::Null,
        Stored::Integer(v) => Sql::Integer(v),
        Stored::Real(v) => Sql::Real(v),
        Stored::Text(text) => Sql::Text(text.into_owned()),
        Stored::Blob(bytes) => Sql::Blob(bytes.into_owned()),
    }
}

fn boolean(value: bool) -> Sql {
    Sql::Integer(i64::from(value))
}

/// Texts as a JSON array of strings; `None` is null.
fn json_strings<'t>(items: impl IntoIterator<Item = Option<Cow<'t, str>>>) -> String {
    let mut out = vec![b'['];
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match item {
            Some(text) => mainstay_model::write_json_string(&text, &mut out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
    String::from_utf8(out).unwrap_or_default()
}
